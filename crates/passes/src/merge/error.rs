//! Why models cannot be merged.

/// See the module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A model cannot be part of a merged one.
    #[error("{model}: {why}")]
    Source {
        /// The model.
        model: String,
        /// Why, and what to do.
        why: String,
    },
    /// What one model gives is not what another one takes.
    #[error("`{feature}` does not fit: {one}, and {other}")]
    Feature {
        /// The feature.
        feature: String,
        /// What one model says of it.
        one: String,
        /// What the other one says.
        other: String,
    },
    /// A feature comes from nowhere.
    #[error("{model} takes `{feature}`, which neither an earlier one nor the caller gives")]
    Missing {
        /// The model.
        model: String,
        /// The feature.
        feature: String,
    },
    /// Two models keep a state of one name.
    #[error(
        "{one} and {other} both keep a state `{state}`; in one model they would be one, so rename \
         one of them first"
    )]
    State {
        /// The state.
        state: String,
        /// A model.
        one: String,
        /// The other one.
        other: String,
    },
    /// A name would stand for two things.
    #[error("`{name}` would be {one} and {other} of the merged model; rename one of them first")]
    Name {
        /// The name.
        name: String,
        /// What it is.
        one: &'static str,
        /// What it is, too.
        other: &'static str,
    },
    /// An operation means something else in the opset of the merged function.
    #[error(
        "{model} is written for the opset {from} and another one for {to}, in which {op} {why}; \
         convert both for the same opset"
    )]
    Opset {
        /// The model.
        model: String,
        /// Its opset.
        from: String,
        /// The newer one.
        to: String,
        /// The operation.
        op: String,
        /// What the newer opset has against it.
        why: String,
    },
    /// What the models were merged to is no valid program.
    #[error(
        "together they are no valid program ({} error(s)); the first: {}",
        .findings.len(), .findings.first().map_or("", String::as_str)
    )]
    Invalid {
        /// What the verifier found.
        findings: Vec<String>,
    },
    /// A model cannot be read or changed.
    #[error(transparent)]
    Ir(#[from] milwright_ir::Error),
}

impl From<milwright_package::Error> for Error {
    fn from(error: milwright_package::Error) -> Self {
        Error::Ir(error.into())
    }
}
