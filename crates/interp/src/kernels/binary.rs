//! Element-wise ops of two operands, with numpy's broadcasting.
//!
//! Semantics are those of numpy, which the definitions in coremltools 9.0
//! (`iOS15/elementwise_binary.py`) evaluate with: `maximum` and `minimum`
//! propagate NaN; `floor_div` and `mod` round towards negative infinity for
//! floats and integers; integers wrap around, and an integer divided by zero
//! is 0, as is the remainder. An integer `real_div` truncates, because its
//! result is an integer again.

use candle_core::{DType, Tensor};

use super::build::{CHEAP, COSTLY, Element, fill, tensor, with_element};
use super::check::{Result, bad, broadcast, elements};
use super::layout::{View, to_vec, walkable};
use super::runs::{Place, RUN, Runs, run_of};
use crate::call::{Call, Outputs};

macro_rules! functions {
    ($($name:ident = $compute:ident($op:expr);)*) => {
        $(pub(crate) fn $name(call: &Call<'_>) -> Outputs {
            let (x, y) = (call.tensor("x")?, call.tensor("y")?);
            call.one($compute($op, &x.data, &y.data)?)
        })*
    };
}

functions! {
    add = arithmetic(Arithmetic::Add);
    sub = arithmetic(Arithmetic::Sub);
    mul = arithmetic(Arithmetic::Mul);
    real_div = arithmetic(Arithmetic::RealDiv);
    floor_div = arithmetic(Arithmetic::FloorDiv);
    modulo = arithmetic(Arithmetic::Mod);
    pow = arithmetic(Arithmetic::Pow);
    maximum = arithmetic(Arithmetic::Maximum);
    minimum = arithmetic(Arithmetic::Minimum);
    equal = compare(Comparison::Equal);
    not_equal = compare(Comparison::NotEqual);
    less = compare(Comparison::Less);
    less_equal = compare(Comparison::LessEqual);
    greater = compare(Comparison::Greater);
    greater_equal = compare(Comparison::GreaterEqual);
    logical_and = logic(Logic::And);
    logical_or = logic(Logic::Or);
    logical_xor = logic(Logic::Xor);
}

/// Ops whose result has the operands' type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Sub,
    Mul,
    RealDiv,
    FloorDiv,
    Mod,
    Pow,
    Maximum,
    Minimum,
}

/// Ops whose result is a bool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// Ops between bools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Logic {
    And,
    Or,
    Xor,
}

/// Arithmetic of one element type.
pub(crate) trait Number: Element {
    const ONE: Self;
    fn plus(self, y: Self) -> Self;
    fn minus(self, y: Self) -> Self;
    fn multiplied(self, y: Self) -> Self;
    fn divided(self, y: Self) -> Self;
    fn floor_divided(self, y: Self) -> Self;
    fn modulo(self, y: Self) -> Self;
    fn power(self, y: Self) -> Self;
    fn root(self) -> Option<Self>;
    fn larger(self, y: Self) -> Self;
    fn smaller(self, y: Self) -> Self;
}

macro_rules! float_number {
    ($($t:ty),*) => { $(impl Number for $t {
        const ONE: Self = 1.0;
        #[inline(always)]
        fn plus(self, y: Self) -> Self { self + y }
        #[inline(always)]
        fn minus(self, y: Self) -> Self { self - y }
        #[inline(always)]
        fn multiplied(self, y: Self) -> Self { self * y }
        #[inline(always)]
        fn divided(self, y: Self) -> Self { self / y }
        fn floor_divided(self, y: Self) -> Self {
            if y == 0.0 {
                return self / y;
            }
            // The quotient of the exact remainder, so that 1.0 // 0.1 is 9:
            // rounding the division first would give 10.
            let remainder = self % y;
            let mut quotient = (self - remainder) / y;
            if remainder != 0.0 && (y < 0.0) != (remainder < 0.0) {
                quotient -= 1.0;
            }
            if quotient == 0.0 {
                return <$t>::copysign(0.0, self / y);
            }
            let floor = quotient.floor();
            if quotient - floor > 0.5 { floor + 1.0 } else { floor }
        }
        fn modulo(self, y: Self) -> Self {
            let remainder = self % y;
            if remainder == 0.0 {
                <$t>::copysign(0.0, y)
            } else if (y < 0.0) != (remainder < 0.0) {
                remainder + y
            } else {
                remainder
            }
        }
        fn power(self, y: Self) -> Self { f64::from(self).powf(f64::from(y)) as $t }
        #[inline(always)]
        fn root(self) -> Option<Self> { Some(self.sqrt()) }
        #[inline(always)]
        fn larger(self, y: Self) -> Self { if self > y || self.is_nan() { self } else { y } }
        #[inline(always)]
        fn smaller(self, y: Self) -> Self { if self < y || self.is_nan() { self } else { y } }
    })* };
}
float_number!(f32, f64);

