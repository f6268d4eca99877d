//! Small programs built by hand, each with one thing wrong.

use milwright_ir::{
    Arg, Block, BlockId, Constant, DataType, Diagnostic, Function, NoBlobs, Op, OpId, Program,
    TensorData, TensorType, Value, ValueDef, ValueId, ValueType, verify,
};

/// A program under construction, with one function `main`.
pub(crate) struct Builder {
    pub(crate) program: Program,
    block: BlockId,
}

pub(crate) fn float(shape: &[u64]) -> ValueType {
    TensorType::fixed(DataType::Float32, shape).into()
}

impl Builder {
    pub(crate) fn new(opset: &str) -> Self {
        let mut program = Program::default();
        let block = program.blocks.push(Block::default());
        program.functions.push(Function {
            name: "main".into(),
            opset: opset.into(),
            inputs: Vec::new(),
            specializations: vec![(opset.into(), block)],
            attributes: Vec::new(),
        });
        Self { program, block }
    }

    pub(crate) fn input(&mut self, name: &str, ty: ValueType) -> ValueId {
        let n = self.program.functions[0].inputs.len();
        let id = self.program.values.push(Value {
            name: name.into(),
            ty,
            def: ValueDef::FunctionInput(0, n),
        });
        self.program.functions[0].inputs.push(id);
        id
    }

    /// An operation at the end of the body.
    pub(crate) fn op(
        &mut self,
        op_type: &str,
        args: &[(&str, Arg)],
        outputs: &[(&str, ValueType)],
    ) -> OpId {
        self.op_in(self.block, op_type, args, outputs)
    }

    fn op_in(
        &mut self,
        block: BlockId,
        op_type: &str,
        args: &[(&str, Arg)],
        outputs: &[(&str, ValueType)],
    ) -> OpId {
        let mut op = Op::new(op_type);
        for (param, arg) in args {
            op.inputs.push(((*param).into(), vec![arg.clone()]));
        }
        let id = self.program.ops.push(op);
        for (n, (name, ty)) in outputs.iter().enumerate() {
            let value = self.program.values.push(Value {
                name: (*name).into(),
                ty: ty.clone(),
                def: ValueDef::Op(id, n),
            });
            self.program.ops[id].outputs.push(value);
        }
        self.program.blocks[block].ops.push(id);
        id
    }

    fn out(&self, op: OpId) -> ValueId {
        self.program.ops[op].outputs[0]
    }

    fn nested(&mut self, parent: OpId) -> BlockId {
        let block = self.program.blocks.push(Block {
            parent: Some(parent),
            ..Block::default()
        });
        self.program.ops[parent].blocks.push(block);
        block
    }

    fn give(&mut self, value: ValueId) {
        let block = self.block;
        self.program.blocks[block].outputs.push(value);
    }
}

/// `relu`, `reduce_sum`, `conv` and `cond`, with nothing wrong.
pub(crate) fn sound() -> Builder {
    let mut b = Builder::new("CoreML7");
    let x = b.input("x", float(&[1, 2, 8]));
    let relu = b.op("relu", &[("x", Arg::Value(x))], &[("y", float(&[1, 2, 8]))]);
    let y = b.out(relu);
    let weight = TensorType::fixed(DataType::Float32, &[3, 2, 3]);
    let weight = Constant::tensor(weight, TensorData::Floats(vec![0.5; 18]));
    let conv = b.op(
        "conv",
        &[
            ("x", Arg::Value(y)),
            ("weight", Arg::Const(weight)),
            ("pad_type", Arg::Const(Constant::string("same"))),
            ("strides", Arg::Const(Constant::ints(&[2]))),
        ],
        &[("z", float(&[1, 3, 4]))],
    );
    let z = b.out(conv);
    let sum = b.op(
        "reduce_sum",
        &[
            ("x", Arg::Value(z)),
            ("axes", Arg::Const(Constant::ints(&[-1, 1]))),
            ("keep_dims", Arg::Const(Constant::bool(false))),
        ],
        &[("s", float(&[1]))],
    );
    let s = b.out(sum);
    let pred = b.op(
        "greater",
        &[("x", Arg::Value(s)), ("y", Arg::Value(s))],
        &[("p", TensorType::fixed(DataType::Bool, &[1]).into())],
    );
    let p = b.out(pred);
    let cond = b.op("cond", &[("pred", Arg::Value(p))], &[("c", float(&[1]))]);
    for name in ["then", "else"] {
        let block = b.nested(cond);
        let inner = b.op_in(
            block,
            "exp",
            &[("x", Arg::Value(s))],
            &[(name, float(&[1]))],
        );
        let value = b.out(inner);
        b.program.blocks[block].outputs.push(value);
    }
    b.give(z);
    let c = b.out(cond);
    b.give(c);
    b
}

