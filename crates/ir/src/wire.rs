//! Between the wire messages and the arenas.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use milwright_package::proto;
use prost::Message;

use crate::arena::{BlockId, OpId, ValueId};
use crate::constant::{BlobRef, ConstData, Constant, TensorData};
use crate::error::Error;
use crate::ops;
use crate::program::{Arg, Attributes, Block, Function, Op, Program, Value, ValueDef};
use crate::types::{DataType, Dim, TensorType, ValueType};

/// Real programs nest two or three deep.
const MAX_DEPTH: usize = 64;

impl Program {
    /// Builds the program in memory from its message.
    ///
    /// Names that refer to nothing become [`ValueDef::Undefined`] values; the
    /// verifier reports them.
    ///
    /// # Errors
    /// An operation is not a valid message, or blocks nest too deep.
    pub fn from_proto(message: &proto::Program) -> Result<Self, Error> {
        let mut decoder = Decoder {
            program: Program {
                version: message.version,
                doc_string: message.doc_string.clone(),
                attributes: attributes_from(&message.attributes),
                ..Program::default()
            },
            scopes: Vec::new(),
        };
        for entry in &message.functions {
            decoder.function(entry)?;
        }
        Ok(decoder.program)
    }

    /// The message of this program. Untouched operations are the file's bytes.
    pub fn to_proto(&self) -> proto::Program {
        proto::Program {
            version: self.version,
            functions: self
                .functions
                .iter()
                .map(|f| proto::FunctionEntry {
                    key: f.name.clone(),
                    value: Some(self.function_to(f)),
                })
                .collect(),
            doc_string: self.doc_string.clone(),
            attributes: attributes_to(&self.attributes),
        }
    }

    fn function_to(&self, function: &Function) -> proto::Function {
        proto::Function {
            inputs: self.named_values(&function.inputs),
            opset: function.opset.clone(),
            block_specializations: function
                .specializations
                .iter()
                .map(|(opset, block)| proto::BlockEntry {
                    key: opset.clone(),
                    value: Some(self.block_to(*block)),
                })
                .collect(),
            attributes: attributes_to(&function.attributes),
        }
    }

    fn block_to(&self, id: BlockId) -> proto::Block {
        let block = &self.blocks[id];
        proto::Block {
            inputs: self.named_values(&block.inputs),
            outputs: block
                .outputs
                .iter()
                .map(|&v| self.values[v].name.clone())
                .collect(),
            operations: block
                .ops
                .iter()
                .map(|&op| match &self.ops[op].raw {
                    Some(raw) => raw.clone(),
                    None => self.op_to(op).encode_to_vec().into(),
                })
                .collect(),
            attributes: attributes_to(&block.attributes),
        }
    }

    fn op_to(&self, id: OpId) -> proto::Operation {
        let op = &self.ops[id];
        proto::Operation {
            r#type: op.op_type.clone(),
            inputs: op
                .inputs
                .iter()
                .map(|(name, args)| proto::ArgumentEntry {
                    key: name.clone(),
                    value: Some(proto::Argument {
                        arguments: args.iter().map(|arg| self.arg_to(arg)).collect(),
                    }),
                })
                .collect(),
            outputs: self.named_values(&op.outputs),
            blocks: op.blocks.iter().map(|&b| self.block_to(b)).collect(),
            attributes: attributes_to(&op.attributes),
        }
    }

    fn arg_to(&self, arg: &Arg) -> proto::argument::Binding {
        use proto::argument::binding::Binding;
        proto::argument::Binding {
            binding: Some(match arg {
                Arg::Value(id) => Binding::Name(self.values[*id].name.clone()),
                Arg::Const(c) => Binding::Value(constant_to(c)),
            }),
        }
    }

    fn named_values(&self, ids: &[ValueId]) -> Vec<proto::NamedValueType> {
        ids.iter()
            .map(|&id| proto::NamedValueType {
                name: self.values[id].name.clone(),
                r#type: type_to(&self.values[id].ty),
            })
            .collect()
    }
}

/// Whether writing operation `id` from memory gives its bytes in the file.
///
/// # Errors
/// [`Error::Lossy`] when it does not.
pub(crate) fn check_lossless(program: &Program, id: OpId, raw: &Bytes) -> Result<(), Error> {
    let encoded = program.op_to(id).encode_to_vec();
    if encoded == raw.as_ref() {
        return Ok(());
    }
    Err(Error::Lossy {
        location: program.describe_op(id),
        detail: format!(
            "{} bytes in the file, {} when written again",
            raw.len(),
            encoded.len()
        ),
    })
}

