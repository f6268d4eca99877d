//! `milwright weights dedup`.

use milwright_package::SharedBlobs;
use milwright_passes::merge::dedup;
use serde::Serialize;

use crate::Outcome;
use crate::editing::EditOptions;
use crate::terminal::Terminal;
use crate::weights::bytes;

/// Store identical weights once.
///
/// Two are identical when every byte and the type of the elements are the same.
/// The weight file is copied from range to range; what the model computes does
/// not change in any bit. Data that nothing refers to is left out, too.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    edit: EditOptions,
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
    let edit = &options.edit;
    let read = edit.open()?;
    let merged = dedup(&read)?;
    edit.save(|how| merged.save(edit.output(), how))?;
    let (model, output) = edit.shown();
    let report = Report {
        schema: "milwright-weights-dedup/1",
        model,
        output,
        found: merged.weights,
    };
    if edit.json {
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
