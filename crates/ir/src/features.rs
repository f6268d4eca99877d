//! What a model declares to its caller: inputs, outputs, states, metadata.
//!
//! This is the model's description, which the host app sees; the program's own
//! input types are beside it in [`Program`](crate::Program).

use std::fmt;

use milwright_package::proto;

use crate::types::DataType;

/// A decoded model description.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Description {
    /// One entry for each function, in file order. A model that does not list
    /// functions has one, named `main`.
    pub functions: Vec<Signature>,
    /// Function that runs when the host names none.
    pub default_function: String,
    /// Author, licence and the like.
    pub metadata: Metadata,
}

/// Inputs, outputs and states of a function.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Signature {
    /// Name of the function.
    pub function: String,
    /// Inputs in file order.
    pub inputs: Vec<Feature>,
    /// Outputs in file order.
    pub outputs: Vec<Feature>,
    /// States in file order.
    pub states: Vec<Feature>,
}

/// Text about the model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// What the model does.
    pub description: String,
    /// Version, as its author counts.
    pub version: String,
    /// Author.
    pub author: String,
    /// Licence.
    pub license: String,
    /// Free keys and values, in file order.
    pub user_defined: Vec<(String, String)>,
}

/// One input, output or state.
#[derive(Clone, Debug, PartialEq)]
pub struct Feature {
    /// Name, unique among the inputs or outputs.
    pub name: String,
    /// Text for people.
    pub description: String,
    /// What it holds.
    pub kind: FeatureKind,
    /// Whether a caller may leave it out.
    pub optional: bool,
}

/// What a feature holds.
#[derive(Clone, Debug, PartialEq)]
pub enum FeatureKind {
    /// A tensor.
    Array(ArrayFeature),
    /// An image, a tensor `[1, channels, height, width]` to the program.
    Image(ImageFeature),
    /// A tensor that stays between calls.
    State(ArrayFeature),
    /// One integer.
    Int64,
    /// One float.
    Double,
    /// Text.
    String,
    /// A dictionary.
    Dictionary,
    /// A sequence.
    Sequence,
    /// Nothing that this build knows.
    Unknown,
}

/// Element type and shape of a tensor feature.
#[derive(Clone, Debug, PartialEq)]
pub struct ArrayFeature {
    /// `None` when the file does not say, or says something unknown.
    pub dtype: Option<DataType>,
    /// Default shape; may be empty when the file leaves it to the program.
    pub shape: Vec<u64>,
    /// Other shapes that it takes.
    pub flexibility: Flexibility,
    /// Value of every element when an optional input is left out.
    pub default: Option<f64>,
}

/// Shapes that a feature takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Flexibility {
    /// The default shape only.
    #[default]
    Fixed,
    /// One of these.
    Enumerated(Vec<Vec<u64>>),
    /// Between bounds, axis by axis; no upper bound is `None`.
    Ranges(Vec<(u64, Option<u64>)>),
}

/// Colours and size of an image feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFeature {
    /// Layout of a pixel.
    pub color: ColorSpace,
    /// Default width.
    pub width: u64,
    /// Default height.
    pub height: u64,
    /// Other sizes: shapes are `[height, width]`.
    pub flexibility: Flexibility,
}

/// Layout of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColorSpace {
    /// One byte.
    Grayscale,
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// One half-precision float.
    GrayscaleFloat16,
    /// Not given, or unknown.
    Unknown,
}

impl ColorSpace {
    /// Channels of a pixel.
    pub fn channels(self) -> u64 {
        match self {
            Self::Rgb | Self::Bgr => 3,
            Self::Grayscale | Self::GrayscaleFloat16 | Self::Unknown => 1,
        }
    }

