//! `milwright diff`: what is different between two models.

use std::collections::BTreeMap;
use std::path::PathBuf;

use milwright_ir::Model;
use milwright_passes::diff::{Change, Difference, FunctionDifference, OpSummary, diff};
use serde::Serialize;

use crate::Outcome;
use crate::table::Table;
use crate::terminal::Terminal;

/// So many operations are listed in the text; --json and --all list every one.
const LISTED: usize = 40;

/// Show what is different between two models.
///
/// Operations are compared by what they compute, weights by their digests;
/// other names inside of a function, another order of its operations and
/// another place of a constant are no difference, and are counted. Exit
/// status: 0 when the models are the same in that sense, 1 when not.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The model before.
    before: PathBuf,

    /// The model after.
    after: PathBuf,

    /// List every operation and every name.
    #[arg(long)]
    all: bool,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    before: String,
    after: String,
    #[serde(flatten)]
    difference: Difference,
}

pub(crate) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    let (before, after) = (Model::open(&options.before)?, Model::open(&options.after)?);
    let report = Report {
        schema: "milwright-diff/1",
        before: options.before.display().to_string(),
        after: options.after.display().to_string(),
        difference: diff(&before, &after)?,
    };
    if options.json {
        out.json(&report)?;
    } else {
        show(&report.difference, options.all, out)?;
    }
    Ok(match report.difference.equal {
        true => Outcome::Clean,
        false => Outcome::Findings,
    })
}

fn show(found: &Difference, all: bool, out: &mut Terminal) -> anyhow::Result<()> {
    changes(&found.model, out)?;
    for name in &found.functions_removed {
        out.line(format!("- function {name}"))?;
    }
    for name in &found.functions_added {
        out.line(format!("+ function {name}"))?;
    }
    let several = found.functions.len() > 1;
    for function in &found.functions {
        if several {
            out.heading(&format!("function {}", function.name))?;
        }
        show_function(function, all, out)?;
    }
    if found.equal {
        out.line("the models are the same")?;
    }
    Ok(())
}

fn show_function(f: &FunctionDifference, all: bool, out: &mut Terminal) -> anyhow::Result<()> {
    changes(&f.interface, out)?;
    let most = if all { usize::MAX } else { LISTED };
    for (sign, ops) in [('-', &f.removed), ('+', &f.added)] {
        for op in ops.iter().take(most) {
            out.line(format!("{sign} {}", words(op)))?;
        }
        if ops.len() > most {
            let mut types: BTreeMap<&str, usize> = BTreeMap::new();
            for op in &ops[most..] {
                *types.entry(&op.op_type).or_default() += 1;
            }
            let types: Vec<String> = types.iter().map(|(t, n)| format!("{n} {t}")).collect();
            out.line(format!("{sign} ... {}", types.join(", ")))?;
        }
    }
    for op in f.changed.iter().take(most) {
        let name = match op.before == op.after {
            true => op.after.clone(),
            false => format!("{} (was {})", op.after, op.before),
        };
        out.line(format!("~ {name} = {}", op.op_type))?;
        changes(&op.changes, out)?;
    }
    if f.changed.len() > most {
        out.line(format!("~ ... {} more", f.changed.len() - most))?;
    }
    if all && !f.renamed.is_empty() {
        let mut table = Table::new(&["name before", "name after"]);
        for (before, after) in &f.renamed {
            table.row([before, after]);
        }
        table.write(out)?;
    }
    let mut counts = vec![
        format!("{} operations before", f.operations_before),
        format!("{} after", f.operations_after),
        format!("{} removed", f.removed.len()),
        format!("{} added", f.added.len()),
        format!("{} changed", f.changed.len()),
    ];
    if !f.renamed.is_empty() {
        counts.push(format!("{} results with another name", f.renamed.len()));
    }
    if f.moved_constants > 0 {
        counts.push(format!("{} equal constants stored otherwise", f.moved_constants));
    }
    out.line(counts.join(", "))
}

fn words(op: &OpSummary) -> String {
    let inside = match op.inside {
        0 => String::new(),
        n => format!(", with {n} operations inside"),
    };
    format!("{} = {} {}{inside}", op.output, op.op_type, op.ty)
}

fn changes(changes: &[Change], out: &mut Terminal) -> anyhow::Result<()> {
    for change in changes {
        let none = || "none".to_owned();
        let before = change.before.clone().unwrap_or_else(none);
        let after = change.after.clone().unwrap_or_else(none);
        out.line(format!("    {}: {before} -> {after}", change.what))?;
    }
    Ok(())
}
