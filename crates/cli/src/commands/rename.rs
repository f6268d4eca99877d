//! `milwright rename`: other names for features, functions and values.

use anyhow::bail;
use milwright_ir::Model;
use milwright_passes::edit::{Kind, Pair, Renaming, rename, rename_pipeline};
use serde::Serialize;

use crate::Outcome;
use crate::comparison::{Counterpart, Renames};
use crate::editing::{EditOptions, VerifyOptions, Written};
use crate::table::Table;
use crate::terminal::Terminal;

/// Give inputs, outputs, states and functions other names.
///
/// OLD=NEW renames the input, output or state OLD in every function that has
/// it, or the function OLD; if there is none, values inside of functions. All
/// pairs take effect at once, so `a=b b=a` exchanges two names. Descriptions,
/// defaults, inputs of training, the outputs of a classifier and the default
/// function follow, and in a pipeline every stage that has the feature. Nothing
/// else changes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    edit: EditOptions,

    /// The names. `feature:OLD=NEW` and `function:OLD=NEW` say what is meant
    /// where a feature and a function have one name.
    #[arg(value_name = "OLD=NEW", required = true, value_parser = Pair::parse)]
    names: Vec<Pair>,

    /// Rename features in this function only.
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
    renamed: Vec<Renaming>,
}

pub(crate) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    let package = options.edit.package()?;
    let edit = &options.edit;
    let several;
    let (written, names) = if package.spec().kind().is_pipeline() {
        if options.function.is_some() || options.names.iter().any(|p| p.kind == Kind::Function) {
            bail!("a pipeline has one function, which is not renamed");
        }
        several = false;
        let (spec, names) = rename_pipeline(&package, &options.names)?;
        let counterpart = |function: &str| counterpart(function, &names, false);
        let written = edit.write_spec(&package, &spec, &options.verify, counterpart)?;
        (written, names)
    } else {
        let model = Model::from_package(package)?;
        several = model.program().functions.len() > 1;
        let renamed = rename(&model, &options.names, options.function.as_deref())?;
        let names = renamed.names;
        let counterpart = |function: &str| counterpart(function, &names, true);
        let written =
            edit.write_verified(&model, &renamed.edited, &options.verify, counterpart)?;
        (written, names)
    };
    let report = Report {
        schema: "milwright-rename/1",
        written,
        renamed: names,
    };
    if options.edit.json {
        out.json(&report)?;
        return Ok(report.written.outcome());
    }
    let mut table = match several {
        true => Table::new(&["", "before", "after", "function"]),
        false => Table::new(&["", "before", "after"]),
    };
    for r in &report.renamed {
        let function = if r.what == "function" { "" } else { r.function.as_str() };
        table.row([r.what, r.old.as_str(), r.new.as_str(), function]);
    }
    table.write(out)?;
    report.written.show(out)?;
    Ok(report.written.outcome())
}

/// What a function and its features are called afterwards.
fn counterpart(function: &str, names: &[Renaming], by_function: bool) -> Counterpart {
    let own = names
        .iter()
        .filter(|r| !by_function || r.function == function);
    let is_function = |r: &&Renaming| r.what == "function";
    let after = own.clone().find(is_function).map(|r| r.new.clone());
    let features = own.filter(|r| !is_function(r));
    Counterpart {
        before: function.to_owned(),
        after: after.unwrap_or_else(|| function.to_owned()),
        renames: Renames {
            names: features.map(|r| (r.old.clone(), r.new.clone())).collect(),
            ..Renames::default()
        },
    }
}
