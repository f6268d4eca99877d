//! One input channel a group: a multiply-add for each tap.

use milwright_ir::ValueId;

use super::forms::Builder;
use crate::error::Error;

impl Builder<'_, '_, '_> {
    pub(super) fn depthwise(&mut self) -> Result<ValueId, Error> {
        let g = self.g;
        let x = self.padded(g.x, &g.axes)?;
        let mut source = self.tap_source(x, &g.axes)?;
        let taps = g.taps();
        let times = g.group_out();
        // The taps outermost, so that those of all channels lie side by side.
        let weight = g.weight.clone().reshape(self.r, &[g.c_out, taps])?;
        let weight = weight.transpose(self.r, &[1, 0])?;
        let mut channels = vec![1, g.c_out];
        channels.resize(2 + g.axes.len(), 1);
        let mut sum = None;
        for (tap, next) in source.steps() {
            let part = weight.clone().slice(self.r, 0, tap, next)?;
            let part = part.reshape(self.r, &channels)?;
            let part = self.weight_value(part)?;
            let read = self.read(&mut source, tap, next)?;
            let read = self.repeated(read, times)?;
            let scaled = self.r.mul(read, part)?;
            sum = Some(match sum {
                None => scaled,
                Some(sum) => self.r.add_values(sum, scaled)?,
            });
        }
        // A kernel has at least one element.
        self.biased(sum.unwrap_or(x), &channels)
    }

    /// Each channel of `x` [n, c, ..] several times in a row.
    fn repeated(&mut self, x: ValueId, times: u64) -> Result<ValueId, Error> {
        if times == 1 {
            return Ok(x);
        }
        let g = self.g;
        let outs: Vec<u64> = g.axes.iter().filter_map(|a| a.out).collect();
        let shape = self.with_batch(&[g.c_in, 1, outs.iter().product()]);
        let x = self.r.reshape(x, &shape)?;
        let copies = vec![x; usize::try_from(times).unwrap_or(usize::MAX)];
        let x = self.r.concat(&copies, 2)?;
        let shape = self.with_batch(&[&[g.c_out], &outs[..]].concat());
        self.r.reshape(x, &shape)
    }
}
