//! Moving bytes into output files, and their digests on the way.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::error::{Error, Result};
use crate::source::{Source, ended, position};

/// How much is copied at once. Without a digest the size only says how often
/// there is something to report.
const STEP: u64 = 64 << 20;

/// How much is read, or copied and digested, at once: little enough that source,
/// copy and what is read back are all in the cache of the processor together.
const PIECE: usize = 128 << 10;

/// The digest of a file: BLAKE3, in its standard form of 256 bits.
#[derive(Debug, Default)]
pub(crate) struct Digest(blake3::Hasher);

impl Digest {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// 64 hexadecimal digits in lower case.
    pub(crate) fn finish(&self) -> String {
        self.0.finalize().to_hex().to_string()
    }
}

impl Source {
    /// The BLAKE3 digest of what it holds, 64 hexadecimal digits in lower case.
    /// Reads every byte, in pieces.
    ///
    /// # Errors
    /// [`Error::Io`], also when the file has shrunk.
    pub fn digest(&self) -> Result<String> {
        let mut digest = Digest::default();
        let mut buffer = vec![0; PIECE];
        let mut at = 0;
        while at < self.len() {
            let read = self.read_at(at, &mut buffer);
            let read = read.and_then(|read| (read > 0).then_some(read).ok_or_else(ended));
            let read = read.map_err(|error| self.failed(error))?;
            digest.update(&buffer[..read]);
            at += read as u64;
        }
        Ok(digest.finish())
    }
}

impl Source {
    /// Copies a part to `out` and gives how many bytes came: fewer than `len`
    /// where it ends before.
    ///
    /// # Errors
    /// The system's, of reading or of writing.
    pub fn copy(&self, offset: u64, len: u64, out: &mut dyn Write) -> io::Result<u64> {
        let mut buffer = vec![0; PIECE.min(usize::try_from(len).unwrap_or(PIECE))];
        let mut done = 0;
        while done < len {
            let want = usize::try_from(len - done).unwrap_or(PIECE).min(PIECE);
            let read = self.read_at(offset.saturating_add(done), &mut buffer[..want])?;
            if read == 0 {
                break;
            }
            out.write_all(&buffer[..read])?;
            done += read as u64;
        }
        Ok(done)
    }

    /// Appends all of it to a file of `len` bytes, which is open for reading
    /// too; without the bytes passing through this process where the system can
    /// do that. `shown` is what the file is called in messages.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::InputChanged`].
    pub fn append_to(&self, file: &mut File, len: u64, shown: &Path) -> Result<()> {
        let mut target = Target::File { file, len };
        Copier::new(true).range(self, &mut target, shown, &mut |_| {})
    }
}

/// The BLAKE3 digest of bytes, 64 hexadecimal digits in lower case.
pub fn digest(bytes: &[u8]) -> String {
    let mut digest = Digest::default();
    digest.update(bytes);
    digest.finish()
}

/// Where bytes go.
pub(crate) enum Target<'t> {
    /// To a file, from its start; it is open for reading too.
    File {
        file: &'t mut File,
        /// How many bytes it has.
        len: u64,
    },
    /// Through something else.
    Stream(&'t mut dyn Write),
}

impl Target<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Target::File { file, len } => {
                file.write_all(bytes)?;
                *len += bytes.len() as u64;
                Ok(())
            }
            Target::Stream(stream) => stream.write_all(bytes),
        }
    }
}

/// Copies, and digests what it copies.
pub(crate) struct Copier {
    /// The digest of what has been copied since it was put here.
    pub(crate) digest: Option<Digest>,
    /// Whether the system may copy from file to file by itself. It does so
    /// without the bytes passing through this process, and on some file systems
    /// without any bytes moving.
    by_system: bool,
    buffer: Vec<u8>,
}

impl Copier {
    pub(crate) fn new(by_system: bool) -> Self {
        Copier {
            digest: None,
            by_system,
            buffer: Vec::new(),
        }
    }

    /// Writes bytes. `shown` is what the output is called in messages.
    pub(crate) fn bytes(&mut self, bytes: &[u8], to: &mut Target, shown: &Path) -> Result<()> {
        if let Some(digest) = &mut self.digest {
            digest.update(bytes);
        }
        to.write(bytes).map_err(Error::io("write", shown))
    }

    /// Copies a range; `report` is told of every step.
    ///
    /// # Errors
    /// [`Error::Io`] of the source or of the output; [`Error::InputChanged`] or
    /// [`Error::Io`] when the source has shrunk.
    pub(crate) fn range(
        &mut self,
        source: &Source,
        to: &mut Target,
        shown: &Path,
        report: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let mut at = 0;
        while at < source.len() {
            let copied = match self.copy_by_system(source, at, to, shown)? {
                0 => self.copy_by_hand(source, at, to, shown)?,
                copied => copied,
            };
            at += copied;
            report(copied);
        }
        Ok(())
    }

    fn copy_by_hand(
        &mut self,
        source: &Source,
        at: u64,
        to: &mut Target,
        shown: &Path,
    ) -> Result<u64> {
        self.buffer.resize(PIECE, 0);
        let read = source.read_at(at, &mut self.buffer);
        let read = read.and_then(|read| (read > 0).then_some(read).ok_or_else(ended));
        let read = read.map_err(|error| source.failed(error))?;
        let bytes = &self.buffer[..read];
        if let Some(digest) = &mut self.digest {
            digest.update(bytes);
        }
        to.write(bytes).map_err(Error::io("write", shown))?;
        Ok(read as u64)
    }

