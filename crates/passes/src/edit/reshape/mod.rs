//! Other shapes for inputs, with the types of everything behind them.
//!
//! A program is full of sizes that were worked out when it was exported:
//! constants of `reshape`, ends of slices, tables of positions. The types of a
//! function are inferred twice, at the old shapes and at the new ones, and each
//! operation that reads something whose shape changed is held against what it
//! made of the old one. What keeps the old size is named. A parameter for
//! which the number of elements leaves one choice can be written again without
//! the size ([`Follow`]); everything else is for the user to decide.

mod follow;
mod hints;
mod look;
mod request;
mod search;

use std::collections::BTreeMap;

use milwright_ir::features::Description;
use milwright_ir::sizes::Shapes;
use milwright_ir::{
    ConstData, Constant, DataType, Dim, Model, OpId, Program, Sizes, TensorType, ValueDef, ValueId,
    ValueType,
};
use milwright_package::proto;
use proto::feature_type::Type;
use serde::Serialize;

use super::features::{Features, functions};
use super::{Edited, Error};
use crate::cut::SeamTypes;
use search::{Search, points};

pub use follow::Follow;
pub use request::{Request, Wanted};

/// An operation that was written for the old sizes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fixed {
    /// The function.
    pub function: String,
    /// The first result of the operation.
    pub output: String,
    /// Its type.
    pub op_type: String,
    /// What in it is of the old size.
    pub contains: String,
    /// What that means at the new one.
    pub why: String,
    /// How it can be written for every size; `None` when that cannot be told.
    pub follow: Option<String>,
    /// Whether the new shapes contradict it. Otherwise it computes something
    /// else than it did, without an error, which may be meant.
    pub contradicts: bool,
}

/// What a reshape may do beside changing inputs.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The function; all that have the inputs without it.
    pub function: Option<String>,
    /// Write parameters again that allow one choice.
    pub follow: bool,
    /// Results of operations that are to stay as they are, although they were
    /// written for the old size.
    pub keep: Vec<String>,
    /// Other values for constants, by name.
    pub constants: Vec<(String, Constant)>,
}

/// A shape of an input or output before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reshaped {
    /// The function.
    pub function: String,
    /// `input`, `output` or `constant`.
    pub what: &'static str,
    /// Its name.
    pub name: String,
    /// Its type before.
    pub before: String,
    /// Its type after.
    pub after: String,
}

/// What came of a reshape.
#[derive(Debug)]
pub struct Outcome {
    /// The model; `None` when operations are left that were written for the old
    /// sizes.
    pub edited: Option<Edited>,
    /// Inputs, outputs and constants.
    pub shapes: Vec<Reshaped>,
    /// Operations that were written again.
    pub followed: Vec<Fixed>,
    /// Operations that stay, because they were named in [`Options::keep`].
    pub kept: Vec<Fixed>,
    /// Operations that are in the way.
    pub left: Vec<Fixed>,
    /// Numbers that may be the old size by chance or by meaning. Only a person
    /// can tell; they are not in the way.
    pub numbers: Vec<Fixed>,
}

/// Gives inputs other shapes: fixed, between bounds, or one of several. The
/// types of all values behind them are inferred again, nested blocks included,
/// and the descriptions of the outputs follow.
///
/// # Errors
/// There is no such input, function or constant, the rank would change, or a
/// change would lose something that the file holds. Operations that are in the
/// way are no error, see [`Outcome::left`].
pub fn reshape(model: &Model, requests: &[Request], options: &Options) -> Result<Outcome, Error> {
    let mut job = Job {
        model,
        options,
        program: model.program().clone(),
        description: model.spec().description()?,
        outcome: Outcome {
            edited: None,
            shapes: Vec::new(),
            followed: Vec::new(),
            kept: Vec::new(),
            left: Vec::new(),
            numbers: Vec::new(),
        },
    };
    let wanted = options.function.as_deref();
    let all = functions(model.program(), wanted)?;
    for request in requests {
        let has = |index: usize| job.input(index, &request.input).is_some();
        if !all.iter().any(|&(index, _)| has(index)) {
            let description = &job.description;
            let name = &request.input;
            return Err(super::features::no_feature(
                &job.program,
                description,
                name,
                wanted,
            ));
        }
        if requests.iter().filter(|r| r.input == request.input).count() > 1 {
            return Err(Error::Refused {
                name: request.input.clone(),
                why: "it is given two shapes".to_owned(),
            });
        }
    }
    job.replace_constants(&all.iter().map(|&(index, _)| index).collect::<Vec<_>>())?;
    for (index, _) in all {
        let own: Vec<&Request> = requests
            .iter()
            .filter(|r| job.input(index, &r.input).is_some())
            .collect();
        if !own.is_empty() {
            job.function(index, &own)?;
        }
    }
    for name in &options.keep {
        let outcome = &job.outcome;
        let mut found = outcome.kept.iter().chain(&outcome.left);
        if !found.any(|f| f.output == *name) {
            return Err(Error::Refused {
                name: name.clone(),
                why: "no operation of that name was written for the old size, so there is nothing \
                      to keep"
                    .to_owned(),
            });
        }
    }
    let mut outcome = job.outcome;
    if outcome.left.is_empty() {
        outcome.edited = Some(Edited::new(model, job.program, &job.description)?);
    }
    Ok(outcome)
}

