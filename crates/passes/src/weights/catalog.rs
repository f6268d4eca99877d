//! Every stored constant of a program, under a name.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use milwright_ir::names::nearest;
use milwright_ir::{
    Arg, BlobRef, ConstData, Constant, DataType, OpId, Program, TensorType, ValueId,
};
use milwright_package::{Package, Source, identical};
use serde::Serialize;

use super::Error;

/// Constants in the spec with fewer elements are parameters (strides, axes),
/// not weights. coremltools puts larger ones into the weight file.
pub const MIN_IMMEDIATE: u64 = 10;

/// The stored constants of a program: everything in weight files, and tensors
/// of numbers in the spec with at least [`MIN_IMMEDIATE`] elements.
#[derive(Debug)]
pub struct Catalog<'p> {
    /// They, in program order.
    pub stored: Vec<Stored<'p>>,
}

/// A stored constant.
#[derive(Debug)]
pub struct Stored<'p> {
    /// What it is called: the name of the value that it is, or that of the
    /// first result of the operation that holds it, a dot and the parameter
    /// (`weight.indices`). Where that is not unique, the function stands before
    /// it (`main/weight`), or a number behind it (`weight#2`).
    pub name: String,
    /// The functions in which it occurs.
    pub functions: Vec<&'p str>,
    /// Where the program mentions it. More than one in programs whose functions
    /// share it under one name.
    pub sites: Vec<Site>,
    /// Its declared type.
    pub ty: &'p TensorType,
    /// How many bytes it takes.
    pub bytes: u64,
    /// Where it is in a weight file; `None` in the spec.
    pub blob: Option<&'p BlobRef>,
    /// The constant itself.
    pub constant: &'p Constant,
    /// In which form the values are.
    pub storage: Storage,
    /// The operations that compute with it, of a compressed one those that
    /// compute with the dense result; in program order.
    pub used_by: Vec<Use>,
}

/// A place where a program mentions a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// The operation that holds it.
    pub op: OpId,
    /// Its number among the constants of the operation, in the order of
    /// [`Op::visit_constants`](milwright_ir::Op::visit_constants).
    pub nth: usize,
}

/// In which form values are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "form", rename_all = "kebab-case")]
pub enum Storage {
    /// As they are.
    Dense,
    /// As a part of a compressed weight.
    Part {
        /// The operation that makes the weight of its parts.
        op: String,
        /// The dense weight.
        of: String,
        /// Which parameter it is: `indices`, `lut`, `scale`, ...
        param: String,
        /// Bits of an element, or of an index into a table.
        bits: u64,
    },
}

/// An operation that computes with a constant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Use {
    /// Type of the operation.
    pub op: String,
    /// Its first result.
    pub output: String,
    /// The parameter that takes the constant.
    pub param: String,
}

