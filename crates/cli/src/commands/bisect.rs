//! `milwright bisect`: a model cut into parts of about the same size.

use std::path::PathBuf;

use anyhow::{Context, bail};
use milwright_ir::Model;
use milwright_package::ComputeUnits;
use milwright_passes::cut::{Balanced, Graph, Loads, Wish, balance, copies, cut_at, embedding, head};
use milwright_passes::{Left, PassReport, Pipeline, Rewritten, RunOptions};
use serde::Serialize;

use crate::Outcome;
use crate::cutting::{
    self, CutOptions, CutReport, StageFacts, Stages, Subject,
};
use crate::table::Table;
use crate::terminal::Terminal;
use crate::weights::bytes;

/// Cut a model into parts that run one after the other, for devices that do not
/// take it whole.
///
/// The largest part is made as small as possible, but for --slack; then as few
/// bytes as possible cross from part to part, and seams are between repeated
/// blocks. States stay whole, outputs leave from the part that computes them,
/// and a weight that several parts use is in each of them, which is reported.
/// DIR appears complete or not at all; it holds a package for each part and
/// pipeline.json, which run, verify, lint and inspect take like a model.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("how").required(true).multiple(true)))]
pub(crate) struct Options {
    /// The model to read.
    model: PathBuf,

    /// Cut into N parts.
    #[arg(long, value_name = "N", group = "how", value_parser = clap::value_parser!(u16).range(2..=999))]
    parts: Option<u16>,

    /// The weights of each part are at most so large; with the fewest parts,
    /// when --parts is not given. Units are B, kB, MB, GB (of 1000) and KiB,
    /// MiB, GiB.
    #[arg(long, value_name = "SIZE", group = "how", value_parser = size)]
    max_size: Option<u64>,

    /// Cut at these values. Several that cross together are one seam; one that
    /// is used up before another is computed is a seam before it.
    #[arg(
        long,
        value_name = "VALUE,...",
        value_delimiter = ',',
        group = "how",
        conflicts_with_all = ["parts", "max_size", "separate", "balance", "slack"]
    )]
    at: Vec<String>,

    /// What all parts have about as much of.
    #[arg(long, value_enum, default_value = "weights")]
    balance: Measure,

    /// The largest part may be so many percent larger than it has to be.
    #[arg(long, value_name = "PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u64).range(..=100))]
    slack: u64,

    /// Make the embedding the first part, or the head the last one, without
    /// anything else that has weights.
    #[arg(long, value_enum, value_name = "END,...", value_delimiter = ',')]
    separate: Vec<End>,

    /// First divide products with more output channels than that, such as a
    /// vocabulary head, into slices that different parts can have (the pass
    /// `split-wide`).
    #[arg(long, value_name = "CHANNELS", num_args = 0..=1, default_missing_value = "16384", value_parser = clap::value_parser!(u64).range(1..))]
    split_linear: Option<u64>,

    /// What becomes of a weight that several operations use, such as the table
    /// of a tied embedding and head.
    #[arg(long, value_enum, default_value = "copy")]
    tied: Tied,

    /// With --tied owner, weights from this size on have one owner.
    #[arg(long, value_name = "SIZE", default_value = "1MB", value_parser = size)]
    tied_from: u64,

    #[command(flatten)]
    cut: CutOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Tied {
    /// Each part that uses it has a copy, which is reported.
    Copy,
    /// All that use it are in one part.
    Owner,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Measure {
    /// Bytes of weights, as they are stored.
    Weights,
    /// Multiply-adds at the default shapes.
    Macs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum End {
    /// The operation that takes rows from the largest table.
    Embedding,
    /// The last product with a weight.
    Head,
}

/// Reads a size such as `950MB`.
fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 8] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("B", 1),
        ("", 1),
    ];
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text[digits.len()..].trim();
    let factor = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
    let number: Option<f64> = digits.trim().parse().ok();
    let bytes = match (number, factor) {
        (Some(n), Some((_, factor))) => n * *factor as f64,
        _ => return Err("write it like 950MB or 1.5GiB".to_owned()),
    };
    if (1.0..9e15).contains(&bytes) {
        Ok(bytes as u64)
    } else {
        Err("it must be at least one byte, and less than 9 PB".to_owned())
    }
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    #[serde(flatten)]
    cut: CutReport,
    /// The limit of --max-size.
    limit: Option<u64>,
    /// How the places were chosen; none with --at.
    choice: Option<ChoiceReport>,
    /// Products that --split-linear divided.
    divided: Vec<Rewritten>,
    /// Products that --split-linear should have divided, and why it did not.
    left_whole: Vec<Left>,
    /// Bytes of weights of the whole.
    weights: u64,
    /// Weights that several parts have.
    copies: Vec<CopyReport>,
}

#[derive(Debug, Serialize)]
struct ChoiceReport {
    balance: Measure,
    /// What each part has of it.
    loads: Vec<u64>,
    /// How small the largest part could be, ends that are separate aside.
    least: u64,
    /// For each seam, whether it is between repeated blocks.
    between_blocks: Vec<bool>,
    /// Whether every way to cut was compared, or the likely ones.
    all_compared: bool,
}

