//! `milwright reshape`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it checked"
)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{all_refused, expect, fixture, fixtures, json, packages, shared, steps, str};
use milwright_ir::features::{Description, FeatureKind, Flexibility};
use milwright_package::Package;
use milwright_verify::{Array, Data, NamedArrays, npz};
use serde_json::Value;

/// A file of `fixtures/reshape`.
fn here(name: &str) -> String {
    let path = fixtures().join("../reshape").join(name);
    assert!(path.exists(), "{} is missing", path.display());
    path.to_str().unwrap().to_owned()
}

fn reshape(status: i32, model: &str, out: &Path, args: &[&str]) -> Value {
    json(
        status,
        &[&["reshape", model, "-o", str(out), "--force"], args].concat(),
    )
}

fn verify(model: &Path, inputs: &str, expected: &str, scale: f64) {
    // How far it may be is looked at below.
    let args = [
        "verify",
        str(model),
        "--inputs",
        inputs,
        "--against",
        expected,
        "--atol",
        "1000",
    ];
    let report = json(0, &args);
    for output in report["outputs"].as_array().unwrap() {
        let (most, size) = (&output["max_abs"], &output["ref_max_abs"]);
        let (most, size) = (most.as_f64().unwrap(), size.as_f64().unwrap());
        assert!(most <= scale * size, "{output}");
        println!("{}: {most:.1e} of {size:.2}", output["name"]);
    }
}

fn of<'v>(report: &'v Value, list: &str, key: &str) -> Vec<&'v str> {
    let each = report[list].as_array().unwrap().iter();
    each.map(|f| f[key].as_str().unwrap()).collect()
}

fn input(path: &Path, name: &str) -> (Vec<u64>, Flexibility) {
    let d = Package::open(path).unwrap().spec().description().unwrap();
    let d = Description::from_proto(&d);
    let feature = d.functions[0].inputs.iter().find(|f| f.name == name);
    match &feature.unwrap().kind {
        FeatureKind::Array(a) => (a.shape.clone(), a.flexibility.clone()),
        other => panic!("{other}"),
    }
}

/// Constants of reshape are named, and rewritten where one choice is left; the
/// table of positions is for the user to give. At the new shape the model gives
/// what torch gives.
#[test]
fn an_encoder_takes_twice_the_frames() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("longer.mlpackage");
    for (model, scale) in [("fp32", 1e-5), ("fp16", 5e-3)] {
        let model = fixture(&format!("asr-encoder/{model}.mlpackage"));
        let shape = ["--input", "mel=1,64,200"];
        let report = reshape(1, &model, &out, &shape);
        assert!(!out.exists());
        // The first reshape of the file lets a size open.
        let found = report["in_the_way"].as_array().unwrap();
        let mut types: BTreeMap<&str, usize> = BTreeMap::new();
        for op in found {
            *types.entry(op["op_type"].as_str().unwrap()).or_default() += 1;
            match op["op_type"].as_str().unwrap() {
                "add" => assert!(op["contains"].as_str().unwrap().contains("positions")),
                _ => assert!(op["follow"].as_str().unwrap().contains("-1")),
            }
        }
        println!("{types:?}");
        assert_eq!(types.remove("add"), Some(1), "{report}");
        assert!(types.keys().all(|t| *t == "reshape"), "{types:?}");
        let reshapes: usize = types.values().sum();

        let report = reshape(1, &model, &out, &[&shape[..], &["--follow"]].concat());
        assert_eq!(of(&report, "in_the_way", "op_type"), ["add"]);
        assert_eq!(of(&report, "followed", "op_type").len(), reshapes);
        assert!(!out.exists());

        let name = found.iter().find(|op| op["op_type"] == "add").unwrap();
        let name = name["contains"].as_str().unwrap();
        let name = name.split('`').nth(1).unwrap();
        let table = format!("{name}={}", here("asr-encoder.positions.npy"));
        let more = ["--follow", "--constant", &table];
        let report = reshape(0, &model, &out, &[&shape[..], &more].concat());
        assert_eq!(
            of(&report, "shapes", "what"),
            ["constant", "input", "output"]
        );
        let (inputs, expected) = (
            here("asr-encoder.inputs.npz"),
            here("asr-encoder.expected.npz"),
        );
        verify(&out, &inputs, &expected, scale);
        assert_eq!(input(&out, "mel"), (vec![1, 64, 200], Flexibility::Fixed));
        std::fs::remove_dir_all(&out).unwrap();
    }
}

