//! `milwright merge`: parts back into one model, functions, pipelines.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it checked"
)]

mod common;
#[path = "../../../fixtures/same_program.rs"]
mod same_program;

use std::path::{Path, PathBuf};

use common::{expect, files, fixture, json, refused, shared, steps, str};
use milwright_ir::Model;
use milwright_ir::features::Description;
use same_program::{described, lines};
use serde_json::Value;

const WEIGHTS: &str = "Data/com.apple.CoreML/weights/weight.bin";

fn size(package: &Path) -> u64 {
    std::fs::metadata(package.join(WEIGHTS)).unwrap().len()
}

/// Merges with `--verify`, and gives the report.
fn merge(models: &[&str], out: &Path, more: &[&str]) -> Value {
    let end = ["-o", str(out), "--verify"];
    let report = json(0, &[&["merge"], models, &end, more].concat());
    assert_eq!(report["schema"], "milwright-merge/1");
    assert_eq!(report["ok"], true);
    let compared = report["verify"].as_array().unwrap();
    assert!(!compared.is_empty());
    for output in compared
        .iter()
        .flat_map(|c| c["outputs"].as_array().unwrap())
    {
        assert_eq!(output["max_abs"], 0.0, "{output}");
    }
    report
}

/// Cuts a model with `verb`, merges the folder, and requires the model back.
fn there_and_back(model: &Path, verb: &[&str], dir: &Path) {
    let (folder, out) = (dir.join("parts"), dir.join("merged.mlpackage"));
    expect(0, &[verb, &["-o", str(&folder), "--force"]].concat());
    let inputs = steps(model.parent().unwrap(), "inputs");
    let mut more = vec!["--force"];
    for file in &inputs {
        more.extend(["--inputs", file]);
    }
    merge(&[str(&folder.join("pipeline.json"))], &out, &more);
    let (before, after) = (Model::open(model).unwrap(), Model::open(&out).unwrap());
    let what = format!("{verb:?}");
    assert!(
        lines(&before, "main", true) == lines(&after, "main", false),
        "{what}"
    );
    assert_eq!(
        described(&before, "main"),
        described(&after, "main"),
        "{what}"
    );
    assert_eq!(before.spec().version(), after.spec().version(), "{what}");
    assert!(
        size(&out) <= size(model),
        "{what}: more weights than before"
    );
}

#[test]
fn what_was_cut_becomes_the_same_model_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut models = vec![
        PathBuf::from(fixture("mel-frontend/fp32.mlpackage")),
        PathBuf::from(fixture("transformer-kv/fp16.mlpackage")),
        PathBuf::from(fixture("transformer-flexible/fp32.mlpackage")),
    ];
    if let Some(shared) = shared() {
        let names = [
            "asr-encoder/fp16",
            "crepe-tiny/model",
            "edge-cases/cond/model",
            "edge-cases/enumerated_shapes/model",
            "edge-cases/image_early_exit/model",
            "edge-cases/kv_state/model",
            "edge-cases/range_dim/model",
            "edge-cases/tied_embedding/model",
            "embedder/fp32",
            "hand-detector/model",
            "mel-encoder/fused_fp16",
            "silero-vad/unified",
            "silero-vad/unified_palette_4bit",
        ];
        models.extend(names.iter().map(|n| shared.join(format!("{n}.mlpackage"))));
    }
    for model in &models {
        there_and_back(model, &["bisect", str(model), "--parts", "3"], dir.path());
    }
    let mut split = 0;
    for model in &models {
        // Not every model has a seam that the Neural Engine asks for.
        let args = ["split", str(model), "--dry-run"];
        if common::milwright(&args).status.success() {
            there_and_back(model, &["split", str(model)], dir.path());
            split += 1;
        }
    }
    println!(
        "{} models bisected and merged, {split} split and merged",
        models.len()
    );
    assert!(split > 0);
}

#[test]
fn models_in_a_row_become_one() {
    let Some(shared) = shared() else { return };
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("whole.mlpackage");
    let path = |name: &str| {
        shared
            .join(format!("{name}.mlpackage"))
            .display()
            .to_string()
    };
    let halves = ["mel-encoder/preprocessor_fp32", "mel-encoder/encoder_fp32"].map(path);
    let halves: Vec<&str> = halves.iter().map(String::as_str).collect();
    let report = merge(&halves, &out, &[]);
    assert_eq!(report["parts"], 2);
    let function = &report["functions"][0];
    assert_eq!(
        function["inputs"],
        serde_json::json!(["audio_signal", "audio_length"])
    );
    // What was exported whole gives the same, but for the order of sums.
    let whole = path("mel-encoder/fused_fp32");
    let inputs = shared.join("mel-encoder/inputs.1.npz");
    let args = [
        "verify",
        str(&out),
        "--against",
        &whole,
        "--inputs",
        str(&inputs),
    ];
    let compared = common::milwright(&args);
    println!("{}", String::from_utf8_lossy(&compared.stdout));
}

