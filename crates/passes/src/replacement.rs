//! Builds the operations that replace another one.

use std::collections::BTreeMap;

use milwright_ir::{
    Arg, ConstData, Constant, DataType, Dim, Op, OpId, OpView, ParamError, TensorType, Value,
    ValueDef, ValueId, ValueType,
};

use crate::error::Error;
use crate::report::Added;
use crate::rewriter::{Rewriter, Site, is_constant};

/// Constants of at most that many bytes are written in the spec, larger ones
/// in the weight file.
const IMMEDIATE_BYTES: usize = 64;

/// Which part of a dimension a slice takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    All,
    /// From the first position to just before the second.
    Range(u64, u64),
    /// From a position to that many before the end; for dimensions of unknown
    /// size.
    Within(u64, u64),
    /// Every n-th position of a range.
    Every(u64, u64, u64),
    /// Every n-th position, from a position to that many before the end.
    EveryWithin(u64, u64, u64),
}

/// Operations that are to replace another one. They are typed as they are
/// added; until [`Replacement::finish`] the program runs without them.
///
/// Methods that would add an operation without an effect (a slice that takes
/// all, a concatenation of one) give back their operand.
pub struct Replacement<'r, 'p> {
    rewriter: &'r mut Rewriter<'p>,
    site: Site,
    /// Name of the replaced operation's result; the new names begin with it.
    stem: String,
    ops: Vec<OpId>,
    constants: Vec<(Constant, ValueId)>,
}

/// What a finished replacement added.
#[derive(Clone, Debug, Default)]
pub struct Additions {
    /// Operations by type, constants apart.
    pub ops: BTreeMap<String, usize>,
    /// Multiply-adds, an unknown size counted as one.
    pub macs: Option<u64>,
    /// The largest tensor, the result apart.
    pub largest: Option<Added>,
}

impl<'r, 'p> Replacement<'r, 'p> {
    pub(crate) fn new(rewriter: &'r mut Rewriter<'p>, site: Site) -> Self {
        let program = rewriter.program();
        let op = &program.ops[site.op];
        let stem = match op.outputs.first() {
            Some(&out) => program.values[out].name.clone(),
            None => op.op_type.clone(),
        };
        Self {
            rewriter,
            site,
            stem,
            ops: Vec::new(),
            constants: Vec::new(),
        }
    }

