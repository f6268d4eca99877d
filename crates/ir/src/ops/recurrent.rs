//! Recurrent layers.

use super::Default::{Bool, Str};
use super::Opset::{IOS17, IOS18};
use super::domain::{BOOL, RECURRENT, STRING};
use super::{OpDef, Opset, Param};
use crate::types::ValueType;
use crate::view::{OpView, ParamError};

const X: Param = Param::value("x", RECURRENT);
const INITIAL_H: Param = Param::value("initial_h", RECURRENT);
const WEIGHT_IH: Param = Param::constant("weight_ih", RECURRENT);
const WEIGHT_HH: Param = Param::constant("weight_hh", RECURRENT);
const BIAS: Param = Param::constant("bias", RECURRENT).optional("no bias");
const DIRECTION: Param = Param::constant("direction", STRING).or(Str("forward"));
const OUTPUT_SEQUENCE: Param = Param::constant("output_sequence", BOOL).or(Bool(false));
const ACTIVATION: Param = Param::constant("activation", STRING).or(Str("tanh"));
const RECURRENT_ACTIVATION: Param =
    Param::constant("recurrent_activation", STRING).or(Str("sigmoid"));

const FP16: (Opset, &str) = (IOS17, "also fp16");

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new(
        "lstm",
        "Long short-term memory over `x` [S, B, I]: gates in the order input, forget, output, \
         cell; `weight_ih` [4*H, I], `weight_hh` [4*H, H]. `direction` is `forward`, `reverse` or \
         `bidirectional`. Gives the hidden states (all with `output_sequence`, else the last), \
         the last hidden state and the last cell state.",
        &[
            X,
            INITIAL_H,
            Param::value("initial_c", RECURRENT),
            WEIGHT_IH,
            WEIGHT_HH,
            BIAS,
            Param::constant("peephole", RECURRENT).optional("no peepholes"),
            Param::constant("weight_ih_back", RECURRENT).optional("one direction"),
            Param::constant("weight_hh_back", RECURRENT).optional("one direction"),
            Param::constant("bias_back", RECURRENT).optional("no bias"),
            Param::constant("peephole_back", RECURRENT).optional("no peepholes"),
            DIRECTION,
            OUTPUT_SEQUENCE,
            RECURRENT_ACTIVATION,
            Param::constant("cell_activation", STRING).or(Str("tanh")),
            ACTIVATION,
            Param::constant("clip", RECURRENT).optional("no clipping of the cell state"),
        ],
        lstm,
    )
    .changes(&[FP16]),
    OpDef::new(
        "gru",
        "Gated recurrent unit over `x` [S, B, I]: gates in the order reset, output, update; \
         `weight_ih` [3*H, I], `weight_hh` [3*H, H]. Gives the hidden states (all with \
         `output_sequence`, else the last) and the last hidden state.",
        &[
            X,
            INITIAL_H,
            WEIGHT_IH,
            WEIGHT_HH,
            BIAS,
            DIRECTION,
            OUTPUT_SEQUENCE,
            RECURRENT_ACTIVATION,
            ACTIVATION,
            Param::constant("reset_after", BOOL)
                .since(IOS18)
                .optional("the reset gate acts before the recurrent product"),
            Param::constant("input_bias", RECURRENT)
                .since(IOS18)
                .optional("no input bias"),
        ],
        gru,
    )
    .changes(&[FP16, (IOS18, "`reset_after`, `input_bias`")]),
    OpDef::new(
        "rnn",
        "Simple recurrent layer over `x` [S, B, I]; `weight_ih` [H, I], `weight_hh` [H, H]. Gives \
         the hidden states (all with `output_sequence`, else the last) and the last hidden state.",
        &[
            X,
            INITIAL_H,
            WEIGHT_IH,
            WEIGHT_HH,
            BIAS,
            DIRECTION,
            OUTPUT_SEQUENCE,
            ACTIVATION,
        ],
        rnn,
    )
    .changes(&[FP16]),
];

fn lstm(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn gru(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn rnn(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
