//! What a device did with a model, beside the prediction.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use milwright_ir::Program;
use milwright_passes::lint::device::{self, Comparison, Record, Row};
use milwright_passes::lint::placement::Left;
use serde::Serialize;

use crate::table::Table;
use crate::terminal::Terminal;

/// Rows that are shown; all are in the JSON.
const ROWS: usize = 60;

/// Names that are shown of what has no counterpart.
const NAMES: usize = 8;

/// No record of a device is larger.
const MAX_RECORD: u64 = 1 << 30;

/// What a device did.
#[derive(Debug, Serialize)]
pub(crate) struct DeviceReport {
    /// `analytics` or `compute-plan`.
    pub(crate) kind: &'static str,
    pub(crate) file: String,
    /// What changing units costs on the device, in ms.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) costs: BTreeMap<String, f64>,
    #[serde(flatten)]
    pub(crate) comparison: Comparison,
}

/// A file that a device wrote.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// `analytics.mil`.
    Analytics,
    /// A dump of a compute plan.
    ComputePlan,
}

impl DeviceReport {
    /// Reads a file and holds it against a program and the operations that
    /// leave the Neural Engine by the findings.
    pub(crate) fn new(
        kind: Kind,
        file: &Path,
        program: &Program,
        left: &Left,
    ) -> anyhow::Result<Self> {
        let record = read(kind, file).with_context(|| format!("cannot use {}", file.display()))?;
        Ok(DeviceReport {
            kind: match kind {
                Kind::Analytics => "analytics",
                Kind::ComputePlan => "compute-plan",
            },
            file: file.display().to_string(),
            comparison: device::compare(&record, program, left),
            costs: record.costs,
        })
    }

    pub(crate) fn show(&self, out: &mut Terminal) -> anyhow::Result<()> {
        out.heading(&format!("on the device, by {}", self.file))?;
        let comparison = &self.comparison;
        let all = comparison.rows.len() <= ROWS;
        let told = |row: &&Row| all || row.agrees == Some(false) || !row.rules.is_empty();
        let rows: Vec<&Row> = comparison.rows.iter().filter(told).collect();
        let mut table = Table::new(&[
            "operation",
            "ran on",
            "can run on",
            "predicted",
            "agrees",
            "why",
        ]);
        for row in rows.iter().take(ROWS) {
            table.row(cells(row));
        }
        if !table.is_empty() {
            table.write(out)?;
        }
        let hidden = comparison.rows.len() - rows.len().min(ROWS);
        if hidden > 0 {
            out.line(format!(
                "{hidden} more operations; all are in the JSON (--json)"
            ))?;
        }
        names(out, "only in the record", &comparison.not_in_program)?;
        names(out, "only in the model", &comparison.not_in_record)?;
        let by_order = comparison
            .rows
            .iter()
            .filter(|r| r.matched_by_order)
            .count();
        if by_order > 0 {
            out.line(format!(
                "{by_order} operations are matched by type and order, as the record has no names"
            ))?;
        }
        let agreement = &comparison.agreement;
        if agreement.taken_but_elsewhere > 0 {
            out.line(format!(
                "{} operations could run on the Neural Engine and ran elsewhere: the device \
                 weighs what handing over costs",
                agreement.taken_but_elsewhere
            ))?;
        }
        out.line(agreement.to_string())
    }
}

fn read(kind: Kind, file: &Path) -> anyhow::Result<Record> {
    let bytes = std::fs::metadata(file)?.len();
    if bytes > MAX_RECORD {
        bail!("it has {bytes} bytes, and no record of a device has more than {MAX_RECORD}");
    }
    let text = std::fs::read(file)?;
    let text = String::from_utf8(text).context("it is no text")?;
    Ok(match kind {
        Kind::Analytics => device::analytics(&text)?,
        Kind::ComputePlan => device::compute_plan(&text)?,
    })
}

fn cells(row: &Row) -> [String; 6] {
    let unit = row.unit.map_or("?", |unit| unit.words());
    let predicted = match row.predicted_neural_engine {
        true => "Neural Engine".to_owned(),
        false => format!("not Neural Engine ({})", row.rules.join(", ")),
    };
    let agrees = match row.agrees {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "",
    };
    let why = row
        .messages
        .iter()
        .map(|(backend, text)| format!("{backend}: {text}"));
    let why: Vec<String> = why.collect();
    [
        row.op.clone(),
        format!("{unit} ({})", row.backend),
        row.supported.join(", "),
        predicted,
        agrees.to_owned(),
        why.join("; "),
    ]
}

fn names(out: &mut Terminal, what: &str, names: &[String]) -> anyhow::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let shown: Vec<&str> = names.iter().take(NAMES).map(String::as_str).collect();
    let more = match names.len().saturating_sub(NAMES) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    out.line(format!(
        "{what} ({}): {}{more}",
        names.len(),
        shown.join("; ")
    ))
}
