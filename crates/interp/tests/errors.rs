//! Programs that the verifier cannot see through, and inputs, that are wrong:
//! the run ends in an error that names the operation.

#![allow(
    clippy::result_large_err,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking and print what they checked"
)]

mod common;

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use common::Builder;
use milwright_interp::{Options, Session};
use milwright_ir::{
    Arg, ConstData, Constant, DataType, Dim, NoBlobs, Program, TensorData, TensorType, ValueType,
};

/// An operand: a constant, or an input whose sizes the program does not know.
enum Operand {
    Constant(Constant),
    Floats(&'static [usize], Vec<f32>),
    Ints(&'static [usize], Vec<i32>),
}
use Operand::{Floats, Ints};

fn string(text: &str) -> Operand {
    Operand::Constant(Constant::string(text))
}

fn int(value: i32) -> Operand {
    Operand::Constant(Constant::int(value))
}

fn ints(values: &[i32]) -> Operand {
    Operand::Constant(Constant::ints(values))
}

fn float(value: f64) -> Operand {
    Operand::Constant(Constant::float(DataType::Float32, value).unwrap())
}

fn yes() -> Operand {
    Operand::Constant(Constant::bool(true))
}

/// A float input of ones.
fn ones(dims: &'static [usize]) -> Operand {
    Floats(dims, vec![1.0; dims.iter().product()])
}

fn labels(count: u64) -> Operand {
    let ty = ValueType::List {
        element: Box::new(TensorType::scalar(DataType::String).into()),
        length: Dim::Known(count),
    };
    let labels = (0..count).map(|i| Constant::string(format!("class {i}")));
    Operand::Constant(Constant::new(ty, ConstData::List(labels.collect())))
}

type Feed = HashMap<String, Tensor>;

fn arguments<'a>(
    builder: &mut Builder,
    feed: &mut Feed,
    operands: Vec<(&'a str, Vec<Operand>)>,
) -> Vec<(&'a str, Vec<Arg>)> {
    let mut one = |operand: Operand| {
        let (dtype, dims, tensor) = match operand {
            Operand::Constant(constant) => return builder.constant(constant),
            Floats(dims, data) => {
                let tensor = Tensor::from_vec(data, dims, &Device::Cpu);
                (DataType::Float32, dims, tensor)
            }
            Ints(dims, data) => {
                let tensor = Tensor::from_vec(data, dims, &Device::Cpu);
                (DataType::Int32, dims, tensor)
            }
        };
        let name = format!("input_{}", feed.len());
        feed.insert(name.clone(), tensor.unwrap());
        let unknown = vec![Dim::Unknown; dims.len()];
        builder.input(&name, TensorType::new(dtype, unknown))
    };
    operands
        .into_iter()
        .map(|(name, operands)| (name, operands.into_iter().map(&mut one).collect()))
        .collect()
}

fn run(program: &Program, feed: &Feed) -> Result<(), milwright_interp::Error> {
    let options = Options {
        step_limit: 50,
        ..Options::default()
    };
    let mut session = Session::new(program, &NoBlobs, None, options)?;
    session.run(feed).map(|_| ())
}

/// Runs one operation, which must end in an error that names it and has these
/// words.
fn refused(
    opset: &str,
    op: &str,
    outputs: usize,
    operands: Vec<(&str, Vec<Operand>)>,
    words: &[&str],
) {
    let (mut builder, mut feed) = (Builder::new(), Feed::new());
    let arguments = arguments(&mut builder, &mut feed, operands);
    let outputs = builder
        .op(op, arguments, outputs)
        .unwrap_or_else(|e| panic!("{op}: the op table refuses already: {e}"));
    let program = builder.finish(opset, &outputs);
    match run(&program, &feed) {
        Ok(()) => panic!("{op} is not refused"),
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains(&format!("= {op}`")), "{op}: {text}");
            for word in words {
                assert!(text.contains(word), "{op}, {word}: {text}");
            }
        }
    }
}

