//! `milwright weights`: the stored constants of a model.

use crate::Outcome;
use crate::terminal::Terminal;

mod dedup;
mod extract;
mod list;
mod replace;

/// List the weights of a model, copy them to a file of tensors, give them other
/// values, store identical ones once.
///
/// A weight is a constant in a weight file, or a tensor of at least ten numbers
/// in the spec. Its name is that of the value that it is; a part of a
/// compressed weight is called by the operation that holds it and the parameter
/// (`w.indices`), unless it is a value of its own. Where a name is not unique,
/// the function stands before it (`main/w`).
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    List(list::Options),
    Extract(extract::Options),
    Replace(replace::Options),
    Dedup(dedup::Options),
}

pub(crate) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    match options.verb {
        Verb::List(options) => list::run(options, out),
        Verb::Extract(options) => extract::run(options, out),
        Verb::Replace(options) => replace::run(options, out),
        Verb::Dedup(options) => dedup::run(options, out),
    }
}
