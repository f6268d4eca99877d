//! Recurrent layers: `lstm`, `gru` and `rnn`.
//!
//! The products of the inputs with their weights are one product over the
//! whole sequence; only those of the hidden state are made step by step.
//!
//! Output 0 of a `reverse` layer is in the order of processing: the state after
//! the first element of the sequence comes last. The backward half of a
//! `bidirectional` lstm is in the order of the sequence.

use candle_core::{Device, Tensor};

use super::check::{Result, elements};
use super::float::{Float, given, with_float};
use super::{layout, linear, parallel};
use crate::call::{Call, Outputs};
use crate::error::KernelError;

/// `lstm`; clips the cell state, and peepholes of the output gate see the new
/// cell state.
pub(crate) fn lstm(call: &Call<'_>) -> Outputs {
    let x = call.tensor("x")?.data;
    with_float!("x", x, T => lstm_of::<T>(call, &x))
}

/// `gru`; the reset gate acts on the hidden state before its product, or after
/// it with `reset_after`.
pub(crate) fn gru(call: &Call<'_>) -> Outputs {
    let x = call.tensor("x")?.data;
    with_float!("x", x, T => gru_of::<T>(call, &x))
}

/// `rnn`.
pub(crate) fn rnn(call: &Call<'_>) -> Outputs {
    let x = call.tensor("x")?.data;
    with_float!("x", x, T => rnn_of::<T>(call, &x))
}

#[derive(Clone, Copy)]
enum Activation {
    HardSigmoid,
    Linear,
    Relu,
    Sigmoid,
    Tanh,
}

impl Activation {
    fn of(call: &Call<'_>, param: &str, default: &str) -> Result<Self> {
        let given = call.string(param)?;
        match given
            .as_deref()
            .unwrap_or(default)
            .to_ascii_lowercase()
            .as_str()
        {
            "hard_sigmoid" | "sigmoid_hard" => Ok(Self::HardSigmoid),
            "linear" => Ok(Self::Linear),
            "relu" => Ok(Self::Relu),
            "sigmoid" => Ok(Self::Sigmoid),
            // The scale of `scaled_tanh` cannot be given; it is 1.
            "tanh" | "scaled_tanh" => Ok(Self::Tanh),
            other => Err(KernelError::param(
                param,
                format!(
                    "{other:?} is none of hard_sigmoid, linear, relu, scaled_tanh, sigmoid, tanh"
                ),
            )),
        }
    }

    #[inline(always)]
    fn apply<T: Float>(self, v: &mut [T]) {
        match self {
            Self::Linear => {}
            Self::HardSigmoid => {
                let (slope, half) = (T::from_f64(0.2), T::from_f64(0.5));
                let (zero, one) = (T::default(), T::from_f64(1.0));
                for v in v {
                    let y = *v * slope + half;
                    let y = if y < zero { zero } else { y };
                    *v = if y > one { one } else { y };
                }
            }
            Self::Relu => {
                for v in v {
                    *v = if *v < T::default() { T::default() } else { *v };
                }
            }
            Self::Sigmoid => v.iter_mut().for_each(|v| *v = v.sigmoid()),
            Self::Tanh => v.iter_mut().for_each(|v| *v = v.tanh()),
        }
    }
}

/// Sizes of a layer.
#[derive(Clone, Copy)]
struct Sizes {
    steps: usize,
    batch: usize,
    input: usize,
    hidden: usize,
}

impl Sizes {
    /// `x` is [steps, batch, input], `weight_hh` has a column for each hidden
    /// unit.
    fn of(call: &Call<'_>, x: &Tensor) -> Result<Self> {
        let &[steps, batch, input] = x.dims() else {
            return Err(KernelError::param(
                "x",
                format!("has shape {:?}, expected [S, B, I]", x.dims()),
            ));
        };
        let weight = call.tensor("weight_hh")?;
        let &[_, hidden] = weight.dims() else {
            return Err(KernelError::param(
                "weight_hh",
                format!("has shape {:?}, expected two dimensions", weight.dims()),
            ));
        };
        if steps == 0 || hidden == 0 {
            return Err(KernelError::mismatch(format!(
                "a layer of {hidden} hidden units over {steps} steps has no output"
            )));
        }
        Ok(Self {
            steps,
            batch,
            input,
            hidden,
        })
    }
}