#[test]
fn functions_share_their_weights() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("functions.mlpackage");
    let whole = fixture("transformer-kv/fp16.mlpackage");
    let other = fixture("transformer-kv/fp16_slice_update.mlpackage");
    let sources = [
        format!("one={whole}"),
        format!("two={other}"),
        format!("three={whole}"),
    ];
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let report = merge(&sources, &out, &["--functions", "--default", "two"]);
    assert_eq!(report["verify"].as_array().unwrap().len(), 3);
    assert!(report["weights"]["shared_blobs"].as_u64().unwrap() > 0);
    let merged = Model::open(&out).unwrap();
    let d = merged.spec().description().unwrap();
    assert!(d.input.is_empty() && d.output.is_empty() && d.state.is_empty());
    assert_eq!(d.default_function_name, "two");
    let names: Vec<&str> = d.functions.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["one", "two", "three"]);
    assert_eq!(merged.spec().version(), 9);
    for (name, source) in [("one", &whole), ("two", &other), ("three", &whole)] {
        let source = Model::open(source).unwrap();
        assert!(
            lines(&merged, name, false) == lines(&source, "main", false),
            "{name}"
        );
        let mut own = described(&merged, name);
        own.metadata = described(&source, "main").metadata;
        assert_eq!(own, described(&source, "main"), "{name}");
    }
    // The second is like the first but for how it writes its state.
    let both = size(Path::new(&whole)) + size(Path::new(&other));
    println!("{} bytes of weights, {both} in the two models", size(&out));
    assert!(size(&out) < both * 3 / 4);

    // One of several functions, under another name; iOS 17 is raised.
    let again = dir.path().join("again.mlpackage");
    let source = format!("decode={}@three", str(&out));
    let flexible = format!("embed={}", fixture("transformer-flexible/fp16.mlpackage"));
    let report = merge(&[&source, &flexible], &again, &["--functions"]);
    let functions = report["functions"].as_array().unwrap();
    assert_eq!(functions[0]["default"], true);
    for function in functions {
        let older = !function["why_older"].is_null();
        assert_eq!(function["opset"] == "CoreML8", !older, "{function}");
    }
    // All functions of a model.
    let report = merge(
        &[str(&out), &flexible],
        &dir.path().join("4.zip"),
        &["--functions"],
    );
    assert_eq!(report["functions"].as_array().unwrap().len(), 4);
}

#[test]
fn a_pipeline_is_what_the_folder_makes() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("asr-encoder/fp16.mlpackage");
    let folder = dir.path().join("parts");
    expect(
        0,
        &[
            "bisect",
            &model,
            "-o",
            str(&folder),
            "--parts",
            "3",
            "--pipeline",
        ],
    );
    let whole = files(&folder.join("pipeline.mlpackage"));
    let out = dir.path().join("pipeline.mlpackage");
    merge(&[str(&folder)], &out, &["--pipeline"]);
    assert!(files(&out) == whole, "from the folder");
    let stages: Vec<PathBuf> = (1..=3)
        .map(|n| folder.join(format!("stage{n}.mlpackage")))
        .collect();
    let stages: Vec<&str> = stages.iter().map(|s| str(s)).collect();
    merge(&stages, &out, &["--pipeline", "--force"]);
    assert!(files(&out) == whole, "from the packages");
}

#[test]
fn a_dry_run_writes_nothing_and_the_same_bytes_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("asr-encoder/fp32.mlpackage");
    let folder = dir.path().join("parts");
    expect(0, &["bisect", &model, "-o", str(&folder), "--parts", "2"]);
    let out = dir.path().join("merged.mlpackage");
    let text = expect(0, &["merge", str(&folder), "-o", str(&out), "--dry-run"]);
    assert!(
        text.contains("nothing is written") && !out.exists(),
        "{text}"
    );
    expect(0, &["merge", str(&folder), "--pipeline", "--dry-run"]);
    let functions = [format!("a={model}"), format!("b={model}")];
    expect(
        0,
        &[
            "merge",
            &functions[0],
            &functions[1],
            "--functions",
            "--dry-run",
        ],
    );
    let again = dir.path().join("again.mlpackage");
    for out in [&out, &again] {
        expect(0, &["merge", str(&folder), "-o", str(out)]);
    }
    assert!(files(&out) == files(&again));
    refused(&["merge", str(&folder), "-o", str(&out)], &["--force"]);
}

