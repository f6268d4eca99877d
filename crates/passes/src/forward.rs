//! Takes operations out by letting others stand for their results.

use std::collections::{HashMap, HashSet};

use milwright_ir::{Arg, OpId, Program, ValueDef, ValueId};

use crate::error::Error;
use crate::rewriter::{Rewriter, Site};

/// Values that other values stand for, and operations that are not needed any
/// more. Nothing but names of outputs changes before [`Forwarding::apply`].
#[derive(Default)]
pub(crate) struct Forwarding {
    to: HashMap<ValueId, ValueId>,
    dead: HashSet<OpId>,
    /// Results of functions.
    results: Option<HashSet<ValueId>>,
    /// Where operations stand.
    homes: HashMap<OpId, milwright_ir::BlockId>,
    /// Values that must not become constants.
    mixed: Option<HashSet<ValueId>>,
}

/// Operands of a `matmul` of two element types. The result has the type of the
/// one that is no constant, so neither may become one.
pub(crate) fn mixed_operands(program: &Program) -> HashSet<ValueId> {
    let mut found = HashSet::new();
    for op in program.live_ops() {
        let op = &program.ops[op];
        let ([x], [y]) = (op.args("x"), op.args("y")) else {
            continue;
        };
        // Either may be written in place.
        let dtype = |arg| program.arg_type(arg).as_tensor().map(|ty| ty.dtype);
        if op.op_type == "matmul" && dtype(x) != dtype(y) {
            found.extend([x, y].into_iter().filter_map(|arg| match arg {
                Arg::Value(v) => Some(*v),
                Arg::Const(_) => None,
            }));
        }
    }
    found
}

impl Forwarding {
    /// What stands for a value by now.
    pub(crate) fn resolve(&self, mut value: ValueId) -> ValueId {
        while let Some(&next) = self.to.get(&value) {
            value = next;
        }
        value
    }

    /// Lets `instead` stand for the only result of an operation, which goes;
    /// `false` if that cannot be or may not be.
    ///
    /// # Errors
    /// The file's bytes hold something that would be lost.
    pub(crate) fn forward(
        &mut self,
        rewriter: &mut Rewriter<'_>,
        site: Site,
        instead: ValueId,
        what: &str,
    ) -> Result<bool, Error> {
        let program = rewriter.program();
        let &[result] = program.ops[site.op].outputs.as_slice() else {
            return Ok(false);
        };
        let instead = self.resolve(instead);
        let (own, other) = (&program.values[result].ty, &program.values[instead].ty);
        if result == instead || own != other {
            return Ok(false);
        }
        let mixed = self.mixed.get_or_insert_with(|| mixed_operands(program));
        if mixed.contains(&result) && program.const_of(instead).is_some() {
            return Ok(false);
        }
        let results = self.results.get_or_insert_with(|| {
            let functions = program.functions.iter();
            let bodies = functions.flat_map(|f| f.specializations.iter().map(|&(_, b)| b));
            bodies
                .flat_map(|b| program.blocks[b].outputs.clone())
                .collect()
        });
        if !results.contains(&result) {
            if !rewriter.log(site, what.to_owned()) {
                return Ok(false);
            }
            self.to.insert(result, instead);
            self.dead.insert(site.op);
            return Ok(true);
        }
        // The result of a function keeps its name: what computes it takes that
        // over.
        let ValueDef::Op(source, index) = program.values[instead].def else {
            return Ok(false);
        };
        if self.homes.is_empty() {
            let sites = rewriter.sites().into_iter();
            self.homes = sites.map(|site| (site.op, site.block)).collect();
        }
        let is_free = !results.contains(&instead)
            && self.homes.get(&source) == Some(&site.block)
            && program.ops[source].op_type != "const";
        if !is_free || !rewriter.log(site, what.to_owned()) {
            return Ok(false);
        }
        let program = rewriter.program_mut();
        program.op_mut(source)?.outputs[index] = result;
        program.values[result].def = ValueDef::Op(source, index);
        self.to.insert(instead, result);
        self.dead.insert(site.op);
        Ok(true)
    }

    /// Lets readers read what stands for what they read, and takes out the
    /// operations.
    ///
    /// # Errors
    /// The file's bytes hold something that would be lost.
    pub(crate) fn apply(self, rewriter: &mut Rewriter<'_>) -> Result<(), Error> {
        if self.dead.is_empty() {
            return Ok(());
        }
        let program = rewriter.program_mut();
        for block in program.live_blocks() {
            let gone = program.blocks[block]
                .ops
                .iter()
                .any(|op| self.dead.contains(op));
            let moved = program.blocks[block]
                .outputs
                .iter()
                .any(|v| self.to.contains_key(v));
            if gone || moved {
                let block = program.block_mut(block)?;
                block.ops.retain(|op| !self.dead.contains(op));
                for output in &mut block.outputs {
                    *output = self.resolve(*output);
                }
            }
        }
        for op in program.live_ops() {
            if !program.ops[op].operands().any(|v| self.to.contains_key(&v)) {
                continue;
            }
            let args = program
                .op_mut(op)?
                .inputs
                .iter_mut()
                .flat_map(|(_, args)| args);
            for arg in args {
                if let Arg::Value(value) = arg {
                    *value = self.resolve(*value);
                }
            }
        }
        Ok(())
    }
}
