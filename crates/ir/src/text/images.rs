//! Images in text.
//!
//! To the program an image is a tensor; that a caller gives or gets a picture
//! stands in a package's description. Text says it in two attributes of the
//! function, which are ours: dictionaries from the name of an input or output
//! to what [`spell`] writes, such as `RGB width=64 height=48`.

use std::collections::BTreeMap;
use std::ops::Range;

use super::lex::{Kind, Lexer};
use crate::constant::{ConstData, Constant};
use crate::features::{ColorSpace, Feature, FeatureKind, Flexibility, ImageFeature};
use crate::types::{DataType, TensorType, ValueType};

/// The function attribute that says which inputs are images.
pub(crate) const INPUTS: &str = "MilwrightImageInputs";

/// The function attribute that says which outputs are images.
pub(crate) const OUTPUTS: &str = "MilwrightImageOutputs";

/// How an image is written.
const FORM: &str = "an image is written as `RGB width=64 height=48`, and when it has several sizes \
                    with `widths=32..128 heights=16..` or `sizes=64x48,128x96` (width x height) \
                    behind that";

/// An image as the attributes say it. Sizes are in pixels; an image without a
/// default size (0 x 0) has none there.
fn spell(image: &ImageFeature) -> String {
    let mut out = image.color.name().to_owned();
    if (image.width, image.height) != (0, 0) {
        out += &format!(" width={} height={}", image.width, image.height);
    }
    let range = |&(low, high): &(u64, Option<u64>)| match high {
        Some(high) => format!("{low}..{high}"),
        None => format!("{low}.."),
    };
    match &image.flexibility {
        Flexibility::Fixed => {}
        Flexibility::Ranges(ranges) => {
            if let [heights, widths] = ranges.as_slice() {
                out += &format!(" widths={} heights={}", range(widths), range(heights));
            }
        }
        Flexibility::Enumerated(sizes) => {
            let sizes = sizes.iter().filter_map(|size| match size.as_slice() {
                [height, width] => Some(format!("{width}x{height}")),
                _ => None,
            });
            out += &format!(" sizes={}", sizes.collect::<Vec<_>>().join(","));
        }
    }
    out
}

/// Reads what [`spell`] writes, and nothing that is spelled otherwise.
///
/// # Errors
/// What is wrong with it.
fn read(text: &str) -> Result<ImageFeature, String> {
    let mut words = text.split(' ');
    let layout = words.next().unwrap_or_default();
    let layouts = [
        ColorSpace::Rgb,
        ColorSpace::Bgr,
        ColorSpace::Grayscale,
        ColorSpace::GrayscaleFloat16,
    ];
    let Some(color) = layouts.into_iter().find(|color| color.name() == layout) else {
        return Err(format!(
            "`{}` is no layout of pixels; there are {}",
            brief(layout),
            layouts.map(ColorSpace::name).join(", ")
        ));
    };
    let mut image = ImageFeature {
        color,
        width: 0,
        height: 0,
        flexibility: Flexibility::Fixed,
    };
    let (mut widths, mut heights) = (None, None);
    for word in words {
        let unknown = || format!("`{}` is not understood; {FORM}", brief(word));
        let (key, value) = word.split_once('=').ok_or_else(unknown)?;
        match key {
            "width" => image.width = pixels(value)?,
            "height" => image.height = pixels(value)?,
            "widths" => widths = Some(range(value)?),
            "heights" => heights = Some(range(value)?),
            "sizes" => {
                let sizes = value.split(',').map(size);
                image.flexibility = Flexibility::Enumerated(sizes.collect::<Result<_, _>>()?);
            }
            _ => return Err(unknown()),
        }
    }
    if let (Some(heights), Some(widths)) = (heights, widths) {
        image.flexibility = Flexibility::Ranges(vec![heights, widths]);
    }
    // What is missing, given twice, in another order or spelled otherwise.
    let spelled = spell(&image);
    if spelled != text {
        return Err(format!("`{}` is not understood; {FORM}", brief(text)));
    }
    let (height, width) = (image.height, image.width);
    let default = format!("the default size {width}x{height} is not among the sizes of the image");
    match &image.flexibility {
        Flexibility::Fixed if (height, width) == (0, 0) => {
            Err(format!("the size is missing; {FORM}"))
        }
        _ if (height, width) == (0, 0) => Ok(image),
        _ if height == 0 || width == 0 => Err(format!("{width}x{height} is no size of an image")),
        Flexibility::Enumerated(sizes) if !sizes.contains(&vec![height, width]) => Err(default),
        Flexibility::Ranges(ranges)
            if !ranges
                .iter()
                .zip([height, width])
                .all(|(&(low, high), n)| low <= n && high.is_none_or(|high| n <= high)) =>
        {
            Err(default)
        }
        _ => Ok(image),
    }
}

