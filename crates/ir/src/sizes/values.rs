//! Small values that a program computes from sizes and constants.
//!
//! Elements are held as `f64`, which holds every integer that a size can be;
//! what it cannot hold, or what would have to be rounded, is unknown. So a known
//! element is the one that every runtime computes, in any precision.

use half::{bf16, f16};

use super::{Known, Sizes};
use crate::arena::ValueId;
use crate::constant::{BlobSource, Constant, TensorData};
use crate::program::{Arg, Program};
use crate::shape::{axis, slice_of};
use crate::types::{DataType, TensorType};
use crate::view::OpView;

/// The elements of a value in row-major order; `None` is one that is unknown.
pub(super) type Elements = Vec<Option<f64>>;

/// Values with more elements than this are not computed.
const MAX_ELEMENTS: usize = 1024;

/// Values with more dimensions than this are not computed.
const MAX_RANK: usize = 16;

/// The largest integer up to which `f64` holds every one.
const MAX_INTEGER: f64 = (1u64 << 53) as f64;

/// The elements of the `n`-th output of an operation whose output types are
/// inferred already; `None` when nothing is known of them.
pub(super) fn evaluate(view: &OpView<'_>, sizes: &Sizes, n: usize) -> Option<Known> {
    let rule = rule(&view.op.op_type)?;
    let ty = sizes.tensor(*view.op.outputs.get(n)?)?;
    let dims = small(ty)?;
    let scene = Scene {
        view,
        sizes,
        dims: &dims,
        n,
    };
    let elements: Elements = rule(&scene)?
        .into_iter()
        .map(|element| element.filter(|&v| holds(ty.dtype, v)))
        .collect();
    let count: usize = dims.iter().product();
    let informs = elements.iter().any(Option::is_some) || count == 0;
    (elements.len() == count && informs).then(|| known_of(ty, elements))
}

/// What is known of a value: a small constant, or what was computed.
pub(super) fn known(
    program: &Program,
    blobs: &dyn BlobSource,
    sizes: &Sizes,
    id: ValueId,
) -> Option<Known> {
    if let Some(known) = sizes.values.get(&id) {
        return Some(known.clone());
    }
    let constant = program.const_of(id)?;
    let tensor = Tensor::of_constant(constant, blobs)?;
    Some(Known {
        elements: tensor.elements,
        constant: Some(constant.clone()),
    })
}

fn known_of(ty: &TensorType, elements: Elements) -> Known {
    let all: Option<Vec<f64>> = elements.iter().copied().collect();
    Known {
        constant: all.and_then(|values| constant(ty, &values)),
        elements,
    }
}

/// The sizes of a fixed shape of few elements.
fn small(ty: &TensorType) -> Option<Vec<usize>> {
    if ty.shape.len() > MAX_RANK {
        return None;
    }
    let mut total = 1usize;
    let mut dims = Vec::with_capacity(ty.shape.len());
    for dim in &ty.shape {
        let size = usize::try_from(dim.known()?).ok()?;
        // Each, so that no product overflows beside a size of 0.
        if size > MAX_ELEMENTS {
            return None;
        }
        total = total.checked_mul(size)?;
        dims.push(size);
    }
    (total <= MAX_ELEMENTS).then_some(dims)
}

/// Whether an element type holds the number exactly.
fn holds(dtype: DataType, v: f64) -> bool {
    let whole = |low: f64, high: f64| v.fract() == 0.0 && v >= low && v <= high;
    match dtype {
        DataType::Bool => v == 0.0 || v == 1.0,
        DataType::Int8 => whole(-128.0, 127.0),
        DataType::UInt8 => whole(0.0, 255.0),
        DataType::Int16 => whole(-32768.0, 32767.0),
        DataType::UInt16 => whole(0.0, 65535.0),
        DataType::Int32 => whole(f64::from(i32::MIN), f64::from(i32::MAX)),
        DataType::UInt32 => whole(0.0, f64::from(u32::MAX)),
        DataType::Int64 => whole(-MAX_INTEGER, MAX_INTEGER),
        DataType::UInt64 => whole(0.0, MAX_INTEGER),
        DataType::Float16 => v.is_finite() && f16::from_f64(v).to_f64() == v,
        DataType::BFloat16 => v.is_finite() && bf16::from_f64(v).to_f64() == v,
        DataType::Float32 => v.is_finite() && f64::from(v as f32) == v,
        DataType::Float64 => v.is_finite(),
        _ => false,
    }
}

