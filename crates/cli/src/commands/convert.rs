//! `milwright convert`: a model rewritten by passes, or copied.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use milwright_ir::{Model, SaveReport};
use milwright_package::{Changes, WriteOptions};
use milwright_passes::{Fragile, Pipeline, RunOptions, StepReport};
use milwright_verify::preflight::{self, breaks, precision_for, preflight};
use milwright_verify::{Evaluator, Executable};
use milwright_verify::report::Report as Comparison;
use serde::Serialize;

use crate::Outcome;
use crate::comparison::{Change, Counterpart, ToleranceOptions, run_options};
use crate::output::Output;
use crate::progress::Progress;
use crate::report;
use crate::cutting::count;
use crate::steps::{InputOptions, PrecisionOption};
use crate::table::Table;
use crate::terminal::Terminal;
use crate::weights::bytes;

/// Write a model to another place, in another form, or rewritten by passes.
///
/// The extension of OUT chooses the form: .mlpackage a folder, .zip a zip of
/// one, .mlmodel the bare spec. Without passes, every byte of spec and weights
/// stays. OUT appears complete or not at all.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The model to read.
    model: PathBuf,

    #[command(flatten)]
    output: Output,

    /// Passes to run, in order: `decompose-conv,dce`, with options
    /// `decompose-conv{stride=strided-slice}`, or a preset such as `no-conv`.
    /// `milwright passes` lists them.
    #[arg(long, value_name = "PASSES", default_value = "", hide_default_value = true)]
    passes: String,

    /// Run the model in fp16 beside fp32 first, as `verify --preflight` does, on
    /// --inputs or random ones: what fp16 breaks there, the pass `fp16` leaves
    /// in fp32.
    #[arg(long)]
    from_preflight: bool,

    /// Write nothing, and exit with status 1, when a pass leaves an operation
    /// that it should take.
    #[arg(long)]
    strict: bool,

    /// Read the finished output back and compare it with the input before it
    /// is put in its place. When an output differs, nothing is written and the
    /// exit status is 1.
    #[arg(long)]
    verify: bool,

    #[command(flatten)]
    inputs: InputOptions,

    #[command(flatten)]
    tolerance: ToleranceOptions,

    /// With --verify, the function that --inputs belong to [default: the
    /// model's]. Others get random inputs.
    #[arg(long, value_name = "NAME")]
    function: Option<String>,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    /// Whether the output was written.
    ok: bool,
    input: String,
    output: String,
    /// What a model that is text does not say: the output lacks it, or has it
    /// by a guess.
    unknown: Vec<String>,
    #[serde(flatten)]
    saved: SaveReport,
    /// What each pass did.
    passes: Vec<StepReport>,
    /// Convolutions in the output, by type.
    conv_left: BTreeMap<&'static str, usize>,
    /// One comparison for each function, with --verify.
    verify: Vec<Comparison>,
}

pub(crate) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    let pipeline = Pipeline::parse(&options.passes)?;
    let (package, unknown) = milwright_ir::open_noting(&options.model)?;
    let is_program = package.spec().kind().is_ml_program();
    if !is_program && (options.verify || !pipeline.steps.is_empty()) {
        bail!(
            "--passes and --verify need an ML Program, and {} is a {}",
            options.model.display(),
            package.spec().kind().name()
        );
    }
    let mut report = Report {
        schema: "milwright-convert/1",
        ok: false,
        input: options.model.display().to_string(),
        output: options.output.shown(),
        unknown,
        saved: SaveReport::default(),
        passes: Vec::new(),
        conv_left: BTreeMap::new(),
        verify: Vec::new(),
    };
    if is_program {
        let mut model = Model::from_package(package)?;
        if !pipeline.steps.is_empty() {
            let fragile = fragile(&options, &pipeline)?;
            rewrite(&mut model, &pipeline, &fragile, &mut report)?;
        }
        let left = report.passes.iter().any(|s| !s.result.left.is_empty());
        if !(options.strict && left) {
            save_program(&model, &options, &mut report)?;
        }
    } else {
        let save = |how: WriteOptions<'_>| {
            package.save(Changes::default(), options.output.path(), how)
        };
        options.output.write(save)?;
        report.ok = true;
    }
    if options.json {
        out.json(&report)?;
    } else {
        show(&report, &options, out)?;
    }
    Ok(if report.ok {
        Outcome::Clean
    } else {
        Outcome::Findings
    })
}

/// What fp16 breaks, with --from-preflight; of every function.
fn fragile(options: &Options, pipeline: &Pipeline) -> anyhow::Result<Fragile> {
    let mut found = Fragile::default();
    if !options.from_preflight {
        return Ok(found);
    }
    if !pipeline.steps.iter().any(|step| step.pass.name == "fp16") {
        bail!("--from-preflight is for the pass `fp16`, which is not among --passes");
    }
    let model = Executable::open(&options.model)?;
    let given = model.function(options.function.as_deref())?;
    let random = options.inputs.random_only();
    for function in model.functions() {
        let inputs = if function == given {
            &options.inputs
        } else {
            &random
        };
        let how = run_options(&model, PrecisionOption::Fp32, inputs.count());
        let mut runner = model.runner(Some(function), how)?;
        let steps = inputs.load(&runner)?;
        let feeds = steps.feeds(&runner)?;
        let stage = runner.single("--from-preflight")?;
        let subject = stage.subject();
        let precision = precision_for(subject.program, stage.function());
        let progress = Progress::new("running in fp16 and fp32", feeds.len());
        let report = preflight(stage, &feeds, precision, steps.seed, &mut || progress.step())
            .context("trying the model in fp16, to see which operations it breaks")?;
        drop(progress);
        // Both programs were decoded from the same bytes, so ids agree.
        let broken = breaks(subject.program, stage.function(), subject.blobs, &report);
        let broken = preflight::fragile(&broken);
        found.ops.extend(broken.ops);
        found.values.extend(broken.values);
    }
    Ok(found)
}

