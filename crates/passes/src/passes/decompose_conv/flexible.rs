//! Convolutions over dimensions of unknown size.

use milwright_ir::ValueId;

use super::forms::Builder;
use super::geometry::Axis;
use crate::error::Error;
use crate::replacement::Part;

/// The positions that a tap reads along an axis of any size.
pub(super) fn open_part(axis: &Axis, tap: u64) -> Part {
    let from = tap * axis.dilation;
    let cut = axis.reach() - 1 - from;
    match axis.stride {
        1 => Part::Within(from, cut),
        stride => Part::EveryWithin(from, cut, stride),
    }
}

impl Builder<'_, '_, '_> {
    /// Slices, joined along the channels; over one dimension the weights are
    /// on the left, over two the channels go last, so that no shape is needed.
    pub(super) fn channels_last(&mut self) -> Result<ValueId, Error> {
        let g = self.g;
        let x = self.padded(g.x, &g.axes)?;
        let depth = g.group_in() * g.taps();
        // Taps before channels, as the slices are joined.
        let weight = g.weight.clone();
        let weight = weight.reshape(self.r, &[g.c_out, g.group_in(), g.taps()])?;
        let weight = weight.transpose(self.r, &[0, 2, 1])?;
        let weight = weight.reshape(self.r, &[g.c_out, depth])?;
        let mut results = Vec::new();
        for group in 0..g.groups {
            let channels = group * g.group_in()..(group + 1) * g.group_in();
            let mut parts = vec![Part::All; 2 + g.axes.len()];
            parts[1] = Part::Range(channels.start, channels.end);
            let own = match g.groups {
                1 => x,
                _ => self.r.slice(x, &parts)?,
            };
            let mut source = self.tap_source(own, &g.axes)?;
            let mut read = Vec::new();
            for (tap, next) in source.steps() {
                read.push(self.read(&mut source, tap, next)?);
            }
            let joined = self.r.concat(&read, 1)?;
            let (from, to) = (group * g.group_out(), (group + 1) * g.group_out());
            let part = weight.clone().slice(self.r, 0, from, to)?;
            results.push(match g.axes.len() {
                1 => {
                    let part = part.reshape(self.r, &[1, g.group_out(), depth])?;
                    let part = self.weight_value(part)?;
                    self.r.matmul(part, joined, (false, false))?
                }
                _ => {
                    let part = part.reshape(self.r, &[1, 1, g.group_out(), depth])?;
                    let part = self.weight_value(part)?;
                    let last = self.r.transpose(joined, &[0, 2, 3, 1])?;
                    let product = self.r.matmul(last, part, (false, true))?;
                    self.r.transpose(product, &[0, 3, 1, 2])?
                }
            });
        }
        let y = self.r.concat(&results, 1)?;
        let mut channels = vec![1, g.c_out];
        channels.resize(2 + g.axes.len(), 1);
        self.biased(y, &channels)
    }
}
