//! Stages of a cut model: the options, and how they are written. Shared by the
//! commands that cut.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use milwright_ir::{Function, Model};
use milwright_package::{
    ComputeUnits, Origin, PIPELINE_FILE, PIPELINE_SCHEMA, PipelineFolder, PipelineManifest,
    StageFeature, StageInput, StageRecord, WriteOptions, create_folder,
};
use milwright_passes::cut::{Costs, Graph, Io, Part, Plan, Renames, SeamTypes};
use milwright_verify::Executable;
use milwright_verify::metrics::Tolerance;
use milwright_verify::report::Report as Comparison;
use rayon::prelude::*;

use crate::Outcome;
use crate::comparison::Models;
use crate::loader;
use crate::progress::Progress;
use crate::steps::{InputOptions, PrecisionOption};
use crate::weights;

pub(crate) use facts::{
    CastFacts, IoFacts, SeamReport, StageFacts, count, seams, show, show_end, show_kept, show_seams,
};

mod facts;

/// What a stage is called.
pub(crate) fn name(number: usize) -> String {
    format!("stage{}", number + 1)
}

/// Options of every command that cuts.
#[derive(Debug, clap::Args)]
pub(crate) struct CutOptions {
    /// The folder to write.
    #[arg(short, long, value_name = "DIR", required_unless_present = "dry_run")]
    pub(crate) output: Option<PathBuf>,

    /// Name the feature that stands for a value at a seam.
    #[arg(long, value_name = "VALUE=FEATURE")]
    name: Vec<String>,

    /// Function to cut [default: the only one].
    #[arg(long, value_name = "NAME")]
    function: Option<String>,

    /// Show where the model would be cut, and write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Run the stages one after the other and compare with the model before
    /// anything is written; every bit must be the same.
    #[arg(long)]
    verify: bool,

    /// Also write DIR/pipeline.mlpackage, one Core ML pipeline of all stages.
    #[arg(long)]
    pipeline: bool,

    /// Also write a loader that sets each stage's compute units.
    #[arg(long, value_enum, value_name = "LANGUAGE")]
    loader: Vec<Loader>,

    /// Replace DIR if it is there.
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    pub(crate) inputs: InputOptions,

    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl CutOptions {
    /// The function to cut.
    pub(crate) fn function<'m>(&self, model: &'m Model) -> anyhow::Result<&'m Function> {
        pick_function(model, self.function.as_deref())
    }

    /// How the command ends, when the stages were written or not.
    pub(crate) fn outcome(&self, written: bool) -> Outcome {
        match written || self.dry_run {
            true => Outcome::Clean,
            false => Outcome::Findings,
        }
    }

    /// Reads `VALUE=FEATURE`.
    pub(crate) fn names(&self) -> anyhow::Result<Vec<(String, String)>> {
        let pair = |text: &String| {
            let (value, feature) = text
                .split_once('=')
                .with_context(|| format!("--name {text}: write it as VALUE=FEATURE"))?;
            Ok((value.to_owned(), feature.to_owned()))
        };
        self.name.iter().map(pair).collect()
    }

    /// Writes stages, if that is wished, and compares them with the model
    /// before; says whether they were written, and what the comparison found.
    pub(crate) fn write(
        &self,
        source: &Path,
        stages: &Stages<'_>,
        function: &str,
    ) -> anyhow::Result<(bool, Option<Comparison>)> {
        let (false, Some(output)) = (self.dry_run, &self.output) else {
            return Ok((false, None));
        };
        let how = Written {
            source,
            function,
            force: self.force,
            pipeline: self.pipeline,
            loaders: &self.loader,
        };
        let mut comparison = None;
        let written = stages.write(output, &how, |folder| {
            if !self.verify {
                return Ok(true);
            }
            let whole = Executable::open(source)?;
            let compared = compare(folder, output, &whole, function, &self.inputs)?;
            let ok = compared.ok;
            comparison = Some(compared);
            Ok(ok)
        })?;
        Ok((written, comparison))
    }
}

