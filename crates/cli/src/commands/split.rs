//! `milwright split`: a model cut into stages, each for its compute units.

use std::path::PathBuf;

use anyhow::{Context, bail};
use milwright_ir::{DataType, Model, ValueId};
use milwright_package::ComputeUnits;
use milwright_passes::cut::{
    Candidate, Costs, Graph, SeamTypes, beyond_caps, cut_at, find_seams,
};
use milwright_passes::lint::{self, Target};
use milwright_verify::Executable;
use milwright_verify::preflight::{breaks, precision_for, preflight};
use serde::Serialize;

use crate::Outcome;
use crate::comparison::run_options;
use crate::progress::Progress;
use crate::cutting::{
    self, CutOptions, CutReport, Stages, Subject,
};
use crate::steps::{InputOptions, PrecisionOption};
use crate::table::Table;
use crate::terminal::Terminal;
use crate::weights::bytes;

/// Cut a model into stages that the Neural Engine can take and others that it
/// cannot, and say where each should run.
///
/// Without --at the seam is found: operations with a tensor beyond the caps of
/// the Neural Engine, or which fp16 breaks on the inputs given or on random
/// ones, go to stages for CPU and GPU, with as little else as possible. DIR
/// appears complete or not at all; it holds a package for each stage and
/// pipeline.json, which run, verify, lint and inspect take like a model.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The model to read.
    model: PathBuf,

    /// Cut at these values. Several that cross together are one seam; one that
    /// is used up before another is computed is a seam before it.
    #[arg(long, value_name = "VALUE,...", value_delimiter = ',')]
    at: Vec<String>,

    /// The device whose caps hold: any, or a chip or phone that `milwright
    /// lint` knows.
    #[arg(long, value_name = "DEVICE", default_value = "any", value_parser = target)]
    target: Target,

    #[command(flatten)]
    cut: CutOptions,
}

pub(crate) fn target(name: &str) -> Result<Target, String> {
    Target::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Target::all().map(Target::name).collect();
        format!("there is {}", names.join(", "))
    })
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    #[serde(flatten)]
    cut: CutReport,
    target: &'static str,
    /// Seed of the random inputs on which fp16 was tried.
    seed: Option<u64>,
    /// Operations that cannot be on the Neural Engine, in program order.
    barred: Vec<Barred>,
    /// The ways that were considered, the chosen one first; none with --at.
    candidates: Vec<CandidateReport>,
}

#[derive(Debug, Serialize)]
struct Barred {
    op: String,
    why: Vec<String>,
}

#[derive(Debug, Serialize)]
struct CandidateReport {
    /// `cpuAndGPU` or `cpuAndNeuralEngine` for each stage.
    units: Vec<ComputeUnits>,
    values: Vec<String>,
    /// Share of the multiply-adds in stages for the Neural Engine.
    neural_engine: f64,
    bytes: u64,
    /// Operations in those stages that lint expects to leave them.
    flagged: u64,
    /// Operations in the other stages.
    outside: usize,
    /// Why it was chosen or not.
    verdict: String,
}

