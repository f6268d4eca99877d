//! Where a command writes a model, and how: progress, what an interrupted run
//! left there, and the comparison before the model gets its name.

use std::path::{Path, PathBuf};

use milwright_package::WriteOptions;
use milwright_verify::report::Report as Comparison;

use crate::error;
use crate::progress::Progress;

/// Where a command writes a model.
#[derive(Debug, clap::Args)]
pub(crate) struct Output {
    /// Where to write the model; the extension chooses the form: .mlpackage a
    /// folder, .zip a zip of one, .mlmodel the bare spec.
    #[arg(short, long = "output", value_name = "OUT")]
    output: PathBuf,

    /// Replace OUT if it exists.
    #[arg(long)]
    force: bool,
}

impl Output {
    pub(crate) fn path(&self) -> &Path {
        &self.output
    }

    /// As reports name it.
    pub(crate) fn shown(&self) -> String {
        self.output.display().to_string()
    }

    /// Whether what is there may be replaced.
    pub(crate) fn force(&self) -> bool {
        self.force
    }

    /// Writes it by `save`.
    pub(crate) fn write<T>(&self, save: impl FnOnce(WriteOptions<'_>) -> T) -> T {
        write(&self.output, self.force, save)
    }

    /// As [`write_compared`].
    pub(crate) fn write_compared<T, E: Into<anyhow::Error>>(
        &self,
        save: impl FnOnce(WriteOptions<'_>) -> Result<T, E>,
        compare: impl FnMut(&Path) -> anyhow::Result<Vec<Comparison>>,
    ) -> anyhow::Result<(Option<T>, Vec<Comparison>)> {
        write_compared(&self.output, self.force, save, compare)
    }
}

/// Writes `output` by `save`, and shows how far that is.
pub(crate) fn write<T>(output: &Path, force: bool, save: impl FnOnce(WriteOptions<'_>) -> T) -> T {
    write_reviewed(output, force, None, save)
}

/// As [`write()`]; but the finished output gets its name only if everything
/// that `compare` compares in it agrees. The comparisons, and what `save` gave,
/// or `None` when nothing was written.
pub(crate) fn write_compared<T, E: Into<anyhow::Error>>(
    output: &Path,
    force: bool,
    save: impl FnOnce(WriteOptions<'_>) -> Result<T, E>,
    mut compare: impl FnMut(&Path) -> anyhow::Result<Vec<Comparison>>,
) -> anyhow::Result<(Option<T>, Vec<Comparison>)> {
    let mut compared = Ok(Vec::new());
    let mut rejected = false;
    let mut review = |finished: &Path| {
        compared = compare(finished);
        rejected = !matches!(&compared, Ok(all) if all.iter().all(|c| c.ok));
        !rejected
    };
    let saved = write_reviewed(output, force, Some(&mut review), save);
    let compared = compared?;
    match saved {
        Ok(saved) => Ok((Some(saved), compared)),
        Err(_) if rejected => Ok((None, compared)),
        Err(error) => Err(error.into()),
    }
}

fn write_reviewed<T>(
    output: &Path,
    force: bool,
    review: Option<&mut dyn FnMut(&Path) -> bool>,
    save: impl FnOnce(WriteOptions<'_>) -> T,
) -> T {
    error::note_unfinished(output);
    let progress = Progress::bytes("writing");
    save(WriteOptions {
        force,
        progress: Some(&mut |done, total| progress.at(done, total)),
        review: review.map(|look| look as _),
        ..WriteOptions::default()
    })
}
