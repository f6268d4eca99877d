//! `milwright rules`: the rules of `lint`.

use milwright_passes::lint::{Confidence, Effect, Rule, Unit, rules};
use serde::Serialize;

use crate::Outcome;
use crate::names::chosen;
use crate::table::Table;
use crate::terminal::Terminal;

/// List the rules of `lint`, or describe some of them.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Rules to describe; without any, all are listed.
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    rules: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    name: &'static str,
    ids: &'static [&'static str],
    severity: milwright_ir::Severity,
    effect: Effect,
    units: &'static [Unit],
    confidence: Confidence,
    disputed: Option<&'static str>,
    summary: &'static str,
    details: &'static str,
    sources: &'static [&'static str],
}

pub(crate) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    let wanted = chosen(&options.names, rules(), |rule| rule.name, "rule", "rules")?;
    if options.json {
        out.json(&Report {
            schema: "milwright-rules/1",
            rules: wanted.into_iter().map(Entry::new).collect(),
        })?;
    } else if options.names.is_empty() {
        list(&wanted, out)?;
    } else {
        for rule in wanted {
            explain(rule, out)?;
        }
    }
    Ok(Outcome::Clean)
}

fn list(rules: &[&'static Rule], out: &mut Terminal) -> anyhow::Result<()> {
    let mut table = Table::new(&["rule", "severity", "on", "how sure", "what it finds"]);
    for rule in rules {
        table.row([
            rule.name.to_owned(),
            rule.severity.to_string(),
            rule.units_in_words(),
            rule.confidence.to_string(),
            rule.summary.to_owned(),
        ]);
    }
    table.write(out)?;
    out.line(format!("{} rules", rules.len()))
}

/// The documentation of a rule.
pub(crate) fn explain(rule: &'static Rule, out: &mut Terminal) -> anyhow::Result<()> {
    out.heading(rule.name)?;
    out.line(rule.summary)?;
    out.line(rule.facts())?;
    out.line("")?;
    out.line(rule.details.trim())?;
    if let Some(disputed) = rule.disputed {
        out.line(format!("\nSources disagree: {disputed}"))?;
    }
    out.line("\nSources:")?;
    for source in rule.sources {
        out.line(format!("  {source}"))?;
    }
    Ok(())
}

impl Entry {
    fn new(rule: &'static Rule) -> Self {
        Entry {
            name: rule.name,
            ids: rule.ids,
            severity: rule.severity,
            effect: rule.effect,
            units: rule.units,
            confidence: rule.confidence,
            disputed: rule.disputed,
            summary: rule.summary,
            details: rule.details,
            sources: rule.sources,
        }
    }
}
