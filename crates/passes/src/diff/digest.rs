//! Digests and words for constants.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher as _};

use blake3::Hasher;
use milwright_ir::{BlobRef, BlobSource, ConstData, Constant, DataType, Error, Model, TensorData};

/// Constants of at most so many elements are shown with their values.
const SHOWN: u64 = 8;

/// BLAKE3 of a constant's type and value, wherever it is stored.
pub(super) type Sum = [u8; 32];

/// The two sides of a comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Before,
    After,
}

/// Digests of the constants of two models. Weights are read where they lie in
/// the file, once each.
pub(super) struct Digests<'m> {
    models: [&'m Model; 2],
    known: [HashMap<BlobRef, Sum>; 2],
}

impl<'m> Digests<'m> {
    pub(super) fn new(before: &'m Model, after: &'m Model) -> Self {
        Digests {
            models: [before, after],
            known: Default::default(),
        }
    }

    fn model(&self, side: Side) -> &'m Model {
        self.models[side as usize]
    }

    /// The digest of a constant.
    pub(super) fn of(&mut self, side: Side, constant: &Constant) -> Result<Sum, Error> {
        let mut hasher = Hasher::new();
        self.add(side, constant, &mut hasher)?;
        Ok(hasher.finalize().into())
    }

    fn add(&mut self, side: Side, constant: &Constant, hasher: &mut Hasher) -> Result<(), Error> {
        hasher.update(constant.ty.to_string().as_bytes());
        hasher.update(&[0]);
        match &constant.data {
            ConstData::Blob(blob) => {
                let sum = match self.known[side as usize].get(blob) {
                    Some(&sum) => sum,
                    None => {
                        let sum = self.bytes(side, constant)?;
                        self.known[side as usize].insert(blob.clone(), sum);
                        sum
                    }
                };
                hasher.update(&sum);
            }
            ConstData::Tensor(TensorData::Strings(strings)) => {
                for text in strings {
                    hasher.update(&(text.len() as u64).to_le_bytes());
                    hasher.update(text.as_bytes());
                }
            }
            ConstData::Tensor(TensorData::Missing) | ConstData::Missing => {
                hasher.update(&[1]);
            }
            ConstData::Tensor(_) | ConstData::New(_) | ConstData::Range(_) => {
                let sum = self.bytes(side, constant)?;
                hasher.update(&sum);
            }
            ConstData::Tuple(items) | ConstData::List(items) => {
                for item in items {
                    self.add(side, item, hasher)?;
                }
            }
            ConstData::Dict(pairs) => {
                // The order of a dictionary means nothing.
                let mut sums = Vec::new();
                for (key, value) in pairs {
                    sums.push((self.of(side, key)?, self.of(side, value)?));
                }
                sums.sort_unstable();
                for (key, value) in sums {
                    hasher.update(&key);
                    hasher.update(&value);
                }
            }
        }
        Ok(())
    }

    fn bytes(&self, side: Side, constant: &Constant) -> Result<Sum, Error> {
        let bytes = constant
            .bytes(self.model(side))
            .map_err(|cause| Error::Const {
                location: match side {
                    Side::Before => "a constant of the first model".to_owned(),
                    Side::After => "a constant of the second model".to_owned(),
                },
                cause,
            })?;
        Ok(blake3::hash(&bytes).into())
    }

    /// The type of a constant, with its value or the start of its digest.
    pub(super) fn describe(&mut self, side: Side, constant: &Constant) -> Result<String, Error> {
        let ty = constant.ty.brief();
        if let Some(text) = constant.as_str() {
            return Ok(format!("{text:?}"));
        }
        let tensor = constant.tensor_type();
        let few = tensor
            .and_then(|t| t.elements())
            .is_some_and(|n| n <= SHOWN);
        if few && let Ok(values) = constant.to_f64s(self.model(side)) {
            let scalar = tensor.is_some_and(|t| t.shape.is_empty());
            let is_bool = tensor.is_some_and(|t| t.dtype == DataType::Bool);
            let values: Vec<String> = values
                .iter()
                .map(|v| {
                    if is_bool {
                        (*v != 0.0).to_string()
                    } else {
                        v.to_string()
                    }
                })
                .collect();
            return Ok(match values.as_slice() {
                [only] if scalar => format!("{} {only}", ty.trim_end_matches("[]")),
                all => format!("{ty} ({})", all.join(", ")),
            });
        }
        let sum = self.of(side, constant)?;
        let start: String = sum[..6].iter().map(|b| format!("{b:02x}")).collect();
        Ok(format!("{ty} blake3:{start}"))
    }

    /// By how much two float constants of one type differ; `None` for others.
    pub(super) fn distance(&self, before: &Constant, after: &Constant) -> Option<String> {
        let ty = before.tensor_type()?;
        if after.tensor_type() != Some(ty) {
            return None;
        }
        let width = match ty.dtype {
            DataType::Float32 => 4,
            DataType::Float16 => 2,
            _ => return None,
        };
        let a = before.bytes(self.model(Side::Before)).ok()?;
        let b = after.bytes(self.model(Side::After)).ok()?;
        let read = |bytes: &[u8]| match *bytes {
            [a, b] => half::f16::from_le_bytes([a, b]).to_f64(),
            [a, b, c, d] => f64::from(f32::from_le_bytes([a, b, c, d])),
            _ => f64::NAN,
        };
        let (mut different, mut all, mut most) = (0u64, 0u64, 0f64);
        for (x, y) in a.chunks_exact(width).zip(b.chunks_exact(width)) {
            all += 1;
            if x != y {
                different += 1;
                most = most.max((read(x) - read(y)).abs());
            }
        }
        Some(format!(
            "{different} of {all} elements, by at most {most:.3e}"
        ))
    }
}

/// A digest for tables.
pub(super) fn short(values: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    values.hash(&mut hasher);
    hasher.finish()
}

/// Where a constant is stored, as far as two models can differ in it without
/// another order of their weights.
pub(super) fn place(constant: &Constant, blobs: &dyn BlobSource) -> (u8, Option<DataType>) {
    match &constant.data {
        ConstData::Blob(blob) => (1, blobs.blob(blob).ok().and_then(|data| data.dtype)),
        _ => (0, None),
    }
}
