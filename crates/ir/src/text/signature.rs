//! What a text says to the caller of its model: the description that stands in
//! a package beside the program.
//!
//! Inputs, outputs and states follow from the functions. Where an input has no
//! fixed shape, the shapes that it takes stand in an attribute of the function,
//! `FlexibleShapeInformation`, which Apple's compiler writes there; two more
//! attributes, which are ours, say which of them are images.

use std::collections::BTreeMap;
use std::ops::Range;

use milwright_package::proto;
use proto::feature_type::Type;

use super::Parsed;
use super::images::{self, Images};
use super::metadata::{Known, Metadata, Schema};
use crate::arena::ValueId;
use crate::constant::{ConstData, Constant, NoBlobs};
use crate::diagnostic::{Diagnostic, Lines, Location, Severity, TextSpan};
use crate::features::{
    ArrayFeature, ColorSpace, Description, FeatureKind, Flexibility, ImageFeature, Signature,
};
use crate::ops::Opset;
use crate::program::{Function, Program};
use crate::types::{DataType, Dim, TensorType, ValueType};

/// The function attribute that holds shapes.
const SHAPES: &str = "FlexibleShapeInformation";

/// The function attributes that text alone needs: a package's description says
/// the same.
pub(crate) const ATTRIBUTES: [&str; 3] = [SHAPES, images::INPUTS, images::OUTPUTS];

/// The shapes of one input: the default, and the others.
#[derive(Clone, Default, PartialEq)]
struct Shapes {
    default: Option<Vec<u64>>,
    flexibility: Flexibility,
}

/// What the attributes say of the features of one role, by name. An image is
/// `None` where it is listed wrongly, which is an error of its own.
#[derive(Default)]
struct Listed {
    shapes: BTreeMap<String, Shapes>,
    images: BTreeMap<String, Option<ImageFeature>>,
}

/// Builds the description of a program that was read from `text`.
pub(super) struct Describer<'a> {
    pub(super) parsed: &'a Parsed,
    pub(super) text: &'a str,
    /// What the compiler wrote down beside the text.
    pub(super) metadata: Option<&'a Metadata>,
    pub(super) errors: Vec<Diagnostic>,
    pub(super) notes: Vec<String>,
}

