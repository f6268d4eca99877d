//! `milwright convert --io`: the types of inputs and outputs.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it checked"
)]

mod common;

use std::path::Path;

use common::{all_refused, expect, files, fixture, json, milwright, programs, refused, str};
use milwright_ir::features::{Description, FeatureKind};
use milwright_ir::{Arg, DataType, Model, Program, ValueId};
use milwright_package::{Package, proto};
use proto::array_feature_type::{ArrayDataType, DefaultOptionalValue};
use proto::feature_type::Type;

/// The arrays among the inputs and outputs, of all functions.
fn arrays(d: &mut proto::ModelDescription) -> Vec<&mut proto::ArrayFeatureType> {
    let own = d.functions.iter_mut();
    let own = own.flat_map(|f| f.input.iter_mut().chain(&mut f.output));
    let all = d.input.iter_mut().chain(&mut d.output).chain(own);
    all.filter_map(|feature| match feature.r#type.as_mut()?.r#type.as_mut()? {
        Type::MultiArrayType(array) => Some(array),
        _ => None,
    })
    .collect()
}

/// What the description should be with another type for all floats; how many
/// that changes.
fn expected(path: &Path, to: ArrayDataType) -> (proto::ModelDescription, usize) {
    let mut d = Package::open(path).unwrap().spec().description().unwrap();
    let mut changed = 0;
    for array in arrays(&mut d) {
        let is = array.data_type();
        if [ArrayDataType::Float16, ArrayDataType::Float32].contains(&is) && is != to {
            array.data_type = to.into();
            changed += 1;
        }
    }
    (d, changed)
}

fn dtype(program: &Program, value: ValueId) -> Option<DataType> {
    program.values[value].ty.as_tensor().map(|t| t.dtype)
}

/// Types of what operations read and give, casts and constants apart.
fn computes_in(program: &Program, wanted: DataType) -> bool {
    let ops = program.all_ops().into_iter().map(|op| &program.ops[op]);
    let mut ops = ops.filter(|op| !["const", "cast"].contains(&op.op_type.as_str()));
    ops.any(|op| {
        let mut values = op.operands().chain(op.outputs.iter().copied());
        values.any(|v| dtype(program, v) == Some(wanted))
    })
}

/// Casts from one float type to another.
fn float_casts(path: &Path) -> usize {
    let model = Model::open(path).unwrap();
    let program = model.program();
    let float = |v| dtype(program, v).filter(|d| d.is_float());
    let ops = program.all_ops().into_iter().map(|op| &program.ops[op]);
    ops.filter(|op| op.op_type == "cast")
        .filter(|op| match op.args("x") {
            [Arg::Value(x)] => {
                let (from, to) = (float(*x), float(op.outputs[0]));
                from.is_some() && to.is_some() && from != to
            }
            _ => false,
        })
        .count()
}

/// Images that the program takes as fp32.
fn float_images(path: &Path) -> usize {
    let model = Model::open(path).unwrap();
    let d = Description::from_proto(&model.spec().description().unwrap());
    let inputs = d.functions.iter().flat_map(|f| &f.inputs);
    let images = inputs.filter(|f| matches!(f.kind, FeatureKind::Image(_)));
    let program = model.program();
    let is = |v: &ValueId, name: &str| {
        program.values[*v].name == name && dtype(program, *v) == Some(DataType::Float32)
    };
    let functions = || program.functions.iter().flat_map(|f| &f.inputs);
    images
        .filter(|f| functions().any(|v| is(v, &f.name)))
        .count()
}

/// Without passes it is `set --dtype` for everything: the same bytes. Nothing
/// of the description differs but the types, and every bit of the outputs is
/// what it was.
#[test]
fn it_is_what_set_does_and_nothing_else_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (mut models, mut features, mut functions) = (0, 0, 0);
    for (number, source) in programs().into_iter().enumerate() {
        let mut from = source.clone();
        for (io, to) in [
            ("fp16", ArrayDataType::Float16),
            ("fp32", ArrayDataType::Float32),
        ] {
            let out = dir.path().join(format!("{number}-{io}.mlpackage"));
            let (wanted, changes) = expected(&from, to);
            let args = ["convert", str(&from), "-o", str(&out), "--io", io];
            let exact = ["--verify", "--atol", "0", "--rtol", "0"];
            let report = json(0, &[&args[..], &exact].concat());
            let said = report["io"]["changed"].as_array().unwrap();
            let types = said.iter().filter(|c| c["after"] == io);
            assert_eq!(types.count(), changes, "{} {report}", source.display());
            assert_eq!(report["io"]["left"], serde_json::json!([]), "{report}");
            for compared in report["verify"].as_array().unwrap() {
                functions += 1;
                for output in compared["outputs"].as_array().unwrap() {
                    assert_eq!(output["max_abs"], 0.0, "{} {output}", source.display());
                }
            }
            let after = Package::open(&out).unwrap();
            assert_eq!(after.spec().description().unwrap(), wanted);
            let same = dir.path().join(format!("{number}-{io}-set.mlpackage"));
            let setting = format!("*={io}");
            let set = ["set", str(&from), "-o", str(&same), "--dtype", &setting];
            if changes == 0 {
                assert_eq!(
                    Package::open(&from).unwrap().spec().bytes(),
                    after.spec().bytes()
                );
            } else {
                expect(0, &set);
                assert!(files(&same) == files(&out), "{}", source.display());
                models += 1;
            }
            features += changes;
            from = out;
        }
    }
    println!(
        "{models} models written, {features} inputs and outputs changed, {functions} functions compared"
    );
    assert!(features >= 60, "{features}");
}

