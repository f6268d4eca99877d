//! Stages of a cut model: the options, and how they are written. Shared by the
//! commands that cut.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use milwright_ir::features::{Description, Signature};
use milwright_ir::{Function, Model, Program};
use milwright_package::{
    ComputeUnits, FunctionRecord, Origin, PIPELINE_FILE, PIPELINE_SCHEMA, PipelineFolder,
    PipelineManifest, Spec, StageEnds, StageFeature, StageInput, StageRecord, WriteOptions,
    create_folder,
};
use milwright_passes::cut::{
    Costs, Graph, Io, Part, Plan, Renames, SeamTypes, Together, correspond,
};
use milwright_verify::Executable;
use milwright_verify::metrics::Tolerance;
use milwright_verify::report::Report as Comparison;
use rayon::prelude::*;

use crate::Outcome;
use crate::comparison::Models;
use crate::error;
use crate::loader;
use crate::progress::Progress;
use crate::steps::{InputOptions, PrecisionOption};
use crate::weights;

pub(crate) use facts::{
    CastFacts, EndFacts, FunctionFacts, IoFacts, SeamReport, StageFacts, count, seams, show,
    show_end, show_functions, show_kept, show_seams,
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

    /// Cut this function only [default: all, at corresponding places].
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
    /// The functions to cut; the first is the one that was named, or that runs
    /// when the host names none.
    pub(crate) fn subjects<'m>(&self, model: &'m Model) -> anyhow::Result<Vec<Subject<'m>>> {
        let description = Description::from_proto(&model.spec().description()?);
        let program = model.program();
        let mut functions: Vec<&Function> = match &self.function {
            Some(name) => vec![program.function(Some(name))?],
            None => program.functions.iter().collect(),
        };
        functions.sort_by_key(|f| f.name != description.default_function);
        let subjects = functions.into_iter();
        subjects
            .map(|f| Subject::new(model, f, description.signature(&f.name)))
            .collect()
    }

    /// How the command ends, when the stages were written or not.
    pub(crate) fn outcome(&self, written: bool) -> Outcome {
        match written || self.dry_run {
            true => Outcome::Clean,
            false => Outcome::Findings,
        }
    }

    /// The plan of a function with the names that were asked for: those of
    /// values that cross there.
    fn cut<'s, 'm>(
        &self,
        subject: &'s Subject<'m>,
        labels: &[usize],
    ) -> anyhow::Result<Cut<'s, 'm>> {
        let plan = Plan::new(&subject.graph, labels)?;
        let crosses = |name: &str| {
            let mut crossing = plan.seams.iter().flat_map(|s| &s.values);
            crossing.any(|&v| subject.graph.name(v) == name)
        };
        let mut pairs = self.names()?;
        pairs.retain(|(value, _)| crosses(value));
        let renames = Renames::new(&subject.graph, &plan, &pairs)?;
        Ok(Cut {
            subject,
            plan,
            renames,
        })
    }

    /// The plans of all functions.
    pub(crate) fn cuts<'s, 'm>(
        &self,
        subjects: &'s [Subject<'m>],
        labels: &[Vec<usize>],
    ) -> anyhow::Result<Vec<Cut<'s, 'm>>> {
        let cuts = subjects.iter().zip(labels).map(|(s, l)| self.cut(s, l));
        let cuts = cuts.collect::<Result<Vec<_>, _>>()?;
        for pair in self.names()? {
            let crosses = |cut: &Cut<'_, '_>| {
                let mut crossing = cut.plan.seams.iter().flat_map(|s| &s.values);
                crossing.any(|&v| cut.subject.graph.name(v) == pair.0)
            };
            if !cuts.iter().any(crosses)
                && let Some(cut) = cuts.first()
            {
                // Says what is wrong with it.
                Renames::new(&cut.subject.graph, &cut.plan, &[pair])?;
            }
        }
        Ok(cuts)
    }

    /// Reads `VALUE=FEATURE`.
    fn names(&self) -> anyhow::Result<Vec<(String, String)>> {
        let pair = |text: &String| {
            let (value, feature) = text
                .split_once('=')
                .with_context(|| format!("--name {text}: write it as VALUE=FEATURE"))?;
            Ok((value.to_owned(), feature.to_owned()))
        };
        self.name.iter().map(pair).collect()
    }

    /// Writes stages, if that is wished, and compares them with the model
    /// before; says whether they were written, and what the comparison of each
    /// function found.
    pub(crate) fn write(
        &self,
        source: &Path,
        stages: &Stages<'_>,
    ) -> anyhow::Result<(bool, Vec<Comparison>)> {
        let (false, Some(output)) = (self.dry_run, &self.output) else {
            return Ok((false, Vec::new()));
        };
        error::note_unfinished(output);
        let how = Written {
            source,
            force: self.force,
            pipeline: self.pipeline,
            loaders: &self.loader,
        };
        let mut comparisons = Vec::new();
        let written = stages.write(output, &how, |folder| {
            if !self.verify {
                return Ok(true);
            }
            let whole = Executable::open(source)?;
            for (number, function) in stages.functions.iter().enumerate() {
                // What is given belongs to the first one.
                let random = self.inputs.random_only();
                let inputs = if number == 0 { &self.inputs } else { &random };
                let compared = compare(folder, output, &whole, &function.name, inputs)?;
                comparisons.push(compared);
            }
            Ok(comparisons.iter().all(|c| c.ok))
        })?;
        Ok((written, comparisons))
    }
}

