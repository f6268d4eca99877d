//! `pad`.

use candle_core::Tensor;

use super::build::{CHEAP, Element, build, tensor, with_element};
use super::check::{Result, bad, elements, need, size};
use super::layout;
use crate::call::{Call, Outputs};

pub(crate) fn pad(call: &Call<'_>) -> Outputs {
    let amounts = need("pad", call.ints("pad")?)?;
    let name = need("mode", call.string("mode")?)?;
    let constant = need("constant_val", call.float("constant_val")?)?;
    let mode = Mode::parse(&name, constant)?;
    call.one(padded(&call.tensor("x")?.data, &amounts, mode)?)
}

/// What goes around the tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    /// This value.
    Constant(f64),
    /// The elements mirrored at the edge, which is not repeated.
    Reflect,
    /// The edge repeated.
    Replicate,
}

impl Mode {
    /// The mode by its name in MIL.
    ///
    /// # Errors
    /// When the name is unknown.
    pub(crate) fn parse(name: &str, constant: f64) -> Result<Self> {
        match name {
            "constant" => Ok(Self::Constant(constant)),
            "reflect" => Ok(Self::Reflect),
            "replicate" => Ok(Self::Replicate),
            _ => Err(bad(
                "mode",
                format_args!("unknown mode {name:?}; expected constant, reflect or replicate"),
            )),
        }
    }
}

/// One padded dimension.
struct Side {
    before: usize,
    size: usize,
    after: usize,
}

impl Side {
    fn total(&self) -> usize {
        self.before + self.size + self.after
    }

    /// The source of output index `i`; `None` for the constant.
    fn source(&self, i: usize, mode: Mode) -> Option<usize> {
        let inside = i.wrapping_sub(self.before);
        if inside < self.size {
            return Some(inside);
        }
        let last = self.size - 1;
        match mode {
            Mode::Constant(_) => None,
            Mode::Replicate if i < self.before => Some(0),
            Mode::Replicate => Some(last),
            Mode::Reflect if i < self.before => Some(self.before - i),
            Mode::Reflect => Some(2 * last - inside),
        }
    }
}

/// `x` with `amounts` (`[before, after]` for each of the last dimensions)
/// around it.
///
/// # Errors
/// When an amount is negative, a reflection is longer than the dimension less
/// one, or the result is too large.
pub(crate) fn padded(x: &Tensor, amounts: &[i64], mode: Mode) -> Result<Tensor> {
    if !amounts.len().is_multiple_of(2) || amounts.len() / 2 > x.rank() {
        return Err(bad(
            "pad",
            format_args!(
                "has {} entries; expected two for each of at most {} dimensions",
                amounts.len(),
                x.rank()
            ),
        ));
    }
    let first = x.rank() - amounts.len() / 2;
    let mut sides = Vec::with_capacity(x.rank());
    for (i, &dim) in x.dims().iter().enumerate() {
        let amount = |k: usize| match i.checked_sub(first) {
            Some(j) => size("pad", amounts[2 * j + k]),
            None => Ok(0),
        };
        let side = Side {
            before: amount(0)?,
            size: dim,
            after: amount(1)?,
        };
        let most = match mode {
            Mode::Constant(_) => usize::MAX,
            Mode::Reflect => dim.saturating_sub(1),
            Mode::Replicate if dim == 0 => 0,
            Mode::Replicate => usize::MAX,
        };
        if side.before.max(side.after) > most {
            return Err(bad(
                "pad",
                format_args!(
                    "[{}, {}] at dimension {i} of size {dim} exceeds {most}, the most this mode allows",
                    side.before, side.after
                ),
            ));
        }
        sides.push(side);
    }
    if sides.iter().all(|s| s.before + s.after == 0) {
        return Ok(x.clone());
    }
    with_element!(x, T => padded_of::<T>(x, &sides, mode))
}

fn padded_of<T: Element>(x: &Tensor, sides: &[Side], mode: Mode) -> Result<Tensor> {
    let dims: Vec<usize> = sides.iter().map(Side::total).collect();
    let count = elements("pad", &dims)?;
    let data = layout::elements::<T>(x)?;
    let data = &*data;
    let constant = match mode {
        Mode::Constant(value) => T::from_f64(value),
        _ => T::ZERO,
    };
    if data.is_empty() {
        let out = build(count, CHEAP, |range, out| {
            out.resize(out.len() + range.len(), constant);
        })?;
        return tensor(out, &dims);
    }
    // Dimensions after the last padded one move in one piece, of `unit`
    // elements; a row is the last padded dimension.
    let last = sides
        .iter()
        .rposition(|s| s.before + s.after > 0)
        .unwrap_or(0);
    let unit: usize = sides[last + 1..].iter().map(|s| s.size).product();
    let row_side = &sides[last];
    let (before, middle) = (row_side.before * unit, row_side.size * unit);
    let row = row_side.total() * unit;
    // The dimensions before it, innermost first, with their steps in `data`.
    let mut step = middle;
    let outer: Vec<(&Side, usize)> = sides[..last]
        .iter()
        .rev()
        .map(|side| {
            let own = step;
            step *= side.size;
            (side, own)
        })
        .collect();
    // Elements `from..to` of one side of a row, which starts at unit `first`.
    let edge = |start: Option<usize>, first: usize, from: usize, to: usize, out: &mut Vec<T>| {
        let Some(start) = start.filter(|_| !matches!(mode, Mode::Constant(_))) else {
            out.resize(out.len() + to - from, constant);
            return;
        };
        let mut at = from;
        while at < to {
            let index = at / unit;
            let end = ((index + 1) * unit).min(to);
            if let Some(j) = row_side.source(first + index, mode) {
                let base = start + j * unit;
                out.extend_from_slice(&data[base + at - index * unit..base + end - index * unit]);
            }
            at = end;
        }
    };
    let out = build(
        count,
        CHEAP,
        #[inline(always)]
        |range, out| {
            let mut at = range.start;
            while at < range.end {
                let index = at / row;
                let (from, to) = (at - index * row, (range.end - index * row).min(row));
                // Where the row's own elements start; `None` if it is padding.
                let mut rest = index;
                let mut start = Some(0);
                for &(side, step) in &outer {
                    let total = side.total();
                    start = start.and_then(|s| {
                        side.source(rest % total, mode).map(|j| s + j * step)
                    });
                    rest /= total;
                }
                let piece = |low: usize, high: usize| (from.max(low), to.min(high));
                let (a, b) = piece(0, before);
                if a < b {
                    edge(start, 0, a, b, out);
                }
                let (a, b) = piece(before, before + middle);
                if a < b {
                    match start {
                        Some(s) => out.extend_from_slice(&data[s + a - before..s + b - before]),
                        None => out.resize(out.len() + b - a, constant),
                    }
                }
                let (a, b) = piece(before + middle, row);
                if a < b {
                    let skipped = before + middle;
                    edge(
                        start,
                        row_side.before + row_side.size,
                        a - skipped,
                        b - skipped,
                        out,
                    );
                }
                at = index * row + to;
            }
        },
    )?;
    tensor(out, &dims)
}

#[cfg(test)]
mod tests;
