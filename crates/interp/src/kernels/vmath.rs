//! Elementary functions over `f32` for hot loops.
//!
//! Every function is branch-free straight-line code without calls, so a loop
//! over a slice that uses it is vectorised by the compiler; run such a loop
//! inside [`super::build::Element::wide`] to have it compiled for the widest vectors
//! that the CPU has. None uses fused multiply-add, so the bits of a result do
//! not depend on the CPU. Infinities, NaN, overflow and subnormals are handled
//! as IEEE 754 libraries do.
//!
//! Polynomials are minimax fits (Lawson iteration in f64). The greatest error
//! against f64 over dense sweeps of the argument is asserted by the tests.

/// `1.5 * 2^23`: adding it rounds a small float to an integer, which then sits
/// in the low bits of the sum.
const ROUND: f32 = 12_582_912.0;
const ROUND_BITS: u32 = ROUND.to_bits();

/// ln 2 in two parts; the first has 9 significant bits, so that its product
/// with an exponent is exact.
const LN2_HI: f32 = 0.693_359_4;
const LN2_LO: f32 = -2.121_944_4e-4;

/// Evaluates a polynomial, coefficients from the highest power down.
macro_rules! horner {
    ($x:expr, $first:expr $(, $rest:expr)* $(,)?) => {{
        let x: f32 = $x;
        let p: f32 = $first;
        $(let p = p * x + $rest;)*
        p
    }};
}

/// `2^n` for `-126 <= n <= 127`.
#[inline(always)]
fn pow2(n: i32) -> f32 {
    f32::from_bits(((n + 127) as u32) << 23)
}

/// `exp(r)` for `|r| <= ln(2) / 2`.
#[inline(always)]
fn exp_reduced(r: f32) -> f32 {
    let q = horner!(
        r,
        1.979_03e-4,
        1.394_470_3e-3,
        8.333_498e-3,
        4.166_629_5e-2,
        1.666_666_6e-1,
        0.5
    );
    1.0 + (r + r * r * q)
}

/// `exp_reduced(r) * 2^n` for `-160 <= n <= 254`, going through the subnormals.
#[inline(always)]
fn scale(p: f32, n: i32) -> f32 {
    let half = n >> 1;
    p * pow2(half) * pow2(n - half)
}

/// Keeps NaN, unlike `f32::clamp` on the min/max instructions.
#[inline(always)]
fn clamp(x: f32, lo: f32, hi: f32) -> f32 {
    let x = if x < lo { lo } else { x };
    if x > hi { hi } else { x }
}

/// e^x; at most 1 ulp off.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let x = clamp(x, -105.0, 90.0);
    let t = x * std::f32::consts::LOG2_E + ROUND;
    let n = t - ROUND;
    let r = (x - n * LN2_HI) - n * LN2_LO;
    scale(exp_reduced(r), t.to_bits().wrapping_sub(ROUND_BITS) as i32)
}

/// 2^x; at most 1 ulp off.
#[inline(always)]
pub(crate) fn exp2(x: f32) -> f32 {
    let x = clamp(x, -152.0, 130.0);
    let t = x + ROUND;
    let r = (x - (t - ROUND)) * std::f32::consts::LN_2;
    scale(exp_reduced(r), t.to_bits().wrapping_sub(ROUND_BITS) as i32)
}

/// e^x for `x <= 0`, with results below the normal range flushed to 0: what
/// the functions below need, at half the cost of [`exp`].
#[inline(always)]
fn exp_nonpositive(x: f32) -> f32 {
    let t = clamp(x, -87.0, 0.0) * std::f32::consts::LOG2_E + ROUND;
    let n = t - ROUND;
    let r = (clamp(x, -87.0, 0.0) - n * LN2_HI) - n * LN2_LO;
    let y = exp_reduced(r) * pow2(t.to_bits().wrapping_sub(ROUND_BITS) as i32);
    if x < -87.0 { 0.0 } else { y }
}

/// Natural logarithm; at most 1 ulp off. `ln(0)` is -inf, of negatives NaN.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    let tiny = x < f32::MIN_POSITIVE;
    let scaled = if tiny { x * 8_388_608.0 } else { x };
    let bits = scaled.to_bits();
    // The exponent of x / sqrt(1/2): the mantissa lands in [sqrt(1/2), sqrt(2)).
    let e = (bits.wrapping_sub(0x3f35_04f3) as i32) >> 23;
    let f = f32::from_bits(bits.wrapping_sub((e << 23) as u32)) - 1.0;
    let e = e as f32 - if tiny { 23.0 } else { 0.0 };
    let p = horner!(
        f,
        6.746_638_6e-2,
        -1.167_565_1e-1,
        1.188_816_3e-1,
        -1.240_558_9e-1,
        1.421_955_2e-1,
        -1.666_799_6e-1,
        2.000_211_9e-1,
        -2.500_001e-1,
        3.333_331_3e-1
    );
    let z = f * f;
    let low = f * z * p + e * LN2_LO - 0.5 * z;
    let y = (f + low) + e * LN2_HI;
    let y = if x == f32::INFINITY { x } else { y };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    if x >= 0.0 { y } else { f32::NAN }
}

