//! Parts of constants along one dimension: of plain ones, as ranges of what
//! the file has where that is possible, and of compressed ones.

use milwright_ir::{
    Arg, BlobRange, BlobSource, ConstData, Constant, DataType, Dim, Op, OpView, Program,
    TensorData, TensorType, ValueId,
};

use crate::error::Error;
use crate::replacement::Replacement;

/// How a weight can be divided along a dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Divisible {
    /// Parts begin at multiples of that many elements.
    pub(crate) unit: u64,
    /// What becomes of its bytes, for people.
    pub(crate) fate: &'static str,
}

const RANGES: &str = "ranges of the same bytes";
const COPIES: &str = "copied, because the parts do not lie together";
const COMPRESSED: &str = "compressed as before, in parts";

/// How a weight, constant or compressed, can be divided along a dimension.
///
/// # Errors
/// Why it cannot, for people.
pub(crate) fn divisible(
    program: &Program,
    arg: &Arg,
    axis: usize,
    blobs: &dyn BlobSource,
) -> Result<Divisible, String> {
    if let Some(constant) = program.const_arg(arg) {
        return divisible_constant(constant, axis);
    }
    let Arg::Value(value) = arg else {
        return Err("it is no tensor".into());
    };
    let Some(op) = program.def_op(*value) else {
        return Err("it is known only when the program runs".into());
    };
    let view = OpView::new(program, op, blobs);
    let steps = Steps::of(&view, axis)?;
    let mut unit = 1;
    for (param, part) in &steps.params {
        let Some(constant) = view.constant(param) else {
            return Err(format!(
                "it is compressed, and its `{param}` is compressed once more"
            ));
        };
        let inner = divisible_constant(constant, part.axis)?;
        // Elements of the result for each of what the parameter can be divided into.
        let elements = inner.unit.checked_mul(part.per).ok_or("it is too large")?;
        unit = lcm(unit, elements).ok_or("it is too large")?;
    }
    if let Some(flat) = &steps.flat {
        unit = lcm(unit, flat.unit()).ok_or("it is too large")?;
    }
    Ok(Divisible {
        unit,
        fate: COMPRESSED,
    })
}

