//! Making tensors: filled, counted, encoded, masked, looked at.

use super::Default::{Float, Int, Str};
use super::Opset::IOS16;
use super::domain::{ANY, ANY_U, FLOAT, INT32, NUMBER, STRING};
use super::{Kind, OpDef, Param};
use super::infer::{
    Types, choice, int, like_x, ranked, shape_param, tensor, unknown_sizes,
};
use crate::shape;
use crate::types::{DataType, Dim};
use crate::view::{Given, OpView, ParamError};
use half::f16;

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new(
        "identity",
        "`x` itself; mostly to give it another name.",
        &[Param::of_kind("x", Kind::Any)],
        identity,
    ),
    OpDef::new(
        "fill",
        "A tensor of that shape, every element `value`.",
        &[
            Param::value("shape", INT32),
            Param::constant("value", ANY).or(Float(0.0)),
        ],
        fill,
    ),
    OpDef::new(
        "fill_like",
        "A tensor of the shape of `ref_tensor`, every element `value`.",
        &[
            Param::value("ref_tensor", ANY),
            Param::constant("value", ANY_U).or(Float(0.0)),
        ],
        fill_like,
    )
    .since(IOS16),
    OpDef::new(
        "range_1d",
        "`start`, `start + step`, ... up to but without `end`.",
        &[
            Param::value("end", NUMBER).one(),
            Param::value("start", NUMBER).one(),
            Param::value("step", NUMBER).one(),
        ],
        range_1d,
    ),
    OpDef::new(
        "one_hot",
        "`on_value` at each index along a new `axis` of that size, `off_value` elsewhere.",
        &[
            Param::value("indices", INT32),
            Param::value("one_hot_vector_size", INT32).one(),
            Param::scalar("axis", INT32).or(Int(-1)),
            Param::constant("on_value", ANY).or(Int(1)),
            Param::constant("off_value", ANY).or(Int(0)),
        ],
        one_hot,
    ),
    OpDef::new(
        "band_part",
        "Keeps `lower` diagonals below and `upper` above the main one of the last two \
         dimensions; a negative number keeps all. Zero elsewhere.",
        &[
            Param::value("x", ANY),
            Param::constant("lower", INT32).or(Int(-1)),
            Param::constant("upper", INT32).or(Int(-1)),
        ],
        band_part,
    ),
    OpDef::new(
        "shape",
        "The sizes of `x`, as an `int32` vector.",
        &[Param::value("x", ANY)],
        shape,
    ),
    OpDef::new(
        "non_zero",
        "Indices of the elements that are not zero, one row each.",
        &[Param::value("x", ANY)],
        non_zero,
    ),
    OpDef::new(
        "pad",
        "Adds elements before and after the last dimensions: `pad` has two numbers a dimension. \
         `mode` is `constant`, `reflect` or `replicate`.",
        &[
            Param::value("x", FLOAT),
            Param::value("pad", INT32),
            Param::constant("mode", STRING).or(Str("constant")),
            Param::constant("constant_val", FLOAT).or(Float(0.0)),
        ],
        pad,
    ),
];

fn identity(op: &OpView<'_>) -> Types {
    match op.ty("x") {
        Some(ty) => Ok(vec![ty.clone()]),
        None => Err(ParamError::Missing { param: "x".into() }),
    }
}

/// The element type of a constant that is `fp32` when it is not given.
fn value_type(op: &OpView<'_>) -> Result<DataType, ParamError> {
    Ok(op.opt_tensor("value")?.map_or(DataType::Float32, |t| t.dtype))
}

fn fill(op: &OpView<'_>) -> Types {
    tensor(value_type(op)?, shape_param(op, "shape")?)
}

fn fill_like(op: &OpView<'_>) -> Types {
    tensor(value_type(op)?, op.tensor("ref_tensor")?.shape.clone())
}

fn range_1d(op: &OpView<'_>) -> Types {
    let dtype = op.tensor("start")?.dtype;
    let [end, start, step] = ["end", "start", "step"].map(|param| op.float(param));
    let (Given::Known(end), Given::Known(start), Given::Known(step)) = (end?, start?, step?) else {
        return tensor(dtype, [Dim::Unknown]);
    };
    if step == 0.0 || !step.is_finite() {
        return Err(ParamError::value("step", format!("{step} never reaches the end")));
    }
    // In the type's own precision: a float range may end one element earlier
    // or later otherwise.
    let count = match dtype {
        DataType::Float16 => {
            let distance = f16::from_f64(end) - f16::from_f64(start);
            (distance / f16::from_f64(step)).to_f64()
        }
        DataType::Float32 => f64::from((end as f32 - start as f32) / step as f32),
        _ => (end - start) / step,
    };
    if !count.is_finite() || count.ceil() >= 9e15 {
        return Err(shape::too_large());
    }
    tensor(dtype, [Dim::Known(count.ceil().max(0.0) as u64)])
}

fn one_hot(op: &OpView<'_>) -> Types {
    let indices = op.tensor("indices")?;
    let axis = shape::axis("axis", int(op, "axis")?, indices.shape.len() + 1)?;
    let depth = match op.int("one_hot_vector_size")? {
        Given::Known(n) => Dim::Known(shape::size("one_hot_vector_size", n)?),
        _ => Dim::Unknown,
    };
    let mut result = indices.shape.clone();
    result.insert(axis, depth);
    let on = op.opt_tensor("on_value")?.or(op.opt_tensor("off_value")?);
    tensor(on.map_or(DataType::Int32, |t| t.dtype), result)
}

fn band_part(op: &OpView<'_>) -> Types {
    ranked(op, "x", 2..=usize::MAX)?;
    like_x(op)
}

fn shape(op: &OpView<'_>) -> Types {
    let rank = op.tensor("x")?.shape.len();
    tensor(DataType::Int32, [Dim::Known(rank as u64)])
}

fn non_zero(op: &OpView<'_>) -> Types {
    let rank = op.tensor("x")?.shape.len();
    tensor(DataType::Int32, [Dim::Unknown, Dim::Known(rank as u64)])
}

fn pad(op: &OpView<'_>) -> Types {
    let x = op.tensor("x")?;
    choice(op, "mode", &["constant", "reflect", "replicate"])?;
    let amounts = match op.ints("pad")? {
        Given::Known(amounts) => amounts
            .into_iter()
            .map(|n| shape::size("pad", n).map(Dim::Known))
            .collect::<Result<_, _>>()?,
        _ => unknown_sizes(op, "pad")?,
    };
    if amounts == [Dim::Variadic] {
        return tensor(x.dtype, vec![Dim::Unknown; x.shape.len()]);
    }
    let rank = x.shape.len();
    let first = rank.checked_sub(amounts.len() / 2);
    let Some(first) = first.filter(|_| amounts.len() % 2 == 0) else {
        return Err(ParamError::value(
            "pad",
            format!(
                "has {} elements, but must have two a dimension, at most {}",
                amounts.len(),
                rank * 2
            ),
        ));
    };
    let mut result = x.shape.clone();
    for (dim, pair) in result[first..].iter_mut().zip(amounts.chunks_exact(2)) {
        *dim = match (*dim, pair[0], pair[1]) {
            (Dim::Known(n), Dim::Known(before), Dim::Known(after)) => Dim::Known(
                n.checked_add(before)
                    .and_then(|n| n.checked_add(after))
                    .ok_or_else(shape::too_large)?,
            ),
            (dim, Dim::Known(0), Dim::Known(0)) => dim,
            _ => Dim::Unknown,
        };
    }
    tensor(x.dtype, result)
}