/// Hyperbolic tangent; at most 2 ulp off.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let small = horner!(
        z,
        2.142_962e-3,
        -8.177_399e-3,
        2.170_070_3e-2,
        -5.394_676_3e-2,
        1.333_320_6e-1,
        -3.333_333e-1
    );
    let small = x + x * z * small;
    let e = exp_nonpositive(-2.0 * a);
    let large = (1.0 - e) / (1.0 + e);
    (if a < 0.625 { small } else { large }).copysign(x)
}

/// `1 / (1 + e^-x)`; at most 3 ulp off; below e^-87 it is 0.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    let e = exp_nonpositive(-x.abs());
    let num = if x < 0.0 { e } else { 1.0 };
    let y = num / (1.0 + e);
    if x.is_nan() { x } else { y }
}

/// Error function; at most 2 ulp off.
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let small = horner!(
        z,
        8.382_432e-5,
        -8.145_609e-4,
        5.201_287e-3,
        -2.685_950_1e-2,
        1.128_369_7e-1,
        -3.761_263_5e-1,
        1.283_792_3e-1
    );
    let small = x + x * small;
    let t = if a > 4.0 { 4.0 } else { a };
    let q = horner!(
        t,
        -2.109_497e-5,
        4.344_617_5e-4,
        -4.171_059e-3,
        2.511_942e-2,
        -1.082_800_8e-1,
        -6.333_469e-1,
        -1.129_514_9,
        1.746_832_9e-4
    );
    let large = (1.0 - exp_nonpositive(q)).copysign(x);
    let y = if a < 0.92 { small } else { large };
    if x.is_nan() { x } else { y }
}

/// `ln(1 + e^x)`; at most 3 ulp off.
#[inline(always)]
pub(crate) fn softplus(x: f32) -> f32 {
    // ln(1 + e) = ln(w) + (e - (w - 1)) / w with w = 1 + e as rounded.
    let e = exp(-x.abs());
    let w = 1.0 + e;
    let tail = ln(w) + (e - (w - 1.0)) / w;
    (if x > 0.0 { x } else { 0.0 }) + tail
}

/// `x * sigmoid(x)`.
#[inline(always)]
pub(crate) fn silu(x: f32) -> f32 {
    x * sigmoid(x)
}

/// `x * Phi(x)` with Phi the normal distribution function: gelu without
/// approximation. At most `1e-7 * |x|` off, and without the
/// cancellation that `1 + erf` suffers for negative arguments.
#[inline(always)]
pub(crate) fn gelu(x: f32) -> f32 {
    // x * Phi(x) = max(x, 0) - |x| * Phi(-|x|), and ln Phi(-t) is smooth.
    let t = x.abs();
    let t = if t > 14.0 { 14.0 } else { t };
    let q = horner!(
        t,
        -4.132_762_4e-8,
        1.002_363_5e-6,
        -1.081_547_45e-5,
        6.656_062e-5,
        -2.268_810_5e-4,
        4.676_246_3e-5,
        4.778_279e-3,
        -3.633_483e-2,
        -3.183_099_3e-1,
        -7.978_846e-1,
        -6.931_472e-1
    );
    let tail = t * exp_nonpositive(q);
    let y = (if x > 0.0 { x } else { 0.0 }) - tail;
    if x.is_nan() { x } else { y }
}

/// gelu by its tanh approximation:
/// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`.
#[inline(always)]
pub(crate) fn gelu_tanh(x: f32) -> f32 {
    // (1 + tanh u) / 2 = sigmoid(2 u), exact also where 1 + tanh u cancels.
    const TWICE_SQRT_2_OVER_PI: f32 = 1.595_769;
    x * sigmoid(TWICE_SQRT_2_OVER_PI * (x + 0.044_715 * (x * x * x)))
}