#[test]
fn what_cannot_be_merged_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.mlpackage");
    let mel = fixture("mel-frontend/fp32.mlpackage");
    let kv = fixture("transformer-kv/fp16.mlpackage");
    let other = fixture("transformer-kv/fp16_slice_update.mlpackage");
    let several = fixture("control/multifunction/model.mlpackage");
    let text = fixture("control/classifier-text/model.mlpackage");
    let pipeline = format!(
        "{}/../pipelines/foreign/model.mlpackage",
        common::fixtures().display()
    );
    let folder = dir.path().join("parts");
    expect(0, &["bisect", &kv, "-o", str(&folder), "--parts", "2"]);
    let half = folder.join("stage1.mlpackage");
    let changed = folder.join("stage2.mlpackage/Manifest.json");
    let one = format!("a={mel}");
    let cases: Vec<(Vec<&str>, &str)> = vec![
        (vec![&mel], "nothing to merge it with"),
        (vec![&kv, &other], "gives too"),
        (vec![str(&half), &kv], "both keep a state"),
        (vec![&one, &mel], "add --functions"),
        (vec!["no-such-model"], "no-such-model"),
        (vec![&mel, &several], "several functions"),
        (vec![&mel, &pipeline], "pipeline"),
        (vec![&mel, &mel], "gives too"),
        (vec![&one, &one, "--functions"], "choose another"),
        (vec![&mel, &text, "--functions"], "needs a name"),
        (
            vec![&one, "--functions", "--default", "b"],
            "none of that name",
        ),
        (
            vec![&one, "--pipeline", "--functions"],
            "cannot be used with",
        ),
        (vec![&kv, &mel, "--pipeline"], "keeps states"),
        (vec!["1st=", "--functions"], "1st"),
        (vec!["no-such-model", &mel], "no-such-model"),
    ];
    for (args, message) in &cases {
        refused(
            &[&["merge", "-o", str(&out)], args.as_slice()].concat(),
            &[message],
        );
        assert!(!out.exists(), "{args:?} left something");
    }
    let named = format!("f={several}");
    refused(
        &["merge", &named, "--functions", "--dry-run"],
        &["several functions", "f="],
    );
    std::fs::write(&changed, std::fs::read_to_string(&changed).unwrap() + " ").unwrap();
    refused(
        &["merge", str(&folder), "-o", str(&out)],
        &["Manifest.json"],
    );
    // Into one of the models that are read.
    let inside = folder.join("stage1.mlpackage/new.mlpackage");
    let first = folder.join("stage1.mlpackage");
    refused(
        &["merge", &mel, str(&first), "-o", str(&inside)],
        &["lies inside"],
    );
    println!("{} refused", cases.len() + 3);
}

#[test]
fn models_that_share_nothing_run_beside_each_other_and_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("both.mlpackage");
    let models = ["mel-frontend/fp32", "transformer-flexible/fp32"];
    let models = models.map(|name| fixture(&format!("{name}.mlpackage")));
    let report = merge(&[&models[0], &models[1]], &out, &[]);
    let beside = report["beside"].as_array().unwrap();
    println!("{beside:?}, {}", report["functions"]);
    assert_eq!(beside.len(), 2);
    let outputs = &report["functions"][0]["outputs"];
    assert_eq!(outputs, &serde_json::json!(["mel", "features", "logits"]));
}

#[test]
fn names_that_two_models_use_stay_apart() {
    let dir = tempfile::tempdir().unwrap();
    // Two halves that call other values alike: cut, and the second one made anew.
    let model = fixture("asr-encoder/fp32.mlpackage");
    let folder = dir.path().join("parts");
    let report = json(0, &["bisect", &model, "-o", str(&folder), "--parts", "2"]);
    let crossing = report["seams"][0]["values"].as_array().unwrap();
    assert!(!crossing.is_empty());
    let first = folder.join("stage1.mlpackage");
    let second = folder.join("stage2.mlpackage");
    let taken: Vec<String> = {
        let model = Model::open(&first).unwrap();
        let values = model.program().all_ops().into_iter();
        let values = values.flat_map(|op| model.program().ops[op].outputs.clone());
        values
            .map(|v| model.program().values[v].name.clone())
            .collect()
    };
    let mut changed = Model::open(&second).unwrap();
    let outputs = Description::from_proto(&changed.spec().description().unwrap());
    let outputs: Vec<String> = outputs.functions[0]
        .outputs
        .iter()
        .map(|f| f.name.clone())
        .collect();
    let inner: Vec<_> = {
        let program = changed.program();
        let results = program
            .all_ops()
            .into_iter()
            .filter(|&op| program.ops[op].op_type != "const");
        let results = results.flat_map(|op| program.ops[op].outputs.clone());
        results
            .filter(|&v| !outputs.contains(&program.values[v].name))
            .collect()
    };
    let mut renamed = 0;
    for (value, name) in inner.into_iter().zip(&taken) {
        renamed += usize::from(changed.program_mut().rename_value(value, name).is_ok());
    }
    let other = dir.path().join("other.mlpackage");
    changed
        .save(&other, milwright_package::WriteOptions::default())
        .unwrap();
    let out = dir.path().join("whole.mlpackage");
    merge(&[str(&first), str(&other)], &out, &[]);
    let args = [
        "verify",
        str(&out),
        "--against",
        &model,
        "--atol",
        "0",
        "--rtol",
        "0",
    ];
    assert_eq!(json(0, &args)["ok"], true);
    println!("{renamed} values with the name of another");
    assert!(renamed > 20);
}
