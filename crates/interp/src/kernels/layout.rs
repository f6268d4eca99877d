//! Elements of tensors: contiguous slices, strided views and fast copies
//! between the two.

use std::marker::PhantomData;
use std::ops::{Deref, Range};

use candle_core::{DType, Device, Storage, StorageRef, Tensor};

use super::build::{Element, reserve, with_element};
use super::check::{Result, bad, elements as count_of};
use super::parallel;
use crate::error::KernelError;

/// A tensor's memory with shape and strides: elements in place, no copy.
pub(crate) struct View<'a, T> {
    storage: StorageRef<'a>,
    range: Range<usize>,
    /// The dimensions.
    pub(crate) dims: Vec<usize>,
    /// Distance of neighbours along each dimension, in elements; 0 where one
    /// element is repeated.
    pub(crate) strides: Vec<usize>,
    element: PhantomData<T>,
}

impl<'a, T: Element> View<'a, T> {
    /// The view of `tensor`.
    ///
    /// # Errors
    /// Its elements are not of type `T`, or it is not on the CPU.
    pub(crate) fn new(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let len = check::<T>(&storage)?;
        let (dims, strides) = (layout.dims(), layout.stride());
        // A view of nothing may begin behind the end of its storage.
        let (start, end) = match dims.contains(&0) {
            true => (0, 0),
            false => {
                let steps = dims.iter().zip(strides).map(|(&d, &s)| (d - 1) * s);
                let start = layout.start_offset();
                (start, start + steps.sum::<usize>() + 1)
            }
        };
        if end > len {
            return Err(KernelError::Internal(format!(
                "a view of {dims:?} by {strides:?} ends outside of {len} elements"
            )));
        }
        Ok(Self {
            range: start..end,
            dims: dims.to_vec(),
            strides: strides.to_vec(),
            storage,
            element: PhantomData,
        })
    }

    /// Whether the elements lie one after the other in row-major order.
    pub(crate) fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        for (&d, &s) in self.dims.iter().zip(&self.strides).rev() {
            if d != 1 && s != expected {
                return self.dims.contains(&0);
            }
            expected *= d;
        }
        true
    }

    /// The elements in row-major order.
    ///
    /// # Errors
    /// Memory runs out.
    pub(crate) fn into_elements(self) -> Result<Elements<'a, T>> {
        if self.is_contiguous() {
            return Ok(Elements::Place(self));
        }
        gather(&self, &self.dims, &self.strides).map(Elements::Copy)
    }
}

/// From the first element of the view to its last.
impl<T: Element> Deref for View<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &*self.storage {
            Storage::Cpu(cpu) => match cpu.as_slice::<T>() {
                Ok(all) => &all[self.range.clone()],
                Err(_) => &[],
            },
            _ => &[],
        }
    }
}

fn check<T: Element>(storage: &Storage) -> Result<usize> {
    match storage {
        Storage::Cpu(cpu) => Ok(cpu.as_slice::<T>().map(<[T]>::len)?),
        _ => Err(KernelError::Internal("a value outside the CPU".to_owned())),
    }
}

/// Elements in place where they lie as wanted, else a copy.
pub(crate) enum Elements<'a, T> {
    Place(View<'a, T>),
    Copy(Vec<T>),
}

impl<T: Element> Deref for Elements<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Place(view) => view,
            Self::Copy(copy) => copy,
        }
    }
}

/// The elements of `tensor` in row-major order.
///
/// # Errors
/// They are not of type `T`, or memory runs out.
pub(crate) fn elements<T: Element>(tensor: &Tensor) -> Result<Elements<'_, T>> {
    View::new(tensor)?.into_elements()
}