fn codes(program: &Program) -> Vec<&'static str> {
    let findings = verify(program, &NoBlobs);
    findings.iter().map(|f| f.code).collect()
}

/// Damages the sound program and demands exactly that finding first.
#[track_caller]
fn finds(code: &str, damage: impl FnOnce(&mut Builder)) -> Vec<Diagnostic> {
    let mut b = sound();
    damage(&mut b);
    let findings = verify(&b.program, &NoBlobs);
    let all: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(
        findings.iter().any(|f| f.code == code),
        "no {code} in {all:#?}"
    );
    assert!(findings.iter().all(|f| !f.message.is_empty()), "{all:#?}");
    findings
}

/// The first operation of that type.
fn nth(b: &Builder, op_type: &str) -> OpId {
    let ops = b.program.live_ops();
    *ops.iter()
        .find(|&&o| b.program.ops[o].op_type == op_type)
        .unwrap()
}

fn set(b: &mut Builder, op_type: &str, param: &str, arg: Arg) {
    let id = nth(b, op_type);
    let inputs = &mut b.program.ops[id].inputs;
    match inputs.iter_mut().find(|(name, _)| name == param) {
        Some((_, args)) => *args = vec![arg],
        None => inputs.push((param.into(), vec![arg])),
    }
}

#[test]
fn a_sound_program_has_no_findings() {
    assert_eq!(codes(&sound().program), Vec::<&str>::new());
}

