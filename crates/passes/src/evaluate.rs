//! What passes need of something that executes operations. This crate does not
//! depend on the interpreter; the caller gives it.

use std::fmt;

use milwright_ir::{BlobSource, Constant, OpId, Program};

/// Computes operations over constants.
pub trait Evaluate: fmt::Debug {
    /// The results of an operation all of whose operands are constants, or
    /// computed from constants by `constexpr` operations; in the order of its
    /// outputs.
    ///
    /// # Errors
    /// Why it cannot be computed, for people.
    fn evaluate(
        &self,
        program: &Program,
        op: OpId,
        blobs: &dyn BlobSource,
    ) -> Result<Vec<Evaluated>, String>;
}

/// A result of an operation.
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// The result, rounded to the type that the program declares.
    pub constant: Constant,
    /// Whether nothing was lost by that rounding.
    pub is_exact: bool,
}
