//! Every model at hand: what is read is what is there, at every level.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::exit,
    reason = "tests fail by panicking and print what they counted"
)]

mod common;

use std::collections::BTreeSet;

use common::{fixtures, models, repository, shared};
use milwright_package::proto;
use milwright_package::wire::{self, Fidelity, FieldValue, Reach};
use milwright_package::{Package, Spec};

#[derive(Default)]
struct Counts {
    specs: usize,
    operations: usize,
    exact: usize,
    equivalent: Vec<String>,
    blobs: usize,
}

/// Checks the spec at every level that is decoded apart, operations included.
fn check(spec: &Spec, package: &Package, name: &str, counts: &mut Counts) {
    counts.specs += 1;
    let mut levels = vec![
        spec.model_fidelity().unwrap(),
        spec.description_fidelity().unwrap(),
    ];
    if spec.kind().is_pipeline() {
        for (_, stage) in spec.pipeline().unwrap() {
            check(&stage, package, name, counts);
        }
    } else if spec.kind().is_ml_program() {
        levels.push(spec.program_fidelity().unwrap());
        let mut blobs = BTreeSet::new();
        let schema = <proto::Model as wire::Described>::SCHEMA;
        wire::walk(schema, spec.bytes(), Reach::Everything, &mut |visit| {
            assert!(visit.schema.is_some(), "{name}: unknown field {visit:?}");
            let FieldValue::Bytes(bytes) = visit.field.value else {
                return;
            };
            match visit.message.name {
                "Block" if visit.field.number == 3 => {
                    let bytes = milwright_package::Bytes::copy_from_slice(bytes);
                    levels.push(wire::fidelity::<proto::Operation>(&bytes).unwrap());
                    counts.operations += 1;
                }
                "Value" if visit.field.number == 5 => {
                    let bytes = milwright_package::Bytes::copy_from_slice(bytes);
                    let blob: proto::value::BlobFileValue = wire::decode(bytes).unwrap();
                    blobs.insert((blob.file_name, blob.offset));
                }
                _ => {}
            }
        })
        .unwrap();
        let names: BTreeSet<_> = blobs.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(names, spec.weight_file_names().unwrap(), "{name}");
        for (file, offset) in &blobs {
            let blob = package.blob(file, *offset).unwrap();
            assert!(blob.element_count().is_some(), "{name}: {blob:?}");
            counts.blobs += 1;
        }
    }
    if levels.iter().all(|level| *level == Fidelity::Exact) {
        counts.exact += 1;
    } else {
        assert!(
            !levels
                .iter()
                .any(|level| matches!(level, Fidelity::Lossy(_))),
            "{name}"
        );
        counts.equivalent.push(name.to_owned());
    }
}

fn report(counts: &Counts) {
    println!(
        "{} specs with {} operations: {} re-encode byte for byte at every level, {} to other \
         bytes of the same meaning {:?}; {} blobs read",
        counts.specs,
        counts.operations,
        counts.exact,
        counts.equivalent.len(),
        counts.equivalent,
        counts.blobs,
    );
    assert_eq!(counts.exact + counts.equivalent.len(), counts.specs);
    assert!(counts.blobs > 0);
}

#[test]
fn fixtures_decode_without_loss() {
    let mut counts = Counts::default();
    for path in fixtures() {
        let package = Package::open(&path).unwrap();
        let name = path
            .strip_prefix(repository())
            .unwrap()
            .display()
            .to_string();
        check(package.spec(), &package, &name, &mut counts);
    }
    report(&counts);
}

#[test]
fn models_decode_without_loss() {
    let Some(folder) = shared("models") else {
        return;
    };
    let mut counts = Counts::default();
    for path in models(&folder) {
        let package = Package::open(&path).unwrap();
        let name = path.strip_prefix(&folder).unwrap().display().to_string();
        check(package.spec(), &package, &name, &mut counts);
    }
    report(&counts);
}

#[test]
fn conformance_zips_decode_without_loss() {
    let Some(folder) = shared("conformance") else {
        return;
    };
    let mut counts = Counts::default();
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "zip"));
    paths.sort();
    for path in paths {
        let package = Package::open(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        check(package.spec(), &package, &name, &mut counts);
    }
    report(&counts);
}
