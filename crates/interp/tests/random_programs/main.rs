//! Random valid programs over all operations: the verifier accepts them, and
//! the interpreter neither panics nor runs on.
//!
//! `MILWRIGHT_SEEDS` is the number of programs (default 3000).

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking and print what they checked"
)]

#[path = "../../../../fixtures/random_programs.rs"]
mod generator;

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use generator::{executable, inputs, program};
use milwright_interp::{
    Agreement, Error, KernelError, Options, Precision, Session, Value, agreement,
};
use milwright_ir::{NoBlobs, Program, Severity, verify};
use rayon::prelude::*;

/// An operation for which the generator has no arguments; no converter writes
/// it.
const LEFT_OUT: [&str; 1] = ["conv_quantized"];

fn seeds() -> u64 {
    let given = std::env::var("MILWRIGHT_SEEDS").ok();
    given.and_then(|n| n.parse().ok()).unwrap_or(3000)
}

/// How a program ended.
enum End {
    Done,
    /// An error that a program may end in, such as an index out of range.
    Refused(String),
}

/// Runs two steps in every precision; `Err` is what a valid program must never show.
fn run(program: &Program, seed: u64) -> Result<End, String> {
    let mut end = End::Done;
    for precision in Precision::ALL {
        let options = Options {
            precision,
            step_limit: 100,
            ..Options::default()
        };
        let mut session = Session::new(program, &NoBlobs, None, options)
            .map_err(|e| format!("no session: {e}"))?;
        let inputs = inputs(program, seed, precision);
        for _ in 0..2 {
            match session.run(&inputs) {
                Ok(outputs) => {
                    for (name, value) in outputs {
                        if let Value::Tensor(t) = value
                            && t.data.flatten_all().is_err()
                        {
                            return Err(format!("{name} cannot be read"));
                        }
                    }
                }
                Err(Error::Op {
                    cause: KernelError::Internal(text),
                    location,
                }) => {
                    return Err(format!("{location}: {text}"));
                }
                Err(error) => {
                    let text = error.to_string();
                    if text.contains("but the program declares") {
                        return Err(format!("inference is wrong: {text}"));
                    }
                    end = End::Refused(text);
                }
            }
        }
    }
    Ok(end)
}

/// The same bits, once a value in double precision has been rounded; NaN is NaN.
fn same(own: &Value, wide: &Value) -> bool {
    let (Value::Tensor(own), Value::Tensor(wide)) = (own, wide) else {
        return true;
    };
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
    if own.dims() != wide.dims() {
        return false;
    }
    let [own, wide] = [own, wide].map(|t| flat(&t.data).to_vec1::<f64>().unwrap());
    own.iter()
        .zip(&wide)
        .all(|(&a, &b)| (a as f32).to_bits() == (b as f32).to_bits() || (a.is_nan() && b.is_nan()))
}

/// Holds what exact kernels give in single precision against what they give in
/// double precision for the same operands. Returns how many were compared.
fn exactness(program: &Program, seed: u64) -> Result<usize, String> {
    let mut compared = 0;
    let mut wrong = None;
    let options = Options {
        step_limit: 100,
        ..Options::default()
    };
    let mut session = Session::new(program, &NoBlobs, None, options).unwrap();
    let mut shadow = session.shadow(Precision::Fp64).unwrap();
    let inputs = inputs(program, seed, Precision::Fp32);
    // A step that ends in an error has compared what came before.
    let _ = session.run_shadowed(&inputs, &mut shadow, &mut |moment| {
        let op_type = &program.ops[moment.op()].op_type;
        if agreement(op_type) != Some(Agreement::Exact) {
            return;
        }
        let Some(Ok(alone)) = moment.alone(Precision::Fp64) else {
            return;
        };
        compared += 1;
        let mut pairs = moment.outputs().into_iter().zip(alone);
        if let Some((own, wide)) = pairs.find(|(own, wide)| !same(own, wide)) {
            wrong.get_or_insert(format!("{op_type} gives {own:?}, in fp64 {wide:?}"));
        }
    });
    wrong.map_or(Ok(compared), Err)
}

