//! What the verifier says about real programs.

use std::collections::BTreeMap;

use milwright_ir::{Model, verify};

use crate::corpus;

#[derive(Default)]
struct Tally {
    errors: Vec<String>,
    others: BTreeMap<&'static str, usize>,
    ops: usize,
}

impl Tally {
    fn model(&mut self, name: &str, model: &Model) {
        self.ops += model.program().live_ops().len();
        for finding in verify(model.program(), model) {
            match finding.is_error() {
                true => self.errors.push(format!("{name}: {finding}")),
                false => *self.others.entry(finding.code).or_default() += 1,
            }
        }
    }

    fn finish(self, what: &str, files: usize) {
        println!(
            "{what}: {files} files, {} operations, {} errors, others: {:?}",
            self.ops,
            self.errors.len(),
            self.others
        );
        assert!(self.errors.is_empty(), "{}", self.errors.join("\n"));
    }
}

#[test]
fn real_models_are_accepted() {
    let mut tally = Tally::default();
    let models = corpus::models();
    for (name, model) in &models {
        tally.model(name, model);
    }
    tally.finish("models", models.len());
}

#[test]
fn conformance_cases_are_accepted() {
    let mut tally = Tally::default();
    let files = corpus::conformance(|name, model| tally.model(name, model));
    tally.finish("conformance", files);
}
