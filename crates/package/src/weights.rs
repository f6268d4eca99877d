//! The weight file: data between 64-byte records ("blob storage", version 2).
//!
//! A file is a 64-byte header (u32 count of records, u32 version, the rest
//! zero) and then, per blob, a 64-byte record (u32 sentinel, u32 element type,
//! u64 size in bytes, u64 offset of the data in the file, u64 padding in bits,
//! the rest reserved) with its data; both start at multiples of 64. A program
//! refers to the offset of the record. All numbers are little-endian.
//!
//! Files written before iOS 18 hold arbitrary bytes in the padding and reserved
//! fields, so those are kept as they are, and the padding counts only for the
//! element types that are smaller than a byte, which are newer.

use std::fmt;
use std::path::Path;

use memmap2::Mmap;

use crate::error::{Error, Result, WeightFault};
use crate::source::Source;

/// The unit that headers, records and data are aligned to, and the size of
/// both header and record.
pub const ALIGNMENT: u64 = 64;

pub(crate) const SENTINEL: u32 = 0xdead_beef;
pub(crate) const VERSION: u32 = 2;

macro_rules! storage_types {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $bits:literal, $text:literal;)*) => {
        /// The element type of a blob, as its record numbers it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "the names say it")]
        pub enum StorageType {
            $($(#[$doc])* $name,)*
            /// A number that this build does not know.
            Other(u32),
        }

        impl StorageType {
            /// All types that have a name, with their numbers.
            pub const ALL: &'static [(u32, StorageType)] =
                &[$(($number, StorageType::$name)),*];

            /// The type with this number in a record.
            pub fn from_number(number: u32) -> StorageType {
                match number {
                    $($number => StorageType::$name,)*
                    other => StorageType::Other(other),
                }
            }

            /// Its number in a record.
            pub fn number(self) -> u32 {
                match self {
                    $(StorageType::$name => $number,)*
                    StorageType::Other(number) => number,
                }
            }

            /// Bits of one element; `None` for an unknown type.
            pub fn bits(self) -> Option<u32> {
                match self {
                    $(StorageType::$name => Some($bits),)*
                    StorageType::Other(_) => None,
                }
            }
        }

        impl fmt::Display for StorageType {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(StorageType::$name => out.write_str($text),)*
                    StorageType::Other(number) => write!(out, "storage type {number}"),
                }
            }
        }
    };
}

storage_types! {
    Float16 = 1, 16, "fp16";
    Float32 = 2, 32, "fp32";
    UInt8 = 3, 8, "uint8";
    Int8 = 4, 8, "int8";
    BFloat16 = 5, 16, "bf16";
    Int16 = 6, 16, "int16";
    UInt16 = 7, 16, "uint16";
    Int4 = 8, 4, "int4";
    UInt1 = 9, 1, "uint1";
    UInt2 = 10, 2, "uint2";
    UInt4 = 11, 4, "uint4";
    UInt3 = 12, 3, "uint3";
    UInt6 = 13, 6, "uint6";
    Int32 = 14, 32, "int32";
    UInt32 = 15, 32, "uint32";
    Float8E4M3FN = 16, 8, "fp8e4m3fn";
    Float8E5M2 = 17, 8, "fp8e5m2";
}

impl StorageType {
    /// Whether `size` bytes of which the last `padding` bits are unused hold a
    /// whole number of elements.
    pub(crate) fn check_size(self, size: u64, padding: u64) -> Result<(), WeightFault> {
        let Some(bits) = self.bits() else {
            return Ok(());
        };
        let used = size.checked_mul(8).and_then(|all| all.checked_sub(padding));
        let whole = used.is_some_and(|used| used.is_multiple_of(u64::from(bits)));
        if whole && padding < 8 {
            return Ok(());
        }
        Err(WeightFault::PartialElement {
            size,
            padding,
            data_type: self,
        })
    }
}

/// One blob of a weight file; everything about it has been checked.
#[derive(Clone, Copy)]
pub struct Blob<'a> {
    /// Where its record starts in the file; what a program refers to.
    pub offset: u64,
    /// The element type.
    pub data_type: StorageType,
    /// Where its data starts in the file.
    pub data_offset: u64,
    /// The unused bits at the end of the data; 0 for types of whole bytes.
    pub padding_bits: u64,
    /// The 64 bytes of the record as they are.
    pub record: [u8; ALIGNMENT as usize],
    /// The data.
    pub data: &'a [u8],
}

impl Blob<'_> {
    /// How many elements it holds; `None` for an unknown type.
    pub fn element_count(&self) -> Option<u64> {
        let bits = u64::from(self.data_type.bits()?);
        Some((self.data.len() as u64 * 8 - self.padding_bits) / bits)
    }
}

impl fmt::Debug for Blob<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Blob")
            .field("offset", &self.offset)
            .field("data_type", &self.data_type)
            .field("data_offset", &self.data_offset)
            .field("padding_bits", &self.padding_bits)
            .field("size", &self.data.len())
            .finish_non_exhaustive()
    }
}

