//! Linting what a stranger sends: damaged specs, which no verifier has seen.
//!
//! `MILWRIGHT_SEEDS` is the number of damaged specs of each model (default 200).
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking and print what they checked"
)]

#[path = "../../../fixtures/find.rs"]
mod find;

use milwright_ir::Program;
use milwright_package::{Package, Spec};
use milwright_passes::lint::{Input, Settings, lint};

/// A sequence of numbers (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }
}

/// One or two bytes changed, rarely removed or repeated: a length that is wrong
/// ends decoding early.
fn damaged(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(2) {
        let at = random.below(bytes.len());
        match random.below(12) {
            0..5 => bytes[at] = random.below(256) as u8,
            5..10 => bytes[at] ^= 1 << random.below(8),
            10 => {
                bytes.remove(at);
            }
            _ => bytes.insert(at, bytes[at]),
        }
    }
    bytes
}

/// The number of findings, if the spec can be decoded.
fn findings(bytes: Vec<u8>, package: &Package) -> Option<usize> {
    let spec = Spec::parse(bytes.into(), package.path()).ok()?;
    let program = Program::from_proto(&spec.program().ok()?).ok()?;
    let input = Input::of_stage(&program, &spec, package).ok()?;
    Some(lint(&input, &Settings::default()).len())
}

#[test]
fn damaged_specs_never_panic() {
    let given = std::env::var("MILWRIGHT_SEEDS").ok();
    let seeds: u64 = given.and_then(|n| n.parse().ok()).unwrap_or(200);
    let (mut linted, mut refused, mut other) = (0, 0, 0);
    for path in find::packages(&find::fixtures()) {
        let package = Package::open(&path).unwrap();
        let bytes = package.spec().bytes().clone();
        let whole = findings(bytes.to_vec(), &package).unwrap();
        for seed in 0..seeds {
            let bytes = damaged(&bytes, &mut Random(seed));
            let caught = std::panic::catch_unwind(|| findings(bytes, &package));
            match caught.unwrap_or_else(|_| panic!("{}, seed {seed}", path.display())) {
                Some(n) => {
                    linted += 1;
                    other += usize::from(n != whole);
                }
                None => refused += 1,
            }
        }
    }
    println!("{linted} damaged specs linted, {other} with other findings, {refused} refused");
    assert!(linted > 100 && other > 0 && refused > 0);
}

/// The same model gives the same findings, each time.
#[test]
fn findings_are_deterministic() {
    let mut compared = 0;
    for path in find::packages(&find::fixtures()) {
        let model = milwright_ir::Model::open(&path).unwrap();
        let once = || {
            let found = lint(&Input::of(&model).unwrap(), &Settings::default());
            serde_json::to_string(&found).unwrap()
        };
        let first = once();
        assert_eq!(first, once(), "{}", path.display());
        compared += first.len();
    }
    println!("{compared} bytes of findings compared");
    assert!(compared > 1_000);
}
