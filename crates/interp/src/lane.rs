//! The values of one evaluation, in one precision.

use std::collections::{BTreeMap, HashMap};

use milwright_ir::arena::Id;
use milwright_ir::{Arg, BlobSource, Constant, OpId, OpView, Program, TensorType, ValueId};
use milwright_ir::{ValueDef, ValueType};

use crate::call::Call;
use crate::error::{Error, KernelError};
use crate::frame::Frame;
use crate::kernels;
use crate::precision::Precision;
use crate::value::{self, Tensor, Value};

/// See the module.
pub(crate) struct Lane {
    pub(crate) precision: Precision,
    /// What is live now, by value; constants stay between steps if kept.
    env: Vec<Option<Value>>,
    /// Current value of each state, by the index of its function input.
    pub(crate) states: BTreeMap<usize, Tensor>,
    /// How often each random operation has been executed since the states were
    /// set to zeros.
    draws: HashMap<OpId, u64>,
}

impl Lane {
    pub(crate) fn new(frame: &Frame<'_>, precision: Precision) -> Result<Self, Error> {
        let mut lane = Self {
            precision,
            env: vec![None; frame.program.values.len()],
            states: BTreeMap::new(),
            draws: HashMap::new(),
        };
        lane.reset_state(frame)?;
        Ok(lane)
    }

    /// Sets every state to zeros.
    pub(crate) fn reset_state(&mut self, frame: &Frame<'_>) -> Result<(), Error> {
        self.draws.clear();
        for (index, &id) in frame.function.inputs.iter().enumerate() {
            let value = &frame.program.values[id];
            let ValueType::State(inner) = &value.ty else {
                continue;
            };
            let zeros = zeros_of(inner, self.precision).map_err(|problem| Error::Input {
                name: value.name.clone(),
                problem,
            })?;
            self.states.insert(index, zeros);
        }
        Ok(())
    }

