//! Windows of convolutions and pooling, one spatial dimension at a time.

use super::{Result, mismatch, positive, size, too_large};
use crate::types::Dim;
use crate::view::{Given, OpView, ParamError};

/// What is added around a spatial dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pad {
    /// Nothing.
    Valid,
    /// So much that there is one window for every `stride` elements; the odd
    /// element goes to the end.
    Same,
    /// As [`Pad::Same`], but the odd element goes to the beginning.
    SameLower,
    /// That many elements before and after.
    Custom(u64, u64),
}

/// How a window moves along one spatial dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Elements of the kernel.
    pub size: u64,
    /// Distance of two windows.
    pub stride: u64,
    /// Distance of two elements of the kernel.
    pub dilation: u64,
    /// What is added around the input.
    pub pad: Pad,
}

impl Windows {
    /// Elements from the first to the last one of a window.
    ///
    /// # Errors
    /// It overflows, or the kernel is empty.
    pub fn span(&self) -> Result<u64> {
        let last = self
            .size
            .checked_sub(1)
            .ok_or_else(|| mismatch("the kernel has no elements"))?;
        last.checked_mul(self.dilation)
            .and_then(|d| d.checked_add(1))
            .ok_or_else(too_large)
    }

    /// Elements to add before and after an input of that size.
    ///
    /// # Errors
    /// As [`Windows::span`].
    pub fn padding(&self, input: u64) -> Result<(u64, u64)> {
        let total = match self.pad {
            Pad::Valid => return Ok((0, 0)),
            Pad::Custom(before, after) => return Ok((before, after)),
            Pad::Same | Pad::SameLower => {
                let windows = input.div_ceil(self.stride.max(1));
                let covered = windows
                    .saturating_sub(1)
                    .checked_mul(self.stride)
                    .and_then(|n| n.checked_add(self.span().ok()?))
                    .ok_or_else(too_large)?;
                if windows == 0 {
                    0
                } else {
                    covered.saturating_sub(input)
                }
            }
        };
        let (less, more) = (total / 2, total - total / 2);
        Ok(if self.pad == Pad::Same {
            (less, more)
        } else {
            (more, less)
        })
    }

    /// The number of windows along an input of that size; `ceil` also counts
    /// a last one that reaches beyond the input, unless it lies in the padding.
    ///
    /// # Errors
    /// No window fits, or a size overflows.
    pub fn count(&self, input: u64, ceil: bool) -> Result<u64> {
        let (before, after) = self.padding(input)?;
        let span = self.span()?;
        let padded = input
            .checked_add(before)
            .and_then(|n| n.checked_add(after))
            .ok_or_else(too_large)?;
        let room = padded.checked_sub(span).ok_or_else(|| {
            mismatch(format!(
                "a window of {span} does not fit an input of {input}, {padded} with padding"
            ))
        })?;
        let stride = self.stride.max(1);
        if !ceil {
            return Ok(room / stride + 1);
        }
        let windows = room.div_ceil(stride).checked_add(1).ok_or_else(too_large)?;
        let last_start = (windows - 1).checked_mul(stride).ok_or_else(too_large)?;
        let in_padding = before + after > 0 && last_start >= input.saturating_add(before);
        Ok(if in_padding { windows - 1 } else { windows })
    }

    /// [`Windows::count`] of a size that may be unknown.
    ///
    /// # Errors
    /// As [`Windows::count`].
    pub fn count_dim(&self, input: Dim, ceil: bool) -> Result<Dim> {
        Ok(match input {
            Dim::Known(n) => Dim::Known(self.count(n, ceil)?),
            other => other,
        })
    }

    /// The size that a transposed convolution makes of an input, and how many
    /// elements it cuts off at the beginning.
    ///
    /// # Errors
    /// The padding cuts everything off, or a size overflows.
    pub fn transposed(&self, input: u64) -> Result<(u64, u64)> {
        let span = self.span()?;
        let starts = input.saturating_sub(1).checked_mul(self.stride);
        let full = starts
            .and_then(|n| n.checked_add(span))
            .ok_or_else(too_large)?;
        let (before, after) = match self.pad {
            Pad::Valid => (0, 0),
            Pad::Custom(before, after) => (before, after),
            Pad::Same | Pad::SameLower => {
                let wanted = input.checked_mul(self.stride).ok_or_else(too_large)?;
                let total = full.saturating_sub(wanted);
                let before = if self.pad == Pad::Same {
                    total / 2
                } else {
                    total - total / 2
                };
                return Ok((wanted, before));
            }
        };
        let size = full.checked_sub(before).and_then(|n| n.checked_sub(after));
        match size {
            Some(size) if size > 0 => Ok((size, before)),
            _ => Err(mismatch(format!(
                "padding of {before} and {after} leaves nothing of {full} elements"
            ))),
        }
    }
}