/// Enough of a text to know it again.
fn brief(text: &str) -> String {
    let mut brief: String = text.chars().take(40).collect();
    if brief.len() < text.len() {
        brief += "..";
    }
    brief
}

/// A number of pixels. The format holds some of them as signed numbers.
fn pixels(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|n| i64::try_from(*n).is_ok());
    number.ok_or_else(|| format!("`{}` is no number of pixels; {FORM}", brief(text)))
}

fn size(text: &str) -> Result<Vec<u64>, String> {
    let wrong = || format!("`{}` is no size of an image; {FORM}", brief(text));
    let (width, height) = text.split_once('x').ok_or_else(wrong)?;
    let size = vec![pixels(height)?, pixels(width)?];
    if size.contains(&0) {
        return Err(wrong());
    }
    Ok(size)
}

fn range(text: &str) -> Result<(u64, Option<u64>), String> {
    let wrong = || format!("`{}` is no range of sizes; {FORM}", brief(text));
    let (low, high) = text.split_once("..").ok_or_else(wrong)?;
    let high = match high {
        "" => None,
        high => Some(pixels(high)?),
    };
    let low = pixels(low)?;
    if high.is_some_and(|high| high < low || high == 0) {
        return Err(wrong());
    }
    Ok((low, high))
}

/// Whether a value of the program can be that image: a float tensor
/// `[1, channels, height, width]` that has all sizes of the image.
///
/// # Errors
/// Why not.
fn fits(image: &ImageFeature, ty: &ValueType) -> Result<(), String> {
    let channels = image.color.channels();
    let tensor = match ty {
        ValueType::Tensor(tensor) if tensor.dtype.is_float() => tensor,
        other => {
            return Err(format!(
                "it is a {other}, and an image is a tensor of floats"
            ));
        }
    };
    if tensor.rank().is_none() {
        return Ok(());
    }
    let fixed = |axis: usize| tensor.shape[axis].known();
    let outer = |axis: usize, size: u64| fixed(axis).is_none_or(|known| known == size);
    if tensor.rank() != Some(4) || !outer(0, 1) || !outer(1, channels) {
        return Err(format!(
            "it is a {tensor}, and an image of that layout is a tensor [1, {channels}, height, width]"
        ));
    }
    for (n, side) in ["height", "width"].into_iter().enumerate() {
        let Some(known) = fixed(2 + n) else {
            continue;
        };
        let default = [image.height, image.width][n];
        let other = |size: u64| (size != known).then(|| format!("{side} {size}"));
        let differs = match &image.flexibility {
            Flexibility::Fixed => other(default),
            Flexibility::Enumerated(sizes) => {
                let mut sizes = sizes.iter().filter_map(|size| size.get(n).copied());
                sizes.find_map(other)
            }
            Flexibility::Ranges(ranges) => match ranges.get(n) {
                Some(&(low, Some(high))) => other(low).or(other(high)),
                Some(_) => Some(format!("any {side}")),
                None => None,
            },
        };
        if let Some(size) = differs {
            return Err(format!(
                "it is a {tensor}, of {side} {known}, and the image may have {size}"
            ));
        }
    }
    Ok(())
}

