//! Files of arrays: `.npz` (a zip of `.npy` entries) and single `.npy` files.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use crate::array::{Array, NamedArrays};
use crate::error::Error;
use crate::npy;

/// Most arrays accepted in one `.npz`.
const MAX_ENTRIES: usize = 65_536;

/// Reads an `.npz`: entries stored or deflated, names without `.npy`, in the
/// order of the file.
///
/// # Errors
/// The file is not a zip, an entry is not an array, two entries have one name,
/// or the arrays take more than [`npy::MAX_BYTES`] together.
pub fn load(path: &Path) -> Result<NamedArrays, Error> {
    let file = open(path)?;
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(|e| Error::NotNpz {
        path: path.to_owned(),
        problem: e.to_string(),
        help: if starts_like_npy(path) {
            "it is a single .npy array: give it as `--input NAME=FILE.npy`"
        } else {
            "write it with numpy.savez"
        },
    })?;
    if zip.len() > MAX_ENTRIES {
        return Err(Error::NotNpz {
            path: path.to_owned(),
            problem: format!("it has {} entries", zip.len()),
            help: "write it with numpy.savez",
        });
    }
    let mut arrays = NamedArrays::new();
    let mut left = npy::MAX_BYTES;
    for i in 0..zip.len() {
        let entry = zip.by_index(i).map_err(|e| Error::NotNpz {
            path: path.to_owned(),
            problem: format!("entry {i}: {e}"),
            help: "write it with numpy.savez or numpy.savez_compressed",
        })?;
        let full = String::from_utf8_lossy(entry.name_raw()).into_owned();
        let Some(name) = full.strip_suffix(".npy") else {
            return Err(Error::NotNpz {
                path: path.to_owned(),
                problem: format!("entry `{full}` is not an .npy array"),
                help: "write it with numpy.savez",
            });
        };
        let array = npy::read(entry, left).map_err(|source| Error::Array {
            path: path.to_owned(),
            array: Some(name.to_owned()),
            source,
        })?;
        left -= array.data().len() * array.dtype().size();
        if !arrays.insert(name, array) {
            return Err(Error::NotNpz {
                path: path.to_owned(),
                problem: format!("two entries are named `{full}`"),
                help: "write it with numpy.savez",
            });
        }
    }
    Ok(arrays)
}

/// Reads one `.npy` file.
///
/// # Errors
/// The file cannot be read or is not an array that a feature can hold.
pub fn load_npy(path: &Path) -> Result<Array, Error> {
    npy::read(BufReader::new(open(path)?), npy::MAX_BYTES).map_err(|source| Error::Array {
        path: path.to_owned(),
        array: None,
        source,
    })
}

/// Whether [`save`] would refuse `path`.
///
/// # Errors
/// [`Error::Exists`] when it is there and `force` is not set.
pub fn check_target(path: &Path, force: bool) -> Result<(), Error> {
    if !force && path.symlink_metadata().is_ok() {
        return Err(Error::Exists(path.to_owned()));
    }
    Ok(())
}

/// Writes an `.npz` beside `path` and renames it there. The bytes depend on
/// the arrays alone: entries are stored, in order, dated 1980.
///
/// # Errors
/// `path` exists and `force` is not set, or the disk refuses.
pub fn save(path: &Path, arrays: &NamedArrays, force: bool) -> Result<(), Error> {
    let write = |source| Error::Write {
        path: path.to_owned(),
        source,
    };
    check_target(path, force)?;
    let parent = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".milwright-").suffix(".npz.partial");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // What any new file gets: the process's umask takes its share.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut temporary = builder.tempfile_in(parent).map_err(write)?;
    write_npz(temporary.as_file_mut(), arrays).map_err(write)?;
    temporary.as_file().sync_all().map_err(write)?;
    let renamed = if force {
        temporary.persist(path)
    } else {
        temporary.persist_noclobber(path)
    };
    match renamed {
        Ok(_) => Ok(()),
        Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(Error::Exists(path.to_owned()))
        }
        Err(e) => Err(write(e.error)),
    }
}

fn write_npz(file: &mut File, arrays: &NamedArrays) -> std::io::Result<()> {
    let mut zip = ZipWriter::new(BufWriter::new(file));
    for (name, array) in arrays.iter() {
        let bytes = array.data().len() as u64 * array.dtype().size() as u64;
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(DateTime::default())
            .unix_permissions(0o644)
            // Room for the header below the 4 GiB at which zip64 begins.
            .large_file(bytes > u64::from(u32::MAX) - 65_536);
        zip.start_file(format!("{name}.npy"), options)?;
        npy::write(array, &mut zip)?;
    }
    zip.finish()?.flush()
}

