//! A comparison for people.

use milwright_verify::metrics::{Element, Metrics};
use milwright_verify::report::{OutputReport, Report};

use crate::table::Table;
use crate::terminal::Terminal;

/// Shows outputs, findings and the verdict.
pub(crate) fn show(report: &Report, out: &mut Terminal) -> anyhow::Result<()> {
    outputs(report, out)?;
    for o in &report.outputs {
        if let Some(problem) = &o.problem {
            out.line(format!("{}: {problem}", o.name))?;
        } else if let (false, Some(worst)) =
            (o.ok, o.metrics.as_ref().and_then(|m| m.worst.as_ref()))
        {
            out.line(format!("{}: worst at {}", o.name, element(worst)))?;
        }
        if o.ok && o.metrics.as_ref().is_some_and(|m| m.constant) {
            out.line(format!(
                "{}: the reference is one value throughout; other inputs may show more",
                o.name
            ))?;
        }
    }
    if !report.not_compared.is_empty() {
        out.line(format!(
            "no expected values for: {}",
            report.not_compared.join(", ")
        ))?;
    }
    if let Some(per_op) = &report.per_op {
        out.line(format!(
            "{} values compared by name, {} are in one program only",
            per_op.compared, per_op.only_in_one
        ))?;
        if let Some(first) = &per_op.first {
            let figures = first.value.metrics.as_ref();
            out.line(format!(
                "first departure, step {}: `{}`{}",
                first.step,
                first.op,
                match (&first.value.problem, figures) {
                    (Some(problem), _) => format!(": {problem}"),
                    (None, Some(f)) => format!(
                        ", max abs {}{}",
                        number(f.max_abs),
                        f.worst
                            .as_ref()
                            .map(|w| format!(", worst at {}", element(w)))
                            .unwrap_or_default()
                    ),
                    (None, None) => String::new(),
                }
            ))?;
        }
    }
    verdict(report, out)
}

/// The table of outputs.
pub(crate) fn outputs(report: &Report, out: &mut Terminal) -> anyhow::Result<()> {
    let mut table = Table::new(&[
        "output",
        "ok",
        ">max abs",
        ">max rel",
        ">mean abs",
        ">cosine",
        ">SNR dB",
        ">max |ref|",
        ">NaN",
        ">Inf",
    ]);
    for o in &report.outputs {
        table.row(row(o));
    }
    table.write(out)
}

fn row(o: &OutputReport) -> Vec<String> {
    let mut row = vec![o.name.clone(), if o.ok { "yes" } else { "NO" }.to_owned()];
    if let Some(f) = &o.metrics {
        row.extend(figures(f));
    }
    row
}

fn figures(f: &Metrics) -> [String; 8] {
    [
        number(f.max_abs),
        number(f.max_rel),
        number(f.mean_abs),
        format!("{:.7}", f.cosine),
        f.snr_db
            .map_or_else(|| "-".to_owned(), |snr| format!("{snr:.1}")),
        number(f.ref_max_abs),
        counts(f.nan, f.ref_nan),
        counts(f.inf, f.ref_inf),
    ]
}

/// One number when both sides have as many, else both.
fn counts(out: u64, reference: u64) -> String {
    if out == reference {
        out.to_string()
    } else {
        format!("{out} (ref {reference})")
    }
}

fn verdict(report: &Report, out: &mut Terminal) -> anyhow::Result<()> {
    let bad = report.outputs.iter().filter(|o| !o.ok).count();
    let all = report.outputs.len();
    let steps = match report.steps {
        1 => "1 step".to_owned(),
        n => format!("{n} steps"),
    };
    let inputs = match report.seed {
        Some(seed) => format!(", random inputs (--seed {seed})"),
        None => String::new(),
    };
    let result = if report.ok {
        match all {
            1 => "ok: 1 output agrees".to_owned(),
            _ => format!("ok: {all} outputs agree"),
        }
    } else if bad == 0 {
        "DIFFERENT: the outputs agree, a value before them departs".to_owned()
    } else {
        format!("DIFFERENT: {bad} of {all} outputs disagree")
    };
    out.line(format!(
        "{result} ({}, {steps}{inputs}, {} evaluation)",
        report.tolerance, report.precision
    ))
}

fn element(e: &Element) -> String {
    format!(
        "{:?} of step {}: {} instead of {}",
        e.index, e.step, e.out, e.reference
    )
}

/// Three digits, or 0.
pub(crate) fn number(v: f64) -> String {
    if v == 0.0 {
        "0".to_owned()
    } else if (1e-3..1e6).contains(&v.abs()) {
        let digits = (2 - v.abs().log10().floor() as i32).clamp(0, 6) as usize;
        format!("{v:.digits$}")
    } else {
        format!("{v:.2e}")
    }
}
