//! Which form a convolution gets, and what all forms share.

use milwright_ir::ValueId;

use super::Choice;
use super::geometry::{Axis, Geometry};
use super::weight::Weight;
use crate::error::Error;
use crate::replacement::Replacement;

/// What a convolution becomes; see the documentation of the pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Pointwise,
    Frames,
    Unfold,
    TapSum,
    Depthwise,
    Transposed,
    ChannelsLast,
}

impl Form {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pointwise => "pointwise",
            Self::Frames => "frames",
            Self::Unfold => "unfold",
            Self::TapSum => "tap-sum",
            Self::Depthwise => "depthwise",
            Self::Transposed => "transposed",
            Self::ChannelsLast => "channels-last",
        }
    }
}

/// More operations than that for one convolution help nobody.
const MAX_TAPS: u64 = 2048;

/// Chooses the form.
///
/// # Errors
/// Why there is none, for people.
pub(super) fn choose(g: &Geometry, choice: Choice) -> Result<Form, String> {
    if g.transposed {
        return match g.taps() > MAX_TAPS {
            true => Err(many(g)),
            false => Ok(Form::Transposed),
        };
    }
    let strided = g.axes.iter().any(|a| a.stride > 1);
    let single = g.taps() == 1 && !strided;
    if !g.is_static() {
        if strided && !choice.strided {
            return Err(
                "a stride over a dimension of unknown size; stride=strided-slice takes it".into(),
            );
        }
        if g.is_depthwise() && g.group_out() > 1 {
            return Err("several output channels a group, over a dimension of unknown size".into());
        }
        if g.taps().saturating_mul(g.groups) > MAX_TAPS {
            return Err(many(g));
        }
        return Ok(match g.is_depthwise() {
            true => Form::Depthwise,
            false => Form::ChannelsLast,
        });
    }
    if g.is_depthwise() {
        return match g.taps() > MAX_TAPS {
            true => Err(many(g)),
            false => Ok(Form::Depthwise),
        };
    }
    if single {
        return Ok(Form::Pointwise);
    }
    if choice.sum {
        return match g.taps() > MAX_TAPS {
            true => Err(many(g)),
            false => Ok(Form::TapSum),
        };
    }
    // Only a dense kernel over one dimension is made by doubling.
    let dense = |a: &Axis| a.dilation == 1 && !(choice.strided && a.stride > 1);
    let slices: u64 = g
        .axes
        .iter()
        .map(|a| if dense(a) && g.lines() == 1 { 1 } else { a.kernel })
        .sum();
    if slices > MAX_TAPS {
        return Err(many(g));
    }
    Ok(match g.is_framed(choice) {
        true => Form::Frames,
        false => Form::Unfold,
    })
}

fn many(g: &Geometry) -> String {
    format!("a kernel of {} elements would need as many operations", g.taps())
}

impl Geometry {
    /// Spatial dimensions along which something happens.
    pub(super) fn lines(&self) -> usize {
        self.axes.iter().filter(|a| !a.is_trivial()).count().max(1)
    }

    /// A signal of one channel, cut into overlapping frames.
    pub(super) fn is_framed(&self, choice: Choice) -> bool {
        let mut axes = self.axes.iter().filter(|a| !a.is_trivial());
        let first = axes.next();
        !choice.strided
            && self.c_in == 1
            && axes.next().is_none()
            && first.is_some_and(|a| a.stride > 1 && a.dilation == 1 && a.kernel > 1)
    }
}

/// Builds what replaces one convolution.
pub(super) struct Builder<'b, 'r, 'p> {
    pub(super) r: &'b mut Replacement<'r, 'p>,
    pub(super) g: &'b Geometry,
    pub(super) choice: Choice,
    weights: &'static str,
}

impl<'b, 'r, 'p> Builder<'b, 'r, 'p> {
    pub(super) fn new(r: &'b mut Replacement<'r, 'p>, g: &'b Geometry, choice: Choice) -> Self {
        Self {
            r,
            g,
            choice,
            weights: "",
        }
    }

