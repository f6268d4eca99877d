//! Writing a package: a plan of ranges and new bytes, carried out beside the
//! target and then put in its place at once.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tempfile::{NamedTempFile, TempDir};
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::error::{Error, Result};
use crate::source::Source;

/// How much is copied between two reports of progress.
const STEP: u64 = 64 << 20;

/// A part of a file to be written.
#[derive(Debug, Clone)]
pub enum Piece {
    /// These bytes.
    Bytes(Bytes),
    /// A range of an existing file, copied without passing through memory
    /// where the operating system can.
    Range(Source),
}

impl Piece {
    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        match self {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::Range(source) => source.len(),
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How to write.
#[derive(Default)]
pub struct WriteOptions<'a> {
    /// Replace a model that is already there.
    pub force: bool,
    /// Is told the bytes written and the bytes to be written, now and then.
    pub progress: Option<&'a mut dyn FnMut(u64, u64)>,
}

/// In which form a package is written; the output's extension says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `.mlpackage`
    Folder,
    /// `.zip`
    Zip,
    /// `.mlmodel`
    Model,
}

impl Form {
    pub(crate) fn of(path: &Path) -> Result<Form> {
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("mlpackage") => Ok(Form::Folder),
            Some("zip") => Ok(Form::Zip),
            Some("mlmodel") => Ok(Form::Model),
            _ => Err(Error::OutputForm {
                path: path.to_owned(),
                reason: "its name must end in `.mlpackage`, `.zip` or `.mlmodel`".to_owned(),
            }),
        }
    }
}

/// The files of a package to be written. Paths are relative, with `/`.
#[derive(Debug, Default)]
pub(crate) struct WritePlan {
    pub(crate) files: Vec<(String, Vec<Piece>)>,
    pub(crate) empty_folders: Vec<String>,
}

/// Counts bytes and reports them.
struct Progress<'a, 'b> {
    done: u64,
    total: u64,
    report: Option<&'b mut (dyn FnMut(u64, u64) + 'a)>,
}

impl Progress<'_, '_> {
    fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if let Some(report) = &mut self.report {
            report(self.done, self.total);
        }
    }
}

impl WritePlan {
    /// Carries the plan out. Nothing of it is seen at `out` before all of it is
    /// there and on disk; after an error nothing is left.
    pub(crate) fn execute(
        &self,
        out: &Path,
        form: Form,
        options: &mut WriteOptions<'_>,
    ) -> Result<()> {
        let replace = check_output(out, form, options.force)?;
        let total = self
            .files
            .iter()
            .flat_map(|(_, pieces)| pieces)
            .map(Piece::len)
            .sum();
        let report = options.progress.as_deref_mut();
        let mut progress = Progress {
            done: 0,
            total,
            report,
        };
        match form {
            Form::Folder => self.write_folder(out, replace, &mut progress),
            Form::Zip => write_file(out, replace, |file| {
                self.write_zip(out, file, &mut progress)
            }),
            Form::Model => write_file(out, replace, |file| {
                let pieces = self.files.iter().flat_map(|(_, pieces)| pieces);
                write_pieces(pieces, file, out, &mut progress)
            }),
        }
    }

    fn write_folder(&self, out: &Path, replace: bool, progress: &mut Progress) -> Result<()> {
        let temporary = temporary(0o777)
            .tempdir_in(folder_of(out))
            .map_err(Error::io("create a folder beside", out))?;
        let root = temporary.path();
        for folder in &self.empty_folders {
            let fail = Error::io("create", out.join(folder));
            fs::create_dir_all(root.join(folder)).map_err(fail)?;
        }
        for (path, pieces) in &self.files {
            let (place, shown) = (root.join(path), out.join(path));
            if let Some(parent) = place.parent() {
                fs::create_dir_all(parent).map_err(Error::io("create the folder of", &*shown))?;
            }
            let mut file = File::create_new(&place).map_err(Error::io("create", &*shown))?;
            write_pieces(pieces, &mut file, &shown, progress)?;
            file.sync_all().map_err(Error::io("write", &*shown))?;
        }
        sync_folders(root).map_err(Error::io("write", out))?;
        publish_folder(temporary, out, replace)?;
        sync_parent(out);
        Ok(())
    }

