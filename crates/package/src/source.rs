//! Ranges of open files: what a package is read from and copied from.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};

use crate::error::{Error, Result};

/// A range of a file that is open for reading: a file of a package folder, or
/// a stored entry of a zip.
#[derive(Debug, Clone)]
pub struct Source {
    // The lock is for the file's position, which its copies share.
    file: Arc<Mutex<File>>,
    path: PathBuf,
    offset: u64,
    len: u64,
}

impl Source {
    /// Opens a regular file whole.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: &Path) -> Result<Source> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let metadata = file
            .metadata()
            .map_err(Error::io("read the size of", path))?;
        if !metadata.is_file() {
            let source = io::Error::other("it is not a regular file");
            return Err(Error::Io {
                action: "open",
                path: path.to_owned(),
                source,
            });
        }
        Ok(Self::new(file, path, 0, metadata.len()))
    }

    /// A range of an open file; `path` is for error messages. The caller has
    /// checked that the range lies in the file.
    pub(crate) fn new(file: File, path: &Path, offset: u64, len: u64) -> Source {
        Source {
            file: Arc::new(Mutex::new(file)),
            path: path.to_owned(),
            offset,
            len,
        }
    }

    /// Where it is, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A part of it; `None` when the part is not inside.
    pub fn slice(&self, offset: u64, len: u64) -> Option<Source> {
        let end = offset.checked_add(len)?;
        let start = self.offset.checked_add(offset)?;
        (end <= self.len).then(|| Source {
            offset: start,
            len,
            ..self.clone()
        })
    }

    /// The source that spans this one and `next`, when `next` follows directly
    /// in the same file.
    pub(crate) fn joined(&self, next: &Source) -> Option<Source> {
        let follows = Arc::ptr_eq(&self.file, &next.file)
            && self.offset.checked_add(self.len) == Some(next.offset);
        let len = self.len.checked_add(next.len)?;
        follows.then(|| Source {
            len,
            ..self.clone()
        })
    }

    /// Copies a part to `out` and returns how many bytes came; fewer than `len`
    /// when the file has shrunk.
    ///
    /// From file to file the operating system copies by itself where it can,
    /// without the bytes passing through this process.
    ///
    /// # Errors
    /// The system's, of reading or of writing.
    pub(crate) fn copy<W: io::Write>(&self, offset: u64, len: u64, out: &mut W) -> io::Result<u64> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = &*file;
        file.seek(SeekFrom::Start(self.offset + offset))?;
        io::copy(
            &mut file.take(len.min(self.len.saturating_sub(offset))),
            out,
        )
    }

    /// Reads it into memory.
    ///
    /// # Errors
    /// [`Error::Io`], also when the bytes do not fit in memory.
    pub(crate) fn read(&self) -> Result<Bytes> {
        let fail = Error::io("read", &*self.path);
        let read = || -> io::Result<Vec<u8>> {
            let size = usize::try_from(self.len).map_err(io::Error::other)?;
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(size).map_err(io::Error::other)?;
            let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            let mut file = &*file;
            file.seek(SeekFrom::Start(self.offset))?;
            file.take(self.len).read_to_end(&mut bytes)?;
            if bytes.len() != size {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            Ok(bytes)
        };
        read().map(Bytes::from).map_err(fail)
    }

    /// Maps it into memory.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn map(&self) -> Result<Mmap> {
        let fail = Error::io("map", &*self.path);
        let len = match usize::try_from(self.len) {
            Ok(len) => len,
            Err(error) => return Err(fail(io::Error::other(error))),
        };
        let mut options = MmapOptions::new();
        options.offset(self.offset).len(len);
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        #[allow(
            unsafe_code,
            reason = "a map is the only way to reach into gigabytes of weights without reading \
                      them. It is read-only and handed out as plain bytes, which every value \
                      is valid for. What remains is another process that changes or truncates \
                      the file meanwhile: the same hazard that every mapping program, the \
                      system's linker included, lives with"
        )]
        let map = unsafe { options.map(&*file) };
        map.map_err(fail)
    }

    /// A hash of the content (FNV-1a, 64 bits), to tell equal files apart from
    /// different ones; not a safeguard against forgery. Reads every byte.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn digest(&self) -> Result<u64> {
        let start: u64 = 0xcbf2_9ce4_8422_2325;
        if self.is_empty() {
            return Ok(start);
        }
        let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        Ok(self.map()?.iter().fold(start, step))
    }
}