/// Whether the sequence is processed from its last element to its first.
fn is_reverse(call: &Call<'_>) -> Result<bool> {
    match call.string("direction")?.as_deref().unwrap_or("forward") {
        "forward" => Ok(false),
        "reverse" => Ok(true),
        other => Err(KernelError::param(
            "direction",
            format!("{other:?} is neither forward nor reverse"),
        )),
    }
}

/// A parameter that must be given, of shape `dims`.
fn needed<T: Float>(call: &Call<'_>, param: &str, dims: &[usize]) -> Result<Vec<T>> {
    call.tensor(param)?;
    Ok(given(call, param, dims)?.unwrap_or_default())
}

/// An initial state: a line of `width` elements for each sample. Lines beyond
/// the batch are ignored, as Core ML does (coremltools makes such a state when
/// it converts a packed sequence whose batch comes first).
fn initial<T: Float>(
    call: &Call<'_>,
    param: &str,
    batch: usize,
    width: usize,
) -> Result<Vec<T>> {
    let lines = match call.tensor(param)?.dims() {
        &[lines, own] if own == width && lines > batch => lines,
        _ => batch,
    };
    let mut state = needed::<T>(call, param, &[lines, width])?;
    state.truncate(batch * width);
    Ok(state)
}

/// `x * weight^T + biases` for every step: [steps, batch, rows].
fn projected<T: Float>(
    call: &Call<'_>,
    x: &Tensor,
    weight: &str,
    sizes: Sizes,
    rows: usize,
    biases: &[&[T]],
) -> Result<Vec<T>> {
    let w = call.tensor(weight)?;
    if w.dims() != [rows, sizes.input] {
        return Err(KernelError::param(
            weight,
            format!(
                "has shape {:?}, expected [{rows}, {}]",
                w.dims(),
                sizes.input
            ),
        ));
    }
    let dims = [sizes.steps, sizes.batch, rows];
    let mut gates = if sizes.input == 0 || elements("x", &dims)? == 0 {
        layout::zeros(&dims)?
    } else {
        layout::to_vec::<T>(&linear::multiply(x, &w.data.t()?, None)?)?
    };
    for bias in biases {
        for line in gates.chunks_exact_mut(rows) {
            for (y, &b) in line.iter_mut().zip(*bias) {
                *y += b;
            }
        }
    }
    Ok(gates)
}

/// Adds `weight * h` to every line of `sums`: `weight` is [rows, hidden], a
/// line of `h` has `hidden` elements, one of `sums` has `rows`.
fn add_product<T: Float>(weight: &[T], h: &[T], hidden: usize, sums: &mut [T]) {
    const GROUP: usize = 4;
    const PARALLEL: usize = 1 << 18;
    let rows = weight.len() / hidden;
    let part = |weight: &[T], h: &[T], sums: &mut [T]| {
        T::wide(
            #[inline(always)]
            || {
                let groups = sums.chunks_mut(GROUP).zip(weight.chunks(GROUP * hidden));
                for (sums, weight) in groups {
                    if let Some(products) = dot::<T, GROUP>(weight, h) {
                        for (sum, product) in sums.iter_mut().zip(products) {
                            *sum += product;
                        }
                        continue;
                    }
                    for (sum, weight) in sums.iter_mut().zip(weight.chunks_exact(hidden)) {
                        *sum += dot::<T, 1>(weight, h).map_or(T::default(), |[d]| d);
                    }
                }
            },
        );
    };
    for (h, sums) in h.chunks_exact(hidden).zip(sums.chunks_exact_mut(rows)) {
        if weight.len() < PARALLEL {
            part(weight, h, sums);
        } else {
            let chunk = (PARALLEL / 4).div_ceil(hidden).next_multiple_of(GROUP);
            parallel::chunks(sums, chunk, 1, &|index, sums| {
                part(&weight[index * chunk * hidden..][..sums.len() * hidden], h, sums);
            });
        }
    }
}

