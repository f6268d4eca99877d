//! Whole models through the binary: copies, expected outputs, models without
//! convolutions. Over `fixtures/`, and over the shared models when they are
//! there.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it checked"
)]

mod common;

use std::path::{Path, PathBuf};

use common::{expect, files, fixture, fixtures, json, packages, shared, steps, str};

/// A model, its steps, and how far its outputs may be from the expected ones.
struct Case {
    model: PathBuf,
    function: Option<&'static str>,
    inputs: Vec<String>,
    expected: Vec<String>,
    atol: f64,
}

impl Case {
    /// Steps numbered from 0, or the one step of a function.
    fn new(folder: &Path, model: &str, function: Option<&'static str>, atol: f64) -> Case {
        let (inputs, expected) = match function {
            None => (steps(folder, "inputs"), steps(folder, "expected")),
            Some(name) => {
                let of =
                    |prefix: &str| str(&folder.join(format!("{prefix}.{name}.npz"))).to_owned();
                (vec![of("inputs")], vec![of("expected")])
            }
        };
        let model = folder.join(model);
        assert!(
            !inputs.is_empty() && inputs.len() == expected.len(),
            "{model:?}"
        );
        Case {
            model,
            function,
            inputs,
            expected,
            atol,
        }
    }

    /// Verifies the model against its expected outputs; returns the largest
    /// difference of each output.
    fn check(&self) -> Vec<(String, f64)> {
        let atol = self.atol.to_string();
        let mut args = vec!["verify", str(&self.model), "--atol", &atol];
        for (i, e) in self.inputs.iter().zip(&self.expected) {
            args.extend(["--inputs", i, "--against", e]);
        }
        if let Some(function) = self.function {
            args.extend(["--function", function]);
        }
        let report = json(0, &args);
        assert_eq!(report["steps"], self.inputs.len());
        assert_eq!(report["not_compared"].as_array().unwrap().len(), 0);
        let outputs: Vec<(String, f64)> = report["outputs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|o| {
                let name = o["name"].as_str().unwrap().to_owned();
                (name, o["max_abs"].as_f64().unwrap())
            })
            .collect();
        let largest = outputs.iter().map(|o| o.1).fold(0.0, f64::max);
        println!(
            "{}: {} steps, largest difference {largest:.2e}, {atol} allowed",
            self.model.display(),
            self.inputs.len()
        );
        outputs
    }
}

fn same_after_convert(below: &Path) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let all = packages(below);
    for (i, package) in all.iter().enumerate() {
        let out = dir.path().join(format!("{i}.mlpackage"));
        expect(0, &["convert", str(package), "-o", str(&out)]);
        assert_eq!(files(package), files(&out), "{}", package.display());
    }
    println!("{} packages are the same after convert", all.len());
    all.len()
}

#[test]
fn convert_without_passes_keeps_every_byte() {
    assert!(same_after_convert(&fixtures()) >= 15);
}

#[test]
fn convert_without_passes_keeps_every_byte_of_shared_models() {
    if let Some(models) = shared() {
        assert!(same_after_convert(&models) >= 20);
    }
}

#[test]
fn a_zip_and_a_folder_hold_the_same_model() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("asr-encoder/fp32.mlpackage");
    let zip = dir.path().join("m.zip");
    let back = dir.path().join("m.mlpackage");
    expect(0, &["convert", &model, "-o", str(&zip)]);
    expect(0, &["convert", str(&zip), "-o", str(&back)]);
    assert_eq!(files(Path::new(&model)), files(&back));
    let again = dir.path().join("n.zip");
    expect(0, &["convert", &model, "-o", str(&again)]);
    let contains = |p: &Path| std::fs::read(p).unwrap().len();
    assert_eq!(contains(&zip), contains(&again));
}

