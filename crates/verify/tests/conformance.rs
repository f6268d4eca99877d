//! Runs the recorded cases of coremltools' own tests, one by one.
//!
//! `MILWRIGHT_CONFORMANCE` names their folder; without it, `../shared/conformance`
//! beside the repository. `MILWRIGHT_CONFORMANCE_REPORT` says where the JSON
//! report goes. With `BLESS=1`, `docs/conformance.tsv` is written anew.
//! `docs/conformance.md` tells what the cases are.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking and print what they checked"
)]

mod cases;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use candle_core::DType;
use cases::{Case, Fit, compare};
use milwright_interp::{Precision, Value};
use milwright_ir::{Arg, Constant, DataType, Op, OpId, Program, TensorData, TensorType, ValueId};
use milwright_verify::{Array, Data};
use rayon::prelude::*;
use serde::Serialize;

/// Why a recorded expectation does not hold.
enum Why {
    /// It was computed from numbers that the model has only rounded to fp16:
    /// double precision is off by up to as much.
    Rounded(f64),
    /// The number that was written down is off by as much.
    Misprint(f64),
    /// The test that was recorded demands an error; it has this in it.
    Error(&'static str),
    /// The documentation excludes the input, so devices decide.
    Undefined,
}

/// Cases that need not pass, at most ten. `docs/conformance.md` proves each.
const EXCEPTIONS: &[(&str, Why)] = &[
    ("ops-0710c6c162", Why::Undefined),
    ("ops-0b4f33bcf9", Why::Rounded(0.002)),
    ("ops-0b8334b090", Why::Rounded(0.0006)),
    ("ops-10fe7602e0", Why::Rounded(0.0015)),
    ("ops-28570ab27b", Why::Misprint(0.0011)),
    ("ops-86b6c6d73e", Why::Error("`indices`")),
    ("ops-8ce421f53e", Why::Rounded(0.002)),
    ("ops-96e3b7ca30", Why::Error("`indices`")),
    ("ops-afb60182b6", Why::Error("`indices`")),
    ("ops-dcbd19c214", Why::Rounded(0.002)),
];

#[derive(Serialize)]
struct Report {
    schema: &'static str,
    cases: usize,
    passed: usize,
    /// Of the passed cases, those that needed a unit in the last place of fp16.
    passed_by_last_place: Vec<String>,
    exceptions: Vec<Failure>,
    failures: Vec<Failure>,
    ops: BTreeMap<String, Count>,
    seconds: f64,
}

#[derive(Serialize)]
struct Failure {
    id: String,
    test: String,
    parameters: String,
    opset: String,
    precision: String,
    ops: Vec<String>,
    reason: String,
}

#[derive(Default, Serialize)]
struct Count {
    cases: usize,
    passed: usize,
}

fn failure(case: &Case, reason: String) -> Failure {
    Failure {
        id: case.about.id.clone(),
        test: case.about.test.clone(),
        parameters: case.about.params.clone(),
        opset: case.about.opset.clone(),
        precision: case.about.precision.clone(),
        ops: case.about.ops.clone(),
        reason,
    }
}

impl Report {
    fn of(mut results: Vec<(Case, Result<Fit, String>)>, seconds: f64) -> Self {
        results.sort_by(|a, b| a.0.about.id.cmp(&b.0.about.id));
        let mut report = Report {
            schema: "milwright-conformance/1",
            cases: results.len(),
            passed: 0,
            passed_by_last_place: Vec::new(),
            exceptions: Vec::new(),
            failures: Vec::new(),
            ops: BTreeMap::new(),
            seconds,
        };
        for (case, result) in results {
            for op in &case.about.ops {
                let count = report.ops.entry(op.clone()).or_default();
                count.cases += 1;
                count.passed += usize::from(result.is_ok());
            }
            let why = EXCEPTIONS.iter().find(|(id, _)| *id == case.about.id);
            match (result, why) {
                (Ok(fit), None) => {
                    report.passed += 1;
                    if fit == Fit::LastPlace {
                        report.passed_by_last_place.push(case.about.id);
                    }
                }
                (Ok(_), Some(_)) => {
                    let reason = "is listed as an exception, but passes".to_owned();
                    report.failures.push(failure(&case, reason));
                }
                (Err(reason), None) => report.failures.push(failure(&case, reason)),
                (Err(reason), Some((_, why))) => match why.holds(&case, &reason) {
                    Ok(()) => report.exceptions.push(failure(&case, reason)),
                    Err(other) => report.failures.push(failure(&case, other)),
                },
            }
        }
        report
    }

