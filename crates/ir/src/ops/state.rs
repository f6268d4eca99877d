//! States that outlive a prediction.

use super::Opset::IOS18;
use super::domain::STATE;
use super::{Kind, OpDef, Param};
use crate::types::ValueType;
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

fn read_state(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn write_state(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn update_state(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
