//! What can go wrong with weights.

/// An error about weights. Nothing is written then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The package cannot be read.
    #[error(transparent)]
    Package(#[from] milwright_package::Error),
    /// The program refuses a change, or cannot be read.
    #[error(transparent)]
    Ir(#[from] milwright_ir::Error),
    /// A constant cannot be read.
    #[error(transparent)]
    Constant(#[from] milwright_ir::ConstError),
    /// No constant has that name.
    #[error("no stored constant is named `{name}`; {}", unknown(near, *count))]
    Unknown {
        /// The name.
        name: String,
        /// Names that are alike.
        near: Vec<String>,
        /// How many constants there are.
        count: usize,
    },
    /// A tensor has another shape than the constant that it is for.
    #[error("`{name}` is {wanted} in the model, and `{from}` is {found}; shapes must be the same")]
    Shape {
        /// The constant.
        name: String,
        /// Its type.
        wanted: String,
        /// The tensor.
        from: String,
        /// Its type.
        found: String,
    },
    /// A tensor has elements of another type than the constant that it is for.
    #[error("`{name}` is {wanted} in the model, and `{from}` is {found}; {help}")]
    Type {
        /// The constant.
        name: String,
        /// Its type.
        wanted: String,
        /// The tensor.
        from: String,
        /// Its type.
        found: String,
        /// What to do.
        help: &'static str,
    },
    /// Values that the type of a constant cannot hold.
    #[error("{count} of the values of `{from}` do not fit {dtype}, the type of `{name}`: {why}")]
    Values {
        /// The constant.
        name: String,
        /// The tensor.
        from: String,
        /// The type of the constant.
        dtype: String,
        /// How many.
        count: u64,
        /// In which way, and what to do.
        why: &'static str,
    },
    /// Two tensors for one constant.
    #[error("both `{one}` and `{other}` are to become `{name}`")]
    Twice {
        /// The constant.
        name: String,
        /// A tensor.
        one: String,
        /// The other.
        other: String,
    },
    /// A name to be mapped that is not in the file.
    #[error(
        "--map names `{name}`, and the file has no such tensor{}",
        did_you_mean(near)
    )]
    NoTensor {
        /// The name.
        name: String,
        /// Names that are alike.
        near: Vec<String>,
    },
    /// The constant is stored once for several names.
    #[error(
        "`{name}` and `{}` are stored once; give the same values for all, or let the others \
         change with it: --tied",
        others.join("`, `")
    )]
    Tied {
        /// The constant.
        name: String,
        /// What else it is.
        others: Vec<String>,
    },
    /// An attribute of a function, a block or the program is in a weight file.
    #[error(
        "an attribute refers to offset {offset} of `{file}`, and no operation does; this version \
         does not know what it is"
    )]
    Elsewhere {
        /// The weight file.
        file: String,
        /// The offset.
        offset: u64,
    },
    /// The model does not say what was taken out of it.
    #[error("`{path}` is no model that `milwright strip` wrote: {problem}")]
    NotStripped {
        /// The model.
        path: String,
        /// Why.
        problem: String,
    },
    /// The model that weights are to come from is another one.
    #[error(
        "`{original}` has no weight of type {ty} whose digest is that of `{name}`; it is not the \
         model that was stripped"
    )]
    NotOriginal {
        /// The model.
        original: String,
        /// The weight.
        name: String,
        /// Its type.
        ty: String,
    },
    /// A temporary file or a file of tensors fails.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
}

fn did_you_mean(near: &[String]) -> String {
    match near {
        [] => String::new(),
        names => format!("; did you mean `{}`?", names.join("`, `")),
    }
}

fn unknown(near: &[String], count: usize) -> String {
    match near {
        [] => format!("the model has {count}, and `milwright weights list` shows them"),
        names => format!("did you mean `{}`?", names.join("`, `")),
    }
}
