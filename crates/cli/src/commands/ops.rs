//! `milwright ops`: the op table.

use milwright_interp::{Agreement, agreement, is_executable};
use milwright_ir::ops::{self, Default, Kind, OpDef, Opset, Param, Presence};
use serde::Serialize;

use crate::Outcome;
use crate::names::chosen;
use crate::table::Table;
use crate::terminal::Terminal;

/// List the operations that this version knows, or describe some of them.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Operations to describe; without any, all are listed.
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    ops: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    name: &'static str,
    family: &'static str,
    summary: &'static str,
    since: &'static str,
    executable: bool,
    /// How exactly another implementation must agree: exact, rounding, random.
    agreement: Option<&'static str>,
    blocks: usize,
    parameters: Vec<Parameter>,
    changes: Vec<Change>,
}

#[derive(Debug, Serialize)]
struct Parameter {
    name: &'static str,
    kind: &'static str,
    required: bool,
    default: Option<String>,
    constant: bool,
    variadic: bool,
    since: Option<&'static str>,
    until: Option<&'static str>,
    element_types: Vec<ElementTypes>,
}

#[derive(Debug, Serialize)]
struct ElementTypes {
    since: &'static str,
    types: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct Change {
    opset: &'static str,
    what: &'static str,
}

pub(crate) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    let all: Vec<&'static OpDef> = ops::all().collect();
    let mut defs = chosen(&options.names, &all, |def| def.name, "operation", "ops")?;
    defs.sort_by_key(|def| def.name);
    let entries: Vec<Entry> = defs.into_iter().map(Entry::new).collect();
    if options.json {
        out.json(&Report {
            schema: "milwright-ops/1",
            ops: entries,
        })?;
    } else if options.names.is_empty() {
        list(&entries, out)?;
    } else {
        for entry in &entries {
            describe(entry, out)?;
        }
    }
    Ok(Outcome::Clean)
}

fn list(entries: &[Entry], out: &mut Terminal) -> anyhow::Result<()> {
    let mut table = Table::new(&["op", "since", "runs", "what it does"]);
    for e in entries {
        table.row([e.name, e.since, yes(e.executable), e.summary]);
    }
    table.write(out)?;
    let run = entries.iter().filter(|e| e.executable).count();
    out.line(format!("{} operations, {run} of them run here", entries.len()))
}

fn describe(entry: &Entry, out: &mut Terminal) -> anyhow::Result<()> {
    out.heading(entry.name)?;
    out.line(entry.summary)?;
    out.line(format!(
        "since {}, {}, family {}",
        entry.since,
        match entry.agreement {
            Some(agreement) => format!("runs here (agreement: {agreement})"),
            None => "does not run here".to_owned(),
        },
        entry.family
    ))?;
    let mut table = Table::new(&["parameter", "kind", "when not given", "element types"]);
    for p in &entry.parameters {
        let mut kind = p.kind.to_owned();
        if p.constant {
            kind.insert_str(0, "constant ");
        }
        if p.variadic {
            kind.push_str(", any number");
        }
        if let Some(since) = p.since {
            kind.push_str(&format!(", since {since}"));
        }
        if let Some(until) = p.until {
            kind.push_str(&format!(", until {until}"));
        }
        let absent = match (&p.default, p.required) {
            (Some(default), _) => default.as_str(),
            (None, true) => "(required)",
            (None, false) => "",
        };
        let types: Vec<String> = p
            .element_types
            .iter()
            .enumerate()
            .map(|(i, row)| match i {
                0 => row.types.join(" "),
                _ => format!("since {}: {}", row.since, row.types.join(" ")),
            })
            .collect();
        table.row([p.name, &kind, absent, &types.join("; ")]);
    }
    if !table.is_empty() {
        table.write(out)?;
    }
    for change in &entry.changes {
        out.line(format!("{}: {}", change.opset, change.what))?;
    }
    Ok(())
}

fn yes(b: bool) -> &'static str {
    if b { "yes" } else { "no" }
}

impl Entry {
    fn new(def: &'static OpDef) -> Self {
        Entry {
            name: def.name,
            family: def.family(),
            summary: def.summary,
            since: def.since.text_name(),
            executable: is_executable(def.name),
            agreement: agreement(def.name).map(Agreement::name),
            blocks: def.blocks,
            parameters: def.params.iter().map(Parameter::new).collect(),
            changes: def
                .changes
                .iter()
                .map(|&(opset, what)| Change {
                    opset: opset.text_name(),
                    what,
                })
                .collect(),
        }
    }
}

impl Parameter {
    fn new(param: &'static Param) -> Self {
        Parameter {
            name: param.name,
            kind: match param.kind {
                Kind::Tensor => "tensor",
                Kind::List => "list",
                Kind::State => "state",
                Kind::Any => "anything",
            },
            required: matches!(param.presence, Presence::Required),
            default: match &param.presence {
                Presence::Required => None,
                Presence::Optional(words) => Some((*words).to_owned()),
                Presence::Default(value) => Some(match value {
                    Default::Int(v) => v.to_string(),
                    Default::Ints(v) => format!("{v:?}"),
                    Default::Float(v) => v.to_string(),
                    Default::Bool(v) => v.to_string(),
                    Default::Str(v) => format!("\"{v}\""),
                }),
            },
            constant: param.constant,
            variadic: param.variadic,
            since: param.since.map(Opset::text_name),
            until: param.until.map(Opset::text_name),
            element_types: param
                .domains
                .iter()
                .map(|d| ElementTypes {
                    since: d.since.text_name(),
                    types: d.dtypes.iter().map(|t| t.name()).collect(),
                })
                .collect(),
        }
    }
}
