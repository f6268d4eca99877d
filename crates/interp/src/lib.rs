//! Executes ML Programs on any OS.
//!
//! A [`Session`] runs one function of a program, step after step, and keeps
//! its states. Every float value is held in single precision; see
//! [`Precision`]. Results have the shapes that the program declares, or the
//! run ends in an error that names the operation.

mod call;
mod control;
mod error;
mod kernels;
mod plan;
mod session;
mod value;

pub use error::{Error, KernelError};
pub use session::{Observer, Options, Precision, Session, is_executable};
pub use value::{Tensor, Value, storage};
