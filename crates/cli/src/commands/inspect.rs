//! `milwright inspect`: what a model is, without running it.

use std::path::PathBuf;

use milwright_ir::cost::total;
use milwright_ir::sizes::default_shapes;
use milwright_ir::{BlobSource, Model, Program, Sizes};
use milwright_ir::features::{Description, Feature, FeatureKind, Flexibility};
use milwright_package::{Container, PipelineFolder, Spec};
use serde::Serialize;

use crate::Outcome;
use crate::cutting::count;
use crate::stages;
use crate::table::Table;
use crate::terminal::Terminal;
use crate::weights::{self, Weights, bytes};

/// Show what a model is: kind, functions, inputs and outputs, states,
/// operations, weights.
///
/// Reads the spec, and of the weights only what decides shapes. Of a pipeline manifest it shows the
/// stages: compute units and why, features and where they come from.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The model.
    model: PathBuf,

    /// How many of the largest weights to show.
    #[arg(long, value_name = "N", default_value_t = 10)]
    largest: usize,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    model: String,
    container: &'static str,
    #[serde(flatten)]
    spec: SpecReport,
    files: Vec<FileReport>,
}

#[derive(Debug, Serialize)]
struct SpecReport {
    kind: &'static str,
    spec_version: i32,
    spec_bytes: usize,
    metadata: MetadataReport,
    default_function: String,
    functions: Vec<FunctionReport>,
    /// For an ML Program.
    weights: Option<Weights>,
    /// For a pipeline.
    stages: Vec<StageReport>,
}

#[derive(Debug, Serialize)]
struct StageReport {
    name: String,
    #[serde(flatten)]
    spec: SpecReport,
}

#[derive(Debug, Serialize)]
struct FileReport {
    path: String,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct MetadataReport {
    description: String,
    version: String,
    author: String,
    license: String,
    user_defined: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Serialize)]
struct FunctionReport {
    name: String,
    /// For an ML Program.
    opset: Option<String>,
    inputs: Vec<FeatureReport>,
    outputs: Vec<FeatureReport>,
    states: Vec<FeatureReport>,
    /// Operations of the body in force and of all blocks in it, constants too.
    operations: usize,
    /// How often each operation type occurs, most frequent first.
    op_histogram: serde_json::Map<String, serde_json::Value>,
    /// Types that are not in the op table.
    unknown_ops: Vec<String>,
    /// Of the body at the default input shapes, each operation once; null when
    /// they are not known of every operation.
    multiply_adds: Option<u64>,
}

#[derive(Debug, Serialize)]
struct FeatureReport {
    name: String,
    kind: &'static str,
    /// Element type, of arrays and states.
    dtype: Option<String>,
    /// Default shape; `[height, width]` of images.
    shape: Option<Vec<u64>>,
    /// Every shape allowed, when there are several.
    enumerated_shapes: Option<Vec<Vec<u64>>>,
    /// Lower and upper bound of each axis; no upper bound is null.
    shape_ranges: Option<Vec<(u64, Option<u64>)>>,
    /// Of images.
    color_space: Option<&'static str>,
    optional: bool,
    /// Value of an input that is left out.
    default: Option<f64>,
    description: String,
    /// The same in words.
    #[serde(skip)]
    shown: String,
}

pub(crate) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    if PipelineFolder::is_at(&options.model) {
        stages::inspect(&options.model, options.json, out)?;
        return Ok(Outcome::Clean);
    }
    let package = milwright_ir::open(&options.model)?;
    let container = match package.container() {
        Container::Folder => "folder",
        Container::Zip => "zip",
        Container::Model => "model",
        Container::Text => "text",
        Container::Compiled => "compiled",
    };
    let files = package
        .files()
        .iter()
        .map(|f| FileReport {
            path: f.path().to_owned(),
            bytes: f.len(),
        })
        .collect();
    let spec = if package.spec().kind().is_ml_program() {
        program(&Model::from_package(package)?, options.largest)?
    } else {
        describe(package.spec(), &package, options.largest)?
    };
    let report = Report {
        schema: "milwright-inspect/1",
        model: options.model.display().to_string(),
        container,
        spec,
        files,
    };
    if options.json {
        out.json(&report)?;
    } else {
        show(&report, out)?;
    }
    Ok(Outcome::Clean)
}

fn program(model: &Model, largest: usize) -> anyhow::Result<SpecReport> {
    let mut report = outline(model.spec())?;
    fill_program(&mut report, model.spec(), model.program(), model, largest)?;
    Ok(report)
}

/// A spec inside of a pipeline, or of another kind.
fn describe(spec: &Spec, blobs: &dyn BlobSource, largest: usize) -> anyhow::Result<SpecReport> {
    let mut report = outline(spec)?;
    if spec.kind().is_ml_program() {
        let program = Program::from_proto(&spec.program()?)?;
        fill_program(&mut report, spec, &program, blobs, largest)?;
    }
    if spec.kind().is_pipeline() {
        for (name, stage) in spec.pipeline()? {
            report.stages.push(StageReport {
                name,
                spec: describe(&stage, blobs, largest)?,
            });
        }
    }
    Ok(report)
}

