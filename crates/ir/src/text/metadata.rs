//! `metadata.json`, what Apple's compiler writes down about a model beside its
//! text: features in their order, descriptions, author, licence.

use milwright_package::proto;
use serde_json::{Map, Value};

use crate::features::{ColorSpace, Flexibility, ImageFeature};

/// What the file says, as far as a package can hold it.
#[derive(Default)]
pub(super) struct Metadata {
    /// Specification version.
    pub(super) version: Option<i32>,
    pub(super) default_function: Option<String>,
    /// By function; empty when the model does not name functions.
    pub(super) functions: Vec<(String, Schema)>,
    main: Schema,
    about: proto::Metadata,
}

/// The features of a function.
#[derive(Clone, Default)]
pub(super) struct Schema {
    inputs: Vec<Known>,
    outputs: Vec<Known>,
    states: Vec<Known>,
}

/// What is known of a feature.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) optional: bool,
    /// Default shape of an array.
    pub(super) shape: Option<Vec<u64>>,
    pub(super) flexibility: Flexibility,
    /// An image, if its layout is understood.
    pub(super) image: Option<ImageFeature>,
    /// What of an image is not understood.
    pub(super) unknown: Option<&'static str>,
}

impl Metadata {
    /// # Errors
    /// What is wrong with the JSON.
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        let json: Value = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        // The file lists models, and there is one.
        let model = json.get(0).and_then(Value::as_object);
        let model = model.ok_or("it is no list of a model's facts")?;
        let functions = model.get("functions").and_then(Value::as_array);
        let functions = functions.into_iter().flatten().filter_map(Value::as_object);
        let user = model.get("userDefinedMetadata").and_then(Value::as_object);
        let user = user.into_iter().flatten().filter_map(|(key, value)| {
            Some(proto::StringEntry {
                key: key.clone(),
                value: value.as_str()?.to_owned(),
            })
        });
        let version = model.get("specificationVersion").and_then(Value::as_i64);
        Ok(Metadata {
            version: version.and_then(|v| i32::try_from(v).ok()),
            default_function: Some(text(model, "defaultFunctionName")).filter(|n| !n.is_empty()),
            functions: functions
                .map(|f| (text(f, "name"), Schema::read(f)))
                .collect(),
            main: Schema::read(model),
            about: proto::Metadata {
                short_description: text(model, "shortDescription"),
                version_string: text(model, "version"),
                author: text(model, "author"),
                license: text(model, "license"),
                user_defined: user.collect(),
            },
        })
    }

    pub(super) fn schema(&self, function: &str) -> Schema {
        let found = self.functions.iter().find(|(name, _)| name == function);
        found.map_or(&self.main, |(_, schema)| schema).clone()
    }

    /// Author and the like, if there is any of it.
    pub(super) fn about(&self) -> Option<proto::Metadata> {
        Some(self.about.clone()).filter(|about| *about != proto::Metadata::default())
    }
}

impl Schema {
    fn read(object: &Map<String, Value>) -> Self {
        let known = |key: &str| {
            let entries = object.get(key).and_then(Value::as_array);
            let entries = entries.into_iter().flatten().filter_map(Value::as_object);
            entries.map(Known::read).collect()
        };
        Schema {
            inputs: known("inputSchema"),
            outputs: known("outputSchema"),
            states: known("stateSchema"),
        }
    }

    /// The features that are `input`, `output` or `state`.
    pub(super) fn role(&self, role: &str) -> &[Known] {
        match role {
            "input" => &self.inputs,
            "output" => &self.outputs,
            _ => &self.states,
        }
    }
}

impl Known {
    fn read(entry: &Map<String, Value>) -> Self {
        let shapes = text(entry, "hasShapeFlexibility") == "1";
        let flexibility = flexibility(entry, ["shapeRange", "enumeratedShapes"]);
        let flexibility = flexibility.filter(|_| shapes);
        let shape: Option<Vec<u64>> = serde_json::from_str(&text(entry, "shape")).ok();
        let is_image = text(entry, "type") == "Image";
        let image = image(entry).filter(|_| is_image);
        let several = text(entry, "hasSizeFlexibility") == "1";
        let unknown = match &image {
            None if is_image => Some("size or layout; it is a tensor now"),
            Some(image) if several && image.flexibility == Flexibility::Fixed => {
                Some("sizes; it has its default size only now")
            }
            _ => None,
        };
        Known {
            name: text(entry, "name"),
            description: text(entry, "shortDescription"),
            optional: text(entry, "isOptional") == "1",
            // Flexible in a way that is not understood: the text may say it.
            shape: shape.filter(|_| shapes == flexibility.is_some()),
            flexibility: flexibility.unwrap_or_default(),
            image,
            unknown,
        }
    }
}

/// The shapes beside the default one, under the keys for ranges and for
/// enumerated shapes; `None` when they are not there or not understood.
fn flexibility(entry: &Map<String, Value>, keys: [&str; 2]) -> Option<Flexibility> {
    let [ranges, enumerated] = keys.map(|key| text(entry, key));
    let ranges: Option<Vec<(u64, i64)>> = serde_json::from_str(&ranges).ok();
    let ranges = ranges.map(|ranges| {
        let ranges = ranges.into_iter();
        let ranges = ranges.map(|(low, high)| (low, u64::try_from(high).ok()));
        Flexibility::Ranges(ranges.collect())
    });
    let enumerated = || serde_json::from_str(&enumerated).ok();
    ranges.or_else(|| enumerated().map(Flexibility::Enumerated))
}

/// An image; `None` when its size or colours are not understood.
///
/// Its sizes are `[width, height]`, as the converter's published source writes
/// them (`FeatureType::toDictionary`).
fn image(entry: &Map<String, Value>) -> Option<ImageFeature> {
    let size = |key: &str| text(entry, key).parse::<u64>().ok().filter(|&n| n > 0);
    let color = match text(entry, "colorspace").to_ascii_uppercase().as_str() {
        "RGB" => ColorSpace::Rgb,
        "BGR" => ColorSpace::Bgr,
        "GRAYSCALE" => ColorSpace::Grayscale,
        "GRAYSCALE16HALF" | "GRAYSCALEFLOAT16" | "GRAYSCALE_FLOAT16" => {
            ColorSpace::GrayscaleFloat16
        }
        _ => return None,
    };
    let flexibility = match flexibility(entry, ["sizeRange", "enumeratedSizes"]) {
        Some(Flexibility::Ranges(ranges)) => match ranges.as_slice() {
            &[width, height] => Flexibility::Ranges(vec![height, width]),
            _ => Flexibility::Fixed,
        },
        Some(Flexibility::Enumerated(mut sizes)) if sizes.iter().all(|s| s.len() == 2) => {
            sizes.iter_mut().for_each(|size| size.reverse());
            Flexibility::Enumerated(sizes)
        }
        _ => Flexibility::Fixed,
    };
    let several = text(entry, "hasSizeFlexibility") == "1";
    Some(ImageFeature {
        width: size("width")?,
        height: size("height")?,
        color,
        flexibility: if several {
            flexibility
        } else {
            Flexibility::Fixed
        },
    })
}

/// The text, or the number as text, of that key; empty when there is none.
fn text(object: &Map<String, Value>, key: &str) -> String {
    match object.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}
