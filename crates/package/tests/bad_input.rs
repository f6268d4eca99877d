//! Broken and hostile input: an error that names the file and the place, and
//! nothing written.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::exit,
    reason = "tests fail by panicking and print what they counted"
)]

mod common;

use std::fs;
use std::path::Path;

use common::{MANIFEST, SPEC, WEIGHTS, fixtures, program, put, small_package, spec_of};
use milwright_package::proto;
use milwright_package::{Bytes, Changes, Error, Message as _, Package, Spec, WriteOptions};
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

/// Opens what must not open; the message names `place`.
fn refused(path: &Path, place: &str) -> Error {
    let error = Package::open(path).map(|_| ()).unwrap_err();
    let message = error.to_string();
    println!("{message}");
    assert!(message.contains(place), "`{place}` is not named: {message}");
    error
}

#[test]
fn what_is_no_package() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);

    let missing = refused(&at("missing.mlpackage"), "missing.mlpackage");
    assert!(matches!(missing, Error::Io { .. }));

    fs::create_dir(at("empty.mlpackage")).unwrap();
    let empty = refused(&at("empty.mlpackage"), "the folder is empty");
    assert!(matches!(empty, Error::MissingManifest { .. }));

    small_package(&at("no-manifest.mlpackage"));
    fs::remove_file(at("no-manifest.mlpackage/Manifest.json")).unwrap();
    let error = refused(&at("no-manifest.mlpackage"), "the folder holds Data");
    assert!(matches!(error, Error::MissingManifest { .. }));

    put(&at("compiled.mlmodelc/coremldata.bin"), b"");
    assert!(matches!(
        refused(&at("compiled.mlmodelc"), "compiled"),
        Error::NotAModel { .. }
    ));

    put(&at("text.txt"), b"hello");
    assert!(matches!(
        refused(&at("text.txt"), "text.txt"),
        Error::NotAModel { .. }
    ));

    put(&at("empty.mlmodel"), b"");
    assert!(matches!(
        refused(&at("empty.mlmodel"), "is empty"),
        Error::Incomplete { .. }
    ));

    put(&at("text.mlmodel"), b"hello, this is no model");
    refused(&at("text.mlmodel"), "text.mlmodel");

    small_package(&at("no-spec.mlpackage"));
    fs::remove_file(at("no-spec.mlpackage").join(SPEC)).unwrap();
    let error = refused(&at("no-spec.mlpackage"), SPEC);
    assert!(matches!(error, Error::MissingFile { .. }));
}

#[test]
fn manifests() {
    let scratch = tempfile::tempdir().unwrap();
    let model = scratch.path().join("in.mlpackage");
    small_package(&model);
    let file = model.join("Manifest.json");
    let spec = "com.apple.CoreML/model.mlmodel";
    for (from, to, place) in [
        ("\"fileFormatVersion\"", "fileFormatVersion", "line 2"),
        ("itemInfoEntries", "items", "itemInfoEntries"),
        ("rootModelIdentifier", "root", "rootModelIdentifier"),
        (
            "\"rootModelIdentifier\": \"8",
            "\"rootModelIdentifier\": \"9",
            "9DFA864F",
        ),
        (
            "\"path\": \"com.apple.CoreML/weights\"",
            "\"path\": 3",
            "CC228AD0",
        ),
        (spec, "com.apple.CoreML/other.mlmodel", "other.mlmodel"),
        (spec, "com.apple.CoreML", "Data/com.apple.CoreML"),
    ] {
        let changed = MANIFEST.replace(from, to);
        assert_ne!(changed, MANIFEST);
        fs::write(&file, changed).unwrap();
        refused(&model, place);
    }
    put(&scratch.path().join("model.mlmodel"), b"outside");
    for bad in [
        "../../model.mlmodel",
        "/etc/passwd",
        "a/../../../x",
        "C:/x",
        "a\\\\b",
        "",
        ".",
    ] {
        fs::write(&file, MANIFEST.replace(spec, bad)).unwrap();
        let error = refused(&model, &bad.replace("\\\\", "\\"));
        assert!(matches!(error, Error::UnsafePath { .. }), "{error}");
    }
    for len in 0..MANIFEST.len() {
        fs::write(&file, &MANIFEST[..len]).unwrap();
        assert!(Package::open(&model).is_err(), "{len}");
    }
    println!("manifest cut at each of {} bytes", MANIFEST.len());
}