    /// Puts the inputs of a step into the environment.
    pub(crate) fn bind_inputs(
        &mut self,
        frame: &Frame<'_>,
        inputs: &HashMap<String, candle_core::Tensor>,
    ) -> Result<(), Error> {
        for (index, &id) in frame.function.inputs.iter().enumerate() {
            let declared = &frame.program.values[id];
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
                    let held = self.precision.hold(tensor);
                    Value::Tensor(held.map_err(|e| error(e.to_string()))?)
                }
                other => return Err(error(format!("is of type {other}, which cannot be given"))),
            });
        }
        let known = |name: &str| {
            let mut names = frame.function.inputs.iter();
            names.any(|&id| frame.program.values[id].name == name)
        };
        let mut unknown: Vec<&String> = inputs.keys().filter(|name| !known(name)).collect();
        unknown.sort();
        match unknown.first() {
            None => Ok(()),
            Some(name) => Err(Error::Input {
                name: (*name).clone(),
                problem: format!(
                    "function `{}` has no such input; it has: {}",
                    frame.function.name,
                    frame
                        .function
                        .inputs
                        .iter()
                        .map(|&id| frame.program.values[id].name.as_str())
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            }),
        }
    }

    pub(crate) fn set_state(
        &mut self,
        frame: &Frame<'_>,
        name: &str,
        data: candle_core::Tensor,
    ) -> Result<(), Error> {
        let problem = |problem: String| Error::Input {
            name: name.to_owned(),
            problem,
        };
        let (index, current) = self
            .states
            .iter_mut()
            .find(|(index, _)| frame.program.values[frame.function.inputs[**index]].name == name)
            .ok_or_else(|| problem("the function has no such state".into()))?;
        if current.dims() != data.dims() {
            return Err(problem(format!(
                "state {index} has shape {:?}, given {:?}",
                current.dims(),
                data.dims()
            )));
        }
        *current = Tensor::new(current.dtype, data)
            .and_then(|tensor| self.precision.hold(tensor))
            .map_err(|e| problem(e.to_string()))?;
        Ok(())
    }

    /// What is live and what operations read.
    pub(crate) fn scope<'a>(&'a self, frame: &'a Frame<'_>) -> Scope<'a> {
        Scope {
            values: Values::All(&self.env),
            program: frame.program,
            blobs: frame.blobs,
            precision: self.precision,
        }
    }

    /// Computes the outputs of an operation that is neither control flow nor a
    /// constant. They are not stored yet.
    pub(crate) fn execute(&mut self, frame: &Frame<'_>, id: OpId) -> Result<Vec<Value>, Error> {
        self.load_operands(frame, id)?;
        match self.run_state_op(frame, id) {
            Some(outputs) => outputs,
            None => {
                if frame.program.ops[id].op_type.starts_with("random_") {
                    *self.draws.entry(id).or_default() += 1;
                }
                self.scope(frame).call(frame, id, self.draw(id))
            }
        }
    }

    /// How often a random operation has been executed.
    pub(crate) fn draw(&self, id: OpId) -> u64 {
        self.draws.get(&id).copied().unwrap_or(0)
    }

    /// Puts an operation's outputs into the environment, after checking them
    /// against the declared types.
    pub(crate) fn store(
        &mut self,
        frame: &Frame<'_>,
        id: OpId,
        values: Vec<Value>,
    ) -> Result<(), Error> {
        let declared = &frame.program.ops[id].outputs;
        if values.len() != declared.len() {
            return Err(frame.op_error(
                id,
                KernelError::mismatch(format!(
                    "the operation has {} outputs, the program declares {}",
                    values.len(),
                    declared.len()
                )),
            ));
        }
        self.bind(frame, id, declared, values)
    }

    /// Puts values into the environment under ids of their own type.
    fn bind(
        &mut self,
        frame: &Frame<'_>,
        op: OpId,
        targets: &[ValueId],
        values: Vec<Value>,
    ) -> Result<(), Error> {
        for (&target, value) in targets.iter().zip(values) {
            if let (ValueType::Tensor(ty), Value::Tensor(t)) =
                (&frame.program.values[target].ty, &value)
                && (!shape_fits(ty, t.dims()) || ty.dtype != t.dtype)
            {
                let found = if ty.dtype == t.dtype {
                    format!("shape {:?}", t.dims())
                } else {
                    t.dtype.to_string()
                };
                return Err(frame.op_error(
                    op,
                    KernelError::mismatch(format!(
                        "computed {found}, but the program declares {ty}"
                    )),
                ));
            }
            self.env[target.index()] = Some(value);
        }
        Ok(())
    }

    /// Makes `targets` have the values of `sources`, all at once, on behalf of
    /// operation `op`.
    pub(crate) fn assign(
        &mut self,
        frame: &Frame<'_>,
        op: OpId,
        targets: &[ValueId],
        sources: &[Arg],
    ) -> Result<(), Error> {
        let values = sources
            .iter()
            .map(|arg| self.value(frame, op, arg))
            .collect::<Result<Vec<_>, _>>()?;
        self.bind(frame, op, targets, values)
    }

    /// The value of an argument of `op`; a constant is read when it must be.
    pub(crate) fn value(&mut self, frame: &Frame<'_>, op: OpId, arg: &Arg) -> Result<Value, Error> {
        if let Arg::Value(id) = arg {
            self.load(frame, op, *id)?;
        }
        self.scope(frame)
            .arg(arg)
            .map_err(|e| frame.op_error(op, e))
    }

    /// The live value of that id.
    pub(crate) fn get(&self, id: ValueId) -> Option<&Value> {
        self.env[id.index()].as_ref()
    }

    /// The outputs of an operation, as far as they are live.
    pub(crate) fn outputs(&self, frame: &Frame<'_>, op: OpId) -> Vec<Value> {
        let outputs = frame.program.ops[op].outputs.iter();
        outputs.filter_map(|&id| self.get(id).cloned()).collect()
    }

    /// The value of an output of the function. A constant may be one.
    pub(crate) fn output(&mut self, frame: &Frame<'_>, id: ValueId) -> Result<Value, Error> {
        if self.get(id).is_none()
            && let Some(op) = frame.program.def_op(id)
            && frame.plan.is_constant(op)
        {
            self.load_constant(frame, op)?;
        }
        self.get(id).cloned().ok_or_else(|| Error::Undefined {
            location: format!("outputs of function `{}`", frame.function.name),
            value: frame.program.values[id].name.clone(),
        })
    }

    /// Makes sure that every constant that an operation reads is in the
    /// environment.
    fn load_operands(&mut self, frame: &Frame<'_>, id: OpId) -> Result<(), Error> {
        for value in frame.program.ops[id].operands() {
            self.load(frame, id, value)?;
        }
        Ok(())
    }

    fn load(&mut self, frame: &Frame<'_>, user: OpId, value: ValueId) -> Result<(), Error> {
        if self.get(value).is_some() {
            return Ok(());
        }
        match frame.program.values[value].def {
            ValueDef::Op(id, _) if frame.plan.is_constant(id) => self.load_constant(frame, id),
            _ => Err(Error::Undefined {
                location: frame.location(user),
                value: frame.program.values[value].name.clone(),
            }),
        }
    }

    /// Computes a constant operation and stores its outputs.
    pub(crate) fn load_constant(&mut self, frame: &Frame<'_>, id: OpId) -> Result<(), Error> {
        let outputs = if frame.program.ops[id].op_type == "const" {
            vec![read_constant(frame, id, self.precision)?]
        } else {
            self.load_operands(frame, id)?;
            self.scope(frame).call(frame, id, 0)?
        };
        self.store(frame, id, outputs)
    }

    /// Frees what operation `id` used last.
    pub(crate) fn free_after(&mut self, frame: &Frame<'_>, id: OpId) {
        for &value in frame.plan.dead_after(id) {
            self.free(frame, value);
        }
    }

    /// Frees everything but kept constants.
    pub(crate) fn clear(&mut self, frame: &Frame<'_>) {
        for id in frame.program.values.ids() {
            self.free(frame, id);
        }
    }

    fn free(&mut self, frame: &Frame<'_>, value: ValueId) {
        if !(frame.keep_weights && frame.is_constant_value(value)) {
            self.env[value.index()] = None;
        }
    }

    /// Executes an operation on a state; `None` for others.
    fn run_state_op(&mut self, frame: &Frame<'_>, id: OpId) -> Option<Result<Vec<Value>, Error>> {
        Some(match frame.program.ops[id].op_type.as_str() {
            "read_state" => self.read_state(frame, id),
            "write_state" => self
                .write_state(frame, id, "input", "data")
                .map(|_| Vec::new()),
            "coreml_update_state" => self
                .write_state(frame, id, "state", "value")
                .map(|t| vec![Value::Tensor(t)]),
            _ => return None,
        })
    }

    fn read_state(&mut self, frame: &Frame<'_>, id: OpId) -> Result<Vec<Value>, Error> {
        let index = self.state_index(frame, id, "input")?;
        Ok(vec![Value::Tensor(self.states[&index].clone())])
    }

    fn write_state(
        &mut self,
        frame: &Frame<'_>,
        id: OpId,
        state: &str,
        data: &str,
    ) -> Result<Tensor, Error> {
        let index = self.state_index(frame, id, state)?;
        let Value::Tensor(new) = self.argument(frame, id, data)? else {
            return Err(frame.op_error(id, KernelError::param(data, "expected a tensor")));
        };
        let old = &self.states[&index];
        if old.dims() != new.dims() {
            let problem = format!("has shape {:?}, the state {:?}", new.dims(), old.dims());
            return Err(frame.op_error(id, KernelError::param(data, problem)));
        }
        let stored = Tensor::new(old.dtype, new.data)
            .and_then(|tensor| self.precision.hold_result(tensor))
            .map_err(|e| frame.op_error(id, e))?;
        self.states.insert(index, stored.clone());
        Ok(stored)
    }

    fn state_index(&mut self, frame: &Frame<'_>, id: OpId, param: &str) -> Result<usize, Error> {
        match self.argument(frame, id, param)? {
            Value::State(index) if self.states.contains_key(&index) => Ok(index),
            _ => Err(frame.op_error(id, KernelError::param(param, "is not a state"))),
        }
    }

    /// The only argument of a parameter.
    pub(crate) fn argument(
        &mut self,
        frame: &Frame<'_>,
        id: OpId,
        param: &str,
    ) -> Result<Value, Error> {
        match frame.program.ops[id].args(param) {
            [arg] => self.value(frame, id, arg),
            args => {
                let problem = format!("expected one argument, found {}", args.len());
                Err(frame.op_error(id, KernelError::param(param, problem)))
            }
        }
    }
}

