//! Lists of tensors. An index outside of a list is an error, except that
//! writing makes a dynamic list longer.

use candle_core::{DType, Device, Tensor as Data};
use milwright_ir::{DataType, TensorType, ValueType};

use super::check::{Result, bad, elements, need, size};
use super::layout::{contiguous, integers_of};
use crate::call::{Call, Outputs};
use crate::error::KernelError;
use crate::value::{List, Tensor, Value};

/// A list longer than this is refused: a wrong index must not exhaust the
/// machine.
const MAX_LENGTH: usize = 1 << 24;

pub(crate) fn make_list(call: &Call<'_>) -> Outputs {
    let length = within(need("init_length", call.int("init_length")?)?)?;
    let dynamic = call.bool("dynamic_length")?.unwrap_or(true);
    // `elem_shape` may have names of sizes.
    let sizes = call.each_int("elem_shape")?;
    let element = match (sizes, element_type(call)) {
        (Some(sizes), Some(ty)) => {
            let dims = sizes.into_iter().map(|d| size("elem_shape", d));
            Some(zeros(call, ty.dtype, &dims.collect::<Result<Vec<_>>>()?)?)
        }
        _ => None,
    };
    let elements = vec![element; length];
    Ok(vec![Value::List(List { elements, dynamic })])
}

/// The type of the elements of output 0.
fn element_type<'a>(call: &'a Call<'_>) -> Option<&'a TensorType> {
    let id = call.view.op.outputs.first()?;
    match &call.view.program.values[*id].ty {
        ValueType::List { element, .. } => element.as_tensor(),
        _ => None,
    }
}

fn zeros(call: &Call<'_>, dtype: DataType, dims: &[usize]) -> Result<Tensor> {
    elements("elem_shape", dims)?;
    let held = call
        .precision
        .storage(dtype)
        .ok_or_else(|| bad("dtype", format_args!("{dtype} cannot be an element of a list")))?;
    Tensor::new(dtype, Data::zeros(dims, held, &Device::Cpu)?)
}

pub(crate) fn list_length(call: &Call<'_>) -> Outputs {
    let length = call.list("ls")?.elements.len() as i64;
    call.one(Data::new(length, &Device::Cpu)?.to_dtype(DType::I32)?)
}

pub(crate) fn list_read(call: &Call<'_>) -> Outputs {
    let list = call.list("ls")?;
    let index = need("index", call.int("index")?)?;
    Ok(vec![Value::Tensor(element(&list, "index", index)?)])
}

pub(crate) fn list_gather(call: &Call<'_>) -> Outputs {
    let list = call.list("ls")?;
    let indices = integers_of("indices", &call.tensor("indices")?.data)?;
    let picked = indices
        .iter()
        .map(|&index| Ok(element(&list, "indices", index)?.data))
        .collect::<Result<Vec<Data>>>()?;
    let Some(first) = picked.first() else {
        // No element tells the shape; the program may.
        let id = call.view.op.outputs.first();
        let ty = id.and_then(|&id| call.view.program.values[id].ty.as_tensor());
        let ty = ty.ok_or_else(|| bad("indices", "are empty"))?;
        let shape = ty.shape.iter().skip(1);
        let dims: Option<Vec<usize>> = shape
            .map(|d| d.known().and_then(|d| usize::try_from(d).ok()))
            .collect();
        let dims = dims.ok_or_else(|| bad("indices", "are empty, and no size is known"))?;
        return Ok(vec![Value::Tensor(zeros(call, ty.dtype, &[&[0], &dims[..]].concat())?)]);
    };
    if let Some(other) = picked.iter().find(|t| t.dims() != first.dims()) {
        return Err(bad(
            "ls",
            format_args!(
                "has elements of shapes {:?} and {:?}, which cannot be stacked",
                first.dims(),
                other.dims()
            ),
        ));
    }
    elements("indices", &[&[picked.len()], first.dims()].concat())?;
    call.one(Data::stack(&picked, 0)?)
}

pub(crate) fn list_write(call: &Call<'_>) -> Outputs {
    let mut list = call.list("ls")?;
    let index = need("index", call.int("index")?)?;
    let value = call.tensor("value")?;
    put(&mut list, "index", index, value)?;
    Ok(vec![Value::List(list)])
}

