//! `milwright bisect`: where it cuts, and what it refuses.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it checked"
)]

mod common;
mod parts;
#[path = "../../../fixtures/same_program.rs"]
mod same_program;
#[path = "../../../fixtures/transformer.rs"]
mod transformer;

use std::path::{Path, PathBuf};

use common::{expect, files, fixture, json, refused, shared, str};
use milwright_ir::Model;
use parts::*;
use serde_json::Value;

#[test]
fn functions_that_share_nothing_are_cut_by_plans_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("both.mlpackage");
    let sources = ["asr-encoder/fp16", "transformer-kv/fp16"];
    let sources = sources.map(|name| fixture(&format!("{name}.mlpackage")));
    let named = [
        format!("listen={}", sources[0]),
        format!("speak={}", sources[1]),
    ];
    let args = [
        "merge",
        &named[0],
        &named[1],
        "--functions",
        "-o",
        str(&model),
    ];
    expect(0, &args);
    let out = dir.path().join("parts");
    let report = json(
        0,
        &[
            "bisect",
            str(&model),
            "-o",
            str(&out),
            "--parts",
            "3",
            "--verify",
        ],
    );
    let other = &list(&report, "functions")[0];
    assert!(
        other["places"].as_str().unwrap().contains("its own plan"),
        "{other}"
    );
    for verify in [&report["verify"], &other["verify"]] {
        assert_eq!(verify["ok"], true, "{verify}");
    }
    // What both use by chance may be in several parts.
    let (whole, parts) = (weights_of(&model), weights(&report));
    assert!(
        whole <= parts && parts < whole + whole / 10,
        "{parts} of {whole}"
    );
    let merged = dir.path().join("merged.mlpackage");
    expect(0, &["merge", str(&out), "-o", str(&merged), "--verify"]);
    // Each function is the model that it was.
    let merged = Model::open(&merged).unwrap();
    for (name, source) in ["listen", "speak"].iter().zip(&sources) {
        let source = Model::open(source).unwrap();
        let (before, after) = (
            same_program::lines(&source, "main", true),
            same_program::lines(&merged, name, false),
        );
        // The opset is a newer one.
        let differ = before.iter().filter(|line| !after.contains(line)).count();
        assert!(
            differ <= 1 && before.len() == after.len(),
            "{name}: {differ} lines differ"
        );
    }
    // The limit is for what all functions need together.
    let half = weights_of(Path::new(&sources[0])) * 6 / 10;
    let args = [
        "bisect",
        str(&model),
        "--dry-run",
        "--max-size",
        &half.to_string(),
    ];
    refused(&args, &["with all functions"]);
}

#[test]
fn a_tied_weight_has_one_owner_if_that_is_possible() {
    let dir = tempfile::tempdir().unwrap();
    let tied = transformer::Measures {
        tied_head: true,
        ..SMALL
    };
    let model = dir.path().join("tied.mlpackage");
    transformer::write(&model, &tied, 3).unwrap();
    let base = ["bisect", str(&model), "--parts", "3", "--dry-run"];
    // From the first operation to the last.
    let owner = ["--tied", "owner", "--tied-from", "100kB"];
    refused(
        &[&base, &owner[..]].concat(),
        &[
            "there can be",
            "they use the weight `embedding`",
            "--tied owner",
        ],
    );
    // Nothing is so large.
    let owner = ["--tied", "owner", "--tied-from", "1GB"];
    let report = json(0, &[&base, &owner[..]].concat());
    assert_eq!(list(&report, "stages").len(), 3);
    assert_eq!(json(0, &base)["copies"], report["copies"]);
    // Two functions of one part can share what they tie.
    let several = fixture("control/multifunction/model.mlpackage");
    let owner = ["--tied", "owner", "--tied-from", "1B"];
    let report = json(
        0,
        &[
            &["bisect", &several, "--parts", "2", "--dry-run"],
            &owner[..],
        ]
        .concat(),
    );
    assert!(list(&report, "copies").is_empty());
}

