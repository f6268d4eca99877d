//! `conv` and `conv_transpose`, over one to three spatial dimensions.

use candle_core::Tensor;
use milwright_ir::shape::{self, Windows};

use super::build::tensor;
use super::check::{Result, computed};
use super::float::with_float;
use super::gemm::{self, Bias, Factor, Product};
use super::layout;
use crate::call::{Call, Outputs};
use crate::error::KernelError;

mod direct;
mod input;
mod transpose;

use input::{Columns, Prepared};

pub(crate) fn conv(call: &Call<'_>) -> Outputs {
    let operands = Operands::read(call)?;
    let windows = windows(call, &operands)?;
    call.one(operands.convolve(&windows)?)
}

/// `conv` with another weight than the parameter.
pub(crate) fn with_weight(call: &Call<'_>, weight: Tensor) -> Outputs {
    let operands = Operands::with_weight(call, weight)?;
    let windows = windows(call, &operands)?;
    call.one(operands.convolve(&windows)?)
}

pub(crate) fn conv_transpose(call: &Call<'_>) -> Outputs {
    let operands = Operands::read(call)?;
    let windows = windows(call, &operands)?;
    let wanted = call.ints("output_shape")?;
    call.one(operands.transposed(&windows, wanted.as_deref())?)
}

fn windows(call: &Call<'_>, operands: &Operands) -> Result<Vec<Windows>> {
    let kernel: Vec<u64> = operands.weight.dims()[2..]
        .iter()
        .map(|&d| d as u64)
        .collect();
    Ok(shape::windows(&call.view, &kernel)?)
}

/// The tensors of a convolution; ranks agree and are 3 to 5.
struct Operands {
    x: Tensor,
    weight: Tensor,
    bias: Option<Tensor>,
    groups: usize,
}

impl Operands {
    fn read(call: &Call<'_>) -> Result<Self> {
        Self::with_weight(call, call.tensor("weight")?.data)
    }

    fn with_weight(call: &Call<'_>, weight: Tensor) -> Result<Self> {
        let groups = call.int("groups")?.unwrap_or(1);
        Self::new(
            call.tensor("x")?.data,
            weight,
            call.opt_tensor("bias")?.map(|t| t.data),
            shape::positive("groups", groups)?,
        )
    }

    fn new(x: Tensor, weight: Tensor, bias: Option<Tensor>, groups: u64) -> Result<Self> {
        if !(3..=5).contains(&x.rank()) || x.rank() != weight.rank() {
            return Err(KernelError::mismatch(format!(
                "`x` of shape {:?} and `weight` of shape {:?}, but both must be of the same rank \
                 of 3 to 5",
                x.dims(),
                weight.dims()
            )));
        }
        if weight.dims()[2..].contains(&0) {
            return Err(KernelError::param("weight", "its kernel has no elements"));
        }
        let like_x = |t: Tensor| match t.dtype() == x.dtype() {
            true => Ok(t),
            false => t.to_dtype(x.dtype()),
        };
        Ok(Self {
            weight: like_x(weight)?,
            bias: bias.map(like_x).transpose()?,
            x,
            groups: usize::try_from(groups).unwrap_or(usize::MAX),
        })
    }

    /// Refuses channels that do not go together: `x` has `input` of them, in
    /// all groups, and the result `output`.
    fn check(&self, input: Option<usize>, output: usize) -> Result<()> {
        let channels = self.x.dims()[1];
        let groups = self.groups;
        if input != Some(channels)
            || !channels.is_multiple_of(groups)
            || !output.is_multiple_of(groups)
        {
            return Err(KernelError::mismatch(format!(
                "`x` of shape {:?} and `weight` of shape {:?} do not make {groups} group(s)",
                self.x.dims(),
                self.weight.dims()
            )));
        }
        match &self.bias {
            Some(bias) if bias.dims() != [output] => Err(KernelError::param(
                "bias",
                format!(
                    "has shape {:?}, but the result has {output} channels",
                    bias.dims()
                ),
            )),
            _ => Ok(()),
        }
    }

    /// The convolution; `windows` has one entry a spatial dimension.
    fn convolve(&self, windows: &[Windows]) -> Result<Tensor> {
        let weight = self.weight.dims();
        self.check(weight[1].checked_mul(self.groups), weight[0])?;
        let axes = axes(windows, &self.x.dims()[2..], |w, size| {
            Ok((w.count(size, false)?, w.padding(size)?.0))
        })?;
        with_float!("x", self.x, T => self.convolve_typed::<T>(&axes))
    }

