//! Element-wise ops of one operand: math functions and activations.
//!
//! Formulas are those of the definitions in coremltools 9.0
//! (`iOS15/elementwise_unary.py`, `iOS15/activation.py`). NaN goes through
//! every function, as in numpy; `round` takes ties to even; integers wrap.

use candle_core::{DType, Tensor};

use super::binary::zip;
use super::build::{CHEAP, COSTLY, Element, fill, tensor};
use super::check::{Result, bad, need};
use super::float::{Float, with_float};
use super::layout::{View, contiguous, walkable};
use super::runs::{Place, Runs};
use crate::call::{Call, Outputs};

macro_rules! functions {
    ($($name:ident = $op:ident $({ $($param:ident),+ })?;)*) => {
        $(pub(crate) fn $name(call: &Call<'_>) -> Outputs {
            $($(let $param = need(stringify!($param), call.float(stringify!($param))?)?;)+)?
            call.one(unary(Unary::$op $({ $($param),+ })?, &call.tensor("x")?.data)?)
        })*
    };
}

functions! {
    abs = Abs;
    acos = Acos;
    asin = Asin;
    atan = Atan;
    atanh = Atanh;
    ceil = Ceil;
    cos = Cos;
    cosh = Cosh;
    erf = Erf;
    exp = Exp;
    exp2 = Exp2;
    floor = Floor;
    round = Round;
    sign = Sign;
    sin = Sin;
    sinh = Sinh;
    sqrt = Sqrt;
    square = Square;
    tan = Tan;
    tanh = Tanh;
    relu = Relu;
    relu6 = Relu6;
    sigmoid = Sigmoid;
    silu = Silu;
    softplus = Softplus;
    softsign = Softsign;
    inverse = Inverse { epsilon };
    log = Log { epsilon };
    rsqrt = Rsqrt { epsilon };
    clip = Clip { alpha, beta };
    threshold = Threshold { alpha };
    thresholded_relu = ThresholdedRelu { alpha };
    clamped_relu = ClampedRelu { alpha, beta };
    leaky_relu = LeakyRelu { alpha };
    elu = Elu { alpha };
    scaled_tanh = ScaledTanh { alpha, beta };
    sigmoid_hard = SigmoidHard { alpha, beta };
    linear_activation = LinearActivation { alpha, beta };
}

pub(crate) fn logical_not(call: &Call<'_>) -> Outputs {
    call.one(negated(&call.tensor("x")?.data)?)
}

pub(crate) fn prelu(call: &Call<'_>) -> Outputs {
    let (x, alpha) = (call.tensor("x")?, call.tensor("alpha")?);
    call.one(leaky_by_channel(&x.data, &alpha.data)?)
}

pub(crate) fn softplus_parametric(call: &Call<'_>) -> Outputs {
    let (x, alpha) = (call.tensor("x")?, call.tensor("alpha")?);
    let beta = call.tensor("beta")?;
    call.one(softplus_by_channel(&x.data, &alpha.data, &beta.data)?)
}

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Unary {
    Abs,
    Acos,
    Asin,
    Atan,
    Atanh,
    Ceil,
    Cos,
    Cosh,
    Erf,
    Exp,
    Exp2,
    Floor,
    Round,
    Sign,
    Sin,
    Sinh,
    Sqrt,
    Square,
    Tan,
    Tanh,
    Relu,
    Relu6,
    Sigmoid,
    Silu,
    Softplus,
    Softsign,
    /// `1 / (x + epsilon)`
    Inverse {
        epsilon: f64,
    },
    /// `ln(x + epsilon)`
    Log {
        epsilon: f64,
    },
    /// `1 / sqrt(x + epsilon)`
    Rsqrt {
        epsilon: f64,
    },
    /// `min(max(x, alpha), beta)`
    Clip {
        alpha: f64,
        beta: f64,
    },
    /// `max(x, alpha)`
    Threshold {
        alpha: f64,
    },
    /// `x` from `alpha` on, else 0
    ThresholdedRelu {
        alpha: f64,
    },
    /// `min(x, beta)` from 0 on, else `min(alpha * x, beta)`
    ClampedRelu {
        alpha: f64,
        beta: f64,
    },
    /// `x` from 0 on, else `alpha * x`
    LeakyRelu {
        alpha: f64,
    },
    /// `x` above 0, else `alpha * (exp(x) - 1)`
    Elu {
        alpha: f64,
    },
    /// `alpha * tanh(beta * x)`
    ScaledTanh {
        alpha: f64,
        beta: f64,
    },
    /// `min(max(alpha * x + beta, 0), 1)`
    SigmoidHard {
        alpha: f64,
        beta: f64,
    },
    /// `alpha * x + beta`
    LinearActivation {
        alpha: f64,
        beta: f64,
    },
}

