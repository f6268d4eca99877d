//! Parameters written without a size.

use milwright_ir::{Arg, Constant, Op, OpId, Program, Value, ValueDef, ValueId};

use super::super::Error;
use crate::cut::casts;

/// How a parameter is written without a size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Follow {
    /// `shape` of a `reshape`.
    Shape(Vec<i64>),
    /// `end_mask` of a `slice_by_index`.
    EndMask(Vec<bool>),
    /// `size` of a `slice_by_size`.
    Size(Vec<i64>),
}

impl Follow {
    pub(super) fn words(&self) -> String {
        match self {
            Follow::Shape(shape) => format!("shape = {shape:?}"),
            Follow::EndMask(mask) => format!("end_mask = {mask:?}"),
            Follow::Size(size) => format!("size = {size:?}"),
        }
    }

    fn parameter(&self) -> (&'static str, Constant) {
        let ints = |list: &[i64]| {
            let list: Vec<i32> = list
                .iter()
                .map(|&n| i32::try_from(n).unwrap_or(-1))
                .collect();
            Constant::ints(&list)
        };
        match self {
            Follow::Shape(shape) => ("shape", ints(shape)),
            Follow::EndMask(mask) => ("end_mask", Constant::bools(mask)),
            Follow::Size(size) => ("size", ints(size)),
        }
    }

    /// Whether its numbers fit the type that they are written in.
    pub(super) fn fits(&self) -> bool {
        match self {
            Follow::Shape(list) | Follow::Size(list) => {
                list.iter().all(|&n| i32::try_from(n).is_ok())
            }
            Follow::EndMask(_) => true,
        }
    }

    /// Writes the parameter of an operation again.
    pub(super) fn apply(&self, program: &mut Program, op: OpId) -> Result<(), Error> {
        let (param, constant) = self.parameter();
        let output = program.ops[op].outputs.first();
        let output = output.map_or_else(String::new, |&v| program.values[v].name.clone());
        let name = casts::free_name(program, &format!("{output}_{param}"));
        let value = program.values.push(Value {
            name: name.clone(),
            ty: constant.ty.clone(),
            def: ValueDef::Undefined,
        });
        let mut new = Op::new("const");
        new.attributes = vec![
            ("name".to_owned(), Constant::string(name)),
            ("val".to_owned(), constant),
        ];
        new.outputs = vec![value];
        let id = program.ops.push(new);
        program.values[value].def = ValueDef::Op(id, 0);
        let before: Vec<ValueId> = program.ops[op].operands().collect();
        let arg = vec![Arg::Value(value)];
        let inputs = &mut program.op_mut(op)?.inputs;
        match inputs.iter_mut().find(|(key, _)| key == param) {
            Some((_, args)) => *args = arg,
            None => inputs.push((param.to_owned(), arg)),
        }
        let blocks = program.live_blocks();
        let home = blocks
            .iter()
            .find(|&&b| program.blocks[b].ops.contains(&op));
        if let Some(&home) = home {
            let ops = &mut program.block_mut(home)?.ops;
            let at = ops.iter().position(|&o| o == op).unwrap_or(0);
            ops.insert(at, id);
        }
        // The old constant goes when nothing else reads it.
        for value in before {
            let Some(from) = program.def_op(value) else {
                continue;
            };
            let ops = program.live_ops();
            let read = ops
                .iter()
                .any(|&o| program.ops[o].operands().any(|v| v == value));
            let given = blocks
                .iter()
                .any(|&b| program.blocks[b].outputs.contains(&value));
            if program.ops[from].op_type != "const" || read || given {
                continue;
            }
            let home = blocks
                .iter()
                .find(|&&b| program.blocks[b].ops.contains(&from));
            if let Some(&home) = home {
                program.block_mut(home)?.ops.retain(|&o| o != from);
            }
        }
        Ok(())
    }
}
