//! The `milwright` command.
//!
//! Parses arguments, calls the libraries, renders what they return. Exit
//! status: 0 when everything is fine, 1 when something was found (a mismatch, a
//! lint error), 2 for wrong usage and failures.

mod check;
mod commands;
mod comparison;
mod cutting;
mod device;
mod editing;
mod error;
mod findings;
mod loader;
mod names;
mod output;
mod preflight;
mod progress;
mod report;
mod sarif;
mod stages;
mod steps;
mod table;
mod terminal;
mod text;
mod weights;

use std::process::ExitCode;

use clap::Parser;

use crate::terminal::Terminal;

/// How a command ended, when it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Nothing to complain about.
    Clean,
    /// There are findings; they have been shown.
    Findings,
}

fn main() -> ExitCode {
    let arguments = commands::Arguments::parse();
    let mut terminal = Terminal::new();
    let outcome = arguments
        .command
        .run(&mut terminal)
        .and_then(|outcome| terminal.finish().map(|()| outcome));
    match outcome {
        Ok(Outcome::Clean) => ExitCode::SUCCESS,
        Ok(Outcome::Findings) => ExitCode::from(1),
        Err(e) => {
            error::show(&e);
            ExitCode::from(2)
        }
    }
}
