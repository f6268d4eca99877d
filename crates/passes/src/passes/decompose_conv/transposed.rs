//! Transposed convolutions.
//!
//! With stride `s`, result `m * s + r` sums `x[m - q] * w[q * s + r]` over all
//! `q`: an ordinary convolution with `s` results a position, whose kernel is
//! every `s`-th tap. The slices are taken in reverse order instead of
//! reversing the weights.

use milwright_ir::ValueId;

use super::forms::Builder;
use super::geometry::Axis;
use super::weight::Weight;
use crate::error::Error;
use crate::replacement::Part;

/// How one axis is laid out.
struct Layout {
    /// First row of `stride` results that is wanted.
    first: u64,
    /// Rows of `stride` results.
    rows: u64,
    /// How far back each tap of the sub-kernel reads.
    shifts: Vec<u64>,
    /// Zeros before and behind the input, and the part that is then taken.
    pad: (u64, u64),
    part: (u64, u64),
}

impl Layout {
    fn of(axis: &Axis) -> Self {
        let size = axis.size.unwrap_or(1);
        let out = axis.out.unwrap_or(1);
        let first = axis.before / axis.stride;
        let rows = (axis.before + out).div_ceil(axis.stride) - first;
        let shifts: Vec<u64> = match axis.stride {
            1 => (0..axis.kernel).map(|tap| tap * axis.dilation).collect(),
            stride => (0..axis.reach().div_ceil(stride)).collect(),
        };
        let span = shifts.last().copied().unwrap_or(0);
        // Rows first - span .. first + rows of the input are read.
        let before = span.saturating_sub(first);
        let after = (first + rows).saturating_sub(size);
        let from = first + before - span;
        Self {
            first,
            rows,
            shifts,
            pad: (before, after),
            part: (from, from + span + rows),
        }
    }

    /// What the tap that reads `shift` back takes, after padding.
    fn tap(&self, shift: u64) -> Part {
        let span = self.shifts.last().copied().unwrap_or(0);
        Part::Range(span - shift, span - shift + self.rows)
    }
}

