//! `.npz`.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write};
use std::path::Path;

use milwright_ir::DataType;
use milwright_package::Source;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use super::{FileTensor, Planned, Sink};
use crate::array::{DType, element_count};
use crate::error::Error;
use crate::npy::{self, NpyError, header};

/// The largest array that is turned from columns into rows, in bytes: that is
/// done in memory.
const IN_MEMORY: usize = 4 << 30;

pub(super) fn read(path: &Path) -> Result<Vec<FileTensor>, Error> {
    let not_npz = |problem: String| Error::NotNpz {
        path: path.to_owned(),
        problem,
        help: "write it with numpy.savez",
    };
    let whole = Source::open(path)?;
    let file = File::open(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(|e| not_npz(e.to_string()))?;
    let mut tensors: Vec<FileTensor> = Vec::new();
    for index in 0..zip.len() {
        let entry = zip.by_index(index);
        let mut entry = entry.map_err(|e| not_npz(format!("entry {index}: {e}")))?;
        let full = String::from_utf8_lossy(entry.name_raw()).into_owned();
        let Some(name) = full.strip_suffix(".npy") else {
            return Err(not_npz(format!("entry `{full}` is not an .npy array")));
        };
        if tensors.iter().any(|t| t.name == name) {
            return Err(not_npz(format!("two entries are named `{full}`")));
        }
        let stored = entry.compression() == CompressionMethod::Stored;
        let place = entry.data_start().filter(|_| stored);
        let place = place.and_then(|start| whole.slice(start, entry.size()));
        let tensor = one(name, &mut entry, place, path).map_err(|source| Error::Array {
            path: path.to_owned(),
            array: Some(name.to_owned()),
            source,
        })?;
        tensors.push(tensor);
    }
    Ok(tensors)
}

/// Reads an entry, whose bytes are at `place` when they are not compressed.
fn one(
    name: &str,
    entry: &mut impl Read,
    place: Option<Source>,
    path: &Path,
) -> Result<FileTensor, NpyError> {
    let mut counted = Counted {
        inner: entry,
        read: 0,
    };
    let found = header::Header::read(&mut counted)?;
    let start = counted.read;
    let too_large = || NpyError::TooLarge(format!("shape {:?} of {}", found.shape, found.dtype));
    let count = element_count(&found.shape).ok_or_else(too_large)?;
    let size = count
        .checked_mul(found.dtype.size())
        .ok_or_else(too_large)? as u64;
    let short = |found: u64| NpyError::Truncated {
        what: "data",
        wanted: usize::try_from(size).unwrap_or(usize::MAX),
        found: usize::try_from(found).unwrap_or(usize::MAX),
    };
    let as_it_is = !found.big_endian && (!found.fortran || found.shape.len() < 2);
    let data = match place {
        Some(place) if as_it_is => {
            // Reading to the end checks the archive's checksum.
            let rest = io::copy(&mut counted, &mut io::sink())?;
            if rest > size {
                return Err(NpyError::Trailing);
            }
            place.slice(start, size).ok_or_else(|| short(rest))?
        }
        _ => {
            let mut spool = tempfile::tempfile()?;
            let mut counted = counted.take(size.saturating_add(1));
            let copied = if as_it_is {
                io::copy(&mut counted, &mut spool)?
            } else {
                let mut head = header::bytes(found.dtype, &found.shape)?;
                head = respell(head, found.big_endian, found.fortran);
                let array = npy::read(head.as_slice().chain(&mut counted), IN_MEMORY)?;
                let mut bytes = Vec::new();
                npy::write(&array, &mut bytes)?;
                let elements = bytes.split_off(bytes.len().saturating_sub(size as usize));
                spool.write_all(&elements)?;
                elements.len() as u64
            };
            if copied < size {
                return Err(short(copied));
            }
            if copied > size {
                return Err(NpyError::Trailing);
            }
            spool.seek(SeekFrom::Start(0))?;
            Source::temporary(spool, path).map_err(|e| NpyError::Read(io::Error::other(e)))?
        }
    };
    Ok(FileTensor {
        name: name.to_owned(),
        dtype: data_type(found.dtype),
        shape: found.shape.iter().map(|&d| d as u64).collect(),
        data,
    })
}

/// A header that says again how the elements are laid out.
fn respell(head: Vec<u8>, big_endian: bool, fortran: bool) -> Vec<u8> {
    let mut text = String::from_utf8_lossy(&head[10..]).into_owned();
    if big_endian {
        text = text.replacen("'<", "'>", 1);
    }
    if fortran {
        // One letter less, and a blank at the end more.
        text = text.replacen("False", "True", 1).replacen('}', "} ", 1);
    }
    [&head[..10], text.as_bytes()].concat()
}

/// Counts what was read.
struct Counted<R> {
    inner: R,
    read: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(into)?;
        self.read += n as u64;
        Ok(n)
    }
}

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
    let mut zip = ZipWriter::new(BufWriter::new(file));
    let result = (|| {
        for (index, plan) in plans.iter().enumerate() {
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Stored)
                .last_modified_time(DateTime::default())
                .unix_permissions(0o644)
                // Room for the header below the 4 GiB at which zip64 begins.
                .large_file(plan.size > u64::from(u32::MAX) - 65_536);
            let name = format!("{}.npy", plan.tensor.name);
            zip.start_file(name, options)
                .map_err(|e| failed(e.into()))?;
            let shape: Vec<usize> = plan
                .tensor
                .shape
                .iter()
                .map(|&d| usize::try_from(d).unwrap_or(usize::MAX))
                .collect();
            let dtype = dtype(plan.held).ok_or_else(|| Error::Tensor {
                path: path.to_owned(),
                tensor: plan.tensor.name.clone(),
                problem: format!("NumPy has no type for {}", plan.held),
            })?;
            let head = header::bytes(dtype, &shape).map_err(failed)?;
            zip.write_all(&head).map_err(failed)?;
            one(index, Sink::Stream(&mut zip))?;
        }
        Ok(())
    })();
    if let Err(error) = result {
        // Dropped unfinished, it would write on and complain on its own.
        std::mem::forget(zip);
        return Err(error);
    }
    let mut buffer = zip.finish().map_err(|e| failed(e.into()))?;
    Ok(buffer.flush().map_err(failed)?)
}

const TYPES: [(DType, DataType); 12] = [
    (DType::Bool, DataType::Bool),
    (DType::Int8, DataType::Int8),
    (DType::Int16, DataType::Int16),
    (DType::Int32, DataType::Int32),
    (DType::Int64, DataType::Int64),
    (DType::Uint8, DataType::UInt8),
    (DType::Uint16, DataType::UInt16),
    (DType::Uint32, DataType::UInt32),
    (DType::Uint64, DataType::UInt64),
    (DType::Float16, DataType::Float16),
    (DType::Float32, DataType::Float32),
    (DType::Float64, DataType::Float64),
];

fn data_type(dtype: DType) -> DataType {
    let found = TYPES.into_iter().find(|(array, _)| *array == dtype);
    found.map_or(DataType::Unknown(0), |(_, model)| model)
}

fn dtype(of: DataType) -> Option<DType> {
    let found = TYPES.into_iter().find(|(_, model)| *model == of);
    found.map(|(array, _)| array)
}
