//! What a convolution is: sizes, strides, pads, weights.

use std::fmt::Write;

use milwright_ir::ops::Given;
use milwright_ir::{Arg, BlobSource, DataType, Dim, OpView, ParamError, Program, ValueId};

use super::weight::Weight;

/// One spatial dimension of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    /// Size of the input, if fixed.
    pub(super) size: Option<u64>,
    pub(super) kernel: u64,
    pub(super) stride: u64,
    pub(super) dilation: u64,
    /// Zeros before the input; of a transposed convolution, what is cut off
    /// the result at its beginning.
    pub(super) before: u64,
    /// Zeros behind the input.
    pub(super) after: u64,
    /// Size of the output, if fixed.
    pub(super) out: Option<u64>,
}

impl Axis {
    /// Elements that the kernel spans.
    pub(super) fn reach(&self) -> u64 {
        (self.kernel - 1) * self.dilation + 1
    }

    /// Nothing happens along it: one element, one tap, no padding.
    pub(super) fn is_trivial(&self) -> bool {
        self.size == Some(1)
            && self.kernel == 1
            && (self.before, self.after) == (0, 0)
            && self.out == Some(1)
    }
}

/// A `conv` or `conv_transpose` that can be taken apart.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    pub(super) transposed: bool,
    pub(super) x: ValueId,
    /// Size of the batch, if fixed.
    pub(super) n: Option<u64>,
    pub(super) c_in: u64,
    pub(super) c_out: u64,
    pub(super) groups: u64,
    /// One or two.
    pub(super) axes: Vec<Axis>,
    pub(super) weight: Weight,
    pub(super) bias: Option<Weight>,
    /// Parameters, for people.
    pub(super) summary: String,
}

impl Geometry {
    /// Every spatial size is fixed.
    pub(super) fn is_static(&self) -> bool {
        self.axes.iter().all(|a| a.size.is_some())
    }

    /// Input channels of a group.
    pub(super) fn group_in(&self) -> u64 {
        self.c_in / self.groups
    }

    /// Output channels of a group.
    pub(super) fn group_out(&self) -> u64 {
        self.c_out / self.groups
    }

    pub(super) fn taps(&self) -> u64 {
        self.axes.iter().map(|a| a.kernel).product()
    }

    /// Every group has one input channel.
    pub(super) fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.c_in
    }

    /// Multiply-adds, an unknown batch counted as one.
    pub(super) fn macs(&self) -> Option<u64> {
        let sizes = self.axes.iter().map(|a| {
            // Every element of the input meets every tap of a transposed kernel.
            if self.transposed { a.size } else { a.out }
        });
        let positions = sizes.product::<Option<u64>>()?;
        [self.group_in(), self.c_out, self.taps(), positions]
            .into_iter()
            .try_fold(self.n.unwrap_or(1), u64::checked_mul)
    }
}

/// Sizes above this are no real model's; keeping below it, no product of a few
/// of them overflows.
const MAX_SIZE: u64 = 1 << 31;

