//! Loops at the full vector width of the CPU, over all cores.
//!
//! The crate is compiled for the oldest CPU of its architecture; [`dispatch`]
//! runs a closure in a copy compiled for AVX2 or AVX-512 when the CPU has it.

use rayon::prelude::*;

/// Elements of one block of the parallel loops below.
const BLOCK: usize = 512;

/// Fewer elements than this are not worth a second thread.
const PARALLEL: usize = 1 << 15;

/// Runs `f` compiled for the widest vectors of this CPU.
///
/// Only code inlined into the closure profits: slice loops, `#[inline(always)]`
/// functions and the functions of [`super::vmath`].
#[inline]
pub(crate) fn dispatch<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// A vector of `len` elements, filled block by block on all cores: `fill` gets
/// the offset of a block and the block, and runs under [`dispatch`].
///
/// The result does not depend on the number of threads.
pub(crate) fn build<T, F>(len: usize, fill: F) -> Vec<T>
where
    T: Copy + Default + Send + Sync,
    F: Fn(usize, &mut [T]) + Sync,
{
    let whole = len / BLOCK;
    let one = |i: usize| {
        let mut block = [T::default(); BLOCK];
        dispatch(|| fill(i * BLOCK, &mut block));
        block
    };
    let mut blocks: Vec<[T; BLOCK]> = Vec::with_capacity(whole + 1);
    if len < PARALLEL {
        blocks.extend((0..whole).map(one));
    } else {
        (0..whole)
            .into_par_iter()
            .with_min_len(PARALLEL / 2 / BLOCK)
            .map(one)
            .collect_into_vec(&mut blocks);
    }
    let mut out = blocks.into_flattened();
    if out.len() < len {
        let mut rest = [T::default(); BLOCK];
        let start = out.len();
        let rest = &mut rest[..len - start];
        dispatch(|| fill(start, rest));
        out.extend_from_slice(rest);
    }
    out
}

/// `f` of every element.
pub(crate) fn map<A, T>(a: &[A], f: impl Fn(A) -> T + Sync) -> Vec<T>
where
    A: Copy + Sync,
    T: Copy + Default + Send + Sync,
{
    build(a.len(), |start, out| {
        let a = &a[start..start + out.len()];
        for (y, &x) in out.iter_mut().zip(a) {
            *y = f(x);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_filled_in_order() {
        for len in [0, 1, 511, 512, 513, 1024, 40_000, 100_003] {
            let v: Vec<u32> = build(len, |start, out| {
                for (i, y) in out.iter_mut().enumerate() {
                    *y = (start + i) as u32 + 7;
                }
            });
            assert_eq!(v, (7..len as u32 + 7).collect::<Vec<_>>());
        }
        let a: Vec<f32> = (0..70_001).map(|i| i as f32).collect();
        assert_eq!(map(&a, |x| x + 1.0)[70_000], 70_001.0);
    }
}
