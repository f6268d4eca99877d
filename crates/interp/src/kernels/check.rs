//! Checks that every kernel shares: sizes, axes and counts that come from a
//! model are never trusted.

use milwright_ir::{ParamError, shape};

use super::MAX_ELEMENTS;
use crate::error::KernelError;

/// What kernels return.
pub(crate) type Result<T> = std::result::Result<T, KernelError>;

/// An error about one parameter of an op.
pub(crate) fn bad(param: &str, message: impl std::fmt::Display) -> KernelError {
    KernelError::param(param, message.to_string())
}

/// A parameter that must have a value: from the program, or by the op table's
/// default.
///
/// # Errors
/// When there is none.
pub(crate) fn need<T>(param: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| {
        KernelError::Param(ParamError::Missing {
            param: param.to_owned(),
        })
    })
}

/// The number of elements of a shape.
///
/// # Errors
/// When the product overflows or exceeds [`MAX_ELEMENTS`].
pub(crate) fn elements(param: &str, dims: &[usize]) -> Result<usize> {
    // A zero makes the product zero whatever the other factors are.
    if dims.contains(&0) {
        return Ok(0);
    }
    dims.iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d))
        .filter(|&n| n <= MAX_ELEMENTS)
        .ok_or_else(|| {
            bad(
                param,
                format_args!("the shape {dims:?} has more than {MAX_ELEMENTS} elements"),
            )
        })
}

/// A size that a model states, as a `usize`.
pub(crate) fn size(param: &str, value: i64) -> Result<usize> {
    usize::try_from(value)
        .ok()
        .filter(|&v| v <= MAX_ELEMENTS)
        .ok_or_else(|| {
            bad(
                param,
                format_args!("{value} is not a size: expected 0..={MAX_ELEMENTS}"),
            )
        })
}

/// The product of two sizes.
pub(crate) fn times(param: &str, a: usize, b: usize) -> Result<usize> {
    a.checked_mul(b)
        .filter(|&n| n <= MAX_ELEMENTS)
        .ok_or_else(|| bad(param, format_args!("{a} x {b} is more than {MAX_ELEMENTS}")))
}

/// A size that was computed from a model, as a `usize`.
pub(crate) fn computed(what: &str, value: u64) -> Result<usize> {
    usize::try_from(value)
        .ok()
        .filter(|&n| n <= MAX_ELEMENTS)
        .ok_or_else(|| {
            KernelError::mismatch(format!(
                "the {what} of {value} is out of range; at most {MAX_ELEMENTS} can be computed"
            ))
        })
}

/// An axis of a tensor of rank `rank`; negative ones count from the end.
pub(crate) fn axis(param: &str, value: i64, rank: usize) -> Result<usize> {
    Ok(shape::axis(param, value, rank)?)
}

/// Axes in ascending order, each named once.
pub(crate) fn axes(param: &str, values: &[i64], rank: usize) -> Result<Vec<usize>> {
    let mut out = shape::axes(param, values, rank)?;
    out.sort_unstable();
    Ok(out)
}

/// `values` has exactly `expected` entries.
pub(crate) fn length<T>(param: &str, values: &[T], expected: usize) -> Result<()> {
    if values.len() == expected {
        Ok(())
    } else {
        Err(bad(
            param,
            format_args!("has {} entries, expected {expected}", values.len()),
        ))
    }
}

/// The shape to which two shapes broadcast by numpy's rules.
pub(crate) fn broadcast(param: &str, a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], i: usize| {
        (i + dims.len())
            .checked_sub(rank)
            .map_or(1, |index| dims[index])
    };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (m, n) if m == n => Ok(m),
            (1, n) => Ok(n),
            (m, 1) => Ok(m),
            (m, n) => Err(bad(
                param,
                format_args!(
                    "the shapes {a:?} and {b:?} do not broadcast: {m} against {n} at dimension {i}"
                ),
            )),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_axes_are_checked() {
        assert_eq!(elements("x", &[2, 3, 4]).unwrap(), 24);
        assert_eq!(elements("x", &[]).unwrap(), 1);
        assert_eq!(elements("x", &[usize::MAX, 0, usize::MAX]).unwrap(), 0);
        assert!(elements("x", &[usize::MAX, 2]).is_err());
        assert!(elements("x", &[1 << 20, 1 << 20]).is_err());
        assert!(size("x", -1).is_err());
        assert!(size("x", i64::MAX).is_err());
        assert_eq!(axis("axis", -1, 4).unwrap(), 3);
        assert!(axis("axis", 4, 4).is_err());
        assert!(axis("axis", -5, 4).is_err());
        assert!(axis("axis", 0, 0).is_err());
        assert!(axis("axis", i64::MIN, 4).is_err());
        assert_eq!(axes("axes", &[-1, 0], 3).unwrap(), [0, 2]);
        assert!(axes("axes", &[1, -2], 3).is_err());
    }

    #[test]
    fn broadcasting_follows_numpy() {
        assert_eq!(broadcast("y", &[3, 1], &[2, 1, 4]).unwrap(), [2, 3, 4]);
        assert_eq!(broadcast("y", &[], &[2]).unwrap(), [2]);
        assert_eq!(broadcast("y", &[0, 1], &[1, 5]).unwrap(), [0, 5]);
        assert!(broadcast("y", &[3], &[2]).is_err());
    }
}
