//! The stages of a pipeline as one model.

use milwright_ir::features::Description;
use milwright_ir::{Model, Program};
use milwright_package::{PipelineManifest, proto};

use super::fuse::{Ends, Stage, fuse};
use super::sources::{Sources, shown};
use super::{Error, Merged, check, finish};
use crate::cut::SeamTypes;
use crate::described::Described;
use crate::graft::around;

/// What is known of how stages belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wiring {
    /// They were cut from one model: conversions that the cut put at seams go,
    /// and those of the model stay.
    OneModel,
    /// They may be anything: every conversion at a seam that another one undoes
    /// exactly goes.
    Names,
}

/// Puts the stages of a manifest together to one model, function by function;
/// `models` are those of its stages.
///
/// Inputs, outputs and states are described as the stages describe them. Equal
/// operations of the same name, such as the constants that several parts of a cut
/// model have, are one. Names that several stages use for different things get
/// a number, but for those of inputs, outputs and states.
///
/// # Errors
/// See [`Error`].
pub fn stages<'m>(
    manifest: &PipelineManifest,
    models: &'m [Model],
    wiring: Wiring,
) -> Result<Merged<'m>, Error> {
    let mut sources = Sources::new(models.iter().collect(), |_, _| true)?;
    let several = !manifest.functions.is_empty();
    for (model, own) in models.iter().zip(&sources.programs) {
        if !several && own.functions.len() > 1 {
            return Err(Error::Source {
                model: shown(model),
                why: "it has several functions, and a stage has one".to_owned(),
            });
        }
    }
    let mut program = Program::default();
    let mut description = proto::ModelDescription::default();
    for name in manifest.function_names() {
        let Some(wired) = manifest.of_function(name) else {
            continue; // its name was just read
        };
        let mut stages = Vec::new();
        for (model, own) in models.iter().zip(&mut sources.programs) {
            around(&mut program, own);
            let called = own.function(several.then_some(name))?.name.clone();
            let place = own.functions.iter().position(|f| f.name == called);
            stages.push(Stage {
                name: shown(model),
                described: Described::of(model, &called)?,
                function: place.unwrap_or_default(),
                program: own,
            });
        }
        let ends = Ends {
            inputs: &wired.inputs,
            outputs: &wired.outputs,
            from_one_model: wiring == Wiring::OneModel,
        };
        let name = if several { name } else { "main" };
        let described = fuse(&mut program, name, &mut stages, &ends)?;
        if several {
            description.functions.push(described.as_function(name));
        } else {
            description = described.as_model();
        }
    }
    if several {
        description
            .default_function_name
            .clone_from(&manifest.function);
    }
    let versions = models.iter().map(|m| m.spec().version());
    let version = versions.max().unwrap_or_default();
    check(&sources, &program)?;
    check_shapes(&sources, &program, &description)?;
    finish(sources, program, description, version)
}

/// Checks that the shapes that the inputs may have go through all stages.
fn check_shapes(
    sources: &Sources<'_>,
    program: &Program,
    description: &proto::ModelDescription,
) -> Result<(), Error> {
    let described = Description::from_proto(description);
    for function in &program.functions {
        let signature = described.signature(&function.name);
        SeamTypes::new(program, function, sources, signature).map_err(|e| Error::Source {
            model: format!("function `{}`", function.name),
            why: e.to_string(),
        })?;
    }
    Ok(())
}
