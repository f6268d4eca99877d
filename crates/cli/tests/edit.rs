//! `milwright rename`, `set` and `expose`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it checked"
)]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use common::{all_refused, expect, fixture, fixtures, json, programs, refused, str};
use milwright_ir::features::{Description, Feature, FeatureKind};
use milwright_package::Package;
use milwright_package::wire::Fidelity;
use serde_json::Value;

fn description(path: &Path) -> Description {
    Description::from_proto(&Package::open(path).unwrap().spec().description().unwrap())
}

fn features(path: &Path) -> Vec<(String, Feature)> {
    let each = description(path).functions.into_iter();
    each.flat_map(|s| {
        let all = s.inputs.into_iter().chain(s.outputs).chain(s.states);
        all.map(move |f| (s.function.clone(), f))
    })
    .collect()
}

fn names(path: &Path) -> Vec<(String, String)> {
    let all = features(path).into_iter();
    all.map(|(function, f)| (function, f.name)).collect()
}

/// Other names for everything, and back: the same bytes. The renamed model
/// gives the same bits.
#[test]
fn renaming_everything_and_back_gives_the_bytes_that_were_there() {
    let dir = tempfile::tempdir().unwrap();
    let (mut models, mut renamed, mut exact) = (0, 0, 0);
    for source in programs() {
        let listed = names(&source);
        let features: BTreeSet<&String> = listed.iter().map(|(_, name)| name).collect();
        let mut there: Vec<String> = Vec::new();
        let mut back: Vec<String> = Vec::new();
        for (number, name) in features.iter().enumerate() {
            there.push(format!("feature:{name}=renamed_{number}"));
            back.push(format!("renamed_{number}={name}"));
        }
        let proto = Package::open(&source)
            .unwrap()
            .spec()
            .description()
            .unwrap();
        for (number, function) in proto.functions.iter().enumerate() {
            there.push(format!("function:{}=function_{number}", function.name));
            back.push(format!("function_{number}={}", function.name));
        }
        let one = dir.path().join(format!("{models}-there.mlpackage"));
        let two = dir.path().join(format!("{models}-back.mlpackage"));
        let run = |from: &Path, to: &Path, pairs: &[String], more: &[&str]| -> Value {
            let mut args = vec!["rename", str(from), "-o", str(to)];
            args.extend(pairs.iter().map(String::as_str));
            args.extend(more);
            json(0, &args)
        };
        let report = run(&source, &one, &there, &["--verify"]);
        for compared in report["verify"].as_array().unwrap() {
            for output in compared["outputs"].as_array().unwrap() {
                assert_eq!(output["max_abs"], 0.0, "{} {output}", source.display());
            }
        }
        renamed += report["renamed"].as_array().unwrap().len();
        for (_, name) in names(&one) {
            assert!(name.starts_with("renamed_"), "{} {name}", source.display());
        }
        run(&one, &two, &back, &[]);
        let (before, after) = (
            Package::open(&source).unwrap(),
            Package::open(&two).unwrap(),
        );
        let spec = before.spec();
        let fidelities = [spec.description_fidelity(), spec.program_fidelity()];
        if fidelities
            .into_iter()
            .all(|f| f.unwrap() == Fidelity::Exact)
        {
            assert_eq!(spec.bytes(), after.spec().bytes(), "{}", source.display());
            exact += 1;
        }
        let weights = |path: &Path| -> Vec<_> {
            let mut all = common::files(path);
            all.retain(|(name, _)| name.extension().is_some_and(|e| e == "bin"));
            all
        };
        assert!(weights(&source) == weights(&two), "{}", source.display());
        models += 1;
    }
    println!("{models} models, {renamed} names; {exact} came back byte for byte");
    assert!(exact >= 15 && renamed > 2 * models);
}

