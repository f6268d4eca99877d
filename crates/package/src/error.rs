//! What can go wrong with a package, each with its place and the next step.

use std::io;
use std::path::PathBuf;

use crate::wire::{UnknownField, WireError};

/// The result of everything fallible in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that this crate refuses, with the file and place it is about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused something.
    #[error("cannot {action} `{path}`: {source}")]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },

    /// The path exists, but is no model that this program opens.
    #[error("`{path}` is not a model: {reason}")]
    NotAModel {
        /// What was opened.
        path: PathBuf,
        /// What is there instead, and what would be accepted.
        reason: String,
    },

    /// A folder or zip holds no `Manifest.json`.
    #[error(
        "`{path}` holds no Manifest.json, so it is not a model package: {found}; \
         name the `.mlpackage` folder itself"
    )]
    MissingManifest {
        /// The folder or zip.
        path: PathBuf,
        /// What was found instead.
        found: String,
    },

    /// `Manifest.json` is not what the format asks for.
    #[error("`{path}`: {reason}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// The part at fault (with line and column when it is not JSON).
        reason: String,
    },

    /// A pipeline manifest (`pipeline.json`) is not what its schema asks for, or
    /// what it holds does not go together.
    #[error("`{path}`: {reason}")]
    Stages {
        /// The manifest.
        path: PathBuf,
        /// The part at fault (with line and column when it is not JSON).
        reason: String,
    },

    /// The package of a stage is not what the pipeline manifest records.
    #[error(
        "`{path}`: the package of stage `{stage}` has changed since the manifest was written: \
         `{file}` {fault}; restore it or write the stages again, or name the package itself to \
         use it as it is"
    )]
    StageChanged {
        /// The manifest.
        path: PathBuf,
        /// The stage.
        stage: String,
        /// The file, relative to the package.
        file: String,
        /// What is different.
        fault: String,
    },

    /// Somebody wrote to a file of the input after it was opened.
    #[error(
        "`{path}` changed while it was read: {how}; start again when nothing else writes to it"
    )]
    InputChanged {
        /// The file.
        path: PathBuf,
        /// What is different.
        how: String,
    },

    /// A path inside the package points outside it, or could.
    #[error("`{container}`: {role} `{entry}` is refused: {reason}")]
    UnsafePath {
        /// The package, zip or manifest which holds the path.
        container: PathBuf,
        /// What the path is for.
        role: &'static str,
        /// The path as written.
        entry: String,
        /// Why it is refused.
        reason: &'static str,
    },

    /// A file which the package promises is not there.
    #[error("`{path}` is missing: {needed_by}")]
    MissingFile {
        /// Where it was looked for.
        path: PathBuf,
        /// Who asks for it.
        needed_by: String,
    },

    /// A zip archive or one of its entries is broken.
    #[error("`{path}`: {reason}")]
    Zip {
        /// The archive, followed by the entry when it is about one.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },

    /// The bytes of a spec are not a valid message.
    #[error("`{path}`: the model spec is damaged in message {message} {source}")]
    Spec {
        /// The spec file.
        path: PathBuf,
        /// The message being read.
        message: &'static str,
        /// Where and what.
        source: WireError,
    },

    /// The spec is a valid message, but no whole model.
    #[error("`{path}`: {reason}")]
    Incomplete {
        /// The spec file.
        path: PathBuf,
        /// What is missing or twice there.
        reason: String,
    },

    /// The spec holds another kind of model than was asked for.
    #[error("`{path}` is a model of kind {kind}; this needs {wanted}")]
    WrongKind {
        /// The spec file.
        path: PathBuf,
        /// The kind that is there.
        kind: &'static str,
        /// The kind that was needed.
        wanted: &'static str,
    },

    /// Writing a changed message would drop fields that this build does not know.
    #[error(
        "`{path}`: cannot change {message}, because it holds fields that this version does not \
         know and would lose: {}; use a newer version of this program",
        crate::wire::list_fields(fields)
    )]
    Lossy {
        /// The spec file.
        path: PathBuf,
        /// The message to be changed.
        message: &'static str,
        /// Every field that would be lost.
        fields: Vec<UnknownField>,
    },

    /// A weight file name of the program cannot be resolved.
    #[error("`{path}`: the program names the weight file `{name}`, which is refused: {reason}")]
    WeightName {
        /// The package.
        path: PathBuf,
        /// The name as written in the program.
        name: String,
        /// Why it is refused.
        reason: &'static str,
    },

    /// A weight file, or a record in it, is broken.
    #[error("`{path}`, offset {offset}: {fault}")]
    Weight {
        /// The weight file.
        path: PathBuf,
        /// The byte offset that was asked for (0: the file's header).
        offset: u64,
        /// What is wrong there.
        fault: WeightFault,
    },

    /// The output is already there.
    #[error("`{path}` exists already; choose another output, or ask to replace it with --force")]
    OutputExists {
        /// The output.
        path: PathBuf,
    },

    /// The output is there, and is nothing that this program would have written.
    #[error("`{path}` is not replaced: {reason}")]
    OutputNotReplaceable {
        /// The output.
        path: PathBuf,
        /// What is there.
        reason: &'static str,
    },

    /// [`WriteOptions::review`](crate::WriteOptions::review) said no.
    #[error("`{path}` is not written: the finished output was rejected")]
    Rejected {
        /// The output.
        path: PathBuf,
    },

    /// The output lies in the input, is the input, or holds it.
    #[error("the output `{output}` {relation} the input `{input}`; choose another output")]
    OutputOverlapsInput {
        /// The output.
        output: PathBuf,
        /// The input.
        input: PathBuf,
        /// How they overlap.
        relation: &'static str,
    },

    /// The output's name or the content does not fit the container.
    #[error("cannot write `{path}`: {reason}")]
    OutputForm {
        /// The output.
        path: PathBuf,
        /// What does not fit, and what would.
        reason: String,
    },
}