/// The same with the shared encoder: `longer_encoder.py` says how torch got there.
#[test]
fn the_shared_encoder_takes_twice_the_frames() {
    let Some(shared) = shared() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("longer.mlpackage");
    let (inputs, expected) = (
        here("shared-encoder.inputs.npz"),
        here("shared-encoder.expected.npz"),
    );
    for (model, table, scale) in [("fp32", "pos", 2e-6), ("fp16", "pos_to_fp16", 2e-3)] {
        let model = shared.join(format!("asr-encoder/{model}.mlpackage"));
        let table = format!("{table}={}", here("shared-encoder.positions.npy"));
        let args = ["--input", "mel=1,128,200", "--follow", "--constant", &table];
        let report = reshape(0, str(&model), &out, &args);
        assert_eq!(of(&report, "followed", "op_type"), ["reshape"; 9]);
        verify(&out, &inputs, &expected, scale);
    }
}

/// Fixed to flexible: the same program gives what it gave at its own size, and
/// what torch gives at another.
#[test]
fn fixed_becomes_flexible_and_fixed_again() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (
        dir.path().join("one.mlpackage"),
        dir.path().join("two.mlpackage"),
    );
    let source = here("follows.mlpackage");
    for (shape, default) in [
        ("x=1,20,8", 20),
        ("x=1,1..64,8", 12),
        ("x=1,5..,8", 12),
        ("x=1,20,8;1,12,8;1,7,8", 12),
        ("x=1,16..32,8", 16),
    ] {
        let report = reshape(1, &source, &one, &["--input", shape]);
        let mut found = of(&report, "in_the_way", "output");
        found.sort_unstable();
        assert_eq!(
            found,
            ["flat", "heads", "joined", "rest", "whole"],
            "{report}"
        );
        let report = reshape(0, &source, &one, &["--input", shape, "--follow"]);
        assert_eq!(of(&report, "followed", "output").len(), 5);
        let mut heads = report["followed"].as_array().unwrap().iter();
        let heads = heads.find(|f| f["output"] == "heads").unwrap();
        assert_eq!(heads["follow"], "shape = [1, -1, 2, 4]");
        assert_eq!(input(&one, "x").0, [1, default, 8]);
        verify(
            &one,
            &here("follows.inputs.npz"),
            &here("follows.expected.npz"),
            1e-5,
        );
        if default == 12 {
            // At the old size, bit for bit what it was.
            let args = ["verify", str(&one), "--against", &source, "--atol", "0"];
            json(0, &args);
        }
        let report = reshape(0, str(&one), &two, &["--input", "x=1,20,8"]);
        assert!(report["followed"].as_array().unwrap().is_empty());
        verify(
            &two,
            &here("follows.inputs.npz"),
            &here("follows.expected.npz"),
            1e-5,
        );
        let text = expect(0, &["print", str(&two)]);
        assert!(text.contains("tensor<fp32, [2, 80]> y"), "{text}");
    }
}

/// Every operation that nobody can rewrite is named, with what it holds.
#[test]
fn what_is_in_the_way_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.mlpackage");
    let report = reshape(
        1,
        &here("in-the-way.mlpackage"),
        &out,
        &["--input", "x=1,20,8"],
    );
    let mut found: BTreeMap<&str, &Value> = BTreeMap::new();
    for op in report["in_the_way"].as_array().unwrap() {
        found.insert(op["output"].as_str().unwrap(), op);
    }
    for (output, words, contradicts) in [
        ("half", "0 to 6 of what were 12", false),
        ("last", "11 to 12 of what were 12", false),
        ("moved", "rows", true),
        ("masked", "constant fp32[12,12]", true),
        ("order", "fixed elements", false),
        ("mixed", "constant fp32[4,12]", true),
        ("pooled", "window", false),
        ("squares", "cannot be told", true),
        ("inside", "[12, 8]", true),
    ] {
        let op = found.remove(output);
        let op = op.unwrap_or_else(|| panic!("{output} is not named: {report:#}"));
        let text = format!("{} {}", op["contains"], op["why"]);
        assert!(text.contains(words), "{output}: {text}");
        assert_eq!(op["contradicts"], contradicts, "{output}: {text}");
    }
    assert!(found.keys().all(|k| *k == "resized"), "{found:#?}");
    assert!(!out.exists());
    let text = expect(
        1,
        &[
            "reshape",
            &here("in-the-way.mlpackage"),
            "-o",
            str(&out),
            "--input",
            "x=1,20,8",
        ],
    );
    assert!(
        text.contains("--keep half") && text.contains("not written"),
        "{text}"
    );
}

