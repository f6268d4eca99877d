//! `docs/passes.md` is made from the passes.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::iter_over_hash_type,
    reason = "tests fail by panicking and print what they checked"
)]

#[path = "../../../fixtures/find.rs"]
mod find;

#[test]
fn passes_md_is_up_to_date() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/passes.md");
    let made = milwright_passes::markdown();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == made,
        "docs/passes.md is stale; run the test with BLESS=1"
    );
}

/// `docs/lints.md` is made from the rules.
#[test]
fn lints_md_is_up_to_date() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/lints.md");
    let made = milwright_passes::lint::markdown();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == made,
        "docs/lints.md is stale; run the test with BLESS=1"
    );
}

/// Every rule of the collected rule base is covered by a rule or listed as not
/// checked, and none is both.
#[test]
fn the_rule_base_is_covered() {
    use std::collections::BTreeSet;
    let covered: BTreeSet<&str> = milwright_passes::lint::rules()
        .iter()
        .flat_map(|r| r.ids.iter().copied())
        .collect();
    let unchecked: BTreeSet<&str> = milwright_passes::lint::UNCHECKED
        .iter()
        .map(|u| u.id)
        .collect();
    let both: Vec<&&str> = covered.intersection(&unchecked).collect();
    assert!(both.is_empty(), "covered and not checked: {both:?}");
    let Some(folder) = find::shared("knowledge") else {
        return;
    };
    let base = std::fs::read_to_string(folder.join("ane-rules.tsv")).unwrap();
    let ids: BTreeSet<&str> = base
        .lines()
        .skip(1)
        .filter_map(|line| line.split('\t').next())
        .collect();
    let unknown: Vec<&&str> = covered
        .union(&unchecked)
        .filter(|id| !ids.contains(**id))
        .collect();
    assert!(unknown.is_empty(), "not in the rule base: {unknown:?}");
    let left: Vec<&&str> = ids
        .iter()
        .filter(|id| !covered.contains(**id) && !unchecked.contains(**id))
        .collect();
    println!(
        "{} rules of the base: {} covered, {} not checkable, left: {left:?}",
        ids.len(),
        covered.len(),
        unchecked.len()
    );
}
