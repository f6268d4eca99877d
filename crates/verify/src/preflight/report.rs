//! What a preflight found, as data. The field names are a contract with
//! scripts: [`SCHEMA`] changes when one is removed or gets another meaning.

use milwright_ir::{OpId, ValueId};
use serde::Serialize;

/// Name and version of the JSON form of a [`Preflight`].
pub const SCHEMA: &str = "milwright-preflight/1";

/// What a program loses in fp16 on given inputs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preflight {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Whether nothing overflows, becomes NaN or infinite, or fails.
    pub ok: bool,
    /// The model.
    pub model: String,
    /// The function that ran.
    pub function: String,
    /// `half`: as if the program were converted to fp16; `native`: as it
    /// declares.
    pub precision: &'static str,
    /// What it was compared with: `fp32`.
    pub reference: &'static str,
    /// How many steps ran, on one state.
    pub steps: usize,
    /// Seed of random inputs; `None` when all were given.
    pub seed: Option<u64>,
    /// The error that ended the evaluation in fp16; what comes after it has
    /// only the errors that operations add on their own.
    pub failure: Option<String>,
    /// One entry for each input and for each result of an operation, in the
    /// order in which they were first computed. An input counts as an operation
    /// of the type `input`.
    pub ops: Vec<OpReport>,
    /// The outputs, in [`Preflight::ops`], of the operations that add most
    /// error, worst first.
    pub worst: Vec<String>,
    /// Constants that fp16 cannot hold, worst first.
    pub constants: Vec<ConstantReport>,
    /// How many constants were looked at.
    pub constants_checked: usize,
    /// The difference at the outputs of the function.
    pub outputs: Vec<OutputLoss>,
}

/// One result of an operation, over all steps.
///
/// What an operation adds is measured on its own: it is executed in fp16 on the
/// operands of the reference, rounded to fp16 (where one is too large for that,
/// it stays, and the operation that made it answers). So errors of the
/// operations before it do not count, but an operation that magnifies the
/// rounding of its operands (a difference of nearly equal numbers) answers for
/// that.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OpReport {
    /// The operation, as in `conv_1 = conv`.
    pub op: String,
    /// Its type.
    pub op_type: String,
    /// Name of the result.
    pub output: String,
    /// Element type that the program declares.
    pub dtype: String,
    /// How often it was executed.
    pub runs: usize,
    /// Elements of all executions.
    pub elements: u64,
    /// Smallest and largest finite element in the reference.
    pub min: Option<f64>,
    /// See [`OpReport::min`].
    pub max: Option<f64>,
    /// Smallest magnitude in the reference that is not 0.
    pub smallest: Option<f64>,
    /// NaN in the reference.
    pub nan: u64,
    /// Infinities in the reference.
    pub inf: u64,
    /// Elements that are finite in the reference and too large for fp16.
    pub overflow: u64,
    /// Elements that would fit and yet become NaN or infinite in this
    /// operation: by a division by what became 0, for example.
    pub nonfinite: u64,
    /// Elements that are finite in the reference, and NaN or infinite where the
    /// whole program runs in fp16, whatever operation caused it.
    pub nonfinite_in_run: u64,
    /// Elements under the smallest normal number of fp16, 6.1e-5, and not 0.
    pub below_normal: u64,
    /// Those of them that become 0.
    pub to_zero: u64,
    /// The error that the operation adds; `None` when it computes nothing
    /// (control flow, states), or when no element stays finite.
    pub added: Option<Difference>,
    /// The error where the whole program runs in fp16; `None` after a failure,
    /// or when no element stays finite.
    pub total: Option<Difference>,
    /// Why the operation fails in fp16, if it does.
    pub failure: Option<String>,
    /// The result in its program, for callers that hold one.
    #[serde(skip)]
    pub value: Option<ValueId>,
    /// In fp16 the operation would have taken another branch, or another
    /// number of rounds. (What is compared takes those of the reference.)
    pub strays: bool,
}

/// How far fp16 is from the reference, over elements finite in both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Root of the sum of squared differences over that of squared values of
    /// the reference; `None` when the reference is 0 and the other is not.
    pub relative: Option<f64>,
    /// Largest difference.
    pub max_abs: f64,
    /// Elements that differ, of integers and truth values.
    pub changed: Option<u64>,
}

impl Difference {
    /// For sorting: larger is worse.
    pub fn weight(&self) -> f64 {
        self.relative.unwrap_or(f64::INFINITY)
    }
}

/// A constant that fp16 cannot hold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConstantReport {
    /// Its name, or the operation and parameter it is written in.
    pub name: String,
    /// Operations and parameters that read it, at most four.
    pub used_by: Vec<String>,
    /// Every operation that reads it and the parameter, for callers that hold
    /// the program.
    #[serde(skip)]
    pub readers: Vec<(OpId, String)>,
    /// Number of elements.
    pub elements: u64,
    /// Smallest and largest finite element.
    pub min: Option<f64>,
    /// See [`ConstantReport::min`].
    pub max: Option<f64>,
    /// Elements beyond 65504, which become infinite.
    pub overflow: u64,
    /// Elements that are not 0 and become 0: magnitudes up to 3e-8.
    pub to_zero: u64,
}

/// An output of the function.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutputLoss {
    /// Its name.
    pub name: String,
    /// The error in fp16; `None` after a failure, or when no element stays
    /// finite.
    pub total: Option<Difference>,
    /// Elements that are NaN or infinite in fp16 only.
    pub nonfinite: u64,
}

impl OpReport {
    /// Whether the operation itself makes what fp16 cannot hold.
    pub fn breaks(&self) -> bool {
        self.overflow > 0 || self.nonfinite > 0 || self.failure.is_some()
    }
}
