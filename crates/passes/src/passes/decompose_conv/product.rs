//! Forms with matrix products, for inputs of fixed size.

use milwright_ir::ValueId;

use super::forms::{Builder, rows};
use super::geometry::Axis;
use super::unfold::{Windows, place, tap_part};
use crate::error::Error;
use crate::replacement::Part;

impl Builder<'_, '_, '_> {
    /// One matrix product over all taps.
    pub(super) fn product(&mut self) -> Result<ValueId, Error> {
        let g = self.g;
        let (x, axes) = self.squeezed()?;
        let x = self.padded(x, &axes)?;
        let weight = g.weight.clone();
        let weight = self.matrix(weight, g.group_in() * g.taps())?;
        let product = if g.is_framed(self.choice) {
            let frames = self.frames(x, &axes[0])?;
            self.r.matmul(weight, frames, (false, true))?
        } else {
            let mut x = self.unfold_rows(x, &axes[0])?;
            if let Some(columns) = axes.get(1) {
                let lines = g.c_in * axes[0].kernel;
                let height = axes[0].out.unwrap_or(1);
                let width = self.width(columns);
                let shape = self.with_batch(&[lines, height, width]);
                x = self.r.reshape(x, &shape)?;
                x = self.unfold_columns(x, columns, lines)?;
            }
            let x = self.as_matrix(x, g.taps())?;
            self.r.matmul(weight, x, (false, false))?
        };
        let y = self.biased_matrix(product)?;
        self.shaped(y)
    }

    /// A sum of matrix products, each over one tap, or over the taps of one
    /// row where those lie side by side.
    pub(super) fn tap_sum(&mut self) -> Result<ValueId, Error> {
        let g = self.g;
        let (x, axes) = self.squeezed()?;
        let framed = g.is_framed(self.choice);
        let x = self.padded(x, &axes)?;
        let weight = g.weight.clone();
        let weight = weight.reshape(self.r, &[g.c_out, g.group_in(), g.taps()])?;
        let mut source = match axes.as_slice() {
            [axis] if self.in_blocks(axis) => self.row_source(x, axis, framed)?,
            _ => self.tap_source(x, &axes)?,
        };
        let mut sum = None;
        for (from, to) in source.steps() {
            let part = weight.clone().slice(self.r, 2, from, to)?;
            let part = self.matrix(part, g.group_in() * (to - from))?;
            let read = self.read(&mut source, from, to)?;
            let product = if framed {
                self.r.matmul(part, read, (false, true))?
            } else {
                let read = self.as_matrix(read, to - from)?;
                self.r.matmul(part, read, (false, false))?
            };
            sum = Some(match sum {
                None => product,
                Some(sum) => self.r.add_values(sum, product)?,
            });
        }
        // A kernel has at least one element.
        let y = self.biased_matrix(sum.unwrap_or(x))?;
        self.shaped(y)
    }

    /// Weights as matrices [c_out, depth], one for each group, and their value.
    fn matrix(&mut self, weight: super::weight::Weight, depth: u64) -> Result<ValueId, Error> {
        let g = self.g;
        let shape = match g.groups {
            1 => vec![1, g.c_out, depth],
            groups => vec![1, groups, g.group_out(), depth],
        };
        let weight = weight.reshape(self.r, &shape)?;
        self.weight_value(weight)
    }

    /// What the taps read, as matrices [c_in * taps, positions], one a group.
    pub(super) fn as_matrix(&mut self, x: ValueId, taps: u64) -> Result<ValueId, Error> {
        let g = self.g;
        let positions = g.axes.iter().filter_map(|a| a.out).product();
        let depth = g.group_in() * taps;
        let shape = match g.groups {
            1 => self.with_batch(&[depth, positions]),
            groups => self.with_batch(&[groups, depth, positions]),
        };
        let now = self.r.shape(x);
        // A batch of unknown size stays what it is.
        let same = now.len() == shape.len()
            && now[1..].iter().map(|d| d.known()).eq(shape[1..].iter().copied());
        match same {
            true => Ok(x),
            false => self.r.reshape(x, &shape),
        }
    }

    fn biased_matrix(&mut self, y: ValueId) -> Result<ValueId, Error> {
        let g = self.g;
        match g.groups {
            1 => self.biased(y, &[1, g.c_out, 1]),
            groups => self.biased(y, &[1, groups, g.group_out(), 1]),
        }
    }

    /// Elements along the last dimension once it is padded.
    fn width(&self, axis: &Axis) -> u64 {
        match self.in_blocks(axis) {
            true => rows(axis) * axis.stride,
            false => axis.size.unwrap_or(1) + axis.before + axis.after,
        }
    }

    /// A signal [n, 1, length] as frames [n, out, kernel].
    fn frames(&mut self, x: ValueId, axis: &Axis) -> Result<ValueId, Error> {
        let shape = self.with_batch(&[rows(axis), axis.stride]);
        let x = self.r.reshape(x, &shape)?;
        self.windows(
            x,
            Windows {
                tap_axis: 2,
                pos_axis: 1,
                per: axis.stride,
                taps: axis.kernel,
                step: 1,
                out: axis.out.unwrap_or(1),
            },
        )
    }

    /// Rows of `stride` elements of `x` [n, c, length].
    fn row_source(&mut self, x: ValueId, axis: &Axis, framed: bool) -> Result<Source, Error> {
        let (count, stride) = (rows(axis), axis.stride);
        let x = match framed {
            true => {
                let shape = self.with_batch(&[count, stride]);
                self.r.reshape(x, &shape)?
            }
            false => {
                let shape = [self.batch(self.g.c_in), Some(count), Some(stride)];
                let x = self.r.reshape(x, &shape)?;
                self.r.transpose(x, &[0, 2, 1])?
            }
        };
        Ok(Source::Rows {
            x,
            axis: *axis,
            tap_axis: if framed { 2 } else { 1 },
        })
    }

    /// Where single taps are read from, `x` being padded.
    pub(super) fn tap_source(&mut self, x: ValueId, axes: &[Axis]) -> Result<Source, Error> {
        let axes = axes.to_vec();
        if !axes.iter().any(|a| self.in_blocks(a)) {
            return Ok(Source::Taps { x, axes });
        }
        let merged = self.g.c_in;
        let x = match axes.as_slice() {
            [axis] => {
                let shape = [self.batch(merged), Some(rows(axis)), Some(axis.stride)];
                let x = self.r.reshape(x, &shape)?;
                self.r.transpose(x, &[2, 0, 1])?
            }
            [first, second, ..] => {
                let shape = [
                    self.batch(merged * rows(first)),
                    Some(first.stride),
                    Some(rows(second)),
                    Some(second.stride),
                ];
                let x = self.r.reshape(x, &shape)?;
                self.r.transpose(x, &[1, 3, 0, 2])?
            }
            [] => x,
        };
        let phases = axes.iter().map(|a| a.stride).product::<u64>();
        Ok(Source::Phases {
            x,
            axes,
            made: vec![None; usize::try_from(phases).unwrap_or(usize::MAX).min(1 << 20)],
        })
    }

    /// What the taps `from..to` read.
    pub(super) fn read(&mut self, source: &mut Source, from: u64, to: u64) -> Result<ValueId, Error> {
        match source {
            Source::Rows { x, axis, tap_axis } => {
                let (shift, phase) = place(axis, from);
                let mut parts = vec![Part::All; 3];
                parts[*tap_axis] = Part::Range(phase, phase + (to - from));
                parts[3 - *tap_axis] = Part::Range(shift, shift + axis.out.unwrap_or(1));
                self.r.slice(*x, &parts)
            }
            Source::Taps { x, axes } => {
                let mut parts = vec![Part::All; 2];
                let taps = split(axes, from);
                parts.extend(axes.iter().zip(taps).map(|(a, tap)| match a.size {
                    Some(_) => tap_part(a, tap),
                    None => super::flexible::open_part(a, tap),
                }));
                self.r.slice(*x, &parts)
            }
            Source::Phases { x, axes, made } => {
                let taps = split(axes, from);
                let places: Vec<(u64, u64)> = axes.iter().zip(taps).map(|(a, t)| place(a, t)).collect();
                let index = axes.iter().zip(&places).fold(0, |i, (a, p)| i * a.stride + p.1) as usize;
                let phase = match made.get(index) {
                    Some(Some(phase)) => *phase,
                    _ => {
                        let mut parts: Vec<Part> =
                            places.iter().map(|p| Part::Range(p.1, p.1 + 1)).collect();
                        parts.extend([Part::All; 2]);
                        let phase = self.r.slice(*x, &parts)?;
                        let mut sizes = vec![self.g.c_in];
                        sizes.extend(axes.iter().map(rows));
                        let shape = self.with_batch(&sizes);
                        let phase = self.r.reshape(phase, &shape)?;
                        if let Some(slot) = made.get_mut(index) {
                            *slot = Some(phase);
                        }
                        phase
                    }
                };
                let mut parts = vec![Part::All; 2];
                parts.extend(
                    axes.iter()
                        .zip(places)
                        .map(|(a, (shift, _))| Part::Range(shift, shift + a.out.unwrap_or(1))),
                );
                self.r.slice(phase, &parts)
            }
        }
    }
}

