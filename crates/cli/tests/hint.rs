//! `milwright hint`: what it writes, that it writes nothing else, and that it
//! takes back what it wrote.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it checked"
)]

mod common;

use std::path::Path;

use common::{expect, files, fixture, json, packages, refused, str};

/// What coremltools 9.0 writes for `["ane"]` and for the three CPU backends.
const NEURAL_ENGINE: &str =
    "120e120c0a040a02080212040a0208011a151a130a1112040a0208021a090a0722050a03616e65";
const CPU: &str = "120e120c0a040a02080212040a0208031a4f1a4d0a1212040a0208021a0a0a0822060a04626e6e73\
                   0a1912040a0208021a110a0f220d0a0b636c61737369635f6370750a1c12040a0208021a140a1222\
                   100a0e65355f6d696e696d616c5f637075";

fn count(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).filter(|w| *w == part).count()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn spec(package: &str) -> Vec<u8> {
    let found = files(Path::new(package));
    let model = |(path, _): &&(std::path::PathBuf, Vec<u8>)| path.ends_with("model.mlmodel");
    found.iter().find(model).unwrap().1.clone()
}

#[test]
fn clearing_gives_back_every_byte() {
    let scratch = tempfile::tempdir().unwrap();
    let mut all: Vec<_> = packages(&common::fixtures());
    if let Some(shared) = common::shared() {
        all.extend(packages(&shared));
    }
    let mut checked = 0;
    for (n, package) in all.iter().enumerate() {
        let hinted = scratch.path().join(format!("{n}.mlpackage"));
        let cleared = scratch.path().join(format!("{n}-cleared.mlpackage"));
        let (hinted, cleared) = (str(&hinted), str(&cleared));
        let written = json(
            0,
            &["hint", str(package), "--units", "cpu-and-gpu", "-o", hinted],
        );
        let operations = written["operations_that_run"].as_u64().unwrap();
        assert_eq!(written["changed_operations"], operations, "{package:?}");
        assert_eq!(written["units"], "cpuAndGPU");
        assert_eq!(
            written["operations"].as_array().unwrap().len() as u64,
            operations
        );
        assert_ne!(files(package), files(Path::new(hinted)), "{package:?}");
        expect(0, &["hint", hinted, "--clear", "-o", cleared]);
        assert!(
            files(package) == files(Path::new(cleared)),
            "{package:?} is not what it was"
        );
        checked += 1;
    }
    println!("{checked} packages are the same bytes after hint and hint --clear");
    assert!(checked > 10);
}

#[test]
fn backends_are_written_as_coremltools_does() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("out.mlpackage");
    let model = fixture("conv-zoo/fp32.mlpackage");
    expect(
        0,
        &[
            "hint",
            &model,
            "--units",
            "cpu",
            "--ops",
            "conv",
            "-o",
            str(&out),
        ],
    );
    let histogram = json(0, &["inspect", &model]);
    let convs = histogram["functions"][0]["op_histogram"]["conv"]
        .as_u64()
        .unwrap();
    assert!(convs > 0);
    let bytes = spec(str(&out));
    assert_eq!(count(&bytes, &unhex(CPU)) as u64, convs);
    assert_eq!(count(&bytes, &unhex(NEURAL_ENGINE)), 0);
    assert_eq!(count(&bytes, b"com.milwright.compute_units"), 0);

    let shown = json(0, &["hint", str(&out), "--show"]);
    assert_eq!(shown["units"], serde_json::Value::Null);
    let operations = shown["operations"].as_array().unwrap();
    assert_eq!(operations.len() as u64, convs);
    for op in operations {
        assert_eq!(op["op_type"], "conv");
        assert_eq!(
            op["backends"],
            serde_json::json!(["bnns", "classic_cpu", "e5_minimal_cpu"])
        );
    }
    // A second hint adds to the first, and one for the same replaces it.
    let again = scratch.path().join("again.mlpackage");
    expect(
        0,
        &[
            "hint",
            str(&out),
            "--units",
            "all",
            "--ops",
            "conv_transpose",
            "-o",
            str(&again),
        ],
    );
    let shown = json(0, &["hint", str(&again), "--show"]);
    let types: Vec<_> = shown["operations"].as_array().unwrap().iter().collect();
    assert!(types.iter().any(|op| op["op_type"] == "conv_transpose"));
    assert_eq!(count(&spec(str(&again)), &unhex(CPU)) as u64, convs);
    println!("{convs} convolutions carry the bytes of coremltools");
}

#[test]
fn operations_without_a_hint_stay() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("out.mlpackage");
    let model = fixture("conv-zoo/fp32.mlpackage");
    let args = ["hint", &model, "--units", "cpu", "--ops", "conv*", "-o"];
    let args: Vec<&str> = args.into_iter().chain([str(&out)]).collect();
    expect(0, &args);
    let operations = |path: &str| -> Vec<(String, Vec<u8>)> {
        let program = milwright_package::Package::open(path)
            .unwrap()
            .spec()
            .program()
            .unwrap();
        let block = &program.functions[0]
            .value
            .as_ref()
            .unwrap()
            .block_specializations[0];
        let block = block.value.as_ref().unwrap();
        let decode = |raw: &milwright_package::Bytes| {
            let op: milwright_package::proto::Operation =
                milwright_package::Message::decode(raw.clone()).unwrap();
            (op.r#type, raw.to_vec())
        };
        block.operations.iter().map(decode).collect()
    };
    let (before, after) = (operations(&model), operations(str(&out)));
    assert_eq!(before.len(), after.len());
    let mut same = 0;
    for ((op, before), (_, after)) in before.iter().zip(&after) {
        assert_eq!(before == after, !op.starts_with("conv"), "{op}");
        same += usize::from(before == after);
    }
    println!("{same} of {} operations are the same bytes", before.len());
}

