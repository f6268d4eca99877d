//! Convolutions.

use super::Default::{Int, Str};
use super::Opset::IOS17;
use super::domain::{FLOAT, FLOAT_U, INT32, STRING};
use super::{Domain, OpDef, Opset, Param};
use crate::types::DataType::UInt8;
use super::infer::{Types, positive, ranked, shaped, tensor};
use crate::shape::{self, mismatch, windows};
use crate::types::{Dim, TensorType};
use crate::view::{Given, OpView, ParamError};

const BYTES_U: &[Domain] = &[Domain::new("U", &[UInt8])];

const STRIDES: Param =
    Param::constant("strides", INT32).optional("1 along each spatial dimension");
const DILATIONS: Param =
    Param::constant("dilations", INT32).optional("1 along each spatial dimension");
const PAD: Param = Param::constant("pad", INT32).optional("0 on every side");
const PAD_TYPE: Param = Param::scalar("pad_type", STRING).or(Str("valid"));
const GROUPS: Param = Param::constant("groups", INT32).or(Int(1));

const CHANGES: &[(Opset, &str)] = &[(
    IOS17,
    "`weight` and `bias` may be of another float type than `x` and need not be constant",
)];

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new(
        "conv",
        "Convolution (cross-correlation) over 1 to 3 spatial dimensions: \
         `x` [N, C_in, *D], `weight` [C_out, C_in / groups, *K], `bias` [C_out]. `pad_type` is \
         `valid`, `same`, `same_lower` or `custom`; `pad` is before and after per dimension.",
        &[
            Param::value("x", FLOAT),
            Param::value("weight", FLOAT_U),
            Param::constant("bias", FLOAT_U)
                .variable_since(IOS17)
                .optional("no bias"),
            STRIDES,
            PAD_TYPE,
            PAD,
            DILATIONS,
            GROUPS,
        ],
        conv,
    )
    .changes(CHANGES),
    OpDef::new(
        "conv_transpose",
        "Transposed convolution: `x` [N, C_in, *D], `weight` [C_in, C_out / groups, *K], \
         `bias` [C_out]. `pad` is cut off the result.",
        &[
            Param::value("x", FLOAT),
            Param::constant("weight", FLOAT_U).variable_since(IOS17),
            Param::constant("bias", FLOAT_U)
                .variable_since(IOS17)
                .optional("no bias"),
            PAD,
            Param::constant("output_shape", INT32).optional("the full size, less `pad`"),
            PAD_TYPE,
            STRIDES,
            DILATIONS,
            GROUPS,
        ],
        conv_transpose,
    )
    .changes(CHANGES),
    OpDef::new(
        "conv_quantized",
        "Convolution with weights that are quantised to bytes.",
        &[
            Param::value("x", FLOAT),
            Param::value("weight", BYTES_U),
            Param::constant("bias", BYTES_U).optional("no bias"),
            Param::scalar("quantization_type", STRING),
            Param::constant("nbits", INT32).or(Int(8)),
            Param::constant("quant_scale", FLOAT),
            Param::constant("quant_bias", FLOAT),
            STRIDES,
            PAD_TYPE,
            PAD,
            DILATIONS,
            GROUPS,
        ],
        conv,
    ),
];

/// Kernel sizes of a weight `[_, _, *K]`.
fn kernel(weight: &TensorType) -> Result<Vec<u64>, ParamError> {
    weight.shape[2..]
        .iter()
        .map(|d| d.known())
        .collect::<Option<_>>()
        .ok_or_else(|| ParamError::Type {
            param: "weight".into(),
            wanted: "of fixed kernel size".into(),
            found: weight.to_string(),
        })
}

fn operands<'p>(op: &OpView<'p>) -> Result<(&'p TensorType, &'p TensorType, u64), ParamError> {
    let x = ranked(op, "x", 3..=5)?;
    let rank = x.shape.len();
    let weight = ranked(op, "weight", rank..=rank)?;
    Ok((x, weight, positive(op, "groups")?))
}

fn conv(op: &OpView<'_>) -> Types {
    let (x, weight, groups) = operands(op)?;
    let channels = shape::divide("the number of channels of `x`", x.shape[1], groups)?;
    if shape::merge(channels, weight.shape[1]).is_none() {
        return Err(mismatch(format!(
            "`x` has {} channels in {groups} group(s), but `weight` takes {} each",
            x.shape[1], weight.shape[1]
        )));
    }
    let out = weight.shape[0];
    shape::divide("the number of output channels", out, groups)?;
    shaped(op, "bias", &[out])?;
    let mut result = vec![x.shape[0], out];
    for (w, &size) in windows(op, &kernel(weight)?)?.iter().zip(&x.shape[2..]) {
        result.push(w.count_dim(size, false)?);
    }
    tensor(x.dtype, result)
}

fn conv_transpose(op: &OpView<'_>) -> Types {
    let (x, weight, groups) = operands(op)?;
    if shape::merge(x.shape[1], weight.shape[0]).is_none() {
        return Err(mismatch(format!(
            "`x` has {} channels, but `weight` takes {}",
            x.shape[1], weight.shape[0]
        )));
    }
    shape::divide("the number of channels of `x`", x.shape[1], groups)?;
    let out = shape::map(weight.shape[1], |n| n.checked_mul(groups))?;
    shaped(op, "bias", &[out])?;
    let mut result = vec![x.shape[0], out];
    for (w, &size) in windows(op, &kernel(weight)?)?.iter().zip(&x.shape[2..]) {
        result.push(match size {
            Dim::Known(n) => Dim::Known(w.transposed(n)?.0),
            other => other,
        });
    }
    if let Given::Known(wanted) = op.ints("output_shape")? {
        if wanted.len() != result.len() {
            return Err(ParamError::value(
                "output_shape",
                format!("has {} elements, but must have {}", wanted.len(), result.len()),
            ));
        }
        for (dim, &size) in result.iter_mut().zip(&wanted) {
            *dim = Dim::Known(shape::size("output_shape", size)?);
        }
    }
    tensor(x.dtype, result)
}