impl Describer<'_> {
    /// The description, and the specification version that it needs.
    pub(super) fn describe(&mut self) -> (proto::ModelDescription, i32) {
        let parsed = self.parsed;
        let functions = &parsed.program.functions;
        let mut described: Vec<proto::FunctionDescription> =
            (0..functions.len()).map(|n| self.function(n)).collect();
        let named = self.metadata.map(|m| !m.functions.is_empty());
        let one = matches!(functions.as_slice(), [f] if f.name == "main");
        let mut description = proto::ModelDescription::default();
        if named.unwrap_or(!one) || functions.len() > 1 {
            description.default_function_name = self.default_function();
            description.functions = described;
        } else if let Some(only) = described.pop() {
            description.input = only.input;
            description.output = only.output;
            description.state = only.state;
            description.predicted_feature_name = only.predicted_feature_name;
            description.predicted_probabilities_name = only.predicted_probabilities_name;
        }
        let version = self.version(&description);
        if let Some(metadata) = self.metadata {
            description.metadata = metadata.about();
        }
        (description, version)
    }

    fn default_function(&self) -> String {
        let functions = &self.parsed.program.functions;
        let told = self.metadata.and_then(|m| m.default_function.clone());
        let main = functions.iter().find(|f| f.name == "main");
        let first = main.or(functions.first()).map(|f| f.name.clone());
        told.or(first).unwrap_or_default()
    }

    /// That of the newest opset, unless the compiler noted another; states and
    /// several functions came with iOS 18, fp16 features with iOS 16.
    fn version(&self, description: &proto::ModelDescription) -> i32 {
        if let Some(version) = self.metadata.and_then(|m| m.version) {
            return version;
        }
        let functions = &self.parsed.program.functions;
        let opsets = functions.iter().filter_map(Function::known_opset).max();
        let by_opset = match opsets {
            Some(Opset::IOS13 | Opset::IOS14) => 4,
            Some(Opset::IOS15) | None => 6,
            Some(Opset::IOS16) => 7,
            Some(Opset::IOS17) => 8,
            Some(Opset::IOS18) => 9,
            Some(Opset::IOS26) => 10,
        };
        let all = Description::from_proto(description);
        let features = all.functions.iter();
        let mut features = features.flat_map(|f| f.inputs.iter().chain(&f.outputs));
        let half = features.any(|f| match &f.kind {
            FeatureKind::Array(a) => a.dtype == Some(DataType::Float16),
            FeatureKind::Image(i) => i.color == ColorSpace::GrayscaleFloat16,
            _ => false,
        });
        let stateful = all.functions.iter().any(|f| !f.states.is_empty());
        let needed = match (stateful || !description.functions.is_empty(), half) {
            (true, _) => 9,
            (false, true) => 7,
            (false, false) => 6,
        };
        by_opset.max(needed)
    }

    fn function(&mut self, index: usize) -> proto::FunctionDescription {
        let program = &self.parsed.program;
        let function = &program.functions[index];
        let schema = self.metadata.map(|m| m.schema(&function.name));
        let shapes = match function.attributes.iter().find(|(name, _)| name == SHAPES) {
            Some((_, constant)) => read_shapes(constant),
            None => BTreeMap::new(),
        };
        let is_state = |id: &&ValueId| matches!(program.values[**id].ty, ValueType::State(_));
        let states: Vec<ValueId> = function.inputs.iter().filter(is_state).copied().collect();
        let inputs = function.inputs.iter().filter(|id| !is_state(id));
        let inputs: Vec<ValueId> = inputs.copied().collect();
        let outputs = function.body().map(|b| program.blocks[b].outputs.clone());
        let outputs = outputs.unwrap_or_default();
        let taken = Listed {
            shapes,
            images: self.images(index, "input", &inputs),
        };
        let given = Listed {
            shapes: BTreeMap::new(),
            images: self.images(index, "output", &outputs),
        };
        let mut described = proto::FunctionDescription {
            name: function.name.clone(),
            input: self.features("input", &inputs, schema.as_ref(), &taken),
            output: self.features("output", &outputs, schema.as_ref(), &given),
            state: self.features("state", &states, schema.as_ref(), &Listed::default()),
            ..proto::FunctionDescription::default()
        };
        let classify = outputs.iter().filter_map(|&v| program.def_op(v));
        if let Some(op) = classify
            .map(|op| &program.ops[op])
            .find(|op| op.op_type == "classify")
        {
            let name = |n: usize| op.outputs.get(n).map(|&v| program.values[v].name.clone());
            described.predicted_feature_name = name(0).unwrap_or_default();
            described.predicted_probabilities_name = name(1).unwrap_or_default();
        }
        described
    }

    /// The images among the inputs or outputs of a function, by its attribute.
    fn images(
        &mut self,
        function: usize,
        role: &str,
        values: &[ValueId],
    ) -> BTreeMap<String, Option<ImageFeature>> {
        let name = match role {
            "input" => images::INPUTS,
            _ => images::OUTPUTS,
        };
        let program = &self.parsed.program;
        let mut attributes = program.functions[function].attributes.iter().enumerate();
        let Some((n, (_, constant))) = attributes.find(|(_, (known, _))| known == name) else {
            return BTreeMap::new();
        };
        let place = self.parsed.attribute_place(function, n);
        let images = Images::read(constant, self.text, place, role, |name| {
            let mut values = values.iter().map(|&v| &program.values[v]);
            values.find(|value| value.name == name).map(|v| &v.ty)
        });
        for (place, problem) in images.errors {
            self.error(
                TextSpan::of(self.text, place),
                format!("`{name}`: {problem}"),
            );
        }
        images.by_name
    }

    fn error(&mut self, place: TextSpan, message: String) {
        let location = Location {
            text: Some(place),
            ..Location::default()
        };
        let error = Diagnostic::new(Severity::Error, "mil-signature", location, message);
        self.errors.push(error);
    }

    /// The features of one role, in the order of the metadata if there is some.
    fn features(
        &mut self,
        role: &'static str,
        values: &[ValueId],
        schema: Option<&Schema>,
        listed: &Listed,
    ) -> Vec<proto::FeatureDescription> {
        let name = |id: ValueId| self.parsed.program.values[id].name.as_str();
        let known = schema.map(|s| s.role(role)).unwrap_or_default();
        let mut ordered: Vec<(ValueId, Option<&Known>)> = Vec::new();
        for entry in known {
            match values.iter().find(|&&id| name(id) == entry.name) {
                Some(&id) => ordered.push((id, Some(entry))),
                None => self.notes.push(format!(
                    "metadata.json lists the {role} `{}`, which the program does not have; left out",
                    entry.name
                )),
            }
        }
        for &id in values {
            if !ordered.iter().any(|(other, _)| *other == id) {
                ordered.push((id, None));
            }
        }
        let mut features = Vec::new();
        for (id, known) in ordered {
            let name = self.parsed.program.values[id].name.clone();
            if let Some(None) = listed.images.get(&name) {
                continue;
            }
            match self.feature(role, id, known, listed) {
                Ok(ty) => features.push(proto::FeatureDescription {
                    short_description: known.map(|k| k.description.clone()).unwrap_or_default(),
                    r#type: Some(proto::FeatureType {
                        r#type: Some(ty),
                        is_optional: known.is_some_and(|k| k.optional),
                    }),
                    name,
                }),
                Err(problem) => {
                    let place = self.parsed.value_place(id, &Lines::of(self.text));
                    let place = place.unwrap_or(TextSpan::of(self.text, Range::default()));
                    self.error(place, format!("the {role} `{name}` {problem}"));
                }
            }
            let name = &self.parsed.program.values[id].name;
            if let Some(unknown) = known.and_then(|k| k.unknown)
                && !listed.images.contains_key(name)
            {
                self.notes.push(format!(
                    "metadata.json says of the image `{name}` what is not understood: its {unknown}"
                ));
            }
            if known.is_some_and(|k| k.optional) {
                self.notes.push(format!(
                    "the default value of the optional input `{name}` is not known"
                ));
            }
        }
        features
    }

    fn feature(
        &mut self,
        role: &str,
        id: ValueId,
        known: Option<&Known>,
        listed: &Listed,
    ) -> Result<Type, String> {
        let value = &self.parsed.program.values[id];
        let ty = match &value.ty {
            ValueType::State(inner) => inner,
            ty => ty,
        };
        let tensor = match ty {
            ValueType::Tensor(t) if t.dtype == DataType::String => {
                return Ok(Type::StringType(proto::Empty {}));
            }
            ValueType::Tensor(t) if t.dtype == DataType::Int64 && t.shape.is_empty() => {
                return Ok(Type::Int64Type(proto::Empty {}));
            }
            ValueType::Tensor(t) => t,
            // A dictionary feature holds the type of its keys: field 1 for
            // integers, field 2 for texts, both empty messages.
            ValueType::Dict { key, .. } => {
                let text = **key == TensorType::scalar(DataType::String).into();
                let key: &[u8] = if text { b"\x12\0" } else { b"\x0a\0" };
                return Ok(Type::DictionaryType(key.into()));
            }
            other => return Err(format!("is a {other}, which no feature can be")),
        };
        let image = known.and_then(|k| k.image.as_ref());
        let image = image.or(listed.images.get(&value.name).and_then(Option::as_ref));
        if let Some(image) = image.and_then(ImageFeature::to_proto) {
            return Ok(Type::ImageType(image));
        }
        let shapes = listed.shapes.get(&value.name);
        let told = known.and_then(|k| Some((k.shape.clone()?, k.flexibility.clone())));
        let listed = shapes.and_then(|s| Some((s.default.clone()?, s.flexibility.clone())));
        let fixed = || {
            tensor
                .known_shape()
                .map(|shape| (shape, Flexibility::Fixed))
        };
        let (shape, flexibility) = match told.or(listed).or_else(fixed) {
            Some((shape, flexibility)) => {
                let untold = role == "output" && shape.is_empty();
                if !untold && !allows(tensor, &shape) {
                    return Err(format!(
                        "has the type {tensor}, and the default shape {shape:?}"
                    ));
                }
                (shape, flexibility)
            }
            // Outputs need none.
            None if role == "output" => (Vec::new(), Flexibility::Fixed),
            None => {
                return Err(format!(
                    "has the type {tensor}, and the function has no {SHAPES} that says which \
                     shapes it takes; give it a fixed shape, or add that attribute"
                ));
            }
        };
        let array = ArrayFeature {
            dtype: Some(tensor.dtype),
            shape,
            flexibility,
            default: None,
        };
        let array = array
            .to_proto()
            .ok_or_else(|| format!("is of {}, which no feature can hold; cast it", tensor.dtype))?;
        Ok(if role == "state" {
            Type::StateType(proto::StateFeatureType {
                array_type: Some(array),
            })
        } else {
            Type::MultiArrayType(array)
        })
    }
}

