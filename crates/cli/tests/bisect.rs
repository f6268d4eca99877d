//! `milwright bisect`: what each part is, and what other tools lose. The rows of
//! `defect` tests are cases in which a widely used tool cuts wrong.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it checked"
)]

mod common;
#[path = "../../../fixtures/same_program.rs"]
mod same_program;
#[path = "../../../fixtures/transformer.rs"]
mod transformer;

use std::path::{Path, PathBuf};

use common::{expect, files, fixture, json, refused, shared, steps, str};
use milwright_ir::Model;
use milwright_ir::features::{Description, FeatureKind, Signature};
use serde_json::Value;

/// Cuts a model with `--verify` and gives the report.
fn bisect(model: &Path, folder: &Path, more: &[&str]) -> Value {
    let place = model.parent().unwrap();
    let inputs = steps(place, "inputs");
    let mut args = vec!["bisect", str(model), "-o", str(folder), "--verify"];
    for file in &inputs {
        args.extend(["--inputs", file]);
    }
    args.extend(more);
    let report = json(0, &args);
    assert_eq!(report["schema"], "milwright-bisect/1");
    assert_eq!(report["verify"]["ok"], true);
    for output in report["verify"]["outputs"].as_array().unwrap() {
        assert_eq!(output["max_abs"], 0.0, "{output}");
    }
    report
}

fn edge_case(name: &str) -> Option<PathBuf> {
    let models = shared()?;
    Some(models.join(format!("edge-cases/{name}/model.mlpackage")))
}

fn list<'v>(value: &'v Value, key: &str) -> Vec<&'v Value> {
    value[key].as_array().unwrap().iter().collect()
}

fn names<'v>(value: &'v Value, key: &str) -> Vec<&'v str> {
    let each = list(value, key).into_iter();
    each.map(|v| v["name"].as_str().unwrap()).collect()
}

fn weights(report: &Value) -> u64 {
    let stages = list(report, "stages").into_iter();
    stages.map(|s| s["weights"].as_u64().unwrap()).sum()
}

/// Weights of a whole model.
fn weights_of(model: &Path) -> u64 {
    let report = json(0, &["inspect", str(model)]);
    report["weights"]["bytes"].as_u64().unwrap()
}

fn description(package: &Path) -> Description {
    let model = Model::open(package).unwrap();
    Description::from_proto(&model.spec().description().unwrap())
}

fn signature(package: &Path) -> Signature {
    description(package).functions.remove(0)
}

fn stage(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("stage{number}.mlpackage"))
}

/// The flexible sizes of a tensor.
fn flexibility(kind: &FeatureKind) -> String {
    format!("{kind:?}")
}

#[test]
fn defect_a_state_is_in_one_part_and_updated_once() {
    let Some(model) = edge_case("kv_state") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    for parts in ["2", "3", "4"] {
        let out = dir.path().join(parts);
        let report = bisect(&model, &out, &["--parts", parts]);
        let stages = list(&report, "stages");
        let kept: Vec<&str> = stages
            .iter()
            .flat_map(|s| list(s, "states"))
            .map(|s| s.as_str().unwrap())
            .collect();
        let mut once = kept.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!((kept.len(), once.len()), (8, 8), "{parts} parts: {kept:?}");
        let both = stages.iter().filter(|s| !list(s, "states").is_empty());
        assert!(both.count() > 1, "the states of all layers in one part");
        assert_eq!(report["verify"]["steps"], 5);
        assert_eq!(weights(&report), weights_of(&model), "weights twice");
        for seam in list(&report, "seams") {
            for value in list(seam, "values") {
                let ty = value["type"].as_str().unwrap();
                assert!(!ty.contains("fp32"), "{value}");
            }
        }
    }
}

#[test]
fn defect_an_early_output_leaves_from_the_part_that_computes_it() {
    let Some(model) = edge_case("image_early_exit") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    for parts in ["2", "3", "4"] {
        let out = dir.path().join(parts);
        let report = bisect(&model, &out, &["--parts", parts]);
        let stages = list(&report, "stages");
        let give = stages
            .iter()
            .filter(|s| names(s, "outputs").contains(&"aux"));
        assert_eq!(give.count(), 1);
        for stage in &stages[1..] {
            let taken = names(stage, "inputs");
            assert!(
                !taken.contains(&"aux") && !taken.contains(&"image"),
                "{taken:?}"
            );
        }
        assert_eq!(weights(&report), weights_of(&model), "weights twice");
    }
}

