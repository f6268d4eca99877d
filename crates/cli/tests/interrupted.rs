//! Cutting that is interrupted, runs out of disk, or whose input changes: what
//! was there before or all of the new, and a clear word.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it checked"
)]

mod common;
#[path = "../../../fixtures/disk.rs"]
mod disk;
#[path = "../../../fixtures/transformer.rs"]
mod transformer;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{expect, files, fixture, milwright, refused, str};
use disk::SmallDisk;

/// A model of 32 MB, which takes long enough to be interrupted.
fn model(folder: &Path) -> PathBuf {
    let path = folder.join("model.mlpackage");
    let measures = transformer::Measures {
        layers: 6,
        width: 512,
        feed_forward: 1024,
        heads: 8,
        key_heads: 4,
        head_width: 64,
        vocabulary: 4000,
        length: 4,
        tied_head: false,
    };
    let bytes = transformer::write(&path, &measures, 5).unwrap();
    println!("a model of {} MB", bytes / 1_000_000);
    path
}

fn start(args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_milwright"))
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn unfinished(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with(".milwright-unfinished-")
    });
    found
}

/// Ten random moments, the same in every run.
fn moments() -> impl Iterator<Item = f64> {
    let mut state = 20_26_u64;
    (0..10).map(move |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / (1 << 24) as f64
    })
}

#[test]
fn killed_at_ten_random_moments() {
    let scratch = tempfile::tempdir().unwrap();
    let model = model(scratch.path());
    let folder = scratch.path().join("out");
    std::fs::create_dir(&folder).unwrap();
    let cut = |parts: &'static str, out: &Path| {
        let out = str(out).to_owned();
        let args = ["bisect", str(&model), "--parts", parts, "--force", "-o"];
        [args.map(str::to_owned).as_slice(), &[out]].concat()
    };
    // What each of the two looks like when nobody interrupts.
    let whole = ["2", "3"].map(|parts| {
        let out = scratch.path().join(parts);
        let args = cut(parts, &out);
        expect(0, &args.iter().map(String::as_str).collect::<Vec<_>>());
        (parts, files(&out))
    });
    for old in [true, false] {
        let out = folder.join(if old { "replaced" } else { "new" });
        let mut current = None;
        let run = |parts| {
            let args = cut(parts, &out);
            start(&args.iter().map(String::as_str).collect::<Vec<_>>())
        };
        if old {
            assert!(run(whole[0].0).wait().unwrap().success());
            current = Some(0);
        }
        let begun = Instant::now();
        assert!(run(whole[1].0).wait().unwrap().success());
        let taken = begun.elapsed();
        if old {
            current = Some(1);
        } else {
            std::fs::remove_dir_all(&out).unwrap();
        }
        let (mut before, mut after, mut left) = (0, 0, 0);
        for moment in moments() {
            let next = current.map_or(0, |current: usize| 1 - current);
            let mut child = run(whole[next].0);
            std::thread::sleep(taken.mul_f64(moment * 1.2));
            child.kill().unwrap();
            child.wait().unwrap();
            if out.exists() {
                let found = files(&out);
                if found == whole[next].1 {
                    after += 1;
                    current = Some(next);
                } else {
                    let current = current.unwrap();
                    assert!(
                        found == whole[current].1,
                        "neither the old nor the new parts"
                    );
                    before += 1;
                }
            } else {
                assert!(current.is_none(), "the old parts are gone");
                before += 1;
            }
            if !old {
                let _ = std::fs::remove_dir_all(&out);
                current = None;
            }
            left += usize::from(!unfinished(&folder).is_empty());
            for path in unfinished(&folder).iter().skip(1) {
                std::fs::remove_dir_all(path).unwrap();
            }
        }
        println!(
            "killed at 10 moments of {taken:?}: {before} times what was before, {after} times the \
             new parts; something unfinished lay beside it {left} times"
        );
        assert_eq!(before + after, 10);
        // What was left is in nobody's way, and is named.
        let remains = unfinished(&folder);
        let args = cut("3", &out);
        let output = milwright(&args.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(0));
        assert!(files(&out) == whole[1].1);
        let said = String::from_utf8(output.stderr).unwrap();
        for path in &remains {
            assert!(
                said.contains(str(path)) && said.starts_with("note: "),
                "{said}"
            );
            std::fs::remove_dir_all(path).unwrap();
        }
        assert_eq!(said.lines().count(), remains.len(), "{said}");
    }
}

#[test]
fn a_full_disk_leaves_what_was_there() {
    let scratch = tempfile::tempdir().unwrap();
    let model = model(scratch.path());
    let Some(disk) = SmallDisk::mount(scratch.path(), 24) else {
        return;
    };
    let out = disk.folder().join("parts");
    let mut checked = 0;
    for old in [false, true] {
        if old {
            let small = fixture("asr-encoder/fp16.mlpackage");
            expect(0, &["bisect", &small, "--parts", "2", "-o", str(&out)]);
        }
        let before = files(disk.folder());
        for parts in ["2", "5"] {
            let args = [
                "bisect",
                str(&model),
                "--parts",
                parts,
                "--force",
                "-o",
                str(&out),
            ];
            let words = ["parts/stage", "No space left"];
            let words: Vec<&str> = match parts {
                "2" => words.to_vec(),
                // Wherever it is noticed.
                _ => vec![words[1]],
            };
            let message = refused(&args, &words);
            println!("{}", message.trim_end());
            assert!(files(disk.folder()) == before, "something is left");
            assert!(unfinished(disk.folder()).is_empty());
            checked += 1;
        }
    }
    println!("{checked} times no room, nothing lost");
}

