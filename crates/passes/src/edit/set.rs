//! Metadata, descriptions, the default function, element types and defaults.

use milwright_ir::features::ColorSpace;
use milwright_ir::{DataType, Model, Program};
use milwright_package::{Spec, proto};
use proto::feature_type::Type;
use serde::Serialize;

use super::dtype::Retyped;
use super::features::{Features, functions, no_feature};
use super::{Edited, Error, with_description};
use crate::hint::glob;

/// A text of the metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// What the model does.
    Description,
    /// Its version.
    Version,
    /// Its author.
    Author,
    /// Its licence.
    License,
    /// A key of its author's choice.
    UserDefined(String),
}

impl Field {
    /// Name, as messages and `--unset` spell it.
    pub fn name(&self) -> &str {
        match self {
            Field::Description => "description",
            Field::Version => "version",
            Field::Author => "author",
            Field::License => "license",
            Field::UserDefined(key) => key,
        }
    }
}

/// One thing to set.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// A text of the metadata; `None` removes it.
    Metadata(Field, Option<String>),
    /// What is said of a feature.
    FeatureDescription(String, String),
    /// The function that runs when the host names none.
    DefaultFunction(String),
    /// The element type of the inputs and outputs that a pattern matches. Of
    /// what a pattern with `*` or `?` matches, only floats change.
    Dtype(String, DataType),
    /// The value of every element of an input that is left out; `None` makes
    /// the input necessary.
    Default(String, Option<f64>),
    /// The layout of an image's pixels.
    Color(String, ColorSpace),
}

/// An input or output that keeps its element type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// The function that it belongs to.
    pub function: String,
    /// `input` or `output`.
    pub what: &'static str,
    /// Its name.
    pub name: String,
    /// Why.
    pub why: String,
}

/// What was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// What it is: `author`, `input x: type`, ...
    pub what: String,
    /// The function, when it belongs to one.
    pub function: Option<String>,
    /// Before; empty when there was nothing.
    pub before: String,
    /// After; empty when there is nothing any more.
    pub after: String,
}

/// Sets what is around a program, and the element types at its ends. Names stay
/// what they are. What concerns a feature is done in every function that has
/// it, unless `function` names one.
///
/// Returns the model and what is different, which may be nothing.
///
/// # Errors
/// There is no such feature or function, Core ML does not take the setting, or
/// values could be lost by it.
pub fn set(
    model: &Model,
    settings: &[Setting],
    function: Option<&str>,
) -> Result<(Edited, Vec<Changed>), Error> {
    let mut editor = Editor::new(model, function)?;
    for setting in settings {
        editor.apply(setting)?;
    }
    editor.finish()
}

/// Gives every float array at the ends of every function that element type,
/// under its name, as [`Setting::Dtype`] does. Images, integers and states stay
/// what they are.
///
/// Returns the model, what is different, and what keeps another float type
/// because it cannot have this one or because `keep` lists it.
///
/// # Errors
/// The type is no float type that a feature can have, or a change would drop
/// something that the file holds.
pub fn set_io(
    model: &Model,
    dtype: DataType,
    keep: &[Left],
) -> Result<(Edited, Vec<Changed>, Vec<Left>), Error> {
    if !matches!(dtype, DataType::Float16 | DataType::Float32) {
        return Err(refused("*", format!("fp16 or fp32 is wanted, not {dtype}")));
    }
    let mut editor = Editor::new(model, None)?;
    let (_, left) = editor.retype("*", dtype, Some(keep))?;
    let (edited, changed) = editor.finish()?;
    Ok((edited, changed, left))
}

struct Editor<'m> {
    model: &'m Model,
    wanted: Option<&'m str>,
    program: Program,
    description: proto::ModelDescription,
    version: i32,
    /// Whether the program was.
    touched: bool,
    changed: Vec<Changed>,
}

/// What was changed, before and after.
type Noted = (String, String, String);

fn refused(name: &str, why: impl Into<String>) -> Error {
    Error::Refused {
        name: name.to_owned(),
        why: why.into(),
    }
}

impl<'m> Editor<'m> {
    fn new(model: &'m Model, wanted: Option<&'m str>) -> Result<Self, Error> {
        functions(model.program(), wanted)?;
        Ok(Editor {
            model,
            wanted,
            program: model.program().clone(),
            description: model.spec().description()?,
            version: model.spec().version(),
            touched: false,
            changed: Vec::new(),
        })
    }