/// A constant of numbers that the type holds.
fn constant(ty: &TensorType, values: &[f64]) -> Option<Constant> {
    let data = match ty.dtype {
        DataType::Bool => TensorData::Bools(values.iter().map(|&v| v != 0.0).collect()),
        DataType::Int8 | DataType::UInt8 | DataType::Int16 | DataType::UInt16 | DataType::Int32 => {
            TensorData::Ints(values.iter().map(|&v| v as i32).collect())
        }
        DataType::Int64 => TensorData::LongInts(values.iter().map(|&v| v as i64).collect()),
        DataType::Float32 => TensorData::Floats(values.iter().map(|&v| v as f32).collect()),
        DataType::Float16 => {
            let bytes = values.iter().flat_map(|&v| f16::from_f64(v).to_le_bytes());
            TensorData::Bytes(bytes.collect::<Vec<u8>>().into())
        }
        _ => return None,
    };
    Some(Constant::tensor(ty.clone(), data))
}

/// A small operand.
struct Tensor {
    dims: Vec<usize>,
    elements: Elements,
}

impl Tensor {
    fn of_constant(constant: &Constant, blobs: &dyn BlobSource) -> Option<Self> {
        let ty = constant.tensor_type()?;
        let dims = small(ty)?;
        let values = match ty.dtype.is_float() {
            true => constant.to_f64s(blobs).ok()?,
            false => {
                let wide = constant.to_i64s(blobs).ok()?;
                wide.into_iter().map(|v| v as f64).collect()
            }
        };
        let elements = values
            .into_iter()
            .map(|v| Some(v).filter(|&v| holds(ty.dtype, v)));
        Some(Tensor {
            dims,
            elements: elements.collect(),
        })
    }

    fn at(&self, index: &[usize]) -> Option<f64> {
        if index.len() != self.dims.len() {
            return None;
        }
        let mut flat = 0;
        for (&i, &size) in index.iter().zip(&self.dims) {
            if i >= size {
                return None;
            }
            flat = flat * size + i;
        }
        *self.elements.get(flat)?
    }

    /// As [`Tensor::at`], with dimensions aligned at the last and a size of 1
    /// stretched.
    fn broadcast(&self, index: &[usize]) -> Option<f64> {
        let skipped = index.len().checked_sub(self.dims.len())?;
        let own = index[skipped..].iter().zip(&self.dims);
        let own: Vec<usize> = own.map(|(&i, &n)| if n == 1 { 0 } else { i }).collect();
        self.at(&own)
    }
}

/// An operation at hand, and the shape of the output that is wanted.
struct Scene<'a> {
    view: &'a OpView<'a>,
    sizes: &'a Sizes,
    dims: &'a [usize],
    n: usize,
}