macro_rules! integer_number {
    ($($t:ty),*) => { $(impl Number for $t {
        const ONE: Self = 1;
        #[inline(always)]
        fn plus(self, y: Self) -> Self { self.wrapping_add(y) }
        #[inline(always)]
        fn minus(self, y: Self) -> Self { self.wrapping_sub(y) }
        #[inline(always)]
        fn multiplied(self, y: Self) -> Self { self.wrapping_mul(y) }
        fn divided(self, y: Self) -> Self { if y == 0 { 0 } else { self.wrapping_div(y) } }
        fn floor_divided(self, y: Self) -> Self {
            if y == 0 {
                return 0;
            }
            let quotient = self.wrapping_div(y);
            // The remainder's sign tells whether truncation went up.
            let remainder = self.wrapping_rem(y);
            let up = remainder != 0 && ((remainder < 0) != (y < 0));
            if up { quotient.wrapping_sub(1) } else { quotient }
        }
        fn modulo(self, y: Self) -> Self {
            if y == 0 {
                return 0;
            }
            let remainder = self.wrapping_rem(y);
            let other_sign = remainder != 0 && ((remainder < 0) != (y < 0));
            if other_sign { remainder.wrapping_add(y) } else { remainder }
        }
        // Exponents have been checked to be no less than zero.
        fn power(self, y: Self) -> Self {
            let mut result = Self::ONE;
            let (mut base, mut exponent) = (self, y);
            while exponent > 0 {
                if exponent & 1 == 1 {
                    result = result.wrapping_mul(base);
                }
                base = base.wrapping_mul(base);
                exponent >>= 1;
            }
            result
        }
        fn root(self) -> Option<Self> { None }
        #[inline(always)]
        fn larger(self, y: Self) -> Self { self.max(y) }
        #[inline(always)]
        fn smaller(self, y: Self) -> Self { self.min(y) }
    })* };
}
integer_number!(i32, i64);

/// Applies `f` to every pair of elements of two tensors that broadcast.
///
/// # Errors
/// When the shapes do not broadcast or an operand does not hold `A`.
pub(crate) fn zip<A: Element, B: Element, O: Element>(
    x: &Tensor,
    y: &Tensor,
    grain: usize,
    f: impl Fn(A, B) -> O + Sync,
) -> Result<Tensor> {
    zip_slices(x, y, grain, &|x: &[A], y: &[B], out: &mut [O]| {
        A::wide(
            #[inline(always)]
            || {
                for ((out, &x), &y) in out.iter_mut().zip(x).zip(y) {
                    *out = f(x, y);
                }
            },
        );
    })
}

/// What [`zip_slices`] does with slices of one length.
type ZipSlices<'a, A, B, O> = &'a (dyn Fn(&[A], &[B], &mut [O]) + Sync);

/// [`zip`] by slices of one length. So only the loop over them is compiled for
/// each function.
fn zip_slices<A: Element, B: Element, O: Element>(
    x: &Tensor,
    y: &Tensor,
    grain: usize,
    f: ZipSlices<'_, A, B, O>,
) -> Result<Tensor> {
    let dims = broadcast("y", x.dims(), y.dims())?;
    let count = elements("y", &dims)?;
    let (x, y) = (walkable(x)?, walkable(y)?);
    let runs = Runs::new(
        &dims,
        [&Place::broadcast(&x, &dims), &Place::broadcast(&y, &dims)],
    );
    let steps = runs.steps();
    let (a, b) = (View::<A>::new(&x)?, View::<B>::new(&y)?);
    let (a, b) = (&*a, &*b);
    let data = fill(count, grain, &|start, out| {
        let (mut ones, mut twos) = ([A::ZERO; RUN], [B::ZERO; RUN]);
        runs.pieces(start, out, |out, [i, j], part| {
            let x = run_of(a, steps[0], i, part.clone(), &mut ones);
            f(x, run_of(b, steps[1], j, part, &mut twos), out);
        });
    })?;
    tensor(data, &dims)
}

fn same_type(x: &Tensor, y: &Tensor) -> Result<()> {
    if x.dtype() == y.dtype() {
        Ok(())
    } else {
        Err(bad(
            "y",
            format_args!(
                "is held as {:?} but x as {:?}; both must have one type",
                y.dtype(),
                x.dtype()
            ),
        ))
    }
}

