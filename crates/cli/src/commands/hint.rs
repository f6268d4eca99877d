//! `milwright hint`: what a file can carry about compute units.

use std::path::PathBuf;

use anyhow::bail;
use clap::ValueEnum;
use milwright_ir::Model;
use milwright_package::{Changes, ComputeUnits, WriteOptions};
use milwright_passes::hint::{self, Hinted, Hints, Patterns};
use serde::Serialize;

use crate::Outcome;
use crate::table::Table;
use crate::terminal::Terminal;

/// Write, show or remove hints about compute units.
///
/// Core ML takes compute units when it loads a model: the app sets
/// MLModelConfiguration.computeUnits. No field of a model file holds them. What
/// a file can carry, and this command writes, is
///
/// - per operation, the attribute IntendedBackend, a list of backend names as
///   coremltools 8.3 and later write it. No public evidence shows that an
///   ordinary load follows it: do not count on it;
///
/// - for the whole model, the key com.milwright.compute_units in the model's
///   metadata, which the app must read and apply itself.
///
/// Nothing else changes: operations that get no hint stay byte for byte, and
/// `--clear` gives back the bytes that were there before.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The model.
    model: PathBuf,

    /// The compute units: for the whole model, or with --ops for some
    /// operations.
    #[arg(long, value_enum, required_unless_present_any = ["show", "clear"])]
    units: Option<Units>,

    /// Only operations whose type or output name matches: `conv*`,
    /// `softmax,var_12?`. The metadata stays as it is.
    #[arg(long, value_name = "PATTERN", requires = "units")]
    ops: Vec<String>,

    /// Show what the model carries, and write nothing.
    #[arg(long, conflicts_with_all = ["units", "ops", "clear", "output", "force"])]
    show: bool,

    /// Remove the hints.
    #[arg(long, conflicts_with_all = ["units", "ops"])]
    clear: bool,

    /// Where to write the model.
    #[arg(
        short,
        long,
        value_name = "OUT",
        required_unless_present = "show"
    )]
    output: Option<PathBuf>,

    /// Replace OUT if it exists.
    #[arg(long)]
    force: bool,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Compute units as a command line spells them.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Units {
    /// The CPU alone.
    Cpu,
    /// CPU and GPU.
    CpuAndGpu,
    /// CPU and Neural Engine.
    CpuAndNe,
    /// Everything.
    All,
}

impl Units {
    fn get(self) -> ComputeUnits {
        match self {
            Units::Cpu => ComputeUnits::CpuOnly,
            Units::CpuAndGpu => ComputeUnits::CpuAndGpu,
            Units::CpuAndNe => ComputeUnits::CpuAndNeuralEngine,
            Units::All => ComputeUnits::All,
        }
    }
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    model: String,
    /// Where the changed model was written.
    output: Option<String>,
    /// Operations whose attribute was set or removed.
    changed_operations: usize,
    /// Whether the metadata was changed.
    changed_metadata: bool,
    /// What the model carries, after the change.
    #[serde(flatten)]
    hints: Hints,
    note: &'static str,
}

pub(crate) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    let model = Model::open(&options.model)?;
    let mut report = Report {
        schema: "milwright-hint/1",
        model: options.model.display().to_string(),
        output: None,
        changed_operations: 0,
        changed_metadata: false,
        hints: Hints::default(),
        note: hint::NOTE,
    };
    match (&options.output, options.show) {
        (Some(output), false) => {
            let hinted = change(&model, &options)?;
            report.changed_operations = hinted.operations;
            report.changed_metadata = hinted.metadata;
            report.output = Some(output.display().to_string());
            let changes = Changes {
                spec: Some(hinted.spec),
                weights: Vec::new(),
            };
            let write = WriteOptions {
                force: options.force,
                ..WriteOptions::default()
            };
            model.package().save(changes, output, write)?;
            report.hints = hint::read(&Model::open(output)?)?;
        }
        _ => report.hints = hint::read(&model)?,
    }
    if options.json {
        out.json(&report)?;
    } else {
        show(&report, &options, out)?;
    }
    Ok(Outcome::Clean)
}

fn change(model: &Model, options: &Options) -> anyhow::Result<Hinted> {
    if options.clear {
        return Ok(hint::clear(model)?);
    }
    let Some(units) = options.units.map(Units::get) else {
        bail!("--units says which compute units to write");
    };
    if options.ops.is_empty() {
        let mut all = |_: &_, _| Some(hint::backends(units));
        return Ok(hint::set(model, &mut all, Some(units))?);
    }
    let chosen = Patterns::new(&options.ops).select(model.program())?;
    let mut some = |_: &_, op| chosen.contains(&op).then(|| hint::backends(units));
    Ok(hint::set(model, &mut some, None)?)
}

fn show(report: &Report, options: &Options, out: &mut Terminal) -> anyhow::Result<()> {
    let hints = &report.hints;
    let number = report.changed_operations;
    let attribute = hint::ATTRIBUTE;
    if options.clear {
        out.line(format!("removed {attribute} from {number} operations"))?;
        if report.changed_metadata {
            out.line(format!("removed {} from the metadata", hint::KEY))?;
        }
    } else if let (Some(units), false) = (options.units.map(Units::get), options.show) {
        let backends = hint::backends(units).join(", ");
        out.line(format!(
            "{attribute} = {backends} on {number} of {} operations",
            hints.operations_that_run
        ))?;
        if report.changed_metadata {
            out.line(format!("{} = {units} in the metadata", hint::KEY))?;
        }
    } else {
        match &hints.units {
            Some(units) => out.line(format!("{} = {units} in the metadata", hint::KEY))?,
            None => out.line(format!("no {} in the metadata", hint::KEY))?,
        }
        out.line(format!(
            "{attribute} on {} of {} operations",
            hints.operations.len(),
            hints.operations_that_run
        ))?;
        if !hints.operations.is_empty() {
            let mut table = Table::new(&["function", "operation", "output", "backends"]);
            for op in &hints.operations {
                table.row([
                    op.function.clone(),
                    op.op_type.clone(),
                    op.output.clone(),
                    op.backends.join(", "),
                ]);
            }
            table.write(out)?;
        }
    }
    if let Some(output) = &report.output {
        out.line(format!("wrote {output}"))?;
    }
    out.line("")?;
    out.line(report.note)
}
