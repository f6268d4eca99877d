//! Cutting a function into stages that run one after the other.
//!
//! A [`Graph`] is what can be cut: the operations that run when the model is
//! used, and the values between them. A [`Plan`] puts every operation into a
//! stage, so that no stage reads what a later one computes:
//! [`find_seams`] where the Neural Engine gets as much work as possible, and
//! [`cut_at`] where the user says. A [`Part`] is a stage made into a program of
//! its own.
//!
//! Constants, and what is computed from constants alone, belong to no stage:
//! every stage gets those that it reads.

mod at;
mod error;
mod flow;
mod graph;
mod limits;
mod part;
mod plan;
mod seams;
mod shapes;

pub use at::cut_at;
pub use error::Error;
pub use graph::{Edge, Graph};
pub use limits::beyond_caps;
pub use part::{Cast, Io, Part, Renames};
pub use plan::{Plan, Seam, Stage};
pub use seams::{Candidate, Choice, Costs, find_seams};
pub use shapes::SeamTypes;
