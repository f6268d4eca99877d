//! `milwright lint`: what will fail or be slow on a device.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use milwright_ir::Program;
use milwright_ir::names::nearest;
use milwright_ir::ops::Opset;
use milwright_package::{Package, PipelineFolder, Spec};
use milwright_passes::lint::{self, Input, Rule, Settings, Target, Units};

use super::rules::explain;
use super::split::target;
use crate::Outcome;
use crate::device::{DeviceReport, Kind};
use crate::findings::{Entry, Report};
use crate::sarif;
use crate::terminal::Terminal;
use crate::text::Text;

/// Find what fails, gives wrong numbers or is slow on Apple devices, as far as
/// the file shows it.
///
/// Each finding says where, the number and the limit, why, and how sure it is:
/// measured, documented, reported or folklore. Nothing here was run on a
/// device: no finding does not mean that a device takes the model.
///
/// Of a pipeline.json, each stage is linted for its own compute units.
///
/// Exit status: 0 no error, 1 at least one finding of severity error, 2 wrong
/// usage or failure.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The model.
    #[arg(required_unless_present = "explain")]
    model: Option<PathBuf>,

    /// The device: any (the limits of the oldest), or a chip or phone, such as
    /// iphone13, a17 or m4.
    #[arg(long, value_name = "DEVICE", default_value = "any", value_parser = target)]
    target: Target,

    /// The compute units that the model is loaded with; the CPU is always among
    /// them [default: all, or what pipeline.json says of each stage].
    #[arg(long, value_name = "UNIT", value_parser = ["ane", "gpu", "cpu", "all"])]
    unit: Option<String>,

    /// The oldest system that the model must run on.
    #[arg(long, value_name = "OS", value_parser = ["ios15", "ios16", "ios17", "ios18"])]
    os: Option<String>,

    /// The function [default: all of them].
    #[arg(long, value_name = "NAME")]
    function: Option<String>,

    /// Apply these rules only: names, or numbers such as SHP04.
    #[arg(long, value_name = "RULE,...", value_delimiter = ',')]
    select: Vec<String>,

    /// Leave these rules out.
    #[arg(long, value_name = "RULE,...", value_delimiter = ',')]
    ignore: Vec<String>,

    /// Show the documentation of a rule.
    #[arg(long, value_name = "RULE", conflicts_with = "model")]
    explain: Option<String>,

    /// Show what a device did beside the prediction: the analytics.mil that Core
    /// ML's compiler leaves in its cache
    /// (Library/Caches/PROCESS/com.apple.e5rt.e5bundlecache).
    #[arg(long, value_name = "FILE")]
    analytics: Option<PathBuf>,

    /// The same from a dump of MLComputePlan in JSON: that of coremltools, or a
    /// row with type, name and preferred device for each operation.
    #[arg(long, value_name = "FILE", conflicts_with = "analytics")]
    compute_plan: Option<PathBuf>,

    /// Print SARIF 2.1.0.
    #[arg(long, conflicts_with_all = ["json", "analytics", "compute_plan"])]
    sarif: bool,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Options {
    /// The file that a device wrote, and what it is.
    fn record(&self) -> Option<(Kind, &Path)> {
        let analytics = self.analytics.as_deref().map(|file| (Kind::Analytics, file));
        let plan = self.compute_plan.as_deref();
        analytics.or(plan.map(|file| (Kind::ComputePlan, file)))
    }
}

/// A program to be linted, and the compute units that it is loaded with.
struct Part {
    /// Of a pipeline: name of the stage.
    stage: Option<String>,
    units: Units,
    spec: Spec,
    program: Program,
    /// Which package has its weights.
    package: usize,
}

