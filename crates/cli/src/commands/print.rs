//! `milwright print`: the program as text.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use milwright_ir::Model;
use milwright_ir::text::{self, Dialect};

use crate::Outcome;
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
    let model = Model::open(&options.model)?;
    let program = model.program();
    if let Some(name) = &options.function {
        program.function(Some(name))?;
    }
    let dialect = match options.dialect {
        DialectOption::V1_0 => Dialect::V1_0,
        DialectOption::V1_3 => Dialect::V1_3,
    };
    let text = text::print(program, dialect, options.function.as_deref());
    out.write_all(text.as_bytes())
        .context("cannot write to standard output")?;
    Ok(Outcome::Clean)
}