    /// The edited model, and what is different.
    fn finish(self) -> Result<(Edited, Vec<Changed>), Error> {
        let model = self.model;
        let edited = if self.touched {
            Edited::new(model, self.program, &self.description)?
        } else {
            Edited {
                program: self.program,
                spec: with_description(model.spec(), &self.description)?,
            }
        };
        let spec: Spec = match self.version == model.spec().version() {
            true => edited.spec,
            false => edited.spec.with_version(self.version)?,
        };
        let mut changed = self.changed;
        changed.retain(|c| c.before != c.after);
        Ok((Edited { spec, ..edited }, changed))
    }

    fn apply(&mut self, setting: &Setting) -> Result<(), Error> {
        match setting {
            Setting::Metadata(field, value) => self.metadata(field, value.as_deref()),
            Setting::FeatureDescription(name, text) => {
                self.each_feature(name, &mut |feature, what| {
                    let text = text.clone();
                    let before = std::mem::replace(&mut feature.short_description, text.clone());
                    Ok((format!("{what}: description"), before, text))
                })
            }
            Setting::DefaultFunction(name) => self.default_function(name),
            Setting::Dtype(pattern, dtype) => self.dtype(pattern, *dtype),
            Setting::Default(name, value) => {
                self.each_feature(name, &mut |feature, what| default(feature, what, *value))
            }
            Setting::Color(name, color) => self.color(name, *color),
        }
    }

    fn note(&mut self, what: impl Into<String>, before: String, after: String) {
        self.changed.push(Changed {
            what: what.into(),
            function: None,
            before,
            after,
        });
    }

    fn metadata(&mut self, field: &Field, value: Option<&str>) -> Result<(), Error> {
        if value.is_none() && self.description.metadata.is_none() {
            return Err(refused(field.name(), "the metadata has no such entry"));
        }
        let all = self.description.metadata.get_or_insert_default();
        let text = value.unwrap_or_default().to_owned();
        let place = match field {
            Field::Description => &mut all.short_description,
            Field::Version => &mut all.version_string,
            Field::Author => &mut all.author,
            Field::License => &mut all.license,
            Field::UserDefined(key) => {
                let entries = &mut all.user_defined;
                let at = entries.iter().position(|entry| entry.key == *key);
                let before = match (at, value) {
                    (Some(at), Some(_)) => std::mem::replace(&mut entries[at].value, text.clone()),
                    (Some(at), None) => entries.remove(at).value,
                    (None, Some(_)) => {
                        entries.push(proto::StringEntry {
                            key: key.clone(),
                            value: text.clone(),
                        });
                        String::new()
                    }
                    (None, None) => {
                        let keys: Vec<&str> = entries.iter().map(|e| e.key.as_str()).collect();
                        let why = format!(
                            "the metadata has no such entry; keys there are: {}",
                            if keys.is_empty() {
                                "none".to_owned()
                            } else {
                                keys.join(", ")
                            }
                        );
                        return Err(refused(key, why));
                    }
                };
                self.note(format!("metadata {key}"), before, text);
                return Ok(());
            }
        };
        let before = std::mem::replace(place, text.clone());
        if value.is_none() && before.is_empty() {
            return Err(refused(field.name(), "the metadata has no such entry"));
        }
        self.note(field.name(), before, text);
        Ok(())
    }

    fn default_function(&mut self, name: &str) -> Result<(), Error> {
        self.program.function(Some(name))?;
        let listed = self.description.functions.iter().any(|f| f.name == name);
        if !listed {
            return Err(refused(
                name,
                "the description lists no functions, so the only one is the default",
            ));
        }
        let place = &mut self.description.default_function_name;
        let before = std::mem::replace(place, name.to_owned());
        self.note("default function", before, name.to_owned());
        Ok(())
    }

    /// Calls `f` on every feature of that name, with words for it, and notes
    /// what it says of the change.
    fn each_feature(
        &mut self,
        name: &str,
        f: &mut dyn FnMut(&mut proto::FeatureDescription, &str) -> Result<Noted, Error>,
    ) -> Result<(), Error> {
        let mut found = false;
        for (_, function) in functions(self.model.program(), self.wanted)? {
            let Some(features) = Features::of(&mut self.description, &function.name) else {
                continue;
            };
            let lists = [
                ("input", features.input),
                ("output", features.output),
                ("state", features.state),
            ];
            for (what, list) in lists {
                for feature in list.iter_mut().filter(|f| f.name == name) {
                    found = true;
                    let (what, before, after) = f(feature, &format!("{what} {name}"))?;
                    self.changed.push(Changed {
                        what,
                        function: Some(function.name.clone()),
                        before,
                        after,
                    });
                }
            }
        }
        if found {
            return Ok(());
        }
        Err(no_feature(
            &self.program,
            &self.description,
            name,
            self.wanted,
        ))
    }