/// A function that is to be cut, and what is known of it.
pub(crate) struct Subject<'m> {
    pub(crate) model: &'m Model,
    pub(crate) graph: Graph<'m>,
    pub(crate) types: SeamTypes,
    pub(crate) costs: Costs,
    /// Edges that cannot cross a seam.
    pub(crate) whole: Vec<bool>,
}

impl<'m> Subject<'m> {
    fn new(
        model: &'m Model,
        function: &'m Function,
        signature: Option<&Signature>,
    ) -> anyhow::Result<Self> {
        let graph = Graph::new(model.program(), function)?;
        let types = SeamTypes::new(model.program(), function, model, signature)?;
        Ok(Subject {
            model,
            costs: Costs::new(&graph, &types, model),
            whole: types.uncrossable(&graph, signature, model.spec().version()),
            graph,
            types,
        })
    }

    pub(crate) fn name(&self) -> &'m str {
        &self.graph.function.name
    }

    /// The stage of each node when this function is cut where another one is;
    /// `None` when that cannot be.
    pub(crate) fn like(&self, leader: &Subject<'_>, labels: &[usize]) -> Option<Vec<usize>> {
        correspond(&leader.graph, labels, &self.graph, &self.costs, &self.whole)
    }
}

/// A function with the places where it is cut.
pub(crate) struct Cut<'s, 'm> {
    pub(crate) subject: &'s Subject<'m>,
    pub(crate) plan: Plan,
    pub(crate) renames: Renames,
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
    /// The functions that are cut, the one that runs by itself first.
    functions: Vec<CutFunction>,
    units: Vec<(ComputeUnits, Vec<String>)>,
    /// The stages of several functions; none for one.
    together: Vec<Together>,
}

/// A function that was cut.
struct CutFunction {
    name: String,
    parts: Vec<Part>,
    nodes: Vec<Vec<usize>>,
    /// Multiply-adds of each part.
    macs: Vec<u64>,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

/// How stages are written.
struct Written<'o> {
    source: &'o Path,
    force: bool,
    pipeline: bool,
    loaders: &'o [Loader],
}

impl CutFunction {
    fn new(cut: &Cut<'_, '_>) -> anyhow::Result<Self> {
        let Cut {
            subject,
            plan,
            renames,
        } = cut;
        let graph = &subject.graph;
        let parts = (0..plan.stages.len())
            .map(|stage| Part::new(subject.model, graph, plan, stage, renames, &subject.types))
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
        let macs = |nodes: &Vec<usize>| {
            let each = nodes.iter().map(|&n| subject.costs.macs[n]);
            each.fold(0, u64::saturating_add)
        };
        Ok(CutFunction {
            name: subject.name().to_owned(),
            macs: plan.stages.iter().map(|s| macs(&s.nodes)).collect(),
            nodes: plan.stages.iter().map(|s| s.nodes.clone()).collect(),
            parts,
            inputs,
            outputs: outputs.map(|&v| graph.name(v).to_owned()).collect(),
        })
    }

    /// What each stage takes and gives in this function.
    fn ends(&self) -> Vec<StageEnds> {
        let ends = |part: &Part| StageEnds {
            inputs: part.inputs.iter().map(input_of).collect(),
            outputs: part.outputs.iter().map(output_of).collect(),
            states: part.states.iter().map(|s| state_of(part, s)).collect(),
        };
        self.parts.iter().map(ends).collect()
    }

    /// What reports say of its stages.
    fn facts(&self) -> Vec<EndFacts> {
        let parts = self.parts.iter().enumerate();
        let facts = parts.map(|(number, part)| EndFacts {
            name: name(number),
            operations: self.nodes[number].len(),
            multiply_adds: self.macs[number],
            inputs: part.inputs.iter().map(IoFacts::of).collect(),
            outputs: part.outputs.iter().map(IoFacts::of).collect(),
            states: part.states.clone(),
            casts: part.casts.iter().map(CastFacts::of).collect(),
        });
        facts.collect()
    }
}

