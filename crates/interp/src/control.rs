//! Operations that the session runs itself: control flow and states.

use milwright_ir::arena::Id;
use milwright_ir::{Arg, OpId};

use crate::error::{Error, KernelError};
use crate::session::{Observer, Session};
use crate::value::{Tensor, Value};

/// Whether [`run`] executes operations of that type.
pub(crate) fn handles(op_type: &str) -> bool {
    matches!(
        op_type,
        "cond" | "while_loop" | "read_state" | "write_state" | "coreml_update_state"
    )
}

/// Executes an operation of control flow or state; `None` for others.
pub(crate) fn run(
    session: &mut Session<'_>,
    id: OpId,
    observer: &mut Observer<'_>,
) -> Option<Result<Vec<Value>, Error>> {
    Some(match session.program.ops[id].op_type.as_str() {
        "cond" => cond(session, id, observer),
        "while_loop" => while_loop(session, id, observer),
        "read_state" => read_state(session, id),
        "write_state" => write_state(session, id, "input", "data").map(|_| Vec::new()),
        "coreml_update_state" => {
            write_state(session, id, "state", "value").map(|t| vec![Value::Tensor(t)])
        }
        _ => return None,
    })
}

fn cond(
    session: &mut Session<'_>,
    id: OpId,
    observer: &mut Observer<'_>,
) -> Result<Vec<Value>, Error> {
    let op = &session.program.ops[id];
    let pred = argument(session, id, "pred")?;
    let taken = truth(&pred).map_err(|e| session.op_error(id, e))?;
    let block = *op
        .blocks
        .get(usize::from(!taken))
        .ok_or_else(|| arity(session, id, "two blocks", op.blocks.len()))?;
    session.run_block(block, observer)?;
    take_outputs(session, block)
}

fn while_loop(
    session: &mut Session<'_>,
    id: OpId,
    observer: &mut Observer<'_>,
) -> Result<Vec<Value>, Error> {
    let program = session.program;
    let op = &program.ops[id];
    let &[condition, body] = op.blocks.as_slice() else {
        return Err(arity(session, id, "two blocks", op.blocks.len()));
    };
    let mut vars = Vec::new();
    for arg in op.args("loop_vars") {
        vars.push(value_of(session, id, arg)?);
    }
    for _ in 0..session.options.step_limit {
        bind(session, id, condition, &vars)?;
        session.run_block(condition, observer)?;
        let go_on = take_outputs(session, condition)?;
        let [go_on] = go_on.as_slice() else {
            return Err(arity(session, id, "one condition", go_on.len()));
        };
        if !truth(go_on).map_err(|e| session.op_error(id, e))? {
            return Ok(vars);
        }
        bind(session, id, body, &vars)?;
        session.run_block(body, observer)?;
        let next = take_outputs(session, body)?;
        if next.len() != vars.len() {
            return Err(arity(
                session,
                id,
                "as many values as loop_vars",
                next.len(),
            ));
        }
        vars = next;
    }
    Err(Error::StepLimit {
        location: session.location(id),
        limit: session.options.step_limit,
    })
}

fn bind(
    session: &mut Session<'_>,
    id: OpId,
    block: milwright_ir::BlockId,
    vars: &[Value],
) -> Result<(), Error> {
    let inputs = &session.program.blocks[block].inputs;
    if inputs.len() != vars.len() {
        return Err(arity(
            session,
            id,
            "a block input per loop_vars",
            inputs.len(),
        ));
    }
    for (input, value) in inputs.iter().zip(vars) {
        session.env[input.index()] = Some(value.clone());
    }
    Ok(())
}

fn take_outputs(
    session: &mut Session<'_>,
    block: milwright_ir::BlockId,
) -> Result<Vec<Value>, Error> {
    let program = session.program;
    let outputs = &program.blocks[block].outputs;
    outputs.iter().map(|&v| session.take_or_load(v)).collect()
}

fn read_state(session: &Session<'_>, id: OpId) -> Result<Vec<Value>, Error> {
    let index = state_index(session, id, "input")?;
    Ok(vec![Value::Tensor(session.states[&index].clone())])
}

fn write_state(
    session: &mut Session<'_>,
    id: OpId,
    state: &str,
    data: &str,
) -> Result<Tensor, Error> {
    let index = state_index(session, id, state)?;
    let Value::Tensor(new) = argument(session, id, data)? else {
        return Err(session.op_error(id, KernelError::param(data, "expected a tensor")));
    };
    let old = &session.states[&index];
    if old.dims() != new.dims() {
        let problem = format!("has shape {:?}, the state {:?}", new.dims(), old.dims());
        return Err(session.op_error(id, KernelError::param(data, problem)));
    }
    let stored = Tensor::new(old.dtype, new.data).map_err(|e| session.op_error(id, e))?;
    session.states.insert(index, stored.clone());
    Ok(stored)
}

fn state_index(session: &Session<'_>, id: OpId, param: &str) -> Result<usize, Error> {
    match argument(session, id, param)? {
        Value::State(index) if session.states.contains_key(&index) => Ok(index),
        _ => Err(session.op_error(id, KernelError::param(param, "is not a state"))),
    }
}

fn argument(session: &Session<'_>, id: OpId, param: &str) -> Result<Value, Error> {
    match session.program.ops[id].args(param) {
        [arg] => value_of(session, id, arg),
        args => {
            let problem = format!("expected one argument, found {}", args.len());
            Err(session.op_error(id, KernelError::param(param, problem)))
        }
    }
}

fn value_of(session: &Session<'_>, id: OpId, arg: &Arg) -> Result<Value, Error> {
    session
        .scope()
        .arg(arg)
        .map_err(|e| session.op_error(id, e))
}

fn truth(value: &Value) -> Result<bool, KernelError> {
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

fn arity(session: &Session<'_>, id: OpId, wanted: &str, found: usize) -> Error {
    session.op_error(
        id,
        KernelError::mismatch(format!("expected {wanted}, found {found}")),
    )
}
