//! What can go wrong while a program runs.

use milwright_ir::{ConstError, ParamError};

/// An error of a kernel. The session adds which operation it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A parameter is missing, of the wrong type or out of range.
    #[error(transparent)]
    Param(#[from] ParamError),
    /// The tensor library refuses; what it says names shapes and types.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// A result does not fit in memory.
    #[error("no memory for {elements} elements of {size} bytes")]
    Memory {
        /// Number of elements.
        elements: usize,
        /// Size of each.
        size: usize,
    },
    /// The operation is defined, but not this use of it.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// A bug of this program; please report it.
    #[error("internal error: {0}")]
    Internal(String),
}

impl KernelError {
    /// Parameter `param` has a value that the operation does not take.
    pub fn param(param: &str, problem: impl Into<String>) -> Self {
        Self::Param(ParamError::value(param, problem))
    }

    /// The operands do not go together.
    pub fn mismatch(problem: impl Into<String>) -> Self {
        Self::Param(ParamError::Mismatch(problem.into()))
    }
}

/// An error of running a program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The program cannot be looked up or read.
    #[error(transparent)]
    Ir(#[from] milwright_ir::Error),
    /// Operations that this build cannot execute.
    #[error(
        "{location}: operation `{op_type}` cannot be executed by this version{}",
        others(.types)
    )]
    NoKernel {
        /// Function and operation.
        location: String,
        /// Type of the first one.
        op_type: String,
        /// Every such type in the function, with how often it occurs.
        types: Vec<(String, usize)>,
    },
    /// The function's opset is not known or it has no body for it.
    #[error("function `{function}` has no body for its opset `{opset}`")]
    NoBody {
        /// The function.
        function: String,
        /// Its opset, as written.
        opset: String,
    },
    /// An input is missing, unknown or of the wrong type.
    #[error("input `{name}`: {problem}")]
    Input {
        /// Its name.
        name: String,
        /// What is wrong, and what is expected.
        problem: String,
    },
    /// An operation failed.
    #[error("{location}: {cause}")]
    Op {
        /// Function and operation.
        location: String,
        /// Why.
        cause: KernelError,
    },
    /// A constant cannot be read.
    #[error("{location}: {cause}")]
    Const {
        /// Function and constant.
        location: String,
        /// Why.
        cause: ConstError,
    },
    /// An operation reads a value that nothing computed.
    #[error("{location}: value `{value}` is not defined here; run the verifier on this model")]
    Undefined {
        /// Function and operation.
        location: String,
        /// Name of the value.
        value: String,
    },
    /// A loop does not end.
    #[error("{location}: the loop did not end after {limit} steps")]
    StepLimit {
        /// Function and operation.
        location: String,
        /// The limit.
        limit: usize,
    },
}

fn others(types: &[(String, usize)]) -> String {
    let list: Vec<String> = types
        .iter()
        .map(|(name, count)| format!("{name} ({count})"))
        .collect();
    let total: usize = types.iter().map(|(_, count)| count).sum();
    format!(
        "; without a kernel are {total} operations of this function: {}",
        list.join(", ")
    )
}