    /// Gives 0 where the system does not copy.
    fn copy_by_system(
        &mut self,
        source: &Source,
        at: u64,
        to: &mut Target,
        shown: &Path,
    ) -> Result<u64> {
        let Target::File { file, len } = to else {
            return Ok(0);
        };
        if !self.by_system {
            return Ok(0);
        }
        let step = match &self.digest {
            Some(_) => PIECE as u64,
            None => STEP,
        };
        let step = step.min(source.len() - at);
        let copied = match system::copy(source, at, file, step) {
            Ok(copied) => copied,
            Err(error) => return Err(Error::io("write", shown)(error)),
        };
        if copied == 0 {
            // Not between these files; or the source has ended, which reading
            // it will show.
            self.by_system = false;
            return Ok(0);
        }
        if let Some(digest) = &mut self.digest {
            // What the output holds, and not what the source may hold by now.
            self.buffer.resize(PIECE, 0);
            let mut seen = 0;
            while seen < copied {
                let rest = usize::try_from(copied - seen).map_or(PIECE, |rest| rest.min(PIECE));
                let read = position::read_at(file, &mut self.buffer[..rest], *len + seen);
                let read = read.and_then(|read| (read > 0).then_some(read).ok_or_else(ended));
                let read = read.map_err(Error::io("read back", shown))?;
                digest.update(&self.buffer[..read]);
                seen += read as u64;
            }
        }
        *len += copied;
        Ok(copied)
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::fs::File;
    use std::io;

    use rustix::io::Errno;

    use crate::source::Source;

    /// Copies from a place of the source to the end of a file. Gives how many
    /// bytes were copied, 0 where the system cannot.
    pub(super) fn copy(source: &Source, at: u64, to: &File, len: u64) -> io::Result<u64> {
        let (from, mut at) = source.place(at);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        loop {
            return match rustix::fs::copy_file_range(from, Some(&mut at), to, None, len) {
                Ok(copied) => Ok(copied as u64),
                Err(Errno::INTR) => continue,
                // Old kernels, sandboxes, and pairs of file systems. What else
                // these could mean is met again, and said, when writing.
                Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::PERM) => {
                    Ok(0)
                }
                Err(error) => Err(error.into()),
            };
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::fs::File;
    use std::io;

    use crate::source::Source;

    pub(super) fn copy(_: &Source, _: u64, _: &File, _: u64) -> io::Result<u64> {
        Ok(0)
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it checked"
)]
mod tests {
    use std::fs;

    use super::*;

    /// Bytes in which every piece is different.
    fn bytes(len: usize) -> Vec<u8> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn by_the_system_or_by_hand_the_same_bytes_and_digests() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in");
        let all = bytes(3 * PIECE + 12_345);
        fs::write(&path, &all).unwrap();
        let source = Source::open(&path).unwrap();
        let mut checked = 0;
        // Whole, unaligned, across pieces, exactly a piece, nothing.
        let ranges = [
            (0, all.len()),
            (64, PIECE + 1),
            (PIECE - 1, PIECE),
            (7, 0),
            (all.len() - 1, 1),
        ];
        for (start, len) in ranges {
            let part = source.slice(start as u64, len as u64).unwrap();
            let expected = [b"head", &all[start..start + len], b"tail"].concat();
            let wanted = {
                let mut digest = Digest::default();
                digest.update(&expected);
                digest.finish()
            };
            for (by_system, digested, stream) in (0..8).map(|n| (n & 1, n & 2, n & 4)) {
                let out = dir.path().join("out");
                let mut copier = Copier::new(by_system > 0);
                copier.digest = (digested > 0).then(Digest::default);
                let mut file = File::options()
                    .read(true)
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .open(&out)
                    .unwrap();
                let mut streamed = Vec::new();
                let mut target = match stream > 0 {
                    true => Target::Stream(&mut streamed),
                    false => Target::File {
                        file: &mut file,
                        len: 0,
                    },
                };
                let mut reported = 0;
                copier.bytes(b"head", &mut target, &out).unwrap();
                copier
                    .range(&part, &mut target, &out, &mut |n| reported += n)
                    .unwrap();
                copier.bytes(b"tail", &mut target, &out).unwrap();
                let written = match stream > 0 {
                    true => streamed,
                    false => fs::read(&out).unwrap(),
                };
                assert!(written == expected, "{start}+{len}: other bytes");
                assert_eq!(reported, len as u64);
                if let Some(digest) = copier.digest {
                    assert_eq!(digest.finish(), wanted);
                    assert_eq!(
                        Source::open(&path).unwrap().digest().unwrap(),
                        blake3::hash(&all).to_hex().to_string()
                    );
                }
                checked += 1;
            }
        }
        println!("{checked} copies of {} ranges", ranges.len());
    }

    #[test]
    fn a_source_that_has_shrunk_is_an_error_of_the_source() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in");
        let out = dir.path().join("out");
        for by_system in [true, false] {
            fs::write(&path, bytes(2 * PIECE)).unwrap();
            let source = Source::open(&path).unwrap();
            fs::write(&path, bytes(PIECE / 2)).unwrap();
            let mut file = File::create(&out).unwrap();
            let mut target = Target::File {
                file: &mut file,
                len: 0,
            };
            let copied = Copier::new(by_system).range(&source, &mut target, &out, &mut |_| {});
            let error = copied.unwrap_err();
            println!("{error}");
            assert!(matches!(&error, Error::InputChanged { path: p, .. } if *p == path));
        }
    }
}
