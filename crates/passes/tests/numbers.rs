//! Whole models before and after decompose-conv, run by the interpreter.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking and print what they checked"
)]

use std::path::{Path, PathBuf};

use milwright_interp::Options;
use milwright_ir::{BlobSource, Model, Program};
use milwright_passes::{Pipeline, RunOptions};
use milwright_verify::{Runner, Subject, npz};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models")
}

fn shared() -> Option<PathBuf> {
    let shared = std::env::var_os("MILWRIGHT_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let models = shared.join("models");
    if !models.is_dir() {
        println!("skipped: no {}", models.display());
        return None;
    }
    Some(models)
}

fn runner<'m>(program: &'m Program, blobs: &'m (dyn BlobSource + Sync)) -> Runner<'m> {
    let subject = Subject {
        name: "model",
        program,
        blobs,
        signature: None,
        function: None,
    };
    Runner::new(subject, Options::default()).unwrap()
}

/// The largest difference of any output over all steps, absolute and relative
/// to the output's largest magnitude.
fn difference(package: &Path, inputs: &Path, text: &str) -> (f64, f64) {
    let model = Model::open(package).unwrap();
    let mut changed = model.program().clone();
    let pipeline = Pipeline::parse(text).unwrap();
    let report = pipeline
        .run(&mut changed, model.package(), &RunOptions::default())
        .unwrap();
    assert_eq!(report.left().count(), 0);
    let mut before = runner(model.program(), model.package());
    let mut after = runner(&changed, model.package());
    let (mut absolute, mut relative, mut step) = (0f64, 0f64, 0);
    loop {
        let path = inputs.join(format!("inputs.{step}.npz"));
        if !path.exists() {
            break;
        }
        let arrays = npz::load(&path).unwrap();
        let expected = before
            .step(&before.feed(&arrays, "inputs").unwrap())
            .unwrap();
        let found = after.step(&after.feed(&arrays, "inputs").unwrap()).unwrap();
        assert_eq!(expected.len(), found.len());
        for (e, f) in expected.iter().zip(&found) {
            assert_eq!((&e.name, e.array.shape()), (&f.name, f.array.shape()));
            let (e, f) = (e.array.data().to_f64(), f.array.data().to_f64());
            let scale = e.iter().fold(0f64, |m, v| m.max(v.abs()));
            for (e, f) in e.iter().zip(&f) {
                assert!(e.is_finite() && f.is_finite());
                absolute = absolute.max((e - f).abs());
                relative = relative.max((e - f).abs() / scale.max(1e-9));
            }
        }
        step += 1;
    }
    assert!(step > 0, "no inputs in {}", inputs.display());
    println!(
        "{} {text}: {step} step(s), largest difference {absolute:.3e}, relative {relative:.3e}",
        package.display()
    );
    (absolute, relative)
}

#[test]
fn fixtures_compute_the_same() {
    let root = fixtures();
    let mut models = 0;
    for (folder, package) in [
        ("asr-encoder", "fp32"),
        ("asr-encoder", "fp16"),
        ("mel-frontend", "fp32"),
        ("conv-zoo", "fp32"),
        ("conv-zoo", "fp16"),
        ("compressed/affine", "model"),
        ("compressed/lut", "model"),
        ("compressed/sparse", "model"),
        ("compressed/blockwise", "model"),
        ("compressed/grouped-lut", "model"),
        ("compressed/sparse-lut", "model"),
        ("compressed/sparse-quantised", "model"),
    ] {
        let folder = root.join(folder);
        let package = folder.join(format!("{package}.mlpackage"));
        for text in [
            "no-conv",
            "decompose-conv{taps=sum}",
            "decompose-conv{stride=strided-slice}",
        ] {
            let (_, relative) = difference(&package, &folder, text);
            assert!(relative <= 1e-5, "{relative}");
            models += 1;
        }
    }
    println!("{models} models compared");
}

/// The field report's figure for its own rewrite of this network.
#[test]
fn asr_encoder_is_as_close_as_the_field_report() {
    let Some(models) = shared() else { return };
    let folder = models.join("asr-encoder");
    let (absolute, _) = difference(&folder.join("fp32.mlpackage"), &folder, "no-conv");
    assert!(absolute <= 1.79e-6, "{absolute}");
}

#[test]
fn published_models_compute_the_same() {
    let Some(models) = shared() else { return };
    for (folder, package) in [
        ("basic-pitch", "model"),
        ("crepe-tiny", "model"),
        ("hand-detector", "model"),
        ("mel-encoder", "fused_fp32"),
        ("silero-vad", "unified"),
        ("silero-vad", "unified_int8"),
        ("silero-vad", "unified_palette_4bit"),
        ("silero-vad", "unified_pruned_int8"),
    ] {
        let folder = models.join(folder);
        let package = folder.join(format!("{package}.mlpackage"));
        let (_, relative) = difference(&package, &folder, "no-conv");
        assert!(relative <= 1e-5, "{relative}");
    }
}