    fn write_zip(&self, out: &Path, file: &mut File, progress: &mut Progress) -> Result<()> {
        let fail = |error: zip::result::ZipError| Error::Io {
            action: "write",
            path: out.to_owned(),
            source: error.into(),
        };
        let stem = out.file_stem().unwrap_or_default().to_string_lossy();
        let top = match stem.strip_suffix(".mlpackage") {
            Some(_) => stem.into_owned(),
            None => format!("{stem}.mlpackage"),
        };
        let mut zip = ZipWriter::new(io::BufWriter::new(file));
        // Stored and aligned, so that weights can be mapped from the zip; no
        // time of day, so that the same model gives the same bytes.
        let stored = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(zip::DateTime::default())
            .unix_permissions(0o644)
            .with_alignment(64);
        for folder in &self.empty_folders {
            let options = stored.unix_permissions(0o755);
            zip.add_directory(format!("{top}/{folder}"), options)
                .map_err(fail)?;
        }
        for (path, pieces) in &self.files {
            let len: u64 = pieces.iter().map(Piece::len).sum();
            let options = stored.large_file(len >= u64::from(u32::MAX));
            zip.start_file(format!("{top}/{path}"), options)
                .map_err(fail)?;
            write_pieces(pieces, &mut zip, &out.join(path), progress)?;
        }
        let mut buffer = zip.finish().map_err(fail)?;
        buffer.flush().map_err(Error::io("write", out))
    }
}

fn write_pieces<'p, W: Write>(
    pieces: impl IntoIterator<Item = &'p Piece>,
    out: &mut W,
    shown: &Path,
    progress: &mut Progress,
) -> Result<()> {
    for piece in pieces {
        let source = match piece {
            Piece::Bytes(bytes) => {
                out.write_all(bytes).map_err(Error::io("write", shown))?;
                progress.add(bytes.len() as u64);
                continue;
            }
            Piece::Range(source) => source,
        };
        let mut at = 0;
        while at < source.len() {
            let step = STEP.min(source.len() - at);
            let copied = source
                .copy(at, step, out)
                .map_err(Error::io("write", shown))?;
            if copied != step {
                let source_error = io::Error::from(io::ErrorKind::UnexpectedEof);
                return Err(Error::Io {
                    action: "read to its end, because it was cut while it was copied,",
                    path: source.path().to_owned(),
                    source: source_error,
                });
            }
            at += step;
            progress.add(step);
        }
    }
    Ok(())
}

/// Writes one file beside `out` and puts it in its place.
fn write_file(
    out: &Path,
    replace: bool,
    write: impl FnOnce(&mut File) -> Result<()>,
) -> Result<()> {
    let mut temporary = temporary(0o666)
        .tempfile_in(folder_of(out))
        .map_err(Error::io("create a file beside", out))?;
    write(temporary.as_file_mut())?;
    temporary
        .as_file()
        .sync_all()
        .map_err(Error::io("write", out))?;
    let persist = if replace {
        NamedTempFile::persist
    } else {
        NamedTempFile::persist_noclobber
    };
    persist(temporary, out)
        .map_err(|error| Error::io("rename the finished file to", out)(error.error))?;
    sync_parent(out);
    Ok(())
}

/// What unfinished output is called: hidden, beside the target, and telling
/// what it is if a crash leaves it there.
fn temporary(mode: u32) -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".milwright-unfinished-");
    permit(&mut builder, mode);
    builder
}

/// Gives output the rights that the user's mask allows, not those of a secret.
#[cfg(unix)]
fn permit(builder: &mut tempfile::Builder<'_, '_>, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    builder.permissions(fs::Permissions::from_mode(mode));
}