/// What the description says, of any kind of model.
fn outline(spec: &Spec) -> anyhow::Result<SpecReport> {
    let description = Description::from_proto(&spec.description()?);
    let m = &description.metadata;
    Ok(SpecReport {
        kind: spec.kind().name(),
        spec_version: spec.version(),
        spec_bytes: spec.bytes().len(),
        metadata: MetadataReport {
            description: m.description.clone(),
            version: m.version.clone(),
            author: m.author.clone(),
            license: m.license.clone(),
            user_defined: m
                .user_defined
                .iter()
                .map(|(k, v)| (k.clone(), v.as_str().into()))
                .collect(),
        },
        default_function: description.default_function.clone(),
        functions: description
            .functions
            .iter()
            .map(|s| FunctionReport {
                name: s.function.clone(),
                opset: None,
                inputs: s.inputs.iter().map(FeatureReport::new).collect(),
                outputs: s.outputs.iter().map(FeatureReport::new).collect(),
                states: s.states.iter().map(FeatureReport::new).collect(),
                operations: 0,
                op_histogram: serde_json::Map::new(),
                unknown_ops: Vec::new(),
                multiply_adds: None,
            })
            .collect(),
        weights: None,
        stages: Vec::new(),
    })
}

fn fill_program(
    report: &mut SpecReport,
    spec: &Spec,
    program: &Program,
    blobs: &dyn BlobSource,
    largest: usize,
) -> anyhow::Result<()> {
    let description = Description::from_proto(&spec.description()?);
    for function in &program.functions {
        let at = match report.functions.iter().position(|f| f.name == function.name) {
            Some(at) => at,
            None => {
                report.functions.push(FunctionReport::empty(&function.name));
                report.functions.len() - 1
            }
        };
        let ops = function.body().map(|b| program.walk(b)).unwrap_or_default();
        let mut counts: Vec<(&str, usize)> = Vec::new();
        let mut index = std::collections::HashMap::new();
        let mut unknown: Vec<String> = Vec::new();
        for &id in &ops {
            let op = &program.ops[id];
            let at = *index.entry(op.op_type.as_str()).or_insert_with(|| {
                if op.def.is_none() {
                    unknown.push(op.op_type.clone());
                }
                counts.push((op.op_type.as_str(), 0));
                counts.len() - 1
            });
            counts[at].1 += 1;
        }
        counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        unknown.sort();
        let entry = &mut report.functions[at];
        entry.opset = Some(match function.known_opset() {
            Some(opset) => opset.text_name().to_owned(),
            None => function.opset.clone(),
        });
        entry.operations = ops.len();
        entry.op_histogram = counts
            .into_iter()
            .map(|(name, n)| (name.to_owned(), n.into()))
            .collect();
        entry.unknown_ops = unknown;
        let signature = description.signature(&function.name);
        let shapes = signature.map(default_shapes).unwrap_or_default();
        // A model that contradicts itself is for other commands to refuse.
        entry.multiply_adds = Sizes::of(program, function, blobs, &shapes)
            .map(|sizes| total(program, function, blobs, &sizes))
            .ok()
            .filter(|total| total.unknown.is_empty())
            .map(|total| total.multiply_adds);
    }
    report.weights = Some(weights::of(program, largest));
    Ok(())
}

impl FunctionReport {
    fn empty(name: &str) -> Self {
        FunctionReport {
            name: name.to_owned(),
            opset: None,
            inputs: Vec::new(),
            outputs: Vec::new(),
            states: Vec::new(),
            operations: 0,
            op_histogram: serde_json::Map::new(),
            unknown_ops: Vec::new(),
            multiply_adds: None,
        }
    }
}

impl FeatureReport {
    fn new(f: &Feature) -> Self {
        let mut report = FeatureReport {
            name: f.name.clone(),
            kind: "unknown",
            dtype: None,
            shape: None,
            enumerated_shapes: None,
            shape_ranges: None,
            color_space: None,
            optional: f.optional,
            default: None,
            description: f.description.clone(),
            shown: f.kind.to_string(),
        };
        let flexibility = match &f.kind {
            FeatureKind::Array(a) | FeatureKind::State(a) => {
                report.kind = if matches!(f.kind, FeatureKind::State(_)) {
                    "state"
                } else {
                    "array"
                };
                report.dtype = a.dtype.map(|d| d.name().to_owned());
                report.shape = Some(a.shape.clone());
                report.default = a.default;
                &a.flexibility
            }
            FeatureKind::Image(i) => {
                report.kind = "image";
                report.shape = Some(vec![i.height, i.width]);
                report.color_space = Some(i.color.name());
                &i.flexibility
            }
            FeatureKind::Int64 => {
                report.kind = "int64";
                &Flexibility::Fixed
            }
            FeatureKind::Double => {
                report.kind = "double";
                &Flexibility::Fixed
            }
            FeatureKind::String => {
                report.kind = "string";
                &Flexibility::Fixed
            }
            FeatureKind::Dictionary => {
                report.kind = "dictionary";
                &Flexibility::Fixed
            }
            FeatureKind::Sequence => {
                report.kind = "sequence";
                &Flexibility::Fixed
            }
            FeatureKind::Unknown => &Flexibility::Fixed,
        };
        match flexibility {
            Flexibility::Fixed => {}
            Flexibility::Enumerated(shapes) => report.enumerated_shapes = Some(shapes.clone()),
            Flexibility::Ranges(ranges) => report.shape_ranges = Some(ranges.clone()),
        }
        if f.optional {
            report.shown.push_str(", optional");
            if let Some(default) = report.default {
                report.shown.push_str(&format!(" (default {default})"));
            }
        }
        report
    }
}