impl<'p> Catalog<'p> {
    /// The stored constants of all functions and specializations.
    pub fn of(program: &'p Program) -> Self {
        let readers = Readers::of(program);
        let mut found: Vec<(String, Stored<'p>)> = Vec::new();
        let mut shared: HashMap<(String, &'p BlobRef), usize> = HashMap::new();
        for (function, op) in ops(program) {
            let mut nth = 0;
            for (param, constant) in held(program, op) {
                let mut nested = 0;
                constant.visit(&mut |constant| {
                    let site = Site { op, nth };
                    nth += 1;
                    nested += 1;
                    let Some((ty, bytes)) = stored_type(constant) else {
                        return;
                    };
                    let base = base_name(program, op, param, nested);
                    let blob = match &constant.data {
                        ConstData::Blob(blob) => Some(blob),
                        _ => None,
                    };
                    if let Some(blob) = blob {
                        let next = found.len();
                        let at = *shared.entry((base.clone(), blob)).or_insert(next);
                        if let Some((_, stored)) = found.get_mut(at)
                            && stored.ty == ty
                        {
                            stored.sites.push(site);
                            if !stored.functions.contains(&function) {
                                stored.functions.push(function);
                            }
                            stored.used_by.extend(readers.uses(program, op, param));
                            return;
                        }
                    }
                    let stored = Stored {
                        name: String::new(),
                        functions: vec![function],
                        sites: vec![site],
                        ty,
                        bytes,
                        blob,
                        constant,
                        storage: readers.storage(program, op, param, ty),
                        used_by: readers.uses(program, op, param),
                    };
                    found.push((base, stored));
                });
            }
        }
        Catalog {
            stored: named(found),
        }
    }

    /// The constant of that name.
    ///
    /// # Errors
    /// [`Error::Unknown`] with names that are alike.
    pub fn find(&self, name: &str) -> Result<&Stored<'p>, Error> {
        let found = self.stored.iter().find(|stored| stored.name == name);
        found.ok_or_else(|| Error::Unknown {
            name: name.to_owned(),
            near: self.nearest(name),
            count: self.stored.len(),
        })
    }

    /// Names that are alike.
    fn nearest(&self, name: &str) -> Vec<String> {
        let names = self.stored.iter().map(|stored| stored.name.as_str());
        let found = nearest(name, names, 3);
        found.into_iter().map(str::to_owned).collect()
    }

    /// For each constant the index of the first that is the same bytes of the
    /// same type, in files only: `None` for those in the spec. Constants that
    /// refer to one place are the same, too.
    ///
    /// # Errors
    /// A weight cannot be read.
    pub fn identical(&self, package: &Package) -> Result<Vec<Option<usize>>, Error> {
        let mut blobs = Vec::new();
        let mut indices = Vec::new();
        for (index, stored) in self.stored.iter().enumerate() {
            if let Some(blob) = stored.blob {
                let file = package.weight_file(&blob.file_name)?;
                blobs.push((file, file.blob(blob.offset)?));
                indices.push(index);
            }
        }
        let mut first = vec![None; self.stored.len()];
        for (at, same) in identical(&blobs)?.into_iter().enumerate() {
            first[indices[at]] = Some(indices[same]);
        }
        Ok(first)
    }
}

impl Stored<'_> {
    /// The elements as a range of a file; `None` in the spec. The type of the
    /// blob is not compared with the declared one:
    /// [`Constant::bytes`] does that.
    ///
    /// # Errors
    /// The weight file cannot be read, or there is no blob.
    pub fn source(&self, package: &Package) -> Result<Option<Source>, Error> {
        let Some(blob) = self.blob else {
            return Ok(None);
        };
        let file = package.weight_file(&blob.file_name)?;
        let found = file.blob(blob.offset)?;
        let len = found.data.len() as u64;
        Ok(file.source().slice(found.data_offset, len))
    }
}

/// Every operation with the name of its function; as
/// [`Program::live_ops`], in the order of the text.
fn ops(program: &Program) -> Vec<(&str, OpId)> {
    let bodies = program
        .functions
        .iter()
        .flat_map(|f| f.specializations.iter().map(|&(_, b)| (f.name.as_str(), b)));
    bodies
        .flat_map(|(name, body)| program.walk(body).into_iter().map(move |op| (name, op)))
        .collect()
}

/// The constants of an operation, in the order of `Op::visit_constants`, with
/// the parameter that each is.
fn held(program: &Program, op: OpId) -> impl Iterator<Item = (&str, &Constant)> {
    let op = &program.ops[op];
    let args = op.inputs.iter().flat_map(|(param, args)| {
        args.iter().filter_map(move |arg| match arg {
            Arg::Const(constant) => Some((param.as_str(), constant)),
            Arg::Value(_) => None,
        })
    });
    args.chain(op.attributes.iter().map(|(key, c)| (key.as_str(), c)))
}

/// Type and size of a constant that counts as stored.
fn stored_type(constant: &Constant) -> Option<(&TensorType, u64)> {
    let ty = constant.tensor_type()?;
    let elements = ty.elements()?;
    let bytes = ty.dtype.byte_len(elements)?;
    match &constant.data {
        ConstData::Blob(_) => Some((ty, bytes)),
        ConstData::Tensor(_) if elements >= MIN_IMMEDIATE => Some((ty, bytes)),
        _ => None,
    }
}

fn base_name(program: &Program, op: OpId, param: &str, nested: usize) -> String {
    let output = program.ops[op].outputs.first();
    let output = output.map(|&v| program.values[v].name.clone());
    let output = output.unwrap_or_else(|| program.describe_op(op));
    let mut name = match program.ops[op].op_type.as_str() {
        "const" if param == "val" => output,
        _ => format!("{output}.{param}"),
    };
    if nested > 1 {
        name.push_str(&format!("[{}]", nested - 2));
    }
    name
}

