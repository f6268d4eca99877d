//! A weight file with other values in the same places.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::error::{Error, Result, WeightFault};
use crate::source::Source;
use crate::weights::{ALIGNMENT, WeightFile};
use crate::write::Piece;

/// As many zeros as one piece has at most.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// What becomes of a blob when a file is laid over with other values.
#[derive(Debug, Clone)]
pub enum Overlaid {
    /// It stays.
    Kept,
    /// Its data is this; as many bytes as before.
    Data(Vec<Piece>),
}

/// What becomes of the bytes of a weight file between the blobs that are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Between {
    /// They stay.
    Kept,
    /// They become zeros: what they were leaves no trace.
    Cleared,
}

/// Plans a weight file that differs from `old` in the data of some blobs, and
/// has everything else in the same place: no offset in a program changes.
/// `blobs` is by offset of the record.
///
/// # Errors
/// [`Error::Weight`] when there is no blob at an offset, the new data has
/// another length, or blobs overlap (one of which is replaced).
pub fn overlay_weights(
    old: &WeightFile,
    blobs: &BTreeMap<u64, Overlaid>,
    between: Between,
) -> Result<Vec<Piece>> {
    let fail = |offset, fault| Error::Weight {
        path: old.path().to_owned(),
        offset,
        fault,
    };
    // What is written where: (start, length, what, record).
    let mut parts: Vec<(u64, u64, Option<&[Piece]>, u64)> = vec![(0, ALIGNMENT, None, 0)];
    for (&offset, overlaid) in blobs {
        let blob = old.blob(offset)?;
        let size = blob.data.len() as u64;
        parts.push((offset, ALIGNMENT, None, offset));
        let new = match overlaid {
            Overlaid::Kept => None,
            Overlaid::Data(pieces) => {
                let len: u64 = pieces.iter().map(Piece::len).sum();
                if len != size {
                    return Err(fail(offset, WeightFault::OtherSize { size, new: len }));
                }
                Some(pieces.as_slice())
            }
        };
        parts.push((blob.data_offset, size, new, offset));
    }
    parts.sort_by_key(|&(start, len, _, record)| (start, len, record));
    let mut out = Pieces {
        source: old.source(),
        pieces: Vec::new(),
    };
    let mut at = 0;
    for (start, len, new, record) in parts {
        if len == 0 {
            continue;
        }
        if start < at {
            return Err(fail(
                record,
                WeightFault::DataOverlap {
                    data_offset: start,
                    size: len,
                    with: "another blob, so that not one alone can be replaced",
                },
            ));
        }
        out.between(at, start - at, between);
        match new {
            Some(pieces) => out.pieces.extend_from_slice(pieces),
            None => out.keep(start, len),
        }
        at = start + len;
    }
    out.between(at, old.len().saturating_sub(at), between);
    Ok(out.pieces)
}

/// So many zeros, as pieces that share their memory.
pub fn zeros(len: u64) -> Vec<Piece> {
    repeated(&Bytes::from_static(&ZEROS), len)
}

/// The first `len` bytes of an endless repetition of `block`, as pieces that
/// share its memory. Nothing for an empty block.
pub fn repeated(block: &Bytes, len: u64) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut left = len;
    while left > 0 && !block.is_empty() {
        let step = left.min(block.len() as u64);
        pieces.push(Piece::Bytes(block.slice(..step as usize)));
        left -= step;
    }
    pieces
}

struct Pieces<'f> {
    source: &'f Source,
    pieces: Vec<Piece>,
}

impl Pieces<'_> {
    fn keep(&mut self, start: u64, len: u64) {
        let Some(next) = self.source.slice(start, len) else {
            return; // every part was checked to lie in the file
        };
        if let Some(Piece::Range(last)) = self.pieces.last_mut()
            && let Some(both) = last.joined(&next)
        {
            *last = both;
            return;
        }
        self.pieces.push(Piece::Range(next));
    }

    fn between(&mut self, start: u64, len: u64, between: Between) {
        if len == 0 {
            return;
        }
        match between {
            Between::Kept => self.keep(start, len),
            Between::Cleared => self.pieces.extend(zeros(len)),
        }
    }
}
