//! Other names for features, functions and values.

use std::collections::{BTreeMap, BTreeSet};

use milwright_ir::{Function, Model, Program, ValueId, ValueType, names};
use milwright_package::{Package, Spec, proto};
use serde::Serialize;

use super::features::{Features, functions, no_feature};
use super::{Edited, Error, check, with_description};

/// What a name is to be looked for among.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Features, functions and values.
    Any,
    /// Features (inputs, outputs, states) and values.
    Feature,
    /// Functions.
    Function,
}

/// A name and the one that shall stand in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// What the name means.
    pub kind: Kind,
    /// The name now.
    pub old: String,
    /// The name it shall have.
    pub new: String,
}

impl Pair {
    /// Reads `old=new`, `feature:old=new` or `function:old=new`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (old, new) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}`: write it as OLD=NEW"))?;
        let (kind, old) = match old.split_once(':') {
            Some(("function", name)) => (Kind::Function, name),
            Some(("feature", name)) => (Kind::Feature, name),
            _ => (Kind::Any, old),
        };
        Ok(Pair {
            kind,
            old: old.to_owned(),
            new: new.to_owned(),
        })
    }
}

/// What was given another name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Renaming {
    /// `input`, `output`, `state`, `value` (inside of a function) or
    /// `function`.
    pub what: &'static str,
    /// The function that it is part of, by its name before.
    pub function: String,
    /// The name before.
    pub old: String,
    /// The name after.
    pub new: String,
}

/// A model with other names in it.
#[derive(Debug)]
pub struct Renamed {
    /// The model.
    pub edited: Edited,
    /// What was renamed, in the order of the pairs.
    pub names: Vec<Renaming>,
}

/// Gives features, functions and values other names, all at once, so that two
/// can exchange theirs. A feature is renamed in every function that has it,
/// unless `function` names one; the descriptions, the inputs of training and
/// the names of a classifier's outputs follow.
///
/// # Errors
/// There is no such name; a new name is taken or none that Core ML accepts; a
/// change would lose something that the file holds.
pub fn rename(model: &Model, pairs: &[Pair], function: Option<&str>) -> Result<Renamed, Error> {
    let mut description = model.spec().description()?;
    let (program, names) = apply(model.program(), &mut description, pairs, function)?;
    Ok(Renamed {
        edited: Edited::new(model, program, &description)?,
        names,
    })
}

/// Renames features of a pipeline of ML Programs: in its own description, and in
/// every stage that takes or gives them. Returns the spec to be saved.
///
/// # Errors
/// As [`rename`]; also when a stage that has the feature is no ML Program.
pub fn rename_pipeline(package: &Package, pairs: &[Pair]) -> Result<(Spec, Vec<Renaming>), Error> {
    let spec = package.spec();
    let mut description = spec.description()?;
    let stages = spec.pipeline()?;
    let mut renamed = Vec::new();
    let mut found = vec![false; pairs.len()];
    let mut all: Vec<String> = Vec::new();
    for (number, (name, stage)) in stages.iter().enumerate() {
        let mut own = stage.description()?;
        let features = Features::of(&mut own, "main").into_iter();
        let features: Vec<String> = features
            .flat_map(Features::all)
            .map(|f| f.name.clone())
            .collect();
        let concerns = |pair: &&Pair| features.contains(&pair.old);
        let own_pairs: Vec<Pair> = pairs.iter().filter(concerns).cloned().collect();
        for (pair, found) in pairs.iter().zip(&mut found) {
            *found |= concerns(&pair);
            if features.contains(&pair.new) && !pairs.iter().any(|p| p.old == pair.new) {
                return Err(Error::Name {
                    old: pair.old.clone(),
                    new: pair.new.clone(),
                    why: format!("stage `{name}` ({number}) has a feature of that name"),
                });
            }
        }
        all.extend(features);
        if own_pairs.is_empty() {
            renamed.push(stage.clone());
            continue;
        }
        if !stage.kind().is_ml_program() {
            return Err(Error::Refused {
                name: own_pairs[0].old.clone(),
                why: format!(
                    "stage `{name}` ({number}) has it and is a {}, which this version cannot \
                     rewrite",
                    stage.kind().name()
                ),
            });
        }
        let program = Program::from_proto(&stage.program()?)?;
        let (program, _) = apply(&program, &mut own, &own_pairs, None)?;
        check(package, &program)?;
        let stage = stage.with_program(&program.to_proto())?;
        renamed.push(stage.with_description(&own)?);
    }
    all.sort();
    all.dedup();
    if let Some(at) = found.iter().position(|found| !found) {
        let near = names::nearest(&pairs[at].old, all.iter().map(String::as_str), 3);
        return Err(Error::NoName {
            name: pairs[at].old.clone(),
            function: None,
            near: near.into_iter().map(str::to_owned).collect(),
            all,
        });
    }
    let mut names = Vec::new();
    for pair in pairs {
        let lists = [
            ("input", &description.input),
            ("output", &description.output),
        ];
        let has = lists
            .iter()
            .find(|(_, l)| l.iter().any(|f| f.name == pair.old));
        names.push(Renaming {
            what: has.map_or("value", |(what, _)| what),
            function: "main".to_owned(),
            old: pair.old.clone(),
            new: pair.new.clone(),
        });
    }
    let new = |name: &str| {
        let pair = pairs.iter().find(|pair| pair.old == name);
        pair.map(|pair| pair.new.clone())
    };
    rename_features(&mut description, "main", &new);
    let spec = spec.with_stages(&renamed)?;
    Ok((with_description(&spec, &description)?, names))
}

