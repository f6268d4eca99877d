//! `metadata.json`, what Apple's compiler writes down about a model beside its
//! text: features in their order, descriptions, author, licence.

use milwright_package::proto;
use proto::image_feature_type::ColorSpace;
use serde_json::{Map, Value};

use crate::features::Flexibility;

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
    pub(super) image: Option<proto::ImageFeatureType>,
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
        let list = |key: &str| serde_json::from_str(&text(entry, key)).ok();
        let ranges = list("shapeRange").map(|v: Vec<(u64, i64)>| {
            let ranges = v
                .into_iter()
                .map(|(low, high)| (low, u64::try_from(high).ok()));
            Flexibility::Ranges(ranges.collect())
        });
        let enumerated = || {
            let shapes: Vec<Vec<u64>> =
                serde_json::from_str(&text(entry, "enumeratedShapes")).ok()?;
            Some(Flexibility::Enumerated(shapes))
        };
        let is_flexible = text(entry, "hasShapeFlexibility") == "1";
        let flexibility = ranges.or_else(enumerated).filter(|_| is_flexible);
        let shape: Option<Vec<u64>> = serde_json::from_str(&text(entry, "shape")).ok();
        Known {
            name: text(entry, "name"),
            description: text(entry, "shortDescription"),
            optional: text(entry, "isOptional") == "1",
            // Flexible in a way that is not understood: the text may say it.
            shape: shape.filter(|_| is_flexible == flexibility.is_some()),
            flexibility: flexibility.unwrap_or_default(),
            image: (text(entry, "type") == "Image")
                .then(|| image(entry))
                .flatten(),
        }
    }
}

/// A fixed-size image; `None` when its size or colours are not understood.
fn image(entry: &Map<String, Value>) -> Option<proto::ImageFeatureType> {
    let size = |key: &str| text(entry, key).parse::<i64>().ok().filter(|&n| n > 0);
    let color = match text(entry, "colorspace").to_ascii_uppercase().as_str() {
        "RGB" => ColorSpace::Rgb,
        "BGR" => ColorSpace::Bgr,
        "GRAYSCALE" => ColorSpace::Grayscale,
        "GRAYSCALE16HALF" | "GRAYSCALEFLOAT16" | "GRAYSCALE_FLOAT16" => {
            ColorSpace::GrayscaleFloat16
        }
        _ => return None,
    };
    Some(proto::ImageFeatureType {
        width: size("width")?,
        height: size("height")?,
        color_space: color.into(),
        size_flexibility: None,
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