/// What is wrong at one place of a weight file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WeightFault {
    /// The file is shorter than its header.
    #[error("the file is {len} bytes long, too short for the 64-byte header")]
    NoHeader {
        /// The file's length.
        len: u64,
    },
    /// The header names another storage version.
    #[error("the header says storage version {version}; only version 2 is known")]
    Version {
        /// The version in the header.
        version: u32,
    },
    /// An offset that is no multiple of 64.
    #[error("{what} must be a multiple of 64, and {value} is not")]
    Misaligned {
        /// Which number.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// The record would lie (partly) past the end of the file.
    #[error("the 64-byte record would end past the end of the file, which has {len} bytes")]
    RecordPastEnd {
        /// The file's length.
        len: u64,
    },
    /// The record would lie in the header.
    #[error("the record would overlap the file's header")]
    RecordInHeader,
    /// The record does not start with the sentinel.
    #[error("no record is here: it should start with 0xdeadbeef and starts with {found:#010x}")]
    Sentinel {
        /// The four bytes found.
        found: u32,
    },
    /// Offset and size of the data add up to more than 64 bits hold.
    #[error("the data's offset {data_offset} plus its size {size} overflows")]
    Overflow {
        /// Where the data starts, as the record says.
        data_offset: u64,
        /// How long it is, as the record says.
        size: u64,
    },
    /// The data would lie (partly) past the end of the file.
    #[error(
        "the data ({size} bytes at {data_offset}) would end past the end of the file, which has \
         {len} bytes; the file is cut short or not the one that belongs to this model"
    )]
    DataPastEnd {
        /// Where the data starts, as the record says.
        data_offset: u64,
        /// How long it is, as the record says.
        size: u64,
        /// The file's length.
        len: u64,
    },
    /// The data would overlap the header or its own record.
    #[error("the data ({size} bytes at {data_offset}) would overlap {with}")]
    DataOverlap {
        /// Where the data starts, as the record says.
        data_offset: u64,
        /// How long it is, as the record says.
        size: u64,
        /// What it would overlap.
        with: &'static str,
    },
    /// New data for a blob that stays in its place, of another size.
    #[error("the data has {size} bytes, and {new} bytes cannot take their place")]
    OtherSize {
        /// The size of the data that is there.
        size: u64,
        /// The size of the new data.
        new: u64,
    },
    /// The size is no whole number of elements.
    #[error("{size} bytes with {padding} padding bits is no whole number of {data_type} elements")]
    PartialElement {
        /// The data's size.
        size: u64,
        /// The padding bits.
        padding: u64,
        /// The element type.
        data_type: crate::StorageType,
    },
}

impl Error {
    /// For `map_err`: what was attempted on which path.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io {
            action,
            path,
            source,
        }
    }
}
