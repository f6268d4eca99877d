//! The types that the values of a function have when its inputs have given
//! shapes.
//!
//! A model with flexible inputs declares `?` where a size depends on them. Here
//! the op table's inference runs over the whole function, and integers that a
//! program computes from sizes (`shape`, `gather`, `concat`, `reshape`) are
//! computed with it. What cannot be told stays unknown; nothing is guessed.

use std::collections::BTreeMap;

use crate::arena::{BlockId, Id, OpId, ValueId};
use crate::constant::{BlobSource, Constant};
use crate::diagnostic::Location;
use crate::error::Error;
use crate::program::{Arg, Function, Program};
use crate::shape;
use crate::types::{Dim, ShapeDisplay, TensorType, ValueType};
use crate::view::OpView;

pub use corners::{Corner, Shapes, corners, default_shapes, shapes_at};
use values::Elements;

mod corners;
mod values;

/// Blocks nested deeper than this are left as declared; the decoder and the
/// verifier refuse them.
const MAX_DEPTH: usize = 64;

/// How often a loop is gone through to find sizes that stay the same in every
/// round, before its declared types are taken.
const LOOP_ROUNDS: usize = 4;

/// Loops nested deeper than this are taken as declared at once, so that the
/// cost stays linear.
const LOOP_DEPTH: usize = 2;

/// Types of the values of a function at given input shapes.
///
/// It refers to values by id: it is for the program that it was made of, as
/// that was then.
#[derive(Clone, Debug, Default)]
pub struct Sizes {
    types: Vec<ValueType>,
    values: BTreeMap<ValueId, Known>,
}

/// What is known of a small value before the program runs.
#[derive(Clone, Debug)]
struct Known {
    elements: Elements,
    /// The value, when every element is known.
    constant: Option<Constant>,
}

impl Sizes {
    /// Infers the types of all values of the function's body, nested blocks
    /// included. `shapes` are shapes of inputs by name; an input that is not
    /// named has its declared type. See [`corners`] for the shapes that a
    /// model's description names.
    ///
    /// In a branch or loop body of which it is not known that it runs, an
    /// operation that does not take the shapes is no error: its outputs have
    /// their declared types.
    ///
    /// # Errors
    /// [`Error::Shapes`] when there is no such input, an input is declared with
    /// another shape, or an operation that runs in any case does not take what
    /// comes to it or gives something else than it declares.
    pub fn of(
        program: &Program,
        function: &Function,
        blobs: &dyn BlobSource,
        shapes: &Shapes,
    ) -> Result<Self, Error> {
        let types = program.values.ids().map(|v| program.values[v].ty.clone());
        let mut walk = Walk {
            program,
            function,
            blobs,
            sizes: Sizes {
                types: types.collect(),
                values: BTreeMap::new(),
            },
        };
        walk.inputs(shapes)?;
        if let Some(body) = function.body() {
            walk.block(body, At::default())?;
        }
        Ok(walk.sizes)
    }

    /// The type of a value: inferred as far as that goes, else as declared.
    pub fn ty(&self, value: ValueId) -> &ValueType {
        static NONE: ValueType = ValueType::Missing;
        self.types.get(value.index()).unwrap_or(&NONE)
    }

    /// The tensor type of a value, if it is a tensor.
    pub fn tensor(&self, value: ValueId) -> Option<&TensorType> {
        self.ty(value).as_tensor()
    }

    /// The elements of a small value that the program computes from sizes and
    /// constants, when all of them are known. The value of a `const` is not
    /// among them; see [`Program::const_of`].
    pub fn constant(&self, value: ValueId) -> Option<&Constant> {
        self.values.get(&value)?.constant.as_ref()
    }
}

/// Where in the function the walk is.
#[derive(Clone, Copy, Default)]
struct At {
    depth: usize,
    loops: usize,
    /// Whether it is not known that this runs.
    unsure: bool,
}

struct Walk<'p> {
    program: &'p Program,
    function: &'p Function,
    blobs: &'p dyn BlobSource,
    sizes: Sizes,
}

