//! Lists of tensors, and the classifier output.

use super::Default::{Bool, Int, Str};
use super::domain::{ANY, BOOL, FLOAT32, INT32, STRING};
use super::{Kind, OpDef, Param};
use super::infer::{self, Types, ranked, shaped, tensor};
use crate::shape::{self, mismatch};
use crate::types::{DataType, Dim, TensorType, ValueType};
use crate::view::{OpView, ParamError};

const LS: Param = Param::of_kind("ls", Kind::List);

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new(
        "make_list",
        "A list for tensors of `elem_shape`.",
        &[
            Param::value("init_length", INT32).or(Int(1)),
            Param::constant("dynamic_length", BOOL).or(Bool(true)),
            Param::value("elem_shape", &[]).variadic(),
            Param::scalar("dtype", STRING).or(Str("fp32")),
        ],
        make_list,
    ),
    OpDef::new("list_length", "The number of elements of a list.", &[LS], list_length),
    OpDef::new(
        "list_read",
        "The element of a list at `index`.",
        &[LS, Param::value("index", INT32)],
        list_read,
    ),
    OpDef::new(
        "list_write",
        "The list with the element at `index` replaced by `value`.",
        &[LS, Param::value("index", INT32), Param::value("value", ANY)],
        list_write,
    ),
    OpDef::new(
        "list_gather",
        "The elements of a list at `indices`, stacked.",
        &[LS, Param::value("indices", INT32)],
        list_gather,
    ),
    OpDef::new(
        "list_scatter",
        "The list with the elements at `indices` replaced by the slices of `value`.",
        &[LS, Param::value("indices", INT32), Param::value("value", ANY)],
        list_scatter,
    ),
    OpDef::new(
        "classify",
        "The class of the highest probability, and a dictionary of all.",
        &[
            Param::value("probabilities", FLOAT32),
            Param::of_kind("classes", Kind::List).always_constant(),
        ],
        classify,
    ),
];

/// Element type and length of the list `ls`.
fn list<'p>(op: &OpView<'p>) -> Result<(&'p ValueType, Dim), ParamError> {
    match op.ty("ls") {
        Some(ValueType::List { element, length }) => Ok((element, *length)),
        Some(other) => Err(ParamError::Type {
            param: "ls".into(),
            wanted: "a list".into(),
            found: other.to_string(),
        }),
        None => Err(ParamError::Missing { param: "ls".into() }),
    }
}

fn make_list(op: &OpView<'_>) -> Types {
    let dtype = infer::dtype(op, "dtype", &[])?;
    let sizes = op.op.args("elem_shape").iter().map(|arg| {
        // A size that is not a number is a symbol's name.
        match op.arg_ints(arg).and_then(|v| v.first().copied()) {
            Some(n) => shape::size("elem_shape", n).map(Dim::Known),
            None => Ok(Dim::Unknown),
        }
    });
    let element = TensorType::new(dtype, sizes.collect::<Result<Vec<Dim>, _>>()?);
    Ok(vec![ValueType::List {
        element: Box::new(element.into()),
        length: Dim::Unknown,
    }])
}

fn list_length(op: &OpView<'_>) -> Types {
    list(op)?;
    tensor(DataType::Int32, [])
}

fn list_read(op: &OpView<'_>) -> Types {
    Ok(vec![list(op)?.0.clone()])
}

fn list_write(op: &OpView<'_>) -> Types {
    let (element, length) = list(op)?;
    let value = op.tensor("value")?;
    fits(element, value)?;
    Ok(vec![ValueType::List {
        element: Box::new(value.clone().into()),
        length,
    }])
}

fn fits(element: &ValueType, value: &TensorType) -> Result<(), ParamError> {
    match element {
        ValueType::Tensor(e)
            if e.dtype != value.dtype || shape::merge_shapes(&e.shape, &value.shape).is_none() =>
        {
            Err(mismatch(format!("{value} is no element of a list of {e}")))
        }
        _ => Ok(()),
    }
}

fn list_gather(op: &OpView<'_>) -> Types {
    let (element, _) = list(op)?;
    let indices = ranked(op, "indices", 1..=1)?;
    match element {
        ValueType::Tensor(e) => {
            let shape = [&indices.shape[..], &e.shape].concat();
            tensor(e.dtype, shape)
        }
        other => Err(mismatch(format!("elements of type {other} cannot be stacked"))),
    }
}

fn list_scatter(op: &OpView<'_>) -> Types {
    let (element, length) = list(op)?;
    let value = ranked(op, "value", 1..=usize::MAX)?;
    shaped(op, "indices", &value.shape[..1])?;
    let slice = TensorType::new(value.dtype, &value.shape[1..]);
    fits(element, &slice)?;
    Ok(vec![ValueType::List {
        element: Box::new(slice.into()),
        length,
    }])
}

fn classify(op: &OpView<'_>) -> Types {
    let probabilities = op.tensor("probabilities")?;
    let Some(ValueType::List { element, length }) = op.ty("classes") else {
        return Err(ParamError::Type {
            param: "classes".into(),
            wanted: "a list".into(),
            found: op.ty("classes").map_or("nothing".into(), ToString::to_string),
        });
    };
    if shape::merge(shape::product(&probabilities.shape)?, *length).is_none() {
        return Err(mismatch(format!(
            "{length} classes, but {probabilities} of probabilities"
        )));
    }
    let share = TensorType::scalar(DataType::Float64);
    Ok(vec![
        element.as_ref().clone(),
        ValueType::Dict {
            key: element.clone(),
            value: Box::new(share.into()),
        },
    ])
}