#[derive(Debug, Serialize)]
struct CopyReport {
    weight: String,
    bytes: u64,
    stages: Vec<String>,
}

pub(crate) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    let mut model = Model::open(&options.model)?;
    let divided = match options.split_linear {
        Some(limit) => divide(&mut model, limit)?,
        None => PassReport::default(),
    };
    let mut subjects = options.cut.subjects(&model)?;
    if options.tied == Tied::Owner {
        for subject in &mut subjects {
            tie(&mut subject.graph, options.tied_from);
        }
    }
    let Some((first, others)) = subjects.split_first() else {
        bail!("{} has no function", options.model.display());
    };
    let weights = Loads::weights(&first.graph);
    let (labels, choice) = places(&options, first, &weights)?;
    let parts = labels.iter().max().map_or(1, |last| last + 1);
    let mut all = vec![labels];
    let mut how = Vec::new();
    for other in others {
        let (labels, found) = places_like(&options, other, first, &all[0], parts)?;
        all.push(labels);
        how.push(found);
    }
    let cuts = options.cut.cuts(&subjects, &all)?;
    let stages = Stages::new(&model, &cuts, |_| {
        let why = format!("one of {parts} parts of a model that was cut for its size");
        (ComputeUnits::All, vec![why])
    })?;
    check_sizes(&options, &stages.facts(), others.is_empty())?;
    let report = Report {
        schema: "milwright-bisect/1",
        cut: options.cut.write(&options.model, &cuts, &stages, how)?,
        limit: options.max_size,
        choice,
        divided: divided.rewritten,
        left_whole: divided.left,
        weights: weights.total(),
        copies: copies(&weights, &all[0])
            .into_iter()
            .map(|copy| CopyReport {
                weight: copy.name,
                bytes: copy.bytes,
                stages: copy.parts.into_iter().map(cutting::name).collect(),
            })
            .collect(),
    };
    if options.cut.json {
        out.json(&report)?;
    } else {
        show(&report, &options, out)?;
    }
    Ok(options.cut.outcome(report.cut.ok))
}

/// Keeps together what uses a weight of at least so many bytes.
fn tie(graph: &mut Graph<'_>, from: u64) {
    for shared in Loads::weights(graph).shared {
        if shared.bytes >= from {
            let why = format!(
                "they use the weight `{}` ({}), which --tied owner keeps in one part",
                shared.name,
                bytes(shared.bytes)
            );
            graph.tied.push((shared.nodes, why));
        }
    }
}

/// The part of each node of a function, and how that was chosen.
fn places(
    options: &Options,
    subject: &Subject<'_>,
    weights: &Loads,
) -> anyhow::Result<(Vec<usize>, Option<ChoiceReport>)> {
    if !options.at.is_empty() {
        return Ok((cut_at(&subject.graph, &options.at)?, None));
    }
    let parts = options.parts.map(usize::from);
    let found = choose(options, subject, weights, parts, options.max_size)?;
    if found.loads.len() < 2 {
        bail!(
            "nothing needs to be cut: all weights together are {}; to cut anyway, say into \
             how many parts: --parts N",
            bytes(weights.total())
        );
    }
    let choice = ChoiceReport {
        balance: options.balance,
        loads: found.loads,
        least: found.least,
        between_blocks: found.between_blocks,
        all_compared: found.all_compared,
    };
    Ok((found.labels, Some(choice)))
}

/// The part of each node of another function, and how that was found.
fn places_like(
    options: &Options,
    subject: &Subject<'_>,
    first: &Subject<'_>,
    labels: &[usize],
    parts: usize,
) -> anyhow::Result<(Vec<usize>, String)> {
    if let Some(labels) = subject.like(first, labels) {
        let how = format!(
            "cut where `{}` is: what reads the same weights is in the same part",
            first.name()
        );
        return Ok((labels, how));
    }
    let own = if options.at.is_empty() {
        let weights = Loads::weights(&subject.graph);
        let found = choose(options, subject, &weights, Some(parts), options.max_size);
        found.map(|found| found.labels)
    } else {
        cut_at(&subject.graph, &options.at).map_err(anyhow::Error::from)
    };
    let own = own.with_context(|| {
        format!(
            "function `{}` cannot be cut where `{}` is, and not by itself; cut one function only: \
             --function {}",
            subject.name(),
            first.name(),
            first.name()
        )
    })?;
    let found = own.iter().max().map_or(1, |last| last + 1);
    if found != parts {
        bail!(
            "function `{}` would be cut into {found} parts, and `{}` into {parts}; cut one \
             function only: --function {}",
            subject.name(),
            first.name(),
            first.name()
        );
    }
    let how = format!(
        "cut by its own plan: it cannot be cut where `{}` is, so a weight that both use may be in \
         several parts",
        first.name()
    );
    Ok((own, how))
}

