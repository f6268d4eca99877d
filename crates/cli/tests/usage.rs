//! Exit status, messages and JSON of the binary.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it checked"
)]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};

use common::{copy, expect, files, fixture, json, refused, str};
use milwright_verify::{Array, NamedArrays, npz};

fn keys(value: &serde_json::Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

fn write(path: &Path, arrays: Vec<(&str, Array)>) -> String {
    let mut named = NamedArrays::new();
    for (name, array) in arrays {
        assert!(named.insert(name, array));
    }
    npz::save(path, &named, true).unwrap();
    path.to_str().unwrap().to_owned()
}

fn zeros(shape: &[usize]) -> Array {
    let count = shape.iter().product();
    Array::new(shape.to_vec(), vec![0f32; count].into()).unwrap()
}

#[test]
fn wrong_usage_is_status_2_and_help_is_0() {
    for args in [
        &[][..],
        &["nonsense"],
        &["inspect"],
        &["verify", "x.mlpackage"],
        &["verify", "x", "--against", "y", "--atol", "-1"],
        &["verify", "x", "--against", "y", "--precision", "fp13"],
        &["convert", "x.mlpackage"],
    ] {
        assert_eq!(common::milwright(args).status.code(), Some(2), "{args:?}");
    }
    for verb in [
        "completions",
        "convert",
        "inspect",
        "ops",
        "print",
        "run",
        "verify",
    ] {
        assert!(expect(0, &[verb, "--help"]).contains("Usage:"), "{verb}");
    }
    assert!(expect(0, &["--version"]).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn what_is_no_model_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.mlpackage");
    let empty = dir.path().join("empty.mlpackage");
    std::fs::create_dir(&empty).unwrap();
    let text = dir.path().join("notes.txt");
    std::fs::write(&text, "hello").unwrap();
    let zip = dir.path().join("broken.zip");
    std::fs::write(&zip, "PK\u{3}\u{4}").unwrap();
    let out = dir.path().join("out.mlpackage");
    for (path, word) in [
        (&missing, "missing.mlpackage"),
        (&empty, "Manifest.json"),
        (&text, "notes.txt"),
        (&zip, "broken.zip"),
    ] {
        for verb in ["inspect", "print", "run"] {
            refused(&[verb, str(path)], &[word]);
        }
        refused(&["convert", str(path), "-o", str(&out)], &[word]);
        refused(&["verify", str(path), "--against", str(path)], &[word]);
        assert!(!out.exists());
    }
}

#[test]
fn damaged_packages_are_refused_with_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let good = fixture("asr-encoder/fp32.mlpackage");
    let package = dir.path().join("m.mlpackage");
    copy(Path::new(&good), &package);
    let manifest = package.join("Manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let out = dir.path().join("out.mlpackage");

    let climbing = text.replace("com.apple.CoreML/model.mlmodel", "../../../secret.mlmodel");
    assert_ne!(climbing, text);
    std::fs::write(&manifest, climbing).unwrap();
    refused(&["inspect", str(&package)], &["secret.mlmodel", "refused"]);
    std::fs::write(&manifest, "{").unwrap();
    refused(&["inspect", str(&package)], &["Manifest.json"]);
    std::fs::write(&manifest, &text).unwrap();

    let weights = package.join("Data/com.apple.CoreML/weights/weight.bin");
    let bytes = std::fs::read(&weights).unwrap();
    let run = ["run", str(&package)];
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    refused(&run, &["weight.bin", "past the end"]);
    let mut wrong = bytes.clone();
    wrong[64..68].copy_from_slice(&[0; 4]);
    std::fs::write(&weights, &wrong).unwrap();
    refused(&run, &["weight.bin", "0xdeadbeef"]);
    std::fs::remove_file(&weights).unwrap();
    refused(&run, &["weight.bin", "missing"]);
    std::fs::write(&weights, &bytes).unwrap();

    let spec = package.join("Data/com.apple.CoreML/model.mlmodel");
    let bytes = std::fs::read(&spec).unwrap();
    let mut cuts = 0;
    for at in (0..bytes.len()).step_by(bytes.len() / 20) {
        std::fs::write(&spec, &bytes[..at]).unwrap();
        let inspected = common::milwright(&["inspect", str(&package)]);
        assert_eq!(inspected.status.code(), Some(2), "cut at {at}");
        refused(&["print", str(&package)], &["model.mlmodel"]);
        cuts += 1;
    }
    println!("{cuts} cuts of the spec");
    assert!(!out.exists());
}

#[test]
fn inputs_that_do_not_fit_are_refused_together_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("asr-encoder/fp32.mlpackage");
    let bad = dir.path().join("bad.npz");
    let out = dir.path().join("out.npz");
    let run = |inputs: &str, words: &[&str]| {
        refused(&["run", &model, "--inputs", inputs, "-o", str(&out)], words);
        assert!(!out.exists());
    };
    let name = write(&bad, vec![("mell", zeros(&[1, 64, 100]))]);
    run(
        &name,
        &[
            "bad.npz",
            "`mell`",
            "did you mean `mel`?",
            "input `mel` is missing",
            "fp32 [1, 64, 100]",
        ],
    );
    let shape = write(&bad, vec![("mel", zeros(&[1, 64, 99]))]);
    run(&shape, &["`mel` has shape [1, 64, 99]", "[1, 64, 100]"]);
    let integers = Array::new(vec![1, 64, 100], vec![0i32; 6400].into()).unwrap();
    let dtype = write(&bad, vec![("mel", integers)]);
    run(
        &dtype,
        &["`mel` is int32", "fp32", ".astype(numpy.float32)"],
    );
    std::fs::write(&bad, "not a zip").unwrap();
    run(str(&bad), &["bad.npz"]);
    run(str(&dir.path().join("no.npz")), &["no.npz"]);
    refused(&["run", &model, "--input", "mel"], &["NAME=FILE.npy"]);
    refused(&["run", &model, "--range", "2,1"], &["2,1"]);
    refused(
        &["run", &model, "--range", "mell=0,1"],
        &["did you mean `mel`?"],
    );
    refused(&["run", &model, "--function", "nope"], &["nope", "main"]);
    refused(&["run", &model, "-o", "out.bin"], &[".npz"]);
}

#[test]
fn integer_inputs_take_integers_that_fit() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("control/types/model.mlpackage");
    let report = json(0, &["inspect", &model]);
    let input = report["functions"][0]["inputs"]
        .as_array()
        .unwrap()
        .iter()
        .find(|i| i["dtype"] == "int32")
        .unwrap();
    let name = input["name"].as_str().unwrap();
    let shape: Vec<usize> = serde_json::from_value(input["shape"].clone()).unwrap();
    let count: usize = shape.iter().product();
    let path = dir.path().join("x.npz");
    let floats = Array::new(shape.clone(), vec![1.5f32; count].into()).unwrap();
    let file = write(&path, vec![(name, floats)]);
    refused(
        &["run", &model, "--inputs", &file, "--seed", "1"],
        &["is float32", "int32"],
    );
    let large = Array::new(shape, vec![1i64 << 40; count].into()).unwrap();
    let file = write(&path, vec![(name, large)]);
    refused(
        &["run", &model, "--inputs", &file, "--seed", "1"],
        &["1099511627776", "cannot hold"],
    );
}