/// Applies `f` to every element.
pub(crate) fn map<A: Element, B: Element>(
    x: &Tensor,
    grain: usize,
    f: impl Fn(A) -> B + Sync,
) -> Result<Tensor> {
    map_slices(x, grain, &|x: &[A], out: &mut [B]| {
        A::wide(
            #[inline(always)]
            || {
                for (out, &x) in out.iter_mut().zip(x) {
                    *out = f(x);
                }
            },
        );
    })
}

/// [`map`] by slices of one length. So only the loop over them is compiled for
/// each function.
fn map_slices<A: Element, B: Element>(
    x: &Tensor,
    grain: usize,
    f: &(dyn Fn(&[A], &mut [B]) + Sync),
) -> Result<Tensor> {
    let x = walkable(x)?;
    let dims = x.dims();
    let runs = Runs::new(dims, [&Place::broadcast(&x, dims)]);
    let [step] = runs.steps();
    let view = View::<A>::new(&x)?;
    let source = &*view;
    let data = fill(x.elem_count(), grain, &|start, out| {
        let mut to = 0;
        runs.for_each(start..start + out.len(), |len, [i]| {
            let out = &mut out[to..to + len];
            to += len;
            if step == 1 {
                f(&source[i..i + len], out);
            } else if let [first, rest @ ..] = out {
                // One value, repeated.
                f(&source[i..=i], std::slice::from_mut(first));
                rest.fill(*first);
            }
        });
    })?;
    tensor(data, dims)
}

/// Applies a function to every element.
///
/// # Errors
/// When the function is not defined for the type of `x`.
pub(crate) fn unary(op: Unary, x: &Tensor) -> Result<Tensor> {
    match x.dtype() {
        DType::F32 => float::<f32>(op, x),
        DType::F64 => float::<f64>(op, x),
        DType::I32 => i32::integer(op, x),
        DType::I64 => i64::integer(op, x),
        other => Err(bad(
            "x",
            format_args!("is held as {other:?}, expected numbers"),
        )),
    }
}

