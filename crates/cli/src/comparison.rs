//! Running two models on the same inputs: the options, and the comparison that
//! several commands make.

use std::path::Path;

use milwright_interp::Options as RunOptions;
use milwright_package::Package;
use milwright_verify::inputs::Feed;
use milwright_verify::metrics::Tolerance;
use milwright_verify::report::{Report, SCHEMA};
use milwright_verify::{Comparison, Executable, per_op};

use crate::progress::Progress;
use crate::steps::{InputOptions, PrecisionOption};
use crate::weights;

/// How large a difference is allowed.
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(next_help_heading = "Tolerance")]
pub(crate) struct ToleranceOptions {
    /// Allow |out - ref| <= ATOL + RTOL * |ref|, element by element. With
    /// neither option, 1e-4 of the output's largest magnitude is allowed, and
    /// integers must be equal.
    #[arg(long, value_parser = tolerance)]
    atol: Option<f64>,

    /// See --atol.
    #[arg(long, value_parser = tolerance)]
    rtol: Option<f64>,
}

impl ToleranceOptions {
    pub(crate) fn get(self) -> Tolerance {
        Tolerance::from_options(self.atol, self.rtol)
    }
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if v >= 0.0 && v.is_finite() => Ok(v),
        _ => Err("it must be a number, 0 or larger".to_owned()),
    }
}

/// Weights are kept between steps only if there are several.
pub(crate) fn run_options(
    model: &Executable,
    precision: PrecisionOption,
    steps: usize,
) -> RunOptions {
    RunOptions {
        precision: precision.into(),
        keep_weights: steps > 1 && weights::fit_in_memory(model),
        ..RunOptions::default()
    }
}

/// How the features of a model differ from those of its reference.
#[derive(Debug, Default)]
pub(crate) struct Renames {
    /// Names in the reference and in the model, where they differ.
    pub(crate) names: Vec<(String, String)>,
    /// Outputs that the reference does not have.
    pub(crate) added: Vec<String>,
    /// Whether features may have other element types: random inputs are then
    /// such that both hold them.
    pub(crate) retyped: bool,
}

impl Renames {
    fn after<'a>(&'a self, name: &'a str) -> &'a str {
        let renamed = self.names.iter().find(|(old, _)| old == name);
        renamed.map_or(name, |(_, new)| new)
    }
}

/// How a function of a changed model is compared.
pub(crate) struct Counterpart {
    /// The function before.
    pub(crate) before: String,
    /// The function after.
    pub(crate) after: String,
    pub(crate) renames: Renames,
}

impl Counterpart {
    /// Of a function that is called what it was.
    pub(crate) fn same(function: &str) -> Self {
        Counterpart {
            before: function.to_owned(),
            after: function.to_owned(),
            renames: Renames::default(),
        }
    }
}

/// A finished output, as it is read back, and the model that it was made of, as
/// it is on disk.
pub(crate) struct Change<'a> {
    pub(crate) before: &'a Path,
    /// The function that inputs are given for, or the model's own choice.
    pub(crate) function: Option<&'a str>,
    /// Where it will be.
    pub(crate) output: &'a Path,
    pub(crate) inputs: &'a InputOptions,
    pub(crate) tolerance: Tolerance,
}

impl Change<'_> {
    /// Compares every function. Those that no inputs are given for get random
    /// ones.
    pub(crate) fn compare(
        &self,
        finished: &Path,
        counterpart: impl Fn(&str) -> Counterpart,
    ) -> anyhow::Result<Vec<Report>> {
        let name = self.output.display().to_string();
        let after = Executable::from_package(Package::open(finished)?, &name)?;
        let before = Executable::open(self.before)?;
        let given = before.function(self.function)?;
        let random = self.inputs.random_only();
        let mut all = Vec::new();
        for function in before.functions() {
            let pair = counterpart(function);
            let inputs = if function == given {
                self.inputs
            } else {
                &random
            };
            let models = Models {
                model: &after,
                reference: &before,
                function: &pair.after,
                reference_function: &pair.before,
                precision: PrecisionOption::Fp32,
                tolerance: self.tolerance,
            };
            all.push(models.run_renamed(inputs, false, &pair.renames)?);
        }
        Ok(all)
    }
}

/// Two models to be compared.
pub(crate) struct Models<'a> {
    pub(crate) model: &'a Executable,
    pub(crate) reference: &'a Executable,
    pub(crate) function: &'a str,
    pub(crate) reference_function: &'a str,
    pub(crate) precision: PrecisionOption,
    pub(crate) tolerance: Tolerance,
}

impl Models<'_> {
    /// Runs both on the same inputs. Random ones fit the reference.
    pub(crate) fn run(&self, inputs: &InputOptions, by_op: bool) -> anyhow::Result<Report> {
        self.run_renamed(inputs, by_op, &Renames::default())
    }

    /// As [`Models::run`], for a model that calls features of the reference
    /// otherwise, or gives more of them.
    pub(crate) fn run_renamed(
        &self,
        inputs: &InputOptions,
        by_op: bool,
        renames: &Renames,
    ) -> anyhow::Result<Report> {
        let several = inputs
            .inputs
            .len()
            .max(if by_op { 2 } else { inputs.count() });
        let options = run_options(self.reference, self.precision, several);
        let prepare = || -> anyhow::Result<_> {
            Ok((
                self.model.runner(Some(self.function), options)?,
                self.reference
                    .runner(Some(self.reference_function), options)?,
            ))
        };
        let (mut model, mut reference) = prepare()?;
        let steps = match renames.retyped {
            true => inputs.load_for_both(&model, &reference)?,
            false => inputs.load(&reference)?,
        };
        let mut own = steps.renamed(|name| renames.after(name));
        let mut others = steps;
        if renames.retyped {
            (own, others) = (own.taken_by(&model), others.taken_by(&reference));
        }
        let seed = others.seed;
        let own = own.feeds(&model)?;
        let others = others.feeds(&reference)?;
        let feeds: Vec<(Feed, Feed)> = own.into_iter().zip(others).collect();
        let per_op = if by_op {
            let _progress = Progress::new("comparing every value", 1);
            let (one, other) = (model.single("--per-op")?, reference.single("--per-op")?);
            let found = per_op(one, other, &feeds, self.tolerance)?;
            // The outputs are compared from the same start.
            (model, reference) = prepare()?;
            Some(found)
        } else {
            None
        };
        let mut comparison = Comparison::new(self.tolerance);
        let progress = Progress::new("running both", 2 * feeds.len());
        for (step, (feed, reference_feed)) in feeds.iter().enumerate() {
            let mut expected = reference.step(reference_feed)?;
            progress.step();
            for output in &mut expected {
                output.name = renames.after(&output.name).to_owned();
            }
            let mut outputs = model.step(feed)?;
            progress.step();
            outputs.retain(|o| !renames.added.contains(&o.name));
            comparison.add_models(step, &outputs, &expected);
        }
        drop(progress);
        let (outputs, not_compared) = comparison.finish();
        let departs = per_op.as_ref().is_some_and(|p| p.first.is_some());
        Ok(Report {
            schema: SCHEMA,
            ok: outputs.iter().all(|o| o.ok) && !departs,
            model: self.model.name().to_owned(),
            against: vec![self.reference.name().to_owned()],
            function: self.function.to_owned(),
            precision: self.precision.name(),
            steps: feeds.len(),
            seed,
            tolerance: self.tolerance,
            outputs,
            not_compared,
            per_op,
        })
    }
}