fn open(path: &Path) -> Result<File, Error> {
    let read = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(read)?;
    if file.metadata().map_err(read)?.is_dir() {
        return Err(read(std::io::Error::other("it is a directory")));
    }
    Ok(file)
}

fn starts_like_npy(path: &Path) -> bool {
    use std::io::Read;
    let mut start = [0u8; 6];
    File::open(path)
        .and_then(|mut f| f.read_exact(&mut start))
        .is_ok_and(|()| &start == b"\x93NUMPY")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Data;

    fn some_arrays() -> NamedArrays {
        let mut a = NamedArrays::new();
        a.insert(
            "mel",
            Array::new(vec![2, 2], vec![1.0f32, 2.0, 3.0, 4.0].into()).unwrap(),
        );
        a.insert(
            "ids",
            Array::new(vec![3], vec![7i64, -8, 9].into()).unwrap(),
        );
        a.insert("a/b", Array::new(vec![], vec![true].into()).unwrap());
        a
    }

    #[test]
    fn what_is_saved_is_loaded_and_bytes_repeat() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a.npz"), dir.path().join("b.npz"));
        save(&a, &some_arrays(), false).unwrap();
        save(&b, &some_arrays(), false).unwrap();
        assert_eq!(load(&a).unwrap(), some_arrays());
        assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(left.len(), 2, "temporary files left: {left:?}");
    }

    #[test]
    fn an_existing_file_is_kept_unless_forced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npz");
        std::fs::write(&path, "mine").unwrap();
        let e = save(&path, &some_arrays(), false).unwrap_err();
        assert!(e.to_string().contains("--force"), "{e}");
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        save(&path, &some_arrays(), true).unwrap();
        assert_eq!(load(&path).unwrap(), some_arrays());
    }

    fn zip_of(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
        let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, bytes) in entries {
            let o = SimpleFileOptions::default().compression_method(method);
            zip.start_file(*name, o).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn load_bytes(bytes: &[u8]) -> Result<NamedArrays, Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.npz");
        std::fs::write(&path, bytes).unwrap();
        load(&path)
    }

    fn npy_bytes(array: &Array) -> Vec<u8> {
        let mut b = Vec::new();
        npy::write(array, &mut b).unwrap();
        b
    }

    #[test]
    fn deflated_entries_are_read() {
        let a = Array::new(vec![1000], vec![0.5f32; 1000].into()).unwrap();
        let bytes = zip_of(&[("x.npy", &npy_bytes(&a))], CompressionMethod::Deflated);
        assert!(bytes.len() < 1000);
        assert_eq!(load_bytes(&bytes).unwrap().get("x"), Some(&a));
    }

    #[test]
    fn hostile_archives_are_errors() {
        let a = npy_bytes(&Array::new(vec![1], Data::Uint8(vec![1])).unwrap());
        let said = |bytes: &[u8]| load_bytes(bytes).unwrap_err().to_string();
        assert!(said(b"").contains("f.npz"));
        assert!(said(b"\x93NUMPY").contains("--input NAME=FILE.npy"));
        let stored = CompressionMethod::Stored;
        assert!(said(&zip_of(&[("readme.txt", b"hi")], stored)).contains("readme.txt"));
        assert!(said(&zip_of(&[("x.npy", b"hi")], stored)).contains("array `x`"));
        let good = zip_of(&[("x.npy", &a), ("y.npy", &a)], CompressionMethod::Deflated);
        assert_eq!(load_bytes(&good).unwrap().len(), 2);
        let mut checked = 0;
        for end in 0..good.len() {
            assert!(load_bytes(&good[..end]).is_err(), "cut at {end}");
            checked += 1;
        }
        // One flipped byte anywhere: an error or an array, never a panic.
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            let _ = load_bytes(&bad);
            checked += 1;
        }
        println!("{checked} damaged archives");
    }

    #[test]
    fn missing_files_and_directories_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("no.npz");
        assert!(load(&missing).unwrap_err().to_string().contains("no.npz"));
        let e = load(dir.path()).unwrap_err();
        assert!(
            std::error::Error::source(&e)
                .unwrap()
                .to_string()
                .contains("directory")
        );
        assert!(load_npy(&missing).is_err());
    }
}