struct Job<'m> {
    model: &'m Model,
    options: &'m Options,
    program: Program,
    description: proto::ModelDescription,
    outcome: Outcome,
}

impl Job<'_> {
    fn input(&self, function: usize, name: &str) -> Option<ValueId> {
        let inputs = &self.program.functions[function].inputs;
        let mut inputs = inputs.iter().copied();
        inputs.find(|&v| self.program.values[v].name == name)
    }

    /// Gives constants the values that the user has for them.
    fn replace_constants(&mut self, functions: &[usize]) -> Result<(), Error> {
        for (name, new) in &self.options.constants {
            let refused = |why: String| Error::Refused {
                name: name.clone(),
                why,
            };
            let mut found = false;
            for &index in functions {
                let values = self.program.values_of(&self.program.functions[index]);
                for value in values {
                    if self.program.values[value].name != *name {
                        continue;
                    }
                    let (Some(old), Some(op)) = (
                        self.program.const_of(value).cloned(),
                        self.program.def_op(value),
                    ) else {
                        return Err(refused("it is no constant".to_owned()));
                    };
                    let (Some(from), Some(to)) = (old.tensor_type(), new.tensor_type()) else {
                        return Err(refused("it is no tensor".to_owned()));
                    };
                    if from.dtype != to.dtype || from.shape.len() != to.shape.len() {
                        let types = (from.brief(), to.brief());
                        return Err(refused(format!(
                            "it is {}, and {} is no other size of that",
                            types.0, types.1
                        )));
                    }
                    let function = self.program.functions[index].name.clone();
                    self.outcome.shapes.push(Reshaped {
                        function,
                        what: "constant",
                        name: name.clone(),
                        before: from.brief(),
                        after: to.brief(),
                    });
                    let op = self.program.op_mut(op)?;
                    for (key, constant) in &mut op.attributes {
                        if key == "val" {
                            constant.ty = new.ty.clone();
                            constant.data = new.data.clone();
                        }
                    }
                    self.program.values[value].ty = new.ty.clone();
                    found = true;
                }
            }
            if !found {
                let all = functions.iter().flat_map(|&index| {
                    let values = self.program.values_of(&self.program.functions[index]);
                    values
                        .into_iter()
                        .filter(|&v| self.program.const_of(v).is_some())
                });
                let all: Vec<ValueId> = all.collect();
                let names = all.iter().map(|&v| self.program.values[v].name.as_str());
                let near = milwright_ir::names::nearest(name, names, 3);
                return Err(refused(match near.first() {
                    Some(near) => format!("no constant has that name; did you mean `{near}`?"),
                    None => "no constant has that name".to_owned(),
                }));
            }
        }
        Ok(())
    }

    /// Reshapes the inputs of one function.
    fn function(&mut self, index: usize, requests: &[&Request]) -> Result<(), Error> {
        let old = Description::from_proto(&self.description);
        let name = self.program.functions[index].name.clone();
        let old_signature = old.signature(&name).cloned();
        let old_shapes = old_signature
            .as_ref()
            .map(milwright_ir::sizes::default_shapes)
            .unwrap_or_default();
        let before = self.model.program();
        let old_sizes = Sizes::of(before, &before.functions[index], self.model, &old_shapes)?;

        let mut inputs = Vec::new();
        for request in requests {
            let Some(value) = self.input(index, &request.input) else {
                continue;
            };
            let refused = |why: String| Error::Refused {
                name: request.input.clone(),
                why,
            };
            let ValueType::Tensor(ty) = self.program.values[value].ty.clone() else {
                return Err(refused(
                    "it is a state, whose shape its users fix".to_owned(),
                ));
            };
            let rank = request.wanted.rank();
            if ty.rank() != Some(rank) {
                return Err(refused(format!(
                    "it is {}, and the number of dimensions stays; {rank} sizes were given",
                    ty.brief()
                )));
            }
            self.program.values[value].ty = TensorType::new(ty.dtype, request.wanted.dims()).into();
            let Some(features) = Features::of(&mut self.description, &name) else {
                return Err(refused(format!(
                    "the description does not list function `{name}`"
                )));
            };
            let Some(feature) = features.input.iter_mut().find(|f| f.name == request.input) else {
                return Err(refused("the description does not list it".to_owned()));
            };
            let kind = |feature: &proto::FeatureDescription| words(feature);
            let was = kind(feature);
            request.wanted.describe(feature)?;
            self.outcome.shapes.push(Reshaped {
                function: name.clone(),
                what: "input",
                name: request.input.clone(),
                before: was,
                after: kind(feature),
            });
            inputs.push(value);
        }

        // What is computed from other constants may have other sizes too.
        let names = self.options.constants.iter().map(|(name, _)| name);
        let names: Vec<&String> = names.collect();
        for value in self.program.values_of(&self.program.functions[index]) {
            if names.contains(&&self.program.values[value].name) {
                inputs.push(value);
            }
        }
        let new = Description::from_proto(&self.description);
        let Some(signature) = new.signature(&name).cloned() else {
            return Ok(());
        };
        let points = points(&signature);
        let mut left = self.search(index, &inputs, &old_sizes, &points)?;
        if self.options.follow {
            for (op, (fixed, follow)) in &left {
                if let Some(follow) = follow {
                    follow.apply(&mut self.program, *op)?;
                    self.outcome.followed.push(fixed.clone());
                }
            }
            left = self.search(index, &inputs, &old_sizes, &points)?;
        }
        for (fixed, _) in left.into_values() {
            let keep = !fixed.contradicts && self.options.keep.contains(&fixed.output);
            match keep {
                true => self.outcome.kept.push(fixed),
                false => self.outcome.left.push(fixed),
            }
        }
        if self.outcome.left.is_empty() {
            self.find_numbers(index, &inputs, &old_sizes, &points)?;
            self.set_types(index, &inputs, &points)?;
            self.describe_outputs(index)?;
        }
        Ok(())
    }

    /// What is in the way at any of the shapes.
    fn search(
        &self,
        index: usize,
        inputs: &[ValueId],
        old: &Sizes,
        points: &[Shapes],
    ) -> Result<BTreeMap<OpId, (Fixed, Option<Follow>)>, Error> {
        let mut found = BTreeMap::new();
        for shapes in points {
            let mut search = Search::new(self.model, &self.program, index, inputs, old);
            for (op, (mut fixed, mut follow)) in search.run(shapes)? {
                // Sizes that are right at one of several shapes.
                if let Some(Follow::Shape(shape)) = &follow
                    && points.len() > 1
                    && !shape.contains(&-1)
                {
                    (fixed.follow, follow) = (None, None);
                }
                found.entry(op).or_insert((fixed, follow));
            }
        }
        Ok(found)
    }

    fn find_numbers(
        &mut self,
        index: usize,
        inputs: &[ValueId],
        old: &Sizes,
        points: &[Shapes],
    ) -> Result<(), Error> {
        let search = Search::new(self.model, &self.program, index, inputs, old);
        for shapes in points {
            let new = search.sizes(shapes)?;
            let program = &self.program;
            let found = hints::numbers(self.model, program, index, &search.behind, old, &new);
            for number in found {
                if !self.outcome.numbers.contains(&number) {
                    self.outcome.numbers.push(number);
                }
            }
        }
        Ok(())
    }

    /// Declares what the values behind the inputs are now.
    fn set_types(
        &mut self,
        index: usize,
        inputs: &[ValueId],
        points: &[Shapes],
    ) -> Result<(), Error> {
        let nothing = Sizes::default();
        let search = Search::new(self.model, &self.program, index, inputs, &nothing);
        let open = search.sizes(&Shapes::new())?;
        let at = points
            .iter()
            .map(|shapes| search.sizes(shapes))
            .collect::<Result<Vec<_>, _>>()?;
        let behind = search.behind;
        for value in behind {
            let declared = self.program.values[value].ty.clone();
            let (ValueType::Tensor(old), Some(new)) = (&declared, open.tensor(value)) else {
                continue;
            };
            let mut shape = new.shape.clone();
            if shape.len() == old.shape.len() {
                for (axis, dim) in shape.iter_mut().enumerate() {
                    let same = |sizes: &Sizes| {
                        let shape = sizes.tensor(value).map(|t| &t.shape);
                        shape.and_then(|s| s.get(axis)) == Some(&old.shape[axis])
                    };
                    // What is the same wherever one looks, and was declared.
                    if *dim == Dim::Unknown && at.iter().all(same) {
                        *dim = old.shape[axis];
                    }
                }
            }
            let new = ValueType::Tensor(TensorType::new(old.dtype, shape));
            if new == declared {
                continue;
            }
            match self.program.values[value].def {
                ValueDef::Op(op, _) => {
                    self.program.op_mut(op)?;
                }
                ValueDef::BlockInput(block, _) => {
                    self.program.block_mut(block)?;
                }
                ValueDef::FunctionInput(..) | ValueDef::Undefined => {}
            }
            self.program.values[value].ty = new;
        }
        Ok(())
    }

    /// Outputs whose description has a shape get the new one.
    fn describe_outputs(&mut self, index: usize) -> Result<(), Error> {
        let function = &self.program.functions[index];
        let Some(body) = function.body() else {
            return Ok(());
        };
        let description = Description::from_proto(&self.description);
        let signature = description.signature(&function.name);
        let types = SeamTypes::new(&self.program, function, self.model, signature)?;
        let version = self.model.spec().version();
        let name = function.name.clone();
        let Some(features) = Features::of(&mut self.description, &name) else {
            return Ok(());
        };
        for &value in &self.program.blocks[body].outputs {
            let output = &self.program.values[value].name;
            let Some(feature) = features.output.iter_mut().find(|f| f.name == *output) else {
                continue;
            };
            let was = words(feature);
            match feature.r#type.as_mut().and_then(|t| t.r#type.as_mut()) {
                Some(Type::MultiArrayType(array)) => {
                    // Converters leave the shape out where the program says it.
                    if array.shape.is_empty() && array.shape_flexibility.is_none() {
                        continue;
                    }
                    let new = types.feature(value, output, version).ok();
                    let new = new.and_then(|f| f.r#type?.r#type);
                    match new {
                        Some(Type::MultiArrayType(new)) => {
                            array.shape = new.shape;
                            array.shape_flexibility = new.shape_flexibility;
                        }
                        _ => {
                            array.shape.clear();
                            array.shape_flexibility = None;
                        }
                    }
                }
                Some(Type::ImageType(image)) => {
                    let shape = types.default_type(value).and_then(|t| t.known_shape());
                    let fixed = types.largest_type(value) == types.default_type(value);
                    let Some([_, _, height, width]) = shape.as_deref().filter(|_| fixed) else {
                        return Err(Error::Refused {
                            name: output.clone(),
                            why: "it is an image, and would have several sizes; give the inputs \
                                  fixed shapes"
                                .to_owned(),
                        });
                    };
                    image.height = i64::try_from(*height).unwrap_or(i64::MAX);
                    image.width = i64::try_from(*width).unwrap_or(i64::MAX);
                    image.size_flexibility = None;
                }
                _ => continue,
            }
            let after = words(feature);
            if was != after {
                self.outcome.shapes.push(Reshaped {
                    function: name.clone(),
                    what: "output",
                    name: output.clone(),
                    before: was,
                    after,
                });
            }
        }
        Ok(())
    }
}

/// The type of a feature in words.
fn words(feature: &proto::FeatureDescription) -> String {
    milwright_ir::features::Feature::from_proto(feature)
        .kind
        .to_string()
}

/// A constant for [`Options::constants`], of fp16, fp32 or int32; `None` when
/// that type does not hold a value (floats are rounded), or for another type.
pub fn constant(dtype: DataType, shape: &[u64], values: &[f64]) -> Option<Constant> {
    let bytes: Vec<u8> = match dtype {
        DataType::Float32 => values
            .iter()
            .flat_map(|&v| (v as f32).to_le_bytes())
            .collect(),
        DataType::Float16 => {
            let half = values.iter().map(|&v| half::f16::from_f64(v));
            half.flat_map(half::f16::to_le_bytes).collect()
        }
        DataType::Int32 => {
            let whole = values.iter().map(|&v| {
                let n = v as i32;
                (f64::from(n) == v).then_some(n.to_le_bytes())
            });
            whole.collect::<Option<Vec<_>>>()?.concat()
        }
        _ => return None,
    };
    let ty = TensorType::fixed(dtype, shape);
    Some(Constant::new(ty, ConstData::New(bytes.into())))
}