/// With several functions, a part has what all of them need.
fn check_sizes(options: &Options, stages: &[StageFacts], alone: bool) -> anyhow::Result<()> {
    let (Some(limit), false) = (options.max_size, alone) else {
        return Ok(());
    };
    match stages.iter().find(|s| s.weights > limit) {
        Some(stage) => bail!(
            "{} would have {} of weights with all functions, and a part may have {}; cut into \
             more parts, or one function only: --function",
            stage.ends.name,
            bytes(stage.weights),
            bytes(limit)
        ),
        None => Ok(()),
    }
}

/// Divides products with more channels than that.
fn divide(model: &mut Model, limit: u64) -> anyhow::Result<PassReport> {
    let pipeline = Pipeline::parse(&format!("split-wide{{limit={limit}}}"))?;
    let (program, package) = model.parts_mut();
    let report = pipeline.run(program, package, &RunOptions::default())?;
    let first = report.steps.into_iter().next();
    Ok(first.map_or_else(PassReport::default, |step| step.result))
}

/// Where to cut.
fn choose(
    options: &Options,
    subject: &Subject<'_>,
    weights: &Loads,
    parts: Option<usize>,
    limit: Option<u64>,
) -> anyhow::Result<Balanced> {
    let (graph, costs) = (&subject.graph, &subject.costs);
    let macs = Loads::multiply_adds(costs);
    let apart = |end: End, nodes: Vec<usize>, missing: &str| -> anyhow::Result<Option<_>> {
        if !options.separate.contains(&end) {
            return Ok(None);
        }
        if nodes.is_empty() {
            bail!("--separate: {missing}");
        }
        Ok(Some(nodes))
    };
    let first = apart(
        End::Embedding,
        embedding(graph, weights),
        "there is no embedding: nothing gathers from a weight",
    )?;
    let last = apart(
        End::Head,
        head(graph, weights),
        "there is no head: nothing multiplies by a weight",
    )?;
    Ok(balance(
        graph,
        costs,
        &Wish {
            parts,
            limit,
            balance: match options.balance {
                Measure::Weights => weights,
                Measure::Macs => &macs,
            },
            weights,
            slack: options.slack,
            whole: &subject.whole,
            first: first.as_deref(),
            last: last.as_deref(),
        },
    )?)
}

fn show(report: &Report, options: &Options, out: &mut Terminal) -> anyhow::Result<()> {
    for divided in &report.divided {
        out.line(format!(
            "{} `{}` ({}) is divided into {} slices; weights: {}",
            divided.op_type,
            divided.op,
            divided.summary,
            divided.added.get(&divided.op_type).unwrap_or(&0),
            divided.weights
        ))?;
    }
    for left in &report.left_whole {
        out.line(format!("{} `{}` stays whole: {}", left.op_type, left.op, left.reason))?;
    }
    if options.split_linear.is_some() && report.divided.is_empty() && report.left_whole.is_empty() {
        out.line("no product has so many channels that it would be divided")?;
    }
    match report.cut.functions.is_empty() {
        true => out.heading("parts")?,
        false => out.heading(&format!("parts, by function {}", report.cut.function))?,
    }
    let mut table = Table::new(&["stage", ">ops", ">weights", ">share", ">multiply-adds"]);
    let all: u64 = report.cut.stages.iter().map(|s| s.weights).sum();
    for stage in &report.cut.stages {
        let share = stage.weights as f64 / all.max(1) as f64 * 100.0;
        table.row([
            stage.ends.name.clone(),
            stage.ends.operations.to_string(),
            bytes(stage.weights),
            format!("{share:.1} %"),
            cutting::count(stage.ends.multiply_adds),
        ]);
    }
    table.write(out)?;
    if let Some(choice) = &report.choice {
        let amount = |n: u64| match choice.balance {
            Measure::Weights => bytes(n),
            Measure::Macs => format!("{} multiply-adds", cutting::count(n)),
        };
        let largest = choice.loads.iter().max().copied().unwrap_or(0);
        out.line(format!(
            "the largest part has {}; the least possible is {}{}",
            amount(largest),
            amount(choice.least),
            if choice.all_compared {
                ""
            } else {
                ", as far as ways to cut were compared"
            }
        ))?;
        let between = choice.between_blocks.iter().filter(|&&b| b).count();
        out.line(format!(
            "{between} of {} seams are between repeated blocks",
            choice.between_blocks.len()
        ))?;
    }
    for copy in &report.copies {
        out.line(format!(
            "`{}` ({}) is in {}, which all use it",
            copy.weight,
            bytes(copy.bytes),
            copy.stages.join(", ")
        ))?;
    }
    cutting::show_seams(&report.cut.seams, out)?;
    cutting::show_kept(&report.cut.stages, out)?;
    cutting::show_functions(&report.cut.functions, out)?;
    cutting::show_end(
        report.cut.verify.as_ref(),
        report.cut.output.as_deref(),
        report.cut.ok,
        options.cut.dry_run,
        out,
    )
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_read() {
        assert_eq!(size("950MB"), Ok(950_000_000));
        assert_eq!(size("1.5 GiB"), Ok(3 << 29));
        assert_eq!(size("64kb"), Ok(64_000));
        assert_eq!(size("12"), Ok(12));
        for wrong in ["", "MB", "0", "-1MB", "1 parsec", "1e30", "inf", "nan"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
