//! Elements of tensors: contiguous slices, strided views and fast copies
//! between the two.

use std::marker::PhantomData;
use std::ops::{Deref, Range};

use candle_core::{Result, Storage, StorageRef, Tensor, WithDType};
use rayon::prelude::*;

use crate::error::KernelError;

/// An element that the copies below move.
pub(crate) trait Element: WithDType + Default + Send + Sync {}

impl<T: WithDType + Default + Send + Sync> Element for T {}

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
        let start = layout.start_offset();
        let (dims, strides) = (layout.dims(), layout.stride());
        let end = match dims.contains(&0) {
            true => start,
            false => {
                let steps = dims.iter().zip(strides).map(|(&d, &s)| (d - 1) * s);
                start + steps.sum::<usize>() + 1
            }
        };
        if end > len {
            candle_core::bail!("a view of {dims:?} by {strides:?} ends outside of {len} elements");
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
    pub(crate) fn into_elements(self) -> Elements<'a, T> {
        if self.is_contiguous() {
            Elements(Source::Place(self))
        } else {
            Elements(Source::Copy(gather(&self, &self.dims, &self.strides)))
        }
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
        Storage::Cpu(cpu) => cpu.as_slice::<T>().map(<[T]>::len),
        _ => candle_core::bail!("the tensor is not on the CPU"),
    }
}

/// The elements of a tensor in row-major order: in place where they already
/// lie so, else a copy.
pub(crate) struct Elements<'a, T>(Source<'a, T>);

enum Source<'a, T> {
    Place(View<'a, T>),
    Copy(Vec<T>),
}

impl<T: Element> Deref for Elements<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.0 {
            Source::Place(view) => view,
            Source::Copy(copy) => copy,
        }
    }
}

/// The elements of `tensor` in row-major order.
///
/// # Errors
/// They are not of type `T`.
pub(crate) fn elements<T: Element>(tensor: &Tensor) -> Result<Elements<'_, T>> {
    Ok(View::new(tensor)?.into_elements())
}

/// `tensor` with its elements in row-major order; itself if they lie so.
///
/// # Errors
/// Its element type is none that values are held in.
pub(crate) fn contiguous(tensor: &Tensor) -> Result<Tensor> {
    use candle_core::DType;
    fn copied<T: Element>(tensor: &Tensor) -> Result<Tensor> {
        let view = View::<T>::new(tensor)?;
        let data = gather(&view, &view.dims, &view.strides);
        Tensor::from_vec(data, tensor.dims(), tensor.device())
    }
    if tensor.is_contiguous() {
        return Ok(tensor.clone());
    }
    match tensor.dtype() {
        DType::F32 => copied::<f32>(tensor),
        DType::F64 => copied::<f64>(tensor),
        DType::U8 => copied::<u8>(tensor),
        DType::I32 => copied::<i32>(tensor),
        DType::I64 => copied::<i64>(tensor),
        _ => tensor.contiguous(),
    }
}

/// Zeros for a result of that shape.
///
/// # Errors
/// It has more elements than [`super::MAX_ELEMENTS`].
pub(crate) fn zeros<T: Element>(dims: &[usize]) -> std::result::Result<Vec<T>, KernelError> {
    let limit = super::MAX_ELEMENTS;
    let count = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    // An empty tensor of absurd dimensions is as good as any.
    let count = if dims.contains(&0) { Some(0) } else { count };
    match count {
        Some(n) if n <= limit => Ok(vec![T::default(); n]),
        _ => Err(KernelError::TooLarge {
            elements: format!("{dims:?}"),
            limit,
        }),
    }
}

/// Side of the square tiles of a transposition.
const TILE: usize = 16;

/// Elements below which a copy stays on one thread.
const PARALLEL: usize = 1 << 16;

/// Copies the elements of a strided view into row-major order. `source[0]` is
/// the first element of the view.
pub(crate) fn gather<T>(source: &[T], dims: &[usize], strides: &[usize]) -> Vec<T>
where
    T: Copy + Default + Send + Sync,
{
    let len: usize = dims.iter().product();
    let mut out = vec![T::default(); len];
    if len == 0 {
        return out;
    }
    let (dims, strides) = merged(dims, strides);
    let (Some(&cols), Some(&step)) = (dims.last(), strides.last()) else {
        out[0] = source[0];
        return out;
    };
    // The dimension along which the source is contiguous, if it is not the last.
    let outer = dims.len() - 1;
    let contiguous = (0..outer).find(|&d| strides[d] == 1);
    match contiguous {
        Some(axis) if step > 1 => transpose(source, &dims, &strides, axis, &mut out),
        _ => {
            let rows_per_task = (PARALLEL / 2).div_ceil(cols);
            let task = |(index, rows): (usize, &mut [T])| {
                let mut position = Odometer::at(&dims[..outer], index * rows_per_task);
                for row in rows.chunks_exact_mut(cols) {
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
            };
            if len < PARALLEL {
                task((0, &mut out));
            } else {
                out.par_chunks_mut(rows_per_task * cols)
                    .enumerate()
                    .for_each(task);
            }
        }
    }
    out
}

/// Copies a view whose dimension `axis` is contiguous in the source and whose
/// last dimension is the contiguous one of the result, tile by tile.
fn transpose<T>(source: &[T], dims: &[usize], strides: &[usize], axis: usize, out: &mut [T])
where
    T: Copy + Default + Send + Sync,
{
    let last = dims.len() - 1;
    let (cols, step) = (dims[last], strides[last]);
    let rows = dims[axis];
    // A row of the result's axis: everything after it.
    let pitch: usize = dims[axis + 1..].iter().product();
    let tasks: Vec<(usize, usize, &mut [T])> = out
        .chunks_mut(rows * pitch)
        .enumerate()
        .flat_map(|(prefix, block)| {
            block
                .chunks_mut(TILE * pitch)
                .enumerate()
                .map(move |(tile, part)| (prefix, tile * TILE, part))
        })
        .collect();
    let task = |(prefix, row, part): (usize, usize, &mut [T])| {
        let height = part.len() / pitch;
        let prefix = Odometer::at(&dims[..axis], prefix).offset(strides);
        let mut middle = Odometer::at(&dims[axis + 1..last], 0);
        for inner in 0..pitch / cols {
            let source = &source[prefix + row + middle.offset(&strides[axis + 1..last])..];
            for col in (0..cols).step_by(TILE) {
                let width = TILE.min(cols - col);
                let mut tile = [[T::default(); TILE]; TILE];
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
    let len: usize = dims.iter().product();
    if len < PARALLEL {
        tasks.into_iter().for_each(task);
    } else {
        tasks.into_par_iter().for_each(task);
    }
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
                gather(&source, &dims, &strides),
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
