//! Smallest and largest element of a constant.

use half::{bf16, f16};
use milwright_ir::{BlobSource, Constant, DataType};

/// What is known of the elements of a float constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Element type.
    pub dtype: DataType,
    /// Number of elements.
    pub elements: u64,
    /// Smallest finite element; infinite when there is none.
    pub min: f64,
    /// Largest finite element; infinite when there is none.
    pub max: f64,
    /// Smallest magnitude above 0; infinite when there is none.
    pub smallest: f64,
    /// How many are -inf.
    pub negative_infinities: u64,
    /// How many are inf.
    pub positive_infinities: u64,
    /// How many are NaN.
    pub nans: u64,
}

impl Range {
    /// The range of a float tensor; `None` for other constants and those that
    /// cannot be read. Takes no memory beyond that of the file.
    pub fn of(constant: &Constant, blobs: &dyn BlobSource) -> Option<Self> {
        let dtype = constant.tensor_type()?.dtype;
        if !dtype.is_float() {
            return None;
        }
        let bytes = constant.bytes(blobs).ok()?;
        let mut range = Self {
            dtype,
            elements: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            smallest: f64::INFINITY,
            negative_infinities: 0,
            positive_infinities: 0,
            nans: 0,
        };
        match dtype {
            DataType::Float16 => range.read(&bytes, |b| f16::from_le_bytes(b).to_f64()),
            DataType::BFloat16 => range.read(&bytes, |b| bf16::from_le_bytes(b).to_f64()),
            DataType::Float32 => range.read(&bytes, |b| f64::from(f32::from_le_bytes(b))),
            DataType::Float64 => range.read(&bytes, f64::from_le_bytes),
            _ => return None,
        }
        Some(range)
    }

    fn read<const N: usize>(&mut self, bytes: &[u8], value: impl Fn([u8; N]) -> f64) {
        for chunk in bytes.as_chunks::<N>().0 {
            self.elements += 1;
            let x = value(*chunk);
            if x.is_finite() {
                self.min = self.min.min(x);
                self.max = self.max.max(x);
                if x != 0.0 {
                    self.smallest = self.smallest.min(x.abs());
                }
            } else if x.is_nan() {
                self.nans += 1;
            } else if x > 0.0 {
                self.positive_infinities += 1;
            } else {
                self.negative_infinities += 1;
            }
        }
    }

    /// The finite element of the largest magnitude.
    pub fn extreme(&self) -> Option<f64> {
        let largest = if self.max.abs() >= self.min.abs() {
            self.max
        } else {
            self.min
        };
        largest.is_finite().then_some(largest)
    }
}