/// A weight file. Its data is mapped into memory: pages are read when they are
/// touched. Header and records are read and not mapped, since touching a page
/// brings in its neighbours, and a file has records all over.
#[derive(Debug)]
pub struct WeightFile {
    source: Source,
    map: Mmap,
    header: [u8; ALIGNMENT as usize],
}

impl WeightFile {
    /// Maps a weight file and checks its header.
    ///
    /// # Errors
    /// [`Error::Weight`] when the header is short or of another version,
    /// [`Error::Io`].
    pub fn open(source: &Source) -> Result<WeightFile> {
        let fail = |fault| Error::Weight {
            path: source.path().to_owned(),
            offset: 0,
            fault,
        };
        if source.len() < ALIGNMENT {
            return Err(fail(WeightFault::NoHeader { len: source.len() }));
        }
        let mut header = [0; ALIGNMENT as usize];
        source
            .read_exact_at(0, &mut header)
            .map_err(|error| source.failed(error))?;
        let version = u32_at(&header, 4);
        if version != VERSION {
            return Err(fail(WeightFault::Version { version }));
        }
        Ok(WeightFile {
            header,
            source: source.clone(),
            map: source.map()?,
        })
    }

    /// How many blobs the header announces.
    pub fn count(&self) -> u32 {
        u32_at(&self.header, 0)
    }

    /// The file's length.
    pub fn len(&self) -> u64 {
        self.source.len()
    }

    /// Whether the header announces no blobs.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    /// The file as a range to copy from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The header's 64 bytes.
    pub(crate) fn header(&self) -> &[u8] {
        &self.header
    }

    /// The blob whose record starts at `offset`.
    ///
    /// # Errors
    /// [`Error::Weight`] with what is wrong there; see [`WeightFault`].
    /// [`Error::Io`].
    pub fn blob(&self, offset: u64) -> Result<Blob<'_>> {
        let fail = |fault| Error::Weight {
            path: self.path().to_owned(),
            offset,
            fault,
        };
        self.check_offset(offset).map_err(fail)?;
        let mut record = [0; ALIGNMENT as usize];
        self.source
            .read_exact_at(offset, &mut record)
            .map_err(|error| self.source.failed(error))?;
        self.check_record(offset, record).map_err(fail)
    }

    /// Whether a record can be there.
    fn check_offset(&self, offset: u64) -> Result<(), WeightFault> {
        if !offset.is_multiple_of(ALIGNMENT) {
            return Err(WeightFault::Misaligned {
                what: "the record's offset",
                value: offset,
            });
        }
        if offset < ALIGNMENT {
            return Err(WeightFault::RecordInHeader);
        }
        match offset.checked_add(ALIGNMENT) {
            Some(end) if end <= self.len() => Ok(()),
            _ => Err(WeightFault::RecordPastEnd { len: self.len() }),
        }
    }

    /// The blob of a record.
    fn check_record(
        &self,
        offset: u64,
        record: [u8; ALIGNMENT as usize],
    ) -> Result<Blob<'_>, WeightFault> {
        let len = self.len();
        let found = u32_at(&record, 0);
        if found != SENTINEL {
            return Err(WeightFault::Sentinel { found });
        }
        let data_type = StorageType::from_number(u32_at(&record, 4));
        let size = u64_at(&record, 8);
        let data_offset = u64_at(&record, 16);
        let end = data_offset
            .checked_add(size)
            .ok_or(WeightFault::Overflow { data_offset, size })?;
        if !data_offset.is_multiple_of(ALIGNMENT) {
            let what = "the data's offset";
            return Err(WeightFault::Misaligned {
                what,
                value: data_offset,
            });
        }
        if data_offset < ALIGNMENT {
            return Err(WeightFault::DataOverlap {
                data_offset,
                size,
                with: "the file's header",
            });
        }
        if data_offset < offset + ALIGNMENT && end > offset {
            return Err(WeightFault::DataOverlap {
                data_offset,
                size,
                with: "its own record",
            });
        }
        let data = self
            .range(data_offset, size)
            .ok_or(WeightFault::DataPastEnd {
                data_offset,
                size,
                len,
            })?;
        let packed = data_type.bits().is_some_and(|bits| bits < 8);
        let padding_bits = if packed { u64_at(&record, 24) } else { 0 };
        data_type.check_size(size, padding_bits)?;
        Ok(Blob {
            offset,
            data_type,
            data_offset,
            padding_bits,
            record,
            data,
        })
    }

    fn range(&self, offset: u64, size: u64) -> Option<&[u8]> {
        let start = usize::try_from(offset).ok()?;
        let end = usize::try_from(offset.checked_add(size)?).ok()?;
        self.map.get(start..end)
    }
}

/// Reads the number at `at`; the caller has checked that it is inside.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut out = [0; 4];
    out.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(out)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(out)
}
