//! `lint` on whole models: what it finds is kept as text beside this file.
//! `BLESS=1` rewrites the text.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it checked"
)]

mod common;

use std::path::{Path, PathBuf};

use common::{expect, fixture, fixtures, json, milwright, packages, refused, shared, str};
use serde_json::Value;

/// A finding in a line or two: severity, rule, how sure; what; where first.
fn compact(findings: &[Value]) -> String {
    let mut out = String::new();
    for f in findings {
        let word = |key: &str| f[key].as_str().unwrap_or_default();
        let place = &f["location"];
        let at = ["op", "value", "param"]
            .iter()
            .filter_map(|k| place[*k].as_str());
        let at: Vec<&str> = at.collect();
        let places = f["places"].as_array().unwrap().len();
        let stage = f["stage"]
            .as_str()
            .map(|s| format!("{s}: "))
            .unwrap_or_default();
        let function = place["function"].as_str().unwrap_or("the model");
        out.push_str(&format!(
            "{} {} ({})\n  {stage}{}\n  {function}: {}",
            word("severity"),
            word("code"),
            word("confidence"),
            word("message"),
            at.join(", ")
        ));
        if places > 1 {
            out.push_str(&format!("; {places} places"));
        }
        out.push('\n');
        if let Some(command) = f["command"].as_str() {
            assert!(command.starts_with("milwright "), "{command}");
            out.push_str(&format!("  {}\n", command.split(' ').nth(1).unwrap()));
        }
    }
    if out.is_empty() {
        out.push_str("nothing\n");
    }
    out
}

fn lint(model: &Path, more: &[&str]) -> (i32, Value) {
    let mut args = vec!["lint", str(model), "--json"];
    args.extend(more);
    let output = milwright(&args);
    let status = output.status.code().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(status < 2, "{}: {error}", model.display());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["schema"], "milwright-lint/1");
    assert_eq!(status == 0, report["ok"].as_bool().unwrap());
    (status, report)
}

fn findings(report: &Value) -> &[Value] {
    report["findings"].as_array().unwrap()
}

/// Findings of severity error of a rule.
fn errors(report: &Value, rule: &str) -> usize {
    let all = findings(report).iter();
    all.filter(|f| f["code"] == rule && f["severity"] == "error")
        .count()
}

