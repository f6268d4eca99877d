//! `milwright expose`: values inside of a function become outputs.

use anyhow::bail;
use milwright_ir::Function;
use milwright_passes::edit::{ExposedValue, expose};
use milwright_passes::hint::Patterns;
use serde::Serialize;

use crate::Outcome;
use crate::comparison::{Counterpart, Renames};
use crate::editing::{EditOptions, VerifyOptions, Written};
use crate::table::Table;
use crate::terminal::Terminal;

/// Make values inside of a model outputs.
///
/// `milwright print` shows their names. An output has the type and the shape,
/// fixed or flexible, of its value; truth values and small integers are cast
/// to int32, and fp16 to fp32 where the model is older than fp16 outputs. What
/// else the model gives stays what it is.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    edit: EditOptions,

    /// The values.
    #[arg(value_name = "VALUE", required_unless_present = "ops")]
    values: Vec<String>,

    /// Also the results of operations whose type or output name matches:
    /// `softmax`, `layer_norm,encoder_*`. What cannot be an output is skipped.
    #[arg(long, value_name = "PATTERN")]
    ops: Vec<String>,

    /// Function whose outputs they become [default: the only one].
    #[arg(long, value_name = "NAME")]
    function: Option<String>,

    #[command(flatten)]
    verify: VerifyOptions,
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    #[serde(flatten)]
    written: Written,
    function: String,
    exposed: Vec<ExposedValue>,
    skipped: Vec<Skipped>,
}

#[derive(Debug, Serialize)]
struct Skipped {
    value: String,
    why: String,
}

pub(crate) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    let model = options.edit.open()?;
    let functions = &model.program().functions;
    let function: &Function = match &options.function {
        None if functions.len() > 1 => {
            let names: Vec<&str> = functions.iter().map(|f| f.name.as_str()).collect();
            bail!(
                "the model has several functions ({}); name one with --function",
                names.join(", ")
            )
        }
        name => model.program().function(name.as_deref())?,
    };
    let patterns = (!options.ops.is_empty()).then(|| Patterns::new(&options.ops));
    let exposed = expose(&model, function, &options.values, patterns.as_ref())?;
    let added: Vec<String> = exposed.values.iter().map(|v| v.output.clone()).collect();
    let written = options
        .edit
        .write_verified(&model, &exposed.edited, &options.verify, |name| Counterpart {
            before: name.to_owned(),
            after: name.to_owned(),
            renames: Renames {
                added: if name == function.name { added.clone() } else { Vec::new() },
                ..Renames::default()
            },
        })?;
    let skipped = exposed.skipped.into_iter();
    let report = Report {
        schema: "milwright-expose/1",
        written,
        function: function.name.clone(),
        exposed: exposed.values,
        skipped: skipped.map(|(value, why)| Skipped { value, why }).collect(),
    };
    if options.edit.json {
        out.json(&report)?;
        return Ok(report.written.outcome());
    }
    let mut table = Table::new(&["output", "type", "value"]);
    for v in &report.exposed {
        let (dtype, shape) = v.ty.split_at(v.ty.find('[').unwrap_or(v.ty.len()));
        let cast = match dtype == v.output_dtype {
            true => v.value.clone(),
            false => format!("{}, which is {dtype}", v.value),
        };
        table.row([v.output.clone(), format!("{}{shape}", v.output_dtype), cast]);
    }
    table.write(out)?;
    for skipped in &report.skipped {
        out.line(format!("left out {}: {}", skipped.value, skipped.why))?;
    }
    report.written.show(out)?;
    Ok(report.written.outcome())
}
