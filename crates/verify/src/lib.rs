//! Inputs, metrics, tolerances and comparison of two runs of an ML Program.
//!
//! An [`Executable`] is a model from a file, or stages from several; its [`Runner`] executes a function
//! of it step after step; a [`Comparison`] collects the differences of its
//! outputs to another runner's or to expected arrays; [`report::Report`] is what
//! a person or a script gets. [`mod@preflight`] compares a program in fp16 with
//! itself in fp32. [`npz`] reads and writes the arrays, [`inputs`] checks them
//! against what a function takes or makes them from a seed.

#![warn(missing_docs)]

pub mod array;
mod compare;
mod error;
mod evaluate;
pub mod features;
pub mod inputs;
pub mod metrics;
mod model;
pub mod npy;
pub mod npz;
mod output;
pub mod preflight;
pub mod report;
mod runner;
mod stage;
pub mod tensors;
mod wiring;

pub use array::{Array, DType, Data, NamedArrays};
pub use compare::{Comparison, check_expected, per_op};
pub use error::Error;
pub use evaluate::Evaluator;
pub use milwright_ir::random::Random;
pub use model::Executable;
pub use output::{Output, outputs, texts, to_array};
pub use runner::Runner;
pub use stage::{Stage, Subject};
