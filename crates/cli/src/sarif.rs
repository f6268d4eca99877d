//! Findings as SARIF 2.1.0, the form that code hosts and editors read.

use milwright_ir::{Location, Severity};
use milwright_passes::lint::{Finding, Rule};
use serde_json::{Map, Value, json};

use crate::findings::{Entry, Report};

/// Places of a finding that are written; readers refuse thousands.
const PLACES: usize = 100;

/// The log of one run. `rules` are those that were applied, found or not.
pub(crate) fn log(report: &Report, rules: &[&'static Rule]) -> Value {
    let file = report.text.as_ref().map(|file| file.display().to_string());
    let uri = uri(file.as_ref().unwrap_or(&report.model));
    let results = report
        .findings
        .iter()
        .map(|entry| result(entry, rules, &uri));
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": env!("CARGO_PKG_NAME"),
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": rules.iter().map(|rule| descriptor(rule)).collect::<Vec<Value>>(),
            }},
            "artifacts": [{"location": {"uri": uri}}],
            "results": results.collect::<Vec<Value>>(),
            "properties": {"target": report.target, "units": report.units, "os": report.os},
        }],
    })
}

fn descriptor(rule: &Rule) -> Value {
    let units: Vec<&str> = rule.units.iter().map(|unit| unit.words()).collect();
    json!({
        "id": rule.name,
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": rule.details},
        "help": {"text": help(rule), "markdown": help(rule)},
        "defaultConfiguration": {"level": level(rule.severity)},
        "properties": {
            "ids": rule.ids,
            "effect": rule.effect,
            "confidence": rule.confidence,
            "units": units,
            "sources": rule.sources,
            "disputed": rule.disputed,
        },
    })
}

fn help(rule: &Rule) -> String {
    let mut text = format!("{}\n\nHow sure: {}.", rule.details, rule.confidence);
    if let Some(disputed) = rule.disputed {
        text.push_str(&format!("\n\nSources disagree: {disputed}"));
    }
    text.push_str(&format!("\n\nSources: {}.", rule.sources.join("; ")));
    text
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

fn result(entry: &Entry, rules: &[&'static Rule], uri: &str) -> Value {
    let finding = &entry.finding;
    let whole = json!({"artifactLocation": {"uri": uri, "index": 0}});
    let places = finding.places.iter().take(PLACES);
    let mut locations: Vec<Value> = places
        .map(|place| {
            let logical = logical(place, entry.stage.as_deref());
            let mut physical = whole.clone();
            if let Some(at) = place.text {
                physical["region"] = json!({"startLine": at.line, "startColumn": at.column});
            }
            json!({"physicalLocation": physical, "logicalLocations": [logical]})
        })
        .collect();
    if locations.is_empty() {
        locations.push(json!({"physicalLocation": whole}));
    }
    let mut result = json!({
        "ruleId": finding.rule.name,
        "level": level(finding.diagnostic.severity),
        "message": {"text": message(finding, entry.command.as_deref())},
        "locations": locations,
        "properties": properties(entry),
    });
    // The index is optional, and wrong ones are worse than none.
    if let Some(index) = rules.iter().position(|r| r.name == finding.rule.name) {
        result["ruleIndex"] = json!(index);
    }
    result
}

fn message(finding: &Finding, command: Option<&str>) -> String {
    let mut text = finding.diagnostic.message.clone();
    for fact in &finding.diagnostic.context {
        text.push_str(&format!("\n{fact}"));
    }
    if let Some(help) = &finding.diagnostic.help {
        text.push_str(&format!("\nHelp: {help}."));
    }
    if let Some(command) = command {
        text.push_str(&format!("\nFix: {command}"));
    }
    text
}

fn properties(entry: &Entry) -> Value {
    let finding = &entry.finding;
    let mut all = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            all.insert(key.to_owned(), value);
        }
    };
    put("confidence", json!(finding.confidence));
    put("effect", json!(entry.effect));
    put("number", json!(finding.number));
    put("limit", json!(finding.limit));
    put("disputed", json!(finding.disputed));
    put("command", json!(entry.command));
    put("stage", json!(entry.stage));
    put("places", json!(finding.places.len()));
    Value::Object(all)
}

/// The innermost thing that a place names, with the way to it.
fn logical(place: &Location, stage: Option<&str>) -> Value {
    let parts = [
        ("stage", stage),
        ("function", place.function.as_deref()),
        ("operation", place.op.as_deref()),
        ("value", place.value.as_deref()),
        ("parameter", place.param.as_deref()),
    ];
    let named: Vec<(&str, &str)> = parts
        .into_iter()
        .filter_map(|(kind, name)| Some((kind, name?)))
        .collect();
    let way: Vec<&str> = named.iter().map(|(_, name)| *name).collect();
    match named.last() {
        Some((kind, name)) => json!({
            "name": name,
            "fullyQualifiedName": way.join("/"),
            "kind": kind,
        }),
        None => json!({"kind": "model"}),
    }
}

/// A path as a URI reference.
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            b'\\' if cfg!(windows) => uri.push('/'),
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_uris() {
        assert_eq!(uri("a/b c.mlpackage"), "a/b%20c.mlpackage");
        assert_eq!(uri("ä:%"), "%C3%A4%3A%25");
    }

    #[test]
    fn places_name_the_way() {
        let place = Location {
            function: Some("main".into()),
            op: Some("y = conv".into()),
            param: Some("weight".into()),
            ..Location::default()
        };
        let found = logical(&place, Some("stage1"));
        assert_eq!(found["fullyQualifiedName"], "stage1/main/y = conv/weight");
        assert_eq!(
            (&found["kind"], &found["name"]),
            (&json!("parameter"), &json!("weight"))
        );
        assert_eq!(logical(&Location::default(), None)["kind"], "model");
    }
}
