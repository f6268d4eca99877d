//! How the light kernels make their outputs: piece by piece, in order, each
//! element written once.
//!
//! A kernel says how to append elements `range` of its output to a vector.
//! Small outputs are appended by one call; large ones are cut into blocks of
//! fixed size that threads fill on their own, so what an element is never
//! depends on timing or on the number of threads.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Device, Layout, Storage, StorageRef, Tensor, WithDType};
use rayon::prelude::*;

use super::check::{Result, bad, elements};
use super::simd::dispatch;
use crate::error::KernelError;

/// Elements in a block: it stays in the first-level cache while being filled.
const BLOCK: usize = 4096;

/// Outputs from this size on are made by several threads when an element costs
/// a load and an operation: below, one thread is as fast as memory.
pub(crate) const CHEAP: usize = 1 << 19;

/// The same for elements that cost tens of operations.
pub(crate) const COSTLY: usize = 1 << 15;

/// A type that tensors of the interpreter hold.
pub(crate) trait Element: WithDType {
    /// Zero.
    const ZERO: Self;
    /// Whether loops over this type are compiled for wide vectors too. Only
    /// for the type of the hot loops: each width is a copy of every loop.
    const WIDE: bool;
}

macro_rules! elements_are {
    ($($t:ty: $wide:literal),*) => {
        $(impl Element for $t {
            const ZERO: Self = 0 as $t;
            const WIDE: bool = $wide;
        })*
    };
}
elements_are!(f32: true, f64: false, i32: false, i64: false, u8: false);

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

/// Makes `count` elements; `append` adds the elements of a range, in order.
///
/// `grain` is the size from which several threads share the work: [`CHEAP`]
/// or [`COSTLY`].
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
    if count < grain || rayon::current_num_threads() == 1 {
        let mut out = reserve(count)?;
        append(0..count, &mut out);
        return if out.len() == count {
            Ok(out)
        } else {
            Err(wrong())
        };
    }
    let full = count / BLOCK;
    let mut blocks: Vec<[T; BLOCK]> = reserve(count.div_ceil(BLOCK))?;
    let miscounted = AtomicBool::new(false);
    (0..full)
        .into_par_iter()
        .with_min_len((COSTLY / BLOCK / 2).max(1))
        .map_init(
            || Vec::with_capacity(BLOCK),
            |scratch, index| {
                scratch.clear();
                let start = index * BLOCK;
                append(start..start + BLOCK, scratch);
                <[T; BLOCK]>::try_from(scratch.as_slice()).unwrap_or_else(|_| {
                    miscounted.store(true, Ordering::Relaxed);
                    [T::ZERO; BLOCK]
                })
            },
        )
        .collect_into_vec(&mut blocks);
    // The capacity covers the last, partial block too.
    let mut out = blocks.into_flattened();
    append(full * BLOCK..count, &mut out);
    if miscounted.into_inner() || out.len() != count {
        return Err(wrong());
    }
    Ok(out)
}

/// Runs `f` compiled for the widest vectors of this CPU, if `T` is the type
/// that models compute in; loops over others are compiled once only.
#[inline(always)]
pub(crate) fn wide<T: Element, R>(f: impl FnOnce() -> R) -> R {
    if T::WIDE { dispatch(f) } else { f() }
}

/// An empty vector with room for `count` elements.
pub(crate) fn reserve<T>(count: usize) -> Result<Vec<T>> {
    let mut out = Vec::new();
    out.try_reserve_exact(count).map_err(|_| {
        KernelError::Internal(format!(
            "no memory for {count} elements of {} bytes",
            size_of::<T>()
        ))
    })?;
    Ok(out)
}

/// A tensor over `data`.
pub(crate) fn tensor<T: Element>(data: Vec<T>, dims: &[usize]) -> Result<Tensor> {
    debug_assert_eq!(elements("x", dims).ok(), Some(data.len()));
    Ok(Tensor::from_vec(data, dims, &Device::Cpu)?)
}

