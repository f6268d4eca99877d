//! The program in memory.
//!
//! Operations, values and blocks live in arenas and refer to each other by id.
//! The order of a block's operations is a list beside them. Names, types and
//! parameters are kept as the file has them; what they mean is in the
//! [op table](crate::ops).

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;

use crate::arena::{Arena, BlockId, OpId, ValueId};
use crate::constant::{ConstData, Constant};
use crate::error::Error;
use crate::ops::{self, OpDef, Opset};
use crate::types::ValueType;
use crate::wire;

/// Attributes in file order.
pub type Attributes = Vec<(String, Constant)>;

/// A MIL program: functions over shared arenas.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The format's `version` field.
    pub version: i64,
    /// The format's `docString` field.
    pub doc_string: String,
    /// Attributes of the program, such as `buildInfo`.
    pub attributes: Attributes,
    /// Functions in file order.
    pub functions: Vec<Function>,
    /// Every operation, of every function and block.
    pub ops: Arena<OpId, Op>,
    /// Every value, of every function and block.
    pub values: Arena<ValueId, Value>,
    /// Every block.
    pub blocks: Arena<BlockId, Block>,
}

/// A function: inputs and one body per opset.
#[derive(Clone, Debug)]
pub struct Function {
    /// Name, unique in the program.
    pub name: String,
    /// Opset as written, such as `CoreML7`; names the specialization in force.
    pub opset: String,
    /// Inputs in file order.
    pub inputs: Vec<ValueId>,
    /// Bodies by opset, in file order.
    pub specializations: Vec<(String, BlockId)>,
    /// Attributes of the function.
    pub attributes: Attributes,
}

impl Function {
    /// The body in force: the specialization of the function's opset.
    pub fn body(&self) -> Option<BlockId> {
        self.specializations
            .iter()
            .find(|(opset, _)| *opset == self.opset)
            .map(|&(_, block)| block)
    }

    /// The opset, when this build knows it.
    pub fn known_opset(&self) -> Option<Opset> {
        Opset::from_name(&self.opset)
    }
}

/// A sequence of operations with inputs and outputs.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// Values defined by the block itself (loop variables).
    pub inputs: Vec<ValueId>,
    /// Values the block yields.
    pub outputs: Vec<ValueId>,
    /// Operations in program order.
    pub ops: Vec<OpId>,
    /// Attributes of the block.
    pub attributes: Attributes,
    /// The operation that this block hangs on; `None` for a function's body.
    pub parent: Option<OpId>,
}

/// An operation.
#[derive(Clone, Debug)]
pub struct Op {
    /// Type as written in the file.
    pub op_type: String,
    /// The table's entry for that type, if this build knows it.
    pub def: Option<&'static OpDef>,
    /// Arguments by parameter name, in file order. One parameter may take
    /// several arguments (`values` of `concat`).
    pub inputs: Vec<(String, Vec<Arg>)>,
    /// Results, in order.
    pub outputs: Vec<ValueId>,
    /// Nested blocks (`cond`: then, else; `while_loop`: condition, body).
    pub blocks: Vec<BlockId>,
    /// Attributes in file order: `name`, `val` of `const`, the parameters of
    /// iOS 16 `constexpr` operations.
    pub attributes: Attributes,
    /// The operation as the file has it, while nothing in it was changed.
    pub(crate) raw: Option<Bytes>,
}

impl Op {
    /// A new operation of that type, without inputs and outputs.
    pub fn new(op_type: impl Into<String>) -> Self {
        let op_type = op_type.into();
        Self {
            def: ops::lookup(&op_type),
            op_type,
            inputs: Vec::new(),
            outputs: Vec::new(),
            blocks: Vec::new(),
            attributes: Vec::new(),
            raw: None,
        }
    }

    /// The arguments of a parameter; empty when it is not given.
    pub fn args(&self, param: &str) -> &[Arg] {
        self.inputs
            .iter()
            .find(|(name, _)| name == param)
            .map_or(&[], |(_, args)| args.as_slice())
    }

