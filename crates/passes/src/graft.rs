//! Copying a function of one program into another one.

use std::collections::BTreeMap;

use milwright_ir::{
    Arg, Attributes, Block, BlockId, Function, Op, OpId, Program, Value, ValueDef, ValueId,
};

/// Copies operations of a program into another one. Names stay, so operations
/// that were not changed keep the bytes that the file has for them.
pub(crate) struct Graft<'a> {
    pub(crate) into: &'a mut Program,
    pub(crate) from: &'a Program,
    /// What stands for a value of `from`.
    pub(crate) values: BTreeMap<ValueId, ValueId>,
}

impl<'a> Graft<'a> {
    pub(crate) fn new(into: &'a mut Program, from: &'a Program) -> Self {
        Graft {
            into,
            from,
            values: BTreeMap::new(),
        }
    }

    /// What stands for a value; a value that nothing defined before is one that
    /// the file does not define either.
    pub(crate) fn value(&mut self, id: ValueId) -> ValueId {
        match self.values.get(&id) {
            Some(&known) => known,
            None => self.define(id, ValueDef::Undefined),
        }
    }

    /// Adds a value.
    pub(crate) fn define(&mut self, id: ValueId, def: ValueDef) -> ValueId {
        let value = Value {
            def,
            ..self.from.values[id].clone()
        };
        let new = self.into.values.push(value);
        self.values.insert(id, new);
        new
    }

    /// Copies an operation with its blocks; it is in no block yet.
    pub(crate) fn op(&mut self, id: OpId) -> OpId {
        let old = &self.from.ops[id];
        let new = self.into.ops.push(Op::new(String::new()));
        let mut op = old.clone();
        for arg in op.inputs.iter_mut().flat_map(|(_, args)| args) {
            if let Arg::Value(value) = arg {
                *value = self.value(*value);
            }
        }
        // Blocks first: what an operation gives is not known inside of it.
        op.blocks = old
            .blocks
            .iter()
            .map(|&b| self.block(b, Some(new)))
            .collect();
        for (nth, output) in op.outputs.iter_mut().enumerate() {
            *output = self.define(*output, ValueDef::Op(new, nth));
        }
        self.into.ops[new] = op;
        new
    }

    /// Copies a block with all its operations.
    pub(crate) fn block(&mut self, id: BlockId, parent: Option<OpId>) -> BlockId {
        let old = &self.from.blocks[id];
        let new = self.into.blocks.push(Block {
            attributes: old.attributes.clone(),
            parent,
            ..Block::default()
        });
        let inputs = old.inputs.iter().enumerate();
        let inputs = inputs.map(|(nth, &v)| self.define(v, ValueDef::BlockInput(new, nth)));
        let inputs = inputs.collect();
        let ops = old.ops.iter().map(|&op| self.op(op)).collect();
        let outputs = old.outputs.iter().map(|&v| self.value(v)).collect();
        let block = &mut self.into.blocks[new];
        (block.inputs, block.ops, block.outputs) = (inputs, ops, outputs);
        new
    }
}

/// Adds attributes whose names are not there yet.
pub(crate) fn add_attributes(to: &mut Attributes, more: &Attributes) {
    for (name, value) in more {
        if to.iter().all(|(known, _)| known != name) {
            to.push((name.clone(), value.clone()));
        }
    }
}

/// Takes over what stands around the functions of a program: its version, its
/// attributes and its text, where there are none yet.
pub(crate) fn around(into: &mut Program, from: &Program) {
    into.version = into.version.max(from.version);
    add_attributes(&mut into.attributes, &from.attributes);
    if into.doc_string.is_empty() {
        into.doc_string.clone_from(&from.doc_string);
    }
}

/// Adds a function of another program under a name; a function of one body can
/// get another opset.
pub(crate) fn add_function(
    into: &mut Program,
    from: &Program,
    function: &Function,
    name: &str,
    opset: Option<&str>,
) {
    let index = into.functions.len();
    let mut graft = Graft::new(into, from);
    let inputs = function.inputs.iter().enumerate();
    let inputs = inputs.map(|(nth, &v)| graft.define(v, ValueDef::FunctionInput(index, nth)));
    let inputs = inputs.collect();
    // Several bodies are for several opsets already.
    let opset = opset.filter(|_| function.specializations.len() == 1);
    let bodies = function.specializations.iter();
    let specializations = bodies.map(|(own, body)| {
        let opset = opset.unwrap_or(own).to_owned();
        (opset, graft.block(*body, None))
    });
    let specializations = specializations.collect();
    into.functions.push(Function {
        name: name.to_owned(),
        opset: opset.unwrap_or(&function.opset).to_owned(),
        inputs,
        specializations,
        attributes: function.attributes.clone(),
    });
}