#[test]
fn expected_values_must_belong_to_outputs_and_inputs() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("asr-encoder/fp32.mlpackage");
    let inputs = fixture("asr-encoder/inputs.0.npz");
    let wrong = write(&dir.path().join("e.npz"), vec![("featurs", zeros(&[1]))]);
    refused(
        &["verify", &model, "--inputs", &inputs, "--against", &wrong],
        &["e.npz", "did you mean `features`?"],
    );
    let expected = fixture("asr-encoder/expected.0.npz");
    refused(
        &["verify", &model, "--against", &expected],
        &["give all with --inputs"],
    );
    refused(
        &[
            "verify",
            &model,
            "--inputs",
            &inputs,
            "--against",
            &expected,
            "--against",
            &expected,
        ],
        &["1 steps", "2 files"],
    );
    refused(
        &[
            "verify",
            &model,
            "--inputs",
            &inputs,
            "--against",
            &expected,
            "--per-op",
        ],
        &["--per-op"],
    );
    // A shape that differs is a finding.
    let shape = write(
        &dir.path().join("s.npz"),
        vec![("features", zeros(&[1, 2]))],
    );
    let report = json(
        1,
        &["verify", &model, "--inputs", &inputs, "--against", &shape],
    );
    assert!(
        report["outputs"][0]["problem"]
            .as_str()
            .unwrap()
            .contains("[1, 2]")
    );
}