impl<'p> Walk<'p> {
    fn inputs(&mut self, shapes: &Shapes) -> Result<(), Error> {
        let program = self.program;
        let mut unknown: BTreeMap<&str, &Vec<u64>> =
            shapes.iter().map(|(name, s)| (name.as_str(), s)).collect();
        for &id in &self.function.inputs {
            let declared = &program.values[id];
            let Some(sizes) = unknown.remove(declared.name.as_str()) else {
                continue;
            };
            let given: Vec<Dim> = sizes.iter().map(|&n| Dim::Known(n)).collect();
            let merged = declared
                .ty
                .as_tensor()
                .and_then(|ty| Some((ty, shape::merge_shapes(&ty.shape, &given)?)));
            let Some((ty, shape)) = merged else {
                let problem = format!(
                    "input {:?} is declared as {}, which cannot have shape {}",
                    declared.name,
                    declared.ty,
                    ShapeDisplay(&given)
                );
                return Err(self.error(None, problem));
            };
            self.sizes.types[id.index()] = TensorType::new(ty.dtype, shape).into();
        }
        match unknown.keys().next() {
            None => Ok(()),
            Some(name) => {
                let names = self.function.inputs.iter();
                let names: Vec<&str> = names.map(|&v| program.values[v].name.as_str()).collect();
                let problem = format!("no input {name:?}; there are: {}", names.join(", "));
                Err(self.error(None, problem))
            }
        }
    }

    fn block(&mut self, block: BlockId, at: At) -> Result<(), Error> {
        let at = At {
            depth: at.depth + 1,
            ..at
        };
        if at.depth > MAX_DEPTH {
            return Ok(());
        }
        for &op in &self.program.blocks[block].ops {
            if let Err(error) = self.op(op, at) {
                if !at.unsure {
                    return Err(error);
                }
                for &output in &self.program.ops[op].outputs {
                    self.forget(output);
                }
            }
        }
        Ok(())
    }

    fn op(&mut self, id: OpId, at: At) -> Result<(), Error> {
        let op = &self.program.ops[id];
        match (op.op_type.as_str(), op.blocks.as_slice()) {
            ("cond", &[then, otherwise]) => return self.cond(id, [then, otherwise], at),
            ("while_loop", &[condition, body]) => self.while_loop(id, [condition, body], at)?,
            (_, blocks) => {
                for &block in blocks {
                    self.block(block, At { unsure: true, ..at })?;
                }
            }
        }
        self.infer(id)
    }

    /// Infers the outputs of an operation from its operands and blocks.
    fn infer(&mut self, id: OpId) -> Result<(), Error> {
        let op = &self.program.ops[id];
        let Some(def) = op.def else {
            op.outputs.iter().for_each(|&output| self.forget(output));
            return Ok(());
        };
        let view = OpView::new(self.program, id, self.blobs).with_sizes(&self.sizes);
        let types = match def.infer(&view) {
            Ok(types) => types,
            Err(error) => return Err(self.error(Some(id), error.to_string())),
        };
        if types.len() != op.outputs.len() {
            let problem = format!(
                "`{}` gives {} outputs, but {} are declared",
                def.name,
                types.len(),
                op.outputs.len()
            );
            return Err(self.error(Some(id), problem));
        }
        for (ty, &output) in types.iter().zip(&op.outputs) {
            self.set(id, output, ty)?;
        }
        let view = OpView::new(self.program, id, self.blobs).with_sizes(&self.sizes);
        let found: Vec<(ValueId, Option<Known>)> = op
            .outputs
            .iter()
            .enumerate()
            .map(|(n, &output)| (output, values::evaluate(&view, &self.sizes, n)))
            .collect();
        for (output, known) in found {
            match known {
                Some(known) => self.sizes.values.insert(output, known),
                None => self.sizes.values.remove(&output),
            };
        }
        Ok(())
    }

    /// The outputs of the branch that is taken, when the condition is known;
    /// else what both branches have in common.
    fn cond(&mut self, id: OpId, blocks: [BlockId; 2], at: At) -> Result<(), Error> {
        let op = &self.program.ops[id];
        let taken = op.args("pred").first().and_then(|arg| self.truth(arg));
        let taken = taken.map(|truth| blocks[usize::from(!truth)]);
        for block in blocks {
            let unsure = at.unsure || taken != Some(block);
            self.block(block, At { unsure, ..at })?;
        }
        let Some(taken) = taken else {
            return self.infer(id);
        };
        let yields = &self.program.blocks[taken].outputs;
        for (&output, &inner) in op.outputs.iter().zip(yields) {
            let ty = self.sizes.ty(inner).clone();
            self.set(id, output, &ty)?;
            match values::known(self.program, self.blobs, &self.sizes, inner) {
                Some(known) => self.sizes.values.insert(output, known),
                None => self.sizes.values.remove(&output),
            };
        }
        Ok(())
    }

    fn truth(&self, arg: &Arg) -> Option<bool> {
        let constant = match arg {
            Arg::Value(id) => self.sizes.constant(*id),
            Arg::Const(_) => None,
        };
        let constant = constant.or_else(|| self.program.const_arg(arg))?;
        match constant.to_bools(self.blobs).ok()?.as_slice() {
            [truth] => Some(*truth),
            _ => None,
        }
    }