    /// The rewriter, to look at the program.
    pub fn rewriter(&self) -> &Rewriter<'p> {
        self.rewriter
    }

    /// The operation that is being replaced, for people.
    pub fn location(&self) -> String {
        self.rewriter.location(self.site)
    }

    /// The dimensions of a value; empty if it is no tensor.
    pub fn shape(&self, value: ValueId) -> Vec<Dim> {
        self.tensor(value)
            .map_or_else(Vec::new, |t| t.shape.clone())
    }

    fn tensor(&self, value: ValueId) -> Option<&TensorType> {
        self.rewriter.program().values[value].ty.as_tensor()
    }

    pub(crate) fn fail(&self, problem: impl Into<String>) -> Error {
        Error::Replacement {
            location: self.rewriter.location(self.site),
            problem: problem.into(),
        }
    }

    /// Adds an operation with one result, whose type is inferred.
    ///
    /// # Errors
    /// The operation does not take these inputs.
    pub fn op(
        &mut self,
        op_type: &str,
        hint: &str,
        inputs: Vec<(&str, Vec<Arg>)>,
    ) -> Result<ValueId, Error> {
        let mut op = Op::new(op_type);
        op.inputs = inputs
            .into_iter()
            .map(|(name, args)| (name.to_owned(), args))
            .collect();
        self.add(op, hint)
    }

    pub(crate) fn add(&mut self, mut op: Op, hint: &str) -> Result<ValueId, Error> {
        let name = self.rewriter.fresh_name(&format!("{}_{hint}", self.stem));
        op.attributes
            .push(("name".into(), Constant::string(name.clone())));
        if !is_constant(&op.op_type) {
            // What the file says about the operation, such as the backend that
            // it is meant for, goes for what stands in its place.
            let replaced = &self.rewriter.program().ops[self.site.op];
            let others = replaced.attributes.iter().filter(|(n, _)| n != "name");
            op.attributes.extend(others.cloned());
        }
        let op_type = op.op_type.clone();
        let def = op.def;
        let id = self.rewriter.program_mut().ops.push(op);
        let types = match def {
            Some(def) => def.infer(&OpView::new(
                self.rewriter.program(),
                id,
                self.rewriter.blobs(),
            )),
            None => Err(ParamError::Mismatch("the op table does not have it".into())),
        };
        let ty = types
            .and_then(|types| match <[ValueType; 1]>::try_from(types) {
                Ok([one]) => Ok(one),
                Err(types) => Err(ParamError::Mismatch(format!(
                    "it has {} results, not one",
                    types.len()
                ))),
            })
            .map_err(|cause| Error::Operation {
                location: self.rewriter.location(self.site),
                op_type,
                cause: Box::new(cause),
            })?;
        let program = self.rewriter.program_mut();
        let value = program.values.push(Value {
            name,
            ty,
            def: ValueDef::Op(id, 0),
        });
        program.ops[id].outputs.push(value);
        self.ops.push(id);
        Ok(value)
    }

    /// A constant; equal small ones are added once.
    ///
    /// # Errors
    /// It has no type.
    pub fn constant(&mut self, hint: &str, constant: Constant) -> Result<ValueId, Error> {
        let small = matches!(constant.data, ConstData::Tensor(_));
        if small && let Some((_, value)) = self.constants.iter().find(|(c, _)| *c == constant) {
            return Ok(*value);
        }
        let mut op = Op::new("const");
        op.attributes.push(("val".into(), constant.clone()));
        let value = self.add(op, hint)?;
        if small {
            self.constants.push((constant, value));
        }
        Ok(value)
    }

    /// A tensor made by the pass: in the spec if it is small, else in the
    /// weight file. `bytes` are little-endian and packed.
    ///
    /// # Errors
    /// It has no type.
    pub fn tensor_of(
        &mut self,
        hint: &str,
        ty: TensorType,
        bytes: Vec<u8>,
    ) -> Result<ValueId, Error> {
        let constant = match ty.dtype {
            DataType::Float32 if bytes.len() <= IMMEDIATE_BYTES => {
                let floats = bytes.as_chunks::<4>().0.iter();
                Constant::tensor(
                    ty,
                    milwright_ir::TensorData::Floats(
                        floats.map(|b| f32::from_le_bytes(*b)).collect(),
                    ),
                )
            }
            _ if bytes.len() <= IMMEDIATE_BYTES => {
                Constant::tensor(ty, milwright_ir::TensorData::Bytes(bytes.into()))
            }
            _ => Constant::new(ty, ConstData::New(bytes.into())),
        };
        self.constant(hint, constant)
    }

    fn ints(&mut self, hint: &str, values: &[i64]) -> Result<Arg, Error> {
        let narrow: Result<Vec<i32>, _> = values.iter().map(|&v| i32::try_from(v)).collect();
        let narrow = narrow.map_err(|_| self.fail(format!("{values:?} does not fit in int32")))?;
        Ok(Arg::Value(self.constant(hint, Constant::ints(&narrow))?))
    }

    fn sizes(&self, values: &[u64]) -> Result<Vec<i64>, Error> {
        let wide: Result<Vec<i64>, _> = values.iter().map(|&v| i64::try_from(v)).collect();
        wide.map_err(|_| self.fail(format!("{values:?} is too large")))
    }

    /// `x` with another shape; `None` is the size that is left (at most one).
    ///
    /// # Errors
    /// The sizes do not fit.
    pub fn reshape(&mut self, x: ValueId, shape: &[Option<u64>]) -> Result<ValueId, Error> {
        let now = self.shape(x);
        let known = shape.iter().all(Option::is_some);
        if known && now.iter().map(|d| d.known()).eq(shape.iter().copied()) {
            return Ok(x);
        }
        let sizes = shape
            .iter()
            .map(|d| d.map_or(Ok(-1), i64::try_from))
            .collect::<Result<Vec<i64>, _>>()
            .map_err(|_| self.fail("a dimension is too large"))?;
        let shape = self.ints("shape", &sizes)?;
        self.op(
            "reshape",
            "reshaped",
            vec![("x", vec![Arg::Value(x)]), ("shape", vec![shape])],
        )
    }

    /// `x` with its dimensions in another order.
    ///
    /// # Errors
    /// `perm` is no order of its dimensions.
    pub fn transpose(&mut self, x: ValueId, perm: &[usize]) -> Result<ValueId, Error> {
        if perm.iter().copied().eq(0..perm.len()) {
            return Ok(x);
        }
        let wide: Vec<i64> = perm.iter().map(|&p| p as i64).collect();
        let perm = self.ints("perm", &wide)?;
        self.op(
            "transpose",
            "transposed",
            vec![("x", vec![Arg::Value(x)]), ("perm", vec![perm])],
        )
    }

    /// Zeros before and after `x`, per dimension.
    ///
    /// # Errors
    /// The amounts do not fit its rank.
    pub fn pad(&mut self, x: ValueId, amounts: &[(u64, u64)]) -> Result<ValueId, Error> {
        if amounts.iter().all(|&a| a == (0, 0)) {
            return Ok(x);
        }
        let flat: Vec<u64> = amounts.iter().flat_map(|&(b, a)| [b, a]).collect();
        let flat = self.sizes(&flat)?;
        let pad = self.ints("pad", &flat)?;
        let dtype = self.tensor(x).map(|t| t.dtype);
        let zero = dtype.and_then(|d| Constant::float(d, 0.0));
        let zero = zero.ok_or_else(|| self.fail("only floats are padded"))?;
        let zero = Arg::Value(self.constant("zero", zero)?);
        let mode = Arg::Value(self.constant("mode", Constant::string("constant"))?);
        self.op(
            "pad",
            "padded",
            vec![
                ("x", vec![Arg::Value(x)]),
                ("pad", vec![pad]),
                ("mode", vec![mode]),
                ("constant_val", vec![zero]),
            ],
        )
    }

    /// A part of `x`, per dimension.
    ///
    /// # Errors
    /// A part reaches past the end.
    pub fn slice(&mut self, x: ValueId, parts: &[Part]) -> Result<ValueId, Error> {
        let shape = self.shape(x);
        if shape.len() != parts.len() {
            return Err(self.fail(format!("{} parts of rank {}", parts.len(), shape.len())));
        }
        let mut begin = Vec::new();
        let mut end = Vec::new();
        let mut to_end = Vec::new();
        let mut strides = Vec::new();
        for (part, dim) in parts.iter().zip(&shape) {
            let (from, to, step) = match *part {
                Part::All => (0, None, 1),
                Part::Range(from, to) => (from, Some(to), 1),
                Part::Every(from, to, step) => (from, Some(to), step),
                Part::Within(from, 0) => (from, None, 1),
                Part::EveryWithin(from, 0, step) => (from, None, step),
                Part::Within(from, cut) | Part::EveryWithin(from, cut, _) => {
                    let step = match *part {
                        Part::EveryWithin(_, _, step) => step,
                        _ => 1,
                    };
                    begin.push(self.sizes(&[from])?[0]);
                    end.push(-self.sizes(&[cut])?[0]);
                    to_end.push(false);
                    strides.push(self.sizes(&[step])?[0]);
                    continue;
                }
            };
            if let (Some(to), Some(size)) = (to, dim.known())
                && (to > size || from >= to)
            {
                return Err(self.fail(format!("slice {from}..{to} of {size} elements")));
            }
            let open = to.is_none() || to == dim.known();
            begin.push(self.sizes(&[from])?[0]);
            end.push(self.sizes(&[to.or(dim.known()).unwrap_or(0)])?[0]);
            to_end.push(open);
            strides.push(self.sizes(&[step])?[0]);
        }
        let contiguous = strides.iter().all(|&s| s == 1);
        if contiguous && begin.iter().all(|&b| b == 0) && to_end.iter().all(|&e| e) {
            return Ok(x);
        }
        let mut inputs = vec![
            ("x", vec![Arg::Value(x)]),
            ("begin", vec![self.ints("begin", &begin)?]),
            ("end", vec![self.ints("end", &end)?]),
        ];
        if !contiguous {
            inputs.push(("stride", vec![self.ints("stride", &strides)?]));
        }
        let mask = self.constant("end_mask", Constant::bools(&to_end))?;
        inputs.push(("end_mask", vec![Arg::Value(mask)]));
        self.op("slice_by_index", "part", inputs)
    }

    /// `values` one after the other along a dimension.
    ///
    /// # Errors
    /// Their other dimensions differ.
    pub fn concat(&mut self, values: &[ValueId], axis: usize) -> Result<ValueId, Error> {
        if let [one] = values {
            return Ok(*one);
        }
        let axis = i32::try_from(axis).map_err(|_| self.fail("axis is too large"))?;
        let axis = Arg::Value(self.constant("axis", Constant::int(axis))?);
        let interleave = Arg::Value(self.constant("interleave", Constant::bool(false))?);
        self.op(
            "concat",
            "joined",
            vec![
                ("values", values.iter().map(|&v| Arg::Value(v)).collect()),
                ("axis", vec![axis]),
                ("interleave", vec![interleave]),
            ],
        )
    }

    /// Matrix product of the last two dimensions, either transposed first.
    ///
    /// # Errors
    /// The shapes do not go together.
    pub fn matmul(
        &mut self,
        x: ValueId,
        y: ValueId,
        transposed: (bool, bool),
    ) -> Result<ValueId, Error> {
        let tx = Arg::Value(self.constant("transpose", Constant::bool(transposed.0))?);
        let ty = Arg::Value(self.constant("transpose", Constant::bool(transposed.1))?);
        self.op(
            "matmul",
            "product",
            vec![
                ("x", vec![Arg::Value(x)]),
                ("y", vec![Arg::Value(y)]),
                ("transpose_x", vec![tx]),
                ("transpose_y", vec![ty]),
            ],
        )
    }

    /// Element by element `x * y`, broadcast.
    ///
    /// # Errors
    /// The shapes do not go together.
    pub fn mul(&mut self, x: ValueId, y: ValueId) -> Result<ValueId, Error> {
        self.op(
            "mul",
            "scaled",
            vec![("x", vec![Arg::Value(x)]), ("y", vec![Arg::Value(y)])],
        )
    }

    /// Element by element `x + y`, broadcast.
    ///
    /// # Errors
    /// The shapes do not go together.
    pub fn add_values(&mut self, x: ValueId, y: ValueId) -> Result<ValueId, Error> {
        self.op(
            "add",
            "sum",
            vec![("x", vec![Arg::Value(x)]), ("y", vec![Arg::Value(y)])],
        )
    }

    /// Puts the operations in the place of the replaced one. `last`, the
    /// result of one of them, takes over its result: name, declared type and
    /// readers stay. `None` if no more changes are allowed.
    ///
    /// # Errors
    /// `last` does not fit the declared type, or the file's bytes of an
    /// enclosing operation hold something that would be lost.
    pub fn finish(self, last: ValueId, what: String) -> Result<Option<Additions>, Error> {
        let program = self.rewriter.program();
        let &[out] = program.ops[self.site.op].outputs.as_slice() else {
            return Err(self.fail("only an operation with one result can be replaced"));
        };
        let last_op = program.def_op(last).filter(|op| self.ops.contains(op));
        let Some(last_op) = last_op else {
            return Err(self.fail("the result is not one of the added operations"));
        };
        let (declared, inferred) = (&program.values[out].ty, &program.values[last].ty);
        if !fits(declared, inferred) {
            return Err(self.fail(format!("{inferred} does not fit the declared {declared}")));
        }
        let Some(at) = program.blocks[self.site.block]
            .ops
            .iter()
            .position(|&op| op == self.site.op)
        else {
            return Err(self.fail("the operation is not in its block"));
        };
        let name = program.ops[self.site.op].attribute("name").cloned();
        let additions = self.additions(last);
        if !self.rewriter.log(self.site, what) {
            return Ok(None);
        }
        let program = self.rewriter.program_mut();
        program
            .block_mut(self.site.block)?
            .ops
            .splice(at..=at, self.ops);
        program.values[out].def = ValueDef::Op(last_op, 0);
        let op = &mut program.ops[last_op];
        op.outputs = vec![out];
        op.attributes.retain(|(key, _)| key != "name");
        op.attributes.extend(name.map(|n| ("name".to_owned(), n)));
        Ok(Some(additions))
    }

    fn additions(&self, last: ValueId) -> Additions {
        let program = self.rewriter.program();
        let mut additions = Additions {
            macs: Some(0),
            ..Additions::default()
        };
        for &id in &self.ops {
            let op = &program.ops[id];
            if op.op_type == "const" {
                continue;
            }
            *additions.ops.entry(op.op_type.clone()).or_default() += 1;
            let Some(ty) = op.outputs.first().and_then(|&v| self.tensor(v)) else {
                continue;
            };
            let elements = elements(&ty.shape);
            let depth = match op.op_type.as_str() {
                "mul" => 1,
                "linear" => self.size_of(op, "x", 1),
                "matmul" => {
                    let transposed = op.args("transpose_x").first();
                    let transposed = transposed.and_then(|a| program.const_arg(a));
                    let yes = transposed.is_some_and(|c| *c == Constant::bool(true));
                    self.size_of(op, "x", if yes { 2 } else { 1 })
                }
                _ => 0,
            };
            let macs = elements.saturating_mul(depth);
            additions.macs = additions.macs.map(|sum| sum.saturating_add(macs));
            let larger = additions
                .largest
                .as_ref()
                .is_none_or(|l| l.elements < elements);
            if larger && op.outputs.first() != Some(&last) {
                additions.largest = Some(Added {
                    name: op
                        .outputs
                        .first()
                        .map_or_else(String::new, |&v| program.values[v].name.clone()),
                    ty: ty.to_string(),
                    elements,
                    bytes: ty.dtype.byte_len(elements).unwrap_or(u64::MAX),
                });
            }
        }
        additions
    }

    /// The size of a dimension, counted from the end, of an operand.
    fn size_of(&self, op: &Op, param: &str, from_end: usize) -> u64 {
        let ty = op.args(param).first();
        let ty = ty.and_then(|arg| self.rewriter.program().arg_type(arg).as_tensor());
        ty.and_then(|t| t.shape.get(t.shape.len().checked_sub(from_end)?))
            .and_then(|d| d.known())
            .unwrap_or(1)
    }
}

/// The number of elements, an unknown size counted as one.
fn elements(shape: &[Dim]) -> u64 {
    shape
        .iter()
        .map(|d| d.known().unwrap_or(1))
        .fold(1, u64::saturating_mul)
}

/// Whether a value of the inferred type may stand where another is declared.
fn fits(declared: &ValueType, inferred: &ValueType) -> bool {
    let (Some(declared), Some(inferred)) = (declared.as_tensor(), inferred.as_tensor()) else {
        return false;
    };
    let same = |(d, i): (&Dim, &Dim)| match (d.known(), i.known()) {
        (Some(d), Some(i)) => d == i,
        _ => true,
    };
    declared.dtype == inferred.dtype
        && (declared.rank().is_none()
            || inferred.rank().is_none()
            || (declared.shape.len() == inferred.shape.len()
                && declared.shape.iter().zip(&inferred.shape).all(same)))
}
