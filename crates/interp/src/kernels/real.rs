//! The functions of a float type that the element-wise kernels use.
//!
//! For f32 those that hot models call come from [`super::vmath`], which
//! vectorises. The rest is computed in f64 and rounded: the single-precision
//! functions of C libraries differ by several units in the last place.

use std::ops::{Add, Div, Mul, Sub};

use super::build::Element;
use super::vmath;

macro_rules! declare {
    (
        vectorised: $($fast:ident = $vmath:ident),*;
        exact: $($name:ident),*;
        rounded: $($precise:ident),*
    ) => {
        /// A float type.
        pub(crate) trait Real:
            Element
            + Add<Output = Self>
            + Sub<Output = Self>
            + Mul<Output = Self>
            + Div<Output = Self>
        {
            $(fn $name(self) -> Self;)*
            $(fn $precise(self) -> Self;)*
            $(fn $fast(self) -> Self;)*
            fn erf(self) -> Self;
            fn sigmoid(self) -> Self;
            fn silu(self) -> Self;
            /// `ln(1 + exp(self))`, which neither overflows nor loses small
            /// values.
            fn softplus(self) -> Self;
        }

        impl Real for f64 {
            $(#[inline(always)] fn $name(self) -> Self { f64::$name(self) })*
            $(fn $precise(self) -> Self { f64::$precise(self) })*
            $(#[inline(always)] fn $fast(self) -> Self { f64::$fast(self) })*
            fn erf(self) -> Self { candle_core::cpu::erf::erf_f64(self) }
            fn sigmoid(self) -> Self { 1.0 / (1.0 + f64::exp(-self)) }
            fn silu(self) -> Self { self * Real::sigmoid(self) }
            fn softplus(self) -> Self {
                let above = if self < 0.0 { 0.0 } else { self };
                above + f64::exp(-self.abs()).ln_1p()
            }
        }

        impl Real for f32 {
            $(#[inline(always)] fn $name(self) -> Self { f32::$name(self) })*
            $(fn $precise(self) -> Self { f64::$precise(self.into()) as f32 })*
            $(#[inline(always)] fn $fast(self) -> Self { vmath::$vmath(self) })*
            #[inline(always)]
            fn erf(self) -> Self { vmath::erf(self) }
            #[inline(always)]
            fn sigmoid(self) -> Self { vmath::sigmoid(self) }
            #[inline(always)]
            fn silu(self) -> Self { vmath::silu(self) }
            #[inline(always)]
            fn softplus(self) -> Self { vmath::softplus(self) }
        }
    };
}
declare!(
    vectorised: exp = exp, exp2 = exp2, ln = log, tanh = tanh;
    exact: abs, ceil, floor, round_ties_even, sqrt;
    rounded: acos, asin, atan, atanh, cos, cosh, exp_m1, sin, sinh, tan
);
