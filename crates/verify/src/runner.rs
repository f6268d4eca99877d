//! A model that runs step after step: one function, or the stages of a
//! pipeline with their features wired by name.

use std::collections::HashMap;

use milwright_interp::{NamedValues, Value};
use milwright_ir::DataType;

use crate::array::NamedArrays;
use crate::error::Error;
use crate::features::Input;
use crate::inputs::{self, Feed, Ranges, feed};
use crate::output::{Output, outputs};
use crate::stage::Stage;

/// See the module.
pub struct Runner<'m> {
    name: &'m str,
    function: &'m str,
    stages: Vec<Stage<'m>>,
    /// What the caller gives.
    inputs: Vec<Input>,
    /// What the caller gets, in order.
    outputs: Vec<&'m str>,
}

/// Names of what the caller of a pipeline gives and gets, in order.
pub(crate) struct Wiring<'m> {
    pub(crate) inputs: Vec<&'m str>,
    pub(crate) outputs: Vec<&'m str>,
}

impl<'m> Runner<'m> {
    /// A model of one program.
    pub(crate) fn program(name: &'m str, stage: Stage<'m>) -> Self {
        Runner {
            name,
            function: &stage.function().name,
            inputs: stage.inputs().to_vec(),
            outputs: stage.output_names(),
            stages: vec![stage],
        }
    }

    /// A pipeline, whose features are named by `wiring`. A stage's input is the
    /// feature of that name which the nearest stage before it gives, or else the
    /// caller.
    ///
    /// # Errors
    /// [`Error::Wiring`] when a feature comes from nowhere or as another type.
    pub(crate) fn pipeline(
        name: &'m str,
        function: &'m str,
        wiring: Wiring<'m>,
        stages: Vec<Stage<'m>>,
    ) -> Result<Self, Error> {
        let wrong = |problem: String| Error::Wiring {
            model: name.to_owned(),
            problem,
        };
        let mut inputs: Vec<Input> = Vec::new();
        // The element type, of tensors.
        let mut given: HashMap<&str, Option<DataType>> = HashMap::new();
        for (number, stage) in stages.iter().enumerate() {
            for input in stage.inputs() {
                let feature = input.name.as_str();
                let from = match given.get(feature) {
                    Some(&Some(from)) => from,
                    Some(None) => {
                        return Err(wrong(format!(
                            "stage {number} takes `{feature}`, which is given as something else \
                             than a tensor"
                        )));
                    }
                    None if wiring.inputs.contains(&feature) => {
                        if !inputs.iter().any(|known| known.name == feature) {
                            inputs.push(input.clone());
                        }
                        let first = inputs.iter().find(|known| known.name == feature);
                        first.map_or(input.ty.dtype, |first| first.ty.dtype)
                    }
                    None => {
                        return Err(wrong(format!(
                            "stage {number} takes `{feature}`, which neither the caller nor an \
                             earlier stage gives"
                        )));
                    }
                };
                let to = input.ty.dtype;
                if from != to && !(from.is_float() && to.is_float()) {
                    return Err(wrong(format!(
                        "stage {number} takes `{feature}` as {to}, but it is given as {from}"
                    )));
                }
            }
            given.extend(stage_outputs(stage));
        }
        for feature in &wiring.outputs {
            if !given.contains_key(feature) {
                return Err(wrong(format!("no stage gives its output `{feature}`")));
            }
        }
        inputs.sort_by_key(|input| wiring.inputs.iter().position(|&name| name == input.name));
        Ok(Runner {
            name,
            function,
            stages,
            inputs,
            outputs: wiring.outputs,
        })
    }

    /// How messages call the model.
    pub fn name(&self) -> &'m str {
        self.name
    }

    /// Name of the function that runs.
    pub fn function(&self) -> &'m str {
        self.function
    }

    /// What the caller gives.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// Names of the outputs, in order.
    pub fn output_names(&self) -> &[&'m str] {
        &self.outputs
    }

    /// The only stage, for `what`, which looks into a program.
    ///
    /// # Errors
    /// [`Error::Single`] when the model is a pipeline.
    pub fn single(&mut self, what: &'static str) -> Result<&mut Stage<'m>, Error> {
        let count = self.stages.len();
        match self.stages.as_mut_slice() {
            [only] => Ok(only),
            _ => Err(Error::Single {
                model: self.name.to_owned(),
                stages: count,
                what,
            }),
        }
    }

    /// Checks arrays against the inputs and converts them.
    ///
    /// # Errors
    /// [`Error::Inputs`], which names `origin` as where they come from.
    pub fn feed(&self, arrays: &NamedArrays, origin: &str) -> Result<Feed, Error> {
        feed(&self.inputs, arrays, self.function, origin)
    }

    /// Random values for the inputs of one step, see [`inputs::random`].
    ///
    /// # Errors
    /// As [`inputs::random`].
    pub fn random(&self, ranges: &Ranges, seed: u64, step: usize) -> Result<NamedArrays, Error> {
        let bound = |input: &Input| {
            let bounds = self
                .stages
                .iter()
                .filter_map(|stage| stage.index_bound(&input.name));
            bounds.min()
        };
        inputs::random(&self.inputs, ranges, seed, step, &bound)
    }

    /// Reads every weight now, so that the first step takes no longer than the
    /// others.
    ///
    /// # Errors
    /// [`Error::Run`] when a weight cannot be read.
    pub fn load_weights(&mut self) -> Result<(), Error> {
        self.stages.iter_mut().try_for_each(Stage::load_weights)
    }

    /// Sets the states to what they are before the first step.
    ///
    /// # Errors
    /// [`Error::Run`] when a state cannot be made.
    pub fn reset(&mut self) -> Result<(), Error> {
        self.stages.iter_mut().try_for_each(Stage::reset)
    }

    /// Runs one step; states carry over to the next.
    ///
    /// # Errors
    /// [`Error::Run`] when an operation fails, [`Error::Output`].
    pub fn step(&mut self, feed: &Feed) -> Result<Vec<Output>, Error> {
        outputs(self.forward(feed)?)
    }

    /// Runs one step and nothing else: what [`outputs`] makes of the values is
    /// what [`Runner::step`] returns. For measuring.
    ///
    /// # Errors
    /// [`Error::Run`] when an operation fails.
    pub fn forward(&mut self, feed: &Feed) -> Result<NamedValues, Error> {
        let mut given: HashMap<String, Value> = HashMap::new();
        for stage in &mut self.stages {
            let mut own = Feed::new();
            for input in stage.inputs() {
                let tensor = match given.get(&input.name) {
                    Some(Value::Tensor(t)) => Some(t.data.clone()),
                    _ => feed.get(&input.name).cloned(),
                };
                // What is missing is named by the session.
                own.extend(tensor.map(|t| (input.name.clone(), t)));
            }
            given.extend(stage.forward(&own)?);
        }
        self.outputs
            .iter()
            .map(|&name| match given.get(name) {
                Some(value) => Ok((name.to_owned(), value.clone())),
                None => Err(Error::Output {
                    name: name.to_owned(),
                    what: "missing",
                }),
            })
            .collect()
    }
}

/// Names of a stage's outputs, and element types of those that are tensors.
fn stage_outputs<'m>(stage: &Stage<'m>) -> Vec<(&'m str, Option<DataType>)> {
    let program = stage.subject().program;
    let body = stage.function().body();
    body.iter()
        .flat_map(|&b| &program.blocks[b].outputs)
        .map(|&id| &program.values[id])
        .map(|value| (value.name.as_str(), value.ty.as_tensor().map(|t| t.dtype)))
        .collect()
}
