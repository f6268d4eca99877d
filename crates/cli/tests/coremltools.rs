//! coremltools opens every package that milwright writes, and its MIL frontend
//! rebuilds the programs in them.
//!
//! `MILWRIGHT_PYTHON` names a Python with coremltools, and then the test is not
//! skipped. Without it `python3` is used, if it has coremltools.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it checked"
)]

mod common;
#[path = "../../../fixtures/stages.rs"]
mod stages;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{expect, fixtures, milwright, packages, python, shared, str};
use milwright_ir::features::{Description, Feature, FeatureKind};
use milwright_package::{Package, PipelineFolder, WriteOptions};
use serde_json::{Value, json};

/// A package that was written.
struct Written {
    package: PathBuf,
    /// Of a pipeline, the packages that coremltools can make the same of.
    stages: Vec<PathBuf>,
    /// Of several functions, the name, the package and its function that
    /// coremltools can make the same of.
    functions: Vec<[String; 3]>,
}

impl From<PathBuf> for Written {
    fn from(package: PathBuf) -> Self {
        Written {
            package,
            stages: Vec::new(),
            functions: Vec::new(),
        }
    }
}

/// Opens all packages with coremltools; what it says of each.
fn check(python: &Path, written: &[Written]) -> Vec<Value> {
    let cases: Vec<Value> = written
        .iter()
        .map(|w| json!({"package": w.package, "stages": w.stages, "functions": w.functions}))
        .collect();
    let script = fixtures().join("../check_coremltools.py");
    let mut child = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(json!(cases).to_string().as_bytes())
        .unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    let said: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(said.len(), written.len());
    said
}

/// How packages end that carry hints on operations. The frontend of coremltools
/// 9.0 takes no operation with another attribute than `name`, not even those
/// that its own tools write.
const HINTED: &str = "-hinted.mlpackage";

/// Writes what the commands make of a package; returns what it wrote.
fn write_all(source: &Path, out: &Path, number: usize) -> Vec<Written> {
    let package = Package::open(source).unwrap();
    if !package.spec().kind().is_ml_program() {
        return Vec::new();
    }
    let hinted = out.join(format!("{number}{HINTED}"));
    let written = edits(source, &package, out, number);
    let commands: [(&str, &Path, &[&str]); 5] = [
        ("-copied.mlpackage", source, &["convert"]),
        (
            "-no-conv.mlpackage",
            source,
            &["convert", "--passes", "no-conv"],
        ),
        (
            "-half.mlpackage",
            source,
            &["convert", "--passes", "fp16", "--io", "fp16"],
        ),
        (HINTED, source, &["hint", "--units", "cpu-and-gpu"]),
        ("-cleared.mlpackage", &hinted, &["hint", "--clear"]),
    ];
    commands
        .iter()
        .map(|(what, source, command)| {
            let target = out.join(format!("{number}{what}"));
            let (verb, rest) = command.split_first().unwrap();
            expect(
                0,
                &[&[*verb, str(source), "-o", str(&target)][..], rest].concat(),
            );
            target.into()
        })
        .chain(written)
        .collect()
}

