//! Runs a function of a program, step after step, with its states.

use std::collections::{BTreeMap, HashMap};

use milwright_ir::arena::Id;
use milwright_ir::ops::Opset;
use milwright_ir::{
    Arg, BlobSource, BlockId, Constant, Function, OpId, OpView, Program, ValueDef, ValueId,
    ValueType,
};

use crate::call::{Call, Outputs};
use crate::control;
use crate::error::{Error, KernelError};
use crate::kernels;
use crate::plan::Plan;
use crate::value::{self, Tensor, Value};
use rayon::prelude::*;

/// When results are rounded to the type that the program declares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Never: all float arithmetic in single precision over the stored
    /// weights. The reference.
    #[default]
    Fp32,
    /// After every operation: what a device that stores fp16 results would
    /// hold. Sums inside of an operation stay in single precision.
    Native,
}

/// How a session runs.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Rounding of results.
    pub precision: Precision,
    /// Keep weights in memory between steps. Otherwise each is freed after its
    /// last use in a step and read again in the next.
    pub keep_weights: bool,
    /// Steps after which a `while_loop` is taken to never end.
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

/// A function of a program, ready to run, with the states it keeps.
pub struct Session<'m> {
    pub(crate) program: &'m Program,
    pub(crate) function: &'m Function,
    blobs: &'m (dyn BlobSource + Sync),
    body: BlockId,
    opset: Opset,
    pub(crate) options: Options,
    plan: Plan,
    /// Current value of each state, by the index of its function input.
    pub(crate) states: BTreeMap<usize, Tensor>,
    /// What is live now, by value; constants stay between steps if kept.
    pub(crate) env: Vec<Option<Value>>,
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
        let function = program.function(function)?;
        let (Some(body), Some(opset)) = (function.body(), function.known_opset()) else {
            return Err(Error::NoBody {
                function: function.name.clone(),
                opset: function.opset.clone(),
            });
        };
        let mut session = Self {
            program,
            function,
            blobs,
            body,
            opset,
            options,
            plan: Plan::new(program, body),
            states: BTreeMap::new(),
            env: vec![None; program.values.len()],
        };
        session.check_kernels()?;
        session.reset_state()?;
        Ok(session)
    }

    fn check_kernels(&self) -> Result<(), Error> {
        let mut missing: BTreeMap<&str, usize> = BTreeMap::new();
        let mut first = None;
        for id in self.program.walk(self.body) {
            let op_type = self.program.ops[id].op_type.as_str();
            if !is_executable(op_type) {
                *missing.entry(op_type).or_default() += 1;
                first = first.or(Some(id));
            }
        }
        match first {
            None => Ok(()),
            Some(id) => Err(Error::NoKernel {
                location: self.location(id),
                op_type: self.program.ops[id].op_type.clone(),
                types: missing
                    .into_iter()
                    .map(|(name, count)| (name.to_owned(), count))
                    .collect(),
            }),
        }
    }

    /// The function that runs.
    pub fn function(&self) -> &'m Function {
        self.function
    }

    /// Sets every state to zeros, as a new `MLState` is.
    ///
    /// # Errors
    /// A state has no fixed tensor type.
    pub fn reset_state(&mut self) -> Result<(), Error> {
        for (index, &id) in self.function.inputs.iter().enumerate() {
            let value = &self.program.values[id];
            let ValueType::State(inner) = &value.ty else {
                continue;
            };
            let zeros = zeros_of(inner).map_err(|problem| Error::Input {
                name: value.name.clone(),
                problem,
            })?;
            self.states.insert(index, zeros);
        }
        Ok(())
    }

    /// The current value of every state, by name.
    pub fn states(&self) -> impl Iterator<Item = (&'m str, &Tensor)> {
        self.states.iter().map(|(&index, tensor)| {
            let id = self.function.inputs[index];
            (self.program.values[id].name.as_str(), tensor)
        })
    }

    /// Sets a state.
    ///
    /// # Errors
    /// There is no such state or its type differs.
    pub fn set_state(&mut self, name: &str, data: candle_core::Tensor) -> Result<(), Error> {
        let problem = |problem: String| Error::Input {
            name: name.to_owned(),
            problem,
        };
        let (index, current) = self
            .states
            .iter_mut()
            .find(|(index, _)| self.program.values[self.function.inputs[**index]].name == name)
            .ok_or_else(|| problem("the function has no such state".into()))?;
        if current.dims() != data.dims() {
            return Err(problem(format!(
                "state {index} has shape {:?}, given {:?}",
                current.dims(),
                data.dims()
            )));
        }
        *current = Tensor::new(current.dtype, data).map_err(|e| problem(e.to_string()))?;
        Ok(())
    }

    /// Reads every weight of the function now, in parallel, so that the first
    /// step takes no longer than the others. Does nothing without
    /// [`Options::keep_weights`].
    ///
    /// # Errors
    /// A weight cannot be read.
    pub fn load_weights(&mut self) -> Result<(), Error> {
        if !self.options.keep_weights {
            return Ok(());
        }
        let (consts, derived): (Vec<OpId>, Vec<OpId>) = self
            .program
            .walk(self.body)
            .into_iter()
            .filter(|&id| self.plan.is_constant(id))
            .partition(|&id| self.program.ops[id].op_type == "const");
        let values: Vec<Result<Value, Error>> = consts
            .par_iter()
            .map(|&id| self.read_constant(id))
            .collect();
        for (id, value) in consts.into_iter().zip(values) {
            self.store(id, vec![value?])?;
        }
        derived
            .into_iter()
            .try_for_each(|id| self.load_constant(id))
    }

    /// Runs one step. `inputs` holds every input of the function that is not a
    /// state, held as [`storage`](crate::storage) says.
    ///
    /// # Errors
    /// An input is missing, unknown or does not fit, or an operation fails.
    pub fn run(
        &mut self,
        inputs: &HashMap<String, candle_core::Tensor>,
    ) -> Result<Vec<(String, Value)>, Error> {
        self.run_observed(inputs, &mut |_, _| {})
    }

    /// As [`Session::run`], and calls `observer` after each operation.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_observed(
        &mut self,
        inputs: &HashMap<String, candle_core::Tensor>,
        observer: &mut Observer<'_>,
    ) -> Result<Vec<(String, Value)>, Error> {
        self.clear();
        self.bind_inputs(inputs)?;
        let result = self.run_block(self.body, observer);
        let result = result.and_then(|()| {
            let outputs = &self.program.blocks[self.body].outputs;
            outputs
                .iter()
                .map(|&id| {
                    let value = self.take_or_load(id)?;
                    Ok((self.program.values[id].name.clone(), value))
                })
                .collect()
        });
        self.clear();
        result
    }

    fn bind_inputs(&mut self, inputs: &HashMap<String, candle_core::Tensor>) -> Result<(), Error> {
        for (index, &id) in self.function.inputs.iter().enumerate() {
            let declared = &self.program.values[id];
            let error = |problem: String| Error::Input {
                name: declared.name.clone(),
                problem,
            };
            self.env[id.index()] = Some(match &declared.ty {
                ValueType::State(_) => Value::State(index),
                ValueType::Tensor(ty) => {
                    let data = inputs
                        .get(&declared.name)
                        .ok_or_else(|| error(format!("missing; expected {ty}")))?;
                    if !shape_fits(ty, data.dims()) {
                        return Err(error(format!("has shape {:?}, expected {ty}", data.dims())));
                    }
                    let tensor = Tensor::new(ty.dtype, data.clone())
                        .map_err(|e| error(format!("expected {ty}: {e}")))?;
                    Value::Tensor(self.round(tensor).map_err(|e| error(e.to_string()))?)
                }
                other => return Err(error(format!("is of type {other}, which cannot be given"))),
            });
        }
        let known = |name: &str| {
            let mut names = self.function.inputs.iter();
            names.any(|&id| self.program.values[id].name == name)
        };
        let mut unknown: Vec<&String> = inputs.keys().filter(|name| !known(name)).collect();
        unknown.sort();
        match unknown.first() {
            None => Ok(()),
            Some(name) => Err(Error::Input {
                name: (*name).clone(),
                problem: format!(
                    "function `{}` has no such input; it has: {}",
                    self.function.name,
                    self.function
                        .inputs
                        .iter()
                        .map(|&id| self.program.values[id].name.as_str())
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            }),
        }
    }

    /// Runs the operations of a block. Its inputs are bound already; its
    /// outputs stay in the environment.
    pub(crate) fn run_block(
        &mut self,
        block: BlockId,
        observer: &mut Observer<'_>,
    ) -> Result<(), Error> {
        let program = self.program;
        for &id in &program.blocks[block].ops {
            // Constants are read when something needs them.
            if !self.plan.is_constant(id) {
                self.load_operands(id)?;
                let outputs = match control::run(self, id, observer) {
                    Some(outputs) => outputs?,
                    None => self.call(id)?,
                };
                observer(id, &outputs);
                self.store(id, outputs)?;
            }
            self.free_after(id);
        }
        Ok(())
    }

    fn call(&self, id: OpId) -> Result<Vec<Value>, Error> {
        let view = OpView::new(self.program, id, self.blobs);
        let scope = self.scope();
        let call = Call {
            view,
            opset: self.opset,
            scope: &scope,
        };
        let outputs: Outputs = match kernels::lookup(&view.op.op_type) {
            Some(kernel) => kernel(&call),
            None => Err(KernelError::Unsupported(view.op.op_type.clone())),
        };
        outputs
            .and_then(|values| {
                values
                    .into_iter()
                    .map(|value| match value {
                        Value::Tensor(t) => self.round(t).map(Value::Tensor),
                        other => Ok(other),
                    })
                    .collect()
            })
            .map_err(|cause| self.op_error(id, cause))
    }

    pub(crate) fn scope(&self) -> Scope<'_> {
        Scope {
            env: &self.env,
            program: self.program,
            blobs: self.blobs,
        }
    }

    fn round(&self, tensor: Tensor) -> Result<Tensor, KernelError> {
        match self.options.precision {
            Precision::Fp32 => Ok(tensor),
            Precision::Native => tensor.rounded(),
        }
    }

    /// Puts an operation's outputs into the environment, after checking them
    /// against the declared types.
    fn store(&mut self, id: OpId, values: Vec<Value>) -> Result<(), Error> {
        let declared = &self.program.ops[id].outputs;
        if values.len() != declared.len() {
            return Err(self.op_error(
                id,
                KernelError::mismatch(format!(
                    "the operation has {} outputs, the program declares {}",
                    values.len(),
                    declared.len()
                )),
            ));
        }
        for (&out, value) in declared.iter().zip(values) {
            if let (ValueType::Tensor(ty), Value::Tensor(t)) =
                (&self.program.values[out].ty, &value)
                && !shape_fits(ty, t.dims())
            {
                return Err(self.op_error(
                    id,
                    KernelError::mismatch(format!(
                        "computed shape {:?}, but the program declares {ty}",
                        t.dims()
                    )),
                ));
            }
            self.env[out.index()] = Some(value);
        }
        Ok(())
    }

    /// Makes sure that every constant that an operation, or a block in it,
    /// reads is in the environment.
    fn load_operands(&mut self, id: OpId) -> Result<(), Error> {
        let program = self.program;
        for value in program.ops[id].operands() {
            self.load(id, value)?;
        }
        Ok(())
    }

    fn load(&mut self, user: OpId, value: ValueId) -> Result<(), Error> {
        if self.env[value.index()].is_some() {
            return Ok(());
        }
        let program = self.program;
        match program.values[value].def {
            ValueDef::Op(id, _) if self.plan.is_constant(id) => self.load_constant(id),
            _ => Err(Error::Undefined {
                location: self.location(user),
                value: program.values[value].name.clone(),
            }),
        }
    }

    fn load_constant(&mut self, id: OpId) -> Result<(), Error> {
        let op = &self.program.ops[id];
        if op.op_type != "const" {
            self.load_operands(id)?;
            let outputs = self.call(id)?;
            return self.store(id, outputs);
        }
        let value = self.read_constant(id)?;
        self.store(id, vec![value])
    }

    fn read_constant(&self, id: OpId) -> Result<Value, Error> {
        let constant = self.program.ops[id].attribute("val").ok_or_else(|| {
            let missing = milwright_ir::ParamError::Missing {
                param: "val".into(),
            };
            self.op_error(id, KernelError::Param(missing))
        })?;
        value::from_constant(constant, self.blobs).map_err(|cause| Error::Const {
            location: self.location(id),
            cause,
        })
    }

    /// The value of a block's output. A constant may be one.
    pub(crate) fn take_or_load(&mut self, id: ValueId) -> Result<Value, Error> {
        if self.env[id.index()].is_none()
            && let Some(op) = self.program.def_op(id)
            && self.plan.is_constant(op)
        {
            self.load_constant(op)?;
        }
        self.env[id.index()]
            .clone()
            .ok_or_else(|| Error::Undefined {
                location: format!("outputs of function `{}`", self.function.name),
                value: self.program.values[id].name.clone(),
            })
    }

    fn free_after(&mut self, id: OpId) {
        for &value in self.plan.dead_after(id) {
            if !(self.options.keep_weights && self.is_constant_value(value)) {
                self.env[value.index()] = None;
            }
        }
    }

    /// Frees everything but kept constants.
    fn clear(&mut self) {
        for id in self.program.values.ids() {
            if !(self.options.keep_weights && self.is_constant_value(id)) {
                self.env[id.index()] = None;
            }
        }
    }

    fn is_constant_value(&self, value: ValueId) -> bool {
        let def = self.program.def_op(value);
        def.is_some_and(|op| self.plan.is_constant(op))
    }

    pub(crate) fn op_error(&self, id: OpId, cause: KernelError) -> Error {
        Error::Op {
            location: self.location(id),
            cause,
        }
    }

    pub(crate) fn location(&self, id: OpId) -> String {
        let found = self.program.walk(self.body).iter().position(|&o| o == id);
        format!(
            "function `{}`, operation {}: `{}`",
            self.function.name,
            found.unwrap_or(0),
            self.program.describe_op(id)
        )
    }
}

