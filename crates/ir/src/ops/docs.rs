//! `docs/ops.md`, rendered from the table.

use std::fmt::Write;

use super::{Default, Domain, FAMILIES, Kind, OpDef, Param, Presence};
use crate::types::DataType;

/// A column of the overview that another crate knows: its title, and what it
/// says of an operation type.
pub type Column<'a> = (&'a str, &'a dyn Fn(&str) -> String);

/// The table as Markdown: an overview with `columns`, and every operation,
/// family by family.
pub fn render_docs(columns: &[Column<'_>]) -> String {
    let total: usize = FAMILIES.iter().map(|(_, defs)| defs.len()).sum();
    let mut out = format!(
        "# Operations\n\n\
         Generated from the op table (`crates/ir/src/ops`); do not edit by hand.\n\n\
         {total} operation types of iOS 15 to iOS 18. The letter behind the element types is \
         their group: parameters of one operation in the same group have the same type.\n"
    );
    // Writing to a String cannot fail.
    let _ = overview(&mut out, columns);
    for (family, defs) in FAMILIES {
        let _ = write!(out, "\n## {family}\n");
        for def in *defs {
            let _ = op(&mut out, def);
        }
    }
    out
}

fn overview(out: &mut String, columns: &[Column<'_>]) -> std::fmt::Result {
    let titles: String = columns
        .iter()
        .map(|(title, _)| format!(" {title} |"))
        .collect();
    let lines = "---|".repeat(columns.len());
    write!(
        out,
        "\n## Overview\n\n| operation | family | opsets |{titles}\n|---|---|---|{lines}\n"
    )?;
    let mut defs: Vec<(&str, &OpDef)> = FAMILIES
        .iter()
        .flat_map(|(family, defs)| defs.iter().map(move |def| (*family, def)))
        .collect();
    defs.sort_by_key(|(_, def)| def.name);
    for (family, def) in defs {
        let changes = def.changes.iter().map(|(opset, _)| format!(", {opset}"));
        let opsets: String = std::iter::once(def.since.to_string())
            .chain(changes)
            .collect();
        write!(out, "| [{0}](#{0}) | {family} | {opsets} |", def.name)?;
        for (_, cell) in columns {
            write!(out, " {} |", cell(def.name))?;
        }
        out.push('\n');
    }
    Ok(())
}

fn op(out: &mut String, def: &OpDef) -> std::fmt::Result {
    write!(
        out,
        "\n### {}\n\n{}\n\nSince {}.",
        def.name, def.summary, def.since
    )?;
    for (opset, what) in def.changes {
        write!(out, " {opset}: {what}.")?;
    }
    out.push('\n');
    if def.params.is_empty() {
        return Ok(());
    }
    out.push_str("\n| parameter | takes | when not given |\n|---|---|---|\n");
    for param in def.params {
        writeln!(
            out,
            "| `{}` | {} | {} |",
            param.name,
            takes(param),
            absent(param)
        )?;
    }
    Ok(())
}

fn takes(param: &Param) -> String {
    let mut parts = Vec::new();
    if param.constant {
        parts.push(match param.variable_since {
            Some(opset) => format!("constant before {opset}"),
            None => "constant".to_owned(),
        });
    }
    match param.kind {
        Kind::Tensor if param.domains.is_empty() => parts.push("any element type".to_owned()),
        Kind::Tensor => parts.extend(param.domains.iter().enumerate().map(|(i, d)| domain(i, d))),
        Kind::List => parts.push("list".to_owned()),
        Kind::State => parts.push("state".to_owned()),
        Kind::Any => parts.push("anything".to_owned()),
    }
    if param.variadic {
        parts.push("one or more".to_owned());
    }
    if let Some(since) = param.since {
        parts.push(format!("since {since}"));
    }
    if let Some(until) = param.until {
        parts.push(format!("gone in {until}"));
    }
    parts.join("; ")
}

fn domain(index: usize, domain: &Domain) -> String {
    let names: Vec<&str> = domain.dtypes.iter().map(|d: &DataType| d.name()).collect();
    let mut text = names.join(", ");
    if !domain.group.is_empty() {
        text = format!("{text} ({})", domain.group);
    }
    if index > 0 {
        text = format!("from {}: {text}", domain.since);
    }
    text
}

fn absent(param: &Param) -> String {
    match &param.presence {
        Presence::Required => "required".to_owned(),
        Presence::Optional(words) => (*words).to_owned(),
        Presence::Default(default) => match default {
            Default::Int(v) => v.to_string(),
            Default::Ints(v) => format!("{v:?}"),
            Default::Float(v) => format!("{v:?}"),
            Default::Bool(v) => v.to_string(),
            Default::Str(v) => format!("`{v}`"),
        },
    }
}
