//! The stages of a pipeline as one model.

use milwright_ir::{Model, Program};
use milwright_package::PipelineManifest;

use super::fuse::{Ends, Stage, fuse};
use super::sources::{Sources, shown};
use super::{Error, Merged, finish};
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

/// Puts the stages of a manifest together to one model; `models` are those of
/// its stages.
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
    let mut stages = Vec::new();
    let mut program = Program::default();
    for (model, own) in models.iter().zip(&mut sources.programs) {
        if let [_, _, ..] = own.functions.as_slice() {
            return Err(Error::Source {
                model: shown(model),
                why: "it has several functions, and a stage has one".to_owned(),
            });
        }
        let function = own.function(None)?;
        let described = Described::of(model, &function.name)?;
        around(&mut program, own);
        stages.push(Stage {
            name: shown(model),
            program: own,
            function: 0,
            described,
        });
    }
    let ends = Ends {
        inputs: &manifest.inputs,
        outputs: &manifest.outputs,
        from_one_model: wiring == Wiring::OneModel,
    };
    let described = fuse(&mut program, "main", &mut stages, &ends)?;
    let versions = models.iter().map(|m| m.spec().version());
    let version = versions.max().unwrap_or_default();
    finish(sources, program, described.as_model(), version)
}
