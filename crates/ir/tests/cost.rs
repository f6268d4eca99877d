//! Multiply-adds, against numbers made by hand.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking and print what they checked"
)]

#[path = "../../../fixtures/find.rs"]
mod find;

#[path = "../../interp/tests/common/mod.rs"]
mod common;

use common::Builder;
use milwright_ir::cost::{byte_len, multiply_adds, total};
use milwright_ir::features::Description;
use milwright_ir::sizes::{Shapes, default_shapes};
use milwright_ir::{
    Arg, Constant, DataType, Dim, Model, NoBlobs, OpView, Sizes, TensorType, ValueType,
};

const F32: DataType = DataType::Float32;

/// A parameter of an operation.
#[derive(Clone)]
enum Given {
    /// Values that come from outside, by their shapes; 0 is an unknown size.
    Tensors(&'static [&'static [u64]]),
    Constant(Constant),
}

use Given::Tensors;

fn ints(values: &[i32]) -> Given {
    Given::Constant(Constant::ints(values))
}

fn word(value: &str) -> Given {
    Given::Constant(Constant::string(value))
}

fn flag(value: bool) -> Given {
    Given::Constant(Constant::bool(value))
}

fn ty(sizes: &[u64]) -> TensorType {
    let dims = sizes.iter().map(|&n| match n {
        0 => Dim::Unknown,
        n => Dim::Known(n),
    });
    TensorType::new(F32, dims.collect::<Vec<Dim>>())
}

/// The multiply-adds of one operation.
fn cost(op_type: &str, outputs: usize, params: &[(&str, Given)]) -> Option<u64> {
    let mut b = Builder::new();
    let mut inputs: Vec<(&str, Vec<Arg>)> = Vec::new();
    for (name, given) in params {
        let args = match given {
            Tensors(shapes) => {
                let each = shapes.iter().enumerate();
                each.map(|(i, shape)| b.input(&format!("{name}{i}"), ty(shape)))
                    .collect()
            }
            Given::Constant(constant) => vec![b.constant(constant.clone())],
        };
        inputs.push((name, args));
    }
    let out = b.op(op_type, inputs, outputs).unwrap();
    let program = b.finish("CoreML8", &out);
    let op = *program.all_ops().last().unwrap();
    multiply_adds(&OpView::new(&program, op, &NoBlobs))
}

#[test]
fn convolutions() {
    let stride = || ("strides", ints(&[2, 2]));
    let x = || ("x", Tensors(&[&[3, 8, 11, 9]]));
    let groups = |n| ("groups", Given::Constant(Constant::int(n)));
    // [3, 16, 5, 4] of 8 * 3 * 2 products each.
    let weight = ("weight", Tensors(&[&[16, 8, 3, 2]]));
    assert_eq!(
        cost("conv", 1, &[x(), weight.clone(), stride()]),
        Some(3 * 16 * 5 * 4 * 48)
    );
    // Four groups of 2 channels; a bias changes nothing.
    let grouped = ("weight", Tensors(&[&[16, 2, 3, 2]]));
    let bias = (
        "bias",
        Given::Constant(Constant::tensor(
            TensorType::fixed(F32, &[16]),
            milwright_ir::TensorData::Floats(vec![0.0; 16]),
        )),
    );
    assert_eq!(
        cost("conv", 1, &[x(), grouped, bias, stride(), groups(4)]),
        Some(3 * 16 * 5 * 4 * 12)
    );
    // Every element of x meets 5 * 3 * 2 weights.
    let transposed = ("weight", Tensors(&[&[8, 5, 3, 2]]));
    assert_eq!(
        cost("conv_transpose", 1, &[x(), transposed.clone(), stride()]),
        Some(3 * 8 * 11 * 9 * 30)
    );
    // Two groups: 10 channels out, of which each input channel makes 5.
    assert_eq!(
        cost("conv_transpose", 1, &[x(), transposed, stride(), groups(2)]),
        Some(3 * 8 * 11 * 9 * 30)
    );
    let open = ("x", Tensors(&[&[0, 8, 11, 9]]));
    assert_eq!(cost("conv", 1, &[open, weight, stride()]), None);
}

