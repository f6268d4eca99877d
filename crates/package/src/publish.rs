//! Putting finished output in its place, so that a crash leaves what was there
//! before or all of the new.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempDir};

use crate::error::{Error, Result};
use crate::write::Form;

/// How the names of unfinished output start.
const UNFINISHED: &str = ".milwright-unfinished-";

/// What lies beside `out` of writing that was interrupted, or still goes on: a
/// crash cannot take it away, nothing reads it, and nothing but the disk suffers
/// from it. Ordered by name.
pub fn unfinished(out: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder_of(out)) else {
        return Vec::new();
    };
    let named = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        name.to_str()
            .is_some_and(|name| name.starts_with(UNFINISHED))
    };
    let mut found: Vec<PathBuf> = entries.flatten().filter(named).map(|e| e.path()).collect();
    found.sort();
    found
}

/// Writes one file beside `out` and puts it in its place. `write` syncs it.
pub(crate) fn write_file(
    out: &Path,
    replace: bool,
    write: impl FnOnce(&mut File, &Path) -> Result<()>,
) -> Result<()> {
    // The extension stays, so that the unfinished file can be opened too.
    let extension = out.extension().unwrap_or_default().to_string_lossy();
    let mut temporary = temporary(0o666)
        .suffix(&format!(".{extension}"))
        .tempfile_in(folder_of(out))
        .map_err(Error::io("create a file beside", out))?;
    let path = temporary.path().to_owned();
    write(temporary.as_file_mut(), &path)?;
    let persist = if replace {
        NamedTempFile::persist
    } else {
        NamedTempFile::persist_noclobber
    };
    persist(temporary, out)
        .map(drop)
        .map_err(|error| Error::io("rename the finished file to", out)(error.error))
}

/// What unfinished output is called: hidden, beside the target, and telling
/// what it is if a crash leaves it there.
pub(crate) fn temporary<'s>(mode: u32) -> tempfile::Builder<'static, 's> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(UNFINISHED);
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

pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Writes a file beside `out` and puts it in its place when it is whole:
/// `write` gets the empty file. After an error nothing is left.
///
/// # Errors
/// Those of `write`; [`Error::OutputExists`] without `force`,
/// [`Error::OutputNotReplaceable`], [`Error::Io`].
pub fn create_file<E: From<Error>>(
    out: &Path,
    force: bool,
    write: impl FnOnce(&mut File) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let replace = may_replace(out, force, None)?;
    let mut failed = None;
    let written = write_file(out, replace, |file, _| match write(file) {
        Ok(()) if replace => file.sync_all().map_err(Error::io("write", out)),
        Ok(()) => Ok(()),
        Err(error) => {
            failed = Some(error);
            Err(Error::Rejected {
                path: out.to_owned(),
            })
        }
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(written?),
    }
}

/// Fills a new folder and puts it at `out` when it is whole: `fill` gets the
/// path of an empty folder beside `out`. After an error nothing is left.
///
/// `input` is what is read meanwhile; the output must not overlap it. With
/// `force`, a folder that holds the file `mark`, or nothing, is replaced.
///
/// # Errors
/// Those of `fill`; [`Error::OutputExists`], [`Error::OutputOverlapsInput`],
/// [`Error::OutputNotReplaceable`], [`Error::Io`].
pub fn create_folder<T, E: From<Error>>(
    input: &Path,
    out: &Path,
    force: bool,
    mark: &str,
    fill: impl FnOnce(&Path) -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    check_overlap(input, out)?;
    let replace = may_replace(out, force, Some(mark))?;
    let folder = temporary(0o777)
        .tempdir_in(folder_of(out))
        .map_err(Error::io("create a folder beside", out))?;
    let filled = fill(folder.path())?;
    if replace {
        sync_all(folder.path()).map_err(Error::io("write", out))?;
    }
    publish_folder(folder, out, replace)?;
    Ok(filled)
}

/// Whether the output is there and may be replaced.
pub(crate) fn check_output(out: &Path, form: Form, force: bool) -> Result<bool> {
    let mark = (form == Form::Folder).then_some("Manifest.json");
    may_replace(out, force, mark)
}

/// Whether something is at `out`, and may be replaced: by a folder if it is
/// one that holds `mark` or nothing, by a file if it is one.
fn may_replace(out: &Path, force: bool, mark: Option<&str>) -> Result<bool> {
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
    match mark {
        Some(_) if !metadata.is_dir() => {
            refuse("it is no folder, and a folder would take its place; remove it first")
        }
        Some(mark) => {
            let mut entries = fs::read_dir(out).map_err(Error::io("list", out))?;
            if out.join(mark).is_file() || entries.next().is_none() {
                Ok(true)
            } else {
                refuse("it is a folder with other things than such output; remove it first")
            }
        }
        None if !metadata.is_file() => refuse("it is no regular file; remove it first"),
        None => Ok(true),
    }
}

/// Puts a finished folder in its place; what was there is removed afterwards.
pub(crate) fn publish_folder(temporary: TempDir, out: &Path, replace: bool) -> Result<()> {
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

/// Makes everything in a folder last through a crash.
fn sync_all(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_all(&entry.path())?;
        } else {
            // Some systems sync only what could be written through.
            File::options()
                .append(true)
                .open(entry.path())?
                .sync_all()?;
        }
    }
    if cfg!(unix) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Makes the names in a folder, and in those below it, last through a crash.
pub(crate) fn sync_folders(folder: &Path) -> io::Result<()> {
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
pub(crate) fn sync_parent(out: &Path) {
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