/// Behind the pass `fp16`, the casts at the ends go: where everything is
/// computed in fp16, none is left.
#[test]
fn no_cast_is_left_where_everything_is_fp16() {
    let dir = tempfile::tempdir().unwrap();
    let (mut whole, mut casts, mut partly) = (0, 0, 0);
    for (number, source) in programs().into_iter().enumerate() {
        let out = |what: &str| dir.path().join(format!("{number}-{what}.mlpackage"));
        let [ends, inside] = ["ends", "inside"].map(out);
        let convert = ["convert", str(&source), "--passes", "fp16", "-o"];
        expect(0, &[&convert[..], &[str(&inside)]].concat());
        let report = json(0, &[&convert[..], &[str(&ends), "--io", "fp16"]].concat());
        assert_eq!(report["io"]["left"], serde_json::json!([]), "{report}");
        let model = Model::open(&ends).unwrap();
        let (wanted, _) = expected(&source, ArrayDataType::Float16);
        assert_eq!(model.spec().description().unwrap(), wanted);
        let (before, after) = (float_casts(&inside), float_casts(&ends));
        if computes_in(model.program(), DataType::Float32) {
            partly += 1;
            assert!(after <= before, "{}: {before} to {after}", source.display());
        } else {
            // The pixels of an image are cast as before.
            assert_eq!(after, float_images(&ends), "{}", source.display());
            whole += 1;
            casts += before;
        }
    }
    println!(
        "{whole} models are fp16 as a whole, without the {casts} casts of before; {partly} are not"
    );
    assert!(whole >= 10 && casts >= 20, "{whole} {casts}");
}

/// Functions have their own inputs and outputs, of their own types.
#[test]
fn every_function_gets_the_type() {
    let dir = tempfile::tempdir().unwrap();
    let multi = fixture("control/multifunction/model.mlpackage");
    let out = dir.path().join("out.mlpackage");
    let args = [
        "convert",
        &multi,
        "-o",
        str(&out),
        "--passes",
        "fp16",
        "--io",
        "fp16",
    ];
    let verify = ["--verify", "--atol", "1e-2"];
    let report = json(0, &[&args[..], &verify].concat());
    let functions: std::collections::BTreeSet<&str> = report["io"]["changed"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|c| c["function"].as_str())
        .collect();
    assert_eq!(report["verify"].as_array().unwrap().len(), functions.len());
    assert!(functions.len() > 1, "{report}");
    println!("{} functions", functions.len());
}

/// A default stays the same number; one that fp16 does not hold keeps its input
/// what it is, which is said.
#[test]
fn defaults_stay_the_same_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let asr = fixture("asr-encoder/fp32.mlpackage");
    let [source, large, out] = ["a", "b", "c"].map(|n| dir.path().join(format!("{n}.mlpackage")));
    expect(
        0,
        &["set", &asr, "-o", str(&source), "--default", "mel=-1.5"],
    );
    let convert = ["convert", str(&source), "-o", str(&out), "--io", "fp16"];
    expect(0, &[&convert[..], &["--verify", "--atol", "0"]].concat());
    let mut d = Package::open(&out).unwrap().spec().description().unwrap();
    let mel = arrays(&mut d)
        .into_iter()
        .find(|a| a.default_optional_value.is_some());
    let value = mel.unwrap().default_optional_value;
    assert_eq!(value, Some(DefaultOptionalValue::FloatDefaultValue(-1.5)));

    expect(
        0,
        &["set", &asr, "-o", str(&large), "--default", "mel=-1e9"],
    );
    let none = dir.path().join("none.mlpackage");
    let beyond = "its default is -1000000000: fp16 ends at 65504";
    refused(
        &["set", str(&large), "-o", str(&none), "--dtype", "mel=fp16"],
        &[beyond],
    );
    let convert = ["convert", str(&large), "-o", str(&none), "--io", "fp16"];
    let report = json(1, &[&convert[..], &["--strict"]].concat());
    assert_eq!(
        (report["ok"].as_bool(), none.exists()),
        (Some(false), false)
    );
    let report = json(0, &convert);
    assert_eq!(
        report["io"]["left"].as_array().unwrap().len(),
        1,
        "{report}"
    );
    assert_eq!(report["io"]["left"][0]["name"], "mel");
    let why = report["io"]["left"][0]["why"].as_str().unwrap();
    assert!(why.contains(beyond), "{why}");
    let changed = report["io"]["changed"].as_array().unwrap();
    assert!(
        changed.iter().any(|c| c["what"] == "output features: type"),
        "{report}"
    );
    println!("a default that fits and one that does not");
}

#[test]
fn what_has_no_such_ends_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.mlpackage");
    let asr = fixture("asr-encoder/fp32.mlpackage");
    let pipeline = fixture("../pipelines/programs/model.mlpackage");
    let cases = [
        (&pipeline, vec!["--io", "fp16"], "need an ML Program"),
        (&asr, vec!["--from-preflight"], "--io fp16"),
        (&asr, vec!["--from-preflight", "--io", "fp32"], "--io fp16"),
    ];
    let cases = cases.map(|(model, more, message)| (model.as_str(), more, message));
    all_refused("convert", &out, &cases);
    let int32 = ["convert", &asr, "-o", str(&out), "--io", "int32"];
    assert_eq!(milwright(&int32).status.code(), Some(2));
    assert!(!out.exists());
}