#[test]
fn products() {
    let linear = [
        ("x", Tensors(&[&[2, 7, 5]])),
        ("weight", Tensors(&[&[3, 5]])),
    ];
    assert_eq!(cost("linear", 1, &linear), Some(2 * 7 * 3 * 5));
    let matmul = |x: Given, y: Given, tx, ty| {
        let params = [
            ("x", x),
            ("y", y),
            ("transpose_x", flag(tx)),
            ("transpose_y", flag(ty)),
        ];
        cost("matmul", 1, &params)
    };
    let n = Some(4 * 6 * 2 * 3 * 5);
    let (a, b) = (Tensors(&[&[4, 1, 2, 5]]), Tensors(&[&[6, 5, 3]]));
    assert_eq!(matmul(a.clone(), b.clone(), false, false), n);
    let (at, bt) = (Tensors(&[&[4, 1, 5, 2]]), Tensors(&[&[6, 3, 5]]));
    assert_eq!(matmul(at.clone(), b, true, false), n);
    assert_eq!(matmul(a, bt.clone(), false, true), n);
    assert_eq!(matmul(at, bt, true, true), n);
    // Vectors, and a length that only one operand knows.
    assert_eq!(
        matmul(Tensors(&[&[5]]), Tensors(&[&[5, 3]]), false, false),
        Some(15)
    );
    assert_eq!(
        matmul(Tensors(&[&[2, 5]]), Tensors(&[&[5]]), false, false),
        Some(10)
    );
    assert_eq!(
        matmul(Tensors(&[&[2, 0]]), Tensors(&[&[5, 3]]), false, false),
        Some(30)
    );
    assert_eq!(
        matmul(Tensors(&[&[0, 5]]), Tensors(&[&[5, 3]]), false, false),
        None
    );
    let einsum = [
        ("values", Tensors(&[&[2, 3, 4, 5], &[2, 5, 4, 6]])),
        ("equation", word("nbhc,nchd->nbhd")),
    ];
    assert_eq!(cost("einsum", 1, &einsum), Some(2 * 3 * 4 * 6 * 5));
    let attention = [
        ("query", Tensors(&[&[2, 4, 7, 8]])),
        ("key", Tensors(&[&[2, 4, 9, 8]])),
        ("value", Tensors(&[&[2, 4, 9, 6]])),
    ];
    let (scores, sums) = (2 * 4 * 7 * 9 * 8, 2 * 4 * 7 * 9 * 6);
    assert_eq!(
        cost("scaled_dot_product_attention", 1, &attention),
        Some(scores + sums)
    );
    let large = [
        ("x", Tensors(&[&[1 << 40, 1 << 10]])),
        ("y", Tensors(&[&[1 << 10, 1 << 20]])),
    ];
    assert_eq!(cost("matmul", 1, &large), None);
}

#[test]
fn recurrent_layers_count_every_step() {
    let layer = |op: &str, gates: &'static [&'static [u64]], outputs| {
        let params = [
            ("x", Tensors(&[&[11, 2, 5]])),
            ("initial_h", Tensors(&[&[2, 3]])),
            ("initial_c", Tensors(&[&[2, 3]])),
            ("weight_ih", Tensors(&gates[..1])),
            ("weight_hh", Tensors(&gates[1..])),
        ];
        let own = params
            .iter()
            .filter(|(n, _)| op == "lstm" || *n != "initial_c");
        cost(op, outputs, &own.cloned().collect::<Vec<_>>())
    };
    let one = 11 * 2 * 3 * (5 + 3);
    assert_eq!(layer("lstm", &[&[12, 5], &[12, 3]], 3), Some(4 * one));
    assert_eq!(layer("gru", &[&[9, 5], &[9, 3]], 2), Some(3 * one));
    assert_eq!(layer("rnn", &[&[3, 5], &[3, 3]], 2), Some(one));
    let both = [
        ("x", Tensors(&[&[11, 2, 5]])),
        ("initial_h", Tensors(&[&[2, 6]])),
        ("initial_c", Tensors(&[&[2, 6]])),
        ("weight_ih", Tensors(&[&[12, 5]])),
        ("weight_hh", Tensors(&[&[12, 3]])),
        ("weight_ih_back", Tensors(&[&[12, 5]])),
        ("weight_hh_back", Tensors(&[&[12, 3]])),
        ("direction", word("bidirectional")),
    ];
    assert_eq!(cost("lstm", 3, &both), Some(2 * 4 * one));
}

