//! What is shown of stages and of the seams between them.

use milwright_ir::ValueId;
use milwright_package::ComputeUnits;
use milwright_passes::cut::{Cast, Io, Seam};
use milwright_verify::report::Report as Comparison;
use serde::Serialize;

use super::{Cut, name};
use crate::report;
use crate::table::Table;
use crate::terminal::Terminal;
use crate::weights::bytes;

/// What is known of a stage, for reports.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct StageFacts {
    pub(crate) compute_units: ComputeUnits,
    pub(crate) why: Vec<String>,
    /// Bytes of weights and other constants, of all functions together.
    pub(crate) weights: u64,
    #[serde(flatten)]
    pub(crate) ends: EndFacts,
}

/// What is known of a stage of one function.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct EndFacts {
    pub(crate) name: String,
    /// Operations that run when the model is used.
    pub(crate) operations: usize,
    pub(crate) multiply_adds: u64,
    pub(crate) inputs: Vec<IoFacts>,
    pub(crate) outputs: Vec<IoFacts>,
    pub(crate) states: Vec<String>,
    /// Conversions at its seams.
    pub(crate) casts: Vec<CastFacts>,
}

/// What is known of a model that was cut: the part of a report that every
/// command that cuts has.
#[derive(Debug, Serialize)]
pub(crate) struct CutReport {
    /// Whether the stages were written.
    pub(crate) ok: bool,
    pub(crate) model: String,
    pub(crate) output: Option<String>,
    /// The function that was cut, or the first of several.
    pub(crate) function: String,
    pub(crate) stages: Vec<StageFacts>,
    pub(crate) seams: Vec<SeamReport>,
    /// The functions that are cut beside the first.
    pub(crate) functions: Vec<FunctionFacts>,
    /// The comparison, with --verify.
    pub(crate) verify: Option<Comparison>,
}

/// What is known of a function that is cut beside the first one.
#[derive(Debug, Serialize)]
pub(crate) struct FunctionFacts {
    pub(crate) name: String,
    /// How the places were found, for people.
    pub(crate) places: String,
    pub(crate) seams: Vec<SeamReport>,
    pub(crate) stages: Vec<EndFacts>,
    /// The comparison, with --verify.
    pub(crate) verify: Option<Comparison>,
}

