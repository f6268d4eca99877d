//! One function of an ML Program, ready to run.

use milwright_interp::{Moment, NamedValues, Options, Precision, Session, Shadow, Value};
use milwright_ir::features::Signature;
use milwright_ir::{BlobSource, Function, OpId, Program};

use crate::array::NamedArrays;
use crate::error::Error;
use crate::features::{Input, inputs_of};
use crate::inputs::{Feed, feed, index_bound};
use crate::output::{Output, outputs};

/// A function of a program, what it declares to its caller, and where its
/// weights are.
#[derive(Clone, Copy)]
pub struct Subject<'m> {
    /// How the user named the model, and which stage of it this is; for
    /// messages.
    pub name: &'m str,
    /// The program.
    pub program: &'m Program,
    /// Its weights.
    pub blobs: &'m (dyn BlobSource + Sync),
    /// What the description declares for the function, if it does.
    pub signature: Option<&'m Signature>,
    /// The function; without a name the only one or `main`.
    pub function: Option<&'m str>,
}

/// A function that runs step after step. A model is one of them, a pipeline
/// several, see [`Runner`](crate::Runner).
pub struct Stage<'m> {
    subject: Subject<'m>,
    session: Session<'m>,
    inputs: Vec<Input>,
}

impl<'m> Stage<'m> {
    /// Prepares a model.
    ///
    /// # Errors
    /// [`Error::Run`] when it cannot be executed.
    pub fn new(subject: Subject<'m>, options: Options) -> Result<Self, Error> {
        let session = Session::new(subject.program, subject.blobs, subject.function, options)
            .map_err(|source| Error::Run {
                model: subject.name.to_owned(),
                source: Box::new(source),
            })?;
        let inputs = inputs_of(subject.program, session.function(), subject.signature);
        Ok(Stage {
            subject,
            session,
            inputs,
        })
    }

    /// What was prepared.
    pub fn subject(&self) -> Subject<'m> {
        self.subject
    }

    /// The function that runs.
    pub fn function(&self) -> &'m Function {
        self.session.function()
    }

    /// What the function takes.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// Names of the outputs, in program order.
    pub fn output_names(&self) -> Vec<&'m str> {
        let program = self.subject.program;
        let body = self.function().body();
        body.iter()
            .flat_map(|&b| &program.blocks[b].outputs)
            .map(|&id| program.values[id].name.as_str())
            .collect()
    }

    /// Checks arrays against the inputs and converts them.
    ///
    /// # Errors
    /// [`Error::Inputs`], which names `origin` as where they come from.
    pub fn feed(&self, arrays: &NamedArrays, origin: &str) -> Result<Feed, Error> {
        feed(&self.inputs, arrays, &self.function().name, origin)
    }

    /// The extent of the smallest table that an input indexes, see
    /// [`index_bound`].
    pub fn index_bound(&self, input: &str) -> Option<i64> {
        let subject = self.subject;
        index_bound(subject.program, subject.blobs, self.function(), input)
    }

    /// Reads every weight now, so that the first step takes no longer than the
    /// others.
    ///
    /// # Errors
    /// [`Error::Run`] when a weight cannot be read.
    pub fn load_weights(&mut self) -> Result<(), Error> {
        let loaded = self.session.load_weights();
        loaded.map_err(|source| self.failed(source))
    }

    /// Sets the states to what they are before the first step.
    ///
    /// # Errors
    /// [`Error::Run`] when a state cannot be made.
    pub fn reset(&mut self) -> Result<(), Error> {
        let reset = self.session.reset_state();
        reset.map_err(|source| self.failed(source))
    }

    /// Runs one step; states carry over to the next.
    ///
    /// # Errors
    /// [`Error::Run`] when an operation fails, [`Error::Output`].
    pub fn step(&mut self, feed: &Feed) -> Result<Vec<Output>, Error> {
        self.step_observed(feed, &mut |_, _| {})
    }

    /// As [`Stage::step`], and calls `observer` after each operation.
    ///
    /// # Errors
    /// As [`Stage::step`].
    pub fn step_observed(
        &mut self,
        feed: &Feed,
        observer: &mut dyn FnMut(OpId, &[Value]),
    ) -> Result<Vec<Output>, Error> {
        let values = self
            .session
            .run_observed(feed, observer)
            .map_err(|source| self.failed(source))?;
        outputs(values)
    }

    /// Runs one step and nothing else: what [`outputs`] makes of the values is
    /// what [`Stage::step`] returns. For measuring.
    ///
    /// # Errors
    /// [`Error::Run`] when an operation fails.
    pub fn forward(&mut self, feed: &Feed) -> Result<NamedValues, Error> {
        let values = self.session.run(feed);
        values.map_err(|source| self.failed(source))
    }

    /// In which precision it runs.
    pub fn precision(&self) -> Precision {
        self.session.precision()
    }

    /// A second evaluation to run beside this one.
    ///
    /// # Errors
    /// [`Error::Run`] when a state cannot be made.
    pub fn shadow(&self, precision: Precision) -> Result<Shadow, Error> {
        let shadow = self.session.shadow(precision);
        shadow.map_err(|source| self.failed(source))
    }

    /// Runs one step with a shadow of this runner, and calls `watcher` after
    /// each operation.
    ///
    /// # Errors
    /// [`Error::Run`] when an operation fails; not when it fails in the shadow
    /// only.
    pub fn step_shadowed(
        &mut self,
        feed: &Feed,
        shadow: &mut Shadow,
        watcher: &mut dyn FnMut(&Moment<'_>),
    ) -> Result<(NamedValues, Option<NamedValues>), Error> {
        let values = self.session.run_shadowed(feed, shadow, watcher);
        values.map_err(|source| self.failed(source))
    }

    /// Calls `visit` with every constant operation and its values.
    ///
    /// # Errors
    /// [`Error::Run`] when a constant cannot be read.
    pub fn visit_constants(&mut self, visit: &mut dyn FnMut(OpId, &[Value])) -> Result<(), Error> {
        let visited = self.session.visit_constants(visit);
        visited.map_err(|source| self.failed(source))
    }

    /// The states as they are now.
    pub fn states(&self) -> Vec<(&'m str, candle_core::Tensor)> {
        let states = self.session.states();
        states.map(|(name, t)| (name, t.data.clone())).collect()
    }

    /// Puts states back.
    ///
    /// # Errors
    /// [`Error::Run`] when they are not this model's.
    pub fn set_states(&mut self, states: &[(&'m str, candle_core::Tensor)]) -> Result<(), Error> {
        for (name, data) in states {
            let set = self.session.set_state(name, data.clone());
            set.map_err(|source| self.failed(source))?;
        }
        Ok(())
    }

    fn failed(&self, source: milwright_interp::Error) -> Error {
        Error::Run {
            model: self.subject.name.to_owned(),
            source: Box::new(source),
        }
    }
}
