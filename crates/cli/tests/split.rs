//! `milwright split`: the seam that is found, the stages, what is refused.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it checked"
)]

mod common;

use std::path::Path;

use common::{all_refused, expect, files, fixture, json, refused, shared, str};
use milwright_interp::Options;
use milwright_verify::inputs::Ranges;
use milwright_verify::{Executable, NamedArrays};
use serde_json::Value;

/// Splits into `folder` and gives the report.
fn split(model: &str, folder: &Path, more: &[&str]) -> Value {
    json(0, &[&["split", model, "-o", str(folder)], more].concat())
}

/// Names of the values at each seam.
fn seams(report: &Value) -> Vec<Vec<&str>> {
    let mut seams = Vec::new();
    for seam in report["seams"].as_array().unwrap() {
        let values = seam["values"].as_array().unwrap().iter();
        seams.push(values.map(|v| v["value"].as_str().unwrap()).collect());
    }
    seams
}

fn units(report: &Value) -> Vec<&str> {
    let stages = report["stages"].as_array().unwrap().iter();
    stages
        .map(|s| s["compute_units"].as_str().unwrap())
        .collect()
}

#[test]
fn the_front_end_is_cut_where_the_neural_engine_can_begin() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("mel-frontend/fp32.mlpackage");
    let folder = dir.path().join("stages");
    let all = [
        "--verify",
        "--pipeline",
        "--loader",
        "swift",
        "--loader",
        "python",
    ];
    let report = split(&model, &folder, &all);
    // What is wide stays in front; fp16 breaks nothing on these inputs.
    assert_eq!(seams(&report), [["power"]]);
    assert_eq!(units(&report), ["cpuAndGPU", "cpuAndNeuralEngine"]);
    assert_eq!(report["verify"]["ok"], true);
    for output in report["verify"]["outputs"].as_array().unwrap() {
        assert_eq!(output["max_abs"], 0.0, "{output}");
    }
    let why = report["stages"][0]["why"].to_string();
    assert!(why.contains("32000") && why.contains("16384"), "{why}");

    // As a model among models.
    let inputs = fixture("mel-frontend/inputs.0.npz");
    let expected = fixture("mel-frontend/expected.0.npz");
    for model in [
        folder.join("pipeline.json"),
        folder.join("pipeline.mlpackage"),
    ] {
        let args = [
            "verify",
            str(&model),
            "--against",
            &expected,
            "--inputs",
            &inputs,
        ];
        assert_eq!(json(0, &args)["ok"], true);
    }
    for name in ["Pipeline.swift", "pipeline.py"] {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        assert!(text.contains("stage1") && text.contains("stage2"), "{name}");
    }

    // Quiet inputs: what is left of them in fp16 has no logarithm.
    let quiet = ["--range", "-1e-4,1e-4", "--dry-run"];
    let report = json(0, &[&["split", &model], &quiet[..]].concat());
    let barred = report["barred"].to_string();
    assert!(barred.contains("mel = log"), "{barred}");
    assert_eq!(seams(&report), [["mel"]]);
    // The mel is an output of the model too, and leaves from where it arises.
    let names = |io: &Value| -> Vec<String> {
        let io = io.as_array().unwrap().iter();
        io.map(|f| f["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&report["stages"][0]["outputs"]), ["mel"]);
    assert_eq!(names(&report["stages"][1]["outputs"]), ["features"]);
    assert_eq!(names(&report["stages"][1]["inputs"]), ["mel"]);

    // The same bytes again.
    let again = dir.path().join("again");
    split(&model, &again, &all);
    let (one, two) = (files(&folder), files(&again));
    assert!(one == two, "other bytes the second time");
    println!("{} files, the same twice", one.len());
}

#[test]
fn a_model_that_is_wide_at_both_ends_takes_three_stages() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("wide-ends/fp32.mlpackage");
    let folder = dir.path().join("stages");
    let report = split(&model, &folder, &["--verify"]);
    assert_eq!(seams(&report), [["input_1"], ["var_20"]]);
    let (gpu, engine) = ("cpuAndGPU", "cpuAndNeuralEngine");
    assert_eq!(units(&report), [gpu, engine, gpu]);
    assert_eq!(report["verify"]["ok"], true);
    // A chip that takes 65536 needs no cut.
    let args = [
        "split",
        &model,
        "-o",
        str(&folder),
        "--force",
        "--target",
        "m4",
    ];
    refused(&args, &["nothing needs to be cut", "target m4"]);
    let expected = fixture("wide-ends/expected.0.npz");
    let inputs = fixture("wide-ends/inputs.0.npz");
    let args = [
        "verify",
        str(&folder),
        "--against",
        &expected,
        "--inputs",
        &inputs,
    ];
    assert_eq!(json(0, &args)["ok"], true);
}

#[test]
fn a_dry_run_shows_what_was_considered_and_writes_nothing() {
    let model = fixture("mel-frontend/fp32.mlpackage");
    let report = json(0, &["split", &model, "--dry-run"]);
    let candidates = report["candidates"].as_array().unwrap();
    assert!(candidates.len() > 1);
    assert!(
        candidates[0]["verdict"]
            .as_str()
            .unwrap()
            .starts_with("chosen")
    );
    for other in &candidates[1..] {
        assert!(!other["verdict"].as_str().unwrap().starts_with("chosen"));
    }
    assert_eq!(report["ok"], false);
    let text = expect(0, &["split", &model, "--dry-run"]);
    assert!(
        text.contains("considered") && text.contains("nothing is written"),
        "{text}"
    );
}

#[test]
fn what_cannot_be_cut_is_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("stages");
    let mel = fixture("mel-frontend/fp32.mlpackage");
    let asr = fixture("asr-encoder/fp32.mlpackage");
    let kv = fixture("transformer-kv/fp16.mlpackage");
    let cond = fixture("control/cond/model.mlpackage");
    let several = fixture("control/multifunction/model.mlpackage");
    let state = value_before_a_state_is_written(&kv);
    let inner = value_in_a_branch(&cond);
    let cases: Vec<(&str, Vec<&str>, &str)> = vec![
        (&mel, vec!["--at", "MELL"], "did you mean `mel`"),
        (&mel, vec!["--at", "waveform"], "input of the function"),
        (&mel, vec!["--at", "bank"], "constant"),
        (&mel, vec!["--at", "features"], "nothing reads it"),
        (&mel, vec!["--at", "var_30"], "would cross too"),
        (&mel, vec!["--at", "var_30"], "--at var_30,var_31"),
        (&cond, vec!["--at", &inner], "cannot go through a block"),
        (&kv, vec!["--at", &state], "must stay in one stage"),
        (&several, vec!["--at", "nothing"], "no value is named"),
        (&asr, vec![], "nothing needs to be cut"),
        (&mel, vec!["--target", "iphone4"], "iphone13"),
        (&mel, vec!["--name", "mel"], "VALUE=FEATURE"),
        (&mel, vec!["--name", "var_34=p"], "does not cross"),
        (
            &mel,
            vec!["--at", "mel", "--name", "mel=m"],
            "output of the model",
        ),
        (
            &mel,
            vec!["--at", "power", "--name", "power=var_30"],
            "another value",
        ),
        (
            &mel,
            vec!["--at", "power", "--name", "power=1x"],
            "does not begin with a digit",
        ),
    ];
    all_refused("split", &out, &cases);
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A value that a state's new content depends on.
fn value_before_a_state_is_written(model: &str) -> String {
    let text = expect(0, &["print", model]);
    let write = text
        .lines()
        .find(|l| l.contains("write_state(") || l.contains("coreml_update_state("))
        .unwrap();
    let data = write
        .split("data = ")
        .nth(1)
        .or(write.split("value = ").nth(1))
        .unwrap();
    data.split([',', ')']).next().unwrap().to_owned()
}

/// A value that a branch of a `cond` computes.
fn value_in_a_branch(model: &str) -> String {
    let text = expect(0, &["print", model]);
    let mut lines = text.lines().skip_while(|l| !l.contains("= cond("));
    let inner =
        lines.find(|l| !l.contains("= cond(") && !l.contains("const()") && l.contains(" = "));
    let name = inner.unwrap().split(" = ").next().unwrap();
    name.split(' ').next_back().unwrap().to_owned()
}

#[test]
fn what_is_there_is_replaced_only_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("mel-frontend/fp32.mlpackage");
    let out = dir.path().join("stages");
    split(&model, &out, &[]);
    let before = files(&out);
    let args = ["split", &model, "-o", str(&out), "--at", "mel"];
    refused(&args, &["--force"]);
    assert!(files(&out) == before);
    split(&model, &out, &["--at", "mel", "--force"]);
    assert!(files(&out) != before);
    // Something else is not replaced at all.
    let other = dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("thesis.txt"), "mine").unwrap();
    refused(
        &["split", &model, "-o", str(&other), "--force"],
        &["other things"],
    );
    assert_eq!(std::fs::read(other.join("thesis.txt")).unwrap(), b"mine");
    // The model itself, and what is in it.
    for place in [
        Path::new(&model).to_owned(),
        Path::new(&model).join("stages"),
    ] {
        refused(&["split", &model, "-o", str(&place), "--force"], &[]);
    }
}

