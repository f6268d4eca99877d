//! Convolutions.

use super::Default::{Int, Str};
use super::Opset::IOS17;
use super::domain::{FLOAT, FLOAT_U, INT32, STRING};
use super::{Domain, OpDef, Opset, Param};
use crate::types::DataType::UInt8;
use crate::types::ValueType;
use crate::view::{OpView, ParamError};

const BYTES_U: &[Domain] = &[Domain::new("U", &[UInt8])];

const STRIDES: Param =
    Param::constant("strides", INT32).optional("1 along each spatial dimension");
const DILATIONS: Param =
    Param::constant("dilations", INT32).optional("1 along each spatial dimension");
const PAD: Param = Param::constant("pad", INT32).optional("0 on every side");
const PAD_TYPE: Param = Param::constant("pad_type", STRING).or(Str("valid"));
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
            Param::constant("quantization_type", STRING),
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

fn conv(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn conv_transpose(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