/// Stops a process where it is, and lets it go on.
#[cfg(unix)]
fn signal(child: &Child, signal: &str) {
    let id = child.id().to_string();
    let sent = Command::new("kill").args([signal, &id]).status().unwrap();
    assert!(sent.success());
}

#[cfg(unix)]
#[test]
fn an_input_that_changes_while_it_is_cut_is_an_error() {
    let scratch = tempfile::tempdir().unwrap();
    let model = model(scratch.path());
    let weights = model.join("Data/com.apple.CoreML/weights/weight.bin");
    let folder = scratch.path().join("out");
    std::fs::create_dir(&folder).unwrap();
    let out = folder.join("parts");
    type Change = fn(&Path);
    let changes: [(&str, Change); 3] = [
        ("one byte changed", |file| {
            let mut file = std::fs::File::options().write(true).open(file).unwrap();
            file.write_all(&[255]).unwrap();
        }),
        ("cut short", |file| {
            let file = std::fs::File::options().write(true).open(file).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        }),
        ("grown", |file| {
            let mut file = std::fs::File::options().append(true).open(file).unwrap();
            file.write_all(&[0; 64]).unwrap();
        }),
    ];
    let original = std::fs::read(&weights).unwrap();
    let mut noticed = 0;
    for (what, change) in changes {
        // The process is stopped once it has begun to write, so that the change
        // comes in between; on a busy machine it may be done before.
        let mut message = None;
        for _ in 0..20 {
            std::fs::write(&weights, &original).unwrap();
            let mut child = start(&["bisect", str(&model), "--parts", "3", "-o", str(&out)]);
            let until = Instant::now() + Duration::from_secs(60);
            while unfinished(&folder).is_empty()
                && child.try_wait().unwrap().is_none()
                && Instant::now() < until
            {
                std::thread::sleep(Duration::from_micros(200));
            }
            if child.try_wait().unwrap().is_none() {
                signal(&child, "-STOP");
                change(&weights);
                signal(&child, "-CONT");
            }
            let output = child.wait_with_output().unwrap();
            if output.status.code() == Some(0) {
                std::fs::remove_dir_all(&out).unwrap();
                continue;
            }
            assert_eq!(output.status.code(), Some(2));
            message = Some(String::from_utf8(output.stderr).unwrap());
            break;
        }
        let message = message.expect("the change never came in between");
        println!("{what}: {}", message.trim_end());
        for word in ["weight.bin", "changed while it was read", "start again"] {
            assert!(message.contains(word), "no {word:?} in {message}");
        }
        assert!(!out.exists() && unfinished(&folder).is_empty());
        noticed += 1;
    }
    println!("{noticed} changes noticed, nothing written");
}

#[test]
fn nothing_is_replaced_unasked_and_nothing_foreign_at_all() {
    let model = fixture("asr-encoder/fp32.mlpackage");
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("parts");
    let bisect =
        |parts: &'static str| ["bisect", &model, "--parts", parts, "-o"].map(str::to_owned);
    let args = |parts, more: &[&str]| {
        let mut args = bisect(parts).to_vec();
        args.push(str(&out).to_owned());
        args.extend(more.iter().map(|&word| word.to_owned()));
        args
    };
    let refused = |parts, more: &[&str], words: &[&str]| {
        let before = files(scratch.path());
        let args = args(parts, more);
        refused(&args.iter().map(String::as_str).collect::<Vec<_>>(), words);
        assert!(
            files(scratch.path()) == before,
            "{more:?} changed something"
        );
    };
    let done = |parts, more: &[&str]| {
        let args = args(parts, more);
        expect(0, &args.iter().map(String::as_str).collect::<Vec<_>>());
        files(&out)
    };
    // A folder of somebody else's, with or without --force.
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("thesis.txt"), "years").unwrap();
    refused("2", &[], &["exists already", "--force"]);
    refused("2", &["--force"], &["is not replaced", "other things"]);
    std::fs::remove_dir_all(&out).unwrap();
    // A file.
    std::fs::write(&out, "years").unwrap();
    refused("2", &["--force"], &["is not replaced", "no folder"]);
    std::fs::remove_file(&out).unwrap();
    // Earlier parts: not without --force, and with it none of them stays.
    let three = done("3", &["--pipeline", "--loader", "python"]);
    refused("2", &[], &["exists already"]);
    let two = done("2", &["--force"]);
    assert!(two.len() < three.len());
    let names: Vec<String> = two.iter().map(|(p, _)| p.display().to_string()).collect();
    assert!(
        !names
            .iter()
            .any(|n| n.contains("stage3") || n.ends_with(".py")),
        "{names:?}"
    );
    // The input, by way of its own folder.
    let whole = str(scratch.path()).to_owned();
    let inside = format!("{model}/parts");
    for (out, word) in [(inside, "lies inside"), (model.clone(), "is the input")] {
        let args = ["bisect", &model, "--parts", "2", "--force", "-o", &out];
        let message = common::refused(&args, &[word]);
        println!("{}", message.trim_end());
    }
    assert!(unfinished(Path::new(&whole)).is_empty());
}
