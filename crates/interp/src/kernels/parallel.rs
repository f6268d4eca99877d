//! Work shared among threads: the one place that knows the thread pool.
//!
//! What is done is given as `dyn` closures, so that the machinery of the pool
//! is compiled here and not once for every kernel. Work is cut by its size
//! alone and every part is computed on its own: a result never depends on the
//! number of threads.

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::build::{Element, reserve};
use super::check::Result;

/// Elements of a block of [`blocks`]: it stays in the first-level cache while
/// it is filled.
pub(crate) const BLOCK: usize = 2048;

/// Parts that each thread gets, so that one which is held up does not hold up
/// the rest.
const PARTS: usize = 8;

/// The number of threads.
pub(crate) fn threads() -> usize {
    rayon::current_num_threads()
}

/// Calls `f` with every number below `count`. A thread takes `least` numbers
/// or more at a time.
pub(crate) fn for_each(count: usize, least: usize, f: &(dyn Fn(usize) + Sync)) {
    if count <= least || threads() == 1 {
        (0..count).for_each(f);
    } else {
        (0..count)
            .into_par_iter()
            .with_min_len(least.max(1))
            .for_each(f);
    }
}

/// Calls `f` with the number of every chunk of `size` elements of `out`, and
/// the chunk. A thread takes `least` chunks or more at a time.
pub(crate) fn chunks<T: Send>(
    out: &mut [T],
    size: usize,
    least: usize,
    f: &(dyn Fn(usize, &mut [T]) + Sync),
) {
    let size = size.max(1);
    let count = out.len().div_ceil(size);
    if count <= least.max(1) || threads() == 1 {
        for (index, chunk) in out.chunks_mut(size).enumerate() {
            f(index, chunk);
        }
        return;
    }
    let group = least.max(count.div_ceil(PARTS * threads()));
    let groups: Vec<Mutex<&mut [T]>> = out.chunks_mut(size * group).map(Mutex::new).collect();
    for_each(groups.len(), 1, &|number| {
        // Each is locked once, so none is ever poisoned.
        let mut chunks = groups[number]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (index, chunk) in chunks.chunks_mut(size).enumerate() {
            f(number * group + index, chunk);
        }
    });
}

/// Fills the block that starts at an offset.
pub(crate) type Fill<'a, T> = Box<dyn FnMut(usize, &mut [T]) + 'a>;

/// Makes `count` elements, each written to memory once: blocks of them are
/// filled in the cache and copied to their place. Every thread fills with a
/// function of its own, made by `start`, which gets ascending offsets and may
/// keep what it needs from one block to the next; it must fill all of a block,
/// which holds anything.
///
/// A thread takes `least` elements or more at a time.
///
/// # Errors
/// When memory runs out.
pub(crate) fn blocks<'a, T: Element>(
    count: usize,
    least: usize,
    start: &(dyn Fn() -> Fill<'a, T> + Sync),
) -> Result<Vec<T>> {
    if count < BLOCK {
        let mut out = vec![T::ZERO; count];
        start()(0, &mut out);
        return Ok(out);
    }
    let whole = count / BLOCK;
    // The capacity covers the last, partial block too.
    let mut made: Vec<[T; BLOCK]> = reserve(count.div_ceil(BLOCK))?;
    let start = || (start(), [T::ZERO; BLOCK]);
    let one = |(fill, block): &mut (Fill<'_, T>, [T; BLOCK]), index: usize| {
        fill(index * BLOCK, block);
        *block
    };
    let least = least.div_ceil(BLOCK).max(1);
    if whole <= least || threads() == 1 {
        let mut state = start();
        made.extend((0..whole).map(|index| one(&mut state, index)));
    } else {
        (0..whole)
            .into_par_iter()
            .with_min_len(least)
            .map_init(start, one)
            .collect_into_vec(&mut made);
    }
    let mut out = made.into_flattened();
    let rest = count - out.len();
    if rest > 0 {
        let (mut fill, mut block) = start();
        fill(out.len(), &mut block[..rest]);
        out.extend_from_slice(&block[..rest]);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_and_chunk_comes_once() {
        for (count, size, least) in [
            (0, 3, 1),
            (1, 3, 1),
            (100, 7, 1),
            (100, 7, 4),
            (9999, 2, 50),
        ] {
            let mut out = vec![0usize; count];
            chunks(&mut out, size, least, &|index, chunk| {
                for (i, y) in chunk.iter_mut().enumerate() {
                    *y += index * size + i + 1;
                }
            });
            assert_eq!(out, (1..=count).collect::<Vec<_>>());
            let seen: Vec<Mutex<usize>> = (0..count).map(|_| Mutex::new(0)).collect();
            for_each(count, least, &|i| *seen[i].lock().unwrap() += 1);
            assert!(seen.into_iter().all(|n| n.into_inner().unwrap() == 1));
        }
    }

    #[test]
    fn every_length_is_filled_in_order() {
        for count in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 40_000, 300_003] {
            for least in [1, 10_000, usize::MAX] {
                let made: Vec<i64> = blocks(count, least, &|| {
                    Box::new(|start, out| {
                        for (i, y) in out.iter_mut().enumerate() {
                            *y = (start + i) as i64 + 7;
                        }
                    })
                })
                .unwrap();
                assert_eq!(made, (7..count as i64 + 7).collect::<Vec<_>>());
            }
        }
    }
}
