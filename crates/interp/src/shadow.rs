//! The same step in another precision, operation by operation.

use milwright_ir::{OpId, ValueId};

use crate::control;
use crate::error::Error;
use crate::frame::Frame;
use crate::lane::{Lane, Scope, Values};
use crate::precision::Precision;
use crate::value::Value;

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
        outputs(self.frame, self.lane, self.op)
    }

    /// Its outputs in the shadow; `None` without one, or when it has failed.
    pub fn shadow(&self) -> Option<Vec<Value>> {
        let shadow = self.shadow.filter(|s| s.failure.is_none())?;
        Some(outputs(self.frame, &shadow.lane, self.op))
    }

    /// Whether the shadow would have taken another branch, or made another
    /// number of rounds.
    pub fn strays(&self) -> bool {
        self.strays
    }

    /// What the operation gives in another precision when its operands are the
    /// session's own values, held and rounded in that precision: without the
    /// errors that a shadow inherits from the operations before. `None` for
    /// control flow and states, which compute nothing.
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
        Some(scope.call(self.frame, self.op))
    }

    fn operand(&self, id: ValueId, precision: Precision) -> Option<Result<Value, Error>> {
        // A constant is the same with and without the operations before it.
        if self.frame.is_constant_value(id)
            && let Some(shadow) = self.shadow.filter(|s| s.lane.precision == precision)
            && let Some(value) = shadow.lane.get(id)
        {
            return Some(Ok(value.clone()));
        }
        let held = |value: &Value| -> Result<Value, crate::KernelError> {
            Ok(match value {
                Value::Tensor(t) => Value::Tensor(precision.hold(t.clone())?),
                Value::List(items) => {
                    let items = items.iter().map(|t| precision.hold(t.clone()));
                    Value::List(items.collect::<Result<_, _>>()?)
                }
                other => other.clone(),
            })
        };
        let value = self.lane.get(id)?;
        Some(held(value).map_err(|e| self.frame.op_error(self.op, e)))
    }
}

fn outputs(frame: &Frame<'_>, lane: &Lane, op: OpId) -> Vec<Value> {
    let outputs = frame.program.ops[op].outputs.iter();
    outputs.filter_map(|&id| lane.get(id).cloned()).collect()
}