type Rule = fn(&Scene<'_>) -> Option<Elements>;

/// How the elements of an operation's outputs are computed.
fn rule(op_type: &str) -> Option<Rule> {
    Some(match op_type {
        "shape" => shape,
        "identity" | "reshape" | "reshape_like" | "squeeze" | "expand_dims" | "flatten2d" => same,
        "cast" => cast,
        "gather" => gather,
        "slice_by_index" => slice_by_index,
        "slice_by_size" => slice_by_size,
        "concat" => concat,
        "stack" => stack,
        "split" => split,
        "tile" => |s| s.pick("x", |index, dims| Some(wrap(index, dims))),
        "transpose" => transpose,
        "fill" | "fill_like" => fill,
        "range_1d" => range,
        "select" => select,
        "floor" => |s| s.each(|v| Some(v.floor())),
        "ceil" => |s| s.each(|v| Some(v.ceil())),
        "round" => |s| s.each(|v| Some(v.round_ties_even())),
        "abs" => |s| s.each(|v| Some(v.abs())),
        "sign" => |s| s.each(|v| Some(if v == 0.0 { 0.0 } else { v.signum() })),
        "square" => |s| s.each(|v| product(v, v)),
        "logical_not" => |s| s.each(|v| Some(f64::from(v == 0.0))),
        "add" => |s| s.pairs(sum),
        "sub" => |s| s.pairs(|a, b| sum(a, -b)),
        "mul" => |s| s.pairs(product),
        "real_div" => real_div,
        "floor_div" => floor_div,
        "mod" => modulo,
        "maximum" => |s| s.pairs(|a, b| Some(a.max(b))),
        "minimum" => |s| s.pairs(|a, b| Some(a.min(b))),
        "equal" => |s| s.pairs(|a, b| Some(f64::from(a == b))),
        "not_equal" => |s| s.pairs(|a, b| Some(f64::from(a != b))),
        "less" => |s| s.pairs(|a, b| Some(f64::from(a < b))),
        "less_equal" => |s| s.pairs(|a, b| Some(f64::from(a <= b))),
        "greater" => |s| s.pairs(|a, b| Some(f64::from(a > b))),
        "greater_equal" => |s| s.pairs(|a, b| Some(f64::from(a >= b))),
        "logical_and" => |s| s.pairs(|a, b| Some(f64::from(a != 0.0 && b != 0.0))),
        "logical_or" => |s| s.pairs(|a, b| Some(f64::from(a != 0.0 || b != 0.0))),
        "logical_xor" => |s| s.pairs(|a, b| Some(f64::from((a != 0.0) != (b != 0.0)))),
        "reduce_sum" => |s| s.reduce(sum),
        "reduce_prod" => |s| s.reduce(product),
        "reduce_max" => |s| s.reduce(|a, b| Some(a.max(b))),
        "reduce_min" => |s| s.reduce(|a, b| Some(a.min(b))),
        _ => return None,
    })
}

/// `a + b`, when it need not be rounded.
fn sum(a: f64, b: f64) -> Option<f64> {
    let sum = a + b;
    (sum - a == b && sum - b == a).then_some(sum)
}

/// `a * b`, when it need not be rounded.
fn product(a: f64, b: f64) -> Option<f64> {
    let product = a * b;
    (a.mul_add(b, -product) == 0.0).then_some(product)
}

/// An index into a tensor that is repeated.
fn wrap(index: &[usize], dims: &[usize]) -> Vec<usize> {
    let pairs = index.iter().zip(dims);
    pairs
        .map(|(&i, &n)| i.checked_rem(n).unwrap_or(0))
        .collect()
}

impl Scene<'_> {
    fn operand(&self, param: &str) -> Option<Tensor> {
        match self.view.op.args(param) {
            [arg] => self.argument(arg),
            _ => None,
        }
    }

    fn argument(&self, arg: &Arg) -> Option<Tensor> {
        match arg {
            Arg::Const(constant) => Tensor::of_constant(constant, self.view.blobs()),
            Arg::Value(id) => match self.sizes.values.get(id) {
                Some(known) => Some(Tensor {
                    dims: small(self.sizes.tensor(*id)?)?,
                    elements: known.elements.clone(),
                }),
                None => {
                    let constant = self.view.program.const_of(*id)?;
                    Tensor::of_constant(constant, self.view.blobs())
                }
            },
        }
    }

    /// The element at each index of the output.
    fn make(&self, mut f: impl FnMut(&[usize]) -> Option<f64>) -> Elements {
        let mut index = vec![0; self.dims.len()];
        let count: usize = self.dims.iter().product();
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(f(&index));
            for (i, &size) in index.iter_mut().zip(self.dims).rev() {
                *i += 1;
                if *i < size {
                    break;
                }
                *i = 0;
            }
        }
        elements
    }

    /// Elements of an operand, from the index that `from` gives for that of the
    /// output and the operand's shape.
    fn pick(
        &self,
        param: &str,
        from: impl Fn(&[usize], &[usize]) -> Option<Vec<usize>>,
    ) -> Option<Elements> {
        let x = self.operand(param)?;
        Some(self.make(|index| x.at(&from(index, &x.dims)?)))
    }

    fn each(&self, f: impl Fn(f64) -> Option<f64>) -> Option<Elements> {
        let x = self.operand("x")?;
        Some(x.elements.into_iter().map(|v| f(v?)).collect())
    }

    fn pairs(&self, f: impl Fn(f64, f64) -> Option<f64>) -> Option<Elements> {
        // The operand that is more likely not to be known comes first.
        let x = self.operand("x")?;
        let y = self.operand("y")?;
        Some(self.make(|index| f(x.broadcast(index)?, y.broadcast(index)?)))
    }

    fn reduce(&self, f: impl Fn(f64, f64) -> Option<f64>) -> Option<Elements> {
        let x = self.operand("x")?;
        let axes: Vec<usize> = match self.view.is_given("axes") {
            true => {
                let axes = self.view.ints("axes").ok()?.known()?.into_iter();
                axes.map(|a| axis("axes", a, x.dims.len()).ok())
                    .collect::<Option<_>>()?
            }
            false => (0..x.dims.len()).collect(),
        };
        let keep = self.view.bool("keep_dims").ok()?.known_or(false)?;
        let count: usize = self.dims.iter().product();
        // Not seen, or as far as it is known.
        let mut totals: Vec<Option<Option<f64>>> = vec![None; count];
        let mut index = vec![0; x.dims.len()];
        for &element in &x.elements {
            let mut flat = 0;
            let mut place = self.dims.iter();
            for (d, &i) in index.iter().enumerate() {
                let reduced = axes.contains(&d);
                if !reduced || keep {
                    flat = flat * place.next()? + if reduced { 0 } else { i };
                }
            }
            let total = totals.get_mut(flat)?;
            *total = Some(match *total {
                None => element,
                Some(total) => total.zip(element).and_then(|(a, b)| f(a, b)),
            });
            for (i, &size) in index.iter_mut().zip(&x.dims).rev() {
                *i += 1;
                if *i < size {
                    break;
                }
                *i = 0;
            }
        }
        Some(totals.into_iter().map(Option::flatten).collect())
    }

    fn axis(&self, rank: usize) -> Option<usize> {
        let given = self.view.int("axis").ok()?.known()?;
        axis("axis", given, rank).ok()
    }
}

