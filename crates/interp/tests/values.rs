//! Operations whose values are no tensors, or differ from draw to draw: lists,
//! classes, random tensors.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking and print what they checked"
)]

mod common;

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use common::Builder;
use milwright_interp::{Agreement, Label, Options, Precision, Session, Value, agreement};
use milwright_ir::{
    Arg, ConstData, Constant, DataType, Dim, NoBlobs, Program, TensorData, TensorType, ValueType,
};

fn session(program: &Program, precision: Precision) -> Session<'_> {
    let options = Options {
        precision,
        ..Options::default()
    };
    Session::new(program, &NoBlobs, None, options).unwrap()
}

fn floats(value: &Value) -> Vec<f64> {
    let Value::Tensor(t) = value else {
        panic!("{value:?}")
    };
    let wide = t.data.to_dtype(DType::F64).unwrap();
    wide.flatten_all().unwrap().to_vec1().unwrap()
}

fn vector(values: &[f32]) -> Constant {
    let ty = TensorType::fixed(DataType::Float32, &[values.len() as u64]);
    Constant::tensor(ty, TensorData::Floats(values.to_vec()))
}

/// A list of one zero vector, to which a loop writes `round * [1, 2]` behind
/// the end, three times.
#[test]
fn a_loop_fills_a_list() {
    let mut b = Builder::new();
    let constants = [
        Constant::int(1),
        Constant::bool(true),
        Constant::int(2),
        Constant::string("fp32"),
    ];
    let [length, dynamic, size, dtype] = constants.map(|c| b.constant(c));
    let make = vec![
        ("init_length", vec![length]),
        ("dynamic_length", vec![dynamic]),
        ("elem_shape", vec![size]),
        ("dtype", vec![dtype]),
    ];
    let list = b.op("make_list", make, 1).unwrap();
    let start = b.constant(Constant::int(0));
    let types = [
        TensorType::scalar(DataType::Int32).into(),
        ValueType::List {
            element: Box::new(TensorType::fixed(DataType::Float32, &[2]).into()),
            length: Dim::Unknown,
        },
    ];
    let vars = b.open(&types);
    let end = b.constant(Constant::int(3));
    let less = vec![("x", vec![vars[0].clone()]), ("y", vec![end])];
    let less = b.op("less", less, 1).unwrap();
    let condition = b.close(&less);
    let vars = b.open(&types);
    let one = b.constant(Constant::int(1));
    let next = vec![("x", vec![vars[0].clone()]), ("y", vec![one])];
    let next = b.op("add", next, 1).unwrap();
    let word = b.constant(Constant::string("fp32"));
    let round = vec![("x", next.clone()), ("dtype", vec![word])];
    let round = b.op("cast", round, 1).unwrap();
    let step = b.constant(vector(&[1.0, 2.0]));
    let value = b
        .op("mul", vec![("x", round), ("y", vec![step])], 1)
        .unwrap();
    let write = vec![
        ("ls", vec![vars[1].clone()]),
        ("index", next.clone()),
        ("value", value),
    ];
    let written = b.op("list_write", write, 1).unwrap();
    let body = b.close(&[next[0].clone(), written[0].clone()]);
    let vars = vec![("loop_vars", vec![start, list[0].clone()])];
    let made = b
        .op_with_blocks("while_loop", vars, vec![condition, body], 2)
        .unwrap();
    let list = made[1].clone();
    let indices = b.constant(Constant::ints(&[3, 0]));
    let value = Constant::tensor(
        TensorType::fixed(DataType::Float32, &[2, 2]),
        TensorData::Floats(vec![7.0, 8.0, 9.0, 10.0]),
    );
    let value = b.constant(value);
    let scatter = vec![
        ("ls", vec![list.clone()]),
        ("indices", vec![indices]),
        ("value", vec![value]),
    ];
    let scattered = b.op("list_scatter", scatter, 1).unwrap();
    let order = b.constant(Constant::ints(&[3, 1, 0, 2]));
    let gather = vec![("ls", scattered), ("indices", vec![order])];
    let gathered = b.op("list_gather", gather, 1).unwrap();
    let length = b
        .op("list_length", vec![("ls", vec![list.clone()])], 1)
        .unwrap();
    let last = b.constant(Constant::int(3));
    let read = vec![("ls", vec![list]), ("index", vec![last])];
    let read = b.op("list_read", read, 1).unwrap();
    let outputs: Vec<Arg> = [gathered, length, read].concat();
    let program = b.finish("CoreML5", &outputs);
    for precision in Precision::ALL {
        // Twice: a step begins with a new list.
        let mut session = session(&program, precision);
        for _ in 0..2 {
            let out = session.run(&HashMap::new()).unwrap();
            let gathered = [7.0, 8.0, 1.0, 2.0, 9.0, 10.0, 2.0, 4.0];
            assert_eq!(floats(&out[0].1), gathered);
            assert_eq!(floats(&out[1].1), [4.0]);
            assert_eq!(floats(&out[2].1), [3.0, 6.0]);
        }
    }
}

