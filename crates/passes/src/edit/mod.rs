//! Edits of what a model shows to its caller: names, types, descriptions,
//! outputs.
//!
//! Each edit takes an open [`Model`] and returns an [`Edited`] one for
//! [`Model::save_as`]: nothing is changed in place, weights stay where they
//! are, and operations that an edit does not mention stay byte for byte.

mod dtype;
mod error;
mod expose;
mod features;
mod rename;
pub mod reshape;
mod set;

use milwright_ir::{BlobSource, Model, Program, Severity, verify};
use milwright_package::{Spec, proto};

pub use error::Error;
pub use expose::{Exposed, ExposedValue, expose};
pub use rename::{Kind, Pair, Renamed, Renaming, rename, rename_pipeline};
pub use set::{Changed, Field, Left, Setting, set, set_io};

/// A model after an edit.
#[derive(Debug)]
pub struct Edited {
    /// Its program, over the weights of the model that was edited.
    pub program: Program,
    /// What stands around the program; its own copy of the program is the old
    /// one.
    pub spec: Spec,
}

impl Edited {
    /// Puts an edited program and description together, and lets the verifier
    /// look at the program if it was touched.
    fn new(
        model: &Model,
        program: Program,
        description: &proto::ModelDescription,
    ) -> Result<Self, Error> {
        if let Err(broken) = check(model, &program) {
            let before = check(model, model.program());
            return Err(match before {
                Err(Error::Broken { findings }) => Error::Invalid { findings },
                _ => broken,
            });
        }
        Ok(Edited {
            program,
            spec: with_description(model.spec(), description)?,
        })
    }
}

/// What the verifier says of an edited program.
fn check(blobs: &dyn BlobSource, program: &Program) -> Result<(), Error> {
    let found = verify(program, blobs);
    let errors = found.iter().filter(|d| d.severity == Severity::Error);
    let findings: Vec<String> = errors.map(ToString::to_string).collect();
    match findings.is_empty() {
        true => Ok(()),
        false => Err(Error::Broken { findings }),
    }
}

/// The spec with that description; the same bytes when it is the same.
fn with_description(spec: &Spec, description: &proto::ModelDescription) -> Result<Spec, Error> {
    if spec.description()? == *description {
        return Ok(spec.clone());
    }
    Ok(spec.with_description(description)?)
}