#[test]
fn other_operations_have_none() {
    assert_eq!(cost("relu", 1, &[("x", Tensors(&[&[0, 5]]))]), Some(0));
    let add = [("x", Tensors(&[&[2, 5]])), ("y", Tensors(&[&[5]]))];
    assert_eq!(cost("add", 1, &add), Some(0));
}

#[test]
fn bytes_of_values() {
    let of = |dtype, shape: &[u64]| byte_len(&TensorType::fixed(dtype, shape).into());
    assert_eq!(of(F32, &[2, 3]), Some(24));
    assert_eq!(of(DataType::Int4, &[3]), Some(2));
    assert_eq!(of(DataType::Float16, &[]), Some(2));
    assert_eq!(of(F32, &[u64::MAX, 0]), Some(0));
    assert_eq!(of(F32, &[u64::MAX]), None);
    assert_eq!(byte_len(&ty(&[0]).into()), None);
    let state = ValueType::State(Box::new(TensorType::fixed(F32, &[5]).into()));
    assert_eq!(byte_len(&state), Some(20));
    assert_eq!(byte_len(&ValueType::Missing), None);
}

/// The sum of a model at its default shapes.
fn model_total(path: &std::path::Path) -> u64 {
    let model = Model::open(path).unwrap();
    let description = Description::from_proto(&model.spec().description().unwrap());
    let program = model.program();
    let function = program.function(None).unwrap();
    let shapes = description
        .signature(&function.name)
        .map_or_else(Shapes::new, default_shapes);
    let sizes = Sizes::of(program, function, &model, &shapes).unwrap();
    let total = total(program, function, &model, &sizes);
    println!("{}: {} multiply-adds", path.display(), total.multiply_adds);
    assert!(total.unknown.is_empty());
    total.multiply_adds
}

#[test]
fn whole_models() {
    let Some(folder) = find::shared("models") else {
        return;
    };
    // [1, 128, 100] through three convolutions of 3x3, stride 2, 32 channels:
    //   64*50 * 32 * 1*9 + 32*25 * 32 * 32*9 + 16*13 * 32 * 32*9 = 10,211,328
    // then 13 steps: a projection of 32*16 to 64: 13*512*64 = 425,984;
    // two layers of 64, 4 heads, 128 hidden:
    //   2 * (13 * (4*64*64 + 2*64*128) + 2 * 13*13*64) = 895,232
    // and two projections of 64 to 64: 2 * 13*64*64 = 106,496.
    let asr = 10_211_328 + 425_984 + 895_232 + 106_496;
    // 32 tokens, four layers of 64: queries and output 64 wide, keys and values
    // 32, three products of the feed-forward part 128, and 4 heads of 16 over
    // all 32x32 pairs, twice:
    //   4 * (32 * (2*64*64 + 2*64*32 + 3*64*128) + 2 * 4*32*32*16) = 5,242,880
    let embedder = 5_242_880;
    for (name, wanted) in [("asr-encoder", asr), ("embedder", embedder)] {
        for precision in ["fp32", "fp16"] {
            let path = folder.join(name).join(format!("{precision}.mlpackage"));
            assert_eq!(model_total(&path), wanted);
        }
    }
}
