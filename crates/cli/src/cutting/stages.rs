//! The stages of a cut model, and how they are written.

use std::path::Path;

use anyhow::{Context, anyhow};
use milwright_ir::{Model, Program};
use milwright_package::{
    ComputeUnits, FunctionRecord, Origin, PIPELINE_FILE, PIPELINE_SCHEMA, PipelineFolder,
    PipelineManifest, Spec, StageEnds, StageFeature, StageInput, StageRecord, WriteOptions,
    create_folder,
};
use milwright_passes::cut::{Io, Part, Together};
use milwright_verify::Executable;
use milwright_verify::metrics::Tolerance;
use milwright_verify::report::Report as Comparison;
use rayon::prelude::*;

use super::facts::{CastFacts, EndFacts, FunctionFacts, IoFacts, StageFacts, seams};
use super::{Cut, Loader, name};
use crate::comparison::Models;
use crate::loader;
use crate::progress::Progress;
use crate::steps::{InputOptions, PrecisionOption};
use crate::weights;

/// The stages of a model, ready to be written.
pub(crate) struct Stages<'m> {
    model: &'m Model,
    /// The functions that are cut, the one that runs by itself first.
    pub(super) functions: Vec<CutFunction>,
    units: Vec<(ComputeUnits, Vec<String>)>,
    /// The stages of several functions; none for one.
    together: Vec<Together>,
}

/// A function that was cut.
pub(super) struct CutFunction {
    pub(super) name: String,
    parts: Vec<Part>,
    nodes: Vec<Vec<usize>>,
    /// Multiply-adds of each part.
    macs: Vec<u64>,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

/// How stages are written.
pub(super) struct Written<'o> {
    pub(super) source: &'o Path,
    pub(super) force: bool,
    pub(super) pipeline: bool,
    pub(super) loaders: &'o [Loader],
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
            .into_par_iter()
            .map(|stage| Part::new(subject.model, graph, plan, stage, renames, &subject.types));
        let parts = in_order(parts)?;
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

    /// What reports say of the functions beside the first.
    pub(super) fn other_facts(
        &self,
        cuts: &[Cut<'_, '_>],
        places: Vec<String>,
    ) -> Vec<FunctionFacts> {
        let others = self.functions.iter().zip(cuts).skip(1).zip(places);
        others
            .map(|((function, cut), places)| FunctionFacts {
                name: function.name.clone(),
                places,
                seams: seams(cut),
                stages: function.facts(),
                verify: None,
            })
            .collect()
    }

    /// Writes the stages, the manifest and what else is wished to a new folder.
    /// `review` looks at the finished folder before it gets its name; when it
    /// says no, nothing is written.
    pub(super) fn write(
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
        in_order(written)
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

/// Runs all of them; of several errors, the first in their order, whichever
/// came first in time.
fn in_order<T: Send, E: Send>(
    all: impl IndexedParallelIterator<Item = Result<T, E>>,
) -> Result<Vec<T>, E> {
    let all: Vec<Result<T, E>> = all.collect();
    all.into_iter().collect()
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
pub(super) fn compare(
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