    /// The layout of an image's message.
    pub fn from_proto(color: proto::image_feature_type::ColorSpace) -> Self {
        use proto::image_feature_type::ColorSpace as C;
        match color {
            C::Grayscale => Self::Grayscale,
            C::Rgb => Self::Rgb,
            C::Bgr => Self::Bgr,
            C::GrayscaleFloat16 => Self::GrayscaleFloat16,
            C::InvalidColorSpace => Self::Unknown,
        }
    }

    /// The layout as a message holds it; `None` when it is unknown.
    pub fn to_proto(self) -> Option<proto::image_feature_type::ColorSpace> {
        use proto::image_feature_type::ColorSpace as C;
        match self {
            Self::Grayscale => Some(C::Grayscale),
            Self::Rgb => Some(C::Rgb),
            Self::Bgr => Some(C::Bgr),
            Self::GrayscaleFloat16 => Some(C::GrayscaleFloat16),
            Self::Unknown => None,
        }
    }

    /// Name, as the format spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grayscale => "GRAYSCALE",
            Self::Rgb => "RGB",
            Self::Bgr => "BGR",
            Self::GrayscaleFloat16 => "GRAYSCALE_FLOAT16",
            Self::Unknown => "unknown colour space",
        }
    }
}

impl Description {
    /// The description of a spec
    /// ([`Spec::description`](milwright_package::Spec::description)).
    pub fn from_proto(d: &proto::ModelDescription) -> Self {
        let signature = |name: &str, i: &[_], o: &[_], s: &[_]| Signature {
            function: name.to_owned(),
            inputs: i.iter().map(Feature::from_proto).collect(),
            outputs: o.iter().map(Feature::from_proto).collect(),
            states: s.iter().map(Feature::from_proto).collect(),
        };
        let functions = if d.functions.is_empty() {
            vec![signature("main", &d.input, &d.output, &d.state)]
        } else {
            d.functions
                .iter()
                .map(|f| signature(&f.name, &f.input, &f.output, &f.state))
                .collect()
        };
        let default_function = match d.default_function_name.as_str() {
            "" => "main".to_owned(),
            name => name.to_owned(),
        };
        let m = d.metadata.clone().unwrap_or_default();
        Description {
            functions,
            default_function,
            metadata: Metadata {
                description: m.short_description,
                version: m.version_string,
                author: m.author,
                license: m.license,
                user_defined: m
                    .user_defined
                    .into_iter()
                    .map(|e| (e.key, e.value))
                    .collect(),
            },
        }
    }

    /// The signature of a function.
    pub fn signature(&self, function: &str) -> Option<&Signature> {
        self.functions.iter().find(|s| s.function == function)
    }
}

impl Feature {
    /// A feature of a description.
    pub fn from_proto(f: &proto::FeatureDescription) -> Self {
        use proto::feature_type::Type;
        let ty = f.r#type.as_ref();
        let kind = match ty.and_then(|t| t.r#type.as_ref()) {
            Some(Type::MultiArrayType(a)) => FeatureKind::Array(array(a)),
            Some(Type::StateType(s)) => match &s.array_type {
                Some(a) => FeatureKind::State(array(a)),
                None => FeatureKind::Unknown,
            },
            Some(Type::ImageType(i)) => FeatureKind::Image(image(i)),
            Some(Type::Int64Type(_)) => FeatureKind::Int64,
            Some(Type::DoubleType(_)) => FeatureKind::Double,
            Some(Type::StringType(_)) => FeatureKind::String,
            Some(Type::DictionaryType(_)) => FeatureKind::Dictionary,
            Some(Type::SequenceType(_)) => FeatureKind::Sequence,
            None => FeatureKind::Unknown,
        };
        Feature {
            name: f.name.clone(),
            description: f.short_description.clone(),
            kind,
            optional: ty.is_some_and(|t| t.is_optional),
        }
    }
}

