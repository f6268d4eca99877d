//! Models that went through MIL text compute the same numbers: compiled models
//! beside the packages they were made from, and every model printed, read and
//! packed again.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking and print what they checked"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use milwright_interp::Options;
use milwright_ir::features::{Description, FeatureKind};
use milwright_ir::text::{Dialect, print, with_signature};
use milwright_ir::{Error, Model, Program};
use milwright_package::{Message, WriteOptions, proto};
use milwright_verify::inputs::Ranges;
use milwright_verify::{Array, Executable, npz};
use rayon::prelude::*;

mod cases;
#[path = "../../../fixtures/find.rs"]
mod find;

use cases::as_taken;

/// Runs a function of both on the same inputs, step by step: those of the files,
/// or random ones when there is none. Every bit of every output must be the
/// same. Returns how many outputs there were, or why the first one cannot run.
fn same_results(
    a: &Executable,
    b: &Executable,
    function: &str,
    recorded: &[PathBuf],
) -> Result<usize, String> {
    let options = Options::default;
    let mut one = a
        .runner(Some(function), options())
        .map_err(|e| e.to_string())?;
    let mut other = b.runner(Some(function), options()).unwrap();
    let mut steps = Vec::new();
    for file in recorded {
        steps.push(as_taken(&npz::load(file).unwrap(), one.inputs()));
    }
    if steps.is_empty() {
        let random = one.random(&Ranges::default(), 1, 0);
        steps.push(random.map_err(|e| e.to_string())?);
    }
    let bits = |array: &Array| {
        let values = array.data().to_f64();
        let bits = values.iter().map(|v| v.to_bits());
        (array.shape().to_vec(), bits.collect::<Vec<_>>())
    };
    let mut count = 0;
    for inputs in steps {
        let feed = one.feed(&inputs, "inputs").map_err(|e| e.to_string())?;
        let expected = one.step(&feed).map_err(|e| e.to_string())?;
        let feed = other.feed(&inputs, "inputs").unwrap();
        let found = other.step(&feed).unwrap();
        assert_eq!(expected.len(), found.len());
        for one in &expected {
            let other = found.iter().find(|o| o.name == one.name).unwrap();
            let same = bits(&one.array) == bits(&other.array);
            assert!(same, "{} differs", one.name);
        }
        count += expected.len();
    }
    Ok(count)
}

/// A program with what text sorts in order; `drop` says which attributes of the
/// program and of functions are left out.
fn sorted(program: &Program, drop: &[&str]) -> proto::Program {
    let mut program = program.to_proto();
    program
        .attributes
        .retain(|a| !drop.contains(&a.key.as_str()));
    program.attributes.sort_by(|a, b| a.key.cmp(&b.key));
    program.functions.sort_by(|a, b| a.key.cmp(&b.key));
    for function in program
        .functions
        .iter_mut()
        .filter_map(|f| f.value.as_mut())
    {
        function.inputs.sort_by(|a, b| a.name.cmp(&b.name));
        for body in &mut function.block_specializations {
            body.value.as_mut().into_iter().for_each(sort_block);
        }
    }
    program
}

fn sort_block(block: &mut proto::Block) {
    for bytes in &mut block.operations {
        let mut op = proto::Operation::decode(bytes.clone()).unwrap();
        op.inputs.sort_by(|a, b| a.key.cmp(&b.key));
        op.attributes.sort_by(|a, b| a.key.cmp(&b.key));
        op.blocks.iter_mut().for_each(sort_block);
        *bytes = op.encode_to_vec().into();
    }
}

/// Every compiled model with the package or spec that it was made from.
fn compiled() -> Vec<(PathBuf, PathBuf)> {
    let Some(models) = find::shared("models") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut folders = vec![models];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "mlmodelc") {
                let package = path.with_extension("mlpackage");
                let spec = path.with_file_name("input.mlmodel");
                found.push((path, if package.exists() { package } else { spec }));
            } else if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn compiled_models_are_the_packages_they_were_made_from() {
    let temporary = tempfile::tempdir().unwrap();
    let pairs = compiled();
    let (mut same, mut operations, mut outputs, mut stages) = (0, 0, 0, 0);
    for (number, (compiled, original)) in pairs.iter().enumerate() {
        let name = compiled.display();
        let model = match Model::open(compiled) {
            Ok(model) => model,
            // The stages of a pipeline are models of their own.
            Err(error) => {
                assert!(error.to_string().contains("model0"), "{name}: {error}");
                let pipeline = Model::open(original);
                let kind = matches!(pipeline, Err(Error::NotAProgram { .. }));
                assert!(kind, "{name}");
                for stage in ["model0", "model1"] {
                    let stage = Model::open(compiled.join(stage)).unwrap();
                    stages += usize::from(stage.program().all_ops().len() == 1);
                }
                continue;
            }
        };
        let out = temporary.path().join(format!("{number}.mlpackage"));
        model.save(&out, WriteOptions::default()).unwrap();
        let (back, published) = (Model::open(&out).unwrap(), Model::open(original).unwrap());
        // The compiler notes itself among the converters.
        let info = &["buildInfo"];
        let equal = sorted(back.program(), info) == sorted(published.program(), info);
        assert!(equal, "{name}: another program than {}", original.display());
        let description = |m: &Model| Description::from_proto(&m.spec().description().unwrap());
        let (mut ours, mut theirs) = (description(&back), description(&published));
        // The order of free keys is not known.
        ours.metadata.user_defined.sort();
        theirs.metadata.user_defined.sort();
        assert_eq!(ours, theirs, "{name}");
        assert_eq!(back.spec().version(), published.spec().version(), "{name}");
        let (a, b) = (
            Executable::open(&out).unwrap(),
            Executable::open(original).unwrap(),
        );
        for function in a.functions() {
            outputs += same_results(&a, &b, function, &[]).unwrap();
        }
        operations += back.program().all_ops().len();
        same += 1;
    }
    println!(
        "{same} compiled models equal the packages they were made from: {operations} operations, \
         descriptions, versions, {outputs} outputs bit for bit; {stages} stages of a pipeline"
    );
    assert!(pairs.is_empty() || same > 8 && stages == 2);
}