/// Where taps are read from.
pub(super) enum Source {
    /// The padded input.
    Taps { x: ValueId, axes: Vec<Axis> },
    /// The padded input with the phases of its strides in front.
    Phases {
        x: ValueId,
        axes: Vec<Axis>,
        made: Vec<Option<ValueId>>,
    },
    /// Rows of `stride` elements along one dimension.
    Rows {
        x: ValueId,
        axis: Axis,
        tap_axis: usize,
    },
}

impl Source {
    /// Which taps are read together.
    pub(super) fn steps(&self) -> Vec<(u64, u64)> {
        match self {
            Self::Taps { axes, .. } | Self::Phases { axes, .. } => {
                let taps = axes.iter().map(|a| a.kernel).product();
                (0..taps).map(|t| (t, t + 1)).collect()
            }
            Self::Rows { axis, .. } if axis.dilation == 1 => (0..axis.kernel)
                .step_by(axis.stride as usize)
                .map(|t| (t, (t + axis.stride).min(axis.kernel)))
                .collect(),
            Self::Rows { axis, .. } => (0..axis.kernel).map(|t| (t, t + 1)).collect(),
        }
    }
}

/// A tap's position along each axis.
fn split(axes: &[Axis], mut tap: u64) -> Vec<u64> {
    let mut taps = vec![0; axes.len()];
    for (slot, axis) in taps.iter_mut().zip(axes).rev() {
        *slot = tap % axis.kernel;
        tap /= axis.kernel;
    }
    taps
}
