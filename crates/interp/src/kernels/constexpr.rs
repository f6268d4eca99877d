//! `constexpr_*`: constants that are stored compressed.
//!
//! Layouts and formulas are those of coremltools 9.0 (`iOS16/constexpr_ops.py`,
//! `iOS18/compression.py`). Up to iOS 17, sub-byte values come packed in bytes,
//! least significant bits first; from iOS 18 on they have types of their own
//! and are unpacked when the constant is read.

use candle_core::{DType, Tensor};

use super::build::{CHEAP, Element, build, fill, reserve, tensor, with_element};
use super::cast::converted;
use super::check::{Result, axis as checked_axis, bad, elements, need, size};
use super::float::{Float, with_float};
use super::layout::{contiguous, integers_of, to_vec};
use super::runs::{Place, RUN, Runs, run_of};
use crate::call::{Call, Outputs};
use crate::value;

/// A tensor of numbers in the type that holds floats.
fn floats(call: &Call<'_>, x: &value::Tensor) -> Result<Tensor> {
    converted(&x.data, x.dtype, milwright_ir::DataType::Float32, call.precision)
}

pub(crate) fn constexpr_affine_dequantize(call: &Call<'_>) -> Outputs {
    let data = call.tensor("quantized_data")?;
    let zero_point = floats(call, &call.tensor("zero_point")?)?;
    let scale = floats(call, &call.tensor("scale")?)?;
    let axis = need("axis", call.int("axis")?)?;
    let axis = checked_axis("axis", axis, data.data.rank())?;
    let scale = along_axis("scale", &scale, data.dims(), axis)?;
    let zero_point = along_axis("zero_point", &zero_point, data.dims(), axis)?;
    call.one(shifted_and_scaled(&floats(call, &data)?, &scale, Some(&zero_point))?)
}

/// A scalar or vector parameter, shaped like the data with size 1 everywhere
/// but along `axis`.
fn along_axis(name: &str, param: &Tensor, dims: &[usize], axis: usize) -> Result<Tensor> {
    let count = param.elem_count();
    if param.rank() > 1 || (count != 1 && count != dims[axis]) {
        return Err(bad(
            name,
            format_args!(
                "has shape {:?}, expected a scalar or a vector of the {} elements along axis {axis}",
                param.dims(),
                dims[axis]
            ),
        ));
    }
    let mut shape = vec![1; dims.len()];
    shape[axis] = count;
    Ok(contiguous(param)?.reshape(shape)?)
}

pub(crate) fn constexpr_blockwise_shift_scale(call: &Call<'_>) -> Outputs {
    let data = floats(call, &call.tensor("data")?)?;
    let scale = floats(call, &call.tensor("scale")?)?;
    let offset = call.opt_tensor("offset")?.map(|t| floats(call, &t)).transpose()?;
    call.one(shifted_and_scaled(&data, &scale, offset.as_ref())?)
}

pub(crate) fn constexpr_sparse_blockwise_shift_scale(call: &Call<'_>) -> Outputs {
    let mask = call.tensor("data_mask")?;
    let scale = floats(call, &call.tensor("scale")?)?;
    let offset = call.opt_tensor("offset")?.map(|t| floats(call, &t)).transpose()?;
    let bits = bits_of("data_mask", &mask.data)?;
    let nonzero = floats(call, &call.tensor("nonzero_data")?)?;
    let dense = spread("nonzero_data", &nonzero, &bits, mask.dims())?;
    let dense = shifted_and_scaled(&dense, &scale, offset.as_ref())?;
    Ok(vec![
        call.output(0, mask.data)?,
        call.output(1, kept(&dense, &bits)?)?,
    ])
}

pub(crate) fn constexpr_lut_to_dense(call: &Call<'_>) -> Outputs {
    let indices = call.tensor("indices")?.data;
    let lut = call.tensor("lut")?.data;
    // Up to iOS 17 the indices are packed and the shape is given.
    if call.is_given("shape") {
        let shape = shape_of(call)?;
        if lut.rank() != 1 || !lut.elem_count().is_power_of_two() || lut.elem_count() > 256 {
            return Err(bad(
                "lut",
                format_args!(
                    "has shape {:?}, expected a vector of a power of two up to 256",
                    lut.dims()
                ),
            ));
        }
        let bits = lut.elem_count().trailing_zeros() as usize;
        let indices = unpacked("indices", &indices, bits, &shape)?;
        let mut dims = vec![1; shape.len()];
        dims.extend([lut.elem_count(), 1]);
        let lut = contiguous(&lut)?.reshape(dims)?;
        return call.one(looked_up(&indices, &lut, None)?);
    }
    call.one(looked_up(&indices, &lut, call.int("vector_axis")?)?)
}

