//! Prints a program as MIL text, as Apple's compiler writes it into a
//! `.mlmodelc`.
//!
//! Functions, function inputs, arguments and attributes are in alphabetical
//! order there, whatever their order in the package, and so they are here.
//! Published compiled models hold no nested block; the form used here for
//! `cond` and `while_loop` is this project's own (see `docs/decisions.md`).

use std::fmt::{self, Write};

use half::{bf16, f16};

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
            write!(out, "{INDENT}func {}<{shown}>(", function.name)?;
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

    /// `{ operations } -> (outputs)`; operations are indented by `depth`.
    fn block(&self, out: &mut String, id: BlockId, depth: usize) -> fmt::Result {
        let block = &self.program.blocks[id];
        out.write_str("{\n")?;
        for &op in &block.ops {
            self.op(out, op, depth)?;
        }
        write!(out, "{}}} -> (", INDENT.repeat(depth - 1))?;
        for (i, &v) in block.outputs.iter().enumerate() {
            comma(out, i)?;
            out.write_str(self.name(v))?;
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
        write!(out, "{}(", op.op_type)?;
        for (i, (name, args)) in sorted(&op.inputs).into_iter().enumerate() {
            comma(out, i)?;
            write!(out, "{name} = ")?;
            self.args(out, op, name, args)?;
        }
        out.write_str(")")?;
        if !op.attributes.is_empty() {
            self.attributes(out, &op.attributes)?;
        }
        for (i, &block) in op.blocks.iter().enumerate() {
            out.write_str(if i == 0 { " " } else { ", " })?;
            let inputs = &self.program.blocks[block].inputs;
            if !inputs.is_empty() {
                out.write_str("(")?;
                self.typed_values(out, inputs)?;
                out.write_str(") ")?;
            }
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
            Arg::Value(id) => out.write_str(self.name(*id)),
            Arg::Const(c) => self.constant(out, c),
        }
    }

    fn attributes(&self, out: &mut String, attributes: &Attributes) -> fmt::Result {
        out.write_str("[")?;
        for (i, (name, value)) in sorted(attributes).into_iter().enumerate() {
            comma(out, i)?;
            write!(out, "{name} = ")?;
            self.constant(out, value)?;
        }
        out.write_str("]")
    }

    fn typed_values(&self, out: &mut String, ids: &[ValueId]) -> fmt::Result {
        for (i, &id) in ids.iter().enumerate() {
            comma(out, i)?;
            self.ty(out, &self.program.values[id].ty)?;
            write!(out, " {}", self.name(id))?;
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
    let items = items(ty.dtype, data);
    let shape: Vec<usize> = match ty.known_shape() {
        Some(shape) => shape
            .iter()
            .map(|&d| usize::try_from(d).unwrap_or(usize::MAX))
            .collect(),
        None => vec![items.len()],
    };
    // A file may declare a shape that its elements do not fill.
    let filled = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)) == Some(items.len());
    let shape = if filled { shape } else { vec![items.len()] };
    nest(out, &items, &shape)
}

fn nest(out: &mut String, items: &[String], shape: &[usize]) -> fmt::Result {
    match shape {
        [] => items.iter().try_for_each(|item| out.write_str(item)),
        [_, inner @ ..] => {
            // A shape without elements may have any sizes beside its 0.
            let step = inner
                .iter()
                .fold(1usize, |n, &d| n.saturating_mul(d))
                .max(1);
            out.write_str("[")?;
            for (i, chunk) in items.chunks(step).enumerate() {
                comma(out, i)?;
                nest(out, chunk, inner)?;
            }
            out.write_str("]")
        }
    }
}

