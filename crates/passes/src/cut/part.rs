//! A stage made into a model of its own.

use std::collections::{BTreeMap, HashSet};

use milwright_ir::{
    DataType, Function, Model, Op, OpId, Program, Severity, TensorType, Value, ValueDef, ValueId,
    ValueType, names, verify,
};
use milwright_package::{Spec, proto};

use super::graph::io_type;
use super::shapes::SeamTypes;
use super::{Error, Graph, Plan, casts};
use crate::described::Described;

/// Names that features at seams shall have, instead of those of their values.
#[derive(Debug, Clone, Default)]
pub struct Renames {
    names: BTreeMap<ValueId, String>,
}

impl Renames {
    /// Reads pairs of a value and the name of its feature, and checks that
    /// these values cross a seam and that the names are free.
    ///
    /// # Errors
    /// [`Error::Name`].
    pub fn new(graph: &Graph<'_>, plan: &Plan, pairs: &[(String, String)]) -> Result<Self, Error> {
        let mut given = BTreeMap::new();
        let body = &graph.program.blocks[graph.body];
        for (value, feature) in pairs {
            let wrong = |why: &str| Error::Name {
                value: value.clone(),
                feature: feature.clone(),
                why: why.to_owned(),
            };
            let mut crossing = plan.seams.iter().flat_map(|s| &s.values);
            let Some(&id) = crossing.find(|&&v| graph.name(v) == value) else {
                return Err(wrong("that value does not cross a seam"));
            };
            if body.outputs.contains(&id) {
                return Err(wrong(
                    "that value is an output of the model, and its name stays",
                ));
            }
            if let Some(why) = names::problem(feature) {
                return Err(wrong(why));
            }
            let live = graph.program.walk(graph.body).into_iter();
            let mut taken = live
                .flat_map(|op| &graph.program.ops[op].outputs)
                .chain(&graph.function.inputs)
                .map(|&v| (v, graph.name(v)))
                .chain(given.iter().map(|(&v, n): (_, &String)| (v, n.as_str())));
            if taken.any(|(v, name)| name == feature && v != id) {
                return Err(wrong("another value has that name"));
            }
            if given.insert(id, feature.clone()).is_some() {
                return Err(wrong("that value is named twice"));
            }
        }
        Ok(Renames { names: given })
    }

    /// The name of a value's feature.
    pub fn of<'a>(&'a self, graph: &'a Graph<'_>, value: ValueId) -> &'a str {
        match self.names.get(&value) {
            Some(name) => name,
            None => graph.name(value),
        }
    }
}

/// A seam whose type no feature can have, so that both sides convert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cast {
    /// The value inside of the stages.
    pub value: String,
    /// Its type there.
    pub inside: DataType,
    /// The feature that stands for it.
    pub feature: String,
    /// The type of the feature; it holds every value of the other one.
    pub outside: DataType,
}

/// An input or output of a stage that is not a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Io {
    /// Name of the feature.
    pub name: String,
    /// Its type in the program.
    pub ty: ValueType,
    /// For an input, the stage that gives it; `None` is the caller.
    pub from: Option<usize>,
}

/// A stage as a program of its own, ready to be saved with
/// [`Model::save_as`].
#[derive(Debug)]
pub struct Part {
    /// The program: one function, `main`.
    pub program: Program,
    /// What stands around it.
    pub spec: Spec,
    /// What it takes.
    pub inputs: Vec<Io>,
    /// What it gives.
    pub outputs: Vec<Io>,
    /// Names of its states.
    pub states: Vec<String>,
    /// Seams that it converts.
    pub casts: Vec<Cast>,
}

