//! Rewrites of ML Programs.
//!
//! A [`Pass`] turns a program into another one through a [`Rewriter`], which
//! logs every change and can stop after a number of them. A [`Pipeline`] is a
//! list of passes with a text form, such as
//! `decompose-conv{stride=space-to-depth,taps=concat},dce`; running it verifies
//! the program before the first pass and after each.

pub mod cut;
mod described;
pub mod diff;
mod docs;
pub mod edit;
mod error;
mod evaluate;
mod forward;
mod graft;
pub mod hint;
pub mod lint;
pub mod merge;
mod pass;
mod passes;
mod pipeline;
pub mod reduce;
mod replacement;
mod report;
mod retype;
mod rewriter;
mod slices;
pub mod weights;

pub use docs::markdown;
pub use error::{Error, ParseError};
pub use evaluate::{Evaluate, Evaluated};
pub use pass::{Exactness, OptionDef, Options, Pass, Takes};
pub use passes::{PRESETS, Preset, lookup, passes};
pub use pipeline::{Fragile, Pipeline, RunOptions, Step};
pub use replacement::{Additions, Part, Replacement};
pub use report::{Added, Left, PassReport, Report, Rewritten, StepReport};
pub use rewriter::{Change, Rewriter, Site};
