//! Recurrent layers.

use super::Default::{Bool, Str};
use super::Opset::{IOS17, IOS18};
use super::domain::{BOOL, RECURRENT, STRING};
use super::{OpDef, Opset, Param};
use super::infer::{Types, bool, choice, ranked, shaped, tensor};
use crate::shape;
use crate::types::Dim;
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

/// Names that the two definitions of the format and its writers use.
const ACTIVATIONS: &[&str] = &[
    "tanh",
    "scaled_tanh",
    "sigmoid",
    "hard_sigmoid",
    "sigmoid_hard",
    "relu",
    "linear",
];

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
            Param::scalar("clip", RECURRENT).optional("no clipping of the cell state"),
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
            Param::scalar("reset_after", BOOL)
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

/// Sequence length, batch and hidden size; checks the weights against them.
/// `gates` is the number of matrices in one weight.
fn sizes(op: &OpView<'_>, gates: u64, directions: u64) -> Result<[Dim; 3], ParamError> {
    let x = ranked(op, "x", 3..=3)?;
    let [length, batch, input] = [x.shape[0], x.shape[1], x.shape[2]];
    let hidden = ranked(op, "weight_hh", 2..=2)?.shape[1];
    let rows = shape::map(hidden, |h| h.checked_mul(gates))?;
    shaped(op, "weight_ih", &[rows, input])?;
    shaped(op, "weight_hh", &[rows, hidden])?;
    shaped(op, "bias", &[rows])?;
    let state = shape::map(hidden, |h| h.checked_mul(directions))?;
    shaped(op, "initial_h", &[batch, state])?;
    Ok([length, batch, hidden])
}

/// The types of the sequence and of `states` last states.
fn outputs(op: &OpView<'_>, [length, batch, hidden]: [Dim; 3], states: usize) -> Types {
    let dtype = op.tensor("x")?.dtype;
    let steps = if bool(op, "output_sequence")? { length } else { Dim::Known(1) };
    let mut types = tensor(dtype, [steps, batch, hidden])?;
    for _ in 0..states {
        types.extend(tensor(dtype, [batch, hidden])?);
    }
    Ok(types)
}

/// Checks parameters that name activation functions.
fn activations(op: &OpView<'_>, params: &[&str]) -> Result<(), ParamError> {
    for param in params {
        choice(op, param, ACTIVATIONS)?;
    }
    Ok(())
}

fn lstm(op: &OpView<'_>) -> Types {
    activations(op, &["recurrent_activation", "cell_activation", "activation"])?;
    let direction = choice(op, "direction", &["forward", "reverse", "bidirectional"])?;
    let directions = if direction == "bidirectional" { 2 } else { 1 };
    let [length, batch, hidden] = sizes(op, 4, directions)?;
    let three = shape::map(hidden, |h| h.checked_mul(3))?;
    shaped(op, "peephole", &[three])?;
    let state = shape::map(hidden, |h| h.checked_mul(directions))?;
    shaped(op, "initial_c", &[batch, state])?;
    if directions == 2 {
        let rows = shape::map(hidden, |h| h.checked_mul(4))?;
        op.tensor("weight_ih_back")?;
        op.tensor("weight_hh_back")?;
        shaped(op, "weight_ih_back", &[rows, op.tensor("x")?.shape[2]])?;
        shaped(op, "weight_hh_back", &[rows, hidden])?;
        shaped(op, "bias_back", &[rows])?;
        shaped(op, "peephole_back", &[three])?;
    }
    outputs(op, [length, batch, state], 2)
}

fn gru(op: &OpView<'_>) -> Types {
    activations(op, &["recurrent_activation", "activation"])?;
    choice(op, "direction", &["forward", "reverse"])?;
    let sizes = sizes(op, 3, 1)?;
    outputs(op, sizes, 1)
}

fn rnn(op: &OpView<'_>) -> Types {
    activations(op, &["activation"])?;
    choice(op, "direction", &["forward", "reverse"])?;
    let sizes = sizes(op, 1, 1)?;
    outputs(op, sizes, 1)
}
