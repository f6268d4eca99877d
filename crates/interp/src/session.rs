//! Runs a function of a program, step after step, with its states.

use std::collections::HashMap;

use milwright_ir::{BlobSource, Function, OpId, Program};
use rayon::prelude::*;

use crate::control::{Step, Watcher};
use crate::error::Error;
use crate::frame::Frame;
use crate::lane::{Lane, read_constant};
use crate::precision::Precision;
use crate::shadow::{Moment, Shadow};
use crate::value::{Tensor, Value};

/// How a session runs.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// In which precision.
    pub precision: Precision,
    /// Keep weights in memory between steps. Otherwise each is freed after its
    /// last use in a step and read again in the next.
    pub keep_weights: bool,
    /// Rounds of all `while_loop`s of a step after which it is taken to never
    /// end.
    pub step_limit: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            precision: Precision::Fp32,
            keep_weights: true,
            step_limit: 1_000_000,
        }
    }
}

/// Called after each operation with its outputs.
pub type Observer<'o> = dyn FnMut(OpId, &[Value]) + 'o;

/// The outputs of a step, by name.
pub type NamedValues = Vec<(String, Value)>;

/// A function of a program, ready to run, with the states it keeps.
pub struct Session<'m> {
    frame: Frame<'m>,
    lane: Lane,
}

impl<'m> Session<'m> {
    /// Prepares `function` of `program` (without a name: the only one, or
    /// `main`).
    ///
    /// # Errors
    /// There is no such function, or it has operations without a kernel.
    pub fn new(
        program: &'m Program,
        blobs: &'m (dyn BlobSource + Sync),
        function: Option<&str>,
        options: Options,
    ) -> Result<Self, Error> {
        let frame = Frame::new(program, blobs, function, options)?;
        let lane = Lane::new(&frame, options.precision)?;
        Ok(Self { frame, lane })
    }