struct Decoder {
    program: Program,
    /// Names in scope, innermost last.
    scopes: Vec<HashMap<String, ValueId>>,
}

impl Decoder {
    fn function(&mut self, entry: &proto::FunctionEntry) -> Result<(), Error> {
        let default = proto::Function::default();
        let message = entry.value.as_ref().unwrap_or(&default);
        let index = self.program.functions.len();
        self.scopes.push(HashMap::new());
        let inputs = self.define(&message.inputs, |n| ValueDef::FunctionInput(index, n));
        let mut specializations = Vec::new();
        for block in &message.block_specializations {
            let location = format!("function {:?}", entry.key);
            let default = proto::Block::default();
            let id = self.block(block.value.as_ref().unwrap_or(&default), None, &location)?;
            specializations.push((block.key.clone(), id));
        }
        self.scopes.pop();
        self.program.functions.push(Function {
            name: entry.key.clone(),
            opset: message.opset.clone(),
            inputs,
            specializations,
            attributes: attributes_from(&message.attributes),
        });
        Ok(())
    }

    fn block(
        &mut self,
        message: &proto::Block,
        parent: Option<OpId>,
        location: &str,
    ) -> Result<BlockId, Error> {
        if self.scopes.len() > MAX_DEPTH {
            return Err(Error::TooDeep {
                location: location.to_owned(),
                limit: MAX_DEPTH,
            });
        }
        let id = self.program.blocks.push(Block {
            parent,
            attributes: attributes_from(&message.attributes),
            ..Block::default()
        });
        self.scopes.push(HashMap::new());
        let inputs = self.define(&message.inputs, |n| ValueDef::BlockInput(id, n));
        self.program.blocks[id].inputs = inputs;
        for (index, raw) in message.operations.iter().enumerate() {
            let op = self.op(raw, location, index)?;
            self.program.blocks[id].ops.push(op);
        }
        let outputs = message
            .outputs
            .iter()
            .map(|name| self.use_of(name))
            .collect();
        self.program.blocks[id].outputs = outputs;
        self.scopes.pop();
        Ok(id)
    }

