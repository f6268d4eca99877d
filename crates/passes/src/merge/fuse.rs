//! Stages that run one after the other, as one function: the inverse of a cut.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use milwright_ir::{
    Arg, Block, Constant, DataType, Dim, Function, OpId, Program, TensorType, Value, ValueDef,
    ValueId, ValueType,
};

use super::{Error, opset};
use crate::described::Described;
use crate::graft::{Graft, add_attributes};

/// A stage of a function that is put together.
pub(super) struct Stage<'a> {
    /// What messages call it.
    pub(super) name: String,
    /// Its program, which names are changed in.
    pub(super) program: &'a mut Program,
    /// The function, by its place in the program.
    pub(super) function: usize,
    pub(super) described: Described,
}

/// What goes in and out of the whole.
pub(super) struct Ends<'a> {
    /// Names of what the caller gives, in order.
    pub(super) inputs: &'a [String],
    /// Names of what the caller gets, in order.
    pub(super) outputs: &'a [String],
    /// Whether the stages are known to come from one model. Then a conversion at
    /// a seam is one that the cut put there only if the value has one name on
    /// both sides.
    pub(super) from_one_model: bool,
}

/// Puts stages together to the function `name`, and gives what describes it.
/// Stages are wired by name: an input is what the nearest stage before gives, or
/// else the caller.
pub(super) fn fuse(
    into: &mut Program,
    name: &str,
    stages: &mut [Stage<'_>],
    ends: &Ends<'_>,
) -> Result<Described, Error> {
    let opsets = stages.iter().map(|s| s.function().opset.as_str());
    let opset = opset::newest(opsets).to_owned();
    for stage in stages.iter() {
        opset::check_raise(&stage.name, stage.program, stage.function(), &opset)?;
        if stage.function().specializations.len() != 1 {
            return Err(Error::Source {
                model: stage.name.clone(),
                why: "its function has bodies for several opsets; convert it for one first"
                    .to_owned(),
            });
        }
    }
    let mut fused = Fused {
        index: into.functions.len(),
        body: into.blocks.push(Block::default()),
        into,
        ends,
        owners: owners(stages, ends)?,
        reserved: reserved(stages, ends),
        taken: HashSet::new(),
        results: HashMap::new(),
        inputs: Vec::new(),
        given: BTreeMap::new(),
        callers: BTreeMap::new(),
        states: BTreeMap::new(),
        loose: BTreeSet::new(),
        described: Described::default(),
    };
    let mut attributes = Vec::new();
    for number in 0..stages.len() {
        add_attributes(&mut attributes, &stages[number].function().attributes);
        fused.add(stages, number)?;
    }
    fused.finish(stages)?;
    let (inputs, body, described) = (fused.inputs, fused.body, fused.described);
    into.functions.push(Function {
        name: name.to_owned(),
        opset: opset.clone(),
        inputs,
        specializations: vec![(opset, body)],
        attributes,
    });
    Ok(described)
}

impl Stage<'_> {
    fn function(&self) -> &Function {
        &self.program.functions[self.function]
    }

    /// The values that the function gives.
    fn outputs(&self) -> &[ValueId] {
        let body = self.function().body();
        body.map_or(&[], |body| &self.program.blocks[body].outputs)
    }

    fn name_of(&self, value: ValueId) -> &str {
        &self.program.values[value].name
    }
}