/// Reads `strides`, `dilations`, `pad_type` and `pad` of a convolution or
/// pooling with a kernel of these sizes.
///
/// # Errors
/// A parameter is of the wrong length or out of range, or known only at run
/// time.
pub fn windows(op: &OpView<'_>, kernel: &[u64]) -> Result<Vec<Windows>> {
    let rank = kernel.len();
    let strides = list(op, "strides", rank, 1)?;
    let dilations = list(op, "dilations", rank, 1)?;
    let pad_type = op.string("pad_type")?.known_or("valid".into());
    let pad_type = pad_type.ok_or_else(|| must_be_constant("pad_type"))?;
    let custom = match pad_type.to_ascii_lowercase().as_str() {
        "valid" => vec![Pad::Valid; rank],
        "same" => vec![Pad::Same; rank],
        "same_lower" => vec![Pad::SameLower; rank],
        "custom" => list(op, "pad", rank * 2, 0)?
            .chunks_exact(2)
            .map(|pair| Ok(Pad::Custom(size("pad", pair[0])?, size("pad", pair[1])?)))
            .collect::<Result<_>>()?,
        other => {
            return Err(ParamError::value(
                "pad_type",
                format!("{other:?}, but must be valid, same, same_lower or custom"),
            ));
        }
    };
    (0..rank)
        .map(|i| {
            Ok(Windows {
                size: kernel[i],
                stride: positive("strides", strides[i])?,
                dilation: positive("dilations", dilations[i])?,
                pad: custom[i],
            })
        })
        .collect()
}

fn list(op: &OpView<'_>, param: &str, len: usize, default: i64) -> Result<Vec<i64>> {
    match op.ints(param)? {
        Given::Absent => Ok(vec![default; len]),
        Given::Runtime => Err(must_be_constant(param)),
        Given::Known(values) if values.len() == len => Ok(values),
        Given::Known(values) => Err(ParamError::value(
            param,
            format!("has {} elements, but must have {len}", values.len()),
        )),
    }
}

fn must_be_constant(param: &str) -> ParamError {
    ParamError::value(param, "must be a constant")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_those_of_walking_windows() {
        let mut checked = 0;
        for input in 1..12u64 {
            for size in 1..5 {
                for stride in 1..5 {
                    for dilation in 1..3 {
                        for pad in [Pad::Valid, Pad::Same, Pad::SameLower, Pad::Custom(1, 2)] {
                            let w = Windows {
                                size,
                                stride,
                                dilation,
                                pad,
                            };
                            let (before, after) = w.padding(input).unwrap();
                            let padded = before + input + after;
                            let span = w.span().unwrap();
                            let walked = (0..padded)
                                .step_by(stride as usize)
                                .take_while(|start| start + span <= padded)
                                .count() as u64;
                            match w.count(input, false) {
                                Ok(n) => assert_eq!(n, walked, "{w:?} over {input}"),
                                Err(_) => assert_eq!(walked, 0),
                            }
                            if matches!(pad, Pad::Same | Pad::SameLower) {
                                assert_eq!(walked, input.div_ceil(stride), "{w:?} over {input}");
                                assert!(before.abs_diff(after) <= 1);
                            }
                            checked += 1;
                        }
                    }
                }
            }
        }
        println!("{checked} windows");
    }

    #[test]
    fn a_transposed_convolution_undoes_the_size() {
        let mut checked = 0;
        for output in 1..9u64 {
            for size in 1..5 {
                for stride in 1..4 {
                    for pad in [Pad::Valid, Pad::Custom(1, 1), Pad::Same] {
                        let w = Windows {
                            size,
                            stride,
                            dilation: 1,
                            pad,
                        };
                        let Ok((input, before)) = w.transposed(output) else {
                            continue;
                        };
                        if size < stride {
                            // `same` makes more than the kernel reaches.
                            continue;
                        }
                        assert_eq!(w.count(input, false).unwrap(), output, "{w:?}");
                        assert_eq!(w.padding(input).unwrap().0, before, "{w:?}");
                        checked += 1;
                    }
                }
            }
        }
        println!("{checked} sizes");
    }

    #[test]
    fn a_last_window_beyond_the_input_counts_with_ceil() {
        let w = Windows {
            size: 2,
            stride: 2,
            dilation: 1,
            pad: Pad::Valid,
        };
        assert_eq!(w.count(5, false).unwrap(), 2);
        assert_eq!(w.count(5, true).unwrap(), 3);
        // The third window would start in the padding.
        let padded = Windows {
            pad: Pad::Custom(1, 1),
            ..w
        };
        assert_eq!(padded.count(3, true).unwrap(), 2);
        assert!(Windows { size: 9, ..w }.count(5, true).is_err());
        assert!(
            Windows {
                size: u64::MAX,
                dilation: 2,
                ..w
            }
            .count(5, false)
            .is_err()
        );
    }
}
