//! Reading a package out of a zip, without unpacking what is not asked for.

use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use crate::error::{Error, Result};
use crate::relative;
use crate::source::{Source, Stamp};

/// Deflate cannot shrink data by more than this factor.
const DEFLATE_LIMIT: u64 = 1032;

/// An open zip with one package in it.
#[derive(Debug)]
pub(crate) struct Archive {
    path: PathBuf,
    /// The folder of the zip in which the package is; empty or ending in `/`.
    root: String,
    stamp: Stamp,
    zip: Mutex<ZipArchive<BufReader<File>>>,
}

/// A file of the package in the zip.
pub(crate) struct ArchiveEntry {
    /// Relative to the package.
    pub(crate) path: String,
    pub(crate) index: usize,
    pub(crate) len: u64,
}

/// What a zip holds of a package.
pub(crate) struct Contents {
    pub(crate) archive: Archive,
    pub(crate) files: Vec<ArchiveEntry>,
    /// All folders, relative to the package.
    pub(crate) folders: Vec<String>,
}

impl Archive {
    /// Reads the zip's directory, finds the package, and checks the name and
    /// size of every entry.
    pub(crate) fn open(path: &Path) -> Result<Contents> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let metadata = file.metadata();
        let stamp = Stamp::of(&metadata.map_err(Error::io("read the size of", path))?);
        let broken = |reason: String| Error::Zip {
            path: path.to_owned(),
            reason,
        };
        let zip = ZipArchive::new(BufReader::new(file))
            .map_err(|error| broken(format!("it is not a whole zip archive: {error}")))?;
        if zip.has_duplicate_names() {
            return Err(broken("two of its entries have the same name".to_owned()));
        }
        let mut all = Vec::with_capacity(zip.len());
        for index in 0..zip.len() {
            all.push(check_entry(path, &zip, index)?);
        }
        let root = find_root(path, all.iter().map(|(name, _)| name.as_str()))?;
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        for (index, (name, len)) in all.iter().enumerate() {
            let Some(path) = name.strip_prefix(&root) else {
                continue;
            };
            match path.strip_suffix('/') {
                Some(folder) => folders.push(folder.to_owned()),
                None if path.is_empty() => {}
                None => files.push(ArchiveEntry {
                    path: path.to_owned(),
                    index,
                    len: *len,
                }),
            }
        }
        let archive = Archive {
            path: path.to_owned(),
            root,
            stamp,
            zip: Mutex::new(zip),
        };
        Ok(Contents {
            archive,
            files,
            folders,
        })
    }

    /// What to call a file of the package in messages.
    pub(crate) fn display_path(&self, entry: &str) -> PathBuf {
        self.path.join(&self.root).join(entry)
    }

    /// Reads an entry into memory and checks its checksum.
    pub(crate) fn read(&self, index: usize, entry: &str) -> Result<Bytes> {
        let mut out = Vec::new();
        self.unpack(index, entry, &mut out)?;
        Ok(out.into())
    }

    /// An entry as a file range: in the zip itself when it is stored, otherwise
    /// in a temporary file that has no name any more. The checksum is checked.
    pub(crate) fn source(&self, index: usize, entry: &str) -> Result<Source> {
        let path = self.display_path(entry);
        if let Some((start, len)) = self.stored_range(index, entry)? {
            self.unpack(index, entry, &mut io::sink())?;
            let file = File::open(&self.path).map_err(Error::io("open", &*self.path))?;
            let source = Source::new(file, &path, self.stamp, start, len);
            source.check_unchanged()?;
            return Ok(source);
        }
        let folder = std::env::temp_dir();
        let mut file = tempfile::tempfile_in(&folder)
            .map_err(Error::io("create a temporary file in", folder))?;
        let len = self.unpack(index, entry, &mut file)?;
        let metadata = file.metadata().map_err(Error::io("unpack", &*path))?;
        Ok(Source::new(file, &path, Stamp::of(&metadata), 0, len))
    }

    fn stored_range(&self, index: usize, entry: &str) -> Result<Option<(u64, u64)>> {
        let broken = |error: ZipError| self.broken(entry, error.to_string());
        let mut zip = self.zip.lock().unwrap_or_else(PoisonError::into_inner);
        let file = zip.by_index_raw(index).map_err(broken)?;
        if file.compression() != CompressionMethod::Stored {
            return Ok(None);
        }
        let Some(start) = file.data_start() else {
            return Ok(None);
        };
        Ok(Some((start, file.size())))
    }

    fn unpack(&self, index: usize, entry: &str, out: &mut dyn io::Write) -> Result<u64> {
        let mut zip = self.zip.lock().unwrap_or_else(PoisonError::into_inner);
        let file = zip
            .by_index(index)
            .map_err(|error| self.broken(entry, error.to_string()))?;
        let size = file.size();
        // One byte more than announced, to notice that there is more.
        let mut file = file.take(size.saturating_add(1));
        let copied = io::copy(&mut file, out)
            .map_err(|error| self.broken(entry, format!("cannot unpack it: {error}")))?;
        if copied != size {
            let reason = format!("it unpacks to {copied} bytes or more, and announces {size}");
            return Err(self.broken(entry, reason));
        }
        Ok(size)
    }

    fn broken(&self, entry: &str, reason: String) -> Error {
        Error::Zip {
            path: self.display_path(entry),
            reason,
        }
    }
}

