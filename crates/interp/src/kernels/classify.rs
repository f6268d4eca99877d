//! `classify`.

use candle_core::{DType, Device, Tensor as Data};
use milwright_ir::DataType;

use super::check::{Result, bad, length};
use super::layout::integers_of;
use crate::call::{Call, Outputs};
use crate::value::{Label, Tensor, Value};

/// The class of the highest probability (the first of equal ones; NaN is no
/// probability), and the probability of every class.
pub(crate) fn classify(call: &Call<'_>) -> Outputs {
    let labels = labels(call)?;
    let probabilities = call.tensor("probabilities")?.data;
    let shares: Vec<f64> = probabilities.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    length("classes", &labels, shares.len())?;
    let mut best = 0;
    for (i, &share) in shares.iter().enumerate() {
        if share > shares[best] || shares[best].is_nan() {
            best = i;
        }
    }
    let class = match labels.get(best) {
        Some(Label::Text(text)) => Value::Strings(vec![text.clone()]),
        Some(&Label::Number(number)) => {
            let data = Data::new(number, &Device::Cpu)?;
            Value::Tensor(Tensor::new(DataType::Int64, data)?)
        }
        None => return Err(bad("classes", "are empty")),
    };
    Ok(vec![class, Value::Dict(labels.into_iter().zip(shares).collect())])
}

fn labels(call: &Call<'_>) -> Result<Vec<Label>> {
    match call.opt_value("classes")? {
        Some(Value::Strings(texts)) => Ok(texts.into_iter().map(Label::Text).collect()),
        Some(Value::Tensor(t)) => {
            let numbers = integers_of("classes", &t.data)?;
            Ok(numbers.into_iter().map(Label::Number).collect())
        }
        _ => Err(bad("classes", "must be a list of strings or integers")),
    }
}
