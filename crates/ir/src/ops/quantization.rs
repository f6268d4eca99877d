//! Quantising activations.

use super::Opset::IOS17;
use super::domain::{INT32, STRING};
use super::{Domain, OpDef, Param};
use crate::types::DataType::{Float16, Float32, Int8, UInt8};
use crate::types::ValueType;
use crate::view::{OpView, ParamError};

const FLOAT_SOURCE: &[Domain] = &[Domain::new("SrcT", &[Float16, Float32])];
const BYTE_RESULT: &[Domain] = &[Domain::new("DstT", &[UInt8, Int8])];
const BYTE_SOURCE: &[Domain] = &[Domain::new("SrcT", &[UInt8, Int8])];
const FLOAT_RESULT: &[Domain] = &[Domain::new("DstT", &[Float16, Float32])];

const AXIS: Param = Param::constant("axis", INT32).optional("one scale for the whole tensor");

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new(
        "quantize",
        "`clamp(round(input / scale) + zero_point)` as `output_dtype`.",
        &[
            Param::value("input", FLOAT_SOURCE),
            Param::constant("zero_point", BYTE_RESULT).optional("0"),
            Param::constant("scale", FLOAT_SOURCE),
            AXIS,
            Param::constant("output_dtype", STRING),
        ],
        quantize,
    )
    .since(IOS17),
    OpDef::new(
        "dequantize",
        "`scale * (input - zero_point)`.",
        &[
            Param::value("input", BYTE_SOURCE),
            Param::constant("zero_point", BYTE_SOURCE).optional("0"),
            Param::constant("scale", FLOAT_RESULT),
            AXIS,
        ],
        dequantize,
    )
    .since(IOS17),
];

fn quantize(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn dequantize(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
