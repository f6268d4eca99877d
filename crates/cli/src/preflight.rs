//! What a program loses in fp16, for people.

use milwright_verify::preflight::{ConstantReport, Difference, OpReport, Preflight};

use crate::report::number;
use crate::table::Table;
use crate::terminal::Terminal;

/// Rows of a table; the rest is in the JSON.
const ROWS: usize = 10;

/// Shows findings, worst first, and the verdict; before them every operation, if
/// `all`.
pub(crate) fn show(report: &Preflight, all: bool, out: &mut Terminal) -> anyhow::Result<()> {
    let how = if report.precision == "half" {
        "as if converted to fp16: inputs, weights, parameters and results rounded"
    } else {
        "as the program declares: fp16 results rounded to fp16"
    };
    out.line(format!("function {}, {how}", report.function))?;
    out.line(match report.seed {
        Some(seed) => format!(
            "{}, random inputs (--seed {seed}); give real ones with --inputs for real ranges",
            steps(report.steps)
        ),
        None => steps(report.steps),
    })?;
    if all {
        show_all(report, out)?;
    }
    show_broken(report, out)?;
    show_constants(report, out)?;
    show_worst(report, out)?;
    show_small(report, out)?;
    show_changed(report, out)?;
    show_outputs(report, out)?;
    verdict(report, out)
}

fn steps(n: usize) -> String {
    match n {
        1 => "1 step".to_owned(),
        n => format!("{n} steps"),
    }
}

fn share(count: u64, all: u64) -> f64 {
    count as f64 / all.max(1) as f64
}

fn range(min: Option<f64>, max: Option<f64>) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!("{} .. {}", number(min), number(max)),
        _ => "-".to_owned(),
    }
}

/// A relative error; with elements that are NaN or infinite it says nothing.
fn relative(difference: Option<&Difference>, nonfinite: u64) -> String {
    match difference.map(|d| d.relative) {
        _ if nonfinite > 0 => "NaN or Inf".to_owned(),
        Some(Some(r)) => number(r),
        Some(None) => "all".to_owned(),
        None => "-".to_owned(),
    }
}

fn more(shown: usize, all: usize, out: &mut Terminal) -> anyhow::Result<()> {
    if all > shown {
        out.line(format!(
            "{} more; --per-op and --json list them all",
            all - shown
        ))?;
    }
    Ok(())
}

/// Every result, in the order of execution.
fn show_all(report: &Preflight, out: &mut Terminal) -> anyhow::Result<()> {
    out.heading("every result")?;
    let mut table = Table::new(&[
        "operation",
        "range in fp32",
        ">smallest",
        ">too large",
        ">NaN or Inf",
        ">under 6.1e-5",
        ">become 0",
        ">of elements",
        ">added",
        ">in the whole run",
    ]);
    for o in &report.ops {
        table.row([
            o.op.clone(),
            range(o.min, o.max),
            o.smallest.map(number).unwrap_or_default(),
            o.overflow.to_string(),
            o.nonfinite.to_string(),
            o.below_normal.to_string(),
            o.to_zero.to_string(),
            o.elements.to_string(),
            relative(o.added.as_ref(), o.nonfinite + o.overflow),
            relative(o.total.as_ref(), o.nonfinite_in_run),
        ]);
    }
    table.write(out)
}

/// Operations whose own result does not fit.
fn show_broken(report: &Preflight, out: &mut Terminal) -> anyhow::Result<()> {
    let mut broken: Vec<&OpReport> = report.ops.iter().filter(|o| o.breaks()).collect();
    broken.sort_by(|a, b| {
        let bad = |o: &OpReport| share(o.overflow + o.nonfinite, o.elements);
        bad(b).total_cmp(&bad(a))
    });
    if !broken.is_empty() {
        out.heading("results that fp16 cannot hold (largest number: 65504)")?;
        let mut table = Table::new(&[
            "operation",
            "range in fp32",
            ">too large",
            ">become NaN or Inf",
            ">of elements",
        ]);
        for o in broken.iter().take(ROWS) {
            table.row([
                o.op.clone(),
                range(o.min, o.max),
                o.overflow.to_string(),
                o.nonfinite.to_string(),
                o.elements.to_string(),
            ]);
        }
        table.write(out)?;
        more(ROWS, broken.len(), out)?;
        for o in &broken {
            if let Some(failure) = &o.failure {
                out.line(format!("fails in fp16: {failure}"))?;
            }
        }
    }
    let inherited = report
        .ops
        .iter()
        .filter(|o| !o.breaks() && o.nonfinite_in_run > 0);
    match inherited.count() {
        0 => {}
        n => out.line(format!(
            "{n} later results hold NaN or Inf because of what they read"
        ))?,
    }
    for o in report.ops.iter().filter(|o| o.nan > 0) {
        out.line(format!("{}: {} NaN in fp32 already", o.op, o.nan))?;
    }
    if let Some(failure) = &report.failure {
        out.line(format!("the run in fp16 ends early: {failure}"))?;
    }
    Ok(())
}