impl Part {
    /// Makes a stage of a plan.
    ///
    /// # Errors
    /// The types at the seam cannot be worked out, or bytes that would have to
    /// change hold something that would be lost.
    pub fn new(
        model: &Model,
        graph: &Graph<'_>,
        plan: &Plan,
        stage: usize,
        renames: &Renames,
        types: &SeamTypes,
    ) -> Result<Self, Error> {
        let mut builder = Builder {
            graph,
            plan,
            stage,
            renames,
            types,
            signature: Described::of(model, &graph.function.name)?,
            version: model.spec().version(),
            program: Program::default(),
            body: Vec::new(),
            inputs: Vec::new(),
            features: Features::default(),
            made: Made::default(),
        };
        builder.build()?;
        let Builder {
            program,
            features,
            signature,
            made,
            ..
        } = builder;
        let found = verify(&program, model);
        let findings: Vec<String> = found
            .iter()
            .filter(|d| d.severity == Severity::Error)
            .map(ToString::to_string)
            .collect();
        if !findings.is_empty() {
            return Err(Error::Broken {
                stage: format!("stage {}", stage + 1),
                findings,
            });
        }
        let description = features.description(signature);
        let spec = model.spec().with_description(&description);
        Ok(Part {
            program,
            spec: spec.map_err(milwright_ir::Error::from)?,
            inputs: made.inputs,
            outputs: made.outputs,
            states: made.states,
            casts: made.casts,
        })
    }
}

/// The features of the stage.
#[derive(Default)]
struct Features {
    input: Vec<proto::FeatureDescription>,
    output: Vec<proto::FeatureDescription>,
    state: Vec<proto::FeatureDescription>,
}

impl Features {
    fn description(self, lists: Described) -> proto::ModelDescription {
        let has = |name: &String| self.output.iter().any(|f| f.name == *name);
        let kept = |name: String| if has(&name) { name } else { String::new() };
        let [feature, probabilities] = lists.predicted;
        proto::ModelDescription {
            predicted_feature_name: kept(feature),
            predicted_probabilities_name: kept(probabilities),
            input: self.input,
            output: self.output,
            state: self.state,
            metadata: lists.metadata,
            ..proto::ModelDescription::default()
        }
    }
}

/// A program whose arenas have nothing but these operations and what they
/// mention, under the ids that they had: many parts of one large program are in
/// memory at once.
fn only(program: &Program, ops: &[OpId], ends: impl Iterator<Item = ValueId>) -> Program {
    let inner = |&op: &OpId| program.ops[op].blocks.iter().flat_map(|&b| program.walk(b));
    let live: Vec<OpId> = ops
        .iter()
        .flat_map(inner)
        .chain(ops.iter().copied())
        .collect();
    let kept: HashSet<OpId> = live.iter().copied().collect();
    let mut mentioned: HashSet<ValueId> = ends.collect();
    for op in live {
        let op = &program.ops[op];
        mentioned.extend(op.operands().chain(op.outputs.iter().copied()));
        for &block in &op.blocks {
            let block = &program.blocks[block];
            mentioned.extend(block.inputs.iter().chain(&block.outputs));
        }
    }
    let mut part = Program {
        version: program.version,
        doc_string: program.doc_string.clone(),
        attributes: program.attributes.clone(),
        blocks: program.blocks.clone(),
        ..Program::default()
    };
    for id in program.ops.ids() {
        let op = &program.ops[id];
        part.ops.push(if kept.contains(&id) {
            op.clone()
        } else {
            Op::new(String::new())
        });
    }
    for id in program.values.ids() {
        part.values.push(if mentioned.contains(&id) {
            program.values[id].clone()
        } else {
            Value {
                name: String::new(),
                ty: ValueType::Missing,
                def: ValueDef::Undefined,
            }
        });
    }
    part
}

struct Builder<'a, 'p> {
    graph: &'a Graph<'p>,
    plan: &'a Plan,
    stage: usize,
    renames: &'a Renames,
    types: &'a SeamTypes,
    signature: Described,
    version: i32,
    program: Program,
    body: Vec<OpId>,
    inputs: Vec<ValueId>,
    features: Features,
    made: Made,
}