fn allows(ty: &TensorType, shape: &[u64]) -> bool {
    ty.rank().is_none()
        || ty.shape.len() == shape.len()
            && ty.shape.iter().zip(shape).all(|(dim, size)| match dim {
                Dim::Known(known) => known == size,
                Dim::Unknown | Dim::Variadic => true,
            })
}

/// The shapes of inputs, by name, in a `FlexibleShapeInformation`. What is not
/// understood is not there, and missed where it is needed.
fn read_shapes(constant: &Constant) -> BTreeMap<String, Shapes> {
    let mut found: BTreeMap<String, Shapes> = BTreeMap::new();
    let ConstData::Tuple(parts) = &constant.data else {
        return found;
    };
    for part in parts {
        let ConstData::Tuple(pair) = &part.data else {
            continue;
        };
        let [
            title,
            Constant {
                data: ConstData::Dict(entries),
                ..
            },
        ] = pair.as_slice()
        else {
            continue;
        };
        let inputs = entries.iter().filter_map(|(k, v)| Some((k.as_str()?, v)));
        match title.as_str() {
            Some("DefaultShapes") => {
                for (input, shape) in inputs {
                    found.entry(input.to_owned()).or_default().default = sizes(shape);
                }
            }
            Some("RangeDims") => {
                for (input, ranges) in inputs {
                    let ConstData::List(ranges) = &ranges.data else {
                        continue;
                    };
                    let range = |c: &Constant| match c.to_i64s(&NoBlobs).ok()?.as_slice() {
                        &[low, high] => Some((u64::try_from(low).ok()?, u64::try_from(high).ok())),
                        _ => None,
                    };
                    if let Some(ranges) = ranges.iter().map(range).collect() {
                        found.entry(input.to_owned()).or_default().flexibility =
                            Flexibility::Ranges(ranges);
                    }
                }
            }
            Some("EnumeratedShapes") => {
                // Each entry is one combination: the shapes of all inputs.
                for (_, combination) in inputs {
                    let ConstData::Dict(shapes) = &combination.data else {
                        continue;
                    };
                    for (input, shape) in shapes {
                        let (Some(input), Some(shape)) = (input.as_str(), sizes(shape)) else {
                            continue;
                        };
                        let entry = found.entry(input.to_owned()).or_default();
                        match &mut entry.flexibility {
                            Flexibility::Enumerated(all) => all.push(shape),
                            other => *other = Flexibility::Enumerated(vec![shape]),
                        }
                    }
                }
            }
            _ => {}
        }
    }
    found
}

