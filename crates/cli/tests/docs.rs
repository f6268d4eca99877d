//! `docs/ops.md` is the op table with what the interpreter executes.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking and print what they checked"
)]

use std::collections::BTreeMap;
use std::path::Path;

use milwright_interp::agreement;
use milwright_ir::ops;

/// Rewrites the file with `BLESS=1`.
#[test]
fn the_documentation_is_the_table() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    // Written by the conformance test.
    let counts = std::fs::read_to_string(docs.join("conformance.tsv")).unwrap();
    let counts: BTreeMap<&str, (&str, &str)> = counts
        .lines()
        .skip(1)
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            (columns[0], (columns[1], columns[2]))
        })
        .collect();
    let kernel = |op: &str| if agreement(op).is_some() { "yes" } else { "no" }.to_owned();
    let agrees = |op: &str| agreement(op).map_or("", |a| a.name()).to_owned();
    let passed = |op: &str| match counts.get(op) {
        Some((cases, passed)) => format!("{passed} of {cases}"),
        None => "none".to_owned(),
    };
    for op in counts.keys() {
        assert!(ops::lookup(op).is_some(), "{op}");
    }
    let rendered = ops::render_docs(&[
        ("kernel", &kernel),
        ("agrees", &agrees),
        ("conformance cases passed", &passed),
    ]);
    let path = docs.join("ops.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &rendered).unwrap();
    }
    println!("{} operations", ops::all().count());
    assert!(
        std::fs::read_to_string(&path).unwrap() == rendered,
        "docs/ops.md is stale; run this test with BLESS=1"
    );
}
