//! Executes ML Programs on any OS.
//!
//! A [`Session`] runs one function of a program, step after step, and keeps
//! its states. How float values are held and rounded is its [`Precision`]; a
//! [`Shadow`] runs beside it in another one. Results have the types and shapes
//! that the program declares, or the run ends in an error that names the
//! operation.

mod agreement;
mod call;
mod control;
mod error;
mod frame;
mod kernels;
mod lane;
mod plan;
mod precision;
mod session;
mod shadow;
mod value;

pub use agreement::{Agreement, agreement};
pub use error::{Error, KernelError};
pub use frame::is_executable;
pub use precision::Precision;
pub use session::{NamedValues, Observer, Options, Session};
pub use shadow::{Moment, Shadow};
pub use value::{Label, List, Tensor, Value};