/// The attribute for these inputs or outputs, if one of them is an image.
pub(super) fn write(features: &[Feature]) -> Option<Constant> {
    let images = features.iter().filter_map(|feature| match &feature.kind {
        FeatureKind::Image(image) => Some((feature.name.as_str(), spell(image))),
        _ => None,
    });
    let images: BTreeMap<&str, String> = images.collect();
    let string = || Box::new(TensorType::scalar(DataType::String).into());
    let ty = ValueType::Dict {
        key: string(),
        value: string(),
    };
    let pairs = images.iter();
    let pairs = pairs.map(|(&name, image)| (Constant::string(name), Constant::string(image)));
    (!images.is_empty()).then(|| Constant::new(ty, ConstData::Dict(pairs.collect())))
}

/// Names and images of an attribute, in its order; `None` when it is no
/// dictionary of texts.
pub(super) fn entries(constant: &Constant) -> Option<Vec<(&str, &str)>> {
    let ConstData::Dict(pairs) = &constant.data else {
        return None;
    };
    let pairs = pairs.iter();
    pairs
        .map(|(k, v)| Some((k.as_str()?, v.as_str()?)))
        .collect()
}

/// What one of the attributes says, and what is wrong with it.
#[derive(Default)]
pub(super) struct Images {
    /// `None` where an error says why.
    pub(super) by_name: BTreeMap<String, Option<ImageFeature>>,
    /// Where in the text, and what.
    pub(super) errors: Vec<(Range<usize>, String)>,
}

impl Images {
    /// Reads an attribute that stands at `place` in `text`. `ty` gives the type
    /// of an input or output; `role` is which of the two.
    pub(super) fn read<'p>(
        constant: &Constant,
        text: &str,
        place: Range<usize>,
        role: &str,
        ty: impl Fn(&str) -> Option<&'p ValueType>,
    ) -> Self {
        let mut images = Self::default();
        let Some(entries) = entries(constant) else {
            let problem = "the images of a function are a dict<string, string>".to_owned();
            images.errors.push((place, problem));
            return images;
        };
        let places = quoted(text, place.clone());
        for (n, (name, spelled)) in entries.into_iter().enumerate() {
            let at = |n: usize| places.get(n).unwrap_or(&place).clone();
            let read = match (ty(name), read(spelled)) {
                (None, _) => Err((2 * n, format!("the function has no {role} `{name}`"))),
                (_, Err(problem)) => Err((2 * n + 1, problem)),
                (Some(ty), Ok(image)) => fits(&image, ty).map(|()| image).map_err(|problem| {
                    let problem = format!("the {role} `{name}` is no such image: {problem}");
                    (2 * n + 1, problem)
                }),
            };
            if let Err((n, problem)) = &read {
                images.errors.push((at(*n), problem.clone()));
            }
            let known = images.by_name.insert(name.to_owned(), read.ok());
            if known.is_some() {
                let problem = format!("the image `{name}` is given twice");
                images.errors.push((at(2 * n), problem));
            }
        }
        images
    }
}