#[test]
fn outputs_are_not_overwritten_and_not_put_into_the_input() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("m.mlpackage");
    copy(Path::new(&fixture("asr-encoder/fp32.mlpackage")), &model);
    let before = files(&model);
    let taken = dir.path().join("taken.mlpackage");
    std::fs::write(&taken, "mine").unwrap();
    refused(
        &["convert", str(&model), "-o", str(&taken)],
        &["taken.mlpackage", "--force"],
    );
    assert_eq!(std::fs::read(&taken).unwrap(), b"mine");
    let inside = model.join("Data/inside.mlpackage");
    refused(
        &["convert", str(&model), "-o", str(&inside)],
        &["inside.mlpackage"],
    );
    refused(
        &["convert", str(&model), "-o", str(&model), "--force"],
        &["m.mlpackage"],
    );
    refused(
        &["convert", str(&model), "-o", str(&dir.path().join("out"))],
        &[".mlpackage"],
    );
    assert_eq!(files(&model), before);
    let npz = dir.path().join("out.npz");
    std::fs::write(&npz, "mine").unwrap();
    refused(
        &["run", str(&model), "-o", str(&npz)],
        &["out.npz", "--force"],
    );
    assert_eq!(std::fs::read(&npz).unwrap(), b"mine");
    let left: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".milwright"))
        .collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn a_closed_pipe_ends_in_silence() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_milwright"))
        .args(["print", &fixture("conv-zoo/fp32.mlpackage")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn the_json_of_inspect_has_these_fields() {
    let report = json(0, &["inspect", &fixture("transformer-kv/fp16.mlpackage")]);
    assert_eq!(report["schema"], "milwright-inspect/1");
    assert_eq!(
        keys(&report),
        [
            "schema",
            "model",
            "container",
            "kind",
            "spec_version",
            "spec_bytes",
            "metadata",
            "default_function",
            "functions",
            "weights",
            "stages",
            "files"
        ]
    );
    let function = &report["functions"][0];
    assert_eq!(
        keys(function),
        [
            "name",
            "opset",
            "inputs",
            "outputs",
            "states",
            "operations",
            "op_histogram",
            "unknown_ops",
            "multiply_adds"
        ]
    );
    assert_eq!(function["states"].as_array().unwrap().len(), 4);
    assert_eq!(function["states"][0]["kind"], "state");
    assert_eq!(function["states"][0]["dtype"], "fp16");
    assert_eq!(report["weights"]["by_dtype"][0]["dtype"], "fp16");
    let flexible = json(
        0,
        &["inspect", &fixture("transformer-flexible/fp32.mlpackage")],
    );
    assert!(flexible["functions"][0]["inputs"][0]["shape_ranges"].is_array());
    let two = json(
        0,
        &["inspect", &fixture("control/multifunction/model.mlpackage")],
    );
    assert_eq!(two["default_function"], "step");
    assert_eq!(two["functions"].as_array().unwrap().len(), 2);
}

#[test]
fn the_json_of_ops_covers_the_table() {
    let report = json(0, &["ops"]);
    assert_eq!(report["schema"], "milwright-ops/1");
    let ops = report["ops"].as_array().unwrap();
    println!("{} operations", ops.len());
    assert!(ops.len() > 100);
    assert!(
        ops.iter()
            .all(|op| !op["summary"].as_str().unwrap().is_empty())
    );
    let conv = json(0, &["ops", "conv"]);
    assert_eq!(conv["ops"][0]["name"], "conv");
    assert!(expect(0, &["ops", "conv"]).contains("strides"));
    refused(&["ops", "convv"], &["did you mean `conv`?"]);
}

#[test]
fn completions_are_written_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            expect(0, &["completions", shell]).contains("milwright"),
            "{shell}"
        );
    }
    assert_eq!(
        common::milwright(&["completions", "csh"]).status.code(),
        Some(2)
    );
}
