//! Runs every case of `fixtures/goldens` as a program of one operation, and
//! compares with what numpy and torch computed.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking and print what they checked"
)]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use common::Builder;
use milwright_interp::{Agreement, Options, Precision, Session, Value, agreement, is_executable};
use milwright_ir::{Constant, DataType, NoBlobs, TensorData, TensorType, ops};
use serde_json::Value as Json;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/goldens")
}

/// An array of an npz, with its type in MIL.
struct Array {
    dtype: DataType,
    dims: Vec<usize>,
    bytes: Vec<u8>,
}

impl Array {
    fn parse(file: &[u8]) -> Self {
        assert_eq!(&file[..6], b"\x93NUMPY");
        assert_eq!(file[6], 1, "version of the npy file");
        let end = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
        let header = std::str::from_utf8(&file[10..end]).unwrap();
        assert!(header.contains("'fortran_order': False"), "{header}");
        let dtype = if header.contains("'<f4'") {
            DataType::Float32
        } else if header.contains("'<i4'") {
            DataType::Int32
        } else if header.contains("'|b1'") {
            DataType::Bool
        } else if header.contains("'|u1'") {
            DataType::UInt8
        } else if header.contains("'|i1'") {
            DataType::Int8
        } else {
            panic!("{header}")
        };
        let shape = header.split("'shape': (").nth(1).unwrap();
        let dims = shape[..shape.find(')').unwrap()]
            .split(',')
            .filter_map(|d| d.trim().parse().ok())
            .collect();
        let bytes = file[end..].to_vec();
        Self { dtype, dims, bytes }
    }

    fn tensor(&self) -> Tensor {
        let words = self.bytes.as_chunks::<4>().0;
        let (dims, device) = (self.dims.clone(), &Device::Cpu);
        match self.dtype {
            DataType::Float32 => {
                let data: Vec<f32> = words.iter().map(|b| f32::from_le_bytes(*b)).collect();
                Tensor::from_vec(data, dims, device)
            }
            DataType::Int32 => {
                let data: Vec<i32> = words.iter().map(|b| i32::from_le_bytes(*b)).collect();
                Tensor::from_vec(data, dims, device)
            }
            DataType::Int8 => {
                let data: Vec<i32> = self.bytes.iter().map(|&b| i32::from(b as i8)).collect();
                Tensor::from_vec(data, dims, device)
            }
            _ => Tensor::from_vec(self.bytes.clone(), dims, device),
        }
        .unwrap()
    }

    fn ty(&self) -> TensorType {
        let dims: Vec<u64> = self.dims.iter().map(|&d| d as u64).collect();
        TensorType::fixed(self.dtype, &dims)
    }

    fn constant(&self) -> Constant {
        let words = self.bytes.as_chunks::<4>().0;
        Constant::tensor(
            self.ty(),
            match self.dtype {
                DataType::Float32 => {
                    TensorData::Floats(words.iter().map(|b| f32::from_le_bytes(*b)).collect())
                }
                DataType::Int32 => {
                    TensorData::Ints(words.iter().map(|b| i32::from_le_bytes(*b)).collect())
                }
                DataType::Bool => TensorData::Bools(self.bytes.iter().map(|&b| b != 0).collect()),
                _ => TensorData::Bytes(self.bytes.clone().into()),
            },
        )
    }
}

fn arrays(path: &Path) -> HashMap<String, Array> {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
    (0..archive.len())
        .map(|i| {
            let mut entry = archive.by_index(i).unwrap();
            let name = entry.name().unwrap().trim_end_matches(".npy").to_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (name, Array::parse(&bytes))
        })
        .collect()
}

/// A parameter of a case as a constant: scalars, and lists in row-major order.
fn constant(json: &Json) -> Constant {
    fn flatten<'a>(json: &'a Json, depth: usize, dims: &mut Vec<u64>, out: &mut Vec<&'a Json>) {
        match json {
            Json::Array(items) => {
                if dims.len() == depth {
                    dims.push(items.len() as u64);
                }
                for item in items {
                    flatten(item, depth + 1, dims, out);
                }
            }
            scalar => out.push(scalar),
        }
    }
    let (mut dims, mut items) = (Vec::new(), Vec::new());
    flatten(json, 0, &mut dims, &mut items);
    let (dtype, data) = match items.first() {
        Some(Json::String(text)) => return Constant::string(text),
        Some(Json::Bool(_)) => (
            DataType::Bool,
            TensorData::Bools(items.iter().map(|j| j.as_bool().unwrap()).collect()),
        ),
        Some(Json::Number(_)) if items.iter().any(|j| j.is_f64()) => (
            DataType::Float32,
            TensorData::Floats(items.iter().map(|j| j.as_f64().unwrap() as f32).collect()),
        ),
        _ => (
            DataType::Int32,
            TensorData::Ints(
                items
                    .iter()
                    .map(|j| i32::try_from(j.as_i64().unwrap()).unwrap())
                    .collect(),
            ),
        ),
    };
    Constant::tensor(TensorType::fixed(dtype, &dims), data)
}