pub(crate) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    let model = Model::open(&options.model)?;
    let executable = Executable::open(&options.model)?;
    let mut subjects = options.cut.subjects(&model)?;
    let Some((first, others)) = subjects.split_first_mut() else {
        bail!("{} has no function", options.model.display());
    };
    let (reasons, seed) = weigh(first, &executable, &options, &options.cut.inputs)?;
    let mut candidates = Vec::new();
    let (graph, costs) = (&first.graph, &first.costs);
    let labels = if options.at.is_empty() {
        let first = (0..graph.nodes.len()).flat_map(|n| reasons.of(n).cloned());
        let first: Vec<String> = first.take(3).collect();
        let Some(choice) = find_seams(graph, costs, &first)? else {
            bail!(
                "nothing needs to be cut: no tensor is beyond what the Neural Engine takes (target \
                 {}) and fp16 breaks no operation on these inputs; to cut anyway, say where: --at \
                 VALUE; to see what else may keep the model off the Neural Engine: milwright lint",
                options.target
            );
        };
        candidates = show_candidates(graph, &choice);
        choice.best.labels
    } else {
        cut_at(graph, &options.at)?
    };
    let mut all = vec![labels];
    let mut weighed = vec![reasons];
    for other in others {
        let random = options.cut.inputs.random_only();
        weighed.push(weigh(other, &executable, &options, &random)?.0);
        all.push(places_like(&options, other, first, &all[0])?);
    }
    let cuts = options.cut.cuts(&subjects, &all)?;
    let stages = Stages::new(&model, &cuts, |stage| {
        // Where one function cannot be, the stage cannot.
        let units = cuts.iter().zip(&weighed).map(|(cut, reasons)| {
            let Subject { graph, costs, .. } = cut.subject;
            units_of(graph, &cut.plan.stages[stage].nodes, reasons, costs)
        });
        let mut units: Vec<_> = units.collect();
        let barred = units.iter().position(|(u, _)| *u == ComputeUnits::CpuAndGpu);
        units.swap_remove(barred.unwrap_or(0))
    })?;
    let Some(cut) = cuts.first() else {
        bail!("{} has no function", options.model.display());
    };
    let places = format!("cut where `{}` is", cut.subject.name());
    let places = vec![places; cuts.len() - 1];
    let report = Report {
        schema: "milwright-split/1",
        cut: options.cut.write(&options.model, &cuts, &stages, places)?,
        target: options.target.name(),
        seed,
        barred: (cut.subject.graph.nodes.iter().enumerate())
            .map(|(n, &op)| Barred {
                op: model.program().describe_op(op),
                why: weighed[0].of(n).cloned().collect(),
            })
            .filter(|barred| !barred.why.is_empty())
            .collect(),
        candidates,
    };
    if options.cut.json {
        out.json(&report)?;
    } else {
        show(&report, &options, out)?;
    }
    Ok(options.cut.outcome(report.cut.ok))
}

/// Finds what bars operations of a function from the Neural Engine, and what
/// lint says of them; and the seed of random inputs.
fn weigh(
    subject: &mut Subject<'_>,
    executable: &Executable,
    options: &Options,
    inputs: &InputOptions,
) -> anyhow::Result<(Reasons, Option<u64>)> {
    let (broken, seed) = broken_by_fp16(&subject.graph, executable, inputs)?;
    let reasons = Reasons {
        wide: beyond_caps(&subject.graph, &subject.types, &options.target.caps()),
        broken,
    };
    let nodes = 0..subject.graph.nodes.len();
    subject.costs.barred = nodes.map(|n| reasons.of(n).next().is_some()).collect();
    subject.costs.flagged = flagged(&subject.graph, subject.model, &subject.types, options)?;
    Ok((reasons, seed))
}

/// The stage of each node of another function: where the first is cut, or where
/// the values of these names are.
fn places_like(
    options: &Options,
    subject: &Subject<'_>,
    first: &Subject<'_>,
    labels: &[usize],
) -> anyhow::Result<Vec<usize>> {
    if let Some(found) = subject.like(first, labels) {
        return Ok(found);
    }
    let named = cut_at(&subject.graph, &options.at).ok();
    let same = |found: &Vec<usize>| found.iter().max() == labels.iter().max();
    named.filter(same).with_context(|| {
        format!(
            "function `{}` cannot be cut where `{}` is; cut one function only: --function {}",
            subject.name(),
            first.name(),
            first.name()
        )
    })
}

/// Why nodes cannot be on the Neural Engine.
struct Reasons {
    /// A tensor beyond its caps.
    wide: Vec<Option<String>>,
    /// What fp16 does to them.
    broken: Vec<Vec<String>>,
}

impl Reasons {
    fn of(&self, node: usize) -> impl Iterator<Item = &String> {
        self.wide[node].iter().chain(&self.broken[node])
    }
}

