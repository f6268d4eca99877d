//! `milwright convert`: a model rewritten by passes, or copied.

use std::path::{Path, PathBuf};

use anyhow::bail;
use milwright_ir::SaveReport;
use milwright_package::{Changes, Package, WriteOptions};
use milwright_verify::report::Report as Comparison;
use serde::Serialize;

use crate::Outcome;
use crate::commands::verify::{Models, ToleranceOptions};
use crate::model::Opened;
use crate::progress::Progress;
use crate::report;
use crate::steps::{InputOptions, PrecisionOption};
use crate::terminal::Terminal;

/// Write a model to another place, in another form, or rewritten by passes.
///
/// The extension of OUT chooses the form: .mlpackage a folder, .zip a zip of
/// one, .mlmodel the bare spec. Without passes, every byte of spec and weights
/// stays. OUT appears complete or not at all.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The model to read.
    model: PathBuf,

    /// Where to write it.
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,

    /// Replace OUT if it exists.
    #[arg(long)]
    force: bool,

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
    #[serde(flatten)]
    saved: SaveReport,
    /// One comparison for each function, with --verify.
    verify: Vec<Comparison>,
}

pub(crate) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    let package = Package::open(&options.model)?;
    let is_program = package.spec().kind().is_ml_program();
    if !is_program && options.verify {
        bail!(
            "--verify needs a model that can be executed, and this is a {}",
            package.spec().kind().name()
        );
    }
    let mut report = Report {
        schema: "milwright-convert/1",
        ok: false,
        input: options.model.display().to_string(),
        output: options.output.display().to_string(),
        saved: SaveReport::default(),
        verify: Vec::new(),
    };
    if is_program {
        let opened = Opened::from_package(package, &options.model)?;
        save_program(&opened, &options, &mut report)?;
    } else {
        let progress = Progress::bytes("writing");
        package.save(
            Changes::default(),
            &options.output,
            WriteOptions {
                force: options.force,
                progress: Some(&mut |done, total| progress.at(done, total)),
                ..WriteOptions::default()
            },
        )?;
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

fn save_program(opened: &Opened, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let progress = Progress::bytes("writing");
    let mut verdict: anyhow::Result<Vec<Comparison>> = Ok(Vec::new());
    let mut review = |finished: &Path| {
        if !options.verify {
            return true;
        }
        verdict = compare(finished, opened, options);
        matches!(&verdict, Ok(all) if all.iter().all(|c| c.ok))
    };
    let saved = opened.model.save(
        &options.output,
        WriteOptions {
            force: options.force,
            progress: Some(&mut |done, total| progress.at(done, total)),
            review: Some(&mut review),
        },
    );
    drop(progress);
    report.verify = verdict?;
    match saved {
        Ok(saved) => {
            report.saved = saved;
            report.ok = true;
            Ok(())
        }
        Err(milwright_ir::Error::Package(milwright_package::Error::Rejected { .. })) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Compares the output as it is read back with the model that was opened.
fn compare(
    finished: &Path,
    before: &Opened,
    options: &Options,
) -> anyhow::Result<Vec<Comparison>> {
    let after = Opened::from_package(Package::open(finished)?, &options.output)?;
    let given = before.function(options.function.as_deref())?.name.clone();
    let random = options.inputs.random_only();
    before
        .model
        .program()
        .functions
        .iter()
        .map(|f| {
            let inputs = if f.name == given {
                &options.inputs
            } else {
                &random
            };
            Models {
                model: &after,
                reference: before,
                function: &f.name,
                reference_function: &f.name,
                precision: PrecisionOption::Fp32,
                tolerance: options.tolerance.get(),
            }
            .run(inputs, false)
        })
        .collect()
}

fn show(report: &Report, options: &Options, out: &mut Terminal) -> anyhow::Result<()> {
    for comparison in &report.verify {
        if report.verify.len() > 1 {
            out.heading(&format!("function {}", comparison.function))?;
        }
        report::show(comparison, out)?;
    }
    if report.ok {
        out.line(format!("wrote {}", options.output.display()))
    } else {
        out.line(format!(
            "{} is not written: the outputs differ; write it without --verify to look at it with `milwright verify --per-op`",
            options.output.display()
        ))
    }
}
