//! Quantising activations.

use super::Opset::IOS17;
use super::domain::{INT32, STRING};
use super::{Domain, OpDef, Param};
use crate::types::DataType::{Float16, Float32, Int8, UInt8};
use super::infer::{self, Types, int, shaped, tensor};
use crate::shape;
use crate::view::{OpView, ParamError};

const FLOAT_SOURCE: &[Domain] = &[Domain::new("SrcT", &[Float16, Float32])];
const BYTE_RESULT: &[Domain] = &[Domain::new("DstT", &[UInt8, Int8])];
const BYTE_SOURCE: &[Domain] = &[Domain::new("SrcT", &[UInt8, Int8])];
const FLOAT_RESULT: &[Domain] = &[Domain::new("DstT", &[Float16, Float32])];

const AXIS: Param = Param::scalar("axis", INT32).optional("one scale for the whole tensor");

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new(
        "quantize",
        "`clamp(round(input / scale) + zero_point)` as `output_dtype`.",
        &[
            Param::value("input", FLOAT_SOURCE),
            Param::constant("zero_point", BYTE_RESULT).optional("0"),
            Param::constant("scale", FLOAT_SOURCE),
            AXIS,
            Param::scalar("output_dtype", STRING),
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

/// Demands that scale and zero point are scalars, or vectors along `axis`.
fn scales(op: &OpView<'_>) -> Result<(), ParamError> {
    let input = op.tensor("input")?;
    let wanted = match op.tensor("scale")?.shape.is_empty() {
        true => Vec::new(),
        false => {
            let axis = shape::axis("axis", int(op, "axis")?, input.shape.len())?;
            vec![input.shape[axis]]
        }
    };
    shaped(op, "scale", &wanted)?;
    shaped(op, "zero_point", &wanted)
}

fn quantize(op: &OpView<'_>) -> Types {
    scales(op)?;
    let dtype = infer::dtype(op, "output_dtype", &[Int8, UInt8])?;
    if op.opt_tensor("zero_point")?.is_some_and(|z| z.dtype != dtype) {
        return Err(ParamError::value(
            "zero_point",
            format!("must be of type {dtype}, as `output_dtype` says"),
        ));
    }
    tensor(dtype, op.tensor("input")?.shape.clone())
}

fn dequantize(op: &OpView<'_>) -> Types {
    scales(op)?;
    tensor(op.tensor("scale")?.dtype, op.tensor("input")?.shape.clone())
}
