//! The operands of operations whose type changes: casts, constants, compressed
//! weights.

use half::f16;
use milwright_ir::{
    Arg, BlobSource, BlockId, ConstData, Constant, DataType, Op, OpId, OpView, TensorData,
    TensorType, Value, ValueDef, ValueId, ValueType,
};

use super::{Walk, fresh, with_op};
use crate::error::Error;
use crate::rewriter::Site;

/// Constants of fewer elements are written in the spec.
const FEW: u64 = 10;

impl Walk<'_, '_> {
    /// A parameter that names the old type, naming the new one.
    pub(super) fn word(&mut self, arg: &Arg, param: &str) -> Result<Option<Arg>, Error> {
        let named = self.program().const_arg(arg).and_then(Constant::as_str);
        let is_type = ["dtype", "output_dtype"].contains(&param);
        if !is_type || named != Some(self.how.from.name()) {
            return Ok(None);
        }
        Ok(Some(Arg::Value(self.dtype_word(self.how.to))))
    }

    /// The constant that names a type.
    fn dtype_word(&mut self, dtype: DataType) -> ValueId {
        if let Some(&word) = self.dtype_words.get(&dtype) {
            return word;
        }
        let mut op = Op::new("const");
        let word = Constant::string(dtype.name());
        let ty = word.ty.clone();
        op.attributes.push(("val".into(), word));
        let value = self.add(op, &format!("to_{dtype}_dtype"), ty, (self.body, None));
        self.dtype_words.insert(dtype, value);
        value
    }

    /// Adds an operation with one result.
    fn add(
        &mut self,
        mut op: Op,
        name: &str,
        ty: ValueType,
        place: (BlockId, Option<OpId>),
    ) -> ValueId {
        let name = self.rewriter.fresh_name(name);
        op.attributes
            .insert(0, ("name".into(), Constant::string(name.clone())));
        let is_word = op.op_type == "const" && place.1.is_none();
        let program = self.rewriter.program_mut();
        let id = program.ops.push(op);
        let value = program.values.push(Value {
            name,
            ty,
            def: ValueDef::Op(id, 0),
        });
        program.ops[id].outputs.push(value);
        let here = self.insert.entry(place).or_default();
        // Casts at the beginning of a block read the words.
        here.insert(if is_word { 0 } else { here.len() }, id);
        self.created.push(value);
        value
    }

    /// Right behind what defines a value.
    pub(super) fn behind(&self, value: ValueId) -> (BlockId, Option<OpId>) {
        match self.program().values[value].def {
            ValueDef::Op(op, _) => (self.homes.get(&op).copied().unwrap_or(self.body), Some(op)),
            ValueDef::BlockInput(block, _) => (block, None),
            ValueDef::FunctionInput(..) | ValueDef::Undefined => (self.body, None),
        }
    }

    fn cast(&mut self, value: ValueId, to: DataType) -> ValueId {
        let word = self.dtype_word(to);
        let v = &self.program().values[value];
        let (name, mut ty) = (format!("{}_to_{to}", v.name), v.ty.clone());
        if let ValueType::Tensor(t) = &mut ty {
            t.dtype = to;
        }
        let mut op = Op::new("cast");
        op.inputs = vec![
            ("x".to_owned(), vec![Arg::Value(value)]),
            ("dtype".to_owned(), vec![Arg::Value(word)]),
        ];
        let place = self.behind(value);
        self.add(op, &name, ty, place)
    }

    /// A value of the old type.
    pub(super) fn old_of(&mut self, value: ValueId) -> Result<ValueId, Error> {
        if !self.changed.contains(&value) {
            return Ok(value);
        }
        if let Some(&old) = self.old.get(&value) {
            return Ok(old);
        }
        let old = self.cast(value, self.how.from);
        self.old.insert(value, old);
        Ok(old)
    }

    /// An argument of the new type.
    pub(super) fn new_of(&mut self, arg: &Arg, epsilon: bool, site: Site) -> Result<Arg, Error> {
        let value = match arg {
            Arg::Const(constant) => {
                return Ok(Arg::Const(self.converted(constant, epsilon, site)?));
            }
            Arg::Value(value) => *value,
        };
        if self.changed.contains(&value) {
            return Ok(arg.clone());
        }
        let constant = self.program().const_of(value).cloned();
        let key = (value, epsilon && constant.is_some());
        if let Some(&new) = self.new.get(&key) {
            return Ok(Arg::Value(new));
        }
        let weight = |c: &Constant| {
            let elements = c.tensor_type().and_then(TensorType::elements);
            elements.is_some_and(|n| n >= FEW)
        };
        let new = match constant {
            Some(c) if self.how.cast_weights && weight(&c) => self.cast(value, self.how.to),
            Some(c) => {
                let c = self.converted(&c, epsilon, site)?;
                let name = format!("{}_to_{}", self.program().values[value].name, self.how.to);
                let (ty, place) = (c.ty.clone(), self.behind(value));
                let mut op = Op::new("const");
                op.attributes.push(("val".into(), c));
                self.add(op, &name, ty, place)
            }
            None => match self.compressed(value, site)? {
                Some(new) => new,
                None => self.cast(value, self.how.to),
            },
        };
        self.new.insert(key, new);
        Ok(Arg::Value(new))
    }

