//! How exactly two implementations of an operation must agree.

use crate::{control, kernels};

/// What a kernel promises, and what may be asked of another implementation that
/// gets the same operands in the same type. NaN agrees with NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// The same bits: results are operands, counts or indices, or one
    /// arithmetic operation on them, correctly rounded.
    Exact,
    /// The same up to rounding: several arithmetic operations, in an order that
    /// the format leaves open, or a function that is not correctly rounded.
    Rounding,
    /// The same distribution.
    Random,
}

impl Agreement {
    /// Its name in reports and documentation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Rounding => "rounding",
            Self::Random => "random",
        }
    }
}

/// What the kernel of an operation type promises; `None` when there is none.
pub fn agreement(op_type: &str) -> Option<Agreement> {
    if op_type == "const" || control::handles(op_type) {
        return Some(Agreement::Exact);
    }
    kernels::agreement(op_type)
}