#[test]
fn defect_an_image_stays_an_image() {
    let Some(model) = edge_case("image_early_exit") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("parts");
    bisect(&model, &out, &["--parts", "3"]);
    let first = signature(&stage(&out, 1));
    let whole = signature(&model);
    assert_eq!(first.inputs, whole.inputs);
    assert!(flexibility(&first.inputs[0].kind).contains("Image"));
}

#[test]
fn defect_flexible_shapes_stay_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["range_dim", "enumerated_shapes"] {
        let Some(model) = edge_case(name) else { return };
        let whole = signature(&model);
        for parts in [2, 3, 4] {
            let out = dir.path().join(format!("{name}{parts}"));
            bisect(&model, &out, &["--parts", &parts.to_string()]);
            assert_eq!(signature(&stage(&out, 1)).inputs, whole.inputs);
            assert_eq!(signature(&stage(&out, parts)).outputs, whole.outputs);
            for number in 1..parts {
                let given = signature(&stage(&out, number)).outputs;
                let taken = signature(&stage(&out, number + 1)).inputs;
                for feature in &taken {
                    let from = given.iter().find(|g| g.name == feature.name).unwrap();
                    assert_eq!(from.kind, feature.kind);
                    // The stream has the shape of the input.
                    let (a, b) = (
                        flexibility(&feature.kind),
                        flexibility(&whole.inputs[0].kind),
                    );
                    assert_eq!(a, b, "{name}, {}", feature.name);
                }
            }
        }
    }
}

#[test]
fn defect_tied_weights_are_copied_openly() {
    let Some(model) = edge_case("tied_embedding") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let whole = weights_of(&model);
    // The head is more than half of all.
    let out = dir.path().join("two");
    let report = bisect(&model, &out, &["--parts", "2"]);
    let copies = list(&report, "copies");
    let copied: u64 = copies.iter().map(|c| c["bytes"].as_u64().unwrap()).sum();
    let twice = weights(&report) - whole;
    assert!(twice <= copied && copied <= twice + 128 * copies.len() as u64);
    // Each end on its own.
    let out = dir.path().join("three");
    let apart = ["--parts", "3", "--separate", "embedding,head"];
    let report = bisect(&model, &out, &apart);
    let copies = list(&report, "copies");
    assert_eq!(copies.len(), 1);
    assert_eq!(copies[0]["stages"], serde_json::json!(["stage1", "stage3"]));
    let stages = list(&report, "stages");
    let table = 4096 * 64 * 4;
    assert_eq!(stages[0]["weights"], table);
    let head = stages[2]["weights"].as_u64().unwrap();
    assert!((table..table + 4096 * 4 + 1).contains(&head), "{head}");
    // Too few parts for that.
    let apart = ["--parts", "2", "--separate", "embedding,head", "--dry-run"];
    refused(
        &[&["bisect", str(&model)], &apart[..]].concat(),
        &["take 3"],
    );
}

#[test]
fn defect_a_block_is_not_torn() {
    let Some(model) = edge_case("cond") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("parts");
    let report = bisect(&model, &out, &["--parts", "3"]);
    assert_eq!(list(&report, "stages").len(), 3);
    let with_cond = (1..=3).filter(|&n| {
        let text = expect(0, &["print", str(&stage(&out, n))]);
        text.contains("= cond(")
    });
    assert_eq!(with_cond.count(), 1);
}

/// Functions of a model with several, with what their features are called.
fn functions(model: &Path) -> Vec<Signature> {
    description(model).functions
}