    /// A compressed weight that gives the new type; `None` if there is none.
    fn compressed(&mut self, value: ValueId, site: Site) -> Result<Option<ValueId>, Error> {
        let Some(id) = self.program().def_op(value) else {
            return Ok(None);
        };
        let op = self.program().ops[id].clone();
        let (Some(def), [_]) = (op.def, op.outputs.as_slice()) else {
            return Ok(None);
        };
        if !op.op_type.starts_with("constexpr_") || op.op_type == "constexpr_cast" {
            return Ok(None);
        }
        let mut made = op.clone();
        made.attributes.retain(|(name, _)| name != "name");
        let from = self.how.from;
        let is_old = |ty: &ValueType| ty.as_tensor().is_some_and(|t| t.dtype == from);
        let (opset, to) = (self.opset, self.how.to);
        let takes = |name: &str| {
            let param = def.params.iter().find(|p| p.name == name);
            param
                .and_then(|p| p.domain(opset))
                .is_some_and(|d| d.dtypes.contains(&to))
        };
        for at in 0..made.attributes.len() {
            let (name, constant) = &made.attributes[at];
            if is_old(&constant.ty) && takes(name) {
                made.attributes[at].1 = self.converted(&constant.clone(), false, site)?;
            }
        }
        for at in 0..made.inputs.len() {
            let (name, args) = made.inputs[at].clone();
            for (nth, arg) in args.iter().enumerate() {
                if !is_old(self.program().arg_type(arg)) || !takes(&name) {
                    continue;
                }
                // One that is compressed itself is cast when the program is loaded.
                if self.program().const_arg(arg).is_none() {
                    return Ok(None);
                }
                made.inputs[at].1[nth] = self.new_of(arg, false, site)?;
            }
        }
        let view = OpView::new(self.program(), id, self.rewriter.blobs());
        let Ok(types) = self.types(&with_op(view, &made), def) else {
            return Ok(None);
        };
        made.outputs.clear();
        let name = format!("{}_to_{}", self.program().values[value].name, self.how.to);
        let copy = fresh(made);
        let (ty, place) = (types.into_iter().next(), self.behind(value));
        Ok(ty.map(|ty| self.add(copy, &name, ty, place)))
    }

    /// A constant in the new type.
    fn converted(
        &mut self,
        constant: &Constant,
        epsilon: bool,
        site: Site,
    ) -> Result<Constant, Error> {
        let blobs = self.rewriter.blobs();
        let converted = convert(constant, self.how.to, epsilon, blobs);
        let (constant, clamped) = converted.map_err(|cause| {
            Error::Ir(milwright_ir::Error::Const {
                location: self.rewriter.location(site),
                cause,
            })
        })?;
        if clamped > 0 {
            let what = "constants with numbers beyond 65504, which became 65504";
            *self.report.done.entry(what.into()).or_default() += 1;
        }
        Ok(constant)
    }
}

/// A constant in another float type, and how many of its numbers were beyond
/// it. Finite numbers stay finite, and an `epsilon` does not vanish.
fn convert(
    constant: &Constant,
    to: DataType,
    epsilon: bool,
    blobs: &dyn BlobSource,
) -> Result<(Constant, usize), milwright_ir::ConstError> {
    let shape = constant
        .tensor_type()
        .map(|t| t.shape.clone())
        .unwrap_or_default();
    let ty = TensorType::new(to, shape);
    let few = ty.elements().is_none_or(|n| n < FEW);
    let bytes = constant.bytes(blobs)?;
    let mut clamped = 0;
    let data = if to == DataType::Float16 {
        let wide = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b));
        let halves = wide.flat_map(|v| {
            let mut half = f16::from_f32(v);
            if half.is_infinite() && v.is_finite() {
                clamped += 1;
                half = if v > 0.0 { f16::MAX } else { f16::MIN };
            }
            if epsilon && v > 0.0 && half == f16::ZERO {
                half = f16::MIN_POSITIVE_SUBNORMAL;
            }
            half.to_le_bytes()
        });
        let halves: Vec<u8> = halves.collect();
        match few {
            true => ConstData::Tensor(TensorData::Bytes(halves.into())),
            false => ConstData::New(halves.into()),
        }
    } else {
        let wide = bytes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|b| f16::from_le_bytes(*b).to_f32());
        match few {
            true => ConstData::Tensor(TensorData::Floats(wide.collect())),
            false => ConstData::New(wide.flat_map(f32::to_le_bytes).collect::<Vec<u8>>().into()),
        }
    };
    Ok((Constant::new(ty, data), clamped))
}
