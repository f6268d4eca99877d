//! `milwright strip`: weights out of a model, and back in.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::ValueEnum;
use milwright_ir::Model;
use milwright_package::{Changes, WriteOptions};
use milwright_passes::weights::{Fill, Renamed, StripOptions, Taken, restore, strip};
use serde::Serialize;

use crate::Outcome;
use crate::output::Output;
use crate::terminal::Terminal;
use crate::weights::bytes;

/// Take the weights out of a model, for sharing it in a bug report; or put them
/// back.
///
/// Floats, and integers of up to a byte, become zeros or pseudo-random values.
/// Everything structural stays: operations, types, shapes, names, where weights
/// lie in their file, and the constants that steer the program (wider integers,
/// truth values, text, and whatever has fewer than ten elements and is in the
/// spec). Files that are no part of the program are left out. An OUT that ends
/// in .zip is compressed: about a thousandth of the model.
///
/// Names of values and features stay, and for each weight 16 bytes of its
/// BLAKE3 digest are noted in the metadata. With --restore, they find the weights
/// again, also after the stripped model was edited.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The model to strip, or the stripped model.
    model: PathBuf,

    #[command(flatten)]
    output: Output,

    /// What weights become.
    #[arg(long, value_enum, default_value_t = FillOption::Zeros, conflicts_with = "restore")]
    fill: FillOption,

    /// Take out author, license, version, descriptions and user-defined
    /// metadata, too.
    #[arg(long, conflicts_with = "restore")]
    metadata: bool,

    /// Put the weights of ORIGINAL back.
    #[arg(long, value_name = "ORIGINAL")]
    restore: Option<PathBuf>,

    /// With --restore, write the model even if weights that were taken out are
    /// not in it any more.
    #[arg(long, requires = "restore")]
    partial: bool,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FillOption {
    /// Zeros, which show little of what a model does when it runs.
    Zeros,
    /// Pseudo-random values of ordinary size, the same on every machine.
    Seeded,
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    model: String,
    output: String,
    /// Of the weights that were taken out.
    bytes: u64,
    /// Of all files of the output.
    output_bytes: u64,
    taken: Vec<Taken>,
    kept: Vec<Taken>,
    left_out: Vec<String>,
}

#[derive(Debug, Serialize)]
struct RestoreReport {
    schema: &'static str,
    model: String,
    original: String,
    /// Null when it was not written.
    output: Option<String>,
    restored: Vec<String>,
    renamed: Vec<Renamed>,
    /// Weights with other values than stripping gave them; they stay.
    changed: Vec<String>,
    /// Weights that are not in the model any more.
    gone: Vec<String>,
}

pub(crate) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    if let Some(original) = &options.restore {
        return put_back(&options, original, out);
    }
    let model = Model::open(&options.model)?;
    let how = StripOptions {
        fill: match options.fill {
            FillOption::Zeros => Fill::Zeros,
            FillOption::Seeded => Fill::Seeded,
        },
        metadata: options.metadata,
    };
    let stripped = strip(&model, &how)?;
    if stripped.taken.is_empty() {
        bail!("{} has no weights to take out", options.model.display());
    }
    save(&model, stripped.changes, &options)?;
    let report = Report {
        schema: "milwright-strip/1",
        model: options.model.display().to_string(),
        output: options.output.shown(),
        bytes: stripped.taken.iter().map(|t| t.bytes).fold(0, u64::saturating_add),
        output_bytes: size(options.output.path()),
        taken: stripped.taken,
        kept: stripped.kept,
        left_out: stripped.left_out,
    };
    if options.json {
        out.json(&report)?;
        return Ok(Outcome::Clean);
    }
    for kept in &report.kept {
        out.line(format!("stays: {} {}", kept.name, kept.ty))?;
    }
    for file in &report.left_out {
        out.line(format!("left out: {file}"))?;
    }
    let (count, all) = (report.taken.len(), bytes(report.bytes));
    out.line(format!("{count} weights taken out, {all}"))?;
    out.line(format!("wrote {} ({})", report.output, bytes(report.output_bytes)))?;
    let zip = options.output.path().extension().is_some_and(|e| e.eq_ignore_ascii_case("zip"));
    if !zip {
        out.line("an output that ends in .zip would be compressed")?;
    }
    Ok(Outcome::Clean)
}

fn put_back(options: &Options, original: &Path, out: &mut Terminal) -> anyhow::Result<Outcome> {
    let stripped = Model::open(&options.model)?;
    let from = Model::open(original)?;
    let restored = restore(&stripped, &from)?;
    let whole = restored.gone.is_empty();
    let written = whole || options.partial;
    if written {
        save(&stripped, restored.changes, options)?;
    }
    let report = RestoreReport {
        schema: "milwright-strip-restore/1",
        model: options.model.display().to_string(),
        original: original.display().to_string(),
        output: written.then(|| options.output.shown()),
        restored: restored.back,
        renamed: restored.renamed,
        changed: restored.changed,
        gone: restored.gone,
    };
    let outcome = if whole { Outcome::Clean } else { Outcome::Findings };
    if options.json {
        out.json(&report)?;
        return Ok(outcome);
    }
    for one in &report.renamed {
        out.line(format!("`{}` was `{}`", one.name, one.was))?;
    }
    for name in &report.changed {
        out.line(format!("`{name}` was given other values since, which stay"))?;
    }
    for name in &report.gone {
        out.line(format!("`{name}` is not in the model any more, or not as it was"))?;
    }
    out.line(format!("{} weights are back", report.restored.len()))?;
    match &report.output {
        Some(output) => out.line(format!("wrote {output}"))?,
        None => out.line(
            "nothing is written: what stands for these weights would look like weights; \
             --partial writes it",
        )?,
    }
    Ok(outcome)
}

fn save(model: &Model, mut changes: Changes, options: &Options) -> anyhow::Result<()> {
    changes.also_read.extend(options.restore.clone());
    Ok(options.output.write(|how| {
        let how = WriteOptions {
            compress: options.restore.is_none(),
            ..how
        };
        model.package().save(changes, options.output.path(), how)
    })?)
}

/// The bytes of a file, or of all files of a folder.
fn size(path: &Path) -> u64 {
    let Ok(metadata) = path.symlink_metadata() else {
        return 0;
    };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| size(&entry.path())).fold(0, u64::saturating_add)
}
