//! Writing that is interrupted: the old model or the new one, never half.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::exit,
    reason = "tests fail by panicking and print what they counted"
)]

mod common;
#[path = "../../../fixtures/disk.rs"]
mod disk;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{
    SPEC, WEIGHTS, program, put, small_package, spec_of, tree, weight_file, write_package,
};
use disk::SmallDisk;
use milwright_package::{Changes, Error, Package, WriteOptions};

const INPUT: &str = "MILWRIGHT_TEST_INPUT";
const OUTPUT: &str = "MILWRIGHT_TEST_OUTPUT";

/// What the tests below run as a process of its own.
#[test]
fn child_saves() {
    let (Some(input), Some(output)) = (std::env::var_os(INPUT), std::env::var_os(OUTPUT)) else {
        return;
    };
    let options = WriteOptions {
        force: true,
        ..WriteOptions::default()
    };
    let saved = Package::open(input)
        .unwrap()
        .save(Changes::default(), output, options);
    if let Err(error) = saved {
        println!("refused: {error}");
        std::process::exit(7);
    }
}

fn child(input: &Path, output: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child_saves", "--nocapture"]);
    command
        .env(INPUT, input)
        .env(OUTPUT, output)
        .stdout(Stdio::piped());
    command
}

/// A package whose weights are `fill`, a few dozen megabytes of them.
fn big_package(root: &Path, fill: u8) {
    let blob = vec![fill; 24 << 20];
    let (weights, offsets) = weight_file(&[(4, 0, blob, [0; 32]), (4, 0, vec![fill; 9], [0; 32])]);
    write_package(root, &spec_of(&program(&offsets)), Some(&weights));
    put(&root.join("fill.txt"), &[fill]);
}

fn unfinished(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(".milwright")
        })
        .collect()
}

#[test]
fn killed_at_any_moment() {
    let scratch = tempfile::tempdir().unwrap();
    let inputs = [
        scratch.path().join("1.mlpackage"),
        scratch.path().join("2.mlpackage"),
    ];
    for (index, input) in inputs.iter().enumerate() {
        big_package(input, index as u8 + 1);
    }
    let contents = inputs.each_ref().map(|input| tree(input));
    let folder = scratch.path().join("out");
    for name in ["out.mlpackage", "out.zip"] {
        fs::create_dir(&folder).unwrap();
        let out = folder.join(name);
        assert!(child(&inputs[0], &out).output().unwrap().status.success());
        let start = Instant::now();
        assert!(child(&inputs[1], &out).output().unwrap().status.success());
        let whole = start.elapsed();
        let mut current = 1;
        let (mut kept, mut replaced, mut left) = (0, 0, 0);
        let mut random = 12_345_u64;
        let rounds = 30;
        for _ in 0..rounds {
            let next = 1 - current;
            let mut process = child(&inputs[next], &out).spawn().unwrap();
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            std::thread::sleep(whole.mul_f64((random >> 40) as f64 / (1 << 24) as f64 * 1.1));
            process.kill().unwrap();
            process.wait().unwrap();

            // What is there opens, and is one of the two, to the last byte.
            let found = if out.is_dir() {
                tree(&out)
            } else {
                let back = folder.join("back.mlpackage");
                let package = Package::open(&out).unwrap();
                package
                    .save(Changes::default(), &back, WriteOptions::default())
                    .unwrap();
                let found = tree(&back);
                fs::remove_dir_all(back).unwrap();
                found
            };
            if found == contents[next] {
                replaced += 1;
                current = next;
            } else {
                assert!(
                    found == contents[current],
                    "neither the old nor the new model"
                );
                kept += 1;
            }
            for path in unfinished(&folder) {
                left += 1;
                let removed = if path.is_dir() {
                    fs::remove_dir_all(path)
                } else {
                    fs::remove_file(path)
                };
                removed.unwrap();
            }
        }
        println!(
            "{name}: killed {rounds} times within {whole:?}: {kept} times the old model is there, \
             {replaced} times the new one; unfinished files were beside it {left} times"
        );
        assert!(kept > 0 && kept + replaced == rounds);
        fs::remove_dir_all(&folder).unwrap();
    }
}

