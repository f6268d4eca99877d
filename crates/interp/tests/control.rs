//! Loops and branches, alone and with a shadow.

#![allow(
    clippy::result_large_err,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking and print what they checked"
)]

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use milwright_interp::{Error, Options, Precision, Session, Value};
use milwright_ir::{
    Arg, Block, BlockId, Constant, DataType, Function, NoBlobs, Op, OpId, Program, TensorType,
    ValueDef, ValueId, ValueType,
};

/// A program in the making. The innermost block that is open takes the
/// operations.
#[derive(Default)]
struct Builder {
    program: Program,
    open: Vec<Block>,
    inputs: Vec<ValueId>,
    count: usize,
}

impl Builder {
    fn new() -> Self {
        Builder {
            open: vec![Block::default()],
            ..Builder::default()
        }
    }

    fn value(&mut self, ty: impl Into<ValueType>, def: ValueDef) -> ValueId {
        self.count += 1;
        self.program.values.push(milwright_ir::Value {
            name: format!("v{}", self.count),
            ty: ty.into(),
            def,
        })
    }

    fn input(&mut self, dtype: DataType) -> ValueId {
        let def = ValueDef::FunctionInput(0, self.inputs.len());
        let id = self.value(TensorType::scalar(dtype), def);
        self.inputs.push(id);
        id
    }

    fn op(&mut self, op: Op, outputs: &[DataType]) -> Vec<ValueId> {
        let id = self.program.ops.push(op);
        let outputs: Vec<ValueId> = outputs
            .iter()
            .enumerate()
            .map(|(i, &dtype)| self.value(TensorType::scalar(dtype), ValueDef::Op(id, i)))
            .collect();
        self.program.ops[id].outputs = outputs.clone();
        self.open.last_mut().unwrap().ops.push(id);
        outputs
    }

    fn constant(&mut self, dtype: DataType, value: f64) -> ValueId {
        let mut op = Op::new("const");
        let constant = Constant::float(dtype, value).unwrap_or(Constant::int(value as i32));
        op.attributes = vec![("val".to_owned(), constant)];
        self.op(op, &[dtype])[0]
    }

    fn binary(&mut self, op_type: &str, x: ValueId, y: ValueId, dtype: DataType) -> ValueId {
        let mut op = Op::new(op_type);
        op.inputs = vec![arg("x", x), arg("y", y)];
        self.op(op, &[dtype])[0]
    }

    fn block(
        &mut self,
        inputs: &[DataType],
        fill: impl FnOnce(&mut Self, &[ValueId]) -> Vec<ValueId>,
    ) -> BlockId {
        let id = self.program.blocks.push(Block::default());
        let inputs: Vec<ValueId> = inputs
            .iter()
            .enumerate()
            .map(|(i, &dtype)| self.value(TensorType::scalar(dtype), ValueDef::BlockInput(id, i)))
            .collect();
        self.open.push(Block {
            inputs: inputs.clone(),
            ..Block::default()
        });
        let outputs = fill(self, &inputs);
        let mut block = self.open.pop().unwrap();
        block.outputs = outputs;
        self.program.blocks[id] = block;
        id
    }

    fn control(&mut self, mut op: Op, blocks: [BlockId; 2], outputs: &[DataType]) -> Vec<ValueId> {
        op.blocks = blocks.to_vec();
        let outputs = self.op(op, outputs);
        let ValueDef::Op(id, _) = self.program.values[outputs[0]].def else {
            unreachable!()
        };
        for block in blocks {
            self.program.blocks[block].parent = Some(id);
        }
        outputs
    }

    fn while_loop(
        &mut self,
        vars: &[ValueId],
        dtypes: &[DataType],
        condition: impl FnOnce(&mut Self, &[ValueId]) -> ValueId,
        body: impl FnOnce(&mut Self, &[ValueId]) -> Vec<ValueId>,
    ) -> Vec<ValueId> {
        let condition = self.block(dtypes, |b, v| vec![condition(b, v)]);
        let body = self.block(dtypes, body);
        let mut op = Op::new("while_loop");
        op.inputs = vec![(
            "loop_vars".to_owned(),
            vars.iter().map(|&v| Arg::Value(v)).collect(),
        )];
        self.control(op, [condition, body], dtypes)
    }