fn shape(s: &Scene<'_>) -> Option<Elements> {
    let x = s.view.tensor("x").ok()?;
    Some(
        x.shape
            .iter()
            .map(|d| d.known().map(|n| n as f64))
            .collect(),
    )
}

fn same(s: &Scene<'_>) -> Option<Elements> {
    Some(s.operand("x")?.elements)
}

fn cast(s: &Scene<'_>) -> Option<Elements> {
    match s.view.dtype("dtype").ok()?.known()? {
        DataType::Bool => s.each(|v| Some(f64::from(v != 0.0))),
        dtype if dtype.is_float() => same(s),
        _ => s.each(|v| Some(v.trunc())),
    }
}

fn real_div(s: &Scene<'_>) -> Option<Elements> {
    if s.view.tensor("x").ok()?.dtype.is_int() {
        return s.pairs(|a, b| Some((a / b).trunc()).filter(|_| b != 0.0));
    }
    s.pairs(|a, b| {
        let quotient = a / b;
        (quotient.mul_add(b, -a) == 0.0).then_some(quotient)
    })
}

/// The quotient of whole numbers, rounded down. `float`: they are of a float
/// type, and the division may be rounded before that; this is only known not to
/// matter for small ones.
fn floored(a: f64, b: f64, float: bool) -> Option<f64> {
    let limit = if float { 1000.0 } else { MAX_INTEGER };
    let whole = |v: f64| v.fract() == 0.0 && v.abs() <= limit;
    (whole(a) && whole(b) && b != 0.0).then_some(())?;
    let (a, b) = (a as i64, b as i64);
    let quotient = a.checked_div(b)?;
    // Truncated so far.
    let below = a % b != 0 && (a < 0) != (b < 0);
    Some((quotient - i64::from(below)) as f64)
}

fn floor_div(s: &Scene<'_>) -> Option<Elements> {
    let float = s.view.tensor("x").ok()?.dtype.is_float();
    s.pairs(|a, b| floored(a, b, float))
}

fn modulo(s: &Scene<'_>) -> Option<Elements> {
    let float = s.view.tensor("x").ok()?.dtype.is_float();
    s.pairs(|a, b| sum(a, -product(floored(a, b, float)?, b)?))
}

fn gather(s: &Scene<'_>) -> Option<Elements> {
    let x = s.operand("x")?;
    let indices = s.operand("indices")?;
    let axis = s.axis(x.dims.len())?;
    if s.view.int("batch_dims").ok()?.known_or(0)? != 0 {
        return None;
    }
    let size = x.dims[axis] as f64;
    Some(s.make(|index| {
        let (before, rest) = index.split_at_checked(axis)?;
        let (place, after) = rest.split_at_checked(indices.dims.len())?;
        let at = indices.at(place)?;
        let at = if at < 0.0 { at + size } else { at };
        if !(0.0..size).contains(&at) {
            return None;
        }
        x.at(&[before, &[at as usize], after].concat())
    }))
}

fn slice_by_index(s: &Scene<'_>) -> Option<Elements> {
    let x = s.operand("x")?;
    let rank = x.dims.len();
    let begin = s.view.ints("begin").ok()?.known()?;
    let end = s.view.ints("end").ok()?.known()?;
    let stride = s.view.ints("stride").ok()?.known_or(vec![1; rank])?;
    let mask = |param| s.view.bools(param).ok()?.known_or(vec![false; rank]);
    let begin_mask = mask("begin_mask")?;
    let end_mask = mask("end_mask")?;
    let squeeze = mask("squeeze_mask")?;
    let mut positions: Vec<Vec<usize>> = Vec::new();
    for (d, &size) in x.dims.iter().enumerate() {
        let from = bound(&begin, &begin_mask, d)?;
        if *squeeze.get(d)? {
            positions.push(vec![axis("begin", from.unwrap_or(0), size).ok()?]);
            continue;
        }
        let to = bound(&end, &end_mask, d)?;
        let slice = slice_of(size as u64, from, to, *stride.get(d)?).ok()?;
        positions.push(slice.positions().map(|p| p as usize).collect());
    }
    Some(s.make(|index| {
        let mut own = index.iter();
        let place: Option<Vec<usize>> = positions
            .iter()
            .zip(&squeeze)
            .map(|(list, &squeezed)| match squeezed {
                true => list.first().copied(),
                false => list.get(*own.next()?).copied(),
            })
            .collect();
        x.at(&place?)
    }))
}