    fn counts(&self) -> String {
        let mut text = "op\tcases\tpassed\n".to_owned();
        for (op, count) in &self.ops {
            text += &format!("{op}\t{}\t{}\n", count.cases, count.passed);
        }
        text
    }
}

impl Why {
    /// Checks what the exception says; the case has failed for `reason`.
    fn holds(&self, case: &Case, reason: &str) -> Result<(), String> {
        match self {
            Self::Rounded(off) | Self::Misprint(off) => {
                if case.run_in(Precision::Fp64, &mut |_, _| {}).is_ok() {
                    return Err("passes in double precision".to_owned());
                }
                case.run_within(*off)
            }
            Self::Error(part) if reason.contains(part) => Ok(()),
            Self::Error(_) => Err(format!("fails for another reason: {reason}")),
            Self::Undefined => Ok(()),
        }
    }
}

fn report_path() -> PathBuf {
    std::env::var_os("MILWRIGHT_CONFORMANCE_REPORT").map_or_else(
        || Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance.json"),
        PathBuf::from,
    )
}

#[test]
fn every_recorded_case_passes() {
    let Some(archives) = cases::archives() else {
        return;
    };
    let started = Instant::now();
    let results = archives
        .par_iter()
        .map(|path| {
            let case = Case::open(path);
            let result = case.run(&mut |_, _| {});
            (case, result)
        })
        .collect();
    let report = Report::of(results, started.elapsed().as_secs_f64());
    let path = report_path();
    std::fs::write(&path, serde_json::to_string_pretty(&report).unwrap()).unwrap();
    println!(
        "conformance: {} cases, {} passed ({} of them by a unit in the last place of fp16), {} \
         failed, {} exceptions; {} op types; {:.1} s; {}",
        report.cases,
        report.passed,
        report.passed_by_last_place.len(),
        report.failures.len(),
        report.exceptions.len(),
        report.ops.len(),
        report.seconds,
        path.display()
    );
    let failing: Vec<String> = report
        .failures
        .iter()
        .map(|f| {
            let (ops, precision) = (f.ops.join(","), &f.precision);
            format!("{} [{ops}] {precision}: {}", f.id, f.reason)
        })
        .collect();
    assert!(failing.is_empty(), "failing cases:\n{}", failing.join("\n"));
    assert!(EXCEPTIONS.len() <= 10);
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/conformance.tsv");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&table, report.counts()).unwrap();
    }
    let recorded = std::fs::read_to_string(&table).unwrap();
    // Another folder may have other cases.
    if std::env::var_os("MILWRIGHT_CONFORMANCE").is_none() {
        assert_eq!(recorded, report.counts(), "run this test with BLESS=1");
    }
}

/// Overwrites the tensors of `values` in place.
fn spoil(values: &[Value], number: f64) {
    use candle_core::scalar::Scalar;
    for value in values {
        let tensors = match value {
            Value::Tensor(t) => vec![t],
            Value::List(list) => list.elements.iter().flatten().collect(),
            _ => Vec::new(),
        };
        for t in tensors {
            let scalar = match t.data.dtype() {
                DType::F32 => Scalar::F32(number as f32),
                DType::F64 => Scalar::F64(number),
                DType::I32 => Scalar::I32(number as i32),
                DType::I64 => Scalar::I64(number as i64),
                _ => Scalar::U8(number as u8),
            };
            t.data.const_set(scalar).unwrap();
        }
    }
}

/// A constant of that type, every element `number`; `None` for types that are
/// no floats.
fn constant(ty: &TensorType, number: f32) -> Option<Constant> {
    let count = usize::try_from(ty.elements()?).ok()?;
    let data = match ty.dtype {
        DataType::Float32 => TensorData::Floats(vec![number; count]),
        DataType::Float16 => {
            let bytes = half::f16::from_f32(number).to_le_bytes();
            TensorData::Bytes(bytes.repeat(count).into())
        }
        _ => return None,
    };
    Some(Constant::tensor(ty.clone(), data))
}