/// Renames in a program and its description.
fn apply(
    before: &Program,
    description: &mut proto::ModelDescription,
    pairs: &[Pair],
    function: Option<&str>,
) -> Result<(Program, Vec<Renaming>), Error> {
    let mut program = before.clone();
    let mut renames = Renames::default();
    let mut seen = BTreeSet::new();
    for pair in pairs {
        let wrong = |why: &str| Error::Name {
            old: pair.old.clone(),
            new: pair.new.clone(),
            why: why.to_owned(),
        };
        if let Some(why) = names::problem(&pair.new) {
            return Err(wrong(why));
        }
        if pair.new == pair.old {
            return Err(wrong("that is its name"));
        }
        if !seen.insert((pair.kind == Kind::Function, &pair.old)) {
            return Err(wrong("it is named twice"));
        }
        renames.find(&program, description, pair, function)?;
    }
    renames.check_functions(&program, description)?;
    renames.check_values(&program)?;

    program.rename_values(&renames.values)?;
    for (index, name) in &renames.functions {
        program.functions[*index].name.clone_from(name);
    }
    for (index, function) in before.functions.iter().enumerate() {
        let own = renames.features.get(&index);
        let new = |name: &str| own.and_then(|own| own.get(name)).cloned();
        rename_features(description, &function.name, &new);
    }
    rename_functions(description, before, &renames.functions);
    Ok((program, renames.found))
}

/// Renames the features of a function in a description, and what refers to
/// them.
fn rename_features(
    description: &mut proto::ModelDescription,
    function: &str,
    new: &dyn Fn(&str) -> Option<String>,
) {
    if let Some(features) = Features::of(description, function) {
        for name in features.predicted {
            if let Some(new) = new(name) {
                *name = new;
            }
        }
    }
    for feature in Features::of(description, function)
        .into_iter()
        .flat_map(Features::all)
    {
        if let Some(new) = new(&feature.name) {
            feature.name = new;
        }
    }
}

fn rename_functions(
    description: &mut proto::ModelDescription,
    before: &Program,
    functions: &BTreeMap<usize, String>,
) {
    let new = |name: &str| {
        let index = before.functions.iter().position(|f| f.name == name)?;
        functions.get(&index).cloned()
    };
    for function in &mut description.functions {
        if let Some(new) = new(&function.name) {
            function.name = new;
        }
    }
    if let Some(new) = new(&description.default_function_name) {
        description.default_function_name = new;
    }
}

#[derive(Default)]
struct Renames {
    values: BTreeMap<ValueId, String>,
    /// New names of features by old ones, for each function.
    features: BTreeMap<usize, BTreeMap<String, String>>,
    functions: BTreeMap<usize, String>,
    found: Vec<Renaming>,
}

impl Renames {
    /// Notes what a pair means.
    fn find(
        &mut self,
        program: &Program,
        description: &proto::ModelDescription,
        pair: &Pair,
        wanted: Option<&str>,
    ) -> Result<(), Error> {
        let as_function = match pair.kind {
            Kind::Feature => None,
            _ => program.functions.iter().position(|f| f.name == pair.old),
        };
        let before = self.found.len();
        if pair.kind != Kind::Function {
            let all = functions(program, wanted)?;
            for &(index, function) in &all {
                self.find_features(program, index, function, pair);
            }
            // A value inside of a function counts only where no feature does.
            if self.found.len() == before && as_function.is_none() {
                for (_, function) in all {
                    self.find_inside(program, function, pair);
                }
            }
        }
        match (as_function, self.found.len() > before) {
            (Some(_), true) => {
                return Err(Error::Ambiguous {
                    name: pair.old.clone(),
                });
            }
            (Some(index), false) => {
                self.functions.insert(index, pair.new.clone());
                self.note("function", &pair.old, pair);
            }
            (None, true) => {}
            (None, false) => return Err(no_feature(program, description, &pair.old, wanted)),
        }
        Ok(())
    }

