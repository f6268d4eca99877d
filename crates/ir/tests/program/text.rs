//! Writing: text as Apple's compiler writes it, bytes as the file has them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use milwright_ir::text::{Dialect, print};
use milwright_ir::{Error, Model};
use prost::Message;

use crate::corpus;

/// The lines of operations, as they are.
fn op_lines(text: &str) -> Vec<&str> {
    text.lines()
        .map(str::trim)
        .filter(|line| line.ends_with(";") && line.contains(" = ") && !line.starts_with("}"))
        .collect()
}

pub(crate) fn dialect(text: &str) -> Dialect {
    match text.starts_with("program(1.0)") {
        true => Dialect::V1_0,
        false => Dialect::V1_3,
    }
}

/// Pairs of a model and the text that Apple's compiler made of it.
fn pairs() -> Vec<(PathBuf, PathBuf)> {
    let Some(models) = corpus::shared("models") else {
        return Vec::new();
    };
    let silero = models.join("silero-vad");
    let texts = models.join("mil-text");
    let mut found = Vec::new();
    let entries = |folder: &Path| {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        paths.sort();
        paths
    };
    for path in entries(&silero) {
        if path.extension().is_some_and(|e| e == "mlmodelc") {
            found.push((path.with_extension("mlpackage"), path.join("model.mil")));
        }
    }
    for path in entries(&texts) {
        let text = path.join("expected.mlmodelc/model.mil");
        if text.is_file() {
            found.push((path.join("input.mlmodel"), text));
        }
    }
    found
}

/// Every text of Apple's compiler, those of pipeline stages too.
pub(crate) fn texts() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = corpus::shared("models").into_iter().collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.ends_with("model.mil") => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

#[test]
fn op_lines_are_those_of_apples_compiler() {
    let (mut compared, mut texts) = (0, 0);
    let pairs = pairs();
    for (model, text) in &pairs {
        let expected = std::fs::read_to_string(text).unwrap();
        let model = match Model::open(model) {
            // One of them is a pipeline.
            Err(Error::NotAProgram { .. }) => continue,
            opened => opened.unwrap(),
        };
        let printed = print(model.program(), dialect(&expected), None);
        let (ours, theirs) = (op_lines(&printed), op_lines(&expected));
        assert!(!theirs.is_empty(), "{}", text.display());
        for (a, b) in ours.iter().zip(&theirs) {
            assert_eq!(a, b, "{}", text.display());
        }
        assert_eq!(ours.len(), theirs.len(), "{}", text.display());
        compared += theirs.len();
        texts += 1;
    }
    println!("{texts} texts, {compared} lines of operations, all the same, in order");
    assert!(pairs.is_empty() || texts > 0);
}

/// Models that were encoded by hand, with fields written that every encoder
/// leaves out: changing such an operation is refused.
const HAND_ENCODED: &str = "/mil-text/";

/// Marks every operation as changed, and demands that the program is still
/// written as it was read. Returns how many were changed and refused.
fn rewrite(name: &str, mut model: Model, kinds: &mut BTreeMap<String, usize>) -> (usize, usize) {
    let before = model.program().to_proto().encode_to_vec();
    let program = model.program_mut();
    let (mut changed, mut refused) = (0, 0);
    for id in program.live_ops() {
        match program.op_mut(id) {
            Ok(op) => {
                assert!(!op.is_untouched());
                *kinds.entry(op.op_type.clone()).or_default() += 1;
                changed += 1;
            }
            Err(Error::Lossy { .. }) if name.contains(HAND_ENCODED) => refused += 1,
            Err(error) => panic!("{name}: {error}"),
        }
    }
    let after = model.program().to_proto().encode_to_vec();
    assert!(before == after, "{name} is not written as it was read");
    (changed, refused)
}

#[test]
fn operations_written_from_memory_are_the_files_bytes() {
    let mut kinds = BTreeMap::new();
    let models = corpus::models();
    let files = models.len();
    let (mut changed, mut refused) = (0, 0);
    for (name, model) in models {
        let counts = rewrite(&name, model, &mut kinds);
        changed += counts.0;
        refused += counts.1;
    }
    println!(
        "{files} models, {changed} operations of {} types written again, {refused} refused",
        kinds.len()
    );
    assert!(changed > refused);
}
