//! One `.npy` stream: NumPy's array file format, versions 1.0 to 3.0.
//!
//! The header is a Python dict literal with the keys `descr`, `fortran_order`
//! and `shape`; exactly that much of Python is parsed, with no recursion and
//! no allocation that the bytes present do not pay for.

use std::io::{Read, Write};

mod elements;
pub(crate) mod header;

use crate::array::{Array, Data, element_count, with_data};
use elements::{decode, encode, to_row_major};
use header::Header;

/// Most bytes that the arrays of one file may have together: a guard against
/// files that inflate.
pub const MAX_BYTES: usize = 8 << 30;

/// Why a stream is not an array that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NpyError {
    /// The operating system or the decompressor failed.
    #[error("cannot read it: {0}")]
    Read(#[from] std::io::Error),
    /// The first bytes are not NumPy's.
    #[error("it is not a NumPy array: it does not start with \\x93NUMPY")]
    Magic,
    /// A format version that does not exist yet.
    #[error("its format version {0}.{1} is not known; versions 1.0, 2.0 and 3.0 are")]
    Version(u8, u8),
    /// The stream ends inside the header or the data.
    #[error("it is cut short: {wanted} bytes of {what} announced, {found} found")]
    Truncated {
        /// The part that is incomplete.
        what: &'static str,
        /// Bytes announced.
        wanted: usize,
        /// Bytes present.
        found: usize,
    },
    /// Bytes after the last element.
    #[error("there are bytes after its last element")]
    Trailing,
    /// The header is not the dict that the format asks for.
    #[error("its header is malformed at byte {at}: {problem}")]
    Header {
        /// Byte within the dict literal.
        at: usize,
        /// What was expected there.
        problem: &'static str,
    },
    /// An element type that no feature of a model has.
    #[error(
        "its element type {0} is not supported; use bool, int8 to int64, uint8 to uint64, float16, float32 or float64"
    )]
    ElementType(String),
    /// Too many elements, axes or header bytes.
    #[error("it is too large: {0}")]
    TooLarge(String),
}

/// Reads one array of at most `limit` bytes and requires that the stream ends
/// with it.
pub fn read(mut stream: impl Read, limit: usize) -> Result<Array, NpyError> {
    let header = Header::read(&mut stream)?;
    let too_large = || {
        NpyError::TooLarge(format!(
            "shape {:?} of {} does not fit into {limit} bytes",
            header.shape, header.dtype
        ))
    };
    let count = element_count(&header.shape).ok_or_else(too_large)?;
    let wanted = count
        .checked_mul(header.dtype.size())
        .filter(|&n| n <= limit)
        .ok_or_else(too_large)?;
    let mut bytes = Vec::new();
    // One byte more than announced, to notice what follows the array.
    stream.take(wanted as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() < wanted {
        return Err(NpyError::Truncated {
            what: "data",
            wanted,
            found: bytes.len(),
        });
    }
    if bytes.len() > wanted {
        return Err(NpyError::Trailing);
    }
    let mut data = decode(&bytes, header.dtype, header.big_endian);
    if header.fortran && header.shape.len() > 1 {
        data = with_data!(data, v => to_row_major(&v, &header.shape).into());
    }
    Array::new(header.shape, data).ok_or(NpyError::Header {
        at: 0,
        problem: "the shape does not fit the data",
    })
}

/// Writes one array: format version 1.0, row-major, little-endian, the bytes
/// that `numpy.save` writes.
pub fn write(array: &Array, mut stream: impl Write) -> std::io::Result<()> {
    stream.write_all(&header::bytes(array.dtype(), array.shape())?)?;
    stream.write_all(&encode(array.data()))
}

/// The elements of an array as [`write()`] writes them: little-endian.
pub fn elements(data: &Data) -> Vec<u8> {
    encode(data)
}

#[cfg(test)]
mod tests;
