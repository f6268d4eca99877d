//! What can go wrong before two sides can be compared.

use std::path::PathBuf;

use crate::npy::NpyError;

/// Errors of this crate. A mismatch between two runs is not one of them: it is
/// a result, see [`crate::report`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be opened or read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// An output would overwrite something.
    #[error("{} exists already; choose another path or pass --force", .0.display())]
    Exists(PathBuf),
    /// A file is not an archive of arrays.
    #[error("{} is not an .npz of arrays: {problem}; {help}", path.display())]
    NotNpz {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
        /// What to do.
        help: &'static str,
    },
    /// A file or one entry of it is not an array that can be used.
    #[error("{}{}: {source}", path.display(), of_array(array.as_deref()))]
    Array {
        /// The file.
        path: PathBuf,
        /// The entry within an `.npz`.
        array: Option<String>,
        /// Why.
        source: NpyError,
    },
    /// A file is no `.safetensors`.
    #[error("{} is no safetensors file: {problem}", path.display())]
    NotSafetensors {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// The name of a file says neither `.npz` nor `.safetensors`.
    #[error("{}: a file of tensors ends in `.npz` or `.safetensors`", .0.display())]
    TensorFile(PathBuf),
    /// A tensor that a file of that form cannot hold.
    #[error("{}, tensor `{tensor}`: {problem}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Why.
        problem: String,
    },
    /// A package or a file of tensors cannot be read or written.
    #[error(transparent)]
    Package(#[from] milwright_package::Error),
    /// Arrays do not fit the inputs of a function.
    #[error("{}", inputs_message(origin, function, problems, expected))]
    Inputs {
        /// Where the arrays come from.
        origin: String,
        /// The function.
        function: String,
        /// Every problem.
        problems: Vec<String>,
        /// What the function takes: name, type and shape.
        expected: Vec<String>,
    },
    /// A random input would not fit in memory.
    #[error(
        "input `{input}` would have shape {shape:?}, too large for random values; give it with --inputs"
    )]
    RandomTooLarge {
        /// The input.
        input: String,
        /// Its default shape.
        shape: Vec<usize>,
    },
    /// Expected values for something that is no output, or for nothing.
    #[error("{origin}: {problem}; function `{function}` gives: {}", outputs.join(", "))]
    Expected {
        /// Where the expected values come from.
        origin: String,
        /// What is wrong.
        problem: String,
        /// The function.
        function: String,
        /// Its outputs.
        outputs: Vec<String>,
    },
    /// A model has an output that is no tensor of numbers.
    #[error("output `{name}` is {what}, which cannot be compared or saved as an array")]
    Output {
        /// The output.
        name: String,
        /// What it is.
        what: &'static str,
    },
    /// A model cannot be opened or decoded.
    #[error(transparent)]
    Open(#[from] milwright_ir::Error),
    /// A pipeline has a stage that is no ML Program.
    #[error(
        "{model}: {stage} is a {kind}, which this version cannot execute; it runs pipelines of ML Programs"
    )]
    Stage {
        /// The model, as the user named it.
        model: String,
        /// Number and name of the stage.
        stage: String,
        /// What it is.
        kind: String,
    },
    /// The stages of a pipeline do not go together.
    #[error("{model}: {problem}")]
    Wiring {
        /// The model, as the user named it.
        model: String,
        /// What is wrong.
        problem: String,
    },
    /// Something that looks into one program was asked of a pipeline.
    #[error("{what} looks into one program, and {model} is a pipeline of {stages}")]
    Single {
        /// The model, as the user named it.
        model: String,
        /// How many stages it has.
        stages: usize,
        /// What was asked for.
        what: &'static str,
    },
    /// A model cannot be executed.
    #[error("cannot run {model}")]
    Run {
        /// The model, as the user named it.
        model: String,
        /// Why.
        source: Box<milwright_interp::Error>,
    },
}

fn inputs_message(
    origin: &str,
    function: &str,
    problems: &[String],
    expected: &[String],
) -> String {
    use std::fmt::Write;
    let mut text = format!("{origin} does not fit the inputs of function `{function}`");
    for problem in problems {
        let _ = write!(text, "\n  - {problem}");
    }
    text.push_str("\n  the function takes:");
    for input in expected {
        let _ = write!(text, "\n    {input}");
    }
    if expected.is_empty() {
        text.push_str(" nothing");
    }
    text
}

fn of_array(name: Option<&str>) -> String {
    name.map(|n| format!(", array `{n}`")).unwrap_or_default()
}
