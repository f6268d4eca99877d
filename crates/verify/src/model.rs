//! A model that can be executed: an ML Program, or a pipeline of them.

use std::path::Path;

use milwright_interp::Options;
use milwright_ir::Program;
use milwright_ir::features::Description;
use milwright_package::{Package, Spec};

use crate::error::Error;
use crate::runner::Runner;
use crate::stage::{Stage, Subject};

/// See the module.
pub struct Executable {
    name: String,
    package: Package,
    description: Description,
    parts: Vec<Part>,
}

/// One program of a model.
struct Part {
    /// The model, and in a pipeline the stage, for messages.
    label: String,
    program: Program,
    description: Description,
}

impl Executable {
    /// Opens a model and decodes its programs.
    ///
    /// # Errors
    /// It cannot be read, or it is neither an ML Program nor a pipeline of such
    /// programs.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let package = Package::open(path).map_err(milwright_ir::Error::from)?;
        Self::from_package(package, &path.display().to_string())
    }

    /// Decodes the programs of an open package, which messages call `name`.
    ///
    /// # Errors
    /// As [`Executable::open`].
    pub fn from_package(package: Package, name: &str) -> Result<Self, Error> {
        let spec = package.spec();
        let description = description_of(spec)?;
        let parts = if spec.kind().is_pipeline() {
            stages(spec, name)?
        } else {
            vec![Part::new(spec, name.to_owned())?]
        };
        Ok(Executable {
            name: name.to_owned(),
            package,
            description,
            parts,
        })
    }

    /// How messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its programs: one, or that of each stage.
    pub fn programs(&self) -> impl Iterator<Item = &Program> {
        self.parts.iter().map(|part| &part.program)
    }

    /// Whether it is a pipeline.
    pub fn is_pipeline(&self) -> bool {
        self.package.spec().kind().is_pipeline()
    }

    /// Names of its functions; a pipeline has one.
    pub fn functions(&self) -> Vec<&str> {
        match self.parts.as_slice() {
            [only] if !self.is_pipeline() => {
                let functions = only.program.functions.iter();
                functions.map(|f| f.name.as_str()).collect()
            }
            _ => vec![self.description.default_function.as_str()],
        }
    }

    /// The function of that name; without one, the model's default.
    ///
    /// # Errors
    /// There is no such function.
    pub fn function(&self, wanted: Option<&str>) -> Result<&str, Error> {
        match self.parts.as_slice() {
            [only] if !self.is_pipeline() => only.function(wanted),
            _ => {
                let only = self.description.default_function.as_str();
                match wanted {
                    Some(other) if other != only => Err(milwright_ir::Error::NoFunction {
                        wanted: other.to_owned(),
                        available: vec![only.to_owned()],
                    }
                    .into()),
                    _ => Ok(only),
                }
            }
        }
    }

    /// The model made ready to run a function.
    ///
    /// # Errors
    /// There is no such function, it cannot be executed, or the stages of a
    /// pipeline do not go together.
    pub fn runner(&self, function: Option<&str>, options: Options) -> Result<Runner<'_>, Error> {
        let function = self.function(function)?;
        if !self.is_pipeline() {
            let [only] = self.parts.as_slice() else {
                return Err(Error::Wiring {
                    model: self.name.clone(),
                    problem: "it has no program".to_owned(),
                });
            };
            let stage = Stage::new(only.subject(&self.package, function), options)?;
            return Ok(Runner::program(&self.name, stage));
        }
        let stages = self
            .parts
            .iter()
            .map(|part| {
                let function = part.function(None)?;
                Stage::new(part.subject(&self.package, function), options)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let signature = self.description.signature(function);
        Runner::pipeline(&self.name, function, signature, stages)
    }
}

impl Part {
    fn new(spec: &Spec, label: String) -> Result<Self, Error> {
        if !spec.kind().is_ml_program() {
            return Err(milwright_ir::Error::NotAProgram {
                kind: spec.kind().name().to_owned(),
            }
            .into());
        }
        let program = spec.program().map_err(milwright_ir::Error::from)?;
        Ok(Part {
            label,
            program: Program::from_proto(&program)?,
            description: description_of(spec)?,
        })
    }

    fn function(&self, wanted: Option<&str>) -> Result<&str, Error> {
        let default = Some(self.description.default_function.as_str())
            .filter(|name| self.program.functions.iter().any(|f| f.name == *name));
        Ok(&self.program.function(wanted.or(default))?.name)
    }

    fn subject<'m>(&'m self, package: &'m Package, function: &'m str) -> Subject<'m> {
        Subject {
            name: &self.label,
            program: &self.program,
            blobs: package,
            signature: self.description.signature(function),
            function: Some(function),
        }
    }
}

fn description_of(spec: &Spec) -> Result<Description, Error> {
    let description = spec.description().map_err(milwright_ir::Error::from)?;
    Ok(Description::from_proto(&description))
}

/// The programs of a pipeline.
fn stages(spec: &Spec, name: &str) -> Result<Vec<Part>, Error> {
    let stages = spec.pipeline().map_err(milwright_ir::Error::from)?;
    stages
        .into_iter()
        .enumerate()
        .map(|(number, (stage, spec))| {
            let stage = match stage.as_str() {
                "" => format!("stage {number}"),
                stage => format!("stage {number} `{stage}`"),
            };
            if !spec.kind().is_ml_program() {
                return Err(Error::Stage {
                    model: name.to_owned(),
                    stage,
                    kind: spec.kind().name().to_owned(),
                });
            }
            Part::new(&spec, format!("{name}, {stage}"))
        })
        .collect()
}