fn classify(classes: Vec<Constant>, shares: &[f32]) -> (Value, Value) {
    let mut b = Builder::new();
    let count = classes.len() as u64;
    let element = classes[0].ty.clone();
    let ty = ValueType::List {
        element: Box::new(element),
        length: Dim::Known(count),
    };
    let classes = b.constant(Constant::new(ty, ConstData::List(classes)));
    let shape = TensorType::fixed(DataType::Float32, &[1, count]);
    let x = b.input("probabilities", shape);
    let operands = vec![("probabilities", vec![x]), ("classes", vec![classes])];
    let outputs = b.op("classify", operands, 2).unwrap();
    let program = b.finish("CoreML5", &outputs);
    let x = Tensor::from_vec(shares.to_vec(), (1, shares.len()), &Device::Cpu).unwrap();
    let feed = HashMap::from([("probabilities".to_owned(), x)]);
    let mut outputs = session(&program, Precision::Fp32).run(&feed).unwrap();
    let dict = outputs.pop().unwrap().1;
    (outputs.pop().unwrap().1, dict)
}

#[test]
fn the_class_of_the_highest_probability() {
    let words = ["cat", "dog", "eel"].map(Constant::string).to_vec();
    let (class, dict) = classify(words, &[0.25, 0.5, 0.5]);
    assert!(matches!(class, Value::Strings(s) if s == ["dog"]));
    let Value::Dict(entries) = dict else {
        panic!("{dict:?}")
    };
    let text = |t: &str| Label::Text(t.to_owned());
    assert_eq!(
        entries,
        [(text("cat"), 0.25), (text("dog"), 0.5), (text("eel"), 0.5)]
    );
    let number = |n| {
        let ty = TensorType::scalar(DataType::Int64);
        Constant::tensor(ty, TensorData::LongInts(vec![n]))
    };
    let (class, dict) = classify(vec![number(1 << 40), number(-7)], &[f32::NAN, 0.125]);
    assert!(matches!(&class, Value::Tensor(t) if t.dtype == DataType::Int64));
    assert_eq!(floats(&class), [-7.0]);
    let Value::Dict(entries) = dict else {
        panic!("{dict:?}")
    };
    assert_eq!(entries[1], (Label::Number(-7), 0.125));
    assert!(entries[0].1.is_nan());
}

/// A random operation, alone in a program.
fn random(op: &str, seed: Option<i32>, params: Vec<(&str, Constant)>) -> Program {
    let mut b = Builder::new();
    let seed = seed.map(|s| ("seed", Constant::int(s)));
    let operands = params
        .into_iter()
        .chain(seed)
        .map(|(name, constant)| (name, vec![b.constant(constant)]))
        .collect();
    let outputs = b.op(op, operands, 1).unwrap();
    b.finish("CoreML5", &outputs)
}

fn float(value: f64) -> Constant {
    Constant::float(DataType::Float32, value).unwrap()
}

