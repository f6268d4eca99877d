//! `milwright extract`: sub-models between named values.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it checked"
)]

mod common;

use std::path::Path;

use common::{all_refused, expect, fixture, json, str};
use serde_json::Value;

/// The values at the only seam of a model cut in two.
fn halves(model: &str, folder: &Path) -> Vec<String> {
    let report = json(0, &["bisect", model, "-o", str(folder), "--parts", "2"]);
    let values = report["seams"][0]["values"].as_array().unwrap().iter();
    values
        .map(|v| v["value"].as_str().unwrap().to_owned())
        .collect()
}

fn names(io: &Value) -> Vec<&str> {
    let each = io.as_array().unwrap().iter();
    each.map(|v| v["name"].as_str().unwrap()).collect()
}

fn same(one: &Path, other: &Path) {
    let args = ["verify", str(one), "--against", str(other), "--atol", "0"];
    let report = json(0, &args);
    assert_eq!(report["ok"], true, "{report}");
    for output in report["outputs"].as_array().unwrap() {
        assert_eq!(output["max_abs"], 0.0, "{output}");
    }
}

/// What lies before and behind a seam is what bisect makes of it.
#[test]
fn sub_models_compute_what_the_parts_compute() {
    let dir = tempfile::tempdir().unwrap();
    let models = [
        "asr-encoder/fp16.mlpackage",
        "transformer-flexible/fp32.mlpackage",
    ];
    for (number, model) in models.iter().enumerate() {
        let model = fixture(model);
        let parts = dir.path().join(format!("parts{number}"));
        let seam = halves(&model, &parts).join(",");
        let first = dir.path().join(format!("first{number}.mlpackage"));
        let args = ["extract", &model, "-o", str(&first), "--outputs", &seam];
        let report = json(0, &args);
        assert_eq!(names(&report["outputs"]).join(","), seam);
        same(&parts.join("stage1.mlpackage"), &first);

        let second_stage = parts.join("stage2.mlpackage");
        let whole = json(0, &["bisect", &model, "--dry-run", "--parts", "2"]);
        let takes = names(&whole["stages"][1]["inputs"]).join(",");
        let gives = names(&whole["stages"][1]["outputs"]).join(",");
        let second = dir.path().join(format!("second{number}.zip"));
        let ends = ["--inputs", &takes, "--outputs", &gives];
        let args = [&["extract", &model, "-o", str(&second)], &ends[..]].concat();
        let report = json(0, &args);
        assert_eq!(names(&report["inputs"]).join(","), takes);
        let (part, all) = (&report["weights"], &report["weights_before"]);
        assert!(part.as_u64() < all.as_u64());
        same(&second_stage, &second);
        println!("{model}: {seam}");
    }
}

#[test]
fn what_is_between_no_values_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("part.mlpackage");
    let mel = fixture("mel-frontend/fp32.mlpackage");
    let kv = fixture("transformer-kv/fp16.mlpackage");
    let text = expect(0, &["print", &kv]);
    let read = text.lines().find(|l| l.contains("read_state(")).unwrap();
    let read = read.split(" = ").next().unwrap();
    let state = read.split(' ').next_back().unwrap();
    let cases: Vec<(&str, Vec<&str>, &str)> = vec![
        (&mel, vec!["--outputs", "MELL"], "did you mean `mel`"),
        (&mel, vec!["--outputs", "waveform"], "input of the function"),
        (&mel, vec!["--outputs", "bank"], "constant"),
        (
            &mel,
            vec!["--inputs", "mel", "--outputs", "power"],
            "`waveform` would be needed",
        ),
        (
            &mel,
            vec!["--inputs", "mel,power", "--outputs", "features"],
            "no output depends on it",
        ),
        (
            &mel,
            vec!["--inputs", "mel", "--outputs", "mel"],
            "input of the sub-model",
        ),
        (&mel, vec![], "--outputs"),
        (&kv, vec!["--outputs", state], "state"),
    ];
    all_refused("extract", &out, &cases);
}
