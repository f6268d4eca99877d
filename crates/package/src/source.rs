//! Ranges of open files: what a package is read from and copied from.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};

use crate::error::{Error, Result};

/// A range of a file that is open for reading: a file of a package folder, or
/// a stored entry of a zip.
#[derive(Debug, Clone)]
pub struct Source {
    file: Arc<OpenFile>,
    offset: u64,
    len: u64,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    path: PathBuf,
    stamp: Stamp,
}

/// What tells that a file was written to, or that another one took its place:
/// its length, when it was written to last, and which file it is. Times alone do
/// not tell files apart that were written in the same tick of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    len: u64,
    // Not every file system knows.
    modified: Option<SystemTime>,
    /// Device and number, where files have one.
    file: Option<(u64, u64)>,
}

impl Stamp {
    pub(crate) fn of(metadata: &fs::Metadata) -> Stamp {
        Stamp {
            len: metadata.len(),
            modified: metadata.modified().ok(),
            file: number(metadata),
        }
    }

    /// # Errors
    /// [`Error::InputChanged`] when this, taken later, is another stamp.
    fn check(self, later: Stamp, path: &Path) -> Result<()> {
        if later == self {
            return Ok(());
        }
        let how = if later.len != self.len {
            format!("it has {} bytes, and had {}", later.len, self.len)
        } else if later.file != self.file {
            "another file took its place".to_owned()
        } else {
            "it was written to".to_owned()
        };
        Err(Error::InputChanged {
            path: path.to_owned(),
            how,
        })
    }
}

#[cfg(unix)]
fn number(metadata: &fs::Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn number(_: &fs::Metadata) -> Option<(u64, u64)> {
    None
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
        let stamp = Stamp::of(&metadata);
        Ok(Self::new(file, path, stamp, 0, stamp.len))
    }

    /// Opens a regular file that has been looked at before.
    ///
    /// # Errors
    /// [`Error::InputChanged`] when it is another one now; [`Error::Io`].
    pub(crate) fn open_same(path: &Path, stamp: Stamp) -> Result<Source> {
        let source = Source::open(path)?;
        stamp.check(source.file.stamp, path)?;
        Ok(source)
    }

    /// A temporary file that was written, whole. `path` is for error messages.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn temporary(file: File, path: &Path) -> Result<Source> {
        let metadata = file
            .metadata()
            .map_err(Error::io("read the size of", path))?;
        let stamp = Stamp::of(&metadata);
        Ok(Self::new(file, path, stamp, 0, stamp.len))
    }

    /// A range of an open file, which had `stamp` when somebody first looked;
    /// `path` is for error messages. The caller has checked that the range lies
    /// in the file.
    pub(crate) fn new(file: File, path: &Path, stamp: Stamp, offset: u64, len: u64) -> Source {
        let path = path.to_owned();
        Source {
            file: Arc::new(OpenFile { file, path, stamp }),
            offset,
            len,
        }
    }

    /// Where it is, for messages.
    pub fn path(&self) -> &Path {
        &self.file.path
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
        let follows =
            self.is_of_same_file(next) && self.offset.checked_add(self.len) == Some(next.offset);
        let len = self.len.checked_add(next.len)?;
        follows.then(|| Source {
            len,
            ..self.clone()
        })
    }

    /// What the file was when it was first looked at.
    pub(crate) fn stamp(&self) -> Stamp {
        self.file.stamp
    }

    /// Whether both were cut from one open file.
    pub(crate) fn is_of_same_file(&self, other: &Source) -> bool {
        Arc::ptr_eq(&self.file, &other.file)
    }

    /// Checks that nobody has written to the file since it was first looked at.
    ///
    /// # Errors
    /// [`Error::InputChanged`]; [`Error::Io`].
    pub(crate) fn check_unchanged(&self) -> Result<()> {
        let metadata = self.file.file.metadata();
        let metadata = metadata.map_err(Error::io("read the size of", self.path()))?;
        self.file.stamp.check(Stamp::of(&metadata), self.path())
    }

    /// The file, and where `offset` of this range is in it.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "for the copying of Linux")
    )]
    pub(crate) fn place(&self, offset: u64) -> (&File, u64) {
        (&self.file.file, self.offset.saturating_add(offset))
    }

    /// Reads from `offset` on, without moving any position that others share.
    /// Gives how many bytes came: 0 at the end, and where the file has shrunk.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let rest = self.len.saturating_sub(offset);
        let len = usize::try_from(rest).unwrap_or(usize::MAX).min(out.len());
        if len == 0 {
            return Ok(0);
        }
        let at = self.offset.saturating_add(offset);
        loop {
            match position::read_at(&self.file.file, &mut out[..len], at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    /// Reads bytes from `offset` on until `out` is full.
    ///
    /// # Errors
    /// The system's; `UnexpectedEof` where the range or the file ends before.
    pub(crate) fn read_exact_at(&self, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        while !out.is_empty() {
            let read = self.read_at(offset, out)?;
            if read == 0 {
                return Err(ended());
            }
            offset += read as u64;
            out = &mut out[read..];
        }
        Ok(())
    }

    /// What a failed read of this means: a file that ends too early has most
    /// likely been written to.
    pub(crate) fn failed(&self, error: io::Error) -> Error {
        match self.check_unchanged() {
            Err(changed) if error.kind() == io::ErrorKind::UnexpectedEof => changed,
            _ => Error::io("read", self.path())(error),
        }
    }

    /// Reads it into memory.
    ///
    /// # Errors
    /// [`Error::Io`], also when the bytes do not fit in memory;
    /// [`Error::InputChanged`] when somebody has written to the file.
    pub(crate) fn read(&self) -> Result<Bytes> {
        let read = || -> io::Result<Vec<u8>> {
            let size = usize::try_from(self.len).map_err(io::Error::other)?;
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(size).map_err(io::Error::other)?;
            bytes.resize(size, 0);
            self.read_exact_at(0, &mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|error| self.failed(error))?;
        self.check_unchanged()?;
        Ok(bytes.into())
    }

    /// Maps it into memory.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn map(&self) -> Result<Mmap> {
        let fail = Error::io("map", self.path());
        let len = match usize::try_from(self.len) {
            Ok(len) => len,
            Err(error) => return Err(fail(io::Error::other(error))),
        };
        let mut options = MmapOptions::new();
        options.offset(self.offset).len(len);
        #[allow(
            unsafe_code,
            reason = "a map is the only way to reach into gigabytes of weights without reading \
                      them. It is read-only and handed out as plain bytes, which every value \
                      is valid for. What remains is another process that changes or truncates \
                      the file meanwhile: the same hazard that every mapping program, the \
                      system's linker included, lives with"
        )]
        let map = unsafe { options.map(&self.file.file) };
        map.map_err(fail)
    }
}

