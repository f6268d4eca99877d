//! A package that is saved unchanged is the same, byte for byte, by every route.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::exit,
    reason = "tests fail by panicking and print what they counted"
)]

mod common;

use std::fs;
use std::path::Path;

use common::{MANIFEST, SPEC, WEIGHTS, fixtures, models, put, shared, small_package, tree};
use milwright_package::{Changes, Container, Package, WriteOptions};
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

fn save(from: &Path, to: &Path) {
    Package::open(from)
        .unwrap()
        .save(Changes::default(), to, WriteOptions::default())
        .unwrap();
}

/// Zips a folder under a top-level name, with something beside it.
fn zip_folder(folder: &Path, top: &str, method: CompressionMethod, out: &Path) {
    use std::io::Write as _;
    let mut zip = zip::ZipWriter::new(fs::File::create(out).unwrap());
    let options = SimpleFileOptions::default().compression_method(method);
    zip.start_file("case.json", options).unwrap();
    zip.write_all(b"{}").unwrap();
    for (path, content) in tree(folder) {
        match content {
            Some(content) => {
                zip.start_file(format!("{top}{path}"), options).unwrap();
                zip.write_all(&content).unwrap();
            }
            None => zip.add_directory(format!("{top}{path}"), options).unwrap(),
        }
    }
    zip.finish().unwrap();
}

fn check_all(models: &[std::path::PathBuf]) {
    let scratch = tempfile::tempdir().unwrap();
    let (mut packages, mut specs, mut files) = (0, 0, 0);
    for model in models {
        let at = |name: &str| scratch.path().join(name);
        if model.is_dir() {
            let before = tree(model);
            save(model, &at("folder.mlpackage"));
            assert_eq!(before, tree(&at("folder.mlpackage")), "{}", model.display());

            save(model, &at("ours.zip"));
            save(&at("ours.zip"), &at("unzipped.mlpackage"));
            assert_eq!(
                before,
                tree(&at("unzipped.mlpackage")),
                "{}",
                model.display()
            );

            zip_folder(
                model,
                "a model/",
                CompressionMethod::Deflated,
                &at("deflated.zip"),
            );
            save(&at("deflated.zip"), &at("inflated.mlpackage"));
            assert_eq!(
                before,
                tree(&at("inflated.mlpackage")),
                "{}",
                model.display()
            );
            (packages, files) = (packages + 1, files + before.len());
        } else {
            let package = Package::open(model).unwrap();
            save(model, &at("wrapped.mlpackage"));
            let wrapped = Package::open(at("wrapped.mlpackage")).unwrap();
            assert_eq!(wrapped.spec().bytes(), &fs::read(model).unwrap());
            assert_eq!(wrapped.manifest().text(), package.manifest().text());
            for name in package.spec().weight_file_names().unwrap() {
                let file = name.strip_prefix("@model_path/").unwrap();
                let before = fs::read(model.with_file_name(file)).unwrap();
                let path = wrapped.resolve_weight_file(&name).unwrap().path();
                assert_eq!(
                    before,
                    fs::read(at("wrapped.mlpackage").join(path)).unwrap()
                );
                files += 1;
            }
            if package.files().len() == 1 {
                save(model, &at("bare.mlmodel"));
                assert_eq!(
                    fs::read(model).unwrap(),
                    fs::read(at("bare.mlmodel")).unwrap()
                );
            }
            specs += 1;
        }
        for entry in fs::read_dir(scratch.path()).unwrap() {
            let path = entry.unwrap().path();
            let removed = if path.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            };
            removed.unwrap();
        }
    }
    println!("{packages} packages by 3 routes, {specs} bare specs: {files} files identical");
    assert_eq!(packages + specs, models.len());
}

#[test]
fn fixtures_stay_the_same() {
    check_all(&fixtures());
}

#[test]
fn shared_models_stay_the_same() {
    let Some(folder) = shared("models") else {
        return;
    };
    check_all(&models(&folder));
}

#[test]
fn conformance_zips_unpack_to_what_they_hold() {
    let Some(folder) = shared("conformance") else {
        return;
    };
    let scratch = tempfile::tempdir().unwrap();
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // Every seventh is enough here: each one is read in `decode.rs`.
        if path.extension().is_none_or(|extension| extension != "zip") {
            continue;
        }
        count += 1;
        if count % 7 != 0 {
            continue;
        }
        let out = scratch.path().join(format!("{count}.mlpackage"));
        save(&path, &out);
        let mut zip = zip::ZipArchive::new(fs::File::open(&path).unwrap()).unwrap();
        for (name, content) in tree(&out) {
            let mut held = Vec::new();
            let name = format!("model.mlpackage/{name}");
            std::io::copy(&mut zip.by_name(&name).unwrap(), &mut held).unwrap();
            assert_eq!(Some(held), content, "{} {name}", path.display());
        }
        fs::remove_dir_all(out).unwrap();
    }
    println!("{} of {count} zips unpacked", count / 7);
}