/// Breaks operations that no observer sees computed: a constant becomes another
/// constant, and what has no output is left out.
fn sever(program: &mut Program, op_type: &str, number: f32) {
    let broken: Vec<OpId> = program.all_ops();
    let broken: Vec<OpId> = broken
        .into_iter()
        .filter(|&id| program.ops[id].op_type == op_type)
        .collect();
    for id in broken {
        let outputs = program.ops[id].outputs.clone();
        for block in program.live_blocks() {
            let ops = &mut program.block_mut(block).unwrap().ops;
            ops.retain(|&op| op != id || !outputs.is_empty());
        }
        for &output in &outputs {
            let ty = program.values[output].ty.as_tensor();
            let Some(other) = ty.and_then(|ty| constant(ty, number)) else {
                continue;
            };
            if outputs.len() == 1 {
                let mut op = Op::new("const");
                op.attributes = vec![("val".to_owned(), other)];
                op.outputs = outputs.clone();
                program.ops[id] = op;
            } else {
                replace(program, output, &other);
            }
        }
    }
}

fn replace(program: &mut Program, value: ValueId, by: &Constant) {
    for id in program.all_ops() {
        for (_, args) in &mut program.ops[id].inputs {
            for arg in args.iter_mut().filter(|arg| **arg == Arg::Value(value)) {
                *arg = Arg::Const(by.clone());
            }
        }
    }
}

/// Breaks the kernel of one op after the other, and sees a case of it fail.
#[test]
fn a_broken_kernel_is_noticed() {
    let Some(archives) = cases::archives() else {
        return;
    };
    let cases: Vec<Case> = archives.par_iter().map(|p| Case::open(p)).collect();
    let passing: Vec<&Case> = cases
        .iter()
        .filter(|c| EXCEPTIONS.iter().all(|(id, _)| *id != c.about.id))
        .collect();
    let ops: BTreeSet<&str> = passing
        .iter()
        .flat_map(|c| c.about.ops.iter().map(String::as_str))
        .collect();
    let by_edit = AtomicUsize::new(0);
    let is_noticed = |op: &str, case: &Case, number: f64| {
        let program = case.model.program();
        let mut reached = false;
        let broken = case.run(&mut |id, values| {
            if program.ops[id].op_type == op && !values.is_empty() {
                reached = true;
                spoil(values, number);
            }
        });
        if reached {
            return broken.is_err();
        }
        by_edit.fetch_add(1, Ordering::Relaxed);
        let mut case = case.again();
        sever(case.model.program_mut(), op, number as f32);
        case.run(&mut |_, _| {}).is_err()
    };
    let unnoticed: Vec<&str> = ops
        .par_iter()
        .copied()
        .filter(|&op| {
            let mut own = passing
                .iter()
                .filter(|c| c.about.ops.iter().any(|o| o == op));
            // A result may well be the one or the other.
            !own.any(|case| is_noticed(op, case, 77.0) || is_noticed(op, case, 0.0))
        })
        .collect();
    println!(
        "{} op types broken, {} noticed; {} runs of an edited program",
        ops.len(),
        ops.len() - unnoticed.len(),
        by_edit.into_inner()
    );
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
}

#[test]
fn the_comparison_tells_differences() {
    let array = |shape: &[usize], data: Vec<f64>| Array::new(shape.to_vec(), data.into()).unwrap();
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let expected = array(&[2, 2], vec![1.0, -200.0, nan, inf]);
    let close = array(&[2, 2], vec![1.1, -201.0, nan, inf]);
    assert!(compare(&close, &expected, |e| 0.1001 + 0.0051 * e.abs()).is_ok());
    assert!(compare(&close, &expected, |_| 0.09).is_err());
    for wrong in [
        array(&[2, 2], vec![1.0, -200.0, 0.0, inf]),
        array(&[2, 2], vec![1.0, nan, nan, inf]),
        array(&[2, 2], vec![1.0, -200.0, nan, -inf]),
        array(&[2, 2], vec![1.0, -200.0, nan, 1e300]),
        array(&[4], vec![1.0, -200.0, nan, inf]),
        array(&[2, 1], vec![1.0, -200.0]),
    ] {
        let bound = |e: f64| 1.0 + e.abs();
        assert!(compare(&wrong, &expected, bound).is_err(), "{wrong:?}");
    }
    let bools = Array::new(vec![2], Data::Bool(vec![true, false])).unwrap();
    assert!(compare(&bools, &array(&[2], vec![1.0, 0.0]), |_| 0.0).is_ok());
    assert!(compare(&bools, &array(&[2], vec![1.0, 1.0]), |_| 0.4).is_err());
}
