//! `milwright print`: the program as text.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use milwright_ir::features::Description;
use milwright_ir::text::{self, Dialect};
use milwright_ir::{Model, TextFile};

use crate::{Outcome, error};
use crate::terminal::Terminal;

/// Print a program as MIL text, as Apple's compiler writes it.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The model.
    model: PathBuf,

    /// Print this function only.
    #[arg(long, value_name = "NAME")]
    function: Option<String>,

    /// How types are spelled.
    #[arg(long, value_enum, default_value = "1.3")]
    dialect: DialectOption,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum DialectOption {
    /// program(1.0): scalars as tensor<fp32, []>.
    #[value(name = "1.0")]
    V1_0,
    /// program(1.3): scalars as fp32.
    #[value(name = "1.3")]
    V1_3,
}

pub(crate) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    // Text is printed as it says it, not as a package of it would hold it.
    let program = match TextFile::find(&options.model) {
        Some(file) => file.parse()?.0.program,
        None => {
            let model = Model::open(&options.model)?;
            let description = Description::from_proto(&model.spec().description()?);
            let (program, notes) = text::with_signature(model.program(), &description);
            notes.iter().for_each(|note| error::note(note));
            program
        }
    };
    if let Some(name) = &options.function {
        program.function(Some(name))?;
    }
    let dialect = match options.dialect {
        DialectOption::V1_0 => Dialect::V1_0,
        DialectOption::V1_3 => Dialect::V1_3,
    };
    let text = text::print(&program, dialect, options.function.as_deref());
    out.write_all(text.as_bytes())
        .context("cannot write to standard output")?;
    Ok(Outcome::Clean)
}
