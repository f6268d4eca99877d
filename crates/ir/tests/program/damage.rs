//! Random damage, to hand-built and to real programs: nothing may panic.

use milwright_ir::cost::total;
use milwright_ir::sizes::{Shapes, Sizes};
use milwright_ir::{
    Arg, BlobSource, BlockId, Constant, DataType, NoBlobs, OpId, Program, TensorType, ValueId,
    ValueType, verify,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use prost::Message;

use crate::bad::{Builder, float, sound};
use crate::corpus;

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
    let n = || 0usize..4096;
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
                *d = if dim % 4 > 0 {
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

/// Verifies, prints and writes a program; returns whether it was accepted.
fn look_at(program: &Program, blobs: &dyn BlobSource) -> bool {
    let findings = verify(program, blobs);
    assert!(findings.iter().all(|f| !f.to_string().is_empty()));
    milwright_ir::text::print(program, Default::default(), None);
    program.to_proto().encode_to_vec();
    for function in &program.functions {
        match Sizes::of(program, function, blobs, &Shapes::new()) {
            Ok(sizes) => drop(total(program, function, blobs, &sizes)),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    !findings.iter().any(|f| f.is_error())
}

#[test]
fn no_damage_to_a_real_program_makes_the_verifier_panic() {
    let mut runner = TestRunner::deterministic();
    let damages = prop::collection::vec(damage(), 1..5);
    let (mut programs, mut accepted, mut rejected) = (0, 0, 0);
    let mut hurt = |program: &Program, blobs: &dyn BlobSource, times: usize| {
        programs += 1;
        for _ in 0..times {
            let mut damaged = program.clone();
            for one in damages.new_tree(&mut runner).unwrap().current() {
                apply(&mut damaged, one);
            }
            match look_at(&damaged, blobs) {
                true => accepted += 1,
                false => rejected += 1,
            }
        }
    };
    for (_, model) in corpus::models() {
        if model.program().ops.len() < 400 {
            hurt(model.program(), &model, 20);
        }
    }
    corpus::conformance(|_, model| hurt(model.program(), model, 10));
    println!("{programs} programs: {accepted} damaged ones accepted, {rejected} rejected");
    assert!(rejected > accepted / 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_damage_makes_the_verifier_panic(list in prop::collection::vec(damage(), 1..8)) {
        let mut program = sound().program;
        for one in list {
            apply(&mut program, one);
        }
        look_at(&program, &NoBlobs);
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
        // With an output that is whatever the operation gives, so that its
        // elements are computed too.
        let output = b.program.ops[op].outputs[0];
        b.program.ops[op].outputs.truncate(1);
        b.program.values[output].ty = ValueType::Missing;
        look_at(&b.program, &NoBlobs);
    }
}
