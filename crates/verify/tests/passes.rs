//! Every pass on every program that it applies to: what runs after it gives
//! what ran before, within what the pass declares.
//!
//! `MILWRIGHT_SEEDS` is the number of generated programs (default 2000).

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking and print what they checked"
)]

mod cases;
mod common;
#[path = "../../../fixtures/random_programs.rs"]
mod random_programs;

use std::path::Path;

use candle_core::{DType, Tensor};
use milwright_interp::{NamedValues, Options, Precision, Session, Value};
use milwright_ir::{BlobSource, Model, NoBlobs, Program};
use milwright_package::WriteOptions;
use milwright_passes::{Exactness, Pipeline, RunOptions, passes};
use milwright_verify::inputs::Feed;
use rayon::prelude::*;

/// The pipelines that are tried, so that each pass applies to what there is.
const PIPELINES: &[&str] = &[
    "dce",
    "decompose-conv",
    "decompose-conv{stride=strided-slice,taps=sum}",
    "split-wide{limit=2}",
    "split-wide{limit=24}",
];

/// A program with its inputs, step by step.
struct Sample<'m> {
    name: String,
    program: &'m Program,
    blobs: &'m (dyn BlobSource + Sync),
    function: Option<String>,
    feeds: Vec<Feed>,
    /// Where it is from, when it can be saved.
    model: Option<&'m Model>,
}

/// What a pipeline did to the samples.
#[derive(Default)]
struct Tally {
    applied: usize,
    changes: usize,
    compared: usize,
    /// Not compared, because the program ends in an error before, too.
    refused: usize,
    /// Not compared, because its own rounding decides its results.
    unstable: usize,
    failures: Vec<String>,
}

impl Tally {
    fn with(mut self, other: Tally) -> Self {
        self.applied += other.applied;
        self.changes += other.changes;
        self.compared += other.compared;
        self.refused += other.refused;
        self.unstable += other.unstable;
        self.failures.extend(other.failures);
        self
    }
}

fn run(
    sample: &Sample<'_>,
    program: &Program,
    blobs: &(dyn BlobSource + Sync),
    precision: Precision,
) -> Result<Vec<NamedValues>, String> {
    let options = Options {
        precision,
        step_limit: 200,
        ..Options::default()
    };
    let function = sample.function.as_deref();
    let mut session = Session::new(program, blobs, function, options).map_err(|e| e.to_string())?;
    sample
        .feeds
        .iter()
        .map(|feed| {
            let wide: Feed = feed
                .iter()
                .map(|(name, t)| {
                    let float = t.dtype().is_float();
                    let t = if float {
                        t.to_dtype(precision.float()).unwrap()
                    } else {
                        t.clone()
                    };
                    (name.clone(), t)
                })
                .collect();
            session.run(&wide).map_err(|e| e.to_string())
        })
        .collect()
}

fn numbers(t: &Tensor) -> Vec<f64> {
    let flat = t.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
    flat.to_vec1().unwrap()
}

/// How far two runs are apart, relative to the largest magnitude of each
/// output; infinite when a NaN, a type, a shape or an integer differs. `None`
/// for the same bits.
fn distance(before: &[NamedValues], after: &[NamedValues]) -> Option<f64> {
    let mut worst = None;
    let mut far = |d: f64| worst = Some(worst.map_or(d, |w: f64| w.max(d)));
    for (before, after) in before.iter().zip(after) {
        if before.iter().map(|b| &b.0).ne(after.iter().map(|a| &a.0)) {
            far(f64::INFINITY);
        }
        for ((_, b), (_, a)) in before.iter().zip(after) {
            let (Value::Tensor(b), Value::Tensor(a)) = (b, a) else {
                if format!("{b:?}") != format!("{a:?}") {
                    far(f64::INFINITY);
                }
                continue;
            };
            if b.dtype != a.dtype || b.dims() != a.dims() {
                far(f64::INFINITY);
                continue;
            }
            let (x, y) = (numbers(&b.data), numbers(&a.data));
            let largest = x
                .iter()
                .filter(|v| v.is_finite())
                .fold(0f64, |m, v| m.max(v.abs()));
            for (&x, &y) in x.iter().zip(&y) {
                if x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan() {
                    continue;
                }
                let comparable = b.dtype.is_float() && x.is_finite() && y.is_finite();
                far(if comparable {
                    (x - y).abs() / largest.max(1e-30)
                } else {
                    f64::INFINITY
                });
            }
        }
    }
    worst
}

fn try_on(sample: &Sample<'_>, pipeline: &Pipeline) -> Tally {
    let mut tally = Tally::default();
    let mut program = sample.program.clone();
    let fail = |tally: &mut Tally, what: String| {
        tally
            .failures
            .push(format!("{}, {pipeline}: {what}", sample.name));
    };
    let report = match pipeline.run(&mut program, sample.blobs, &RunOptions::default()) {
        Ok(report) => report,
        Err(error) => {
            fail(&mut tally, error.to_string());
            return tally;
        }
    };
    if report.changes() == 0 {
        return tally;
    }
    tally.applied = 1;
    tally.changes = report.changes();
    let exactness = pipeline
        .steps
        .iter()
        .map(|s| s.pass.exactness)
        .max()
        .unwrap();
    let precisions: &[Precision] = match exactness {
        Exactness::Exact => &[Precision::Fp32, Precision::Native],
        _ => &[Precision::Fp32],
    };
    for &precision in precisions {
        let before = run(sample, sample.program, sample.blobs, precision);
        let after = run(sample, &program, sample.blobs, precision);
        let (before, after) = match (before, after) {
            (Ok(before), Ok(after)) => (before, after),
            (Err(_), _) => {
                tally.refused += 1;
                continue;
            }
            (_, Err(error)) => {
                fail(&mut tally, format!("{precision:?}: {error}"));
                continue;
            }
        };
        tally.compared += 1;
        let allowed = match exactness {
            Exactness::Exact => None,
            _ => Some(1e-4),
        };
        let Some(off) = distance(&before, &after).filter(|&off| allowed.is_none_or(|a| off > a))
        else {
            continue;
        };
        // What double precision changes as much, no rounding can keep.
        if allowed.is_some()
            && let Ok(wide) = run(sample, sample.program, sample.blobs, Precision::Fp64)
            && distance(&wide, &before).is_some_and(|own| own > off / 16.0)
        {
            tally.unstable += 1;
            continue;
        }
        fail(&mut tally, format!("{precision:?}: off by {off:e}"));
    }
    if let Some(model) = sample.model
        && tally.failures.is_empty()
        && let Err(error) = saved(sample, model, &program)
    {
        fail(&mut tally, error);
    }
    tally
}