#[test]
fn fixtures_give_their_expected_outputs() {
    let all = fixtures();
    // Where weights were rounded to fp16, 1e-3 of the largest output
    // (fixtures/README.md), which is 5 and, for the flexible transformer, 41.
    let table: [(&str, &str, Option<&str>, f64); 25] = [
        ("asr-encoder", "fp32.mlpackage", None, 1e-5),
        ("asr-encoder", "fp16.mlpackage", None, 5e-3),
        ("mel-frontend", "fp32.mlpackage", None, 1e-5),
        ("wide-ends", "fp32.mlpackage", None, 1e-5),
        ("transformer-kv", "fp16.mlpackage", None, 5e-3),
        ("transformer-kv", "fp16_slice_update.mlpackage", None, 5e-3),
        ("transformer-flexible", "fp32.mlpackage", None, 1e-5),
        ("transformer-flexible", "fp16.mlpackage", None, 4e-2),
        ("conv-zoo", "fp32.mlpackage", None, 1e-5),
        ("conv-zoo", "fp16.mlpackage", None, 5e-3),
        ("conv3d", "fp32.mlpackage", None, 1e-5),
        ("conv-dynamic", "fp32.mlpackage", None, 1e-5),
        ("compressed/affine", "model.mlpackage", None, 1e-5),
        ("compressed/lut", "model.mlpackage", None, 1e-5),
        ("compressed/sparse", "model.mlpackage", None, 1e-5),
        ("compressed/blockwise", "model.mlpackage", None, 5e-3),
        ("compressed/grouped-lut", "model.mlpackage", None, 5e-3),
        ("compressed/sparse-lut", "model.mlpackage", None, 5e-3),
        ("compressed/sparse-quantised", "model.mlpackage", None, 5e-3),
        ("control/classifier-number", "model.mlpackage", None, 1e-5),
        ("control/classifier-text", "model.mlpackage", None, 1e-5),
        ("control/cond", "model.mlpackage", None, 1e-5),
        (
            "control/multifunction",
            "model.mlpackage",
            Some("encode"),
            1e-5,
        ),
        (
            "control/multifunction",
            "model.mlpackage",
            Some("step"),
            1e-5,
        ),
        ("control/types", "model.mlpackage", None, 1e-5),
    ];
    for (folder, model, function, atol) in table {
        Case::new(&all.join(folder), model, function, atol).check();
    }
    println!("{} models against expected outputs", table.len());
}

#[test]
fn shared_models_give_their_expected_outputs() {
    let Some(all) = shared() else { return };
    let table: [(&str, &str, Option<&str>, f64); 19] = [
        ("basic-pitch", "model.mlpackage", None, 5e-5),
        ("silero-vad", "unified.mlpackage", None, 5e-3),
        ("crepe-tiny", "model.mlpackage", None, 1e-3),
        ("hand-detector", "model.mlpackage", None, 0.132),
        ("asr-encoder", "fp32.mlpackage", None, 2e-6),
        ("asr-encoder", "fp16.mlpackage", None, 2e-3),
        ("mel-encoder", "fused_fp32.mlpackage", None, 1e-4),
        ("mel-encoder", "fused_fp16.mlpackage", None, 2e-2),
        ("embedder", "fp32.mlpackage", None, 1e-6),
        ("embedder", "fp16.mlpackage", None, 1e-3),
        ("edge-cases/cond", "model.mlpackage", None, 1e-4),
        (
            "edge-cases/enumerated_shapes",
            "model.mlpackage",
            None,
            1e-4,
        ),
        ("edge-cases/image_early_exit", "model.mlpackage", None, 1e-4),
        ("edge-cases/kv_state", "model.mlpackage", None, 2e-2),
        (
            "edge-cases/multifunction",
            "model.mlpackage",
            Some("decode"),
            2e-2,
        ),
        (
            "edge-cases/multifunction",
            "model.mlpackage",
            Some("prefill"),
            2e-2,
        ),
        ("edge-cases/range_dim", "model.mlpackage", None, 1e-4),
        ("edge-cases/tied_embedding", "model.mlpackage", None, 1e-4),
        ("silero-vad", "unified_int8.mlpackage", None, 0.2),
    ];
    for (folder, model, function, atol) in table {
        let outputs = Case::new(&all.join(folder), model, function, atol).check();
        if model == "unified.mlpackage" {
            // The states may be 5e-3 off, the probability may not.
            let probability = &outputs.iter().find(|o| o.0 == "vad_output").unwrap();
            assert!(probability.1 <= 1e-3, "{probability:?}");
        }
    }
    println!("{} shared models against expected outputs", table.len());
}

#[test]
fn a_step_with_another_state_is_noticed() {
    let folder = fixtures().join("transformer-kv");
    let inputs = steps(&folder, "inputs");
    let expected = steps(&folder, "expected");
    // The second step alone starts from an empty cache.
    let model = fixture("transformer-kv/fp16.mlpackage");
    let report = json(
        1,
        &[
            "verify",
            &model,
            "--inputs",
            &inputs[1],
            "--against",
            &expected[1],
            "--atol",
            "5e-3",
        ],
    );
    assert_eq!(report["ok"], false);
    assert_eq!(report["steps"], 1);
}

