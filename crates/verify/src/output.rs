//! What a model gives, as arrays.

use milwright_interp::{Tensor, Value};
use milwright_ir::DataType;

use crate::array::{Array, Data};
use crate::error::Error;

/// An output of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Name of the feature.
    pub name: String,
    /// Element type that the program declares.
    pub dtype: DataType,
    /// The values, as computed: floats are `float32` whatever is declared,
    /// `float64` in [`Precision::Fp64`](milwright_interp::Precision::Fp64).
    pub array: Array,
}

/// The arrays of a step's values. Of a classifier's dictionary, the numbers in
/// the order of the classes; text has no array and is left out, see [`texts`].
///
/// # Errors
/// [`Error::Output`] when one is a list or a state.
pub fn outputs(values: Vec<(String, Value)>) -> Result<Vec<Output>, Error> {
    values
        .into_iter()
        .filter(|(_, value)| !matches!(value, Value::Strings(_)))
        .map(|(name, value)| match value {
            Value::Tensor(t) => Ok(Output {
                array: to_array(&t).ok_or_else(|| Error::Output {
                    name: name.clone(),
                    what: "of a type without arrays",
                })?,
                name,
                dtype: t.dtype,
            }),
            Value::Strings(_) => Err(Error::Output { name, what: "text" }),
            Value::List(_) => Err(Error::Output {
                name,
                what: "a list",
            }),
            Value::Dict(entries) => {
                let (count, numbers) = (entries.len(), entries.into_iter().map(|(_, v)| v));
                Ok(Output {
                    array: Array::new(vec![count], Data::Float64(numbers.collect())).ok_or_else(
                        || Error::Output {
                            name: name.clone(),
                            what: "a dictionary",
                        },
                    )?,
                    name,
                    dtype: DataType::Float64,
                })
            }
            Value::State(_) => Err(Error::Output {
                name,
                what: "a state",
            }),
        })
        .collect()
}

/// The values that are text, such as the class of a classifier.
pub fn texts(values: &[(String, Value)]) -> Vec<(String, String)> {
    let text = |(name, value): &(String, Value)| match value {
        Value::Strings(lines) => Some((name.clone(), lines.join(", "))),
        _ => None,
    };
    values.iter().filter_map(text).collect()
}

/// Copies a tensor of a running program. Integers get the declared width.
/// `None` for a type that arrays do not have.
pub fn to_array(tensor: &Tensor) -> Option<Array> {
    use candle_core::DType;
    let flat = tensor.data.flatten_all().ok()?;
    let data = match (tensor.dtype, flat.dtype()) {
        (_, DType::F32) => Data::Float32(flat.to_vec1().ok()?),
        (_, DType::F64) => Data::Float64(flat.to_vec1().ok()?),
        (DataType::Bool, DType::U8) => {
            Data::Bool(flat.to_vec1::<u8>().ok()?.iter().map(|&b| b != 0).collect())
        }
        (_, DType::U8) => Data::Uint8(flat.to_vec1().ok()?),
        (DataType::Int8, DType::I32) => Data::Int8(narrowed::<i32, _>(&flat)?),
        (DataType::Int16, DType::I32) => Data::Int16(narrowed::<i32, _>(&flat)?),
        (DataType::UInt16, DType::I32) => Data::Uint16(narrowed::<i32, _>(&flat)?),
        (_, DType::I32) => Data::Int32(flat.to_vec1().ok()?),
        (DataType::UInt32, DType::I64) => Data::Uint32(narrowed::<i64, _>(&flat)?),
        (_, DType::I64) => Data::Int64(flat.to_vec1().ok()?),
        _ => return None,
    };
    Array::new(tensor.dims().to_vec(), data)
}

fn narrowed<W: candle_core::WithDType, N: TryFrom<W>>(
    flat: &candle_core::Tensor,
) -> Option<Vec<N>> {
    let wide: Vec<W> = flat.to_vec1().ok()?;
    wide.into_iter().map(|v| N::try_from(v).ok()).collect()
}
