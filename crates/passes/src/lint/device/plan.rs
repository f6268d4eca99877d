//! Dumps of `MLComputePlan`.
//!
//! There is no standard form. Two are read, wherever in the JSON they are:
//!
//! * that of coremltools (`experimental.remote_device`, which devices send):
//!   `{"infos": [{"deviceUsage": {"preferred": {"neuralEngine": {..}},
//!   "supported": [..]}, "estimatedCost": 0.1, "path": {"components": [..]}}]}`;
//! * a row for each operation, as most scripts write it: an object with the
//!   type (`op`, `type`, `operatorName`, `operator_name`), the preferred device
//!   (`preferred`, `preferredComputeDevice`, `preferred_compute_device`,
//!   `device`) and, where there are any, the supported devices, the cost, the
//!   name (`name`, `output`, `outputs`), the function and the position
//!   (`index`, `idx`). Underscores and capitals do not matter.

use serde_json::{Map, Value};

use super::{Error, Placed, Record, unit};

/// JSON nested deeper than this is not looked into.
const MAX_DEPTH: usize = 32;

/// Reads a dump of a compute plan.
///
/// # Errors
/// It is no JSON, or no object in it is an operation with a device.
pub fn compute_plan(text: &str) -> Result<Record, Error> {
    let refuse = |reason: String| Error::Plan { reason };
    let json: Value = serde_json::from_str(text).map_err(|e| refuse(format!("no JSON: {e}")))?;
    let mut rows = Vec::new();
    collect(&json, None, 0, &mut rows);
    if rows.is_empty() {
        return Err(refuse(
            "nothing in it is an operation; looked for objects with a type and a preferred \
             device, and for `deviceUsage` with a `path`"
                .to_owned(),
        ));
    }
    if rows.iter().all(|(_, placed)| placed.unit.is_none()) {
        return Err(refuse(
            "no operation in it names a device (cpu, gpu, neuralEngine)".to_owned(),
        ));
    }
    // Some tools sort by cost and give the position beside.
    if rows.iter().all(|(position, _)| position.is_some()) {
        rows.sort_by_key(|(position, placed)| (placed.function.clone(), *position));
    }
    Ok(Record {
        operations: rows.into_iter().map(|(_, placed)| placed).collect(),
        ..Record::default()
    })
}

type Rows = Vec<(Option<u64>, Placed)>;

fn collect(json: &Value, function: Option<&str>, depth: usize, rows: &mut Rows) {
    if depth > MAX_DEPTH {
        return;
    }
    match json {
        Value::Array(items) => {
            for item in items {
                collect(item, function, depth + 1, rows);
            }
        }
        Value::Object(object) => {
            if let Some(row) = row(object, function) {
                rows.push(row);
                // Blocks of control flow.
                for key in ["blocks", "operations"] {
                    if let Some(inner) = object.get(key) {
                        collect(inner, function, depth + 1, rows);
                    }
                }
                return;
            }
            for (key, value) in object {
                match value {
                    Value::Object(functions) if key == "functions" => {
                        for (name, body) in functions {
                            collect(body, Some(name), depth + 1, rows);
                        }
                    }
                    other => collect(other, function, depth + 1, rows),
                }
            }
        }
        _ => {}
    }
}

/// The field of one of these names, spelled in any way.
fn field<'a>(object: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Value> {
    names.iter().find_map(|name| {
        let mut fields = object.iter();
        fields
            .find(|(key, _)| plain(key) == *name)
            .map(|(_, value)| value)
    })
}

fn plain(key: &str) -> String {
    let letters = key.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|c| c.to_ascii_lowercase()).collect()
}

