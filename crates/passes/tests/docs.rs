//! `docs/passes.md` is made from the passes.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::iter_over_hash_type,
    reason = "tests fail by panicking and print what they checked"
)]

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