#[test]
fn a_part_without_weights_is_reported() {
    let model = fixture("compressed/affine/model.mlpackage");
    let args = ["bisect", &model, "--parts", "4", "--dry-run"];
    let text = expect(0, &args);
    let report = json(0, &args);
    let stages = list(&report, "stages");
    let empty = stages.iter().filter(|s| s["weights"] == 0).count();
    assert!(empty > 0);
    assert_eq!(text.matches("has no weights").count(), empty, "{text}");
}

#[test]
fn parts_are_within_the_limit_and_as_few_as_can_be() {
    let model = PathBuf::from(fixture("asr-encoder/fp32.mlpackage"));
    let whole = weights_of(&model);
    let dir = tempfile::tempdir().unwrap();
    for share in [2, 3, 4] {
        // With room for what a file has beside the weights.
        let limit = whole / share + whole / 20 + 4096;
        let size = format!("{limit}B");
        let out = dir.path().join(share.to_string());
        let report = bisect(&model, &out, &["--max-size", &size]);
        let stages = list(&report, "stages");
        for number in 1..=stages.len() {
            let within = "Data/com.apple.CoreML/weights/weight.bin";
            let file = stage(&out, number).join(within);
            let len = std::fs::metadata(file).unwrap().len();
            assert!(len <= limit + 64, "{len} of {limit}");
        }
        println!("{limit} of {whole}: {} parts", stages.len());
        assert!(stages.len() as u64 <= share + 1);
    }
    let more = |size: &str| {
        vec!["bisect", str(&model), "--dry-run", "--max-size"]
            .into_iter()
            .map(str::to_owned)
            .chain([size.to_owned()])
            .collect::<Vec<_>>()
    };
    let args = more("1kB");
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    refused(&args, &["alone has", "raise the limit"]);
    let args = more("1GB");
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    refused(&args, &["nothing needs to be cut", "--parts"]);
}

#[test]
fn a_transformer_is_cut_between_its_layers() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model.mlpackage");
    let bytes = transformer::write(&model, &SMALL, 3).unwrap();
    let again = dir.path().join("again.mlpackage");
    transformer::write(&again, &SMALL, 3).unwrap();
    assert!(
        files(&model) == files(&again),
        "other bytes from the same seed"
    );
    let file = model.join("Data/com.apple.CoreML/weights/weight.bin");
    assert_eq!(std::fs::metadata(file).unwrap().len(), bytes);
    for parts in [2, 3, 4] {
        let out = dir.path().join(format!("parts{parts}"));
        let report = bisect(
            &model,
            &out,
            &["--parts", &parts.to_string(), "--slack", "25"],
        );
        let choice = &report["choice"];
        assert_eq!(choice["all_compared"], true);
        for between in list(choice, "between_blocks") {
            assert_eq!(between, &true, "{report}");
        }
        for seam in list(&report, "seams") {
            assert_eq!(
                list(seam, "values").len(),
                1,
                "only the stream crosses: {seam}"
            );
            let value = seam["values"][0]["value"].as_str().unwrap();
            assert!(value.ends_with("_out") || value == "embedded", "{value}");
        }
        // The tables of angles and the mask, which every layer reads.
        for copy in list(&report, "copies") {
            let name = copy["weight"].as_str().unwrap();
            assert!(["cos", "sin", "mask"].contains(&name), "{name}");
        }
        println!(
            "{parts} parts: {}, least {}",
            choice["loads"], choice["least"]
        );
    }
    let tied = transformer::Measures {
        tied_head: true,
        ..SMALL
    };
    let model = dir.path().join("tied.mlpackage");
    transformer::write(&model, &tied, 3).unwrap();
    let out = dir.path().join("tied");
    let apart = ["--parts", "4", "--separate", "embedding,head"];
    let report = bisect(&model, &out, &apart);
    let tables = list(&report, "copies");
    let table = tables.iter().find(|c| c["weight"] == "embedding").unwrap();
    assert_eq!(table["stages"], serde_json::json!(["stage1", "stage4"]));
}

