//! Passes over whole models: the fixtures, and `../shared/models` when it is there.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::iter_over_hash_type,
    reason = "tests fail by panicking and print what they checked"
)]

#[path = "../../../fixtures/find.rs"]
mod find;
mod support;

use std::collections::BTreeMap;
use std::path::Path;

use milwright_ir::{Model, Program};
use milwright_passes::{Pipeline, RunOptions};
use support::check_added;

const CHOICES: [(&str, bool); 4] = [
    ("decompose-conv", false),
    ("decompose-conv{taps=sum}", false),
    ("decompose-conv{stride=strided-slice}", true),
    ("decompose-conv{stride=strided-slice,taps=sum},dce", true),
];

fn convolutions(program: &Program) -> usize {
    let live = program.live_ops();
    live.iter()
        .filter(|&&op| program.ops[op].op_type.starts_with("conv"))
        .count()
}

/// Takes apart every convolution of every package, in every way; the reasons
/// of those that are left, by package.
fn take_apart(folder: &Path) -> BTreeMap<String, Vec<String>> {
    let (mut models, mut taken, mut checked) = (0, 0, 0);
    let mut forms: BTreeMap<&str, usize> = BTreeMap::new();
    let mut reasons = BTreeMap::new();
    for path in find::packages(folder) {
        let name = path.strip_prefix(folder).unwrap().display().to_string();
        let model = match Model::open(&path) {
            Ok(model) => model,
            Err(error) => panic!("{name}: {error}"),
        };
        models += 1;
        for (text, strided) in CHOICES {
            let mut program = model.program().clone();
            let before = convolutions(&program);
            let known: Vec<String> = program
                .values
                .ids()
                .map(|v| program.values[v].name.clone())
                .collect();
            let known: std::collections::HashSet<String> = known.into_iter().collect();
            let pipeline = Pipeline::parse(text).unwrap();
            let report = pipeline
                .run(&mut program, model.package(), &RunOptions::default())
                .unwrap_or_else(|e| panic!("{name}: {text}: {e}"));
            let left: Vec<_> = report.left().collect();
            assert_eq!(convolutions(&program), left.len(), "{name}: {text}");
            taken += before - left.len();
            checked += check_added(&program, |value| !known.contains(value), strided);
            for rewritten in &report.steps[0].result.rewritten {
                *forms.entry(rewritten.form).or_default() += 1;
                assert!(
                    !rewritten.weights.is_empty() && rewritten.largest.is_some()
                        || rewritten.added.len() <= 2
                );
            }
            if !left.is_empty() {
                let lines = left
                    .iter()
                    .map(|l| format!("{}: {}", l.op, l.reason))
                    .collect();
                reasons.insert(format!("{name} {text}"), lines);
            }
        }
    }
    println!(
        "{}: {models} packages in {} ways, {taken} convolutions taken apart, {checked} added \
         operations checked; forms: {forms:?}",
        folder
            .file_name()
            .map_or_else(String::new, |n| n.display().to_string()),
        CHOICES.len()
    );
    reasons
}

#[test]
fn fixtures_lose_their_convolutions() {
    let reasons = take_apart(&find::fixtures());
    println!("left: {reasons:#?}");
    for (name, lines) in &reasons {
        let reason = match name.split('/').next() {
            Some("conv3d") => "3-D",
            Some("conv-dynamic") => "not constant",
            _ => panic!("{name}: {lines:?}"),
        };
        assert_eq!(lines.len(), 1, "{name}: {lines:?}");
        assert!(lines[0].contains(reason), "{name}: {lines:?}");
    }
    assert_eq!(reasons.len(), 2 * CHOICES.len());
}

#[test]
fn shared_models_lose_their_convolutions() {
    let Some(folder) = find::shared("models") else {
        return;
    };
    let reasons = take_apart(&folder);
    println!("left: {reasons:#?}");
    for (name, lines) in &reasons {
        // Only a stride over a dimension of unknown size, without strided slices.
        assert!(
            name.starts_with("silero-vad/encoder") && !name.contains("strided"),
            "{name}"
        );
        assert!(
            lines.iter().all(|l| l.contains("unknown size")),
            "{name}: {lines:?}"
        );
    }
}