/// The functions that are cut beside the first one, for people.
pub(crate) fn show_functions(
    functions: &[FunctionFacts],
    out: &mut Terminal,
) -> anyhow::Result<()> {
    for f in functions {
        out.heading(&format!("function {}", f.name))?;
        out.line(&f.places)?;
        let mut table = Table::new(&["stage", ">ops", ">multiply-adds", "takes", "gives"]);
        let list = |all: &[IoFacts]| {
            let each = all.iter().map(|io| format!("{} {}", io.name, io.ty));
            each.collect::<Vec<_>>().join(", ")
        };
        for s in &f.stages {
            table.row([
                s.name.clone(),
                s.operations.to_string(),
                count(s.multiply_adds),
                list(&s.inputs),
                list(&s.outputs),
            ]);
        }
        table.write(out)?;
        if let Some(comparison) = &f.verify {
            report::show(comparison, out)?;
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct IoFacts {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) ty: String,
    /// The stage that gives it; none is the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct CastFacts {
    value: String,
    inside: String,
    feature: String,
    outside: String,
}

/// What crosses after a stage.
#[derive(Debug, Serialize)]
pub(crate) struct SeamReport {
    pub(crate) after: String,
    pub(crate) values: Vec<Crossing>,
    pub(crate) bytes: Option<u64>,
}

/// A value that crosses a seam.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Crossing {
    value: String,
    feature: String,
    #[serde(rename = "type")]
    ty: String,
    bytes: Option<u64>,
}

/// What reports say of the seams.
pub(crate) fn seams(cut: &Cut<'_, '_>) -> Vec<SeamReport> {
    let Cut {
        subject,
        plan,
        renames,
    } = cut;
    let (graph, types) = (&subject.graph, &subject.types);
    let crossing = |&value: &ValueId| {
        let ty = types.default_type(value);
        Crossing {
            value: graph.name(value).to_owned(),
            feature: renames.of(graph, value).to_owned(),
            ty: ty.map(ToString::to_string).unwrap_or_default(),
            bytes: ty.and_then(|t| t.dtype.byte_len(t.elements()?)),
        }
    };
    let seam = |(after, seam): (usize, &Seam)| {
        let values: Vec<Crossing> = seam.values.iter().map(crossing).collect();
        SeamReport {
            after: name(after),
            bytes: values.iter().map(|v| v.bytes).sum(),
            values,
        }
    };
    plan.seams.iter().enumerate().map(seam).collect()
}

/// What crosses, seam by seam.
pub(crate) fn show_seams(seams: &[SeamReport], out: &mut Terminal) -> anyhow::Result<()> {
    for seam in seams {
        out.heading(&format!("seam after {}", seam.after))?;
        let mut table = Table::new(&["value", "type", ">bytes", "feature"]);
        for v in &seam.values {
            table.row([
                v.value.clone(),
                v.ty.clone(),
                v.bytes.map_or_else(|| "?".to_owned(), |b| b.to_string()),
                v.feature.clone(),
            ]);
        }
        table.write(out)?;
    }
    Ok(())
}

/// How it ended; `output` is the folder that was to be written.
pub(crate) fn show_end(
    verify: Option<&Comparison>,
    output: Option<&str>,
    written: bool,
    dry_run: bool,
    out: &mut Terminal,
) -> anyhow::Result<()> {
    if let Some(comparison) = verify {
        out.heading("stages in sequence against the model")?;
        report::show(comparison, out)?;
    }
    match output {
        _ if dry_run => out.line("nothing is written: --dry-run"),
        Some(output) if written => out.line(format!("wrote {output}")),
        _ => out.line("nothing is written: the stages in sequence differ from the model"),
    }
}

/// The stages as a table.
pub(crate) fn show(stages: &[StageFacts], out: &mut Terminal) -> anyhow::Result<()> {
    let mut table = Table::new(&[
        "stage",
        "compute units",
        ">ops",
        ">multiply-adds",
        ">weights",
        "takes",
        "gives",
    ]);
    let list = |all: &[IoFacts]| {
        let each = all.iter().map(|io| format!("{} {}", io.name, io.ty));
        each.collect::<Vec<_>>().join(", ")
    };
    for s in stages {
        table.row([
            s.ends.name.clone(),
            s.compute_units.to_string(),
            s.ends.operations.to_string(),
            count(s.ends.multiply_adds),
            bytes(s.weights),
            list(&s.ends.inputs),
            list(&s.ends.outputs),
        ]);
    }
    out.heading("stages")?;
    table.write(out)?;
    show_kept(stages, out)?;
    for s in stages {
        out.line(format!("{} is {}:", s.ends.name, s.compute_units))?;
        for why in &s.why {
            out.line(format!("  {why}"))?;
        }
    }
    Ok(())
}

/// The states that stages keep, what they convert, and which have no weights.
pub(crate) fn show_kept(stages: &[StageFacts], out: &mut Terminal) -> anyhow::Result<()> {
    for s in stages {
        if s.weights == 0 {
            out.line(format!(
                "{} has no weights: it is a model to load for {} operation(s)",
                s.ends.name, s.ends.operations
            ))?;
        }
        if !s.ends.states.is_empty() {
            out.line(format!(
                "{} keeps the states {}",
                s.ends.name,
                s.ends.states.join(", ")
            ))?;
        }
        for cast in &s.ends.casts {
            out.line(format!("{} {}", s.ends.name, cast.line()))?;
        }
    }
    Ok(())
}

/// A large number, in thousands.
pub(crate) fn count(n: u64) -> String {
    match n {
        0..100_000 => n.to_string(),
        100_000..1_000_000_000 => format!("{:.1} M", n as f64 / 1e6),
        _ => format!("{:.1} G", n as f64 / 1e9),
    }
}

impl IoFacts {
    pub(crate) fn of(io: &Io) -> Self {
        IoFacts {
            name: io.name.clone(),
            ty: io.ty.brief(),
            from: io.from.map(name),
        }
    }
}

impl CastFacts {
    pub(crate) fn of(cast: &Cast) -> Self {
        CastFacts {
            value: cast.value.clone(),
            inside: cast.inside.to_string(),
            feature: cast.feature.clone(),
            outside: cast.outside.to_string(),
        }
    }

    /// What is converted, for people.
    pub(crate) fn line(&self) -> String {
        format!(
            "converts `{}` between {} and {}, which the feature `{}` has",
            self.value, self.inside, self.outside, self.feature
        )
    }
}
