//! `milwright run`: execute a model.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::bail;
use milwright_interp::Options as RunOptions;
use milwright_verify::{Executable, NamedArrays, Output, npz, outputs, texts};
use serde::Serialize;

use crate::Outcome;
use crate::progress::Progress;
use crate::report::number;
use crate::steps::{InputOptions, PrecisionOption};
use crate::table::Table;
use crate::terminal::Terminal;
use crate::weights;

/// Execute a model and save its outputs.
///
/// The model is an ML Program, a pipeline of them, or a folder of stages with
/// its pipeline.json. A stage that is not the one recorded there is refused.
///
/// Several --inputs are consecutive steps on one state.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The model.
    model: PathBuf,

    #[command(flatten)]
    inputs: InputOptions,

    /// Save the outputs here. With several steps, `out.npz` becomes
    /// `out.0.npz`, `out.1.npz` and so on. Floats are saved as float32, or as
    /// float64 with --precision fp64.
    #[arg(short, long, value_name = "OUT.npz")]
    output: Option<PathBuf>,

    /// Function to run [default: the model's].
    #[arg(long, value_name = "NAME")]
    function: Option<String>,

    /// Run all steps N times, each from a fresh state, and report the times.
    #[arg(long, value_name = "N", default_value_t = 1)]
    repeat: usize,

    /// How numbers are held and rounded.
    #[arg(long, value_enum, default_value_t)]
    precision: PrecisionOption,

    /// Replace output files that exist.
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
    function: String,
    precision: &'static str,
    steps: usize,
    /// Seed of random inputs, when there are any.
    seed: Option<u64>,
    /// Reading the weights, in milliseconds.
    load_ms: f64,
    /// The forward passes of all steps, in milliseconds, for each repetition.
    runs_ms: Vec<f64>,
    median_ms: f64,
    /// The outputs of the last step.
    outputs: Vec<OutputReport>,
    /// Those that are text, such as a class.
    texts: Vec<TextReport>,
    written: Vec<String>,
}

#[derive(Debug, Serialize)]
struct TextReport {
    name: String,
    text: String,
}

#[derive(Debug, Serialize)]
struct OutputReport {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    /// Smallest, largest and mean finite value; none when there is no value.
    min: Option<f64>,
    max: Option<f64>,
    mean: Option<f64>,
    nan: usize,
    inf: usize,
}

pub(crate) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    if options.repeat == 0 {
        bail!("--repeat must be at least 1");
    }
    let model = Executable::open(&options.model)?;
    let run_options = RunOptions {
        precision: options.precision.into(),
        keep_weights: weights::fit_in_memory(&model),
        ..RunOptions::default()
    };
    let mut runner = model.runner(options.function.as_deref(), run_options)?;
    let steps = options.inputs.load(&runner)?;
    let feeds = steps.feeds(&runner)?;
    let targets = match &options.output {
        Some(path) => targets(path, feeds.len())?,
        None => Vec::new(),
    };
    // Not after minutes of work.
    for target in &targets {
        npz::check_target(target, options.force)?;
    }

    let start = Instant::now();
    runner.load_weights()?;
    let load_ms = milliseconds(start);
    let progress = Progress::new("running", feeds.len() * options.repeat);
    let mut runs_ms = Vec::with_capacity(options.repeat);
    let mut results: Vec<Vec<Output>> = Vec::new();
    let mut words = Vec::new();
    for repetition in 0..options.repeat {
        runner.reset()?;
        results.clear();
        let mut spent = 0.0;
        for feed in &feeds {
            let start = Instant::now();
            let values = runner.forward(feed)?;
            spent += milliseconds(start);
            if repetition + 1 == options.repeat {
                words = texts(&values);
                results.push(outputs(values)?);
            }
            progress.step();
        }
        runs_ms.push(spent);
    }
    drop(progress);

    for (target, outputs) in targets.iter().zip(&results) {
        let mut arrays = NamedArrays::new();
        for output in outputs {
            arrays.insert(output.name.as_str(), output.array.clone());
        }
        npz::save(target, &arrays, options.force)?;
    }
    let report = Report {
        schema: "milwright-run/1",
        model: model.name().to_owned(),
        function: runner.function().to_owned(),
        precision: options.precision.name(),
        steps: feeds.len(),
        seed: steps.seed,
        load_ms,
        median_ms: median(&runs_ms),
        runs_ms,
        outputs: results
            .last()
            .into_iter()
            .flatten()
            .map(OutputReport::new)
            .collect(),
        texts: words
            .into_iter()
            .map(|(name, text)| TextReport { name, text })
            .collect(),
        written: targets.iter().map(|t| t.display().to_string()).collect(),
    };
    if options.json {
        out.json(&report)?;
    } else {
        show(&report, out)?;
    }
    Ok(Outcome::Clean)
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.get(middle) {
        Some(&high) if sorted.len().is_multiple_of(2) => (sorted[middle - 1] + high) / 2.0,
        Some(&value) => value,
        None => 0.0,
    }
}

