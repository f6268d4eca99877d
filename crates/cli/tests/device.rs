//! `milwright lint --analytics`, `--compute-plan` and `--sarif`.
//!
//! The records are made here, in the forms that the library documents: that of
//! the `analytics.mil` files which 751K/Apple-Neural-Engine-Microarchitecture-Study-M6
//! published, and that of coremltools' remote devices.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it checked"
)]

mod common;

use common::{expect, fixture, json, refused, str};
use serde_json::{Value, json};

/// The operations of a model that run: type and first output.
fn running(model: &str) -> Vec<(String, String)> {
    let model = milwright_ir::Model::open(model).unwrap();
    let program = model.program();
    let ops = milwright_passes::hint::running(program).into_iter();
    let named = ops.map(|id| {
        let op = &program.ops[id];
        let name = program.values[op.outputs[0]].name.clone();
        (op.op_type.clone(), name)
    });
    named.collect()
}

/// An `analytics.mil` in which the CPU runs everything and the Neural Engine
/// takes all but `softmax`.
fn analytics(model: &str) -> String {
    let mut text = String::from(
        "program(1.3)\n{\n    func main<ios18>(tensor<fp16, [1]> x) [Launch_ane_ms = \
         fp64(0x1p-3)] {\n",
    );
    for (op, name) in running(model) {
        let takes = if op == "softmax" {
            "unsupported"
        } else {
            "ane"
        };
        let message = match op.as_str() {
            "softmax" => {
                "ValidationMessage = dict<string, string>({{\"ane\", \"no \\\"softmax\\\"\"}}), "
            }
            _ => "",
        };
        text.push_str(&format!(
            "        tensor<fp16, [1]> {name} = {op}(x = x)[BackendSupport = list<string, 2>([\"bnns\", \
             \"{takes}\"]), EstimatedRuntime = dict<string, fp64>({{{{\"bnns\", 0.5}}}}), \
             SelectedBackend = string(\"bnns\"), {message}milId = uint64(1)];\n"
        ));
    }
    text + "    } -> (x);\n}\n"
}

#[test]
fn a_record_is_shown_beside_the_prediction() {
    let scratch = tempfile::tempdir().unwrap();
    let model = fixture("asr-encoder/fp32.mlpackage");
    let file = scratch.path().join("analytics.mil");
    std::fs::write(&file, analytics(&model)).unwrap();
    let operations = running(&model);
    let args = ["lint", &model, "--analytics", str(&file)];
    let report = json(0, &args);
    let device = &report["device"];
    assert_eq!(device["kind"], "analytics");
    assert_eq!(device["costs"]["Launch_ane_ms"], 0.125);
    let rows = device["rows"].as_array().unwrap();
    assert_eq!(rows.len(), operations.len());
    assert_eq!(device["not_in_program"], json!([]));
    assert_eq!(device["not_in_record"], json!([]));
    // By the rules, single precision leaves the Neural Engine.
    let softmax = operations.iter().filter(|(op, _)| op == "softmax").count();
    assert!(softmax > 0);
    let agreement = &device["agreement"];
    let number = |key: &str| agreement[key].as_u64().unwrap() as usize;
    assert_eq!(number("compared"), operations.len());
    assert!(number("agree") >= softmax);
    let wrong = number("wrongly_predicted_to_leave") + number("wrongly_predicted_to_stay");
    assert_eq!(number("agree") + wrong, operations.len());
    let row = rows
        .iter()
        .find(|r| r["op"].as_str().unwrap().ends_with("= softmax"));
    let row = row.unwrap();
    assert_eq!(row["messages"]["ane"], "no \"softmax\"");
    assert_eq!(
        (&row["unit"], &row["agrees"]),
        (&json!("cpu"), &json!(true))
    );
    let shown = expect(0, &args);
    for words in [
        "ran on",
        "ane: no \"softmax\"",
        "prediction and device agree on",
    ] {
        assert!(shown.contains(words), "{words}\n{shown}");
    }
    println!("{agreement}");
}

