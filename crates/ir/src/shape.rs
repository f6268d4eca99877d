//! Shape arithmetic that type inference and kernels share.
//!
//! Everything is checked: sizes come from files. A size that is not known
//! before the program runs stays [`Dim::Unknown`].

use crate::types::{Dim, ShapeDisplay};
use crate::view::ParamError;

mod slice;
mod window;

pub use slice::{Slice, slice_dim, slice_of};
pub use window::{Pad, Windows, windows};

/// Result of a computation on shapes.
pub type Result<T> = std::result::Result<T, ParamError>;

/// [`ParamError::Mismatch`].
pub fn mismatch(message: impl Into<String>) -> ParamError {
    ParamError::Mismatch(message.into())
}

/// A size or product that no machine can hold.
pub fn too_large() -> ParamError {
    mismatch("a size does not fit 64 bits; the shapes cannot be right")
}

/// Applies checked arithmetic to a size, if it is known.
///
/// # Errors
/// `f` overflows (`None`).
pub fn map(dim: Dim, f: impl FnOnce(u64) -> Option<u64>) -> Result<Dim> {
    match dim {
        Dim::Known(size) => f(size).map(Dim::Known).ok_or_else(too_large),
        other => Ok(other),
    }
}

/// Two sizes that must be equal: the known one; `None` when they differ.
pub fn merge(a: Dim, b: Dim) -> Option<Dim> {
    match (a, b) {
        (Dim::Known(x), Dim::Known(y)) => (x == y).then_some(a),
        (Dim::Known(_), _) => Some(a),
        _ => Some(b),
    }
}

/// Two shapes that must be equal: the known sizes of both; `None` when they
/// differ. A shape of unknown rank equals every other.
pub fn merge_shapes(a: &[Dim], b: &[Dim]) -> Option<Vec<Dim>> {
    if a.contains(&Dim::Variadic) {
        return Some(b.to_vec());
    }
    if b.contains(&Dim::Variadic) {
        return Some(a.to_vec());
    }
    if a.len() != b.len() {
        return None;
    }
    a.iter().zip(b).map(|(&x, &y)| merge(x, y)).collect()
}

/// The shape of two operands broadcast against each other: aligned at the last
/// dimension, a size of 1 stretches. A size that is not known is taken to be
/// the other operand's, unless that is 1.
///
/// # Errors
/// Two sizes differ and neither is 1.
pub fn broadcast(a: &[Dim], b: &[Dim]) -> Result<Vec<Dim>> {
    if a.contains(&Dim::Variadic) || b.contains(&Dim::Variadic) {
        return Ok(vec![Dim::Variadic]);
    }
    let rank = a.len().max(b.len());
    let at = |shape: &[Dim], i: usize| {
        let missing = rank - shape.len();
        i.checked_sub(missing).map_or(Dim::Known(1), |i| shape[i])
    };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (Dim::Known(1), other) | (other, Dim::Known(1)) => Ok(other),
            (x, y) => merge(x, y).ok_or_else(|| {
                mismatch(format!(
                    "shapes {} and {} cannot be broadcast: {x} against {y}",
                    ShapeDisplay(a),
                    ShapeDisplay(b)
                ))
            }),
        })
        .collect()
}

/// The position of an axis that may count from the end.
///
/// # Errors
/// It is not in `-rank .. rank`.
pub fn axis(param: &str, axis: i64, rank: usize) -> Result<usize> {
    let from_end = if axis < 0 { rank as i64 } else { 0 };
    axis.checked_add(from_end)
        .and_then(|a| usize::try_from(a).ok())
        .filter(|&a| a < rank)
        .ok_or_else(|| {
            ParamError::value(
                param,
                format!("axis {axis} is not one of the {rank} dimensions (-{rank} ..= {rank} - 1)"),
            )
        })
}

/// The positions of axes, in the order given.
///
/// # Errors
/// One is not in `-rank .. rank`, or occurs twice.
pub fn axes(param: &str, list: &[i64], rank: usize) -> Result<Vec<usize>> {
    let mut taken = vec![false; rank];
    list.iter()
        .map(|&a| {
            let position = axis(param, a, rank)?;
            if std::mem::replace(&mut taken[position], true) {
                return Err(ParamError::value(param, format!("axis {a} is named twice")));
            }
            Ok(position)
        })
        .collect()
}

/// The number of elements; unknown when one size is and none is 0.
///
/// # Errors
/// It overflows.
pub fn product(dims: &[Dim]) -> Result<Dim> {
    if dims.contains(&Dim::Known(0)) {
        return Ok(Dim::Known(0));
    }
    let mut total = Dim::Known(1);
    for &dim in dims {
        total = match (total, dim) {
            (Dim::Known(a), Dim::Known(b)) => Dim::Known(a.checked_mul(b).ok_or_else(too_large)?),
            _ => Dim::Unknown,
        };
    }
    Ok(total)
}

/// A size given by a parameter.
///
/// # Errors
/// It is negative.
pub fn size(param: &str, value: i64) -> Result<u64> {
    u64::try_from(value)
        .map_err(|_| ParamError::value(param, format!("{value} is negative, but must be a size")))
}