fn rewrite(
    model: &mut Model,
    pipeline: &Pipeline,
    fragile: &Fragile,
    report: &mut Report,
) -> anyhow::Result<()> {
    let progress = Progress::new("running passes", 1);
    let (program, package) = model.parts_mut();
    let result = pipeline.run(
        program,
        package,
        &RunOptions {
            evaluate: Some(&Evaluator),
            fragile: Some(fragile),
            ..RunOptions::default()
        },
    )?;
    drop(progress);
    report.passes = result.steps;
    for conv in ["conv", "conv_transpose"] {
        let ops = program.all_ops();
        let left = ops.iter().filter(|&&id| program.ops[id].op_type == conv);
        report.conv_left.insert(conv, left.count());
    }
    Ok(())
}

fn save_program(model: &Model, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let save = |how: WriteOptions<'_>| model.save(options.output.path(), how);
    let change = Change {
        before: &options.model,
        function: options.function.as_deref(),
        output: options.output.path(),
        inputs: &options.inputs,
        tolerance: options.tolerance.get(),
    };
    let compare = |finished: &Path| match options.verify {
        true => change.compare(finished, Counterpart::same),
        false => Ok(Vec::new()),
    };
    let (saved, compared) = options.output.write_compared(save, compare)?;
    report.ok = saved.is_some();
    report.saved = saved.unwrap_or_default();
    report.verify = compared;
    Ok(())
}

fn show(report: &Report, options: &Options, out: &mut Terminal) -> anyhow::Result<()> {
    for fact in &report.unknown {
        out.line(format!("note: {fact}"))?;
    }
    for step in &report.passes {
        show_step(step, out)?;
    }
    if report.passes.iter().any(|step| step.pass == "decompose-conv") {
        let counts: Vec<String> = report
            .conv_left
            .iter()
            .map(|(op, n)| format!("{n} {op}"))
            .collect();
        out.line(format!("left: {}", counts.join(", ")))?;
    }
    let left = report.passes.iter().any(|s| !s.result.left.is_empty());
    if options.strict && left {
        return out.line(format!(
            "{} is not written: --strict, and operations are left",
            options.output.shown()
        ));
    }
    for comparison in &report.verify {
        if report.verify.len() > 1 {
            out.heading(&format!("function {}", comparison.function))?;
        }
        report::show(comparison, out)?;
    }
    if report.ok {
        out.line(format!("wrote {}", options.output.shown()))
    } else {
        out.line(format!(
            "{} is not written: the outputs differ; write it without --verify to look at it with `milwright verify --per-op`",
            options.output.shown()
        ))
    }
}

/// What a pass replaced, what it left and what it removed.
fn show_step(step: &StepReport, out: &mut Terminal) -> anyhow::Result<()> {
    let options: Vec<String> = step
        .options
        .iter()
        .filter(|(_, given)| !given.is_empty())
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    out.heading(&format!(
        "{}{} ({})",
        step.pass,
        if options.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", options.join(","))
        },
        step.exactness
    ))?;
    let result = &step.result;
    let mut table = Table::new(&[
        "replaced", "what it was", "form", "added", ">MACs before", ">MACs after", "largest added",
    ]);
    for r in &result.rewritten {
        let added: Vec<String> = r
            .added
            .iter()
            .map(|(op, n)| if *n == 1 { op.clone() } else { format!("{n} {op}") })
            .collect();
        let macs = |n: Option<u64>| n.map_or_else(|| "?".to_owned(), count);
        table.row([
            r.op.clone(),
            format!("{} {}", r.op_type, r.summary),
            r.form.to_owned(),
            added.join(", "),
            macs(r.macs_before),
            macs(r.macs_after),
            r.largest
                .as_ref()
                .map(|l| format!("{} {}", l.ty, bytes(l.bytes)))
                .unwrap_or_default(),
        ]);
    }
    if !table.is_empty() {
        table.write(out)?;
    }
    for left in &result.left {
        out.line(format!("left {} {}: {}", left.op_type, left.op, left.reason))?;
    }
    if !result.removed.is_empty() {
        let removed: Vec<String> = result
            .removed
            .iter()
            .map(|(op, n)| format!("{n} {op}"))
            .collect();
        out.line(format!("removed {}", removed.join(", ")))?;
    }
    if !result.done.is_empty() {
        let done: Vec<String> = result
            .done
            .iter()
            .map(|(what, n)| format!("{n} {what}"))
            .collect();
        out.line(done.join(", "))?;
    }
    if step.changes.is_empty() {
        out.line("nothing to do")?;
    }
    Ok(())
}
