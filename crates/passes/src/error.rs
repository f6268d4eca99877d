//! What can go wrong in this crate.

use milwright_ir::ParamError;

/// An error of running passes. Nothing of the program may be written then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The program refuses a change, or a constant cannot be read.
    #[error(transparent)]
    Ir(#[from] milwright_ir::Error),
    /// The program has errors before any pass ran.
    #[error(
        "the program has {} error(s) before any pass ran; the first: {}",
        .findings.len(), .findings.first().map_or("", String::as_str)
    )]
    Invalid {
        /// What the verifier found.
        findings: Vec<String>,
    },
    /// A pass made the program wrong: a bug of this program, or a fault of the
    /// model that shows once a parameter is known.
    #[error(
        "pass `{pass}` left {} error(s) in the program; the first: {}; unless the model fails when \
         it runs, too, this is a bug: please report it",
        .findings.len(), .findings.first().map_or("", String::as_str)
    )]
    Broken {
        /// The pass.
        pass: &'static str,
        /// What the verifier found.
        findings: Vec<String>,
    },
    /// An operation that a pass wanted to add is wrong. A bug of this program.
    #[error("internal error: {location}: cannot add `{op_type}`: {cause}; please report it")]
    Operation {
        /// The operation that was being replaced.
        location: String,
        /// Type of the one to add.
        op_type: String,
        /// Why it is wrong.
        cause: Box<ParamError>,
    },
    /// A replacement does not fit the operation it replaces. A bug of this program.
    #[error("internal error: {location}: {problem}; please report it")]
    Replacement {
        /// The operation that was being replaced.
        location: String,
        /// Why it does not fit.
        problem: String,
    },
    /// A pass computes constants, and nothing was given that does.
    #[error("`{pass}` needs something that executes operations: set `RunOptions::evaluate`")]
    NeedsEvaluator {
        /// The pass.
        pass: &'static str,
    },
    /// A pattern names no operation.
    #[error(
        "no operation that runs has a type or an output that matches `{pattern}`; the types are: \
         {types}"
    )]
    NoSuchOp {
        /// The pattern.
        pattern: String,
        /// Types of the operations there are.
        types: String,
    },
}

/// Why a pipeline text is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("passes, character {column}: {problem}{}", .help.as_ref().map(|h| format!("; {h}")).unwrap_or_default())]
pub struct ParseError {
    /// The whole text.
    pub text: String,
    /// Byte offset in the text.
    pub offset: usize,
    /// Position for people, from 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub help: Option<String>,
}