#[test]
fn names_that_cannot_be_given_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.mlpackage");
    let asr = fixture("asr-encoder/fp32.mlpackage");
    let multi = fixture("control/multifunction/model.mlpackage");
    let cases: Vec<(&str, Vec<&str>, &str)> = vec![
        (&asr, vec!["mell=x"], "did you mean `mel`"),
        (&asr, vec!["zzz=x"], "there are `features`, `mel`"),
        (&asr, vec!["mel"], "OLD=NEW"),
        (&asr, vec!["mel="], "letters, digits"),
        (&asr, vec!["mel=1x"], "letters, digits"),
        (&asr, vec!["mel=a-b"], "letters, digits"),
        (&asr, vec!["mel=tensor"], "language"),
        (&asr, vec!["mel=mel"], "that is its name"),
        (&asr, vec!["mel=a", "mel=b"], "named twice"),
        (&asr, vec!["mel=features"], "an output of function"),
        (&asr, vec!["mel=a", "features=a"], "to be called that"),
        (&asr, vec!["mel=input_9"], "input_9=input_9_inside"),
        (&asr, vec!["main=go"], "lists no functions"),
        (&multi, vec!["encode=step"], "another function"),
        (&multi, vec!["x=z", "--function", "stepp"], "stepp"),
        (&multi, vec!["function:x=z"], "nothing is named `x`"),
    ];
    all_refused("rename", &out, &cases);
}

#[test]
fn names_can_be_exchanged_and_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("a.mlpackage");
    let asr = fixture("asr-encoder/fp32.mlpackage");
    let args = ["mel=features", "features=mel", "--verify"];
    expect(0, &[&["rename", &asr, "-o", str(&out)], &args[..]].concat());
    let order: Vec<String> = names(&out).into_iter().map(|(_, name)| name).collect();
    assert_eq!(order, ["features", "mel"]);

    // The name of a value inside, which gets another one.
    let args = ["mel=input_9", "input_9=sum", "--verify", "--force"];
    expect(0, &[&["rename", &asr, "-o", str(&out)], &args[..]].concat());
    let text = expect(0, &["print", str(&out)]);
    assert!(
        text.contains("sum = add(x = ") && text.contains("x = input_9)"),
        "{text}"
    );

    // One function of two, and a classifier, whose class is named twice.
    let multi = fixture("control/multifunction/model.mlpackage");
    let args = [
        "x=first",
        "step=next",
        "--function",
        "encode",
        "--verify",
        "--force",
    ];
    expect(
        0,
        &[&["rename", &multi, "-o", str(&out)], &args[..]].concat(),
    );
    let got = description(&out);
    assert_eq!(got.default_function, "next");
    assert_eq!(got.signature("encode").unwrap().inputs[0].name, "first");
    assert_eq!(got.signature("next").unwrap().inputs[0].name, "x");

    let classifier = PathBuf::from(fixture("control/classifier-text/model.mlpackage"));
    let before = Package::open(&classifier)
        .unwrap()
        .spec()
        .description()
        .unwrap();
    let pair = format!("{}=word", before.predicted_feature_name);
    expect(
        0,
        &[
            "rename",
            str(&classifier),
            "-o",
            str(&out),
            &pair,
            "--verify",
            "--force",
        ],
    );
    let after = Package::open(&out).unwrap().spec().description().unwrap();
    assert_eq!(after.predicted_feature_name, "word");
    assert!(after.output.iter().any(|f| f.name == "word"));
}

/// A feature between two stages, and both ends.
#[test]
fn pipelines_are_renamed_in_every_stage() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (
        dir.path().join("one.mlpackage"),
        dir.path().join("two.mlpackage"),
    );
    let source = fixtures().join("../pipelines/programs/model.mlpackage");
    let d = description(&source);
    let ends = &d.functions[0];
    let (input, output) = (&ends.inputs[0].name, &ends.outputs[0].name);
    let pairs = [
        format!("{input}=a"),
        "hidden=b".to_owned(),
        format!("{output}=c"),
    ];
    let pairs: Vec<&str> = pairs.iter().map(String::as_str).collect();
    let args = [
        &["rename", str(&source), "-o", str(&one), "--verify"],
        &pairs[..],
    ]
    .concat();
    let report = json(0, &args);
    assert_eq!(
        report["verify"][0]["outputs"][0]["max_abs"], 0.0,
        "{report}"
    );
    let back = [
        format!("a={input}"),
        "b=hidden".to_owned(),
        format!("c={output}"),
    ];
    let back: Vec<&str> = back.iter().map(String::as_str).collect();
    expect(
        0,
        &[&["rename", str(&one), "-o", str(&two)], &back[..]].concat(),
    );
    let bytes = |path: &Path| Package::open(path).unwrap().spec().bytes().clone();
    assert_eq!(bytes(&source), bytes(&two));
    let foreign = fixtures().join("../pipelines/foreign/model.mlpackage");
    let out = dir.path().join("out.mlpackage");
    let cases = vec![
        (str(&source), vec!["hiden=b"], "did you mean `hidden`"),
        (
            str(&source),
            vec!["hidden=scale"],
            "has a feature of that name",
        ),
        (str(&source), vec!["function:main=b"], "not renamed"),
        (str(&foreign), vec!["hidden=b"], "neural_network"),
    ];
    all_refused("rename", &out, &cases);
}