/// The products of `N` rows with a vector; `None` if there are fewer rows. The
/// order of the sum is the same for every `N`.
#[inline(always)]
fn dot<T: Float, const N: usize>(rows: &[T], v: &[T]) -> Option<[T; N]> {
    const LANES: usize = 16;
    if rows.len() != N * v.len() {
        return None;
    }
    let mut lanes = [[T::default(); LANES]; N];
    let (whole, rest) = v.as_chunks::<LANES>();
    for (n, lanes) in lanes.iter_mut().enumerate() {
        let (row, tail) = rows[n * v.len()..][..v.len()].as_chunks::<LANES>();
        for (a, b) in row.iter().zip(whole) {
            for i in 0..LANES {
                lanes[i] += a[i] * b[i];
            }
        }
        for ((lane, &a), &b) in lanes.iter_mut().zip(tail).zip(rest) {
            *lane += a * b;
        }
    }
    Some(lanes.map(|mut lanes| {
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                let other = lanes[i + half];
                lanes[i] += other;
            }
        }
        lanes[0]
    }))
}

/// Runs the steps in the order of processing. `step` gets the gates of the
/// inputs and updates the hidden state. Returns all hidden states if
/// `sequence`, else the last.
fn unrolled<T: Float>(
    mut gates: Vec<T>,
    steps: usize,
    reverse: bool,
    sequence: bool,
    hidden: &mut [T],
    mut step: impl FnMut(&mut [T], &mut [T]),
) -> Vec<T> {
    let mut all = Vec::new();
    let len = gates.len() / steps;
    for i in 0..steps {
        let t = if reverse { steps - 1 - i } else { i };
        step(&mut gates[t * len..][..len], hidden);
        if sequence {
            all.extend_from_slice(hidden);
        }
    }
    if !sequence {
        all.extend_from_slice(hidden);
    }
    all
}

/// The functions of an lstm.
#[derive(Clone, Copy)]
struct LstmRule<T> {
    recurrent: Activation,
    cell: Activation,
    output: Activation,
    clip: Option<T>,
}

impl<T: Float> LstmRule<T> {
    /// One step of one sample: `gates` holds input, forget, output, cell.
    #[inline(always)]
    fn step(&self, gates: &mut [T], peephole: Option<&[T]>, h: &mut [T], c: &mut [T]) {
        let n = c.len();
        let (input, rest) = gates.split_at_mut(n);
        let (forget, rest) = rest.split_at_mut(n);
        let (output, cell) = rest.split_at_mut(n);
        let look = |gate: &mut [T], which: usize, c: &[T]| {
            if let Some(weights) = peephole {
                for ((g, &w), &c) in gate.iter_mut().zip(&weights[which * n..]).zip(c) {
                    *g += w * c;
                }
            }
        };
        look(input, 0, c);
        look(forget, 1, c);
        self.recurrent.apply(input);
        self.recurrent.apply(forget);
        self.cell.apply(cell);
        for (((c, &f), &i), &z) in c.iter_mut().zip(&*forget).zip(&*input).zip(&*cell) {
            *c = f * *c + i * z;
        }
        if let Some(limit) = self.clip {
            let lowest = T::default() - limit;
            for c in c.iter_mut() {
                let low = if *c < lowest { lowest } else { *c };
                *c = if low > limit { limit } else { low };
            }
        }
        look(output, 2, c);
        self.recurrent.apply(output);
        h.copy_from_slice(c);
        self.output.apply(h);
        for (h, &o) in h.iter_mut().zip(&*output) {
            *h *= o;
        }
    }
}

/// What one direction of an lstm gives: hidden states, the last one, the last
/// cell state.
type Way<T> = (Vec<T>, Vec<T>, Vec<T>);