fn array(a: &proto::ArrayFeatureType) -> ArrayFeature {
    use proto::array_feature_type::{ArrayDataType, DefaultOptionalValue, ShapeFlexibility};
    ArrayFeature {
        dtype: match a.data_type() {
            ArrayDataType::Float16 => Some(DataType::Float16),
            ArrayDataType::Float32 => Some(DataType::Float32),
            ArrayDataType::Double => Some(DataType::Float64),
            ArrayDataType::Int8 => Some(DataType::Int8),
            ArrayDataType::Int32 => Some(DataType::Int32),
            ArrayDataType::InvalidArrayDataType => None,
        },
        shape: extents(&a.shape),
        flexibility: match &a.shape_flexibility {
            None => Flexibility::Fixed,
            Some(ShapeFlexibility::EnumeratedShapes(e)) => {
                Flexibility::Enumerated(e.shapes.iter().map(|s| extents(&s.shape)).collect())
            }
            Some(ShapeFlexibility::ShapeRange(r)) => {
                Flexibility::Ranges(r.size_ranges.iter().map(range).collect())
            }
        },
        default: a.default_optional_value.as_ref().map(|v| match v {
            DefaultOptionalValue::IntDefaultValue(v) => f64::from(*v),
            DefaultOptionalValue::FloatDefaultValue(v) => f64::from(*v),
            DefaultOptionalValue::DoubleDefaultValue(v) => *v,
        }),
    }
}

fn image(i: &proto::ImageFeatureType) -> ImageFeature {
    use proto::image_feature_type::SizeFlexibility;
    ImageFeature {
        color: ColorSpace::from_proto(i.color_space()),
        width: extent(i.width),
        height: extent(i.height),
        flexibility: match &i.size_flexibility {
            None => Flexibility::Fixed,
            Some(SizeFlexibility::EnumeratedSizes(e)) => {
                Flexibility::Enumerated(e.sizes.iter().map(|s| vec![s.height, s.width]).collect())
            }
            Some(SizeFlexibility::ImageSizeRange(r)) => Flexibility::Ranges(
                [&r.height_range, &r.width_range]
                    .into_iter()
                    .map(|r| r.as_ref().map_or((1, None), range))
                    .collect(),
            ),
        },
    }
}

impl ArrayFeature {
    /// The message of this feature; `None` when no feature can have its element
    /// type.
    pub fn to_proto(&self) -> Option<proto::ArrayFeatureType> {
        use proto::array_feature_type::{
            ArrayDataType as A, DefaultOptionalValue as D, EnumeratedShapes, Shape,
            ShapeFlexibility, ShapeRange,
        };
        let data_type = match self.dtype? {
            DataType::Float16 => A::Float16,
            DataType::Float32 => A::Float32,
            DataType::Float64 => A::Double,
            DataType::Int8 => A::Int8,
            DataType::Int32 => A::Int32,
            _ => return None,
        };
        let signed = |shape: &[u64]| shape.iter().copied().map(signed).collect();
        let shape_flexibility = match &self.flexibility {
            Flexibility::Fixed => None,
            Flexibility::Enumerated(shapes) => {
                let shapes = shapes.iter().map(|s| Shape { shape: signed(s) });
                Some(ShapeFlexibility::EnumeratedShapes(EnumeratedShapes {
                    shapes: shapes.collect(),
                }))
            }
            Flexibility::Ranges(ranges) => Some(ShapeFlexibility::ShapeRange(ShapeRange {
                size_ranges: ranges.iter().copied().map(range_to_proto).collect(),
            })),
        };
        let default_optional_value = self.default.map(|x| match data_type {
            A::Int32 | A::Int8 => D::IntDefaultValue(x as i32),
            A::Double => D::DoubleDefaultValue(x),
            _ => D::FloatDefaultValue(x as f32),
        });
        Some(proto::ArrayFeatureType {
            shape: signed(&self.shape),
            data_type: data_type.into(),
            shape_flexibility,
            default_optional_value,
        })
    }
}

