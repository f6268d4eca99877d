//! How numbers are held and rounded while a program runs.
//!
//! | MIL element type | held as |
//! |---|---|
//! | fp16, bf16, fp32, fp64 | F32; F64 in [`Precision::Fp64`] |
//! | bool, uint8 and sub-byte unsigned | U8 |
//! | int4, int8, int16, uint16, int32 | I32 |
//! | int64, uint32, uint64 | I64 |

use candle_core::DType;
use milwright_ir::DataType;

use crate::error::KernelError;
use crate::kernels::cast;
use crate::value::Tensor;

/// In which precision float values are computed, held and rounded.
///
/// Integers are exact in every mode: a result that its declared type cannot
/// hold keeps the low bits, and a cast from a float saturates.
///
/// # Sums inside of an operation
/// [`Precision::Native`] and [`Precision::Half`] round what an operation gives,
/// once, to nearest with ties to even; they do not round on the way. Products
/// and sums inside of an operation are in single precision and in the order of
/// [`Precision::Fp32`]: a product adds along the inner dimension, first to
/// last, in blocks, and adds the blocks in order; a reduction along rows adds 32 interleaved
/// partial sums; means and variances end in double precision. The order never
/// depends on the number of threads. This is a device that accumulates in
/// fp32. One that accumulates in fp16 loses more, and can overflow inside of an
/// operation whose result would fit; no public document says what a Neural
/// Engine or GPU does for which operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// All float arithmetic in single precision over the stored weights, and
    /// nothing rounded to less. The reference.
    #[default]
    Fp32,
    /// As [`Precision::Fp32`], and every value that the program declares as
    /// fp16 or bf16 (inputs, states, results, also those of nested blocks) is
    /// rounded to it.
    Native,
    /// As if the program were converted to fp16: every float value is rounded
    /// to fp16, whatever is declared, weights and parameters too.
    Half,
    /// All float values are held, and all float arithmetic is done, in double
    /// precision over the stored weights. Slow; tells rounding from error.
    Fp64,
}

impl Precision {
    /// Every mode.
    pub const ALL: [Precision; 4] = [
        Precision::Fp32,
        Precision::Native,
        Precision::Half,
        Precision::Fp64,
    ];

