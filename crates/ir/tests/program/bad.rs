//! Small programs built by hand, each with one thing wrong, and random damage.

use milwright_ir::{
    Arg, Block, BlockId, Constant, DataType, Diagnostic, Function, NoBlobs, Op, OpId, Program,
    TensorData, TensorType, Value, ValueDef, ValueId, ValueType, verify,
};
use proptest::prelude::*;

/// A program under construction, with one function `main`.
struct Builder {
    program: Program,
    block: BlockId,
}

fn float(shape: &[u64]) -> ValueType {
    TensorType::fixed(DataType::Float32, shape).into()
}

impl Builder {
    fn new(opset: &str) -> Self {
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

    fn input(&mut self, name: &str, ty: ValueType) -> ValueId {
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
    fn op(&mut self, op_type: &str, args: &[(&str, Arg)], outputs: &[(&str, ValueType)]) -> OpId {
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
fn sound() -> Builder {
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

/// One random change.
#[derive(Clone, Debug)]
enum Damage {
    Operand(usize, usize, usize),
    Shape(usize, Vec<u64>),
    Unknown(usize, usize),
    Dtype(usize, usize),
    Ints(usize, usize, Vec<i32>),
    Drop(usize, usize),
    Rename(usize, usize),
    Type(usize, usize),
    Order(usize, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let n = || 0usize..64;
    let size = prop_oneof![0u64..5, Just(u64::MAX), Just(u64::MAX / 2), any::<u64>()];
    let int = prop_oneof![-4i32..6, Just(i32::MIN), Just(i32::MAX)];
    prop_oneof![
        (n(), n(), n()).prop_map(|(a, b, c)| Damage::Operand(a, b, c)),
        (n(), prop::collection::vec(size, 0..7)).prop_map(|(a, b)| Damage::Shape(a, b)),
        (n(), n()).prop_map(|(a, b)| Damage::Unknown(a, b)),
        (n(), n()).prop_map(|(a, b)| Damage::Dtype(a, b)),
        (n(), n(), prop::collection::vec(int, 0..7)).prop_map(|(a, b, c)| Damage::Ints(a, b, c)),
        (n(), n()).prop_map(|(a, b)| Damage::Drop(a, b)),
        (n(), n()).prop_map(|(a, b)| Damage::Rename(a, b)),
        (n(), n()).prop_map(|(a, b)| Damage::Type(a, b)),
        (n(), n()).prop_map(|(a, b)| Damage::Order(a, b)),
    ]
}

fn apply(program: &mut Program, damage: Damage) {
    let ops: Vec<OpId> = program.ops.ids().collect();
    let values: Vec<ValueId> = program.values.ids().collect();
    let blocks: Vec<BlockId> = program.blocks.ids().collect();
    let tensor = |program: &mut Program, n: usize, f: &dyn Fn(&mut TensorType)| {
        if let ValueType::Tensor(t) = &mut program.values[values[n % values.len()]].ty {
            f(t);
        }
    };
    let inputs = |n: usize| ops[n % ops.len()];
    match damage {
        Damage::Operand(op, param, value) => {
            let list = &mut program.ops[inputs(op)].inputs;
            let len = list.len().max(1);
            if let Some((_, args)) = list.get_mut(param % len) {
                *args = vec![Arg::Value(values[value % values.len()])];
            }
        }
        Damage::Shape(value, shape) => tensor(program, value, &|t| {
            t.shape = shape.iter().map(|&d| d.into()).collect();
        }),
        Damage::Unknown(value, dim) => tensor(program, value, &|t| {
            let len = t.shape.len().max(1);
            if let Some(d) = t.shape.get_mut(dim % len) {
                *d = if dim < 48 {
                    milwright_ir::Dim::Unknown
                } else {
                    milwright_ir::Dim::Variadic
                };
            }
        }),
        Damage::Dtype(value, dtype) => tensor(program, value, &|t| {
            t.dtype = DataType::ALL[dtype % DataType::ALL.len()];
        }),
        Damage::Ints(op, param, ints) => {
            let list = &mut program.ops[inputs(op)].inputs;
            let len = list.len().max(1);
            if let Some((_, args)) = list.get_mut(param % len) {
                let constant = match ints.as_slice() {
                    [one] => Constant::int(*one),
                    many => Constant::ints(many),
                };
                *args = vec![Arg::Const(constant)];
            }
        }
        Damage::Drop(op, param) => {
            let list = &mut program.ops[inputs(op)].inputs;
            if !list.is_empty() {
                let len = list.len();
                list.remove(param % len);
            }
        }
        Damage::Rename(op, def) => {
            let names: Vec<&str> = milwright_ir::ops::all().map(|d| d.name).collect();
            let op = &mut program.ops[inputs(op)];
            // Spread over the whole table.
            let name = names[def * 31 % names.len()];
            op.op_type = name.into();
            op.def = milwright_ir::ops::lookup(name);
        }
        Damage::Type(a, b) => {
            let from = program.values[values[b % values.len()]].ty.clone();
            program.values[values[a % values.len()]].ty = from;
        }
        Damage::Order(block, at) => {
            let list = &mut program.blocks[blocks[block % blocks.len()]].ops;
            if list.len() > 1 {
                let n = at % (list.len() - 1);
                list.swap(n, n + 1);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_damage_makes_the_verifier_panic(list in prop::collection::vec(damage(), 1..8)) {
        let mut program = sound().program;
        for one in list {
            apply(&mut program, one);
        }
        for finding in verify(&program, &NoBlobs) {
            prop_assert!(!finding.to_string().is_empty());
        }
        milwright_ir::text::print(&program, Default::default(), None);
    }

    /// Every operation of the table, with arguments of every kind.
    #[test]
    fn no_arguments_make_inference_panic(
        which in any::<prop::sample::Index>(),
        shapes in prop::collection::vec(prop::collection::vec(
            prop_oneof![4 => 0u64..6, 1 => Just(u64::MAX), 1 => any::<u64>()], 0..6), 12),
        ints in prop::collection::vec(prop::collection::vec(
            prop_oneof![6 => -3i32..5, 1 => Just(i32::MIN), 1 => Just(i32::MAX)], 0..6), 12),
        kinds in prop::collection::vec(0u8..4, 12),
    ) {
        let defs: Vec<_> = milwright_ir::ops::all().collect();
        let def = which.get(&defs);
        let mut b = Builder::new("CoreML8");
        let mut args = Vec::new();
        for (i, param) in def.params.iter().enumerate() {
            let i = i % 12;
            let dtype = param.domains.last().map_or(DataType::Float32, |d| d.dtypes[0]);
            let ty = TensorType::fixed(dtype, &shapes[i]);
            match (kinds[i], dtype) {
                (0, _) => {}
                (1, _) => args.push((param.name, Arg::Value(b.input(param.name, ty.into())))),
                (_, DataType::Bool) => {
                    let bools: Vec<bool> = ints[i].iter().map(|&n| n > 0).collect();
                    let constant = match bools.as_slice() {
                        [one] => Constant::bool(*one),
                        many => Constant::bools(many),
                    };
                    args.push((param.name, Arg::Const(constant)));
                }
                (_, DataType::Float32 | DataType::Float16) if kinds[i] == 2 => {
                    args.push((param.name, Arg::Value(b.input(param.name, ty.into()))));
                }
                _ => {
                    let constant = match ints[i].as_slice() {
                        [one] => Constant::int(*one),
                        many => Constant::ints(many),
                    };
                    args.push((param.name, Arg::Const(constant)));
                }
            }
        }
        let op = b.op(def.name, &args, &[("a", float(&[1])), ("b", float(&[1]))]);
        let view = milwright_ir::OpView::new(&b.program, op, &NoBlobs);
        if let Err(error) = def.infer(&view) {
            prop_assert!(!error.to_string().is_empty());
        }
        verify(&b.program, &NoBlobs);
    }
}
