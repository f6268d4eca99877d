//! Models without convolutions: none left, the outputs the same, and nothing
//! added that the devices in question cannot take.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it checked"
)]

mod common;

use std::collections::HashSet;
use std::path::Path;

use common::{expect, fixture, json, refused, shared, steps, str};
use milwright_ir::{Model, OpView, ValueType};

/// Every combination of options, the default first.
const OPTIONS: [&str; 4] = [
    "decompose-conv",
    "decompose-conv{taps=sum}",
    "decompose-conv{stride=strided-slice}",
    "decompose-conv{stride=strided-slice,taps=sum}",
];

/// Checks the operations that `after` has and `before` does not; returns how
/// many there are.
fn check_added(before: &Path, after: &Path, strided_slices: bool) -> usize {
    let (before, after) = (Model::open(before).unwrap(), Model::open(after).unwrap());
    let had: HashSet<&str> = before
        .program()
        .all_ops()
        .into_iter()
        .flat_map(|id| &before.program().ops[id].outputs)
        .map(|&v| before.program().values[v].name.as_str())
        .collect();
    let program = after.program();
    let mut added = 0;
    for id in program.all_ops() {
        let op = &program.ops[id];
        let what = program.describe_op(id);
        assert!(
            op.op_type != "conv" && op.op_type != "conv_transpose",
            "{what}"
        );
        // The last operation of a replacement has the name of what it replaced.
        let new = op
            .outputs
            .iter()
            .any(|&v| !had.contains(program.values[v].name.as_str()));
        if !new || op.op_type == "const" {
            continue;
        }
        added += 1;
        assert!(!op.op_type.starts_with("gather"), "{what}");
        if op.op_type == "slice_by_index" && !strided_slices {
            let view = OpView::new(program, id, &after);
            if let Some(strides) = view.ints("stride").unwrap().known() {
                assert!(strides.iter().all(|&s| s == 1), "{what}: {strides:?}");
            }
        }
        for &v in &op.outputs {
            if let ValueType::Tensor(t) = &program.values[v].ty {
                assert!(t.shape.len() <= 4, "{what}: {t}");
            }
        }
    }
    added
}

/// Converts, checks the operations, and compares outputs; the largest
/// difference of each output, relative to its largest magnitude and absolute.
fn decompose(model: &Path, passes: &str, inputs: &[String], relative: f64) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.mlpackage");
    let converted = json(
        0,
        &["convert", str(model), "--passes", passes, "-o", str(&out)],
    );
    assert_eq!(converted["conv_left"]["conv"], 0, "{}", model.display());
    let added = check_added(model, &out, passes.contains("strided-slice"));
    assert!(added > 0);
    let mut args = vec!["verify", str(&out), "--against", str(model)];
    for i in inputs {
        args.extend(["--inputs", i]);
    }
    let report = json(0, &args);
    let mut largest = 0.0f64;
    for o in report["outputs"].as_array().unwrap() {
        let (d, scale) = (
            o["max_abs"].as_f64().unwrap(),
            o["ref_max_abs"].as_f64().unwrap(),
        );
        assert!(
            d <= relative * scale,
            "{} {}: {d} of {scale}",
            model.display(),
            o["name"]
        );
        largest = largest.max(d);
    }
    println!(
        "{} with {passes}: {added} operations added, largest difference {largest:.2e}",
        model.display()
    );
    largest
}

#[test]
fn fixtures_lose_their_convolutions() {
    let mut checked = 0;
    for folder in ["asr-encoder", "mel-frontend", "conv-zoo"] {
        let model = fixture(&format!("{folder}/fp32.mlpackage"));
        let inputs = steps(Path::new(&model).parent().unwrap(), "inputs");
        for passes in OPTIONS {
            // One step: these models have no state.
            decompose(Path::new(&model), passes, &inputs[..1], 1e-5);
            checked += 1;
        }
    }
    println!("{checked} conversions");
}

#[test]
fn shared_models_lose_their_convolutions() {
    let Some(all) = shared() else { return };
    let asr = all.join("asr-encoder");
    for passes in OPTIONS {
        let d = decompose(
            &asr.join("fp32.mlpackage"),
            passes,
            &steps(&asr, "inputs"),
            1e-5,
        );
        if passes == OPTIONS[0] {
            assert!(d <= 1.79e-6, "{d}");
        }
    }
    for (folder, model) in [
        ("basic-pitch", "model.mlpackage"),
        ("crepe-tiny", "model.mlpackage"),
        ("hand-detector", "model.mlpackage"),
        ("mel-encoder", "fused_fp32.mlpackage"),
        ("silero-vad", "unified.mlpackage"),
    ] {
        let folder = all.join(folder);
        decompose(
            &folder.join(model),
            OPTIONS[0],
            &steps(&folder, "inputs"),
            1e-5,
        );
    }
}

#[test]
fn verify_decides_whether_the_output_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("mel-frontend/fp32.mlpackage");
    let out = dir.path().join("out.mlpackage");
    let passes = ["--passes", "decompose-conv{taps=sum}", "--verify"];
    let mut args = vec!["convert", &model, "-o", str(&out)];
    args.extend(passes);
    // No rewrite of a sum is exact to the bit, and none is needed to be.
    args.extend(["--atol", "0", "--rtol", "0"]);
    let text = expect(1, &args);
    assert!(text.contains("is not written"), "{text}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    args.truncate(args.len() - 4);
    let text = expect(0, &args);
    assert!(text.contains("0 conv") && text.contains("mel"), "{text}");
    assert!(out.exists());
    let zip = dir.path().join("out.zip");
    args[3] = str(&zip);
    let report = json(0, &args);
    assert_eq!(report["schema"], "milwright-convert/1");
    assert_eq!(report["verify"][0]["ok"], true);
    assert!(zip.exists());
}

#[test]
fn passes_are_listed_and_wrong_ones_refused() {
    let report = json(0, &["passes"]);
    assert_eq!(report["schema"], "milwright-passes/1");
    let names: Vec<&str> = report["passes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["name"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"decompose-conv") && names.contains(&"dce"),
        "{names:?}"
    );
    assert!(expect(0, &["passes", "decompose-conv"]).contains("taps"));
    refused(
        &["passes", "decompose-con"],
        &["did you mean `decompose-conv`?"],
    );
    let model = fixture("conv3d/fp32.mlpackage");
    for (passes, word) in [
        ("nope", "nope"),
        ("decompose-conv{taps=many}", "many"),
        ("decompose-conv{", "passes"),
    ] {
        refused(
            &[
                "convert",
                &model,
                "--passes",
                passes,
                "-o",
                "never.mlpackage",
            ],
            &[word],
        );
    }
}