    /// How options and reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            Precision::Native => "native",
            Precision::Half => "half",
            Precision::Fp64 => "fp64",
        }
    }

    /// The type that holds floats.
    pub fn float(self) -> DType {
        match self {
            Precision::Fp64 => DType::F64,
            Precision::Fp32 | Precision::Native | Precision::Half => DType::F32,
        }
    }

    /// The type that holds elements of `dtype`; `None` for `string` and types
    /// that only occur compressed.
    pub fn storage(self, dtype: DataType) -> Option<DType> {
        use DataType as D;
        Some(match dtype {
            D::Float16 | D::BFloat16 | D::Float32 | D::Float64 => self.float(),
            D::Bool | D::UInt8 | D::UInt1 | D::UInt2 | D::UInt3 | D::UInt4 | D::UInt6 => DType::U8,
            D::Int4 | D::Int8 | D::Int16 | D::UInt16 | D::Int32 => DType::I32,
            D::Int64 | D::UInt32 | D::UInt64 => DType::I64,
            D::String | D::Float8E4M3FN | D::Float8E5M2 | D::Unknown(_) => return None,
        })
    }

    /// The narrow float type that values of `dtype` are rounded to.
    pub fn rounding(self, dtype: DataType) -> Option<DType> {
        match (self, dtype) {
            (Precision::Native, DataType::Float16) => Some(DType::F16),
            (Precision::Native, DataType::BFloat16) => Some(DType::BF16),
            (Precision::Half, _) if dtype.is_float() => Some(DType::F16),
            _ => None,
        }
    }

    /// A parameter of an operation as this mode knows it.
    pub(crate) fn parameter(self, value: f64) -> f64 {
        match self {
            // Through f32, as the elements of a tensor are.
            Precision::Half => f64::from(half::f16::from_f32(value as f32)),
            _ => value,
        }
    }

    /// The tensor as this mode holds it: floats converted and rounded, integers
    /// within their declared type.
    ///
    /// # Errors
    /// The tensor library fails.
    pub fn hold(self, tensor: Tensor) -> Result<Tensor, KernelError> {
        let Tensor { dtype, mut data } = tensor;
        if dtype.is_float() {
            if data.dtype() != self.float() {
                data = data.to_dtype(self.float())?;
            }
            if let Some(narrow) = self.rounding(dtype) {
                data = data.to_dtype(narrow)?.to_dtype(self.float())?;
            }
        } else {
            data = cast::wrapped_to(&data, dtype)?;
        }
        Ok(Tensor { dtype, data })
    }

    /// [`Precision::hold`] for the result of a kernel, which must have computed
    /// in this mode's type: precision that is lost does not come back.
    ///
    /// # Errors
    /// It is held in another type, or the tensor library fails.
    pub(crate) fn hold_result(self, tensor: Tensor) -> Result<Tensor, KernelError> {
        if self.storage(tensor.dtype) != Some(tensor.data.dtype()) {
            return Err(KernelError::Internal(format!(
                "a result of {} held as {:?} in {self:?}",
                tensor.dtype,
                tensor.data.dtype()
            )));
        }
        self.hold(tensor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn held(precision: Precision, dtype: DataType, data: candle_core::Tensor) -> Vec<f64> {
        let tensor = precision.hold(Tensor { dtype, data }).unwrap();
        assert_eq!(precision.storage(dtype), Some(tensor.data.dtype()));
        let wide = tensor.data.to_dtype(DType::F64).unwrap();
        wide.to_vec1().unwrap()
    }

    #[test]
    fn floats_are_rounded_as_the_mode_says() {
        // Between two halves, a tie, too large, below the smallest.
        let x = [1.0 + 1e-4f32, 2049.0, 65520.0, 1e-8, -70000.0];
        let of = |precision, dtype| {
            held(
                precision,
                dtype,
                candle_core::Tensor::new(&x, &Device::Cpu).unwrap(),
            )
        };
        let kept: Vec<f64> = x.iter().map(|&v| v.into()).collect();
        let inf = f64::INFINITY;
        let half = [1.0, 2048.0, inf, 0.0, -inf];
        for dtype in [DataType::Float16, DataType::Float32] {
            assert_eq!(of(Precision::Fp32, dtype), kept);
            assert_eq!(of(Precision::Fp64, dtype), kept);
            assert_eq!(of(Precision::Half, dtype), half);
        }
        assert_eq!(of(Precision::Native, DataType::Float16), half);
        assert_eq!(of(Precision::Native, DataType::Float32), kept);
        let brain = of(Precision::Native, DataType::BFloat16);
        assert_eq!(brain[..3], [1.0, 2048.0, 65536.0]);
        assert_eq!(of(Precision::Half, DataType::BFloat16), half);
        assert_eq!(Precision::Half.parameter(1e-12), 0.0);
        assert_eq!(Precision::Native.parameter(1e-12), 1e-12);
    }

    #[test]
    fn integers_wrap_to_their_declared_type() {
        let wide = candle_core::Tensor::new(&[200i32, -129, 5], &Device::Cpu).unwrap();
        for precision in [Precision::Fp32, Precision::Native, Precision::Fp64] {
            let of = |dtype| held(precision, dtype, wide.clone());
            assert_eq!(of(DataType::Int8), [-56.0, 127.0, 5.0]);
            assert_eq!(of(DataType::UInt16), [200.0, 65407.0, 5.0]);
            assert_eq!(of(DataType::Int32), [200.0, -129.0, 5.0]);
        }
        let bytes = candle_core::Tensor::new(&[200u8, 7], &Device::Cpu).unwrap();
        assert_eq!(held(Precision::Fp32, DataType::UInt4, bytes), [8.0, 7.0]);
    }

    #[test]
    fn a_result_in_the_wrong_type_is_refused() {
        let narrow = candle_core::Tensor::new(&[1f32], &Device::Cpu).unwrap();
        let tensor = Tensor {
            dtype: DataType::Float32,
            data: narrow,
        };
        assert!(Precision::Fp64.hold_result(tensor.clone()).is_err());
        assert!(Precision::Native.hold_result(tensor).is_ok());
    }
}
