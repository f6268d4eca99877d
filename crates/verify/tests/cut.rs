//! Models cut at random places, and into parts of the same size: the stages run
//! one after the other give the bits that the whole gives, at every step; and
//! merged again they are the model that was cut.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking and print what they checked"
)]

mod common;
#[path = "../../../fixtures/same_program.rs"]
mod same_program;
#[path = "../../../fixtures/stages.rs"]
mod stages;

use std::collections::BTreeMap;
use std::path::Path;

use common::{Case, fixtures, packages, shared};
use milwright_interp::{Options, Precision};
use milwright_ir::Model;
use milwright_ir::features::{Description, Signature};
use milwright_package::{
    ComputeUnits, PIPELINE_FILE, PIPELINE_SCHEMA, PipelineFolder, PipelineManifest, WriteOptions,
};
use milwright_passes::cut::{
    Costs, Error, Graph, Loads, Part, Plan, Renames, SeamTypes, Wish, balance,
};
use milwright_passes::merge::{self, Wiring};
use milwright_verify::inputs::Feed;
use milwright_verify::{Executable, Output, Random};

/// How many cuts of each function are run.
const CUTS: usize = 3;

#[derive(Default)]
struct Counts {
    functions: usize,
    cuts: usize,
    stages: usize,
    casts: usize,
    states: usize,
    flexible: usize,
    merged: usize,
    shared_blobs: usize,
    refused: BTreeMap<String, usize>,
}

/// Writes the stages of a plan and their manifest.
fn write(
    folder: &Path,
    model: &Model,
    function: &str,
    graph: &Graph<'_>,
    plan: &Plan,
    types: &SeamTypes,
) -> Result<Vec<Part>, Error> {
    let renames = Renames::default();
    let parts = (0..plan.stages.len())
        .map(|stage| Part::new(model, graph, plan, stage, &renames, types))
        .collect::<Result<Vec<_>, _>>()?;
    let mut records = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        let name = format!("part{number}");
        let root = folder.join(format!("{name}.mlpackage"));
        let options = WriteOptions::default();
        model.save_as(&part.program, &part.spec, &root, options)?;
        let units = ComputeUnits::ALL[number % 4];
        let record = stages::record(&root, &name, units, &records);
        records.push(record);
    }
    let name = |&v| graph.program.values[v].name.clone();
    let is_state = |v: &milwright_ir::ValueId| {
        matches!(
            graph.program.values[*v].ty,
            milwright_ir::ValueType::State(_)
        )
    };
    let inputs = graph.function.inputs.iter().filter(|v| !is_state(v));
    let manifest = PipelineManifest {
        schema: PIPELINE_SCHEMA.to_owned(),
        model: "whole.mlpackage".to_owned(),
        function: function.to_owned(),
        inputs: inputs.map(name).collect(),
        outputs: graph.program.blocks[graph.body]
            .outputs
            .iter()
            .map(name)
            .collect(),
        stages: records,
        functions: Vec::new(),
    };
    manifest.save(&folder.join(PIPELINE_FILE), true).unwrap();
    Ok(parts)
}

/// A function that is cut.
struct Setting<'a> {
    model: &'a Model,
    case: &'a Case,
    signature: Option<&'a Signature>,
    graph: &'a Graph<'a>,
    types: &'a SeamTypes,
    feeds: Vec<Feed>,
    /// What the whole gives at every step.
    expected: Vec<Vec<Output>>,
}

