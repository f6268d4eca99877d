//! `milwright convert`: a model rewritten by passes, or copied.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use milwright_ir::{DataType, Model, SaveReport, ValueId};
use milwright_package::{Changes, WriteOptions};
use milwright_passes::edit::{Changed, Edited, Left, set_io};
use milwright_passes::{Fragile, Pipeline, RunOptions, StepReport};
use milwright_verify::preflight::{self, breaks, precision_for, preflight};
use milwright_verify::features::Input;
use milwright_verify::inputs::Feed;
use milwright_verify::report::Report as Comparison;
use milwright_verify::{Evaluator, Executable, Runner};
use serde::Serialize;

use crate::Outcome;
use crate::comparison::{Change, Counterpart, Renames, ToleranceOptions, run_options};
use crate::editing::show_changed;
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

    /// Give every float array among the inputs and outputs of every function
    /// this type, after the passes, under the same name; as `set --dtype`
    /// does. Images, integers and states stay. An input or output that cannot
    /// have it is listed and keeps its type: one value that is both, a default
    /// beyond 65504, what --from-preflight finds that fp16 breaks. fp16 needs
    /// specification version 7 (iOS 16), and the model is raised to it.
    #[arg(long, value_name = "TYPE")]
    io: Option<Io>,

    /// Run the model in fp16 beside fp32 first, as `verify --preflight` does, on
    /// --inputs or random ones: what fp16 breaks there, the pass `fp16` leaves
    /// in fp32.
    #[arg(long)]
    from_preflight: bool,

    /// Write nothing, and exit with status 1, when a pass leaves an operation
    /// that it should take, or --io an input or output.
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

/// The largest number of fp16.
const FP16_MAX: f32 = 65504.0;

/// A type of inputs and outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Io {
    Fp16,
    Fp32,
}

impl Io {
    fn dtype(self) -> DataType {
        match self {
            Io::Fp16 => DataType::Float16,
            Io::Fp32 => DataType::Float32,
        }
    }
}

/// What --io did.
#[derive(Debug, Serialize)]
struct Ends {
    dtype: String,
    /// Inputs and outputs that have the type now, and what that needed.
    changed: Vec<Changed>,
    /// Those that keep another float type.
    left: Vec<Left>,
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
    /// The types of inputs and outputs, with --io.
    io: Option<Ends>,
    /// Convolutions in the output, by type.
    conv_left: BTreeMap<&'static str, usize>,
    /// One comparison for each function, with --verify.
    verify: Vec<Comparison>,
}

impl Report {
    /// Whether something is not as it should be.
    fn leaves(&self) -> bool {
        self.passes.iter().any(|s| !s.result.left.is_empty())
            || self.io.as_ref().is_some_and(|ends| !ends.left.is_empty())
    }
}

