//! What the commands that edit a model share: where the result goes, and the
//! comparison with the model before.

use std::path::{Path, PathBuf};

use milwright_ir::{Model, SaveReport};
use milwright_package::{Changes, Package, Spec, WriteOptions};
use milwright_passes::edit::{Changed, Edited};
use milwright_verify::metrics::Tolerance;
use milwright_verify::report::Report as Comparison;
use serde::Serialize;

use crate::Outcome;
use crate::comparison::{Change, Counterpart};
use crate::output::Output;
use crate::report;
use crate::steps::InputOptions;
use crate::table::Table;
use crate::terminal::Terminal;

/// Options of every command that edits a model.
#[derive(Debug, clap::Args)]
pub(crate) struct EditOptions {
    /// The model to read.
    model: PathBuf,

    #[command(flatten)]
    output: Output,

    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of the edits that change no value.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyOptions {
    /// Run the model before and after, and write the result only if every bit
    /// of every output is the same.
    #[arg(long)]
    verify: bool,

    #[command(flatten)]
    inputs: InputOptions,
}

/// What became of an edit.
#[derive(Debug, Serialize)]
pub(crate) struct Written {
    /// Whether the output was written.
    ok: bool,
    model: String,
    output: String,
    #[serde(flatten)]
    saved: SaveReport,
    /// One comparison for each function, with --verify.
    verify: Vec<Comparison>,
}

impl EditOptions {
    /// Opens the model.
    pub(crate) fn open(&self) -> anyhow::Result<Model> {
        Ok(Model::from_package(self.package()?)?)
    }

    /// Opens the package.
    pub(crate) fn package(&self) -> anyhow::Result<Package> {
        Ok(milwright_ir::open(&self.model)?)
    }

    /// Writes by `save`.
    pub(crate) fn save<T>(&self, save: impl FnOnce(WriteOptions<'_>) -> T) -> T {
        self.output.write(save)
    }

    /// As reports name them: the model, and where the result goes.
    pub(crate) fn shown(&self) -> (String, String) {
        (self.model.display().to_string(), self.output.shown())
    }

    pub(crate) fn output(&self) -> &Path {
        self.output.path()
    }

    /// Writes an edited model.
    pub(crate) fn write(&self, model: &Model, edited: &Edited) -> anyhow::Result<Written> {
        let saved = self.save(self.saving(model, edited))?;
        Ok(self.written(Some(saved), Vec::new()))
    }

    /// Writes an edited model, after comparing it with the model before if that
    /// is wished. `counterpart` says how, for each function before.
    pub(crate) fn write_verified(
        &self,
        model: &Model,
        edited: &Edited,
        verify: &VerifyOptions,
        counterpart: impl Fn(&str) -> Counterpart,
    ) -> anyhow::Result<Written> {
        self.write_compared(self.saving(model, edited), verify, counterpart)
    }

    /// Writes the spec of an edited pipeline, as [`EditOptions::write_verified`]
    /// writes a model.
    pub(crate) fn write_spec(
        &self,
        package: &Package,
        spec: &Spec,
        verify: &VerifyOptions,
        counterpart: impl Fn(&str) -> Counterpart,
    ) -> anyhow::Result<Written> {
        let save = |options: WriteOptions<'_>| {
            let changes = Changes {
                spec: Some(spec.clone()),
                ..Changes::default()
            };
            package.save(changes, self.output(), options)?;
            Ok(SaveReport {
                changed: true,
                ..SaveReport::default()
            })
        };
        self.write_compared(save, verify, counterpart)
    }

    /// How a model is written.
    fn saving<'s>(
        &'s self,
        model: &'s Model,
        edited: &'s Edited,
    ) -> impl FnOnce(WriteOptions<'_>) -> Result<SaveReport, milwright_ir::Error> + 's {
        move |options| model.save_as(&edited.program, &edited.spec, self.output(), options)
    }

    fn write_compared(
        &self,
        save: impl FnOnce(WriteOptions<'_>) -> Result<SaveReport, milwright_ir::Error>,
        verify: &VerifyOptions,
        counterpart: impl Fn(&str) -> Counterpart,
    ) -> anyhow::Result<Written> {
        let change = Change {
            before: &self.model,
            function: None,
            output: self.output(),
            inputs: &verify.inputs,
            tolerance: Tolerance::from_options(Some(0.0), Some(0.0)),
        };
        let compare = |finished: &Path| match verify.verify {
            true => change.compare(finished, &counterpart),
            false => Ok(Vec::new()),
        };
        let (saved, compared) = self.output.write_compared(save, compare)?;
        Ok(self.written(saved, compared))
    }

    fn written(&self, saved: Option<SaveReport>, verify: Vec<Comparison>) -> Written {
        let (model, output) = self.shown();
        Written {
            ok: saved.is_some(),
            model,
            output,
            saved: saved.unwrap_or_default(),
            verify,
        }
    }
}

impl Written {
    /// How the command ends.
    pub(crate) fn outcome(&self) -> Outcome {
        match self.ok {
            true => Outcome::Clean,
            false => Outcome::Findings,
        }
    }

    /// Shows the comparisons, and whether the output was written.
    pub(crate) fn show(&self, out: &mut Terminal) -> anyhow::Result<()> {
        for comparison in &self.verify {
            if self.verify.len() > 1 {
                out.heading(&format!("function {}", comparison.function))?;
            }
            report::show(comparison, out)?;
        }
        match self.ok {
            true => out.line(format!("wrote {}", self.output)),
            false => out.line(format!(
                "{} is not written: the outputs differ",
                self.output
            )),
        }
    }
}

/// Shows what was set; of a model of several functions, where.
pub(crate) fn show_changed(
    changed: &[Changed],
    several: bool,
    out: &mut Terminal,
) -> anyhow::Result<()> {
    let mut table = match several {
        true => Table::new(&["", "before", "after", "function"]),
        false => Table::new(&["", "before", "after"]),
    };
    for c in changed {
        let function = c.function.as_deref().unwrap_or_default();
        table.row([
            c.what.as_str(),
            c.before.as_str(),
            c.after.as_str(),
            function,
        ]);
    }
    table.write(out)
}
