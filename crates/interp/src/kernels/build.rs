//! How the light kernels make their outputs: piece by piece, in order, each
//! element written once.
//!
//! A kernel says how to append elements `range` of its output to a vector.
//! Small outputs are appended by one call; large ones are cut into blocks of
//! fixed size that threads fill on their own, so what an element is never
//! depends on timing or on the number of threads.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Device, Tensor, WithDType};

use super::check::{Result, elements};
use super::parallel;
use crate::error::KernelError;

/// Outputs from this size on are made by several threads when an element costs
/// a load and an operation: below, one thread is as fast as memory.
pub(crate) const CHEAP: usize = 1 << 19;

/// The same for elements that cost tens of operations.
pub(crate) const COSTLY: usize = 1 << 15;

/// A type that tensors of the interpreter hold.
pub(crate) trait Element: WithDType + Default {
    /// Zero.
    const ZERO: Self;

    /// Runs `f`. If this is the type that models compute in, in a copy that is
    /// compiled for the widest vectors of this CPU: the crate is compiled for
    /// the oldest one of its architecture. Only code inlined into `f` profits:
    /// slice loops, `#[inline(always)]` functions and those of
    /// [`super::vmath`]. Loops over other types are compiled once only.
    fn wide<R>(f: impl FnOnce() -> R) -> R;
}

impl Element for f32 {
    const ZERO: Self = 0.0;

    #[inline(always)]
    fn wide<R>(f: impl FnOnce() -> R) -> R {
        pulp::Arch::new().dispatch(f)
    }
}

macro_rules! elements_are {
    ($($t:ty),*) => {
        $(impl Element for $t {
            const ZERO: Self = 0 as $t;

            #[inline(always)]
            fn wide<R>(f: impl FnOnce() -> R) -> R {
                f()
            }
        })*
    };
}
elements_are!(f64, i32, i64, u8);

/// Runs `$body` with `$t` standing for the element type of a tensor.
macro_rules! with_element {
    ($tensor:expr, $t:ident => $body:expr) => {
        match $tensor.dtype() {
            candle_core::DType::F32 => {
                type $t = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $t = f64;
                $body
            }
            candle_core::DType::I32 => {
                type $t = i32;
                $body
            }
            candle_core::DType::I64 => {
                type $t = i64;
                $body
            }
            candle_core::DType::U8 => {
                type $t = u8;
                $body
            }
            other => Err($crate::kernels::build::unsupported(other)),
        }
    };
}
pub(crate) use with_element;

/// The error for an element type that the interpreter never makes.
pub(crate) fn unsupported(dtype: candle_core::DType) -> KernelError {
    KernelError::Internal(format!("a value held as {dtype:?}"))
}

/// Makes `count` elements; `fill` makes as many of them as a slice holds, from
/// an offset on.
///
/// `grain` is the size from which several threads share the work: [`CHEAP`]
/// or [`COSTLY`].
///
/// # Errors
/// When memory runs out.
pub(crate) fn fill<T: Element>(
    count: usize,
    grain: usize,
    fill: &(dyn Fn(usize, &mut [T]) + Sync),
) -> Result<Vec<T>> {
    let least = if count < grain { count } else { COSTLY / 2 };
    parallel::blocks(count, least, &|| Box::new(fill))
}

/// Makes `count` elements; `append` adds the elements of a range, in order.
///
/// `grain` is as for [`fill`].
///
/// # Errors
/// When memory runs out.
pub(crate) fn build<T: Element>(
    count: usize,
    grain: usize,
    append: impl Fn(Range<usize>, &mut Vec<T>) + Sync,
) -> Result<Vec<T>> {
    build_with(count, grain, &append)
}

/// [`build`], compiled once for an element type and not once for a kernel.
fn build_with<T: Element>(
    count: usize,
    grain: usize,
    append: &(dyn Fn(Range<usize>, &mut Vec<T>) + Sync),
) -> Result<Vec<T>> {
    let wrong = || KernelError::Internal("a kernel made the wrong number of elements".to_owned());
    if count < grain || parallel::threads() == 1 {
        let mut out = reserve(count)?;
        append(0..count, &mut out);
        return if out.len() == count {
            Ok(out)
        } else {
            Err(wrong())
        };
    }
    let miscounted = AtomicBool::new(false);
    let out = parallel::blocks(count, COSTLY / 2, &|| {
        let mut scratch = Vec::with_capacity(parallel::BLOCK);
        let (append, miscounted) = (&append, &miscounted);
        Box::new(move |start, out| {
            scratch.clear();
            append(start..start + out.len(), &mut scratch);
            if scratch.len() == out.len() {
                out.copy_from_slice(&scratch);
            } else {
                miscounted.store(true, Ordering::Relaxed);
            }
        })
    })?;
    if miscounted.into_inner() {
        return Err(wrong());
    }
    Ok(out)
}

/// An empty vector with room for `count` elements.
///
/// # Errors
/// When memory runs out.
pub(crate) fn reserve<T>(count: usize) -> Result<Vec<T>> {
    let mut out = Vec::new();
    out.try_reserve_exact(count)
        .map_err(|_| KernelError::Memory {
            elements: count,
            size: size_of::<T>(),
        })?;
    Ok(out)
}

/// A tensor over `data`.
pub(crate) fn tensor<T: Element>(data: Vec<T>, dims: &[usize]) -> Result<Tensor> {
    debug_assert_eq!(elements("x", dims).ok(), Some(data.len()));
    Ok(Tensor::from_vec(data, dims, &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_give_the_same_as_one_call() {
        const BLOCK: usize = parallel::BLOCK;
        for count in [0, 1, BLOCK - 1, BLOCK, 3 * BLOCK + 7, 20 * BLOCK] {
            let append =
                |range: Range<usize>, out: &mut Vec<i64>| out.extend(range.map(|i| i as i64 * 3));
            let serial = build(count, usize::MAX, append).unwrap();
            let parallel = build(count, 1, append).unwrap();
            assert_eq!(serial, parallel);
            assert_eq!(serial.len(), count);
        }
    }

    #[test]
    fn a_wrong_count_is_an_error_not_a_wrong_tensor() {
        assert!(build::<f32>(10, usize::MAX, |_, out| out.push(1.0)).is_err());
        assert!(build::<f32>(10 * parallel::BLOCK, 1, |_, out| out.push(1.0)).is_err());
    }
}
