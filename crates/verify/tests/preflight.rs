//! What models lose in fp16.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking and print what they checked"
)]

mod common;

use std::path::Path;

use common::{Case, cases, fixtures, shared};
use half::f16;
use milwright_interp::Precision;
use milwright_verify::inputs::Ranges;
use milwright_verify::preflight::{OpReport, Preflight, precision_for, preflight};

fn run_as(package: &Path, precision: Option<Precision>) -> Preflight {
    let cases = Case::of(package);
    run_case(&cases[0], precision)
}

fn run_case(case: &Case, precision: Option<Precision>) -> Preflight {
    let mut runner = case.runner(Precision::Fp32);
    let feeds = case.feeds(&runner);
    let stage = runner.single("the test").unwrap();
    let suggested = precision_for(stage.subject().program, stage.function());
    let precision = precision.unwrap_or(suggested);
    let mut steps = 0;
    let report = preflight(stage, &feeds, precision, None, &mut || steps += 1).unwrap();
    assert_eq!(steps, feeds.len());
    report
}

fn run(package: &Path) -> Preflight {
    run_as(package, None)
}

fn op<'r>(report: &'r Preflight, output: &str) -> &'r OpReport {
    let found = report.ops.iter().find(|o| o.output == output);
    found.unwrap_or_else(|| panic!("no row for {output}"))
}

fn added(o: &OpReport) -> f64 {
    o.added.as_ref().unwrap().relative.unwrap()
}

/// Half a unit in the last place of fp16: what rounding a number adds at most.
const ROUNDING: f64 = 1.0 / 2048.0;

#[test]
fn the_front_end_of_a_mel_encoder_is_named() {
    let Some(models) = shared() else { return };
    let report = run(&models.join("mel-encoder/fused_fp32.mlpackage"));
    assert_eq!((report.precision, report.steps), ("half", 2));
    assert!(!report.ok);
    // 240,000 samples are more than fp16 can count, and nothing else is.
    let broken: Vec<&str> = report
        .ops
        .iter()
        .filter(|o| o.breaks())
        .map(|o| o.output.as_str())
        .collect();
    assert_eq!(broken, ["cast_0"]);
    let length = op(&report, "cast_0");
    assert_eq!((length.overflow, length.elements), (2, 2));
    assert_eq!((length.min, length.max), (Some(173_000.0), Some(240_000.0)));
    // The mask made of it spoils everything behind, which is not blamed for it.
    assert!(op(&report, "var_25").nonfinite_in_run > 0);
    assert!(report.ops.iter().filter(|o| o.nonfinite_in_run > 0).count() > 50);
    assert!(report.outputs.iter().any(|o| o.nonfinite > 0));
    // The logarithm of small energies, and the difference to their mean.
    println!("{:?}", report.worst);
    assert_eq!(report.worst.len(), 10);
    assert_eq!(report.worst[..2], ["var_76", "mel_1"]);
    assert!(added(op(&report, "var_76")) > ROUNDING);
    assert!(added(op(&report, "mel_1")) > ROUNDING);
    // Energies below the smallest normal number.
    let energies = op(&report, "var_57");
    assert!(energies.below_normal > energies.elements / 20);
    assert!(energies.smallest.unwrap() < 1e-8);
    assert!(report.constants.iter().all(|c| c.overflow == 0));
    let epsilon = &report.constants[0];
    assert_eq!((epsilon.to_zero, epsilon.elements), (1, 1));
    assert_eq!(epsilon.used_by, ["mel_1 = log (epsilon)"]);
}

#[test]
fn an_embedder_fits_into_fp16() {
    let Some(models) = shared() else { return };
    let report = run(&models.join("embedder/fp32.mlpackage"));
    assert!(report.ok);
    assert!(
        report
            .ops
            .iter()
            .all(|o| !o.breaks() && o.nonfinite_in_run == 0)
    );
    // Its epsilons of 1e-12 do not.
    let epsilons = report.constants.iter().filter(|c| c.elements == 1);
    assert!(epsilons.clone().count() > 5);
    for c in epsilons {
        assert_eq!((c.overflow, c.to_zero), (0, 1));
        assert!(c.used_by[0].ends_with("= rsqrt (epsilon)"), "{c:?}");
    }
    let error = report.outputs[0].total.as_ref().unwrap().relative.unwrap();
    println!("{} rows, error of the output {error:.2e}", report.ops.len());
    assert!((1e-5..1e-2).contains(&error));
}

