//! Damaged specs, opened, verified and run by the function that the fuzz
//! target calls: none makes the program panic.
//!
//! `MILWRIGHT_SEEDS` is the number of damaged specs of each model (default 500).

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking and print what they checked"
)]

use std::collections::BTreeMap;

use milwright_package::Package;
use milwright_verify::Random;

#[path = "../../../fixtures/find.rs"]
mod find;
#[path = "../../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "it is a crate of its own")]
mod fuzz;

use fuzz::{Reached, open_verify_run, parse_print_run};

/// One to four bytes changed, removed, repeated or swapped.
fn damaged(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.integer(1, 4) {
        let last = bytes.len() as i64 - 1;
        let at = random.integer(0, last) as usize;
        match random.integer(0, 5) {
            0 => bytes[at] = random.bits() as u8,
            1 => bytes[at] ^= 1 << random.integer(0, 7),
            2 => bytes[at] = bytes[at].wrapping_add(1),
            3 => {
                bytes.remove(at);
            }
            4 => bytes.insert(at, bytes[at]),
            _ => bytes.swap(at, random.integer(0, last) as usize),
        }
    }
    bytes
}

#[test]
fn damaged_specs_never_panic() {
    let given = std::env::var("MILWRIGHT_SEEDS").ok();
    let seeds: u64 = given.and_then(|n| n.parse().ok()).unwrap_or(500);
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut whole = 0;
    for path in find::packages(&find::fixtures()) {
        let package = Package::open(&path).unwrap();
        let bytes = package.spec().bytes().clone();
        if open_verify_run(&bytes, &package) == Reached::Ran {
            whole += 1;
        }
        for seed in 0..seeds {
            let bytes = damaged(&bytes, &mut Random::new(seed, 0, "damage"));
            let caught = std::panic::catch_unwind(|| open_verify_run(&bytes, &package));
            let reached = caught.unwrap_or_else(|_| panic!("{}, seed {seed}", path.display()));
            *counts.entry(format!("{reached:?}")).or_default() += 1;
        }
    }
    println!("{whole} whole fixtures ran; damaged: {counts:?}");
    assert!(whole > 10, "{whole}");
    assert_eq!(counts.len(), 4, "every stage is reached: {counts:?}");
}

/// Every `.mil` file of the repository.
fn texts() -> Vec<String> {
    let mut folders = vec![find::repository().join("crates/cli/tests/files")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|e| e == "mil") => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    let read = |path| std::fs::read_to_string(path).unwrap();
    found.iter().map(read).collect()
}

#[test]
fn damaged_texts_never_panic() {
    let given = std::env::var("MILWRIGHT_SEEDS").ok();
    let seeds: u64 = given.and_then(|n| n.parse().ok()).unwrap_or(200);
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let texts = texts();
    let mut whole = 0;
    for (number, text) in texts.iter().enumerate() {
        whole += usize::from(parse_print_run(text) == Reached::Ran);
        for seed in 0..seeds {
            let bytes = damaged(text.as_bytes(), &mut Random::new(seed, number, "text"));
            let text = String::from_utf8_lossy(&bytes);
            let caught = std::panic::catch_unwind(|| parse_print_run(&text));
            let reached = caught.unwrap_or_else(|_| panic!("seed {seed} of\n{text}"));
            *counts.entry(format!("{reached:?}")).or_default() += 1;
        }
    }
    println!(
        "{whole} of {} whole texts ran; damaged: {counts:?}",
        texts.len()
    );
    assert!(whole > 5, "{whole}");
    assert_eq!(counts.len(), 4, "every stage is reached: {counts:?}");
}
