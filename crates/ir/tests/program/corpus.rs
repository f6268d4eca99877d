//! Where the tests find models.

use std::io::Read;
use std::path::{Path, PathBuf};

use milwright_ir::Model;

/// The root of the repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The folder of shared models, if it is there.
pub(crate) fn shared() -> Option<PathBuf> {
    let path = std::env::var_os("MILWRIGHT_SHARED")
        .map_or_else(|| repository().join("../shared"), PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

/// Every package and specification below a folder.
fn below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let extension = path.extension().and_then(|e| e.to_str());
        match extension {
            Some("mlpackage" | "mlmodel") => found.push(path),
            Some("mlmodelc") => {}
            _ if path.is_dir() => below(&path, found),
            _ => {}
        }
    }
}

/// Our fixtures and the shared models: every file that holds an ML Program.
pub(crate) fn models() -> Vec<(String, Model)> {
    let mut paths = Vec::new();
    below(&repository().join("fixtures/models"), &mut paths);
    if let Some(shared) = shared() {
        below(&shared.join("models"), &mut paths);
    }
    paths.sort();
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

/// Calls `f` on every conformance case; returns how many there are.
pub(crate) fn conformance(mut f: impl FnMut(&str, &Model)) -> usize {
    let Some(shared) = shared() else { return 0 };
    let mut zips: Vec<PathBuf> = std::fs::read_dir(shared.join("conformance"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "zip"))
        .collect();
    zips.sort();
    for path in &zips {
        let folder = tempfile::tempdir().unwrap();
        let mut zip = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
        for i in 0..zip.len() {
            let mut entry = zip.by_index(i).unwrap();
            let name = entry.name().unwrap().into_owned();
            if !name.starts_with("model.mlpackage/") || name.ends_with('/') {
                continue;
            }
            let target = folder.path().join(name);
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            std::fs::write(target, bytes).unwrap();
        }
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let model = Model::open(folder.path().join("model.mlpackage")).unwrap();
        f(&name, &model);
    }
    zips.len()
}