/// What a kernel can see: live values and constants.
pub(crate) struct Scope<'a> {
    env: &'a [Option<Value>],
    program: &'a Program,
    blobs: &'a (dyn BlobSource + Sync),
}

impl Scope<'_> {
    pub(crate) fn arg(&self, arg: &Arg) -> Result<Value, KernelError> {
        match arg {
            Arg::Const(constant) => self.constant(constant),
            Arg::Value(id) => self.env[id.index()].clone().ok_or_else(|| {
                KernelError::mismatch(format!(
                    "value `{}` is not defined here",
                    self.program.values[*id].name
                ))
            }),
        }
    }

    pub(crate) fn constant(&self, constant: &Constant) -> Result<Value, KernelError> {
        value::from_constant(constant, self.blobs).map_err(|e| KernelError::mismatch(e.to_string()))
    }
}

/// Whether this build can execute operations of that type.
pub fn is_executable(op_type: &str) -> bool {
    op_type == "const" || control::handles(op_type) || kernels::lookup(op_type).is_some()
}

fn shape_fits(ty: &milwright_ir::TensorType, dims: &[usize]) -> bool {
    match ty.rank() {
        None => true,
        Some(rank) => {
            rank == dims.len()
                && ty
                    .shape
                    .iter()
                    .zip(dims)
                    .all(|(declared, &dim)| declared.known().is_none_or(|d| d == dim as u64))
        }
    }
}

fn zeros_of(ty: &ValueType) -> Result<Tensor, String> {
    let problem = || format!("a state of type {ty} cannot be made");
    let tensor = ty.as_tensor().ok_or_else(problem)?;
    let (Some(shape), Some(held)) = (tensor.known_shape(), value::storage(tensor.dtype)) else {
        return Err(problem());
    };
    let limit = kernels::MAX_ELEMENTS as u64;
    if tensor.elements().is_none_or(|n| n > limit) {
        return Err(problem());
    }
    let shape: Vec<usize> = shape.into_iter().map(|d| d as usize).collect();
    let data = candle_core::Tensor::zeros(shape, held, &candle_core::Device::Cpu)
        .map_err(|e| e.to_string())?;
    Ok(Tensor {
        dtype: tensor.dtype,
        data,
    })
}
