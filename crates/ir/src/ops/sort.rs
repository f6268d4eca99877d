//! Sorting and running sums.

use super::Default::{Bool, Int, Str};
use super::Opset::{IOS16, IOS17};
use super::domain::{BOOL, FLOAT, INT32, NUMBER, NUMBER_NARROW, STRING};
use super::{Domain, OpDef, Param};
use crate::types::DataType::{Int8, Int16, Int32};
use super::infer::{self, Types, bool, int, like_x, positive, ranked, shaped, tensor};
use crate::shape;
use crate::types::{DataType::UInt16, Dim};
use crate::view::{Given, OpView, ParamError};

const K: &[Domain] = &[
    Domain::new("", &[Int32]),
    Domain::new("K", &[Int8, Int16, Int32]).since(IOS17),
];

const AXIS: Param = Param::scalar("axis", INT32).or(Int(-1));
const ASCENDING: Param = Param::constant("ascending", BOOL).or(Bool(false));

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new(
        "argsort",
        "Indices that sort `x` along `axis`.",
        &[Param::value("x", NUMBER), AXIS, ASCENDING],
        argsort,
    ),
    OpDef::new(
        "topk",
        "The `k` greatest (or smallest) elements along `axis`, and their indices.",
        &[
            Param::value("x", NUMBER_NARROW),
            Param::constant("k", K).or(Int(1)),
            AXIS,
            ASCENDING,
            Param::constant("sort", BOOL).since(IOS16).or(Bool(true)),
            Param::constant("return_indices", BOOL)
                .since(IOS16)
                .or(Bool(true)),
            Param::scalar("output_indices_dtype", STRING)
                .since(IOS17)
                .or(Str("int32")),
        ],
        topk,
    )
    .changes(&[
        (IOS16, "`sort`, `return_indices`"),
        (IOS17, "small integers; `output_indices_dtype`"),
    ]),
    OpDef::new(
        "cumsum",
        "Running sum along `axis`; `exclusive` leaves out the element itself, `reverse` starts \
         at the end.",
        &[
            Param::value("x", NUMBER),
            Param::scalar("axis", INT32).or(Int(0)),
            Param::constant("exclusive", BOOL).or(Bool(false)),
            Param::constant("reverse", BOOL).or(Bool(false)),
        ],
        cumsum,
    ),
    OpDef::new(
        "non_maximum_suppression",
        "Chooses boxes by score and drops those that overlap a better one by more than \
         `iou_threshold`. Gives boxes, scores, indices and the number of valid boxes.",
        &[
            Param::value("boxes", FLOAT),
            Param::value("scores", FLOAT),
            Param::scalar("iou_threshold", FLOAT),
            Param::scalar("score_threshold", FLOAT).until(IOS17),
            Param::scalar("max_boxes", INT32),
            Param::constant("per_class_suppression", BOOL).or(Bool(false)),
        ],
        non_maximum_suppression,
    )
    .changes(&[(IOS17, "no `score_threshold`")]),
];

/// The position of parameter `axis` in `x`.
fn axis_of_x(op: &OpView<'_>) -> Result<usize, ParamError> {
    shape::axis("axis", int(op, "axis")?, op.tensor("x")?.shape.len())
}

fn argsort(op: &OpView<'_>) -> Types {
    axis_of_x(op)?;
    tensor(Int32, op.tensor("x")?.shape.clone())
}

fn topk(op: &OpView<'_>) -> Types {
    let x = op.tensor("x")?;
    let axis = axis_of_x(op)?;
    let mut result = x.shape.clone();
    result[axis] = match op.int("k")? {
        // All of them.
        Given::Known(-1) => result[axis],
        Given::Known(k) => {
            let k = shape::size("k", k)?;
            if result[axis].known().is_some_and(|n| k > n) {
                return Err(ParamError::value(
                    "k",
                    format!("{k} is more than dimension {axis} of {x} has"),
                ));
            }
            Dim::Known(k)
        }
        _ => Dim::Unknown,
    };
    let indices = infer::dtype(op, "output_indices_dtype", &[Int32, UInt16])?;
    let mut types = tensor(x.dtype, result.clone())?;
    if bool(op, "return_indices")? {
        types.extend(tensor(indices, result)?);
    }
    Ok(types)
}

fn cumsum(op: &OpView<'_>) -> Types {
    axis_of_x(op)?;
    like_x(op)
}

fn non_maximum_suppression(op: &OpView<'_>) -> Types {
    let boxes = ranked(op, "boxes", 3..=3)?;
    let scores = ranked(op, "scores", 3..=3)?;
    let max = Dim::Known(positive(op, "max_boxes")?);
    let batch = scores.shape[0];
    let four = Dim::Known(4);
    // Up to iOS 16 a box is a row; later a column, and nothing counts the
    // valid ones.
    if op.is_given("score_threshold") {
        shaped(op, "boxes", &[batch, scores.shape[1], four])?;
        let mut types = tensor(boxes.dtype, [batch, max, four])?;
        types.extend(tensor(scores.dtype, [batch, max, scores.shape[2]])?);
        types.extend(tensor(Int32, [batch, max])?);
        types.extend(tensor(Int32, [batch])?);
        return Ok(types);
    }
    shaped(op, "boxes", &[batch, four, scores.shape[2]])?;
    let mut types = tensor(boxes.dtype, [batch, four, max])?;
    types.extend(tensor(scores.dtype, [batch, scores.shape[1], max])?);
    types.extend(tensor(Int32, [batch, max])?);
    Ok(types)
}
