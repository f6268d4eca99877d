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
use milwright_passes::{Exactness, Fragile, Pipeline, RunOptions, passes};
use milwright_verify::Evaluator;
use milwright_verify::inputs::Feed;
use milwright_verify::preflight::{self, breaks, precision_for, preflight};
use rayon::prelude::*;

/// How two runs are held against each other.
enum Check {
    /// The same bits in that precision.
    Bits(Precision),
    /// In that precision, off by at most so much of each output's largest
    /// magnitude.
    Near(Precision, f64),
}

use Check::{Bits, Near};
use Precision::{Fp32, Native};

const EXACT: &[Check] = &[Bits(Fp32), Bits(Native)];
const ROUNDING: &[Check] = &[Near(Fp32, 1e-4)];

/// The pipelines that are tried, so that each pass applies to what there is,
/// and what holds after each.
const PIPELINES: &[(&str, &[Check])] = &[
    ("dce", EXACT),
    ("decompose-conv", ROUNDING),
    ("decompose-conv{stride=strided-slice,taps=sum}", ROUNDING),
    ("split-wide{limit=2}", EXACT),
    ("split-wide{limit=24}", EXACT),
    ("const-fold", EXACT),
    ("cse", EXACT),
    ("remove-noop", EXACT),
    ("remove-redundant-casts", EXACT),
    // Where fp16 is rounded, decompressed weights are what they were.
    ("decompress", &[Bits(Native)]),
    // Weights are rounded once more to their type.
    ("fuse-conv-bn", &[Near(Fp32, 2e-3)]),
    ("linear-to-conv1x1", ROUNDING),
    ("conv1x1-to-linear", ROUNDING),
    ("linear-to-conv1x1,conv1x1-to-linear", ROUNDING),
    // Scores of 1e5 and more are differences of 1e-2 behind the softmax.
    ("decompose-sdpa", &[Near(Fp32, 1e-3)]),
    // Evaluated in fp32, only weights and parameters are rounded.
    ("fp16", &[Near(Fp32, 2e-2)]),
    ("fp32", ROUNDING),
    ("fp32{weights=cast}", ROUNDING),
    (
        "fp16,remove-redundant-casts,fp32,remove-redundant-casts",
        &[Near(Fp32, 2e-2)],
    ),
    (
        "const-fold,cse,remove-noop,remove-redundant-casts,dce",
        EXACT,
    ),
];