/// What came of a model that went through text.
enum Outcome {
    /// Functions and outputs that were compared.
    Same(usize),
    /// The original does not run.
    NotRun(String),
    /// It has a feature that text does not hold.
    Feature,
}

/// Prints a model, reads the text, packs it and runs both.
fn through_text(path: &Path, recorded: &[PathBuf]) -> Outcome {
    let model = Model::open(path).unwrap();
    let description = Description::from_proto(&model.spec().description().unwrap());
    let (program, notes) = with_signature(model.program(), &description);
    assert!(notes.is_empty(), "{}: {notes:?}", path.display());
    let text = print(&program, Dialect::V1_3, None);
    let folder = tempfile::tempdir().unwrap();
    for name in model.spec().weight_file_names().unwrap() {
        let weights = model.package().resolve_weight_file(&name).unwrap();
        let from = model.package().source(weights).unwrap();
        let to = folder
            .path()
            .join(name.strip_prefix("@model_path/").unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from.path(), to).unwrap();
    }
    let file = folder.path().join("model.mil");
    std::fs::write(&file, text).unwrap();
    let read = Model::open(&file).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let out = folder.path().join("model.mlpackage");
    read.save(&out, WriteOptions::default()).unwrap();
    let packed = Model::open(&out).unwrap();
    let equal = sorted(packed.program(), &[]) == sorted(model.program(), &[]);
    assert!(equal, "{}: another program", path.display());
    // Of outputs that are arrays, a description may say less than the program.
    let kinds = |m: &Model| {
        let description = Description::from_proto(&m.spec().description().unwrap());
        let functions = description.functions.into_iter();
        let features = functions.flat_map(|f| {
            let images = f.outputs.into_iter();
            let images = images.filter(|o| matches!(o.kind, FeatureKind::Image(_)));
            let inputs = f.inputs.into_iter().map(|i| ("input", i));
            let features = inputs.chain(images.map(|o| ("output", o)));
            let name = f.function;
            features.map(move |(role, i)| ((name.clone(), role, i.name), i.kind.to_string()))
        });
        features.collect::<BTreeMap<_, _>>()
    };
    if kinds(&model) != kinds(&packed) {
        return Outcome::Feature;
    }
    let (a, b) = (
        Executable::open(path).unwrap(),
        Executable::open(&out).unwrap(),
    );
    let mut outputs = 0;
    for function in a.functions() {
        match same_results(&a, &b, function, recorded) {
            Ok(count) => outputs += count,
            Err(problem) => return Outcome::NotRun(problem),
        }
    }
    Outcome::Same(outputs)
}

fn report(what: &str, outcomes: Vec<(PathBuf, Outcome)>) -> (usize, usize, usize) {
    let (mut same, mut outputs, mut not_run, mut features) = (0, 0, 0, 0);
    for (path, outcome) in outcomes {
        match outcome {
            Outcome::Same(count) => {
                same += 1;
                outputs += count;
            }
            Outcome::NotRun(problem) => {
                println!("{}: {problem}", path.display());
                not_run += 1;
            }
            Outcome::Feature => {
                println!("{}: other features", path.display());
                features += 1;
            }
        }
    }
    println!(
        "{what}: {same} print -> parse -> package are the same program and give the same bits \
         ({outputs} outputs); {features} with features that text does not hold, {not_run} do not \
         run in either form"
    );
    (same, features, not_run)
}

#[test]
fn models_come_back_from_text() {
    let mut paths = find::models(&find::fixtures());
    paths.extend(find::shared("models").iter().flat_map(|m| find::models(m)));
    paths.retain(|path| !matches!(Model::open(path), Err(Error::NotAProgram { .. })));
    let outcomes = paths
        .par_iter()
        .map(|path| (path.clone(), through_text(path, &[])));
    let (same, features, not_run) = report("models", outcomes.collect());
    assert!(same > 20 && features == 0 && not_run == 0);
}

#[test]
fn conformance_cases_come_back_from_text() {
    let Some(zips) = cases::archives() else {
        return;
    };
    let outcomes = zips.par_iter().map(|path| {
        let folder = tempfile::tempdir().unwrap();
        let mut zip = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
        zip.extract(folder.path()).unwrap();
        let steps = (0..).map(|n| folder.path().join(format!("inputs.{n}.npz")));
        let steps: Vec<PathBuf> = steps.take_while(|file| file.exists()).collect();
        assert!(!steps.is_empty());
        let model = folder.path().join("model.mlpackage");
        (path.clone(), through_text(&model, &steps))
    });
    let (same, features, not_run) = report("conformance", outcomes.collect());
    // Of three cases, an error is what is expected: docs/conformance.md.
    assert!(same > 0 && features == 0 && not_run <= 3);
}