/// The function of that name; without one, the only one.
pub(crate) fn pick_function<'m>(
    model: &'m Model,
    name: Option<&str>,
) -> anyhow::Result<&'m Function> {
    let functions = &model.program().functions;
    if name.is_none() && functions.len() > 1 {
        let names: Vec<&str> = functions.iter().map(|f| f.name.as_str()).collect();
        bail!(
            "the model has several functions ({}), and stages have one; name it with --function",
            names.join(", ")
        );
    }
    Ok(model.program().function(name)?)
}

/// A language in which a loader can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Loader {
    /// DIR/Pipeline.swift
    Swift,
    /// DIR/pipeline.py
    Python,
}

/// The stages of a model, ready to be written.
pub(crate) struct Stages<'m> {
    model: &'m Model,
    parts: Vec<Part>,
    units: Vec<(ComputeUnits, Vec<String>)>,
    nodes: Vec<Vec<usize>>,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

/// How stages are written.
struct Written<'o> {
    source: &'o Path,
    function: &'o str,
    force: bool,
    pipeline: bool,
    loaders: &'o [Loader],
}

impl<'m> Stages<'m> {
    /// Makes a model of each stage; `units` says where it should run, and why.
    pub(crate) fn new(
        model: &'m Model,
        graph: &Graph<'_>,
        plan: &Plan,
        renames: &Renames,
        types: &SeamTypes,
        units: impl Fn(usize) -> (ComputeUnits, Vec<String>),
    ) -> anyhow::Result<Self> {
        let parts = (0..plan.stages.len())
            .map(|stage| Part::new(model, graph, plan, stage, renames, types))
            .collect::<Result<Vec<_>, _>>()?;
        let given = parts.iter().flat_map(|p| &p.inputs);
        let mut inputs: Vec<String> = Vec::new();
        for io in given.filter(|io| io.from.is_none()) {
            if !inputs.contains(&io.name) {
                inputs.push(io.name.clone());
            }
        }
        let order = |name: &String| {
            let inputs = graph.function.inputs.iter();
            inputs.clone().position(|&v| graph.name(v) == name)
        };
        inputs.sort_by_key(order);
        let outputs = graph.program.blocks[graph.body].outputs.iter();
        Ok(Stages {
            model,
            units: (0..parts.len()).map(units).collect(),
            nodes: plan.stages.iter().map(|s| s.nodes.clone()).collect(),
            parts,
            inputs,
            outputs: outputs.map(|&v| graph.name(v).to_owned()).collect(),
        })
    }

    /// What reports say of them.
    pub(crate) fn facts(&self, costs: &Costs) -> Vec<StageFacts> {
        let stages = self.parts.iter().zip(&self.units).zip(&self.nodes);
        stages
            .enumerate()
            .map(|(number, ((part, (units, why)), nodes))| StageFacts {
                name: name(number),
                compute_units: *units,
                why: why.clone(),
                operations: nodes.len(),
                multiply_adds: nodes
                    .iter()
                    .fold(0, |sum, &n| costs.macs[n].saturating_add(sum)),
                weights: weights::of(&part.program, 0).bytes,
                inputs: part.inputs.iter().map(IoFacts::of).collect(),
                outputs: part.outputs.iter().map(IoFacts::of).collect(),
                states: part.states.clone(),
                casts: part.casts.iter().map(CastFacts::of).collect(),
            })
            .collect()
    }

    /// Writes the stages, the manifest and what else is wished to a new folder.
    /// `review` looks at the finished folder before it gets its name; when it
    /// says no, nothing is written.
    fn write(
        &self,
        out: &Path,
        how: &Written<'_>,
        review: impl FnOnce(&Path) -> anyhow::Result<bool>,
    ) -> anyhow::Result<bool> {
        let outcome = create_folder(how.source, out, how.force, PIPELINE_FILE, |folder| {
            self.fill(folder, how)?;
            if review(folder)? {
                Ok(())
            } else {
                Err(Failure::Rejected)
            }
        });
        match outcome {
            Ok(()) => Ok(true),
            Err(Failure::Rejected) => Ok(false),
            Err(Failure::Other(e)) => Err(e),
        }
    }

