//! Types, constants and attributes of MIL text.

use std::ops::Range;
use std::sync::Arc;

use super::elements::Elements;
use super::lex::Kind;
use super::parse::{Parse, Parser, Stop};
use crate::constant::{BlobRef, ConstData, Constant, TensorData};
use crate::program::Attributes;
use crate::types::{DataType, Dim, TensorType, ValueType};

/// Types in types, constants in constants. Deeper ones would not fit into what
/// decoders of the package's messages allow.
const MAX_DEPTH: usize = 16;

/// Brackets in brackets of one tensor.
const MAX_BRACKETS: usize = 64;

impl Parser<'_> {
    /// `tensor<fp16, [1, ?]>`, `fp16`, `list<..>`, `tuple<..>`, `dict<..>`,
    /// `state<..>`.
    pub(super) fn value_type(&mut self) -> Parse<ValueType> {
        self.deeper(Self::one_type)
    }

    fn one_type(&mut self) -> Parse<ValueType> {
        if self.token.kind != Kind::Word {
            return Err(self.unexpected("a type"));
        }
        let token = self.take();
        let word = self.spelled(token);
        if !self.is_mark(b'<') {
            return match word {
                "untyped" => Ok(ValueType::Missing),
                _ => Ok(TensorType::scalar(self.element_type(word, token.range())?).into()),
            };
        }
        self.take();
        let ty = match word {
            "tensor" => {
                let (word, place) = self.name("an element type")?;
                let dtype = self.element_type(&word, place)?;
                self.mark(b',', "between element type and shape")?;
                ValueType::Tensor(TensorType::new(dtype, self.shape()?))
            }
            "list" => {
                let element = Box::new(self.value_type()?);
                self.mark(b',', "between element type and length")?;
                let length = self.dimension()?;
                ValueType::List { element, length }
            }
            "tuple" => {
                let mut types = Vec::new();
                self.list(b'>', |p| {
                    types.push(p.value_type()?);
                    Ok(())
                })?;
                ValueType::Tuple(types)
            }
            "dict" => {
                let key = Box::new(self.value_type()?);
                self.mark(b',', "between the types of key and value")?;
                let value = Box::new(self.value_type()?);
                ValueType::Dict { key, value }
            }
            "state" => ValueType::State(Box::new(self.value_type()?)),
            other => {
                let message = format!(
                    "there is no type `{other}<..>`; there are tensor, list, tuple, dict, state"
                );
                return Err(self.fail("mil-type", token.range(), message));
            }
        };
        self.mark(b'>', "after the type")?;
        Ok(ty)
    }

    fn element_type(&mut self, word: &str, place: Range<usize>) -> Parse<DataType> {
        let numbered = || word.strip_prefix("dtype")?.parse().ok();
        let known = DataType::from_name(word).or_else(|| numbered().map(DataType::Unknown));
        known.ok_or_else(|| {
            let message = format!("there is no element type `{word}`");
            self.fail("mil-type", place, message)
        })
    }

    fn shape(&mut self) -> Parse<Vec<Dim>> {
        self.mark(b'[', "before the shape")?;
        let mut shape = Vec::new();
        self.list(b']', |p| {
            shape.push(p.dimension()?);
            Ok(())
        })?;
        self.mark(b']', "after the shape")?;
        Ok(shape)
    }

    fn dimension(&mut self) -> Parse<Dim> {
        let token = self.token;
        let dim = match token.kind {
            Kind::Mark(b'?') => Dim::Unknown,
            Kind::Dots => Dim::Variadic,
            Kind::Number => match self.spelled(token).parse() {
                Ok(size) => Dim::Known(size),
                Err(_) => {
                    let message = format!("`{}` is no size", self.spelled(token));
                    return Err(self.fail("mil-type", token.range(), message));
                }
            },
            _ => return Err(self.unexpected("a size, `?` or `...`")),
        };
        self.take();
        Ok(dim)
    }

    /// `type(elements)`
    pub(super) fn constant(&mut self) -> Parse<Constant> {
        let ty = self.value_type()?;
        self.mark(b'(', "before the constant's elements")?;
        let constant = if self.is_mark(b')') {
            Constant::new(ty, ConstData::Missing)
        } else {
            self.elements(&ty)?
        };
        self.mark(b')', "after the constant's elements")?;
        Ok(constant)
    }

    /// What stands between the parentheses of a constant, or in the tuple, list
    /// or dictionary around it.
    fn elements(&mut self, ty: &ValueType) -> Parse<Constant> {
        self.deeper(|p| {
            let data = match ty {
                ValueType::Tensor(tensor) => p.tensor(tensor)?,
                ValueType::Tuple(types) => p.tuple(types)?,
                ValueType::List { element, length } => p.items(element, *length)?,
                ValueType::Dict { key, value } => p.pairs(key, value)?,
                ValueType::State(_) | ValueType::Missing => {
                    let message = format!("there are no constants of type {ty}");
                    return Err(p.fail("mil-type", p.token.range(), message));
                }
            };
            Ok(Constant::new(ty.clone(), data))
        })
    }

    fn tuple(&mut self, types: &[ValueType]) -> Parse<ConstData> {
        let start = self.token.start;
        self.mark(b'(', "before the tuple")?;
        let mut items = Vec::new();
        self.list(b')', |p| match types.get(items.len()) {
            Some(ty) => {
                items.push(p.elements(ty)?);
                Ok(())
            }
            None => {
                let message = format!("the type of the tuple has size {}", types.len());
                Err(p.fail("mil-elements", p.token.range(), message))
            }
        })?;
        self.mark(b')', "after the tuple")?;
        if items.len() != types.len() {
            let message = format!(
                "the tuple has size {}, and its type {}",
                items.len(),
                types.len()
            );
            return Err(self.fail("mil-elements", start..self.last_end(), message));
        }
        Ok(ConstData::Tuple(items))
    }

    fn items(&mut self, element: &ValueType, length: Dim) -> Parse<ConstData> {
        let start = self.token.start;
        self.mark(b'[', "before the list")?;
        let mut items = Vec::new();
        self.list(b']', |p| {
            items.push(p.elements(element)?);
            Ok(())
        })?;
        self.mark(b']', "after the list")?;
        if length.known().is_some_and(|n| n != items.len() as u64) {
            let message = format!("the list has size {}, and its type {length}", items.len());
            return Err(self.fail("mil-elements", start..self.last_end(), message));
        }
        Ok(ConstData::List(items))
    }

    fn pairs(&mut self, key: &ValueType, value: &ValueType) -> Parse<ConstData> {
        self.mark(b'{', "before the dictionary")?;
        let mut pairs = Vec::new();
        self.list(b'}', |p| {
            p.mark(b'{', "before a pair of the dictionary")?;
            let key = p.elements(key)?;
            p.mark(b',', "between key and value")?;
            let value = p.elements(value)?;
            p.mark(b'}', "after a pair of the dictionary")?;
            pairs.push((key, value));
            Ok(())
        })?;
        self.mark(b'}', "after the dictionary")?;
        Ok(ConstData::Dict(pairs))
    }

    fn tensor(&mut self, ty: &TensorType) -> Parse<ConstData> {
        if self.token.kind == Kind::Word {
            match self.spelled(self.token) {
                "BLOBFILE" => return self.blob(),
                "splat" => return self.splat(ty),
                "seeded" => return self.seeded(ty),
                "hex" => return self.hex(ty),
                _ => {}
            }
        }
        let start = self.token.start;
        let Some(mut elements) = Elements::new(ty.dtype) else {
            let message = format!("elements of type {} are written as hex(\"..\")", ty.dtype);
            return Err(self.fail("mil-elements", self.token.range(), message));
        };
        self.bracket(ty, 0, &mut elements)?;
        let count = elements.len() as u64;
        if ty.elements().is_some_and(|n| n != count) {
            let message = format!("{ty} needs other than {count} elements");
            return Err(self.fail("mil-elements", start..self.last_end(), message));
        }
        Ok(ConstData::Tensor(elements.finish()))
    }

    /// The elements below one axis. An axis of unknown size takes any number;
    /// with an unknown rank, the brackets say which rank it is.
    fn bracket(&mut self, ty: &TensorType, axis: usize, elements: &mut Elements) -> Parse<()> {
        let any_rank = ty.rank().is_none();
        let is_axis = axis < ty.shape.len() && !any_rank || any_rank && self.is_mark(b'[');
        if !is_axis {
            return self.element(elements);
        }
        if axis >= MAX_BRACKETS {
            let message = format!("brackets are nested more than {MAX_BRACKETS} deep");
            return Err(self.fail("mil-limit", self.token.range(), message));
        }
        let start = self.token.start;
        let purpose = if axis == 0 {
            "before the elements"
        } else {
            "before the elements of an axis"
        };
        self.mark(b'[', purpose)?;
        let mut count = 0u64;
        self.list(b']', |p| {
            count += 1;
            p.bracket(ty, axis + 1, elements)
        })?;
        self.mark(b']', "after the elements")?;
        let wanted = if any_rank {
            None
        } else {
            ty.shape[axis].known()
        };
        // A shape without elements may have any sizes beside its 0.
        let empty = count == 0 && ty.elements() == Some(0);
        if wanted.is_some_and(|n| n != count) && !empty {
            let size = ty.shape[axis];
            let message = format!(
                "axis {axis} of {ty} has size {size}, and the number of elements here is {count}"
            );
            return Err(self.fail("mil-elements", start..self.last_end(), message));
        }
        Ok(())
    }

    fn element(&mut self, elements: &mut Elements) -> Parse<()> {
        let token = self.token;
        let pushed = match token.kind {
            Kind::Number | Kind::Word => elements.push(self.spelled(token)),
            Kind::Quoted => {
                let text = self.unquoted(token)?;
                elements.push_text(text)
            }
            _ => return Err(self.unexpected(&format!("an element of {}", elements.dtype()))),
        };
        self.take();
        pushed.map_err(|problem| self.fail("mil-elements", token.range(), problem))
    }

    /// `BLOBFILE(path = string("@model_path/weights/weight.bin"), offset = uint64(64))`
    fn blob(&mut self) -> Parse<ConstData> {
        let start = self.take().start;
        self.mark(b'(', "before the path")?;
        let (mut path, mut offset) = (None, None);
        self.list(b')', |p| {
            let (name, place) = p.name("`path` or `offset`")?;
            p.mark(b'=', "between name and value")?;
            let value = p.constant()?;
            match (name.as_str(), &value.data) {
                ("path", ConstData::Tensor(TensorData::Strings(text))) => {
                    path = text.first().cloned();
                    Ok(())
                }
                ("offset", ConstData::Tensor(TensorData::LongInts(n)))
                    if value.ty == TensorType::scalar(DataType::UInt64).into() =>
                {
                    offset = n.first().map(|&n| n as u64);
                    Ok(())
                }
                _ => {
                    let message = "a BLOBFILE has a `path` of type string and an `offset` of \
                                   type uint64";
                    Err(p.fail("mil-elements", place, message))
                }
            }
        })?;
        self.mark(b')', "after the offset")?;
        match (path, offset) {
            (Some(path), Some(offset)) => Ok(ConstData::Blob(BlobRef {
                file_name: Arc::from(path),
                offset,
            })),
            _ => {
                let message = "a BLOBFILE has a `path` and an `offset`";
                Err(self.fail("mil-elements", start..self.last_end(), message))
            }
        }
    }

    /// `[name = constant, name = constant]`
    pub(super) fn attributes(&mut self) -> Parse<Attributes> {
        self.attributes_at(&mut Vec::new())
    }

    /// As [`Self::attributes`], with where their values stand.
    pub(super) fn attributes_at(&mut self, places: &mut Vec<Range<usize>>) -> Parse<Attributes> {
        self.mark(b'[', "before the attributes")?;
        let mut attributes = Attributes::new();
        self.list(b']', |p| {
            let (name, place) = p.name("the name of an attribute")?;
            if attributes.iter().any(|(known, _)| *known == name) {
                let message = format!("the attribute `{name}` is given twice");
                return Err(p.fail("mil-name", place, message));
            }
            p.mark(b'=', "between attribute and value")?;
            let start = p.token.start;
            attributes.push((name, p.constant()?));
            places.push(start..p.last_end());
            Ok(())
        })?;
        self.mark(b']', "after the attributes")?;
        Ok(attributes)
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Parse<T>) -> Parse<T> {
        if self.depth >= MAX_DEPTH {
            let message = format!("types or constants are nested more than {MAX_DEPTH} deep");
            return Err::<T, Stop>(self.fail("mil-limit", self.token.range(), message));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }
}
