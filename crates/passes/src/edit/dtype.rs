//! Another element type for an input or output, under the same name.

use std::collections::BTreeMap;

use milwright_ir::ops::Opset;
use milwright_ir::{
    Arg, BlockId, DataType, OpId, Program, TensorType, Value, ValueDef, ValueId, ValueType,
};

use super::Error;
use crate::cut::casts;

/// The first opset with fp16 inputs and outputs.
const HALF_SINCE: Opset = Opset::IOS16;

/// Raises the opset of a function to one with fp16 inputs and outputs.
/// iOS 16 only adds to iOS 15; the verifier looks at the program afterwards.
pub(super) fn raise_opset(program: &mut Program, function: usize) {
    let function = &mut program.functions[function];
    let old = function.opset.clone();
    if function.known_opset().is_none_or(|o| o >= HALF_SINCE) {
        return;
    }
    let new = HALF_SINCE.name().to_owned();
    if function.specializations.iter().any(|(o, _)| *o == new) {
        return;
    }
    for (opset, _) in &mut function.specializations {
        if *opset == old {
            opset.clone_from(&new);
        }
    }
    function.opset = new;
}

/// A change of the element type of one feature of one function.
pub(super) struct Retyped<'p> {
    pub(super) program: &'p mut Program,
    /// Index of the function.
    pub(super) function: usize,
    /// Name of the feature.
    pub(super) name: &'p str,
    /// The type that it shall have.
    pub(super) dtype: DataType,
}

