//! Weight files: every fault has its own error, and rewriting loses nothing.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::exit,
    reason = "tests fail by panicking and print what they counted"
)]

mod common;

use std::collections::BTreeSet;
use std::fs;

use common::{WEIGHT_NAME, WEIGHTS, program, small_package, spec_of, weight_file, write_package};
use milwright_package::{
    Bytes, Changes, Error, NewBlob, NewData, Package, StorageType, WeightFault, WriteOptions,
    rewrite_weights,
};
use proptest::prelude::*;

/// Changes the weight file of the small package and says what reading the
/// record at `offset` gives.
fn fault_after(change: impl FnOnce(&mut Vec<u8>), offset: u64) -> WeightFault {
    let scratch = tempfile::tempdir().unwrap();
    let model = scratch.path().join("in.mlpackage");
    small_package(&model);
    let path = model.join(WEIGHTS);
    let mut weights = fs::read(&path).unwrap();
    change(&mut weights);
    fs::write(&path, weights).unwrap();
    let error = Package::open(&model)
        .unwrap()
        .blob(WEIGHT_NAME, offset)
        .map(|_| ())
        .unwrap_err();
    let message = error.to_string();
    assert!(message.contains("weight.bin"), "{message}");
    match error {
        Error::Weight {
            path: named, fault, ..
        } => {
            assert_eq!(named, path);
            fault
        }
        other => panic!("{other}"),
    }
}

fn set(at: usize, bytes: &[u8]) -> impl FnOnce(&mut Vec<u8>) {
    move |file| file[at..at + bytes.len()].copy_from_slice(bytes)
}

