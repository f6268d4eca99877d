//! `milwright reduce`: failing models made smaller.

#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it checked"
)]

mod common;
#[path = "../../../fixtures/transformer.rs"]
mod transformer;

use std::path::{Path, PathBuf};

use common::{expect, files, fixture, json, milwright, refused, shared, str};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_milwright");

/// A check that looks for an operation in the text of a model.
fn has(op: &str) -> String {
    format!("'{BINARY}' print {{}} | grep -q ' {op}('")
}

/// A transformer of about 300 operations.
fn large(folder: &Path) -> PathBuf {
    let path = folder.join("large.mlpackage");
    let measures = transformer::Measures {
        layers: 8,
        width: 32,
        feed_forward: 48,
        heads: 4,
        key_heads: 2,
        head_width: 8,
        vocabulary: 64,
        length: 6,
        tied_head: true,
    };
    transformer::write(&path, &measures, 7).unwrap();
    path
}

fn operations(report: &Value, when: &str) -> u64 {
    report[when]["operations"].as_u64().unwrap()
}

#[test]
fn a_transformer_shrinks_to_the_operation_that_is_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    let model = large(dir.path());
    let mut reports = Vec::new();
    for (number, op) in ["softmax", "silu", "gather", "concat"]
        .into_iter()
        .enumerate()
    {
        let out = dir.path().join(format!("small{number}.mlpackage"));
        let check = has(op);
        let args = [
            "reduce",
            str(&model),
            "--check",
            &check,
            "--check-exit",
            "0",
            "-o",
            str(&out),
        ];
        let report = json(0, &args);
        let (before, after) = (operations(&report, "before"), operations(&report, "after"));
        println!(
            "{op}: {before} operations, then {after}, after {} checks",
            report["runs"]
        );
        assert!(before >= 250, "{before}");
        assert!(after < 10, "{after} operations are left for {op}");
        assert_eq!(report["complete"], true);
        assert!(expect(0, &["print", str(&out)]).contains(&format!(" {op}(")));
        // It is a model like any other.
        json(0, &["verify", str(&out), "--against", str(&out)]);
        reports.push((report, out));
    }
    // The same answers give the same result.
    let (first, out) = &reports[0];
    let again = dir.path().join("again.mlpackage");
    let check = has("softmax");
    let args = [
        "reduce",
        str(&model),
        "--check",
        &check,
        "--check-exit",
        "0",
        "-o",
        str(&again),
    ];
    let second = json(0, &args);
    assert_eq!(first["steps"], second["steps"]);
    assert_eq!(files(out), files(&again));
}

#[test]
fn the_smallest_so_far_is_there_when_it_ends_early() {
    let dir = tempfile::tempdir().unwrap();
    let model = large(dir.path());
    let out = dir.path().join("small.mlpackage");
    let check = has("softmax");
    let base = [
        "reduce",
        str(&model),
        "--check",
        &check,
        "--check-exit",
        "0",
        "-o",
        str(&out),
    ];
    let report = json(0, &[&base[..], &["--max-runs", "5"]].concat());
    assert_eq!(report["runs"], 5);
    assert_eq!(report["complete"], false);
    assert!(operations(&report, "after") < operations(&report, "before"));
    assert!(expect(0, &["print", str(&out)]).contains(" softmax("));
    refused(&base, &["--force"]);
    // A check that breaks on the way: what was found stays.
    let count = dir.path().join("count");
    let breaks = format!(
        "echo >> '{}'; test $(wc -l < '{}') -gt 4 && exit 127; {}",
        count.display(),
        count.display(),
        has("softmax")
    );
    let kept = dir.path().join("kept.mlpackage");
    let args = [
        "reduce",
        str(&model),
        "--check",
        &breaks,
        "--check-exit",
        "0",
        "-o",
        str(&kept),
    ];
    let output = milwright(&args);
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr);
    let message = message.split("error: ").nth(1).unwrap();
    assert!(
        message.contains("smallest model so far") && message.contains("127"),
        "{message}"
    );
    assert!(expect(0, &["print", str(&kept)]).contains(" softmax("));
}