/// The package with everything renamed, with other types and metadata, with
/// every value an output that can be one, and with another size where nothing
/// is in the way.
fn edits(source: &Path, package: &Package, out: &Path, number: usize) -> Vec<Written> {
    let d = package.spec().description().unwrap();
    let functions: Vec<&str> = d.functions.iter().map(|f| f.name.as_str()).collect();
    let described = Description::from_proto(&d);
    let features = described.functions.iter();
    let features = features.flat_map(|s| s.inputs.iter().chain(&s.outputs).chain(&s.states));
    let features: Vec<&Feature> = features.collect();
    let mut names: Vec<&str> = features.iter().map(|f| f.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let mut rename = vec!["rename".to_owned()];
    for (n, name) in names.iter().enumerate() {
        rename.push(format!("feature:{name}=renamed_{n}"));
    }
    for (n, name) in functions.iter().enumerate() {
        rename.push(format!("function:{name}=function_{n}"));
    }
    let is_float = |f: &&&Feature| match &f.kind {
        FeatureKind::Array(a) => a.dtype.is_some_and(|d| d.is_float()),
        _ => false,
    };
    let mut set = vec!["set".to_owned(), "--author".to_owned(), "me".to_owned()];
    if features.iter().any(|f| is_float(&f)) {
        set.extend(["--dtype".to_owned(), "*=fp16".to_owned()]);
    }
    let function = described.functions[0].function.as_str();
    let expose = ["expose", "--ops", "*", "--function", function];
    let mut edits = vec![
        ("renamed", rename),
        ("set", set),
        ("exposed", expose.map(ToOwned::to_owned).to_vec()),
    ];
    // One more along the first axis of all inputs: a larger batch, often.
    let mut reshape = ["reshape", "--follow", "--function", function]
        .map(ToOwned::to_owned)
        .to_vec();
    for feature in &described.functions[0].inputs {
        if let FeatureKind::Array(a) = &feature.kind
            && let Some(first) = a.shape.first()
        {
            let mut shape: Vec<String> = a.shape.iter().map(u64::to_string).collect();
            shape[0] = (first + 1).to_string();
            let shape = format!("{}={}", feature.name, shape.join(","));
            reshape.extend(["--input".to_owned(), shape]);
        }
    }
    if reshape.len() > 4 {
        edits.push(("reshaped", reshape));
    }
    let mut written = Vec::new();
    for (what, args) in &edits {
        let target = out.join(format!("{number}-{what}.mlpackage"));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let rest = [str(source), "-o", str(&target), "--force"];
        let output = milwright(&[&args[..1], &rest, &args[1..]].concat());
        // Nothing to expose, or operations in the way of another size.
        let may_fail = ["exposed", "reshaped"].contains(what);
        assert!(
            output.status.success() || may_fail,
            "{} {args:?}",
            source.display()
        );
        if output.status.success() && !written.contains(&target) {
            written.push(target);
        }
    }
    written.into_iter().map(Written::from).collect()
}

/// The packages of a folder of stages, by themselves and, if that was written,
/// in one.
fn in_folder(folder: &Path) -> Vec<Written> {
    let manifest = PipelineFolder::open(folder).unwrap();
    let stages = manifest.manifest().stages.iter();
    let stages: Vec<PathBuf> = stages.map(|stage| manifest.package_path(stage)).collect();
    let whole = Written {
        package: folder.join("pipeline.mlpackage"),
        stages: stages.clone(),
        functions: Vec::new(),
    };
    stages
        .into_iter()
        .map(Written::from)
        .chain(Some(whole).filter(|whole| whole.package.exists()))
        .collect()
}

/// The stages of a pipeline, apart and in one package again.
fn write_pipelines(out: &Path) -> Vec<Written> {
    let source = fixtures().join("../pipelines/programs/model.mlpackage");
    let folder = out.join("stages");
    std::fs::create_dir(&folder).unwrap();
    stages::unpack(&source, &folder);
    PipelineFolder::open(&folder)
        .unwrap()
        .save_package(&folder.join("pipeline.mlpackage"), WriteOptions::default())
        .unwrap();
    let mut written = in_folder(&folder);
    // coremltools joins only packages whose weights have the usual name.
    for whole in &mut written {
        whole.stages.clear();
    }
    written
}

/// Stages that `split` makes: with and without a seam of its own choice, with
/// casts, states, flexible shapes, images, early outputs.
fn write_splits(models: Option<&Path>, out: &Path) -> Vec<Written> {
    let mut splits = vec![
        (fixtures().join("mel-frontend/fp32.mlpackage"), "", true),
        (fixtures().join("mel-frontend/fp32.mlpackage"), "mel", true),
    ];
    let shared = [
        ("mel-encoder/fused_fp32", "", true),
        ("mel-encoder/fused_fp16", "", true),
        ("basic-pitch/model", "", true),
        (
            "silero-vad/unified",
            "input_1_cast_fp16,clip_3_cast_fp16",
            true,
        ),
        ("edge-cases/kv_state/model", "var_135_cast_fp16", false),
        ("edge-cases/range_dim/model", "input_3", true),
        ("edge-cases/enumerated_shapes/model", "input_3", true),
        ("edge-cases/image_early_exit/model", "x_3", true),
        ("edge-cases/tied_embedding/model", "input_3", true),
    ];
    for (name, at, pipeline) in shared {
        let model = models.map(|m| m.join(format!("{name}.mlpackage")));
        splits.extend(model.map(|m| (m, at, pipeline)));
    }
    let mut written = Vec::new();
    for (number, (model, at, pipeline)) in splits.iter().enumerate() {
        let folder = out.join(format!("split{number}"));
        let mut args = vec!["split", str(model), "-o", str(&folder)];
        if !at.is_empty() {
            args.extend(["--at", at]);
        }
        // States do not go into Core ML pipelines.
        if *pipeline {
            args.push("--pipeline");
        }
        expect(0, &args);
        written.extend(in_folder(&folder));
    }
    println!(
        "{} splits, {} packages of them",
        splits.len(),
        written.len()
    );
    written
}

/// Parts that `bisect` makes in 2, 3 and 4, and what they are merged to.
fn write_parts(models: Option<&Path>, out: &Path) -> Vec<Written> {
    let names = [
        "edge-cases/cond/model",
        "edge-cases/enumerated_shapes/model",
        "edge-cases/image_early_exit/model",
        "edge-cases/kv_state/model",
        "edge-cases/multifunction/model",
        "edge-cases/range_dim/model",
        "edge-cases/tied_embedding/model",
        "embedder/fp16",
        "embedder/fp32",
    ];
    let shared = models.into_iter().flat_map(|models| {
        let each = names.iter();
        each.map(|name| models.join(format!("{name}.mlpackage")))
    });
    let own = ["control/multifunction/model", "transformer-kv/fp16"];
    let own = own.map(|name| fixtures().join(format!("{name}.mlpackage")));
    let mut written = Vec::new();
    let mut cuts = 0;
    for (number, model) in own.into_iter().chain(shared).enumerate() {
        for parts in ["2", "3", "4"] {
            let folder = out.join(format!("parts{number}-{parts}"));
            let args = ["bisect", str(&model), "-o", str(&folder), "--parts", parts];
            let cut = common::milwright(&args);
            if !cut.status.success() {
                // The functions of the small ones have fewer operations.
                let message = String::from_utf8_lossy(&cut.stderr).into_owned();
                assert!(message.contains("there can be"), "{message}");
                continue;
            }
            cuts += 1;
            written.extend(in_folder(&folder));
            let merged = out.join(format!("merged{number}-{parts}.mlpackage"));
            expect(0, &["merge", str(&folder), "-o", str(&merged)]);
            written.push(merged.into());
        }
    }
    println!("{cuts} bisections, {} packages of them", written.len());
    written
}

/// Models as functions of one.
fn write_functions(out: &Path) -> Vec<Written> {
    let model = |name: &str| fixtures().join(name).display().to_string();
    let several = [
        vec![
            ("prefill", model("transformer-kv/fp16.mlpackage")),
            (
                "decode",
                model("transformer-kv/fp16_slice_update.mlpackage"),
            ),
        ],
        vec![
            ("one", model("asr-encoder/fp16.mlpackage")),
            ("two", model("asr-encoder/fp16.mlpackage")),
            ("three", model("conv-zoo/fp16.mlpackage")),
        ],
    ];
    let mut written = Vec::new();
    for (number, sources) in several.iter().enumerate() {
        let package = out.join(format!("functions{number}.mlpackage"));
        let named = sources.iter().map(|(name, path)| format!("{name}={path}"));
        let named: Vec<String> = named.collect();
        let mut args: Vec<&str> = named.iter().map(String::as_str).collect();
        args.extend(["-o", str(&package), "--functions"]);
        expect(0, &[&["merge"], args.as_slice()].concat());
        let functions = sources
            .iter()
            .map(|(name, path)| [(*name).to_owned(), path.clone(), "main".to_owned()]);
        written.push(Written {
            package,
            stages: Vec::new(),
            functions: functions.collect(),
        });
    }
    written
}

/// Packages of models that are text: compiled ones, and small ones of ours.
fn write_texts(models: Option<&Path>, out: &Path) -> Vec<Written> {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files/text");
    let ours = [
        "additions_into_weights",
        "blocks",
        "flexible",
        "enumerated",
        "functions",
        "state",
    ];
    let mut sources: Vec<PathBuf> = ours.map(|n| files.join(format!("{n}.mil"))).into();
    let compiled = [
        "silero-vad/unified",
        "silero-vad/unified_int8",
        "silero-vad/unified_palette_4bit",
        "silero-vad/unified_palette_6bit",
        "silero-vad/unified_pruned_int8",
        "mil-text/flexible-multifunction/expected",
        "mil-text/flexible-range/expected",
        "mil-text/fp16-subnormal-cast/expected",
        "mil-text/neg-0d-scalar/expected",
        "mil-text/quantized-constexpr/expected",
    ];
    for name in compiled {
        sources.extend(models.map(|m| m.join(format!("{name}.mlmodelc"))));
    }
    let written = sources.iter().enumerate().map(|(number, source)| {
        let target = out.join(format!("text{number}.mlpackage"));
        expect(0, &["convert", str(source), "-o", str(&target)]);
        target.into()
    });
    let written: Vec<Written> = written.collect();
    println!("{} packages of text", written.len());
    written
}

#[test]
fn coremltools_opens_what_milwright_writes() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut sources = packages(&fixtures());
    if let Some(shared) = shared() {
        sources.extend(packages(&shared));
    }
    let mut written = write_pipelines(dir.path());
    let pipelines = written.len();
    written.extend(write_splits(shared().as_deref(), dir.path()));
    written.extend(write_parts(shared().as_deref(), dir.path()));
    written.extend(write_functions(dir.path()));

    written.extend(write_texts(shared().as_deref(), dir.path()));
    for (number, source) in sources.iter().enumerate() {
        written.extend(write_all(source, dir.path(), number));
    }
    assert!(written.len() >= pipelines + 5 * 20, "{}", written.len());

    let said = check(&python, &written);
    let (mut opened, mut programs, mut hinted) = (0u64, 0u64, 0);
    let mut failed = Vec::new();
    for case in &said {
        programs += case["programs"].as_u64().unwrap();
        let error = case["error"].as_str().unwrap_or_default();
        if case["error"].is_null() && case["step"] == "done" {
            opened += 1;
        } else if case["package"].as_str().unwrap().ends_with(HINTED)
            && case["step"] == "frontend"
            && error.contains("the only supported attribute")
        {
            hinted += 1;
        } else {
            failed.push(case.to_string());
        }
    }
    let compared = said.iter().filter(|case| case["compared"] == true).count();
    println!(
        "coremltools {}: {opened} of {} packages opened, {programs} programs rebuilt; {hinted} \
         more opened, whose hints the frontend does not take; {compared} pipelines and models of several functions are \
         what coremltools makes",
        said[0]["coremltools"],
        written.len()
    );
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    // A pipeline package counts once and has a program for each stage.
    assert!(programs >= opened + 2, "{programs} programs");
    assert!(compared > 0);
}

#[test]
fn the_check_notices_a_package_that_coremltools_does_not_open() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let good = fixtures().join("control/cond/model.mlpackage");
    let cut = dir.path().join("cut.mlpackage");
    common::copy(&good, &cut);
    let spec = cut.join("Data/com.apple.CoreML/model.mlmodel");
    let bytes = std::fs::read(&spec).unwrap();
    std::fs::write(&spec, &bytes[..bytes.len() / 2]).unwrap();
    let said = check(
        &python,
        &[cut.into(), dir.path().join("none.mlpackage").into()],
    );
    for case in said {
        assert!(!case["error"].is_null(), "{case}");
    }
    println!("2 bad packages noticed");
}
