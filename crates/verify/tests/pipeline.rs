//! Pipelines of ML Programs.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking and print what they checked"
)]

mod common;

use std::path::PathBuf;

use common::{repository, shared};
use milwright_interp::{Options, Precision};
use milwright_ir::DataType;
use milwright_verify::{Executable, Runner, npz};

fn fixtures() -> PathBuf {
    repository().join("fixtures/pipelines")
}

fn open(name: &str) -> Executable {
    Executable::open(&fixtures().join(name).join("model.mlpackage")).unwrap()
}

fn runner(model: &Executable, precision: Precision) -> Runner<'_> {
    let options = Options {
        precision,
        ..Options::default()
    };
    model.runner(None, options).unwrap()
}

/// Runs the fixture; returns how far its output is from torch's.
fn difference(precision: Precision) -> f64 {
    let model = open("programs");
    let mut runner = runner(&model, precision);
    let folder = fixtures().join("programs");
    let inputs = npz::load(&folder.join("inputs.0.npz")).unwrap();
    let expected = npz::load(&folder.join("expected.0.npz")).unwrap();
    let feed = runner.feed(&inputs, "inputs").unwrap();
    let outputs = runner.step(&feed).unwrap();
    assert_eq!(outputs.len(), 1);
    assert_eq!(
        (outputs[0].name.as_str(), outputs[0].dtype),
        ("score", DataType::Float32)
    );
    let expected = expected.get("score").unwrap();
    assert_eq!(outputs[0].array.shape(), expected.shape());
    let out = outputs[0].array.data().to_f64();
    let pairs = out.iter().zip(expected.data().to_f64());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn stages_run_in_sequence_wired_by_name() {
    let model = open("programs");
    assert!(model.is_pipeline());
    assert_eq!(model.functions(), ["main"]);
    let runner = runner(&model, Precision::Fp32);
    // `hidden` goes from stage to stage; the caller gives what is left.
    let inputs: Vec<&str> = runner.inputs().iter().map(|i| i.name.as_str()).collect();
    assert_eq!(inputs, ["x", "scale"]);
    assert_eq!(runner.output_names(), ["score"]);
    let single = difference(Precision::Fp32);
    let native = difference(Precision::Native);
    let half = difference(Precision::Half);
    println!("difference to torch: fp32 {single:.1e}, native {native:.1e}, half {half:.1e}");
    assert!(single < 1e-6 && native < 1e-3 && half < 1e-3);
    // Between the stages is an fp16 feature, and only `native` rounds it.
    assert_ne!(single, native);
    assert!((difference(Precision::Fp64) - single).abs() < 1e-6);
}

#[test]
fn a_stage_of_another_kind_is_named() {
    let path = fixtures().join("foreign/model.mlpackage");
    let message = Executable::open(&path).err().unwrap().to_string();
    println!("{message}");
    for part in ["stage 1 `double`", "neural_network", "ML Programs"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_pipeline_has_one_function_and_is_no_single_program() {
    let model = open("programs");
    let error = model.function(Some("other")).unwrap_err().to_string();
    assert!(
        error.contains("\"other\"") && error.contains("main"),
        "{error}"
    );
    let mut runner = runner(&model, Precision::Fp32);
    let error = runner.single("--per-op").err().unwrap().to_string();
    assert!(
        error.contains("--per-op") && error.contains("pipeline of 2"),
        "{error}"
    );
}

#[test]
fn a_shared_pipeline_runs_on_random_inputs() {
    let Some(models) = shared() else { return };
    let model = Executable::open(&models.join("mil-text/pipeline-cast/input.mlmodel")).unwrap();
    let mut runner = runner(&model, Precision::Native);
    let arrays = runner.random(&Default::default(), 1, 0).unwrap();
    let feed = runner.feed(&arrays, "random").unwrap();
    let outputs = runner.step(&feed).unwrap();
    // Rounded to fp16 by the first stage, widened by the second.
    let given = arrays.get("input").unwrap().data().to_f64();
    let rounded: Vec<f64> = given
        .iter()
        .map(|&v| half::f16::from_f64(v).to_f64())
        .collect();
    assert_eq!(outputs[0].array.data().to_f64(), rounded);
    assert_ne!(given, rounded);
}
