//! Types of values at given input shapes, on programs made by hand. How they
//! agree with runs of whole models is tested where models can be run.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking and print what they checked"
)]

#[path = "../../interp/tests/common/mod.rs"]
mod common;

use std::time::Instant;

use common::Builder;
use milwright_ir::features::{
    ArrayFeature, ColorSpace, Feature, FeatureKind, Flexibility, ImageFeature, Signature,
};
use milwright_ir::sizes::{Corner, Shapes, corners, default_shapes, shapes_at};
use milwright_ir::{
    Arg, Constant, DataType, Dim, Error, NoBlobs, Program, Sizes, TensorType, ValueId, ValueType,
};

const F32: DataType = DataType::Float32;

fn flexible(dtype: DataType, sizes: &[u64]) -> TensorType {
    let dims = sizes.iter().map(|&n| match n {
        0 => Dim::Unknown,
        n => Dim::Known(n),
    });
    TensorType::new(dtype, dims.collect::<Vec<Dim>>())
}

fn shapes(given: &[(&str, &[u64])]) -> Shapes {
    let given = given.iter();
    given.map(|(n, s)| ((*n).to_owned(), s.to_vec())).collect()
}

fn sizes(program: &Program, given: &[(&str, &[u64])]) -> Result<Sizes, Error> {
    Sizes::of(program, &program.functions[0], &NoBlobs, &shapes(given))
}

fn id(arg: &Arg) -> ValueId {
    match arg {
        Arg::Value(id) => *id,
        Arg::Const(_) => panic!("a value"),
    }
}

fn text(sizes: &Sizes, arg: &Arg) -> String {
    let ty = sizes.tensor(id(arg)).unwrap();
    format!("{}{}", ty.dtype, milwright_ir::ShapeDisplay(&ty.shape))
}

fn ints(sizes: &Sizes, arg: &Arg) -> Option<Vec<i64>> {
    Some(sizes.constant(id(arg))?.to_i64s(&NoBlobs).unwrap())
}

/// A builder whose operations have one output and cannot fail.
struct Graph(Builder);

impl Graph {
    fn new() -> Self {
        Self(Builder::new())
    }

    fn op(&mut self, op_type: &str, inputs: &[(&str, &[Arg])]) -> Arg {
        let inputs = inputs.iter().map(|(n, a)| (*n, a.to_vec())).collect();
        self.0.op(op_type, inputs, 1).unwrap().remove(0)
    }

    fn ints(&mut self, values: &[i32]) -> Arg {
        self.0.constant(Constant::ints(values))
    }

    fn int(&mut self, value: i32) -> Arg {
        self.0.constant(Constant::int(value))
    }

    fn float(&mut self, dtype: DataType, value: f64) -> Arg {
        self.0.constant(Constant::float(dtype, value).unwrap())
    }

    fn pair(&mut self, op_type: &str, x: &Arg, y: &Arg) -> Arg {
        self.op(
            op_type,
            &[
                ("x", std::slice::from_ref(x)),
                ("y", std::slice::from_ref(y)),
            ],
        )
    }

    fn cast(&mut self, x: &Arg, dtype: &str) -> Arg {
        let dtype = self.0.constant(Constant::string(dtype));
        self.op(
            "cast",
            &[("x", std::slice::from_ref(x)), ("dtype", &[dtype])],
        )
    }

    /// The size of dimension `axis` of `x`, as a scalar.
    fn size(&mut self, x: &Arg, axis: i32) -> Arg {
        let shape = self.op("shape", &[("x", std::slice::from_ref(x))]);
        let (axis, zero) = (self.int(axis), self.int(0));
        let inputs: [(&str, &[Arg]); 3] =
            [("x", &[shape]), ("indices", &[axis]), ("axis", &[zero])];
        self.op("gather", &inputs)
    }

    fn concat(&mut self, values: &[Arg]) -> Arg {
        let (axis, interleave) = (self.int(0), self.0.constant(Constant::bool(false)));
        let inputs: [(&str, &[Arg]); 3] = [
            ("values", values),
            ("axis", &[axis]),
            ("interleave", &[interleave]),
        ];
        self.op("concat", &inputs)
    }