#[test]
fn defect_all_functions_of_several_are_cut() {
    let dir = tempfile::tempdir().unwrap();
    let mut models = vec![PathBuf::from(fixture(
        "control/multifunction/model.mlpackage",
    ))];
    models.extend(edge_case("multifunction"));
    for (number, model) in models.iter().enumerate() {
        let whole = functions(model);
        let default = description(model).default_function;
        let out = dir.path().join(number.to_string());
        let report = bisect(model, &out, &["--parts", "2"]);
        assert_eq!(report["function"], default.as_str());
        let others = list(&report, "functions");
        assert_eq!(others.len() + 1, whole.len());
        for other in &others {
            assert_eq!(other["verify"]["ok"], true, "{other}");
            for output in other["verify"]["outputs"].as_array().unwrap() {
                assert_eq!(output["max_abs"], 0.0, "{output}");
            }
            assert_eq!(list(other, "stages").len(), 2);
            println!("{}: {}", other["name"], other["places"]);
        }
        // Each part has all functions, and what they share once.
        let mut stored = 0;
        for number in 1..=2 {
            let part = stage(&out, number);
            let mut names: Vec<String> = functions(&part).into_iter().map(|s| s.function).collect();
            names.sort();
            let mut wanted: Vec<String> = whole.iter().map(|s| s.function.clone()).collect();
            wanted.sort();
            assert_eq!(names, wanted);
            assert_eq!(description(&part).default_function, default);
            stored += weights_of(&part);
        }
        assert_eq!(
            stored,
            weights_of(model),
            "{}: weights twice",
            model.display()
        );
        // The folder is a model of several functions.
        for signature in &whole {
            let function = signature.function.as_str();
            let zero = ["--atol", "0", "--rtol", "0", "--function", function];
            let args = [&["verify", str(&out), "--against", str(model)], &zero[..]].concat();
            assert_eq!(json(0, &args)["ok"], true, "{function}");
        }
        refused(
            &[
                "verify",
                str(&out),
                "--against",
                str(model),
                "--function",
                "none",
            ],
            &["none"],
        );
        let text = expect(0, &["inspect", str(&out)]);
        for signature in &whole {
            assert!(
                text.contains(&format!("{} features", signature.function)),
                "{text}"
            );
        }
        // And becomes the model again.
        let merged = dir.path().join(format!("{number}.mlpackage"));
        expect(0, &["merge", str(&out), "-o", str(&merged), "--verify"]);
        let sorted = |model: &Path| {
            let mut description = description(model);
            description
                .functions
                .sort_by(|a, b| a.function.cmp(&b.function));
            description
        };
        assert_eq!(sorted(&merged), sorted(model));
        let (before, after) = (Model::open(model).unwrap(), Model::open(&merged).unwrap());
        for signature in &whole {
            let name = &signature.function;
            let lines = [(&before, true), (&after, false)]
                .map(|(model, live)| same_program::lines(model, name, live));
            assert!(lines[0] == lines[1], "{name}");
        }
        assert_eq!(weights_of(&merged), weights_of(model));
        // One function only.
        for signature in &whole {
            let out = dir.path().join(format!("{number}-{}", signature.function));
            let more = ["--parts", "2", "--function", &signature.function];
            let report = bisect(model, &out, &more);
            assert!(list(&report, "functions").is_empty());
            assert_eq!(description(&stage(&out, 1)).functions.len(), 1);
        }
    }
    println!("{} models of several functions", models.len());
}

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
fn defect_compressed_weights_stay_compressed() {
    let dir = tempfile::tempdir().unwrap();
    let mut cut = 0;
    for kind in ["affine", "blockwise", "grouped-lut", "lut", "sparse"] {
        let model = PathBuf::from(fixture(&format!("compressed/{kind}/model.mlpackage")));
        let out = dir.path().join(kind);
        let report = bisect(&model, &out, &["--parts", "2"]);
        assert!(list(&report, "copies").is_empty());
        assert_eq!(weights(&report), weights_of(&model), "{kind}");
        cut += 1;
    }
    println!("{cut} kinds of compression");
}