/// The file-size limit of a process stands in for a full disk on systems where
/// a test may not mount one.
#[cfg(unix)]
#[test]
fn a_file_that_cannot_grow_leaves_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let input = scratch.path().join("in.mlpackage");
    big_package(&input, 1);
    let folder = scratch.path().join("out");
    fs::create_dir(&folder).unwrap();
    for (name, old) in [
        ("out.mlpackage", false),
        ("out.mlpackage", true),
        ("out.zip", false),
    ] {
        let out = folder.join(name);
        if old {
            small_package(&out);
        }
        let before = tree(&folder);
        // 512-byte blocks: 5 MB of 24.
        let output = Command::new("sh")
            .args(["-c", "ulimit -f 10000; trap '' XFSZ; exec \"$@\"", "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "child_saves", "--nocapture"])
            .env(INPUT, &input)
            .env(OUTPUT, &out)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(7), "{text}");
        let message = text
            .lines()
            .find(|line| line.starts_with("refused"))
            .unwrap();
        println!("{message}");
        assert!(
            message.contains(name) && message.contains("File too large"),
            "{message}"
        );
        assert_eq!(tree(&folder), before);
        assert!(unfinished(&folder).is_empty());
        let _ = fs::remove_dir_all(&out);
    }
}

#[test]
fn a_full_disk_leaves_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    if let Some(disk) = SmallDisk::mount(scratch.path(), 4) {
        fill_the_disk(scratch.path(), disk.folder());
    }
}

fn fill_the_disk(scratch: &Path, disk: &Path) {
    let input = scratch.join("in.mlpackage");
    big_package(&input, 1);
    let package = Package::open(&input).unwrap();
    for (name, force) in [
        ("out.mlpackage", false),
        ("out.mlpackage", true),
        ("out.zip", false),
    ] {
        let out = disk.join(name);
        if force {
            small_package(&out);
        }
        let before = tree(disk);
        let options = WriteOptions {
            force,
            ..WriteOptions::default()
        };
        let error = package.save(Changes::default(), &out, options).unwrap_err();
        println!("{error}");
        let Error::Io { path, source, .. } = &error else {
            panic!("{error}")
        };
        assert!(path.starts_with(&out), "{error}");
        assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
        assert_eq!(tree(disk), before);
        assert!(unfinished(disk).is_empty());
        let _ = fs::remove_dir_all(&out);
    }
    // And a disk with room is written to.
    let small = scratch.join("small.mlpackage");
    small_package(&small);
    let package = Package::open(&small).unwrap();
    let out = disk.join("out.mlpackage");
    let save = || package.save(Changes::default(), &out, WriteOptions::default());
    // A process that another test is starting holds what is open here until it
    // runs, and with it the space of files that are removed already.
    let full = |error: &Error| matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull);
    let mut saved = save();
    for _ in 0..100 {
        if !saved.as_ref().is_err_and(full) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        saved = save();
    }
    saved.unwrap();
}

#[test]
fn an_input_cut_while_it_is_open_is_an_error() {
    let scratch = tempfile::tempdir().unwrap();
    let input = scratch.path().join("in.mlpackage");
    small_package(&input);
    let package = Package::open(&input).unwrap();
    let file = package
        .files()
        .iter()
        .find(|file| file.path() == WEIGHTS)
        .unwrap();
    let source = package.source(file).unwrap();
    fs::write(input.join(WEIGHTS), b"short").unwrap();
    let out = scratch.path().join("out.mlpackage");
    let error = package
        .save(Changes::default(), &out, WriteOptions::default())
        .unwrap_err();
    println!("{error}");
    assert!(error.to_string().contains("weight.bin"), "{error}");
    assert!(source.len() > 5);
    assert!(!out.exists() && unfinished(scratch.path()).is_empty());
    assert!(input.join(SPEC).exists());
}

#[test]
fn saving_is_quick_to_start_and_reports_its_progress() {
    let scratch = tempfile::tempdir().unwrap();
    let input = scratch.path().join("in.mlpackage");
    big_package(&input, 1);
    let start = Instant::now();
    let package = Package::open(&input).unwrap();
    assert!(start.elapsed() < Duration::from_secs(1));
    let mut last = (0, 0);
    let mut progress = |done, total| {
        assert!(done >= last.0 && done <= total);
        last = (done, total);
    };
    let options = WriteOptions {
        force: false,
        durable: true,
        progress: Some(&mut progress),
        ..WriteOptions::default()
    };
    package
        .save(
            Changes::default(),
            scratch.path().join("out.mlpackage"),
            options,
        )
        .unwrap();
    assert_eq!(last.0, last.1);
    assert!(last.1 > 24 << 20);
}

