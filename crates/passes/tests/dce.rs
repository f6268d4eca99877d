//! `dce`, and what a replacement keeps of the operation that it replaces.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking and print what they checked"
)]

use std::collections::BTreeSet;
use std::path::PathBuf;

use milwright_ir::{Constant, Model, OpId, Program, ValueId};
use milwright_passes::{Pipeline, RunOptions};

#[path = "../../../fixtures/find.rs"]
mod find;

fn models() -> Vec<(String, Model)> {
    let open = |p: PathBuf| (p.display().to_string(), Model::open(&p).unwrap());
    let paths = find::packages(&find::fixtures());
    paths.into_iter().map(open).collect()
}

fn run(program: &mut Program, model: &Model, passes: &str, fuel: Option<u64>) -> usize {
    let pipeline = Pipeline::parse(passes).unwrap();
    let options = RunOptions {
        fuel,
        ..RunOptions::default()
    };
    let report = pipeline.run(program, model.package(), &options).unwrap();
    report.steps[0].result.removed.values().sum()
}

/// The operations that the outputs and effects of a program need, found by
/// walking back from them: another way than the pass's.
fn needed(program: &Program) -> BTreeSet<OpId> {
    let all = program.live_ops();
    let effect = |id: &OpId| {
        matches!(
            program.ops[*id].op_type.as_str(),
            "coreml_update_state" | "write_state"
        )
    };
    let mut needed: BTreeSet<OpId> = BTreeSet::new();
    let mut values: Vec<ValueId> = Vec::new();
    for function in &program.functions {
        for (_, block) in &function.specializations {
            values.extend(&program.blocks[*block].outputs);
        }
    }
    let mut open: Vec<OpId> = all.iter().copied().filter(effect).collect();
    loop {
        while let Some(value) = values.pop() {
            open.extend(program.def_op(value));
        }
        let Some(id) = open.pop() else {
            return needed;
        };
        if !needed.insert(id) {
            continue;
        }
        values.extend(program.ops[id].operands());
        for &block in &program.ops[id].blocks {
            values.extend(&program.blocks[block].outputs);
        }
    }
}

#[test]
fn only_what_outputs_and_effects_need_is_left() {
    let (mut checked, mut all_removed) = (0, 0);
    for (name, model) in models() {
        let mut program = model.program().clone();
        // With one output, what only the others needed is dead.
        for function in 0..program.functions.len() {
            let body = program.functions[function].body().unwrap();
            let block = program.block_mut(body).unwrap();
            block.outputs.truncate(1);
        }
        let needed = needed(&program);
        let before = program.live_ops().len();
        let removed = run(&mut program, &model, "dce", None);
        let left: BTreeSet<OpId> = program.live_ops().into_iter().collect();
        assert_eq!(left, needed, "{name}");
        assert_eq!(before - removed, left.len(), "{name}");
        assert_eq!(run(&mut program, &model, "dce", None), 0, "{name}");
        all_removed += removed;
        checked += 1;
    }
    assert!(all_removed > 0);
    println!("{checked} models with one output, {all_removed} operations removed");
}

#[test]
fn fuel_stops_it() {
    let (_, model) = models().swap_remove(0);
    let mut program = model.program().clone();
    let body = program.functions[0].body().unwrap();
    program.block_mut(body).unwrap().outputs.clear();
    let before = program.live_ops().len();
    assert_eq!(run(&mut program, &model, "dce", Some(3)), 3);
    assert_eq!(program.live_ops().len(), before - 3);
}

#[test]
fn attributes_of_a_replaced_operation_go_to_what_replaces_it() {
    let mut checked = 0;
    for (name, model) in models() {
        let mut program = model.program().clone();
        let known: BTreeSet<OpId> = program.live_ops().into_iter().collect();
        let convs: Vec<OpId> = known
            .iter()
            .copied()
            .filter(|&id| program.ops[id].op_type.starts_with("conv"))
            .collect();
        for &id in &convs {
            let op = program.op_mut(id).unwrap();
            let backend = ("IntendedBackend".to_owned(), Constant::string("ANE"));
            op.attributes.push(backend);
        }
        run(&mut program, &model, "decompose-conv", None);
        for id in program.live_ops() {
            let op = &program.ops[id];
            if known.contains(&id) || op.op_type == "const" {
                continue;
            }
            let backend = op.attribute("IntendedBackend").and_then(Constant::as_str);
            assert_eq!(backend, Some("ANE"), "{name}: {}", program.describe_op(id));
            assert_eq!(
                op.attributes.iter().filter(|a| a.0 == "name").count(),
                1,
                "{name}"
            );
            checked += 1;
        }
    }
    assert!(checked > 0);
    println!("{checked} operations carry the attribute of the one that they replace");
}