/// The stage that gives each output of the whole: the last that gives one of
/// that name.
fn owners(stages: &[Stage<'_>], ends: &Ends<'_>) -> Result<BTreeMap<String, usize>, Error> {
    let mut owners = BTreeMap::new();
    for name in ends.outputs {
        let gives = |stage: &Stage<'_>| stage.outputs().iter().any(|&v| stage.name_of(v) == name);
        let owner = stages
            .iter()
            .rposition(gives)
            .ok_or_else(|| Error::Source {
                model: format!("the output `{name}`"),
                why: "no stage gives it".to_owned(),
            })?;
        owners.insert(name.clone(), owner);
    }
    Ok(owners)
}

/// Names that only the ends of the whole may have.
fn reserved(stages: &[Stage<'_>], ends: &Ends<'_>) -> HashSet<String> {
    let mut names: HashSet<String> = ends.inputs.iter().chain(ends.outputs).cloned().collect();
    for stage in stages {
        for &input in &stage.function().inputs {
            let value = &stage.program.values[input];
            if matches!(value.ty, ValueType::State(_)) {
                names.insert(value.name.clone());
            }
        }
    }
    names
}

/// A function that grows stage by stage.
struct Fused<'a, 'e> {
    into: &'a mut Program,
    index: usize,
    body: milwright_ir::BlockId,
    ends: &'e Ends<'e>,
    owners: BTreeMap<String, usize>,
    /// Names of the inputs, outputs and states.
    reserved: HashSet<String>,
    /// Names of all its values so far.
    taken: HashSet<String>,
    /// Results of operations that are in no nested block, by name.
    results: HashMap<String, ValueId>,
    inputs: Vec<ValueId>,
    /// What the stages so far give, by the feature's name.
    given: BTreeMap<String, ValueId>,
    /// What the caller gives, and to which stage first.
    callers: BTreeMap<String, (ValueId, usize)>,
    /// The stage that keeps a state.
    states: BTreeMap<String, usize>,
    /// Results of conversions at seams, and their parameters, that may be read
    /// by nothing any more.
    loose: BTreeSet<ValueId>,
    described: Described,
}

/// What stands for the values of a stage.
#[derive(Default)]
struct Known {
    values: BTreeMap<ValueId, ValueId>,
    /// Operations of the stage that are there already.
    done: HashSet<OpId>,
    /// What conversions that were left out would read.
    loose: Vec<ValueId>,
}

impl Fused<'_, '_> {
    fn add(&mut self, stages: &mut [Stage<'_>], number: usize) -> Result<(), Error> {
        let mut known = Known::default();
        for &input in &stages[number].function().inputs.clone() {
            let value = self.input(stages, number, input)?;
            known.values.insert(input, value);
        }
        let stage = &mut stages[number];
        let features: Vec<(String, ValueId)> = stage
            .outputs()
            .iter()
            .map(|&v| (stage.name_of(v).to_owned(), v))
            .collect();
        self.find_known(stage, number, &mut known);
        self.free_names(stage, number, &known)?;
        let Some(body) = stage.function().body() else {
            return Ok(());
        };
        add_attributes(
            &mut self.into.blocks[self.body].attributes,
            &stage.program.blocks[body].attributes,
        );
        let mut graft = Graft::new(self.into, stage.program);
        graft.values = known.values;
        let ops = &stage.program.blocks[body].ops;
        let ops = ops.iter().filter(|op| !known.done.contains(op));
        let added: Vec<OpId> = ops.map(|&op| graft.op(op)).collect();
        let outputs = features.into_iter().map(|(name, v)| (name, graft.value(v)));
        self.given.extend(outputs);
        self.loose
            .extend(known.loose.into_iter().map(|v| graft.value(v)));
        let program = &*self.into;
        for &op in &added {
            let outputs = program.ops[op].outputs.iter();
            let named = outputs.map(|&v| (program.values[v].name.clone(), v));
            self.results.extend(named);
        }
        for op in walk(program, &added) {
            let blocks = program.ops[op].blocks.iter();
            let inner = blocks.flat_map(|&b| &program.blocks[b].inputs);
            let values = program.ops[op].outputs.iter().chain(inner);
            self.taken
                .extend(values.map(|&v| program.values[v].name.clone()));
        }
        self.into.blocks[self.body].ops.extend(added);
        Ok(())
    }

    /// What stands for an input of a stage.
    fn input(
        &mut self,
        stages: &[Stage<'_>],
        number: usize,
        input: ValueId,
    ) -> Result<ValueId, Error> {
        let stage = &stages[number];
        let name = stage.name_of(input).to_owned();
        let ty = &stage.program.values[input].ty;
        if matches!(ty, ValueType::State(_)) {
            if let Some(&other) = self.states.get(&name) {
                return Err(Error::State {
                    state: name,
                    one: stages[other].name.clone(),
                    other: stage.name.clone(),
                });
            }
            self.states.insert(name.clone(), number);
            let listed = stage.described.state.iter().find(|f| f.name == name);
            self.described.state.extend(listed.cloned());
            return self.new_input(name, ty.clone());
        }
        if let Some(&given) = self.given.get(&name) {
            let found = &self.into.values[given].ty;
            if !fits(found, ty) {
                return Err(Error::Feature {
                    feature: name,
                    one: format!("it is given as {found}"),
                    other: format!("{} takes it as {ty}", stage.name),
                });
            }
            return Ok(given);
        }
        if !self.ends.inputs.contains(&name) {
            return Err(Error::Missing {
                model: stage.name.clone(),
                feature: name,
            });
        }
        let of = |stage: &Stage<'_>| {
            let input = stage.described.input.iter().find(|f| f.name == name);
            input.cloned()
        };
        let listed = of(stage);
        if let Some(&(known, first)) = self.callers.get(&name) {
            let found = &self.into.values[known].ty;
            let other = of(&stages[first]);
            let both = [&listed, &other].map(|f| f.as_ref().and_then(|f| f.r#type.clone()));
            if found != ty || both[0] != both[1] {
                return Err(Error::Feature {
                    feature: name,
                    one: format!("{} takes it as {found}", stages[first].name),
                    other: format!(
                        "{} takes it as {ty}{}",
                        stage.name,
                        if found == ty { " of other shapes" } else { "" }
                    ),
                });
            }
            return Ok(known);
        }
        let value = self.new_input(name.clone(), ty.clone())?;
        self.callers.insert(name, (value, number));
        self.described.input.extend(listed);
        Ok(value)
    }

    fn new_input(&mut self, name: String, ty: ValueType) -> Result<ValueId, Error> {
        if self.taken.contains(&name) {
            // Names of inputs are kept free, so another end has it.
            return Err(Error::Name {
                name,
                one: "an input or a state",
                other: "another one",
            });
        }
        self.taken.insert(name.clone());
        let def = ValueDef::FunctionInput(self.index, self.inputs.len());
        let value = self.into.values.push(Value { name, ty, def });
        self.inputs.push(value);
        Ok(value)
    }

    /// Finds operations of a stage whose results are there already: equal ones
    /// of an earlier stage, and conversions at a seam that undo the one before.
    fn find_known(&self, stage: &Stage<'_>, number: usize, known: &mut Known) {
        let Some(body) = stage.function().body() else {
            return;
        };
        for &id in &stage.program.blocks[body].ops {
            if let Some(outputs) = self.equal(stage, id, known) {
                known.values.extend(outputs);
                known.done.insert(id);
            } else if let Some((output, value)) = self.undone(stage, number, id, known) {
                let op = &stage.program.ops[id];
                known
                    .loose
                    .extend(args(op.args("dtype")).chain(args(op.args("x"))));
                known.values.insert(output, value);
                known.done.insert(id);
            }
        }
    }

    /// The results of an equal operation that is there already.
    fn equal(&self, stage: &Stage<'_>, id: OpId, known: &Known) -> Option<Vec<(ValueId, ValueId)>> {
        let (program, op) = (stage.program as &Program, &stage.program.ops[id]);
        let tensor = |p: &Program, v: ValueId| matches!(p.values[v].ty, ValueType::Tensor(_));
        let pure = op.def.is_some()
            && op.blocks.is_empty()
            && !op.op_type.starts_with("random_")
            && op
                .operands()
                .chain(op.outputs.iter().copied())
                .all(|v| tensor(program, v));
        let first = *op.outputs.first().filter(|_| pure)?;
        let there = *self.results.get(stage.name_of(first))?;
        let other = &self.into.ops[self.into.def_op(there)?];
        let same_args = |a: &Arg, b: &Arg| match (a, b) {
            (Arg::Value(a), Arg::Value(b)) => known.values.get(a) == Some(b),
            (Arg::Const(a), Arg::Const(b)) => a == b,
            _ => false,
        };
        let same_inputs = op.inputs.len() == other.inputs.len()
            && op.inputs.iter().zip(&other.inputs).all(|((n, a), (m, b))| {
                let mut pairs = a.iter().zip(b);
                n == m && a.len() == b.len() && pairs.all(|(a, b)| same_args(a, b))
            });
        let same = |(&a, &b): (&ValueId, &ValueId)| {
            let (a, b) = (&program.values[a], &self.into.values[b]);
            a.name == b.name && a.ty == b.ty
        };
        let same_outputs = op.outputs.len() == other.outputs.len()
            && op.outputs.iter().zip(&other.outputs).all(same);
        let same_rest = match (op.bytes(), other.bytes()) {
            (Some(a), Some(b)) => a == b,
            _ => op.op_type == other.op_type && op.attributes == other.attributes,
        };
        (same_inputs && same_outputs && same_rest).then(|| {
            let pairs = op.outputs.iter().zip(&other.outputs);
            pairs.map(|(&a, &b)| (a, b)).collect()
        })
    }

    /// The value that a conversion at a seam gives back, if it undoes exactly
    /// the one on the other side.
    fn undone(
        &self,
        stage: &Stage<'_>,
        number: usize,
        id: OpId,
        known: &Known,
    ) -> Option<(ValueId, ValueId)> {
        let op = &stage.program.ops[id];
        let (&[output], [Arg::Value(x)]) = (op.outputs.as_slice(), op.args("x")) else {
            return None;
        };
        let crosses = stage.function().inputs.contains(x);
        let feature = *known
            .values
            .get(x)
            .filter(|_| crosses && op.op_type == "cast")?;
        let before = &self.into.ops[self.into.def_op(feature)?];
        let [Arg::Value(value)] = before.args("x") else {
            return None;
        };
        let tensor = |v: ValueId| self.into.values[v].ty.as_tensor();
        let (outside, inside) = (tensor(feature)?, tensor(*value)?);
        let undone = before.op_type == "cast"
            && holds(outside.dtype, inside.dtype)
            && stage.program.values[output].ty == self.into.values[*value].ty;
        let name = stage.name_of(output);
        let same_name = name == self.into.values[*value].name;
        // An output of the whole has to keep its name.
        let is_output = self.owners.get(name) == Some(&number);
        let may = same_name || !(self.ends.from_one_model || is_output);
        (undone && may).then_some((output, *value))
    }

    /// Gives values of a stage other names where theirs are taken, or stand for
    /// something else at the ends of the whole.
    fn free_names(
        &mut self,
        stage: &mut Stage<'_>,
        number: usize,
        known: &Known,
    ) -> Result<(), Error> {
        let Some(body) = stage.function().body() else {
            return Ok(());
        };
        let program = &*stage.program;
        let reserved = &self.reserved;
        let gives: BTreeSet<ValueId> = stage.outputs().iter().copied().collect();
        let mut defined = Vec::new();
        for op in program.walk(body) {
            let op = &program.ops[op];
            let blocks = op.blocks.iter();
            defined.extend(
                op.outputs
                    .iter()
                    .chain(blocks.flat_map(|&b| &program.blocks[b].inputs)),
            );
        }
        let own: HashSet<&str> = program.values.ids().map(|v| stage.name_of(v)).collect();
        let mut names: BTreeMap<ValueId, String> = BTreeMap::new();
        let mut new: HashSet<String> = HashSet::new();
        for value in defined {
            if let Some(&there) = known.values.get(&value) {
                let name = &self.into.values[there].name;
                if name != stage.name_of(value) {
                    names.insert(value, name.clone());
                }
                continue;
            }
            let name = stage.name_of(value);
            let owned = gives.contains(&value) && self.owners.get(name) == Some(&number);
            if owned && self.taken.contains(name) {
                return Err(Error::Name {
                    name: name.to_owned(),
                    one: "an output",
                    other: "an input or a state",
                });
            }
            if owned || !(self.taken.contains(name) || reserved.contains(name)) {
                continue;
            }
            let free = |name: &String| {
                !self.taken.contains(name)
                    && !reserved.contains(name)
                    && !own.contains(name.as_str())
                    && !new.contains(name)
            };
            let fresh = (1u64..).map(|n| format!("{name}_{n}")).find(free);
            let fresh = fresh.unwrap_or_default();
            new.insert(fresh.clone());
            names.insert(value, fresh);
        }
        // Inputs that are called otherwise by now.
        for &input in &stage.function().inputs {
            if let Some(&there) = known.values.get(&input) {
                let name = &self.into.values[there].name;
                if name != stage.name_of(input) {
                    names.insert(input, name.clone());
                }
            }
        }
        rename(stage.program, &names)?;
        Ok(())
    }

    /// The outputs, and what nothing reads any more.
    fn finish(&mut self, stages: &[Stage<'_>]) -> Result<(), Error> {
        for name in self.ends.outputs {
            let (Some(&value), Some(&owner)) = (self.given.get(name), self.owners.get(name)) else {
                return Err(Error::Source {
                    model: format!("the output `{name}`"),
                    why: "no stage gives it".to_owned(),
                });
            };
            self.into.blocks[self.body].outputs.push(value);
            let described = &stages[owner].described;
            let listed = described.output.iter().find(|f| f.name == *name);
            self.described.output.extend(listed.cloned());
        }
        let is_output = |name: &String| self.ends.outputs.contains(name);
        for stage in stages {
            let d = &stage.described;
            for (own, more) in self.described.predicted.iter_mut().zip(&d.predicted) {
                if own.is_empty() && is_output(more) {
                    own.clone_from(more);
                }
            }
        }
        self.described
            .input
            .sort_by_key(|f| self.ends.inputs.iter().position(|n| *n == f.name));
        // Conversions first: then nothing reads their parameters.
        for _ in 0..2 {
            self.drop_loose();
        }
        self.order_inputs();
        Ok(())
    }

    /// Inputs in the order in which the whole lists them; states after them, as
    /// they came.
    fn order_inputs(&mut self) {
        let place = |v: &ValueId| {
            let name = &self.into.values[*v].name;
            let listed = self.ends.inputs.iter().position(|n| n == name);
            listed.unwrap_or(usize::MAX)
        };
        let mut inputs = std::mem::take(&mut self.inputs);
        inputs.sort_by_key(place);
        for (nth, &input) in inputs.iter().enumerate() {
            self.into.values[input].def = ValueDef::FunctionInput(self.index, nth);
        }
        self.inputs = inputs;
    }

    fn drop_loose(&mut self) {
        let program = &*self.into;
        let mut read: HashSet<ValueId> =
            program.blocks[self.body].outputs.iter().copied().collect();
        for op in program.walk(self.body) {
            read.extend(program.ops[op].operands());
            let blocks = program.ops[op].blocks.iter();
            read.extend(blocks.flat_map(|&b| program.blocks[b].outputs.iter().copied()));
        }
        let unread = |v: &ValueId| !read.contains(v);
        let dead: BTreeSet<OpId> = self
            .loose
            .iter()
            .filter(|v| unread(v))
            .filter_map(|&v| program.def_op(v))
            .collect();
        for &op in &dead {
            self.loose.extend(args(program.ops[op].args("dtype")));
        }
        self.into.blocks[self.body]
            .ops
            .retain(|op| !dead.contains(op));
    }
}

/// Renames values, and operations that are called after their result.
fn rename(program: &mut Program, names: &BTreeMap<ValueId, String>) -> Result<(), Error> {
    let mut called = Vec::new();
    for (&value, name) in names {
        if let Some(op) = program.def_op(value)
            && program.ops[op].name() == Some(&program.values[value].name)
        {
            called.push((op, name));
        }
    }
    program.rename_values(names)?;
    for (op, name) in called {
        for (key, value) in &mut program.op_mut(op)?.attributes {
            if key == "name" {
                *value = Constant::string(name.clone());
            }
        }
    }
    Ok(())
}

/// Operations with those in their blocks.
fn walk(program: &Program, ops: &[OpId]) -> Vec<OpId> {
    let inner = |&op: &OpId| program.ops[op].blocks.iter().flat_map(|&b| program.walk(b));
    ops.iter()
        .copied()
        .chain(ops.iter().flat_map(inner))
        .collect()
}

fn args(args: &[Arg]) -> impl Iterator<Item = ValueId> + '_ {
    args.iter().filter_map(|arg| match arg {
        Arg::Value(value) => Some(*value),
        Arg::Const(_) => None,
    })
}

/// Whether a value of one type can be taken as another one: they are the same,
/// but for sizes that one of them leaves open.
fn fits(given: &ValueType, taken: &ValueType) -> bool {
    let open = |d: &Dim| !matches!(d, Dim::Known(_));
    let same = |a: &TensorType, b: &TensorType| {
        let variadic = |t: &TensorType| t.shape.contains(&Dim::Variadic);
        a.dtype == b.dtype
            && (variadic(a)
                || variadic(b)
                || a.shape.len() == b.shape.len()
                    && a.shape
                        .iter()
                        .zip(&b.shape)
                        .all(|(a, b)| a == b || open(a) || open(b)))
    };
    match (given, taken) {
        (ValueType::Tensor(a), ValueType::Tensor(b)) => same(a, b),
        (a, b) => a == b,
    }
}

/// Whether one element type holds every value of another.
fn holds(outside: DataType, inside: DataType) -> bool {
    use DataType::{Bool, Float16, Float32, Float64, Int8, Int16, Int32, UInt8, UInt16};
    let small = matches!(inside, Bool | Int8 | UInt8 | Int16 | UInt16);
    match outside {
        Int32 => small,
        Float32 => small || inside == Float16,
        Float64 => small || matches!(inside, Float16 | Float32 | Int32),
        _ => false,
    }
}
