//! Prints a program as MIL text, as Apple's compiler writes it into a
//! `.mlmodelc`.
//!
//! Functions, function inputs, arguments and attributes are in alphabetical
//! order there, whatever their order in the package, and so they are here.
//! Published compiled models hold no nested block; for the form used here for
//! `cond` and `while_loop` see `docs/decisions.md`.

use std::fmt::{self, Write};
use std::ops::Range;

use half::{bf16, f16};

use super::{elements, float, lex};
use crate::arena::{BlockId, OpId, ValueId};
use crate::constant::{BlobRange, ConstData, Constant, TensorData};
use crate::ops::Opset;
use crate::program::{Arg, Attributes, Function, Op, Program};
use crate::types::{DataType, TensorType, ValueType};

/// The two forms of the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// `program(1.0)`: every type is spelled `tensor<.., ..>`, scalars too.
    V1_0,
    /// `program(1.3)`: scalars are spelled by their element type alone.
    #[default]
    V1_3,
}

/// The whole program, or one function of it.
pub fn print(program: &Program, dialect: Dialect, function: Option<&str>) -> String {
    let printer = Printer { program, dialect };
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = printer.program(&mut out, function);
    out
}

struct Printer<'p> {
    program: &'p Program,
    dialect: Dialect,
}

const INDENT: &str = "    ";

