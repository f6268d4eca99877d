//! What the constants of a program take up, from the spec alone.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use milwright_ir::{ConstData, Constant, DataType, OpId, Program};
use milwright_passes::weights::MIN_IMMEDIATE;
use milwright_verify::Executable;
use serde::Serialize;

/// Weights in single precision take up to twice their size in the file; above
/// this many bytes they are read again in each step.
const KEEP_BELOW: u64 = 2 << 30;

/// Whether a session may keep all weights in memory between steps.
pub(crate) fn fit_in_memory(model: &Executable) -> bool {
    let bytes = model.programs().map(|program| of(program, 0).bytes);
    bytes.fold(0u64, u64::saturating_add) <= KEEP_BELOW
}

/// The weights of a program.
#[derive(Debug, Serialize)]
pub(crate) struct Weights {
    /// All of them, in bytes; one that is used several times counts once.
    pub(crate) bytes: u64,
    pub(crate) tensors: usize,
    pub(crate) by_dtype: Vec<DtypeRow>,
    pub(crate) largest: Vec<Weight>,
}

#[derive(Debug, Serialize)]
pub(crate) struct DtypeRow {
    pub(crate) dtype: String,
    /// `weight file` or `spec`.
    pub(crate) stored: &'static str,
    pub(crate) tensors: usize,
    pub(crate) bytes: u64,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Weight {
    pub(crate) name: String,
    pub(crate) dtype: String,
    pub(crate) shape: Vec<u64>,
    pub(crate) bytes: u64,
    pub(crate) stored: &'static str,
    /// File name and offset of the record, in a weight file; of what has its
    /// place there only when the model is written, no offset.
    pub(crate) file: Option<String>,
    pub(crate) offset: Option<u64>,
}

/// Collects the weights of all functions.
pub(crate) fn of(program: &Program, largest: usize) -> Weights {
    let mut seen: HashSet<(Arc<str>, u64)> = HashSet::new();
    let mut rows: BTreeMap<(&'static str, DataType), (usize, u64)> = BTreeMap::new();
    let mut all: Vec<Weight> = Vec::new();
    for id in program.live_ops() {
        let op = &program.ops[id];
        op.visit_constants(&mut |constant| {
            let Some(weight) = weight(program, id, constant) else {
                return;
            };
            if let ConstData::Blob(blob) = &constant.data
                && !seen.insert((blob.file_name.clone(), blob.offset))
            {
                return;
            }
            let dtype = constant
                .tensor_type()
                .map_or(DataType::Unknown(0), |t| t.dtype);
            let row = rows.entry((weight.stored, dtype)).or_default();
            row.0 += 1;
            row.1 = row.1.saturating_add(weight.bytes);
            all.push(weight);
        });
    }
    let mut by_dtype: Vec<DtypeRow> = rows
        .into_iter()
        .map(|((stored, dtype), (tensors, bytes))| DtypeRow {
            dtype: dtype.to_string(),
            stored,
            tensors,
            bytes,
        })
        .collect();
    by_dtype.sort_by_key(|row| std::cmp::Reverse(row.bytes));
    let bytes = all.iter().fold(0u64, |sum, w| sum.saturating_add(w.bytes));
    let tensors = all.len();
    // Stable: among equals, program order.
    all.sort_by_key(|w| std::cmp::Reverse(w.bytes));
    all.truncate(largest);
    Weights {
        bytes,
        tensors,
        by_dtype,
        largest: all,
    }
}

fn weight(program: &Program, op: OpId, constant: &Constant) -> Option<Weight> {
    let ty = constant.tensor_type()?;
    let elements = ty.elements()?;
    let (stored, file, offset) = match &constant.data {
        ConstData::Blob(blob) => (
            "weight file",
            Some(blob.file_name.to_string()),
            Some(blob.offset),
        ),
        ConstData::Range(range) => ("weight file", Some(range.blob.file_name.to_string()), None),
        ConstData::New(_) if elements >= MIN_IMMEDIATE => ("weight file", None, None),
        ConstData::Tensor(_) if elements >= MIN_IMMEDIATE => ("spec", None, None),
        _ => return None,
    };
    let outputs = &program.ops[op].outputs;
    Some(Weight {
        name: match outputs.first() {
            Some(&v) => program.values[v].name.clone(),
            None => program.describe_op(op),
        },
        dtype: ty.dtype.to_string(),
        shape: ty.known_shape()?,
        bytes: ty.dtype.byte_len(elements)?,
        stored,
        file,
        offset,
    })
}

/// A size for people, in powers of 1000 as files are listed elsewhere.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if n < 1000 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1000), "1.0 kB");
        assert_eq!(bytes(999_949), "999.9 kB");
        assert_eq!(bytes(999_951), "1.0 MB");
        assert_eq!(bytes(1_200_000_000), "1.2 GB");
    }
}
