//! What a comparison found, as data. The field names are a contract with
//! scripts: [`SCHEMA`] changes when one is removed or gets another meaning.

use serde::Serialize;

use crate::metrics::{Metrics, Tolerance};

/// Name and version of the JSON form of a [`Report`].
pub const SCHEMA: &str = "milwright-verify/1";

/// The result of comparing a model with a reference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Whether every output agrees.
    pub ok: bool,
    /// The model.
    pub model: String,
    /// What it was compared with: a model, or files of arrays.
    pub against: Vec<String>,
    /// The function that ran.
    pub function: String,
    /// Name of the [`Precision`](milwright_interp::Precision), such as `fp32`.
    pub precision: &'static str,
    /// How many steps ran, on one state.
    pub steps: usize,
    /// Seed of random inputs; `None` when all were given.
    pub seed: Option<u64>,
    /// How large a difference was allowed.
    pub tolerance: Tolerance,
    /// One entry for each output that was compared, over all steps.
    pub outputs: Vec<OutputReport>,
    /// Outputs of the model that the reference has no values for.
    pub not_compared: Vec<String>,
    /// Of two models compared value by value: what was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_op: Option<PerOp>,
}

/// One output, over all steps.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutputReport {
    /// Name.
    pub name: String,
    /// Whether it agrees: shape, kind of type, and every element.
    pub ok: bool,
    /// Why it was not compared, or what differs besides values.
    pub problem: Option<String>,
    /// Element type of the model.
    pub dtype: String,
    /// Element type of the reference.
    pub ref_dtype: String,
    /// Shape in the last step.
    pub shape: Vec<usize>,
    /// The metrics; `None` when no step could be compared.
    #[serde(flatten)]
    pub metrics: Option<Metrics>,
}

/// The result of comparing two models value by value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PerOp {
    /// Values compared in a step: those that both programs name.
    pub compared: usize,
    /// Values that only one of the programs has.
    pub only_in_one: usize,
    /// The first operation of the model, in the order of execution, with an
    /// output that departs.
    pub first: Option<Departure>,
}

/// An operation whose output departs from the reference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Departure {
    /// Step, from 0.
    pub step: usize,
    /// The operation, as in `conv_1 = conv`.
    pub op: String,
    /// Its type.
    pub op_type: String,
    /// The output that departs.
    pub value: OutputReport,
}