#[test]
fn what_is_meant_can_be_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (part, out) = (
        dir.path().join("part.mlpackage"),
        dir.path().join("out.mlpackage"),
    );
    let source = here("in-the-way.mlpackage");
    let args = [
        "extract",
        &source,
        "--outputs",
        "half,first",
        "-o",
        str(&part),
    ];
    expect(0, &args);
    let report = reshape(1, str(&part), &out, &["--input", "x=1,20,8"]);
    assert_eq!(of(&report, "in_the_way", "output"), ["half"]);
    let report = reshape(
        0,
        str(&part),
        &out,
        &["--input", "x=1,20,8", "--keep", "half"],
    );
    assert_eq!(of(&report, "kept", "output"), ["half"]);
    expect(
        0,
        &[
            "run",
            str(&out),
            "--seed",
            "1",
            "-o",
            str(&dir.path().join("o.npz")),
        ],
    );
}

#[test]
fn what_cannot_be_asked_for_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.mlpackage");
    let asr = fixture("asr-encoder/fp32.mlpackage");
    let kv = fixture("transformer-kv/fp16.mlpackage");
    let positions = format!("positions={}", here("asr-encoder.positions.npy"));
    let nothing = format!("nothing={}", here("asr-encoder.positions.npy"));
    let state = {
        let d = Package::open(&kv).unwrap().spec().description().unwrap();
        format!("{}=1,1,1,1", d.state[0].name)
    };
    let cases: Vec<(&str, Vec<&str>, &str)> = vec![
        (&asr, vec![], "--input"),
        (&asr, vec!["--input", "mel"], "INPUT=SIZE"),
        (&asr, vec!["--input", "mel=1,0,2"], "no size"),
        (&asr, vec!["--input", "mel=1,64,9..3"], "no size"),
        (&asr, vec!["--input", "mel=1,x"], "no size"),
        (&asr, vec!["--input", "mel=1;1,2"], "as many sizes"),
        (&asr, vec!["--input", "mel=1,64"], "dimensions stays"),
        (&asr, vec!["--input", "mell=1,64,200"], "did you mean `mel`"),
        (
            &asr,
            vec!["--input", "mel=1,64,200", "--input", "mel=1,64,9"],
            "two shapes",
        ),
        (
            &asr,
            vec!["--input", "mel=1,64,200", "--constant", &nothing],
            "no constant",
        ),
        (
            &asr,
            vec![
                "--input",
                "mel=1,64,100",
                "--constant",
                &positions,
                "--keep",
                "x",
            ],
            "keep",
        ),
        (
            &asr,
            vec!["--input", "mel=1,64,200", "--constant", "a"],
            "NAME=FILE",
        ),
        (&kv, vec!["--input", &state], "state"),
    ];
    all_refused("reshape", &out, &cases);
}