#[test]
fn names_are_given_to_what_crosses() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("mel-frontend/fp32.mlpackage");
    let out = dir.path().join("stages");
    let more = ["--at", "power", "--name", "power=spectrum", "--verify"];
    let report = split(&model, &out, &more);
    assert_eq!(report["seams"][0]["values"][0]["feature"], "spectrum");
    for (stage, kind) in [("stage1", "output"), ("stage2", "input")] {
        let text = expect(
            0,
            &["inspect", str(&out.join(format!("{stage}.mlpackage")))],
        );
        let line = text.lines().find(|l| l.starts_with(kind)).unwrap();
        assert!(line.contains("spectrum"), "{text}");
    }
}

/// The mel encoder of the field report: stage 1 gives the mel that the two
/// halves were exported with, the stages give what the whole gives.
#[test]
fn the_fused_mel_encoder_is_cut_at_the_normalised_mel() {
    let Some(models) = shared() else { return };
    let folder = models.join("mel-encoder");
    let model = folder.join("fused_fp32.mlpackage");
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| str(&folder.join(name)).to_owned();
    let inputs = [
        "--inputs",
        &file("inputs.0.npz"),
        "--inputs",
        &file("inputs.1.npz"),
    ]
    .map(str::to_owned);
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    for (number, inputs) in [inputs.clone(), Vec::new()].iter().enumerate() {
        let out = dir.path().join(format!("stages{number}"));
        let more = [&["--verify", "--name", "L=mel_length"], inputs.as_slice()].concat();
        let report = split(str(&model), &out, &more);
        assert_eq!(seams(&report), [["L", "mel"]]);
        let mel = &report["seams"][0]["values"][1];
        assert_eq!(mel["type"], "tensor<fp32, [1, 128, 1501]>");
        assert_eq!(units(&report), ["cpuAndGPU", "cpuAndNeuralEngine"]);
        for output in report["verify"]["outputs"].as_array().unwrap() {
            assert_eq!(output["max_abs"], 0.0, "{output}");
        }
    }
    let out = dir.path().join("stages0");
    let first = out.join("stage1.mlpackage");
    let half = file("preprocessor_fp32.mlpackage");
    for step in 0..2 {
        let given = file(&format!("inputs.{step}.npz"));
        let first = ["verify", str(&first), "--inputs", &given, "--atol"];
        // The half that was exported alone, bit for bit. (Its length is int32,
        // which is a cast behind this seam.)
        let same = json_any(&[&first[..], &["0", "--against", &half, "--json"]].concat());
        assert_eq!(output(&same, "mel")["max_abs"], 0.0, "{same}");
        assert_eq!(output(&same, "mel_length")["max_abs"], 0.0, "{same}");
        // Torch's own transform. What is exported in its place has a table of
        // sines that is right to 1e-5; evaluated in fp64 it is as far away.
        let mel = file(&format!("mel.{step}.npz"));
        let near = json(0, &[&first[..], &["6e-3", "--against", &mel]].concat());
        let mel = output(&near, "mel");
        assert!(mel["mean_abs"].as_f64().unwrap() < 1e-4, "{mel}");
    }
    for target in TARGETS {
        let stage = out.join("stage2.mlpackage");
        let report = json_any(&["lint", str(&stage), "--target", target, "--json"]);
        let dimension = |f: &&Value| f["code"].as_str().unwrap().contains("dimension");
        let findings = report["findings"].as_array().unwrap();
        assert_eq!(findings.iter().find(dimension), None, "{target}");
    }
    println!("2 cuts, 2 steps, {} targets", TARGETS.len());
}