impl Printer<'_> {
    fn program(&self, out: &mut String, only: Option<&str>) -> fmt::Result {
        match self.dialect {
            Dialect::V1_0 => out.write_str("program(1.0)\n")?,
            Dialect::V1_3 => out.write_str("program(1.3)\n")?,
        }
        if !self.program.attributes.is_empty() {
            self.attributes(out, &self.program.attributes)?;
            out.write_str("\n")?;
        }
        out.write_str("{\n")?;
        let mut functions: Vec<&Function> = self
            .program
            .functions
            .iter()
            .filter(|f| only.is_none_or(|name| f.name == name))
            .collect();
        functions.sort_by(|a, b| a.name.cmp(&b.name));
        for function in functions {
            self.function(out, function)?;
        }
        out.write_str("}\n")
    }

    fn function(&self, out: &mut String, function: &Function) -> fmt::Result {
        for (opset, block) in &function.specializations {
            let shown = Opset::from_name(opset).map_or(opset.as_str(), |o| o.text_name());
            write!(out, "{INDENT}func ")?;
            name(out, &function.name)?;
            out.write_str("<")?;
            name(out, shown)?;
            out.write_str(">(")?;
            let mut inputs = function.inputs.clone();
            inputs.sort_by(|a, b| self.name(*a).cmp(self.name(*b)));
            self.typed_values(out, &inputs)?;
            out.write_str(")")?;
            if !function.attributes.is_empty() {
                out.write_str(" ")?;
                self.attributes(out, &function.attributes)?;
            }
            out.write_str(" ")?;
            self.block(out, *block, 3)?;
            out.write_str(";\n")?;
        }
        Ok(())
    }

    /// `(inputs) [attributes] { operations } -> (outputs)`, in the body of a
    /// function the first two only when there are any; operations are indented
    /// by `depth`.
    fn block(&self, out: &mut String, id: BlockId, depth: usize) -> fmt::Result {
        let block = &self.program.blocks[id];
        let has_attributes = !block.attributes.is_empty();
        if block.parent.is_some() || !block.inputs.is_empty() || has_attributes {
            out.write_str("(")?;
            self.typed_values(out, &block.inputs)?;
            out.write_str(") ")?;
        }
        if has_attributes {
            self.attributes(out, &block.attributes)?;
            out.write_str(" ")?;
        }
        out.write_str("{\n")?;
        for &op in &block.ops {
            self.op(out, op, depth)?;
        }
        write!(out, "{}}} -> (", INDENT.repeat(depth - 1))?;
        for (i, &v) in block.outputs.iter().enumerate() {
            comma(out, i)?;
            name(out, self.name(v))?;
        }
        out.write_str(")")
    }

    fn op(&self, out: &mut String, id: OpId, depth: usize) -> fmt::Result {
        let op = &self.program.ops[id];
        out.write_str(&INDENT.repeat(depth))?;
        self.typed_values(out, &op.outputs)?;
        if !op.outputs.is_empty() {
            out.write_str(" = ")?;
        }
        name(out, &op.op_type)?;
        out.write_str("(")?;
        for (i, (param, args)) in sorted(&op.inputs).into_iter().enumerate() {
            comma(out, i)?;
            name(out, param)?;
            out.write_str(" = ")?;
            self.args(out, op, param, args)?;
        }
        out.write_str(")")?;
        if !op.attributes.is_empty() {
            self.attributes(out, &op.attributes)?;
        }
        for &block in &op.blocks {
            out.write_str(" ")?;
            self.block(out, block, depth + 1)?;
        }
        out.write_str(";\n")
    }

    fn args(&self, out: &mut String, op: &Op, param: &str, args: &[Arg]) -> fmt::Result {
        let variadic = op
            .def
            .and_then(|def| def.params.iter().find(|p| p.name == param))
            .is_some_and(|p| p.variadic);
        if let ([arg], false) = (args, variadic) {
            return self.arg(out, arg);
        }
        out.write_str("(")?;
        for (i, arg) in args.iter().enumerate() {
            comma(out, i)?;
            self.arg(out, arg)?;
        }
        out.write_str(")")
    }

    fn arg(&self, out: &mut String, arg: &Arg) -> fmt::Result {
        match arg {
            Arg::Value(id) => name(out, self.name(*id)),
            Arg::Const(c) => self.constant(out, c),
        }
    }

    fn attributes(&self, out: &mut String, attributes: &Attributes) -> fmt::Result {
        out.write_str("[")?;
        for (i, (attribute, value)) in sorted(attributes).into_iter().enumerate() {
            comma(out, i)?;
            name(out, attribute)?;
            out.write_str(" = ")?;
            self.constant(out, value)?;
        }
        out.write_str("]")
    }

    fn typed_values(&self, out: &mut String, ids: &[ValueId]) -> fmt::Result {
        for (i, &id) in ids.iter().enumerate() {
            comma(out, i)?;
            self.ty(out, &self.program.values[id].ty)?;
            out.write_str(" ")?;
            name(out, self.name(id))?;
        }
        Ok(())
    }

    fn name(&self, id: ValueId) -> &str {
        &self.program.values[id].name
    }

    fn ty(&self, out: &mut String, ty: &ValueType) -> fmt::Result {
        match ty {
            ValueType::Tensor(t) if t.shape.is_empty() && self.dialect == Dialect::V1_3 => {
                write!(out, "{}", t.dtype)
            }
            ValueType::Tensor(t) => write!(out, "{t}"),
            ValueType::List { element, length } => {
                out.write_str("list<")?;
                self.ty(out, element)?;
                write!(out, ", {length}>")
            }
            ValueType::Tuple(types) => {
                out.write_str("tuple<")?;
                for (i, ty) in types.iter().enumerate() {
                    comma(out, i)?;
                    self.ty(out, ty)?;
                }
                out.write_str(">")
            }
            ValueType::Dict { key, value } => {
                out.write_str("dict<")?;
                self.ty(out, key)?;
                out.write_str(", ")?;
                self.ty(out, value)?;
                out.write_str(">")
            }
            ValueType::State(inner) => {
                out.write_str("state<")?;
                self.ty(out, inner)?;
                out.write_str(">")
            }
            ValueType::Missing => out.write_str("untyped"),
        }
    }

    /// `type(elements)`.
    fn constant(&self, out: &mut String, constant: &Constant) -> fmt::Result {
        self.ty(out, &constant.ty)?;
        out.write_str("(")?;
        self.elements(out, constant)?;
        out.write_str(")")
    }

    fn elements(&self, out: &mut String, constant: &Constant) -> fmt::Result {
        match &constant.data {
            ConstData::Tensor(data) => match constant.ty.as_tensor() {
                Some(ty) => tensor(out, ty, data),
                None => tensor(out, &TensorType::scalar(DataType::Unknown(0)), data),
            },
            ConstData::New(bytes) => match constant.ty.as_tensor() {
                Some(ty) => tensor(out, ty, &TensorData::Bytes(bytes.clone())),
                None => Ok(()),
            },
            ConstData::Blob(blob) | ConstData::Range(BlobRange { blob, .. }) => {
                let scalar = |dtype| ValueType::Tensor(TensorType::scalar(dtype));
                out.write_str("BLOBFILE(path = ")?;
                self.ty(out, &scalar(DataType::String))?;
                out.write_str("(")?;
                quoted(out, &blob.file_name)?;
                out.write_str("), offset = ")?;
                self.ty(out, &scalar(DataType::UInt64))?;
                write!(out, "({})", blob.offset)?;
                // Of a program in memory only: no file holds parts of blobs.
                if let ConstData::Range(range) = &constant.data {
                    out.write_str(", start = ")?;
                    self.ty(out, &scalar(DataType::UInt64))?;
                    write!(out, "({})", range.start)?;
                }
                out.write_str(")")
            }
            ConstData::Tuple(items) => self.nested(out, items, "(", ")"),
            ConstData::List(items) => self.nested(out, items, "[", "]"),
            ConstData::Dict(pairs) => {
                out.write_str("{")?;
                for (i, (key, value)) in pairs.iter().enumerate() {
                    comma(out, i)?;
                    out.write_str("{")?;
                    self.elements(out, key)?;
                    out.write_str(", ")?;
                    self.elements(out, value)?;
                    out.write_str("}")?;
                }
                out.write_str("}")
            }
            ConstData::Missing => Ok(()),
        }
    }

    fn nested(&self, out: &mut String, items: &[Constant], open: &str, close: &str) -> fmt::Result {
        out.write_str(open)?;
        for (i, item) in items.iter().enumerate() {
            comma(out, i)?;
            self.elements(out, item)?;
        }
        out.write_str(close)
    }
}