fn is_float(feature: &Feature, wanted: &str) -> bool {
    match &feature.kind {
        FeatureKind::Array(a) => a.dtype.is_some_and(|d| d.name() == wanted),
        _ => false,
    }
}

/// Every float input and output to fp16 and to fp32: the names stay, and what is
/// computed stays the same to the bit for inputs that both types hold.
#[test]
fn types_change_under_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let (mut models, mut changed) = (0, 0);
    for (number, source) in programs().into_iter().enumerate() {
        let mut from = source.clone();
        for dtype in ["fp16", "fp32", "fp16"] {
            let to = dir
                .path()
                .join(format!("{number}-{changed}-{dtype}.mlpackage"));
            let all = features(&from);
            let is = |f: &Feature, d: &str| is_float(f, d);
            if !all.iter().any(|(_, f)| is(f, "fp16") || is(f, "fp32")) {
                refused(
                    &["set", str(&from), "-o", str(&to), "--dtype", "*=fp16"],
                    &["no input or output of a float type"],
                );
                break;
            }
            let setting = format!("*={dtype}");
            let args = [
                "set",
                str(&from),
                "-o",
                str(&to),
                "--dtype",
                &setting,
                "--verify",
            ];
            let report = json(0, &args);
            for compared in report["verify"].as_array().unwrap() {
                for output in compared["outputs"].as_array().unwrap() {
                    assert_eq!(output["max_abs"], 0.0, "{} {output}", source.display());
                }
            }
            assert_eq!(names(&to), names(&source));
            let other = if dtype == "fp16" { "fp32" } else { "fp16" };
            let after = features(&to);
            assert!(
                !after.iter().any(|(_, f)| is(f, other)),
                "{}",
                source.display()
            );
            let wanted = all.iter().filter(|(_, f)| is(f, other)).count();
            let done = report["set"].as_array().unwrap().iter();
            let done = done.filter(|c| c["what"].as_str().unwrap().ends_with(": type"));
            assert_eq!(done.count(), wanted);
            if dtype == "fp16" {
                assert!(Package::open(&to).unwrap().spec().version() >= 7);
            }
            changed += wanted;
            models += usize::from(wanted > 0);
            from = to;
        }
    }
    println!("{models} models written, {changed} inputs and outputs changed");
    assert!(changed > 60, "{changed}");
}

/// Whole numbers stay the same numbers as floats, and back.
#[test]
fn integers_become_floats_and_integers_again() {
    let dir = tempfile::tempdir().unwrap();
    let source = fixture("transformer-kv/fp16.mlpackage");
    let inputs = fixture("transformer-kv/inputs.0.npz");
    let (one, two) = (
        dir.path().join("one.mlpackage"),
        dir.path().join("two.mlpackage"),
    );
    let steps = [
        (&*source, &one, "token=fp32"),
        (str(&one), &two, "token=int32"),
    ];
    for (from, to, setting) in steps {
        for more in [&[][..], &["--inputs", &inputs]] {
            let args = [
                "set",
                from,
                "-o",
                str(to),
                "--force",
                "--verify",
                "--dtype",
                setting,
            ];
            let report = json(0, &[&args[..], more].concat());
            let outputs = report["verify"][0]["outputs"].as_array().unwrap();
            assert_eq!(outputs.len(), 1);
            assert_eq!(outputs[0]["max_abs"], 0.0, "{setting} {more:?}");
        }
    }
    let kinds = |path: &Path| features(path).into_iter().map(|(_, f)| f.kind.to_string());
    let before: Vec<String> = kinds(Path::new(&source)).collect();
    assert_ne!(kinds(&one).collect::<Vec<_>>(), before);
    assert_eq!(kinds(&two).collect::<Vec<_>>(), before);
}

