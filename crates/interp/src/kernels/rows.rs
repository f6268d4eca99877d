//! Results made row by row, on all cores, and sums along a row.

use rayon::prelude::*;

use super::float::Float;

/// Elements of one block of output.
const BLOCK: usize = 512;

/// Fewer elements than this are not worth a second thread.
const PARALLEL: usize = 1 << 16;

/// Partial sums that run side by side: what the widest vectors hold, twice.
const LANES: usize = 32;

/// Elements after which partial sums go over into a sum in f64.
const RUN: usize = 2048;

/// A matrix of `rows` rows of `width` elements. `enter` works out, from the
/// number of a row, what its elements have in common, in a state made by
/// `start`; `fill` then makes the elements from a column on.
///
/// A row may be entered twice, when two threads share it; so the result does
/// not depend on the number of threads as long as `enter` depends on the row
/// alone.
pub(crate) fn build_rows<T, S>(
    rows: usize,
    width: usize,
    start: impl Fn() -> S + Sync,
    enter: impl Fn(&mut S, usize) + Sync,
    fill: impl Fn(&S, usize, usize, &mut [T]) + Sync,
) -> Vec<T>
where
    T: Float,
{
    let len = rows * width;
    let make = |(current, state): &mut (Option<usize>, S), first: usize, block: &mut [T]| {
        let mut at = first;
        let mut block = block;
        while !block.is_empty() {
            let (row, column) = (at / width, at % width);
            if *current != Some(row) {
                enter(state, row);
                *current = Some(row);
            }
            let (part, rest) = block.split_at_mut(block.len().min(width - column));
            fill(state, row, column, part);
            at += part.len();
            block = rest;
        }
    };
    let fresh = || (None, start());
    let whole = len / BLOCK;
    // The rest of the last block goes behind the blocks.
    let mut blocks: Vec<[T; BLOCK]> = Vec::with_capacity(whole + 1);
    let one = |state: &mut (Option<usize>, S), index: usize| {
        let mut block = [T::default(); BLOCK];
        make(state, index * BLOCK, &mut block);
        block
    };
    if len < PARALLEL {
        let mut state = fresh();
        blocks.extend((0..whole).map(|index| one(&mut state, index)));
    } else {
        (0..whole)
            .into_par_iter()
            .with_min_len((PARALLEL / 2).max(width) / BLOCK)
            .map_init(fresh, one)
            .collect_into_vec(&mut blocks);
    }
    let mut out = blocks.into_flattened();
    let first = out.len();
    let mut rest = [T::default(); BLOCK];
    let rest = &mut rest[..len - first];
    make(&mut fresh(), first, rest);
    out.extend_from_slice(rest);
    out
}

/// The sum of `f` of every element, in a fixed order: partial sums in `T` over
/// runs of a few thousand elements, those in f64.
///
/// For use inside of [`super::simd::dispatch`].
#[inline(always)]
pub(crate) fn sum_of<T: Float>(x: &[T], f: impl Fn(T) -> T) -> f64 {
    let mut total = 0.0;
    for run in x.chunks(RUN) {
        let mut lanes = [T::default(); LANES];
        let (whole, rest) = run.as_chunks::<LANES>();
        for chunk in whole {
            for (lane, &v) in lanes.iter_mut().zip(chunk) {
                *lane += f(v);
            }
        }
        for (lane, &v) in lanes.iter_mut().zip(rest) {
            *lane += f(v);
        }
        total += lanes.iter().map(|lane| lane.to_f64()).sum::<f64>();
    }
    total
}

/// The greatest element; negative infinity when there is none. NaN may or may
/// not be ignored.
///
/// For use inside of [`super::simd::dispatch`].
#[inline(always)]
pub(crate) fn greatest<T: Float>(x: &[T]) -> T {
    let larger = |a: T, b: T| if b > a { b } else { a };
    let mut lanes = [T::LOWEST; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for chunk in whole {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, v);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane = larger(*lane, v);
    }
    lanes.into_iter().fold(T::LOWEST, larger)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_filled_in_order_whatever_their_width() {
        let mut checked = 0;
        for (rows, width) in [
            (0, 5),
            (7, 0),
            (1, 1),
            (3, 511),
            (900, 77),
            (40, 4096),
            (2, 70_001),
        ] {
            let made: Vec<f64> = build_rows(
                rows,
                width,
                || 0,
                |state, row| *state = row * 1_000_000,
                |state, _, column, out| {
                    for (i, y) in out.iter_mut().enumerate() {
                        *y = (state + column + i) as f64;
                    }
                },
            );
            assert_eq!(made.len(), rows * width);
            for (i, y) in made.into_iter().enumerate() {
                assert_eq!(y, (i / width * 1_000_000 + i % width) as f64);
                checked += 1;
            }
        }
        println!("{checked} elements");
    }

    #[test]
    fn sums_are_accurate_and_the_greatest_is_found() {
        let x: Vec<f32> = (0..1_000_003)
            .map(|i| 1.0 + (i % 7) as f32 * 1e-3)
            .collect();
        let exact: f64 = x.iter().map(|&v| f64::from(v)).sum();
        assert!((sum_of(&x, |v| v) / exact - 1.0).abs() < 1e-7);
        for n in [0, 1, 31, 32, 33, 100] {
            let x: Vec<f32> = (0..n).map(|i| -((i as f32) - 40.5).abs()).collect();
            let want = x.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
            assert_eq!(greatest(&x), want);
        }
    }
}