/// A size of at least 1 given by a parameter.
///
/// # Errors
/// It is 0 or negative.
pub fn positive(param: &str, value: i64) -> Result<u64> {
    u64::try_from(value)
        .ok()
        .filter(|&v| v > 0)
        .ok_or_else(|| ParamError::value(param, format!("{value}, but must be at least 1")))
}

/// An exact quotient.
///
/// # Errors
/// `by` is 0 or does not divide the size; the message calls the size `what`.
pub fn divide(what: &str, dim: Dim, by: u64) -> Result<Dim> {
    match dim {
        Dim::Known(n) if n.checked_rem(by) != Some(0) => Err(mismatch(format!(
            "{what} is {n}, which {by} does not divide"
        ))),
        Dim::Known(n) => Ok(Dim::Known(n / by)),
        other => Ok(other),
    }
}

/// The shape that `reshape` makes of `from`: `-1` is what remains, `0` keeps
/// the size at the same position, counted from the end, and is 1 where `from`
/// has no such dimension. That is the rule of iOS 17; before, `0` was allowed
/// only when both have the same rank, where it means the same.
///
/// # Errors
/// The elements do not fit, or `shape` has two `-1` or another negative number.
pub fn reshape(from: &[Dim], shape: &[i64]) -> Result<Vec<Dim>> {
    let bad = |problem: String| ParamError::value("shape", problem);
    let mut to = Vec::with_capacity(shape.len());
    let mut open = None;
    for (i, &wanted) in shape.iter().enumerate() {
        to.push(match wanted {
            -1 if open.replace(i).is_some() => {
                return Err(bad("has more than one -1".into()));
            }
            -1 => Dim::Unknown,
            0 => (from.len() + i)
                .checked_sub(shape.len())
                .map_or(Dim::Known(1), |kept| from[kept]),
            n => Dim::Known(size("shape", n)?),
        });
    }
    let have = product(from)?;
    if let Some(i) = open {
        let mut others = to.clone();
        others.remove(i);
        if let (Dim::Known(have), Dim::Known(rest)) = (have, product(&others)?) {
            to[i] = match have.checked_rem(rest) {
                Some(0) => Dim::Known(have / rest),
                _ => {
                    return Err(bad(format!(
                        "{have} elements of {} cannot be {}",
                        ShapeDisplay(from),
                        ShapeDisplay(&to)
                    )));
                }
            };
        }
    }
    match (have, product(&to)?) {
        (Dim::Known(a), Dim::Known(b)) if a != b => Err(bad(format!(
            "{a} elements of {} cannot be {}",
            ShapeDisplay(from),
            ShapeDisplay(&to)
        ))),
        _ => Ok(to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Dim::{Known, Unknown};

    #[test]
    fn broadcasting() {
        let cases: [(&[Dim], &[Dim], &[Dim]); 6] = [
            (&[], &[], &[]),
            (&[Known(3)], &[], &[Known(3)]),
            (&[Known(2), Known(1)], &[Known(5)], &[Known(2), Known(5)]),
            (&[Unknown], &[Known(5)], &[Known(5)]),
            (&[Unknown], &[Known(1)], &[Unknown]),
            (&[Known(0)], &[Known(1)], &[Known(0)]),
        ];
        for (a, b, wanted) in cases {
            assert_eq!(broadcast(a, b).unwrap(), wanted);
            assert_eq!(broadcast(b, a).unwrap(), wanted);
        }
        assert!(broadcast(&[Known(2)], &[Known(3)]).is_err());
    }

    #[test]
    fn axes_count_from_both_ends() {
        assert_eq!(axis("axis", -1, 4).unwrap(), 3);
        assert_eq!(axes("axes", &[0, -1], 2).unwrap(), [0, 1]);
        assert!(axis("axis", 4, 4).is_err());
        assert!(axis("axis", -5, 4).is_err());
        assert!(axis("axis", 0, 0).is_err());
        assert!(axis("axis", i64::MIN, 4).is_err());
        assert!(axes("axes", &[1, -1], 2).is_err());
    }

    #[test]
    fn reshaping() {
        let from = [Known(2), Known(6)];
        assert_eq!(reshape(&from, &[-1, 4]).unwrap(), [Known(3), Known(4)]);
        assert_eq!(reshape(&from, &[0, -1]).unwrap(), from);
        assert_eq!(
            reshape(&from, &[1, 0, -1, 0]).unwrap(),
            [Known(1), Known(1), Known(2), Known(6)]
        );
        assert_eq!(
            reshape(&[Unknown, Known(6)], &[0, -1]).unwrap(),
            [Unknown, Unknown]
        );
        for bad in [
            &[5][..],
            &[-1, 5],
            &[-1, -1],
            &[2, 6, 0],
            &[-2, -6],
            &[i64::MAX, 4],
        ] {
            assert!(reshape(&from, bad).is_err(), "{bad:?}");
        }
    }
}
