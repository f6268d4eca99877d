//! `milwright weights dedup`.

use std::path::PathBuf;

use milwright_ir::Model;
use milwright_package::{SharedBlobs, WriteOptions};
use milwright_passes::merge::dedup;
use serde::Serialize;

use crate::Outcome;
use crate::progress::Progress;
use crate::terminal::Terminal;
use crate::weights::bytes;

/// Store identical weights once.
///
/// Two are identical when every byte and the type of the elements are the same.
/// The weight file is copied from range to range; what the model computes does
/// not change in any bit. Data that nothing refers to is left out, too.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The model to read.
    model: PathBuf,

    /// Where to write the model; the extension chooses the form, as with
    /// `milwright convert`.
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,

    /// Replace OUT if it exists.
    #[arg(long)]
    force: bool,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    model: String,
    output: String,
    #[serde(flatten)]
    found: SharedBlobs,
}

pub(super) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    let model = Model::open(&options.model)?;
    let merged = dedup(&model)?;
    let progress = Progress::bytes("writing");
    merged.save(
        &options.output,
        WriteOptions {
            force: options.force,
            progress: Some(&mut |done, total| progress.at(done, total)),
            ..WriteOptions::default()
        },
    )?;
    drop(progress);
    let report = Report {
        schema: "milwright-weights-dedup/1",
        model: options.model.display().to_string(),
        output: options.output.display().to_string(),
        found: merged.weights,
    };
    if options.json {
        out.json(&report)?;
        return Ok(Outcome::Clean);
    }
    let found = &report.found;
    out.line(format!(
        "{} of {} blobs stay, {}; {} saved",
        found.blobs,
        found.blobs + found.shared_blobs,
        bytes(found.bytes),
        bytes(found.saved_bytes)
    ))?;
    out.line(format!("wrote {}", report.output))?;
    Ok(Outcome::Clean)
}
