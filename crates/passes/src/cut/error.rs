//! Why a function cannot be cut as asked.

/// See the module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing to cut.
    #[error("function `{function}` computes nothing, so there is nothing to cut")]
    Nothing {
        /// The function.
        function: String,
    },
    /// A function with a body for more than one opset.
    #[error(
        "function `{function}` has bodies for the opsets {}, and stages would keep only one; \
         convert it for one opset first",
        .opsets.join(", ")
    )]
    Bodies {
        /// The function.
        function: String,
        /// The opsets.
        opsets: Vec<String>,
    },
    /// A name that the function does not have.
    #[error("no value is named `{name}` in function `{function}`{}", nearest(.near))]
    NoValue {
        /// What was asked for.
        name: String,
        /// The function.
        function: String,
        /// The names most like it.
        near: Vec<String>,
    },
    /// A value at which no cut is possible.
    #[error("`{name}` is no place to cut: {why}")]
    NoPlace {
        /// The value.
        name: String,
        /// Why, and what to do.
        why: String,
    },
    /// The values do not separate the function.
    #[error(
        "{} is not a whole cut: {} would cross too; cut at all of them: --at {}",
        list(.asked), list(.missing), .all.join(",")
    )]
    NotACut {
        /// What was asked for.
        asked: Vec<String>,
        /// What else would cross.
        missing: Vec<String>,
        /// All of them.
        all: Vec<String>,
    },
    /// The seams that the values stand for contradict each other.
    #[error(
        "{} cannot be cut at together: an operation would have to run before and after a seam",
        list(.asked)
    )]
    Order {
        /// What was asked for.
        asked: Vec<String>,
    },
    /// Operations that must stay together would be separated.
    #[error("{} would be separated from {}: {why}", .one, .other)]
    Torn {
        /// An operation.
        one: String,
        /// The other one.
        other: String,
        /// Why they belong together.
        why: String,
    },
    /// No operation that counts is left for the Neural Engine.
    #[error(
        "no stage with any multiply-adds can run on the Neural Engine; in the way: {}",
        .reasons.join("; ")
    )]
    NothingLeft {
        /// The first reasons.
        reasons: Vec<String>,
    },
    /// One operation is heavier than a part may be.
    #[error(
        "`{op}` alone has {own} bytes of weights{}, and a part may have {limit}; raise the limit",
        along(*.with, .why, *.bytes)
    )]
    TooHeavy {
        /// The heaviest operation.
        op: String,
        /// Its weights in bytes.
        own: u64,
        /// How many others must be in the same part.
        with: usize,
        /// Why they must.
        why: String,
        /// The weights of all of them.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// More parts than there can be.
    #[error("{asked} parts were asked for, and there can be {most}{why}")]
    TooMany {
        /// What was asked for.
        asked: usize,
        /// How many there can be.
        most: usize,
        /// Why not more.
        why: String,
    },
    /// No cut was found that keeps within the limit.
    #[error(
        "no cut{} keeps every part within {limit} bytes of weights; all together are {all}; raise \
         the limit or the number of parts",
        .parts.map_or_else(String::new, |p| format!(" into {p} parts"))
    )]
    NoFit {
        /// How many parts were asked for.
        parts: Option<usize>,
        /// The limit.
        limit: u64,
        /// The weights of the whole.
        all: u64,
    },
    /// Operations that cannot be a part of their own.
    #[error("`{op}` cannot be in a part of its own: all that has weights would be in that part")]
    NotApart {
        /// The operation.
        op: String,
    },
    /// What shall be apart leaves no part for the rest.
    #[error("{asked} parts were asked for; what shall be apart, and the rest, take {least}")]
    NoneLeft {
        /// What was asked for.
        asked: usize,
        /// How many there must be.
        least: usize,
    },
    /// A sub-model needs more than the inputs that were named.
    #[error(
        "{} would be needed too, which {} not among the inputs; name {}, or what is computed from \
         {} on the way to the outputs",
        list(.missing),
        if .missing.len() == 1 { "is" } else { "are" },
        if .missing.len() == 1 { "it" } else { "them" },
        if .missing.len() == 1 { "it" } else { "them" }
    )]
    Needs {
        /// The inputs of the function that are missing.
        missing: Vec<String>,
    },
    /// A name for a feature that cannot be given.
    #[error("--name {value}={feature}: {why}")]
    Name {
        /// The value.
        value: String,
        /// The name it should have.
        feature: String,
        /// Why not.
        why: String,
    },
    /// The types of values cannot be worked out.
    #[error(transparent)]
    Ir(#[from] milwright_ir::Error),
    /// A stage is not a valid program. A bug of this program.
    #[error(
        "internal error: {stage} has {} error(s); the first: {}; please report it",
        .findings.len(), .findings.first().map_or("", String::as_str)
    )]
    Broken {
        /// The stage.
        stage: String,
        /// What the verifier found.
        findings: Vec<String>,
    },
}

fn along(with: usize, why: &str, bytes: u64) -> String {
    match with {
        0 => String::new(),
        _ if why.is_empty() => format!(", and with {with} others that no seam separates {bytes}"),
        _ => format!(", and with {with} others {bytes} ({why})"),
    }
}

fn list(names: &[String]) -> String {
    format!("`{}`", names.join("`, `"))
}

fn nearest(names: &[String]) -> String {
    if names.is_empty() {
        String::new()
    } else {
        format!("; did you mean {}?", list(names))
    }
}