/// The shared models: a range made fixed and flexible again is the same model.
#[test]
fn a_range_becomes_fixed_and_a_range_again() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (
        dir.path().join("one.mlpackage"),
        dir.path().join("two.mlpackage"),
    );
    let flexible = fixtures().join("transformer-flexible");
    let mut cases: Vec<(PathBuf, PathBuf, String)> = Vec::new();
    let model = flexible.join("fp32.mlpackage");
    cases.push((model, flexible, String::new()));
    if let Some(shared) = shared() {
        for name in ["range_dim", "enumerated_shapes"] {
            let folder = shared.join("edge-cases").join(name);
            cases.push((folder.join("model.mlpackage"), folder, String::new()));
        }
    }
    for (model, folder, _) in &cases {
        let d = Package::open(model).unwrap().spec().description().unwrap();
        let inputs = Description::from_proto(&d).functions.remove(0).inputs;
        let spell = |fixed: Option<u64>| -> Vec<String> {
            let each = inputs.iter().filter_map(|f| match &f.kind {
                FeatureKind::Array(a) => Some((f.name.as_str(), a)),
                _ => None,
            });
            let flexible = each.filter(|(_, a)| a.flexibility != Flexibility::Fixed);
            let spelt = flexible.flat_map(|(name, a)| {
                let shape = match (&a.flexibility, fixed) {
                    (Flexibility::Ranges(sizes), Some(n)) => sizes
                        .iter()
                        .map(|&(low, high)| if high == Some(low) { low } else { n }.to_string())
                        .collect::<Vec<_>>()
                        .join(","),
                    (Flexibility::Ranges(sizes), None) => sizes
                        .iter()
                        .map(|&(low, high)| match high {
                            Some(high) if high == low => low.to_string(),
                            Some(high) => format!("{low}..{high}"),
                            None => format!("{low}.."),
                        })
                        .collect::<Vec<_>>()
                        .join(","),
                    (Flexibility::Enumerated(shapes), None) => shapes
                        .iter()
                        .map(|s| s.iter().map(u64::to_string).collect::<Vec<_>>().join(","))
                        .collect::<Vec<_>>()
                        .join(";"),
                    (_, Some(_)) => a
                        .shape
                        .iter()
                        .map(u64::to_string)
                        .collect::<Vec<_>>()
                        .join(","),
                    (Flexibility::Fixed, None) => unreachable!("filtered"),
                };
                ["--input".to_owned(), format!("{name}={shape}")]
            });
            spelt.collect()
        };
        let default = match &inputs[0].kind {
            FeatureKind::Array(a) => match &a.flexibility {
                Flexibility::Ranges(sizes) => {
                    let moving = sizes.iter().position(|&(l, h)| h != Some(l)).unwrap();
                    a.shape[moving]
                }
                _ => 0,
            },
            _ => 0,
        };
        let fixed = spell(Some(default));
        let fixed: Vec<&str> = fixed.iter().map(String::as_str).collect();
        let report = reshape(0, str(model), &one, &fixed);
        assert!(report["followed"].as_array().unwrap().is_empty());
        let text = expect(0, &["print", str(&one)]);
        assert!(!text.contains('?'), "{text}");
        // At the default shape, bit for bit.
        json(
            0,
            &["verify", str(&one), "--against", str(model), "--atol", "0"],
        );

        let again = spell(None);
        let again: Vec<&str> = again.iter().map(String::as_str).collect();
        reshape(0, str(&one), &two, &again);
        let args = ["diff", str(model), str(&two)];
        let same = json(0, &args);
        assert_eq!(same["equal"], true, "{same:#}");
        // At every shape that there are expectations for.
        let (inputs, expected) = (steps(folder, "inputs"), steps(folder, "expected"));
        assert!(!inputs.is_empty());
        for (inputs, expected) in inputs.iter().zip(&expected) {
            verify(&two, inputs, expected, 1e-4);
        }
        println!("{}: {} steps", model.display(), inputs.len());
    }
}

/// Whatever is written runs at its new shapes, and what is not written is said
/// to be in the way.
#[test]
fn every_model_at_other_sizes() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = packages(&fixtures());
    if let Some(shared) = shared() {
        all.extend(packages(&shared));
    }
    let (mut written, mut refused, mut named) = (0, 0, 0);
    for (number, model) in all.iter().enumerate() {
        let package = Package::open(model).unwrap();
        if !package.spec().kind().is_ml_program() {
            continue;
        }
        let d = Description::from_proto(&package.spec().description().unwrap());
        let Some(signature) = d.functions.first() else {
            continue;
        };
        for feature in &signature.inputs {
            let FeatureKind::Array(array) = &feature.kind else {
                continue;
            };
            for axis in 0..array.shape.len() {
                let mut shape = array.shape.clone();
                shape[axis] *= 2;
                let shape: Vec<String> = shape.iter().map(u64::to_string).collect();
                let out = dir.path().join(format!("{number}-{axis}.mlpackage"));
                let request = format!("{}={}", feature.name, shape.join(","));
                let args = [
                    "reshape",
                    str(model),
                    "-o",
                    str(&out),
                    "--input",
                    &request,
                    "--follow",
                    "--function",
                    &signature.function,
                    "--force",
                    "--json",
                ];
                let output = common::milwright(&args);
                let message = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(!message.contains("panicked"), "{message}");
                match output.status.code() {
                    Some(0) => {
                        let npz = dir.path().join("o.npz");
                        let run = ["run", str(&out), "--seed", "0", "-o", str(&npz), "--force"];
                        let function = ["--function", &signature.function];
                        expect(0, &[&run[..], &function].concat());
                        written += 1;
                        std::fs::remove_dir_all(&out).unwrap();
                    }
                    Some(1) => {
                        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
                        let found = report["in_the_way"].as_array().unwrap().len();
                        assert!(found > 0 && !out.exists(), "{report}");
                        refused += 1;
                        named += found;
                    }
                    _ => panic!("{} {request}: {message}", model.display()),
                }
            }
        }
    }
    println!("{written} written and run, {refused} not written for {named} operations");
    assert!(written > 10 && refused > 10);
}