/// Reads a convolution.
///
/// # Errors
/// Why it cannot be taken apart, for people.
pub(super) fn read(view: &OpView<'_>, blobs: &dyn BlobSource) -> Result<Geometry, String> {
    let transposed = match view.op.op_type.as_str() {
        "conv" => false,
        "conv_transpose" => true,
        other => return Err(format!("`{other}` is not taken")),
    };
    let Some(Arg::Value(x)) = view.arg("x") else {
        return Err("its input is a constant".into());
    };
    let ty = view.tensor("x").map_err(text)?;
    let rank = match ty.rank() {
        Some(rank @ (3 | 4)) => rank - 2,
        Some(5) => return Err("a 3-D convolution; tensors would have more than 4 dimensions".into()),
        _ => return Err("the rank of its input is not 3 or 4".into()),
    };
    let weight = constant(view, blobs, "weight", ty.dtype)?.ok_or("it has no weights")?;
    if weight.shape.len() != rank + 2 || weight.shape.iter().any(|&d| d == 0 || d >= MAX_SIZE) {
        return Err(format!("weights of shape {:?}", weight.shape));
    }
    let bias = constant(view, blobs, "bias", ty.dtype)?;
    let groups = known(view.int("groups"), 1, "groups")?;
    let groups = size(groups, "groups")?;
    let (c_in, c_out) = match transposed {
        false => (weight.shape[1] * groups, weight.shape[0]),
        true => (weight.shape[0], weight.shape[1] * groups),
    };
    if c_in % groups != 0 || c_out % groups != 0 || c_in >= MAX_SIZE || c_out >= MAX_SIZE {
        return Err(format!("{c_in} and {c_out} channels do not go into {groups} groups"));
    }
    if ty.shape[1].known().is_some_and(|c| c != c_in) {
        return Err(format!("weights for {c_in} channels, an input with {}", ty.shape[1]));
    }
    if bias.as_ref().is_some_and(|b| b.shape.iter().product::<u64>() != c_out) {
        return Err("the bias does not have one element for each output channel".into());
    }
    let strides = sizes(view, "strides", rank)?;
    let dilations = sizes(view, "dilations", rank)?;
    let pad_type = known(view.string("pad_type"), "valid".into(), "pad_type")?;
    let pads = match pad_type.as_str() {
        "custom" => pads(view, rank)?,
        _ => vec![0; rank * 2],
    };
    let outputs = match known(view.ints("output_shape"), Vec::new(), "output_shape")? {
        given if given.is_empty() => None,
        given
            if given.len() == rank + 2
                && (given[1] != c_out as i64
                    || ty.shape[0].known().is_some_and(|n| given[0] != n as i64)) =>
        {
            return Err(format!(
                "`output_shape` {given:?} names another batch or number of channels than it has"
            ));
        }
        given if given.len() == rank + 2 => Some(
            given[2..]
                .iter()
                .map(|&d| size(d, "output_shape"))
                .collect::<Result<Vec<u64>, String>>()?,
        ),
        given => return Err(format!("output_shape has {} elements", given.len())),
    };
    let mut axes = Vec::with_capacity(rank);
    for i in 0..rank {
        let axis = Axis {
            size: ty.shape[i + 2].known(),
            kernel: weight.shape[i + 2],
            stride: strides[i],
            dilation: dilations[i],
            before: pads[i * 2],
            after: pads[i * 2 + 1],
            out: None,
        };
        if axis.size.is_some_and(|s| s == 0 || s >= MAX_SIZE)
            || axis.reach() >= MAX_SIZE
            || axis.before.max(axis.after) >= MAX_SIZE
        {
            return Err("a size is out of range".into());
        }
        axes.push(match transposed {
            false => forward(axis, &pad_type)?,
            true => backward(axis, &pad_type, outputs.as_ref().map(|o| o[i]))?,
        });
    }
    let n = ty.shape[0].known();
    if n == Some(0) {
        return Err("its input is empty".into());
    }
    let mut geometry = Geometry {
        transposed,
        x: *x,
        n,
        c_in,
        c_out,
        groups,
        axes,
        weight,
        bias,
        summary: String::new(),
    };
    geometry.summary = summary(&geometry, &ty.shape);
    Ok(geometry)
}

/// Pads and output size of a convolution.
fn forward(mut axis: Axis, pad_type: &str) -> Result<Axis, String> {
    let reach = axis.reach();
    match (pad_type, axis.size) {
        ("valid" | "custom", _) => {}
        ("same" | "same_lower", size) => {
            let total = match size {
                Some(size) => ((size.div_ceil(axis.stride) - 1) * axis.stride + reach)
                    .saturating_sub(size),
                // With stride 1 the size does not matter.
                None if axis.stride == 1 => reach - 1,
                None => return Err(format!("pad_type `{pad_type}` with a stride over a dimension of unknown size")),
            };
            let (small, large) = (total / 2, total - total / 2);
            (axis.before, axis.after) = match pad_type {
                "same" => (small, large),
                _ => (large, small),
            };
        }
        (other, _) => return Err(format!("pad_type {other:?}")),
    }
    if let Some(size) = axis.size {
        let padded = size + axis.before + axis.after;
        let room = padded.checked_sub(reach);
        let room = room.ok_or_else(|| format!("a kernel that spans {reach} of {padded} elements"))?;
        axis.out = Some(room / axis.stride + 1);
    }
    Ok(axis)
}