/// Runs the function in fp16 beside fp32: what breaks, for each node, and the
/// seed of random inputs.
fn broken_by_fp16(
    graph: &Graph<'_>,
    model: &Executable,
    inputs: &InputOptions,
) -> anyhow::Result<(Vec<Vec<String>>, Option<u64>)> {
    let run_options = run_options(model, PrecisionOption::Fp32, inputs.count());
    let mut runner = model.runner(Some(&graph.function.name), run_options)?;
    let steps = inputs.load(&runner)?;
    let feeds = steps.feeds(&runner)?;
    let stage = runner.single("split")?;
    let precision = precision_for(graph.program, graph.function);
    let progress = Progress::new("running in fp16 and fp32", feeds.len());
    let found = preflight(stage, &feeds, precision, steps.seed, &mut || progress.step())
        .context("trying the model in fp16, to see which operations it breaks")?;
    drop(progress);
    let subject = stage.subject();
    let mut broken = vec![Vec::new(); graph.nodes.len()];
    // Both programs were decoded from the same bytes, so ids agree.
    for found in breaks(subject.program, stage.function(), subject.blobs, &found) {
        if let Some(node) = graph.node(found.op) {
            broken[node].push(found.why);
        }
    }
    Ok((broken, steps.seed))
}

/// Results of at most so many elements are sizes and lengths, which a CPU has
/// at once.
const SMALL: u64 = 64;

/// The rule that fp32 leaves the Neural Engine: no seam changes that.
const PRECISION: &str = "DT01";

/// How many findings of lint say that a node leaves the Neural Engine.
fn flagged(
    graph: &Graph<'_>,
    model: &Model,
    types: &SeamTypes,
    options: &Options,
) -> anyhow::Result<Vec<u32>> {
    let settings = lint::Settings {
        target: options.target,
        function: Some(graph.function.name.clone()),
        ..lint::Settings::default()
    };
    let mut flagged = vec![0u32; graph.nodes.len()];
    for finding in lint::lint(&lint::Input::of(model)?, &settings) {
        let everywhere = finding.rule.ids.contains(&PRECISION);
        if everywhere || finding.rule.effect != lint::Effect::LeavesNeuralEngine {
            continue;
        }
        for op in finding.places.iter().filter_map(|place| place.op_id) {
            if let Some(node) = graph.node(op) {
                flagged[node] += 1;
            }
        }
    }
    for (count, &op) in flagged.iter_mut().zip(&graph.nodes) {
        let outputs = &graph.program.ops[op].outputs;
        let small = |&v: &ValueId| {
            let elements = types.default_type(v).and_then(|t| t.elements());
            elements.is_some_and(|n| n <= SMALL)
        };
        if outputs.iter().all(small) {
            *count = 0;
        }
    }
    Ok(flagged)
}

/// Where a stage should run, and why.
fn units_of(
    graph: &Graph<'_>,
    nodes: &[usize],
    reasons: &Reasons,
    costs: &Costs,
) -> (ComputeUnits, Vec<String>) {
    /// So many operations that fp16 breaks are written down.
    const SHOWN: usize = 5;
    let describe = |n: usize| graph.program.describe_op(graph.nodes[n]);
    let mut why = Vec::new();
    let wide = |&n: &usize| Some((n, reasons.wide[n].as_ref()?));
    let count = nodes.iter().filter_map(wide).count();
    if let Some((n, first)) = nodes.iter().find_map(wide) {
        let more = match count {
            1 => String::new(),
            2 => "; and 1 more operation".to_owned(),
            n => format!("; and {} more operations", n - 1),
        };
        why.push(format!("{}: {first}{more}", describe(n)));
    }
    let broken: Vec<String> = nodes
        .iter()
        .flat_map(|&n| reasons.broken[n].iter().map(move |why| (n, why)))
        .map(|(n, why)| format!("{}: {why}", describe(n)))
        .collect();
    let more = broken.len().saturating_sub(SHOWN);
    why.extend(broken.into_iter().take(SHOWN));
    if more > 0 {
        why.push(format!("fp16 breaks {more} more"));
    }
    if !why.is_empty() {
        return (ComputeUnits::CpuAndGpu, why);
    }
    let sum = |nodes: &mut dyn Iterator<Item = usize>| -> u64 {
        nodes.fold(0, |sum, n| sum.saturating_add(costs.macs[n]))
    };
    let own = sum(&mut nodes.iter().copied());
    let all = sum(&mut (0..graph.nodes.len()));
    why.push(format!(
        "no tensor is beyond what the Neural Engine takes, and fp16 broke no operation on the \
         inputs tried; {:.1} % of the multiply-adds",
        share(own, all) * 100.0
    ));
    let single = nodes.iter().filter(|&&n| is_single(graph, n)).count();
    if single * 2 > nodes.len() {
        why.push(
            "its operations are in fp32, which the Neural Engine does not take: convert it with \
             fp16 as compute precision"
                .to_owned(),
        );
    }
    (ComputeUnits::CpuAndNeuralEngine, why)
}