impl Builder<'_, '_, '_> {
    pub(super) fn transposed(&mut self) -> Result<ValueId, Error> {
        let g = self.g;
        let layouts: Vec<Layout> = g.axes.iter().map(Layout::of).collect();
        let mut pads = vec![(0, 0); 2];
        pads.extend(layouts.iter().map(|l| l.pad));
        let x = self.r.pad(g.x, &pads)?;
        let mut parts = vec![Part::All; 2];
        parts.extend(layouts.iter().map(|l| Part::Range(l.part.0, l.part.1)));
        let x = self.r.slice(x, &parts)?;
        let phases: u64 = g.axes.iter().map(|a| a.stride).product();
        let taps: u64 = layouts.iter().map(|l| l.shifts.len() as u64).product();
        let weight = self.kernels(&layouts)?;
        let y = if self.choice.sum && taps > 1 {
            self.shifted_sum(x, weight, &layouts, phases, taps)?
        } else {
            let x = self.shifted(x, &layouts)?;
            let x = self.columns_of(x, &layouts, taps)?;
            let weight = self.kernel(weight, phases, taps)?;
            self.r.matmul(weight, x, (false, false))?
        };
        let y = self.interleaved(y, &layouts)?;
        let mut parts = vec![Part::All; 2];
        for (axis, layout) in g.axes.iter().zip(&layouts) {
            let from = axis.before - layout.first * axis.stride;
            parts.push(Part::Range(from, from + axis.out.unwrap_or(1)));
        }
        let y = self.r.slice(y, &parts)?;
        let mut channels = vec![1, g.c_out];
        channels.resize(2 + g.axes.len(), 1);
        self.biased(y, &channels)
    }

    /// The weights as [groups, c_out * phases, c_in, shifts], channels those
    /// of a group.
    fn kernels(&mut self, layouts: &[Layout]) -> Result<Weight, Error> {
        let g = self.g;
        let mut weight = g.weight.clone();
        let mut lengths = Vec::new();
        for (i, (axis, layout)) in g.axes.iter().zip(layouts).enumerate() {
            let taps = layout.shifts.len() as u64;
            if axis.stride > 1 {
                weight = self.spread_taps(weight, i + 2, axis, taps * axis.stride)?;
            }
            lengths.push(taps);
        }
        let lines = g.c_in * g.group_out();
        let r = &mut *self.r;
        let phases: u64 = g.axes.iter().map(|a| a.stride).product();
        let taps: u64 = lengths.iter().product();
        weight = match g.axes.as_slice() {
            [axis] => {
                let weight = weight.reshape(r, &[lines, lengths[0], axis.stride])?;
                weight.transpose(r, &[0, 2, 1])?
            }
            [first, second, ..] => {
                let inner = lengths[1] * second.stride;
                let weight = weight.reshape(r, &[lines, lengths[0], first.stride, inner])?;
                let weight = weight.transpose(r, &[0, 2, 1, 3])?;
                let outer = lines * first.stride;
                let weight = weight.reshape(r, &[outer, lengths[0], lengths[1], second.stride])?;
                weight.transpose(r, &[0, 3, 1, 2])?
            }
            [] => weight,
        };
        let weight = weight.reshape(r, &[g.groups, g.group_in(), g.group_out() * phases, taps])?;
        weight.transpose(r, &[0, 2, 1, 3])
    }

    /// Zeros between the taps of a dilated kernel and behind it.
    fn spread_taps(
        &mut self,
        weight: Weight,
        at: usize,
        axis: &Axis,
        length: u64,
    ) -> Result<Weight, Error> {
        let shape = weight.shape.clone();
        let r = &mut *self.r;
        let outer: u64 = shape[..at].iter().product();
        let inner: u64 = shape[at + 1..].iter().product();
        let mut weight = weight.reshape(r, &[outer * axis.kernel, 1, inner])?;
        weight = weight.pad_to(r, 1, axis.dilation)?;
        weight = weight.reshape(r, &[outer, axis.kernel * axis.dilation, inner])?;
        weight = match length.cmp(&weight.shape[1]) {
            // Behind the last tap there are only zeros.
            std::cmp::Ordering::Less => weight.slice(r, 1, 0, length)?,
            _ => weight.pad_to(r, 1, length)?,
        };
        let mut shape = shape;
        shape[at] = length;
        weight.reshape(r, &shape)
    }

    /// Weights as matrices [c_out * phases, c_in * taps], one a group.
    fn kernel(&mut self, weight: Weight, phases: u64, taps: u64) -> Result<ValueId, Error> {
        let g = self.g;
        let (height, depth) = (g.group_out() * phases, g.group_in() * taps);
        let shape = match g.groups {
            1 => vec![1, height, depth],
            groups => vec![1, groups, height, depth],
        };
        let weight = weight.reshape(self.r, &shape)?;
        self.weight_value(weight)
    }

    fn columns_of(&mut self, x: ValueId, layouts: &[Layout], taps: u64) -> Result<ValueId, Error> {
        let g = self.g;
        let positions = layouts.iter().map(|l| l.rows).product();
        let depth = g.group_in() * taps;
        let shape = match g.groups {
            1 => self.with_batch(&[depth, positions]),
            groups => self.with_batch(&[groups, depth, positions]),
        };
        let now = self.r.shape(x);
        let same = now.len() == shape.len()
            && now[1..].iter().map(|d| d.known()).eq(shape[1..].iter().copied());
        match same {
            true => Ok(x),
            false => self.r.reshape(x, &shape),
        }
    }

    /// What the sub-kernels read, side by side: [n, c, taps, rows].
    fn shifted(&mut self, x: ValueId, layouts: &[Layout]) -> Result<ValueId, Error> {
        let rank = 2 + layouts.len();
        let mut x = x;
        for (i, layout) in layouts.iter().enumerate() {
            if i == 1 {
                let rows: u64 = layouts[0].rows;
                let lines = self.g.c_in * layouts[0].shifts.len() as u64;
                let width = layout.part.1 - layout.part.0;
                let shape = self.with_batch(&[lines, rows, width]);
                x = self.r.reshape(x, &shape)?;
            }
            let mut slices = Vec::new();
            for &shift in &layout.shifts {
                let mut parts = vec![Part::All; rank];
                parts[2 + i] = layout.tap(shift);
                slices.push(self.r.slice(x, &parts)?);
            }
            x = self.r.concat(&slices, 2)?;
        }
        Ok(x)
    }

    fn shifted_sum(
        &mut self,
        x: ValueId,
        weight: Weight,
        layouts: &[Layout],
        phases: u64,
        taps: u64,
    ) -> Result<ValueId, Error> {
        let mut sum = None;
        let inner = layouts.get(1).map_or(1, |l| l.shifts.len() as u64);
        for tap in 0..taps {
            let at = [tap / inner, tap % inner];
            let mut parts = vec![Part::All; 2];
            for (layout, at) in layouts.iter().zip(at) {
                let shift = layout.shifts.get(at as usize).copied().unwrap_or(0);
                parts.push(layout.tap(shift));
            }
            let read = self.r.slice(x, &parts)?;
            let read = self.columns_of(read, layouts, 1)?;
            let part = weight.clone().slice(self.r, 3, tap, tap + 1)?;
            let part = self.kernel(part, phases, 1)?;
            let product = self.r.matmul(part, read, (false, false))?;
            sum = Some(match sum {
                None => product,
                Some(sum) => self.r.add_values(sum, product)?,
            });
        }
        // A kernel has at least one element.
        Ok(sum.unwrap_or(x))
    }

    /// `y` [n, c_out * phases, rows] with the results of each row in order.
    fn interleaved(&mut self, y: ValueId, layouts: &[Layout]) -> Result<ValueId, Error> {
        let g = self.g;
        let merged = self.batch(g.c_out);
        let mut sizes = vec![g.c_out];
        sizes.extend(g.axes.iter().zip(layouts).map(|(a, l)| l.rows * a.stride));
        let shape = self.with_batch(&sizes);
        let y = match (g.axes.as_slice(), layouts) {
            ([axis], [rows]) => {
                let shape = [merged, Some(axis.stride), Some(rows.rows)];
                let y = self.r.reshape(y, &shape)?;
                self.r.transpose(y, &[0, 2, 1])?
            }
            ([first, second], [high, wide]) => {
                let outer = self.batch(g.c_out * first.stride);
                let mut y = y;
                if second.stride > 1 {
                    let inner = [Some(second.stride), Some(high.rows), Some(wide.rows)];
                    y = self.r.reshape(y, &[&[outer], &inner[..]].concat())?;
                    y = self.r.transpose(y, &[0, 2, 3, 1])?;
                }
                if first.stride > 1 {
                    let width = wide.rows * second.stride;
                    let inner = [Some(first.stride), Some(high.rows), Some(width)];
                    y = self.r.reshape(y, &[&[merged], &inner[..]].concat())?;
                    y = self.r.transpose(y, &[0, 2, 1, 3])?;
                }
                y
            }
            _ => y,
        };
        self.r.reshape(y, &shape)
    }
}