/// The sizes of a shape written as a vector of integers, whose type leaves the
/// number open.
fn sizes(constant: &Constant) -> Option<Vec<u64>> {
    let ConstData::Tensor(crate::constant::TensorData::Ints(v)) = &constant.data else {
        return None;
    };
    v.iter().map(|&d| u64::try_from(d).ok()).collect()
}

/// The program with what its text must say beside it, in attributes of its
/// functions: `FlexibleShapeInformation` where inputs take several shapes, as
/// Apple's compiler adds it, and which inputs and outputs are images.
///
/// In a package such attributes mean nothing, and the description holds. Where
/// the two differ, the program gets what the description says; what its own
/// attributes said is lost to the text, and the notes name them.
pub fn with_signature(program: &Program, description: &Description) -> (Program, Vec<String>) {
    let mut program = program.clone();
    let mut notes = Vec::new();
    for function in &mut program.functions {
        let Some(signature) = description.signature(&function.name) else {
            continue;
        };
        let told = [
            flexible(signature),
            images::write(&signature.inputs),
            images::write(&signature.outputs),
        ];
        for (name, told) in ATTRIBUTES.into_iter().zip(told) {
            let own = function.attributes.iter().find(|(known, _)| known == name);
            if let Some((_, own)) = own {
                if says_same(name, own, told.as_ref()) {
                    continue;
                }
                notes.push(format!(
                    "the function `{}` has an attribute `{name}`, which does not say what the \
                     package's description does; it is left out, for text holds the description there",
                    function.name
                ));
            }
            function.attributes.retain(|(known, _)| known != name);
            function
                .attributes
                .extend(told.map(|c| (name.to_owned(), c)));
        }
    }
    (program, notes)
}