#[test]
fn indices_out_of_range() {
    let at = |index: i32| Ints(&[2], vec![0, index]);
    for (index, words) in [(3, ["`indices`", "3"]), (-4, ["`indices`", "-4"])] {
        for opset in ["CoreML5", "CoreML6", "CoreML7", "CoreML8"] {
            let x = vec![("x", vec![ones(&[3])]), ("indices", vec![at(index)])];
            refused(opset, "gather", 1, x, &words);
            let x = vec![("x", vec![ones(&[3])]), ("indices", vec![at(index)])];
            refused(opset, "gather_along_axis", 1, x, &words);
            let x = vec![
                ("x", vec![ones(&[3, 3])]),
                ("indices", vec![Ints(&[1, 2], vec![0, index])]),
            ];
            refused(opset, "gather_nd", 1, x, &words);
        }
        for opset in ["CoreML5", "CoreML8"] {
            let x = vec![
                ("data", vec![ones(&[3])]),
                ("indices", vec![at(index)]),
                ("updates", vec![ones(&[2])]),
            ];
            refused(opset, "scatter", 1, x, &words);
        }
    }
    for op in ["gather", "gather_along_axis"] {
        let x = vec![
            ("x", vec![ones(&[3])]),
            ("indices", vec![at(-1)]),
            ("validate_indices", vec![yes()]),
        ];
        refused("CoreML7", op, 1, x, &["`indices`", "-1"]);
    }
    for index in [-1, 3] {
        for op in ["scatter", "scatter_along_axis"] {
            let x = vec![
                ("data", vec![ones(&[3])]),
                ("indices", vec![at(index)]),
                ("updates", vec![ones(&[2])]),
                ("validate_indices", vec![yes()]),
            ];
            refused("CoreML7", op, 1, x, &["`indices`"]);
        }
    }
    let x = vec![
        ("x", vec![ones(&[1, 1, 2, 2])]),
        ("boxes", vec![ones(&[1, 4])]),
        ("box_indices", vec![Ints(&[1], vec![1])]),
    ];
    refused("CoreML7", "crop_resize", 1, x, &["`box_indices`", "1"]);
    let x = vec![
        ("x", vec![ones(&[1, 1, 2, 2])]),
        ("roi", vec![ones(&[1, 1, 5, 1, 1])]),
    ];
    refused("CoreML5", "crop_resize", 1, x, &["`roi`", "1"]);
}

#[test]
fn shapes_that_do_not_go_together() {
    for op in ["add", "mul", "less", "pow"] {
        let x = vec![("x", vec![ones(&[2, 3])]), ("y", vec![ones(&[4])])];
        refused("CoreML5", op, 1, x, &["3", "4"]);
    }
    let x = vec![("x", vec![ones(&[2, 3])]), ("y", vec![ones(&[4, 2])])];
    refused("CoreML5", "matmul", 1, x, &["3", "4"]);
    let x = vec![
        ("x", vec![ones(&[5])]),
        ("shape", vec![Ints(&[2], vec![2, 3])]),
    ];
    refused("CoreML5", "reshape", 1, x, &["5"]);
    let x = vec![
        ("x", vec![ones(&[6])]),
        ("shape", vec![Ints(&[2], vec![-1, 4])]),
    ];
    refused("CoreML5", "reshape", 1, x, &["6"]);
    let x = vec![
        ("values", vec![ones(&[2, 3]), ones(&[2, 4])]),
        ("axis", vec![int(0)]),
        ("interleave", vec![Operand::Constant(Constant::bool(false))]),
    ];
    refused("CoreML5", "concat", 1, x, &["3", "4"]);
    let x = vec![("x", vec![ones(&[2, 1])]), ("axes", vec![ints(&[0])])];
    refused("CoreML5", "squeeze", 1, x, &["`axes`", "2"]);
    let weight = TensorType::fixed(DataType::Float32, &[4, 3, 2]);
    let weight = Constant::tensor(weight, TensorData::Floats(vec![1.0; 24]));
    let x = vec![
        ("x", vec![ones(&[1, 2, 5])]),
        ("weight", vec![Operand::Constant(weight)]),
        ("pad_type", vec![string("valid")]),
    ];
    refused("CoreML5", "conv", 1, x, &["[1, 2, 5]", "[4, 3, 2]"]);
    let x = vec![
        ("query", vec![ones(&[1, 2, 3])]),
        ("key", vec![ones(&[1, 4, 2])]),
        ("value", vec![ones(&[1, 4, 2])]),
    ];
    refused(
        "CoreML8",
        "scaled_dot_product_attention",
        1,
        x,
        &["`query` [1, 2, 3]"],
    );
    let x = vec![
        ("probabilities", vec![ones(&[3])]),
        ("classes", vec![labels(2)]),
    ];
    refused("CoreML5", "classify", 2, x, &["`classes`", "3"]);
    let x = vec![
        ("boxes", vec![ones(&[1, 3, 4])]),
        ("scores", vec![ones(&[1, 2, 1])]),
        ("iou_threshold", vec![float(0.5)]),
        ("score_threshold", vec![float(0.5)]),
        ("max_boxes", vec![int(2)]),
    ];
    refused("CoreML5", "non_maximum_suppression", 4, x, &["`scores`"]);
}

#[test]
fn numbers_without_meaning() {
    let x = vec![("x", vec![ones(&[3])]), ("k", vec![int(4)])];
    refused("CoreML5", "topk", 2, x, &["`k`", "4", "3"]);
    let x = vec![
        ("input", vec![ones(&[3])]),
        ("scale", vec![float(0.0)]),
        ("output_dtype", vec![string("int8")]),
    ];
    refused("CoreML7", "quantize", 1, x, &["`scale`"]);
    let x = vec![
        ("x", vec![Floats(&[1, 2], vec![0.0, 0.0])]),
        ("mode", vec![string("probs")]),
    ];
    refused("CoreML5", "random_categorical", 1, x, &["`x`"]);
    let x = vec![("shape", vec![ints(&[2])]), ("prob", vec![float(1.5)])];
    refused("CoreML5", "random_bernoulli", 1, x, &["`prob`", "1.5"]);
    let x = vec![("shape", vec![Ints(&[2], vec![3, -1])])];
    refused("CoreML5", "random_normal", 1, x, &["`shape`", "-1"]);
    let x = vec![
        ("end", vec![Ints(&[], vec![3])]),
        ("start", vec![Ints(&[], vec![0])]),
        ("step", vec![Ints(&[], vec![0])]),
    ];
    refused("CoreML5", "range_1d", 1, x, &["`step`"]);
}

