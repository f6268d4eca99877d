//! What a function takes, as far as a caller has to know: names, element
//! types, shapes. Joined from the program and the model's description.

use milwright_interp::Precision;
use milwright_ir::features::{ColorSpace, Feature, FeatureKind, Flexibility, Signature};
use milwright_ir::{DataType, Dim, Function, Program, TensorType, ValueType};

use crate::array::{Array, DType, Kind};

/// One input of a function.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// Name of the feature.
    pub name: String,
    /// Element type and shape in the program.
    pub ty: TensorType,
    /// The shape that the description gives first; used for random inputs.
    pub default_shape: Vec<usize>,
    /// Shapes that the description allows, when it has flexible ones.
    pub flexibility: Flexibility,
    /// Colours, when the feature is an image.
    pub image: Option<ColorSpace>,
    /// Whether it may be left out, and then what value its elements have.
    pub optional: Option<f64>,
    /// Whether the description fixes the whole shape.
    exact: bool,
}

/// The inputs of a function that are not states, in program order.
///
/// A feature that the description does not list is taken as the program
/// declares it.
pub fn inputs_of(
    program: &Program,
    function: &Function,
    signature: Option<&Signature>,
) -> Vec<Input> {
    function
        .inputs
        .iter()
        .filter_map(|&id| {
            let value = &program.values[id];
            let ValueType::Tensor(ty) = &value.ty else {
                return None;
            };
            let feature = signature.and_then(|s| s.inputs.iter().find(|f| f.name == value.name));
            Some(Input::new(&value.name, ty, feature))
        })
        .collect()
}

impl Input {
    fn new(name: &str, ty: &TensorType, feature: Option<&Feature>) -> Self {
        let mut input = Input {
            name: name.to_owned(),
            ty: ty.clone(),
            default_shape: Vec::new(),
            flexibility: Flexibility::Fixed,
            image: None,
            optional: None,
            exact: false,
        };
        let mut declared: Vec<u64> = Vec::new();
        match feature.map(|f| (&f.kind, f.optional)) {
            Some((FeatureKind::Array(a), optional)) => {
                declared.clone_from(&a.shape);
                input.flexibility = a.flexibility.clone();
                input.optional = if optional {
                    Some(a.default.unwrap_or(0.0))
                } else {
                    None
                };
            }
            Some((FeatureKind::Image(i), _)) => {
                declared = vec![1, i.color.channels(), i.height, i.width];
                input.image = Some(i.color);
                // The description counts height and width only.
                let whole = |rest: &[u64]| [&declared[..2], rest].concat();
                input.flexibility = match &i.flexibility {
                    Flexibility::Fixed => Flexibility::Fixed,
                    Flexibility::Enumerated(s) => {
                        Flexibility::Enumerated(s.iter().map(|s| whole(s)).collect())
                    }
                    Flexibility::Ranges(r) => Flexibility::Ranges(
                        declared[..2]
                            .iter()
                            .map(|&d| (d, Some(d)))
                            .chain(r.iter().copied())
                            .collect(),
                    ),
                };
            }
            _ => {}
        }
        input.exact = declared.len() == ty.shape.len();
        input.default_shape = input.shape_for_random(&declared);
        input
    }

    /// The description's default shape where it agrees with the program, else
    /// the smallest that the description allows.
    fn shape_for_random(&self, declared: &[u64]) -> Vec<usize> {
        let first = match &self.flexibility {
            Flexibility::Enumerated(shapes) => shapes.first().cloned(),
            _ => None,
        };
        let candidate = if declared.len() == self.ty.shape.len() {
            declared.to_vec()
        } else {
            first.unwrap_or_default()
        };
        let extent = |(axis, dim): (usize, &Dim)| {
            let lowest = match &self.flexibility {
                Flexibility::Ranges(r) => r.get(axis).map(|&(low, _)| low),
                _ => None,
            };
            let d = dim
                .known()
                .or(candidate.get(axis).copied().filter(|&d| d > 0))
                .or(lowest.filter(|&d| d > 0))
                .unwrap_or(1);
            usize::try_from(d).unwrap_or(usize::MAX)
        };
        self.ty.shape.iter().enumerate().map(extent).collect()
    }

