//! `pipeline.json`: what is written is read, what does not go together is
//! refused with the place, and a package that changed is noticed.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it checked"
)]

mod common;

use std::fs;
use std::path::Path;

use common::{SPEC, WEIGHTS, put, small_package};
use milwright_package::{
    ComputeUnits, Error, FunctionRecord, Origin, PIPELINE_FILE, PIPELINE_SCHEMA, Package,
    PipelineFolder, PipelineManifest, StageEnds, StageFeature, StageFile, StageInput, StageRecord,
};
use serde_json::{Value, json};

fn feature(name: &str, ty: &str) -> StageFeature {
    StageFeature {
        name: name.to_owned(),
        ty: ty.to_owned(),
    }
}

fn input(name: &str, ty: &str, from: &str) -> StageInput {
    StageInput {
        name: name.to_owned(),
        ty: ty.to_owned(),
        from: Origin::from(from.to_owned()),
    }
}

fn stage(folder: &Path, name: &str, units: ComputeUnits) -> StageRecord {
    let package = format!("{name}.mlpackage");
    let path = folder.join(&package);
    small_package(&path);
    StageRecord {
        name: name.to_owned(),
        package,
        compute_units: units,
        why: vec!["because".to_owned()],
        inputs: Vec::new(),
        outputs: Vec::new(),
        states: Vec::new(),
        files: StageFile::of_package(&Package::open(path).unwrap()).unwrap(),
    }
}

/// Three stages: x -> a -> h -> b (with s) -> y, z; c takes x again and y.
fn folder(dir: &Path) -> PipelineManifest {
    let mut a = stage(dir, "a", ComputeUnits::CpuAndGpu);
    a.inputs = vec![input("x", "fp32[1,8]", "caller")];
    a.outputs = vec![feature("h", "fp16[1,?]")];
    let mut b = stage(dir, "b", ComputeUnits::CpuAndNeuralEngine);
    b.inputs = vec![
        input("h", "fp16[1,4]", "a"),
        input("s", "int32[]", "caller"),
    ];
    b.outputs = vec![feature("y", "fp32[4]"), feature("z", "fp32[4]")];
    b.states = vec![feature("cache", "fp16[1,4]")];
    let mut c = stage(dir, "c", ComputeUnits::All);
    c.inputs = vec![
        input("y", "fp32[4]", "b"),
        input("x", "fp32[1,8]", "caller"),
    ];
    c.outputs = vec![feature("y", "fp32[2]")];
    let strings = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect();
    let manifest = PipelineManifest {
        schema: PIPELINE_SCHEMA.to_owned(),
        model: "whole.mlpackage".to_owned(),
        function: "main".to_owned(),
        inputs: strings(&["x", "s"]),
        outputs: strings(&["y", "z"]),
        stages: vec![a, b, c],
        functions: Vec::new(),
    };
    manifest.save(&dir.join(PIPELINE_FILE), false).unwrap();
    manifest
}

#[test]
fn what_is_written_is_read_by_file_and_by_folder() {
    let dir = tempfile::tempdir().unwrap();
    let written = folder(dir.path());
    let file = dir.path().join(PIPELINE_FILE);
    for path in [dir.path(), file.as_path()] {
        assert!(PipelineFolder::is_at(path));
        let read = PipelineFolder::open(path).unwrap();
        assert_eq!(read.manifest(), &written);
        assert_eq!(
            read.manifest().to_json(),
            fs::read_to_string(&file).unwrap()
        );
        for stage in &read.manifest().stages {
            let package = read.open_stage(stage).unwrap();
            read.check_files(stage, &package).unwrap();
        }
    }
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.ends_with("}\n") && text.starts_with("{\n  \"schema\": \"milwright-pipeline/2\""));
    let units: Vec<&str> = ComputeUnits::ALL.iter().map(|u| u.name()).collect();
    for (units, unit) in units.into_iter().zip(ComputeUnits::ALL) {
        assert_eq!(serde_json::to_value(unit).unwrap(), json!(units));
    }
    // Not over another file, unless asked; and a package is no pipeline.
    assert!(matches!(
        written.save(&file, false),
        Err(Error::OutputExists { .. })
    ));
    written.save(&file, true).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    assert!(!PipelineFolder::is_at(dir.path().join("a.mlpackage")));
    // Fields of a later version of the schema are no error.
    let mut later: Value = serde_json::from_str(&text).unwrap();
    later["note"] = json!("new");
    later["stages"][0]["note"] = json!("new");
    fs::write(&file, later.to_string()).unwrap();
    assert_eq!(
        PipelineFolder::open(dir.path()).unwrap().manifest(),
        &written
    );
}

