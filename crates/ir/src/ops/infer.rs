//! What the inference rules of the families share.

use crate::shape;
use crate::types::{DataType, Dim, TensorType, ValueType};
use crate::view::{Given, OpView, ParamError};

/// The types of an operation's outputs.
pub(super) type Types = Result<Vec<ValueType>, ParamError>;

/// One tensor.
pub(super) fn tensor(dtype: DataType, shape: impl Into<Vec<Dim>>) -> Types {
    Ok(vec![TensorType::new(dtype, shape).into()])
}

/// One tensor of the type of parameter `x`.
pub(super) fn like_x(op: &OpView<'_>) -> Types {
    Ok(vec![op.tensor("x")?.clone().into()])
}

/// The value of a parameter that has to be known before the program runs.
///
/// # Errors
/// It is missing, or known only at run time.
pub(super) fn fixed<T>(param: &str, given: Given<T>) -> Result<T, ParamError> {
    match given {
        Given::Known(value) => Ok(value),
        Given::Absent => Err(ParamError::Missing {
            param: param.to_owned(),
        }),
        Given::Runtime => Err(ParamError::value(param, "must be a constant")),
    }
}

/// An integer parameter, constant or with a default.
pub(super) fn int(op: &OpView<'_>, param: &str) -> Result<i64, ParamError> {
    fixed(param, op.int(param)?)
}

/// An integer list parameter, constant or with a default.
pub(super) fn ints(op: &OpView<'_>, param: &str) -> Result<Vec<i64>, ParamError> {
    fixed(param, op.ints(param)?)
}

/// A boolean parameter, constant or with a default.
pub(super) fn bool(op: &OpView<'_>, param: &str) -> Result<bool, ParamError> {
    fixed(param, op.bool(param)?)
}

/// A size parameter of at least 1, constant or with a default.
pub(super) fn positive(op: &OpView<'_>, param: &str) -> Result<u64, ParamError> {
    shape::positive(param, int(op, param)?)
}

/// A string parameter that must be one of `allowed`, whatever its case.
pub(super) fn choice(
    op: &OpView<'_>,
    param: &str,
    allowed: &[&'static str],
) -> Result<&'static str, ParamError> {
    let found = fixed(param, op.string(param)?)?;
    let known = allowed.iter().find(|a| a.eq_ignore_ascii_case(&found));
    known.copied().ok_or_else(|| {
        ParamError::value(
            param,
            format!("{found:?}, but must be one of {}", allowed.join(", ")),
        )
    })
}

/// The element type that parameter `param` names, one of `allowed`.
pub(super) fn dtype(
    op: &OpView<'_>,
    param: &str,
    allowed: &[DataType],
) -> Result<DataType, ParamError> {
    let found = fixed(param, op.dtype(param)?)?;
    if allowed.is_empty() || allowed.contains(&found) {
        return Ok(found);
    }
    let names: Vec<&str> = allowed.iter().map(|d| d.name()).collect();
    Err(ParamError::value(
        param,
        format!("{found}, but must be one of {}", names.join(", ")),
    ))
}

/// A tensor parameter with a rank in that range.
pub(super) fn ranked<'p>(
    op: &OpView<'p>,
    param: &str,
    ranks: std::ops::RangeInclusive<usize>,
) -> Result<&'p TensorType, ParamError> {
    let ty = op.tensor(param)?;
    if ranks.contains(&ty.shape.len()) {
        return Ok(ty);
    }
    let wanted = match (*ranks.start(), *ranks.end()) {
        (a, b) if a == b => format!("a tensor of rank {a}"),
        (a, usize::MAX) => format!("a tensor of rank {a} or more"),
        (a, b) => format!("a tensor of rank {a} to {b}"),
    };
    Err(ParamError::Type {
        param: param.to_owned(),
        wanted,
        found: ty.to_string(),
    })
}

/// Demands that an optional parameter, if given, has this shape.
pub(super) fn shaped(op: &OpView<'_>, param: &str, wanted: &[Dim]) -> Result<(), ParamError> {
    match op.opt_tensor(param)? {
        Some(ty) if shape::merge_shapes(&ty.shape, wanted).is_none() => Err(ParamError::Type {
            param: param.to_owned(),
            wanted: format!("of shape {}", crate::types::ShapeDisplay(wanted)),
            found: ty.to_string(),
        }),
        _ => Ok(()),
    }
}

/// A shape given by a parameter: its values when they are known, else as many
/// unknown sizes as it has elements.
pub(super) fn shape_param(op: &OpView<'_>, param: &str) -> Result<Vec<Dim>, ParamError> {
    Ok(match op.ints(param)? {
        Given::Known(values) => values
            .into_iter()
            .map(|v| shape::size(param, v).map(Dim::Known))
            .collect::<Result<_, _>>()?,
        _ => unknown_sizes(op, param)?,
    })
}

/// As many unknown sizes as a vector has elements.
pub(super) fn unknown_sizes(op: &OpView<'_>, param: &str) -> Result<Vec<Dim>, ParamError> {
    let ty = ranked(op, param, 1..=1)?;
    Ok(match ty.shape[0] {
        // A tensor of more dimensions than this is a damaged file.
        Dim::Known(n) if n <= 64 => vec![Dim::Unknown; n as usize],
        Dim::Known(n) => {
            return Err(ParamError::value(param, format!("asks for {n} dimensions")));
        }
        _ => vec![Dim::Variadic],
    })
}