/// What a [`Part`] tells of its interface.
#[derive(Default)]
struct Made {
    inputs: Vec<Io>,
    outputs: Vec<Io>,
    states: Vec<String>,
    casts: Vec<Cast>,
}

impl Builder<'_, '_> {
    fn build(&mut self) -> Result<(), Error> {
        let (graph, plan) = (self.graph, self.plan);
        let stage = &plan.stages[self.stage];
        let fixed = graph.fixed_for(stage.nodes.iter().copied(), stage.outputs.iter().copied());
        let own: HashSet<OpId> = stage.nodes.iter().map(|&n| graph.nodes[n]).collect();
        let ops = graph.program.blocks[graph.body].ops.iter().copied();
        let kept: Vec<OpId> = ops
            .filter(|op| own.contains(op) || fixed.contains(op))
            .collect();
        // Only what belongs to the stage is part of the program, so that only
        // that can be touched.
        let ends = stage.inputs.iter().chain(&stage.outputs).copied();
        self.program = only(graph.program, &kept, ends);
        self.program.functions = vec![Function {
            name: "main".to_owned(),
            inputs: Vec::new(),
            specializations: vec![(graph.function.opset.clone(), graph.body)],
            ..graph.function.clone()
        }];
        self.program.blocks[graph.body].ops.clone_from(&kept);
        self.program.blocks[graph.body].outputs.clear();
        for &value in stage.inputs.iter().chain(&stage.outputs) {
            // With a cast, the name is that of the feature alone.
            if self.outside(value).is_none() {
                let name = self.renames.of(graph, value);
                self.program.rename_value(value, name)?;
            }
        }
        for &value in &stage.inputs {
            self.input(value)?;
        }
        self.body.extend(kept);
        let mut outputs = Vec::new();
        for &value in &stage.outputs {
            outputs.push(self.output(value)?);
        }
        let block = &mut self.program.blocks[graph.body];
        block.ops = std::mem::take(&mut self.body);
        block.outputs = outputs;
        self.program.functions[0].inputs = std::mem::take(&mut self.inputs);
        Ok(())
    }

    fn input(&mut self, value: ValueId) -> Result<(), Error> {
        let graph = self.graph;
        let name = self.program.values[value].name.clone();
        if graph.function.inputs.contains(&value) {
            self.define_input(value);
            let lists = &self.signature;
            let listed =
                |list: &[proto::FeatureDescription]| list.iter().find(|f| f.name == name).cloned();
            if matches!(self.program.values[value].ty, ValueType::State(_)) {
                self.features.state.extend(listed(&lists.state));
                self.made.states.push(name);
                return Ok(());
            }
            let feature = match listed(&lists.input) {
                Some(feature) => feature,
                None => self.feature(value, &name)?,
            };
            self.features.input.push(feature);
            self.note_input(value, None);
            return Ok(());
        }
        let from = graph.producer(value).and_then(|node| {
            let mut stages = self.plan.stages.iter();
            stages.position(|s| s.nodes.binary_search(&node).is_ok())
        });
        let taken = match self.outside(value) {
            None => {
                self.define_input(value);
                value
            }
            Some((feature, ty)) => {
                let taken = self.new_value(&feature, ty.clone());
                self.define_input(taken);
                self.cast(taken, value)?;
                self.note_cast(value, feature, ty.dtype);
                taken
            }
        };
        let name = self.program.values[taken].name.clone();
        let feature = self.feature(value, &name)?;
        self.features.input.push(feature);
        self.note_input(taken, from);
        Ok(())
    }