#[test]
fn each_fault_is_told_apart() {
    use WeightFault::*;
    let faults = [
        fault_after(Vec::clear, 64),
        fault_after(|file| file.truncate(63), 64),
        fault_after(set(4, &[1]), 64),
        fault_after(|_| {}, 65),
        fault_after(|_| {}, 0),
        fault_after(|_| {}, 1 << 40),
        fault_after(|_| {}, u64::MAX - 63),
        fault_after(set(64, &[0]), 64),
        fault_after(
            set(72, &[0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            64,
        ),
        fault_after(set(72, &[0, 0, 0, 0, 0, 0, 0, 0x40]), 64),
        fault_after(|file| file.truncate(130), 64),
        fault_after(set(80, &[129]), 64),
        fault_after(set(80, &[0]), 64),
        fault_after(set(80, &[64]), 64),
        fault_after(set(72, &[39]), 64),
    ];
    for fault in &faults {
        println!("{fault}");
    }
    assert!(matches!(
        faults,
        [
            NoHeader { len: 0 },
            NoHeader { len: 63 },
            Version { version: 1 },
            Misaligned { value: 65, .. },
            RecordInHeader,
            RecordPastEnd { .. },
            RecordPastEnd { .. },
            Sentinel { found: 0xdead_be00 },
            Overflow { .. },
            DataPastEnd { .. },
            DataPastEnd { len: 130, .. },
            Misaligned { value: 129, .. },
            DataOverlap { .. },
            DataOverlap { .. },
            PartialElement { size: 39, .. },
        ]
    ));
    // The third blob: 3 bytes of int4. More than 7 padding bits is no padding.
    let third = 64 + 128 + 128;
    let fault = fault_after(set(third + 24, &[12]), third as u64);
    assert!(matches!(fault, PartialElement { padding: 12, .. }));
}

#[test]
fn a_file_cut_anywhere_is_an_error_or_unharmed() {
    let scratch = tempfile::tempdir().unwrap();
    let model = scratch.path().join("in.mlpackage");
    let offsets = small_package(&model);
    let whole = fs::read(model.join(WEIGHTS)).unwrap();
    let ends: Vec<u64> = [(0, 40), (1, 64), (2, 3)]
        .map(|(i, n)| offsets[i] + 64 + n)
        .into();
    for len in 0..whole.len() {
        fs::write(model.join(WEIGHTS), &whole[..len]).unwrap();
        let package = Package::open(&model).unwrap();
        for (offset, end) in offsets.iter().zip(&ends) {
            let read = package.blob(WEIGHT_NAME, *offset).is_ok();
            assert_eq!(read, len as u64 >= *end, "cut at {len}, blob at {offset}");
        }
    }
    println!("cut at each of {} bytes", whole.len());
}

#[test]
fn storage_types_have_their_numbers_and_sizes() {
    for &(number, storage) in StorageType::ALL {
        assert_eq!(storage.number(), number);
        assert_eq!(StorageType::from_number(number), storage);
        let digits: String = storage
            .to_string()
            .chars()
            .skip_while(|c| !c.is_ascii_digit())
            .collect();
        let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
        assert_eq!(storage.bits(), digits.parse().ok(), "{storage}");
    }
    assert_eq!(StorageType::ALL.len(), 17);
    assert_eq!(StorageType::from_number(99), StorageType::Other(99));
}

#[derive(Debug, Clone)]
struct Case {
    old: Vec<(u32, u64, Vec<u8>, [u8; 32])>,
    keep: Vec<bool>,
    new: Vec<NewBlob>,
}

/// A type, padding and data that fit together, often equal to others.
fn blob() -> impl Strategy<Value = (u32, u64, Vec<u8>)> {
    let size = prop_oneof![0_usize..4, Just(16), Just(32), 30_usize..70];
    (0..StorageType::ALL.len(), size, any::<u8>(), any::<u8>()).prop_map(
        |(index, elements, fill, padding)| {
            let (number, storage) = StorageType::ALL[index];
            let bits = storage.bits().unwrap() as usize * elements;
            let data = vec![fill % 3; bits.div_ceil(8)];
            let exact = (data.len() * 8 - bits) as u64;
            // For whole-byte types the field holds anything in old files.
            let any = if storage.bits().unwrap() < 8 {
                exact
            } else {
                u64::from(padding)
            };
            (number, any, data)
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    let old = prop::collection::vec((blob(), any::<[u8; 32]>(), any::<bool>()), 0..8);
    let all = any::<bool>();
    let new = prop::collection::vec(blob(), 0..4);
    (old, all, new).prop_map(|(old, all, new)| Case {
        keep: old.iter().map(|(_, _, keep)| *keep || all).collect(),
        old: old
            .into_iter()
            .map(|((t, p, d), reserved, _)| (t, p, d, reserved))
            .collect(),
        new: new
            .into_iter()
            .map(|(number, padding, data)| {
                let data_type = StorageType::from_number(number);
                let padding_bits = if data_type.bits().unwrap() < 8 {
                    padding
                } else {
                    0
                };
                NewBlob {
                    data_type,
                    data: Bytes::from(data).into(),
                    padding_bits,
                }
            })
            .collect(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn rewriting_keeps_what_is_kept_and_adds_what_is_added(case in case()) {
        let scratch = tempfile::tempdir().unwrap();
        let model = scratch.path().join("in.mlpackage");
        let (file, offsets) = weight_file(&case.old);
        write_package(&model, &spec_of(&program(&offsets)), Some(&file));
        let package = Package::open(&model).unwrap();
        let old = package.weight_file(WEIGHT_NAME).unwrap();
        let kept: BTreeSet<u64> =
            offsets.iter().zip(&case.keep).filter(|(_, keep)| **keep).map(|(at, _)| *at).collect();

        // Not only new blobs, but the second half of every old one of whole bytes.
        let mut new = case.new;
        for &offset in offsets.iter().filter(|_| !new.is_empty()).collect::<Vec<_>>() {
            let blob = old.blob(offset).unwrap();
            let width = u64::from(blob.data_type.bits().unwrap() / 8);
            if let Some(count) = blob.element_count().filter(|&n| n > 1 && width > 0) {
                let data = NewData::Range {
                    offset,
                    start: count / 2 * width,
                    len: (count - count / 2) * width,
                };
                new.push(NewBlob { data_type: blob.data_type, data, padding_bits: 0 });
            }
        }

        let plan = rewrite_weights(Some(old), &kept, &new).unwrap();
        let unchanged = plan.unchanged;
        let (moved, added) = (plan.moved, plan.added);
        let out = scratch.path().join("out.mlpackage");
        let changes = Changes {
            weights: vec![(WEIGHT_NAME.to_owned(), plan.pieces)],
            ..Changes::default()
        };
        package.save(changes, &out, WriteOptions::default()).unwrap();

        let written = Package::open(&out).unwrap();
        let file_now = written.weight_file(WEIGHT_NAME).unwrap();
        prop_assert_eq!(moved.keys().copied().collect::<BTreeSet<_>>(), kept.clone());
        for (from, to) in &moved {
            let (a, b) = (old.blob(*from).unwrap(), file_now.blob(*to).unwrap());
            prop_assert_eq!(a.data, b.data);
            prop_assert_eq!(&a.record[..16], &b.record[..16]);
            prop_assert_eq!(&a.record[24..], &b.record[24..]);
            prop_assert_eq!(b.data_offset, to + 64);
        }
        prop_assert_eq!(added.len(), new.len());
        for (blob, at) in new.iter().zip(&added) {
            let read = file_now.blob(*at).unwrap();
            let data = match &blob.data {
                NewData::Bytes(bytes) => &bytes[..],
                &NewData::Range { offset, start, len } => {
                    &old.blob(offset).unwrap().data[start as usize..][..len as usize]
                }
            };
            prop_assert_eq!(read.data, data);
            prop_assert_eq!(read.data_type, blob.data_type);
            prop_assert_eq!(read.padding_bits, blob.padding_bits);
        }
        // As many records as the header says, one after the other, and no byte more.
        let all: BTreeSet<u64> = moved.values().chain(&added).copied().collect();
        prop_assert_eq!(u64::from(file_now.count()), all.len() as u64);
        let mut end = 64_u64;
        for at in &all {
            prop_assert_eq!(*at, end.next_multiple_of(64));
            end = at + 64 + file_now.blob(*at).unwrap().data.len() as u64;
        }
        prop_assert!(file_now.len() == end || file_now.len() == end.next_multiple_of(64));
        let same = fs::read(out.join(WEIGHTS)).unwrap() == file;
        prop_assert_eq!(unchanged, same);
        if kept.len() == offsets.len() && new.is_empty() {
            prop_assert!(same);
        }
        // The order of the old file.
        prop_assert!(moved.values().is_sorted());
    }
}

#[test]
fn equal_blobs_are_not_written_again() {
    let scratch = tempfile::tempdir().unwrap();
    let model = scratch.path().join("in.mlpackage");
    let offsets = small_package(&model);
    let package = Package::open(&model).unwrap();
    let old = package.weight_file(WEIGHT_NAME).unwrap();
    let kept: BTreeSet<u64> = offsets.iter().copied().collect();
    let blob = |fill, data_type| NewBlob {
        data_type,
        data: Bytes::from(vec![fill; 64]).into(),
        padding_bits: 0,
    };
    let same = blob(2, StorageType::Float32);
    let plan = rewrite_weights(Some(old), &kept, std::slice::from_ref(&same)).unwrap();
    assert!(plan.unchanged);
    assert_eq!(plan.added, [offsets[1]]);

    let other_type = blob(2, StorageType::Int32);
    let new = blob(9, StorageType::Float32);
    let plan = rewrite_weights(Some(old), &kept, &[new.clone(), other_type, same, new]).unwrap();
    assert!(!plan.unchanged);
    assert_eq!(plan.added[0], plan.added[3]);
    assert_eq!(plan.added[2], plan.moved[&offsets[1]]);
    assert_eq!(BTreeSet::from_iter(&plan.added).len(), 3);
    // Nothing moved, so the old part is one range between header and new blobs.
    let ranges = plan
        .pieces
        .iter()
        .filter(|piece| matches!(piece, milwright_package::Piece::Range(_)));
    assert_eq!(ranges.count(), 1);
}

#[test]
fn wrong_requests_are_errors() {
    let scratch = tempfile::tempdir().unwrap();
    let model = scratch.path().join("in.mlpackage");
    small_package(&model);
    let package = Package::open(&model).unwrap();
    let old = package.weight_file(WEIGHT_NAME).unwrap();
    assert!(rewrite_weights(Some(old), &BTreeSet::from([128]), &[]).is_err());
    assert!(rewrite_weights(None, &BTreeSet::from([64]), &[]).is_err());
    let odd = NewBlob {
        data_type: StorageType::Float16,
        data: Bytes::from_static(&[0; 3]).into(),
        padding_bits: 0,
    };
    assert!(rewrite_weights(Some(old), &BTreeSet::new(), &[odd]).is_err());
    for (offset, start, len) in [
        (64, u64::MAX, 4),
        (64, 1 << 20, 4),
        (64, 0, 1 << 40),
        (128, 0, 4),
    ] {
        let data = NewData::Range { offset, start, len };
        let beyond = NewBlob {
            data_type: StorageType::Float32,
            data,
            padding_bits: 0,
        };
        assert!(rewrite_weights(Some(old), &BTreeSet::new(), &[beyond]).is_err());
    }
    let names = [
        "weights/weight.bin",
        "@model_path/../x",
        "@model_path//etc",
        "/etc/passwd",
        "",
    ];
    for name in names {
        let error = package.weight_file(name).map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::WeightName { .. }), "{name}: {error}");
    }
    let error = package
        .weight_file("@model_path/weights/other.bin")
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(error, Error::MissingFile { .. }), "{error}");
    println!("{error}");
}

#[test]
fn a_first_weight_file_gets_its_item_in_the_manifest() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    fs::write(at("in.mlmodel"), spec_of(&program(&[64]))).unwrap();
    let package = Package::open(at("in.mlmodel")).unwrap();
    assert_eq!(package.manifest().items().len(), 1);
    let error = package.blob(WEIGHT_NAME, 64).unwrap_err();
    assert!(error.to_string().contains("weights/weight.bin"), "{error}");
    let blob = NewBlob {
        data_type: StorageType::UInt8,
        data: Bytes::from_static(b"some").into(),
        padding_bits: 0,
    };
    let plan = rewrite_weights(None, &BTreeSet::new(), &[blob]).unwrap();
    assert_eq!(plan.added, [64]);
    let changes = Changes {
        weights: vec![(WEIGHT_NAME.to_owned(), plan.pieces)],
        ..Changes::default()
    };
    package
        .save(changes, at("out.mlpackage"), WriteOptions::default())
        .unwrap();
    let out = Package::open(at("out.mlpackage")).unwrap();
    assert_eq!(out.blob(WEIGHT_NAME, 64).unwrap().data, b"some");
    let paths: Vec<_> = out
        .manifest()
        .items()
        .iter()
        .map(|item| item.path.as_str())
        .collect();
    assert_eq!(
        paths,
        ["com.apple.CoreML/model.mlmodel", "com.apple.CoreML/weights"]
    );
}

#[test]
fn equal_blobs_of_several_files_are_stored_once() {
    use milwright_package::{Joined, SharedBlobs, join_weights};
    let blob = |data_type, data: Vec<u8>| NewBlob {
        data_type,
        data: Bytes::from(data).into(),
        padding_bits: 0,
    };
    // Alike at both ends, and only there.
    let long = |middle: u8| {
        let mut data = vec![1; 20_000];
        data[10_000] = middle;
        data
    };
    let a = [
        blob(StorageType::Float16, long(0)),
        blob(StorageType::Float16, long(2)),
        blob(StorageType::UInt8, vec![7; 5]),
        blob(StorageType::Float32, Vec::new()),
    ];
    let b = [
        blob(StorageType::UInt8, vec![7; 5]),
        blob(StorageType::Int8, vec![7; 5]),
        blob(StorageType::Float16, long(0)),
        blob(StorageType::Float16, long(3)),
    ];
    let scratch = tempfile::tempdir().unwrap();
    let write = |name: &str, blobs: &[NewBlob]| {
        let root = scratch.path().join(name);
        small_package(&root);
        let package = Package::open(&root).unwrap();
        let file = rewrite_weights(None, &BTreeSet::new(), blobs).unwrap();
        let out = scratch.path().join(format!("new-{name}"));
        let changes = Changes {
            weights: vec![(WEIGHT_NAME.to_owned(), file.pieces)],
            ..Changes::default()
        };
        package
            .save(changes, &out, WriteOptions::default())
            .unwrap();
        (Package::open(&out).unwrap(), file.added)
    };
    let (one, at_one) = write("one.mlpackage", &a);
    let (two, at_two) = write("two.mlpackage", &b);
    let kept = [&at_one, &at_two].map(|offsets| offsets.iter().copied().collect::<BTreeSet<_>>());
    let files = [&one, &two].map(|package| package.weight_file(WEIGHT_NAME).unwrap());
    let joined = [0, 1].map(|n| Joined {
        file: files[n],
        kept: &kept[n],
    });
    let plan = join_weights(&joined).unwrap();
    let wanted = SharedBlobs {
        blobs: 6,
        bytes: 3 * 20_000 + 5 + 5,
        shared_blobs: 2,
        saved_bytes: 20_000 + 5,
    };
    assert_eq!(plan.report, wanted);
    let out = scratch.path().join("joined.mlpackage");
    let changes = Changes {
        weights: vec![(WEIGHT_NAME.to_owned(), plan.pieces)],
        ..Changes::default()
    };
    one.save(changes, &out, WriteOptions::default()).unwrap();
    let joined = Package::open(&out).unwrap();
    let mut places = BTreeSet::new();
    for (number, (package, blobs)) in [(&one, &at_one), (&two, &at_two)].into_iter().enumerate() {
        for offset in blobs {
            let new = plan.moved[number][offset];
            places.insert(new);
            let (before, after) = (
                package.blob(WEIGHT_NAME, *offset).unwrap(),
                joined.blob(WEIGHT_NAME, new).unwrap(),
            );
            assert_eq!(before.data_type, after.data_type);
            assert!(before.data == after.data);
        }
    }
    assert_eq!(places.len(), 6);
    assert_eq!(joined.weight_file(WEIGHT_NAME).unwrap().count(), 6);

    // One file with repeats, and an offset that is none.
    let same: BTreeSet<u64> = at_two.iter().copied().collect();
    let alone = [Joined {
        file: files[1],
        kept: &same,
    }];
    assert_eq!(join_weights(&alone).unwrap().report.shared_blobs, 0);
    let bad = BTreeSet::from([1]);
    assert!(
        join_weights(&[Joined {
            file: files[1],
            kept: &bad
        }])
        .is_err()
    );
    println!("8 blobs in 6 places");
}