#[test]
fn metadata_descriptions_and_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (
        dir.path().join("one.mlpackage"),
        dir.path().join("two.mlpackage"),
    );
    let asr = fixture("asr-encoder/fp32.mlpackage");
    let args = [
        "--author",
        "Ada",
        "--license",
        "MIT",
        "--model-version",
        "1.2",
        "--description",
        "hears",
        "--meta",
        "k=v=w",
        "--meta",
        "l=",
        "--feature-description",
        "mel=log mel",
        "--default",
        "mel=-1.5",
        "--verify",
    ];
    let report = json(0, &[&["set", &asr, "-o", str(&one)], &args[..]].concat());
    assert_eq!(report["set"].as_array().unwrap().len(), 7, "{report}");
    let got = description(&one);
    let m = &got.metadata;
    assert_eq!(
        [&m.author, &m.license, &m.version, &m.description],
        ["Ada", "MIT", "1.2", "hears"]
    );
    assert!(m.user_defined.contains(&("k".to_owned(), "v=w".to_owned())));
    assert!(m.user_defined.contains(&("l".to_owned(), String::new())));
    let mel = &got.functions[0].inputs[0];
    assert_eq!((mel.description.as_str(), mel.optional), ("log mel", true));
    let FeatureKind::Array(array) = &mel.kind else {
        panic!("{mel:?}")
    };
    assert_eq!(array.default, Some(-1.5));
    // The program is byte for byte what it was.
    let program = |path: &Path| Package::open(path).unwrap().spec().model_bytes();
    assert_eq!(program(&one), program(Path::new(&asr)));

    let args = ["--unset", "author", "--unset", "k", "--default", "mel=none"];
    expect(
        0,
        &[&["set", str(&one), "-o", str(&two)], &args[..]].concat(),
    );
    let got = description(&two);
    assert_eq!(got.metadata.author, "");
    assert!(!got.metadata.user_defined.iter().any(|(k, _)| k == "k"));
    assert!(!got.functions[0].inputs[0].optional);

    let multi = fixture("control/multifunction/model.mlpackage");
    let out = dir.path().join("three.mlpackage");
    expect(
        0,
        &[
            "set",
            &multi,
            "-o",
            str(&out),
            "--default-function",
            "encode",
            "--verify",
        ],
    );
    assert_eq!(description(&out).default_function, "encode");

    // A default survives another type.
    let ids = fixture("transformer-kv/fp16.mlpackage");
    let integer = features(Path::new(&ids));
    let (_, integer) = integer.iter().find(|(_, f)| is_float(f, "int32")).unwrap();
    let (default, dtype) = (
        format!("{}=3", integer.name),
        format!("{}=fp32", integer.name),
    );
    let out = dir.path().join("four.mlpackage");
    expect(
        0,
        &[
            "set",
            &ids,
            "-o",
            str(&out),
            "--default",
            &default,
            "--dtype",
            &dtype,
        ],
    );
    let after = features(&out);
    let (_, after) = after.iter().find(|(_, f)| f.name == integer.name).unwrap();
    let FeatureKind::Array(array) = &after.kind else {
        panic!("{after:?}")
    };
    assert_eq!(
        (array.default, array.dtype.unwrap().name()),
        (Some(3.0), "fp32")
    );
}

#[test]
fn what_core_ml_does_not_take_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.mlpackage");
    let asr = fixture("asr-encoder/fp32.mlpackage");
    let half = fixture("transformer-kv/fp16.mlpackage");
    let cases: Vec<(&str, Vec<&str>, &str)> = vec![
        (&asr, vec![], "nothing to set"),
        (&asr, vec!["--dtype", "mel=int8"], "fp16, fp32 or int32"),
        (&asr, vec!["--dtype", "mel=float"], "fp16, fp32 or int32"),
        (&asr, vec!["--dtype", "mell=fp16"], "did you mean `mel`"),
        (&asr, vec!["--dtype", "features=int32"], "fractions"),
        (&half, vec!["--dtype", "token=fp16"], "2048"),
        (&asr, vec!["--default", "features=1"], "only an input"),
        (&asr, vec!["--default", "mel=x"], "a number or `none`"),
        (&half, vec!["--default", "token=0.5"], "integers"),
        (&asr, vec!["--color", "mel=rgb"], "no image"),
        (&asr, vec!["--unset", "author"], "no such entry"),
        (&asr, vec!["--unset", "k"], "keys there are"),
        (
            &asr,
            vec!["--default-function", "main"],
            "lists no functions",
        ),
        (&asr, vec!["--default-function", "mian"], "mian"),
        (&asr, vec!["--author", "x", "--function", "f"], "f"),
    ];
    all_refused("set", &out, &cases);
}

