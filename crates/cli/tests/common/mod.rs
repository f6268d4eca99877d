//! What the tests of the binary share.
#![allow(
    dead_code,
    unused_imports,
    clippy::print_stdout,
    reason = "no test file uses all of it"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use milwright_package::Package;

#[path = "../../../../fixtures/find.rs"]
mod find;

pub(crate) use find::{fixtures, packages};

/// Runs the binary.
pub(crate) fn milwright(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_milwright"))
        .args(args)
        .output()
        .unwrap()
}

/// Runs the binary and requires an exit status; returns standard output.
pub(crate) fn expect(status: i32, args: &[&str]) -> String {
    let output = milwright(args);
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        output.status.code(),
        Some(status),
        "milwright {}\nstandard output:\n{out}\nstandard error:\n{}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    out
}

/// Runs the binary, requires exit status 2 and an error message that holds all
/// `words`, and returns the message.
pub(crate) fn refused(args: &[&str], words: &[&str]) -> String {
    let output = milwright(args);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{args:?}\n{message}");
    assert!(message.starts_with("error: "), "{args:?}\n{message}");
    assert!(!message.contains("panicked"), "{message}");
    for word in words {
        assert!(message.contains(word), "no {word:?} in:\n{message}");
    }
    message
}

/// Runs the binary with `--json` and parses what it prints.
pub(crate) fn json(status: i32, args: &[&str]) -> serde_json::Value {
    let mut args = args.to_vec();
    args.push("--json");
    serde_json::from_str(&expect(status, &args)).unwrap()
}

/// A path below `fixtures/models`.
pub(crate) fn fixture(path: &str) -> String {
    let path = fixtures().join(path);
    assert!(path.exists(), "{} is missing", path.display());
    path.to_str().unwrap().to_owned()
}

/// The folder of shared models, when it is there. Says so when it is not.
pub(crate) fn shared() -> Option<PathBuf> {
    find::shared("models")
}

/// The ML Programs among the packages of the fixtures and of the shared models.
pub(crate) fn programs() -> Vec<PathBuf> {
    let mut found = packages(&fixtures());
    if let Some(shared) = shared() {
        found.extend(packages(&shared));
    }
    found.retain(|path| Package::open(path).unwrap().spec().kind().is_ml_program());
    assert!(found.len() >= 15, "{}", found.len());
    found
}

/// Every file below a folder: path within it and content.
pub(crate) fn files(below: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![below.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let within = path.strip_prefix(below).unwrap().to_owned();
                found.push((within, std::fs::read(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// The files `PREFIX.0.npz`, `PREFIX.1.npz` and so on of a folder.
pub(crate) fn steps(folder: &Path, prefix: &str) -> Vec<String> {
    (0..)
        .map(|n| folder.join(format!("{prefix}.{n}.npz")))
        .take_while(|p| p.exists())
        .map(|p| p.to_str().unwrap().to_owned())
        .collect()
}

/// Copies a folder.
pub(crate) fn copy(from: &Path, to: &Path) {
    for (within, bytes) in files(from) {
        let target = to.join(within);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::write(target, bytes).unwrap();
    }
}

/// A Python that imports coremltools: the one that `MILWRIGHT_PYTHON` names,
/// which must, or `python3`.
pub(crate) fn python() -> Option<PathBuf> {
    let imports = |python: &Path| {
        let output = Command::new(python)
            .args(["-c", "import coremltools"])
            .output();
        output.is_ok_and(|output| output.status.success())
    };
    if let Some(named) = std::env::var_os("MILWRIGHT_PYTHON") {
        let named = PathBuf::from(named);
        assert!(
            imports(&named),
            "MILWRIGHT_PYTHON is {}, which cannot import coremltools",
            named.display()
        );
        return Some(named);
    }
    let default = PathBuf::from("python3");
    if imports(&default) {
        return Some(default);
    }
    println!("skipped: python3 has no coremltools, and MILWRIGHT_PYTHON is not set");
    None
}

pub(crate) fn str(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs `verb` on each model with the arguments after it and `-o out`, and
/// requires the error that holds the text; nothing may be at `out` afterwards.
pub(crate) fn all_refused(verb: &str, out: &Path, cases: &[(&str, Vec<&str>, &str)]) {
    for (model, more, message) in cases {
        let args = [&[verb, model, "-o", str(out)], more.as_slice()].concat();
        refused(&args, &[message]);
        assert!(!out.exists(), "{more:?} left something");
    }
    println!("{} refused", cases.len());
}