    fn find_features(&mut self, program: &Program, index: usize, function: &Function, pair: &Pair) {
        let here = |v: &&ValueId| program.values[**v].name == pair.old;
        let mut found = false;
        for &value in function.inputs.iter().filter(here) {
            let what = match program.values[value].ty {
                ValueType::State(_) => "state",
                _ => "input",
            };
            self.values.insert(value, pair.new.clone());
            self.note(what, &function.name, pair);
            found = true;
        }
        let outputs = function.specializations.iter();
        let outputs = outputs.flat_map(|&(_, body)| &program.blocks[body].outputs);
        let outputs: Vec<ValueId> = outputs.filter(here).copied().collect();
        if !outputs.is_empty() {
            self.note("output", &function.name, pair);
            found = true;
        }
        for value in outputs {
            self.values.insert(value, pair.new.clone());
        }
        if found {
            let own = self.features.entry(index).or_default();
            own.insert(pair.old.clone(), pair.new.clone());
        }
    }

    fn find_inside(&mut self, program: &Program, function: &Function, pair: &Pair) {
        let values = program.values_of(function);
        let mut found = false;
        for value in values {
            if program.values[value].name == pair.old {
                self.values.insert(value, pair.new.clone());
                found = true;
            }
        }
        if found {
            self.note("value", &function.name, pair);
        }
    }

    fn note(&mut self, what: &'static str, function: &str, pair: &Pair) {
        self.found.push(Renaming {
            what,
            function: function.to_owned(),
            old: pair.old.clone(),
            new: pair.new.clone(),
        });
    }

    fn check_functions(
        &self,
        program: &Program,
        description: &proto::ModelDescription,
    ) -> Result<(), Error> {
        let name = |index: usize| {
            let new = self.functions.get(&index);
            new.unwrap_or(&program.functions[index].name)
        };
        for (&index, new) in &self.functions {
            let wrong = |why: &str| Error::Name {
                old: program.functions[index].name.clone(),
                new: new.clone(),
                why: why.to_owned(),
            };
            if description.functions.is_empty() {
                return Err(wrong(
                    "the description lists no functions, and of such a model Core ML runs `main`",
                ));
            }
            if (0..program.functions.len()).any(|other| other != index && name(other) == new) {
                return Err(wrong("another function has that name"));
            }
        }
        Ok(())
    }

    /// New names must be free, in each function by itself.
    fn check_values(&self, program: &Program) -> Result<(), Error> {
        for function in &program.functions {
            let values = program.values_of(function);
            let mut renamed: BTreeMap<&str, ValueId> = BTreeMap::new();
            for value in values.iter().copied() {
                let Some(new) = self.values.get(&value) else {
                    continue;
                };
                let old = &program.values[value].name;
                if let Some(other) = renamed.insert(new, value)
                    && program.values[other].name != *old
                {
                    return Err(Error::Name {
                        old: old.clone(),
                        new: new.clone(),
                        why: format!("`{}` is to be called that", program.values[other].name),
                    });
                }
            }
            for value in values {
                let name = program.values[value].name.as_str();
                if let Some(&other) = renamed.get(name)
                    && !self.values.contains_key(&value)
                {
                    return Err(Error::Name {
                        old: program.values[other].name.clone(),
                        new: name.to_owned(),
                        why: taken(program, function, value),
                    });
                }
            }
        }
        Ok(())
    }
}

/// Who has a name that is wanted, and what to do.
fn taken(program: &Program, function: &Function, value: ValueId) -> String {
    let name = &program.values[value].name;
    if function.inputs.contains(&value) {
        return format!("an input of function `{}` has that name", function.name);
    }
    let mut bodies = function.specializations.iter();
    if bodies.any(|&(_, b)| program.blocks[b].outputs.contains(&value)) {
        return format!("an output of function `{}` has that name", function.name);
    }
    let what = match program.def_op(value) {
        Some(op) => format!("`{}`", program.describe_op(op)),
        None => "a value of a block".to_owned(),
    };
    format!(
        "{what} in function `{}` has that name; rename it too: {name}={name}_inside",
        function.name
    )
}