/// Name and size of an entry, checked.
fn check_entry(
    path: &Path,
    zip: &ZipArchive<BufReader<File>>,
    index: usize,
) -> Result<(String, u64)> {
    let broken = |reason: String| Error::Zip {
        path: path.to_owned(),
        reason,
    };
    let entry = zip
        .by_index_data(index)
        .map_err(|error| broken(format!("entry {index} is damaged: {error}")))?;
    let name = String::from_utf8(entry.name_raw().to_vec())
        .map_err(|_| broken(format!("the name of entry {index} is not UTF-8")))?;
    let refuse = |reason| {
        let (container, role) = (path.to_owned(), "the zip entry");
        Err(Error::UnsafePath {
            container,
            role,
            entry: name.clone(),
            reason,
        })
    };
    if let Err(reason) = relative::check(name.strip_suffix('/').unwrap_or(&name)) {
        return refuse(reason);
    }
    if entry.is_symlink() {
        return refuse("it is a symbolic link");
    }
    let broken = |reason: &str| {
        Err(Error::Zip {
            path: path.join(&name),
            reason: reason.to_owned(),
        })
    };
    if entry.encrypted() {
        return broken("it is encrypted; unpack the zip and open the folder");
    }
    let (size, packed) = (entry.size(), entry.compressed_size());
    match entry.compression() {
        CompressionMethod::Stored if size != packed => {
            broken("it is stored, but its two sizes differ")
        }
        CompressionMethod::Deflated if size > packed.saturating_mul(DEFLATE_LIMIT) => {
            broken("it announces more bytes than its packed size can unpack to")
        }
        CompressionMethod::Stored | CompressionMethod::Deflated => Ok((name, size)),
        _ => broken("its compression method is not supported; unpack the zip and open the folder"),
    }
}

/// The folder that holds the only `Manifest.json` nearest to the top.
fn find_root<'a>(path: &Path, names: impl Iterator<Item = &'a str> + Clone) -> Result<String> {
    let mut roots: Vec<&str> = names
        .clone()
        .filter_map(|name| name.strip_suffix("Manifest.json"))
        .filter(|root| root.is_empty() || root.ends_with('/'))
        .collect();
    let depth = |root: &str| root.matches('/').count();
    let top = roots.iter().map(|root| depth(root)).min().unwrap_or(0);
    roots.retain(|root| depth(root) == top);
    match roots[..] {
        [root] => Ok(root.to_owned()),
        [] => {
            let count = names.count();
            Err(Error::MissingManifest {
                path: path.to_owned(),
                found: format!("the zip has {count} entries"),
            })
        }
        [first, second, ..] => Err(Error::NotAModel {
            path: path.to_owned(),
            reason: format!(
                "the zip holds several packages (`{first}`, `{second}`); unpack it and open one"
            ),
        }),
    }
}