pub(crate) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    let pipeline = Pipeline::parse(&options.passes)?;
    let (package, unknown) = milwright_ir::open_noting(&options.model)?;
    let is_program = package.spec().kind().is_ml_program();
    if !is_program && (options.verify || options.io.is_some() || !pipeline.steps.is_empty()) {
        bail!(
            "--passes, --io and --verify need an ML Program, and {} is a {}",
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
        io: None,
        conv_left: BTreeMap::new(),
        verify: Vec::new(),
    };
    let mut several = false;
    if is_program {
        let mut model = Model::from_package(package)?;
        several = model.program().functions.len() > 1;
        let broken = broken(&options, &pipeline)?;
        if !pipeline.steps.is_empty() {
            rewrite(&mut model, &pipeline, &broken.fragile, &mut report)?;
        }
        let edited = match options.io {
            Some(io) => {
                let (edited, changed, left) = set_io(&model, io.dtype(), &broken.ends)?;
                let dtype = io.dtype().to_string();
                report.io = Some(Ends { dtype, changed, left });
                Some(edited)
            }
            None => None,
        };
        if !(options.strict && report.leaves()) {
            save_program(&model, edited.as_ref(), &options, &mut report)?;
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
        show(&report, &options, several, out)?;
    }
    Ok(if report.ok {
        Outcome::Clean
    } else {
        Outcome::Findings
    })
}

/// What fp16 breaks, with --from-preflight.
#[derive(Debug, Default)]
struct Broken {
    /// For the pass `fp16`.
    fragile: Fragile,
    /// Inputs and outputs, for --io fp16.
    ends: Vec<Left>,
}

/// Runs every function in fp16, with --from-preflight.
fn broken(options: &Options, pipeline: &Pipeline) -> anyhow::Result<Broken> {
    let mut found = Broken::default();
    if !options.from_preflight {
        return Ok(found);
    }
    let narrows = options.io == Some(Io::Fp16);
    if !narrows && !pipeline.steps.iter().any(|step| step.pass.name == "fp16") {
        bail!(
            "--from-preflight is for the pass `fp16`, which is not among --passes, and for --io fp16"
        );
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
        if narrows {
            found.ends.extend(too_large(&runner, &feeds));
        }
        let stage = runner.single("--from-preflight")?;
        let subject = stage.subject();
        let precision = precision_for(subject.program, stage.function());
        let progress = Progress::new("running in fp16 and fp32", feeds.len());
        let report = preflight(stage, &feeds, precision, steps.seed, &mut || progress.step())
            .context("trying the model in fp16, to see which operations it breaks")?;
        drop(progress);
        // Both programs were decoded from the same bytes, so ids agree.
        let breaks = breaks(subject.program, stage.function(), subject.blobs, &report);
        let fragile = preflight::fragile(&breaks);
        if narrows {
            let of = stage.function();
            let outputs = of.body().map(|body| &subject.program.blocks[body].outputs);
            let outputs = outputs.into_iter().flatten().map(|v| ("output", v));
            for (what, value) in of.inputs.iter().map(|v| ("input", v)).chain(outputs) {
                let Some(broken) = breaks.iter().find(|b| b.values.contains(value)) else {
                    continue;
                };
                let name = |v: &ValueId| subject.program.values[*v].name.clone();
                let op = &subject.program.ops[broken.op];
                let result = op.outputs.first().map(name).unwrap_or_default();
                found.ends.push(Left {
                    function: function.to_owned(),
                    what,
                    name: name(value),
                    why: format!("fp16 breaks {} `{result}`: {}", op.op_type, broken.why),
                });
            }
        }
        found.fragile.ops.extend(fragile.ops);
        found.fragile.values.extend(fragile.values);
    }
    Ok(found)
}

/// The inputs that were given numbers which fp16 does not hold.
fn too_large(runner: &Runner<'_>, feeds: &[Feed]) -> Vec<Left> {
    let largest = |input: &Input| {
        let tensors = feeds.iter().filter_map(|feed| feed.get(&input.name));
        let values = tensors.filter_map(|t| t.flatten_all().and_then(|t| t.to_vec1::<f32>()).ok());
        let finite = values.flatten().map(f32::abs).filter(|v| v.is_finite());
        finite.fold(0.0, f32::max)
    };
    let floats = runner.inputs().iter().filter(|input| input.ty.dtype.is_float());
    let beyond = floats.map(|input| (input, largest(input))).filter(|&(_, v)| v > FP16_MAX);
    let left = beyond.map(|(input, v)| Left {
        function: runner.function().to_owned(),
        what: "input",
        name: input.name.clone(),
        why: format!("it was given {v}, and fp16 ends at {FP16_MAX}"),
    });
    left.collect()
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

/// Writes the model, or what --io made of it.
fn save_program(
    model: &Model,
    edited: Option<&Edited>,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    let save = |how: WriteOptions<'_>| match edited {
        Some(edited) => model.save_as(&edited.program, &edited.spec, options.output.path(), how),
        None => model.save(options.output.path(), how),
    };
    let change = Change {
        before: &options.model,
        function: options.function.as_deref(),
        output: options.output.path(),
        inputs: &options.inputs,
        tolerance: options.tolerance.get(),
    };
    let compare = |finished: &Path| match options.verify {
        true => change.compare(finished, |function| Counterpart {
            renames: Renames {
                retyped: edited.is_some(),
                ..Renames::default()
            },
            ..Counterpart::same(function)
        }),
        false => Ok(Vec::new()),
    };
    let (saved, compared) = options.output.write_compared(save, compare)?;
    report.ok = saved.is_some();
    report.saved = saved.unwrap_or_default();
    report.verify = compared;
    Ok(())
}

fn show(
    report: &Report,
    options: &Options,
    several: bool,
    out: &mut Terminal,
) -> anyhow::Result<()> {
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
    if let Some(ends) = &report.io {
        show_ends(ends, several, out)?;
    }
    if options.strict && report.leaves() {
        return out.line(format!(
            "{} is not written: --strict, and something is left",
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

/// The types of inputs and outputs.
fn show_ends(ends: &Ends, several: bool, out: &mut Terminal) -> anyhow::Result<()> {
    out.heading(&format!("--io {}", ends.dtype))?;
    if !ends.changed.is_empty() {
        show_changed(&ends.changed, several, out)?;
    } else if ends.left.is_empty() {
        out.line(format!("no input or output has another float type than {}", ends.dtype))?;
    }
    for left in &ends.left {
        let place = match several {
            true => format!(" of {}", left.function),
            false => String::new(),
        };
        out.line(format!("left {} {}{place}: {}", left.what, left.name, left.why))?;
    }
    Ok(())
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
