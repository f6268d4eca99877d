//! ML Programs (MIL) in memory.
//!
//! A [`Model`] is an opened package; its [`Program`] holds functions, blocks,
//! operations and values in arenas. The [op table](ops) says what each
//! operation type means: parameters, defaults, opsets, type inference. Types
//! and parameters are kept as the file has them, so unknown operations and
//! attributes survive everything that does not touch them.

pub mod arena;
mod constant;
pub mod cost;
mod diagnostic;
pub mod elements;
mod error;
pub mod features;
mod model;
pub mod names;
mod open;
pub mod ops;
mod program;
pub mod random;
mod save;
pub mod shape;
pub mod sizes;
pub mod text;
mod types;
mod verify;
mod view;
mod wire;

pub use arena::{BlockId, OpId, ValueId};
pub use constant::{
    BlobData, BlobRange, BlobRef, BlobSource, ConstData, ConstError, Constant, NoBlobs, TensorData,
};
pub use diagnostic::{Diagnostic, Lines, Location, Severity, TextSpan};
pub use error::Error;
pub use model::Model;
pub use open::{TextFile, open, open_noting};
pub use program::{Arg, Attributes, Block, Function, Op, Program, Value, ValueDef};
pub use save::SaveReport;
pub use sizes::Sizes;
pub use types::{DataType, Dim, ShapeDisplay, TensorType, ValueType};
pub use verify::verify;
pub use view::{OpView, ParamError};
