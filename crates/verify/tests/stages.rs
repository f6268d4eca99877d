//! Executing a folder of stages by its `pipeline.json`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking and print what they checked"
)]

mod common;
#[path = "../../../fixtures/stages.rs"]
mod stages;

use std::path::{Path, PathBuf};

use common::{fixtures, repository, shared};
use milwright_interp::Options;
use milwright_package::proto::feature_type::Type;
use milwright_package::{
    ComputeUnits, PIPELINE_FILE, PIPELINE_SCHEMA, Package, PipelineFolder, PipelineManifest, Spec,
    WriteOptions,
};
use milwright_verify::inputs::Ranges;
use milwright_verify::{Error, Executable, NamedArrays, npz};

fn pipeline() -> PathBuf {
    repository().join("fixtures/pipelines/programs/model.mlpackage")
}

/// The outputs of consecutive steps.
fn run(model: &Executable, steps: &[NamedArrays]) -> Vec<Vec<(String, Vec<f64>)>> {
    let mut runner = model.runner(None, Options::default()).unwrap();
    let step = |arrays: &NamedArrays| {
        let feed = runner.feed(arrays, "inputs").unwrap();
        let outputs = runner.step(&feed).unwrap().into_iter();
        let outputs = outputs.map(|o| (o.name, o.array.data().to_f64()));
        outputs.collect()
    };
    steps.iter().map(step).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, target).unwrap();
        }
    }
}

#[test]
fn stages_in_a_folder_run_as_the_pipeline_that_they_came_from() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = stages::unpack(&pipeline(), dir.path());
    let whole = Executable::open(&pipeline()).unwrap();
    let inputs = npz::load(&pipeline().with_file_name("inputs.0.npz")).unwrap();
    let expected = run(&whole, std::slice::from_ref(&inputs));
    for path in [dir.path().to_owned(), dir.path().join(PIPELINE_FILE)] {
        let parts = Executable::open(&path).unwrap();
        assert!(parts.is_pipeline());
        assert_eq!(parts.functions(), ["main"]);
        assert!(parts.function(Some("other")).is_err());
        assert_eq!(run(&parts, std::slice::from_ref(&inputs)), expected);
        let mut runner = parts.runner(None, Options::default()).unwrap();
        let names: Vec<&str> = runner.inputs().iter().map(|i| i.name.as_str()).collect();
        assert_eq!(names, manifest.inputs);
        assert!(matches!(
            runner.single("--per-op").err().unwrap(),
            Error::Single { stages: 2, .. }
        ));
    }
    println!("{} outputs equal, bit for bit", expected[0].len());
}

#[test]
fn what_the_manifest_does_not_record_is_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let good = stages::unpack(&pipeline(), dir.path());
    let refused = |what: &str| {
        let message = Executable::open(dir.path()).err().unwrap().to_string();
        println!("{what}: {message}");
        message
    };
    // A weight that changed.
    let weights = dir
        .path()
        .join("head.mlpackage/Data/com.apple.CoreML/weights/1-weight.bin");
    let bytes = std::fs::read(&weights).unwrap();
    let mut other = bytes.clone();
    *other.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, other).unwrap();
    let message = refused("weights");
    assert!(
        message.contains("`head`") && message.contains("1-weight.bin"),
        "{message}"
    );
    std::fs::write(&weights, bytes).unwrap();
    Executable::open(dir.path()).unwrap();

    // Wiring that is sound in itself, and not what the packages have.
    type Damage = fn(&mut PipelineManifest);
    let cases: [(&str, Damage, &[&str]); 5] = [
        (
            "type",
            |m| {
                m.stages[0].outputs[0].ty = "fp32[1,2]".to_owned();
                m.stages[1].inputs[0].ty = "fp32[1,2]".to_owned();
            },
            &["`embed`", "gives", "fp32[1,2]", "fp16["],
        ),
        (
            "name",
            |m| {
                m.stages[0].outputs[0].name = "hid".to_owned();
                m.stages[1].inputs[0].name = "hid".to_owned();
            },
            &["`embed`", "`hid`", "`hidden`"],
        ),
        (
            "left out",
            |m| {
                m.stages[1].inputs.retain(|f| f.name != "scale");
                m.inputs.retain(|name| name != "scale");
            },
            &["`head`", "takes", "`scale`"],
        ),
        (
            "state",
            |m| {
                m.stages[0].states.push(milwright_package::StageFeature {
                    name: "cache".to_owned(),
                    ty: "fp16[1]".to_owned(),
                });
            },
            &["`embed`", "keeps `cache`", "keeps nothing"],
        ),
        (
            "exchanged",
            |m| {
                let [a, b] = &mut m.stages[..] else { return };
                std::mem::swap(&mut a.package, &mut b.package);
                std::mem::swap(&mut a.files, &mut b.files);
            },
            &["`embed`", "takes"],
        ),
    ];
    for (what, damage, words) in &cases {
        let mut manifest = good.clone();
        damage(&mut manifest);
        assert_ne!(manifest, good, "{what}");
        manifest
            .save(&dir.path().join(PIPELINE_FILE), true)
            .unwrap();
        let error = Executable::open(dir.path()).err().unwrap();
        assert!(matches!(error, Error::Wiring { .. }), "{what}: {error}");
        for word in *words {
            assert!(error.to_string().contains(word), "no {word:?} in: {error}");
        }
    }
    // A stage that is no program.
    let foreign = repository().join("fixtures/pipelines/foreign/model.mlpackage");
    let spec = milwright_package::Package::open(foreign).unwrap();
    let (_, network) = spec.spec().pipeline().unwrap().remove(1);
    let place = "head.mlpackage/Data/com.apple.CoreML/model.mlmodel";
    std::fs::write(dir.path().join(place), network.bytes()).unwrap();
    let mut manifest = good.clone();
    let package = milwright_package::Package::open(dir.path().join("head.mlpackage")).unwrap();
    manifest.stages[1].files = milwright_package::StageFile::of_package(&package).unwrap();
    manifest
        .save(&dir.path().join(PIPELINE_FILE), true)
        .unwrap();
    assert!(refused("network").contains("neural_network"));
    println!("{} manifests refused", cases.len() + 2);
}

