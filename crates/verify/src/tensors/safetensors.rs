//! `.safetensors`: u64 length of a JSON header, the header, the data.
//!
//! The header is an object: for each tensor `dtype`, `shape` and
//! `data_offsets` (begin and end, counted from the end of the header), and
//! perhaps `__metadata__`, an object of strings. The data of all tensors covers
//! the rest of the file without gap or overlap.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use milwright_ir::DataType;
use milwright_package::Source;
use serde::Deserialize;

use super::{FileTensor, Planned, Sink};
use crate::error::Error;

/// What the reference implementation accepts.
const MAX_HEADER: u64 = 100_000_000;
const METADATA: &str = "__metadata__";

const TYPES: [(&str, DataType); 15] = [
    ("BOOL", DataType::Bool),
    ("U8", DataType::UInt8),
    ("I8", DataType::Int8),
    ("F8_E5M2", DataType::Float8E5M2),
    ("F8_E4M3", DataType::Float8E4M3FN),
    ("I16", DataType::Int16),
    ("U16", DataType::UInt16),
    ("F16", DataType::Float16),
    ("BF16", DataType::BFloat16),
    ("I32", DataType::Int32),
    ("U32", DataType::UInt32),
    ("F32", DataType::Float32),
    ("F64", DataType::Float64),
    ("I64", DataType::Int64),
    ("U64", DataType::UInt64),
];

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

pub(super) fn read(path: &Path) -> Result<Vec<FileTensor>, Error> {
    let wrong = |problem: String| Error::NotSafetensors {
        path: path.to_owned(),
        problem,
    };
    let failed = |source: io::Error| Error::Read {
        path: path.to_owned(),
        source,
    };
    let file = Source::open(path)?;
    let mut length = Vec::new();
    file.copy(0, 8, &mut length).map_err(failed)?;
    let length: [u8; 8] = length.try_into().map_err(|_| {
        wrong(format!(
            "it has {} bytes, and the header's length alone takes 8",
            file.len()
        ))
    })?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER.min(file.len() - 8) {
        return Err(wrong(format!(
            "it announces a header of {length} bytes, in a file of {}",
            file.len()
        )));
    }
    let mut header = Vec::new();
    file.copy(8, length, &mut header).map_err(failed)?;
    // Names that are there twice are an error of the map.
    let entries: Entries = serde_json::from_slice(&header)
        .map_err(|e| wrong(format!("its header is not what the format asks for: {e}")))?;
    let mut tensors = Vec::with_capacity(entries.0.len());
    for (name, entry) in entries.0 {
        let wrong = |problem: String| wrong(format!("tensor `{name}`: {problem}"));
        let found = TYPES.into_iter().find(|(word, _)| *word == entry.dtype);
        let Some((_, dtype)) = found else {
            return Err(wrong(format!(
                "elements of type {} are not known",
                entry.dtype
            )));
        };
        let (begin, end) = entry.data_offsets;
        let count = entry.shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
        let size = count.and_then(|n| dtype.byte_len(n));
        if end.checked_sub(begin) != size || size.is_none() {
            return Err(wrong(format!(
                "bytes {begin} to {end} are not {} of shape {:?}",
                entry.dtype, entry.shape
            )));
        }
        let start = begin.checked_add(8 + length);
        let data = start.and_then(|start| file.slice(start, end - begin));
        let data = data.ok_or_else(|| {
            wrong(format!(
                "bytes {begin} to {end} of the data lie outside of the file"
            ))
        })?;
        tensors.push((
            begin,
            end,
            FileTensor {
                name,
                dtype,
                shape: entry.shape,
                data,
            },
        ));
    }
    tensors.sort_by_key(|(begin, end, _)| (*begin, *end));
    let mut at = 0;
    for (begin, end, tensor) in &tensors {
        if *begin != at {
            return Err(wrong(format!(
                "tensor `{}` begins at byte {begin} of the data, and the one before ends at {at}",
                tensor.name
            )));
        }
        at = *end;
    }
    if at != file.len() - 8 - length {
        return Err(wrong(format!(
            "its tensors end at byte {at} of the data, and it has {}",
            file.len() - 8 - length
        )));
    }
    Ok(tensors.into_iter().map(|(.., tensor)| tensor).collect())
}

/// The tensors of a header; no name twice.
struct Entries(BTreeMap<String, Entry>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Entries;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("an object of tensors")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Entries, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == METADATA {
                        map.next_value::<BTreeMap<String, String>>()?;
                        continue;
                    }
                    let entry = map.next_value::<Entry>()?;
                    if entries.insert(name.clone(), entry).is_some() {
                        let twice = format!("two tensors are named `{name}`");
                        return Err(serde::de::Error::custom(twice));
                    }
                }
                Ok(Entries(entries))
            }
        }
        from.deserialize_map(Visitor)
    }
}

/// Writes the tensors with the widest elements first, so that each is aligned
/// to its own width.
pub(super) fn write<E: From<Error>>(
    path: &Path,
    file: &mut File,
    plans: &[Planned<'_>],
    one: &mut dyn FnMut(usize, Sink<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let failed = |source: io::Error| Error::Write {
        path: path.to_owned(),
        source,
    };
    let unfit = |plan: &Planned<'_>, problem: &str| Error::Tensor {
        path: path.to_owned(),
        tensor: plan.tensor.name.clone(),
        problem: problem.to_owned(),
    };
    let mut order: Vec<usize> = (0..plans.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(plans[index].held.bits()));
    let mut header = serde_json::Map::new();
    let mut at = 0u64;
    for &index in &order {
        let plan = &plans[index];
        let name = plan.tensor.name.clone();
        let word = TYPES.into_iter().find(|(_, dtype)| *dtype == plan.held);
        let (word, _) = word.ok_or_else(|| unfit(plan, "its type has no name in the format"))?;
        let end = at
            .checked_add(plan.size)
            .ok_or_else(|| unfit(plan, "the file would be too large"))?;
        let entry = serde_json::json!({
            "dtype": word,
            "shape": plan.tensor.shape,
            "data_offsets": [at, end],
        });
        if name == METADATA || header.insert(name, entry).is_some() {
            return Err(unfit(plan, "its name is taken").into());
        }
        at = end;
    }
    let mut text = serde_json::Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    file.write_all(&(text.len() as u64).to_le_bytes())
        .map_err(failed)?;
    file.write_all(&text).map_err(failed)?;
    for index in order {
        one(index, Sink::File(file))?;
    }
    Ok(())
}
