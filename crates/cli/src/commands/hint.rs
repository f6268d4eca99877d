//! `milwright hint`: what a file can carry about compute units.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::ValueEnum;
use milwright_ir::Model;
use milwright_ir::names::nearest;
use milwright_package::{Changes, ComputeUnits, PipelineFolder};
use milwright_passes::hint::{self, Hinted, Hints, Patterns};
use milwright_passes::lint::{Input, Settings, Target, placement};

use serde::Serialize;

use super::split::target;
use crate::Outcome;
use crate::output;
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
///   ordinary load follows it: do not count on it. And coremltools 9.0 loads
///   such a model but cannot rebuild its program, until `--clear`;
///
/// - for the whole model, the key com.milwright.compute_units in the model's
///   metadata, which the app must read and apply itself.
///
/// Nothing else changes: operations that get no hint stay byte for byte, and
/// `--clear` gives back the bytes that were there before.
///
/// Of a pipeline.json, --stage names a stage whose compute units are changed;
/// loaders that `milwright split` writes set them.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The model, or a pipeline.json.
    model: PathBuf,

    /// The compute units: for the whole model, with --ops for some operations,
    /// with --stage for a stage.
    #[arg(long, value_enum, required_unless_present_any = ["show", "clear", "from_lint"])]
    units: Option<Units>,

    /// Only operations whose type or output name matches: `conv*`,
    /// `softmax,var_12?`. The metadata stays as it is.
    #[arg(long, value_name = "PATTERN", requires = "units")]
    ops: Vec<String>,

    /// Operations that leave the Neural Engine by a lint rule are meant for CPU
    /// and GPU (with `--units cpu-and-ne` for the CPU), all others for the
    /// Neural Engine.
    #[arg(long, conflicts_with_all = ["ops", "stage"])]
    from_lint: bool,

    /// With --from-lint, the device: any (the limits of the oldest), or a chip
    /// or phone, such as iphone13, a17 or m4.
    #[arg(long, value_name = "DEVICE", requires = "from_lint", value_parser = target)]
    target: Option<Target>,

    /// The stage of a pipeline.json.
    #[arg(long, value_name = "NAME", requires = "units", conflicts_with_all = ["ops", "clear"])]
    stage: Option<String>,

    /// Show what the model carries, and write nothing.
    #[arg(
        long,
        conflicts_with_all = ["units", "ops", "from_lint", "clear", "output", "force"]
    )]
    show: bool,

    /// Remove the hints.
    #[arg(long, conflicts_with_all = ["units", "ops", "from_lint"])]
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
    if PipelineFolder::is_at(&options.model) {
        return run_pipeline(&options, out);
    }
    if let Some(stage) = &options.stage {
        bail!(
            "--stage {stage} names a stage of a pipeline.json, and {} is none",
            options.model.display()
        );
    }
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
                ..Changes::default()
            };
            output::write(output, options.force, |how| {
                model.package().save(changes, output, how)
            })?;
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
    let units = options.units.map(Units::get);
    if options.from_lint {
        return from_lint(model, units.unwrap_or(ComputeUnits::All), options.target);
    }
    let Some(units) = units else {
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

/// Hints by what the rules find.
fn from_lint(
    model: &Model,
    units: ComputeUnits,
    target: Option<Target>,
) -> anyhow::Result<Hinted> {
    let rest = match units {
        ComputeUnits::All => ComputeUnits::CpuAndGpu,
        ComputeUnits::CpuAndNeuralEngine => ComputeUnits::CpuOnly,
        other => bail!(
            "--from-lint divides a model between the Neural Engine and others, and `{other}` has \
             no Neural Engine; use `--units all` or `--units cpu-and-ne`"
        ),
    };
    let settings = Settings {
        target: target.unwrap_or_default(),
        ..Settings::default()
    };
    let left = placement::left(&Input::of(model)?, &settings);
    let mut assign = |_: &_, op| match left.contains_key(&op) {
        true => Some(hint::backends(rest)),
        false => Some(hint::NEURAL_ENGINE.to_vec()),
    };
    Ok(hint::set(model, &mut assign, Some(units))?)
}

#[derive(Debug, Serialize)]
struct PipelineReport {
    schema: &'static str,
    model: String,
    /// Where the changed manifest was written.
    output: Option<String>,
    stages: Vec<StageReport>,
    note: &'static str,
}

#[derive(Debug, Serialize)]
struct StageReport {
    name: String,
    compute_units: ComputeUnits,
    why: Vec<String>,
}

/// Shows or changes the compute units of stages.
fn run_pipeline(options: &Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    let folder = PipelineFolder::open(&options.model)?;
    let mut manifest = folder.manifest().clone();
    if !options.show {
        let (Some(wanted), Some(units)) = (&options.stage, options.units.map(Units::get)) else {
            bail!(
                "of a pipeline.json, --stage and --units change the compute units of a stage, and \
                 --show shows them; hints in a stage's file are written with its own path"
            );
        };
        let names = manifest.stages.iter().map(|stage| stage.name.as_str());
        let names: Vec<&str> = names.collect();
        let Some(at) = names.iter().position(|name| name == wanted) else {
            match nearest(wanted, names.iter().copied(), 1).first() {
                Some(near) => bail!("no stage is named `{wanted}`; did you mean `{near}`?"),
                None => bail!("no stage is named `{wanted}`; there is {}", names.join(", ")),
            }
        };
        let stage = &mut manifest.stages[at];
        stage.compute_units = units;
        stage.why = vec!["set with `milwright hint`".to_owned()];
    }
    if let Some(output) = &options.output {
        // The packages are named relative to the manifest.
        let place = |path: &Path| match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.canonicalize(),
            _ => Path::new(".").canonicalize(),
        };
        let same = place(output).ok() == place(folder.path()).ok();
        if !same || output.file_name() != folder.path().file_name() {
            bail!(
                "a pipeline.json stays with its stages: write it to {} (with --force)",
                folder.path().display()
            );
        }
        manifest.save(output, options.force)?;
    }
    let report = PipelineReport {
        schema: "milwright-hint-pipeline/1",
        model: options.model.display().to_string(),
        output: options.output.as_ref().map(|path| path.display().to_string()),
        stages: manifest
            .stages
            .into_iter()
            .map(|stage| StageReport {
                name: stage.name,
                compute_units: stage.compute_units,
                why: stage.why,
            })
            .collect(),
        note: "The loader of each stage sets MLModelConfiguration.computeUnits; no model file does.",
    };
    if options.json {
        out.json(&report)?;
        return Ok(Outcome::Clean);
    }
    let mut table = Table::new(&["stage", "compute units", "why"]);
    for stage in &report.stages {
        let units = stage.compute_units.to_string();
        table.row([stage.name.clone(), units, stage.why.join("; ")]);
    }
    table.write(out)?;
    if let Some(output) = &report.output {
        out.line(format!("wrote {output}"))?;
    }
    out.line(report.note)?;
    Ok(Outcome::Clean)
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
    } else if options.from_lint {
        let ours = |op: &&hint::OpHint| op.backends == hint::NEURAL_ENGINE;
        let there = hints.operations.iter().filter(ours).count();
        out.line(format!(
            "{attribute} = ane on {there} of {} operations, others on the rest",
            hints.operations_that_run
        ))?;
        if let Some(units) = &hints.units {
            out.line(format!("{} = {units} in the metadata", hint::KEY))?;
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