/// The elements of a tensor in row-major order, as a vector.
///
/// # Errors
/// As [`elements`].
pub(crate) fn to_vec<T: Element>(tensor: &Tensor) -> Result<Vec<T>> {
    match elements(tensor)? {
        Elements::Place(view) => {
            let mut out = reserve(view.len())?;
            out.extend_from_slice(&view);
            Ok(out)
        }
        Elements::Copy(copy) => Ok(copy),
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

/// `tensor` with its elements in row-major order; itself if they lie so.
///
/// # Errors
/// Its element type is none that values are held in, or memory runs out.
pub(crate) fn contiguous(tensor: &Tensor) -> Result<Tensor> {
    fn copied<T: Element>(tensor: &Tensor) -> Result<Tensor> {
        let view = View::<T>::new(tensor)?;
        let data = gather(&view, &view.dims, &view.strides)?;
        Ok(Tensor::from_vec(data, tensor.dims(), tensor.device())?)
    }
    if tensor.is_contiguous() {
        return Ok(tensor.clone());
    }
    with_element!(tensor, T => copied::<T>(tensor))
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
///
/// # Errors
/// As [`contiguous`].
pub(crate) fn walkable(tensor: &Tensor) -> Result<Tensor> {
    let last = (0..tensor.rank()).rev().find(|&i| tensor.dims()[i] > 1);
    match last {
        Some(i) if tensor.stride()[i] > 1 => contiguous(tensor),
        _ => Ok(tensor.clone()),
    }
}

/// Zeros for a result of that shape.
///
/// # Errors
/// It has more elements than [`super::MAX_ELEMENTS`], or memory runs out.
pub(crate) fn zeros<T: Element>(dims: &[usize]) -> Result<Vec<T>> {
    let count = count_of("x", dims)?;
    // Whether there is room is asked first, because memory that the system
    // hands out as zeros is touched by the threads that fill it; setting it to
    // zero here would touch it on one.
    drop(reserve::<T>(count)?);
    Ok(vec![T::ZERO; count])
}

/// Side of the square tiles of a transposition.
const TILE: usize = 16;

/// Elements below which a copy stays on one thread.
const PARALLEL: usize = 1 << 16;

/// Copies the elements of a strided view into row-major order. `source[0]` is
/// the first element of the view.
///
/// # Errors
/// Memory runs out.
pub(crate) fn gather<T: Element>(
    source: &[T],
    dims: &[usize],
    strides: &[usize],
) -> Result<Vec<T>> {
    let mut out = zeros::<T>(dims)?;
    let len = out.len();
    if len == 0 {
        return Ok(out);
    }
    let (dims, strides) = merged(dims, strides);
    let (Some(&cols), Some(&step)) = (dims.last(), strides.last()) else {
        out[0] = source[0];
        return Ok(out);
    };
    // The dimension along which the source is contiguous, if it is not the last.
    let outer = dims.len() - 1;
    let contiguous = (0..outer).find(|&d| strides[d] == 1);
    match contiguous {
        Some(axis) if step > 1 => transpose(source, &dims, &strides, axis, &mut out),
        _ => {
            let rows = match len < PARALLEL {
                true => len / cols,
                false => (PARALLEL / 2).div_ceil(cols),
            };
            parallel::chunks(&mut out, rows * cols, 1, &|index, part| {
                let mut position = Odometer::at(&dims[..outer], index * rows);
                for row in part.chunks_exact_mut(cols) {
                    let source = &source[position.offset(&strides)..];
                    match step {
                        0 => row.fill(source[0]),
                        1 => row.copy_from_slice(&source[..cols]),
                        _ => {
                            for (y, x) in row.iter_mut().zip(source.iter().step_by(step)) {
                                *y = *x;
                            }
                        }
                    }
                    position.next();
                }
            });
        }
    }
    Ok(out)
}

/// Copies a view whose dimension `axis` is contiguous in the source and whose
/// last dimension is the contiguous one of the result, tile by tile.
fn transpose<T: Element>(
    source: &[T],
    dims: &[usize],
    strides: &[usize],
    axis: usize,
    out: &mut [T],
) {
    let last = dims.len() - 1;
    let (cols, step) = (dims[last], strides[last]);
    let rows = dims[axis];
    // A row of the result's axis: everything after it.
    let pitch: usize = dims[axis + 1..].iter().product();
    let least = match out.len() < PARALLEL {
        true => usize::MAX,
        false => 1,
    };
    let mut tasks: Vec<(usize, usize, &mut [T])> = Vec::new();
    for (prefix, block) in out.chunks_mut(rows * pitch).enumerate() {
        for (tile, part) in block.chunks_mut(TILE * pitch).enumerate() {
            tasks.push((prefix, tile * TILE, part));
        }
    }
    let task = |(prefix, row, part): &mut (usize, usize, &mut [T])| {
        let height = part.len() / pitch;
        let prefix = Odometer::at(&dims[..axis], *prefix).offset(strides);
        let mut middle = Odometer::at(&dims[axis + 1..last], 0);
        for inner in 0..pitch / cols {
            let source = &source[prefix + *row + middle.offset(&strides[axis + 1..last])..];
            for col in (0..cols).step_by(TILE) {
                let width = TILE.min(cols - col);
                let mut tile = [[T::ZERO; TILE]; TILE];
                for (c, line) in tile[..width].iter_mut().enumerate() {
                    let from = (col + c) * step;
                    line[..height].copy_from_slice(&source[from..from + height]);
                }
                for r in 0..height {
                    let to = r * pitch + inner * cols + col;
                    for (y, line) in part[to..to + width].iter_mut().zip(&tile) {
                        *y = line[r];
                    }
                }
            }
            middle.next();
        }
    };
    parallel::chunks(&mut tasks, 1, least, &|_, tasks| {
        tasks.iter_mut().for_each(task);
    });
}

/// Drops dimensions of size 1 and joins neighbours that one stride spans.
pub(crate) fn merged(dims: &[usize], strides: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let mut out: (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
    for (&dim, &stride) in dims.iter().zip(strides) {
        if dim == 1 {
            continue;
        }
        match (out.0.last_mut(), out.1.last_mut()) {
            (Some(d), Some(s)) if *s == dim * stride => {
                *d *= dim;
                *s = stride;
            }
            _ => {
                out.0.push(dim);
                out.1.push(stride);
            }
        }
    }
    out
}

/// Counts through the positions of a shape in row-major order.
pub(crate) struct Odometer<'d> {
    dims: &'d [usize],
    position: Vec<usize>,
}

impl<'d> Odometer<'d> {
    /// At the position of the row-major `index`.
    pub(crate) fn at(dims: &'d [usize], mut index: usize) -> Self {
        let mut position = vec![0; dims.len()];
        for (p, &d) in position.iter_mut().zip(dims).rev() {
            *p = index % d.max(1);
            index /= d.max(1);
        }
        Self { dims, position }
    }

    /// Where an element at this position lies, given strides.
    pub(crate) fn offset(&self, strides: &[usize]) -> usize {
        self.position.iter().zip(strides).map(|(p, s)| p * s).sum()
    }

    /// Moves to the next position; after the last comes the first.
    pub(crate) fn next(&mut self) {
        for (p, &d) in self.position.iter_mut().zip(self.dims).rev() {
            *p += 1;
            if *p < d {
                return;
            }
            *p = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use proptest::prelude::*;

    fn naive(source: &[i32], dims: &[usize], strides: &[usize]) -> Vec<i32> {
        let len: usize = dims.iter().product();
        (0..len)
            .map(|i| source[Odometer::at(dims, i).offset(strides)])
            .collect()
    }

    proptest! {
        #[test]
        fn gather_matches_one_by_one(
            dims in prop::collection::vec(1usize..40, 1..5),
            order in any::<u64>(),
            narrow in 0usize..3,
            repeat in any::<bool>(),
        ) {
            prop_assume!(dims.iter().product::<usize>() < 300_000);
            // Strides of a permuted, narrowed tensor, perhaps with a repeat.
            let mut axes: Vec<usize> = (0..dims.len()).collect();
            let mut state = order;
            for i in (1..axes.len()).rev() {
                axes.swap(i, (state % (i as u64 + 1)) as usize);
                state = state.rotate_left(7) ^ 0x9e37_79b9;
            }
            let mut strides = vec![0; dims.len()];
            let mut step = 1;
            for &a in axes.iter().rev() {
                strides[a] = step;
                step *= dims[a] + narrow;
            }
            if repeat {
                strides[axes[0]] = 0;
            }
            let source: Vec<i32> = (0..step as i32 + 1).collect();
            prop_assert_eq!(
                gather(&source, &dims, &strides).unwrap(),
                naive(&source, &dims, &strides)
            );
        }
    }

    #[test]
    fn views_of_tensors() -> Result<()> {
        let t = Tensor::arange(0f32, 24.0, &Device::Cpu)?.reshape((2, 3, 4))?;
        let view = t.permute((2, 0, 1))?.narrow(0, 1, 2)?;
        assert_eq!(
            elements::<f32>(&view)?[..],
            [1., 5., 9., 13., 17., 21., 2., 6., 10., 14., 18., 22.]
        );
        assert_eq!(elements::<f32>(&t)?.len(), 24);
        assert!(elements::<i64>(&t).is_err());
        let wide = t.narrow(1, 0, 1)?.broadcast_as((2, 3, 4))?;
        assert_eq!(
            contiguous(&wide)?.flatten_all()?.to_vec1::<f32>()?,
            wide.contiguous()?.flatten_all()?.to_vec1::<f32>()?
        );
        let empty = Tensor::zeros((0, 3), DType::F32, &Device::Cpu)?.t()?;
        assert_eq!(elements::<f32>(&empty)?.len(), 0);
        assert_eq!(
            elements::<f32>(&Tensor::new(3f32, &Device::Cpu)?)?[..],
            [3.0]
        );
        Ok(())
    }
}