fn show_constants(report: &Preflight, out: &mut Terminal) -> anyhow::Result<()> {
    if report.constants.is_empty() {
        return Ok(());
    }
    out.heading(&format!(
        "constants that fp16 cannot hold ({} of {})",
        report.constants.len(),
        report.constants_checked
    ))?;
    let mut table = Table::new(&[
        "constant",
        "range",
        ">become Inf",
        ">become 0",
        ">of elements",
        "read by",
    ]);
    for c in report.constants.iter().take(ROWS) {
        table.row([
            c.name.clone(),
            range(c.min, c.max),
            c.overflow.to_string(),
            c.to_zero.to_string(),
            c.elements.to_string(),
            readers(c),
        ]);
    }
    table.write(out)?;
    more(ROWS, report.constants.len(), out)
}

fn readers(c: &ConstantReport) -> String {
    c.used_by.join(", ")
}

fn show_worst(report: &Preflight, out: &mut Terminal) -> anyhow::Result<()> {
    if report.worst.is_empty() {
        return Ok(());
    }
    out.heading("operations that add most error, each on operands that are right to fp16")?;
    let mut table = Table::new(&[
        "operation",
        ">added, relative",
        ">added, largest",
        ">in the whole run",
        "range in fp32",
    ]);
    for name in &report.worst {
        let Some(o) = report.ops.iter().find(|o| o.output == *name) else {
            continue;
        };
        table.row([
            o.op.clone(),
            relative(o.added.as_ref(), 0),
            o.added
                .as_ref()
                .map(|d| number(d.max_abs))
                .unwrap_or_default(),
            relative(o.total.as_ref(), o.nonfinite_in_run),
            range(o.min, o.max),
        ]);
    }
    table.write(out)?;
    out.line("Rounding alone adds up to 4.9e-4 (2^-11).")
}

/// Results with the largest share of subnormal numbers.
fn show_small(report: &Preflight, out: &mut Terminal) -> anyhow::Result<()> {
    let mut small: Vec<&OpReport> = report.ops.iter().filter(|o| o.below_normal > 0).collect();
    if small.is_empty() {
        return Ok(());
    }
    small.sort_by(|a, b| {
        let below = |o: &OpReport| share(o.below_normal, o.elements);
        below(b).total_cmp(&below(a))
    });
    out.heading("results under the smallest normal number of fp16, 6.1e-5")?;
    let mut table = Table::new(&[
        "operation",
        ">under it",
        ">become 0",
        ">of elements",
        ">smallest",
    ]);
    for o in small.iter().take(ROWS) {
        table.row([
            o.op.clone(),
            o.below_normal.to_string(),
            o.to_zero.to_string(),
            o.elements.to_string(),
            o.smallest.map(number).unwrap_or_default(),
        ]);
    }
    table.write(out)?;
    more(ROWS, small.len(), out)
}

/// Integers, truth values and branches that are not what they are in fp32.
fn show_changed(report: &Preflight, out: &mut Terminal) -> anyhow::Result<()> {
    let count = |d: &Option<Difference>| d.as_ref().and_then(|d| d.changed).unwrap_or(0);
    let changed: Vec<&OpReport> = report
        .ops
        .iter()
        .filter(|o| count(&o.added) + count(&o.total) > 0)
        .collect();
    if !changed.is_empty() {
        out.heading("integers and truth values that differ")?;
        let mut table = Table::new(&[
            "operation",
            ">by itself",
            ">in the whole run",
            ">of elements",
        ]);
        for o in changed.iter().take(ROWS) {
            table.row([
                o.op.clone(),
                count(&o.added).to_string(),
                count(&o.total).to_string(),
                o.elements.to_string(),
            ]);
        }
        table.write(out)?;
        more(ROWS, changed.len(), out)?;
    }
    for o in report.ops.iter().filter(|o| o.strays) {
        out.line(format!("{}: takes another way in fp16", o.op))?;
    }
    Ok(())
}

fn show_outputs(report: &Preflight, out: &mut Terminal) -> anyhow::Result<()> {
    out.heading("outputs")?;
    let mut table = Table::new(&["output", ">relative error", ">largest", ">NaN or Inf"]);
    for o in &report.outputs {
        table.row([
            o.name.clone(),
            relative(o.total.as_ref(), o.nonfinite),
            o.total
                .as_ref()
                .map(|d| number(d.max_abs))
                .unwrap_or_default(),
            o.nonfinite.to_string(),
        ]);
    }
    table.write(out)
}

fn verdict(report: &Preflight, out: &mut Terminal) -> anyhow::Result<()> {
    let broken = report.ops.iter().filter(|o| o.breaks()).count();
    let constants = report.constants.iter().filter(|c| c.overflow > 0).count();
    out.line(if report.ok {
        "ok: nothing overflows or becomes NaN on these inputs".to_owned()
    } else {
        let mut what = Vec::new();
        if broken > 0 {
            what.push(format!("{broken} results do not fit"));
        }
        if constants > 0 {
            what.push(format!("{constants} constants are beyond 65504"));
        }
        if report.ops.iter().any(|o| o.nan > 0) {
            what.push("there are NaN in fp32".to_owned());
        }
        if what.is_empty() {
            what.push("values become NaN or Inf".to_owned());
        }
        format!("NOT SAFE IN FP16: {}", what.join(", "))
    })
}