pub(crate) fn constexpr_lut_to_sparse(call: &Call<'_>) -> Outputs {
    let mask = call.tensor("indices_mask")?;
    let bits = bits_of("indices_mask", &mask.data)?;
    let nonzero = call.tensor("indices_nonzero_data")?.data;
    let lut = call.tensor("lut")?.data;
    let axis = call.int("vector_axis")?;
    let indices = spread("indices_nonzero_data", &nonzero, &bits, mask.dims())?;
    let dense = looked_up(&indices, &lut, axis)?;
    // The mask grows as the values do.
    let vector = *lut.dims().last().unwrap_or(&1);
    let mut out_mask = mask.data.clone();
    if let Some(axis) = axis {
        let axis = checked_axis("vector_axis", axis, mask.data.rank())?;
        let expanded = mask.data.unsqueeze(axis + 1)?;
        let mut reps = vec![1; expanded.rank()];
        reps[axis + 1] = vector as i64;
        out_mask = super::shape::with_dims(&super::join::tiled(&expanded, &reps)?, dense.dims())?;
    }
    let bits = bits_of("indices_mask", &out_mask)?;
    Ok(vec![
        call.output(0, out_mask)?,
        call.output(1, kept(&dense, &bits)?)?,
    ])
}

pub(crate) fn constexpr_sparse_to_dense(call: &Call<'_>) -> Outputs {
    let nonzero = call.tensor("nonzero_data")?.data;
    let mask = call.tensor("mask")?.data;
    // Up to iOS 17 the mask is packed and the shape is given.
    let (mask, dims) = if call.is_given("shape") {
        let shape = shape_of(call)?;
        (unpacked("mask", &mask, 1, &shape)?, shape)
    } else {
        let dims = mask.dims().to_vec();
        (mask, dims)
    };
    let bits = bits_of("mask", &mask)?;
    call.one(spread("nonzero_data", &nonzero, &bits, &dims)?)
}

pub(crate) fn constexpr_cast(call: &Call<'_>) -> Outputs {
    let source = call.tensor("source_val")?;
    call.one(converted(&source.data, source.dtype, call.output_dtype(0)?, call.precision)?)
}

fn shape_of(call: &Call<'_>) -> Result<Vec<usize>> {
    need("shape", call.ints("shape")?)?
        .into_iter()
        .map(|d| size("shape", d))
        .collect()
}

/// Unsigned integers of `bits` bits, packed from the least significant bit up,
/// as a uint8 tensor of shape `dims`.
fn unpacked(name: &str, packed: &Tensor, bits: usize, dims: &[usize]) -> Result<Tensor> {
    let count = elements("shape", dims)?;
    let bytes = to_vec::<u8>(packed)?;
    let expected = (count as u128 * bits as u128).div_ceil(8);
    if bytes.len() as u128 != expected {
        return Err(bad(
            name,
            format_args!(
                "has {} bytes, expected {expected} for {count} values of {bits} bits",
                bytes.len()
            ),
        ));
    }
    let out = match bits {
        // A table of one entry: nothing is stored.
        0 => vec![0; count],
        8 => bytes,
        _ => {
            let mask = (1u16 << bits) - 1;
            let mut out = reserve(count)?;
            let (mut word, mut have) = (0u16, 0);
            let mut rest = bytes.iter();
            for _ in 0..count {
                if have < bits {
                    // Counted above: there is a byte for every bit.
                    word |= u16::from(*rest.next().unwrap_or(&0)) << have;
                    have += 8;
                }
                out.push((word & mask) as u8);
                word >>= bits;
                have -= bits;
            }
            out
        }
    };
    tensor(out, dims)
}

/// A mask as one bool per element.
fn bits_of(name: &str, mask: &Tensor) -> Result<Vec<bool>> {
    match mask.dtype() {
        DType::U8 => Ok(to_vec::<u8>(mask)?.into_iter().map(|b| b != 0).collect()),
        other => Err(bad(name, format_args!("is held as {other:?}, expected bits"))),
    }
}

