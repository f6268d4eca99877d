//! What can go wrong in this crate.

use std::path::PathBuf;

use crate::arena::OpId;
use crate::constant::ConstError;
use crate::text::TextErrors;

/// An error of reading, changing or writing a program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The container could not be read or written.
    #[error(transparent)]
    Package(#[from] milwright_package::Error),
    /// An operation's bytes are not a valid message.
    #[error("{location}: cannot decode the operation: {cause}")]
    Decode {
        /// Function, block and index of the operation.
        location: String,
        /// What the decoder says.
        cause: prost::DecodeError,
    },
    /// Blocks are nested deeper than any real program.
    #[error("{location}: blocks are nested more than {limit} deep; the file is damaged or hostile")]
    TooDeep {
        /// Function in which it was found.
        location: String,
        /// The limit.
        limit: usize,
    },
    /// A change would drop something that the file holds.
    #[error(
        "{location} holds fields that this version does not know and would lose by changing it \
         ({detail}); leave this operation alone or use a newer version"
    )]
    Lossy {
        /// What would have been changed.
        location: String,
        /// The fields, as far as they can be named.
        detail: String,
    },
    /// The model has no ML Program.
    #[error("this model is a {kind}, not an ML Program; this version cannot look into it")]
    NotAProgram {
        /// Kind of the model.
        kind: String,
    },
    /// MIL text cannot be read, or does not make a model.
    #[error("`{}` is no valid MIL text ({count} error{})", path.display(), if *count == 1 { "" } else { "s" })]
    Text {
        /// The file.
        path: PathBuf,
        /// How many findings there are.
        count: usize,
        /// The findings, with the text.
        #[source]
        errors: TextErrors,
    },
    /// There is no such function.
    #[error("no function named {wanted:?}; the model has: {}", available.join(", "))]
    NoFunction {
        /// Name asked for.
        wanted: String,
        /// Names there are.
        available: Vec<String>,
    },
    /// A name that is to be given is another value's.
    #[error("the name {name:?} is taken by another value; choose another one")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// A constant could not be read.
    #[error("{location}: {cause}")]
    Const {
        /// The operation and parameter.
        location: String,
        /// Why.
        cause: ConstError,
    },
    /// Input shapes do not go through a function.
    #[error("{location}: {problem}")]
    Shapes {
        /// The function, and the input or operation.
        location: String,
        /// What does not fit.
        problem: String,
        /// The operation, when it is one that does not take them.
        op: Option<OpId>,
    },
    /// A new weight has a type that the weight file cannot hold.
    #[error("a weight file cannot hold {dtype}")]
    WeightType {
        /// Element type.
        dtype: String,
    },
}