/// Models with states, branches, several functions, flexible shapes and
/// compressed weights.
#[test]
fn models_of_every_kind_are_reduced() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        (
            "transformer-kv/fp16.mlpackage",
            "",
            "coreml_update_state|write_state",
            8,
        ),
        ("transformer-flexible/fp16.mlpackage", "", "softmax", 3),
        ("control/cond/model.mlpackage", "", "cond", 2),
        ("control/multifunction/model.mlpackage", "step", "linear", 3),
        (
            "control/types/model.mlpackage",
            "",
            "logical_and|greater|less",
            4,
        ),
        (
            "compressed/sparse-lut/model.mlpackage",
            "",
            "constexpr_lut_to_sparse",
            3,
        ),
        ("conv-zoo/fp32.mlpackage", "", "conv_transpose", 2),
    ];
    for (number, (model, function, ops, most)) in cases.into_iter().enumerate() {
        let model = fixture(model);
        let out = dir.path().join(format!("{number}.mlpackage"));
        let check = format!("'{BINARY}' print {{}} | grep -qE ' ({ops})\\('");
        let mut args = vec!["reduce", &model, "--check", &check, "--check-exit", "0"];
        args.extend(["-o", str(&out)]);
        if !function.is_empty() {
            args.extend(["--function", function]);
        }
        let report = json(0, &args);
        let (before, after) = (operations(&report, "before"), operations(&report, "after"));
        println!(
            "{model}: {before}, then {after} operations, {} checks",
            report["runs"]
        );
        assert!(after <= most && after <= before, "{report}");
    }
}

/// What fp16 breaks is found: a few operations, with the status of findings and
/// not that of failures.
#[test]
fn a_numeric_failure_is_reduced() {
    let dir = tempfile::tempdir().unwrap();
    let mut models = vec![PathBuf::from(fixture("mel-frontend/fp32.mlpackage"))];
    if let Some(shared) = shared() {
        models.push(shared.join("mel-encoder/fused_fp32.mlpackage"));
    }
    for (number, model) in models.iter().enumerate() {
        let check = format!("'{BINARY}' verify {{}} --preflight");
        if milwright(&["verify", str(model), "--preflight"])
            .status
            .code()
            != Some(1)
        {
            println!("{}: nothing overflows", model.display());
            assert_ne!(number, 1, "the model of the field report overflows");
            continue;
        }
        let out = dir.path().join(format!("{number}.mlpackage"));
        let report = json(
            0,
            &["reduce", str(model), "--check", &check, "-o", str(&out)],
        );
        let (before, after) = (operations(&report, "before"), operations(&report, "after"));
        println!(
            "{}: {before}, then {after} operations, {} checks",
            model.display(),
            report["runs"]
        );
        assert_eq!(report["check_exit"], serde_json::json!(["1"]));
        assert!(after < 10, "{report}");
        expect(1, &["verify", str(&out), "--preflight"]);
    }
}

#[test]
fn what_does_not_fail_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("mel-frontend/fp32.mlpackage");
    let out = dir.path().join("small.mlpackage");
    let reduce = |check: &str, more: &[&str], words: &[&str]| {
        let args = ["reduce", &model, "--check", check, "-o", str(&out)];
        refused(&[&args[..], more].concat(), words);
        assert!(!out.exists());
    };
    reduce("true", &[], &["--check-exit 0"]);
    reduce(
        "exit 2 #",
        &["--check-exit", "1,3"],
        &["status 2", "1 or 3"],
    );
    let timeout = ["--timeout", "1", "--check-exit", "1"];
    reduce("sleep 60 #", &timeout, &["a timeout"]);
    reduce("no-such-command", &[], &["127"]);
    reduce("true", &["--check-exit", "x"], &["0 to 255"]);
    reduce("false", &["--function", "none"], &["none"]);
    let copy = dir.path().join("copy.mlpackage");
    common::copy(Path::new(&model), &copy);
    let args = [
        "reduce",
        str(&copy),
        "--check",
        "false",
        "-o",
        str(&copy),
        "--force",
    ];
    refused(&args, &["another output"]);
    assert_eq!(files(&copy), files(Path::new(&model)));
}