#[test]
fn every_function_has_its_own_wiring() {
    let dir = tempfile::tempdir().unwrap();
    let mut manifest = folder(dir.path());
    let file = dir.path().join(PIPELINE_FILE);
    let one: Vec<String> = manifest.function_names().map(str::to_owned).collect();
    assert_eq!(one, ["main"]);
    assert!(!manifest.to_json().contains("functions"), "as before");
    let ends = |stage: &StageRecord| StageEnds {
        inputs: stage.inputs.clone(),
        outputs: stage.outputs.clone(),
        states: stage.states.clone(),
    };
    let mut other = FunctionRecord {
        name: "step".to_owned(),
        inputs: manifest.inputs.clone(),
        outputs: vec!["z".to_owned()],
        stages: manifest.stages.iter().map(ends).collect(),
    };
    other.stages[1].states.clear();
    manifest.functions.push(other.clone());
    manifest.save(&file, true).unwrap();
    let read = PipelineFolder::open(dir.path()).unwrap();
    assert_eq!(read.manifest(), &manifest);
    let names: Vec<&str> = read.manifest().function_names().collect();
    assert_eq!(names, ["main", "step"]);
    let step = read.manifest().of_function("step").unwrap();
    assert_eq!(
        (step.function.as_str(), step.outputs),
        ("step", other.outputs.clone())
    );
    assert!(step.stages[1].states.is_empty() && !manifest.stages[1].states.is_empty());
    assert!(read.manifest().of_function("none").is_none());

    // What a function says is checked as what stands above is.
    type Break = fn(&mut FunctionRecord);
    let wrong: [(Break, &str); 5] = [
        (|f| f.name = "main".to_owned(), "names that differ"),
        (|f| f.name.clear(), "names that differ"),
        (|f| drop(f.stages.pop()), "lists 2 stages, and there are 3"),
        (
            |f| f.outputs.push("nothing".to_owned()),
            "function `step`: no stage gives `nothing`",
        ),
        (
            |f| f.stages[1].inputs[0].from = Origin::Caller,
            "function `step`: stage `b` says that",
        ),
    ];
    for (change, message) in wrong {
        let mut broken = manifest.clone();
        change(&mut broken.functions[0]);
        let error = broken.check(&file).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn digests_are_those_of_the_standard() {
    // BLAKE3's own test vectors: "abc", and no bytes.
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("m.mlpackage");
    small_package(&root);
    put(&root.join("a.txt"), b"abc");
    put(&root.join("b.txt"), b"");
    let files = StageFile::of_package(&Package::open(&root).unwrap()).unwrap();
    let of = |name: &str| files.iter().find(|f| f.path == name).unwrap().clone();
    assert_eq!(
        of("a.txt").blake3,
        "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
    );
    assert_eq!(
        of("b.txt").blake3,
        "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    );
    assert_eq!((of("a.txt").bytes, files.len()), (3, 5));
    let paths: Vec<&str> = files.iter().map(|f| f.path.as_str()).collect();
    assert!(paths.is_sorted());
}

#[test]
fn a_package_that_changed_is_named_with_its_file() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path());
    let root = dir.path().join("b.mlpackage");
    let fault = || {
        let read = PipelineFolder::open(dir.path()).unwrap();
        let stage = &read.manifest().stages[1];
        let package = read.open_stage(stage).unwrap();
        read.check_files(stage, &package).unwrap_err().to_string()
    };
    let weights = root.join(WEIGHTS);
    let bytes = fs::read(&weights).unwrap();
    let mut other = bytes.clone();
    *other.last_mut().unwrap() ^= 1;
    fs::write(&weights, &other).unwrap();
    let text = fault();
    assert!(
        text.contains("stage `b`") && text.contains(WEIGHTS),
        "{text}"
    );
    assert!(text.contains("another content"), "{text}");
    fs::write(&weights, &bytes[..bytes.len() - 1]).unwrap();
    assert!(fault().contains("bytes, and"), "{}", fault());
    fs::remove_file(&weights).unwrap();
    assert!(fault().contains("is missing"), "{}", fault());
    fs::write(&weights, &bytes).unwrap();
    put(&root.join("Data/more"), b"x");
    assert!(
        fault().contains("`Data/more` is not recorded"),
        "{}",
        fault()
    );
    // What is missing altogether is noticed earlier.
    fs::remove_file(root.join(SPEC)).unwrap();
    let read = PipelineFolder::open(dir.path()).unwrap();
    assert!(read.open_stage(&read.manifest().stages[1]).is_err());
    fs::remove_dir_all(&root).unwrap();
    let error = PipelineFolder::open(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("b.mlpackage") && error.contains("stage `b`"),
        "{error}"
    );
}

#[test]
fn what_does_not_go_together_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let good = serde_json::to_value(folder(dir.path())).unwrap();
    let path = dir.path().join(PIPELINE_FILE);
    type Damage = fn(&mut Value);
    let cases: [(Damage, &[&str]); 31] = [
        (
            |m| m["schema"] = json!("milwright-pipeline/1"),
            &["pipeline/1", "pipeline/2"],
        ),
        (|m| m["schema"] = json!(1), &["no text `schema`"]),
        (|m| *m = json!([]), &["no text `schema`"]),
        (|m| m["stages"] = json!([]), &["no stages"]),
        (
            |m| drop(m.as_object_mut().unwrap().remove("outputs")),
            &["outputs"],
        ),
        (
            |m| m["stages"][0]["package"] = json!("../a.mlpackage"),
            &["`..`"],
        ),
        (
            |m| m["stages"][0]["package"] = json!("x/../a.mlpackage"),
            &["`..`"],
        ),
        (
            |m| m["stages"][0]["package"] = json!("/a.mlpackage"),
            &["absolute"],
        ),
        (
            |m| m["stages"][0]["package"] = json!("C:\\a"),
            &["backslash"],
        ),
        (|m| m["stages"][0]["package"] = json!(""), &["empty"]),
        (
            |m| m["stages"][0]["package"] = json!("d.mlpackage"),
            &["d.mlpackage", "missing"],
        ),
        (
            |m| m["stages"][0]["package"] = json!("b.mlpackage"),
            &["two stages", "b.mlpackage"],
        ),
        (
            |m| m["stages"][0]["name"] = json!("b"),
            &["two stages are named `b`"],
        ),
        (|m| m["stages"][0]["name"] = json!("caller"), &["caller"]),
        (|m| m["stages"][0]["name"] = json!(""), &["name of its own"]),
        (
            |m| m["stages"][0]["compute_units"] = json!("gpu"),
            &["cpuAndGPU", "line"],
        ),
        (
            |m| m["stages"][1]["inputs"][0]["from"] = json!("q"),
            &["`q`", "not there", "`a`, `b`"],
        ),
        (
            |m| m["stages"][1]["inputs"][0]["from"] = json!("caller"),
            &["`a`", "rename"],
        ),
        (
            |m| m["stages"][0]["inputs"][0]["from"] = json!("b"),
            &["later", "cycle"],
        ),
        (
            |m| m["stages"][0]["inputs"][0]["from"] = json!("a"),
            &["itself"],
        ),
        (
            |m| m["stages"][1]["inputs"][1]["from"] = json!("a"),
            &["which gives `h`"],
        ),
        (
            |m| m["stages"][2]["inputs"][0]["type"] = json!("fp16[4]"),
            &["fp16[4]", "fp32[4]"],
        ),
        (
            |m| m["stages"][2]["inputs"][1]["type"] = json!("fp32[1,9]"),
            &["fp32[1,9]", "`a`"],
        ),
        (
            |m| m["stages"][1]["inputs"][1]["name"] = json!("h"),
            &["takes `h` twice"],
        ),
        (
            |m| m["stages"][1]["outputs"][1]["name"] = json!("y"),
            &["gives `y` twice"],
        ),
        (
            |m| m["stages"][1]["states"][0]["name"] = json!("s"),
            &["takes `s` twice"],
        ),
        (|m| m["inputs"] = json!(["x"]), &["`s`", "inputs are `x`"]),
        (
            |m| m["inputs"] = json!(["x", "s", "u"]),
            &["no stage takes `u`"],
        ),
        (|m| m["outputs"] = json!(["y", "y"]), &["`y` twice"]),
        (|m| m["outputs"] = json!(["w"]), &["no stage gives `w`"]),
        (
            |m| m["stages"][0]["files"][0]["blake3"] = json!("AB"),
            &["64 hexadecimal"],
        ),
    ];
    for (damage, words) in cases {
        let mut manifest = good.clone();
        damage(&mut manifest);
        assert_ne!(manifest, good);
        fs::write(&path, manifest.to_string()).unwrap();
        let error = PipelineFolder::open(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains(PIPELINE_FILE) || error.contains("d.mlpackage"),
            "{error}"
        );
        for word in words {
            assert!(error.contains(word), "no {word:?} in: {error}");
        }
    }
    for (text, word) in [
        ("{", "not valid JSON"),
        ("", "not valid JSON"),
        ("\u{0}", "JSON"),
    ] {
        fs::write(&path, text).unwrap();
        let error = PipelineFolder::open(&path).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    // Sparse, so that it costs nothing.
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let error = PipelineFolder::open(&path).unwrap_err().to_string();
    assert!(error.contains("no pipeline manifest has more"), "{error}");
    let other = dir.path().join("other.json");
    fs::write(&other, good.to_string()).unwrap();
    assert!(matches!(
        PipelineFolder::open(&other),
        Err(Error::NotAModel { .. })
    ));
    assert!(!PipelineFolder::is_at(&other));
    println!("{} damaged manifests refused", cases.len() + 5);
}

#[cfg(unix)]
#[test]
fn a_package_behind_a_link_that_leaves_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path());
    let elsewhere = tempfile::tempdir().unwrap();
    let moved = elsewhere.path().join("a.mlpackage");
    fs::rename(dir.path().join("a.mlpackage"), &moved).unwrap();
    std::os::unix::fs::symlink(&moved, dir.path().join("a.mlpackage")).unwrap();
    let error = PipelineFolder::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("leads out"), "{error}");
}

/// Whatever is done to the bytes, the manifest is read or refused.
#[test]
fn damaged_bytes_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    let text = folder(dir.path()).to_json().into_bytes();
    let path = Path::new(PIPELINE_FILE);
    let (mut read, mut refused) = (0, 0);
    let mut try_it = |bytes: &[u8]| match PipelineManifest::parse(bytes, path) {
        Ok(manifest) => {
            // What is accepted is written and read again as the same.
            let again = PipelineManifest::parse(manifest.to_json().as_bytes(), path).unwrap();
            assert_eq!(again, manifest);
            read += 1;
        }
        Err(error) => {
            assert!(error.to_string().contains(PIPELINE_FILE), "{error}");
            refused += 1;
        }
    };
    for at in (0..text.len()).step_by(5) {
        try_it(&text[..at]);
        for byte in [0, b'"', b'}', b',', b'9', b'.', 0xff] {
            let mut damaged = text.clone();
            damaged[at] = byte;
            try_it(&damaged);
        }
    }
    println!("{refused} damaged manifests refused, {read} read");
    assert!(refused > read && read > 0);
}