#[test]
fn the_output_says_who_decides() {
    let model = fixture("conv3d/fp32.mlpackage");
    let shown = expect(0, &["hint", &model, "--show"]);
    for words in [
        "no com.milwright.compute_units",
        "IntendedBackend on 0 of",
        "MLModelConfiguration.computeUnits",
        "no public evidence",
    ] {
        assert!(shown.contains(words), "{words}\n{shown}");
    }
}

#[test]
fn wrong_usage_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("out.mlpackage");
    let model = fixture("conv3d/fp32.mlpackage");
    let base = ["hint", &model, "--units", "cpu", "-o", str(&out), "--ops"];
    let with = |pattern| -> Vec<&str> { base.into_iter().chain([pattern]).collect() };
    refused(&with("conf"), &["`conf`", "conv"]);
    refused(&with("conv,cosine"), &["`cosine`"]);
    refused(&with(","), &["no operation"]);
    assert!(!out.exists());
    expect(2, &["hint", &model]);
    expect(2, &["hint", &model, "--units", "cpu"]);
    expect(2, &["hint", &model, "--show", "--clear"]);
    expect(2, &["hint", &model, "--units", "ane", "-o", str(&out)]);
}

#[test]
fn lint_decides_operation_by_operation() {
    let scratch = tempfile::tempdir().unwrap();
    let model = fixture("asr-encoder/fp32.mlpackage");
    let mut counts = Vec::new();
    for (model, out) in [(model, "a"), (fixture("asr-encoder/fp16.mlpackage"), "b")] {
        let out = scratch.path().join(out).with_extension("mlpackage");
        let args = ["hint", &model, "--from-lint", "--units", "cpu-and-ne", "-o"];
        let args: Vec<&str> = args.into_iter().chain([str(&out)]).collect();
        let written = json(0, &args);
        assert_eq!(written["units"], "cpuAndNeuralEngine");
        let ane = serde_json::json!(["ane"]);
        let cpu = serde_json::json!(["bnns", "classic_cpu", "e5_minimal_cpu"]);
        let operations = written["operations"].as_array().unwrap();
        let there = operations.iter().filter(|op| op["backends"] == ane).count();
        let here = operations.iter().filter(|op| op["backends"] == cpu).count();
        assert_eq!(there + here, operations.len());
        assert_eq!(written["operations_that_run"], operations.len());
        counts.push((there, here));
    }
    println!("{counts:?} operations for Neural Engine and CPU, of fp32 and fp16");
    // Single precision never runs there; half precision mostly does.
    assert!(counts[0].1 > 10 * counts[0].0);
    assert!(counts[1].0 > counts[1].1);
    refused(
        &[
            "hint",
            &fixture("conv3d/fp32.mlpackage"),
            "--from-lint",
            "--units",
            "cpu",
            "-o",
            "x.mlpackage",
        ],
        &["no Neural Engine"],
    );
}

#[test]
fn stages_of_a_pipeline_change_their_units() {
    let scratch = tempfile::tempdir().unwrap();
    let (folder, out) = (scratch.path().join("stages"), scratch.path());
    let model = fixture("mel-frontend/fp32.mlpackage");
    expect(0, &["split", &model, "-o", str(&folder)]);
    let manifest = folder.join("pipeline.json");
    let stages = json(0, &["hint", str(&manifest), "--show"])["stages"].clone();
    let name = stages[0]["name"].as_str().unwrap().to_owned();
    let before = stages[0]["compute_units"].clone();
    let args = [
        "hint",
        str(&manifest),
        "--stage",
        &name,
        "--units",
        "cpu",
        "-o",
    ];
    let to = |path| -> Vec<&str> { args.into_iter().chain([path]).collect() };
    refused(&to(str(&manifest)), &["--force"]);
    let other = out.join("pipeline.json");
    refused(&to(str(&other)), &["stays with its stages"]);
    assert!(!other.exists());
    let mut forced = to(str(&manifest));
    forced.push("--force");
    let after = json(0, &forced)["stages"].clone();
    assert_ne!(before, "cpuOnly");
    assert_eq!(after[0]["compute_units"], "cpuOnly");
    assert_eq!(json(0, &["hint", str(&folder), "--show"])["stages"], after);
    for at in 1..after.as_array().unwrap().len() {
        assert_eq!(stages[at], after[at]);
    }
    let wrong = [
        "hint",
        str(&manifest),
        "--stage",
        "stagee1",
        "--units",
        "cpu",
        "-o",
        "x",
    ];
    refused(&wrong, &["stagee1"]);
    refused(
        &["hint", str(&manifest), "--units", "cpu", "-o", "x"],
        &["--stage"],
    );
    refused(
        &["hint", &model, "--stage", "a", "--units", "cpu", "-o", "x"],
        &["pipeline.json"],
    );
    println!("{} stages", after.as_array().unwrap().len());
}