pub(crate) fn list_scatter(call: &Call<'_>) -> Outputs {
    let mut list = call.list("ls")?;
    let indices = integers_of("indices", &call.tensor("indices")?.data)?;
    let values = call.tensor("value")?;
    if values.dims().first() != Some(&indices.len()) {
        return Err(bad(
            "value",
            format_args!("has shape {:?} for {} indices", values.dims(), indices.len()),
        ));
    }
    for (i, &index) in indices.iter().enumerate() {
        let slice = contiguous(&values.data.get(i)?)?;
        put(&mut list, "indices", index, Tensor::new(values.dtype, slice)?)?;
    }
    Ok(vec![Value::List(list)])
}

fn within(length: i64) -> Result<usize> {
    let length = size("init_length", length)?;
    match length <= MAX_LENGTH {
        true => Ok(length),
        false => Err(bad(
            "init_length",
            format_args!("{length} is more than {MAX_LENGTH}"),
        )),
    }
}

fn element(list: &List, param: &str, index: i64) -> Result<Tensor> {
    let found = usize::try_from(index).ok().and_then(|i| list.elements.get(i));
    match found {
        Some(Some(element)) => Ok(element.clone()),
        Some(None) => Err(bad(
            param,
            format_args!("{index} is an element that nothing wrote, of unknown shape"),
        )),
        None => Err(outside(list, param, index)),
    }
}

fn outside(list: &List, param: &str, index: i64) -> KernelError {
    let length = list.elements.len();
    bad(param, format_args!("{index} is outside of a list of {length} elements"))
}

fn put(list: &mut List, param: &str, index: i64, value: Tensor) -> Result<()> {
    let at = usize::try_from(index).map_err(|_| outside(list, param, index))?;
    if let Some(other) = list.elements.iter().flatten().next()
        && other.dtype != value.dtype
    {
        return Err(bad(
            "value",
            format_args!("is {}, the list has {}", value.dtype, other.dtype),
        ));
    }
    if at >= list.elements.len() {
        if !list.dynamic {
            return Err(outside(list, param, index));
        }
        if at >= MAX_LENGTH {
            return Err(bad(param, format_args!("{at} is more than {MAX_LENGTH}")));
        }
        // Elements between are as those of a new list.
        let zeros = Tensor::new(value.dtype, value.data.zeros_like()?)?;
        list.elements.resize(at + 1, Some(zeros));
    }
    list.elements[at] = Some(value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(dynamic: bool) -> List {
        let element = Tensor::new(
            DataType::Float32,
            Data::zeros((2, 3), DType::F32, &Device::Cpu).unwrap(),
        );
        List {
            elements: vec![None, Some(element.unwrap())],
            dynamic,
        }
    }

    #[test]
    fn reading_stays_inside() {
        let list = list(true);
        assert_eq!(element(&list, "index", 1).unwrap().dims(), [2, 3]);
        for index in [0, 2, -1, i64::MIN, i64::MAX] {
            assert!(element(&list, "index", index).is_err(), "{index}");
        }
    }

    #[test]
    fn writing_grows_dynamic_lists_only() {
        let value = element(&list(true), "index", 1).unwrap();
        let mut grown = list(true);
        put(&mut grown, "index", 4, value.clone()).unwrap();
        assert_eq!(grown.elements.len(), 5);
        assert!(element(&grown, "index", 3).is_ok());
        assert!(put(&mut grown, "index", -1, value.clone()).is_err());
        assert!(put(&mut grown, "index", i64::MAX, value.clone()).is_err());
        assert!(put(&mut grown, "index", 1 << 24, value.clone()).is_err());
        let mut fixed = list(false);
        assert!(put(&mut fixed, "index", 2, value.clone()).is_err());
        put(&mut fixed, "index", 0, value).unwrap();
        let data = Data::zeros(3, DType::I32, &Device::Cpu).unwrap();
        let other = Tensor::new(DataType::Int32, data).unwrap();
        assert!(put(&mut fixed, "index", 0, other).is_err());
    }
}