/// Whether a node computes in fp32.
fn is_single(graph: &Graph<'_>, node: usize) -> bool {
    let outputs = graph.program.ops[graph.nodes[node]].outputs.iter();
    let mut types = outputs.filter_map(|&v| graph.program.values[v].ty.as_tensor());
    types.any(|t| t.dtype == DataType::Float32)
}

fn share(part: u64, all: u64) -> f64 {
    if all == 0 {
        0.0
    } else {
        part as f64 / all as f64
    }
}

/// The ways considered, for people.
fn show_candidates(
    graph: &Graph<'_>,
    choice: &milwright_passes::cut::Choice,
) -> Vec<CandidateReport> {
    /// So many are shown beside the chosen one.
    const SHOWN: usize = 8;
    let best = &choice.best;
    let most = share(choice.most_macs, choice.all_macs) * 100.0;
    let report = |c: &Candidate, verdict: String| CandidateReport {
        units: (c.pattern.iter())
            .map(|&ane| match ane {
                true => ComputeUnits::CpuAndNeuralEngine,
                false => ComputeUnits::CpuAndGpu,
            })
            .collect(),
        values: c.values.iter().map(|&v| graph.name(v).to_owned()).collect(),
        neural_engine: share(c.macs, choice.all_macs),
        bytes: c.bytes,
        flagged: c.flagged,
        outside: c.outside,
        verdict,
    };
    let verdict = |c: &Candidate| {
        let stages = (c.pattern.len(), best.pattern.len());
        if stages.0 > stages.1 {
            "more stages".to_owned()
        } else if u128::from(c.macs) * 100 < u128::from(choice.most_macs) * 99 {
            format!("more than 1 % below the {most:.1} % that the Neural Engine can get")
        } else if c.bytes > best.bytes {
            "more bytes cross".to_owned()
        } else if c.flagged > best.flagged {
            "more operations that lint expects to leave the Neural Engine".to_owned()
        } else {
            "more operations outside of the Neural Engine".to_owned()
        }
    };
    let chosen = format!(
        "chosen: within 1 % of the {most:.1} % of multiply-adds that the Neural Engine can get, \
         the fewest bytes cross"
    );
    std::iter::once(report(best, chosen))
        .chain((choice.others.iter().take(SHOWN)).map(|c| report(c, verdict(c))))
        .collect()
}

fn show(report: &Report, options: &Options, out: &mut Terminal) -> anyhow::Result<()> {
    if !report.candidates.is_empty() && options.cut.dry_run {
        show_table(&report.candidates, out)?;
    }
    cutting::show_seams(&report.cut.seams, out)?;
    cutting::show(&report.cut.stages, out)?;
    cutting::show_functions(&report.cut.functions, out)?;
    cutting::show_end(report.cut.verify.as_ref(), report.cut.output.as_deref(), report.cut.ok, options.cut.dry_run, out)
}

fn show_table(candidates: &[CandidateReport], out: &mut Terminal) -> anyhow::Result<()> {
    /// So many values of a seam are named.
    const NAMED: usize = 4;
    out.heading("considered")?;
    let mut table = Table::new(&[
        "stages", "crossing", ">on Neural Engine", ">bytes", ">flagged", ">ops outside", "",
    ]);
    for c in candidates {
        let letters = c.units.iter().map(|u| match u {
            ComputeUnits::CpuAndNeuralEngine => "ne",
            _ => "gpu",
        });
        let mut values: Vec<&str> = c.values.iter().map(String::as_str).take(NAMED).collect();
        let more = format!("{} more", c.values.len().saturating_sub(NAMED));
        if c.values.len() > NAMED {
            values.push(&more);
        }
        table.row([
            letters.collect::<Vec<_>>().join(" > "),
            values.join(", "),
            format!("{:.1} %", c.neural_engine * 100.0),
            bytes(c.bytes),
            c.flagged.to_string(),
            c.outside.to_string(),
            c.verdict.clone(),
        ]);
    }
    table.write(out)
}
