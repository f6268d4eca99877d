//! Several models as the functions of one.

use std::collections::BTreeSet;

use milwright_ir::ops::Opset;
use milwright_ir::{Function, Model, Program};
use milwright_package::proto;

use super::sources::{Sources, shown};
use super::{Error, Merged, check, finish, opset};
use crate::described::Described;
use crate::graft::{add_function, around};

/// The first specification version in which a model has several functions.
const SEVERAL_SINCE: i32 = 9;

/// A function of the merged model.
#[derive(Debug, Clone, Copy)]
pub struct FunctionSource<'m> {
    /// What it is called there.
    pub name: &'m str,
    /// The model that it comes from, one of those given.
    pub model: usize,
    /// What it is called in that model.
    pub function: &'m str,
}

/// Makes a model of several functions, of which `default` runs when the host
/// names none. Metadata and other files are those of the first model.
///
/// Specification version and opset are those of iOS 18 or newer, as several
/// functions need them; a function that would mean something else in that opset
/// keeps its own ([`Merged::older`]).
///
/// # Errors
/// Names that are given twice or not there; a function that is no valid program
/// beside the others.
pub fn functions<'m>(
    models: &'m [Model],
    wanted: &[FunctionSource<'_>],
    default: &str,
) -> Result<Merged<'m>, Error> {
    check_wanted(models, wanted, default)?;
    let sources = Sources::new(models.iter().collect(), |number, function| {
        let mut of_model = wanted.iter().filter(|w| w.model == number);
        of_model.any(|w| w.function == function.name)
    })?;
    let mut program = Program::default();
    let mut description = proto::ModelDescription {
        default_function_name: default.to_owned(),
        ..proto::ModelDescription::default()
    };
    let all = wanted.iter().map(|w| source(&sources, w));
    let all = all.collect::<Result<Vec<_>, _>>()?;
    let opsets = all.iter().map(|(_, function)| function.opset.as_str());
    let newest = opset::newest(opsets.chain([Opset::IOS18.name()])).to_owned();
    let mut older = Vec::new();
    for (wanted, (from, function)) in wanted.iter().zip(&all) {
        around(&mut program, from);
        let model = &models[wanted.model];
        let raised = match opset::check_raise(&shown(model), from, function, &newest) {
            Ok(()) => Some(newest.as_str()),
            Err(why @ Error::Opset { .. }) => {
                older.push((
                    wanted.name.to_owned(),
                    function.opset.clone(),
                    why.to_string(),
                ));
                None
            }
            Err(other) => return Err(other),
        };
        add_function(&mut program, from, function, wanted.name, raised);
        let described = Described::of(model, wanted.function)?;
        description
            .functions
            .push(described.as_function(wanted.name));
    }
    let versions = models.iter().map(|m| m.spec().version());
    let version = versions.max().unwrap_or(SEVERAL_SINCE).max(SEVERAL_SINCE);
    check(&sources, &program)?;
    let mut merged = finish(sources, program, description, version)?;
    merged.older = older;
    Ok(merged)
}

fn check_wanted(
    models: &[Model],
    wanted: &[FunctionSource<'_>],
    default: &str,
) -> Result<(), Error> {
    let mut names = BTreeSet::new();
    for source in wanted {
        let problem = |why: String| Error::Source {
            model: format!("function `{}`", source.name),
            why,
        };
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let digit = source.name.starts_with(|c: char| c.is_ascii_digit());
        if source.name.is_empty() || digit || !source.name.chars().all(word) {
            return Err(problem(
                "a name consists of letters, digits and `_`, and does not begin with a digit"
                    .to_owned(),
            ));
        }
        if !names.insert(source.name) {
            return Err(problem(
                "two are to have this name; choose another one".to_owned(),
            ));
        }
        let Some(model) = models.get(source.model) else {
            return Err(problem("its model is not among those given".to_owned()));
        };
        model.program().function(Some(source.function))?;
    }
    if !names.contains(default) {
        let names: Vec<&str> = wanted.iter().map(|w| w.name).collect();
        return Err(Error::Source {
            model: format!("default function `{default}`"),
            why: format!("there is none of that name; there are {}", names.join(", ")),
        });
    }
    Ok(())
}

fn source<'s>(
    sources: &'s Sources<'_>,
    wanted: &FunctionSource<'_>,
) -> Result<(&'s Program, &'s Function), Error> {
    let program = &sources.programs[wanted.model];
    Ok((program, program.function(Some(wanted.function))?))
}
