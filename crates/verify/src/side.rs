//! A model made ready to be compared.

use milwright_interp::{Moment, NamedValues, Options, Precision, Session, Shadow, Tensor, Value};
use milwright_ir::features::Signature;
use milwright_ir::{BlobSource, DataType, Function, OpId, Program};

use crate::array::{Array, Data, NamedArrays};
use crate::error::Error;
use crate::features::{Input, inputs_of};
use crate::inputs::{Feed, feed};

/// A program, what it declares to its caller, and where its weights are.
#[derive(Clone, Copy)]
pub struct Subject<'m> {
    /// How the user named the model, for messages.
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

/// A model that runs step after step.
pub struct Runner<'m> {
    subject: Subject<'m>,
    session: Session<'m>,
    inputs: Vec<Input>,
}

impl<'m> Runner<'m> {
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
        Ok(Runner {
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

    /// As [`Runner::step`], and calls `observer` after each operation.
    ///
    /// # Errors
    /// As [`Runner::step`].
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
    /// what [`Runner::step`] returns. For measuring.
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

/// An output of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Name of the feature.
    pub name: String,
    /// Element type that the program declares.
    pub dtype: DataType,
    /// The values, as computed: floats are `float32` whatever is declared,
    /// `float64` in [`Precision::Fp64`].
    pub array: Array,
}

/// The arrays of a step's values.
///
/// # Errors
/// [`Error::Output`] when one is no tensor of numbers.
pub fn outputs(values: Vec<(String, Value)>) -> Result<Vec<Output>, Error> {
    values
        .into_iter()
        .map(|(name, value)| match value {
            Value::Tensor(t) => Ok(Output {
                array: to_array(&t).ok_or_else(|| Error::Output {
                    name: name.clone(),
                    what: "of a type without arrays",
                })?,
                name,
                dtype: t.dtype,
            }),
            Value::Strings(_) => Err(Error::Output { name, what: "text" }),
            Value::List(_) => Err(Error::Output {
                name,
                what: "a list",
            }),
            Value::State(_) => Err(Error::Output {
                name,
                what: "a state",
            }),
        })
        .collect()
}

/// Copies a tensor of a running program. Integers get the declared width.
/// `None` for a type that arrays do not have.
pub fn to_array(tensor: &Tensor) -> Option<Array> {
    use candle_core::DType;
    let flat = tensor.data.flatten_all().ok()?;
    let data = match (tensor.dtype, flat.dtype()) {
        (_, DType::F32) => Data::Float32(flat.to_vec1().ok()?),
        (_, DType::F64) => Data::Float64(flat.to_vec1().ok()?),
        (DataType::Bool, DType::U8) => {
            Data::Bool(flat.to_vec1::<u8>().ok()?.iter().map(|&b| b != 0).collect())
        }
        (_, DType::U8) => Data::Uint8(flat.to_vec1().ok()?),
        (DataType::Int8, DType::I32) => Data::Int8(narrowed::<i32, _>(&flat)?),
        (DataType::Int16, DType::I32) => Data::Int16(narrowed::<i32, _>(&flat)?),
        (DataType::UInt16, DType::I32) => Data::Uint16(narrowed::<i32, _>(&flat)?),
        (_, DType::I32) => Data::Int32(flat.to_vec1().ok()?),
        (DataType::UInt32, DType::I64) => Data::Uint32(narrowed::<i64, _>(&flat)?),
        (_, DType::I64) => Data::Int64(flat.to_vec1().ok()?),
        _ => return None,
    };
    Array::new(tensor.dims().to_vec(), data)
}

fn narrowed<W: candle_core::WithDType, N: TryFrom<W>>(
    flat: &candle_core::Tensor,
) -> Option<Vec<N>> {
    let wide: Vec<W> = flat.to_vec1().ok()?;
    wide.into_iter().map(|v| N::try_from(v).ok()).collect()
}
