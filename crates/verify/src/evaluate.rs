//! Computes operations over constants, for passes that fold them.

use std::collections::{HashMap, HashSet};

use half::f16;
use milwright_interp::{Options, Precision, Session, Tensor, Value};
use milwright_ir::{
    Arg, BlobSource, Block, ConstData, Constant, DataType, Function, NoBlobs, Op, OpId, Program,
    TensorType, ValueDef, ValueId,
};
use milwright_passes::{Evaluate, Evaluated};

use crate::array::Data;
use crate::output::to_array;

/// So many operations make one constant at most.
const MAX_OPS: usize = 64;

/// Executes operations with the interpreter, each as a program of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evaluator;

impl Evaluate for Evaluator {
    fn evaluate(
        &self,
        program: &Program,
        op: OpId,
        blobs: &dyn BlobSource,
    ) -> Result<Vec<Evaluated>, String> {
        let alone = alone(program, op, blobs)?;
        let native = run(&alone, Precision::Native)?;
        let plain = run(&alone, Precision::Fp32)?;
        native
            .iter()
            .zip(&plain)
            .map(|(value, plain)| {
                let (Value::Tensor(value), Value::Tensor(plain)) = (value, plain) else {
                    return Err("its result is no tensor".to_owned());
                };
                let (bytes, other) = (elements(value)?, elements(plain)?);
                let sizes: Vec<u64> = value.dims().iter().map(|&d| d as u64).collect();
                let ty = TensorType::fixed(value.dtype, &sizes);
                Ok(Evaluated {
                    is_exact: bytes == other && unrounded(plain),
                    constant: Constant::new(ty, ConstData::New(bytes.into())),
                })
            })
            .collect()
    }
}

/// Whether a result that nothing rounded has a number for each of its type.
fn unrounded(plain: &Tensor) -> bool {
    if plain.dtype != DataType::Float16 {
        return plain.dtype != DataType::BFloat16;
    }
    match to_array(plain).map(|a| a.data().clone()) {
        Some(Data::Float32(v)) => v
            .iter()
            .all(|&v| v.is_nan() || f16::from_f32(v).to_f32() == v),
        _ => false,
    }
}

fn run(program: &Program, precision: Precision) -> Result<Vec<Value>, String> {
    let options = Options {
        precision,
        ..Options::default()
    };
    let mut session = Session::new(program, &NoBlobs, None, options).map_err(|e| e.to_string())?;
    let values = session.run(&HashMap::new()).map_err(|e| e.to_string())?;
    Ok(values.into_iter().map(|(_, value)| value).collect())
}

/// A program that is just this operation and what it is computed from.
fn alone(program: &Program, op: OpId, blobs: &dyn BlobSource) -> Result<Program, String> {
    let mut made = Program {
        version: program.version,
        ..Program::default()
    };
    let body = made.blocks.push(Block::default());
    let opset = program
        .functions
        .first()
        .map_or("CoreML8", |f| f.opset.as_str());
    made.functions.push(Function {
        name: "main".into(),
        opset: opset.to_owned(),
        inputs: Vec::new(),
        specializations: vec![(opset.to_owned(), body)],
        attributes: Vec::new(),
    });
    let mut values: HashMap<ValueId, ValueId> = HashMap::new();
    for id in order(program, op)? {
        let old = &program.ops[id];
        let mut new = Op::new(old.op_type.clone());
        for (param, args) in &old.inputs {
            let args = args.iter().map(|arg| -> Result<Arg, String> {
                Ok(match arg {
                    Arg::Const(c) => Arg::Const(held(c, blobs)?),
                    Arg::Value(v) => {
                        Arg::Value(*values.get(v).ok_or("an operand is not constant")?)
                    }
                })
            });
            new.inputs
                .push((param.clone(), args.collect::<Result<_, _>>()?));
        }
        for (name, constant) in &old.attributes {
            new.attributes.push((name.clone(), held(constant, blobs)?));
        }
        let new = made.ops.push(new);
        for (n, &output) in old.outputs.iter().enumerate() {
            let mut value = program.values[output].clone();
            value.def = ValueDef::Op(new, n);
            let value = made.values.push(value);
            made.ops[new].outputs.push(value);
            values.insert(output, value);
        }
        made.blocks[body].ops.push(new);
    }
    let outputs = program.ops[op].outputs.iter().filter_map(|v| values.get(v));
    made.blocks[body].outputs = outputs.copied().collect();
    Ok(made)
}

/// The constants that an operation is computed from, before what reads them,
/// and the operation.
fn order(program: &Program, op: OpId) -> Result<Vec<OpId>, String> {
    let mut order = Vec::new();
    let mut placed = HashSet::new();
    // Each twice: what it reads goes first.
    let mut stack = vec![(op, false)];
    while let Some((id, is_ready)) = stack.pop() {
        if is_ready {
            if placed.insert(id) {
                order.push(id);
            }
            continue;
        }
        if placed.contains(&id) {
            continue;
        }
        let op_type = &program.ops[id].op_type;
        if id != op && op_type != "const" && !op_type.starts_with("constexpr_") {
            return Err("an operand is not constant".into());
        }
        if !program.ops[id].blocks.is_empty() || stack.len() > MAX_OPS || order.len() > MAX_OPS {
            return Err("it is computed from too many operations".into());
        }
        stack.push((id, true));
        for value in program.ops[id].operands() {
            let Some(from) = program.def_op(value) else {
                return Err("an operand is known only when the program runs".into());
            };
            stack.push((from, false));
        }
    }
    Ok(order)
}

/// A constant that needs no weight file.
fn held(constant: &Constant, blobs: &dyn BlobSource) -> Result<Constant, String> {
    match &constant.data {
        ConstData::Blob(_) | ConstData::Range(_) => {
            let bytes = constant
                .bytes(blobs)
                .map_err(|e| e.to_string())?
                .into_owned();
            Ok(Constant::new(
                constant.ty.clone(),
                ConstData::New(bytes.into()),
            ))
        }
        _ => Ok(constant.clone()),
    }
}

/// The elements as a weight file holds them.
fn elements(tensor: &Tensor) -> Result<Vec<u8>, String> {
    let array = to_array(tensor).ok_or("its result has a type without arrays")?;
    macro_rules! bytes {
        ($v:expr) => {
            $v.iter().flat_map(|x| x.to_le_bytes()).collect()
        };
    }
    use DataType as D;
    Ok(match (tensor.dtype, array.data()) {
        (D::Float16, Data::Float32(v)) => v
            .iter()
            .flat_map(|&x| f16::from_f32(x).to_le_bytes())
            .collect(),
        (D::Float32, Data::Float32(v)) => bytes!(v),
        (D::Bool, Data::Bool(v)) => v.iter().map(|&b| u8::from(b)).collect(),
        (D::Int8, Data::Int8(v)) => bytes!(v),
        (D::Int16, Data::Int16(v)) => bytes!(v),
        (D::Int32, Data::Int32(v)) => bytes!(v),
        (D::UInt8, Data::Uint8(v)) => bytes!(v),
        (D::UInt16, Data::Uint16(v)) => bytes!(v),
        (D::UInt32, Data::Uint32(v)) => bytes!(v),
        (dtype, _) => return Err(format!("results of {dtype} are not written as constants")),
    })
}