#[test]
fn a_converted_model_is_evaluated_as_it_is() {
    let Some(models) = shared() else { return };
    let report = run(&models.join("embedder/fp16.mlpackage"));
    assert_eq!(report.precision, "native");
    assert!(report.ok && report.constants_checked > 0);
    let report = run(&models.join("mel-encoder/fused_fp16.mlpackage"));
    assert!(!report.ok);
    assert!(op(&report, "audio_length_to_fp16").breaks());
}

#[test]
fn a_front_end_of_small_lengths_fits() {
    let report = run(&fixtures().join("mel-frontend/fp32.mlpackage"));
    assert!(report.ok, "{:?}", report.ops.iter().find(|o| o.breaks()));
    assert_eq!(report.worst.len(), 10);
    // Squares double the rounding of what they square; nothing is worse.
    assert_eq!(op(&report, &report.worst[0]).op_type, "mul");
    assert!(report.ops.iter().any(|o| o.to_zero > 0));
}

#[test]
fn an_input_counts_with_the_error_of_its_rounding() {
    let case = &Case::of(&fixtures().join("mel-frontend/fp32.mlpackage"))[0];
    let mut runner = case.runner(Precision::Fp32);
    let arrays = runner.random(&Ranges::default(), 3, 0).unwrap();
    let feed = runner.feed(&arrays, "random").unwrap();
    let stage = runner.single("the test").unwrap();
    let steps = [feed.clone()];
    let report = preflight(stage, &steps, Precision::Half, Some(3), &mut || {}).unwrap();
    assert_eq!(report.seed, Some(3));
    let input = &report.ops[0];
    assert_eq!((input.op_type.as_str(), input.runs), ("input", 1));
    let wave = feed[&input.output].flatten_all().unwrap();
    let wave: Vec<f32> = wave.to_vec1().unwrap();
    let (mut d, mut r) = (0f64, 0f64);
    for &v in &wave {
        d += f64::from(f16::from_f32(v).to_f32() - v).powi(2);
        r += f64::from(v).powi(2);
    }
    let by_hand = (d / r).sqrt();
    println!("{} samples, rounding adds {by_hand:.2e}", wave.len());
    assert!(by_hand > 1e-5 && (added(input) - by_hand).abs() < 1e-12);
}

#[test]
fn transformers_fit_in_both_forms() {
    for (model, precision) in [("fp32", "half"), ("fp16", "native")] {
        let report = run(&fixtures().join(format!("transformer-flexible/{model}.mlpackage")));
        assert_eq!(report.precision, precision);
        assert!(report.ok && report.failure.is_none());
        let total = report.outputs[0].total.as_ref().unwrap().relative.unwrap();
        assert!((1e-5..1e-2).contains(&total), "{model}: {total}");
        for o in &report.ops {
            let Some(d) = &o.added else { continue };
            let small = d.changed.is_some() || d.relative.unwrap() < 4.0 * ROUNDING;
            assert!(small, "{o:?}");
        }
    }
    let report = run(&fixtures().join("transformer-kv/fp16.mlpackage"));
    assert_eq!(report.steps, 6);
    assert!(report.ok);
    // States carry their error from step to step.
    let states = report.ops.iter().filter(|o| o.op_type == "read_state");
    assert!(states.clone().count() > 0);
    for o in states {
        assert_eq!(o.runs, 6);
        assert!(o.added.is_none() && o.total.as_ref().unwrap().max_abs > 0.0);
    }
}

/// A report for every case in every precision of `of`.
fn reports(cases: &[Case], of: impl Fn(&Case) -> Vec<Option<Precision>>) -> usize {
    let mut count = 0;
    for case in cases {
        for precision in of(case) {
            let report = run_case(case, precision);
            assert!(report.failure.is_none(), "{}: {report:?}", case.name);
            assert!(report.worst.len() <= 10);
            for o in report.ops.iter().filter(|o| o.dtype.starts_with("fp")) {
                // The two ways to count what does not fit agree.
                let magnitude = o.min.unwrap_or(0.0).abs().max(o.max.unwrap_or(0.0).abs());
                let fits = magnitude < 65520.0;
                let rounded = report.precision == "half" || o.dtype == "fp16";
                assert_eq!(o.overflow > 0, rounded && !fits, "{}: {o:?}", case.name);
            }
            serde_json::to_string(&report).unwrap();
            count += 1;
        }
    }
    println!("{count} reports of {} functions", cases.len());
    count
}

#[test]
fn every_fixture_gets_a_report() {
    let both = |_: &Case| vec![Some(Precision::Half), Some(Precision::Native)];
    assert!(reports(&cases(&fixtures()), both) >= 40);
}

#[test]
fn every_shared_model_gets_a_report() {
    if let Some(models) = shared() {
        assert!(reports(&cases(&models), |_| vec![None]) >= 20);
    }
}