fn float<T: Float>(op: Unary, x: &Tensor) -> Result<Tensor> {
    let of = T::from_f64;
    let (zero, one) = (T::ZERO, of(1.0));
    match op {
        Unary::Abs => map::<T, T>(x, CHEAP, T::abs),
        Unary::Acos => map::<T, T>(x, COSTLY, T::acos),
        Unary::Asin => map::<T, T>(x, COSTLY, T::asin),
        Unary::Atan => map::<T, T>(x, COSTLY, T::atan),
        Unary::Atanh => map::<T, T>(x, COSTLY, T::atanh),
        Unary::Ceil => map::<T, T>(x, CHEAP, T::ceil),
        Unary::Cos => map::<T, T>(x, COSTLY, T::cos),
        Unary::Cosh => map::<T, T>(x, COSTLY, T::cosh),
        Unary::Erf => map::<T, T>(x, COSTLY, T::erf),
        Unary::Exp => map::<T, T>(x, COSTLY, T::exp),
        Unary::Exp2 => map::<T, T>(x, COSTLY, T::exp2),
        Unary::Floor => map::<T, T>(x, CHEAP, T::floor),
        Unary::Round => map::<T, T>(x, CHEAP, T::round_ties_even),
        Unary::Sign => map::<T, T>(x, CHEAP, |x| {
            if x > zero {
                one
            } else if x < zero {
                of(-1.0)
            } else {
                // Keeps NaN, and the sign of a zero.
                x
            }
        }),
        Unary::Sin => map::<T, T>(x, COSTLY, T::sin),
        Unary::Sinh => map::<T, T>(x, COSTLY, T::sinh),
        Unary::Sqrt => map::<T, T>(x, CHEAP, T::sqrt),
        Unary::Square => map::<T, T>(x, CHEAP, |x| x * x),
        Unary::Tan => map::<T, T>(x, COSTLY, T::tan),
        Unary::Tanh => map::<T, T>(x, COSTLY, T::tanh),
        Unary::Relu => map::<T, T>(x, CHEAP, |x| at_least(x, zero)),
        Unary::Relu6 => map::<T, T>(x, CHEAP, |x| at_most(at_least(x, zero), of(6.0))),
        Unary::Sigmoid => map::<T, T>(x, COSTLY, T::sigmoid),
        Unary::Silu => map::<T, T>(x, COSTLY, T::silu),
        Unary::Softplus => map::<T, T>(x, COSTLY, T::softplus),
        Unary::Softsign => map::<T, T>(x, CHEAP, |x| x / (one + x.abs())),
        Unary::Inverse { epsilon } => {
            let epsilon = of(epsilon);
            map::<T, T>(x, CHEAP, |x| one / (x + epsilon))
        }
        Unary::Log { epsilon } => {
            let epsilon = of(epsilon);
            map::<T, T>(x, COSTLY, |x| (x + epsilon).ln())
        }
        Unary::Rsqrt { epsilon } => {
            let epsilon = of(epsilon);
            map::<T, T>(x, CHEAP, |x| one / (x + epsilon).sqrt())
        }
        Unary::Clip { alpha, beta } => {
            let (alpha, beta) = (of(alpha), of(beta));
            map::<T, T>(x, CHEAP, |x| at_most(at_least(x, alpha), beta))
        }
        Unary::Threshold { alpha } => {
            let alpha = of(alpha);
            map::<T, T>(x, CHEAP, |x| at_least(x, alpha))
        }
        Unary::ThresholdedRelu { alpha } => {
            let alpha = of(alpha);
            map::<T, T>(x, CHEAP, |x| if x < alpha { zero } else { x })
        }
        Unary::ClampedRelu { alpha, beta } => {
            let (alpha, beta) = (of(alpha), of(beta));
            map::<T, T>(x, CHEAP, |x| {
                at_most(if x < zero { alpha * x } else { x }, beta)
            })
        }
        Unary::LeakyRelu { alpha } => {
            let alpha = of(alpha);
            map::<T, T>(x, CHEAP, |x| if x < zero { alpha * x } else { x })
        }
        Unary::Elu { alpha } => {
            let alpha = of(alpha);
            map::<T, T>(x, COSTLY, |x| if x < zero { alpha * x.exp_m1() } else { x })
        }
        Unary::ScaledTanh { alpha, beta } => {
            let (alpha, beta) = (of(alpha), of(beta));
            map::<T, T>(x, COSTLY, |x| alpha * (beta * x).tanh())
        }
        Unary::SigmoidHard { alpha, beta } => {
            let (alpha, beta) = (of(alpha), of(beta));
            map::<T, T>(x, CHEAP, |x| {
                at_most(at_least(alpha * x + beta, zero), one)
            })
        }
        Unary::LinearActivation { alpha, beta } => {
            let (alpha, beta) = (of(alpha), of(beta));
            map::<T, T>(x, CHEAP, |x| alpha * x + beta)
        }
    }
}

/// `max(x, low)`, NaN if `x` is.
#[inline(always)]
fn at_least<T: Float>(x: T, low: T) -> T {
    if x < low { low } else { x }
}

/// `min(x, high)`, NaN if `x` is.
#[inline(always)]
fn at_most<T: Float>(x: T, high: T) -> T {
    if x > high { high } else { x }
}

/// The functions that MIL defines for integers.
trait Integer: Element {
    fn integer(op: Unary, x: &Tensor) -> Result<Tensor>;
}

