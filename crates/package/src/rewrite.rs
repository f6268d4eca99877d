//! Rebuilding a weight file from blobs that stay and blobs that are new.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::error::{Error, Result, WeightFault};
use crate::source::Source;
use crate::weights::{ALIGNMENT, Blob, SENTINEL, StorageType, VERSION, WeightFile};
use crate::write::Piece;

/// A blob to be added to a weight file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NewBlob {
    /// The element type.
    pub data_type: StorageType,
    /// The elements, little-endian; those smaller than a byte packed, the
    /// first one in the lowest bits.
    pub data: NewData,
    /// The unused bits in the last byte; 0 for types of whole bytes.
    pub padding_bits: u64,
}

/// What an added blob holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NewData {
    /// These bytes.
    Bytes(Bytes),
    /// A part of a blob of the old file, copied without passing through memory
    /// where the operating system can.
    Range {
        /// The offset of the blob's record in the old file.
        offset: u64,
        /// The first byte, counted from the blob's first.
        start: u64,
        /// How many bytes.
        len: u64,
    },
}

impl NewData {
    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        match self {
            NewData::Bytes(bytes) => bytes.len() as u64,
            NewData::Range { len, .. } => *len,
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Bytes> for NewData {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

/// A weight file to be written, and where everything went.
#[derive(Debug)]
pub struct RewrittenWeights {
    /// The content of the file.
    pub pieces: Vec<Piece>,
    /// For every blob kept: its old offset, and its new one.
    pub moved: BTreeMap<u64, u64>,
    /// For every blob added: its offset.
    pub added: Vec<u64>,
    /// Whether the file is the old one, byte for byte.
    pub unchanged: bool,
}

/// Where an added blob is found.
enum Home {
    /// With the kept blob that has this offset in the old file.
    Kept(u64),
    /// With the n-th blob that is really written.
    Written(usize),
}

/// Plans a weight file with the blobs of `old` at the offsets `kept` and then
/// the blobs `added`.
///
/// Blobs stay in the order of the old file, with their records kept but for the
/// data's offset. When every blob of the old file is kept and nothing is added,
/// the file is the old one byte for byte. A new blob that equals a kept one, or
/// an earlier new one, is not written again.
///
/// # Errors
/// [`Error::Weight`] when an offset in `kept` is no blob of `old` (also when
/// `old` is `None`), a new blob is no whole number of elements, or it is a part
/// of a blob that `old` does not have.
pub fn rewrite_weights(
    old: Option<&WeightFile>,
    kept: &BTreeSet<u64>,
    added: &[NewBlob],
) -> Result<RewrittenWeights> {
    let path = old.map_or(Path::new("(new weight file)"), WeightFile::path);
    let fail = |offset, fault| Error::Weight {
        path: path.to_owned(),
        offset,
        fault,
    };
    let mut blobs = Vec::with_capacity(kept.len());
    for &offset in kept {
        let old = old.ok_or_else(|| fail(offset, WeightFault::RecordPastEnd { len: 0 }))?;
        blobs.push(old.blob(offset)?);
    }
    let (homes, written) = find_homes(&blobs, added);

    if let Some(old) = old
        && u64::from(old.count()) == kept.len() as u64
        && written.is_empty()
    {
        let at = |home: &Home| match home {
            Home::Kept(offset) => *offset,
            Home::Written(_) => 0, // none are
        };
        return Ok(RewrittenWeights {
            pieces: vec![Piece::Range(old.source().clone())],
            moved: kept.iter().map(|&offset| (offset, offset)).collect(),
            added: homes.iter().map(at).collect(),
            unchanged: true,
        });
    }

    let mut layout = Layout::new();
    layout.push(header(old, blobs.len() + written.len(), path)?);
    let mut moved = BTreeMap::new();
    for blob in &blobs {
        let source = old
            .map(WeightFile::source)
            .ok_or_else(|| fail(blob.offset, WeightFault::RecordPastEnd { len: 0 }))?;
        let offset = layout
            .keep(source, blob)
            .map_err(|fault| fail(blob.offset, fault))?;
        moved.insert(blob.offset, offset);
    }
    let mut offsets = Vec::with_capacity(written.len());
    for blob in written {
        let piece = match &blob.data {
            NewData::Bytes(bytes) => Piece::Bytes(bytes.clone()),
            &NewData::Range { offset, start, len } => {
                let old = old.ok_or_else(|| fail(offset, WeightFault::RecordPastEnd { len: 0 }))?;
                Piece::Range(part(old, offset, start, len)?)
            }
        };
        let added = layout.add(blob, piece);
        offsets.push(added.map_err(|fault| fail(layout.end, fault))?);
    }
    let at = |home: &Home| match home {
        Home::Kept(offset) => moved.get(offset).copied(),
        Home::Written(index) => offsets.get(*index).copied(),
    };
    let added = homes.iter().filter_map(at).collect();
    Ok(RewrittenWeights {
        pieces: layout.pieces,
        moved,
        added,
        unchanged: false,
    })
}

/// A part of a blob of that file.
fn part(old: &WeightFile, offset: u64, start: u64, len: u64) -> Result<Source> {
    let blob = old.blob(offset)?;
    let size = blob.data.len() as u64;
    let inside = start.checked_add(len).is_some_and(|end| end <= size);
    let at = blob.data_offset.checked_add(start).filter(|_| inside);
    at.and_then(|at| old.source().slice(at, len))
        .ok_or_else(|| Error::Weight {
            path: old.path().to_owned(),
            offset,
            fault: WeightFault::DataPastEnd {
                data_offset: blob.data_offset.saturating_add(start),
                size: len,
                len: old.len(),
            },
        })
}

/// Finds for each added blob an equal one that is kept or added before it.
fn find_homes<'a>(kept: &[Blob<'_>], added: &'a [NewBlob]) -> (Vec<Home>, Vec<&'a NewBlob>) {
    let mut by_shape: HashMap<(StorageType, usize, u64), Vec<&Blob<'_>>> = HashMap::new();
    for blob in kept {
        let shape = (blob.data_type, blob.data.len(), blob.padding_bits);
        by_shape.entry(shape).or_default().push(blob);
    }
    let mut seen: HashMap<&NewBlob, usize> = HashMap::new();
    let mut written = Vec::new();
    let mut homes = Vec::with_capacity(added.len());
    for blob in added {
        let equal = match &blob.data {
            NewData::Bytes(data) => {
                let shape = (blob.data_type, data.len(), blob.padding_bits);
                let candidates = by_shape.get(&shape).map(Vec::as_slice).unwrap_or_default();
                candidates.iter().find(|kept| kept.data == data)
            }
            // Comparing it would read it all; it is smaller than the blob it is from.
            NewData::Range { .. } => None,
        };
        let home = match equal {
            Some(kept) => Home::Kept(kept.offset),
            None => Home::Written(*seen.entry(blob).or_insert_with(|| {
                written.push(blob);
                written.len() - 1
            })),
        };
        homes.push(home);
    }
    (homes, written)
}

/// The header for `count` blobs; what else the old one holds is kept.
pub(crate) fn header(old: Option<&WeightFile>, count: usize, path: &Path) -> Result<Piece> {
    let mut header = match old {
        Some(old) => old.header().to_vec(),
        None => vec![0; ALIGNMENT as usize],
    };
    let count = u32::try_from(count).map_err(|_| Error::OutputForm {
        path: PathBuf::from(path),
        reason: format!("{count} blobs are more than a weight file can hold"),
    })?;
    header[..4].copy_from_slice(&count.to_le_bytes());
    header[4..8].copy_from_slice(&VERSION.to_le_bytes());
    Ok(Piece::Bytes(header.into()))
}

/// A file being laid out.
pub(crate) struct Layout {
    pieces: Vec<Piece>,
    /// How long the pieces are.
    at: u64,
    /// Where the next record goes: `at`, rounded up.
    end: u64,
}

impl Layout {
    pub(crate) fn new() -> Self {
        Layout {
            pieces: Vec::new(),
            at: 0,
            end: ALIGNMENT,
        }
    }