/// A file or a range that ends too early.
pub(crate) fn ended() -> io::Error {
    let reason = "it became shorter while it was read";
    io::Error::new(io::ErrorKind::UnexpectedEof, reason)
}

/// Reading at a place without a position, as far as systems can.
pub(crate) mod position {
    use std::fs::File;
    use std::io;

    #[cfg(unix)]
    pub(crate) fn read_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(file, out, offset)
    }

    #[cfg(not(unix))]
    pub(crate) use locked::read_at;

    /// For systems that know only a position: one reader at a time.
    #[cfg(any(test, not(unix)))]
    pub(crate) mod locked {
        use std::fs::File;
        use std::io::{self, Read as _, Seek as _, SeekFrom};
        use std::sync::{Mutex, PoisonError};

        static ONE_READER: Mutex<()> = Mutex::new(());

        pub(crate) fn read_at(mut file: &File, out: &mut [u8], offset: u64) -> io::Result<usize> {
            let _lock = ONE_READER.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(offset))?;
            file.read(out)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn readers_do_not_disturb_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("numbers");
        let bytes: Vec<u8> = (0..1 << 20).map(|i: u32| (i / 5) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        let source = Source::open(&path).unwrap();
        let (bytes, source) = (&bytes, &source);
        std::thread::scope(|scope| {
            for start in 0..4 {
                scope.spawn(move || {
                    let mut out = [0; 1000];
                    for at in (start * 999..bytes.len() - 1000).step_by(7919) {
                        source.read_exact_at(at as u64, &mut out).unwrap();
                        assert_eq!(out, bytes[at..at + 1000]);
                        let (file, place) = source.place(at as u64);
                        let read = position::locked::read_at(file, &mut out, place).unwrap();
                        assert_eq!(out[..read], bytes[at..at + read]);
                        assert!(read > 0);
                    }
                });
            }
        });
        let part = source.slice(100, 50).unwrap();
        let mut out = [0; 60];
        assert_eq!(part.read_at(20, &mut out).unwrap(), 30);
        assert_eq!(out[..30], bytes[120..150]);
        assert_eq!(part.read_at(50, &mut out).unwrap(), 0);
        assert_eq!(part.read_at(u64::MAX, &mut out).unwrap(), 0);
        let error = part.read_exact_at(0, &mut out).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
