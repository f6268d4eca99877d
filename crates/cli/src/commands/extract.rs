//! `milwright extract`: the part of a model between named values.

use std::path::PathBuf;

use milwright_ir::Model;
use milwright_ir::features::Description;
use milwright_passes::cut::{Graph, Part, Renames, SeamTypes, extract};
use serde::Serialize;

use crate::Outcome;
use crate::cutting::{CastFacts, IoFacts, pick_function};
use crate::output::Output;
use crate::table::Table;
use crate::terminal::Terminal;
use crate::weights::{self, bytes};

/// Write the part of a model between named values as a model.
///
/// What the outputs need is taken, back to the inputs; weights that it does not
/// use are left out. Values that become inputs or outputs keep their names and
/// types, and flexible shapes stay flexible. OUT appears complete or not at all.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The model to read.
    model: PathBuf,

    #[command(flatten)]
    output: Output,

    /// The values that become inputs [default: the function's inputs, as far as
    /// they are needed].
    #[arg(long, value_name = "VALUE,...", value_delimiter = ',')]
    inputs: Option<Vec<String>>,

    /// The values that become outputs.
    #[arg(long, value_name = "VALUE,...", value_delimiter = ',', required = true)]
    outputs: Vec<String>,

    /// Function to take from [default: the only one].
    #[arg(long, value_name = "NAME")]
    function: Option<String>,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    model: String,
    output: String,
    function: String,
    /// Operations that run when the model is used.
    operations: usize,
    /// Of how many.
    operations_before: usize,
    /// Bytes of weights.
    weights: u64,
    weights_before: u64,
    inputs: Vec<IoFacts>,
    outputs: Vec<IoFacts>,
    states: Vec<String>,
    /// Conversions at its ends.
    casts: Vec<CastFacts>,
}

pub(crate) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    let model = Model::open(&options.model)?;
    let function = pick_function(&model, options.function.as_deref())?;
    let description = Description::from_proto(&model.spec().description()?);
    let signature = description.signature(&function.name);
    let graph = Graph::new(model.program(), function)?;
    let plan = extract(&graph, options.inputs.as_deref(), &options.outputs)?;
    let types = SeamTypes::new(model.program(), function, &model, signature)?;
    let part = Part::new(&model, &graph, &plan, 0, &Renames::default(), &types)?;
    let output = options.output.path();
    options.output.write(|how| model.save_as(&part.program, &part.spec, output, how))?;
    let report = Report {
        schema: "milwright-extract/1",
        model: options.model.display().to_string(),
        output: options.output.shown(),
        function: function.name.clone(),
        operations: plan.stages[0].nodes.len(),
        operations_before: graph.nodes.len(),
        weights: weights::of(&part.program, 0).bytes,
        weights_before: weights::of(model.program(), 0).bytes,
        inputs: part.inputs.iter().map(IoFacts::of).collect(),
        outputs: part.outputs.iter().map(IoFacts::of).collect(),
        states: part.states.clone(),
        casts: part.casts.iter().map(CastFacts::of).collect(),
    };
    if options.json {
        out.json(&report)?;
    } else {
        show(&report, out)?;
    }
    Ok(Outcome::Clean)
}

fn show(report: &Report, out: &mut Terminal) -> anyhow::Result<()> {
    let mut table = Table::new(&["", "name", "type"]);
    let ends = [("input", &report.inputs), ("output", &report.outputs)];
    for (what, io) in ends.iter().flat_map(|(w, all)| all.iter().map(move |io| (w, io))) {
        table.row([(*what).to_owned(), io.name.clone(), io.ty.clone()]);
    }
    for state in &report.states {
        table.row(["state".to_owned(), state.clone(), String::new()]);
    }
    table.write(out)?;
    for cast in &report.casts {
        out.line(cast.line())?;
    }
    out.line(format!(
        "{} of {} operations, {} of {} of weights",
        report.operations,
        report.operations_before,
        bytes(report.weights),
        bytes(report.weights_before)
    ))?;
    out.line(format!("wrote {}", report.output))
}