fn items(dtype: DataType, data: &TensorData) -> Vec<String> {
    match data {
        TensorData::Floats(v) => v.iter().map(|&x| hex_float(x.into())).collect(),
        TensorData::Doubles(v) => v.iter().map(|&x| hex_float(x)).collect(),
        TensorData::Ints(v) if dtype == DataType::UInt32 => {
            v.iter().map(|&x| (x as u32).to_string()).collect()
        }
        TensorData::Ints(v) => v.iter().map(ToString::to_string).collect(),
        TensorData::LongInts(v) if dtype == DataType::UInt64 => {
            v.iter().map(|&x| (x as u64).to_string()).collect()
        }
        TensorData::LongInts(v) => v.iter().map(ToString::to_string).collect(),
        TensorData::Bools(v) => v.iter().map(ToString::to_string).collect(),
        TensorData::Strings(v) => v
            .iter()
            .map(|s| {
                let mut out = String::new();
                let _ = quoted(&mut out, s);
                out
            })
            .collect(),
        TensorData::Bytes(b) => match dtype {
            DataType::Float16 => words(b, |w| hex_float(f16::from_le_bytes(w).to_f64())),
            DataType::BFloat16 => words(b, |w| hex_float(bf16::from_le_bytes(w).to_f64())),
            DataType::Float32 => words(b, |w| hex_float(f32::from_le_bytes(w).into())),
            DataType::Float64 => words(b, |w| hex_float(f64::from_le_bytes(w))),
            DataType::Int8 => b.iter().map(|&x| (x as i8).to_string()).collect(),
            DataType::Bool => b.iter().map(|&x| (x != 0).to_string()).collect(),
            DataType::Int16 => words(b, |w| i16::from_le_bytes(w).to_string()),
            DataType::UInt16 => words(b, |w| u16::from_le_bytes(w).to_string()),
            DataType::Int32 => words(b, |w| i32::from_le_bytes(w).to_string()),
            DataType::UInt32 => words(b, |w| u32::from_le_bytes(w).to_string()),
            DataType::Int64 => words(b, |w| i64::from_le_bytes(w).to_string()),
            DataType::UInt64 => words(b, |w| u64::from_le_bytes(w).to_string()),
            _ => b.iter().map(ToString::to_string).collect(),
        },
        TensorData::Missing => Vec::new(),
    }
}

fn words<const N: usize>(bytes: &[u8], show: impl Fn([u8; N]) -> String) -> Vec<String> {
    bytes.as_chunks::<N>().0.iter().map(|w| show(*w)).collect()
}

/// C's `%a`: `0x1.8p+1`; infinities and NaN by name.
fn hex_float(x: f64) -> String {
    if x.is_nan() {
        return "nan".into();
    }
    let sign = if x.is_sign_negative() { "-" } else { "" };
    if x.is_infinite() {
        return format!("{sign}inf");
    }
    if x == 0.0 {
        return format!("{sign}0x0p+0");
    }
    let bits = x.to_bits();
    let mut mantissa = bits & ((1 << 52) - 1);
    let mut exponent = ((bits >> 52) & 0x7ff) as i64 - 1023;
    if exponent == -1023 {
        // Subnormal: shift the leading one up to bit 52.
        let shift = i64::from(mantissa.leading_zeros()) - 11;
        mantissa = (mantissa << shift) & ((1 << 52) - 1);
        exponent = -1022 - shift;
    }
    let mut digits = format!("{mantissa:013x}");
    digits.truncate(digits.trim_end_matches('0').len());
    let point = if digits.is_empty() { "" } else { "." };
    format!("{sign}0x1{point}{digits}p{exponent:+}")
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

#[cfg(test)]
mod tests {
    use super::hex_float;

    #[test]
    fn floats_are_spelled_as_c_does() {
        let cases = [
            (0.0, "0x0p+0"),
            (-0.0, "-0x0p+0"),
            (1.0, "0x1p+0"),
            (-1.0, "-0x1p+0"),
            (0.5, "0x1p-1"),
            (10000.0, "0x1.388p+13"),
            (f64::from(f32::MIN_POSITIVE), "0x1p-126"),
            (f64::from_bits(1), "0x1p-1074"),
            (f64::from_bits(3), "0x1.8p-1073"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ];
        for (x, text) in cases {
            assert_eq!(hex_float(x), text);
        }
        println!("{} spellings", cases.len());
    }
}