    fn finish(mut self, outputs: Vec<ValueId>) -> Program {
        let mut body = self.open.pop().unwrap();
        body.outputs = outputs;
        let body = self.program.blocks.push(body);
        let opset = "CoreML7".to_owned();
        self.program.functions.push(Function {
            name: "main".to_owned(),
            opset: opset.clone(),
            inputs: self.inputs,
            specializations: vec![(opset, body)],
            attributes: Vec::new(),
        });
        self.program
    }
}

fn arg(param: &str, value: ValueId) -> (String, Vec<Arg>) {
    (param.to_owned(), vec![Arg::Value(value)])
}

fn feed(program: &Program, values: &[f64]) -> HashMap<String, Tensor> {
    let inputs = program.functions[0].inputs.iter().zip(values);
    inputs
        .map(|(&id, &value)| {
            let declared = &program.values[id];
            let dtype = declared.ty.as_tensor().unwrap().dtype;
            let held = Precision::Fp32.storage(dtype).unwrap();
            let tensor = Tensor::full(value, (), &Device::Cpu).unwrap();
            (declared.name.clone(), tensor.to_dtype(held).unwrap())
        })
        .collect()
}

fn numbers(outputs: &[(String, Value)]) -> Vec<f64> {
    let scalar = |(_, value): &(String, Value)| match value {
        Value::Tensor(t) => {
            let wide = t.data.to_dtype(DType::F64).unwrap();
            wide.to_scalar::<f64>().unwrap()
        }
        other => panic!("{other:?}"),
    };
    outputs.iter().map(scalar).collect()
}

fn options(precision: Precision, step_limit: usize) -> Options {
    Options {
        precision,
        step_limit,
        ..Options::default()
    }
}

const INT: DataType = DataType::Int32;
const F32: DataType = DataType::Float32;
const F16: DataType = DataType::Float16;
const BOOL: DataType = DataType::Bool;

/// `while n > 0 { (a, b, n) = (b, a + b, n - 1) }`, also with a constant and an
/// outer value as results of the body.
fn fibonacci() -> Program {
    let mut b = Builder::new();
    let n = b.input(INT);
    let (zero, one) = (b.constant(INT, 0.0), b.constant(INT, 1.0));
    let out = b.while_loop(
        &[zero, one, n, n],
        &[INT; 4],
        |b, v| b.binary("greater", v[2], zero, BOOL),
        |b, v| {
            let sum = b.binary("add", v[0], v[1], INT);
            let less = b.binary("sub", v[2], one, INT);
            vec![v[1], sum, less, one]
        },
    );
    b.finish(out)
}

#[test]
fn loop_variables_change_all_at_once() {
    let program = fibonacci();
    for keep_weights in [true, false] {
        let options = Options {
            keep_weights,
            ..Options::default()
        };
        let mut session = Session::new(&program, &NoBlobs, None, options).unwrap();
        for (n, expected) in [
            (0.0, [0.0, 1.0, 0.0, 0.0]),
            (1.0, [1.0, 1.0, 0.0, 1.0]),
            (10.0, [55.0, 89.0, 0.0, 1.0]),
            (3.0, [2.0, 3.0, 0.0, 1.0]),
        ] {
            let out = session.run(&feed(&program, &[n])).unwrap();
            assert_eq!(numbers(&out), expected, "{n} rounds");
        }
    }
}