/// A tensor of zeros, with the values of `nonzero` in order where a bit is set.
fn spread(name: &str, nonzero: &Tensor, bits: &[bool], dims: &[usize]) -> Result<Tensor> {
    fn run<T: Element>(
        name: &str,
        nonzero: &Tensor,
        bits: &[bool],
        dims: &[usize],
    ) -> Result<Tensor> {
        let set = bits.iter().filter(|&&b| b).count();
        let values = to_vec::<T>(nonzero)?;
        if nonzero.rank() != 1 || values.len() != set || elements("shape", dims)? != bits.len() {
            return Err(bad(
                name,
                format_args!(
                    "has shape {:?}, but {set} of {} bits are set for a tensor of shape {dims:?}",
                    nonzero.dims(),
                    bits.len()
                ),
            ));
        }
        let mut values = values.into_iter();
        let out = bits
            .iter()
            .map(|&bit| match bit {
                true => values.next().unwrap_or(T::ZERO),
                false => T::ZERO,
            })
            .collect();
        tensor(out, dims)
    }
    with_element!(nonzero, T => run::<T>(name, nonzero, bits, dims))
}

/// The elements where a bit is set, as a vector.
fn kept(dense: &Tensor, bits: &[bool]) -> Result<Tensor> {
    fn run<T: Element>(dense: &Tensor, bits: &[bool]) -> Result<Tensor> {
        let all = to_vec::<T>(dense)?;
        let some: Vec<T> = all
            .into_iter()
            .zip(bits)
            .filter_map(|(v, &bit)| bit.then_some(v))
            .collect();
        let count = some.len();
        tensor(some, &[count])
    }
    with_element!(dense, T => run::<T>(dense, bits))
}

/// Each dimension of `dims` as blocks and places in a block, where `blocks`
/// says how many blocks there are.
fn split_blocks(name: &str, dims: &[usize], blocks: &[usize]) -> Result<Vec<usize>> {
    let fits = dims.len() == blocks.len()
        && dims
            .iter()
            .zip(blocks)
            .all(|(&d, &b)| b > 0 && d.is_multiple_of(b));
    if !fits {
        return Err(bad(
            name,
            format_args!("the blocks {blocks:?} do not divide the shape {dims:?}"),
        ));
    }
    Ok(dims
        .iter()
        .zip(blocks)
        .flat_map(|(&d, &b)| [b, d / b])
        .collect())
}

/// Row-major strides of a shape.
fn strides(dims: &[usize]) -> Vec<isize> {
    let mut out = vec![0; dims.len()];
    let mut step = 1;
    for (stride, &dim) in out.iter_mut().zip(dims).rev() {
        *stride = step;
        step *= dim as isize;
    }
    out
}

/// `scale * (data - offset)`, where one element of `scale` and `offset` holds
/// for a block of `data`.
///
/// # Errors
/// When the shape of `scale` does not divide that of `data`, or `offset` has
/// another shape. `offset` may have one element where `scale` has several, and
/// the other way round, if that is the whole of a dimension.
fn shifted_and_scaled(data: &Tensor, scale: &Tensor, offset: Option<&Tensor>) -> Result<Tensor> {
    let dims = data.dims();
    // The finer of the two divisions holds for both.
    let blocks: Vec<usize> = match offset {
        Some(offset) if offset.rank() == scale.rank() => {
            let both = scale.dims().iter().zip(offset.dims());
            both.map(|(&a, &b)| a.max(b)).collect()
        }
        _ => scale.dims().to_vec(),
    };
    let split = split_blocks("scale", dims, &blocks)?;
    let place = |name: &str, param: &Tensor| -> Result<Place> {
        let fits = param.rank() == blocks.len()
            && param.dims().iter().zip(&blocks).all(|(&p, &b)| p == b || p == 1);
        if !fits {
            return Err(bad(
                name,
                format_args!("has shape {:?}, expected {blocks:?}", param.dims()),
            ));
        }
        let own = strides(param.dims());
        Ok(Place {
            offset: 0,
            strides: param
                .dims()
                .iter()
                .zip(own)
                .flat_map(|(&p, s)| [if p == 1 { 0 } else { s }, 0])
                .collect(),
        })
    };
    let scale_place = place("scale", scale)?;
    let offset_place = match offset {
        Some(offset) => place("offset", offset)?,
        None => Place {
            offset: 0,
            strides: vec![0; split.len()],
        },
    };
    let data_place = Place {
        offset: 0,
        strides: strides(&split),
    };
    let runs = Runs::new(&split, [&data_place, &scale_place, &offset_place]);
    with_float!("data", data, T => scaled_runs::<T>(data, scale, offset, &runs))
}