fn show(report: &Report, out: &mut Terminal) -> anyhow::Result<()> {
    out.line(format!("{} ({})", report.model, report.container))?;
    show_spec(&report.spec, out)?;
    out.heading("files")?;
    let mut table = Table::new(&["path", ">size"]);
    for f in &report.files {
        table.row([f.path.clone(), bytes(f.bytes)]);
    }
    table.write(out)
}

fn show_spec(spec: &SpecReport, out: &mut Terminal) -> anyhow::Result<()> {
    let system = match system(spec.spec_version) {
        Some(system) => format!(" ({system})"),
        None => String::new(),
    };
    out.line(format!(
        "kind {}, specification version {}{system}, spec {}",
        spec.kind,
        spec.spec_version,
        bytes(spec.spec_bytes as u64)
    ))?;
    let m = &spec.metadata;
    for (key, value) in [
        ("description", &m.description),
        ("version", &m.version),
        ("author", &m.author),
        ("licence", &m.license),
    ] {
        if !value.is_empty() {
            out.line(format!("{key}: {value}"))?;
        }
    }
    for (key, value) in &m.user_defined {
        let value = value.as_str().unwrap_or_default();
        out.line(format!("{key}: {value}"))?;
    }
    if spec.kind != "ml_program" && spec.stages.is_empty() {
        out.line("This version reads only the description of this kind of model.")?;
    }
    for function in &spec.functions {
        show_function(function, spec, out)?;
    }
    if let Some(weights) = &spec.weights {
        show_weights(weights, out)?;
    }
    for (number, stage) in spec.stages.iter().enumerate() {
        out.heading(&format!("stage {number} {}", stage.name))?;
        show_spec(&stage.spec, out)?;
    }
    Ok(())
}

fn show_function(
    function: &FunctionReport,
    spec: &SpecReport,
    out: &mut Terminal,
) -> anyhow::Result<()> {
    let mut heading = format!("function {}", function.name);
    if let Some(opset) = &function.opset {
        heading.push_str(&format!(" ({opset}, {} operations)", function.operations));
    }
    if spec.functions.len() > 1 && function.name == spec.default_function {
        heading.push_str(", the default");
    }
    out.heading(&heading)?;
    let mut table = Table::new(&["", "name", "type"]);
    for (what, features) in [
        ("input", &function.inputs),
        ("output", &function.outputs),
        ("state", &function.states),
    ] {
        for f in features {
            table.row([what, &f.name, &f.shown]);
        }
    }
    if !table.is_empty() {
        table.write(out)?;
    }
    if !function.op_histogram.is_empty() {
        out.line(match function.multiply_adds {
            Some(n) => format!("multiply-adds at the default shapes: {}", count(n)),
            None => "multiply-adds at the default shapes: not known".to_owned(),
        })?;
        out.line("")?;
        let mut table = Table::new(&["op", ">count"]);
        for (name, times) in &function.op_histogram {
            let unknown = function.unknown_ops.contains(name);
            table.row([
                format!("{name}{}", if unknown { " (unknown)" } else { "" }),
                times.to_string(),
            ]);
        }
        table.write(out)?;
    }
    Ok(())
}

fn show_weights(weights: &Weights, out: &mut Terminal) -> anyhow::Result<()> {
    out.heading("weights")?;
    if weights.by_dtype.is_empty() {
        return out.line("none");
    }
    let mut table = Table::new(&["type", "kept in", ">tensors", ">size"]);
    for row in &weights.by_dtype {
        table.row([
            row.dtype.clone(),
            row.stored.to_owned(),
            row.tensors.to_string(),
            bytes(row.bytes),
        ]);
    }
    table.write(out)?;
    if !weights.largest.is_empty() {
        out.line("")?;
        let mut table = Table::new(&["largest", "type", "shape", ">size"]);
        for w in &weights.largest {
            table.row([
                w.name.clone(),
                w.dtype.clone(),
                format!("{:?}", w.shape),
                bytes(w.bytes),
            ]);
        }
        table.write(out)?;
    }
    Ok(())
}

/// The first iOS that loads a specification version.
fn system(version: i32) -> Option<&'static str> {
    Some(match version {
        1 => "iOS 11",
        2 => "iOS 11.2",
        3 => "iOS 12",
        4 => "iOS 13",
        5 => "iOS 14",
        6 => "iOS 15",
        7 => "iOS 16",
        8 => "iOS 17",
        9 => "iOS 18",
        10 => "iOS 26",
        _ => return None,
    })
}