#[test]
fn defect_metadata_and_descriptions_are_kept() {
    let model = PathBuf::from(fixture("transformer-kv/fp16.mlpackage"));
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("parts");
    bisect(&model, &out, &["--parts", "2"]);
    let whole = description(&model);
    assert!(!whole.metadata.user_defined.is_empty());
    for number in [1, 2] {
        let part = description(&stage(&out, number));
        assert_eq!(part.metadata, whole.metadata);
        let known = &whole.functions[0];
        let own = &part.functions[0];
        for feature in own.inputs.iter().chain(&own.outputs).chain(&own.states) {
            let all = known
                .inputs
                .iter()
                .chain(&known.outputs)
                .chain(&known.states);
            if let Some(same) = all.into_iter().find(|f| f.name == feature.name) {
                assert_eq!(same, feature);
            }
        }
    }
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

/// The measures of a large model, divided.
const SMALL: transformer::Measures = transformer::Measures {
    layers: 12,
    width: 64,
    feed_forward: 192,
    heads: 4,
    key_heads: 2,
    head_width: 16,
    vocabulary: 1000,
    length: 8,
    tied_head: false,
};

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
fn defect_layers_of_equal_weights_are_cut_evenly() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model.mlpackage");
    let small = transformer::Measures { layers: 6, ..SMALL };
    transformer::write(&model, &small, 3).unwrap();
    let report = bisect(&model, &dir.path().join("parts"), &["--parts", "2"]);
    let loads: Vec<u64> = list(&report["choice"], "loads")
        .iter()
        .map(|l| l.as_u64().unwrap())
        .collect();
    assert!(loads[0].abs_diff(loads[1]) * 5 < loads[0], "{loads:?}");
    // What crosses is what the layers hand on, as it is.
    for value in list(&report["seams"][0], "values") {
        assert!(value["type"].as_str().unwrap().contains("fp16"), "{value}");
    }
}

#[test]
fn defect_a_weight_that_all_layers_share_is_in_each_part() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model.mlpackage");
    transformer::write(&model, &SMALL, 3).unwrap();
    // Every layer with the weights of the first.
    let mut same = Model::open(&model).unwrap();
    let mut first: std::collections::BTreeMap<String, milwright_ir::ConstData> = Default::default();
    same.program_mut()
        .replace_data(&mut |constant| match constant.data {
            milwright_ir::ConstData::Blob(_) => {
                let known = first.entry(constant.ty.to_string());
                Some(known.or_insert_with(|| constant.data.clone()).clone())
            }
            _ => None,
        })
        .unwrap();
    let shared = dir.path().join("shared.mlpackage");
    same.save(&shared, milwright_package::WriteOptions::default())
        .unwrap();
    let whole = weights_of(&shared);
    assert!(whole * 3 < weights_of(&model));
    let out = dir.path().join("parts");
    let report = bisect(&shared, &out, &["--parts", "3"]);
    let copied: u64 = list(&report, "copies")
        .iter()
        .map(|c| c["bytes"].as_u64().unwrap() * (list(c, "stages").len() as u64 - 1))
        .sum();
    let more = weights(&report) - whole;
    assert!(
        more > 0 && more <= copied && copied <= more * 2,
        "{more} more, {copied} copied"
    );
    for stage in list(&report, "stages") {
        assert!(
            stage["operations"].as_u64().unwrap() > 1,
            "degenerate: {stage}"
        );
    }
    // Merged, they are there once again.
    let merged = dir.path().join("merged.mlpackage");
    expect(0, &["merge", str(&out), "-o", str(&merged), "--verify"]);
    assert_eq!(weights_of(&merged), whole);
}

#[test]
fn defect_a_head_of_more_than_half_is_a_part() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model.mlpackage");
    let wide = transformer::Measures {
        layers: 2,
        vocabulary: 8000,
        tied_head: true,
        ..SMALL
    };
    transformer::write(&model, &wide, 3).unwrap();
    let body = dir.path().join("body.mlpackage");
    let ends = ["--inputs", "embedded", "--outputs", "logits"];
    expect(
        0,
        &[&["extract", str(&model), "-o", str(&body)], &ends[..]].concat(),
    );
    let out = dir.path().join("parts");
    let report = bisect(&body, &out, &["--parts", "2"]);
    let stages = list(&report, "stages");
    let head = stages[1]["weights"].as_u64().unwrap();
    assert!(head * 2 > weights_of(&body), "{head}");
    assert!(stages[0]["weights"].as_u64().unwrap() > 0);
    assert_eq!(weights(&report), weights_of(&body), "weights twice");
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
