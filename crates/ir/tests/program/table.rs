//! The op table is what coremltools 9.0 defines.

use std::collections::{BTreeMap, BTreeSet};

use milwright_ir::DataType;
use milwright_ir::ops::{self, Default, Kind, OpDef, Opset, Param, Presence};
use serde_json::Value;

use crate::corpus;

/// Where the table is meant to differ from coremltools: operation, parameter
/// (or `*`), and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[(
    "write_state",
    "*",
    "coremltools makes it while it writes a file; it has no definition there",
)];

fn excepted(op: &str, param: &str) -> bool {
    EXCEPTIONS
        .iter()
        .any(|(o, p, _)| *o == op && (*p == param || *p == "*"))
}

fn opset(name: &str) -> Opset {
    *Opset::ALL.iter().find(|o| o.text_name() == name).unwrap()
}

/// One parameter of the fixture against the table's.
fn compare_param(def: &OpDef, name: &str, facts: &Value, at: Opset, wrong: &mut Vec<String>) {
    let mut fault = |what: String| {
        if !excepted(def.name, name) {
            wrong.push(format!("{}.{name} in {at}: {what}", def.name));
        }
    };
    let Some(param) = def.params_in(at).find(|p| p.name == name) else {
        return fault("is missing".into());
    };
    let kind = match facts["kind"].as_str().unwrap() {
        "list" => Kind::List,
        "state" => Kind::State,
        "any" => Kind::Any,
        _ => param.kind,
    };
    if param.kind != kind || (facts["kind"] == "tuple") != param.variadic {
        fault(format!("is a {}", facts["kind"]));
    }
    let optional = !matches!(param.presence, Presence::Required);
    if facts["optional"] != Value::Bool(optional) {
        fault(format!("optional is {}", facts["optional"]));
    }
    // Tuples are constant or not element by element; inference looks at them.
    if facts["kind"] != "tuple" && facts["const"] != Value::Bool(param.must_be_constant(at)) {
        fault(format!("const is {}", facts["const"]));
    }
    if let Some(dtypes) = facts["dtypes"].as_array() {
        let wanted: BTreeSet<&str> = dtypes.iter().map(|d| d.as_str().unwrap()).collect();
        let domain = param.domain(at);
        let found: BTreeSet<&str> = domain
            .iter()
            .flat_map(|d| d.dtypes.iter().map(|d: &DataType| d.name()))
            .collect();
        if wanted != found {
            fault(format!("takes {wanted:?}, the table says {found:?}"));
        }
        let group = domain.map_or("", |d| d.group);
        if facts["group"].as_str().unwrap_or("") != group {
            fault(format!(
                "group is {}, the table says {group:?}",
                facts["group"]
            ));
        }
    }
    if !default_agrees(param, &facts["default"]) {
        fault(format!("default is {}", facts["default"]));
    }
}

fn default_agrees(param: &Param, facts: &Value) -> bool {
    match (&param.presence, facts) {
        // Not given, or computed from the operands: words in the table.
        (Presence::Required | Presence::Optional(_), Value::Null) => true,
        (Presence::Optional(_), Value::Object(_)) => true,
        (Presence::Default(Default::Bool(v)), Value::Bool(f)) => v == f,
        (Presence::Default(Default::Str(v)), Value::String(f)) => v == f,
        (Presence::Default(Default::Int(v)), Value::Number(f)) => f.as_i64() == Some(*v),
        // Some are rounded to fp32 there.
        (Presence::Default(Default::Float(v)), Value::Number(f)) => {
            f.as_f64().is_some_and(|f| f as f32 == *v as f32)
        }
        _ => false,
    }
}

#[test]
fn the_table_is_what_coremltools_defines() {
    let path = corpus::repository().join("fixtures/op-signatures.json");
    let text = std::fs::read_to_string(path).unwrap();
    let facts: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
    let mut wrong = Vec::new();
    let (mut rows, mut params) = (0, 0);
    for (name, versions) in &facts {
        let Some(def) = ops::lookup(name) else {
            wrong.push(format!("{name} is missing"));
            continue;
        };
        let versions = versions.as_array().unwrap();
        let since = opset(versions[0]["opset"].as_str().unwrap());
        if def.since != since {
            wrong.push(format!("{name} is there since {since}"));
        }
        // Every opset is compared, also those in which nothing changed.
        for at in [Opset::IOS15, Opset::IOS16, Opset::IOS17, Opset::IOS18] {
            let held = versions
                .iter()
                .rev()
                .find(|v| opset(v["opset"].as_str().unwrap()) <= at);
            let Some(held) = held else { continue };
            rows += 1;
            let wanted = held["params"].as_object().unwrap();
            for (param, facts) in wanted {
                params += 1;
                compare_param(def, param, facts, at, &mut wrong);
            }
            for param in def.params_in(at) {
                if !wanted.contains_key(param.name) && !excepted(name, param.name) {
                    wrong.push(format!("{name}.{} does not exist in {at}", param.name));
                }
            }
        }
        let described: Vec<Opset> = def.changes.iter().map(|(o, _)| *o).collect();
        let changed: Vec<Opset> = versions[1..]
            .iter()
            .map(|v| opset(v["opset"].as_str().unwrap()))
            .collect();
        if described != changed {
            wrong.push(format!(
                "{name} changed in {changed:?}, the table says {described:?}"
            ));
        }
    }
    for def in ops::all() {
        if !facts.contains_key(def.name) && !excepted(def.name, "*") {
            wrong.push(format!("{} is not an operation of coremltools", def.name));
        }
    }
    println!(
        "{} operations, {rows} operation-opset pairs, {params} parameters, {} exceptions, {} \
         differences",
        facts.len(),
        EXCEPTIONS.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_are_unique_and_described() {
    let mut names = BTreeSet::new();
    for def in ops::all() {
        assert!(names.insert(def.name), "{} is there twice", def.name);
        assert!(def.summary.ends_with('.'), "{}: {}", def.name, def.summary);
        let mut params = BTreeSet::new();
        for param in def.params {
            assert!(params.insert(param.name), "{}.{}", def.name, param.name);
        }
        assert!(!def.family().is_empty());
    }
    println!("{} operations", names.len());
}

/// The file itself is rendered by the command line's tests, which know what
/// the interpreter executes.
#[test]
fn the_documentation_has_every_operation() {
    let rendered = ops::render_docs(&[("letters", &|op: &str| op.len().to_string())]);
    for def in ops::all() {
        assert!(rendered.contains(&format!("\n### {}\n", def.name)));
        let row = format!(
            "\n| [{0}](#{0}) | {1} | {2}",
            def.name,
            def.family(),
            def.since
        );
        assert!(rendered.contains(&row), "{row}");
    }
    assert!(rendered.contains("| [gather_nd](#gather_nd) | gather | ios15, ios16, ios17 | 9 |\n"));
}