    fn op(&mut self, raw: &Bytes, location: &str, index: usize) -> Result<OpId, Error> {
        let message = proto::Operation::decode(raw.clone()).map_err(|cause| Error::Decode {
            location: format!("{location}, operation {index}"),
            cause,
        })?;
        let inputs = message
            .inputs
            .iter()
            .map(|entry| {
                let args = entry.value.as_ref().map_or(&[][..], |a| &a.arguments);
                let args = args.iter().map(|b| self.arg(b)).collect();
                (entry.key.clone(), args)
            })
            .collect();
        let def = ops::lookup(&message.r#type);
        let id = self.program.ops.push(Op {
            op_type: message.r#type,
            def,
            inputs,
            outputs: Vec::new(),
            blocks: Vec::new(),
            attributes: attributes_from(&message.attributes),
            raw: Some(raw.clone()),
        });
        for block in &message.blocks {
            let inner = self.block(block, Some(id), location)?;
            self.program.ops[id].blocks.push(inner);
        }
        let outputs = self.define(&message.outputs, |n| ValueDef::Op(id, n));
        self.program.ops[id].outputs = outputs;
        Ok(id)
    }

    fn arg(&mut self, binding: &proto::argument::Binding) -> Arg {
        use proto::argument::binding::Binding;
        match &binding.binding {
            Some(Binding::Value(v)) => Arg::Const(constant_from(v)),
            Some(Binding::Name(name)) => Arg::Value(self.use_of(name)),
            None => Arg::Value(self.use_of("")),
        }
    }

    fn define(
        &mut self,
        values: &[proto::NamedValueType],
        def: impl Fn(usize) -> ValueDef,
    ) -> Vec<ValueId> {
        values
            .iter()
            .enumerate()
            .map(|(n, value)| {
                let id = self.program.values.push(Value {
                    name: value.name.clone(),
                    ty: type_from(value.r#type.as_ref()),
                    def: def(n),
                });
                if let Some(scope) = self.scopes.last_mut() {
                    scope.insert(value.name.clone(), id);
                }
                id
            })
            .collect()
    }

    fn use_of(&mut self, name: &str) -> ValueId {
        let found = self.scopes.iter().rev().find_map(|s| s.get(name).copied());
        found.unwrap_or_else(|| {
            self.program.values.push(Value {
                name: name.to_owned(),
                ty: ValueType::Missing,
                def: ValueDef::Undefined,
            })
        })
    }
}

fn attributes_from(entries: &[proto::ValueEntry]) -> Attributes {
    entries
        .iter()
        .map(|e| {
            let default = proto::Value::default();
            let value = e.value.as_ref().unwrap_or(&default);
            (e.key.clone(), constant_from(value))
        })
        .collect()
}

fn attributes_to(attributes: &Attributes) -> Vec<proto::ValueEntry> {
    attributes
        .iter()
        .map(|(key, value)| proto::ValueEntry {
            key: key.clone(),
            value: Some(constant_to(value)),
        })
        .collect()
}

fn constant_from(message: &proto::Value) -> Constant {
    use proto::value::Value as Kind;
    use proto::value::immediate_value::Value as Immediate;
    let many = |values: &[proto::Value]| values.iter().map(constant_from).collect();
    let data = match &message.value {
        Some(Kind::BlobFileValue(blob)) => ConstData::Blob(BlobRef {
            file_name: Arc::from(blob.file_name.as_str()),
            offset: blob.offset,
        }),
        Some(Kind::ImmediateValue(v)) => match &v.value {
            Some(Immediate::Tensor(t)) => ConstData::Tensor(tensor_from(t)),
            Some(Immediate::Tuple(t)) => ConstData::Tuple(many(&t.values)),
            Some(Immediate::List(t)) => ConstData::List(many(&t.values)),
            Some(Immediate::Dictionary(d)) => {
                let default = proto::Value::default();
                let one = |v: &Option<proto::Value>| constant_from(v.as_ref().unwrap_or(&default));
                ConstData::Dict(
                    d.values
                        .iter()
                        .map(|pair| (one(&pair.key), one(&pair.value)))
                        .collect(),
                )
            }
            None => ConstData::Missing,
        },
        None => ConstData::Missing,
    };
    Constant {
        ty: type_from(message.r#type.as_ref()),
        data,
        doc_string: message.doc_string.clone(),
    }
}

fn constant_to(constant: &Constant) -> proto::Value {
    use proto::value::Value as Kind;
    use proto::value::immediate_value::Value as Immediate;
    let many = |items: &[Constant]| items.iter().map(constant_to).collect();
    let immediate = |value| {
        Some(Kind::ImmediateValue(proto::value::ImmediateValue {
            value: Some(value),
        }))
    };
    let value = match &constant.data {
        ConstData::Blob(blob) => Some(Kind::BlobFileValue(proto::value::BlobFileValue {
            file_name: blob.file_name.to_string(),
            offset: blob.offset,
        })),
        // The format has no parts of blobs. Saving makes blobs of them first;
        // nothing can be read at this offset.
        ConstData::Range(range) => Some(Kind::BlobFileValue(proto::value::BlobFileValue {
            file_name: range.blob.file_name.to_string(),
            offset: u64::MAX,
        })),
        ConstData::Tensor(t) => immediate(Immediate::Tensor(tensor_to(t))),
        // Saving moves new weights to the weight file first; anything left is
        // a small tensor that is right as an immediate.
        ConstData::New(bytes) => immediate(Immediate::Tensor(tensor_to(&TensorData::Bytes(
            bytes.clone(),
        )))),
        ConstData::Tuple(items) => immediate(Immediate::Tuple(proto::TupleValue {
            values: many(items),
        })),
        ConstData::List(items) => immediate(Immediate::List(proto::ListValue {
            values: many(items),
        })),
        ConstData::Dict(pairs) => immediate(Immediate::Dictionary(proto::DictionaryValue {
            values: pairs
                .iter()
                .map(|(k, v)| proto::dictionary_value::KeyValuePair {
                    key: Some(constant_to(k)),
                    value: Some(constant_to(v)),
                })
                .collect(),
        })),
        ConstData::Missing => None,
    };
    proto::Value {
        doc_string: constant.doc_string.clone(),
        r#type: type_to(&constant.ty),
        value,
    }
}

fn tensor_from(message: &proto::TensorValue) -> TensorData {
    use proto::tensor_value::Value as V;
    match &message.value {
        Some(V::Floats(v)) => TensorData::Floats(v.values.clone()),
        Some(V::Doubles(v)) => TensorData::Doubles(v.values.clone()),
        Some(V::Ints(v)) => TensorData::Ints(v.values.clone()),
        Some(V::LongInts(v)) => TensorData::LongInts(v.values.clone()),
        Some(V::Bools(v)) => TensorData::Bools(v.values.clone()),
        Some(V::Strings(v)) => TensorData::Strings(v.values.clone()),
        Some(V::Bytes(v)) => TensorData::Bytes(v.values.clone()),
        None => TensorData::Missing,
    }
}

fn tensor_to(data: &TensorData) -> proto::TensorValue {
    use proto::tensor_value as tv;
    let value = match data {
        TensorData::Floats(v) => tv::Value::Floats(tv::RepeatedFloats { values: v.clone() }),
        TensorData::Doubles(v) => tv::Value::Doubles(tv::RepeatedDoubles { values: v.clone() }),
        TensorData::Ints(v) => tv::Value::Ints(tv::RepeatedInts { values: v.clone() }),
        TensorData::LongInts(v) => tv::Value::LongInts(tv::RepeatedLongInts { values: v.clone() }),
        TensorData::Bools(v) => tv::Value::Bools(tv::RepeatedBools { values: v.clone() }),
        TensorData::Strings(v) => tv::Value::Strings(tv::RepeatedStrings { values: v.clone() }),
        TensorData::Bytes(v) => tv::Value::Bytes(tv::RepeatedBytes { values: v.clone() }),
        TensorData::Missing => return proto::TensorValue { value: None },
    };
    proto::TensorValue { value: Some(value) }
}

fn type_from(message: Option<&proto::ValueType>) -> ValueType {
    use proto::value_type::Type;
    let boxed = |t: Option<&proto::ValueType>| Box::new(type_from(t));
    match message.and_then(|m| m.r#type.as_ref()) {
        None => ValueType::Missing,
        Some(Type::TensorType(t)) => ValueType::Tensor(TensorType {
            dtype: DataType::from_wire(t.data_type),
            shape: t.dimensions.iter().map(dim_from).collect(),
        }),
        Some(Type::ListType(t)) => ValueType::List {
            element: boxed(t.r#type.as_deref()),
            length: t.length.as_ref().map_or(Dim::Unknown, dim_from),
        },
        Some(Type::TupleType(t)) => {
            ValueType::Tuple(t.types.iter().map(|t| type_from(Some(t))).collect())
        }
        Some(Type::DictionaryType(t)) => ValueType::Dict {
            key: boxed(t.key_type.as_deref()),
            value: boxed(t.value_type.as_deref()),
        },
        Some(Type::StateType(t)) => ValueType::State(boxed(t.wrapped_type.as_deref())),
    }
}

fn type_to(ty: &ValueType) -> Option<proto::ValueType> {
    use proto::value_type::Type;
    let boxed = |t: &ValueType| type_to(t).map(Box::new);
    let message = match ty {
        ValueType::Missing => return None,
        ValueType::Tensor(t) => Type::TensorType(proto::TensorType {
            data_type: t.dtype.to_wire(),
            rank: t.rank().map_or(-1, |r| r as i64),
            dimensions: t.shape.iter().map(dim_to).collect(),
            attributes: Vec::new(),
        }),
        ValueType::List { element, length } => Type::ListType(Box::new(proto::ListType {
            r#type: boxed(element),
            length: Some(dim_to(length)),
        })),
        ValueType::Tuple(types) => Type::TupleType(proto::TupleType {
            types: types.iter().filter_map(type_to).collect(),
        }),
        ValueType::Dict { key, value } => Type::DictionaryType(Box::new(proto::DictionaryType {
            key_type: boxed(key),
            value_type: boxed(value),
        })),
        ValueType::State(inner) => Type::StateType(Box::new(proto::StateType {
            wrapped_type: boxed(inner),
        })),
    };
    Some(proto::ValueType {
        r#type: Some(message),
    })
}

fn dim_from(message: &proto::Dimension) -> Dim {
    use proto::dimension::Dimension;
    match &message.dimension {
        Some(Dimension::Constant(c)) => Dim::Known(c.size),
        Some(Dimension::Unknown(u)) if u.variadic => Dim::Variadic,
        Some(Dimension::Unknown(_)) | None => Dim::Unknown,
    }
}

fn dim_to(dim: &Dim) -> proto::Dimension {
    use proto::dimension::{ConstantDimension, Dimension, UnknownDimension};
    proto::Dimension {
        dimension: Some(match dim {
            Dim::Known(size) => Dimension::Constant(ConstantDimension { size: *size }),
            Dim::Unknown => Dimension::Unknown(UnknownDimension { variadic: false }),
            Dim::Variadic => Dimension::Unknown(UnknownDimension { variadic: true }),
        }),
    }
}