#[cfg(not(unix))]
fn permit(_: &mut tempfile::Builder<'_, '_>, _: u32) {}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Whether the output is there and may be replaced.
pub(crate) fn check_output(out: &Path, form: Form, force: bool) -> Result<bool> {
    let Ok(metadata) = fs::symlink_metadata(out) else {
        return Ok(false);
    };
    if !force {
        return Err(Error::OutputExists {
            path: out.to_owned(),
        });
    }
    let refuse = |reason| {
        Err(Error::OutputNotReplaceable {
            path: out.to_owned(),
            reason,
        })
    };
    match form {
        Form::Folder if !metadata.is_dir() => {
            refuse("it is no folder, and a package folder would take its place; remove it first")
        }
        Form::Folder => {
            let mut entries = fs::read_dir(out).map_err(Error::io("list", out))?;
            if out.join("Manifest.json").is_file() || entries.next().is_none() {
                Ok(true)
            } else {
                refuse("it is a folder with other things than a package; remove it first")
            }
        }
        Form::Zip | Form::Model if !metadata.is_file() => {
            refuse("it is no regular file; remove it first")
        }
        Form::Zip | Form::Model => Ok(true),
    }
}

/// Puts a finished folder in its place; what was there is removed afterwards.
fn publish_folder(temporary: TempDir, out: &Path, replace: bool) -> Result<()> {
    let fail = |source| Error::Io {
        action: "rename the finished folder to",
        path: out.into(),
        source,
    };
    if !replace {
        rename_new(temporary.path(), out).map_err(fail)?;
        let _ = temporary.keep(); // nothing is there any more
        return Ok(());
    }
    if exchange(temporary.path(), out).is_ok() {
        return temporary
            .close()
            .map_err(Error::io("remove the replaced", out));
    }
    // Without an atomic exchange: the old one is away only between two renames,
    // and then still beside the target.
    let aside = self::temporary(0o777)
        .tempdir_in(folder_of(out))
        .map_err(fail)?;
    let old = aside.path().join("replaced");
    fs::rename(out, &old).map_err(fail)?;
    if let Err(error) = fs::rename(temporary.path(), out) {
        if fs::rename(&old, out).is_err() {
            let _ = aside.keep(); // never remove the only copy
        }
        return Err(fail(error));
    }
    let _ = temporary.keep();
    aside.close().map_err(Error::io("remove the replaced", out))
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
fn rename_with(from: &Path, to: &Path, flags: rustix::fs::RenameFlags) -> io::Result<()> {
    use rustix::fs::{CWD, renameat_with};
    renameat_with(CWD, from, CWD, to, flags).map_err(io::Error::from)
}

/// Renames where nothing is yet; another process that was faster keeps its file.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    match rename_with(from, to, rustix::fs::RenameFlags::NOREPLACE) {
        // File systems without this kind of rename.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {}
        done => return done,
    }
    fs::rename(from, to)
}

/// Exchanges two paths in one step, where the system can.
fn exchange(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    return rename_with(from, to, rustix::fs::RenameFlags::EXCHANGE);
    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    {
        let _ = (from, to);
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }
}

/// Makes the names in a folder, and in those below it, last through a crash.
fn sync_folders(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                sync_folders(&entry.path())?;
            }
        }
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Makes the rename last through a crash. The output is complete without it,
/// so a system that cannot do this is no error.
fn sync_parent(out: &Path) {
    if cfg!(unix)
        && let Ok(folder) = File::open(folder_of(out))
    {
        let _ = folder.sync_all();
    }
}

/// Refuses an output that is the input, lies in it, or holds it.
pub(crate) fn check_overlap(input: &Path, out: &Path) -> Result<()> {
    let real_input = input.canonicalize().map_err(Error::io("open", input))?;
    let folder = folder_of(out);
    let real_folder = folder
        .canonicalize()
        .map_err(Error::io("find the output's folder", folder))?;
    let name = out.file_name().ok_or_else(|| Error::OutputForm {
        path: out.to_owned(),
        reason: "it has no file name".to_owned(),
    })?;
    let mut places: Vec<PathBuf> = vec![real_folder.join(name)];
    places.extend(out.canonicalize());
    for place in places {
        let relation = if place == real_input {
            "is"
        } else if place.starts_with(&real_input) {
            "lies inside"
        } else if real_input.starts_with(&place) {
            "holds"
        } else {
            continue;
        };
        return Err(Error::OutputOverlapsInput {
            output: out.to_owned(),
            input: input.to_owned(),
            relation,
        });
    }
    Ok(())
}
