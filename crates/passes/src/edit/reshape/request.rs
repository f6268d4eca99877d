//! The shapes that are asked for.

use milwright_ir::Dim;
use milwright_ir::features::Flexibility;
use milwright_package::proto;
use proto::array_feature_type::{EnumeratedShapes, Shape, ShapeFlexibility, ShapeRange};
use proto::feature_type::Type;
use proto::image_feature_type as image;

use super::super::Error;

/// Shapes that an input shall take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The input.
    pub input: String,
    /// Its shapes.
    pub wanted: Wanted,
}

/// See [`Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Bounds of each size, both included; a fixed size has two equal ones, and
    /// `None` is no bound.
    Ranges(Vec<(u64, Option<u64>)>),
    /// One of these.
    Enumerated(Vec<Vec<u64>>),
}

impl Request {
    /// Reads `x=1,64,32`, `x=1..512,32`, `x=1..,32` or `x=1,64;1,128`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (input, shapes) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}`: write it as INPUT=SIZE,SIZE,..."))?;
        let wrong = |part: &str| {
            format!("`{part}` in `{text}` is no size; write 64, 1..512 or 1.. for each dimension")
        };
        let number = |part: &str| -> Result<u64, String> {
            let n = part.trim().parse::<u64>().ok();
            n.filter(|&n| n > 0 && i64::try_from(n).is_ok())
                .ok_or_else(|| wrong(part))
        };
        let all: Vec<&str> = shapes.split(';').collect();
        let wanted = if let [only] = all.as_slice() {
            let sizes = only.split(',').map(|part| match part.split_once("..") {
                None => number(part).map(|n| (n, Some(n))),
                Some((low, "")) => Ok((number(low)?, None)),
                Some((low, high)) => {
                    let (low, high) = (number(low)?, number(high)?);
                    match low <= high {
                        true => Ok((low, Some(high))),
                        false => Err(wrong(part)),
                    }
                }
            });
            Wanted::Ranges(sizes.collect::<Result<_, _>>()?)
        } else {
            let shapes = all
                .iter()
                .map(|shape| shape.split(',').map(number).collect());
            let shapes: Vec<Vec<u64>> = shapes.collect::<Result<_, String>>()?;
            if shapes.iter().any(|s| s.len() != shapes[0].len()) {
                return Err(format!(
                    "`{text}`: the shapes must have as many sizes as each other"
                ));
            }
            Wanted::Enumerated(shapes)
        };
        Ok(Request {
            input: input.to_owned(),
            wanted,
        })
    }
}

impl Wanted {
    /// How many dimensions it has.
    pub(super) fn rank(&self) -> usize {
        match self {
            Wanted::Ranges(sizes) => sizes.len(),
            Wanted::Enumerated(shapes) => shapes.first().map_or(0, Vec::len),
        }
    }

    /// The shape in the program: what is fixed, and `?` elsewhere.
    pub(super) fn dims(&self) -> Vec<Dim> {
        (0..self.rank())
            .map(|axis| match self {
                Wanted::Ranges(sizes) => match sizes[axis] {
                    (low, Some(high)) if low == high => Dim::Known(low),
                    _ => Dim::Unknown,
                },
                Wanted::Enumerated(shapes) => {
                    let first = shapes.first().map(|s| s[axis]);
                    let one = first.filter(|&first| shapes.iter().all(|s| s[axis] == first));
                    one.map_or(Dim::Unknown, Dim::Known)
                }
            })
            .collect()
    }

    fn allows(&self, shape: &[u64]) -> bool {
        match self {
            Wanted::Ranges(sizes) => {
                sizes.len() == shape.len()
                    && sizes
                        .iter()
                        .zip(shape)
                        .all(|(&(low, high), &n)| n >= low && high.is_none_or(|h| n <= h))
            }
            Wanted::Enumerated(shapes) => shapes.iter().any(|s| s == shape),
        }
    }

    /// The shape that is the default: the one that was, if it is allowed, else
    /// the nearest.
    fn default(&self, before: &[u64]) -> Vec<u64> {
        if self.allows(before) {
            return before.to_vec();
        }
        match self {
            Wanted::Ranges(sizes) => sizes
                .iter()
                .enumerate()
                .map(|(axis, &(low, high))| {
                    let old = before.get(axis).copied().unwrap_or(low);
                    old.clamp(low, high.unwrap_or(u64::MAX).max(low))
                })
                .collect(),
            Wanted::Enumerated(shapes) => shapes.first().cloned().unwrap_or_default(),
        }
    }