#[test]
fn exact_kernels_round_once() {
    let all = executable();
    let results: Vec<Result<usize, String>> = (0..seeds())
        .into_par_iter()
        .map(|seed| {
            let result = exactness(&program(seed, &all), seed);
            result.map_err(|e| format!("seed {seed}: {e}"))
        })
        .collect();
    let failures: Vec<&String> = results.iter().filter_map(|r| r.as_ref().err()).collect();
    let compared: usize = results.iter().filter_map(|r| r.as_ref().ok()).sum();
    println!("{compared} operations compared");
    assert!(
        failures.is_empty(),
        "{} fail: {failures:#?}",
        failures.len()
    );
}

fn describe(program: &Program) -> String {
    let body = program.functions[0].body().unwrap();
    let ops = program.walk(body);
    let lines: Vec<String> = ops
        .into_iter()
        .map(|id| {
            let op = &program.ops[id];
            let inputs: Vec<String> = op
                .inputs
                .iter()
                .map(|(name, args)| format!("{name}: {args:?}"))
                .collect();
            let types: Vec<String> = op
                .outputs
                .iter()
                .map(|&v| program.values[v].ty.to_string())
                .collect();
            let value = op.attribute("val").map(|c| format!("{c:?}"));
            format!(
                "  {} {} {} -> {types:?}",
                program.describe_op(id),
                inputs.join(", "),
                value.unwrap_or_default()
            )
        })
        .collect();
    lines.join("\n")
}

#[test]
fn valid_programs_are_accepted_and_run_without_panic() {
    let all = executable();
    let seeds = seeds();
    let one = |seed: u64| -> (Vec<String>, Result<End, String>) {
        let program = program(seed, &all);
        let body = program.functions[0].body().unwrap();
        let ops = program.walk(body);
        let types: Vec<String> = ops
            .iter()
            .map(|&id| program.ops[id].op_type.clone())
            .collect();
        let found: Vec<String> = verify(&program, &NoBlobs)
            .into_iter()
            .filter(|d| d.severity == Severity::Error)
            .map(|d| format!("{}: {}", d.location, d.message))
            .collect();
        let result = if found.is_empty() {
            let caught = std::panic::catch_unwind(|| run(&program, seed));
            caught.unwrap_or_else(|_| Err("panic".to_owned()))
        } else {
            Err(format!("the verifier objects: {found:?}"))
        };
        let result = result.map_err(|e| format!("seed {seed}: {e}\n{}", describe(&program)));
        (types, result)
    };
    let results: Vec<_> = (0..seeds).into_par_iter().map(one).collect();
    let mut reached: BTreeMap<String, usize> = BTreeMap::new();
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    let mut ops = 0;
    for (types, result) in results {
        ops += types.len();
        for t in types {
            *reached.entry(t).or_default() += 1;
        }
        match result {
            Ok(End::Done) => {}
            Ok(End::Refused(text)) => {
                let text = text.split_once(": ").map_or("", |t| t.1);
                *refused.entry(text.chars().take(60).collect()).or_default() += 1;
            }
            Err(text) => failures.push(text),
        }
    }
    let missed: Vec<&str> = all
        .iter()
        .map(|d| d.name)
        .filter(|name| !reached.contains_key(*name) && !LEFT_OUT.contains(name))
        .collect();
    let ended: usize = refused.values().sum();
    println!(
        "{seeds} programs, {ops} operations of {} types; {ended} ended in an error",
        reached.len()
    );
    if std::env::var_os("MILWRIGHT_SHOW").is_some() {
        println!("{refused:#?}\n{reached:?}");
    }
    let heads: Vec<&str> = failures.iter().filter_map(|f| f.lines().next()).collect();
    assert!(
        failures.is_empty(),
        "{} programs fail:\n{}\nthe first:\n{}",
        failures.len(),
        heads.join("\n"),
        failures[0]
    );
    assert!(missed.is_empty(), "never generated: {missed:?}");
    assert!(
        (ended as u64) < seeds / 4,
        "{ended} of {seeds}: {refused:#?}"
    );
}

#[test]
fn the_same_seed_gives_the_same_program() {
    let all = executable();
    for seed in 0..50 {
        assert_eq!(
            describe(&program(seed, &all)),
            describe(&program(seed, &all))
        );
    }
}