/// Opens a function and runs it whole, for `each` to cut.
fn with_setting(
    package: &Path,
    case: &Case,
    counts: &mut Counts,
    each: impl FnOnce(&Setting<'_>, &mut Counts),
) {
    let model = Model::open(package).unwrap();
    let function = model.program().function(Some(&case.function)).unwrap();
    let description = Description::from_proto(&model.spec().description().unwrap());
    let signature = description.signature(&case.function);
    let graph = Graph::new(model.program(), function).unwrap();
    let types = SeamTypes::new(model.program(), function, &model, signature).unwrap();
    counts.functions += 1;
    let mut whole = case.runner(Precision::Fp32);
    let feeds = case.feeds(&whole);
    let expected = feeds.iter().map(|f| whole.step(f).unwrap()).collect();
    let setting = Setting {
        model: &model,
        case,
        signature,
        graph: &graph,
        types: &types,
        feeds,
        expected,
    };
    each(&setting, counts);
}

/// Writes the stages of a plan, runs them, and compares every bit.
fn run_stages(
    setting: &Setting<'_>,
    plan: &Plan,
    counts: &mut Counts,
    how: &str,
) -> Result<(), Error> {
    let case = setting.case;
    let dir = tempfile::tempdir().unwrap();
    let (model, graph) = (setting.model, setting.graph);
    let parts = write(
        dir.path(),
        model,
        &case.function,
        graph,
        plan,
        setting.types,
    )?;
    let stages = Executable::open(dir.path()).unwrap();
    check_steps(setting, &stages, how);
    merge_again(setting, dir.path(), how, counts);
    counts.cuts += 1;
    counts.stages += parts.len();
    counts.casts += parts.iter().map(|p| p.casts.len()).sum::<usize>();
    counts.states += parts.iter().filter(|p| !p.states.is_empty()).count();
    counts.flexible += usize::from(
        parts
            .iter()
            .flat_map(|p| &p.inputs)
            .any(|io| io.from.is_some() && io.ty.as_tensor().unwrap().known_shape().is_none()),
    );
    Ok(())
}

/// Runs a model, and compares every bit with what the whole gives.
fn check_steps(setting: &Setting<'_>, model: &Executable, how: &str) {
    let case = setting.case;
    let mut runner = model.runner(None, Options::default()).unwrap();
    for (step, want) in setting.expected.iter().enumerate() {
        let inputs: Vec<String> = runner.inputs().iter().map(|i| i.name.clone()).collect();
        let feed = setting.feeds[step]
            .iter()
            .filter(|(name, _)| inputs.contains(name));
        let feed = feed.map(|(name, t)| (name.clone(), t.clone())).collect();
        let got = runner.step(&feed).unwrap();
        assert_eq!(got.len(), want.len(), "{}", case.name);
        for (got, want) in got.iter().zip(want) {
            let what = format!("{}: step {step}, {} {how}", case.name, got.name);
            assert_eq!(got.name, want.name, "{what}");
            assert_eq!(got.array.shape(), want.array.shape(), "{what}");
            let bits = |a: &milwright_verify::Array| {
                let values = a.data().to_f64();
                values.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
            };
            assert!(bits(&got.array) == bits(&want.array), "{what}: other bits");
        }
    }
}

/// Merges a folder of stages; what comes out is the model that was cut.
fn merge_again(setting: &Setting<'_>, folder: &Path, how: &str, counts: &mut Counts) {
    let case = setting.case;
    let stages = PipelineFolder::open(folder).unwrap();
    let records = stages.manifest().stages.iter();
    let models: Vec<Model> = records
        .map(|s| Model::from_package(stages.open_stage(s).unwrap()).unwrap())
        .collect();
    for wiring in [Wiring::OneModel, Wiring::Names] {
        let what = format!("{} {how}, {wiring:?}", case.name);
        let merged = merge::stages(stages.manifest(), &models, wiring)
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        let out = folder.join(format!("{wiring:?}.mlpackage"));
        merged.save(&out, WriteOptions::default()).unwrap();
        check_steps(setting, &Executable::open(&out).unwrap(), &what);
        counts.merged += 1;
        counts.shared_blobs += merged.weights.shared_blobs;
        if wiring == Wiring::Names {
            continue;
        }
        let again = Model::open(&out).unwrap();
        let whole = same_program::lines(setting.model, &case.function, true);
        let lines = same_program::lines(&again, "main", false);
        if lines != whole {
            let only = |a: &[String], b: &[String]| -> Vec<String> {
                a.iter()
                    .filter(|l| !b.contains(l))
                    .take(5)
                    .cloned()
                    .collect()
            };
            panic!(
                "{what}: another program; before: {:#?}; after: {:#?}; {} and {} lines",
                only(&whole, &lines),
                only(&lines, &whole),
                whole.len(),
                lines.len()
            );
        }
        assert_eq!(
            same_program::described(&again, "main"),
            same_program::described(setting.model, &case.function),
            "{what}"
        );
        assert_eq!(
            again.spec().version(),
            setting.model.spec().version(),
            "{what}"
        );
        assert!(merged.left_out.is_empty(), "{what}: {:?}", merged.left_out);
    }
}

/// Cuts a function at random places.
fn cut(setting: &Setting<'_>, random: &mut Random, counts: &mut Counts) {
    let (case, graph) = (setting.case, setting.graph);
    let mut done = 0;
    for _ in 0..40 * CUTS {
        if done == CUTS {
            break;
        }
        // Two to four stages, by where an operation stands in the program.
        let seams = random.integer(1, 3);
        let count = graph.nodes.len() as i64;
        let at: Vec<usize> = (0..seams)
            .map(|_| random.integer(0, count - 1) as usize)
            .collect();
        let label = |node: usize| at.iter().filter(|&&a| a < node).count();
        let labels: Vec<usize> = (0..graph.nodes.len()).map(label).collect();
        let plan = match Plan::new(graph, &labels) {
            Ok(plan) => plan,
            Err(Error::Torn { why, .. }) => {
                let why = why.split('`').step_by(2).collect::<Vec<_>>().join("`..`");
                *counts.refused.entry(why).or_default() += 1;
                continue;
            }
            Err(e) => panic!("{}: {e}", case.name),
        };
        if plan.stages.len() < 2 {
            continue;
        }
        match run_stages(setting, &plan, counts, &format!("cut at {at:?}")) {
            Ok(()) => done += 1,
            Err(Error::NoPlace { why, .. }) => *counts.refused.entry(why).or_default() += 1,
            Err(e) => panic!("{}: cut at {at:?}: {e}", case.name),
        }
    }
}

/// Cuts a function into 2, 3 and 4 parts, by weights and by multiply-adds.
fn bisect(setting: &Setting<'_>, counts: &mut Counts) {
    let (case, graph, types) = (setting.case, setting.graph, setting.types);
    let costs = Costs::new(graph, types, setting.model);
    let (weights, macs) = (Loads::weights(graph), Loads::multiply_adds(&costs));
    let whole = types.uncrossable(graph, setting.signature, setting.model.spec().version());
    for parts in 2..=4 {
        let measure = if parts == 3 { &macs } else { &weights };
        let wish = Wish {
            parts: Some(parts),
            limit: None,
            balance: measure,
            weights: &weights,
            slack: 5,
            whole: &whole,
            first: None,
            last: None,
        };
        let found = match balance(graph, &costs, &wish) {
            Ok(found) => found,
            Err(Error::TooMany { most, .. }) => {
                assert!(most < parts, "{}", case.name);
                let why = format!("{parts} parts are too many");
                *counts.refused.entry(why).or_default() += 1;
                continue;
            }
            Err(e) => panic!("{}: {parts} parts: {e}", case.name),
        };
        assert_eq!(found.loads.len(), parts, "{}", case.name);
        let most = found.least + found.least / 20;
        assert!(found.loads.iter().all(|&l| l <= most), "{}", case.name);
        let plan = Plan::new(graph, &found.labels).unwrap();
        let how = format!("in {parts} parts");
        if let Err(e) = run_stages(setting, &plan, counts, &how) {
            panic!("{}: {how}: {e}", case.name);
        }
    }
}

fn cut_all(folder: &Path) -> Counts {
    let mut random = Random::new(5, 0, "cuts");
    all(folder, |setting, counts| cut(setting, &mut random, counts))
}

fn all(folder: &Path, mut each: impl FnMut(&Setting<'_>, &mut Counts)) -> Counts {
    let mut counts = Counts::default();
    for package in packages(folder) {
        if Executable::open(&package).is_ok_and(|e| !e.is_pipeline()) {
            for case in Case::of(&package) {
                with_setting(&package, &case, &mut counts, &mut each);
            }
        }
    }
    println!(
        "{} functions, {} cuts into {} stages, {} casts, {} stages with states, {} with flexible \
         seams",
        counts.functions, counts.cuts, counts.stages, counts.casts, counts.states, counts.flexible
    );
    println!(
        "{} merged again, with {} blobs stored once instead of again",
        counts.merged, counts.shared_blobs
    );
    println!("refused: {:#?}", counts.refused);
    counts
}

#[test]
fn fixtures_cut_anywhere_compute_the_same() {
    let counts = cut_all(&fixtures());
    assert!(
        counts.functions > 20 && counts.cuts > 2 * counts.functions,
        "too few were cut"
    );
    assert!(
        counts.states > 0 && counts.flexible > 0 && counts.casts > 0,
        "something was left out"
    );
}

#[test]
fn shared_models_cut_anywhere_compute_the_same() {
    let Some(models) = shared() else { return };
    let counts = cut_all(&models.join("edge-cases"));
    assert!(counts.cuts > counts.functions && counts.states > 0);
    for name in ["asr-encoder", "embedder", "silero-vad", "hand-detector"] {
        let counts = cut_all(&models.join(name));
        assert!(counts.cuts >= CUTS, "{name}");
    }
}

#[test]
fn fixtures_in_two_three_and_four_parts_compute_the_same() {
    let counts = all(&fixtures(), bisect);
    assert!(
        counts.functions > 20 && counts.cuts > 2 * counts.functions,
        "too few were cut"
    );
    assert!(
        counts.states > 0 && counts.flexible > 0,
        "something was left out"
    );
}

#[test]
fn shared_models_in_two_three_and_four_parts_compute_the_same() {
    let Some(models) = shared() else { return };
    let counts = all(&models.join("edge-cases"), bisect);
    assert!(counts.cuts > counts.functions && counts.states > 0);
    let counts = all(&models.join("embedder"), bisect);
    assert_eq!(counts.cuts, 3 * counts.functions);
}