/// Where the outputs of each step go.
fn targets(path: &Path, steps: usize) -> anyhow::Result<Vec<PathBuf>> {
    if path.extension().is_none_or(|e| !e.eq_ignore_ascii_case("npz")) {
        bail!(
            "{} does not end in .npz, the form that outputs are saved in",
            path.display()
        );
    }
    if steps == 1 {
        return Ok(vec![path.to_owned()]);
    }
    Ok((0..steps)
        .map(|step| path.with_extension(format!("{step}.npz")))
        .collect())
}

impl OutputReport {
    fn new(output: &Output) -> Self {
        let values = output.array.data().to_f64();
        let finite = || values.iter().copied().filter(|v| v.is_finite());
        let count = finite().count();
        OutputReport {
            name: output.name.clone(),
            dtype: output.dtype.to_string(),
            shape: output.array.shape().to_vec(),
            min: finite().reduce(f64::min),
            max: finite().reduce(f64::max),
            mean: (count > 0).then(|| finite().sum::<f64>() / count as f64),
            nan: values.iter().filter(|v| v.is_nan()).count(),
            inf: values.iter().filter(|v| v.is_infinite()).count(),
        }
    }
}

fn show(report: &Report, out: &mut Terminal) -> anyhow::Result<()> {
    let mut table = Table::new(&[
        "output", "type", "shape", ">min", ">max", ">mean", ">NaN", ">Inf",
    ]);
    let value = |v: Option<f64>| v.map(number).unwrap_or_default();
    for o in &report.outputs {
        table.row([
            o.name.clone(),
            o.dtype.clone(),
            format!("{:?}", o.shape),
            value(o.min),
            value(o.max),
            value(o.mean),
            o.nan.to_string(),
            o.inf.to_string(),
        ]);
    }
    if !table.is_empty() {
        table.write(out)?;
    }
    for t in &report.texts {
        out.line(format!("{}: {}", t.name, t.text))?;
    }
    let times = match report.runs_ms.as_slice() {
        [one] => format!("{one:.1} ms"),
        all => format!("{:.1} ms (median of {})", report.median_ms, all.len()),
    };
    let steps = match report.steps {
        1 => String::new(),
        n => format!(" for {n} steps; outputs of the last"),
    };
    out.line(format!("{times}{steps}"))?;
    if let Some(seed) = report.seed {
        out.line(format!("random inputs (--seed {seed})"))?;
    }
    for path in &report.written {
        out.line(format!("wrote {path}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_is_between() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[5.0]), 5.0);
    }

    #[test]
    fn steps_are_numbered_before_the_extension() {
        let names = |path: &str, n| targets(Path::new(path), n).unwrap();
        assert_eq!(names("a/out.npz", 1), [Path::new("a/out.npz")]);
        assert_eq!(
            names("a/out.npz", 2),
            [Path::new("a/out.0.npz"), Path::new("a/out.1.npz")]
        );
        assert!(targets(Path::new("out.bin"), 1).is_err());
    }
}