    fn reshape(&mut self, x: &Arg, shape: &Arg) -> Arg {
        self.op(
            "reshape",
            &[
                ("x", std::slice::from_ref(x)),
                ("shape", std::slice::from_ref(shape)),
            ],
        )
    }
}

#[test]
fn a_shape_that_the_program_computes_is_known() {
    let mut g = Graph::new();
    let x = g.0.input("x", flexible(F32, &[0, 10, 64]));
    let batch = g.size(&x, 0);
    let rest = g.int(640);
    let shape = g.concat(&[batch.clone(), rest]);
    let flat = g.reshape(&x, &shape);
    // Half of the batch, by way of floats.
    let wide = g.cast(&batch, "fp32");
    let half = g.float(F32, 0.5);
    let half = g.pair("mul", &wide, &half);
    let half = g.op("floor", &[("x", &[half])]);
    let half = g.cast(&half, "int32");
    let (zero, one) = (g.int(0), g.int(1));
    let range = g.op(
        "range_1d",
        &[
            ("end", std::slice::from_ref(&half)),
            ("start", &[zero]),
            ("step", &[one]),
        ],
    );
    // Rows 1.. of `flat`.
    let (begin, end) = (g.ints(&[1, 0]), g.concat(&[batch.clone(), half.clone()]));
    let mask = g.0.constant(Constant::bools(&[false, false]));
    let sliced = g.op(
        "slice_by_index",
        &[
            ("x", std::slice::from_ref(&flat)),
            ("begin", &[begin]),
            ("end", &[end]),
            ("begin_mask", &[mask]),
        ],
    );
    let program =
        g.0.finish("CoreML7", &[flat.clone(), range.clone(), sliced.clone()]);

    let at = sizes(&program, &[("x", &[7, 10, 64])]).unwrap();
    assert_eq!(text(&at, &flat), "fp32[7, 640]");
    assert_eq!(text(&at, &range), "int32[3]");
    assert_eq!(ints(&at, &range), Some(vec![0, 1, 2]));
    assert_eq!(text(&at, &sliced), "fp32[6, 3]");
    assert_eq!(ints(&at, &shape), Some(vec![7, 640]));

    // Nothing is said of the batch: nothing is known of it.
    let open = sizes(&program, &[]).unwrap();
    assert_eq!(text(&open, &flat), "fp32[?, ?]");
    assert_eq!(text(&open, &range), "int32[?]");
    assert_eq!(ints(&open, &shape), None);
}

#[test]
fn an_element_is_known_beside_one_that_is_not() {
    let mut g = Graph::new();
    let x = g.0.input("x", flexible(F32, &[0, 8, 4]));
    let shape = g.op("shape", &[("x", std::slice::from_ref(&x))]);
    let doubled = g.pair("add", &shape, &shape);
    let (index, axis) = (g.int(-2), g.int(0));
    let inner = g.op(
        "gather",
        &[("x", &[doubled]), ("indices", &[index]), ("axis", &[axis])],
    );
    let program = g.0.finish("CoreML7", std::slice::from_ref(&inner));
    let at = sizes(&program, &[]).unwrap();
    assert_eq!(ints(&at, &inner), Some(vec![16]));
}

#[test]
fn what_would_be_rounded_is_unknown() {
    for (dtype, name, size, wanted) in [
        (DataType::Float16, "fp16", 3001, None),
        (DataType::Float16, "fp16", 3000, Some(1500)),
        (F32, "fp32", 3001, Some(1500)),
        (F32, "fp32", (1 << 24) + 1, None),
    ] {
        let mut g = Graph::new();
        let x = g.0.input("x", flexible(F32, &[0]));
        let n = g.size(&x, 0);
        let wide = g.cast(&n, name);
        let half = g.float(dtype, 0.5);
        let half = g.pair("mul", &wide, &half);
        let half = g.cast(&half, "int32");
        let program = g.0.finish("CoreML7", std::slice::from_ref(&half));
        let at = sizes(&program, &[("x", &[size])]).unwrap();
        assert_eq!(
            ints(&at, &half),
            wanted.map(|n| vec![n]),
            "{size} in {name}"
        );
    }
}

