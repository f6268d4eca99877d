//! `milwright completions`: completion scripts for shells.

use std::io::Write;

use anyhow::Context;
use clap::CommandFactory;

use crate::Outcome;
use crate::commands::Arguments;
use crate::terminal::Terminal;

/// Write a completion script for a shell to standard output.
///
/// For bash: milwright completions bash > ~/.local/share/bash-completion/completions/milwright
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The shell to write for.
    shell: clap_complete::Shell,
}

pub(crate) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(
        options.shell,
        &mut Arguments::command(),
        "milwright",
        &mut script,
    );
    out.write_all(&script)
        .context("cannot write to standard output")?;
    Ok(Outcome::Clean)
}
