//! Where the tests find models.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use milwright_ir::Model;

#[path = "../../../../fixtures/find.rs"]
mod find;

pub(crate) use find::{repository, shared};

/// Our fixtures and the shared models: every file that holds an ML Program.
pub(crate) fn models() -> Vec<(String, Model)> {
    let mut paths = find::models(&find::fixtures());
    paths.extend(shared("models").iter().flat_map(|m| find::models(m)));
    let opened = paths.into_iter().filter_map(|path| {
        let name = path.display().to_string();
        match Model::open(&path) {
            Ok(model) => Some((name, model)),
            Err(milwright_ir::Error::NotAProgram { .. }) => None,
            Err(error) => panic!("{name}: {error}"),
        }
    });
    opened.collect()
}

/// Calls `f` on every conformance case; returns how many there are. The cases
/// are unpacked once, below the build folder.
pub(crate) fn conformance(mut f: impl FnMut(&str, &Model)) -> usize {
    static UNPACKED: OnceLock<Vec<PathBuf>> = OnceLock::new();
    let folders = UNPACKED.get_or_init(|| match shared("conformance") {
        Some(folder) => unpack(&folder),
        None => Vec::new(),
    });
    for folder in folders {
        let name = folder.file_name().unwrap().to_string_lossy();
        let model = Model::open(folder.join("model.mlpackage")).unwrap();
        f(&name, &model);
    }
    folders.len()
}

fn unpack(conformance: &Path) -> Vec<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance");
    std::fs::create_dir_all(&target).unwrap();
    let mut zips: Vec<PathBuf> = std::fs::read_dir(conformance)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "zip"))
        .collect();
    zips.sort();
    let folders = zips.iter().map(|path| {
        let folder = target.join(path.file_stem().unwrap());
        if !folder.is_dir() {
            // Renamed when whole, so that an interrupted run leaves no half case.
            let half = tempfile::tempdir_in(&target).unwrap();
            let mut zip = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
            zip.extract(half.path()).unwrap();
            std::fs::rename(half.keep(), &folder).unwrap();
        }
        folder
    });
    folders.collect()
}
