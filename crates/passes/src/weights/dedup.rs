//! Storing what is identical once.

use std::collections::BTreeMap;

use milwright_ir::{BlobRef, ConstData, Constant, Program};
use milwright_package::{Package, identical};
use serde::Serialize;

use super::Error;

/// What [`dedup`] did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deduplicated {
    /// Blobs that the program referred to before.
    pub blobs_before: usize,
    /// And after.
    pub blobs: usize,
    /// Their data before, in bytes.
    pub bytes_before: u64,
    /// And after.
    pub bytes: u64,
    /// The groups of identical blobs, those that save most first.
    pub groups: Vec<Group>,
}

/// Blobs that are identical.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// How many bytes one of them has.
    pub bytes: u64,
    /// How many there were.
    pub blobs: usize,
    /// The place of the one that stays, in the old file.
    pub file: String,
    /// See `file`.
    pub offset: u64,
}

/// Lets every constant of a program refer to the first of the blobs that are
/// identical to its own. Saving then leaves the others out.
///
/// # Errors
/// A weight cannot be read, or the bytes of an operation hold something that
/// would be lost when it is changed.
pub fn dedup(program: &mut Program, package: &Package) -> Result<Deduplicated, Error> {
    let mut places: BTreeMap<BlobRef, usize> = BTreeMap::new();
    program.visit_constants(&mut |constant| {
        if let ConstData::Blob(blob) = &constant.data {
            places.insert(blob.clone(), 0);
        }
    });
    let mut refs = Vec::with_capacity(places.len());
    let mut blobs = Vec::with_capacity(places.len());
    for (index, (place, at)) in places.iter_mut().enumerate() {
        *at = index;
        blobs.push(package.blob(&place.file_name, place.offset)?);
        refs.push(place.clone());
    }
    let first = identical(&blobs);
    let size = |index: usize| blobs[index].data.len() as u64;
    let mut groups: BTreeMap<usize, usize> = BTreeMap::new();
    for &index in &first {
        *groups.entry(index).or_default() += 1;
    }
    let mut report = Deduplicated {
        blobs_before: blobs.len(),
        blobs: groups.len(),
        bytes_before: (0..blobs.len()).map(size).sum(),
        bytes: groups.keys().map(|&index| size(index)).sum(),
        groups: Vec::new(),
    };
    groups.retain(|_, count| *count > 1);
    report.groups = groups
        .into_iter()
        .map(|(index, count)| Group {
            bytes: size(index),
            blobs: count,
            file: refs[index].file_name.to_string(),
            offset: refs[index].offset,
        })
        .collect();
    // Stable: among equals, file order.
    let saved = |g: &Group| g.bytes.saturating_mul(g.blobs as u64 - 1);
    report.groups.sort_by_key(|g| std::cmp::Reverse(saved(g)));

    let home = |blob: &BlobRef| {
        let index = *places.get(blob)?;
        (first[index] != index).then(|| refs[first[index]].clone())
    };
    for op in program.live_ops() {
        let mut moves = false;
        program.ops[op].visit_constants(&mut |constant| {
            moves |= matches!(&constant.data, ConstData::Blob(blob) if home(blob).is_some());
        });
        if moves {
            let move_one = &mut |constant: &mut Constant| {
                if let ConstData::Blob(blob) = &constant.data
                    && let Some(to) = home(blob)
                {
                    constant.data = ConstData::Blob(to);
                }
            };
            program.op_mut(op)?.visit_constants_mut(move_one);
        }
    }
    Ok(report)
}
