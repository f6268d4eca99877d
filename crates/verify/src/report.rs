//! What a comparison found, as data. The field names are a contract with
//! scripts: [`SCHEMA`] changes when one is removed or gets another meaning.

use serde::Serialize;

use crate::metrics::{Element, Metrics, Tolerance};

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
    /// `fp32` or `native`.
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
    pub metrics: Option<Figures>,
}

/// [`Metrics`] under the names of the contract.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs, reason = "documented at `Metrics`")]
pub struct Figures {
    pub max_abs: f64,
    pub max_rel: f64,
    pub mean_abs: f64,
    pub cosine: f64,
    pub snr_db: Option<f64>,
    pub ref_max_abs: f64,
    pub nan: u64,
    pub inf: u64,
    pub ref_nan: u64,
    pub ref_inf: u64,
    pub nonfinite_mismatches: u64,
    pub elements: u64,
    pub constant: bool,
    pub worst: Option<Element>,
}

impl From<Metrics> for Figures {
    fn from(m: Metrics) -> Self {
        Figures {
            max_abs: m.max_abs,
            max_rel: m.max_rel,
            mean_abs: m.mean_abs,
            cosine: m.cosine,
            snr_db: m.snr_db,
            ref_max_abs: m.ref_max_abs,
            nan: m.nan,
            inf: m.inf,
            ref_nan: m.ref_nan,
            ref_inf: m.ref_inf,
            nonfinite_mismatches: m.nonfinite_mismatches,
            elements: m.elements,
            constant: m.constant,
            worst: m.worst,
        }
    }
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