/// A part of a weight that is divisible there, as a value.
///
/// # Errors
/// It cannot be read.
pub(crate) fn part(
    r: &mut Replacement<'_, '_>,
    arg: &Arg,
    axis: usize,
    (from, to): (u64, u64),
    hint: &str,
) -> Result<ValueId, Error> {
    let blobs = r.rewriter().blobs();
    let program = r.rewriter().program();
    if let Some(constant) = program.const_arg(arg) {
        let part = part_of(constant, axis, (from, to), blobs).map_err(|e| r.fail(e))?;
        return r.constant(hint, part);
    }
    let Some(id) = (match arg {
        Arg::Value(value) => program.def_op(*value),
        Arg::Const(_) => None,
    }) else {
        return Err(r.fail("a part of what is no constant"));
    };
    let view = OpView::new(program, id, blobs);
    let steps = Steps::of(&view, axis).map_err(|e| r.fail(e))?;
    let mut changed: Vec<(&'static str, Constant)> = Vec::new();
    for (param, at) in &steps.params {
        let Some(constant) = view.constant(param) else {
            return Err(r.fail("a part of what is no constant"));
        };
        let range = (from / at.per, to / at.per);
        let part = part_of(constant, at.axis, range, blobs).map_err(|e| r.fail(e))?;
        changed.push((param, part));
    }
    if let Some(flat) = &steps.flat {
        changed.extend(flat.part(&view, (from, to)).map_err(|e| r.fail(e))?);
    }
    let old = &program.ops[id];
    let mut op = Op::new(old.op_type.clone());
    op.inputs = old.inputs.clone();
    op.attributes = old.attributes.clone();
    op.attributes.retain(|(name, _)| name != "name");
    for (param, constant) in changed {
        if let Some((_, attribute)) = op.attributes.iter_mut().find(|(n, _)| n == param) {
            *attribute = constant;
        } else if let Some(at) = op.inputs.iter().position(|(n, _)| n == param) {
            let value = r.constant(param, constant)?;
            op.inputs[at].1 = vec![Arg::Value(value)];
        }
    }
    r.add(op, hint)
}

fn divisible_constant(constant: &Constant, axis: usize) -> Result<Divisible, String> {
    let (outer, row) = extents(constant, axis)?;
    if outer == 1 {
        return Ok(Divisible {
            unit: bytes_unit(row),
            fate: match constant.data {
                ConstData::Tensor(_) => COPIES,
                _ => RANGES,
            },
        });
    }
    if !row.is_multiple_of(8) {
        return Err("its elements are smaller than a byte and do not lie together".into());
    }
    Ok(Divisible {
        unit: 1,
        fate: COPIES,
    })
}

/// How many elements of that many bits are whole bytes.
fn bytes_unit(bits: u64) -> u64 {
    match bits % 8 {
        0 => 1,
        2 | 6 => 4,
        4 => 2,
        _ => 8,
    }
}

/// How often the dimension occurs, and the bits of one of its elements.
fn extents(constant: &Constant, axis: usize) -> Result<(u64, u64), String> {
    let ty = constant.tensor_type().ok_or("it is no tensor")?;
    let shape = ty.known_shape().ok_or("its shape is not fixed")?;
    if axis >= shape.len() || shape.contains(&0) {
        return Err(format!("it is {ty}"));
    }
    let product = |dims: &[u64]| dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
    let bits = ty.dtype.bits().ok_or("its elements have no fixed width")?;
    let row = product(&shape[axis + 1..]).and_then(|n| n.checked_mul(bits));
    let (outer, row) = product(&shape[..axis]).zip(row).ok_or("it is too large")?;
    Ok((outer, row))
}

/// The elements `from..to` of a dimension.
fn part_of(
    constant: &Constant,
    axis: usize,
    (from, to): (u64, u64),
    blobs: &dyn BlobSource,
) -> Result<Constant, String> {
    let (outer, row) = extents(constant, axis)?;
    let ty = constant.tensor_type().ok_or("it is no tensor")?;
    let mut shape = ty.known_shape().ok_or("its shape is not fixed")?;
    let size = std::mem::replace(&mut shape[axis], to.saturating_sub(from));
    if from >= to || to > size {
        return Err(format!("{from}..{to} of {size} elements"));
    }
    let ty = TensorType::fixed(ty.dtype, &shape);
    let at = |n: u64| n.checked_mul(row).map(|bits| bits / 8);
    let (Some(start), Some(end), Some(step)) = (at(from), at(to), at(size)) else {
        return Err("it is too large".into());
    };
    let data = match &constant.data {
        ConstData::Blob(blob) if outer == 1 => ConstData::Range(BlobRange {
            blob: blob.clone(),
            start,
        }),
        ConstData::Range(range) if outer == 1 => ConstData::Range(BlobRange {
            blob: range.blob.clone(),
            start: range.start.checked_add(start).ok_or("it is too large")?,
        }),
        _ => {
            let bytes = constant.bytes(blobs).map_err(|e| e.to_string())?;
            let step = usize::try_from(step).map_err(|e| e.to_string())?;
            let end = if outer == 1 {
                ty_bytes(&ty).and_then(|n| start.checked_add(n))
            } else {
                Some(end)
            };
            let end = end.ok_or("it is too large")?;
            let mut made = Vec::new();
            for row in bytes.chunks_exact(if outer == 1 { bytes.len() } else { step }.max(1)) {
                let part = row.get(start as usize..end as usize);
                made.extend_from_slice(part.ok_or("it is shorter than it says")?);
            }
            ConstData::New(made.into())
        }
    };
    Ok(Constant::new(ty, data))
}

fn ty_bytes(ty: &TensorType) -> Option<u64> {
    ty.dtype.byte_len(ty.elements()?)
}

/// Which parameters of a compressed weight a part takes parts of.
struct Steps {
    params: Vec<(&'static str, Along)>,
    flat: Option<Flat>,
}

/// Along which of its dimensions, and how many elements of the result one of
/// its elements stands for.
struct Along {
    axis: usize,
    per: u64,
}

/// A palette up to iOS 17: packed indices beside the shape of the result.
struct Flat {
    shape: Vec<u64>,
    /// Bits of the indices of one element of the dimension.
    row: u64,
}

impl Flat {
    fn unit(&self) -> u64 {
        bytes_unit(self.row)
    }

    fn part(
        &self,
        view: &OpView<'_>,
        (from, to): (u64, u64),
    ) -> Result<Vec<(&'static str, Constant)>, String> {
        let indices = view
            .constant("indices")
            .ok_or("its indices are not constant")?;
        let old = view.constant("shape").ok_or("its shape is not constant")?;
        let bytes = |n: u64| n.checked_mul(self.row).map(|bits| bits.div_ceil(8));
        let (from_byte, to_byte) = bytes(from).zip(bytes(to)).ok_or("it is too large")?;
        let indices = part_of(indices, 0, (from_byte, to_byte), view.blobs())?;
        let mut shape = self.shape.clone();
        shape[0] = to - from;
        let sizes = shape.iter().map(|&d| u32::try_from(d));
        let sizes: Vec<u32> = sizes.collect::<Result<_, _>>().map_err(|e| e.to_string())?;
        let data = match &old.data {
            ConstData::Tensor(TensorData::Ints(_)) => {
                TensorData::Ints(sizes.iter().map(|&d| d as i32).collect())
            }
            _ => TensorData::Bytes(sizes.iter().flat_map(|d| d.to_le_bytes()).collect()),
        };
        let ty = TensorType::fixed(DataType::UInt32, &[sizes.len() as u64]);
        Ok(vec![
            ("indices", indices),
            ("shape", Constant::tensor(ty, data)),
        ])
    }
}

impl Steps {
    fn of(view: &OpView<'_>, axis: usize) -> Result<Self, String> {
        let mut steps = Steps {
            params: Vec::new(),
            flat: None,
        };
        let text = |e: milwright_ir::ParamError| e.to_string();
        let tensor = |param| view.tensor(param).map_err(text);
        let shape = |param| -> Result<Vec<u64>, String> {
            tensor(param)?
                .known_shape()
                .ok_or_else(|| format!("its `{param}` is not fixed"))
        };
        match view.op.op_type.as_str() {
            "constexpr_cast" => steps.params.push(("source_val", Along { axis, per: 1 })),
            "constexpr_affine_dequantize" => {
                let rank = tensor("quantized_data")?.shape.len() as i64;
                steps
                    .params
                    .push(("quantized_data", Along { axis, per: 1 }));
                let own = view.int("axis").map_err(text)?.known();
                let own = own.ok_or("its `axis` is not constant")?;
                let own = if own < 0 { own + rank } else { own };
                for param in ["scale", "zero_point"] {
                    if !tensor(param)?.shape.is_empty() && own == axis as i64 {
                        steps.params.push((param, Along { axis: 0, per: 1 }));
                    }
                }
            }
            "constexpr_blockwise_shift_scale" => {
                let data = shape("data")?;
                steps.params.push(("data", Along { axis, per: 1 }));
                for param in ["scale", "offset"] {
                    if view.is_given(param) {
                        steps.blocks(param, &data, &shape(param)?, axis)?;
                    }
                }
            }
            "constexpr_lut_to_dense" if view.is_given("shape") => {
                if axis > 0 {
                    return Err("it is a palette of packed indices that do not lie together".into());
                }
                let result = view.value_type(view.op.outputs[0]).as_tensor();
                let result = result.and_then(TensorType::known_shape);
                let result = result
                    .filter(|s| !s.is_empty())
                    .ok_or("its shape is not fixed")?;
                let entries = tensor("lut")?.elements().filter(|n| n.is_power_of_two());
                let bits = entries.ok_or("its palette is not a power of two")?.ilog2();
                let row = result[1..]
                    .iter()
                    .try_fold(u64::from(bits), |n, &d| n.checked_mul(d));
                steps.flat = Some(Flat {
                    row: row.ok_or("it is too large")?,
                    shape: result,
                });
            }
            "constexpr_lut_to_dense" => {
                let indices = shape("indices")?;
                let lut = shape("lut")?;
                if lut.last().is_some_and(|&vector| vector > 1)
                    && view.int("vector_axis").map_err(text)?.known() != Some(1 - axis as i64)
                {
                    return Err("it is a palette of vectors".into());
                }
                steps.params.push(("indices", Along { axis, per: 1 }));
                steps.blocks("lut", &indices, &lut, axis)?;
            }
            "constexpr_sparse_to_dense"
            | "constexpr_lut_to_sparse"
            | "constexpr_sparse_blockwise_shift_scale" => {
                return Err(
                    "it is sparse: where a part begins among its elements is known only by counting"
                        .into(),
                );
            }
            other => return Err(format!("it is the result of `{other}`")),
        }
        Ok(steps)
    }

    /// A parameter that has one element for each block.
    fn blocks(
        &mut self,
        param: &'static str,
        data: &[u64],
        blocks: &[u64],
        axis: usize,
    ) -> Result<(), String> {
        let (Some(&size), Some(&count)) = (data.get(axis), blocks.get(axis)) else {
            return Err(format!("its `{param}` has another rank"));
        };
        if count == 1 {
            return Ok(());
        }
        if count == 0 || !size.is_multiple_of(count) {
            return Err(format!(
                "its `{param}` has {count} blocks for {size} elements"
            ));
        }
        let per = size / count;
        self.params.push((param, Along { axis, per }));
        Ok(())
    }
}

/// The smallest multiple of both, if it is not too large.
pub(crate) fn lcm(a: u64, b: u64) -> Option<u64> {
    let (mut x, mut y) = (a, b);
    while y > 0 {
        (x, y) = (y, x % y);
    }
    (a / x.max(1)).checked_mul(b)
}

/// The size of a dimension of an argument, if it is fixed.
pub(crate) fn size_of(program: &Program, arg: &Arg, axis: usize) -> Option<u64> {
    let ty = program.arg_type(arg).as_tensor()?;
    ty.shape.get(axis).copied().and_then(Dim::known)
}