    /// The function that runs.
    pub fn function(&self) -> &'m Function {
        self.frame.function
    }

    /// In which precision it runs.
    pub fn precision(&self) -> Precision {
        self.lane.precision
    }

    /// Sets every state to zeros, as a new `MLState` is.
    ///
    /// # Errors
    /// A state has no fixed tensor type.
    pub fn reset_state(&mut self) -> Result<(), Error> {
        self.lane.reset_state(&self.frame)
    }

    /// The current value of every state, by name.
    pub fn states(&self) -> impl Iterator<Item = (&'m str, &Tensor)> {
        self.lane.states.iter().map(|(&index, tensor)| {
            let id = self.frame.function.inputs[index];
            (self.frame.program.values[id].name.as_str(), tensor)
        })
    }

    /// Sets a state.
    ///
    /// # Errors
    /// There is no such state or its type differs.
    pub fn set_state(&mut self, name: &str, data: candle_core::Tensor) -> Result<(), Error> {
        self.lane.set_state(&self.frame, name, data)
    }

    /// Reads every weight of the function now, in parallel, so that the first
    /// step takes no longer than the others. Does nothing without
    /// [`Options::keep_weights`].
    ///
    /// # Errors
    /// A weight cannot be read.
    pub fn load_weights(&mut self) -> Result<(), Error> {
        let (frame, lane) = (&self.frame, &mut self.lane);
        if !frame.keep_weights {
            return Ok(());
        }
        let (consts, derived): (Vec<OpId>, Vec<OpId>) = frame
            .program
            .walk(frame.body)
            .into_iter()
            .filter(|&id| frame.plan.is_constant(id))
            .partition(|&id| frame.program.ops[id].op_type == "const");
        let precision = lane.precision;
        let values: Vec<Result<Value, Error>> = consts
            .par_iter()
            .map(|&id| read_constant(frame, id, precision))
            .collect();
        for (id, value) in consts.into_iter().zip(values) {
            lane.store(frame, id, vec![value?])?;
        }
        derived
            .into_iter()
            .try_for_each(|id| lane.load_constant(frame, id))
    }

    /// Calls `visit` with every constant operation of the function and its
    /// values, decompressed, one after the other.
    ///
    /// # Errors
    /// A constant cannot be read.
    pub fn visit_constants(&mut self, visit: &mut dyn FnMut(OpId, &[Value])) -> Result<(), Error> {
        let (frame, lane) = (&self.frame, &mut self.lane);
        for id in frame.program.walk(frame.body) {
            if frame.plan.is_constant(id) {
                lane.load_constant(frame, id)?;
                visit(id, &lane.outputs(frame, id));
                lane.clear(frame);
            }
        }
        Ok(())
    }

    /// Runs one step. `inputs` holds every input of the function that is not a
    /// state, held as [`Precision::storage`] says for any mode.
    ///
    /// # Errors
    /// An input is missing, unknown or does not fit, or an operation fails.
    pub fn run(
        &mut self,
        inputs: &HashMap<String, candle_core::Tensor>,
    ) -> Result<NamedValues, Error> {
        self.step(inputs, None, &mut |_| {})
    }

    /// As [`Session::run`], and calls `observer` after each operation.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_observed(
        &mut self,
        inputs: &HashMap<String, candle_core::Tensor>,
        observer: &mut Observer<'_>,
    ) -> Result<NamedValues, Error> {
        self.step(inputs, None, &mut |m| observer(m.op(), &m.outputs()))
    }

    /// A second evaluation to run beside this one, see [`Shadow`].
    ///
    /// # Errors
    /// A state has no fixed tensor type.
    pub fn shadow(&self, precision: Precision) -> Result<Shadow, Error> {
        Ok(Shadow {
            lane: Lane::new(&self.frame, precision)?,
            failure: None,
        })
    }

    /// Forgets the states and the failure of a shadow of this session.
    ///
    /// # Errors
    /// A state has no fixed tensor type.
    pub fn reset_shadow(&self, shadow: &mut Shadow) -> Result<(), Error> {
        shadow.failure = None;
        shadow.lane.reset_state(&self.frame)
    }

    /// As [`Session::run`], with a shadow that this session made; `watcher` is
    /// called after each operation. The second result is what the shadow gives,
    /// or `None` when it failed.
    ///
    /// # Errors
    /// As [`Session::run`]. What fails only in the shadow is no error.
    pub fn run_shadowed(
        &mut self,
        inputs: &HashMap<String, candle_core::Tensor>,
        shadow: &mut Shadow,
        watcher: &mut dyn FnMut(&Moment<'_>),
    ) -> Result<(NamedValues, Option<NamedValues>), Error> {
        let frame = &self.frame;
        shadow.attempt(|lane| lane.bind_inputs(frame, inputs));
        let values = self.step(inputs, Some(shadow), watcher);
        let frame = &self.frame;
        let beside = match &values {
            Ok(_) => shadow.attempt(|lane| outputs(frame, lane)),
            Err(_) => None,
        };
        shadow.lane.clear(frame);
        Ok((values?, beside))
    }

    fn step(
        &mut self,
        inputs: &HashMap<String, candle_core::Tensor>,
        shadow: Option<&mut Shadow>,
        watcher: &mut Watcher<'_>,
    ) -> Result<NamedValues, Error> {
        let (frame, lane) = (&self.frame, &mut self.lane);
        lane.clear(frame);
        let result = lane
            .bind_inputs(frame, inputs)
            .and_then(|()| Step::new(frame, lane, shadow, watcher).block(frame.body))
            .and_then(|()| outputs(frame, lane));
        lane.clear(frame);
        result
    }
}

fn outputs(frame: &Frame<'_>, lane: &mut Lane) -> Result<NamedValues, Error> {
    frame.program.blocks[frame.body]
        .outputs
        .iter()
        .map(|&id| {
            let value = lane.output(frame, id)?;
            Ok((frame.program.values[id].name.clone(), value))
        })
        .collect()
}
