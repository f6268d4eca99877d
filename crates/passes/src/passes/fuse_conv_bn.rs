//! Folds batch norms into the convolutions before them.

use half::f16;
use milwright_ir::{
    Arg, ConstData, Constant, DataType, OpId, OpView, Program, TensorType, ValueId,
};

use crate::error::Error;
use crate::pass::{Exactness, Options, Pass};
use crate::report::PassReport;
use crate::rewriter::{Rewriter, Site};

pub(super) static PASS: Pass = Pass {
    name: "fuse-conv-bn",
    summary: "Folds a `batch_norm` into the `conv` or `conv_transpose` before it.",
    details: "\
A batch norm multiplies each channel by `gamma / sqrt(variance + epsilon)` and adds a constant; both can be part of the \
weights and the bias. Taken is a batch norm whose operand is the result of a convolution that nothing else reads and that \
has constant weights. A `linear` is never before one: a batch norm works on the second dimension, and a `linear` gives \
its channels as the last.

What stays is listed: compressed weights, parameters that are not constant, and weights that would not be finite in their \
type.

Numbers: the new weights are computed in double precision and rounded once to the type of the weights. In fp16 that is up \
to half a unit in the last place of each weight.",
    options: &[],
    exactness: Exactness::Rounding,
    run,
};

fn run(rewriter: &mut Rewriter<'_>, _: &Options) -> Result<PassReport, Error> {
    let mut report = PassReport::default();
    let mut read = Vec::new();
    let mut uses = rewriter.uses();
    for site in rewriter.sites() {
        if rewriter.is_out_of_fuel() {
            break;
        }
        let program = rewriter.program();
        if program.ops[site.op].op_type != "batch_norm" {
            continue;
        }
        let Some(conv) = convolution(program, site) else {
            continue;
        };
        let fused = match fused(rewriter, site.op, conv, &uses) {
            Ok(fused) => fused,
            Err(reason) => {
                report.left.push(rewriter.left(site, reason));
                continue;
            }
        };
        let op = program.ops[conv].clone();
        read.extend(program.ops[site.op].operands());
        read.extend(op.operands());
        let mut replacement = rewriter.replace(site);
        let weight = replacement.constant("weight", fused.weight)?;
        let bias = replacement.constant("bias", fused.bias)?;
        let others = op.inputs.iter();
        let others = others.filter(|(param, _)| param != "weight" && param != "bias");
        let mut inputs: Vec<(&str, Vec<Arg>)> =
            others.map(|(param, args)| (param.as_str(), args.clone())).collect();
        inputs.insert(1.min(inputs.len()), ("weight", vec![Arg::Value(weight)]));
        inputs.insert(2.min(inputs.len()), ("bias", vec![Arg::Value(bias)]));
        let last = replacement.op(&op.op_type, "fused", inputs)?;
        let what = format!("folded into `{}`", rewriter_name(&replacement, &op.outputs));
        if replacement.finish(last, what)?.is_none() {
            break;
        }
        uses.resize(rewriter.program().values.len(), 1);
        *report.done.entry(format!("batch_norm into {}", op.op_type)).or_default() += 1;
    }
    let constant = crate::rewriter::is_constant;
    report.removed = rewriter.remove_orphans(&read, |program, op| {
        let op_type = program.ops[op].op_type.as_str();
        constant(op_type) || op_type.starts_with("conv")
    })?;
    Ok(report)
}

fn rewriter_name(r: &crate::replacement::Replacement<'_, '_>, outputs: &[ValueId]) -> String {
    let program = r.rewriter().program();
    outputs.first().map_or_else(String::new, |&v| program.values[v].name.clone())
}

/// The convolution that gives the operand of a batch norm, in the same block.
fn convolution(program: &Program, site: Site) -> Option<OpId> {
    let [Arg::Value(x)] = program.ops[site.op].args("x") else {
        return None;
    };
    let conv = program.def_op(*x)?;
    let is_conv = ["conv", "conv_transpose"].contains(&program.ops[conv].op_type.as_str());
    (is_conv && program.blocks[site.block].ops.contains(&conv)).then_some(conv)
}

struct Fused {
    weight: Constant,
    bias: Constant,
}