fn sorted<T>(entries: &[(String, T)]) -> Vec<(&str, &T)> {
    let mut sorted: Vec<_> = entries.iter().map(|(k, v)| (k.as_str(), v)).collect();
    sorted.sort_by_key(|(name, _)| *name);
    sorted
}

fn comma(out: &mut String, index: usize) -> fmt::Result {
    if index > 0 {
        out.write_str(", ")?;
    }
    Ok(())
}

/// The elements of a tensor: nested brackets, one level a dimension.
fn tensor(out: &mut String, ty: &TensorType, data: &TensorData) -> fmt::Result {
    let elements = Stored { ty, data };
    if let (TensorData::Bytes(bytes), false) = (data, elements.is_spelled()) {
        out.write_str("hex(\"")?;
        bytes.iter().try_for_each(|b| write!(out, "{b:02x}"))?;
        return out.write_str("\")");
    }
    let count = elements.count();
    let shape: Vec<usize> = match ty.known_shape() {
        Some(shape) => shape
            .iter()
            .map(|&d| usize::try_from(d).unwrap_or(usize::MAX))
            .collect(),
        None => vec![count],
    };
    // A file may declare a shape that its elements do not fill.
    let filled = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)) == Some(count);
    let shape = if filled { shape } else { vec![count] };
    nest(out, &elements, 0..count, &shape)
}

fn nest(
    out: &mut String,
    elements: &Stored<'_>,
    range: Range<usize>,
    shape: &[usize],
) -> fmt::Result {
    match shape {
        [] => range.into_iter().try_for_each(|i| elements.spell(out, i)),
        [_, inner @ ..] => {
            // A shape without elements may have any sizes beside its 0.
            let step = inner
                .iter()
                .fold(1usize, |n, &d| n.saturating_mul(d))
                .max(1);
            out.write_str("[")?;
            for (i, start) in range.clone().step_by(step).enumerate() {
                comma(out, i)?;
                let end = start.saturating_add(step).min(range.end);
                nest(out, elements, start..end, inner)?;
            }
            out.write_str("]")
        }
    }
}

/// Elements as the file has them.
struct Stored<'a> {
    ty: &'a TensorType,
    data: &'a TensorData,
}