    /// Why an array of that shape is no value of this input.
    pub fn shape_problem(&self, shape: &[usize]) -> Option<String> {
        let fits = |dims: &[Dim]| {
            dims.len() == shape.len()
                && dims
                    .iter()
                    .zip(shape)
                    .all(|(d, &s)| d.known().is_none_or(|d| d == s as u64))
        };
        if self.ty.rank().is_some() && !fits(&self.ty.shape) {
            return Some(format!("has shape {shape:?}, the model takes {self}"));
        }
        let allowed = match &self.flexibility {
            Flexibility::Fixed => !self.exact || shape == self.default_shape,
            Flexibility::Enumerated(shapes) => shapes
                .iter()
                .any(|s| s.iter().copied().eq(shape.iter().map(|&d| d as u64))),
            Flexibility::Ranges(ranges) => {
                ranges.len() == shape.len()
                    && ranges.iter().zip(shape).all(|(&(low, high), &d)| {
                        d as u64 >= low && high.is_none_or(|high| d as u64 <= high)
                    })
            }
        };
        (!allowed).then(|| format!("has shape {shape:?}, the model takes {self}"))
    }

    /// The array converted to what a session takes, or why its values are
    /// none of this input.
    ///
    /// Floats take floats of any width, and what converts to them exactly:
    /// `bool`, 8-bit integers, and 16-bit integers where the input is wider
    /// than fp16. Integers take integers and `bool`; `bool` takes integers that
    /// are 0 or 1; an image also takes integers from 0 to 255. A value that the
    /// declared type cannot hold is refused, not clipped.
    ///
    /// # Errors
    /// What is wrong, for a message that starts with the input's name.
    pub fn tensor(&self, array: &Array) -> Result<candle_core::Tensor, String> {
        use candle_core::{DType as Held, Device, Tensor};
        let wrong = || {
            format!(
                "is {}, the model takes {self}{}",
                array.dtype(),
                match numpy_name(self.ty.dtype) {
                    Some(name) => format!("; convert it with .astype(numpy.{name})"),
                    None => String::new(),
                }
            )
        };
        let made = match Precision::Fp32.storage(self.ty.dtype) {
            Some(Held::F32) => {
                let values = self.floats(array).ok_or_else(wrong)??;
                if self.ty.dtype == DataType::Float64 {
                    Tensor::from_vec(values, array.shape(), &Device::Cpu)
                } else {
                    // What the input can hold, in any precision.
                    let narrow: Vec<f32> = values.into_iter().map(|v| v as f32).collect();
                    Tensor::from_vec(narrow, array.shape(), &Device::Cpu)
                }
            }
            Some(Held::U8) => {
                let values = self.integers(array).ok_or_else(wrong)??;
                let values: Vec<u8> = values.into_iter().map(|v| v as u8).collect();
                Tensor::from_vec(values, array.shape(), &Device::Cpu)
            }
            Some(Held::I32) => {
                let values = self.integers(array).ok_or_else(wrong)??;
                let values: Vec<i32> = values.into_iter().map(|v| v as i32).collect();
                Tensor::from_vec(values, array.shape(), &Device::Cpu)
            }
            Some(Held::I64) => {
                let values = self.integers(array).ok_or_else(wrong)??;
                let values: Vec<i64> = values.into_iter().map(|v| v as i64).collect();
                Tensor::from_vec(values, array.shape(), &Device::Cpu)
            }
            _ => {
                return Err(format!(
                    "of {} cannot be given by this version",
                    self.ty.dtype
                ));
            }
        };
        made.map_err(|e| e.to_string())
    }

    /// `None` when the array's type is of another kind.
    fn floats(&self, array: &Array) -> Option<Result<Vec<f64>, String>> {
        let narrow = self.ty.dtype == DataType::Float16;
        let takes = match array.dtype() {
            DType::Bool | DType::Int8 | DType::Uint8 => true,
            DType::Int16 | DType::Uint16 => !narrow || self.image.is_some(),
            dtype => dtype.kind() == Kind::Float || self.image.is_some(),
        };
        if !takes {
            return None;
        }
        let largest = match self.ty.dtype {
            DataType::Float16 => half::f16::MAX.to_f64(),
            DataType::Float64 => f64::MAX,
            _ => f64::from(f32::MAX),
        };
        let pixels = self.image.is_some() && array.dtype().kind() == Kind::Integer;
        let wide = array.data().to_f64();
        let outside = wide.iter().position(|v| {
            (v.is_finite() && v.abs() > largest) || (pixels && !(0.0..=255.0).contains(v))
        });
        Some(match outside {
            Some(i) => Err(format!(
                "has {} as element {i}, which {} cannot hold",
                wide[i],
                if pixels {
                    "a pixel"
                } else {
                    self.ty.dtype.name()
                }
            )),
            None => Ok(wide),
        })
    }

