//! `milwright merge`: several models as one.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use milwright_ir::Model;
use milwright_ir::features::Description;
use milwright_package::{
    Origin, Package, PipelineFolder, PipelineManifest, SharedBlobs, StageRecord, WriteOptions,
    check_pipeline, save_pipeline,
};
use milwright_passes::merge::{self, FunctionSource, LeftOut, Merged, Wiring};
use milwright_verify::Executable;
use milwright_verify::metrics::Tolerance;
use milwright_verify::report::Report as Comparison;
use serde::Serialize;

use crate::Outcome;
use crate::comparison::Models;
use crate::output;
use crate::report;
use crate::steps::{InputOptions, PrecisionOption};
use crate::table::Table;
use crate::terminal::Terminal;
use crate::weights::bytes;

/// Put several models into one.
///
/// Without --functions and --pipeline, models that run one after the other become
/// one model: the parts that `split` or `bisect` made, by their folder, or models
/// in the order in which they run, each of which takes what the nearest one
/// before it gives by that name. Conversions that stand only at the seams go, and
/// what several parts have, such as a shared weight, is there once.
///
/// With --functions each model becomes a function of one model (iOS 18), and
/// weights that are the same to the byte are stored once. With --pipeline the
/// models are the stages of a Core ML pipeline in one package.
///
/// OUT appears complete or not at all.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The models: a folder of stages or its pipeline.json; or models in the
    /// order in which they run; with --functions NAME=MODEL, and
    /// NAME=MODEL@FUNCTION for one of several.
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<String>,

    /// Where to write the model; the extension chooses the form, as with
    /// `milwright convert`.
    #[arg(short, long, value_name = "OUT", required_unless_present = "dry_run")]
    output: Option<PathBuf>,

    /// Make each model a function of one model.
    #[arg(long, conflicts_with = "pipeline")]
    functions: bool,

    /// The function that runs when the app names none [default: the first].
    #[arg(long, value_name = "NAME", requires = "functions")]
    default: Option<String>,

    /// Make the models the stages of a Core ML pipeline.
    #[arg(long)]
    pipeline: bool,

    /// Show what would be written, and write nothing.
    #[arg(long)]
    dry_run: bool,

    /// Run the finished model, and the models that it was made of, on the same
    /// inputs before it is put in its place; every bit must be the same.
    #[arg(long)]
    verify: bool,

    /// Replace OUT if it exists.
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    inputs: InputOptions,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    /// Whether the model was written.
    ok: bool,
    /// `stages`, `functions` or `pipeline`.
    kind: &'static str,
    models: Vec<String>,
    /// How many models were merged; a folder has several.
    parts: usize,
    output: Option<String>,
    /// Operations in the models, and in the one that they became. None for a
    /// pipeline, which has them all.
    operations: Option<[usize; 2]>,
    /// None for a pipeline, whose stages keep their files.
    weights: Option<SharedBlobs>,
    functions: Vec<FunctionReport>,
    /// Models that take nothing from another one, and give nothing to one.
    beside: Vec<String>,
    /// What the new model does not have, because the first one has something
    /// else.
    left_out: Vec<LeftOut>,
    /// A comparison for each function, with --verify.
    verify: Vec<Comparison>,
}

#[derive(Debug, Serialize)]
struct FunctionReport {
    name: String,
    default: bool,
    opset: String,
    /// Why it has an older opset than others.
    why_older: Option<String>,
    inputs: Vec<String>,
    outputs: Vec<String>,
    states: Vec<String>,
}

pub(crate) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    let report = if options.functions {
        functions(&options)?
    } else {
        stages(&options)?
    };
    if options.json {
        out.json(&report)?;
    } else {
        show(&report, &options, out)?;
    }
    Ok(match report.ok || options.dry_run {
        true => Outcome::Clean,
        false => Outcome::Findings,
    })
}

/// Models that run one after the other.
struct Chain {
    /// How the user named them.
    name: String,
    manifest: PipelineManifest,
    packages: Vec<Package>,
    wiring: Wiring,
}