impl<'m> Stages<'m> {
    /// Makes a model of each stage; `units` says where it should run, and why.
    /// All functions have as many stages.
    pub(crate) fn new(
        model: &'m Model,
        cuts: &[Cut<'_, '_>],
        units: impl Fn(usize) -> (ComputeUnits, Vec<String>),
    ) -> anyhow::Result<Self> {
        let functions = cuts.iter().map(CutFunction::new);
        let functions = functions.collect::<Result<Vec<_>, _>>()?;
        let count = functions.first().map_or(0, |f| f.parts.len());
        let mut together = Vec::new();
        if functions.len() > 1 {
            for stage in 0..count {
                let parts = functions.iter().map(|f| match f.parts.get(stage) {
                    Some(part) => Ok((f.name.as_str(), part)),
                    None => Err(anyhow!("function `{}` has fewer stages", f.name)),
                });
                let parts = parts.collect::<Result<Vec<_>, _>>()?;
                together.push(Together::new(model, &parts)?);
            }
        }
        Ok(Stages {
            model,
            functions,
            units: (0..count).map(units).collect(),
            together,
        })
    }

    /// The program of a stage, and what stands around it.
    fn model_of(&self, stage: usize) -> Option<(&Program, &Spec)> {
        match self.together.get(stage) {
            Some(together) => Some((&together.program, &together.spec)),
            None => {
                let part = self.functions.first()?.parts.get(stage)?;
                Some((&part.program, &part.spec))
            }
        }
    }

    /// What reports say of them, by the first function.
    pub(crate) fn facts(&self) -> Vec<StageFacts> {
        let ends = self.functions.first().map(CutFunction::facts);
        let stages = ends.into_iter().flatten().zip(&self.units);
        stages
            .enumerate()
            .map(|(stage, (ends, (units, why)))| {
                let program = self.model_of(stage);
                StageFacts {
                    compute_units: *units,
                    why: why.clone(),
                    weights: program.map_or(0, |(p, _)| weights::of(p, 0).bytes),
                    ends,
                }
            })
            .collect()
    }

    /// What reports say of the other functions: name, and what goes in and out
    /// of each stage.
    pub(crate) fn other_facts(&self) -> Vec<(String, Vec<EndFacts>)> {
        let others = self.functions.iter().skip(1);
        others.map(|f| (f.name.clone(), f.facts())).collect()
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
            self.fill(folder, out, how)?;
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
    fn record(&self, number: usize, package: String, ends: StageEnds) -> StageRecord {
        let (units, why) = &self.units[number];
        StageRecord {
            name: name(number),
            package,
            compute_units: *units,
            why: why.clone(),
            inputs: ends.inputs,
            outputs: ends.outputs,
            states: ends.states,
            files: Vec::new(),
        }
    }

    /// Writes the packages, several at once: copying and digesting keep one
    /// processor each busy. What the manifest says of them, in order.
    fn fill_stages(
        &self,
        folder: &Path,
        shown: &Path,
        ends: Vec<StageEnds>,
    ) -> anyhow::Result<Vec<StageRecord>> {
        let progress = Progress::new("writing stages", ends.len());
        let stages = ends.into_par_iter().enumerate().with_max_len(1);
        let written = stages.map(|(number, ends)| {
            let mut record = self.record(number, format!("{}.mlpackage", name(number)), ends);
            let path = folder.join(&record.package);
            let options = WriteOptions {
                files: Some(&mut record.files),
                shown: Some(&shown.join(&record.package)),
                ..WriteOptions::default()
            };
            let (program, spec) = self.model_of(number).context("a stage is missing")?;
            self.model.save_as(program, spec, &path, options)?;
            progress.step();
            Ok(record)
        });
        written.collect()
    }

    fn fill(&self, folder: &Path, shown: &Path, how: &Written<'_>) -> anyhow::Result<()> {
        let functions = self.functions.split_first();
        let (first, others) = functions.context("there is nothing to cut")?;
        let records = self.fill_stages(folder, shown, first.ends())?;
        let model = how.source.file_name().unwrap_or_default();
        let manifest = PipelineManifest {
            schema: PIPELINE_SCHEMA.to_owned(),
            model: model.to_string_lossy().into_owned(),
            function: first.name.clone(),
            inputs: first.inputs.clone(),
            outputs: first.outputs.clone(),
            stages: records,
            functions: others
                .iter()
                .map(|f| FunctionRecord {
                    name: f.name.clone(),
                    inputs: f.inputs.clone(),
                    outputs: f.outputs.clone(),
                    stages: f.ends(),
                })
                .collect(),
        };
        manifest.save(&folder.join(PIPELINE_FILE), false)?;
        if how.pipeline {
            let whole = folder.join("pipeline.mlpackage");
            let options = WriteOptions {
                shown: Some(&shown.join("pipeline.mlpackage")),
                ..WriteOptions::default()
            };
            PipelineFolder::open(folder)?.save_package(&whole, options)?;
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
        function: stages.function(Some(function))?,
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