/// Where the quoted texts between two places of a text are. In a dictionary of
/// texts they are its keys and values by turns.
fn quoted(text: &str, place: Range<usize>) -> Vec<Range<usize>> {
    let inside = text.get(place.clone()).unwrap_or_default();
    let mut lexer = Lexer::new(inside);
    let tokens = std::iter::from_fn(|| Some(lexer.next()).filter(|t| t.kind != Kind::End));
    tokens
        .filter(|token| token.kind == Kind::Quoted)
        .map(|token| token.start + place.start..token.end + place.start)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_one_spelling() {
        let good = [
            "RGB width=64 height=48",
            "BGR width=1 height=1 widths=1.. heights=1..",
            "GRAYSCALE width=64 height=48 widths=32..128 heights=48..48",
            "GRAYSCALE_FLOAT16 width=64 height=48 widths=0..128 heights=16..",
            "RGB width=64 height=48 sizes=64x48",
            "RGB width=64 height=48 sizes=48x64,64x48,64x48",
            "RGB sizes=64x48,48x64",
            "BGR widths=32..64 heights=1..",
            "RGB width=9223372036854775807 height=1",
        ];
        for text in good {
            let image = read(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(spell(&image), text);
        }
        let bad = [
            "",
            "RGB",
            "rgb width=64 height=48",
            "RGBA width=64 height=48",
            "unknown colour space width=64 height=48",
            "RGB 64x48",
            "RGB width=64",
            "RGB height=48 width=64",
            "RGB width=64 height=48 ",
            " RGB width=64 height=48",
            "RGB  width=64 height=48",
            "RGB width=64 height=48 height=48",
            "RGB width=64 width=65 height=48",
            "RGB width=+64 height=48",
            "RGB width=064 height=48",
            "RGB width=-1 height=48",
            "RGB width=6.4 height=48",
            "RGB width=0 height=48",
            "RGB width=64 height=0",
            "RGB width=0 height=0",
            "RGB width=9223372036854775808 height=1",
            "RGB width=64 height=48 widths=32..128",
            "RGB width=64 height=48 heights=32..128",
            "RGB width=64 height=48 heights=32..128 widths=32..128",
            "RGB width=64 height=48 widths=32..128 heights=64..128",
            "RGB width=64 height=48 widths=65.. heights=1..",
            "RGB width=64 height=48 widths=128..32 heights=1..",
            "RGB width=64 height=48 widths=0..0 heights=1..",
            "RGB width=64 height=48 widths=..64 heights=1..",
            "RGB width=64 height=48 widths=64 heights=48",
            "RGB width=64 height=48 widths=1... heights=1..",
            "RGB width=64 height=48 sizes=",
            "RGB width=64 height=48 sizes=48x64",
            "RGB width=64 height=48 sizes=64x48,",
            "RGB width=64 height=48 sizes=64x48,0x48",
            "RGB width=64 height=48 sizes=64x48x1",
            "RGB width=64 height=48 sizes=64x48 widths=1.. heights=1..",
            "RGB width=64 height=48 fast=yes",
        ];
        for text in bad {
            let problem = read(text).expect_err(text);
            assert!(!problem.is_empty());
        }
        assert!(read(&format!("RGB {}", "é".repeat(1 << 20))).is_err_and(|e| e.len() < 400));
    }

    #[test]
    fn images_fit_tensors_of_their_sizes() {
        use DataType::{Float16, Float32, Int32};
        let fixed = TensorType::fixed(Float32, &[1, 3, 48, 64]);
        let mut open = fixed.clone();
        open.shape[2..].fill(crate::types::Dim::Unknown);
        let cases = [
            ("RGB width=64 height=48", fixed.clone(), true),
            ("RGB width=64 height=48", open.clone(), true),
            ("RGB width=48 height=64", fixed.clone(), false),
            ("GRAYSCALE width=64 height=48", fixed.clone(), false),
            ("GRAYSCALE width=64 height=48", open.clone(), false),
            (
                "BGR width=64 height=48 widths=64..64 heights=48..48",
                fixed.clone(),
                true,
            ),
            (
                "BGR width=64 height=48 widths=64.. heights=48..48",
                fixed.clone(),
                false,
            ),
            (
                "BGR width=64 height=48 widths=1..64 heights=48..48",
                fixed.clone(),
                false,
            ),
            (
                "BGR width=64 height=48 widths=1.. heights=1..",
                open.clone(),
                true,
            ),
            ("RGB width=64 height=48 sizes=64x48", fixed.clone(), true),
            (
                "RGB width=64 height=48 sizes=64x48,64x49",
                fixed.clone(),
                false,
            ),
            ("RGB sizes=48x64", fixed, false),
            ("RGB sizes=48x64", open, true),
            (
                "RGB width=2 height=1",
                TensorType::fixed(Float16, &[1, 3, 1, 2]),
                true,
            ),
            (
                "RGB width=2 height=1",
                TensorType::fixed(Int32, &[1, 3, 1, 2]),
                false,
            ),
            (
                "RGB width=2 height=1",
                TensorType::fixed(Float16, &[2, 3, 1, 2]),
                false,
            ),
            (
                "RGB width=2 height=1",
                TensorType::fixed(Float16, &[3, 1, 2]),
                false,
            ),
            (
                "GRAYSCALE_FLOAT16 width=2 height=1",
                TensorType::fixed(Float16, &[1, 1, 1, 2]),
                true,
            ),
        ];
        for (image, ty, fit) in cases {
            let found = fits(&read(image).unwrap(), &ty.clone().into());
            assert_eq!(found.is_ok(), fit, "{image} and {ty}: {found:?}");
        }
    }
}