    pub(crate) fn pieces(self) -> Vec<Piece> {
        self.pieces
    }

    /// Appends to the file, whatever it is.
    pub(crate) fn push(&mut self, piece: Piece) {
        self.at += piece.len();
        if let (Some(Piece::Range(last)), Piece::Range(next)) = (self.pieces.last_mut(), &piece)
            && let Some(both) = last.joined(next)
        {
            *last = both;
            return;
        }
        self.pieces.push(piece);
    }

    /// Fills up to where the next record goes, and moves that past `size`
    /// bytes of data.
    fn advance(&mut self, data_offset: u64, size: u64) -> Result<(), WeightFault> {
        let fault = WeightFault::Overflow { data_offset, size };
        let end = data_offset.checked_add(size).ok_or(fault.clone())?;
        self.end = end.checked_next_multiple_of(ALIGNMENT).ok_or(fault)?;
        Ok(())
    }

    fn fill(&mut self) {
        let missing = self.end.saturating_sub(self.at) as usize;
        if missing > 0 {
            self.push(Piece::Bytes(
                Bytes::from_static(&[0; ALIGNMENT as usize]).slice(..missing),
            ));
        }
    }

    /// Adds a blob of another file; where it is now.
    pub(crate) fn keep(&mut self, source: &Source, blob: &Blob<'_>) -> Result<u64, WeightFault> {
        self.fill();
        let offset = self.end;
        let data_offset = offset + ALIGNMENT;
        let size = blob.data.len() as u64;
        let past_end = WeightFault::DataPastEnd {
            data_offset: blob.data_offset,
            size,
            len: source.len(),
        };
        if blob.data_offset == data_offset {
            let record = source
                .slice(blob.offset, ALIGNMENT)
                .ok_or(past_end.clone())?;
            self.push(Piece::Range(record));
        } else {
            let mut record = blob.record.to_vec();
            record[16..24].copy_from_slice(&data_offset.to_le_bytes());
            self.push(Piece::Bytes(record.into()));
        }
        self.push(Piece::Range(
            source.slice(blob.data_offset, size).ok_or(past_end)?,
        ));
        self.advance(data_offset, size)?;
        // The old file's own filling, where it has some, keeps ranges together.
        let filling = self.end - self.at;
        if let Some(filling) = source.slice(blob.data_offset + size, filling)
            && !filling.is_empty()
        {
            self.push(Piece::Range(filling));
        }
        Ok(offset)
    }

    /// Adds a blob whose data is `piece`.
    fn add(&mut self, blob: &NewBlob, piece: Piece) -> Result<u64, WeightFault> {
        let size = piece.len();
        blob.data_type.check_size(size, blob.padding_bits)?;
        self.fill();
        let offset = self.end;
        let data_offset = offset + ALIGNMENT;
        let mut record = vec![0; ALIGNMENT as usize];
        record[..4].copy_from_slice(&SENTINEL.to_le_bytes());
        record[4..8].copy_from_slice(&blob.data_type.number().to_le_bytes());
        record[8..16].copy_from_slice(&size.to_le_bytes());
        record[16..24].copy_from_slice(&data_offset.to_le_bytes());
        record[24..32].copy_from_slice(&blob.padding_bits.to_le_bytes());
        self.push(Piece::Bytes(record.into()));
        self.push(piece);
        self.advance(data_offset, size)?;
        Ok(offset)
    }
}