    fn color(&mut self, name: &str, color: ColorSpace) -> Result<(), Error> {
        let Some(number) = color.to_proto() else {
            return Err(refused(name, "that is no colour layout"));
        };
        if color == ColorSpace::GrayscaleFloat16 && self.version < HALF_SINCE {
            self.raise();
        }
        self.each_feature(name, &mut |feature, what| {
            let Some(Type::ImageType(image)) =
                feature.r#type.as_mut().and_then(|t| t.r#type.as_mut())
            else {
                return Err(refused(name, "it is no image"));
            };
            let before = ColorSpace::from_proto(image.color_space());
            if before.channels() != color.channels() {
                let why = format!(
                    "it is {}, with {} channels, and the program takes as many",
                    before.name(),
                    before.channels()
                );
                return Err(refused(name, why));
            }
            image.color_space = number.into();
            let words = (before.name().to_owned(), color.name().to_owned());
            Ok((format!("{what}: colours"), words.0, words.1))
        })
    }

    /// Raises the specification version to the first with fp16 features.
    fn raise(&mut self) {
        let before = std::mem::replace(&mut self.version, HALF_SINCE);
        self.note(
            "specification version",
            before.to_string(),
            HALF_SINCE.to_string(),
        );
    }

    fn dtype(&mut self, pattern: &str, dtype: DataType) -> Result<(), Error> {
        if !matches!(
            dtype,
            DataType::Float16 | DataType::Float32 | DataType::Int32
        ) {
            return Err(refused(
                pattern,
                format!("a feature is fp16, fp32 or int32, not {dtype}"),
            ));
        }
        if self.retype(pattern, dtype, None)?.0 {
            return Ok(());
        }
        Err(match is_pattern(pattern) {
            true => refused(pattern, "no input or output of a float type matches it"),
            false => no_feature(&self.program, &self.description, pattern, self.wanted),
        })
    }

    /// Gives inputs and outputs that a pattern matches an element type; whether
    /// there are any. What cannot have it is an error; or, with `keep`, listed,
    /// as is what `keep` names.
    fn retype(
        &mut self,
        pattern: &str,
        dtype: DataType,
        keep: Option<&[Left]>,
    ) -> Result<(bool, Vec<Left>), Error> {
        let is_pattern = is_pattern(pattern);
        let mut found = false;
        let mut left = Vec::new();
        for (index, function) in functions(self.model.program(), self.wanted)? {
            let Some(features) = Features::of(&mut self.description, &function.name) else {
                continue;
            };
            let mut changed = Vec::new();
            let lists = [(true, features.input), (false, features.output)];
            for (is_input, list) in lists {
                for feature in list.iter_mut() {
                    if !glob(pattern, &feature.name) {
                        continue;
                    }
                    let name = feature.name.clone();
                    let what = if is_input { "input" } else { "output" };
                    let array = match feature.r#type.as_mut().and_then(|t| t.r#type.as_mut()) {
                        Some(Type::MultiArrayType(array)) => array,
                        _ if is_pattern => continue,
                        Some(Type::ImageType(_)) => {
                            return Err(refused(
                                &name,
                                "it is an image, whose pixels have one type",
                            ));
                        }
                        _ => return Err(refused(&name, "it is no tensor")),
                    };
                    let retyped = Retyped {
                        program: &mut self.program,
                        function: index,
                        name: &name,
                        dtype,
                    };
                    let before = retyped.before(is_input)?;
                    if is_pattern && !(before.is_float() && dtype.is_float()) {
                        continue;
                    }
                    found = true;
                    if before == dtype {
                        continue;
                    }
                    let kept = keep.and_then(|keep| {
                        let mut all = keep.iter();
                        all.find(|k| {
                            k.name == name && k.what == what && k.function == function.name
                        })
                    });
                    if let Some(kept) = kept {
                        left.push(kept.clone());
                        continue;
                    }
                    let can = retyped.check(is_input, before);
                    let array_after = match can.and_then(|()| with_dtype(&name, array, dtype)) {
                        Ok(array) => array,
                        Err(Error::Refused { why, .. }) if keep.is_some() => {
                            left.push(Left {
                                function: function.name.clone(),
                                what,
                                name,
                                why,
                            });
                            continue;
                        }
                        Err(error) => return Err(error),
                    };
                    retyped.apply(is_input, before)?;
                    *array = array_after;
                    changed.push(Changed {
                        what: format!("{what} {name}: type"),
                        function: Some(function.name.clone()),
                        before: before.to_string(),
                        after: dtype.to_string(),
                    });
                }
            }
            if !changed.is_empty() && dtype == DataType::Float16 {
                super::dtype::raise_opset(&mut self.program, index);
            }
            self.touched |= !changed.is_empty();
            self.changed.append(&mut changed);
        }
        if dtype == DataType::Float16 && self.version < HALF_SINCE && self.touched {
            self.raise();
        }
        Ok((found, left))
    }
}

