//! `milwright passes`: the passes that `convert` runs.

use milwright_passes::{PRESETS, Pass, Takes, passes};
use serde::Serialize;

use crate::Outcome;
use crate::names::chosen;
use crate::table::Table;
use crate::terminal::Terminal;

/// List the passes and presets for `convert --passes`, or describe some.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Passes to describe; without any, all are listed.
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    passes: Vec<Entry>,
    presets: Vec<PresetEntry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    name: &'static str,
    summary: &'static str,
    exactness: String,
    options: Vec<OptionEntry>,
    details: &'static str,
}

#[derive(Debug, Serialize)]
struct OptionEntry {
    name: &'static str,
    summary: &'static str,
    default: String,
    /// `word`, `number` or `names`.
    takes: &'static str,
    /// Of an option that takes a word.
    values: Vec<ValueEntry>,
}

#[derive(Debug, Serialize)]
struct ValueEntry {
    value: &'static str,
    meaning: &'static str,
}

#[derive(Debug, Serialize)]
struct PresetEntry {
    name: &'static str,
    summary: &'static str,
    passes: &'static str,
}

pub(crate) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    let wanted = chosen(&options.names, passes(), |pass| pass.name, "pass", "passes")?;
    let report = Report {
        schema: "milwright-passes/1",
        passes: wanted.into_iter().map(Entry::new).collect(),
        presets: PRESETS
            .iter()
            .map(|p| PresetEntry {
                name: p.name,
                summary: p.summary,
                passes: p.pipeline,
            })
            .collect(),
    };
    if options.json {
        out.json(&report)?;
    } else if options.names.is_empty() {
        list(&report, out)?;
    } else {
        for entry in &report.passes {
            describe(entry, out)?;
        }
    }
    Ok(Outcome::Clean)
}

fn list(report: &Report, out: &mut Terminal) -> anyhow::Result<()> {
    let mut table = Table::new(&["pass", "numbers", "options", "what it does"]);
    for p in &report.passes {
        let options: Vec<String> = p
            .options
            .iter()
            .map(|o| {
                let values: Vec<&str> = o.values.iter().map(|v| v.value).collect();
                match o.takes {
                    "word" => format!("{}={}", o.name, values.join("|")),
                    "number" => format!("{}={}", o.name, o.default),
                    _ => format!("{}=NAME,..", o.name),
                }
            })
            .collect();
        table.row([p.name, &p.exactness, &options.join(" "), p.summary]);
    }
    table.write(out)?;
    out.line("")?;
    let mut table = Table::new(&["preset", "passes", "what it is for"]);
    for p in &report.presets {
        table.row([p.name, p.passes, p.summary]);
    }
    table.write(out)
}

fn describe(entry: &Entry, out: &mut Terminal) -> anyhow::Result<()> {
    out.heading(entry.name)?;
    out.line(format!("{} ({})", entry.summary, entry.exactness))?;
    let mut table = Table::new(&["option", "value", "meaning"]);
    for o in &entry.options {
        if o.takes != "word" {
            let value = match o.takes {
                "number" => format!("a number (default {})", o.default),
                _ => "NAME,NAME,..".to_owned(),
            };
            table.row([o.name.to_owned(), value, o.summary.to_owned()]);
        }
        for v in &o.values {
            let default = if v.value == o.default { " (default)" } else { "" };
            table.row([o.name.to_owned(), format!("{}{default}", v.value), v.meaning.to_owned()]);
        }
    }
    if !table.is_empty() {
        table.write(out)?;
    }
    out.line("")?;
    out.line(entry.details.trim())
}

impl Entry {
    fn new(pass: &'static Pass) -> Self {
        Entry {
            name: pass.name,
            summary: pass.summary,
            exactness: pass.exactness.to_string(),
            options: pass
                .options
                .iter()
                .map(|o| OptionEntry {
                    name: o.name,
                    summary: o.summary,
                    default: o.default(),
                    takes: match o.takes {
                        Takes::Words(_) => "word",
                        Takes::Number { .. } => "number",
                        Takes::Names => "names",
                    },
                    values: match o.takes {
                        Takes::Words(words) => words,
                        _ => &[],
                    }
                        .iter()
                        .map(|&(value, meaning)| ValueEntry { value, meaning })
                        .collect(),
                })
                .collect(),
            details: pass.details,
        }
    }
}