/// What may happen to an input while it is copied.
type Change = (&'static str, fn(&Path));

const CHANGES: [Change; 4] = [
    ("has", |file| {
        let mut file = fs::File::options().append(true).open(file).unwrap();
        file.write_all(b"more").unwrap();
    }),
    ("has", |file| {
        let file = fs::File::options().write(true).open(file).unwrap();
        file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    }),
    ("was written to", |file| {
        // In place, and behind what has been copied already.
        let mut file = fs::File::options().write(true).open(file).unwrap();
        file.write_all(b"x").unwrap();
    }),
    ("was written to", |file| {
        let file = fs::File::options().write(true).open(file).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
    }),
];

#[test]
fn an_input_that_changes_while_it_is_copied_is_an_error() {
    let scratch = tempfile::tempdir().unwrap();
    let input = scratch.path().join("in.mlpackage");
    let folder = scratch.path().join("out");
    fs::create_dir(&folder).unwrap();
    let (mut refused, mut old) = (0, None);
    for (name, digested) in [
        ("out.mlpackage", false),
        ("out.mlpackage", true),
        ("out.zip", false),
    ] {
        let out = folder.join(name);
        for (word, change) in CHANGES {
            let _ = fs::remove_dir_all(&input);
            big_package(&input, 1);
            let package = Package::open(&input).unwrap();
            if !out.exists() {
                let options = WriteOptions::default();
                package.save(Changes::default(), &out, options).unwrap();
                old = Some(tree(&folder));
            }
            let (mut files, mut changed) = (Vec::new(), false);
            let mut progress = |done: u64, total: u64| {
                if !changed && done > total / 2 {
                    changed = true;
                    change(&input.join(WEIGHTS));
                }
            };
            let options = WriteOptions {
                force: true,
                files: digested.then_some(&mut files),
                progress: Some(&mut progress),
                ..WriteOptions::default()
            };
            let saved = package.save(Changes::default(), &out, options);
            assert!(changed);
            let error = saved.unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, Error::InputChanged { .. }), "{text}");
            assert!(text.contains(WEIGHTS) && text.contains(word), "{text}");
            assert!(Some(tree(&folder)) == old, "something was written: {text}");
            refused += 1;
        }
    }
    println!("{refused} changes noticed, nothing written");
}

#[test]
fn an_input_that_changes_between_opening_and_reading_is_an_error() {
    let scratch = tempfile::tempdir().unwrap();
    for (word, change) in CHANGES {
        let input = scratch.path().join("in.mlpackage");
        let _ = fs::remove_dir_all(&input);
        small_package(&input);
        let package = Package::open(&input).unwrap();
        // Older kernels take times from a clock that ticks every few milliseconds.
        std::thread::sleep(Duration::from_millis(20));
        change(&input.join(WEIGHTS));
        let file = package.files().iter().find(|f| f.path() == WEIGHTS);
        let text = package.source(file.unwrap()).unwrap_err().to_string();
        assert!(text.contains(WEIGHTS) && text.contains(word), "{text}");
    }
    // Another file in its place, as exporters do it; in the same tick of the
    // clock only its number tells.
    if cfg!(not(unix)) {
        return;
    }
    let input = scratch.path().join("renamed.mlpackage");
    small_package(&input);
    let package = Package::open(&input).unwrap();
    let bytes = fs::read(input.join(WEIGHTS)).unwrap();
    fs::write(scratch.path().join("new"), bytes).unwrap();
    fs::rename(scratch.path().join("new"), input.join(WEIGHTS)).unwrap();
    let out = scratch.path().join("out.mlpackage");
    let saved = package.save(Changes::default(), &out, WriteOptions::default());
    let text = saved.unwrap_err().to_string();
    assert!(text.contains("another file took its place"), "{text}");
    assert!(!out.exists());
}
