//! Slices with Python's rules.

use super::{Result, mismatch};
use crate::types::Dim;

/// The elements `start, start + stride, ...` of a dimension, `len` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// First element; below the size unless `len` is 0.
    pub start: u64,
    /// Number of elements.
    pub len: u64,
    /// Distance of two elements; negative: backwards.
    pub stride: i64,
}

impl Slice {
    /// The positions, in order.
    pub fn positions(self) -> impl Iterator<Item = u64> {
        (0..self.len).map(move |i| {
            // Within the dimension by construction.
            self.start
                .wrapping_add_signed((i as i64).wrapping_mul(self.stride))
        })
    }
}

/// What `begin : end : stride` takes of a dimension; negative bounds count from
/// the end, bounds beyond it are cut, `None` is the end that the stride starts
/// from or goes to.
///
/// # Errors
/// The stride is 0, or the size does not fit 63 bits.
pub fn slice_of(size: u64, begin: Option<i64>, end: Option<i64>, stride: i64) -> Result<Slice> {
    let Ok(n) = i64::try_from(size) else {
        return Err(super::too_large());
    };
    if stride == 0 {
        return Err(mismatch("a slice has a stride of 0, but must step"));
    }
    let wrap = |bound: i64| if bound < 0 { bound + n } else { bound };
    // The first position, and the first one past the end, in the direction of
    // the stride.
    let (first, past) = if stride > 0 {
        let first = begin.map_or(0, |b| wrap(b).clamp(0, n));
        let past = end.map_or(n, |e| wrap(e).clamp(0, n));
        (first, past)
    } else {
        let first = begin.map_or(n - 1, |b| wrap(b).clamp(-1, n - 1));
        let past = end.map_or(-1, |e| wrap(e).clamp(-1, n - 1));
        (first, past)
    };
    let distance = if stride > 0 {
        past - first
    } else {
        first - past
    };
    let len = if distance > 0 {
        (distance as u64).div_ceil(stride.unsigned_abs())
    } else {
        0
    };
    Ok(Slice {
        start: if len == 0 { 0 } else { first as u64 },
        len,
        stride,
    })
}

/// The size of a slice of a dimension that may be unknown. Of an unknown size,
/// `0 : 1` is still taken to be one element, as is `-1 :`.
///
/// # Errors
/// As [`slice_of`].
pub fn slice_dim(dim: Dim, begin: Option<i64>, end: Option<i64>, stride: i64) -> Result<Dim> {
    if let Dim::Known(size) = dim {
        return Ok(Dim::Known(slice_of(size, begin, end, stride)?.len));
    }
    if stride == 0 {
        return slice_of(1, begin, end, stride).map(|_| dim);
    }
    Ok(match (begin, end) {
        (None, None) if stride.abs() == 1 => dim,
        (Some(-1), None) if stride > 0 => Dim::Known(1),
        (Some(0), None) if stride < 0 => Dim::Known(1),
        (Some(b), Some(e)) if (b < 0) == (e < 0) => {
            let distance = if stride > 0 {
                e.saturating_sub(b)
            } else {
                b.saturating_sub(e)
            };
            match distance {
                ..=0 => Dim::Known(0),
                d if d.unsigned_abs() <= stride.unsigned_abs() => Dim::Known(1),
                _ => Dim::Unknown,
            }
        }
        _ => Dim::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Python's rule, element by element.
    fn python(size: i64, begin: Option<i64>, end: Option<i64>, stride: i64) -> Vec<u64> {
        let wrap = |b: i64| if b < 0 { b + size } else { b };
        let (mut at, past) = if stride > 0 {
            (
                begin.map_or(0, |b| wrap(b).max(0)),
                end.map_or(size, |e| wrap(e).min(size)),
            )
        } else {
            (
                begin.map_or(size - 1, |b| wrap(b).min(size - 1)),
                end.map_or(-1, |e| wrap(e).max(-1)),
            )
        };
        let mut found = Vec::new();
        while if stride > 0 { at < past } else { at > past } {
            found.push(at as u64);
            at += stride;
        }
        found
    }

    #[test]
    fn every_small_slice_is_pythons() {
        let bounds: Vec<Option<i64>> = (-7..=7).map(Some).chain([None]).collect();
        let mut checked = 0;
        for size in 0..6 {
            for &begin in &bounds {
                for &end in &bounds {
                    for stride in [-7, -3, -2, -1, 1, 2, 3, 7] {
                        let slice = slice_of(size as u64, begin, end, stride).unwrap();
                        let wanted = python(size, begin, end, stride);
                        let found: Vec<u64> = slice.positions().collect();
                        assert_eq!(found, wanted, "{size}: {begin:?}:{end:?}:{stride}");
                        checked += 1;
                    }
                }
            }
        }
        println!("{checked} slices");
        assert!(slice_of(3, None, None, 0).is_err());
        let extremes = slice_of(3, Some(i64::MIN), Some(i64::MAX), i64::MIN).unwrap();
        assert_eq!(extremes.len, 0);
        assert_eq!(
            slice_of(3, Some(i64::MAX), Some(i64::MIN), i64::MIN)
                .unwrap()
                .len,
            1
        );
    }
}