fn fused(
    rewriter: &Rewriter<'_>,
    norm: OpId,
    conv: OpId,
    uses: &[u32],
) -> Result<Fused, String> {
    use milwright_ir::arena::Id;
    let (program, blobs) = (rewriter.program(), rewriter.blobs());
    let out = program.ops[conv].outputs[0];
    if uses[out.index()] != 1 {
        return Err(format!("something else reads `{}`, too", program.values[out].name));
    }
    let norm = OpView::new(program, norm, blobs);
    let conv = OpView::new(program, conv, blobs);
    let text = |e: milwright_ir::ParamError| e.to_string();
    let numbers = |view: &OpView<'_>, param: &str| -> Result<Option<Vec<f64>>, String> {
        if !view.is_given(param) {
            return Ok(None);
        }
        let constant = view.constant(param).ok_or(format!("its `{param}` is not constant"))?;
        constant.to_f64s(blobs).map(Some).map_err(|e| e.to_string())
    };
    let weight = conv.constant("weight").ok_or("the weights of the convolution are not constant")?;
    let ty = weight.tensor_type().ok_or("its weights are no tensor")?;
    let shape = ty.known_shape().ok_or("its weights have no fixed shape")?;
    if ty.dtype != DataType::Float16 && ty.dtype != DataType::Float32 {
        return Err(format!("its weights are {ty}"));
    }
    let groups = conv.int("groups").map_err(text)?.known_or(1).ok_or("its groups are not constant")?;
    let groups = usize::try_from(groups).ok().filter(|&g| g > 0).ok_or("it has no groups")?;
    let transposed = conv.op.op_type == "conv_transpose";
    let channels = match transposed {
        false => shape[0] as usize,
        true => (shape[1] as usize).checked_mul(groups).ok_or("it is too large")?,
    };
    let each = |param: &str, view: &OpView<'_>, absent: f64| -> Result<Vec<f64>, String> {
        match numbers(view, param)? {
            None => Ok(vec![absent; channels]),
            Some(given) if given.len() == channels => Ok(given),
            Some(given) => Err(format!("`{param}` has {} elements, not {channels}", given.len())),
        }
    };
    let (mean, variance) = (each("mean", &norm, 0.0)?, each("variance", &norm, 1.0)?);
    let (gamma, beta) = (each("gamma", &norm, 1.0)?, each("beta", &norm, 0.0)?);
    let bias = each("bias", &conv, 0.0)?;
    let epsilon = norm.float("epsilon").map_err(text)?.known().ok_or("its epsilon is not constant")?;
    let scale: Vec<f64> = gamma
        .iter()
        .zip(&variance)
        .map(|(g, v)| g / (v + epsilon).sqrt())
        .collect();
    let mut numbers = weight.to_f64s(blobs).map_err(|e| e.to_string())?;
    let inner: usize = shape[2..].iter().map(|&d| d as usize).product();
    match transposed {
        false => {
            let row = shape[1] as usize * inner;
            for (row, s) in numbers.chunks_exact_mut(row.max(1)).zip(&scale) {
                row.iter_mut().for_each(|w| *w *= s);
            }
        }
        true => {
            let (inputs, outputs) = (shape[0] as usize, shape[1] as usize);
            let group = inputs / groups;
            for (at, taps) in numbers.chunks_exact_mut(inner.max(1)).enumerate() {
                let (input, output) = (at / outputs, at % outputs);
                let s = scale[(input / group.max(1)).min(groups - 1) * outputs + output];
                taps.iter_mut().for_each(|w| *w *= s);
            }
        }
    }
    let shifts = bias.iter().zip(&mean).zip(&scale).zip(&beta);
    let bias: Vec<f64> = shifts.map(|(((b, m), s), beta)| (b - m) * s + beta).collect();
    Ok(Fused {
        weight: rounded(ty.clone(), &numbers)?,
        bias: rounded(TensorType::fixed(ty.dtype, &[channels as u64]), &bias)?,
    })
}

/// The numbers in a type.
fn rounded(ty: TensorType, numbers: &[f64]) -> Result<Constant, String> {
    let mut bytes = Vec::new();
    let mut is_finite = true;
    for &n in numbers {
        if ty.dtype == DataType::Float16 {
            let half = f16::from_f64(n);
            is_finite &= half.is_finite();
            bytes.extend_from_slice(&half.to_le_bytes());
        } else {
            is_finite &= (n as f32).is_finite();
            bytes.extend_from_slice(&(n as f32).to_le_bytes());
        }
    }
    match is_finite {
        true => Ok(Constant::new(ty, ConstData::New(bytes.into()))),
        false => Err(format!("the new weights would not be finite in {}", ty.dtype)),
    }
}