    /// `None` when the array's type is of another kind.
    fn integers(&self, array: &Array) -> Option<Result<Vec<i128>, String>> {
        let values = array.data().to_i128()?;
        let (low, high): (i128, i128) = match (self.ty.dtype, self.ty.dtype.bits()) {
            (DataType::Bool, _) => (0, 1),
            (dtype, Some(bits)) if dtype.name().starts_with("uint") => (0, (1 << bits) - 1),
            (_, bits) => {
                let half = 1 << (bits.unwrap_or(64) - 1);
                (-half, half - 1)
            }
        };
        Some(
            match values.iter().position(|v| !(low..=high).contains(v)) {
                Some(i) => Err(format!(
                    "has {} as element {i}, which {} cannot hold",
                    values[i], self.ty.dtype
                )),
                None => Ok(values),
            },
        )
    }
}

impl std::fmt::Display for Input {
    /// Type and shape, as in `fp32 [1, 128, 100]`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(color) = self.image {
            write!(f, "image {} as ", color.name())?;
        }
        let dims: Vec<String> = self
            .ty
            .shape
            .iter()
            .enumerate()
            .map(|(axis, dim)| match (&self.flexibility, dim) {
                (Flexibility::Fixed, Dim::Unknown) if self.exact => self
                    .default_shape
                    .get(axis)
                    .map_or_else(|| dim.to_string(), usize::to_string),
                _ => dim.to_string(),
            })
            .collect();
        write!(
            f,
            "{} [{}]{}",
            self.ty.dtype,
            dims.join(", "),
            self.flexibility
        )
    }
}