/// Reads the value of a `const`, as `precision` holds it.
pub(crate) fn read_constant(
    frame: &Frame<'_>,
    id: OpId,
    precision: Precision,
) -> Result<Value, Error> {
    let constant = frame.program.ops[id].attribute("val").ok_or_else(|| {
        let missing = milwright_ir::ParamError::Missing {
            param: "val".into(),
        };
        frame.op_error(id, KernelError::Param(missing))
    })?;
    value::from_constant(constant, frame.blobs, precision).map_err(|cause| Error::Const {
        location: frame.location(id),
        cause,
    })
}

/// Where a kernel finds its operands.
pub(crate) enum Values<'a> {
    /// Whatever is live.
    All(&'a [Option<Value>]),
    /// These.
    Some(&'a [(ValueId, Value)]),
}

/// What a kernel can see: live values and constants.
pub(crate) struct Scope<'a> {
    pub(crate) values: Values<'a>,
    pub(crate) program: &'a Program,
    pub(crate) blobs: &'a (dyn BlobSource + Sync),
    pub(crate) precision: Precision,
}

impl Scope<'_> {
    pub(crate) fn arg(&self, arg: &Arg) -> Result<Value, KernelError> {
        let id = match arg {
            Arg::Const(constant) => return self.constant(constant),
            Arg::Value(id) => *id,
        };
        let found = match self.values {
            Values::All(env) => env[id.index()].as_ref(),
            Values::Some(few) => few.iter().find(|(v, _)| *v == id).map(|(_, value)| value),
        };
        found.cloned().ok_or_else(|| {
            KernelError::mismatch(format!(
                "value `{}` is not defined here",
                self.program.values[id].name
            ))
        })
    }

    pub(crate) fn constant(&self, constant: &Constant) -> Result<Value, KernelError> {
        value::from_constant(constant, self.blobs, self.precision)
            .map_err(|e| KernelError::mismatch(e.to_string()))
    }

    /// Runs the kernel of an operation; the results are held and rounded as the
    /// precision says. `draw` tells executions of a random operation apart.
    pub(crate) fn call(&self, frame: &Frame<'_>, id: OpId, draw: u64) -> Result<Vec<Value>, Error> {
        let view = OpView::new(self.program, id, self.blobs);
        let call = Call {
            view,
            opset: frame.opset,
            precision: self.precision,
            draw,
            scope: self,
        };
        let outputs = match kernels::lookup(&view.op.op_type) {
            Some(kernel) => kernel(&call),
            None => Err(KernelError::Unsupported(view.op.op_type.clone())),
        };
        let hold = |t| self.precision.hold_result(t);
        outputs
            .and_then(|values| values.into_iter().map(|v| v.map(hold)).collect())
            .map_err(|cause| frame.op_error(id, cause))
    }
}

fn shape_fits(ty: &TensorType, dims: &[usize]) -> bool {
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

fn zeros_of(ty: &ValueType, precision: Precision) -> Result<Tensor, String> {
    let problem = || format!("a state of type {ty} cannot be made");
    let tensor = ty.as_tensor().ok_or_else(problem)?;
    let (Some(shape), Some(held)) = (tensor.known_shape(), precision.storage(tensor.dtype)) else {
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
