//! `milwright weights list`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::ValueEnum;
use milwright_ir::Model;
use milwright_passes::weights::{Catalog, Storage, Use};
use serde::Serialize;

use crate::Outcome;
use crate::table::Table;
use crate::terminal::Terminal;
use crate::weights::bytes;

/// List every stored constant: type, size, place, form, and what computes with
/// it.
///
/// Identical ones are pointed out; of those that have the size of another, all
/// bytes may be read for that.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The model.
    model: PathBuf,

    /// The order of the rows.
    #[arg(long, value_enum, default_value_t = Order::Size)]
    sort: Order,

    /// Do not look for identical ones.
    #[arg(long)]
    no_compare: bool,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Order {
    /// The largest first.
    Size,
    /// As in the weight file; those in the spec last.
    File,
    /// As in the program.
    Program,
}

#[derive(Debug, Serialize)]
struct Report<'m> {
    schema: &'static str,
    model: String,
    /// Bytes of all, each place once.
    bytes: u64,
    /// Places: blobs, and constants in the spec.
    tensors: usize,
    /// Bytes of blobs that are identical to another one.
    duplicate_bytes: Option<u64>,
    weights: Vec<Row<'m>>,
}

#[derive(Debug, Serialize)]
struct Row<'m> {
    name: &'m str,
    functions: &'m [&'m str],
    dtype: String,
    shape: Vec<u64>,
    bytes: u64,
    /// Of the bytes of all.
    share: f64,
    /// The weight file; null in the spec.
    file: Option<&'m str>,
    /// Of the record in the file.
    offset: Option<u64>,
    storage: &'m Storage,
    used_by: &'m [Use],
    /// The first weight that is the same bytes of the same type.
    same_as: Option<&'m str>,
}

pub(super) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    let model = Model::open(&options.model)?;
    let catalog = Catalog::of(model.program());
    let same = match options.no_compare {
        true => vec![None; catalog.stored.len()],
        false => catalog.identical(model.package())?,
    };
    let mut places = BTreeSet::new();
    let (mut total, mut tensors, mut duplicates) = (0u64, 0, 0u64);
    for (index, stored) in catalog.stored.iter().enumerate() {
        if stored.blob.is_none_or(|blob| places.insert(blob)) {
            total = total.saturating_add(stored.bytes);
            tensors += 1;
            if same[index].is_some_and(|first| first != index) {
                duplicates = duplicates.saturating_add(stored.bytes);
            }
        }
    }
    let mut rows: Vec<Row<'_>> = catalog
        .stored
        .iter()
        .enumerate()
        .map(|(index, stored)| Row {
            name: &stored.name,
            functions: &stored.functions,
            dtype: stored.ty.dtype.to_string(),
            shape: stored.ty.known_shape().unwrap_or_default(),
            bytes: stored.bytes,
            share: stored.bytes as f64 / total.max(1) as f64,
            file: stored.blob.map(|blob| &*blob.file_name),
            offset: stored.blob.map(|blob| blob.offset),
            storage: &stored.storage,
            used_by: &stored.used_by,
            same_as: same[index]
                .filter(|&first| first != index)
                .map(|first| catalog.stored[first].name.as_str()),
        })
        .collect();
    // Stable: among equals, program order.
    match options.sort {
        Order::Size => rows.sort_by_key(|row| std::cmp::Reverse(row.bytes)),
        Order::File => rows.sort_by_key(|row| (row.file.is_none(), row.file, row.offset)),
        Order::Program => {}
    }
    let report = Report {
        schema: "milwright-weights-list/1",
        model: options.model.display().to_string(),
        bytes: total,
        tensors,
        duplicate_bytes: (!options.no_compare).then_some(duplicates),
        weights: rows,
    };
    if options.json {
        out.json(&report)?;
    } else {
        show(&report, out)?;
    }
    Ok(Outcome::Clean)
}

fn show(report: &Report<'_>, out: &mut Terminal) -> anyhow::Result<()> {
    let functions = report.weights.iter().any(|row| row.functions.len() > 1);
    let headings = ["name", "type", ">bytes", ">share", ">offset", "form", "used by", ""];
    let mut table = Table::new(&headings);
    for row in &report.weights {
        let mut notes = Vec::new();
        if let Some(first) = row.same_as {
            notes.push(format!("same as {first}"));
        }
        if functions {
            notes.push(format!("in {}", row.functions.join(", ")));
        }
        let shape: Vec<String> = row.shape.iter().map(u64::to_string).collect();
        table.row([
            row.name.to_owned(),
            format!("{}[{}]", row.dtype, shape.join(",")),
            row.bytes.to_string(),
            format!("{:.1} %", row.share * 100.0),
            row.offset.map_or_else(|| "spec".to_owned(), |at| at.to_string()),
            form(row.storage),
            used(row.used_by),
            notes.join("; "),
        ]);
    }
    if !table.is_empty() {
        table.write(out)?;
    }
    let mut line = format!("{} in {} tensors", bytes(report.bytes), report.tensors);
    if let Some(duplicates) = report.duplicate_bytes.filter(|&n| n > 0) {
        line.push_str(&format!(
            "; {} of them are stored more than once, and `milwright weights dedup` stores them once",
            bytes(duplicates)
        ));
    }
    out.line(line)
}

fn form(storage: &Storage) -> String {
    match storage {
        Storage::Dense => "dense".to_owned(),
        Storage::Part {
            op, param, bits, ..
        } => {
            let op = op.trim_start_matches("constexpr_");
            let unit = if *bits == 1 { "bit" } else { "bits" };
            format!("{param} of {op}, {bits} {unit}")
        }
    }
}

fn used(uses: &[Use]) -> String {
    match uses {
        [] => "nothing".to_owned(),
        [one] => format!("{} {} ({})", one.op, one.output, one.param),
        [one, rest @ ..] => format!("{} {} ({}) and {} more", one.op, one.output, one.param, rest.len()),
    }
}