    fn flexibility(&self) -> Flexibility {
        match self {
            Wanted::Ranges(sizes) if sizes.iter().all(|&(l, h)| h == Some(l)) => Flexibility::Fixed,
            Wanted::Ranges(sizes) => Flexibility::Ranges(sizes.clone()),
            Wanted::Enumerated(shapes) => Flexibility::Enumerated(shapes.clone()),
        }
    }

    /// Writes the shapes into the description of the input.
    pub(super) fn describe(&self, feature: &mut proto::FeatureDescription) -> Result<(), Error> {
        let refused = |why: String| Error::Refused {
            name: feature.name.clone(),
            why,
        };
        match feature.r#type.as_ref().and_then(|t| t.r#type.as_ref()) {
            Some(Type::MultiArrayType(a)) => {
                let before: Vec<u64> = a.shape.iter().map(|&n| n.unsigned_abs()).collect();
                let default = self.default(&before);
                if let Some(Type::MultiArrayType(a)) =
                    feature.r#type.as_mut().and_then(|t| t.r#type.as_mut())
                {
                    set_array(a, &default, &self.flexibility());
                }
                Ok(())
            }
            Some(Type::ImageType(i)) => {
                let channels = match i.color_space() {
                    image::ColorSpace::Rgb | image::ColorSpace::Bgr => 3,
                    _ => 1,
                };
                let outer = [1, channels];
                let fits = match self {
                    Wanted::Ranges(s) => {
                        s.len() == 4
                            && s.iter()
                                .zip(outer)
                                .all(|(&(l, h), n)| l == n && h == Some(n))
                    }
                    Wanted::Enumerated(all) => all.iter().all(|s| s.len() == 4 && s[..2] == outer),
                };
                if !fits {
                    return Err(refused(format!(
                        "it is an image of {channels} channel(s), whose shape is \
                         1,{channels},HEIGHT,WIDTH"
                    )));
                }
                let before = [1, channels, i.height.unsigned_abs(), i.width.unsigned_abs()];
                let default = self.default(&before);
                if let Some(Type::ImageType(i)) =
                    feature.r#type.as_mut().and_then(|t| t.r#type.as_mut())
                {
                    set_image(i, &default, &self.flexibility());
                }
                Ok(())
            }
            _ => Err(refused("it is neither a tensor nor an image".to_owned())),
        }
    }
}

fn signed(shape: &[u64]) -> Vec<i64> {
    let sizes = shape.iter().map(|&n| i64::try_from(n).unwrap_or(i64::MAX));
    sizes.collect()
}

fn range((lower_bound, high): (u64, Option<u64>)) -> proto::SizeRange {
    proto::SizeRange {
        lower_bound,
        upper_bound: high.and_then(|h| i64::try_from(h).ok()).unwrap_or(-1),
    }
}

fn set_array(array: &mut proto::ArrayFeatureType, default: &[u64], other: &Flexibility) {
    array.shape = signed(default);
    array.shape_flexibility = match other {
        Flexibility::Fixed => None,
        Flexibility::Ranges(sizes) => Some(ShapeFlexibility::ShapeRange(ShapeRange {
            size_ranges: sizes.iter().copied().map(range).collect(),
        })),
        Flexibility::Enumerated(shapes) => {
            let shapes = shapes.iter().map(|s| Shape { shape: signed(s) });
            Some(ShapeFlexibility::EnumeratedShapes(EnumeratedShapes {
                shapes: shapes.collect(),
            }))
        }
    };
}

fn set_image(i: &mut proto::ImageFeatureType, default: &[u64], other: &Flexibility) {
    use image::{EnumeratedImageSizes, ImageSize, ImageSizeRange, SizeFlexibility};
    let sizes = signed(default);
    if let [.., height, width] = sizes[..] {
        (i.height, i.width) = (height, width);
    }
    i.size_flexibility = match other {
        Flexibility::Fixed => None,
        Flexibility::Ranges(sizes) => {
            let axis = |n: usize| sizes.get(n).copied().map(range);
            Some(SizeFlexibility::ImageSizeRange(ImageSizeRange {
                height_range: axis(2),
                width_range: axis(3),
            }))
        }
        Flexibility::Enumerated(shapes) => {
            let sizes = shapes.iter().map(|s| ImageSize {
                height: s.get(2).copied().unwrap_or(1),
                width: s.get(3).copied().unwrap_or(1),
            });
            Some(SizeFlexibility::EnumeratedSizes(EnumeratedImageSizes {
                sizes: sizes.collect(),
            }))
        }
    };
}
