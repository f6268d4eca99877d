//! `milwright verify`: a model against another, against expected values, or
//! against itself in fp16.

use std::path::{Path, PathBuf};

use anyhow::bail;
use milwright_interp::Precision;
use milwright_verify::report::{Report, SCHEMA};
use milwright_verify::{
    Comparison, Executable, NamedArrays, Runner, check_expected, npz, preflight,
};

use crate::Outcome;
use crate::comparison::{Models, ToleranceOptions, run_options};
use crate::progress::Progress;
use crate::report;
use crate::steps::{InputOptions, PrecisionOption, Steps};
use crate::terminal::Terminal;

/// Run a model and compare its outputs with another model's or with expected
/// values; or, with --preflight, see what it loses in fp16.
///
/// Exit status 1 when an output differs by more than the tolerance. NaN equals
/// NaN; a NaN or infinity on one side only is always a difference.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The model to check.
    model: PathBuf,

    /// A model, or .npz files with expected outputs: one for each step, in
    /// order.
    #[arg(
        long,
        value_name = "MODEL|FILE.npz",
        required_unless_present = "preflight",
        conflicts_with = "preflight"
    )]
    against: Vec<PathBuf>,

    /// Run the model in fp16 beside fp32, operation by operation: values that
    /// overflow, become NaN or fall below the smallest normal number, constants
    /// that fp16 cannot hold, and the operations that add most error. An fp32
    /// model is run as if it were converted. Exit status 1 when something
    /// overflows or becomes NaN.
    #[arg(long, conflicts_with_all = ["atol", "rtol"])]
    preflight: bool,

    #[command(flatten)]
    inputs: InputOptions,

    #[command(flatten)]
    tolerance: ToleranceOptions,

    /// Function to run [default: the model's].
    #[arg(long, value_name = "NAME")]
    function: Option<String>,

    /// How numbers are held and rounded, on both sides [default: fp32]. With
    /// --preflight, what is compared with fp32 [default: native if the program
    /// has fp16 results, else half].
    #[arg(long, value_enum, hide_default_value = true)]
    precision: Option<PrecisionOption>,

    /// Against a model: compare every value that both programs name, and show
    /// the first operation whose output departs. With --preflight: show every
    /// operation.
    #[arg(long)]
    per_op: bool,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    let model = Executable::open(&options.model)?;
    if options.preflight {
        return run_preflight(&model, &options, out);
    }
    let function = model.function(options.function.as_deref())?;
    let precision = options.precision.unwrap_or_default();
    let reference = Reference::read(&options.against)?;
    if options.per_op && matches!(reference, Reference::Files(_)) {
        bail!("--per-op compares two models; name a model after --against");
    }
    let report = match &reference {
        Reference::Model(reference) => {
            let comparison = Models {
                model: &model,
                reference,
                function,
                // The reference may name its function differently, if that is
                // its only one.
                reference_function: reference
                    .function(Some(function))
                    .or_else(|e| match (&options.function, reference.function(None)) {
                        (None, Ok(f)) => Ok(f),
                        _ => Err(e),
                    })?,
                precision,
                tolerance: options.tolerance.get(),
            };
            comparison.run(&options.inputs, options.per_op)?
        }
        Reference::Files(files) => {
            let run_options = run_options(&model, precision, options.inputs.inputs.len());
            let mut runner = model.runner(Some(function), run_options)?;
            let steps = options.inputs.load(&runner)?;
            against_files(&mut runner, &steps, files, &options)?
        }
    };
    if options.json {
        out.json(&report)?;
    } else {
        report::show(&report, out)?;
    }
    Ok(if report.ok {
        Outcome::Clean
    } else {
        Outcome::Findings
    })
}

fn run_preflight(
    model: &Executable,
    options: &Options,
    out: &mut Terminal,
) -> anyhow::Result<Outcome> {
    let run_options = run_options(model, PrecisionOption::Fp32, options.inputs.count());
    let mut runner = model.runner(options.function.as_deref(), run_options)?;
    let steps = options.inputs.load(&runner)?;
    let feeds = steps.feeds(&runner)?;
    let stage = runner.single("--preflight")?;
    let precision = match options.precision.map(Precision::from) {
        Some(Precision::Fp32 | Precision::Fp64) => {
            bail!("--preflight looks at fp16: --precision takes half or native with it")
        }
        Some(precision) => precision,
        None => preflight::precision_for(stage.subject().program, stage.function()),
    };
    let progress = Progress::new("running in fp32 and fp16", feeds.len());
    let report = preflight::preflight(stage, &feeds, precision, steps.seed, &mut || {
        progress.step();
    })?;
    drop(progress);
    if options.json {
        out.json(&report)?;
    } else {
        crate::preflight::show(&report, options.per_op, out)?;
    }
    Ok(if report.ok {
        Outcome::Clean
    } else {
        Outcome::Findings
    })
}

enum Reference {
    Model(Box<Executable>),
    Files(Vec<(String, NamedArrays)>),
}

impl Reference {
    fn read(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let is_arrays = |p: &Path| p.extension().is_some_and(|e| e.eq_ignore_ascii_case("npz"));
        match paths {
            [one] if !is_arrays(one) => Ok(Reference::Model(Box::new(Executable::open(one)?))),
            all if all.iter().all(|p| is_arrays(p)) => {
                let read = |p: &PathBuf| Ok((p.display().to_string(), npz::load(p)?));
                Ok(Reference::Files(
                    all.iter().map(read).collect::<anyhow::Result<_>>()?,
                ))
            }
            _ => bail!("--against takes one model, or .npz files, one for each step"),
        }
    }
}

fn against_files(
    runner: &mut Runner<'_>,
    steps: &Steps,
    files: &[(String, NamedArrays)],
    options: &Options,
) -> anyhow::Result<Report> {
    if steps.count() != files.len() {
        bail!(
            "there are {} steps of inputs and {} files of expected values; give one --inputs and one --against for each step",
            steps.count(),
            files.len()
        );
    }
    if let Some(seed) = steps.seed {
        bail!(
            "expected values need the inputs that they belong to, but some would be random (--seed {seed}); give all with --inputs or --input"
        );
    }
    let function = runner.function();
    for (origin, expected) in files {
        check_expected(
            runner.output_names().iter().copied(),
            expected,
            function,
            origin,
        )?;
    }
    let feeds = steps.feeds(runner)?;
    let tolerance = options.tolerance.get();
    let mut comparison = Comparison::new(tolerance);
    let progress = Progress::new("running", feeds.len());
    for (step, (feed, (origin, expected))) in feeds.iter().zip(files).enumerate() {
        let outputs = runner.step(feed)?;
        comparison.add_arrays(step, &outputs, expected, function, origin)?;
        progress.step();
    }
    drop(progress);
    let (outputs, not_compared) = comparison.finish();
    Ok(Report {
        schema: SCHEMA,
        ok: outputs.iter().all(|o| o.ok),
        model: runner.name().to_owned(),
        against: files.iter().map(|(origin, _)| origin.clone()).collect(),
        function: function.to_owned(),
        precision: options.precision.unwrap_or_default().name(),
        steps: feeds.len(),
        seed: None,
        tolerance,
        outputs,
        not_compared,
        per_op: None,
    })
}