/// A list of two elements, and an operation on it.
fn list(op: &str, index: i32, dynamic: bool) -> Result<(), milwright_interp::Error> {
    let (mut builder, mut feed) = (Builder::new(), Feed::new());
    let make = vec![
        ("init_length", vec![int(2)]),
        (
            "dynamic_length",
            vec![Operand::Constant(Constant::bool(dynamic))],
        ),
        ("elem_shape", vec![int(3)]),
        ("dtype", vec![string("fp32")]),
    ];
    let make = arguments(&mut builder, &mut feed, make);
    let ls = builder.op("make_list", make, 1).unwrap();
    let operands = match op {
        "list_read" => vec![("index", vec![Ints(&[], vec![index])])],
        "list_gather" => vec![("indices", vec![Ints(&[2], vec![0, index])])],
        "list_write" => vec![
            ("index", vec![Ints(&[], vec![index])]),
            ("value", vec![ones(&[3])]),
        ],
        _ => vec![
            ("indices", vec![Ints(&[1], vec![index])]),
            ("value", vec![ones(&[1, 3])]),
        ],
    };
    let mut operands = arguments(&mut builder, &mut feed, operands);
    operands.push(("ls", ls));
    let outputs = builder.op(op, operands, 1).unwrap();
    let outputs = match op {
        "list_write" | "list_scatter" => {
            let length = builder.op("list_length", vec![("ls", outputs)], 1);
            length.unwrap()
        }
        _ => outputs,
    };
    run(&builder.finish("CoreML5", &outputs), &feed)
}

#[test]
fn lists_are_read_and_written_inside() {
    for op in ["list_read", "list_gather", "list_write", "list_scatter"] {
        let writes = op == "list_write" || op == "list_scatter";
        for (index, dynamic) in [(2, false), (2, true), (-1, true), (i32::MAX, true)] {
            let result = list(op, index, dynamic);
            if writes && dynamic && index == 2 {
                result.unwrap();
                continue;
            }
            let text = result.unwrap_err().to_string();
            assert!(text.contains(&format!("= {op}`")), "{text}");
            assert!(text.contains(&index.to_string()), "{text}");
        }
        list(op, 1, false).unwrap();
    }
}

/// Counts up to `end`, or for ever.
fn loop_to(end: i32) -> Result<(), milwright_interp::Error> {
    let mut builder = Builder::new();
    let start = builder.constant(Constant::int(0));
    let counter = ValueType::from(TensorType::scalar(DataType::Int32));
    let n = builder.open(std::slice::from_ref(&counter));
    let end = builder.constant(Constant::int(end));
    let less = vec![("x", n), ("y", vec![end])];
    let less = builder.op("less", less, 1).unwrap();
    let condition = builder.close(&less);
    let n = builder.open(&[counter]);
    let one = builder.constant(Constant::int(1));
    let next = vec![("x", n), ("y", vec![one])];
    let next = builder.op("add", next, 1).unwrap();
    let body = builder.close(&next);
    let vars = vec![("loop_vars", vec![start])];
    let blocks = vec![condition, body];
    let outputs = builder.op_with_blocks("while_loop", vars, blocks, 1);
    let program = builder.finish("CoreML5", &outputs.unwrap());
    run(&program, &Feed::new())
}

#[test]
fn a_loop_that_does_not_end_is_stopped() {
    loop_to(50).unwrap();
    let text = loop_to(51).unwrap_err().to_string();
    assert!(
        text.contains("= while_loop`") && text.contains("50"),
        "{text}"
    );
}

#[test]
fn inputs_that_do_not_fit() {
    let mut builder = Builder::new();
    let ty = TensorType::new(DataType::Float32, vec![Dim::Unknown, Dim::Known(3)]);
    let x = builder.input("x", ty);
    let y = builder.op("relu", vec![("x", vec![x])], 1).unwrap();
    let program = builder.finish("CoreML5", &y);
    let floats = |dims: &[usize]| {
        let tensor = Tensor::zeros(dims, candle_core::DType::F32, &Device::Cpu);
        Feed::from([("x".to_owned(), tensor.unwrap())])
    };
    run(&program, &floats(&[5, 3])).unwrap();
    let mut other = floats(&[5, 3]);
    other.insert("y".to_owned(), other["x"].clone());
    let integers = Tensor::zeros((5, 3), candle_core::DType::I64, &Device::Cpu).unwrap();
    let integers = Feed::from([("x".to_owned(), integers)]);
    for (feed, name) in [
        (floats(&[5, 4]), "`x`"),
        (floats(&[3]), "`x`"),
        (Feed::new(), "`x`"),
        (other, "`y`"),
        (integers, "`x`"),
    ] {
        let text = run(&program, &feed).unwrap_err().to_string();
        assert!(text.contains(&format!("input {name}")), "{text}");
    }
}