/// Runs a case; `Err` says how it fails.
fn run(case: &Json, arrays: &HashMap<String, Array>, precision: Precision) -> Result<(), String> {
    let op_type = case["op"].as_str().unwrap();
    let opset = case["opset"].as_str().unwrap();
    let mut builder = Builder::new();
    let def = ops::lookup(op_type).ok_or("not in the op table")?;
    let mut arguments = Vec::new();
    let mut inputs = HashMap::new();
    for (name, keys) in case["inputs"].as_object().unwrap() {
        let keys: Vec<&Json> = match keys {
            Json::Array(keys) => keys.iter().collect(),
            key => vec![key],
        };
        let is_constant = def.params.iter().any(|p| p.name == name && p.constant);
        let mut args = Vec::new();
        for (i, key) in keys.into_iter().enumerate() {
            let array = &arrays[key.as_str().unwrap()];
            let unique = format!("{name}_{i}");
            args.push(if is_constant {
                builder.constant(array.constant())
            } else {
                inputs.insert(unique.clone(), array.tensor());
                builder.input(&unique, array.ty())
            });
        }
        arguments.push((name.as_str(), args));
    }
    for (name, json) in case["params"].as_object().unwrap() {
        let arg = builder.constant(constant(json));
        arguments.push((name.as_str(), vec![arg]));
    }
    let count = case["outputs"].as_array().unwrap().len();
    let outputs = builder.op(op_type, arguments, count)?;
    let program = builder.finish(opset, &outputs);
    let options = Options {
        precision,
        ..Options::default()
    };
    let mut session = Session::new(&program, &NoBlobs, None, options).map_err(|e| e.to_string())?;
    let outputs = session.run(&inputs).map_err(|e| e.to_string())?;
    let expected: Vec<&Array> = case["outputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| &arrays[key.as_str().unwrap()])
        .collect();
    if outputs.len() != expected.len() {
        return Err(format!(
            "{} outputs, expected {}",
            outputs.len(),
            expected.len()
        ));
    }
    let tolerance = match agreement(op_type).unwrap() {
        Agreement::Exact => None,
        _ => Some(case["tolerance"].as_f64().unwrap_or(1e-5)),
    };
    for ((name, value), expected) in outputs.iter().zip(expected) {
        let Value::Tensor(got) = value else {
            return Err(format!("{name} is no tensor"));
        };
        if got.dtype != expected.dtype {
            return Err(format!(
                "{name} is {}, expected {}",
                got.dtype, expected.dtype
            ));
        }
        if got.dtype.is_float() && got.data.dtype() != precision.float() {
            return Err(format!("{name} is held as {:?}", got.data.dtype()));
        }
        compare(&got.data, &expected.tensor(), tolerance).map_err(|e| format!("{name}: {e}"))?;
    }
    Ok(())
}

/// Without a tolerance the bits must be the same, once a result in double
/// precision has been rounded.
fn compare(got: &Tensor, expected: &Tensor, tolerance: Option<f64>) -> Result<(), String> {
    if got.dims() != expected.dims() {
        return Err(format!(
            "shape {:?}, expected {:?}",
            got.dims(),
            expected.dims()
        ));
    }
    let tolerance = tolerance.filter(|_| expected.dtype() == DType::F32);
    let wide = |t: &Tensor| -> Vec<f64> {
        let flat = t.contiguous().unwrap().flatten_all().unwrap();
        flat.to_dtype(DType::F64).unwrap().to_vec1().unwrap()
    };
    let (got, expected) = (wide(got), wide(expected));
    let finite = expected.iter().filter(|v| v.is_finite());
    let scale = finite.fold(1f64, |m, v| m.max(v.abs()));
    for (i, (g, e)) in got.iter().zip(&expected).enumerate() {
        let same = match tolerance {
            None => (*g as f32).to_bits() == (*e as f32).to_bits(),
            Some(tolerance) => g == e || (g - e).abs() <= tolerance * scale,
        };
        let both_nan = g.is_nan() && e.is_nan();
        if !same && !both_nan {
            return Err(format!("element {i} is {g}, expected {e} (scale {scale})"));
        }
    }
    Ok(())
}

fn run_all(family: &str) {
    let text = std::fs::read_to_string(folder().join(format!("{family}.json"))).unwrap();
    let cases: Json = serde_json::from_str(&text).unwrap();
    let arrays = arrays(&folder().join(format!("{family}.npz")));
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    let cases = cases["cases"].as_array().unwrap();
    for case in cases {
        let op = case["op"].as_str().unwrap();
        *counts.entry(op).or_default() += 1;
        if !is_executable(op) {
            failures.push(format!("{op}: no kernel"));
            continue;
        }
        for precision in [Precision::Fp32, Precision::Fp64] {
            if let Err(problem) = run(case, &arrays, precision) {
                failures.push(format!(
                    "{op} {} in {precision:?}: {problem}",
                    case["params"]
                ));
            }
        }
    }
    let list: Vec<String> = counts.iter().map(|(op, n)| format!("{op} {n}")).collect();
    let exact = |op: &str| agreement(op) == Some(Agreement::Exact);
    let exact = cases.iter().filter(|c| exact(c["op"].as_str().unwrap()));
    println!(
        "{family}: {} cases, {} of exact kernels: {}",
        cases.len(),
        exact.count(),
        list.join(", ")
    );
    assert!(
        failures.is_empty(),
        "{} of {} cases fail:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}

#[test]
fn ops() {
    run_all("ops");
}

#[test]
fn convolutions() {
    run_all("conv");
}