#[test]
fn run_saves_what_verify_expects() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("transformer-kv/fp16.mlpackage");
    let inputs = steps(&fixtures().join("transformer-kv"), "inputs");
    let out = dir.path().join("out.npz");
    let mut args = vec!["run", &model, "-o", str(&out), "--repeat", "2"];
    for i in &inputs {
        args.extend(["--inputs", i]);
    }
    let report = json(0, &args);
    assert_eq!(report["schema"], "milwright-run/1");
    assert_eq!(report["runs_ms"].as_array().unwrap().len(), 2);
    assert!(report["median_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(report["written"].as_array().unwrap().len(), inputs.len());
    let written = steps(dir.path(), "out");
    let mut args = vec!["verify", &model, "--atol", "0"];
    for (i, o) in inputs.iter().zip(&written) {
        args.extend(["--inputs", i, "--against", o]);
    }
    let report = json(0, &args);
    assert_eq!(report["outputs"][0]["max_abs"], 0.0);
}

#[test]
fn the_json_of_verify_is_the_contract() {
    let model = fixture("asr-encoder/fp32.mlpackage");
    let report = json(0, &["verify", &model, "--against", &model, "--per-op"]);
    assert_eq!(report["schema"], "milwright-verify/1");
    assert_eq!(report["ok"], true);
    assert_eq!(report["seed"], 0);
    let output = report["outputs"][0].as_object().unwrap();
    for key in [
        "name",
        "ok",
        "max_abs",
        "max_rel",
        "mean_abs",
        "cosine",
        "snr_db",
        "ref_max_abs",
        "nan",
        "inf",
    ] {
        assert!(output.contains_key(key), "{key}");
    }
    assert_eq!(output["max_abs"], 0.0);
    assert_eq!(output["snr_db"], serde_json::Value::Null);
    assert!(report["per_op"]["compared"].as_u64().unwrap() > 20);
    assert_eq!(report["per_op"]["first"], serde_json::Value::Null);
}

#[test]
fn per_op_finds_the_operation_whose_weight_was_changed() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("asr-encoder/fp32.mlpackage");
    let changed = dir.path().join("changed.mlpackage");
    common::copy(Path::new(&model), &changed);
    let report = json(0, &["inspect", &model, "--largest", "1"]);
    let weight = &report["weights"]["largest"][0];
    let name = weight["name"].as_str().unwrap();
    let file = changed.join("Data/com.apple.CoreML/weights/weight.bin");
    let mut bytes = std::fs::read(&file).unwrap();
    // The record's third field is where the data starts.
    let record = weight["offset"].as_u64().unwrap() as usize;
    let data = u64::from_le_bytes(bytes[record + 16..record + 24].try_into().unwrap()) as usize;
    let first = f32::from_le_bytes(bytes[data..data + 4].try_into().unwrap());
    bytes[data..data + 4].copy_from_slice(&(first + 1.0).to_le_bytes());
    std::fs::write(&file, bytes).unwrap();

    let report = json(
        1,
        &["verify", str(&changed), "--against", &model, "--per-op"],
    );
    let departure = &report["per_op"]["first"];
    let output = departure["value"]["name"].as_str().unwrap();
    let text = expect(0, &["print", &model]);
    let line = text
        .lines()
        .find(|l| l.contains(&format!(" {output} = ")))
        .unwrap();
    println!("{name} was changed, found: {line}");
    assert!(line.contains(&format!("= {name}")), "{line}");
}

#[test]
fn seeds_and_ranges_decide_random_inputs() {
    let fp32 = fixture("asr-encoder/fp32.mlpackage");
    let mean = |options: &[&str]| {
        let mut args = vec!["run", &fp32];
        args.extend(options);
        json(0, &args)["outputs"][0]["mean"].as_f64().unwrap()
    };
    assert_eq!(mean(&["--seed", "1"]), mean(&["--seed", "1"]));
    assert_eq!(mean(&[]), mean(&["--seed", "0"]));
    assert_ne!(mean(&["--seed", "1"]), mean(&["--seed", "2"]));
    assert_ne!(mean(&[]), mean(&["--range", "-2,2"]));
    assert_eq!(mean(&["--range", "-2,2"]), mean(&["--range", "mel=-2,2"]));
}