fn lstm_of<T: Float>(call: &Call<'_>, x: &Tensor) -> Outputs {
    let sizes = Sizes::of(call, x)?;
    let ways: &[bool] = match call.string("direction")?.as_deref().unwrap_or("forward") {
        "bidirectional" => &[false, true],
        "forward" => &[false],
        "reverse" => &[true],
        other => {
            return Err(KernelError::param(
                "direction",
                format!("{other:?} is none of forward, reverse, bidirectional"),
            ));
        }
    };
    let clip = call.float("clip")?;
    if clip.is_some_and(|limit| limit.is_nan() || limit < 0.0) {
        return Err(KernelError::param("clip", "must be a number of at least 0"));
    }
    let rule = LstmRule {
        recurrent: Activation::of(call, "recurrent_activation", "sigmoid")?,
        cell: Activation::of(call, "cell_activation", "tanh")?,
        output: Activation::of(call, "activation", "tanh")?,
        clip: clip.map(T::from_f64),
    };
    let sequence = call.bool("output_sequence")?.unwrap_or(false);
    let both = ways.len() == 2;
    let columns = ways.len() * sizes.hidden;
    let h = initial::<T>(call, "initial_h", sizes.batch, columns)?;
    let c = initial::<T>(call, "initial_c", sizes.batch, columns)?;
    let run = |way: usize| -> Result<Way<T>> {
        let columns = |all: &[T]| -> Vec<T> {
            let lines = all.chunks_exact(ways.len() * sizes.hidden);
            lines
                .flat_map(|line| &line[way * sizes.hidden..][..sizes.hidden])
                .copied()
                .collect()
        };
        let name = |stem: &str| match way {
            0 => stem.to_owned(),
            _ => format!("{stem}_back"),
        };
        let (h, c) = (columns(&h), columns(&c));
        lstm_way(call, x, sizes, &name, ways[way], sequence, &rule, h, c)
    };
    let made: Vec<Way<T>> = if both {
        let (forward, backward) = (run(0)?, run(1)?);
        vec![forward, backward]
    } else {
        vec![run(0)?]
    };
    let steps = if sequence { sizes.steps } else { 1 };
    let (mut all, mut last_h, mut last_c) = (Vec::new(), Vec::new(), Vec::new());
    for (way, (y, h, c)) in made.into_iter().enumerate() {
        let y = Tensor::from_vec(y, (steps, sizes.batch, sizes.hidden), &Device::Cpu)?;
        all.push(if way == 1 && steps > 1 {
            y.flip(&[0])?
        } else {
            y
        });
        let state = |v| Tensor::from_vec(v, (sizes.batch, sizes.hidden), &Device::Cpu);
        last_h.push(state(h)?);
        last_c.push(state(c)?);
    }
    Ok(vec![
        call.output(0, Tensor::cat(&all, 2)?)?,
        call.output(1, Tensor::cat(&last_h, 1)?)?,
        call.output(2, Tensor::cat(&last_c, 1)?)?,
    ])
}

#[allow(
    clippy::too_many_arguments,
    reason = "what a direction is made of; a struct would be built and taken apart once"
)]
fn lstm_way<T: Float>(
    call: &Call<'_>,
    x: &Tensor,
    sizes: Sizes,
    name: &dyn Fn(&str) -> String,
    reverse: bool,
    sequence: bool,
    rule: &LstmRule<T>,
    mut h: Vec<T>,
    mut c: Vec<T>,
) -> Result<Way<T>> {
    let hidden = sizes.hidden;
    let rows = rows_of(4, hidden)?;
    let bias = given::<T>(call, &name("bias"), &[rows])?.unwrap_or_default();
    let peephole = given::<T>(call, &name("peephole"), &[rows - hidden])?;
    let weight = needed::<T>(call, &name("weight_hh"), &[rows, hidden])?;
    let gates = projected(call, x, &name("weight_ih"), sizes, rows, &[&bias])?;
    let y = unrolled(gates, sizes.steps, reverse, sequence, &mut h, |gates, h| {
        add_product(&weight, h, hidden, gates);
        let states = h.chunks_exact_mut(hidden).zip(c.chunks_exact_mut(hidden));
        for (gates, (h, c)) in gates.chunks_exact_mut(rows).zip(states) {
            T::wide(
                #[inline(always)]
                || rule.step(gates, peephole.as_deref(), h, c),
            );
        }
    });
    Ok((y, h, c))
}

fn rows_of(gates: usize, hidden: usize) -> Result<usize> {
    gates
        .checked_mul(hidden)
        .ok_or_else(|| KernelError::param("weight_hh", format!("{hidden} columns are too many")))
}