/// Compares what is found in all models below a folder with the text that is
/// kept for it.
fn snapshots(below: &Path, kept: &str) -> usize {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/lint")
        .join(kept);
    let bless = std::env::var_os("BLESS").is_some();
    let models = packages(below);
    let mut stale = Vec::new();
    let mut count = 0;
    for model in &models {
        let (_, report) = lint(model, &[]);
        let text = compact(findings(&report));
        count += findings(&report).len();
        let name = model.strip_prefix(below).unwrap().with_extension("txt");
        let name: Vec<&str> = name.iter().map(|part| part.to_str().unwrap()).collect();
        let path: PathBuf = kept.join(name.join("."));
        if bless {
            std::fs::create_dir_all(&kept).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        if std::fs::read_to_string(&path).unwrap_or_default() != text {
            stale.push(path);
        }
    }
    assert!(
        stale.is_empty(),
        "other findings than kept, see BLESS=1: {stale:?}"
    );
    println!("{} models, {count} findings", models.len());
    models.len()
}

#[test]
fn fixtures_have_the_findings_that_are_kept() {
    assert!(snapshots(&fixtures(), "fixtures") >= 15);
}

#[test]
fn shared_models_have_the_findings_that_are_kept() {
    if let Some(models) = shared() {
        assert!(snapshots(&models, "shared") >= 15);
    }
}

/// The field report: the message is the device's own.
#[test]
fn a_fused_mel_encoder_is_refused_as_the_device_refuses_it() {
    let Some(models) = shared() else { return };
    let (status, report) = lint(
        &models.join("mel-encoder/fused_fp32.mlpackage"),
        &["--target", "iphone13"],
    );
    assert_eq!(status, 1);
    let wide = findings(&report)
        .iter()
        .find(|f| f["number"] == 240_000)
        .unwrap();
    assert_eq!(wide["code"], "dimension-cap");
    assert_eq!(wide["severity"], "error");
    assert_eq!(wide["limit"], 16_384);
    let message = wide["message"].as_str().unwrap();
    let device = "Tensor dimensions N1D1C1H1W240000 are not within supported range, \
                  N[1-65536] D[1-16384] C[1-65536] H[1-16384] W[1-16384]";
    assert!(message.contains(device), "{message}");
    assert!(
        wide["command"]
            .as_str()
            .unwrap()
            .starts_with("milwright split ")
    );
    let seed = models.join("../seeds/mel-encoder-ane-limit.txt");
    if let Ok(seed) = std::fs::read_to_string(seed) {
        let seed: String = seed.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(seed.contains("N1D1C1H1W240000"));
        println!("the report words it: {}", seed.contains(device));
    }
}

/// The encoder by itself has no tensor that is too large, for any device, and a
/// model that ships has no error.
#[test]
fn good_models_have_no_errors() {
    let Some(models) = shared() else { return };
    let targets = [
        "any", "iphone13", "iphone15", "a14", "a15", "a16", "a17", "a18", "a19", "m1", "m2", "m3",
        "m4", "m5",
    ];
    for target in targets {
        let (_, report) = lint(
            &models.join("mel-encoder/encoder_fp32.mlpackage"),
            &["--target", target],
        );
        let wide = findings(&report)
            .iter()
            .filter(|f| f["code"] == "dimension-cap");
        assert_eq!(wide.count(), 0, "{target}");
        let (status, report) = lint(
            &models.join("silero-vad/unified.mlpackage"),
            &["--target", target],
        );
        let errors = findings(&report)
            .iter()
            .filter(|f| f["severity"] == "error");
        let errors: Vec<&str> = errors.map(|f| f["code"].as_str().unwrap()).collect();
        assert!(errors.is_empty(), "{target}: {errors:?}");
        assert_eq!(status, 0, "{target}");
    }
    let (_, report) = lint(&models.join("basic-pitch/model.mlpackage"), &[]);
    assert!(errors(&report, "dimension-cap") > 0);
    println!("{} targets", targets.len());
}

#[test]
fn rules_are_selected_and_explained() {
    let model = fixture("conv-zoo/fp32.mlpackage");
    let of = |more: &[&str]| {
        let (_, report) = lint(Path::new(&model), more);
        let codes = findings(&report)
            .iter()
            .map(|f| f["code"].as_str().unwrap().to_owned());
        codes.collect::<std::collections::BTreeSet<String>>()
    };
    let all = of(&[]);
    assert!(all.contains("fp32-compute") && all.len() > 1, "{all:?}");
    assert_eq!(of(&["--select", "fp32-compute"]).len(), 1);
    assert_eq!(of(&["--select", "dt01"]).len(), 1);
    assert!(!of(&["--ignore", "fp32-compute"]).contains("fp32-compute"));
    // On CPU and GPU nothing of the Neural Engine matters.
    assert!(!of(&["--unit", "gpu"]).contains("fp32-compute"));
    refused(
        &["lint", &model, "--select", "fp32-computed"],
        &["did you mean `fp32-compute`?"],
    );
    refused(
        &["lint", &model, "--function", "mains"],
        &["did you mean `main`?"],
    );
    let text = expect(0, &["lint", "--explain", "SHP04"]);
    assert!(
        text.contains("dimension-cap") && text.contains("Sources disagree: "),
        "{text}"
    );
    let listed = json(0, &["rules"]);
    assert_eq!(listed["schema"], "milwright-rules/1");
    let rules = listed["rules"].as_array().unwrap();
    assert!(rules.len() >= 70);
    assert!(expect(0, &["rules"]).contains(&format!("{} rules", rules.len())));
    assert!(expect(0, &["rules", "dimension-cap"]).contains("16384"));
}

/// Text for people holds what matters and nothing that steers a terminal.
#[test]
fn text_names_rule_place_number_and_limit() {
    let model = fixture("mel-frontend/fp32.mlpackage");
    let output = milwright(&["lint", &model]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for words in [
        "[fp32-compute]",
        "measured",
        "\n    in ",
        "help: ",
        "target any",
    ] {
        assert!(text.contains(words), "no {words:?} in:\n{text}");
    }
}

/// A pipeline manifest: each stage for the units that it records, unless the
/// user says otherwise.
#[test]
fn stages_are_linted_for_their_own_units() {
    let folder = tempfile::tempdir().unwrap();
    let stages = folder.path().join("stages");
    let model = fixture("mel-frontend/fp32.mlpackage");
    expect(0, &["split", &model, "-o", str(&stages)]);
    let (status, report) = lint(&stages, &[]);
    assert_eq!((status, errors(&report, "dimension-cap")), (0, 0));
    assert_eq!(report["units"], "of each stage");
    let (status, all) = lint(&stages, &["--unit", "all"]);
    assert_eq!(status, 1);
    assert!(errors(&all, "dimension-cap") > 0);
    let wide = findings(&all)
        .iter()
        .find(|f| f["code"] == "dimension-cap")
        .unwrap();
    assert_eq!(wide["stage"], "stage1");
    let manifest = stages.join("pipeline.json");
    assert_eq!(lint(&manifest, &[]).1["findings"], report["findings"]);
    println!(
        "{} findings, {} for all units",
        findings(&report).len(),
        findings(&all).len()
    );
}
