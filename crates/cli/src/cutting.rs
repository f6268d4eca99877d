//! Stages of a cut model: the options, and how they are written. Shared by the
//! commands that cut.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use milwright_ir::features::{Description, Signature};
use milwright_ir::{Function, Model};
use milwright_passes::cut::{Costs, Graph, Plan, Renames, SeamTypes, correspond};
use milwright_verify::Executable;
use milwright_verify::report::Report as Comparison;

use crate::Outcome;
use crate::error;
use crate::steps::InputOptions;

pub(crate) use facts::{
    CastFacts, CutReport, IoFacts, StageFacts, count, show, show_end, show_functions, show_kept,
    show_seams,
};
pub(crate) use stages::Stages;

use facts::seams;
use stages::{Written, compare};

mod facts;
mod stages;

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
    /// before. `places` says how those of each function beside the first were
    /// found.
    pub(crate) fn write(
        &self,
        source: &Path,
        cuts: &[Cut<'_, '_>],
        stages: &Stages<'_>,
        places: Vec<String>,
    ) -> anyhow::Result<CutReport> {
        let (ok, verify) = self.write_stages(source, stages)?;
        let mut verify = verify.into_iter();
        let mut report = CutReport {
            ok,
            model: source.display().to_string(),
            output: self.output.as_ref().map(|o| o.display().to_string()),
            function: cuts.first().map_or("", |c| c.subject.name()).to_owned(),
            stages: stages.facts(),
            seams: cuts.first().map(seams).unwrap_or_default(),
            functions: stages.other_facts(cuts, places),
            verify: verify.next(),
        };
        for (function, verify) in report.functions.iter_mut().zip(verify) {
            function.verify = Some(verify);
        }
        Ok(report)
    }

    /// Whether the stages were written, and what the comparison of each
    /// function found.
    fn write_stages(
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