pub(crate) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    if let Some(name) = &options.explain {
        for rule in named(name)? {
            explain(rule, out)?;
        }
        return Ok(Outcome::Clean);
    }
    let Some(path) = &options.model else {
        bail!("no model is given");
    };
    let rules = chosen(&options.select, &options.ignore)?;
    let (packages, parts) = open(path, options.unit.as_deref())?;
    let mut report = Report {
        schema: "milwright-lint/1",
        ok: true,
        model: path.display().to_string(),
        target: options.target.name(),
        units: match &options.unit {
            Some(unit) => unit_name(unit),
            None if PipelineFolder::is_at(path) => "of each stage",
            None => "all",
        },
        os: options.os.as_deref().and_then(opset).map(Opset::text_name),
        rules: rules.len(),
        functions: 0,
        errors: 0,
        warnings: 0,
        notes: 0,
        findings: Vec::new(),
        text: None,
        device: None,
    };
    let functions = parts.iter().flat_map(|p| &p.program.functions);
    let names: Vec<&str> = functions.map(|f| f.name.as_str()).collect();
    if let Some(wanted) = &options.function
        && !names.contains(&wanted.as_str())
    {
        match nearest(wanted, names.iter().copied(), 1).first() {
            Some(near) => bail!("there is no function `{wanted}`; did you mean `{near}`?"),
            None => bail!(
                "there is no function `{wanted}`; there is {}",
                names.join(", ")
            ),
        }
    }
    report.functions = names.len();
    for part in &parts {
        let package = packages
            .get(part.package)
            .context("a stage has no package")?;
        let input = Input::of_stage(&part.program, &part.spec, package)?;
        let settings = Settings {
            target: options.target,
            units: part.units,
            os: options.os.as_deref().and_then(opset),
            function: options.function.clone(),
            rules: rules.clone(),
        };
        if let Some((kind, file)) = options.record() {
            if parts.len() > 1 {
                bail!(
                    "{} is of one model, and {} has {} stages; lint the package of the stage",
                    file.display(),
                    path.display(),
                    parts.len()
                );
            }
            let left = lint::placement::left(&input, &settings);
            report.device = Some(DeviceReport::new(kind, file, &part.program, &left)?);
        }
        let found = lint::lint(&input, &settings).into_iter();
        let entries = found.map(|f| Entry::new(f, part.stage.clone(), path, options.target));
        report.findings.extend(entries);
    }
    if let Some(text) = Text::of(path)? {
        let places = text.places();
        for entry in &mut report.findings {
            entry.finding.places.iter_mut().for_each(|place| places.fill(place));
            places.fill(&mut entry.finding.diagnostic.location);
        }
        report.text = Some(text.path);
    }
    report.finish();
    if options.sarif {
        out.json(&sarif::log(&report, &rules))?;
    } else if options.json {
        out.json(&report)?;
    } else {
        report.show(out)?;
    }
    Ok(match report.ok {
        true => Outcome::Clean,
        false => Outcome::Findings,
    })
}

/// The programs of a model, a pipeline package or a pipeline manifest.
fn open(path: &Path, unit: Option<&str>) -> anyhow::Result<(Vec<Package>, Vec<Part>)> {
    let asked = unit.and_then(Units::from_name);
    if PipelineFolder::is_at(path) {
        let folder = PipelineFolder::open(path)?;
        let mut packages = Vec::new();
        let mut parts = Vec::new();
        for (number, stage) in folder.manifest().stages.iter().enumerate() {
            let package = folder.open_stage(stage)?;
            folder.check_files(stage, &package)?;
            let recorded = Units::from_name(stage.compute_units.name());
            let units = asked.or(recorded).unwrap_or(Units::ALL);
            let spec = package.spec().clone();
            parts.push(Part::new(spec, Some(stage.name.clone()), units, number)?);
            packages.push(package);
        }
        return Ok((packages, parts));
    }
    let package = milwright_ir::open(path)?;
    let units = asked.unwrap_or(Units::ALL);
    let spec = package.spec().clone();
    let parts = if spec.kind().is_pipeline() {
        let stages = spec.pipeline()?.into_iter().enumerate();
        let stages = stages.map(|(number, (name, spec))| {
            let name = if name.is_empty() {
                number.to_string()
            } else {
                name
            };
            Part::new(spec, Some(name), units, 0)
        });
        stages.collect::<anyhow::Result<Vec<Part>>>()?
    } else {
        vec![Part::new(spec, None, units, 0)?]
    };
    Ok((vec![package], parts))
}

impl Part {
    fn new(
        spec: Spec,
        stage: Option<String>,
        units: Units,
        package: usize,
    ) -> anyhow::Result<Self> {
        if !spec.kind().is_ml_program() {
            let kind = spec.kind().name().to_owned();
            return Err(milwright_ir::Error::NotAProgram { kind }.into());
        }
        let program = Program::from_proto(&spec.program()?)?;
        Ok(Part {
            stage,
            units,
            spec,
            program,
            package,
        })
    }
}

fn opset(name: &str) -> Option<Opset> {
    Opset::ALL.into_iter().find(|o| o.text_name() == name)
}

/// The name that lives as long as the program.
fn unit_name(unit: &str) -> &'static str {
    let known = ["ane", "gpu", "cpu"].into_iter().find(|k| *k == unit);
    known.unwrap_or("all")
}

/// The rules of that name or number.
fn named(name: &str) -> anyhow::Result<Vec<&'static Rule>> {
    let found = lint::lookup(name);
    if found.is_empty() {
        let names = lint::rules().iter().map(|r| r.name);
        match nearest(name, names, 1).first() {
            Some(near) => bail!("no rule is named `{name}`; did you mean `{near}`?"),
            None => bail!("no rule is named `{name}`; `milwright rules` lists all"),
        }
    }
    Ok(found)
}

/// The rules that are selected and not ignored, in their own order.
fn chosen(select: &[String], ignore: &[String]) -> anyhow::Result<Vec<&'static Rule>> {
    let all = |names: &[String]| -> anyhow::Result<Vec<&'static str>> {
        let mut found = Vec::new();
        for name in names {
            found.extend(named(name)?.into_iter().map(|r| r.name));
        }
        Ok(found)
    };
    let (selected, ignored) = (all(select)?, all(ignore)?);
    let rules = lint::rules().iter().copied().filter(|r| {
        (select.is_empty() || selected.contains(&r.name)) && !ignored.contains(&r.name)
    });
    Ok(rules.collect())
}
