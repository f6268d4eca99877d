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
    let mut editor = Editor {
        model,
        wanted: function,
        program: model.program().clone(),
        description: model.spec().description()?,
        version: model.spec().version(),
        touched: false,
        changed: Vec::new(),
    };
    functions(&editor.program, function)?;
    for setting in settings {
        editor.apply(setting)?;
    }
    let edited = if editor.touched {
        Edited::new(model, editor.program, &editor.description)?
    } else {
        Edited {
            program: editor.program,
            spec: with_description(model.spec(), &editor.description)?,
        }
    };
    let spec: Spec = match editor.version == model.spec().version() {
        true => edited.spec,
        false => edited.spec.with_version(editor.version)?,
    };
    let mut changed = editor.changed;
    changed.retain(|c| c.before != c.after);
    Ok((Edited { spec, ..edited }, changed))
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

impl Editor<'_> {
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
        let is_pattern = pattern.contains(['*', '?']);
        let mut found = false;
        for (index, function) in functions(self.model.program(), self.wanted)? {
            let Some(features) = Features::of(&mut self.description, &function.name) else {
                continue;
            };
            let lists = [(true, features.input), (false, features.output)];
            for (is_input, list) in lists {
                for feature in list.iter_mut() {
                    if !glob(pattern, &feature.name) {
                        continue;
                    }
                    let name = feature.name.clone();
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
                    retyped.apply(is_input, before)?;
                    self.touched = true;
                    retype(array, dtype);
                    let what = if is_input { "input" } else { "output" };
                    self.changed.push(Changed {
                        what: format!("{what} {name}: type"),
                        function: Some(function.name.clone()),
                        before: before.to_string(),
                        after: dtype.to_string(),
                    });
                }
            }
            if found && dtype == DataType::Float16 {
                super::dtype::raise_opset(&mut self.program, index);
            }
        }
        if !found {
            return Err(match is_pattern {
                true => refused(pattern, "no input or output of a float type matches it"),
                false => no_feature(&self.program, &self.description, pattern, self.wanted),
            });
        }
        if dtype == DataType::Float16 && self.version < HALF_SINCE && self.touched {
            self.raise();
        }
        Ok(())
    }
}

/// The first specification version (iOS 16) with fp16 features.
const HALF_SINCE: i32 = 7;

/// Sets the element type of a feature; a default value stays the same number.
fn retype(array: &mut proto::ArrayFeatureType, dtype: DataType) {
    use proto::array_feature_type::{ArrayDataType, DefaultOptionalValue as D};
    let to = match dtype {
        DataType::Float16 => ArrayDataType::Float16,
        DataType::Int32 => ArrayDataType::Int32,
        _ => ArrayDataType::Float32,
    };
    array.data_type = to.into();
    array.default_optional_value = array.default_optional_value.take().map(|value| {
        let number = match value {
            D::IntDefaultValue(v) => f64::from(v),
            D::FloatDefaultValue(v) => f64::from(v),
            D::DoubleDefaultValue(v) => v,
        };
        match dtype {
            DataType::Int32 => D::IntDefaultValue(number as i32),
            _ => D::FloatDefaultValue(number as f32),
        }
    });
}

/// Sets the default of an input, or makes it necessary.
fn default(
    feature: &mut proto::FeatureDescription,
    what: &str,
    value: Option<f64>,
) -> Result<Noted, Error> {
    use proto::array_feature_type::{ArrayDataType, DefaultOptionalValue as D};
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
        Some(v) => Some(match array.data_type() {
            ArrayDataType::Int32 | ArrayDataType::Int8 => {
                if v.fract() != 0.0 || v < f64::from(i32::MIN) || v > f64::from(i32::MAX) {
                    return Err(refused(
                        &name,
                        format!("it holds integers, and {v} is none"),
                    ));
                }
                D::IntDefaultValue(v as i32)
            }
            ArrayDataType::Double => D::DoubleDefaultValue(v),
            ArrayDataType::Float16 if v.is_finite() && v.abs() > 65504.0 => {
                return Err(refused(
                    &name,
                    format!("fp16 ends at 65504, and {v} is beyond"),
                ));
            }
            _ if !(v as f32).is_finite() => {
                return Err(refused(&name, format!("fp32 does not hold {v}")));
            }
            _ => D::FloatDefaultValue(v as f32),
        }),
    };
    ty.is_optional = value.is_some();
    let after = words(ty.is_optional, &array.default_optional_value);
    Ok((format!("{what}: default"), before, after))
}
