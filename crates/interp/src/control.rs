//! Blocks, and the operations that run blocks: `cond` and `while_loop`.

use milwright_ir::{Arg, BlockId, OpId, ValueId};

use crate::error::{Error, KernelError};
use crate::frame::Frame;
use crate::lane::Lane;
use crate::shadow::{Moment, Shadow};
use crate::value::Value;

/// Whether the session executes operations of that type itself: control flow
/// and states.
pub(crate) fn handles(op_type: &str) -> bool {
    matches!(
        op_type,
        "cond" | "while_loop" | "read_state" | "write_state" | "coreml_update_state"
    )
}

/// Called after each operation.
pub(crate) type Watcher<'w> = dyn FnMut(&Moment<'_>) + 'w;

/// One step of a session, and of its shadow if it has one.
pub(crate) struct Step<'s, 'm> {
    frame: &'s Frame<'m>,
    lane: &'s mut Lane,
    shadow: Option<&'s mut Shadow>,
    watcher: &'s mut Watcher<'s>,
    /// Rounds that loops may still make.
    rounds: usize,
}

impl<'s, 'm> Step<'s, 'm> {
    pub(crate) fn new(
        frame: &'s Frame<'m>,
        lane: &'s mut Lane,
        shadow: Option<&'s mut Shadow>,
        watcher: &'s mut Watcher<'s>,
    ) -> Self {
        Self {
            rounds: frame.step_limit,
            frame,
            lane,
            shadow,
            watcher,
        }
    }

    /// Runs the operations of a block. Its inputs are bound already; its
    /// outputs stay in the environment.
    pub(crate) fn block(&mut self, block: BlockId) -> Result<(), Error> {
        let frame = self.frame;
        for &id in &frame.program.blocks[block].ops {
            // Constants are read when something needs them.
            if !frame.plan.is_constant(id) {
                self.op(id)?;
            }
            self.lane.free_after(frame, id);
            if let Some(shadow) = &mut self.shadow {
                shadow.lane.free_after(frame, id);
            }
        }
        Ok(())
    }

    fn op(&mut self, id: OpId) -> Result<(), Error> {
        let frame = self.frame;
        let strays = match frame.program.ops[id].op_type.as_str() {
            "cond" => self.cond(id)?,
            "while_loop" => self.while_loop(id)?,
            _ => {
                self.both(|lane| {
                    let outputs = lane.execute(frame, id)?;
                    lane.store(frame, id, outputs)
                })?;
                false
            }
        };
        (self.watcher)(&Moment {
            frame,
            lane: self.lane,
            shadow: self.shadow.as_deref(),
            op: id,
            strays,
        });
        Ok(())
    }

    /// Runs the block that the condition chooses. Returns whether the shadow
    /// would have chosen the other.
    fn cond(&mut self, id: OpId) -> Result<bool, Error> {
        let op = &self.frame.program.ops[id];
        let [pred] = op.args("pred") else {
            return Err(arity(self.frame, id, "one `pred`", op.args("pred").len()));
        };
        let (taken, strays) = self.truth(id, pred)?;
        let block = *op
            .blocks
            .get(usize::from(!taken))
            .ok_or_else(|| arity(self.frame, id, "two blocks", op.blocks.len()))?;
        self.block(block)?;
        let outputs = outputs(self.frame, block);
        self.assign(id, &op.outputs, &outputs, "as many values as outputs")?;
        Ok(strays)
    }

    /// Runs the body as long as the condition holds. Returns whether the shadow
    /// would have made more or fewer rounds.
    fn while_loop(&mut self, id: OpId) -> Result<bool, Error> {
        let program = self.frame.program;
        let op = &program.ops[id];
        let &[condition, body] = op.blocks.as_slice() else {
            return Err(arity(self.frame, id, "two blocks", op.blocks.len()));
        };
        let per_var = "a block input per loop_vars";
        let mut vars: Vec<Arg> = op.args("loop_vars").to_vec();
        let mut strays = false;
        loop {
            self.assign(id, &program.blocks[condition].inputs, &vars, per_var)?;
            self.block(condition)?;
            let go_on = outputs(self.frame, condition);
            let [go_on] = go_on.as_slice() else {
                return Err(arity(self.frame, id, "one condition", go_on.len()));
            };
            let (go_on, stray) = self.truth(id, go_on)?;
            strays |= stray;
            if !go_on {
                self.assign(id, &op.outputs, &vars, "as many loop_vars as outputs")?;
                return Ok(strays);
            }
            self.rounds = self.rounds.checked_sub(1).ok_or_else(|| Error::StepLimit {
                location: self.frame.location(id),
                limit: self.frame.step_limit,
            })?;
            self.assign(id, &program.blocks[body].inputs, &vars, per_var)?;
            self.block(body)?;
            let next = outputs(self.frame, body);
            if next.len() != vars.len() {
                let wanted = "as many values as loop_vars";
                return Err(arity(self.frame, id, wanted, next.len()));
            }
            vars = next;
        }
    }

    fn assign(
        &mut self,
        id: OpId,
        targets: &[ValueId],
        sources: &[Arg],
        wanted: &str,
    ) -> Result<(), Error> {
        let frame = self.frame;
        if targets.len() != sources.len() {
            return Err(arity(frame, id, wanted, targets.len()));
        }
        self.both(|lane| lane.assign(frame, id, targets, sources))?;
        Ok(())
    }

    /// Whether a condition holds, and whether the shadow differs.
    fn truth(&mut self, id: OpId, arg: &Arg) -> Result<(bool, bool), Error> {
        let frame = self.frame;
        let (truth, shadow) = self.both(|lane| {
            let value = lane.value(frame, id, arg)?;
            truth_of(&value).map_err(|e| frame.op_error(id, e))
        })?;
        Ok((truth, shadow.is_some_and(|s| s != truth)))
    }

    /// Does the same in the session and in its shadow. What the shadow fails at
    /// is its end; the session goes on.
    fn both<T>(
        &mut self,
        act: impl Fn(&mut Lane) -> Result<T, Error>,
    ) -> Result<(T, Option<T>), Error> {
        let own = act(self.lane)?;
        let shadow = self.shadow.as_deref_mut();
        Ok((own, shadow.and_then(|shadow| shadow.attempt(act))))
    }
}

fn outputs(frame: &Frame<'_>, block: BlockId) -> Vec<Arg> {
    let outputs = frame.program.blocks[block].outputs.iter();
    outputs.map(|&v| Arg::Value(v)).collect()
}

fn truth_of(value: &Value) -> Result<bool, KernelError> {
    match value {
        Value::Tensor(t) if t.data.elem_count() == 1 => {
            let flag = t.data.flatten_all()?.to_dtype(candle_core::DType::F64)?;
            Ok(flag.to_vec1::<f64>()?.first() != Some(&0.0))
        }
        _ => Err(KernelError::mismatch(
            "the condition must be one bool".to_owned(),
        )),
    }
}

fn arity(frame: &Frame<'_>, id: OpId, wanted: &str, found: usize) -> Error {
    frame.op_error(
        id,
        KernelError::mismatch(format!("expected {wanted}, found {found}")),
    )
}