/// The values of [`shifted_and_scaled`], run by run.
fn scaled_runs<T: Float>(
    data: &Tensor,
    scale: &Tensor,
    offset: Option<&Tensor>,
    runs: &Runs<3>,
) -> Result<Tensor> {
    let values = to_vec::<T>(data)?;
    let scales = to_vec::<T>(scale)?;
    let offsets = match offset {
        Some(offset) => to_vec::<T>(offset)?,
        None => vec![T::ZERO],
    };
    let steps = runs.steps();
    let out = fill(values.len(), CHEAP, &|start, out| {
        let [mut first, mut second] = [[T::ZERO; RUN]; 2];
        runs.pieces(start, out, |out, [i, j, k], part| {
            let values = &values[i + part.start..];
            let scales = run_of(&scales, steps[1], j, part.clone(), &mut first);
            let offsets = run_of(&offsets, steps[2], k, part, &mut second);
            for (((out, &v), &scale), &offset) in
                out.iter_mut().zip(values).zip(scales).zip(offsets)
            {
                *out = scale * (v - offset);
            }
        });
    })?;
    tensor(out, data.dims())
}

/// The entries of `lut` (`[blocks.., entries, vector]`) that `indices` name.
/// Where an entry is a vector, it lies along `vector_axis`.
///
/// # Errors
/// When the blocks do not divide the shape of the indices, an index is beyond
/// the table, or `vector_axis` is missing or out of range.
fn looked_up(indices: &Tensor, lut: &Tensor, vector_axis: Option<i64>) -> Result<Tensor> {
    let dims = indices.dims();
    let rank = dims.len();
    if lut.rank() != rank + 2 {
        return Err(bad(
            "lut",
            format_args!(
                "has rank {}, expected two more than the {rank} of the indices",
                lut.rank()
            ),
        ));
    }
    let (blocks, entry) = lut.dims().split_at(rank);
    let (entries, vector) = (entry[0], entry[1]);
    let named = integers_of("indices", indices)?;
    if let Some(&beyond) = named.iter().find(|&&i| i < 0 || i >= entries as i64) {
        return Err(bad(
            "indices",
            format_args!("index {beyond} is outside the table of {entries} entries"),
        ));
    }
    let axis = match vector_axis {
        Some(axis) => checked_axis("vector_axis", axis, rank)?,
        None if vector == 1 => rank.saturating_sub(1),
        None => return Err(bad("vector_axis", "is missing; the entries are vectors")),
    };
    let mut out_dims = dims.to_vec();
    if let Some(dim) = out_dims.get_mut(axis) {
        *dim = super::check::times("lut", *dim, vector)?;
    }
    let count = elements("lut", &out_dims)?;
    // Blocks, places in a block, and behind the vector's axis its elements.
    let mut split = split_blocks("lut", dims, blocks)?;
    let mut index_strides = strides(&split);
    let mut lut_strides: Vec<isize> = strides(lut.dims())[..rank]
        .iter()
        .flat_map(|&s| [s, 0])
        .collect();
    let at = (2 * axis + 2).min(split.len());
    split.insert(at, vector);
    index_strides.insert(at, 0);
    lut_strides.insert(at, 1);
    fn run<T: Element>(
        named: &[i64],
        lut: &Tensor,
        split: &[usize],
        places: [&Place; 2],
        vector: usize,
        count: usize,
        out_dims: &[usize],
    ) -> Result<Tensor> {
        let table = to_vec::<T>(lut)?;
        let runs = Runs::new(split, places);
        let steps = runs.steps();
        let data = build(
            count,
            CHEAP,
            #[inline(always)]
            |range, out: &mut Vec<T>| {
                runs.for_each(
                    range,
                    #[inline(always)]
                    |len, [i, t]| match steps {
                        [1, 0] => out.extend(
                            named[i..i + len]
                                .iter()
                                .map(|&n| table[t + n as usize * vector]),
                        ),
                        [0, 1] => {
                            let start = t + named[i] as usize * vector;
                            out.extend_from_slice(&table[start..start + len]);
                        }
                        [a, b] => out.extend((0..len).map(|k| {
                            let n = named[i + k * a as usize] as usize;
                            table[t + k * b as usize + n * vector]
                        })),
                    },
                );
            },
        )?;
        tensor(data, out_dims)
    }
    let places = [
        &Place {
            offset: 0,
            strides: index_strides,
        },
        &Place {
            offset: 0,
            strides: lut_strides,
        },
    ];
    with_element!(lut, T => run::<T>(&named, lut, &split, places, vector, count, &out_dims))
}

#[cfg(test)]
mod tests;