impl ImageFeature {
    /// The message of this feature; `None` when its layout is unknown.
    pub fn to_proto(&self) -> Option<proto::ImageFeatureType> {
        use proto::image_feature_type::{
            EnumeratedImageSizes, ImageSize, ImageSizeRange, SizeFlexibility,
        };
        // Shapes are `[height, width]`.
        let size_flexibility = match &self.flexibility {
            Flexibility::Fixed => None,
            Flexibility::Enumerated(sizes) => {
                let side = |size: &[u64], n: usize| size.get(n).copied().unwrap_or(1);
                let sizes = sizes.iter().map(|size| ImageSize {
                    height: side(size, 0),
                    width: side(size, 1),
                });
                Some(SizeFlexibility::EnumeratedSizes(EnumeratedImageSizes {
                    sizes: sizes.collect(),
                }))
            }
            Flexibility::Ranges(ranges) => {
                let side = |n: usize| ranges.get(n).copied().map(range_to_proto);
                Some(SizeFlexibility::ImageSizeRange(ImageSizeRange {
                    height_range: side(0),
                    width_range: side(1),
                }))
            }
        };
        Some(proto::ImageFeatureType {
            width: signed(self.width),
            height: signed(self.height),
            color_space: self.color.to_proto()?.into(),
            size_flexibility,
        })
    }
}

fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn range_to_proto((lower_bound, high): (u64, Option<u64>)) -> proto::SizeRange {
    proto::SizeRange {
        lower_bound,
        upper_bound: high.and_then(|h| i64::try_from(h).ok()).unwrap_or(-1),
    }
}

fn range(r: &proto::SizeRange) -> (u64, Option<u64>) {
    // A negative upper bound means that there is none.
    (r.lower_bound, u64::try_from(r.upper_bound).ok())
}

fn extents(shape: &[i64]) -> Vec<u64> {
    shape.iter().copied().map(extent).collect()
}

/// A negative extent is nonsense; 0 makes every later check refuse it.
fn extent(d: i64) -> u64 {
    u64::try_from(d).unwrap_or(0)
}

impl fmt::Display for FeatureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Array(a) | Self::State(a) => write!(f, "{a}"),
            Self::Image(i) => write!(f, "{i}"),
            Self::Int64 => f.write_str("int64"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Dictionary => f.write_str("dictionary"),
            Self::Sequence => f.write_str("sequence"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

impl fmt::Display for ArrayFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dtype {
            Some(dtype) => write!(f, "{dtype}")?,
            None => f.write_str("unknown")?,
        }
        f.write_str(" ")?;
        shape(f, &self.shape)?;
        write!(f, "{}", self.flexibility)
    }
}

impl fmt::Display for ImageFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "image {} {}x{}",
            self.color.name(),
            self.width,
            self.height
        )?;
        match &self.flexibility {
            Flexibility::Fixed => Ok(()),
            other => write!(f, " (height, width{other})"),
        }
    }
}

impl fmt::Display for Flexibility {
    /// Nothing when fixed, else a leading ", ".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed => Ok(()),
            Self::Enumerated(shapes) => {
                f.write_str(", one of")?;
                for s in shapes {
                    f.write_str(" ")?;
                    shape(f, s)?;
                }
                Ok(())
            }
            Self::Ranges(ranges) => {
                f.write_str(", range [")?;
                for (i, (low, high)) in ranges.iter().enumerate() {
                    f.write_str(if i == 0 { "" } else { ", " })?;
                    match high {
                        Some(high) if high == low => write!(f, "{low}")?,
                        Some(high) => write!(f, "{low}..{high}")?,
                        None => write!(f, "{low}..")?,
                    }
                }
                f.write_str("]")
            }
        }
    }
}

fn shape(f: &mut fmt::Formatter<'_>, dims: &[u64]) -> fmt::Result {
    let dims: Vec<String> = dims.iter().map(u64::to_string).collect();
    write!(f, "[{}]", dims.join(", "))
}
