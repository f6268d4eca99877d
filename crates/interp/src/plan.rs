//! What is worked out once, before a function runs: which operations are
//! constant and when each value is used for the last time.

use std::collections::{HashMap, HashSet};

use milwright_ir::{BlockId, OpId, Program, ValueId};

/// See the module.
pub(crate) struct Plan {
    constant: HashSet<OpId>,
    dead_after: HashMap<OpId, Vec<ValueId>>,
}

impl Plan {
    pub(crate) fn new(program: &Program, body: BlockId) -> Self {
        let order = program.walk(body);
        let mut constant = HashSet::new();
        for &id in &order {
            let op = &program.ops[id];
            let inputs_constant = op.operands().all(|v| {
                let def = program.def_op(v);
                def.is_some_and(|op| constant.contains(&op))
            });
            if op.op_type == "const" || (op.op_type.starts_with("constexpr_") && inputs_constant) {
                constant.insert(id);
            }
        }
        let mut plan = Self {
            constant,
            dead_after: HashMap::new(),
        };
        plan.last_uses(program, body);
        plan
    }

    pub(crate) fn is_constant(&self, op: OpId) -> bool {
        self.constant.contains(&op)
    }

    pub(crate) fn dead_after(&self, op: OpId) -> &[ValueId] {
        self.dead_after.get(&op).map_or(&[], Vec::as_slice)
    }

    /// Fills `dead_after` for a block and those nested in it. A value dies
    /// after the operation of its own block that uses it last; a use in a
    /// nested block is a use by the operation which that block hangs on, so
    /// that a loop finds it alive in every round.
    fn last_uses(&mut self, program: &Program, block: BlockId) -> HashSet<ValueId> {
        let block = &program.blocks[block];
        let mut used: HashSet<ValueId> = block.outputs.iter().copied().collect();
        let mut own: HashSet<ValueId> = block.inputs.iter().copied().collect();
        for &op in &block.ops {
            own.extend(&program.ops[op].outputs);
        }
        for &id in block.ops.iter().rev() {
            let op = &program.ops[id];
            // In order, so that what is freed when does not depend on hashing.
            let mut reads: Vec<ValueId> = op.operands().collect();
            for &inner in &op.blocks {
                let mut outer: Vec<ValueId> = self.last_uses(program, inner).into_iter().collect();
                outer.sort();
                reads.extend(outer);
            }
            // A result that nobody reads dies at once.
            reads.extend(op.outputs.iter().filter(|v| !used.contains(v)));
            let mut dead = Vec::new();
            for value in reads {
                if used.insert(value) && own.contains(&value) {
                    dead.push(value);
                }
            }
            if !dead.is_empty() {
                self.dead_after.insert(id, dead);
            }
        }
        used.retain(|v| !own.contains(v));
        used
    }
}