/// Whether a text names features by a pattern, and not one by its name.
fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// The first specification version (iOS 16) with fp16 features.
const HALF_SINCE: i32 = 7;

/// A feature with another element type; its default value is the same number.
fn with_dtype(
    name: &str,
    array: &proto::ArrayFeatureType,
    dtype: DataType,
) -> Result<proto::ArrayFeatureType, Error> {
    use proto::array_feature_type::{ArrayDataType, DefaultOptionalValue as D};
    let mut array = array.clone();
    let to = match dtype {
        DataType::Float16 => ArrayDataType::Float16,
        DataType::Int32 => ArrayDataType::Int32,
        _ => ArrayDataType::Float32,
    };
    array.data_type = to.into();
    let number = match array.default_optional_value {
        None => return Ok(array),
        Some(D::IntDefaultValue(v)) => f64::from(v),
        Some(D::FloatDefaultValue(v)) => f64::from(v),
        Some(D::DoubleDefaultValue(v)) => v,
    };
    let value = match dtype.is_float() && !number.is_finite() {
        true => D::FloatDefaultValue(number as f32),
        false => default_value(name, to, number).map_err(|error| match error {
            Error::Refused { name, why } => {
                let why = format!("its default is {number}: {why}; set another default first");
                Error::Refused { name, why }
            }
            other => other,
        })?,
    };
    array.default_optional_value = Some(value);
    Ok(array)
}

/// A number as the default of an input of that type.
fn default_value(
    name: &str,
    dtype: proto::array_feature_type::ArrayDataType,
    v: f64,
) -> Result<proto::array_feature_type::DefaultOptionalValue, Error> {
    use proto::array_feature_type::{ArrayDataType, DefaultOptionalValue as D};
    Ok(match dtype {
        ArrayDataType::Int32 | ArrayDataType::Int8 => {
            if v.fract() != 0.0 || v < f64::from(i32::MIN) || v > f64::from(i32::MAX) {
                return Err(refused(name, format!("it holds integers, and {v} is none")));
            }
            D::IntDefaultValue(v as i32)
        }
        ArrayDataType::Double => D::DoubleDefaultValue(v),
        ArrayDataType::Float16 if v.is_finite() && v.abs() > 65504.0 => {
            return Err(refused(
                name,
                format!("fp16 ends at 65504, and {v} is beyond"),
            ));
        }
        _ if !(v as f32).is_finite() => {
            return Err(refused(name, format!("fp32 does not hold {v}")));
        }
        _ => D::FloatDefaultValue(v as f32),
    })
}

/// Sets the default of an input, or makes it necessary.
fn default(
    feature: &mut proto::FeatureDescription,
    what: &str,
    value: Option<f64>,
) -> Result<Noted, Error> {
    use proto::array_feature_type::DefaultOptionalValue as D;
    let name = feature.name.clone();
    if !what.starts_with("input ") {
        return Err(refused(&name, "only an input can be left out"));
    }
    let ty = feature.r#type.get_or_insert_default();
    let Some(Type::MultiArrayType(array)) = ty.r#type.as_mut() else {
        return Err(refused(&name, "only a tensor has a default value"));
    };
    let words = |optional: bool, value: &Option<D>| match (optional, value) {
        (_, Some(D::IntDefaultValue(v))) => v.to_string(),
        (_, Some(D::FloatDefaultValue(v))) => v.to_string(),
        (_, Some(D::DoubleDefaultValue(v))) => v.to_string(),
        (true, None) => "0, being optional".to_owned(),
        (false, None) => "none".to_owned(),
    };
    let before = words(ty.is_optional, &array.default_optional_value);
    array.default_optional_value = match value {
        None => None,
        Some(v) => Some(default_value(&name, array.data_type(), v)?),
    };
    ty.is_optional = value.is_some();
    let after = words(ty.is_optional, &array.default_optional_value);
    Ok((format!("{what}: default"), before, after))
}