/// What is cut off and output size of a transposed convolution.
fn backward(mut axis: Axis, pad_type: &str, out: Option<u64>) -> Result<Axis, String> {
    let reach = axis.reach();
    let size = axis.size.ok_or("a transposed convolution over a dimension of unknown size")?;
    let full = (size - 1) * axis.stride + reach;
    let length = match pad_type {
        "valid" => out.unwrap_or(full),
        "custom" => out
            .or_else(|| full.checked_sub(axis.before + axis.after))
            .filter(|&n| n > 0)
            .ok_or("pads that leave nothing")?,
        "same" => {
            let length = out.unwrap_or(size * axis.stride);
            let total = ((length.div_ceil(axis.stride) - 1) * axis.stride + reach).saturating_sub(length);
            axis.before = total / 2;
            axis.after = total - total / 2;
            length
        }
        other => return Err(format!("pad_type {other:?} of a transposed convolution")),
    };
    if length >= MAX_SIZE || full >= MAX_SIZE {
        return Err("a size is out of range".into());
    }
    axis.out = Some(length);
    Ok(axis)
}

fn constant(
    view: &OpView<'_>,
    blobs: &dyn BlobSource,
    param: &str,
    dtype: DataType,
) -> Result<Option<Weight>, String> {
    let Some(arg) = view.arg(param) else {
        return Ok(None);
    };
    let ty = view.program.arg_type(arg).as_tensor();
    let ty = ty.ok_or_else(|| format!("its {param} is no tensor"))?;
    let shape = ty
        .known_shape()
        .ok_or_else(|| format!("its {param} has an unknown size"))?;
    let widens = ty.dtype == DataType::Float16 && dtype == DataType::Float32;
    if let Some(constant) = view.program.const_arg(arg) {
        let weight = Weight::of(constant, shape);
        if ty.dtype == dtype {
            return Ok(Some(weight));
        }
        if widens {
            return weight.widened(blobs).map(Some);
        }
    } else if let Arg::Value(value) = arg
        && is_compressed(view.program, *value)
    {
        if ty.dtype == dtype {
            return Ok(Some(Weight::computed(*value, ty.dtype, shape)));
        }
    } else {
        return Err(format!("its {param} is not constant"));
    }
    Err(format!(
        "its {param} is {} and its input {dtype}; rounding it would change the numbers",
        ty.dtype
    ))
}

/// A constant in a compressed form.
fn is_compressed(program: &Program, value: ValueId) -> bool {
    let op = program.def_op(value);
    op.is_some_and(|op| program.ops[op].op_type.starts_with("constexpr_"))
}

fn text(error: ParamError) -> String {
    error.to_string()
}

fn known<T>(given: Result<Given<T>, ParamError>, absent: T, param: &str) -> Result<T, String> {
    given
        .map_err(text)?
        .known_or(absent)
        .ok_or_else(|| format!("its {param} is not constant"))
}

fn size(value: i64, param: &str) -> Result<u64, String> {
    u64::try_from(value)
        .ok()
        .filter(|v| (1..MAX_SIZE).contains(v))
        .ok_or_else(|| format!("{param} of {value}"))
}

fn sizes(view: &OpView<'_>, param: &str, rank: usize) -> Result<Vec<u64>, String> {
    let given = known(view.ints(param), vec![1; rank], param)?;
    if given.len() != rank {
        return Err(format!("{param} has {} elements", given.len()));
    }
    given.into_iter().map(|v| size(v, param)).collect()
}

fn pads(view: &OpView<'_>, rank: usize) -> Result<Vec<u64>, String> {
    let given = known(view.ints("pad"), vec![0; rank * 2], "pad")?;
    if given.len() != rank * 2 {
        return Err(format!("pad has {} elements", given.len()));
    }
    let pads = given.iter().map(|&v| u64::try_from(v));
    pads.collect::<Result<_, _>>()
        .map_err(|_| format!("negative pad {given:?}"))
}

fn summary(g: &Geometry, x: &[Dim]) -> String {
    let mut out = String::new();
    let all = |f: fn(&Axis) -> u64| {
        let sizes: Vec<String> = g.axes.iter().map(|a| f(a).to_string()).collect();
        sizes.join("x")
    };
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "{} -> {} channels, kernel {}",
        g.c_in,
        g.c_out,
        all(|a| a.kernel)
    );
    if g.axes.iter().any(|a| a.stride > 1) {
        let _ = write!(out, ", stride {}", all(|a| a.stride));
    }
    if g.axes.iter().any(|a| a.dilation > 1) {
        let _ = write!(out, ", dilation {}", all(|a| a.dilation));
    }
    if g.groups > 1 {
        let _ = write!(out, ", {} groups", g.groups);
    }
    let _ = write!(out, ", over {}", milwright_ir::ShapeDisplay(x));
    out
}