impl Stored<'_> {
    /// Whether elements of the type have a spelling of their own.
    fn is_spelled(&self) -> bool {
        use DataType as D;
        !matches!(
            self.ty.dtype,
            D::Float8E4M3FN | D::Float8E5M2 | D::Unknown(_)
        )
    }

    fn count(&self) -> usize {
        match self.data {
            TensorData::Floats(v) => v.len(),
            TensorData::Doubles(v) => v.len(),
            TensorData::Ints(v) => v.len(),
            TensorData::LongInts(v) => v.len(),
            TensorData::Bools(v) => v.len(),
            TensorData::Strings(v) => v.len(),
            TensorData::Bytes(b) => match self.ty.dtype.bits() {
                // The last byte may be padded.
                Some(bits @ 1..8) => {
                    let fit = b.len().saturating_mul(8) / bits as usize;
                    let declared = self.ty.elements().and_then(|n| usize::try_from(n).ok());
                    declared.filter(|n| *n <= fit).unwrap_or(fit)
                }
                Some(bits) => b.len() / (bits as usize / 8),
                None => 0,
            },
            TensorData::Missing => 0,
        }
    }

    fn spell(&self, out: &mut String, i: usize) -> fmt::Result {
        let dtype = self.ty.dtype;
        match self.data {
            TensorData::Floats(v) => out.write_str(&float::spell(v[i].into())),
            TensorData::Doubles(v) => out.write_str(&float::spell(v[i])),
            TensorData::Ints(v) if dtype == DataType::UInt32 => write!(out, "{}", v[i] as u32),
            TensorData::Ints(v) => write!(out, "{}", v[i]),
            TensorData::LongInts(v) if dtype == DataType::UInt64 => write!(out, "{}", v[i] as u64),
            TensorData::LongInts(v) => write!(out, "{}", v[i]),
            TensorData::Bools(v) => write!(out, "{}", v[i]),
            TensorData::Strings(v) => quoted(out, &v[i]),
            TensorData::Bytes(b) => spell_bytes(out, dtype, b, i),
            TensorData::Missing => Ok(()),
        }
    }
}

/// The element at an index of little-endian packed bytes.
fn spell_bytes(out: &mut String, dtype: DataType, bytes: &[u8], i: usize) -> fmt::Result {
    use DataType as D;
    fn word<const N: usize>(bytes: &[u8], i: usize) -> [u8; N] {
        bytes.as_chunks::<N>().0.get(i).copied().unwrap_or([0; N])
    }
    match dtype {
        D::Float16 => out.write_str(&float::spell(f16::from_le_bytes(word(bytes, i)).to_f64())),
        D::BFloat16 => out.write_str(&float::spell(bf16::from_le_bytes(word(bytes, i)).to_f64())),
        D::Float32 => out.write_str(&float::spell(f32::from_le_bytes(word(bytes, i)).into())),
        D::Float64 => out.write_str(&float::spell(f64::from_le_bytes(word(bytes, i)))),
        D::Bool => write!(out, "{}", bytes[i] != 0),
        D::Int8 => write!(out, "{}", bytes[i] as i8),
        D::Int16 => write!(out, "{}", i16::from_le_bytes(word(bytes, i))),
        D::UInt16 => write!(out, "{}", u16::from_le_bytes(word(bytes, i))),
        D::Int32 => write!(out, "{}", i32::from_le_bytes(word(bytes, i))),
        D::UInt32 => write!(out, "{}", u32::from_le_bytes(word(bytes, i))),
        D::Int64 => write!(out, "{}", i64::from_le_bytes(word(bytes, i))),
        D::UInt64 => write!(out, "{}", u64::from_le_bytes(word(bytes, i))),
        _ => match dtype.bits() {
            Some(bits @ 1..8) => {
                let value = elements::unpack(bytes, i * bits as usize, bits as usize);
                let negative = dtype == D::Int4 && value > 7;
                write!(out, "{}", i16::from(value) - if negative { 16 } else { 0 })
            }
            _ => write!(out, "{}", bytes[i]),
        },
    }
}

/// A name as it is, or in quotes when it would not be read as one.
fn name(out: &mut String, name: &str) -> fmt::Result {
    match lex::is_word(name) {
        true => out.write_str(name),
        false => quoted(out, name),
    }
}

fn quoted(out: &mut String, text: &str) -> fmt::Result {
    out.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            c => out.write_char(c)?,
        }
    }
    out.write_char('"')
}