#[test]
fn states_stay_in_their_stage_and_carry_over() {
    // The same stateful model twice, under two names: each keeps its own state.
    let dir = tempfile::tempdir().unwrap();
    let source = fixtures().join("transformer-kv");
    copy(
        &source.join("fp16.mlpackage"),
        &dir.path().join("only.mlpackage"),
    );
    let root = dir.path().join("only.mlpackage");
    let stage = stages::record(&root, "only", ComputeUnits::All, &[]);
    assert_eq!(stage.states.len(), 4);
    let manifest = PipelineManifest {
        schema: PIPELINE_SCHEMA.to_owned(),
        model: "fp16.mlpackage".to_owned(),
        function: "main".to_owned(),
        inputs: stage.inputs.iter().map(|f| f.name.clone()).collect(),
        outputs: stage.outputs.iter().map(|f| f.name.clone()).collect(),
        stages: vec![stage],
        functions: Vec::new(),
    };
    manifest
        .save(&dir.path().join(PIPELINE_FILE), false)
        .unwrap();
    let steps: Vec<NamedArrays> = (0..4)
        .map(|n| npz::load(&source.join(format!("inputs.{n}.npz"))).unwrap())
        .collect();
    let parts = run(&Executable::open(dir.path()).unwrap(), &steps);
    let whole = run(&Executable::open(&root).unwrap(), &steps);
    assert_eq!(parts, whole);
    // Without what came before, the last step is another.
    let alone = run(&Executable::open(dir.path()).unwrap(), &steps[3..]);
    assert_ne!(parts[3], alone[0]);
    println!("{} steps of a stateful stage", steps.len());
}

/// The packages that silero publishes for the parts of `unified`. The encoder
/// takes each of the four frames by itself, so that only the first goes
/// through: what is compared is how stages hand over, not the whole.
#[test]
fn published_packages_run_as_stages() {
    let Some(models) = shared() else {
        return;
    };
    let source = models.join("silero-vad");
    let dir = tempfile::tempdir().unwrap();
    let mut records = Vec::new();
    for name in ["encoder", "decoder"] {
        let root = dir.path().join(format!("{name}.mlpackage"));
        copy(&source.join(format!("{name}.mlpackage")), &root);
        records.push(stages::record(&root, name, ComputeUnits::CpuOnly, &records));
    }
    let manifest = PipelineManifest {
        schema: PIPELINE_SCHEMA.to_owned(),
        model: "unified.mlpackage".to_owned(),
        function: "main".to_owned(),
        inputs: ["stft_features", "hidden_state", "cell_state"]
            .map(str::to_owned)
            .into(),
        outputs: ["vad_output", "new_hidden_state"].map(str::to_owned).into(),
        stages: records,
        functions: Vec::new(),
    };
    manifest
        .save(&dir.path().join(PIPELINE_FILE), false)
        .unwrap();

    let open = |name: &str| Executable::open(&source.join(format!("{name}.mlpackage"))).unwrap();
    let parts = Executable::open(dir.path()).unwrap();
    let mut runner = parts.runner(None, Options::default()).unwrap();
    let inputs = runner.random(&Ranges::default(), 7, 0).unwrap();
    let feed = runner.feed(&inputs, "random").unwrap();
    let together = runner.step(&feed).unwrap();

    let (encoder, decoder) = (open("encoder"), open("decoder"));
    let mut encoder = encoder.runner(None, Options::default()).unwrap();
    let mut decoder = decoder.runner(None, Options::default()).unwrap();
    let mut arrays = NamedArrays::new();
    arrays.insert(
        "stft_features",
        inputs.get("stft_features").unwrap().clone(),
    );
    let feed = encoder.feed(&arrays, "random").unwrap();
    let encoded = encoder.step(&feed).unwrap().remove(0);
    let mut arrays = NamedArrays::new();
    arrays.insert("encoder_output", encoded.array.clone());
    for name in ["hidden_state", "cell_state"] {
        arrays.insert(name, inputs.get(name).unwrap().clone());
    }
    let feed = decoder.feed(&arrays, "encoded").unwrap();
    let apart = decoder.step(&feed).unwrap();
    for output in &together {
        let same = apart.iter().find(|o| o.name == output.name).unwrap();
        assert_eq!(output.array.data().to_f64(), same.array.data().to_f64());
    }
    println!("{} outputs equal", together.len());

    // As one package: the shape that the encoder leaves out is filled in, for
    // Core ML wants the same from who gives and who takes.
    let out = dir.path().join("all.mlpackage");
    let folder = PipelineFolder::open(dir.path()).unwrap();
    folder.save_package(&out, WriteOptions::default()).unwrap();
    let shape = |spec: &Spec| {
        let output = spec.description().unwrap().output.swap_remove(0);
        match output.r#type.unwrap().r#type.unwrap() {
            Type::MultiArrayType(array) => array.shape,
            other => panic!("{other:?}"),
        }
    };
    let package = Package::open(&out).unwrap();
    let [(name, encoder), _] = &package.spec().pipeline().unwrap()[..] else {
        panic!("two stages");
    };
    assert_eq!(
        (name.as_str(), shape(encoder)),
        ("encoder", vec![1, 128, 1])
    );
    let alone = Package::open(source.join("encoder.mlpackage")).unwrap();
    assert_eq!(shape(alone.spec()), Vec::<i64>::new());
    let whole = Executable::open(&out).unwrap();
    let mut whole = whole.runner(None, Options::default()).unwrap();
    let feed = whole.feed(&inputs, "random").unwrap();
    for (a, b) in whole.step(&feed).unwrap().iter().zip(&together) {
        assert_eq!(a.array.data().to_f64(), b.array.data().to_f64());
    }
}