impl Chain {
    fn open(models: &[String]) -> anyhow::Result<Self> {
        if let [only] = models
            && PipelineFolder::is_at(only)
        {
            let folder = PipelineFolder::open(only)?;
            let mut packages = Vec::new();
            for stage in &folder.manifest().stages {
                let package = folder.open_stage(stage)?;
                folder.check_files(stage, &package)?;
                packages.push(package);
            }
            return Ok(Chain {
                name: only.clone(),
                manifest: folder.manifest().clone(),
                packages,
                wiring: Wiring::OneModel,
            });
        }
        if let Some(named) = models.iter().find(|m| m.contains('=') && !Path::new(m).exists()) {
            bail!("{named}: NAME=MODEL makes the model a function; for that, add --functions");
        }
        let packages = models.iter().map(milwright_ir::open);
        let packages = packages.collect::<Result<Vec<_>, _>>()?;
        if packages.len() < 2 {
            bail!(
                "{} is one model, and there is nothing to merge it with; name a folder of stages, \
                 or several models in the order in which they run",
                models.join(" ")
            );
        }
        Ok(Chain {
            name: models.join(", "),
            manifest: PipelineManifest::wired(&packages)?,
            packages,
            wiring: Wiring::Names,
        })
    }

    /// Models that take nothing from another one, and give nothing to one.
    fn beside(&self) -> Vec<String> {
        let from = |stage: &StageRecord| {
            let origins = stage.inputs.iter().map(|input| input.from.clone());
            origins.filter(|from| *from != Origin::Caller).collect::<Vec<_>>()
        };
        let stages = &self.manifest.stages;
        let taken: Vec<Origin> = stages.iter().flat_map(from).collect();
        let alone = |stage: &&StageRecord| {
            from(stage).is_empty() && !taken.contains(&Origin::Stage(stage.name.clone()))
        };
        let alone = stages.iter().filter(alone);
        alone.map(|stage| stage.package.clone()).collect()
    }

    /// The models, to be run.
    fn executable(models: &[String]) -> anyhow::Result<Executable> {
        let Chain { name, manifest, packages, .. } = Chain::open(models)?;
        Ok(Executable::from_packages(manifest, packages, &name)?)
    }
}

fn stages(options: &Options) -> anyhow::Result<Report> {
    let chain = Chain::open(&options.models)?;
    let kind = if options.pipeline { "pipeline" } else { "stages" };
    let mut report = Report::new(options, kind);
    report.beside = chain.beside();
    let names: Vec<String> = chain.manifest.function_names().map(str::to_owned).collect();
    let compare = |finished: &Path| {
        let whole = opened(finished, options)?;
        let stages = Chain::executable(&options.models)?;
        let random = options.inputs.random_only();
        let each = names.iter().enumerate().map(|(number, name)| {
            // One function is called `main` whatever it was called before.
            let called = match names.len() {
                1 => whole.function(None)?,
                _ => name,
            };
            // What is given belongs to the first one.
            let inputs = if number == 0 { &options.inputs } else { &random };
            compare(&whole, &stages, [called, name], inputs)
        });
        each.collect()
    };
    if options.pipeline {
        let manifest = &chain.manifest;
        report.functions.push(FunctionReport {
            name: "main".to_owned(),
            default: true,
            opset: String::new(),
            why_older: None,
            inputs: manifest.inputs.clone(),
            outputs: manifest.outputs.clone(),
            states: Vec::new(),
        });
        let (packages, path) = (&chain.packages, Path::new(&options.models[0]));
        match &options.output {
            Some(output) if !options.dry_run => {
                let save = |how: WriteOptions<'_>| {
                    Ok(save_pipeline(manifest, packages, path, output, how)?)
                };
                report.save(options, output, save, &compare)?;
            }
            _ => check_pipeline(manifest, packages, path)?,
        }
        return Ok(report);
    }
    let models = chain.packages.into_iter().map(Model::from_package);
    let models = models
        .zip(&chain.manifest.stages)
        .map(|(model, stage)| model.with_context(|| format!("stage `{}`", stage.name)))
        .collect::<Result<Vec<_>, _>>()?;
    let merged = merge::stages(&chain.manifest, &models, chain.wiring)?;
    report.fill(&models, &merged)?;
    report.write(options, &merged, &compare)?;
    Ok(report)
}

/// A function that was asked for: its name, the path of its model, and what it
/// is called there, if that was said.
struct Wanted {
    name: Option<String>,
    path: String,
    function: Option<String>,
}

