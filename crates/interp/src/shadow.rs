//! The same step in another precision, operation by operation.

use candle_core::{DType, Device};
use milwright_ir::{OpId, ValueId};

use crate::control;
use crate::error::{Error, KernelError};
use crate::frame::Frame;
use crate::lane::{Lane, Scope, Values};
use crate::precision::Precision;
use crate::value::{Tensor, Value};

/// A second evaluation beside a [`Session`](crate::Session), in another
/// precision. It executes each operation right after the session, on its own
/// values, and takes the branches and rounds that the session takes, so that
/// every value of one has its counterpart in the other; of both, only what is
/// live is in memory.
pub struct Shadow {
    pub(crate) lane: Lane,
    pub(crate) failure: Option<Error>,
}

impl Shadow {
    /// The first error; operations after it were not executed here. It stays
    /// until [`Session::reset_shadow`](crate::Session::reset_shadow).
    pub fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// Does something, unless something failed before.
    pub(crate) fn attempt<T>(
        &mut self,
        act: impl FnOnce(&mut Lane) -> Result<T, Error>,
    ) -> Option<T> {
        if self.failure.is_some() {
            return None;
        }
        match act(&mut self.lane) {
            Ok(done) => Some(done),
            Err(e) => {
                self.failure = Some(e);
                None
            }
        }
    }
}

/// An operation that has just been executed.
pub struct Moment<'a> {
    pub(crate) frame: &'a Frame<'a>,
    pub(crate) lane: &'a Lane,
    pub(crate) shadow: Option<&'a Shadow>,
    pub(crate) op: OpId,
    pub(crate) strays: bool,
}

impl Moment<'_> {
    /// The operation.
    pub fn op(&self) -> OpId {
        self.op
    }

    /// Its outputs.
    pub fn outputs(&self) -> Vec<Value> {
        self.lane.outputs(self.frame, self.op)
    }

    /// Its outputs in the shadow; `None` without one, or when it has failed.
    pub fn shadow(&self) -> Option<Vec<Value>> {
        let shadow = self.shadow.filter(|s| s.failure.is_none())?;
        Some(shadow.lane.outputs(self.frame, self.op))
    }

    /// Whether the shadow would have taken another branch, or made another
    /// number of rounds.
    pub fn strays(&self) -> bool {
        self.strays
    }

    /// What the operation gives in another precision when its operands are the
    /// session's own values, held and rounded in that precision: without the
    /// errors that a shadow inherits from the operations before. An element
    /// that is too large to be rounded stays as it is, so that an overflow
    /// shows where it arises and nowhere else. `None` for control flow and
    /// states, which compute nothing.
    ///
    /// # Errors
    /// The operation fails in that precision.
    pub fn alone(&self, precision: Precision) -> Option<Result<Vec<Value>, Error>> {
        let op = &self.frame.program.ops[self.op];
        if control::handles(&op.op_type) {
            return None;
        }
        let mut operands: Vec<(ValueId, Value)> = Vec::new();
        for id in op.operands() {
            if operands.iter().any(|(known, _)| *known == id) {
                continue;
            }
            match self.operand(id, precision) {
                Some(Ok(value)) => operands.push((id, value)),
                Some(Err(e)) => return Some(Err(e)),
                None => {}
            }
        }
        let scope = Scope {
            values: Values::Some(&operands),
            program: self.frame.program,
            blobs: self.frame.blobs,
            precision,
        };
        Some(scope.call(self.frame, self.op, self.lane.draw(self.op)))
    }

    fn operand(&self, id: ValueId, precision: Precision) -> Option<Result<Value, Error>> {
        let value = self.lane.get(id)?;
        // A constant is rounded once, for the shadow.
        let shadow = self.shadow.filter(|s| s.lane.precision == precision);
        let rounded = shadow
            .filter(|_| self.frame.is_constant_value(id))
            .and_then(|shadow| shadow.lane.get(id));
        let held = match (value, rounded) {
            (Value::Tensor(own), Some(Value::Tensor(rounded))) => {
                kept_in_range(own, rounded.clone()).map(Value::Tensor)
            }
            (value, _) => value.clone().map(|t| held_in_range(precision, &t)),
        };
        Some(held.map_err(|e| self.frame.op_error(self.op, e)))
    }
}

/// The tensor as `precision` holds it, but elements that would become infinite
/// stay.
fn held_in_range(precision: Precision, own: &Tensor) -> Result<Tensor, KernelError> {
    let rounded = precision.hold(own.clone())?;
    match precision.rounding(own.dtype) {
        Some(_) => kept_in_range(own, rounded),
        None => Ok(rounded),
    }
}

/// `rounded`, with the elements of `own` where only rounding made them
/// infinite.
fn kept_in_range(own: &Tensor, rounded: Tensor) -> Result<Tensor, KernelError> {
    const CHUNK: usize = 1 << 20;
    let overflows = |own: f32, rounded: f32| rounded.is_infinite() && own.is_finite();
    let (flat, flat_rounded) = (own.data.flatten_all()?, rounded.data.flatten_all()?);
    let count = flat.elem_count();
    let part = |flat: &candle_core::Tensor, start: usize| -> Result<Vec<f32>, KernelError> {
        let part = flat.narrow(0, start, CHUNK.min(count - start))?;
        Ok(part.to_dtype(DType::F32)?.to_vec1()?)
    };
    let mut kept: Option<Vec<f32>> = None;
    for start in (0..count).step_by(CHUNK) {
        let (own, rounded) = (part(&flat, start)?, part(&flat_rounded, start)?);
        if !own.iter().zip(&rounded).any(|(&o, &r)| overflows(o, r)) {
            continue;
        }
        let kept = match &mut kept {
            Some(kept) => kept,
            None => kept.insert(flat_rounded.to_dtype(DType::F32)?.to_vec1()?),
        };
        for (kept, own) in kept[start..].iter_mut().zip(own) {
            if overflows(own, *kept) {
                *kept = own;
            }
        }
    }
    let Some(kept) = kept else { return Ok(rounded) };
    let data = candle_core::Tensor::from_vec(kept, own.dims(), &Device::Cpu)?;
    Ok(Tensor {
        dtype: own.dtype,
        data: data.to_dtype(rounded.data.dtype())?,
    })
}
