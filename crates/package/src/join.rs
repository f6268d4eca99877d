//! One weight file from several, with equal blobs stored once.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result, WeightFault};
use crate::rewrite::{Layout, header};
use crate::source::Source;
use crate::weights::{Blob, StorageType, WeightFile};
use crate::write::Piece;

/// So many bytes at each end of a blob tell most different ones apart, before
/// all of it is read.
const SAMPLE: u64 = 4096;

/// The blobs of one weight file that go into a joined one.
#[derive(Debug, Clone, Copy)]
pub struct Joined<'a> {
    /// The file.
    pub file: &'a WeightFile,
    /// The offsets of the blobs.
    pub kept: &'a BTreeSet<u64>,
}

/// A weight file to be written, where everything went, and what that saved.
#[derive(Debug)]
pub struct JoinedWeights {
    /// The content of the file.
    pub pieces: Vec<Piece>,
    /// For each file given: the old offset of every blob, and the new one.
    pub moved: Vec<BTreeMap<u64, u64>>,
    /// What was stored once instead of several times.
    pub report: SharedBlobs,
}

/// What storing equal blobs once saves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct SharedBlobs {
    /// Blobs in the new file.
    pub blobs: usize,
    /// Their data, in bytes.
    pub bytes: u64,
    /// Blobs that are not in it because an equal one is.
    pub shared_blobs: usize,
    /// Their data, in bytes.
    pub saved_bytes: u64,
}

/// Plans a weight file with the blobs of several, in their order. Blobs of the
/// same element type and the same bytes are stored once: where the first of them
/// stands. One file is possible too: then only its own repeats go.
///
/// Blobs are compared by type and size, then by both ends, and what is left by
/// the BLAKE3 digest of all bytes, which are read in pieces: memory does not grow with
/// the weights.
///
/// # Errors
/// [`Error::Weight`] when an offset is no blob of its file; [`Error::Io`].
pub fn join_weights(files: &[Joined<'_>]) -> Result<JoinedWeights> {
    let mut blobs: Vec<(&WeightFile, Blob<'_>)> = Vec::new();
    for joined in files {
        for &offset in joined.kept {
            blobs.push((joined.file, joined.file.blob(offset)?));
        }
    }
    let first = identical(&blobs)?;
    let owners = first.iter().enumerate().filter(|(n, first)| n == *first);
    let stored = owners.count();
    let mut report = SharedBlobs {
        blobs: stored,
        shared_blobs: blobs.len() - stored,
        ..SharedBlobs::default()
    };
    let path = files.first().map(|joined| joined.file.path());
    let path = path.unwrap_or(std::path::Path::new("(new weight file)"));
    let mut layout = Layout::new();
    layout.push(header(files.first().map(|j| j.file), stored, path)?);
    let mut places: Vec<u64> = Vec::with_capacity(blobs.len());
    for (number, (file, blob)) in blobs.iter().enumerate() {
        let size = blob.data.len() as u64;
        let place = match places.get(first[number]) {
            Some(&place) => {
                report.saved_bytes += size;
                place
            }
            None => {
                report.bytes += size;
                let kept = layout.keep(file.source(), blob);
                kept.map_err(|fault| Error::Weight {
                    path: file.path().to_owned(),
                    offset: blob.offset,
                    fault,
                })?
            }
        };
        places.push(place);
    }
    let mut places = places.into_iter();
    let moved = files.iter().map(|joined| {
        let offsets = joined.kept.iter().copied();
        offsets.zip(places.by_ref()).collect()
    });
    Ok(JoinedWeights {
        moved: moved.collect(),
        pieces: layout.pieces(),
        report,
    })
}

/// For each blob, the first one that equals it in element type and every byte;
/// its own number if none does.
///
/// # Errors
/// [`Error::Weight`] when a blob is none of its file; [`Error::Io`].
pub fn identical(blobs: &[(&WeightFile, Blob<'_>)]) -> Result<Vec<usize>> {
    let mut first: Vec<usize> = (0..blobs.len()).collect();
    let mut alike: BTreeMap<(StorageType, u64, u64), Vec<usize>> = BTreeMap::new();
    for (number, (_, blob)) in blobs.iter().enumerate() {
        let kind = (blob.data_type, blob.data.len() as u64, blob.padding_bits);
        alike.entry(kind).or_default().push(number);
    }
    let data = |number: usize, from_end: bool, limit: u64| -> Result<Source> {
        let (file, blob) = &blobs[number];
        let size = blob.data.len() as u64;
        let len = size.min(limit);
        let skipped = if from_end { size - len } else { 0 };
        let slice = file.source().slice(blob.data_offset + skipped, len);
        slice.ok_or_else(|| Error::Weight {
            path: file.path().to_owned(),
            offset: blob.offset,
            fault: WeightFault::DataPastEnd {
                data_offset: blob.data_offset,
                size,
                len: file.len(),
            },
        })
    };
    let ends = |number| -> Result<_> {
        let head = data(number, false, SAMPLE)?.read()?;
        Ok((head, data(number, true, SAMPLE)?.read()?))
    };
    let whole = |number| data(number, false, u64::MAX)?.digest();
    for numbers in alike.into_values() {
        for numbers in divide(&numbers, ends)? {
            for equal in divide(&numbers, whole)? {
                for &number in &equal {
                    first[number] = equal[0];
                }
            }
        }
    }
    Ok(first)
}

/// Groups of numbers with the same key, each in order. One number alone is not
/// looked at.
fn divide<K: Ord>(numbers: &[usize], key: impl Fn(usize) -> Result<K>) -> Result<Vec<Vec<usize>>> {
    if numbers.len() < 2 {
        return Ok(vec![numbers.to_vec()]);
    }
    let mut groups: BTreeMap<K, Vec<usize>> = BTreeMap::new();
    for &number in numbers {
        groups.entry(key(number)?).or_default().push(number);
    }
    Ok(groups.into_values().collect())
}