    /// The attribute of that name.
    pub fn attribute(&self, name: &str) -> Option<&Constant> {
        self.attributes
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    /// The operation's own name (its `name` attribute); not every one has one.
    pub fn name(&self) -> Option<&str> {
        self.attribute("name").and_then(Constant::as_str)
    }

    /// Every value that the operation reads, in file order, repeats included.
    /// What its nested blocks read from outside is not among them.
    pub fn operands(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.inputs
            .iter()
            .flat_map(|(_, args)| args)
            .filter_map(|arg| match arg {
                Arg::Value(id) => Some(*id),
                Arg::Const(_) => None,
            })
    }

    /// The operation as the file has it, while nothing in it was changed.
    pub fn bytes(&self) -> Option<&Bytes> {
        self.raw.as_ref()
    }

    /// Whether the file's own bytes still stand for this operation.
    pub fn is_untouched(&self) -> bool {
        self.raw.is_some()
    }
}

/// An argument of an operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    /// The result of another operation, or an input.
    Value(ValueId),
    /// A constant written in place.
    Const(Constant),
}

/// A value: name, type and where it comes from.
#[derive(Clone, Debug)]
pub struct Value {
    /// Name as written; operations refer to it by this name in the file.
    pub name: String,
    /// Declared type.
    pub ty: ValueType,
    /// What defines it.
    pub def: ValueDef,
}

/// What defines a [`Value`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueDef {
    /// The n-th result of an operation.
    Op(OpId, usize),
    /// The n-th input of a function (index into [`Program::functions`]).
    FunctionInput(usize, usize),
    /// The n-th input of a block.
    BlockInput(BlockId, usize),
    /// Nothing: the file names a value that does not exist in its scope. The
    /// verifier reports it.
    Undefined,
}

impl Program {
    /// The function of that name, or, without a name, the only one or `main`.
    ///
    /// # Errors
    /// No such function, or several and no name given; the message lists them.
    pub fn function(&self, name: Option<&str>) -> Result<&Function, Error> {
        let found = match (name, self.functions.as_slice()) {
            (None, [only]) => Some(only),
            (name, all) => all.iter().find(|f| f.name == name.unwrap_or("main")),
        };
        found.ok_or_else(|| Error::NoFunction {
            wanted: name.unwrap_or("main").to_owned(),
            available: self.functions.iter().map(|f| f.name.clone()).collect(),
        })
    }

    /// Changes an operation. From now on it is written from memory, not from
    /// the file's bytes.
    ///
    /// # Errors
    /// The file's bytes hold something that would be lost by that.
    pub fn op_mut(&mut self, id: OpId) -> Result<&mut Op, Error> {
        self.touch(id)?;
        Ok(&mut self.ops[id])
    }

    /// Marks an operation, and those it is nested in, as changed.
    fn touch(&mut self, id: OpId) -> Result<(), Error> {
        let mut next = Some(id);
        while let Some(op_id) = next {
            if let Some(raw) = self.ops[op_id].raw.clone() {
                wire::check_lossless(self, op_id, &raw)?;
                self.ops[op_id].raw = None;
            }
            next = self.parent_op(op_id);
        }
        Ok(())
    }

    /// Gives a value another name. What defines or reads it is written from
    /// memory from now on.
    ///
    /// # Errors
    /// The name is taken, or the bytes of an operation that mentions the value
    /// hold something that would be lost.
    pub fn rename_value(&mut self, id: ValueId, name: &str) -> Result<(), Error> {
        if self.values[id].name == name {
            return Ok(());
        }
        if self
            .values
            .ids()
            .any(|other| self.values[other].name == name)
        {
            return Err(Error::NameTaken {
                name: name.to_owned(),
            });
        }
        for op in self.live_ops() {
            let blocks = self.ops[op].blocks.iter();
            let mentions = self.ops[op].outputs.contains(&id)
                || self.ops[op].operands().any(|v| v == id)
                || blocks.clone().any(|&b| {
                    let block = &self.blocks[b];
                    block.inputs.contains(&id) || block.outputs.contains(&id)
                });
            if mentions {
                self.touch(op)?;
            }
        }
        self.values[id].name = name.to_owned();
        Ok(())
    }

    /// Gives values other names, all at once; what defines or reads one is
    /// written from memory from now on. That no two values in a scope have one
    /// name is the caller's care.
    ///
    /// # Errors
    /// The bytes of an operation that mentions a value hold something that would
    /// be lost.
    pub fn rename_values(&mut self, names: &BTreeMap<ValueId, String>) -> Result<(), Error> {
        if names.is_empty() {
            return Ok(());
        }
        for op in self.live_ops() {
            let blocks = self.ops[op].blocks.iter().map(|&b| &self.blocks[b]);
            let mut mentioned = self.ops[op]
                .operands()
                .chain(self.ops[op].outputs.iter().copied())
                .chain(blocks.flat_map(|b| b.inputs.iter().chain(&b.outputs).copied()));
            let renamed = mentioned.any(|value| names.contains_key(&value));
            drop(mentioned);
            if renamed {
                self.touch(op)?;
            }
        }
        for (&value, name) in names {
            self.values[value].name.clone_from(name);
        }
        Ok(())
    }