/// What a comparison says of an output.
fn output<'r>(report: &'r Value, name: &str) -> &'r Value {
    let mut outputs = report["outputs"].as_array().unwrap().iter();
    outputs.find(|o| o["name"] == name).unwrap()
}

const TARGETS: [&str; 14] = [
    "any", "iphone13", "iphone15", "a14", "a15", "a16", "a17", "a18", "a19", "m1", "m2", "m3",
    "m4", "m5",
];

/// The JSON of a command that may have findings.
fn json_any(args: &[&str]) -> Value {
    let output = common::milwright(args);
    assert!(matches!(output.status.code(), Some(0 | 1)));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn basic_pitch_is_cut_behind_its_logarithm() {
    let Some(models) = shared() else { return };
    let model = models.join("basic-pitch/model.mlpackage");
    let inputs = models.join("basic-pitch/inputs.0.npz");
    let dir = tempfile::tempdir().unwrap();
    for (number, more) in [vec![], vec!["--inputs", str(&inputs)]].iter().enumerate() {
        let out = dir.path().join(format!("stages{number}"));
        let report = split(
            str(&model),
            &out,
            &[&["--verify"], more.as_slice()].concat(),
        );
        assert_eq!(units(&report), ["cpuAndGPU", "cpuAndNeuralEngine"]);
        let crossing = seams(&report).concat();
        assert_eq!(crossing.len(), 1, "{crossing:?}");
        assert_eq!(
            report["seams"][0]["values"][0]["type"],
            "tensor<fp32, [1, 172, 309]>"
        );
        for output in report["verify"]["outputs"].as_array().unwrap() {
            assert_eq!(output["max_abs"], 0.0, "{output}");
        }
        println!("cut at {crossing:?}");
    }
}

/// Published as three packages; cut where they meet, the stages compute the same.
#[test]
fn silero_is_cut_where_its_published_parts_meet() {
    let Some(models) = shared() else { return };
    let silero = models.join("silero-vad");
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("stages");
    let model = silero.join("unified.mlpackage");
    let more = [
        "--at",
        "input_1_cast_fp16,clip_3_cast_fp16",
        "--name",
        "input_1_cast_fp16=stft_output",
        "--name",
        "clip_3_cast_fp16=encoder_output",
        "--verify",
    ];
    let report = split(str(&model), &out, &more);
    assert_eq!(report["stages"].as_array().unwrap().len(), 3);
    assert_eq!(report["verify"]["ok"], true);
    let published = ["stft", "encoder", "decoder"];
    let (mut values, mut worst) = (0, 0.0f64);
    for (number, name) in published.iter().enumerate() {
        let stage = out.join(format!("stage{}.mlpackage", number + 1));
        let theirs = Executable::open(&silero.join(format!("{name}.mlpackage"))).unwrap();
        let ours = Executable::open(&stage).unwrap();
        let (mut ours, mut theirs) = (
            ours.runner(None, Options::default()).unwrap(),
            theirs.runner(None, Options::default()).unwrap(),
        );
        let given = ours.random(&Ranges::default(), 3, 0).unwrap();
        let mut renamed = NamedArrays::new();
        for (name, array) in given.iter() {
            // Their stages have two names for what one gives the other.
            let name = if name == "stft_output" {
                "stft_features"
            } else {
                name
            };
            renamed.insert(name, array.clone());
        }
        let (feed, their_feed) = (
            ours.feed(&given, "x").unwrap(),
            theirs.feed(&renamed, "x").unwrap(),
        );
        let (got, want) = (ours.step(&feed).unwrap(), theirs.step(&their_feed).unwrap());
        assert_eq!(got.len(), want.len());
        for output in &got {
            let want = want.iter().find(|w| w.name == output.name).unwrap();
            let (a, b) = (output.array.data().to_f64(), want.array.data().to_f64());
            let pairs = a.iter().zip(&b);
            worst = pairs.map(|(a, b)| (a - b).abs()).fold(worst, f64::max);
            values += a.len();
            assert_eq!(a.len(), b.len());
        }
    }
    println!("{values} values of 3 stages, {worst:e} from the published ones at most");
    assert!(worst <= 1e-5 && values > 500);
}