#[cfg(unix)]
#[test]
fn links() {
    use std::os::unix::fs::symlink;
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    small_package(&at("other.mlpackage"));
    for path in ["Manifest.json", SPEC, WEIGHTS, "extra"] {
        let model = at("in.mlpackage");
        small_package(&model);
        let file = model.join(path);
        let _ = fs::remove_file(&file);
        symlink(at("other.mlpackage").join(SPEC), &file).unwrap();
        let error = refused(&model, path);
        assert!(matches!(error, Error::UnsafePath { .. }), "{error}");

        fs::remove_file(&file).unwrap();
        symlink("/nowhere/at/all", &file).unwrap();
        refused(&model, path);
        fs::remove_file(&file).unwrap();
        symlink(&file, &file).unwrap();
        refused(&model, path);
        fs::remove_file(&file).unwrap();
        symlink(&model, &file).unwrap();
        refused(&model, path);
        fs::remove_dir_all(&model).unwrap();
    }
    // Inside the package a link to a file is as good as the file.
    let model = at("in.mlpackage");
    small_package(&model);
    fs::rename(model.join(SPEC), model.join("Data/real.mlmodel")).unwrap();
    symlink("../real.mlmodel", model.join(SPEC)).unwrap();
    symlink(&model, at("link.mlpackage")).unwrap();
    for path in [&model, &at("link.mlpackage")] {
        let package = Package::open(path).unwrap();
        assert_eq!(
            package.spec().bytes(),
            &fs::read(model.join("Data/real.mlmodel")).unwrap()
        );
    }
    // Beside a bare spec, too.
    fs::create_dir_all(at("bare/weights")).unwrap();
    fs::copy(model.join(SPEC), at("bare/x.mlmodel")).unwrap();
    symlink(model.join(WEIGHTS), at("bare/weights/weight.bin")).unwrap();
    let error = refused(&at("bare/x.mlmodel"), "weights/weight.bin");
    assert!(matches!(error, Error::UnsafePath { .. }), "{error}");
}

fn zip_of(path: &Path, method: CompressionMethod, entries: &[(&str, &[u8])]) -> Vec<u8> {
    use std::io::Write as _;
    let mut zip = zip::ZipWriter::new(fs::File::create(path).unwrap());
    for (name, content) in entries {
        let options = SimpleFileOptions::default().compression_method(method);
        zip.start_file(*name, options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap();
    fs::read(path).unwrap()
}

#[test]
fn zips() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("in.zip");
    let model = scratch.path().join("in.mlpackage");
    let offsets = small_package(&model);
    let (spec, weights) = (
        fs::read(model.join(SPEC)).unwrap(),
        fs::read(model.join(WEIGHTS)).unwrap(),
    );
    let entries: [(&str, &[u8]); 3] = [
        ("Manifest.json", MANIFEST.as_bytes()),
        (SPEC, &spec),
        (WEIGHTS, &weights),
    ];

    zip_of(&path, CompressionMethod::Stored, &[("a.txt", b"")]);
    assert!(matches!(
        refused(&path, "1 entries"),
        Error::MissingManifest { .. }
    ));
    zip_of(&path, CompressionMethod::Stored, &entries[..1]);
    assert!(matches!(refused(&path, SPEC), Error::MissingFile { .. }));
    let two = [
        ("a/Manifest.json", b"{}".as_slice()),
        ("b/Manifest.json", b"{}"),
    ];
    zip_of(&path, CompressionMethod::Stored, &two);
    assert!(matches!(
        refused(&path, "several packages"),
        Error::NotAModel { .. }
    ));
    for bad in ["../evil", "/etc/evil", "a/../../evil", "a\\evil", "c:evil"] {
        let mut entries = entries.to_vec();
        entries.push((bad, b""));
        zip_of(&path, CompressionMethod::Stored, &entries);
        assert!(matches!(refused(&path, "evil"), Error::UnsafePath { .. }));
    }

    // Cut anywhere, changed anywhere: an error or the right content.
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        let whole = zip_of(&path, method, &entries);
        let check = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let Ok(package) = Package::open(&path) else {
                return 0;
            };
            assert_eq!(package.manifest().text(), MANIFEST.as_bytes());
            assert_eq!(package.spec().bytes(), &spec);
            let Ok(blob) = package.blob(common::WEIGHT_NAME, offsets[1]) else {
                return 0;
            };
            assert_eq!(blob.data, [2; 64]);
            1
        };
        assert_eq!(check(&whole), 1);
        let (mut cut, mut flipped) = (0, 0);
        for at in 0..whole.len() {
            cut += check(&whole[..at]);
            for bit in [0, 3, 7] {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                flipped += check(&bytes);
            }
        }
        println!(
            "{method}: cut at {} bytes, {cut} opened; {} bits flipped, {flipped} opened unharmed",
            whole.len(),
            whole.len() * 3
        );
        assert!(flipped < whole.len());
    }
}

