//! Precisions, --preflight and pipelines through the binary.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it checked"
)]

mod common;

use common::{expect, fixture, json, refused, shared, str};
use milwright_verify::{DType, npz};

#[test]
fn every_precision_runs_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("transformer-flexible/fp16.mlpackage");
    let inputs = fixture("transformer-flexible/inputs.0.npz");
    let mut means = Vec::new();
    for precision in ["fp32", "native", "half", "fp64"] {
        let out = dir.path().join(format!("{precision}.npz"));
        let report = json(
            0,
            &[
                "run",
                &model,
                "--inputs",
                &inputs,
                "--precision",
                precision,
                "-o",
                str(&out),
            ],
        );
        assert_eq!(report["precision"], precision);
        let arrays = npz::load(&out).unwrap();
        let (_, array) = arrays.iter().next().unwrap();
        let wide = precision == "fp64";
        let expected = if wide { DType::Float64 } else { DType::Float32 };
        assert_eq!(array.dtype(), expected);
        means.push(report["outputs"][0]["mean"].as_f64().unwrap());
    }
    println!("means in fp32, native, half, fp64: {means:?}");
    let [single, native, half, wide] = means[..] else {
        panic!("{means:?}");
    };
    assert!(single != native && single != wide && native != wide);
    // All of this model is fp16.
    assert_eq!(native, half);
    assert!((native - single).abs() < 1e-2 && (wide - single).abs() < 1e-6);
    // What fp64 gave is within rounding of fp32.
    let wide = dir.path().join("fp64.npz");
    json(
        0,
        &[
            "verify",
            &model,
            "--inputs",
            &inputs,
            "--against",
            str(&wide),
            "--atol",
            "1e-4",
        ],
    );
}

#[test]
fn preflight_is_a_report_for_people_and_for_scripts() {
    let model = fixture("mel-frontend/fp32.mlpackage");
    let inputs = fixture("mel-frontend/inputs.0.npz");
    let args = ["verify", &model, "--preflight", "--inputs", &inputs];
    let text = expect(0, &args);
    for part in [
        "as if converted to fp16",
        "constants that fp16 cannot hold",
        "mel = log (epsilon)",
        "operations that add most error",
        "under the smallest normal number",
        "ok: nothing overflows",
    ] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    assert!(!text.contains("random"), "{text}");
    let report = json(0, &args);
    assert_eq!(report["schema"], "milwright-preflight/1");
    assert_eq!(
        (&report["ok"], &report["precision"]),
        (&true.into(), &"half".into())
    );
    assert_eq!(report["seed"], serde_json::Value::Null);
    assert_eq!(report["worst"].as_array().unwrap().len(), 10);
    let row = report["ops"][1].as_object().unwrap();
    for key in [
        "op",
        "op_type",
        "output",
        "dtype",
        "min",
        "max",
        "smallest",
        "overflow",
        "nonfinite",
        "below_normal",
        "to_zero",
        "added",
        "total",
    ] {
        assert!(row.contains_key(key), "{key}");
    }
    // Every row, on demand.
    let rows = report["ops"].as_array().unwrap();
    let all = expect(0, &[&args[..], &["--per-op"]].concat());
    for row in rows {
        assert!(all.contains(row["op"].as_str().unwrap()), "{row}");
    }
    assert!(all.lines().count() >= text.lines().count() + rows.len());
    // Without inputs they are random, and that is said.
    let text = expect(0, &["verify", &model, "--preflight"]);
    assert!(text.contains("random inputs (--seed 0)"), "{text}");
    // Out of range on purpose: a status for scripts.
    let loud = ["verify", &model, "--preflight", "--range", "-100000,100000"];
    let text = expect(1, &loud);
    assert!(text.contains("NOT SAFE IN FP16"), "{text}");
    let report = json(1, &loud);
    assert_eq!(report["ok"], false);
    assert!(report["ops"][0]["overflow"].as_u64().unwrap() > 0);
}

#[test]
fn preflight_does_not_go_with_a_comparison() {
    let model = fixture("mel-frontend/fp32.mlpackage");
    for more in [&["--against", model.as_str()][..], &["--atol", "1"]] {
        let args = [&["verify", model.as_str(), "--preflight"], more].concat();
        assert_eq!(common::milwright(&args).status.code(), Some(2), "{more:?}");
    }
    refused(
        &["verify", &model, "--preflight", "--precision", "fp64"],
        &["--preflight", "half or native"],
    );
}

#[test]
fn preflight_names_the_front_end_of_a_shared_model() {
    let Some(models) = shared() else { return };
    let folder = models.join("mel-encoder");
    let inputs = [folder.join("inputs.0.npz"), folder.join("inputs.1.npz")];
    let model = folder.join("fused_fp32.mlpackage");
    let args = [
        "verify",
        str(&model),
        "--preflight",
        "--inputs",
        str(&inputs[0]),
        "--inputs",
        str(&inputs[1]),
    ];
    let text = expect(1, &args);
    for part in [
        "cast_0 = cast",
        "240000",
        "var_76 = sub",
        "mel_1 = log",
        "var_51 = pow",
    ] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    let embedder = models.join("embedder/fp32.mlpackage");
    let text = expect(0, &["verify", str(&embedder), "--preflight"]);
    assert!(!text.contains("results that fp16 cannot hold"), "{text}");
    assert!(text.contains("become 0"), "{text}");
}

#[test]
fn a_pipeline_runs_verifies_and_is_inspected() {
    let model = fixture("../pipelines/programs/model.mlpackage");
    let inputs = fixture("../pipelines/programs/inputs.0.npz");
    let expected = fixture("../pipelines/programs/expected.0.npz");
    let verify = [
        "verify",
        &model,
        "--inputs",
        &inputs,
        "--against",
        &expected,
        "--atol",
        "1e-5",
    ];
    let report = json(0, &verify);
    assert_eq!(report["outputs"][0]["name"], "score");
    // The same against itself, with random inputs.
    let report = json(0, &["verify", &model, "--against", &model]);
    assert_eq!(
        (&report["function"], &report["seed"]),
        (&"main".into(), &0.into())
    );
    let report = json(0, &["run", &model, "--steps", "2"]);
    assert_eq!(report["outputs"][0]["shape"], serde_json::json!([3, 7]));
    let text = expect(0, &["inspect", &model]);
    for part in [
        "kind pipeline",
        "stage 0 embed",
        "stage 1 head",
        "kind ml_program",
        "hidden",
    ] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    let report = json(0, &["inspect", &model]);
    let stages = report["stages"].as_array().unwrap();
    assert_eq!(stages.len(), 2);
    assert_eq!(stages[1]["name"], "head");
    refused(
        &["verify", &model, "--against", &model, "--per-op"],
        &["--per-op", "pipeline of 2"],
    );
    refused(
        &["verify", &model, "--preflight"],
        &["--preflight", "pipeline of 2"],
    );
    refused(
        &["run", &model, "--inputs", &expected],
        &["no input `score`", "x: ", "scale: "],
    );
}

#[test]
fn a_pipeline_with_a_foreign_stage_is_refused_by_name() {
    let model = fixture("../pipelines/foreign/model.mlpackage");
    for args in [
        &["run", model.as_str()][..],
        &["verify", &model, "--against", &model],
    ] {
        refused(args, &["stage 1 `double`", "neural_network", "ML Programs"]);
    }
    let text = expect(0, &["inspect", &model]);
    assert!(text.contains("kind neural_network"), "{text}");
}
