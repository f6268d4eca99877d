//! Which blobs hold the same.

use std::collections::BTreeMap;

use crate::weights::{Blob, StorageType};

/// How many bytes of a blob are looked at before all of them are.
const SAMPLE: usize = 64;

/// For each blob the index of the first one that is equal to it: element type,
/// padding bits and every byte of data. A blob that equals none before it has
/// its own index.
///
/// Blobs are compared where they are mapped. Of one that differs from all
/// others of its size, three short samples are read in most cases.
pub fn identical(blobs: &[Blob<'_>]) -> Vec<usize> {
    type Key<'a> = (StorageType, u64, usize, [&'a [u8]; 3]);
    let mut classes: BTreeMap<Key<'_>, Vec<usize>> = BTreeMap::new();
    let mut first = Vec::with_capacity(blobs.len());
    for (index, blob) in blobs.iter().enumerate() {
        let key = (
            blob.data_type,
            blob.padding_bits,
            blob.data.len(),
            samples(blob.data),
        );
        let candidates = classes.entry(key).or_default();
        let same = |&&other: &&usize| is_same(&blobs[other], blob);
        match candidates.iter().find(same) {
            Some(&other) => first.push(other),
            None => {
                candidates.push(index);
                first.push(index);
            }
        }
    }
    first
}

/// The same place in the same file is not read to be compared with itself.
fn is_same(one: &Blob<'_>, other: &Blob<'_>) -> bool {
    std::ptr::eq(one.data, other.data) || one.data == other.data
}

/// The begin, the middle and the end.
fn samples(data: &[u8]) -> [&[u8]; 3] {
    let at = |start: usize| &data[start..data.len().min(start + SAMPLE)];
    let last = data.len().saturating_sub(SAMPLE);
    [at(0), at(last / 2), at(last)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(data_type: StorageType, data: &[u8]) -> Blob<'_> {
        Blob {
            offset: 0,
            data_type,
            data_offset: 0,
            padding_bits: 0,
            record: [0; 64],
            data,
        }
    }

    #[test]
    fn equal_blobs_are_found_and_only_they() {
        use StorageType::{Float16, Int16};
        let long: Vec<u8> = (0..1000u32).map(|i| (i % 251) as u8).collect();
        let copy = long.clone();
        // Differs outside of the samples.
        let mut close = long.clone();
        close[200] ^= 1;
        let blobs = [
            blob(Float16, &long),
            blob(Float16, &close),
            blob(Float16, &copy),
            blob(Int16, &copy),
            blob(Float16, &copy[..998]),
            blob(Float16, &[]),
            blob(Float16, &[]),
            blob(Float16, &close),
        ];
        assert_eq!(identical(&blobs), [0, 1, 0, 3, 4, 5, 5, 1]);
    }
}