/// Writes the program, reads it back and compares the two.
fn saved(sample: &Sample<'_>, model: &Model, program: &Program) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.mlpackage");
    let text = |e: milwright_ir::Error| e.to_string();
    model
        .save_as(program, model.spec(), &out, WriteOptions::default())
        .map_err(text)?;
    let back = Model::open(&out).map_err(text)?;
    let here = run(sample, program, sample.blobs, Precision::Native)?;
    let there = run(sample, back.program(), &back, Precision::Native)?;
    match distance(&here, &there) {
        None => Ok(()),
        Some(off) => Err(format!("saved and read back, it is off by {off:e}")),
    }
}

/// Tries every pipeline on every sample, and prints what they did.
fn try_all(what: &str, samples: &[Sample<'_>]) {
    let mut failures = Vec::new();
    println!("{} {what}", samples.len());
    for text in PIPELINES {
        let pipeline = Pipeline::parse(text).unwrap();
        let tally = samples
            .par_iter()
            .map(|sample| try_on(sample, &pipeline))
            .reduce(Tally::default, Tally::with);
        println!(
            "  {text}: applied to {}, {} changes, {} comparisons, {} end in an error, {} unstable, {} fail",
            tally.applied,
            tally.changes,
            tally.compared,
            tally.refused,
            tally.unstable,
            tally.failures.len()
        );
        failures.extend(tally.failures);
    }
    assert!(
        failures.is_empty(),
        "{} fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

fn models_below(folder: &Path, wanted: impl Fn(&Path) -> bool) {
    let mut opened = Vec::new();
    for package in common::packages(folder).into_iter().filter(|p| wanted(p)) {
        let Ok(model) = Model::open(&package) else {
            continue;
        };
        opened.push((package, model));
    }
    let mut samples = Vec::new();
    for (package, model) in &opened {
        for case in common::Case::of(package) {
            let feeds = case.feeds(&case.runner(Precision::Fp32));
            samples.push(Sample {
                name: case.name.clone(),
                program: model.program(),
                blobs: model,
                function: Some(case.function.clone()),
                feeds,
                model: Some(model),
            });
        }
    }
    assert!(!samples.is_empty());
    try_all("functions of models", &samples);
}

#[test]
fn every_pipeline_has_its_pass() {
    let tried: Vec<Pipeline> = PIPELINES
        .iter()
        .map(|p| Pipeline::parse(p).unwrap())
        .collect();
    for pass in passes() {
        let mut steps = tried.iter().flat_map(|p| &p.steps);
        assert!(
            steps.any(|s| s.pass.name == pass.name),
            "{} is not tried",
            pass.name
        );
    }
}

#[test]
fn fixtures_run_as_before() {
    models_below(&common::fixtures(), |_| true);
}

#[test]
fn shared_models_run_as_before() {
    if let Some(folder) = common::shared() {
        // The large ones have their own tests.
        let small = |p: &Path| {
            ["edge-cases", "silero-vad", "embedder"]
                .iter()
                .any(|part| p.components().any(|c| c.as_os_str() == *part))
        };
        models_below(&folder, small);
    }
}

#[test]
fn recorded_cases_run_as_before() {
    let Some(archives) = cases::archives() else {
        return;
    };
    let cases: Vec<cases::Case> = archives.par_iter().map(|p| cases::Case::open(p)).collect();
    let samples: Vec<Sample<'_>> = cases
        .iter()
        .map(|case| Sample {
            name: case.about.id.clone(),
            program: case.model.program(),
            blobs: &case.model,
            function: None,
            feeds: case.feeds(),
            model: None,
        })
        .collect();
    try_all("recorded cases", &samples);
}

#[test]
fn generated_programs_run_as_before() {
    let given = std::env::var("MILWRIGHT_SEEDS").ok();
    let seeds: u64 = given.and_then(|n| n.parse().ok()).unwrap_or(2000);
    let all = random_programs::executable();
    let programs: Vec<(u64, Program)> = (0..seeds)
        .map(|seed| (seed, random_programs::program(seed, &all)))
        .collect();
    let samples: Vec<Sample<'_>> = programs
        .iter()
        .map(|(seed, program)| {
            let inputs = random_programs::inputs(program, *seed, Precision::Fp32);
            Sample {
                name: format!("seed {seed}"),
                program,
                blobs: &NoBlobs,
                function: None,
                feeds: vec![inputs.clone(), inputs],
                model: None,
            }
        })
        .collect();
    try_all("generated programs", &samples);
}