    /// Adds an output; the value that the function gives.
    fn output(&mut self, value: ValueId) -> Result<ValueId, Error> {
        let graph = self.graph;
        let name = self.program.values[value].name.clone();
        let is_output = graph.program.blocks[graph.body].outputs.contains(&value);
        let listed = self.signature.output.iter().find(|f| f.name == name);
        let (given, feature) = match (is_output, self.outside(value)) {
            (true, _) => {
                self.check_crossing_output(value, listed)?;
                let feature = match listed {
                    Some(feature) => feature.clone(),
                    None => self.feature(value, &name)?,
                };
                (value, feature)
            }
            (false, None) => (value, self.feature(value, &name)?),
            (false, Some((feature, ty))) => {
                let given = self.new_value(&feature, ty.clone());
                self.cast(value, given)?;
                self.note_cast(value, feature.clone(), ty.dtype);
                (given, self.feature(value, &feature)?)
            }
        };
        self.features.output.push(feature);
        let io = self.io(given, None);
        self.made.outputs.push(io);
        Ok(given)
    }

    /// An output of the model that a later stage reads must be a tensor to the
    /// caller, too: the later stage takes one.
    fn check_crossing_output(
        &self,
        value: ValueId,
        listed: Option<&proto::FeatureDescription>,
    ) -> Result<(), Error> {
        use proto::feature_type::Type;
        let crosses = self.plan.seams.iter().any(|s| s.values.contains(&value));
        let ty = listed.and_then(|f| f.r#type.as_ref()?.r#type.as_ref());
        match ty {
            Some(Type::ImageType(_)) if crosses => Err(Error::NoPlace {
                name: self.graph.name(value).to_owned(),
                why: "the model gives it as an image, and a stage would take it as a tensor; cut \
                      before or after it"
                    .to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// The feature that must stand for a value at a seam: its name and type.
    /// `None` when the value can be a feature itself.
    fn outside(&self, value: ValueId) -> Option<(String, TensorType)> {
        let graph = self.graph;
        let is_output = graph.program.blocks[graph.body].outputs.contains(&value);
        if is_output || graph.function.inputs.contains(&value) {
            return None;
        }
        let t = self.program.values[value].ty.as_tensor()?;
        let outside = io_type(t.dtype, self.version).filter(|&o| o != t.dtype)?;
        let (name, wanted) = (graph.name(value), self.renames.of(graph, value));
        let feature = if wanted == name {
            self.free_name(&format!("{name}_{outside}"))
        } else {
            wanted.to_owned()
        };
        Some((feature, TensorType::new(outside, t.shape.clone())))
    }

    /// A name that no value has, the same in every stage.
    fn free_name(&self, wish: &str) -> String {
        casts::free_name(self.graph.program, wish)
    }

    fn define_input(&mut self, value: ValueId) {
        self.program.values[value].def = ValueDef::FunctionInput(0, self.inputs.len());
        self.inputs.push(value);
    }

    fn new_value(&mut self, name: &str, ty: TensorType) -> ValueId {
        self.program.values.push(Value {
            name: name.to_owned(),
            ty: ValueType::Tensor(ty),
            def: ValueDef::Undefined,
        })
    }

    /// Adds `to = cast(x = from)`.
    fn cast(&mut self, from: ValueId, to: ValueId) -> Result<(), Error> {
        let name = &self.program.values[to].name;
        let parameter = self.free_name(&format!("{name}_dtype"));
        let ops = casts::add(&mut self.program, from, to, parameter);
        self.body.extend(ops);
        Ok(())
    }

    fn note_cast(&mut self, value: ValueId, feature: String, outside: DataType) {
        let inside = self.program.values[value].ty.as_tensor().map(|t| t.dtype);
        self.made.casts.push(Cast {
            value: self.program.values[value].name.clone(),
            inside: inside.unwrap_or(outside),
            feature,
            outside,
        });
    }

    fn note_input(&mut self, value: ValueId, from: Option<usize>) {
        let io = self.io(value, from);
        self.made.inputs.push(io);
    }

    fn io(&self, value: ValueId, from: Option<usize>) -> Io {
        let v = &self.program.values[value];
        Io {
            name: v.name.clone(),
            ty: v.ty.clone(),
            from,
        }
    }

    /// A feature for what crosses a seam.
    fn feature(&self, value: ValueId, name: &str) -> Result<proto::FeatureDescription, Error> {
        self.types.feature(value, name, self.version)
    }
}