#[test]
fn the_same_bytes_again_and_nothing_with_dry_run() {
    let model = fixture("asr-encoder/fp16.mlpackage");
    let dir = tempfile::tempdir().unwrap();
    let all = [
        "--parts",
        "3",
        "--pipeline",
        "--loader",
        "swift",
        "--loader",
        "python",
        "--balance",
        "macs",
    ];
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    for out in [&one, &two] {
        bisect(Path::new(&model), out, &all);
    }
    assert!(files(&one) == files(&two), "other bytes the second time");
    let text = expect(0, &["bisect", &model, "--dry-run", "--parts", "2"]);
    for word in [
        "stage1",
        "stage2",
        "least possible",
        "seam after",
        "nothing is written",
    ] {
        assert!(text.contains(word), "no {word} in {text}");
    }
    // Where the user says.
    let report = json(0, &["bisect", &model, "--dry-run", "--parts", "2"]);
    let seam = &list(&report, "seams")[0];
    let values: Vec<&str> = list(seam, "values")
        .iter()
        .map(|v| v["value"].as_str().unwrap())
        .collect();
    let at = values.join(",");
    let again = json(0, &["bisect", &model, "--dry-run", "--at", &at]);
    assert_eq!(again["seams"], report["seams"]);
    assert_eq!(again["choice"], Value::Null);
}

#[test]
fn what_cannot_be_is_refused() {
    let model = fixture("asr-encoder/fp32.mlpackage");
    let mel = fixture("mel-frontend/fp32.mlpackage");
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("parts");
    let cases: Vec<(&str, Vec<&str>, &str)> = vec![
        (&model, vec!["--parts", "999"], "there can be"),
        (&model, vec!["--parts", "1"], "2..=999"),
        (&model, vec![], "--parts"),
        (
            &model,
            vec!["--parts", "2", "--at", "x"],
            "cannot be used with",
        ),
        (&model, vec!["--max-size", "2 apples"], "950MB"),
        (
            &model,
            vec!["--parts", "3", "--separate", "embedding"],
            "no embedding",
        ),
        (&mel, vec!["--at", "MELL"], "did you mean `mel`"),
    ];
    for (model, more, message) in &cases {
        let args = [&["bisect", model, "-o", str(&out)], more.as_slice()].concat();
        refused(&args, &[message]);
        assert!(!out.exists(), "{more:?} left something");
    }
    println!("{} refused", cases.len());
}

#[test]
fn a_wide_head_is_divided_over_parts() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model.mlpackage");
    let tied = transformer::Measures {
        layers: 4,
        vocabulary: 4000,
        tied_head: true,
        ..SMALL
    };
    transformer::write(&model, &tied, 3).unwrap();
    let whole = bisect(&model, &dir.path().join("whole"), &["--parts", "4"]);
    assert!(list(&whole, "divided").is_empty());
    let divide = ["--parts", "4", "--split-linear", "512"];
    let out = dir.path().join("divided");
    let divided = bisect(&model, &out, &divide);
    // 4000 rows of 64 fp16 numbers, 500 at a time, with their records.
    let head = &divided["divided"][0];
    let products = head["added"].as_object().unwrap();
    assert_eq!(products["concat"], 1, "{head}");
    let slices = products.values().map(|n| n.as_u64().unwrap()).max();
    assert_eq!(slices, Some(8), "{head}");
    assert_eq!(head["weights"], "ranges of the same bytes");
    // Whole, the table is in both ends; in parts, the second time in several.
    let (before, after) = (weights(&whole), weights(&divided));
    assert_eq!(before, after);
    let apart = [&divide[..], &["--separate", "embedding,head"]].concat();
    bisect(&model, &dir.path().join("apart"), &apart);
    let models = [
        "embedder/fp16",
        "embedder/fp32",
        "edge-cases/tied_embedding/model",
    ];
    for name in shared().map_or(&[][..], |_| &models) {
        let model = shared().unwrap().join(format!("{name}.mlpackage"));
        let out = dir.path().join(name.replace('/', "-"));
        let report = bisect(&model, &out, &["--parts", "3", "--split-linear", "100"]);
        let divided = list(&report, "divided").len();
        assert!(
            divided > 0 && list(&report, "left_whole").is_empty(),
            "{report}"
        );
        println!("{name}: {divided} products divided");
    }
}