const COUNT: i32 = 20_000;

fn draw(session: &mut Session<'_>) -> Vec<f64> {
    floats(&session.run(&HashMap::new()).unwrap()[0].1)
}

/// Every random operation with the mean and the deviation that it must have.
fn all_random(seed: Option<i32>) -> Vec<(Program, f64, f64)> {
    let shape = || ("shape", Constant::ints(&[COUNT / 4, 2, 2]));
    let share = vec![("prob", float(0.125)), shape()];
    let normal = vec![("mean", float(3.0)), ("stddev", float(0.5)), shape()];
    let range = vec![("low", float(-1.0)), ("high", float(5.0)), shape()];
    // Mean and square of 0, 1, 2 by their shares.
    let classes = vec![
        ("x", vector(&[0.5, 0.25, 0.25])),
        ("mode", Constant::string("probs")),
        ("size", Constant::int(COUNT)),
    ];
    vec![
        (
            random("random_bernoulli", seed, share),
            0.125,
            (0.125f64 * 0.875).sqrt(),
        ),
        (random("random_normal", seed, normal), 3.0, 0.5),
        (random("random_uniform", seed, range), 2.0, 3f64.sqrt()),
        (
            random("random_categorical", seed, classes),
            0.75,
            (1.25f64 - 0.75 * 0.75).sqrt(),
        ),
    ]
}

#[test]
fn random_tensors_have_their_distribution() {
    let mut checked = 0;
    for seed in [None, Some(1), Some(77)] {
        for (program, mean, deviation) in all_random(seed) {
            let mut session = session(&program, Precision::Fp32);
            let drawn = draw(&mut session);
            assert_eq!(drawn.len(), COUNT as usize);
            let found = drawn.iter().sum::<f64>() / drawn.len() as f64;
            let squares = drawn.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
            let spread = (squares / drawn.len() as f64).sqrt();
            // Five standard errors.
            let error = 5.0 * deviation / f64::from(COUNT).sqrt();
            assert!((found - mean).abs() < error, "{found} is not {mean}");
            assert!(
                (spread / deviation - 1.0).abs() < 0.06,
                "{spread}, {deviation}"
            );
            checked += 1;
        }
    }
    println!("{checked} distributions");
}

#[test]
fn random_tensors_repeat_from_run_to_run_but_not_from_step_to_step() {
    let [first, second] = [Some(1), Some(2)].map(all_random);
    for seed in [None, Some(5)] {
        for (program, ..) in all_random(seed) {
            let mut one = session(&program, Precision::Fp32);
            let steps = [draw(&mut one), draw(&mut one)];
            assert_ne!(steps[0], steps[1]);
            let mut other = session(&program, Precision::Fp32);
            assert_eq!([draw(&mut other), draw(&mut other)], steps);
            other.reset_state().unwrap();
            assert_eq!(draw(&mut other), steps[0]);
            // Another precision holds the same numbers.
            let wide = draw(&mut session(&program, Precision::Fp64));
            let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-5;
            assert!(wide.iter().zip(&steps[0]).all(near));
        }
    }
    for ((a, ..), (b, ..)) in first.iter().zip(&second) {
        assert_ne!(
            draw(&mut session(a, Precision::Fp32)),
            draw(&mut session(b, Precision::Fp32))
        );
    }
}

#[test]
fn every_operation_says_how_exactly_it_agrees() {
    let mut counts = HashMap::<&str, usize>::new();
    for def in milwright_ir::ops::all() {
        assert_eq!(
            agreement(def.name).is_some(),
            milwright_interp::is_executable(def.name)
        );
        let agreement = agreement(def.name).unwrap_or_else(|| panic!("{} has no kernel", def.name));
        let random = def.name.starts_with("random_");
        assert_eq!(agreement == Agreement::Random, random, "{}", def.name);
        *counts.entry(agreement.name()).or_default() += 1;
    }
    println!("{counts:?}");
}