    fn convolve_typed<T: Factor>(&self, axes: &[Axis; 3]) -> Result<Tensor> {
        let x = layout::elements::<T>(&self.x)?;
        let weight = layout::elements::<T>(&self.weight)?;
        let bias = self.bias.as_ref().map(layout::elements::<T>).transpose()?;
        let bias = bias.as_deref();
        let (batch, channels) = (self.x.dims()[0], self.x.dims()[1]);
        let outputs = self.weight.dims()[0];
        let dims = self.output_dims(outputs, axes);
        let mut out = layout::zeros::<T>(&dims)?;
        if out.is_empty() {
            return tensor(out, &dims);
        }
        let volume: usize = axes.iter().map(|a| a.output).product();
        let input = Prepared::new(&x, batch * channels, axes)?;
        let taps = input.taps(axes);
        let (inputs_each, outputs_each) = (channels / self.groups, outputs / self.groups);
        let depth = inputs_each * taps.len();
        if outputs_each <= 2 || (inputs_each == 1 && outputs_each < gemm::ROWS) {
            let taps = input.taps_of_group(&taps, inputs_each);
            direct::run(
                &direct::Problem {
                    input: &input,
                    axes,
                    taps: &taps,
                    weight: &weight,
                    bias,
                    outputs,
                    outputs_each,
                    inputs_each,
                },
                &mut out,
            );
        } else {
            let mut products: Vec<_> = out
                .chunks_exact_mut(outputs_each * volume)
                .enumerate()
                .map(|(index, out)| {
                    let first = index % self.groups * outputs_each;
                    Product {
                        m: outputs_each,
                        k: depth,
                        n: volume,
                        a: &weight[first * depth..][..outputs_each * depth],
                        a_stride: depth,
                        b: Columns::new(&input, index * inputs_each, &taps, axes),
                        bias: bias.map_or(Bias::None, |b| Bias::Rows(&b[first..][..outputs_each])),
                        out,
                        transposed: false,
                    }
                })
                .collect();
            gemm::run(&mut products);
        }
        tensor(out, &dims)
    }

    /// The transposed convolution. `wanted` is the shape of the result where
    /// the program gives it.
    fn transposed(&self, windows: &[Windows], wanted: Option<&[i64]>) -> Result<Tensor> {
        let weight = self.weight.dims();
        let outputs = weight[1].saturating_mul(self.groups);
        self.check(Some(weight[0]), outputs)?;
        if let Some(wanted) = wanted {
            let fits = wanted.len() == weight.len()
                && wanted[0] == self.x.dims()[0] as i64
                && wanted[1] == outputs as i64;
            if !fits {
                return Err(KernelError::param(
                    "output_shape",
                    format!(
                        "is {wanted:?}, but must be [{}, {outputs}, ..] with {} elements",
                        self.x.dims()[0],
                        weight.len()
                    ),
                ));
            }
        }
        let mut sizes = wanted.unwrap_or_default().iter().skip(2);
        let axes = axes(windows, &self.x.dims()[2..], |w, size| {
            // The result is what a convolution with these windows would turn
            // into the input, so its padding decides what is cut off.
            let output = match sizes.next() {
                Some(&wanted) => shape::size("output_shape", wanted)?,
                None => w.transposed(size)?.0,
            };
            Ok((output, w.padding(output)?.0))
        })?;
        with_float!("x", self.x, T => self.transposed_typed::<T>(&axes))
    }

    fn transposed_typed<T: Factor>(&self, axes: &[Axis; 3]) -> Result<Tensor> {
        let x = layout::elements::<T>(&self.x)?;
        let weight = layout::elements::<T>(&self.weight)?;
        let bias = self.bias.as_ref().map(layout::elements::<T>).transpose()?;
        let outputs = self.weight.dims()[1] * self.groups;
        let dims = self.output_dims(outputs, axes);
        let mut out = layout::zeros::<T>(&dims)?;
        if !out.is_empty() {
            transpose::run(
                &transpose::Problem {
                    x: &x,
                    weight: &weight,
                    bias: bias.as_deref(),
                    channels: self.x.dims()[1],
                    outputs,
                    groups: self.groups,
                    axes,
                },
                &mut out,
            )?;
        }
        tensor(out, &dims)
    }

    fn output_dims(&self, outputs: usize, axes: &[Axis; 3]) -> Vec<usize> {
        let skipped = 5 - self.x.rank();
        let mut dims = vec![self.x.dims()[0], outputs];
        dims.extend(axes[skipped..].iter().map(|a| a.output));
        dims
    }
}

/// The spatial dimensions, filled up to three from the front. `sizes` gives
/// the size of the result and the padding before the input (or the result, of
/// a transposed convolution).
fn axes(
    windows: &[Windows],
    inputs: &[usize],
    mut sizes: impl FnMut(&Windows, u64) -> Result<(u64, u64)>,
) -> Result<[Axis; 3]> {
    let mut axes = [Axis::NONE; 3];
    let skipped = axes.len() - windows.len();
    for ((axis, w), &input) in axes[skipped..].iter_mut().zip(windows).zip(inputs) {
        let (output, before) = sizes(w, input as u64)?;
        *axis = Axis::new(w, input, before, output)?;
    }
    Ok(axes)
}

/// One spatial dimension of a convolution.
#[derive(Clone, Copy, Debug)]
struct Axis {
    input: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    /// Padding before the input.
    before: usize,
    output: usize,
}

impl Axis {
    /// A dimension that is not there.
    const NONE: Self = Self {
        input: 1,
        kernel: 1,
        stride: 1,
        dilation: 1,
        before: 0,
        output: 1,
    };

    fn new(w: &Windows, input: usize, before: u64, output: u64) -> Result<Self> {
        Ok(Self {
            input,
            kernel: computed("kernel", w.size)?,
            // Steps that are never taken may be of any size.
            stride: match output.max(input as u64) {
                0 | 1 => 1,
                _ => computed("stride", w.stride)?,
            },
            dilation: match w.size {
                0 | 1 => 1,
                _ => computed("dilation", w.dilation)?,
            },
            before: computed("padding", before)?,
            output: computed("result", output)?,
        })
    }

    /// Elements from the first to the last one of a window.
    fn span(&self) -> usize {
        (self.kernel - 1) * self.dilation + 1
    }
}

#[cfg(test)]
mod tests;
