//! Differences of what two models say of themselves.

use milwright_ir::features::{Description, Feature, FeatureKind, Signature};
use milwright_ir::{Attributes, Error, Function, Model, Program, ValueId};

use super::Change;

/// Specification version, metadata, default function, attributes.
pub(super) fn of_models(before: &Model, after: &Model) -> Result<Vec<Change>, Error> {
    let (a, b) = (before.spec(), after.spec());
    let mut found = Vec::new();
    let mut note =
        |what: &str, a: String, b: String| found.extend(Change::of(what, text(a), text(b)));
    note(
        "specification version",
        a.version().to_string(),
        b.version().to_string(),
    );
    let (a, b) = (a.description()?, b.description()?);
    note(
        "default function",
        a.default_function_name.clone(),
        b.default_function_name.clone(),
    );
    note(
        "output that is the class",
        a.predicted_feature_name.clone(),
        b.predicted_feature_name.clone(),
    );
    note(
        "output of the probabilities",
        a.predicted_probabilities_name.clone(),
        b.predicted_probabilities_name.clone(),
    );
    let (a, b) = (Description::from_proto(&a), Description::from_proto(&b));
    let (a, b) = (a.metadata, b.metadata);
    note("description", a.description, b.description);
    note("version", a.version, b.version);
    note("author", a.author, b.author);
    note("license", a.license, b.license);
    found.extend(entries("metadata ", &a.user_defined, &b.user_defined));
    let (a, b) = (before.program(), after.program());
    let versions = (Some(a.version.to_string()), Some(b.version.to_string()));
    found.extend(Change::of("program version", versions.0, versions.1));
    let texts = (text(a.doc_string.clone()), text(b.doc_string.clone()));
    found.extend(Change::of("program text", texts.0, texts.1));
    found.extend(attributes("attribute ", &a.attributes, &b.attributes));
    Ok(found)
}

/// Name, opset, inputs, outputs and states of two functions.
pub(super) fn of_functions(
    before: &Model,
    after: &Model,
    (a, b): (usize, usize),
) -> Result<Vec<Change>, Error> {
    let (old, new) = (before.program(), after.program());
    let (f, g) = (&old.functions[a], &new.functions[b]);
    let mut found = Vec::new();
    found.extend(Change::of(
        "name",
        text(f.name.clone()),
        text(g.name.clone()),
    ));
    found.extend(Change::of(
        "opset",
        text(f.opset.clone()),
        text(g.opset.clone()),
    ));
    let bodies = |function: &Function| {
        let opsets = function.specializations.iter();
        let opsets: Vec<&str> = opsets.map(|(opset, _)| opset.as_str()).collect();
        text(opsets.join(", "))
    };
    if f.specializations.len() + g.specializations.len() > 2 {
        found.extend(Change::of("bodies", bodies(f), bodies(g)));
    }
    found.extend(attributes("attribute ", &f.attributes, &g.attributes));
    let one = before.spec().description()?;
    let other = after.spec().description()?;
    let (one, other) = (
        Description::from_proto(&one),
        Description::from_proto(&other),
    );
    let none = Signature::default();
    let one = one.signature(&f.name).unwrap_or(&none);
    let other = other.signature(&g.name).unwrap_or(&none);
    for (what, a, b) in [
        ("input", &one.inputs, &other.inputs),
        ("output", &one.outputs, &other.outputs),
        ("state", &one.states, &other.states),
    ] {
        features(what, a, b, &mut found);
    }
    types("input", old, &f.inputs, new, &g.inputs, &mut found);
    let outputs = |program: &Program, function: &Function| {
        let body = function.body();
        body.map_or_else(Vec::new, |b| program.blocks[b].outputs.clone())
    };
    types(
        "output",
        old,
        &outputs(old, f),
        new,
        &outputs(new, g),
        &mut found,
    );
    Ok(found)
}