    /// What the manifest says of a stage, without its files.
    fn record(&self, number: usize, package: String) -> StageRecord {
        let part = &self.parts[number];
        let (units, why) = &self.units[number];
        StageRecord {
            name: name(number),
            package,
            compute_units: *units,
            why: why.clone(),
            inputs: part.inputs.iter().map(input_of).collect(),
            outputs: part.outputs.iter().map(output_of).collect(),
            states: part.states.iter().map(|s| state_of(part, s)).collect(),
            files: Vec::new(),
        }
    }

    /// Writes the packages, several at once: copying and digesting keep one
    /// processor each busy. What the manifest says of them, in order.
    fn fill_stages(&self, folder: &Path) -> anyhow::Result<Vec<StageRecord>> {
        let progress = Progress::new("writing stages", self.parts.len());
        let parts = self.parts.par_iter().enumerate().with_max_len(1);
        let written = parts.map(|(number, part)| {
            let mut record = self.record(number, format!("{}.mlpackage", name(number)));
            let options = WriteOptions {
                files: Some(&mut record.files),
                ..WriteOptions::default()
            };
            let path = folder.join(&record.package);
            self.model
                .save_as(&part.program, &part.spec, &path, options)?;
            progress.step();
            Ok(record)
        });
        written.collect()
    }

    fn fill(&self, folder: &Path, how: &Written<'_>) -> anyhow::Result<()> {
        let records = self.fill_stages(folder)?;
        let model = how.source.file_name().unwrap_or_default();
        let manifest = PipelineManifest {
            schema: PIPELINE_SCHEMA.to_owned(),
            model: model.to_string_lossy().into_owned(),
            function: how.function.to_owned(),
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
            stages: records,
        };
        manifest.save(&folder.join(PIPELINE_FILE), false)?;
        if how.pipeline {
            let whole = folder.join("pipeline.mlpackage");
            PipelineFolder::open(folder)?.save_package(&whole, WriteOptions::default())?;
        }
        for loader in how.loaders {
            let (file, text) = match loader {
                Loader::Swift => ("Pipeline.swift", loader::swift(&manifest)),
                Loader::Python => ("pipeline.py", loader::python(&manifest)),
            };
            let path = folder.join(file);
            std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }
}

/// Why stages are not written.
enum Failure {
    /// The review said no.
    Rejected,
    Other(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(e: E) -> Self {
        Failure::Other(e.into())
    }
}

/// Runs the stages of a finished folder and the model they were cut from on
/// the same inputs; every bit must agree.
fn compare(
    folder: &Path,
    shown: &Path,
    whole: &Executable,
    function: &str,
    inputs: &InputOptions,
) -> anyhow::Result<Comparison> {
    let stages = PipelineFolder::open(folder)?;
    let stages = Executable::from_stages(stages, &shown.display().to_string())?;
    Models {
        model: &stages,
        reference: whole,
        function: stages.function(None)?,
        reference_function: function,
        precision: PrecisionOption::Fp32,
        tolerance: Tolerance::from_options(Some(0.0), Some(0.0)),
    }
    .run(inputs, false)
}

fn input_of(io: &Io) -> StageInput {
    StageInput {
        name: io.name.clone(),
        ty: io.ty.brief(),
        from: io
            .from
            .map_or(Origin::Caller, |stage| Origin::Stage(name(stage))),
    }
}

fn output_of(io: &Io) -> StageFeature {
    StageFeature {
        name: io.name.clone(),
        ty: io.ty.brief(),
    }
}

fn state_of(part: &Part, state: &str) -> StageFeature {
    let program = &part.program;
    let mut inputs = program.functions.iter().flat_map(|f| &f.inputs);
    let value = inputs.find(|&&v| program.values[v].name == state);
    StageFeature {
        name: state.to_owned(),
        ty: value.map_or_else(String::new, |&v| program.values[v].ty.brief()),
    }
}