#[test]
fn what_cannot_be_one_package_is_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let mut manifest = stages::unpack(&pipeline(), folder);
    let out = folder.join("all.mlpackage");
    let refused = |out: &Path, words: &[&str]| {
        let pipeline = PipelineFolder::open(folder).unwrap();
        let error = pipeline.save_package(out, WriteOptions::default());
        let error = error.unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "no {word:?} in: {error}");
        }
        println!("{error}");
    };
    refused(&folder.join("all.mlmodel"), &["all.mlmodel", ".mlpackage"]);
    refused(&folder.join("head.mlpackage"), &["exists already"]);
    refused(&folder.join("head.mlpackage/x.mlpackage"), &["lies inside"]);
    assert!(!out.exists());

    // Stages that describe a feature differently.
    let head = folder.join("head.mlpackage");
    let spec = head.join("Data/com.apple.CoreML/model.mlmodel");
    let package = Package::open(&head).unwrap();
    let mut description = package.spec().description().unwrap();
    let hidden = description
        .input
        .iter_mut()
        .find(|f| f.name == "hidden")
        .unwrap();
    match hidden.r#type.as_mut().unwrap().r#type.as_mut().unwrap() {
        Type::MultiArrayType(array) => array.shape = vec![3, 41],
        other => panic!("{other:?}"),
    }
    let changed = package.spec().with_description(&description).unwrap();
    std::fs::write(&spec, changed.bytes()).unwrap();
    refused(&out, &["`head`", "has changed"]);
    let (embed, units) = (&manifest.stages[..1], manifest.stages[1].compute_units);
    manifest.stages[1] = stages::record(&head, "head", units, embed);
    manifest.save(&folder.join(PIPELINE_FILE), true).unwrap();
    refused(&out, &["`embed` and `head` describe `hidden` differently"]);

    // A stage that keeps states.
    let root = folder.join("only.mlpackage");
    copy(&fixtures().join("transformer-kv/fp16.mlpackage"), &root);
    let stage = stages::record(&root, "only", ComputeUnits::All, &[]);
    manifest.inputs = stage.inputs.iter().map(|f| f.name.clone()).collect();
    manifest.outputs = stage.outputs.iter().map(|f| f.name.clone()).collect();
    manifest.stages = vec![stage];
    manifest.save(&folder.join(PIPELINE_FILE), true).unwrap();
    refused(&out, &["`only` keeps states", "--loader"]);
    assert!(!out.exists());
    println!("6 refused");
}

#[test]
fn the_pipeline_package_of_stages_runs_as_they_do() {
    let dir = tempfile::tempdir().unwrap();
    stages::unpack(&pipeline(), dir.path());
    let out = dir.path().join("all.mlpackage");
    let folder = PipelineFolder::open(dir.path()).unwrap();
    folder.save_package(&out, WriteOptions::default()).unwrap();
    let inputs = [npz::load(&pipeline().with_file_name("inputs.0.npz")).unwrap()];
    let expected = run(&Executable::open(&pipeline()).unwrap(), &inputs);
    assert_eq!(run(&Executable::open(&out).unwrap(), &inputs), expected);
    let zip = dir.path().join("all.zip");
    folder.save_package(&zip, WriteOptions::default()).unwrap();
    assert_eq!(run(&Executable::open(&zip).unwrap(), &inputs), expected);
    println!("{} outputs equal, bit for bit", expected[0].len());
}
