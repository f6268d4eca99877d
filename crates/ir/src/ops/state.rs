//! States that outlive a prediction.

use super::Opset::IOS18;
use super::domain::STATE;
use super::{Kind, OpDef, Param};
use super::infer::Types;
use crate::shape::merge_shapes;
use crate::types::{TensorType, ValueType};
use crate::view::{OpView, ParamError};

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new(
        "read_state",
        "The tensor that a state holds now.",
        &[Param::of_kind("input", Kind::State)],
        read_state,
    )
    .since(IOS18),
    OpDef::new(
        "write_state",
        "Replaces the tensor that a state holds. Has no output.",
        &[
            Param::of_kind("input", Kind::State),
            Param::value("data", STATE),
        ],
        write_state,
    )
    .since(IOS18),
    OpDef::new(
        "coreml_update_state",
        "Replaces the tensor that a state holds, and gives it back; converters write it as \
         `write_state` and `read_state`.",
        &[
            Param::of_kind("state", Kind::State),
            Param::value("value", STATE),
        ],
        update_state,
    )
    .since(IOS18),
];

/// The tensor type that a state holds.
fn held<'p>(op: &OpView<'p>, param: &str) -> Result<&'p TensorType, ParamError> {
    let ty = op.ty(param).ok_or_else(|| ParamError::Missing {
        param: param.to_owned(),
    })?;
    match ty {
        ValueType::State(inner) => inner.as_tensor(),
        _ => None,
    }
    .ok_or_else(|| ParamError::Type {
        param: param.to_owned(),
        wanted: "a state of a tensor".into(),
        found: ty.to_string(),
    })
}

fn fits(op: &OpView<'_>, state: &TensorType, param: &str) -> Result<(), ParamError> {
    let value = op.tensor(param)?;
    if value.dtype == state.dtype && merge_shapes(&value.shape, &state.shape).is_some() {
        return Ok(());
    }
    Err(ParamError::Type {
        param: param.to_owned(),
        wanted: format!("the state's {state}"),
        found: value.to_string(),
    })
}

fn read_state(op: &OpView<'_>) -> Types {
    Ok(vec![held(op, "input")?.clone().into()])
}

fn write_state(op: &OpView<'_>) -> Types {
    fits(op, held(op, "input")?, "data")?;
    Ok(Vec::new())
}

fn update_state(op: &OpView<'_>) -> Types {
    let state = held(op, "state")?;
    fits(op, state, "value")?;
    Ok(vec![state.clone().into()])
}
