//! What is different between two models.
//!
//! Operations are paired by what they compute, then by the weights that they
//! read, by the names of their results, and by their neighbours; names alone
//! are no difference. Constants belong to the operations that read them, and are
//! compared by their digests.

mod compare;
mod digest;
mod interface;
mod matching;

use milwright_ir::{Error, Model};
use serde::Serialize;

/// What is different between two models, the first being "before".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Whether there is none. Other names of values, another order and another
    /// place of constants are none.
    pub equal: bool,
    /// Specification version, metadata, default function, attributes.
    pub model: Vec<Change>,
    /// Functions that only the second has.
    pub functions_added: Vec<String>,
    /// Functions that only the first has.
    pub functions_removed: Vec<String>,
    /// Functions that both have.
    pub functions: Vec<FunctionDifference>,
}

/// What is different between two functions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FunctionDifference {
    /// Its name.
    pub name: String,
    /// Inputs, outputs, states, opset, attributes.
    pub interface: Vec<Change>,
    /// Operations of the first, but for constants.
    pub operations_before: usize,
    /// Operations of the second, but for constants.
    pub operations_after: usize,
    /// Operations that only the second has.
    pub added: Vec<OpSummary>,
    /// Operations that only the first has.
    pub removed: Vec<OpSummary>,
    /// Operations that are not the same in both.
    pub changed: Vec<ChangedOp>,
    /// Results with another name, before and after. No difference.
    pub renamed: Vec<(String, String)>,
    /// Constants with the same value in another place: in the spec, in the
    /// weight file, or elsewhere in it. No difference.
    pub moved_constants: usize,
}

impl FunctionDifference {
    /// Whether there is no difference.
    pub fn is_equal(&self) -> bool {
        self.interface.is_empty()
            && self.added.is_empty()
            && self.removed.is_empty()
            && self.changed.is_empty()
    }
}

/// Something that both have, and that is not the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What it is.
    pub what: String,
    /// Before; `None` when it was not there.
    pub before: Option<String>,
    /// After; `None` when it is not there any more.
    pub after: Option<String>,
}

impl Change {
    /// A change, if there is one.
    fn of(what: impl Into<String>, before: Option<String>, after: Option<String>) -> Option<Self> {
        (before != after).then(|| Change {
            what: what.into(),
            before,
            after,
        })
    }
}

/// An operation that one model has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpSummary {
    /// Its first result.
    pub output: String,
    /// Its type.
    pub op_type: String,
    /// The type of its first result.
    #[serde(rename = "type")]
    pub ty: String,
    /// Operations in its blocks.
    pub inside: usize,
}

/// An operation that both models have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChangedOp {
    /// Its first result before.
    pub before: String,
    /// Its first result after.
    pub after: String,
    /// Its type.
    pub op_type: String,
    /// What is different.
    pub changes: Vec<Change>,
}

/// Compares two models: their descriptions, and the bodies in force of their
/// functions.
///
/// # Errors
/// A description is damaged, or a constant cannot be read.
pub fn diff(before: &Model, after: &Model) -> Result<Difference, Error> {
    let mut found = Difference {
        model: interface::of_models(before, after)?,
        ..Difference::default()
    };
    let (old, new) = (before.program(), after.program());
    let named = |program: &'_ milwright_ir::Program, name: &str| {
        program.functions.iter().position(|f| f.name == name)
    };
    let mut digests = digest::Digests::new(before, after);
    for (index, function) in old.functions.iter().enumerate() {
        // The only function of each is the same whatever it is called.
        let alone = old.functions.len() == 1 && new.functions.len() == 1;
        let other = named(new, &function.name).or(alone.then_some(0));
        let Some(other) = other else {
            found.functions_removed.push(function.name.clone());
            continue;
        };
        let mut difference = compare::functions(before, after, (index, other), &mut digests)?;
        let interface = interface::of_functions(before, after, (index, other))?;
        difference.interface.splice(0..0, interface);
        found.functions.push(difference);
    }
    for function in &new.functions {
        let alone = old.functions.len() == 1 && new.functions.len() == 1;
        if !alone && named(old, &function.name).is_none() {
            found.functions_added.push(function.name.clone());
        }
    }
    found.equal = found.model.is_empty()
        && found.functions_added.is_empty()
        && found.functions_removed.is_empty()
        && found.functions.iter().all(FunctionDifference::is_equal);
    Ok(found)
}