    /// Gives constants other elements: those for which `f` has some. It is asked
    /// once for each, in the order of [`Program::visit_constants`].
    ///
    /// # Errors
    /// The bytes of an operation that has one hold something that would be lost.
    pub fn replace_data(
        &mut self,
        f: &mut dyn FnMut(&Constant) -> Option<ConstData>,
    ) -> Result<(), Error> {
        self.visit_attributes_mut(&mut |constant| {
            if let Some(data) = f(constant) {
                constant.data = data;
            }
        })?;
        for id in self.live_ops() {
            let mut found = Vec::new();
            self.ops[id].visit_constants(&mut |constant| found.push(f(constant)));
            if found.iter().all(Option::is_none) {
                continue;
            }
            let mut found = found.into_iter();
            self.op_mut(id)?.visit_constants_mut(&mut |constant| {
                if let Some(Some(data)) = found.next() {
                    constant.data = data;
                }
            });
        }
        Ok(())
    }

    /// Every value that a function defines: inputs, and results and inputs of
    /// blocks, in all its bodies and what is nested in them.
    pub fn values_of(&self, function: &Function) -> Vec<ValueId> {
        let mut found = function.inputs.clone();
        for &(_, body) in &function.specializations {
            found.extend(&self.blocks[body].inputs);
            for op in self.walk(body) {
                found.extend(&self.ops[op].outputs);
                for &block in &self.ops[op].blocks {
                    found.extend(&self.blocks[block].inputs);
                }
            }
        }
        found
    }

    /// Every value that an operation and its nested blocks read, except what
    /// is defined in those blocks; in order, repeats included.
    pub fn reads(&self, op: OpId) -> Vec<ValueId> {
        let mut found: Vec<ValueId> = self.ops[op].operands().collect();
        let mut inside: HashSet<ValueId> = HashSet::new();
        let mut blocks: Vec<BlockId> = self.ops[op].blocks.iter().rev().copied().collect();
        while let Some(id) = blocks.pop() {
            let block = &self.blocks[id];
            inside.extend(&block.inputs);
            for &inner in &block.ops {
                found.extend(self.ops[inner].operands());
                inside.extend(&self.ops[inner].outputs);
                blocks.extend(self.ops[inner].blocks.iter().rev());
            }
            found.extend(&block.outputs);
        }
        found.retain(|value| !inside.contains(value));
        found
    }

    /// The operation whose nested block lists `id`.
    fn parent_op(&self, id: OpId) -> Option<OpId> {
        self.blocks
            .ids()
            .find(|&b| self.blocks[b].parent.is_some() && self.blocks[b].ops.contains(&id))
            .and_then(|b| self.blocks[b].parent)
    }

    /// Changes the list of operations or outputs of a block.
    ///
    /// # Errors
    /// The block hangs on an operation whose bytes hold something that would
    /// be lost.
    pub fn block_mut(&mut self, id: BlockId) -> Result<&mut Block, Error> {
        if let Some(parent) = self.blocks[id].parent {
            self.touch(parent)?;
        }
        Ok(&mut self.blocks[id])
    }

    /// The constant behind a value: that of its `const` operation.
    pub fn const_of(&self, value: ValueId) -> Option<&Constant> {
        match self.values[value].def {
            ValueDef::Op(op, _) if self.ops[op].op_type == "const" => self.ops[op].attribute("val"),
            _ => None,
        }
    }

    /// The constant that an argument is or refers to.
    pub fn const_arg<'a>(&'a self, arg: &'a Arg) -> Option<&'a Constant> {
        match arg {
            Arg::Const(c) => Some(c),
            Arg::Value(id) => self.const_of(*id),
        }
    }

    /// The type of an argument.
    pub fn arg_type<'a>(&'a self, arg: &'a Arg) -> &'a ValueType {
        match arg {
            Arg::Const(c) => &c.ty,
            Arg::Value(id) => &self.values[*id].ty,
        }
    }