impl Wanted {
    /// Reads `NAME=MODEL` or `NAME=MODEL@FUNCTION`; a path may hold both signs.
    fn parse(text: &str) -> Self {
        let there = |path: &str| Path::new(path).exists();
        let (name, path) = match text.split_once('=') {
            Some((name, path)) if !there(text) => (Some(name.to_owned()), path),
            _ => (None, text),
        };
        match path.rsplit_once('@') {
            Some((path, function)) if !there(&format!("{path}@{function}")) => Wanted {
                name,
                path: path.to_owned(),
                function: Some(function.to_owned()),
            },
            _ => Wanted {
                name,
                path: path.to_owned(),
                function: None,
            },
        }
    }
}

fn functions(options: &Options) -> anyhow::Result<Report> {
    let mut models: Vec<Model> = Vec::new();
    let mut paths: Vec<String> = Vec::new();
    // Name, model, function in that model.
    let mut all: Vec<(String, usize, String)> = Vec::new();
    for text in &options.models {
        let wanted = Wanted::parse(text);
        if wanted.path.is_empty() {
            bail!("`{text}` names no model; write NAME=MODEL or NAME=MODEL@FUNCTION");
        }
        let number = match paths.iter().position(|path| *path == wanted.path) {
            Some(known) => known,
            None => {
                models.push(Model::open(&wanted.path)?);
                paths.push(wanted.path.clone());
                models.len() - 1
            }
        };
        let program = models[number].program();
        let names: Vec<&String> = program.functions.iter().map(|f| &f.name).collect();
        match (wanted.name, wanted.function, names.as_slice()) {
            (Some(name), Some(function), _) => all.push((name, number, function)),
            (None, Some(function), _) => all.push((function.clone(), number, function)),
            (Some(name), None, [only]) => all.push((name, number, (*only).clone())),
            (Some(name), None, several) => bail!(
                "{} has several functions ({}); say which one is to be `{name}`: {name}={}@{}",
                wanted.path,
                several.iter().map(|f| f.as_str()).collect::<Vec<_>>().join(", "),
                wanted.path,
                several.first().map_or("FUNCTION", |f| f.as_str())
            ),
            (None, None, [only]) => bail!(
                "{} is to be a function, which needs a name: {}={}",
                wanted.path,
                if all.is_empty() { "prefill" } else { only.as_str() },
                wanted.path
            ),
            (None, None, several) => {
                all.extend(several.iter().map(|f| ((*f).clone(), number, (*f).clone())));
            }
        }
    }
    let wanted: Vec<FunctionSource<'_>> = all
        .iter()
        .map(|(name, model, function)| FunctionSource {
            name,
            model: *model,
            function,
        })
        .collect();
    let first = wanted.first().map_or("", |w| w.name);
    let default = options.default.as_deref().unwrap_or(first);
    let merged = merge::functions(&models, &wanted, default)?;
    let mut report = Report::new(options, "functions");
    report.fill(&models, &merged)?;
    let compare = |finished: &Path| {
        let after = opened(finished, options)?;
        let each = all.iter().map(|(name, model, function)| {
            let before = Executable::open(Path::new(&paths[*model]))?;
            compare(&after, &before, [name, function], &options.inputs)
        });
        each.collect()
    };
    report.write(options, &merged, &compare)?;
    Ok(report)
}

fn opened(finished: &Path, options: &Options) -> anyhow::Result<Executable> {
    let shown = options.output.as_deref().unwrap_or(finished).display();
    Ok(Executable::from_package(Package::open(finished)?, &shown.to_string())?)
}

/// Runs both on the same inputs; every bit must agree.
fn compare(
    model: &Executable,
    reference: &Executable,
    [function, reference_function]: [&str; 2],
    inputs: &InputOptions,
) -> anyhow::Result<Comparison> {
    Models {
        model,
        reference,
        function,
        reference_function,
        precision: PrecisionOption::Fp32,
        tolerance: Tolerance::from_options(Some(0.0), Some(0.0)),
    }
    .run(inputs, false)
}

/// Runs a finished model and what it was made of.
type Compare<'f> = dyn Fn(&Path) -> anyhow::Result<Vec<Comparison>> + 'f;

impl Report {
    fn new(options: &Options, kind: &'static str) -> Self {
        Report {
            schema: "milwright-merge/1",
            ok: false,
            kind,
            models: options.models.clone(),
            parts: options.models.len(),
            output: options.output.as_ref().map(|o| o.display().to_string()),
            operations: None,
            weights: None,
            functions: Vec::new(),
            beside: Vec::new(),
            left_out: Vec::new(),
            verify: Vec::new(),
        }
    }

