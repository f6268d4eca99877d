//! Slices and windows.

use super::Default::Int;
use super::Opset::{IOS17, IOS18};
use super::domain::{ANY_WIDE, BOOL, EXTENT, FLOAT, INT32, NUMBER_WIDE, STATE};
use super::{OpDef, Opset, Param};
use crate::types::ValueType;
use crate::view::{OpView, ParamError};

const BEGIN: Param = Param::value("begin", EXTENT);
const END: Param = Param::value("end", EXTENT);
const STRIDE: Param = Param::constant("stride", EXTENT).optional("1 along each dimension");
const BEGIN_MASK: Param = Param::constant("begin_mask", BOOL).optional("false");
const END_MASK: Param = Param::constant("end_mask", BOOL).optional("false");
const SQUEEZE_MASK: Param = Param::constant("squeeze_mask", BOOL).optional("false");

const NARROW: &[(Opset, &str)] = &[(IOS17, "8 and 16 bit integers")];

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new(
        "slice_by_index",
        "`x[begin : end : stride]` as in Python. A mask ignores `begin` or `end` there; \
         `squeeze_mask` takes one index and drops the dimension.",
        &[
            Param::value("x", ANY_WIDE),
            BEGIN,
            END,
            STRIDE,
            BEGIN_MASK,
            END_MASK,
            SQUEEZE_MASK,
        ],
        slice_by_index,
    )
    .changes(NARROW),
    OpDef::new(
        "slice_by_size",
        "From `begin`, `size` elements; -1 takes all that remain.",
        &[
            Param::value("x", ANY_WIDE),
            BEGIN,
            Param::value("size", EXTENT),
        ],
        slice_by_size,
    )
    .changes(NARROW),
    OpDef::new(
        "slice_update",
        "`x` with `x[begin : end : stride]` replaced by `update`.",
        &[
            Param::value("x", STATE),
            Param::value("update", STATE),
            BEGIN,
            END,
            STRIDE,
            BEGIN_MASK,
            END_MASK,
            SQUEEZE_MASK,
        ],
        slice_update,
    )
    .since(IOS18),
    OpDef::new(
        "sliding_windows",
        "All windows of `size` along `axis`, every `stride`: that axis becomes two.",
        &[
            Param::value("x", NUMBER_WIDE),
            Param::constant("axis", INT32),
            Param::constant("size", INT32),
            Param::constant("stride", INT32).or(Int(1)),
        ],
        sliding_windows,
    )
    .changes(NARROW),
    OpDef::new(
        "crop",
        "Removes rows and columns at the edges of [N, C, H, W]: `crop_height` is top and bottom, \
         `crop_width` left and right.",
        &[
            Param::value("x", FLOAT),
            Param::constant("crop_height", INT32),
            Param::constant("crop_width", INT32),
        ],
        crop,
    ),
];

fn slice_by_index(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn slice_by_size(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn slice_update(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn sliding_windows(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn crop(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