/// A tensor opened for reading: its storage, dimensions and strides.
pub(crate) struct Source<'a> {
    storage: StorageRef<'a>,
    layout: &'a Layout,
}

impl<'a> Source<'a> {
    /// Opens a tensor, contiguous or not.
    pub(crate) fn open(tensor: &'a Tensor) -> Self {
        let (storage, layout) = tensor.storage_and_layout();
        Self { storage, layout }
    }

    /// The dimensions.
    pub(crate) fn dims(&self) -> &'a [usize] {
        self.layout.dims()
    }

    /// Offset and strides, in elements.
    pub(crate) fn strides(&self) -> (usize, &'a [usize]) {
        (self.layout.start_offset(), self.layout.stride())
    }

    /// The whole storage, of which the tensor may be a part.
    pub(crate) fn storage<T: Element>(&self) -> Result<&[T]> {
        match &*self.storage {
            Storage::Cpu(cpu) => Ok(<T as WithDType>::cpu_storage_as_slice(cpu)?),
            _ => Err(KernelError::Internal("a value outside the CPU".to_owned())),
        }
    }

    /// The elements in order, if they lie so in memory.
    pub(crate) fn contiguous<T: Element>(&self) -> Result<Option<&[T]>> {
        let storage = self.storage::<T>()?;
        Ok(self
            .layout
            .contiguous_offsets()
            .map(|(start, end)| &storage[start..end]))
    }
}

/// The tensor with its elements in order in memory: itself, or a copy.
pub(crate) fn contiguous(tensor: &Tensor) -> Result<Tensor> {
    Ok(super::layout::contiguous(tensor)?)
}

/// The `len` elements from `start` on along `axis`, as a view.
///
/// When that is nothing, a tensor of its own: a view of nothing may begin
/// behind the end of its storage, which candle's functions panic at.
///
/// # Errors
/// When they leave the dimension.
pub(crate) fn narrow(x: &Tensor, axis: usize, start: usize, len: usize) -> Result<Tensor> {
    let part = x.narrow(axis, start, len)?;
    if part.elem_count() > 0 {
        return Ok(part);
    }
    Ok(Tensor::zeros(part.dims(), x.dtype(), &Device::Cpu)?)
}

/// The tensor, copied only if its last real dimension jumps through memory:
/// what is left walks in slices and repeated values.
pub(crate) fn walkable(tensor: &Tensor) -> Result<Tensor> {
    let last = (0..tensor.rank()).rev().find(|&i| tensor.dims()[i] > 1);
    match last {
        Some(i) if tensor.stride()[i] > 1 => contiguous(tensor),
        _ => Ok(tensor.clone()),
    }
}

/// The elements of a tensor in order, as a vector.
pub(crate) fn to_vec<T: Element>(tensor: &Tensor) -> Result<Vec<T>> {
    let tensor = contiguous(tensor)?;
    let source = Source::open(&tensor);
    match source.contiguous::<T>()? {
        Some(slice) => Ok(slice.to_vec()),
        None => Err(KernelError::Internal(
            "a copy that is not contiguous".to_owned(),
        )),
    }
}

/// The elements of a tensor of integers or bools, widened.
///
/// # Errors
/// When it holds floats.
pub(crate) fn integers_of(param: &str, tensor: &Tensor) -> Result<Vec<i64>> {
    match tensor.dtype() {
        DType::I64 => to_vec::<i64>(tensor),
        DType::I32 => Ok(to_vec::<i32>(tensor)?.into_iter().map(i64::from).collect()),
        DType::U8 => Ok(to_vec::<u8>(tensor)?.into_iter().map(i64::from).collect()),
        other => Err(bad(
            param,
            format_args!("is held as {other:?}, expected integers"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_give_the_same_as_one_call() {
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
        assert!(build::<f32>(10 * BLOCK, 1, |_, out| out.push(1.0)).is_err());
    }
}