    fn fill(&mut self, models: &[Model], merged: &Merged<'_>) -> anyhow::Result<()> {
        self.parts = models.len();
        let before = models.iter().map(|m| m.program().all_ops().len()).sum();
        self.operations = Some([before, merged.program.all_ops().len()]);
        self.weights = Some(merged.weights);
        self.left_out.clone_from(&merged.left_out);
        let description = Description::from_proto(&merged.spec.description()?);
        for function in &merged.program.functions {
            let signature = description.signature(&function.name);
            let older = merged.older.iter().find(|(name, ..)| *name == function.name);
            let names = |list: &[milwright_ir::features::Feature]| {
                list.iter().map(|f| f.name.clone()).collect::<Vec<_>>()
            };
            self.functions.push(FunctionReport {
                name: function.name.clone(),
                default: function.name == description.default_function,
                opset: function.opset.clone(),
                why_older: older.map(|(_, _, why)| why.clone()),
                inputs: signature.map(|s| names(&s.inputs)).unwrap_or_default(),
                outputs: signature.map(|s| names(&s.outputs)).unwrap_or_default(),
                states: signature.map(|s| names(&s.states)).unwrap_or_default(),
            });
        }
        Ok(())
    }

    fn write(
        &mut self,
        options: &Options,
        merged: &Merged<'_>,
        compare: &Compare<'_>,
    ) -> anyhow::Result<()> {
        match &options.output {
            Some(output) if !options.dry_run => {
                let save = |how: WriteOptions<'_>| match merged.save(output, how) {
                    // As the container says it.
                    Err(merge::Error::Ir(milwright_ir::Error::Package(e))) => Err(e.into()),
                    other => Ok(other?),
                };
                self.save(options, output, save, compare)
            }
            _ => Ok(()),
        }
    }

    /// Writes the model and, if that is wished, compares it before it gets its
    /// name.
    fn save(
        &mut self,
        options: &Options,
        output: &Path,
        save: impl FnOnce(WriteOptions<'_>) -> anyhow::Result<()>,
        compare: &Compare<'_>,
    ) -> anyhow::Result<()> {
        let compare = |finished: &Path| match options.verify {
            true => compare(finished),
            false => Ok(Vec::new()),
        };
        let (saved, compared) = output::write_compared(output, options.force, save, compare)?;
        self.ok = saved.is_some();
        self.verify = compared;
        Ok(())
    }
}

fn show(report: &Report, options: &Options, out: &mut Terminal) -> anyhow::Result<()> {
    let mut table = Table::new(&["function", "opset", "takes", "gives", "keeps"]);
    for f in &report.functions {
        let default = if f.default && report.functions.len() > 1 { " (default)" } else { "" };
        table.row([
            format!("{}{default}", f.name),
            f.opset.clone(),
            f.inputs.join(", "),
            f.outputs.join(", "),
            f.states.join(", "),
        ]);
    }
    table.write(out)?;
    if let Some([before, after]) = report.operations {
        out.line(format!("{after} operations, of {before} in {} model(s)", report.parts))?;
    }
    if let Some(weights) = &report.weights {
        let saved = match weights.shared_blobs {
            0 => "; none is there twice".to_owned(),
            n => format!("; {n} more, {}, are the same and stored once", bytes(weights.saved_bytes)),
        };
        out.line(format!("{} weights, {}{saved}", weights.blobs, bytes(weights.bytes)))?;
    }
    for f in &report.functions {
        if let Some(why) = &f.why_older {
            out.line(format!("`{}` keeps the opset {}: {why}", f.name, f.opset))?;
        }
    }
    for model in &report.beside {
        out.line(format!(
            "{model} takes nothing from another model and gives nothing to one: it runs beside them"
        ))?;
    }
    for left in &report.left_out {
        out.line(format!("not in it: {} of {}", left.what, left.model))?;
    }
    for comparison in &report.verify {
        let what = match report.verify.len() {
            1 => "merged against the models",
            _ => &format!("function {} against its model", comparison.function),
        };
        out.heading(what)?;
        report::show(comparison, out)?;
    }
    match &report.output {
        _ if options.dry_run => out.line("nothing is written: --dry-run"),
        Some(output) if report.ok => out.line(format!("wrote {output}")),
        _ => out.line("nothing is written: the merged model differs from what it was made of"),
    }
}
