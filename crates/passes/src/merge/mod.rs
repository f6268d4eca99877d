//! Several models as one.
//!
//! [`stages`] puts models that run one after the other back into one function:
//! the inverse of a cut. [`functions`] makes one model with several functions.
//! [`dedup`] leaves the program as it is. All of them store equal weights once,
//! as ranges of the files that they come from.

mod error;
mod functions;
mod fuse;
mod opset;
mod sources;
mod stages;

use std::path::{Path, PathBuf};

use milwright_ir::{Model, Program, Severity, verify};
use milwright_package::{Changes, Piece, SharedBlobs, Spec, WriteOptions, proto};

pub use error::Error;
pub use functions::{FunctionSource, functions};
pub use stages::{Wiring, stages};

use sources::{Sources, shown};

/// A model made of others, ready to be written.
#[derive(Debug)]
pub struct Merged<'m> {
    /// The program.
    pub program: Program,
    /// What stands around it.
    pub spec: Spec,
    /// What was stored once instead of several times.
    pub weights: SharedBlobs,
    /// What is not part of it, because the first model has something else.
    pub left_out: Vec<LeftOut>,
    /// Functions that keep an older opset than the newest, because they would
    /// mean something else in it: the name, the opset, and why.
    pub older: Vec<(String, String, String)>,
    base: &'m Model,
    also_read: Vec<PathBuf>,
    files: Vec<(String, Vec<Piece>)>,
}

/// Something of a model that the merged one does not have.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LeftOut {
    /// The model.
    pub model: String,
    /// A file of its package, or its metadata.
    pub what: String,
}

impl Merged<'_> {
    /// Writes the model to `out`. What its package holds beside manifest, spec
    /// and weights is what the first model's package holds.
    ///
    /// # Errors
    /// The output exists, overlaps one of the models or cannot be written.
    pub fn save(&self, out: impl AsRef<Path>, options: WriteOptions<'_>) -> Result<(), Error> {
        let changes = Changes {
            spec: Some(self.spec.with_program(&self.program.to_proto())?),
            weights: self.files.clone(),
            also_read: self.also_read.clone(),
            ..Changes::default()
        };
        Ok(self.base.package().save(changes, out, options)?)
    }
}

/// A model with equal weights stored once, and otherwise as it is.
///
/// # Errors
/// A weight cannot be read, or the bytes of an operation that refers to one hold
/// something that would be lost.
pub fn dedup(model: &Model) -> Result<Merged<'_>, Error> {
    let mut sources = Sources::new(vec![model], |_, _| true)?;
    let program = sources.programs.pop().unwrap_or_default();
    Ok(Merged {
        program,
        spec: model.spec().clone(),
        weights: sources.report,
        left_out: Vec::new(),
        older: Vec::new(),
        base: model,
        also_read: Vec::new(),
        files: sources.weights,
    })
}

/// Checks that a merged program is a valid one.
fn check(sources: &Sources<'_>, program: &Program) -> Result<(), Error> {
    let findings = verify(program, sources);
    let findings: Vec<String> = findings
        .iter()
        .filter(|d| d.severity == Severity::Error)
        .map(ToString::to_string)
        .collect();
    match findings.is_empty() {
        true => Ok(()),
        false => Err(Error::Invalid { findings }),
    }
}

/// Puts a checked program and its description together.
fn finish<'m>(
    sources: Sources<'m>,
    program: Program,
    mut description: proto::ModelDescription,
    version: i32,
) -> Result<Merged<'m>, Error> {
    let Some(&base) = sources.models.first() else {
        return Err(Error::Source {
            model: "nothing".to_owned(),
            why: "there is no model to merge".to_owned(),
        });
    };
    let mut left_out = sources.left_out()?;
    let own = base.spec().description()?.metadata;
    for other in &sources.models[1..] {
        // Its own description goes into the new one, so nothing may be lost.
        other
            .spec()
            .with_description(&other.spec().description()?)?;
        if other.spec().description()?.metadata != own {
            left_out.push(LeftOut {
                model: shown(other),
                what: "its metadata".to_owned(),
            });
        }
    }
    description.metadata = own;
    let spec = base.spec().with_version(version)?;
    Ok(Merged {
        spec: spec.with_description(&description)?,
        program,
        weights: sources.report,
        left_out,
        older: Vec::new(),
        also_read: sources.models[1..]
            .iter()
            .map(|m| m.package().path().to_owned())
            .collect(),
        base,
        files: sources.weights,
    })
}