/// NumPy's name of an element type that an array of this crate can have.
pub fn numpy_name(dtype: DataType) -> Option<&'static str> {
    Some(match dtype {
        DataType::Bool => "bool_",
        DataType::Int8 => "int8",
        DataType::Int16 => "int16",
        DataType::Int32 => "int32",
        DataType::Int64 => "int64",
        DataType::UInt8 => "uint8",
        DataType::UInt16 => "uint16",
        DataType::UInt32 => "uint32",
        DataType::UInt64 => "uint64",
        DataType::Float16 | DataType::BFloat16 | DataType::Float32 => "float32",
        DataType::Float64 => "float64",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Data;
    use milwright_ir::features::{ArrayFeature, ImageFeature};

    fn array_feature(shape: &[u64], flexibility: Flexibility) -> Feature {
        Feature {
            name: "x".into(),
            description: String::new(),
            kind: FeatureKind::Array(ArrayFeature {
                dtype: Some(DataType::Float32),
                shape: shape.to_vec(),
                flexibility,
                default: Some(2.0),
            }),
            optional: false,
        }
    }

    fn fixed(dtype: DataType, shape: &[u64]) -> Input {
        Input::new("x", &TensorType::fixed(dtype, shape), None)
    }

    fn array(data: impl Into<Data>) -> Array {
        let data = data.into();
        Array::new(vec![data.len()], data).unwrap()
    }

    fn held(input: &Input, data: impl Into<Data>) -> Result<Vec<f64>, String> {
        let tensor = input.tensor(&array(data))?;
        let wide = tensor.to_dtype(candle_core::DType::F64).unwrap();
        Ok(wide.to_vec1().unwrap())
    }

    #[test]
    fn floats_take_what_converts_without_loss() {
        let input = fixed(DataType::Float32, &[2]);
        assert_eq!(held(&input, vec![1.5f64, -2.0]).unwrap(), [1.5, -2.0]);
        assert_eq!(held(&input, vec![true, false]).unwrap(), [1.0, 0.0]);
        assert_eq!(held(&input, vec![-3i8, 4]).unwrap(), [-3.0, 4.0]);
        assert_eq!(held(&input, vec![-300i16, 4]).unwrap(), [-300.0, 4.0]);
        for e in [
            held(&input, vec![1i32, 2]).unwrap_err(),
            held(&input, vec![1i64, 2]).unwrap_err(),
            held(&input, vec![1u32, 2]).unwrap_err(),
        ] {
            assert!(e.contains(".astype(numpy.float32)"), "{e}");
        }
        let e = held(&input, vec![0.0, 1e300]).unwrap_err();
        assert!(e.contains("element 1") && e.contains("fp32"), "{e}");
        let half = fixed(DataType::Float16, &[2]);
        assert!(held(&half, vec![1.0f32, 70_000.0]).is_err());
        assert!(held(&half, vec![300i16, 1]).is_err());
        assert!(held(&half, vec![f32::INFINITY, f32::NAN]).is_ok());
    }

    #[test]
    fn integers_take_integers_in_their_range() {
        let input = fixed(DataType::Int32, &[2]);
        assert_eq!(held(&input, vec![1i64, -2]).unwrap(), [1.0, -2.0]);
        assert_eq!(held(&input, vec![7u16, 2]).unwrap(), [7.0, 2.0]);
        let e = held(&input, vec![1.0f32, 2.0]).unwrap_err();
        assert!(e.contains(".astype(numpy.int32)"), "{e}");
        assert!(held(&input, vec![0, 1i64 << 31]).is_err());
        let byte = fixed(DataType::UInt8, &[2]);
        assert!(held(&byte, vec![0i32, 255]).is_ok());
        assert!(held(&byte, vec![0i32, 256]).is_err());
        assert!(held(&byte, vec![0i32, -1]).is_err());
        let bit = fixed(DataType::Bool, &[2]);
        assert_eq!(held(&bit, vec![0i32, 1]).unwrap(), [0.0, 1.0]);
        assert!(held(&bit, vec![0i32, 2]).is_err());
    }

    #[test]
    fn images_take_pixels() {
        let feature = Feature {
            name: "x".into(),
            description: String::new(),
            kind: FeatureKind::Image(ImageFeature {
                color: ColorSpace::Rgb,
                width: 4,
                height: 2,
                flexibility: Flexibility::Enumerated(vec![vec![2, 4], vec![3, 5]]),
            }),
            optional: false,
        };
        let ty = TensorType::new(
            DataType::Float32,
            vec![Dim::Known(1), Dim::Known(3), Dim::Unknown, Dim::Unknown],
        );
        let input = Input::new("x", &ty, Some(&feature));
        assert_eq!(input.default_shape, [1, 3, 2, 4]);
        assert_eq!(input.shape_problem(&[1, 3, 3, 5]), None);
        assert!(input.shape_problem(&[1, 3, 2, 5]).is_some());
        assert!(input.shape_problem(&[2, 4, 3]).is_some());
        assert!(held(&input, vec![0i32, 255]).is_ok());
        assert!(held(&input, vec![0i32, 256]).is_err());
        assert!(input.to_string().contains("RGB"));
    }

    #[test]
    fn flexible_shapes_are_kept_to() {
        let ty = TensorType::new(DataType::Float32, vec![Dim::Known(1), Dim::Unknown]);
        let ranges = Flexibility::Ranges(vec![(1, Some(1)), (2, Some(8))]);
        let input = Input::new("x", &ty, Some(&array_feature(&[1, 4], ranges)));
        assert_eq!(input.default_shape, [1, 4]);
        assert_eq!(input.shape_problem(&[1, 8]), None);
        let e = input.shape_problem(&[1, 9]).unwrap();
        assert!(e.contains("2..8"), "{e}");
        assert!(input.shape_problem(&[1, 1]).is_some());
        assert!(input.shape_problem(&[8]).is_some());
        let open = Flexibility::Ranges(vec![(1, Some(1)), (2, None)]);
        let input = Input::new("x", &ty, Some(&array_feature(&[], open)));
        assert_eq!(input.default_shape, [1, 2]);
        assert_eq!(input.shape_problem(&[1, 1_000_000]), None);
        let input = Input::new("x", &ty, Some(&array_feature(&[1, 4], Flexibility::Fixed)));
        assert!(input.shape_problem(&[1, 5]).is_some());
        // Nothing says how long the second axis is.
        let input = Input::new("x", &ty, None);
        assert_eq!(input.shape_problem(&[1, 5]), None);
    }
}
