//! `run`, `verify` and `inspect` of a folder of stages; other commands refuse it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it checked"
)]

mod common;
#[path = "../../../fixtures/stages.rs"]
mod stages;

use std::path::PathBuf;

use common::{expect, fixtures, json, refused, str};
use milwright_package::PIPELINE_FILE;

fn pipeline() -> PathBuf {
    fixtures().join("../pipelines/programs/model.mlpackage")
}

#[test]
fn stages_are_run_verified_and_shown_wherever_a_model_is() {
    let dir = tempfile::tempdir().unwrap();
    stages::unpack(&pipeline(), dir.path());
    let folder = str(dir.path());
    let file = dir.path().join(PIPELINE_FILE);
    let whole = pipeline();
    let inputs = whole.with_file_name("inputs.0.npz");
    let expected = whole.with_file_name("expected.0.npz");
    let given = ["--inputs", str(&inputs)];

    let out = dir.path().join("out.npz");
    let run = [&["run", folder, "-o", str(&out)][..], &given].concat();
    assert!(expect(0, &run).contains("score"));
    let against = |model: &str, reference: &str, more: &[&str]| {
        let args = [&["verify", model, "--against", reference][..], &given, more].concat();
        json(0, &args)
    };
    assert_eq!(
        against(str(&file), str(&expected), &["--atol", "1e-5"])["ok"],
        true
    );
    for (model, reference) in [(folder, str(&whole)), (str(&whole), str(&file))] {
        let report = against(model, reference, &["--atol", "0"]);
        assert_eq!(report["ok"], true, "{report}");
    }
    // By itself, with random inputs.
    let random = [
        "verify",
        folder,
        "--against",
        str(&whole),
        "--atol",
        "0",
        "--steps",
        "3",
    ];
    assert_eq!(json(0, &random)["ok"], true);

    let text = expect(0, &["inspect", folder]);
    for word in [
        "pipeline manifest",
        "cpuAndGPU",
        "cpuAndNeuralEngine",
        "embed.mlpackage",
        "a test wants cpuAndGPU",
        "stage `embed`",
        "the caller",
    ] {
        assert!(text.contains(word), "no {word:?} in:\n{text}");
    }
    let report = json(0, &["inspect", str(&file)]);
    assert_eq!(report["schema"], "milwright-inspect-stages/1");
    let first = &report["manifest"]["stages"][0];
    assert_eq!(first["compute_units"], "cpuAndGPU");
    assert_eq!(report["packages"][1]["stage"], "head");
    assert!(report["packages"][1]["bytes"].as_u64().unwrap() > 500);
}

#[test]
fn what_needs_one_package_or_one_program_says_so() {
    let dir = tempfile::tempdir().unwrap();
    stages::unpack(&pipeline(), dir.path());
    let folder = str(dir.path());
    let out = dir.path().join("out.mlpackage");
    let words = ["pipeline manifest", "name a stage", "embed.mlpackage"];
    refused(&["print", folder], &words);
    refused(&["convert", folder, "-o", str(&out)], &words);
    let decompose = ["convert", folder, "--passes", "dce", "-o", str(&out)];
    refused(&decompose, &words);
    assert!(!out.exists());
    let whole = pipeline();
    refused(
        &["verify", folder, "--preflight"],
        &["--preflight", "pipeline of 2"],
    );
    let per_op = ["verify", folder, "--against", str(&whole), "--per-op"];
    refused(&per_op, &["--per-op", "pipeline of 2"]);
    refused(
        &["run", folder, "--function", "other"],
        &["\"other\"", "main"],
    );

    // A stage that is not what was recorded is neither run nor compared.
    let spec = dir
        .path()
        .join("head.mlpackage/Data/com.apple.CoreML/model.mlmodel");
    let mut bytes = std::fs::read(&spec).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&spec, bytes).unwrap();
    let words = ["stage `head`", "model.mlmodel", "BLAKE3"];
    let npz = dir.path().join("out.npz");
    refused(&["run", folder, "-o", str(&npz)], &words);
    refused(&["verify", folder, "--against", str(&whole)], &words);
    refused(&["verify", str(&whole), "--against", folder], &words);
    assert!(!npz.exists());

    let file = dir.path().join(PIPELINE_FILE);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("head.mlpackage", "../head.mlpackage")).unwrap();
    for verb in ["run", "inspect", "print"] {
        refused(&[verb, folder], &["`../head.mlpackage`", "`..`"]);
    }
    refused(
        &["inspect", str(&dir.path().join("no/pipeline.json"))],
        &["no/pipeline.json"],
    );
}