/// `x op y`.
///
/// # Errors
/// When the shapes do not broadcast, the types differ, or an integer is raised
/// to a negative power.
pub(crate) fn arithmetic(op: Arithmetic, x: &Tensor, y: &Tensor) -> Result<Tensor> {
    same_type(x, y)?;
    match x.dtype() {
        DType::F32 => arithmetic_of::<f32>(op, x, y),
        DType::F64 => arithmetic_of::<f64>(op, x, y),
        DType::I32 => arithmetic_of::<i32>(op, x, y),
        DType::I64 => arithmetic_of::<i64>(op, x, y),
        other => Err(bad(
            "x",
            format_args!("is held as {other:?}, expected numbers"),
        )),
    }
}

fn arithmetic_of<T: Number>(op: Arithmetic, x: &Tensor, y: &Tensor) -> Result<Tensor> {
    match op {
        Arithmetic::Add => zip::<T, T, T>(x, y, CHEAP, T::plus),
        Arithmetic::Sub => zip::<T, T, T>(x, y, CHEAP, T::minus),
        Arithmetic::Mul => zip::<T, T, T>(x, y, CHEAP, T::multiplied),
        Arithmetic::RealDiv => zip::<T, T, T>(x, y, CHEAP, T::divided),
        Arithmetic::FloorDiv => zip::<T, T, T>(x, y, COSTLY, T::floor_divided),
        Arithmetic::Mod => zip::<T, T, T>(x, y, COSTLY, T::modulo),
        Arithmetic::Pow => power::<T>(x, y),
        Arithmetic::Maximum => zip::<T, T, T>(x, y, CHEAP, T::larger),
        Arithmetic::Minimum => zip::<T, T, T>(x, y, CHEAP, T::smaller),
    }
}

/// `x ** y`; the usual constant exponents cost no `powf`.
fn power<T: Number>(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    if T::ONE.root().is_none() && to_vec::<T>(y)?.iter().any(|&e| e < T::ZERO) {
        return Err(bad("y", "an integer raised to a negative power"));
    }
    if y.elem_count() == 1
        && let [exponent] = to_vec::<T>(y)?[..]
    {
        let exponent = exponent.to_f64();
        if exponent == 1.0 {
            return zip::<T, T, T>(x, y, CHEAP, |x, _| x);
        } else if exponent == 2.0 {
            return zip::<T, T, T>(x, y, CHEAP, |x, _| x.multiplied(x));
        } else if exponent == 3.0 {
            return zip::<T, T, T>(x, y, CHEAP, |x, _| x.multiplied(x).multiplied(x));
        } else if exponent == -1.0 {
            return zip::<T, T, T>(x, y, CHEAP, |x, _| T::ONE.divided(x));
        } else if exponent == 0.5 {
            return zip::<T, T, T>(x, y, CHEAP, |x, _| x.root().unwrap_or(x));
        }
    }
    zip::<T, T, T>(x, y, COSTLY, T::power)
}

/// `x op y` as a bool.
///
/// # Errors
/// When the shapes do not broadcast or the types differ.
pub(crate) fn compare(op: Comparison, x: &Tensor, y: &Tensor) -> Result<Tensor> {
    same_type(x, y)?;
    with_element!(x, T => compare_of::<T>(op, x, y))
}

fn compare_of<T: Element>(op: Comparison, x: &Tensor, y: &Tensor) -> Result<Tensor> {
    match op {
        Comparison::Equal => zip::<T, T, u8>(x, y, CHEAP, |x, y| u8::from(x == y)),
        Comparison::NotEqual => zip::<T, T, u8>(x, y, CHEAP, |x, y| u8::from(x != y)),
        Comparison::Less => zip::<T, T, u8>(x, y, CHEAP, |x, y| u8::from(x < y)),
        Comparison::LessEqual => zip::<T, T, u8>(x, y, CHEAP, |x, y| u8::from(x <= y)),
        Comparison::Greater => zip::<T, T, u8>(x, y, CHEAP, |x, y| u8::from(x > y)),
        Comparison::GreaterEqual => zip::<T, T, u8>(x, y, CHEAP, |x, y| u8::from(x >= y)),
    }
}

/// `x op y` between bools; anything but 0 is true.
///
/// # Errors
/// When the shapes do not broadcast or an operand is not a bool.
pub(crate) fn logic(op: Logic, x: &Tensor, y: &Tensor) -> Result<Tensor> {
    for (name, operand) in [("x", x), ("y", y)] {
        if operand.dtype() != DType::U8 {
            return Err(bad(
                name,
                format_args!("is held as {:?}, expected a bool", operand.dtype()),
            ));
        }
    }
    match op {
        Logic::And => zip::<u8, u8, u8>(x, y, CHEAP, |x, y| u8::from((x != 0) & (y != 0))),
        Logic::Or => zip::<u8, u8, u8>(x, y, CHEAP, |x, y| u8::from((x != 0) | (y != 0))),
        Logic::Xor => zip::<u8, u8, u8>(x, y, CHEAP, |x, y| u8::from((x != 0) ^ (y != 0))),
    }
}

#[cfg(test)]
mod tests;