#[test]
fn unknown_files_empty_folders_and_white_space_survive() {
    let scratch = tempfile::tempdir().unwrap();
    let model = scratch.path().join("in.mlpackage");
    small_package(&model);
    put(
        &model.join("Data/com.example.notes/deep/notes.txt"),
        b"kept",
    );
    put(&model.join(".hidden"), b"");
    fs::create_dir_all(model.join("Data/com.example.empty/inner")).unwrap();
    let before = tree(&model);
    assert_eq!(before.len(), 6);
    for (index, form) in ["mlpackage", "zip"].iter().enumerate() {
        let out = scratch.path().join(format!("out{index}.{form}"));
        save(&model, &out);
        let back = scratch.path().join(format!("back{index}.mlpackage"));
        save(&out, &back);
        assert_eq!(before, tree(&back));
    }
    let left = fs::read_dir(scratch.path()).unwrap().count();
    assert_eq!(left, 5, "nothing temporary is left");
}

#[test]
fn zips_are_found_at_the_top_too_and_are_reproducible() {
    let scratch = tempfile::tempdir().unwrap();
    let model = scratch.path().join("in.mlpackage");
    let offsets = small_package(&model);
    let at = |name: &str| scratch.path().join(name);
    for (top, method) in [
        ("", CompressionMethod::Stored),
        ("", CompressionMethod::Deflated),
        ("a/b/", CompressionMethod::Stored),
    ] {
        zip_folder(&model, top, method, &at("in.zip"));
        let package = Package::open(at("in.zip")).unwrap();
        assert_eq!(package.container(), Container::Zip);
        let blob = package.blob(common::WEIGHT_NAME, offsets[1]).unwrap();
        assert_eq!(blob.data, [2; 64]);
    }
    save(&model, &at("one.zip"));
    save(&at("one.zip"), &at("two.zip"));
    let (one, two) = (
        fs::read(at("one.zip")).unwrap(),
        fs::read(at("two.zip")).unwrap(),
    );
    assert_eq!(one.len(), two.len());
    let replaced = String::from_utf8_lossy(&one).replace("one.mlpackage", "two.mlpackage");
    assert_eq!(replaced, String::from_utf8_lossy(&two));
}

#[test]
fn items_may_live_in_folders_of_their_own() {
    let scratch = tempfile::tempdir().unwrap();
    let model = scratch.path().join("in.mlpackage");
    let offsets = small_package(&model);
    let manifest = MANIFEST
        .replace("com.apple.CoreML/model.mlmodel", "AAAA/old.mlmodel")
        .replace("com.apple.CoreML/weights", "BBBB/weights");
    put(&model.join("Manifest.json"), manifest.as_bytes());
    fs::create_dir_all(model.join("Data/AAAA")).unwrap();
    fs::create_dir_all(model.join("Data/BBBB/weights")).unwrap();
    fs::rename(model.join(SPEC), model.join("Data/AAAA/old.mlmodel")).unwrap();
    fs::rename(
        model.join(WEIGHTS),
        model.join("Data/BBBB/weights/weight.bin"),
    )
    .unwrap();
    fs::remove_dir_all(model.join("Data/com.apple.CoreML")).unwrap();
    let package = Package::open(&model).unwrap();
    assert_eq!(package.spec_path(), "Data/AAAA/old.mlmodel");
    assert_eq!(
        package.blob(common::WEIGHT_NAME, offsets[0]).unwrap().data,
        [1; 40]
    );
    let out = scratch.path().join("out.mlpackage");
    save(&model, &out);
    assert_eq!(tree(&model), tree(&out));
}

#[cfg(unix)]
#[test]
fn output_has_ordinary_rights() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = tempfile::tempdir().unwrap();
    let model = scratch.path().join("in.mlpackage");
    small_package(&model);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for name in ["out.mlpackage", "out.zip"] {
        let out = scratch.path().join(name);
        save(&model, &out);
        let like = if out.is_dir() {
            model.clone()
        } else {
            model.join(SPEC)
        };
        assert_eq!(mode(&out), mode(&like), "{name}");
    }
}