/// gelu by its sigmoid approximation: `x * sigmoid(1.702 x)`.
#[inline(always)]
pub(crate) fn gelu_sigmoid(x: f32) -> f32 {
    x * sigmoid(1.702 * x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distance from `y` to the exact value in units of the last place of the
    /// f32 nearest to it.
    fn ulps(y: f32, exact: f64) -> f64 {
        let near = exact as f32;
        if y == near || (y.is_nan() && near.is_nan()) {
            return 0.0;
        }
        let ulp = (f64::from(near).abs() * 2f64.powi(-23)).max(f64::from(f32::from_bits(1)));
        let ulp = 2f64.powf(ulp.log2().floor());
        (f64::from(y) - exact).abs() / ulp
    }

    fn sweep(lo: f32, hi: f32) -> impl Iterator<Item = f32> {
        let n = 400_000;
        let linear = (0..=n).map(move |i| lo + (hi - lo) * (i as f32 / n as f32));
        let by_bits = (0..0x7f80_0000u32)
            .step_by(4801)
            .flat_map(|b| [f32::from_bits(b), -f32::from_bits(b)])
            .filter(move |x| (lo..=hi).contains(x));
        linear.chain(by_bits)
    }

    fn worst(name: &str, lo: f32, hi: f32, f: fn(f32) -> f32, exact: fn(f64) -> f64) -> f64 {
        let (mut max, mut at, mut count) = (0.0, 0.0, 0);
        for x in sweep(lo, hi) {
            let e = ulps(f(x), exact(f64::from(x)));
            if e > max || e.is_nan() {
                (max, at) = (e, x);
            }
            count += 1;
        }
        println!("{name}: {max:.2} ulp at {at:e} over {count} arguments");
        max
    }

    /// erf by its Taylor series, or the continued fraction of erfc.
    fn erf64(x: f64) -> f64 {
        let a = x.abs();
        if a < 3.0 {
            let (mut term, mut sum) = (a, a);
            for k in 1..120 {
                let k = f64::from(k);
                term *= -a * a / k;
                sum += term / (2.0 * k + 1.0);
            }
            (sum * 2.0 / std::f64::consts::PI.sqrt()).copysign(x)
        } else {
            (1.0 - erfc64(a)).copysign(x)
        }
    }

    fn erfc64(a: f64) -> f64 {
        if a < 3.0 {
            return 1.0 - erf64(a);
        }
        let mut c = a;
        for k in (1..200).rev() {
            c = a + f64::from(k) / 2.0 / c;
        }
        (-a * a).exp() / c / std::f64::consts::PI.sqrt()
    }

    fn sigmoid64(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    #[test]
    fn accuracy_against_f64() {
        assert!(worst("exp", -106.0, 89.5, exp, f64::exp) <= 1.0);
        assert!(worst("exp2", -152.0, 129.0, exp2, f64::exp2) <= 1.1);
        assert!(worst("ln", 0.0, f32::MAX, ln, f64::ln) <= 1.0);
        assert!(worst("ln near 1", 0.5, 2.0, ln, f64::ln) <= 1.0);
        assert!(worst("tanh", -12.0, 12.0, tanh, f64::tanh) <= 2.0);
        assert!(worst("sigmoid", -86.0, 30.0, sigmoid, sigmoid64) <= 3.0);
        assert!(worst("erf", -5.0, 5.0, erf, erf64) <= 2.0);
        assert!(worst("softplus", -80.0, 40.0, softplus, |x| x.exp().ln_1p()) <= 3.0);
    }

    #[test]
    fn gelu_is_accurate_in_absolute_terms() {
        type Exact = fn(f64) -> f64;
        type Fast = fn(f32) -> f32;
        let cases: [(&str, Fast, Exact); 3] = [
            ("gelu", gelu, |x| {
                if x < 0.0 {
                    x * 0.5 * erfc64(-x / std::f64::consts::SQRT_2)
                } else {
                    x * 0.5 * (1.0 + erf64(x / std::f64::consts::SQRT_2))
                }
            }),
            ("gelu_tanh", gelu_tanh, |x| {
                let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
                x * sigmoid64(2.0 * u)
            }),
            ("gelu_sigmoid", gelu_sigmoid, |x| x * sigmoid64(1.702 * x)),
        ];
        for (name, f, exact) in cases {
            let mut max = 0f64;
            for x in sweep(-20.0, 20.0) {
                let want = exact(f64::from(x));
                let err = (f64::from(f(x)) - want).abs() / f64::from(x.abs()).max(1e-30);
                max = max.max(err);
            }
            println!("{name}: {max:.2e} of |x|");
            assert!(max <= 1.5e-7, "{name} {max:e}");
        }
        assert_eq!(gelu(-1e30), 0.0);
        assert_eq!(gelu(1e30), 1e30);
        assert_eq!(gelu(f32::INFINITY), f32::INFINITY);
    }

    #[test]
    fn special_arguments() {
        let inf = f32::INFINITY;
        assert_eq!((exp(inf), exp(-inf), exp(0.0)), (inf, 0.0, 1.0));
        assert_eq!((exp(3e38), exp(-3e38)), (inf, 0.0));
        assert_eq!((exp2(inf), exp2(-inf), exp2(10.0)), (inf, 0.0, 1024.0));
        assert_eq!(
            (ln(inf), ln(0.0), ln(-0.0), ln(1.0)),
            (inf, -inf, -inf, 0.0)
        );
        assert!(ln(-1.0).is_nan() && ln(-inf).is_nan());
        assert_eq!((tanh(inf), tanh(-inf)), (1.0, -1.0));
        assert_eq!(tanh(-0.0).to_bits(), (-0.0f32).to_bits());
        assert_eq!((sigmoid(inf), sigmoid(-inf), sigmoid(0.0)), (1.0, 0.0, 0.5));
        assert_eq!((erf(inf), erf(-inf), erf(0.0)), (1.0, -1.0, 0.0));
        assert_eq!((softplus(inf), softplus(-inf)), (inf, 0.0));
        let all: [fn(f32) -> f32; 11] = [
            exp,
            exp2,
            ln,
            tanh,
            sigmoid,
            erf,
            softplus,
            silu,
            gelu,
            gelu_tanh,
            gelu_sigmoid,
        ];
        for f in all {
            assert!(f(f32::NAN).is_nan());
        }
    }
}