/// All that can be an output becomes one, and what the model gave stays the
/// same. What an exposed value holds is what `extract` gives.
#[test]
fn exposed_values_are_what_is_computed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut exposed, mut skipped, mut functions) = (0, 0, 0);
    for (number, source) in programs().into_iter().enumerate() {
        for signature in &description(&source).functions {
            let name = &signature.function;
            let to = dir.path().join(format!("{number}-{name}.mlpackage"));
            let args = [
                "expose",
                str(&source),
                "-o",
                str(&to),
                "--ops",
                "*",
                "--function",
                name,
                "--verify",
            ];
            let output = common::milwright(&[&args[..], &["--json"]].concat());
            if output.status.code() == Some(2) {
                let message = String::from_utf8_lossy(&output.stderr).into_owned();
                // One operation, whose result is an output already.
                assert!(
                    message.contains("nothing new"),
                    "{} {message}",
                    source.display()
                );
                continue;
            }
            assert_eq!(output.status.code(), Some(0), "{}", source.display());
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            let list = report["exposed"].as_array().unwrap();
            exposed += list.len();
            skipped += report["skipped"].as_array().unwrap().len();
            functions += 1;
            let after = description(&to);
            let after = after.signature(name).unwrap();
            assert_eq!(after.outputs.len(), signature.outputs.len() + list.len());
            for (new, value) in after.outputs[signature.outputs.len()..].iter().zip(list) {
                assert_eq!(new.name, value["output"]);
                assert!(is_float(new, value["output_dtype"].as_str().unwrap()));
            }
        }
    }
    println!("{functions} functions, {exposed} values exposed, {skipped} left out");
    assert!(exposed > 500, "{exposed}");

    let mut compared = 0;
    for (model, values) in [
        (
            "asr-encoder/fp16.mlpackage",
            ["input_9_cast_fp16", "scores_cast_fp16"],
        ),
        ("mel-frontend/fp32.mlpackage", ["power", "mel"]),
    ] {
        let inputs = Path::new(model).with_file_name("inputs.0.npz");
        let (model, inputs) = (fixture(model), fixture(str(&inputs)));
        for value in values {
            let part = dir.path().join("part.mlpackage");
            let (out, npz) = (
                dir.path().join("exposed.mlpackage"),
                dir.path().join("o.npz"),
            );
            let args = [
                "extract",
                &model,
                "--outputs",
                value,
                "-o",
                str(&part),
                "--force",
            ];
            expect(0, &args);
            expect(
                0,
                &[
                    "run",
                    str(&part),
                    "--inputs",
                    &inputs,
                    "-o",
                    str(&npz),
                    "--force",
                ],
            );
            if value == "mel" {
                continue;
            }
            expect(0, &["expose", &model, value, "-o", str(&out), "--force"]);
            let report = json(
                0,
                &[
                    "verify",
                    str(&out),
                    "--against",
                    str(&npz),
                    "--inputs",
                    &inputs,
                    "--atol",
                    "0",
                ],
            );
            assert_eq!(report["outputs"][0]["max_abs"], 0.0, "{report}");
            compared += 1;
        }
    }
    assert_eq!(compared, 3);
}

#[test]
fn what_cannot_be_an_output_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.mlpackage");
    let mel = fixture("mel-frontend/fp32.mlpackage");
    let multi = fixture("control/multifunction/model.mlpackage");
    let cond = fixture("control/cond/model.mlpackage");
    let text = expect(0, &["print", &cond]);
    assert!(text.contains("relu_0 = relu("), "{text}");
    let cases: Vec<(&str, Vec<&str>, &str)> = vec![
        (&mel, vec!["mell"], "did you mean `mel`"),
        (&mel, vec!["waveform"], "input of the function"),
        (&mel, vec!["mel"], "output already"),
        (&mel, vec!["bank"], "constant"),
        (&mel, vec!["--ops", "nothing*"], "nothing*"),
        (&mel, vec![], "VALUE"),
        (&multi, vec!["input_1"], "--function"),
        (&cond, vec!["relu_0"], "inside of"),
    ];
    all_refused("expose", &out, &cases);
}