#[test]
fn every_rule_finds_its_fault() {
    finds("no-function", |b| b.program.functions.clear());
    finds("duplicate-function", |b| {
        let copy = b.program.functions[0].clone();
        b.program.functions.push(copy);
    });
    finds("no-body", |b| {
        b.program.functions[0].opset = "CoreML8".into()
    });
    finds("unknown-opset", |b| {
        b.program.functions[0].opset = "CoreML99".into();
        b.program.functions[0].specializations[0].0 = "CoreML99".into();
    });
    finds("no-outputs", |b| {
        let block = b.block;
        b.program.blocks[block].outputs.clear();
    });
    let undefined = |b: &mut Builder, name: &str| {
        b.program.values.push(Value {
            name: name.into(),
            ty: ValueType::Missing,
            def: ValueDef::Undefined,
        })
    };
    finds("undefined-value", |b| {
        let value = undefined(b, "nowhere");
        set(b, "relu", "x", Arg::Value(value));
    });
    finds("use-before-definition", |b| {
        let value = undefined(b, "z");
        set(b, "relu", "x", Arg::Value(value));
    });
    finds("use-before-definition", |b| {
        let block = b.block;
        b.program.blocks[block].ops.swap(0, 1);
    });
    // What a nested block defines is not there outside.
    finds("use-before-definition", |b| {
        let inner = b.out(nth(b, "exp"));
        b.give(inner);
    });
    finds("duplicate-name", |b| {
        let value = b.out(nth(b, "conv"));
        b.program.values[value].name = "y".into();
    });
    finds("shadowed-name", |b| {
        // The inner value takes the name of what is then read from outside.
        let exp = nth(b, "exp");
        let value = b.out(exp);
        b.program.values[value].name = "s".into();
        let s = b.out(nth(b, "reduce_sum"));
        let block = b.program.ops[nth(b, "cond")].blocks[0];
        b.op_in(block, "exp", &[("x", Arg::Value(s))], &[("t", float(&[1]))]);
    });
    finds("inconsistent", |b| {
        let value = b.out(nth(b, "relu"));
        b.program.values[value].def = ValueDef::Undefined;
    });
    finds("inconsistent", |b| {
        let block = b.block;
        let first = b.program.blocks[block].ops[0];
        b.program.blocks[block].ops.push(first);
    });
    finds("type-too-large", |b| {
        b.input("huge", float(&[u64::MAX, 2]));
    });
    finds("unknown-op", |b| {
        let id = nth(b, "relu");
        b.program.ops[id].op_type = "frobnicate".into();
        b.program.ops[id].def = None;
    });
    finds("op-too-new", |b| {
        let y = b.out(nth(b, "relu"));
        let args = [
            ("query", Arg::Value(y)),
            ("key", Arg::Value(y)),
            ("value", Arg::Value(y)),
        ];
        b.op(
            "scaled_dot_product_attention",
            &args,
            &[("a", float(&[1, 2, 8]))],
        );
    });
    finds("unknown-parameter", |b| {
        set(b, "relu", "alpha", Arg::Const(Constant::int(1)));
    });
    // Known, but later.
    finds("unknown-parameter", |b| {
        b.program.functions[0].opset = "CoreML6".into();
        b.program.functions[0].specializations[0].0 = "CoreML6".into();
        let s = b.out(nth(b, "reduce_sum"));
        let args = [
            ("x", Arg::Value(s)),
            ("indices", Arg::Const(Constant::ints(&[0]))),
            ("validate_indices", Arg::Const(Constant::bool(true))),
        ];
        b.op("gather", &args, &[("g", float(&[1]))]);
    });
    finds("duplicate-parameter", |b| {
        let id = nth(b, "relu");
        let again = b.program.ops[id].inputs[0].clone();
        b.program.ops[id].inputs.push(again);
    });
    finds("too-many-arguments", |b| {
        let id = nth(b, "relu");
        let arg = b.program.ops[id].inputs[0].1[0].clone();
        b.program.ops[id].inputs[0].1.push(arg);
    });
    finds("missing-parameter", |b| {
        let id = nth(b, "conv");
        b.program.ops[id]
            .inputs
            .retain(|(name, _)| name != "weight");
    });
    finds("not-constant", |b| {
        let n = b.input("n", TensorType::fixed(DataType::Int32, &[1]).into());
        set(b, "conv", "strides", Arg::Value(n));
    });
    finds("wrong-type", |b| {
        let list = ValueType::List {
            element: Box::new(float(&[1])),
            length: milwright_ir::Dim::Unknown,
        };
        let list = b.input("list", list);
        set(b, "relu", "x", Arg::Value(list));
    });
    finds("wrong-dtype", |b| {
        let n = b.input("n", TensorType::fixed(DataType::Int32, &[1, 2, 8]).into());
        set(b, "relu", "x", Arg::Value(n));
    });
    // Each is right alone, but they must be the same.
    finds("wrong-dtype", |b| {
        let half = Constant::float(DataType::Float16, 1.0).unwrap();
        set(b, "greater", "y", Arg::Const(half));
    });
    finds("bad-constant", |b| {
        let ty = TensorType::fixed(DataType::Float32, &[3, 2, 3]);
        let short = Constant::tensor(ty, TensorData::Floats(vec![0.5; 17]));
        set(b, "conv", "weight", Arg::Const(short));
    });
    // A weight file that is not there.
    finds("bad-constant", |b| {
        let blob = milwright_ir::BlobRef {
            file_name: "@model_path/weights/weight.bin".into(),
            offset: 64,
        };
        let ty = TensorType::fixed(DataType::Float32, &[3, 2, 3]);
        let weight = Constant::new(ty, milwright_ir::ConstData::Blob(blob));
        set(b, "conv", "weight", Arg::Const(weight));
    });
    finds("bad-value", |b| {
        set(b, "reduce_sum", "axes", Arg::Const(Constant::ints(&[3])));
    });
    finds("bad-value", |b| {
        set(
            b,
            "conv",
            "pad_type",
            Arg::Const(Constant::string("sideways")),
        );
    });
    finds("operand-mismatch", |b| {
        set(b, "conv", "groups", Arg::Const(Constant::int(2)));
    });
    finds("wrong-output-type", |b| {
        let value = b.out(nth(b, "conv"));
        b.program.values[value].ty = float(&[1, 3, 5]);
    });
    finds("wrong-output-count", |b| {
        let id = nth(b, "relu");
        let second = b.program.values.push(Value {
            name: "second".into(),
            ty: float(&[1]),
            def: ValueDef::Op(id, 1),
        });
        b.program.ops[id].outputs.push(second);
    });
    finds("wrong-block-count", |b| {
        let id = nth(b, "cond");
        b.program.ops[id].blocks.pop();
    });
    finds("bad-block", |b| {
        let block = b.program.ops[nth(b, "cond")].blocks[0];
        let input = b.program.values.push(Value {
            name: "i".into(),
            ty: float(&[1]),
            def: ValueDef::BlockInput(block, 0),
        });
        b.program.blocks[block].inputs.push(input);
    });
    finds("state-misused", |b| {
        let state = b.input("state", ValueType::State(Box::new(float(&[1]))));
        b.give(state);
    });
    finds("too-deep", |b| {
        let p = b.out(nth(b, "greater"));
        let mut block = b.block;
        for _ in 0..100 {
            let cond = b.op_in(block, "cond", &[("pred", Arg::Value(p))], &[]);
            block = b.nested(cond);
        }
    });
}

#[test]
fn states_are_read_and_written_in_ios18() {
    let mut b = Builder::new("CoreML8");
    let held = float(&[2, 4]);
    let state = b.input("cache", ValueType::State(Box::new(held.clone())));
    let read = b.op(
        "read_state",
        &[("input", Arg::Value(state))],
        &[("now", held.clone())],
    );
    let now = b.out(read);
    b.op(
        "write_state",
        &[("input", Arg::Value(state)), ("data", Arg::Value(now))],
        &[],
    );
    b.give(now);
    assert_eq!(codes(&b.program), Vec::<&str>::new());
    let small = b.input("small", float(&[2, 3]));
    set(&mut b, "write_state", "data", Arg::Value(small));
    assert_eq!(codes(&b.program), ["wrong-type"]);
}