#[test]
fn a_compute_plan_is_matched_by_name() {
    let scratch = tempfile::tempdir().unwrap();
    let model = fixture("asr-encoder/fp16.mlpackage");
    let file = scratch.path().join("plan.json");
    let infos = running(&model).into_iter().map(|(_, name)| {
        json!({
            "deviceUsage": {
                "preferred": {"neuralEngine": {"totalCoreCount": 16}},
                "supported": [{"cpu": {}}, {"neuralEngine": {"totalCoreCount": 16}}],
            },
            "estimatedCost": 0.01,
            "path": {"components": [
                {"program": {}},
                {"programFunction": {"data": {"name": "main"}}},
                {"programBlock": {"data": {"index": -1}}},
                {"programOperation": {"data": {"outputName": name}}},
            ]},
        })
    });
    let infos: Vec<Value> = infos.collect();
    let count = infos.len();
    std::fs::write(&file, json!({"infos": infos}).to_string()).unwrap();
    let report = json(0, &["lint", &model, "--compute-plan", str(&file)]);
    let device = &report["device"];
    assert_eq!(device["rows"].as_array().unwrap().len(), count);
    assert_eq!(device["agreement"]["wrongly_predicted_to_stay"], 0);
    println!("{count} operations, {}", device["agreement"]);
}

#[test]
fn other_files_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let model = fixture("conv3d/fp32.mlpackage");
    let file = scratch.path().join("file");
    std::fs::write(&file, "{}").unwrap();
    let file = str(&file);
    refused(&["lint", &model, "--analytics", file], &["program("]);
    refused(&["lint", &model, "--compute-plan", file], &["operation"]);
    refused(
        &["lint", &model, "--compute-plan", "missing.json"],
        &["missing.json"],
    );
    std::fs::write(file, [0xff, 0xfe]).unwrap();
    refused(&["lint", &model, "--compute-plan", file], &["no text"]);
}

/// The fields that SARIF 2.1.0 requires, and that what refers to something
/// refers to something.
fn check_sarif(log: &Value) -> usize {
    assert_eq!(log["version"], "2.1.0");
    let runs = log["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1);
    let driver = &runs[0]["tool"]["driver"];
    assert_eq!(driver["name"], "milwright");
    let rules = driver["rules"].as_array().unwrap();
    for rule in rules {
        assert!(rule["id"].is_string());
        for text in ["shortDescription", "fullDescription", "help"] {
            assert!(!rule[text]["text"].as_str().unwrap().is_empty());
        }
        let level = rule["defaultConfiguration"]["level"].as_str().unwrap();
        assert!(["note", "warning", "error"].contains(&level));
    }
    let artifacts = runs[0]["artifacts"].as_array().unwrap().len() as u64;
    let results = runs[0]["results"].as_array().unwrap();
    for result in results {
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        let level = result["level"].as_str().unwrap();
        assert!(["note", "warning", "error"].contains(&level));
        let index = result["ruleIndex"].as_u64().unwrap() as usize;
        assert_eq!(rules[index]["id"], result["ruleId"]);
        let locations = result["locations"].as_array().unwrap();
        assert!(!locations.is_empty());
        for location in locations {
            let artifact = &location["physicalLocation"]["artifactLocation"];
            assert!(!artifact["uri"].as_str().unwrap().contains(' '));
            assert!(artifact["index"].as_u64().unwrap() < artifacts);
            for logical in location["logicalLocations"]
                .as_array()
                .into_iter()
                .flatten()
            {
                assert!(logical["fullyQualifiedName"].is_string(), "{logical}");
                assert!(logical["kind"].is_string());
            }
        }
        let properties = &result["properties"];
        assert!(properties["confidence"].is_string() && properties["effect"].is_string());
    }
    results.len()
}

#[test]
fn findings_are_written_as_sarif() {
    let mut count = 0;
    for (model, status) in [
        ("mel-frontend/fp32", 1),
        ("asr-encoder/fp32", 0),
        ("transformer-kv", 0),
    ] {
        let model = match model {
            "transformer-kv" => match common::packages(&common::fixtures().join(model)).first() {
                Some(path) => str(path).to_owned(),
                None => continue,
            },
            model => fixture(&format!("{model}.mlpackage")),
        };
        let output = common::milwright(&["lint", &model, "--sarif"]);
        let text = String::from_utf8(output.stdout).unwrap();
        let log: Value = serde_json::from_str(&text).unwrap();
        let findings = json(output.status.code().unwrap(), &["lint", &model]);
        let found = check_sarif(&log);
        assert_eq!(
            found,
            findings["findings"].as_array().unwrap().len(),
            "{model}"
        );
        if model.contains("mel-frontend") {
            assert_eq!(output.status.code(), Some(status));
        }
        count += found;
    }
    println!("{count} results");
    assert!(count > 5);
}
