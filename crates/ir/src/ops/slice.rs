//! Slices and windows.

use super::Default::Int;
use super::Opset::{IOS17, IOS18};
use super::domain::{ANY_WIDE, BOOL, EXTENT, FLOAT, INT32, NUMBER_WIDE, STATE};
use super::{OpDef, Opset, Param};
use super::infer::{Types, fixed, int, ints, like_x, positive, ranked, shaped, tensor};
use crate::shape::{self, Pad, Windows};
use crate::types::Dim;
use crate::view::{Given, OpView, ParamError};

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
            Param::scalar("axis", INT32),
            Param::scalar("size", INT32),
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

/// A list with one element a dimension; `None` when it is known only at run time.
fn bounds(op: &OpView<'_>, param: &str, rank: usize) -> Result<Option<Vec<i64>>, ParamError> {
    ranked(op, param, 1..=1)?;
    let given = op.ints(param)?;
    let len = match &given {
        Given::Known(values) => Some(values.len() as u64),
        _ => op.len(param),
    };
    if let Some(len) = len.filter(|&len| len != rank as u64) {
        return Err(ParamError::value(
            param,
            format!("has {len} elements, but `x` has {rank} dimensions"),
        ));
    }
    Ok(given.known())
}

fn mask(op: &OpView<'_>, param: &str, rank: usize) -> Result<Vec<bool>, ParamError> {
    match op.bools(param)? {
        Given::Absent => Ok(vec![false; rank]),
        given => {
            let values = fixed(param, given)?;
            match values.len() == rank {
                true => Ok(values),
                false => Err(ParamError::value(
                    param,
                    format!("has {} elements, but `x` has {rank} dimensions", values.len()),
                )),
            }
        }
    }
}

/// The shape of `x[begin : end : stride]`.
fn sliced(op: &OpView<'_>) -> Result<Vec<Dim>, ParamError> {
    let x = op.tensor("x")?;
    let rank = x.shape.len();
    let begin = bounds(op, "begin", rank)?;
    let end = bounds(op, "end", rank)?;
    let stride = match op.is_given("stride") {
        true => bounds(op, "stride", rank)?,
        false => Some(vec![1; rank]),
    };
    let begin_mask = mask(op, "begin_mask", rank)?;
    let end_mask = mask(op, "end_mask", rank)?;
    let squeeze = mask(op, "squeeze_mask", rank)?;
    let mut result = Vec::new();
    for (i, &dim) in x.shape.iter().enumerate() {
        if squeeze[i] {
            if let (Some(begin), Dim::Known(n), false) = (&begin, dim, begin_mask[i]) {
                let limit = usize::try_from(n).unwrap_or(usize::MAX);
                shape::axis("begin", begin[i], limit).map_err(|_| {
                    ParamError::value(
                        "begin",
                        format!("index {} is outside of dimension {i} of {x}", begin[i]),
                    )
                })?;
            }
            continue;
        }
        let from = bound(&begin, begin_mask[i], i);
        let to = bound(&end, end_mask[i], i);
        result.push(match (from, to, &stride) {
            (Some(from), Some(to), Some(stride)) => shape::slice_dim(dim, from, to, stride[i])?,
            _ => Dim::Unknown,
        });
    }
    Ok(result)
}

/// A bound of dimension `i`: masked (`Some(None)`), known, or not known.
fn bound(list: &Option<Vec<i64>>, masked: bool, i: usize) -> Option<Option<i64>> {
    if masked {
        return Some(None);
    }
    list.as_ref().map(|values| Some(values[i]))
}

fn slice_by_index(op: &OpView<'_>) -> Types {
    tensor(op.tensor("x")?.dtype, sliced(op)?)
}

fn slice_update(op: &OpView<'_>) -> Types {
    shaped(op, "update", &sliced(op)?)?;
    like_x(op)
}

fn slice_by_size(op: &OpView<'_>) -> Types {
    let x = op.tensor("x")?;
    let rank = x.shape.len();
    let begin = bounds(op, "begin", rank)?;
    let Some(size) = bounds(op, "size", rank)? else {
        return tensor(x.dtype, vec![Dim::Unknown; rank]);
    };
    let mut result = Vec::new();
    for (i, (&dim, &size)) in x.shape.iter().zip(&size).enumerate() {
        let begin = begin.as_ref().map(|b| b[i]);
        let rest = match (dim, begin) {
            (Dim::Known(_), Some(begin)) => shape::slice_dim(dim, Some(begin), None, 1)?,
            _ => Dim::Unknown,
        };
        result.push(match size {
            -1 => rest,
            n => {
                let n = shape::size("size", n)?;
                if rest.known().is_some_and(|rest| n > rest) {
                    return Err(ParamError::value(
                        "size",
                        format!("takes {n} of dimension {i} of {x}, which has only {rest} from there"),
                    ));
                }
                Dim::Known(n)
            }
        });
    }
    tensor(x.dtype, result)
}

fn sliding_windows(op: &OpView<'_>) -> Types {
    let x = op.tensor("x")?;
    let axis = shape::axis("axis", int(op, "axis")?, x.shape.len())?;
    let windows = Windows {
        size: positive(op, "size")?,
        stride: positive(op, "stride")?,
        dilation: 1,
        pad: Pad::Valid,
    };
    let mut result = x.shape.clone();
    result[axis] = windows.count_dim(result[axis], false)?;
    result.insert(axis + 1, Dim::Known(windows.size));
    tensor(x.dtype, result)
}

fn crop(op: &OpView<'_>) -> Types {
    let x = ranked(op, "x", 3..=usize::MAX)?;
    let mut result = x.shape.clone();
    let rank = result.len();
    for (param, i) in [("crop_height", rank - 2), ("crop_width", rank - 1)] {
        let amounts = ints(op, param)?;
        let &[before, after] = amounts.as_slice() else {
            return Err(ParamError::value(param, "must have two elements"));
        };
        let (before, after) = (shape::size(param, before)?, shape::size(param, after)?);
        if let Dim::Known(n) = result[i] {
            let left = n.checked_sub(before).and_then(|n| n.checked_sub(after));
            result[i] = Dim::Known(left.ok_or_else(|| {
                ParamError::value(param, format!("cuts more than dimension {i} of {x} has"))
            })?);
        }
    }
    tensor(x.dtype, result)
}