impl Retyped<'_> {
    fn refused(&self, why: impl Into<String>) -> Error {
        Error::Refused {
            name: self.name.to_owned(),
            why: why.into(),
        }
    }

    fn bodies(&self) -> Vec<BlockId> {
        let function = &self.program.functions[self.function];
        function.specializations.iter().map(|&(_, b)| b).collect()
    }

    /// The input, or the output of each body.
    fn values(&self, is_input: bool) -> Vec<(Option<BlockId>, ValueId)> {
        let named = |v: &ValueId| self.program.values[*v].name == self.name;
        if is_input {
            let inputs = &self.program.functions[self.function].inputs;
            return inputs
                .iter()
                .copied()
                .filter(named)
                .map(|v| (None, v))
                .collect();
        }
        let bodies = self.bodies().into_iter();
        let outputs = bodies.filter_map(|body| {
            let mut outputs = self.program.blocks[body].outputs.iter().copied();
            Some((Some(body), outputs.find(named)?))
        });
        outputs.collect()
    }

    /// The element type that the program declares.
    pub(super) fn before(&self, is_input: bool) -> Result<DataType, Error> {
        let values = self.values(is_input);
        let ty = values
            .first()
            .and_then(|&(_, v)| self.program.values[v].ty.as_tensor());
        ty.map(|t| t.dtype)
            .ok_or_else(|| self.refused("the program has no tensor of that name at its ends"))
    }

    /// Whether the type can change from `before`.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn check(&self, is_input: bool, before: DataType) -> Result<(), Error> {
        let pair = [before, self.dtype];
        if pair.contains(&DataType::Float16) && pair.contains(&DataType::Int32) {
            return Err(self.refused(
                "fp16 holds every integer up to 2048 only; go by way of fp32 if that is enough",
            ));
        }
        let bodies = self.bodies();
        for (body, value) in self.values(is_input) {
            if self.program.values[value].ty.as_tensor().is_none() {
                return Err(self.refused("it is no tensor"));
            }
            let gives = |&b: &BlockId| self.program.blocks[b].outputs.contains(&value);
            if body.is_none() && bodies.iter().any(gives) {
                return Err(
                    self.refused("it is an output at the same time; the types of both are one")
                );
            }
            if body.is_none() {
                continue;
            }
            let Some(from) = self.program.def_op(value) else {
                return Err(
                    self.refused("it is an input at the same time; the types of both are one")
                );
            };
            let source = self.operand_of_cast(from).and_then(|s| self.dtype_of(s));
            let whole = |d: DataType| d.is_int() || d == DataType::Bool;
            if self.dtype == DataType::Int32 && !source.is_some_and(whole) {
                return Err(self.refused(format!(
                    "it is {before} and may have fractions, which int32 would cut off"
                )));
            }
        }
        Ok(())
    }

    /// Changes the type from `before`, if [`Retyped::check`] has nothing
    /// against it.
    pub(super) fn apply(mut self, is_input: bool, before: DataType) -> Result<(), Error> {
        self.check(is_input, before)?;
        for (body, value) in self.values(is_input) {
            match body {
                None => self.input(value, before)?,
                Some(body) => self.output(body, value)?,
            }
        }
        Ok(())
    }

    fn dtype_of(&self, value: ValueId) -> Option<DataType> {
        self.program.values[value].ty.as_tensor().map(|t| t.dtype)
    }

    fn input(&mut self, input: ValueId, before: DataType) -> Result<(), Error> {
        let bodies = self.bodies();
        let old = self.program.values[input].ty.clone();
        let ValueType::Tensor(old) = old else {
            return Err(self.refused("it is no tensor"));
        };
        let shape = old.shape.clone();
        self.program.values[input].ty = TensorType::new(self.dtype, shape).into();
        for body in bodies {
            let ops = self.program.walk(body);
            let cast: Vec<OpId> = ops
                .into_iter()
                .filter(|&op| self.is_cast(op, input))
                .collect();
            if self.is_read(body, input, &cast) {
                let name = casts::free_name(self.program, &format!("{}_{before}", self.name));
                let parameter = casts::free_name(self.program, &format!("{name}_dtype"));
                let inside = self.new_value(name, old.clone());
                self.replace(body, input, inside, &cast)?;
                let ops = casts::add(self.program, input, inside, parameter);
                self.program.block_mut(body)?.ops.splice(0..0, ops);
            }
            // What was cast to this type anyway is the input itself now.
            for op in cast {
                let result = self.program.ops[op].outputs[0];
                self.replace(body, result, input, &[])?;
                self.remove_unread(body, op)?;
            }
        }
        Ok(())
    }

    /// Whether an operation is a cast of `value` to the wanted type whose
    /// result no block yields.
    fn is_cast(&self, op: OpId, value: ValueId) -> bool {
        let program = &self.program;
        let [result] = program.ops[op].outputs[..] else {
            return false;
        };
        let is = self.dtype_of(result) == Some(self.dtype);
        let yields = |&b: &BlockId| program.blocks[b].outputs.contains(&result);
        is && self.operand_of_cast(op) == Some(value) && !program.live_blocks().iter().any(yields)
    }

    fn operand_of_cast(&self, op: OpId) -> Option<ValueId> {
        let op = &self.program.ops[op];
        match op.args("x") {
            [Arg::Value(x)] if op.op_type == "cast" => Some(*x),
            _ => None,
        }
    }

    fn output(&mut self, body: BlockId, value: ValueId) -> Result<(), Error> {
        let Some(from) = self.program.def_op(value) else {
            return Err(self.refused("it is an input at the same time; the types of both are one"));
        };
        let ValueType::Tensor(old) = self.program.values[value].ty.clone() else {
            return Err(self.refused("it is no tensor"));
        };
        let before = old.dtype;
        let source = self.operand_of_cast(from);
        let source_dtype = source.and_then(|s| self.dtype_of(s));
        let name = self.name.to_owned();
        let inside = casts::free_name(self.program, &format!("{name}_{before}"));

        // Where the output is what a value of the wanted type was cast to, that
        // value becomes the output.
        if let Some(source) = source
            && source_dtype == Some(self.dtype)
            && self.can_be_output(body, source)
        {
            self.program
                .rename_values(&BTreeMap::from([(value, inside), (source, name)]))?;
            self.swap_output(body, value, source)?;
            return self.remove_unread(body, from);
        }
        // Of what was cast to another type, the number before that is meant:
        // int32 is only made of whole numbers, and a cast back adds nothing.
        let cast_back = self.dtype == DataType::Int32 || source_dtype == Some(self.dtype);
        let read = source.filter(|_| cast_back).unwrap_or(value);
        self.program
            .rename_values(&BTreeMap::from([(value, inside)]))?;
        let output = self.new_value(name, TensorType::new(self.dtype, old.shape));
        let wish = format!("{}_dtype", self.name);
        let parameter = casts::free_name(self.program, &wish);
        let ops = casts::add(self.program, read, output, parameter);
        self.program.block_mut(body)?.ops.extend(ops);
        self.swap_output(body, value, output)?;
        match cast_back {
            true => self.remove_unread(body, from),
            false => Ok(()),
        }
    }

    /// Whether a value is computed in the body itself, and by more than a
    /// constant, and is no output yet.
    fn can_be_output(&self, body: BlockId, value: ValueId) -> bool {
        let block = &self.program.blocks[body];
        let op = self.program.def_op(value);
        !block.outputs.contains(&value)
            && op.is_some_and(|op| {
                block.ops.contains(&op) && self.program.ops[op].op_type != "const"
            })
    }

    fn swap_output(&mut self, body: BlockId, old: ValueId, new: ValueId) -> Result<(), Error> {
        for output in &mut self.program.block_mut(body)?.outputs {
            if *output == old {
                *output = new;
            }
        }
        Ok(())
    }

    fn new_value(&mut self, name: String, ty: TensorType) -> ValueId {
        self.program.values.push(Value {
            name,
            ty: ty.into(),
            def: ValueDef::Undefined,
        })
    }

    /// Whether anything in a body reads a value, but for some operations.
    fn is_read(&self, body: BlockId, value: ValueId, but: &[OpId]) -> bool {
        let gives = |block: BlockId| self.program.blocks[block].outputs.contains(&value);
        let reads = |op: OpId| {
            let op_blocks = self.program.ops[op].blocks.iter();
            (!but.contains(&op) && self.program.ops[op].operands().any(|v| v == value))
                || op_blocks.copied().any(gives)
        };
        gives(body) || self.program.walk(body).into_iter().any(reads)
    }

    /// Lets everything in a body that reads `old` read `new`, but for some
    /// operations.
    fn replace(
        &mut self,
        body: BlockId,
        old: ValueId,
        new: ValueId,
        but: &[OpId],
    ) -> Result<(), Error> {
        for op in self.program.walk(body) {
            if !but.contains(&op) && self.program.ops[op].operands().any(|v| v == old) {
                let args = self.program.op_mut(op)?.inputs.iter_mut();
                for arg in args.flat_map(|(_, args)| args) {
                    if *arg == Arg::Value(old) {
                        *arg = Arg::Value(new);
                    }
                }
            }
            for block in self.program.ops[op].blocks.clone() {
                if self.program.blocks[block].outputs.contains(&old) {
                    for output in &mut self.program.block_mut(block)?.outputs {
                        if *output == old {
                            *output = new;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes a cast that nothing reads, and the constant of its type.
    fn remove_unread(&mut self, body: BlockId, op: OpId) -> Result<(), Error> {
        let outputs = self.program.ops[op].outputs.clone();
        if outputs.iter().any(|&v| self.is_read(body, v, &[])) {
            return Ok(());
        }
        let operands: Vec<ValueId> = self.program.ops[op].operands().collect();
        self.remove(body, op)?;
        for value in operands {
            if self.program.const_of(value).is_some()
                && !self.is_read(body, value, &[])
                && let Some(constant) = self.program.def_op(value)
            {
                self.remove(body, constant)?;
            }
        }
        Ok(())
    }

    fn remove(&mut self, body: BlockId, op: OpId) -> Result<(), Error> {
        let mut blocks: Vec<BlockId> = vec![body];
        for inner in self.program.walk(body) {
            blocks.extend(&self.program.ops[inner].blocks);
        }
        for block in blocks {
            if self.program.blocks[block].ops.contains(&op) {
                self.program.block_mut(block)?.ops.retain(|&o| o != op);
            }
        }
        Ok(())
    }
}