#[test]
fn a_loop_in_a_loop_sees_outer_values() {
    // The sum over i < n of the sum over j < i of k.
    let mut b = Builder::new();
    let (n, k) = (b.input(INT), b.input(INT));
    let (zero, one) = (b.constant(INT, 0.0), b.constant(INT, 1.0));
    let out = b.while_loop(
        &[zero, zero],
        &[INT; 2],
        |b, v| b.binary("less", v[0], n, BOOL),
        |b, outer| {
            let i = outer[0];
            let inner = b.while_loop(
                &[zero, outer[1]],
                &[INT; 2],
                |b, v| b.binary("less", v[0], i, BOOL),
                |b, v| {
                    vec![
                        b.binary("add", v[0], one, INT),
                        b.binary("add", v[1], k, INT),
                    ]
                },
            );
            vec![b.binary("add", i, one, INT), inner[1]]
        },
    );
    let program = b.finish(out);
    let mut session = Session::new(&program, &NoBlobs, None, Options::default()).unwrap();
    let out = session.run(&feed(&program, &[6.0, 7.0])).unwrap();
    assert_eq!(numbers(&out), [6.0, 105.0]);
    // 6 outer rounds and 15 inner ones are counted together.
    for (limit, ends) in [(21, true), (20, false)] {
        let options = options(Precision::Fp32, limit);
        let mut session = Session::new(&program, &NoBlobs, None, options).unwrap();
        let result = session.run(&feed(&program, &[6.0, 7.0]));
        assert_eq!(result.is_ok(), ends, "{limit}");
        if let Err(error) = result {
            assert!(matches!(error, Error::StepLimit { limit: 20, .. }));
            let message = error.to_string();
            assert!(
                message.contains("while_loop") && message.contains("20"),
                "{message}"
            );
        }
    }
}

/// Counts by one while below a limit.
fn counter(dtype: DataType) -> Program {
    let mut b = Builder::new();
    let limit = b.input(dtype);
    let (start, one) = (b.constant(dtype, 2040.0), b.constant(dtype, 1.0));
    let out = b.while_loop(
        &[start],
        &[dtype],
        |b, v| b.binary("less", v[0], limit, BOOL),
        |b, v| vec![b.binary("add", v[0], one, dtype)],
    );
    b.finish(out)
}

#[test]
fn results_in_blocks_are_rounded_as_the_program_declares() {
    // fp16 cannot count beyond 2048.
    let run = |dtype, precision| {
        let program = counter(dtype);
        let options = options(precision, 1000);
        let mut session = Session::new(&program, &NoBlobs, None, options).unwrap();
        let result = session.run(&feed(&program, &[2052.0]));
        result.map(|out| numbers(&out)[0])
    };
    for dtype in [F32, F16] {
        assert_eq!(run(dtype, Precision::Fp32).unwrap(), 2052.0);
        assert_eq!(run(dtype, Precision::Fp64).unwrap(), 2052.0);
        let half = run(dtype, Precision::Half);
        assert!(matches!(half, Err(Error::StepLimit { .. })), "{half:?}");
    }
    assert_eq!(run(F32, Precision::Native).unwrap(), 2052.0);
    let native = run(F16, Precision::Native);
    assert!(matches!(native, Err(Error::StepLimit { .. })), "{native:?}");
}

#[test]
fn a_shadow_follows_and_says_where_it_would_stray() {
    let program = counter(F32);
    let mut session = Session::new(&program, &NoBlobs, None, Options::default()).unwrap();
    let mut shadow = session.shadow(Precision::Half).unwrap();
    let mut strays: HashMap<OpId, bool> = HashMap::new();
    let mut adds = Vec::new();
    let (own, beside) = session
        .run_shadowed(&feed(&program, &[2052.0]), &mut shadow, &mut |m| {
            *strays.entry(m.op()).or_default() |= m.strays();
            if program.ops[m.op()].op_type == "add" {
                let number = |v: &[Value]| numbers(&[(String::new(), v[0].clone())])[0];
                let alone = m.alone(Precision::Half).unwrap().unwrap();
                adds.push([
                    number(&m.outputs()),
                    number(&m.shadow().unwrap()),
                    number(&alone),
                ]);
            }
        })
        .unwrap();
    assert_eq!(numbers(&own), [2052.0]);
    // As many rounds as the session, on its own values.
    assert_eq!(numbers(&beside.unwrap()), [2048.0]);
    assert_eq!(adds.len(), 12);
    assert_eq!(adds[7], [2048.0; 3]);
    // 2049 from 2048: the operation's own rounding. 2051 from 2050: its operand
    // is right, and the shadow has the error of all before it too.
    assert_eq!(adds[8], [2049.0, 2048.0, 2048.0]);
    assert_eq!(adds[10], [2051.0, 2048.0, 2052.0]);
    let strayed: Vec<&str> = strays
        .iter()
        .filter(|(_, strays)| **strays)
        .map(|(&id, _)| program.ops[id].op_type.as_str())
        .collect();
    assert_eq!(strayed, ["while_loop"]);
}