fn row(object: &Map<String, Value>, function: Option<&str>) -> Option<(Option<u64>, Placed)> {
    let usage = field(object, &["deviceusage"]).and_then(Value::as_object);
    let source = usage.unwrap_or(object);
    let preferred = field(
        source,
        &[
            "preferred",
            "preferreddevice",
            "preferredcomputedevice",
            "computedevice",
            "device",
        ],
    )?;
    let path = field(object, &["path"]).and_then(Value::as_object);
    let op_type = field(
        object,
        &[
            "operatorname",
            "operator",
            "optype",
            "op",
            "operation",
            "type",
            "kind",
        ],
    );
    let op_type = op_type.and_then(Value::as_str);
    if op_type.is_none() && path.is_none() {
        return None;
    }
    let mut placed = Placed {
        function: function.map(str::to_owned),
        op_type: op_type.map(without_opset).unwrap_or_default(),
        ..Placed::default()
    };
    let outputs = field(object, &["outputs", "output", "outputname", "name"]);
    placed.outputs = outputs.map(names).unwrap_or_default();
    if let Some(name) = field(object, &["function", "functionname"]).and_then(Value::as_str) {
        placed.function = Some(name.to_owned());
    }
    if let Some(path) = path {
        follow(path, &mut placed);
    }
    let devices = |value: &Value| match value {
        Value::Array(items) => items.iter().filter_map(device).collect(),
        Value::String(list) => list.split([',', '|', ' ']).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    let supported = field(
        source,
        &["supported", "supporteddevices", "supportedcomputedevices"],
    );
    placed.supported = supported.map(devices).unwrap_or_default();
    placed.supported.retain(|name| !name.is_empty());
    placed.backend = device(preferred).unwrap_or_default();
    placed.unit = unit(&placed.backend);
    let cost = field(
        object,
        &["estimatedcost", "estimatedcostweight", "cost", "weight"],
    );
    placed.cost = cost.and_then(Value::as_f64);
    let position = field(object, &["index", "idx"]).and_then(Value::as_u64);
    Some((position, placed))
}

/// `ios18.conv` is `conv`.
fn without_opset(op_type: &str) -> String {
    let after = op_type.rsplit(['.', ':']).next();
    after.unwrap_or(op_type).to_owned()
}

/// A name, names, or objects with a name.
fn names(value: &Value) -> Vec<String> {
    match value {
        Value::String(name) => vec![name.clone()],
        Value::Array(items) => items.iter().flat_map(names).collect(),
        Value::Object(object) => field(object, &["name"]).map(names).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// A device: a name, `{"neuralEngine": {..}}`, or an object with a type or name.
fn device(value: &Value) -> Option<String> {
    match value {
        Value::String(name) => Some(name.clone()),
        Value::Object(object) => {
            let key = object.keys().find(|key| unit(key).is_some());
            let named = || field(object, &["type", "name", "device"])?.as_str();
            key.map(String::as_str).or_else(named).map(str::to_owned)
        }
        _ => None,
    }
}

/// Function and result of `{"components": [{"programFunction": {"data": {"name":
/// ..}}}, .., {"programOperation": {"data": {"outputName": ..}}}]}`.
fn follow(path: &Map<String, Value>, placed: &mut Placed) {
    let components = path.get("components").and_then(Value::as_array);
    for component in components.into_iter().flatten() {
        let text = |kind: &str, key: &str| {
            let text = component.get(kind)?.get("data")?.get(key)?.as_str()?;
            Some(text.to_owned())
        };
        if let Some(name) = text("programFunction", "name") {
            placed.function = Some(name);
        }
        if let Some(name) = text("programOperation", "outputName") {
            // The innermost one is the operation itself.
            placed.outputs = vec![name];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::finding::Unit;

    fn one(text: &str) -> Placed {
        let record = compute_plan(text).unwrap();
        assert_eq!(record.operations.len(), 1, "{text}");
        record.operations[0].clone()
    }

    #[test]
    fn the_form_of_coremltools_is_read() {
        let placed = one(
            r#"{"infos": [{"deviceUsage": {"preferred": {"neuralEngine": {"totalCoreCount": 16}},
            "supported": [{"cpu": {}}, {"neuralEngine": {"totalCoreCount": 16}}]},
            "estimatedCost": 0.25, "path": {"components": [{"program": {}},
            {"programFunction": {"data": {"name": "main"}}}, {"programBlock": {"data": {"index": -1}}},
            {"programOperation": {"data": {"outputName": "y"}}}]}}]}"#,
        );
        assert_eq!(placed.unit, Some(Unit::Ane));
        assert_eq!(placed.takes_neural_engine(), Some(true));
        assert_eq!(placed.outputs, ["y"]);
        assert_eq!(placed.function.as_deref(), Some("main"));
        assert_eq!(placed.cost, Some(0.25));
    }

    #[test]
    fn rows_are_read() {
        for text in [
            r#"[{"op": "ios18.conv", "preferred": "cpu", "supported": ["cpu", "gpu"], "name": "y"}]"#,
            r#"{"functions": {"main": {"operations": [{"operatorName": "ios18.conv",
               "preferredComputeDevice": "MLCPUComputeDevice",
               "supportedComputeDevices": ["MLCPUComputeDevice", "MLGPUComputeDevice"],
               "outputs": [{"name": "y"}]}]}}}"#,
            r#"{"plan": {"rows": [{"operator_name": "conv", "preferred_compute_device":
               {"type": "CPU"}, "supported": "CPU|GPU", "output": "y", "cost": 1}]}}"#,
        ] {
            let placed = one(text);
            assert_eq!(
                (placed.op_type.as_str(), placed.unit),
                ("conv", Some(Unit::Cpu))
            );
            assert_eq!(placed.takes_neural_engine(), Some(false), "{text}");
            assert_eq!(placed.outputs, ["y"]);
        }
    }

    #[test]
    fn positions_order_rows() {
        let record = compute_plan(
            r#"{"operations": [{"index": 2, "type": "relu", "device": "ANE"},
            {"index": 1, "type": "conv", "device": null}]}"#,
        )
        .unwrap();
        let types: Vec<&str> = record
            .operations
            .iter()
            .map(|o| o.op_type.as_str())
            .collect();
        assert_eq!(types, ["conv", "relu"]);
        assert_eq!(record.operations[0].unit, None);
    }

    #[test]
    fn other_files_are_refused() {
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        for (text, word) in [
            ("", "no JSON"),
            ("[1, 2", "no JSON"),
            (r#"{"a": 1}"#, "operation"),
            (&deep, "operation"),
            (
                r#"{"operations": [{"type": "conv", "cost": 1}]}"#,
                "operation",
            ),
            (r#"[{"op": "conv", "preferred": "quantum"}]"#, "device"),
        ] {
            let error = compute_plan(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
