//! `milwright bisect` where other tools lose something: each test is a case in
//! which a widely used one cuts wrong.
//!
//! | what it cuts wrong | test (`defect_..`) |
//! |---|---|
//! | seams in fp32, two values where one would do | `layers_of_equal_weights_are_cut_evenly` |
//! | compressed weights | `compressed_weights_stay_compressed` |
//! | one weight in all layers | `a_weight_that_all_layers_share_is_in_each_part` |
//! | tied embedding and head | `tied_weights_are_copied_openly` |
//! | a head of more than half the weights | `a_head_of_more_than_half_is_a_part` |
//! | an output that is computed early | `an_early_output_leaves_from_the_part_that_computes_it` |
//! | states | `a_state_is_in_one_part_and_updated_once` |
//! | several functions | `all_functions_of_several_are_cut` |
//! | ranges of sizes, enumerated shapes | `flexible_shapes_stay_what_they_are` |
//! | image inputs | `an_image_stays_an_image` |
//! | metadata | `metadata_and_descriptions_are_kept` |
//! | nested blocks | `a_block_is_not_torn` |
//! | writes nothing on Linux, needs packages of its tests | every test here |

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

use common::{expect, fixture, json, refused, str};
use milwright_ir::Model;
use milwright_ir::features::Signature;
use parts::*;

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
            stage["weights"].as_u64().unwrap() > 0,
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
