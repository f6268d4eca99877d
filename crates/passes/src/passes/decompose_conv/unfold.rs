//! Puts what each result reads side by side.

use milwright_ir::ValueId;

use super::forms::{Builder, rows};
use super::geometry::Axis;
use crate::error::Error;
use crate::replacement::Part;

/// Up to that many slices are joined at once; above, by doubling.
const MAX_JOINED: u64 = 16;

/// Windows over one dimension: `taps` of them, `per` in each block of the
/// dimension `tap_axis`, blocks `step` apart along `pos_axis`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    pub(super) tap_axis: usize,
    pub(super) pos_axis: usize,
    pub(super) per: u64,
    pub(super) taps: u64,
    pub(super) step: u64,
    pub(super) out: u64,
}

impl Builder<'_, '_, '_> {
    /// Along the first spatial dimension of `x` [n, c, h, ..]: elements in the
    /// order [n, c, kernel, out, ..], in some shape.
    pub(super) fn unfold_rows(&mut self, x: ValueId, axis: &Axis) -> Result<ValueId, Error> {
        let out = axis.out.unwrap_or(1);
        if axis.kernel == 1 && axis.stride == 1 {
            return Ok(x);
        }
        let rank = self.r.shape(x).len();
        let inner: Vec<Option<u64>> = self.r.shape(x)[3..].iter().map(|d| d.known()).collect();
        let merged = self.batch(self.g.c_in);
        let windows = Windows {
            tap_axis: 1,
            pos_axis: 2,
            per: 1,
            taps: axis.kernel,
            step: axis.dilation,
            out,
        };
        if !self.in_blocks(axis) {
            if axis.stride == 1 && axis.kernel > MAX_JOINED {
                let size = self.r.shape(x)[2].known();
                let x = self.r.reshape(x, &[&[merged, Some(1), size], &inner[..]].concat())?;
                return self.windows(x, windows);
            }
            let mut slices = Vec::new();
            for tap in 0..axis.kernel {
                slices.push(self.spread(x, axis, 2, tap, rank)?);
            }
            return self.r.concat(&slices, 2);
        }
        let (count, stride) = (rows(axis), axis.stride);
        let shape = [&[merged, Some(count), Some(stride)], &inner[..]].concat();
        let x = self.r.reshape(x, &shape)?;
        if axis.kernel == 1 {
            let mut parts = vec![Part::All; shape.len()];
            parts[2] = Part::Range(0, 1);
            return self.r.slice(x, &parts);
        }
        let x = self.r.transpose(x, &[0, 2, 1, 3][..shape.len()])?;
        if axis.dilation == 1 {
            let (per, step) = (stride, 1);
            return self.windows(x, Windows { per, step, ..windows });
        }
        let mut slices = Vec::new();
        for tap in 0..axis.kernel {
            let (shift, phase) = place(axis, tap);
            let mut parts = vec![Part::All; shape.len()];
            parts[1] = Part::Range(phase, phase + 1);
            parts[2] = Part::Range(shift, shift + out);
            slices.push(self.r.slice(x, &parts)?);
        }
        self.r.concat(&slices, 1)
    }

    /// Along the last dimension of `x` [n, `lines`, h, w]: elements in the
    /// order [n, lines, kernel, h, out], in some shape.
    pub(super) fn unfold_columns(
        &mut self,
        x: ValueId,
        axis: &Axis,
        lines: u64,
    ) -> Result<ValueId, Error> {
        let out = axis.out.unwrap_or(1);
        if axis.kernel == 1 && axis.stride == 1 {
            return Ok(x);
        }
        if !self.in_blocks(axis) {
            let mut slices = Vec::new();
            for tap in 0..axis.kernel {
                slices.push(self.spread(x, axis, 3, tap, 4)?);
            }
            return self.r.concat(&slices, 2);
        }
        let height = self.r.shape(x)[2].known();
        let shape = [self.batch(lines), height, Some(rows(axis)), Some(axis.stride)];
        let x = self.r.reshape(x, &shape)?;
        if axis.kernel == 1 {
            return self.r.slice(x, &[Part::All, Part::All, Part::All, Part::Range(0, 1)]);
        }
        let x = self.r.transpose(x, &[0, 1, 3, 2])?;
        let mut slices = Vec::new();
        for tap in 0..axis.kernel {
            let (shift, phase) = place(axis, tap);
            let phase = Part::Range(phase, phase + 1);
            let columns = Part::Range(shift, shift + out);
            slices.push(self.r.slice(x, &[Part::All, Part::All, phase, columns])?);
        }
        self.r.concat(&slices, 1)
    }

    /// What one tap reads, by a slice along `at` that may have a stride.
    fn spread(
        &mut self,
        x: ValueId,
        axis: &Axis,
        at: usize,
        tap: u64,
        rank: usize,
    ) -> Result<ValueId, Error> {
        let mut parts = vec![Part::All; rank];
        parts[at] = tap_part(axis, tap);
        self.r.slice(x, &parts)
    }

    /// Joins the windows of `x`; longer ones from those of half the length.
    pub(super) fn windows(&mut self, x: ValueId, w: Windows) -> Result<ValueId, Error> {
        let blocks = w.taps.div_ceil(w.per);
        let mut joined = Vec::new();
        if blocks <= MAX_JOINED {
            for block in 0..blocks {
                let taps = w.per.min(w.taps - block * w.per);
                joined.push(self.window(x, w, taps, block * w.step)?);
            }
            return self.r.concat(&joined, w.tap_axis);
        }
        let half = blocks / 2;
        let taps = half * w.per;
        let halves = Windows {
            taps,
            out: w.out + half * w.step,
            ..w
        };
        let halves = self.windows(x, halves)?;
        joined.push(self.window(halves, w, taps, 0)?);
        let second = taps.min(w.taps - taps);
        joined.push(self.window(halves, w, second, half * w.step)?);
        if w.taps > taps + second {
            let rest = w.taps - taps - second;
            joined.push(self.window(x, w, rest, 2 * half * w.step)?);
        }
        self.r.concat(&joined, w.tap_axis)
    }

    fn window(&mut self, x: ValueId, w: Windows, taps: u64, at: u64) -> Result<ValueId, Error> {
        let mut parts = vec![Part::All; self.r.shape(x).len()];
        parts[w.tap_axis] = Part::Range(0, taps);
        parts[w.pos_axis] = Part::Range(at, at + w.out);
        self.r.slice(x, &parts)
    }
}

/// The positions that a tap reads along an axis of fixed size.
pub(super) fn tap_part(axis: &Axis, tap: u64) -> Part {
    let from = tap * axis.dilation;
    let out = axis.out.unwrap_or(1);
    match axis.stride {
        1 => Part::Range(from, from + out),
        stride => Part::Every(from, from + (out - 1) * stride + 1, stride),
    }
}

/// In which row of `stride` elements a tap lies, and where in it.
pub(super) fn place(axis: &Axis, tap: u64) -> (u64, u64) {
    let at = tap * axis.dilation;
    (at / axis.stride, at % axis.stride)
}