/// The bound of a dimension; `Some(None)` when it is masked.
fn bound(list: &[i64], mask: &[bool], d: usize) -> Option<Option<i64>> {
    let given = *list.get(d)?;
    Some((!mask.get(d)?).then_some(given))
}

fn slice_by_size(s: &Scene<'_>) -> Option<Elements> {
    let begin = s.view.ints("begin").ok()?.known()?;
    s.pick("x", |index, dims| {
        let mut place = Vec::with_capacity(dims.len());
        for (d, &size) in dims.iter().enumerate() {
            let from = axis("begin", *begin.get(d)?, size).ok()?;
            place.push(from.checked_add(*index.get(d)?)?);
        }
        Some(place)
    })
}

fn transpose(s: &Scene<'_>) -> Option<Elements> {
    let perm = s.view.ints("perm").ok()?.known()?;
    s.pick("x", |index, dims| {
        let mut place = vec![0; dims.len()];
        for (&i, &p) in index.iter().zip(&perm) {
            *place.get_mut(axis("perm", p, dims.len()).ok()?)? = i;
        }
        Some(place)
    })
}

/// Operands of which some may be unknown altogether, with their shapes.
fn parts(s: &Scene<'_>) -> Option<Vec<Tensor>> {
    let part = |arg: &Arg| {
        s.argument(arg).or_else(|| {
            let dims = small(s.view.arg_type(arg).as_tensor()?)?;
            let count = dims.iter().product();
            Some(Tensor {
                dims,
                elements: vec![None; count],
            })
        })
    };
    s.view.op.args("values").iter().map(part).collect()
}

fn concat(s: &Scene<'_>) -> Option<Elements> {
    let parts = parts(s)?;
    if s.view.bool("interleave").ok()?.known_or(false)? {
        return None;
    }
    if parts.iter().all(|part| part.dims.is_empty()) {
        // Scalars are joined as vectors of one element.
        return Some(parts.iter().map(|part| part.at(&[])).collect());
    }
    let axis = s.axis(s.dims.len())?;
    Some(s.make(|index| {
        let mut place = index.to_vec();
        for part in &parts {
            let size = *part.dims.get(axis)?;
            if place[axis] < size {
                return part.at(&place);
            }
            place[axis] -= size;
        }
        None
    }))
}

fn stack(s: &Scene<'_>) -> Option<Elements> {
    let parts = parts(s)?;
    let axis = s.axis(s.dims.len())?;
    Some(s.make(|index| {
        let mut place = index.to_vec();
        parts.get(place.remove(axis))?.at(&place)
    }))
}

fn split(s: &Scene<'_>) -> Option<Elements> {
    let x = s.operand("x")?;
    let axis = s.axis(x.dims.len())?;
    let mut before = 0;
    for &earlier in &s.view.op.outputs[..s.n] {
        before += *small(s.sizes.tensor(earlier)?)?.get(axis)?;
    }
    Some(s.make(|index| {
        let mut place = index.to_vec();
        *place.get_mut(axis)? += before;
        x.at(&place)
    }))
}

fn fill(s: &Scene<'_>) -> Option<Elements> {
    let value = s.view.float("value").ok()?.known_or(0.0)?;
    Some(s.make(|_| Some(value)))
}

fn range(s: &Scene<'_>) -> Option<Elements> {
    let start = s.view.float("start").ok()?.known()?;
    let step = s.view.float("step").ok()?.known()?;
    Some(s.make(|index| sum(start, product(*index.first()? as f64, step)?)))
}

fn select(s: &Scene<'_>) -> Option<Elements> {
    let condition = s.operand("cond")?;
    let a = s.operand("a");
    let b = s.operand("b");
    Some(s.make(|index| {
        let chosen = match condition.broadcast(index)? == 0.0 {
            true => &b,
            false => &a,
        };
        chosen.as_ref()?.broadcast(index)
    }))
}