    /// Adds the operations of a form; gives the result.
    pub(super) fn build(&mut self, form: Form) -> Result<ValueId, Error> {
        match form {
            Form::Pointwise | Form::Unfold | Form::Frames => self.product(),
            Form::TapSum => self.tap_sum(),
            Form::Depthwise => self.depthwise(),
            Form::Transposed => self.transposed(),
            Form::ChannelsLast => self.channels_last(),
        }
    }

    /// What became of the weights, for people.
    pub(super) fn weights(&self) -> String {
        self.weights.to_owned()
    }

    /// Adds weights that have their final layout.
    pub(super) fn weight_value(&mut self, weight: Weight) -> Result<ValueId, Error> {
        self.weights = weight.fate();
        weight.value(self.r, "weight")
    }

    /// The size of a dimension that merges the batch with `more`.
    pub(super) fn batch(&self, more: u64) -> Option<u64> {
        self.g.n.map(|n| n.saturating_mul(more))
    }

    /// The batch and these sizes.
    pub(super) fn with_batch(&self, sizes: &[u64]) -> Vec<Option<u64>> {
        let mut shape = vec![self.g.n];
        shape.extend(sizes.iter().map(|&s| Some(s)));
        shape
    }

    /// Whether a stride is taken apart by reshapes.
    pub(super) fn in_blocks(&self, axis: &Axis) -> bool {
        axis.stride > 1 && !self.choice.strided
    }

    /// The input without dimensions along which nothing happens, and those
    /// that stay.
    pub(super) fn squeezed(&mut self) -> Result<(ValueId, Vec<Axis>), Error> {
        let mut axes: Vec<Axis> = self.g.axes.iter().copied().filter(|a| !a.is_trivial()).collect();
        if axes.is_empty() {
            axes.extend(self.g.axes.first());
        }
        if axes.len() == self.g.axes.len() {
            return Ok((self.g.x, axes));
        }
        let mut sizes = vec![self.g.c_in];
        sizes.extend(axes.iter().filter_map(|a| a.size));
        let shape = self.with_batch(&sizes);
        Ok((self.r.reshape(self.g.x, &shape)?, axes))
    }

    /// The input with its padding; where a stride is taken apart by reshapes,
    /// of a size that is a multiple of it.
    pub(super) fn padded(&mut self, x: ValueId, axes: &[Axis]) -> Result<ValueId, Error> {
        use crate::replacement::Part;
        let mut amounts = vec![(0, 0); 2];
        let mut parts = vec![Part::All; 2];
        for axis in axes {
            let (mut after, mut part) = (axis.after, Part::All);
            if self.in_blocks(axis)
                && let Some(size) = axis.size
            {
                let total = rows(axis) * axis.stride;
                after = total.saturating_sub(size + axis.before);
                if total < size + axis.before {
                    part = Part::Range(0, total);
                }
            }
            amounts.push((axis.before, after));
            parts.push(part);
        }
        let x = self.r.pad(x, &amounts)?;
        self.r.slice(x, &parts)
    }

    /// The bias with one dimension for each of `shape`'s, added to `y`.
    pub(super) fn biased(&mut self, y: ValueId, shape: &[u64]) -> Result<ValueId, Error> {
        let Some(bias) = &self.g.bias else {
            return Ok(y);
        };
        let bias = bias.clone().reshape(self.r, shape)?.value(self.r, "bias")?;
        self.r.add_values(y, bias)
    }

    /// `y` in the shape of the convolution's result.
    pub(super) fn shaped(&mut self, y: ValueId) -> Result<ValueId, Error> {
        let mut sizes = vec![self.g.c_out];
        sizes.extend(self.g.axes.iter().filter_map(|a| a.out));
        let now = self.r.shape(y);
        let same = now.len() == sizes.len() + 1
            && now[1..].iter().map(|d| d.known()).eq(sizes.iter().map(|&s| Some(s)));
        if same {
            return Ok(y);
        }
        let shape = self.with_batch(&sizes);
        self.r.reshape(y, &shape)
    }
}

/// Rows of `stride` elements that the results read.
pub(super) fn rows(axis: &Axis) -> u64 {
    axis.out.unwrap_or(1) + (axis.reach() - 1) / axis.stride
}
