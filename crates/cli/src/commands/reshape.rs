//! `milwright reshape`: other shapes for inputs.

use std::path::Path;

use anyhow::{Context, bail};
use milwright_ir::{Constant, Model, TensorType};
use milwright_passes::edit::reshape::{Fixed, Options as Reshape, Request, Reshaped, constant, reshape};
use milwright_verify::array::Kind;
use milwright_verify::{Array, npz};
use serde::Serialize;

use crate::Outcome;
use crate::editing::{EditOptions, Written};
use crate::table::Table;
use crate::terminal::Terminal;

/// Give inputs other shapes: fixed, between bounds, or one of several.
///
/// The types of everything behind the inputs are inferred again, and the
/// descriptions of the outputs follow. Operations that were written for the old
/// size (constants of reshape, ends of slices, tables of positions) are all
/// named, and nothing is written while there are any. --follow rewrites those
/// for which the number of elements leaves one choice, and lists them;
/// --constant gives a table of another size; --keep leaves an operation as it
/// is that would compute something else without an error.
///
/// Exit status: 0 when the model was written, 1 when operations are in the way.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    edit: EditOptions,

    /// An input and its shapes: `x=1,64,32` fixed, `x=1..512,32` or `x=1..,32`
    /// with bounds, `x=1,64;1,128` one of several.
    #[arg(long, value_name = "NAME=SHAPE", required = true, value_parser = Request::parse)]
    input: Vec<Request>,

    /// Rewrite the parameters that allow only one choice without the old size.
    #[arg(long)]
    follow: bool,

    /// Another value for a constant, such as a longer table of positions.
    #[arg(long, value_name = "NAME=FILE.npy")]
    constant: Vec<String>,

    /// The result of an operation that stays as it is, although it was written
    /// for the old size.
    #[arg(long, value_name = "VALUE")]
    keep: Vec<String>,

    /// Function [default: all that have the inputs].
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    /// Whether the model was written.
    ok: bool,
    written: Option<Written>,
    shapes: Vec<Reshaped>,
    /// Operations that were rewritten.
    followed: Vec<Fixed>,
    /// Operations that stay on purpose.
    kept: Vec<Fixed>,
    /// Operations that are in the way.
    in_the_way: Vec<Fixed>,
    /// Numbers that may be the old size; for a person to look at.
    numbers: Vec<Fixed>,
}

pub(crate) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    let model = options.edit.open()?;
    let mut constants = Vec::new();
    for text in &options.constant {
        let (name, path) = text
            .split_once('=')
            .with_context(|| format!("--constant {text}: write it as NAME=FILE.npy"))?;
        let array = npz::load_npy(Path::new(path))?;
        let new = match type_of(&model, name) {
            Some(ty) => to_constant(&array, ty)
                .with_context(|| format!("--constant {name}: {path} holds {}", array.dtype()))?,
            // The library says which names there are.
            None => Constant::int(0),
        };
        constants.push((name.to_owned(), new));
    }
    let outcome = reshape(
        &model,
        &options.input,
        &Reshape {
            function: options.function.clone(),
            follow: options.follow,
            keep: options.keep.clone(),
            constants,
        },
    )?;
    let written = match &outcome.edited {
        Some(edited) => Some(options.edit.write(&model, edited)?),
        None => None,
    };
    let report = Report {
        schema: "milwright-reshape/1",
        ok: written.is_some(),
        written,
        shapes: outcome.shapes,
        followed: outcome.followed,
        kept: outcome.kept,
        in_the_way: outcome.left,
        numbers: outcome.numbers,
    };
    if options.edit.json {
        out.json(&report)?;
    } else {
        show(&report, out)?;
    }
    Ok(match report.ok {
        true => Outcome::Clean,
        false => Outcome::Findings,
    })
}

/// The type of the constant of that name.
fn type_of<'m>(model: &'m Model, name: &str) -> Option<&'m TensorType> {
    let program = model.program();
    let mut values = program.values.ids();
    let value = values.find(|&v| program.values[v].name == name && program.const_of(v).is_some());
    program.const_of(value?)?.tensor_type()
}

/// An array as a constant of the element type of the old one.
fn to_constant(array: &Array, ty: &TensorType) -> anyhow::Result<Constant> {
    let shape: Vec<u64> = array.shape().iter().map(|&n| n as u64).collect();
    let is_float = array.dtype().kind() == Kind::Float;
    if is_float != ty.dtype.is_float() {
        bail!("and the constant is {}", ty.dtype);
    }
    constant(ty.dtype, &shape, &array.data().to_f64())
        .with_context(|| format!("and the constant is {}", ty.dtype))
}

fn show(report: &Report, out: &mut Terminal) -> anyhow::Result<()> {
    let mut table = Table::new(&["", "name", "before", "after", "function"]);
    for s in &report.shapes {
        table.row([s.what, s.name.as_str(), s.before.as_str(), s.after.as_str(), s.function.as_str()]);
    }
    table.write(out)?;
    if !report.followed.is_empty() {
        out.heading(match report.ok {
            true => "rewritten without the old size",
            false => "what --follow rewrites",
        })?;
        let mut table = Table::new(&["operation", "before", "after"]);
        for f in &report.followed {
            let after = f.follow.clone().unwrap_or_default();
            table.row([name(f), f.contains.clone(), after]);
        }
        table.write(out)?;
    }
    for f in &report.kept {
        out.line(format!("kept {}: {}; {}", name(f), f.contains, f.why))?;
    }
    if !report.numbers.is_empty() {
        out.heading("perhaps of the old size, not changed")?;
        let mut table = Table::new(&["operation", "number", ""]);
        for f in &report.numbers {
            table.row([name(f), f.contains.clone(), f.why.clone()]);
        }
        table.write(out)?;
    }
    if !report.in_the_way.is_empty() {
        out.heading("written for the old size")?;
        for f in &report.in_the_way {
            out.line(format!("{} ({})", name(f), f.function))?;
            if !f.contains.is_empty() {
                out.line(format!("    {}", f.contains))?;
            }
            out.line(format!("    {}", f.why))?;
            match (&f.follow, f.contradicts) {
                (Some(follow), _) => out.line(format!("    --follow would write {follow}"))?,
                (None, false) => out.line(format!("    if that is meant: --keep {}", f.output))?,
                (None, true) => {}
            }
        }
    }
    match &report.written {
        Some(written) => written.show(out),
        None => out.line(format!(
            "not written: {} operation(s) in the way",
            report.in_the_way.len()
        )),
    }
}

fn name(f: &Fixed) -> String {
    format!("{} = {}", f.output, f.op_type)
}
