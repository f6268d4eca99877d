//! Programs made by hand, one operation after the other.

#![allow(dead_code, reason = "not every test needs every part")]

use milwright_ir::{
    Arg, Block, BlockId, Constant, Function, NoBlobs, Op, OpView, Program, Value, ValueDef,
    ValueId, ValueType,
};

/// A program of one function, under construction.
pub(crate) struct Builder {
    program: Program,
    /// The body, and the blocks in it that are open.
    open: Vec<BlockId>,
    inputs: Vec<ValueId>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        let mut program = Program::default();
        let body = program.blocks.push(Block::default());
        Self {
            program,
            open: vec![body],
            inputs: Vec::new(),
        }
    }

    fn value(&mut self, name: String, ty: ValueType, def: ValueDef) -> ValueId {
        self.program.values.push(Value { name, ty, def })
    }

    fn add(&mut self, op: Op) -> milwright_ir::OpId {
        let block = self.open[self.open.len() - 1];
        let id = self.program.ops.push(op);
        self.program.blocks[block].ops.push(id);
        id
    }

    /// An input of the function.
    pub(crate) fn input(&mut self, name: &str, ty: impl Into<ValueType>) -> Arg {
        let def = ValueDef::FunctionInput(0, self.inputs.len());
        let value = self.value(name.to_owned(), ty.into(), def);
        self.inputs.push(value);
        Arg::Value(value)
    }

    /// A `const`.
    pub(crate) fn constant(&mut self, constant: Constant) -> Arg {
        let ty = constant.ty.clone();
        let mut op = Op::new("const");
        op.attributes = vec![("val".to_owned(), constant)];
        let id = self.add(op);
        let name = format!("v{}", self.program.values.len());
        let value = self.value(name, ty, ValueDef::Op(id, 0));
        self.program.ops[id].outputs = vec![value];
        Arg::Value(value)
    }

    /// An operation; its outputs have the types that the op table infers.
    pub(crate) fn op(
        &mut self,
        op_type: &str,
        inputs: Vec<(&str, Vec<Arg>)>,
        outputs: usize,
    ) -> Result<Vec<Arg>, String> {
        self.op_with_blocks(op_type, inputs, Vec::new(), outputs)
    }

    /// As [`Builder::op`], with nested blocks that have been closed.
    pub(crate) fn op_with_blocks(
        &mut self,
        op_type: &str,
        inputs: Vec<(&str, Vec<Arg>)>,
        blocks: Vec<BlockId>,
        outputs: usize,
    ) -> Result<Vec<Arg>, String> {
        let mut op = Op::new(op_type);
        let def = op.def.ok_or("not in the op table")?;
        let owned = |(name, args): (&str, Vec<Arg>)| (name.to_owned(), args);
        op.inputs = inputs.into_iter().map(owned).collect();
        op.blocks.clone_from(&blocks);
        let id = self.add(op);
        for block in blocks {
            self.program.blocks[block].parent = Some(id);
        }
        // How many outputs there are is part of what inference looks at.
        let made: Vec<ValueId> = (0..outputs)
            .map(|i| {
                let name = format!("v{}", self.program.values.len());
                self.value(name, ValueType::Missing, ValueDef::Op(id, i))
            })
            .collect();
        self.program.ops[id].outputs.clone_from(&made);
        let types = def
            .infer(&OpView::new(&self.program, id, &NoBlobs))
            .map_err(|e| e.to_string())?;
        for (&value, ty) in made.iter().zip(types) {
            self.program.values[value].ty = ty;
        }
        Ok(made.into_iter().map(Arg::Value).collect())
    }

    /// Opens a nested block; what follows goes into it.
    pub(crate) fn open(&mut self, inputs: &[ValueType]) -> Vec<Arg> {
        let block = self.program.blocks.push(Block::default());
        let values: Vec<ValueId> = (inputs.iter().enumerate())
            .map(|(i, ty)| {
                let name = format!("v{}", self.program.values.len());
                self.value(name, ty.clone(), ValueDef::BlockInput(block, i))
            })
            .collect();
        self.program.blocks[block].inputs.clone_from(&values);
        self.open.push(block);
        values.into_iter().map(Arg::Value).collect()
    }

    /// Closes the nested block.
    pub(crate) fn close(&mut self, outputs: &[Arg]) -> BlockId {
        let block = self.open.pop().unwrap();
        self.program.blocks[block].outputs = values(outputs);
        block
    }

    /// The program; outputs of its function are called `out_0` and so on.
    pub(crate) fn finish(mut self, opset: &str, outputs: &[Arg]) -> Program {
        let outputs = values(outputs);
        for (i, &output) in outputs.iter().enumerate() {
            self.program.values[output].name = format!("out_{i}");
        }
        let body = self.close(&[]);
        self.program.blocks[body].outputs = outputs;
        self.program.functions.push(Function {
            name: "main".to_owned(),
            opset: opset.to_owned(),
            inputs: self.inputs,
            specializations: vec![(opset.to_owned(), body)],
            attributes: Vec::new(),
        });
        self.program
    }
}

fn values(args: &[Arg]) -> Vec<ValueId> {
    args.iter()
        .map(|arg| match arg {
            Arg::Value(id) => *id,
            Arg::Const(_) => panic!("an output is a value"),
        })
        .collect()
}