/// `cond(x > 0) { x + 1 } else { x / y }`.
fn branches() -> Program {
    let mut b = Builder::new();
    let (x, y) = (b.input(F32), b.input(INT));
    let (zero, one) = (b.constant(F32, 0.0), b.constant(F32, 1.0));
    let pred = b.binary("greater", x, zero, BOOL);
    let yes = b.block(&[], |b, _| vec![b.binary("add", x, one, F32)]);
    let no = b.block(&[], |b, _| {
        let mut op = Op::new("cast");
        let mut name = Op::new("const");
        name.attributes = vec![("val".to_owned(), Constant::string("fp32"))];
        let name = {
            let id = b.program.ops.push(name);
            let ty = TensorType::scalar(DataType::String);
            let value = b.value(ty, ValueDef::Op(id, 0));
            b.program.ops[id].outputs = vec![value];
            b.open.last_mut().unwrap().ops.push(id);
            value
        };
        op.inputs = vec![arg("x", y), arg("dtype", name)];
        let y = b.op(op, &[F32])[0];
        vec![b.binary("real_div", x, y, F32)]
    });
    let mut op = Op::new("cond");
    op.inputs = vec![arg("pred", pred)];
    let out = b.control(op, [yes, no], &[F32]);
    b.finish(out)
}

#[test]
fn a_shadow_takes_the_branch_of_its_session() {
    let program = branches();
    let mut session = Session::new(&program, &NoBlobs, None, Options::default()).unwrap();
    let mut shadow = session.shadow(Precision::Half).unwrap();
    let mut checked = 0;
    // 1e-9 is 0 in fp16.
    for (x, expected, half, stray) in [
        (3.0, 4.0, 4.0, false),
        (-3.0, -0.75, -0.75, false),
        (1e-9, 1.0, 1.0, true),
    ] {
        let mut strays = false;
        let (own, beside) = session
            .run_shadowed(&feed(&program, &[x, 4.0]), &mut shadow, &mut |m| {
                strays |= m.strays();
            })
            .unwrap();
        assert_eq!(numbers(&own), [f64::from((expected) as f32)]);
        assert_eq!(numbers(&beside.unwrap()), [half]);
        assert_eq!(strays, stray, "{x}");
        checked += 1;
    }
    // What only fails for the session ends both; the next step is not hurt.
    let missing = session.run_shadowed(&HashMap::new(), &mut shadow, &mut |_| {});
    assert!(missing.is_err() && shadow.failure().is_some());
    session.reset_shadow(&mut shadow).unwrap();
    let again = session.run_shadowed(&feed(&program, &[1.0, 1.0]), &mut shadow, &mut |_| {});
    assert_eq!(numbers(&again.unwrap().1.unwrap()), [2.0]);
    println!("{checked} branches");
}

#[test]
fn a_shadow_that_fails_does_not_stop_its_session() {
    // range_1d from 0 to x: in fp16 the end becomes infinite.
    let mut b = Builder::new();
    let x = b.input(F32);
    let (zero, step) = (b.constant(F32, 0.0), b.constant(F32, 10_000.0));
    let mut op = Op::new("range_1d");
    op.inputs = vec![arg("start", zero), arg("end", x), arg("step", step)];
    let range = b.op(op, &[F32])[0];
    b.program.values[range].ty = TensorType::new(F32, vec![milwright_ir::Dim::Unknown]).into();
    let program = b.finish(vec![range]);
    let mut session = Session::new(&program, &NoBlobs, None, Options::default()).unwrap();
    let mut shadow = session.shadow(Precision::Half).unwrap();
    let mut moments = 0;
    let (own, beside) = session
        .run_shadowed(&feed(&program, &[100_000.0]), &mut shadow, &mut |m| {
            assert!(m.shadow().is_none());
            // The operand that overflows stays, so the operation itself works.
            let alone = m.alone(Precision::Half).unwrap().unwrap();
            assert!(matches!(&alone[0], Value::Tensor(t) if t.dims() == [10]));
            moments += 1;
        })
        .unwrap();
    assert!(matches!(&own[0].1, Value::Tensor(t) if t.dims() == [10]));
    assert!(beside.is_none());
    assert_eq!(moments, 1);
    let failure = shadow.failure().unwrap().to_string();
    assert!(failure.contains("range_1d"), "{failure}");
}