    /// The operations of a block and of everything nested in it, in program
    /// order: an operation comes before those in its blocks.
    pub fn walk(&self, block: BlockId) -> Vec<OpId> {
        let mut found = Vec::new();
        // A stack of positions, so that deep nesting cannot exhaust the call stack.
        let mut stack = vec![(block, 0)];
        while let Some((b, at)) = stack.pop() {
            let Some(&op) = self.blocks[b].ops.get(at) else {
                continue;
            };
            stack.push((b, at + 1));
            found.push(op);
            stack.extend(self.ops[op].blocks.iter().rev().map(|&inner| (inner, 0)));
        }
        found
    }

    /// All operations of the bodies in force of all functions.
    pub fn all_ops(&self) -> Vec<OpId> {
        self.functions
            .iter()
            .filter_map(Function::body)
            .flat_map(|b| self.walk(b))
            .collect()
    }

    /// The operation that defines a value.
    pub fn def_op(&self, value: ValueId) -> Option<OpId> {
        match self.values[value].def {
            ValueDef::Op(op, _) => Some(op),
            _ => None,
        }
    }

    /// How a person would find an operation: its first output, else its name,
    /// else its type.
    pub fn describe_op(&self, id: OpId) -> String {
        let op = &self.ops[id];
        match op.outputs.first() {
            Some(&out) => format!("{} = {}", self.values[out].name, op.op_type),
            None => match op.name() {
                Some(name) => format!("{} \"{name}\"", op.op_type),
                None => op.op_type.clone(),
            },
        }
    }

    /// Calls `f` on every constant of the program: attributes, immediate
    /// arguments, `const` values, in every function and specialization.
    pub fn visit_constants<'a>(&'a self, f: &mut dyn FnMut(&'a Constant)) {
        let mut attributes = |list: &'a Attributes| list.iter().for_each(|(_, c)| c.visit(f));
        attributes(&self.attributes);
        for function in &self.functions {
            attributes(&function.attributes);
        }
        for block in self.live_blocks() {
            attributes(&self.blocks[block].attributes);
        }
        for op in self.live_ops() {
            self.ops[op].visit_constants(f);
        }
    }

    /// Calls `f` on every constant in an attribute of the program, a function
    /// or a block; in the order of [`Program::visit_constants`].
    ///
    /// # Errors
    /// A block hangs on an operation whose bytes hold something that would be
    /// lost.
    pub(crate) fn visit_attributes_mut(
        &mut self,
        f: &mut dyn FnMut(&mut Constant),
    ) -> Result<(), Error> {
        self.attributes.iter_mut().for_each(|(_, c)| c.visit_mut(f));
        for function in &mut self.functions {
            let attributes = function.attributes.iter_mut();
            attributes.for_each(|(_, c)| c.visit_mut(f));
        }
        for id in self.live_blocks() {
            if !self.blocks[id].attributes.is_empty() {
                let attributes = self.block_mut(id)?.attributes.iter_mut();
                attributes.for_each(|(_, c)| c.visit_mut(f));
            }
        }
        Ok(())
    }

    /// Every block that is part of the program, all specializations included.
    pub fn live_blocks(&self) -> Vec<BlockId> {
        let mut found: Vec<BlockId> = self
            .functions
            .iter()
            .flat_map(|f| f.specializations.iter().map(|&(_, b)| b))
            .collect();
        let mut at = 0;
        while let Some(&block) = found.get(at) {
            for &op in &self.blocks[block].ops {
                found.extend(&self.ops[op].blocks);
            }
            at += 1;
        }
        found
    }

    /// Every operation that is part of the program, all specializations included.
    pub fn live_ops(&self) -> Vec<OpId> {
        self.live_blocks()
            .into_iter()
            .flat_map(|b| self.blocks[b].ops.iter().copied())
            .collect()
    }
}

impl Op {
    /// Calls `f` on every constant of this operation, but not of its blocks.
    pub fn visit_constants<'a>(&'a self, f: &mut dyn FnMut(&'a Constant)) {
        for (_, args) in &self.inputs {
            for arg in args {
                if let Arg::Const(c) = arg {
                    c.visit(f);
                }
            }
        }
        for (_, c) in &self.attributes {
            c.visit(f);
        }
    }

    /// Calls `f` on every constant of this operation, but not of its blocks.
    pub fn visit_constants_mut(&mut self, f: &mut dyn FnMut(&mut Constant)) {
        for (_, args) in &mut self.inputs {
            for arg in args {
                if let Arg::Const(c) = arg {
                    c.visit_mut(f);
                }
            }
        }
        for (_, c) in &mut self.attributes {
            c.visit_mut(f);
        }
    }
}