/// Everything that reads a spec.
fn read_all(bytes: &[u8]) -> Result<Spec, Error> {
    let spec = Spec::parse(Bytes::copy_from_slice(bytes), Path::new("a.mlmodel"))?;
    spec.description()?;
    spec.description_fidelity()?;
    spec.model_fidelity()?;
    spec.weight_file_names()?;
    if spec.kind().is_ml_program() {
        spec.program()?;
        spec.program_fidelity()?;
    }
    if spec.kind().is_pipeline() {
        spec.pipeline()?;
    }
    Ok(spec)
}

#[test]
fn specs_cut_at_every_byte_and_changed_at_every_byte() {
    let (mut specs, mut cuts, mut changes, mut accepted) = (0, 0, 0, 0);
    for path in fixtures() {
        let spec = Package::open(&path).unwrap().spec().bytes().clone();
        if spec.len() > 3_500 {
            continue;
        }
        specs += 1;
        for len in 0..spec.len() {
            let error = read_all(&spec[..len]).unwrap_err();
            assert!(error.to_string().contains("a.mlmodel"), "{error}");
            cuts += 1;
        }
        let mut bytes = spec.to_vec();
        for at in 0..spec.len() {
            for change in [0x01, 0x80] {
                bytes[at] ^= change;
                changes += 1;
                accepted += usize::from(read_all(&bytes).is_ok());
                bytes[at] = spec[at];
            }
        }
    }
    println!(
        "{specs} specs: {cuts} cuts refused; {changes} changed bytes, {accepted} still a spec"
    );
    assert!(specs >= 5);
}

#[test]
fn cut_specs_are_refused_in_a_package() {
    let scratch = tempfile::tempdir().unwrap();
    let model = scratch.path().join("in.mlpackage");
    small_package(&model);
    let spec = fs::read(model.join(SPEC)).unwrap();
    let out = scratch.path().join("out.mlpackage");
    for len in 0..spec.len() {
        fs::write(model.join(SPEC), &spec[..len]).unwrap();
        let error = Package::open(&model).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("model.mlmodel"), "{error}");
    }
    assert!(!out.exists());
}

#[test]
fn deep_nesting_ends_in_an_error() {
    // Blocks in operations in blocks.
    let mut block = proto::Block::default();
    for _ in 0..10_000 {
        let operation = proto::Operation {
            blocks: vec![block],
            ..proto::Operation::default()
        };
        block = proto::Block {
            operations: vec![operation.encode_to_vec().into()],
            ..proto::Block::default()
        };
    }
    let mut deep = program(&[64]);
    let function = deep.functions[0].value.as_mut().unwrap();
    function.block_specializations[0].value = Some(block);
    let error = read_all(&spec_of(&deep)).unwrap_err().to_string();
    println!("{error}");
    assert!(error.contains("deep"), "{error}");
    // The program itself decodes: its operations are left alone.
    let spec = Spec::parse(spec_of(&deep).into(), Path::new("a.mlmodel")).unwrap();
    assert!(spec.program().is_ok());

    // A type of lists of lists, as the type of an input of a function.
    let mut nested = Vec::new();
    for _ in 0..10_000 {
        nested = field(2, field(1, nested)); // ValueType.list_type, ListType.type
    }
    assert!(proto::ValueType::decode(&nested[..]).is_err());
    let input = field(2, nested); // NamedValueType.type
    let function = field(1, input); // Function.inputs
    let entry = field(2, function); // FunctionEntry.value
    let program = field(2, entry); // Program.functions
    let spec = proto::Model {
        r#type: Some(proto::model::Type::MlProgram(program.into())),
        ..proto::Model::default()
    };
    let spec = Spec::parse(spec.encode_to_vec().into(), Path::new("a.mlmodel")).unwrap();
    for error in [
        spec.program().map(|_| ()),
        spec.weight_file_names().map(|_| ()),
    ] {
        let error = error.unwrap_err().to_string();
        println!("{error}");
        assert!(
            error.contains("a.mlmodel") && error.contains("deep"),
            "{error}"
        );
    }
}

/// A field that holds a message, for numbers below 16.
fn field(number: u8, message: Vec<u8>) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut len = message.len();
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend(message);
    out
}

