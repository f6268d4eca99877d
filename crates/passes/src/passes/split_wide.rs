//! Divides products that are too wide.

use milwright_ir::{Arg, OpView, ValueId, cost};

use crate::error::Error;
use crate::pass::{Exactness, OptionDef, Options, Pass, Takes};
use crate::replacement::Replacement;
use crate::report::{PassReport, Rewritten};
use crate::rewriter::{Rewriter, Site, is_constant};
use crate::slices;

pub(super) static PASS: Pass = Pass {
    name: "split-wide",
    summary: "Divides products with too many output channels into slices.",
    details: "\
For the vocabulary head of a language model: more output channels than the Neural Engine takes, and often \
the largest weight of the model, which `bisect` can then put into several parts. Takes every `linear`, every `conv` \
with a kernel of 1 and one group, and every `matmul` with a constant right side. The slices have about \
the same number of channels, at most `limit`, and a `concat` brings them together.

Weights: a slice of rows that lie together is a range of the same bytes, and is copied from file to file when the model \
is saved. Columns of a `matmul` that is not transposed are copied by the pass. Compressed weights (`constexpr_*`) stay \
compressed; slices then end at a multiple of their blocks. Sparse ones, palettes of vectors along the channels, and \
weights that are compressed twice stay whole, with the \
reason, and so does a convolution whose slices would have fewer than 8 channels. A weight that something else reads too (a tied \
embedding) stays in the file as a whole beside its slices.

Numbers: each output is the same sum of the same products in the same order.",
    options: &[OptionDef {
        name: "limit",
        summary: "The most output channels of a slice.",
        takes: Takes::Number {
            default: 16384,
            least: 1,
        },
    }],
    exactness: Exactness::Exact,
    run,
};

fn run(rewriter: &mut Rewriter<'_>, options: &Options) -> Result<PassReport, Error> {
    let limit = options.number("limit").max(1);
    let mut report = PassReport::default();
    let mut read = Vec::new();
    for site in rewriter.sites() {
        if rewriter.is_out_of_fuel() {
            break;
        }
        let view = OpView::new(rewriter.program(), site.op, rewriter.blobs());
        let Some(wide) = Wide::of(&view, limit) else {
            continue;
        };
        let name = rewriter.named(site);
        match plan(&view, &wide, limit) {
            Err(reason) => report.left.push(rewriter.left(site, reason)),
            Ok(plan) => {
                let macs = cost::multiply_adds(&view);
                read.extend(view.op.operands());
                let mut replacement = rewriter.replace(site);
                let last = divide(&mut replacement, site, &wide, &plan)?;
                let count = plan.parts.len();
                let what = format!("divided into {count} slices");
                let Some(additions) = replacement.finish(last, what)? else {
                    break;
                };
                report.rewritten.push(Rewritten {
                    function: name.function,
                    op: name.op,
                    op_type: name.op_type,
                    summary: format!("{} channels", wide.size),
                    form: "slices",
                    weights: plan.fate.to_owned(),
                    added: additions.ops,
                    macs_before: macs,
                    macs_after: macs,
                    largest: additions.largest,
                });
            }
        }
    }
    report.removed = rewriter.remove_orphaned_constants(&read)?;
    Ok(report)
}

/// More operations than that for one product help nobody.
const MOST_SLICES: u64 = 1024;

/// With fewer output channels, a convolution is better computed without a
/// matrix product, so that its sums differ in their last bits.
const LEAST_CONV: u64 = 8;

