//! `milwright weights replace`.

use std::path::PathBuf;

use anyhow::{Context, bail};
use milwright_ir::Model;
use milwright_package::WriteOptions;
use milwright_passes::weights::{Offer, ReplaceOptions, Replacement, replace};
use milwright_verify::tensors;
use serde::Serialize;

use crate::Outcome;
use crate::output::Output;
use crate::table::Table;
use crate::terminal::Terminal;

/// Give weights the values of tensors of the same name.
///
/// Shapes must be the same, and types, too; --cast converts floats of another
/// width. Every tensor of the file must be for a weight of the model; weights
/// that the file does not have stay. Everything else stays byte for byte.
///
/// What a file has no type for is taken back in the form that `weights extract`
/// gives it: bf16 and fp8 as float32 in an .npz, integers of less than a byte
/// as bytes.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The model to read.
    model: PathBuf,

    /// The tensors: .npz or .safetensors.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,

    #[command(flatten)]
    output: Output,

    /// The tensor OLD of the file is for the weight NEW of the model.
    #[arg(long, value_name = "OLD=NEW", value_delimiter = ',')]
    map: Vec<String>,

    /// Convert floats of another width; what is out of range is refused.
    #[arg(long)]
    cast: bool,

    /// Weights that are stored once with a replaced one change with it.
    #[arg(long)]
    tied: bool,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    model: String,
    from: String,
    output: String,
    replaced: Vec<Replacement>,
    /// How many weights stay.
    kept: usize,
}

pub(super) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    let model = Model::open(&options.model)?;
    let pair = |text: &String| {
        let pair = text.split_once('=');
        let (from, to) = pair.with_context(|| format!("--map {text}: write it as OLD=NEW"))?;
        Ok((from.to_owned(), to.to_owned()))
    };
    let how = ReplaceOptions {
        map: options.map.iter().map(pair).collect::<anyhow::Result<_>>()?,
        cast: options.cast,
        tied: options.tied,
    };
    let offers = tensors::read(&options.from)?.into_iter().map(|t| Offer {
        name: t.name,
        dtype: t.dtype,
        shape: t.shape,
        data: t.data,
    });
    let offers: Vec<Offer> = offers.collect();
    if offers.is_empty() {
        bail!("{} holds no tensors", options.from.display());
    }
    let replaced = replace(&model, offers, &how)
        .with_context(|| format!("{} does not fit the model", options.from.display()))?;
    let mut changes = replaced.changes;
    changes.also_read = vec![options.from.clone()];
    let save = |how: WriteOptions<'_>| model.package().save(changes, options.output.path(), how);
    options.output.write(save)?;
    let report = Report {
        schema: "milwright-weights-replace/1",
        model: options.model.display().to_string(),
        from: options.from.display().to_string(),
        output: options.output.shown(),
        replaced: replaced.constants,
        kept: replaced.kept,
    };
    if options.json {
        out.json(&report)?;
        return Ok(Outcome::Clean);
    }
    let mut table = Table::new(&["weight", "type", "from", ""]);
    for one in &report.replaced {
        let mut notes = Vec::new();
        if let Some(from) = &one.converted_from {
            notes.push(match one.rounded {
                0 => format!("converted from {from}"),
                n => format!("converted from {from}, {n} values rounded"),
            });
        }
        if one.unchanged {
            notes.push("the values that were there".to_owned());
        }
        if !one.tied.is_empty() {
            notes.push(format!("with it {}", one.tied.join(", ")));
        }
        table.row([one.name.clone(), one.ty.clone(), one.from.clone(), notes.join("; ")]);
    }
    table.write(out)?;
    out.line(format!("{} replaced, {} stay", report.replaced.len(), report.kept))?;
    out.line(format!("wrote {}", report.output))?;
    Ok(Outcome::Clean)
}