/// Makes names unique.
fn named(found: Vec<(String, Stored<'_>)>) -> Vec<Stored<'_>> {
    let mut count: HashMap<String, usize> = HashMap::new();
    for (base, _) in &found {
        *count.entry(base.clone()).or_default() += 1;
    }
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut stored = Vec::with_capacity(found.len());
    for (base, mut one) in found {
        let wish = match count.get(&base) {
            Some(1) => base,
            _ => format!("{}/{base}", one.functions.first().unwrap_or(&"")),
        };
        let mut name = wish.clone();
        let mut number = 1;
        while !taken.insert(name.clone()) {
            number += 1;
            name = format!("{wish}#{number}");
        }
        one.name = name;
        stored.push(one);
    }
    stored
}

/// Which operations read each value.
struct Readers {
    of: BTreeMap<ValueId, Vec<(OpId, String)>>,
}

impl Readers {
    fn of(program: &Program) -> Self {
        let mut of: BTreeMap<ValueId, Vec<(OpId, String)>> = BTreeMap::new();
        for (_, op) in ops(program) {
            for (param, args) in &program.ops[op].inputs {
                for arg in args {
                    if let Arg::Value(value) = arg {
                        let readers = of.entry(*value).or_default();
                        readers.push((op, param.clone()));
                    }
                }
            }
        }
        Self { of }
    }

    fn readers<'a>(
        &'a self,
        program: &'a Program,
        op: OpId,
    ) -> impl Iterator<Item = (OpId, &'a str)> {
        let outputs = program.ops[op].outputs.iter();
        outputs
            .filter_map(|v| self.of.get(v))
            .flatten()
            .map(|(op, param)| (*op, param.as_str()))
    }

    /// What computes with a constant that `op` holds as `param`.
    fn uses(&self, program: &Program, op: OpId, param: &str) -> Vec<Use> {
        let mut open = vec![(op, param.to_owned())];
        let mut seen: BTreeSet<OpId> = BTreeSet::new();
        let mut uses = Vec::new();
        while let Some((op, param)) = open.pop() {
            let op_type = program.ops[op].op_type.as_str();
            if op_type != "const" && !op_type.starts_with("constexpr_") {
                let output = program.ops[op].outputs.first();
                uses.push(Use {
                    op: op_type.to_owned(),
                    output: output.map_or_else(String::new, |&v| program.values[v].name.clone()),
                    param,
                });
            } else if seen.insert(op) {
                let more = self
                    .readers(program, op)
                    .map(|(op, param)| (op, param.to_owned()));
                let at = open.len();
                open.extend(more);
                open[at..].reverse();
            }
        }
        uses
    }

    fn storage(&self, program: &Program, op: OpId, param: &str, ty: &TensorType) -> Storage {
        let is_compression = |op: OpId| program.ops[op].op_type.starts_with("constexpr_");
        let holder = match is_compression(op) {
            true => Some((op, param)),
            false => self
                .readers(program, op)
                .find(|(op, _)| is_compression(*op)),
        };
        let Some((holder, param)) = holder else {
            return Storage::Dense;
        };
        // Compressions follow one another (a palette of a sparse tensor).
        let mut last = holder;
        let mut steps = 0;
        while let Some((next, _)) = self
            .readers(program, last)
            .find(|(op, _)| is_compression(*op))
        {
            last = next;
            steps += 1;
            if steps > program.ops.len() {
                break; // a circle, which the verifier reports
            }
        }
        let output = program.ops[last].outputs.last();
        Storage::Part {
            op: program.ops[holder].op_type.clone(),
            of: output.map_or_else(String::new, |&v| program.values[v].name.clone()),
            param: param.to_owned(),
            bits: index_bits(program, holder, param).unwrap_or(ty.dtype.bits().unwrap_or(8)),
        }
    }
}

/// The bits of indices that iOS 16 packs into bytes, from the size of their
/// table.
fn index_bits(program: &Program, op: OpId, param: &str) -> Option<u64> {
    let op = &program.ops[op];
    match (op.op_type.as_str(), param) {
        ("constexpr_lut_to_dense", "indices") => {
            let indices = op.attribute("indices")?.tensor_type()?;
            let lut = op.attribute("lut")?.tensor_type()?;
            let packed = indices.dtype == DataType::UInt8;
            let entries = lut.elements().filter(|&n| packed && n > 1)?;
            Some(u64::from(entries.next_power_of_two().ilog2()))
        }
        ("constexpr_sparse_to_dense", "mask") => op.attribute("mask").map(|_| 1),
        _ => None,
    }
}