#[test]
fn every_arithmetic_is_that_of_integers() {
    let mut checked = 0;
    type Arithmetic = fn(i64, i64) -> Option<i64>;
    let table: [(&str, Arithmetic); 8] = [
        ("add", |a, b| Some(a + b)),
        ("sub", |a, b| Some(a - b)),
        ("mul", |a, b| Some(a * b)),
        ("floor_div", |a, b| {
            (b != 0).then(|| (a as f64 / b as f64).floor() as i64)
        }),
        ("real_div", |a, b| a.checked_div(b)),
        ("mod", |a, b| {
            (b != 0).then(|| a - (a as f64 / b as f64).floor() as i64 * b)
        }),
        ("maximum", |a, b| Some(a.max(b))),
        ("minimum", |a, b| Some(a.min(b))),
    ];
    for (op, wanted) in table {
        for size in [1u64, 2, 7, 12] {
            for other in [-5, -1, 0, 1, 3, 12] {
                for swapped in [false, true] {
                    let mut g = Graph::new();
                    let x = g.0.input("x", flexible(F32, &[0]));
                    let n = g.size(&x, 0);
                    let c = g.int(other);
                    let (a, b) = if swapped { (&c, &n) } else { (&n, &c) };
                    let result = g.pair(op, a, b);
                    let program = g.0.finish("CoreML7", std::slice::from_ref(&result));
                    let at = sizes(&program, &[("x", &[size])]).unwrap();
                    let (size, other) = (size as i64, i64::from(other));
                    let (a, b) = if swapped {
                        (other, size)
                    } else {
                        (size, other)
                    };
                    let found = ints(&at, &result).map(|v| v[0]);
                    assert_eq!(found, wanted(a, b), "{op} {a} {b}");
                    checked += 1;
                }
            }
        }
    }
    println!("{checked} results");
}

#[test]
fn what_does_not_fit_is_an_error_with_its_place() {
    let mut g = Graph::new();
    let x = g.0.input("x", flexible(F32, &[1, 0]));
    let shape = g.ints(&[5, 2]);
    let y = g.reshape(&x, &shape);
    let program = g.0.finish("CoreML7", &[y]);
    assert!(sizes(&program, &[("x", &[1, 10])]).is_ok());
    let wrong = |given: &[(&str, &[u64])], wanted: &[&str]| {
        let error = sizes(&program, given).unwrap_err();
        let message = error.to_string();
        for part in wanted {
            assert!(message.contains(part), "{message:?} has no {part:?}");
        }
        match error {
            Error::Shapes { op, .. } => op,
            other => panic!("{other}"),
        }
    };
    let op = wrong(
        &[("x", &[1, 12])],
        &[
            "function `main`",
            "out_0 = reshape",
            "12 elements",
            "[5, 2]",
        ],
    );
    assert_eq!(op, program.all_ops().last().copied());
    assert_eq!(wrong(&[("x", &[2, 10])], &["\"x\"", "[2, 10]"]), None);
    assert_eq!(wrong(&[("x", &[10])], &["\"x\"", "[10]"]), None);
    assert_eq!(wrong(&[("z", &[1, 10])], &["\"z\"", "there are: x"]), None);
    assert!(wrong(&[("x", &[1, u64::MAX])], &["reshape"]).is_some());
}

#[test]
fn sizes_that_no_machine_can_hold_are_errors() {
    let mut g = Graph::new();
    let x = g.0.input("x", flexible(F32, &[0, 0]));
    let n = g.size(&x, 0);
    let square = g.pair("mul", &n, &n);
    let reps = g.concat(&[square.clone(), n]);
    let tiled = g.op(
        "tile",
        &[("x", std::slice::from_ref(&x)), ("reps", &[reps])],
    );
    let program = g.0.finish("CoreML7", std::slice::from_ref(&tiled));
    let at = sizes(&program, &[("x", &[30_000, 2])]).unwrap();
    assert_eq!(text(&at, &tiled), "fp32[27000000000000, 60000]");
    // The square is beyond int32: what a runtime makes of it, nobody knows.
    let at = sizes(&program, &[("x", &[100_000, 2])]).unwrap();
    assert_eq!(ints(&at, &square), None);
    assert_eq!(text(&at, &tiled), "fp32[?, ?]");
    let at = sizes(&program, &[("x", &[u64::MAX, u64::MAX])]).unwrap();
    assert_eq!(text(&at, &tiled), "fp32[?, ?]");
}