    /// Finds sizes of the loop variables that hold in every round: those of the
    /// first round, less what the body changes.
    fn while_loop(&mut self, id: OpId, blocks: [BlockId; 2], at: At) -> Result<(), Error> {
        let vars = self.program.ops[id].args("loop_vars");
        let inside = At {
            loops: at.loops + 1,
            unsure: true,
            ..at
        };
        let mut types: Vec<ValueType> = vars
            .iter()
            .map(|arg| match arg {
                Arg::Const(constant) => constant.ty.clone(),
                Arg::Value(id) => self.sizes.ty(*id).clone(),
            })
            .collect();
        let rounds = if inside.loops > LOOP_DEPTH {
            0
        } else {
            LOOP_ROUNDS
        };
        for _ in 0..rounds {
            self.round(blocks, Some(&types), inside)?;
            let yields = &self.program.blocks[blocks[1]].outputs;
            let next: Vec<ValueType> = types
                .iter()
                .enumerate()
                .map(|(i, ty)| match yields.get(i) {
                    Some(&v) => common(ty, self.sizes.ty(v)),
                    None => ValueType::Missing,
                })
                .collect();
            if next == types {
                return Ok(());
            }
            types = next;
        }
        self.round(blocks, None, inside)
    }

    /// Goes through condition and body with loop variables of these types, or
    /// as declared.
    fn round(
        &mut self,
        blocks: [BlockId; 2],
        types: Option<&[ValueType]>,
        at: At,
    ) -> Result<(), Error> {
        for block in blocks {
            for (i, &input) in self.program.blocks[block].inputs.iter().enumerate() {
                self.forget(input);
                let declared = &self.program.values[input].ty;
                let known = types.and_then(|types| merged(declared, types.get(i)?));
                if let Some(ty) = known {
                    self.sizes.types[input.index()] = ty;
                }
            }
            self.block(block, at)?;
        }
        Ok(())
    }

    /// Sets the type of an output of `op` to what is both declared and inferred.
    fn set(&mut self, op: OpId, output: ValueId, inferred: &ValueType) -> Result<(), Error> {
        let declared = &self.program.values[output];
        match merged(&declared.ty, inferred) {
            Some(ty) => {
                self.sizes.types[output.index()] = ty;
                Ok(())
            }
            None => {
                let problem = format!(
                    "output {:?} is declared as {}, but is {inferred} at these input shapes",
                    declared.name, declared.ty
                );
                Err(self.error(Some(op), problem))
            }
        }
    }

    /// Takes a value as declared.
    fn forget(&mut self, value: ValueId) {
        self.sizes.types[value.index()] = self.program.values[value].ty.clone();
        self.sizes.values.remove(&value);
    }

    fn error(&self, op: Option<OpId>, problem: String) -> Error {
        let location = Location {
            function: Some(self.function.name.clone()),
            op: op.map(|op| self.program.describe_op(op)),
            ..Location::default()
        };
        Error::Shapes {
            location: location.to_string(),
            problem,
            op,
        }
    }
}

/// A declared type with the sizes that were inferred; `None` when they
/// contradict each other. What is no tensor stays as declared: the elements of
/// a list may have different sizes.
fn merged(declared: &ValueType, inferred: &ValueType) -> Option<ValueType> {
    match (declared, inferred) {
        (ValueType::Tensor(a), ValueType::Tensor(b)) => {
            let shape = shape::merge_shapes(&a.shape, &b.shape)?;
            (a.dtype == b.dtype).then(|| TensorType::new(a.dtype, shape).into())
        }
        (ValueType::Missing, ValueType::Tensor(_)) => Some(inferred.clone()),
        _ => declared.fits(inferred).then(|| declared.clone()),
    }
}

/// What two types have in common: sizes that differ are unknown.
fn common(a: &ValueType, b: &ValueType) -> ValueType {
    match (a, b) {
        (ValueType::Tensor(a), ValueType::Tensor(b)) if a.dtype == b.dtype => {
            let shape = if a.shape.len() == b.shape.len() {
                let pairs = a.shape.iter().zip(&b.shape);
                pairs
                    .map(|(&a, &b)| if a == b { a } else { Dim::Unknown })
                    .collect()
            } else {
                vec![Dim::Variadic]
            };
            TensorType::new(a.dtype, shape).into()
        }
        _ if a == b => a.clone(),
        _ => ValueType::Missing,
    }
}