macro_rules! integers {
    ($($t:ty),*) => { $(impl Integer for $t {
        fn integer(op: Unary, x: &Tensor) -> Result<Tensor> {
            match op {
                Unary::Abs => map::<$t, $t>(x, CHEAP, |x| {
                    if x < 0 { (0 as $t).wrapping_sub(x) } else { x }
                }),
                Unary::Sign => map::<$t, $t>(x, CHEAP, |x| {
                    if x > 0 { 1 } else if x < 0 { (0 as $t).wrapping_sub(1) } else { 0 }
                }),
                Unary::Square => map::<$t, $t>(x, CHEAP, |x| x.wrapping_mul(x)),
                // As float and back: saturates, and is 0 below an exponent of 0.
                Unary::Exp2 => map::<$t, $t>(x, COSTLY, |x| (x as f64).exp2() as $t),
                Unary::Relu => map::<$t, $t>(x, CHEAP, |x| x.max(0)),
                Unary::Threshold { alpha } => {
                    let alpha = alpha as $t;
                    map::<$t, $t>(x, CHEAP, |x| x.max(alpha))
                }
                Unary::Clip { alpha, beta } => {
                    let (alpha, beta) = (alpha as $t, beta as $t);
                    map::<$t, $t>(x, CHEAP, |x| x.max(alpha).min(beta))
                }
                _ => Err(bad("x", format_args!(
                    "is held as {:?}; this op is defined for floats only", x.dtype()
                ))),
            }
        }
    })* };
}
integers!(i32, i64);

/// 1 where `x` is 0, else 0.
///
/// # Errors
/// When `x` is not a bool.
pub(crate) fn negated(x: &Tensor) -> Result<Tensor> {
    match x.dtype() {
        DType::U8 => map::<u8, u8>(x, CHEAP, |x| u8::from(x == 0)),
        other => Err(bad("x", format_args!("is held as {other:?}, expected a bool"))),
    }
}

/// A parameter of one value per channel (dimension 1), shaped to broadcast
/// over `x`.
fn per_channel(name: &str, x: &Tensor, values: &Tensor) -> Result<Tensor> {
    let channels = *x
        .dims()
        .get(1)
        .ok_or_else(|| bad("x", "has rank below 2, so no channels"))?;
    if values.rank() != 1 || values.dims()[0] != channels {
        return Err(bad(
            name,
            format_args!(
                "has shape {:?}, expected one value for each of the {channels} channels of x",
                values.dims()
            ),
        ));
    }
    if values.dtype() != x.dtype() {
        return Err(bad(
            name,
            format_args!("is held as {:?}, x as {:?}", values.dtype(), x.dtype()),
        ));
    }
    let mut dims = vec![1; x.rank()];
    dims[1] = channels;
    Ok(contiguous(values)?.reshape(dims)?)
}

/// `x` where it is positive, else `alpha * x`, one `alpha` per channel.
///
/// # Errors
/// When `alpha` does not fit the channels or `x` is no float.
pub(crate) fn leaky_by_channel(x: &Tensor, alpha: &Tensor) -> Result<Tensor> {
    fn run<T: Float>(x: &Tensor, alpha: &Tensor) -> Result<Tensor> {
        zip::<T, T, T>(x, alpha, CHEAP, |x, alpha| {
            if x < T::ZERO { alpha * x } else { x }
        })
    }
    let alpha = per_channel("alpha", x, alpha)?;
    with_float!("x", x, T => run::<T>(x, &alpha))
}

/// `alpha * ln(1 + exp(beta * x))`, one `alpha` and `beta` per channel.
///
/// # Errors
/// When a parameter does not fit the channels or `x` is no float.
pub(crate) fn softplus_by_channel(x: &Tensor, alpha: &Tensor, beta: &Tensor) -> Result<Tensor> {
    fn run<T: Float>(x: &Tensor, alpha: &Tensor, beta: &Tensor) -> Result<Tensor> {
        let inner = zip::<T, T, T>(x, beta, COSTLY, |x, beta| (beta * x).softplus())?;
        zip::<T, T, T>(&inner, alpha, CHEAP, |x, alpha| alpha * x)
    }
    let alpha = per_channel("alpha", x, alpha)?;
    let beta = per_channel("beta", x, beta)?;
    with_float!("x", x, T => run::<T>(x, &alpha, &beta))
}

#[cfg(test)]
mod tests;