/// `x` is flattened if it has more than 5 rows, else its first 3 are taken.
fn branches() -> (Program, Arg, Arg) {
    let mut g = Graph::new();
    let x = g.0.input("x", flexible(F32, &[0, 2]));
    let flag = g.0.input("flag", flexible(DataType::Bool, &[1]));
    let (n, five) = (g.size(&x, 0), g.int(5));
    let long = g.pair("greater", &n, &five);
    let flag = {
        let axes = g.ints(&[0]);
        g.op("squeeze", &[("x", &[flag]), ("axes", &[axes])])
    };
    let mut choose = |pred: &Arg| {
        g.0.open(&[]);
        let shape = g.ints(&[3, 4]);
        let square = g.reshape(&x, &shape);
        let then = g.0.close(&[square]);
        g.0.open(&[]);
        let (begin, size) = (g.ints(&[0, 0]), g.ints(&[3, 2]));
        let first = g.op(
            "slice_by_size",
            &[
                ("x", std::slice::from_ref(&x)),
                ("begin", &[begin]),
                ("size", &[size]),
            ],
        );
        let otherwise = g.0.close(&[first]);
        let inputs = vec![("pred", vec![pred.clone()])];
        g.0.op_with_blocks("cond", inputs, vec![then, otherwise], 1)
            .unwrap()
            .remove(0)
    };
    let known = choose(&long);
    let unknown = choose(&flag);
    let program = g.0.finish("CoreML7", &[known.clone(), unknown.clone()]);
    (program, known, unknown)
}

#[test]
fn a_branch_that_is_taken_gives_its_sizes() {
    let (program, known, unknown) = branches();
    let at = |rows| sizes(&program, &[("x", &[rows, 2])]);
    let long = at(6).unwrap();
    assert_eq!(text(&long, &known), "fp32[3, 4]");
    assert_eq!(text(&long, &unknown), "fp32[3, ?]");
    // The other branch cannot take 4 rows, but is not taken.
    let short = at(4).unwrap();
    assert_eq!(text(&short, &known), "fp32[3, 2]");
    assert_eq!(text(&short, &unknown), "fp32[3, ?]");
    // Here the one that is taken cannot.
    let error = at(7).unwrap_err().to_string();
    assert!(error.contains("reshape"), "{error}");
}

#[test]
fn a_loop_keeps_the_sizes_that_stay() {
    let mut g = Graph::new();
    let open = flexible(F32, &[0, 4]);
    let x = g.0.input("x", open.clone());
    let count = g.int(0);
    let int = ValueType::from(TensorType::scalar(DataType::Int32));
    let vars = [int, open.clone().into(), open.clone().into(), open.into()];
    let limit = g.int(3);
    let condition = {
        let inside = g.0.open(&vars);
        let less = g.pair("less", &inside[0], &limit);
        g.0.close(&[less])
    };
    let body = {
        let inside = g.0.open(&vars);
        let one = g.int(1);
        let next = g.pair("add", &inside[0], &one);
        let stays = g.op("relu", &[("x", &[inside[1].clone()])]);
        let grows = g.concat(&[inside[2].clone(), inside[1].clone()]);
        // Known in the first round, and no more in the third.
        let follows = g.op("relu", &[("x", &[inside[2].clone()])]);
        g.0.close(&[next, stays, grows, follows])
    };
    let inputs = vec![("loop_vars", vec![count, x.clone(), x.clone(), x])];
    let outputs =
        g.0.op_with_blocks("while_loop", inputs, vec![condition, body], 4);
    let outputs = outputs.unwrap();
    let program = g.0.finish("CoreML7", &outputs);
    let at = sizes(&program, &[("x", &[5, 4])]).unwrap();
    let found: Vec<String> = outputs.iter().map(|o| text(&at, o)).collect();
    assert_eq!(found, ["int32[]", "fp32[5, 4]", "fp32[?, 4]", "fp32[?, 4]"]);
    assert_eq!(ints(&at, &outputs[0]), None);
}

