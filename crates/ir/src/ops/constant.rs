//! `const`.

use super::OpDef;
use crate::types::ValueType;
use crate::view::{OpView, ParamError};

pub(super) static DEFS: &[OpDef] = &[OpDef::new(
    "const",
    "A constant, written in the spec or in a weight file (attribute `val`).",
    &[],
    infer,
)];

fn infer(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    match op.op.attribute("val") {
        Some(constant) => Ok(vec![constant.ty.clone()]),
        None => Err(ParamError::Missing {
            param: "val".into(),
        }),
    }
}