/// Numbers that are the same on every run; `seed` tells batches apart.
fn numbers(feature: &milwright_ir::features::ArrayFeature, seed: u64) -> Array {
    let shape: Vec<usize> = feature.shape.iter().map(|&n| n as usize).collect();
    let count: usize = shape.iter().product();
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as i32 % 128
    };
    let data = match feature.dtype.is_some_and(|d| d.is_float()) {
        true => Data::Float32((0..count).map(|_| next() as f32 / 64.0 - 1.0).collect()),
        false => Data::Int32((0..count).map(|_| 1 + next() % 4).collect()),
    };
    Array::new(shape, data).unwrap()
}

/// Two arrays one after the other.
fn joined(one: &Array, other: &Array) -> Array {
    let mut shape = one.shape().to_vec();
    shape[0] *= 2;
    let data = match (one.data(), other.data()) {
        (Data::Float32(a), Data::Float32(b)) => Data::Float32([&a[..], b].concat()),
        (Data::Int32(a), Data::Int32(b)) => Data::Int32([&a[..], b].concat()),
        _ => panic!("{:?}", one.dtype()),
    };
    Array::new(shape, data).unwrap()
}

/// A model whose batch became two gives for two inputs what it gave for each:
/// what was rewritten still computes the same.
#[test]
fn a_batch_of_two_is_twice_one() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut all = packages(&fixtures());
    if let Some(shared) = shared() {
        all.extend(packages(&shared));
    }
    let (mut agree, mut left) = (0, 0);
    for model in &all {
        let package = Package::open(model).unwrap();
        if !package.spec().kind().is_ml_program() {
            continue;
        }
        let d = Description::from_proto(&package.spec().description().unwrap());
        let signature = &d.functions[0];
        let inputs = signature.inputs.iter().map(|f| match &f.kind {
            FeatureKind::Array(a) if a.shape.first() == Some(&1) => Some((&f.name, a)),
            _ => None,
        });
        let Some(inputs) = inputs.collect::<Option<Vec<_>>>() else {
            continue;
        };
        // A condition over a whole batch is another one for another batch.
        let branches = expect(0, &["print", str(model)]).contains("cond(");
        if !signature.states.is_empty() || branches {
            continue;
        }
        let function = ["--function", &signature.function];
        let out = at("batch.mlpackage");
        let mut args = vec![
            "reshape",
            str(model),
            "-o",
            str(&out),
            "--force",
            "--follow",
        ];
        let shapes: Vec<String> = inputs
            .iter()
            .map(|(name, a)| {
                let rest: Vec<String> = a.shape[1..].iter().map(|n| format!(",{n}")).collect();
                format!("{name}=2{}", rest.concat())
            })
            .collect();
        args.extend(shapes.iter().flat_map(|shape| ["--input", shape]));
        args.extend(function);
        if common::milwright(&args).status.code() == Some(1) {
            left += 1;
            continue;
        }
        let mut given = [NamedArrays::new(), NamedArrays::new(), NamedArrays::new()];
        for (n, (name, feature)) in inputs.iter().enumerate() {
            let one = numbers(feature, 2 * n as u64 + 1);
            let other = numbers(feature, 2 * n as u64 + 2);
            given[2].insert(name.as_str(), joined(&one, &other));
            given[0].insert(name.as_str(), one);
            given[1].insert(name.as_str(), other);
        }
        let mut outputs = Vec::new();
        for (model, arrays) in [model, model, &out].into_iter().zip(&given) {
            let (from, to) = (at("inputs.npz"), at("outputs.npz"));
            npz::save(&from, arrays, true).unwrap();
            let run = [
                "run",
                str(model),
                "--inputs",
                str(&from),
                "-o",
                str(&to),
                "--force",
            ];
            expect(0, &[&run[..], &function].concat());
            outputs.push(npz::load(&to).unwrap());
        }
        for (name, both) in outputs[2].iter() {
            let (one, other) = (outputs[0].get(name), outputs[1].get(name));
            let (one, other) = (one.unwrap().data().to_f64(), other.unwrap().data().to_f64());
            let wanted = [one, other].concat();
            let got = both.data().to_f64();
            assert_eq!(wanted.len(), got.len(), "{} {name}", model.display());
            let most = wanted.iter().fold(1e-9f64, |m, v| m.max(v.abs()));
            let far = wanted.iter().zip(&got).map(|(a, b)| (a - b).abs());
            let far = far.fold(0.0f64, f64::max);
            assert!(
                far <= 1e-4 * most,
                "{} {name}: {far} of {most}",
                model.display()
            );
            agree += 1;
        }
    }
    println!("{agree} outputs agree; {left} models have sizes in the way");
    assert!(agree > 10);
}