/// Features by name; those that only one side has, in order, as renamed when
/// they are of one kind.
fn features(what: &str, before: &[Feature], after: &[Feature], found: &mut Vec<Change>) {
    let missing = |f: &&Feature, from: &[Feature]| !from.iter().any(|g| g.name == f.name);
    let mut gone: Vec<&Feature> = before.iter().filter(|f| missing(f, after)).collect();
    let new: Vec<&Feature> = after.iter().filter(|f| missing(f, before)).collect();
    for f in before {
        if let Some(g) = after.iter().find(|g| g.name == f.name) {
            feature(what, f, g, found);
        }
    }
    for g in new {
        match gone.iter().position(|f| f.kind == g.kind) {
            Some(at) => {
                let f = gone.remove(at);
                let names = (text(f.name.clone()), text(g.name.clone()));
                found.extend(Change::of(format!("{what} renamed"), names.0, names.1));
                feature(what, f, g, found);
            }
            None => found.extend(Change::of(format!("{what} {}", g.name), None, words(g))),
        }
    }
    for f in gone {
        found.extend(Change::of(format!("{what} {}", f.name), words(f), None));
    }
    let order = |list: &[Feature], other: &[Feature]| -> Option<String> {
        let both = list.iter().filter(|f| !missing(f, other));
        let names: Vec<&str> = both.map(|f| f.name.as_str()).collect();
        text(names.join(", "))
    };
    let order = (order(before, after), order(after, before));
    found.extend(Change::of(format!("order of {what}s"), order.0, order.1));
}

fn feature(what: &str, a: &Feature, b: &Feature, found: &mut Vec<Change>) {
    let what = format!("{what} {}", b.name);
    found.extend(Change::of(what.clone(), words(a), words(b)));
    let optional = |f: &Feature| match (&f.kind, f.optional) {
        (FeatureKind::Array(array), true) => text(array.default.unwrap_or(0.0).to_string()),
        (_, true) => text("optional".to_owned()),
        (_, false) => None,
    };
    let default = (optional(a), optional(b));
    found.extend(Change::of(format!("{what}: default"), default.0, default.1));
    let texts = (text(a.description.clone()), text(b.description.clone()));
    found.extend(Change::of(format!("{what}: description"), texts.0, texts.1));
}

fn words(feature: &Feature) -> Option<String> {
    Some(feature.kind.to_string())
}

/// Types that the programs declare.
fn types(
    what: &str,
    old: &Program,
    before: &[ValueId],
    new: &Program,
    after: &[ValueId],
    found: &mut Vec<Change>,
) {
    for &value in before {
        let (name, ty) = (&old.values[value].name, &old.values[value].ty);
        let other = after.iter().find(|&&v| new.values[v].name == *name);
        if let Some(&other) = other {
            let types = (text(ty.brief()), text(new.values[other].ty.brief()));
            found.extend(Change::of(
                format!("{what} {name} in the program"),
                types.0,
                types.1,
            ));
        }
    }
}

fn attributes(prefix: &str, before: &Attributes, after: &Attributes) -> Vec<Change> {
    let entries_of = |list: &Attributes| -> Vec<(String, String)> {
        let each = list.iter();
        each.map(|(key, value)| (key.clone(), format!("{:?}", value.data)))
            .collect()
    };
    let mut found = entries(prefix, &entries_of(before), &entries_of(after));
    for change in &mut found {
        // The forms of constants are not for people.
        let word = |text: &mut Option<String>, word: &str| {
            if text.is_some() {
                *text = Some(word.to_owned());
            }
        };
        word(&mut change.before, "a value");
        word(&mut change.after, "another value");
    }
    found
}

fn entries(prefix: &str, before: &[(String, String)], after: &[(String, String)]) -> Vec<Change> {
    let get = |list: &[(String, String)], key: &str| {
        let found = list.iter().find(|(k, _)| k == key);
        found.map(|(_, value)| value.clone())
    };
    let new = after.iter().filter(|(key, _)| get(before, key).is_none());
    let keys = before.iter().chain(new).map(|(key, _)| key);
    keys.filter_map(|key| Change::of(format!("{prefix}{key}"), get(before, key), get(after, key)))
        .collect()
}

/// Text, when there is any.
fn text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
