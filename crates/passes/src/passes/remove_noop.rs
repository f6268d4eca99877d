//! Takes out operations that give back what they get.

use milwright_ir::{Arg, DataType, OpView, ValueId};

use crate::error::Error;
use crate::forward::Forwarding;
use crate::pass::{Exactness, Options, Pass};
use crate::report::PassReport;
use crate::rewriter::Rewriter;

pub(super) static PASS: Pass = Pass {
    name: "remove-noop",
    summary: "Removes operations that give back what they get.",
    details: "\
| operation | when |
|---|---|
| `identity` | always |
| `reshape` | to the same fixed shape |
| `transpose` | without a change of order |
| `slice_by_index`, `slice_by_size` | that take all of a fixed shape |
| `pad` | by nothing |
| `tile` | once |
| `concat`, `split` | of one, into one |
| `mul`, `real_div` | by 1 |
| `sub` | of 0 |
| `add` | of -0; of 0 for integers |

Adding 0 to a float stays: it makes 0 of -0. The result must have the very type of the operand, so nothing that broadcasts \
goes. An output of the model keeps its name, which goes to what computes it; where that is an input of the model, the \
operation stays.",
    options: &[],
    exactness: Exactness::Exact,
    run,
};

fn run(rewriter: &mut Rewriter<'_>, _: &Options) -> Result<PassReport, Error> {
    let mut report = PassReport::default();
    let mut forwarding = Forwarding::default();
    let mut read = Vec::new();
    for site in rewriter.sites() {
        if rewriter.is_out_of_fuel() {
            break;
        }
        let view = OpView::new(rewriter.program(), site.op, rewriter.blobs());
        let Some(operand) = given_back(&view) else {
            continue;
        };
        let op_type = view.op.op_type.clone();
        let operands: Vec<ValueId> = view.op.operands().collect();
        if forwarding.forward(rewriter, site, operand, "removed: it changes nothing")? {
            *report.done.entry(op_type).or_default() += 1;
            read.extend(operands);
        }
    }
    forwarding.apply(rewriter)?;
    report.removed = rewriter.remove_orphaned_constants(&read)?;
    Ok(report)
}

/// The operand that is the result, too.
fn given_back(view: &OpView<'_>) -> Option<ValueId> {
    let value = |param: &str| match view.op.args(param) {
        [Arg::Value(v)] => Some(*v),
        _ => None,
    };
    let x = || value("x");
    let &[out] = view.op.outputs.as_slice() else {
        return None;
    };
    let same_shape = || {
        let shape = view.value_type(out).as_tensor()?.known_shape()?;
        (view.value_type(x()?).as_tensor()?.known_shape()? == shape).then(x)?
    };
    let all = |param: &str, wanted: i64| {
        view.ints(param).ok()?.known()?.iter().all(|&n| n == wanted).then_some(())
    };
    match view.op.op_type.as_str() {
        "identity" => x(),
        "reshape" => same_shape(),
        "transpose" => {
            let perm = view.ints("perm").ok()?.known()?;
            let rank = perm.len() as i64;
            let still = perm.iter().zip(0..).all(|(&p, i)| p.rem_euclid(rank.max(1)) == i);
            still.then(x)?
        }
        "slice_by_size" => same_shape(),
        "slice_by_index" => {
            if view.is_given("stride") {
                all("stride", 1)?;
            }
            same_shape()
        }
        "pad" => {
            all("pad", 0)?;
            x()
        }
        "tile" => {
            all("reps", 1)?;
            x()
        }
        "concat" => value("values"),
        "split" => x(),
        "mul" => neutral(view, "x", &[1.0]).or_else(|| neutral(view, "y", &[1.0])).and_then(value),
        "real_div" => neutral(view, "y", &[1.0]).and_then(value),
        "sub" => neutral(view, "y", &[0.0]).and_then(value),
        "add" => {
            let zeros: &[f64] = match view.value_type(out).as_tensor()?.dtype.is_float() {
                true => &[-0.0],
                false => &[0.0],
            };
            neutral(view, "x", zeros).or_else(|| neutral(view, "y", zeros)).and_then(value)
        }
        _ => None,
    }
}

/// Whether an operand is nothing but these bits and cannot make the result
/// larger; gives the other operand.
fn neutral(view: &OpView<'_>, param: &str, wanted: &[f64]) -> Option<&'static str> {
    let constant = view.constant(param)?;
    let ty = constant.tensor_type()?;
    let other = if param == "x" { "y" } else { "x" };
    let whole = view.tensor(other).ok()?;
    // Beside an unknown size, one element of each dimension is safe.
    if whole.dtype != ty.dtype
        || ty.elements()? == 0
        || ty.elements()? > 1 && whole.known_shape().is_none()
        || ty.elements()? > MAX_ELEMENTS
    {
        return None;
    }
    if ty.dtype == DataType::Bool {
        return None;
    }
    let numbers = constant.to_f64s(view.blobs()).ok()?;
    let bits = |v: &f64| wanted.iter().any(|w| w.to_bits() == v.to_bits());
    numbers.iter().all(bits).then_some(other)
}

/// Larger constants are not looked at.
const MAX_ELEMENTS: u64 = 1 << 20;