/// Whether two forms of an attribute mean the same.
fn says_same(name: &str, own: &Constant, told: Option<&Constant>) -> bool {
    if name == SHAPES {
        return read_shapes(own) == told.map(read_shapes).unwrap_or_default();
    }
    let sorted = |constant| {
        images::entries(constant).map(|mut entries| {
            entries.sort_unstable();
            entries
        })
    };
    sorted(own) == told.map_or(Some(Vec::new()), sorted)
}

/// The shapes of the inputs that have several.
fn flexible(signature: &Signature) -> Option<Constant> {
    let inputs = signature.inputs.iter();
    let shapes = inputs.filter_map(|input| match &input.kind {
        FeatureKind::Array(a) if a.flexibility != Flexibility::Fixed => {
            Some((input.name.as_str(), &a.shape, &a.flexibility))
        }
        _ => None,
    });
    write_shapes(&shapes.collect::<Vec<_>>())
}

fn write_shapes(inputs: &[(&str, &Vec<u64>, &Flexibility)]) -> Option<Constant> {
    if inputs.is_empty() {
        return None;
    }
    let mut inputs = inputs.to_vec();
    inputs.sort_by_key(|(name, ..)| *name);
    let string = || ValueType::from(TensorType::scalar(DataType::String));
    let dict_type = |value: &ValueType| ValueType::Dict {
        key: Box::new(string()),
        value: Box::new(value.clone()),
    };
    let dict = |value: ValueType, entries: Vec<(String, Constant)>| {
        let entries = entries.into_iter();
        let pairs = entries.map(|(k, v)| (Constant::string(k), v)).collect();
        Constant::new(dict_type(&value), ConstData::Dict(pairs))
    };
    let ints = |shape: Vec<Dim>, sizes: Vec<i32>| {
        Constant::tensor(
            TensorType::new(DataType::Int32, shape),
            crate::constant::TensorData::Ints(sizes),
        )
    };
    let size = |d: u64| i32::try_from(d).unwrap_or(i32::MAX);
    let shape = |s: &[u64]| ints(vec![Dim::Unknown], s.iter().map(|&d| size(d)).collect());
    let shape_type = ValueType::from(TensorType::new(DataType::Int32, vec![Dim::Unknown]));
    let range_type = ValueType::List {
        element: Box::new(TensorType::fixed(DataType::Int32, &[2]).into()),
        length: Dim::Unknown,
    };

    let defaults = inputs
        .iter()
        .map(|(name, s, _)| ((*name).to_owned(), shape(s)));
    let mut parts = vec![(
        "DefaultShapes",
        dict(shape_type.clone(), defaults.collect()),
    )];
    let ranges: Vec<(String, Constant)> = inputs
        .iter()
        .filter_map(|(name, _, flexibility)| {
            let Flexibility::Ranges(ranges) = flexibility else {
                return None;
            };
            let ranges = ranges.iter().map(|&(low, high)| {
                ints(vec![Dim::Known(2)], vec![size(low), high.map_or(-1, size)])
            });
            let data = ConstData::List(ranges.collect());
            Some(((*name).to_owned(), Constant::new(range_type.clone(), data)))
        })
        .collect();
    if !ranges.is_empty() {
        parts.push(("RangeDims", dict(range_type, ranges)));
    }
    let longest = inputs.iter().map(|(_, _, f)| match f {
        Flexibility::Enumerated(shapes) => shapes.len(),
        _ => 0,
    });
    let combinations: Vec<(String, Constant)> = (0..longest.max().unwrap_or(0))
        .map(|n| {
            let shapes = inputs.iter().filter_map(|(name, _, f)| match f {
                Flexibility::Enumerated(all) => Some(((*name).to_owned(), shape(all.get(n)?))),
                _ => None,
            });
            (n.to_string(), dict(shape_type.clone(), shapes.collect()))
        })
        .collect();
    if !combinations.is_empty() {
        parts.push((
            "EnumeratedShapes",
            dict(dict_type(&shape_type), combinations),
        ));
    }
    let parts = parts.into_iter().map(|(title, shapes)| {
        let ty = ValueType::Tuple(vec![string(), shapes.ty.clone()]);
        Constant::new(ty, ConstData::Tuple(vec![Constant::string(title), shapes]))
    });
    let parts: Vec<Constant> = parts.collect();
    let ty = ValueType::Tuple(parts.iter().map(|p| p.ty.clone()).collect());
    Some(Constant::new(ty, ConstData::Tuple(parts)))
}
