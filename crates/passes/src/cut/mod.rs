//! Cutting a function into stages that run one after the other.
//!
//! A [`Graph`] is what can be cut: the operations that run when the model is
//! used, and the values between them. A [`Plan`] puts every operation into a
//! stage, so that no stage reads what a later one computes:
//! [`find_seams`] where the Neural Engine gets as much work as possible,
//! [`balance`] where parts weigh the same, and [`cut_at`] where the user says. A [`Part`] is a stage made into a program of
//! its own.
//!
//! Constants, and what is computed from constants alone, belong to no stage:
//! every stage gets those that it reads.

mod at;
mod balance;
mod blocks;
pub(crate) mod casts;
mod correspond;
mod ends;
mod error;
mod extract;
mod flow;
mod graph;
mod limits;
mod loads;
mod part;
mod plan;
mod seams;
mod shapes;
#[cfg(test)]
mod testing;
mod together;
mod units;

pub use at::cut_at;
pub use balance::{Balanced, Copies, Wish, balance, copies};
pub use correspond::correspond;
pub use ends::{embedding, head};
pub use error::Error;
pub use extract::extract;
pub use graph::{Edge, Graph};
pub use limits::beyond_caps;
pub use loads::{Loads, Shared};
pub use part::{Cast, Io, Part, Renames};
pub use plan::{Plan, Seam, Stage};
pub use seams::{Candidate, Choice, Costs, find_seams};
pub use shapes::SeamTypes;
pub use together::Together;

pub(crate) use at::find_computed;
pub(crate) use graph::io_type;