fn gru_of<T: Float>(call: &Call<'_>, x: &Tensor) -> Outputs {
    let sizes = Sizes::of(call, x)?;
    let (batch, hidden) = (sizes.batch, sizes.hidden);
    let rows = rows_of(3, hidden)?;
    let reverse = is_reverse(call)?;
    let sequence = call.bool("output_sequence")?.unwrap_or(false);
    let reset_after = call.bool("reset_after")?.unwrap_or(false);
    let recurrent = Activation::of(call, "recurrent_activation", "sigmoid")?;
    let activation = Activation::of(call, "activation", "tanh")?;
    let mut h = initial::<T>(call, "initial_h", batch, hidden)?;
    let weight = needed::<T>(call, "weight_hh", &[rows, hidden])?;
    let bias = given::<T>(call, "bias", &[rows])?.unwrap_or_default();
    let input_bias = given::<T>(call, "input_bias", &[rows])?.unwrap_or_default();
    // After the product, the reset gate acts on the bias of the product too.
    let biases: &[&[T]] = if reset_after {
        &[&input_bias]
    } else {
        &[&input_bias, &bias]
    };
    let gates = projected(call, x, "weight_ih", sizes, rows, biases)?;
    // The rows are reset, new, update; so those of the gates are not together.
    let (reset_weight, rest) = weight.split_at(hidden * hidden);
    let (new_weight, update_weight) = rest.split_at(hidden * hidden);
    let mut product = vec![T::default(); hidden];
    let mut state = vec![T::default(); hidden];
    let y = unrolled(gates, sizes.steps, reverse, sequence, &mut h, |gates, h| {
        for (gates, h) in gates.chunks_exact_mut(rows).zip(h.chunks_exact_mut(hidden)) {
            let (reset, rest) = gates.split_at_mut(hidden);
            let (new, update) = rest.split_at_mut(hidden);
            if reset_after && !bias.is_empty() {
                add(reset, &bias[..hidden]);
                add(update, &bias[2 * hidden..]);
                product.copy_from_slice(&bias[hidden..2 * hidden]);
            } else {
                product.fill(T::default());
            }
            add_product(reset_weight, h, hidden, reset);
            add_product(update_weight, h, hidden, update);
            T::wide(|| recurrent.apply(reset));
            T::wide(|| recurrent.apply(update));
            if reset_after {
                add_product(new_weight, h, hidden, &mut product);
                for ((n, &r), &p) in new.iter_mut().zip(&*reset).zip(&product) {
                    *n += r * p;
                }
            } else {
                for ((s, &r), &h) in state.iter_mut().zip(&*reset).zip(&*h) {
                    *s = r * h;
                }
                add_product(new_weight, &state, hidden, new);
            }
            T::wide(|| activation.apply(new));
            for ((h, &n), &z) in h.iter_mut().zip(&*new).zip(&*update) {
                *h = (T::from_f64(1.0) - z) * n + z * *h;
            }
        }
    });
    sequence_and_last(call, sizes, sequence, y, h)
}

fn add<T: Float>(sums: &mut [T], v: &[T]) {
    for (sum, &v) in sums.iter_mut().zip(v) {
        *sum += v;
    }
}

fn rnn_of<T: Float>(call: &Call<'_>, x: &Tensor) -> Outputs {
    let sizes = Sizes::of(call, x)?;
    let (batch, hidden) = (sizes.batch, sizes.hidden);
    let reverse = is_reverse(call)?;
    let sequence = call.bool("output_sequence")?.unwrap_or(false);
    let activation = Activation::of(call, "activation", "tanh")?;
    let mut h = initial::<T>(call, "initial_h", batch, hidden)?;
    let weight = needed::<T>(call, "weight_hh", &[hidden, hidden])?;
    let bias = given::<T>(call, "bias", &[hidden])?.unwrap_or_default();
    let gates = projected(call, x, "weight_ih", sizes, hidden, &[&bias])?;
    let y = unrolled(gates, sizes.steps, reverse, sequence, &mut h, |gates, h| {
        add_product(&weight, h, hidden, gates);
        T::wide(|| activation.apply(gates));
        h.copy_from_slice(gates);
    });
    sequence_and_last(call, sizes, sequence, y, h)
}

fn sequence_and_last<T: Float>(
    call: &Call<'_>,
    sizes: Sizes,
    sequence: bool,
    all: Vec<T>,
    last: Vec<T>,
) -> Outputs {
    let steps = if sequence { sizes.steps } else { 1 };
    let all = Tensor::from_vec(all, (steps, sizes.batch, sizes.hidden), &Device::Cpu)?;
    let last = Tensor::from_vec(last, (sizes.batch, sizes.hidden), &Device::Cpu)?;
    Ok(vec![call.output(0, all)?, call.output(1, last)?])
}
