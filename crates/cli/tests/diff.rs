//! `milwright diff`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it checked"
)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{expect, fixture, json, programs, refused, str};
use milwright_ir::{ConstData, Model, OpId, TensorData, Value as Val};
use milwright_package::WriteOptions;
use serde_json::Value;

fn total(report: &Value, what: &str) -> usize {
    let functions = report["functions"].as_array().unwrap().iter();
    let count = |f: &Value| match &f[what] {
        Value::Array(all) => all.len(),
        number => usize::try_from(number.as_u64().unwrap()).unwrap(),
    };
    functions.map(count).sum()
}

/// A model with all of its values called otherwise is the same model.
#[test]
fn names_inside_of_a_program_are_no_difference() {
    let dir = tempfile::tempdir().unwrap();
    let (mut models, mut operations) = (0, 0);
    for source in programs() {
        let report = json(0, &["diff", str(&source), str(&source)]);
        assert_eq!(report["equal"], true);
        assert_eq!(total(&report, "renamed"), 0);
        assert_eq!(total(&report, "moved_constants"), 0);

        let mut model = Model::open(&source).unwrap();
        let program = model.program();
        let mut names = BTreeMap::new();
        for function in &program.functions {
            let ends: Vec<_> = function
                .specializations
                .iter()
                .flat_map(|&(_, b)| program.blocks[b].outputs.clone())
                .chain(function.inputs.iter().copied())
                .collect();
            for value in program.values_of(function) {
                if !ends.contains(&value) {
                    names.insert(value, format!("other_{}", names.len()));
                }
            }
        }
        model.program_mut().rename_values(&names).unwrap();
        let out = dir.path().join(format!("{models}.mlpackage"));
        model.save(&out, WriteOptions::default()).unwrap();
        let report = json(0, &["diff", str(&source), str(&out)]);
        assert_eq!(report["equal"], true, "{} {report}", source.display());
        for what in ["added", "removed", "changed"] {
            assert_eq!(total(&report, what), 0, "{} {what}", source.display());
        }
        operations += total(&report, "operations_after");
        models += 1;
    }
    println!("{models} models, {operations} operations recognised under other names");
    assert!(operations > 400);
}

fn weight(model: &Model, name: &str) -> OpId {
    let program = model.program();
    let is = |v: &Val| v.name == name;
    let value = program
        .values
        .ids()
        .find(|&v| is(&program.values[v]))
        .unwrap();
    program.def_op(value).unwrap()
}

#[test]
fn one_changed_weight_is_one_change() {
    let dir = tempfile::tempdir().unwrap();
    let source = fixture("asr-encoder/fp32.mlpackage");
    let open = || Model::open(&source).unwrap();
    let values = |model: &Model, op: OpId| {
        let constant = model.program().ops[op].attribute("val").unwrap().clone();
        let numbers = constant.to_f64s(model).unwrap();
        let numbers: Vec<f32> = numbers.into_iter().map(|v| v as f32).collect();
        numbers
    };
    let set = |model: &mut Model, op: OpId, data: ConstData| {
        let op = model.program_mut().op_mut(op).unwrap();
        let place = op.attributes.iter_mut().find(|(key, _)| key == "val");
        place.unwrap().1.data = data;
    };
    // One element, and everything behind it called otherwise.
    let mut model = open();
    let op = weight(&model, "down_0_weight");
    let mut numbers = values(&model, op);
    numbers[5] += 0.25;
    let bytes: Vec<u8> = numbers.iter().flat_map(|v| v.to_le_bytes()).collect();
    set(&mut model, op, ConstData::New(bytes.into()));
    let program = model.program();
    let all = program.values_of(&program.functions[0]);
    let named = |name: &str| !["mel", "features"].contains(&name);
    let all = all.into_iter().filter(|&v| named(&program.values[v].name));
    let names = all.enumerate().map(|(n, v)| (v, format!("n{n}"))).collect();
    model.program_mut().rename_values(&names).unwrap();
    let changed = dir.path().join("changed.mlpackage");
    model.save(&changed, WriteOptions::default()).unwrap();
    let report = json(1, &["diff", &source, str(&changed)]);
    assert_eq!(total(&report, "changed"), 1, "{report}");
    assert_eq!(total(&report, "added") + total(&report, "removed"), 0);
    let change = &report["functions"][0]["changed"][0];
    assert_eq!(change["op_type"], "conv");
    assert_eq!(change["changes"][0]["what"], "weight");
    let after = change["changes"][0]["after"].as_str().unwrap();
    assert!(
        after.contains("1 of 144 elements, by at most 2.500e-1"),
        "{after}"
    );

    // The same value in the spec instead of the weight file.
    let mut model = open();
    let op = weight(&model, "down_0_bias");
    let numbers = values(&model, op);
    set(
        &mut model,
        op,
        ConstData::Tensor(TensorData::Floats(numbers)),
    );
    let moved = dir.path().join("moved.mlpackage");
    model.save(&moved, WriteOptions::default()).unwrap();
    let report = json(0, &["diff", &source, str(&moved)]);
    assert_eq!(total(&report, "moved_constants"), 1);
    let text = expect(0, &["diff", &source, str(&moved)]);
    assert!(text.contains("1 equal constants stored otherwise") && text.contains("the same"));
}

