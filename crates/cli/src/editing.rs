//! What the commands that edit a model share: where the result goes, and the
//! comparison with the model before.

use std::path::{Path, PathBuf};

use milwright_ir::{Model, SaveReport};
use milwright_package::{Changes, Package, Spec, WriteOptions};
use milwright_passes::edit::Edited;
use milwright_verify::Executable;
use milwright_verify::metrics::Tolerance;
use milwright_verify::report::Report as Comparison;
use serde::Serialize;

use crate::Outcome;
use crate::comparison::{Models, Renames};
use crate::progress::Progress;
use crate::report;
use crate::steps::{InputOptions, PrecisionOption};
use crate::terminal::Terminal;

/// Options of every command that edits a model.
#[derive(Debug, clap::Args)]
pub(crate) struct EditOptions {
    /// The model to read.
    model: PathBuf,

    /// Where to write the result; the extension chooses the form, as with
    /// `milwright convert`.
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,

    /// Replace OUT if it exists.
    #[arg(long)]
    force: bool,

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

/// How a function of the edited model is compared.
pub(crate) struct Counterpart {
    /// The function before.
    pub(crate) before: String,
    /// The function after.
    pub(crate) after: String,
    pub(crate) renames: Renames,
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

    /// Writes an edited model.
    pub(crate) fn write(&self, model: &Model, edited: &Edited) -> anyhow::Result<Written> {
        let save = self.saving(model, edited);
        self.write_reviewed(save, |_| Ok((true, Vec::new())))
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
            package.save(changes, &self.output, options)?;
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
        move |options| model.save_as(&edited.program, &edited.spec, &self.output, options)
    }

    fn write_compared(
        &self,
        save: impl FnOnce(WriteOptions<'_>) -> Result<SaveReport, milwright_ir::Error>,
        verify: &VerifyOptions,
        counterpart: impl Fn(&str) -> Counterpart,
    ) -> anyhow::Result<Written> {
        self.write_reviewed(save, |finished| {
            if !verify.verify {
                return Ok((true, Vec::new()));
            }
            let name = self.output.display().to_string();
            let after = Executable::from_package(Package::open(finished)?, &name)?;
            let before = Executable::open(&self.model)?;
            let given = before.function(None)?;
            let random = verify.inputs.random_only();
            let mut all = Vec::new();
            for function in before.functions() {
                let pair = counterpart(function);
                let inputs = if function == given {
                    &verify.inputs
                } else {
                    &random
                };
                let compared = Models {
                    model: &after,
                    reference: &before,
                    function: &pair.after,
                    reference_function: &pair.before,
                    precision: PrecisionOption::Fp32,
                    tolerance: Tolerance::from_options(Some(0.0), Some(0.0)),
                }
                .run_renamed(inputs, false, &pair.renames)?;
                all.push(compared);
            }
            Ok((all.iter().all(|c| c.ok), all))
        })
    }

    fn write_reviewed(
        &self,
        save: impl FnOnce(WriteOptions<'_>) -> Result<SaveReport, milwright_ir::Error>,
        look: impl Fn(&Path) -> anyhow::Result<(bool, Vec<Comparison>)>,
    ) -> anyhow::Result<Written> {
        let progress = Progress::bytes("writing");
        let mut verdict = Ok((true, Vec::new()));
        let mut review = |finished: &Path| {
            verdict = look(finished);
            matches!(verdict, Ok((true, _)))
        };
        let saved = save(WriteOptions {
            force: self.force,
            progress: Some(&mut |done, total| progress.at(done, total)),
            review: Some(&mut review),
            ..WriteOptions::default()
        });
        drop(progress);
        let (_, verify) = verdict?;
        let (ok, saved) = match saved {
            Ok(saved) => (true, saved),
            Err(milwright_ir::Error::Package(milwright_package::Error::Rejected { .. })) => {
                (false, SaveReport::default())
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Written {
            ok,
            model: self.model.display().to_string(),
            output: self.output.display().to_string(),
            saved,
            verify,
        })
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
