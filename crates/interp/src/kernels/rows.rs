//! Results made row by row, on all cores, and sums along a row.

use super::check::Result;
use super::float::Float;
use super::parallel;

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
///
/// # Errors
/// When memory runs out.
pub(crate) fn build_rows<T: Float, S>(
    rows: usize,
    width: usize,
    start: impl Fn() -> S + Sync,
    enter: impl Fn(&mut S, usize) + Sync,
    fill: impl Fn(&S, usize, usize, &mut [T]) + Sync,
) -> Result<Vec<T>> {
    let len = rows * width;
    let least = match len < PARALLEL {
        true => usize::MAX,
        false => (PARALLEL / 2).max(width),
    };
    parallel::blocks(len, least, &|| {
        let (mut state, mut current) = (start(), None);
        let (enter, fill) = (&enter, &fill);
        Box::new(move |first, mut block| {
            let mut at = first;
            while !block.is_empty() {
                let (row, column) = (at / width, at % width);
                if current != Some(row) {
                    enter(&mut state, row);
                    current = Some(row);
                }
                let (part, rest) = block.split_at_mut(block.len().min(width - column));
                fill(&state, row, column, part);
                at += part.len();
                block = rest;
            }
        })
    })
}

/// The sum of `f` of every element, in a fixed order: partial sums in `T` over
/// runs of a few thousand elements, those in f64.
///
/// For use inside of [`super::build::Element::wide`].
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
/// For use inside of [`super::build::Element::wide`].
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
            )
            .unwrap();
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
