//! The functions of a float type that the element-wise kernels use.
//!
//! For f32 those that hot models call come from [`super::vmath`], which
//! vectorises; the rest is the standard library's.

use std::ops::{Add, Div, Mul, Sub};

use super::build::Element;

macro_rules! declare {
    ($($name:ident),*) => {
        /// A float type.
        pub(crate) trait Real:
            Element
            + Add<Output = Self>
            + Sub<Output = Self>
            + Mul<Output = Self>
            + Div<Output = Self>
        {
            $(fn $name(self) -> Self;)*
            fn erf(self) -> Self;
            fn sigmoid(self) -> Self;
        }
        impl Real for f64 {
            $(#[inline(always)] fn $name(self) -> Self { f64::$name(self) })*
            fn erf(self) -> Self { candle_core::cpu::erf::erf_f64(self) }
            fn sigmoid(self) -> Self { 1.0 / (1.0 + f64::exp(-self)) }
        }
        impl Real for f32 {
            $(#[inline(always)] fn $name(self) -> Self { f32::$name(self) })*
            fn erf(self) -> Self { candle_core::cpu::erf::erf_f64(f64::from(self)) as f32 }
            #[inline(always)]
            fn sigmoid(self) -> Self { 1.0 / (1.0 + f32::exp(-self)) }
        }
    };
}
declare!(
    abs,
    acos,
    asin,
    atan,
    atanh,
    ceil,
    cos,
    cosh,
    exp,
    exp2,
    exp_m1,
    floor,
    ln,
    round_ties_even,
    sin,
    sinh,
    sqrt,
    tan,
    tanh
);