const OPTIONS: RunOptions<'_> = RunOptions {
    fuel: None,
    evaluate: Some(&Evaluator),
    fragile: None,
};

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
            let (b, a) = match (b, a) {
                (Value::Tensor(b), Value::Tensor(a)) => (b, a),
                // The probabilities of a classifier.
                (Value::Dict(b), Value::Dict(a)) => {
                    let pairs = b.iter().zip(a);
                    let off = pairs.map(|((k, x), (l, y))| match k == l {
                        true => (x - y).abs(),
                        false => f64::INFINITY,
                    });
                    off.filter(|&off| off > 0.0).for_each(&mut far);
                    continue;
                }
                (b, a) => {
                    if format!("{b:?}") != format!("{a:?}") {
                        far(f64::INFINITY);
                    }
                    continue;
                }
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

/// The operations that compute something, for messages.
fn types(program: &Program) -> String {
    let ops = program.all_ops().into_iter();
    let types = ops.map(|op| program.ops[op].op_type.as_str());
    let own = types.filter(|t| !["const", "identity"].contains(t));
    own.collect::<Vec<_>>().join(" ")
}

fn try_on(sample: &Sample<'_>, pipeline: &Pipeline, checks: &[Check]) -> Tally {
    let mut tally = Tally::default();
    // Without a seed, random numbers depend on the name of the result, which an
    // output gives to its cast.
    let renames = pipeline.steps.iter().any(|s| s.pass.name.starts_with("fp"));
    if renames && types(sample.program).contains("random_") {
        tally.unstable += 1;
        return tally;
    }
    let mut program = sample.program.clone();
    let fail = |tally: &mut Tally, what: String| {
        tally.failures.push(format!(
            "{}, {pipeline}: {what} ({})",
            sample.name,
            types(sample.program)
        ));
    };
    let report = match pipeline.run(&mut program, sample.blobs, &OPTIONS) {
        Ok(report) => report,
        Err(error) => {
            // What would fail when it runs may be found wrong once it is known.
            match run(sample, sample.program, sample.blobs, Precision::Fp32) {
                Err(_) => tally.refused += 1,
                Ok(_) => fail(&mut tally, error.to_string()),
            }
            return tally;
        }
    };
    if report.changes() == 0 {
        return tally;
    }
    tally.applied = 1;
    tally.changes = report.changes();
    for check in checks {
        let (precision, allowed) = match *check {
            Bits(precision) => (precision, None),
            Near(precision, off) => (precision, Some(off)),
        };
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
        let Some(off) = distance(&before, &after).filter(|&off| allowed.is_none_or(|a| off > a))
        else {
            continue;
        };
        // What another precision changes as much, no rounding can keep.
        let mut others = match allowed {
            None => [].iter(),
            Some(off) if off < 1e-3 => [Precision::Fp64].iter(),
            Some(_) => [Precision::Fp64, Precision::Half].iter(),
        };
        let is_unstable = others.any(|&other| {
            let other = run(sample, sample.program, sample.blobs, other);
            other.is_ok_and(|o| distance(&before, &o).is_some_and(|own| own >= off / 16.0))
        });
        if is_unstable {
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
    for (text, checks) in PIPELINES {
        let pipeline = Pipeline::parse(text).unwrap();
        let tally = samples
            .par_iter()
            .map(|sample| try_on(sample, &pipeline, checks))
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
fn every_pass_is_tried_as_it_declares() {
    let tried: Vec<Pipeline> = PIPELINES
        .iter()
        .map(|(text, _)| Pipeline::parse(text).unwrap())
        .collect();
    for ((text, checks), pipeline) in PIPELINES.iter().zip(&tried) {
        let mut steps = pipeline.steps.iter();
        let is_exact = steps.all(|s| s.pass.exactness == Exactness::Exact);
        let bits = checks.iter().filter(|c| matches!(c, Bits(_))).count();
        assert!(!is_exact || bits == 2, "{text}");
    }
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

/// The largest difference of two runs in native precision and in fp32, and how
/// many numbers are NaN in the first only.
fn lost(before: &[NamedValues], after: &[NamedValues]) -> (f64, usize) {
    let (mut worst, mut nan) = (0f64, 0);
    for ((_, b), (_, a)) in before.iter().flatten().zip(after.iter().flatten()) {
        let (Value::Tensor(b), Value::Tensor(a)) = (b, a) else {
            continue;
        };
        for (x, y) in numbers(&b.data).into_iter().zip(numbers(&a.data)) {
            nan += usize::from(y.is_nan() && !x.is_nan());
            worst = worst.max((x - y).abs());
        }
    }
    (worst, nan)
}

#[test]
fn what_fp16_breaks_stays_in_fp32() {
    let Some(folder) = common::shared() else {
        return;
    };
    let package = folder.join("mel-encoder/fused_fp32.mlpackage");
    let model = Model::open(&package).unwrap();
    let case = common::Case::of(&package).remove(0);
    let mut runner = case.runner(Precision::Fp32);
    let feeds = case.feeds(&runner);
    let stage = runner.single("the test").unwrap();
    let subject = stage.subject();
    let precision = precision_for(subject.program, stage.function());
    let report = preflight(stage, &feeds, precision, None, &mut || ()).unwrap();
    let broken = breaks(subject.program, stage.function(), subject.blobs, &report);
    let fragile = preflight::fragile(&broken);
    let sample = Sample {
        name: case.name.clone(),
        program: model.program(),
        blobs: &model,
        function: Some(case.function.clone()),
        feeds,
        model: Some(&model),
    };
    let before = run(&sample, model.program(), &model, Precision::Fp32).unwrap();
    let half = |fragile: Option<&Fragile>| {
        let mut program = model.program().clone();
        let options = RunOptions { fragile, ..OPTIONS };
        let pipeline = Pipeline::parse("fp16,remove-redundant-casts").unwrap();
        let report = pipeline.run(&mut program, &model, &options).unwrap();
        let after = run(&sample, &program, &model, Precision::Native).unwrap();
        saved(&sample, &model, &program).unwrap();
        let (worst, nan) = lost(&before, &after);
        println!(
            "{} with {} breaks kept: {} changes, {} left, off by {worst:.2e}, {nan} NaN",
            sample.name,
            fragile.map_or(0, |f| f.ops.len()),
            report.changes(),
            report.left().count(),
        );
        (worst, nan)
    };
    let plain = half(None);
    let (worst, nan) = half(Some(&fragile));
    assert!(!broken.is_empty());
    assert!(nan == 0 && worst <= 2e-2, "{worst} {nan}");
    // Or the preflight is for nothing.
    assert!(plain.1 > 0 || plain.0 > 4.0 * worst, "{plain:?}");
}
