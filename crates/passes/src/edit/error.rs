//! Why a model cannot be edited as asked.

/// See the module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that the model does not have.
    #[error("nothing is named `{name}`{}{}", place(.function), choices(.near, .all))]
    NoName {
        /// What was asked for.
        name: String,
        /// The function that was to have it, when one was named.
        function: Option<String>,
        /// The names most like it.
        near: Vec<String>,
        /// The names of features and functions.
        all: Vec<String>,
    },
    /// A name that a feature and a function have.
    #[error(
        "`{name}` is a feature and a function; write `feature:{name}=...` or `function:{name}=...`"
    )]
    Ambiguous {
        /// The name.
        name: String,
    },
    /// A name that cannot be given.
    #[error("`{old}` cannot be called `{new}`: {why}")]
    Name {
        /// The name now.
        old: String,
        /// The name it should have.
        new: String,
        /// Why not, and what to do.
        why: String,
    },
    /// Something that cannot be done to a feature, value or function.
    #[error("`{name}`: {why}")]
    Refused {
        /// What it should have been done to.
        name: String,
        /// Why not, and what to do.
        why: String,
    },
    /// Something that cannot be done to the model.
    #[error("{0}")]
    Model(String),
    /// A value that cannot become an output.
    #[error(transparent)]
    Cut(#[from] crate::cut::Error),
    /// A pattern that names no operation.
    #[error(transparent)]
    Pattern(#[from] crate::Error),
    /// The program cannot be read or changed.
    #[error(transparent)]
    Ir(#[from] milwright_ir::Error),
    /// The program has errors before it is edited.
    #[error(
        "the program has {} error(s) before any edit; the first: {}",
        .findings.len(), .findings.first().map_or("", String::as_str)
    )]
    Invalid {
        /// What the verifier found.
        findings: Vec<String>,
    },
    /// The edit made the program wrong. A bug of this program.
    #[error(
        "internal error: the edit left {} error(s) in the program; the first: {}; please report it",
        .findings.len(), .findings.first().map_or("", String::as_str)
    )]
    Broken {
        /// What the verifier found.
        findings: Vec<String>,
    },
}

impl From<milwright_package::Error> for Error {
    fn from(error: milwright_package::Error) -> Self {
        milwright_ir::Error::from(error).into()
    }
}

fn place(function: &Option<String>) -> String {
    match function {
        Some(name) => format!(" in function `{name}`"),
        None => String::new(),
    }
}

fn choices(near: &[String], all: &[String]) -> String {
    match (near, all) {
        ([], []) => String::new(),
        ([], all) => format!("; there are `{}`", all.join("`, `")),
        (near, _) => format!("; did you mean `{}`?", near.join("`, `")),
    }
}