#[test]
fn what_commands_change_is_what_diff_shows() {
    let dir = tempfile::tempdir().unwrap();
    let source = fixture("asr-encoder/fp32.mlpackage");
    let to = |name: &str| dir.path().join(name);
    let write = |args: &[&str], name: &str| -> PathBuf {
        let out = to(name);
        let (verb, rest) = args.split_first().unwrap();
        expect(0, &[&[*verb, &source, "-o", str(&out)], rest].concat());
        out
    };
    let changes = |report: &Value| -> Vec<String> {
        let interface = report["functions"][0]["interface"].as_array().unwrap();
        let all = report["model"].as_array().unwrap().iter().chain(interface);
        all.map(|c| c["what"].as_str().unwrap().to_owned())
            .collect()
    };
    let diff = |out: &Path| json(1, &["diff", &source, str(out)]);

    let report = diff(&write(&["rename", "mel=sound"], "a.mlpackage"));
    assert_eq!(changes(&report), ["input renamed"]);
    assert_eq!(total(&report, "changed"), 0);

    let report = diff(&write(
        &["set", "--dtype", "*=fp16", "--author", "me"],
        "b.mlpackage",
    ));
    let expected = [
        "author",
        "input mel",
        "output features",
        "input mel in the program",
        "output features in the program",
    ];
    assert_eq!(changes(&report)[..5], expected);
    assert_eq!(total(&report, "added"), 2, "{report}");
    assert_eq!(total(&report, "removed"), 0);

    let report = diff(&write(&["expose", "input_9"], "c.mlpackage"));
    assert_eq!(changes(&report), ["output input_9"]);

    let report = diff(&write(&["convert", "--passes", "no-conv"], "d.mlpackage"));
    let removed = report["functions"][0]["removed"].as_array().unwrap();
    assert_eq!(removed.len(), 3, "{report}");
    assert!(removed.iter().all(|op| op["op_type"] == "conv"));

    let report = json(
        1,
        &["diff", &source, &fixture("asr-encoder/fp16.mlpackage")],
    );
    println!(
        "fp32 to fp16: {} added, {} removed, {} changed",
        total(&report, "added"),
        total(&report, "removed"),
        total(&report, "changed")
    );
    assert_eq!(total(&report, "removed"), 0);
    // Both take and give what they compute with.
    assert_eq!(total(&report, "added"), 0);
    let multi = fixture("control/multifunction/model.mlpackage");
    let report = json(1, &["diff", &source, &multi]);
    assert_eq!(report["functions_added"].as_array().unwrap().len(), 2);
    refused(
        &["diff", &source, "nothing.mlpackage"],
        &["nothing.mlpackage"],
    );
}
