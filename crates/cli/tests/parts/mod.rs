//! What the tests of `milwright bisect` share.
#![allow(dead_code, reason = "no test file uses all of it")]

use std::path::{Path, PathBuf};

use milwright_ir::Model;
use milwright_ir::features::{Description, FeatureKind, Signature};
use serde_json::Value;

use crate::common::{json, shared, steps, str};
use crate::transformer;

/// Cuts a model with `--verify` and gives the report.
pub(crate) fn bisect(model: &Path, folder: &Path, more: &[&str]) -> Value {
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

pub(crate) fn edge_case(name: &str) -> Option<PathBuf> {
    let models = shared()?;
    Some(models.join(format!("edge-cases/{name}/model.mlpackage")))
}

pub(crate) fn list<'v>(value: &'v Value, key: &str) -> Vec<&'v Value> {
    value[key].as_array().unwrap().iter().collect()
}

pub(crate) fn names<'v>(value: &'v Value, key: &str) -> Vec<&'v str> {
    let each = list(value, key).into_iter();
    each.map(|v| v["name"].as_str().unwrap()).collect()
}

pub(crate) fn weights(report: &Value) -> u64 {
    let stages = list(report, "stages").into_iter();
    stages.map(|s| s["weights"].as_u64().unwrap()).sum()
}

/// Weights of a whole model.
pub(crate) fn weights_of(model: &Path) -> u64 {
    let report = json(0, &["inspect", str(model)]);
    report["weights"]["bytes"].as_u64().unwrap()
}

pub(crate) fn description(package: &Path) -> Description {
    let model = Model::open(package).unwrap();
    Description::from_proto(&model.spec().description().unwrap())
}

pub(crate) fn signature(package: &Path) -> Signature {
    description(package).functions.remove(0)
}

pub(crate) fn stage(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("stage{number}.mlpackage"))
}

/// The flexible sizes of a tensor.
pub(crate) fn flexibility(kind: &FeatureKind) -> String {
    format!("{kind:?}")
}

/// The measures of a large model, divided.
pub(crate) const SMALL: transformer::Measures = transformer::Measures {
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