/// A product that is too wide.
struct Wide {
    /// The parameter that has the channels, and which of its dimensions they are.
    weight: (&'static str, usize),
    /// Which dimension of the result they are.
    axis: usize,
    size: u64,
}

impl Wide {
    /// Only products with a weight; whether it can be divided is seen later.
    fn of(view: &OpView<'_>, limit: u64) -> Option<Self> {
        let out = view.value_type(*view.op.outputs.first()?).as_tensor()?;
        let rank = out.rank()?;
        let (weight, axis) = match view.op.op_type.as_str() {
            "linear" => (("weight", 0), rank.checked_sub(1)?),
            "conv" => {
                let groups = view.int("groups").ok()?.known_or(1)?;
                let weight = view.tensor("weight").ok()?.known_shape()?;
                let pointwise = weight.get(2..)?.iter().all(|&k| k == 1);
                if groups != 1 || !pointwise {
                    return None;
                }
                (("weight", 0), 1)
            }
            "matmul" => {
                let y = view.tensor("y").ok()?.rank()?;
                let transposed = view.bool("transpose_y").ok()?.known_or(false)?;
                let from_end = if transposed { 2 } else { 1 };
                if y < 2 {
                    return None;
                }
                (("y", y - from_end), rank.checked_sub(1)?)
            }
            _ => return None,
        };
        let arg = view.arg(weight.0)?;
        let size = slices::size_of(view.program, arg, weight.1)?;
        // A product of two values that are computed is no weight's.
        let constant = match arg {
            Arg::Const(_) => true,
            Arg::Value(value) => view
                .program
                .def_op(*value)
                .is_some_and(|op| is_constant(&view.program.ops[op].op_type)),
        };
        (size > limit && constant).then_some(Self { weight, axis, size })
    }
}

struct Parts {
    parts: Vec<(u64, u64)>,
    fate: &'static str,
}

fn plan(view: &OpView<'_>, wide: &Wide, limit: u64) -> Result<Parts, String> {
    let (param, axis) = wide.weight;
    let arg = view.arg(param).ok_or("it has no weights")?;
    let weight = slices::divisible(view.program, arg, axis, view.blobs())
        .map_err(|reason| format!("its weight cannot be divided: {reason}"))?;
    let mut unit = weight.unit;
    if let Some(bias) = view.arg("bias") {
        let bias = slices::divisible(view.program, bias, 0, view.blobs())
            .map_err(|reason| format!("its bias cannot be divided: {reason}"))?;
        unit = slices::lcm(unit, bias.unit).ok_or("it is too large")?;
    }
    let most = limit / unit * unit;
    if most == 0 {
        return Err(format!(
            "its weight can be divided only every {unit} channels, which is more than {limit}"
        ));
    }
    let count = wide.size.div_ceil(most);
    if count > MOST_SLICES {
        return Err(format!("it would be divided into {count} slices"));
    }
    // All about as wide. Rounded up, it may take one slice less.
    let step = wide.size.div_ceil(count).next_multiple_of(unit);
    let count = wide.size.div_ceil(step);
    if view.op.op_type == "conv" && wide.size - (count - 1) * step < LEAST_CONV {
        return Err(format!(
            "a slice would have fewer than {LEAST_CONV} channels, whose sums convolutions add up \
             in another order"
        ));
    }
    let parts = (0..count).map(|n| (n * step, (n * step + step).min(wide.size)));
    Ok(Parts {
        parts: parts.collect(),
        fate: weight.fate,
    })
}

fn divide(
    r: &mut Replacement<'_, '_>,
    site: Site,
    wide: &Wide,
    plan: &Parts,
) -> Result<ValueId, Error> {
    let op = r.rewriter().program().ops[site.op].clone();
    let mut slices = Vec::new();
    for &part in &plan.parts {
        let mut inputs = Vec::new();
        for (param, args) in &op.inputs {
            let axis = match param.as_str() {
                name if name == wide.weight.0 => wide.weight.1,
                "bias" => 0,
                _ => {
                    inputs.push((param.as_str(), args.clone()));
                    continue;
                }
            };
            let mut divided = Vec::new();
            for arg in args {
                divided.push(Arg::Value(slices::part(r, arg, axis, part, param)?));
            }
            inputs.push((param.as_str(), divided));
        }
        slices.push(r.op(&op.op_type, "slice", inputs)?);
    }
    r.concat(&slices, wide.axis)
}