#[test]
fn outputs() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    small_package(&at("in.mlpackage"));
    let package = Package::open(at("in.mlpackage")).unwrap();
    let before = common::tree(&at("in.mlpackage"));
    let refuse = |name: &str, force: bool, place: &str| {
        let options = WriteOptions {
            force,
            ..WriteOptions::default()
        };
        let error = package
            .save(Changes::default(), at(name), options)
            .unwrap_err();
        println!("{error}");
        assert!(error.to_string().contains(place), "{error}");
        error
    };
    small_package(&at("there.mlpackage"));
    put(&at("there.zip"), b"old");
    put(&at("folder.mlpackage/precious.txt"), b"old");
    put(&at("file.mlpackage"), b"old");
    fs::create_dir(at("folder.zip")).unwrap();
    for name in ["there.mlpackage", "there.zip"] {
        assert!(matches!(
            refuse(name, false, name),
            Error::OutputExists { .. }
        ));
    }
    for name in ["folder.mlpackage", "file.mlpackage", "folder.zip"] {
        assert!(matches!(
            refuse(name, true, name),
            Error::OutputNotReplaceable { .. }
        ));
    }
    for force in [false, true] {
        for (name, relation) in [
            ("in.mlpackage", "is the input"),
            ("in.mlpackage/out.mlpackage", "lies inside"),
            ("in.mlpackage/Data/out.zip", "lies inside"),
            ("in.mlpackage/Data/../out.mlpackage", "lies inside"),
            ("./in.mlpackage/", "is the input"),
        ] {
            let error = refuse(name, force, relation);
            assert!(matches!(error, Error::OutputOverlapsInput { .. }));
        }
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(at("in.mlpackage"), at("link.mlpackage")).unwrap();
        std::os::unix::fs::symlink(at("in.mlpackage"), at("sub")).unwrap();
        refuse("link.mlpackage", true, "is the input");
        refuse("sub/out.mlpackage", true, "lies inside");
    }
    for name in ["out.bin", "out", "out.mlmodelc"] {
        assert!(matches!(
            refuse(name, false, "must end in"),
            Error::OutputForm { .. }
        ));
    }
    let error = refuse("out.mlmodel", false, "weights/weight.bin");
    assert!(matches!(error, Error::OutputForm { .. }));
    assert!(matches!(
        refuse("nowhere/out.mlpackage", false, "nowhere"),
        Error::Io { .. }
    ));
    let nested = Package::open(at("in.mlpackage")).unwrap();
    drop(nested);
    // A package in a package: the outer one is not replaced while it is read from.
    small_package(&at("there.mlpackage/Data/inner.mlpackage"));
    let inner = Package::open(at("there.mlpackage/Data/inner.mlpackage")).unwrap();
    let options = WriteOptions {
        force: true,
        ..WriteOptions::default()
    };
    let error = inner
        .save(Changes::default(), at("there.mlpackage"), options)
        .unwrap_err();
    assert!(error.to_string().contains("holds"), "{error}");

    assert_eq!(before, common::tree(&at("in.mlpackage")));
    assert_eq!(fs::read(at("there.zip")).unwrap(), b"old");
    assert_eq!(
        fs::read(at("folder.mlpackage/precious.txt")).unwrap(),
        b"old"
    );
    let hidden = fs::read_dir(scratch.path()).unwrap();
    let hidden = hidden.filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with('.')
    });
    assert_eq!(hidden.count(), 0, "nothing temporary is left");
}

#[test]
fn force_replaces_a_model() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    small_package(&at("in.mlpackage"));
    small_package(&at("out.mlpackage"));
    put(&at("out.mlpackage/old.txt"), b"old");
    put(&at("out.zip"), b"old");
    fs::create_dir(at("empty.mlpackage")).unwrap();
    let package = Package::open(at("in.mlpackage")).unwrap();
    let mut reports = Vec::new();
    for name in ["out.mlpackage", "out.zip", "empty.mlpackage"] {
        let mut progress = |done, total| reports.push((done, total));
        let options = WriteOptions {
            force: true,
            durable: true,
            progress: Some(&mut progress),
            ..WriteOptions::default()
        };
        package.save(Changes::default(), at(name), options).unwrap();
        let written = Package::open(at(name)).unwrap();
        assert_eq!(written.spec().bytes(), package.spec().bytes());
    }
    assert_eq!(
        common::tree(&at("in.mlpackage")),
        common::tree(&at("out.mlpackage"))
    );
    assert_eq!(reports.len(), 9);
    assert_eq!(reports[8].0, reports[8].1);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 4);
}
