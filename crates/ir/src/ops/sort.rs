//! Sorting and running sums.

use super::Default::{Bool, Int, Str};
use super::Opset::{IOS16, IOS17};
use super::domain::{BOOL, FLOAT, INT32, NUMBER, NUMBER_NARROW, STRING};
use super::{Domain, OpDef, Param};
use crate::types::DataType::{Int8, Int16, Int32};
use crate::types::ValueType;
use crate::view::{OpView, ParamError};

const K: &[Domain] = &[
    Domain::new("", &[Int32]),
    Domain::new("K", &[Int8, Int16, Int32]).since(IOS17),
];

const AXIS: Param = Param::constant("axis", INT32).or(Int(-1));
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
            Param::constant("output_indices_dtype", STRING)
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
            Param::constant("axis", INT32).or(Int(0)),
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
            Param::constant("iou_threshold", FLOAT),
            Param::constant("score_threshold", FLOAT).until(IOS17),
            Param::constant("max_boxes", INT32),
            Param::constant("per_class_suppression", BOOL).or(Bool(false)),
        ],
        non_maximum_suppression,
    )
    .changes(&[(IOS17, "no `score_threshold`")]),
];

fn argsort(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn topk(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn cumsum(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn non_maximum_suppression(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
