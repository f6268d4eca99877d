//! What passes did, as data.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::pass::Exactness;
use crate::rewriter::Change;

/// What a pipeline did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The passes, in the order in which they ran.
    pub steps: Vec<StepReport>,
    /// Whether the passes stopped because the allowed number of changes was
    /// used up.
    pub out_of_fuel: bool,
}

impl Report {
    /// Operations that some pass should have taken and did not.
    pub fn left(&self) -> impl Iterator<Item = &Left> {
        self.steps.iter().flat_map(|s| &s.result.left)
    }

    /// The number of changes, over all passes.
    pub fn changes(&self) -> usize {
        self.steps.iter().map(|s| s.changes.len()).sum()
    }
}

/// What one pass of a pipeline did.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// Name of the pass.
    pub pass: &'static str,
    /// Its options, defaults included.
    pub options: BTreeMap<&'static str, String>,
    /// What it may change in the numbers.
    pub exactness: Exactness,
    /// Every change, in order.
    pub changes: Vec<Change>,
    /// What it says itself.
    pub result: PassReport,
}

/// What a pass says about its work.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PassReport {
    /// Operations that were replaced by others.
    pub rewritten: Vec<Rewritten>,
    /// Operations that it should take but could not, with the reason.
    pub left: Vec<Left>,
    /// Operations that were removed because nothing uses them, by type.
    pub removed: BTreeMap<String, usize>,
    /// Changes that need no more words than a number, by what they are.
    pub done: BTreeMap<String, usize>,
}

/// An operation that was replaced by others.
#[derive(Clone, Debug, Serialize)]
pub struct Rewritten {
    /// Function that holds it.
    pub function: String,
    /// Name of its output.
    pub op: String,
    /// Its type.
    pub op_type: String,
    /// Its parameters, for people.
    pub summary: String,
    /// The form that was chosen.
    pub form: &'static str,
    /// What became of its weights.
    pub weights: String,
    /// Operations that were added, by type, constants apart.
    pub added: BTreeMap<String, usize>,
    /// Multiply-adds that it took, per item of a batch of unknown size; `None`
    /// when they depend on other unknown sizes.
    pub macs_before: Option<u64>,
    /// Multiply-adds of what replaces it, counted likewise.
    pub macs_after: Option<u64>,
    /// The largest tensor that was added.
    pub largest: Option<Added>,
}

/// A tensor that was added to a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Added {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: String,
    /// Elements, an unknown size counted as one.
    pub elements: u64,
    /// Bytes in the program's element type, counted likewise.
    pub bytes: u64,
}

/// An operation that a pass left as it is.
#[derive(Clone, Debug, Serialize)]
pub struct Left {
    /// Function that holds it.
    pub function: String,
    /// Name of its output.
    pub op: String,
    /// Its type.
    pub op_type: String,
    /// Why.
    pub reason: String,
}