#[test]
fn time_is_linear() {
    let mut g = Graph::new();
    let x = g.0.input("x", flexible(F32, &[0, 64]));
    let mut y = x;
    for _ in 0..1200 {
        let n = g.size(&y, 0);
        let rest = g.int(64);
        let shape = g.concat(&[n, rest]);
        y = g.reshape(&y, &shape);
    }
    let program = g.0.finish("CoreML7", &[y.clone()]);
    let ops = program.all_ops().len();
    assert!(ops > 10_000, "{ops}");
    let started = Instant::now();
    let at = sizes(&program, &[("x", &[9, 64])]).unwrap();
    let seconds = started.elapsed().as_secs_f64();
    println!("{ops} operations in {seconds:.3} s");
    assert_eq!(text(&at, &y), "fp32[9, 64]");
    assert!(seconds < 5.0);
}

fn feature(name: &str, kind: FeatureKind) -> Feature {
    Feature {
        name: name.to_owned(),
        description: String::new(),
        kind,
        optional: false,
    }
}

fn array(shape: &[u64], flexibility: Flexibility) -> FeatureKind {
    FeatureKind::Array(ArrayFeature {
        dtype: Some(F32),
        shape: shape.to_vec(),
        flexibility,
        default: None,
    })
}

fn signature(inputs: Vec<Feature>) -> Signature {
    Signature {
        function: "main".to_owned(),
        inputs,
        ..Signature::default()
    }
}

#[test]
fn a_description_has_corners() {
    let image = FeatureKind::Image(ImageFeature {
        color: ColorSpace::Rgb,
        width: 20,
        height: 10,
        flexibility: Flexibility::Ranges(vec![(5, Some(50)), (6, Some(60))]),
    });
    let listed = Flexibility::Enumerated(vec![vec![1, 4], vec![2, 4], vec![3, 4]]);
    let ranged = Flexibility::Ranges(vec![(1, Some(8)), (4, Some(4))]);
    let mut mixed = signature(vec![
        feature("a", array(&[2, 4], listed)),
        feature("b", array(&[3, 4], ranged)),
        feature("i", image),
        feature("n", FeatureKind::Int64),
        feature("open", array(&[], Flexibility::Fixed)),
    ]);
    let default = [("a", &[2, 4][..]), ("b", &[3, 4]), ("i", &[1, 3, 10, 20])];
    assert_eq!(default_shapes(&mixed), shapes(&default));
    let upper = [("a", &[2, 4][..]), ("b", &[8, 4]), ("i", &[1, 3, 50, 60])];
    assert_eq!(shapes_at(&mixed, Corner::Upper), Some(shapes(&upper)));
    let third = [("a", &[3, 4][..]), ("b", &[3, 4]), ("i", &[1, 3, 10, 20])];
    assert_eq!(
        shapes_at(&mixed, Corner::Enumerated(2)),
        Some(shapes(&third))
    );
    assert_eq!(shapes_at(&mixed, Corner::Enumerated(3)), None);
    let found: Vec<String> = corners(&mixed).iter().map(|(c, _)| c.to_string()).collect();
    // The second enumerated shape is the default.
    assert_eq!(
        found,
        [
            "default shapes",
            "lower bounds",
            "upper bounds",
            "enumerated shapes 0",
            "enumerated shapes 2"
        ]
    );
    let unbounded = Flexibility::Ranges(vec![(1, None)]);
    mixed.inputs = vec![feature("x", array(&[], unbounded))];
    assert_eq!(default_shapes(&mixed), shapes(&[("x", &[1])]));
    assert_eq!(shapes_at(&mixed, Corner::Upper), None);
    assert_eq!(corners(&mixed).len(), 1);
    let fixed = signature(vec![feature("x", array(&[7], Flexibility::Fixed))]);
    assert_eq!(shapes_at(&fixed, Corner::Lower), None);
    assert_eq!(corners(&fixed), [(Corner::Default, shapes(&[("x", &[7])]))]);
}
