//! A model that can be executed: an ML Program, a pipeline of them, or the
//! stages of a pipeline manifest.

use std::path::Path;

use milwright_interp::Options;
use milwright_ir::Program;
use milwright_ir::features::Description;
use milwright_package::{Package, PipelineFolder, PipelineManifest, Spec};

use crate::error::Error;
use crate::runner::{Runner, Wiring};
use crate::stage::{Stage, Subject};
use crate::wiring;

/// See the module.
pub struct Executable {
    name: String,
    packages: Vec<Package>,
    form: Form,
    parts: Vec<Part>,
}

/// What was opened.
enum Form {
    /// An ML Program.
    Program(Description),
    /// A pipeline in one package.
    Pipeline(Description),
    /// A pipeline manifest, with a package for each stage.
    Stages(PipelineManifest),
}

/// One program of a model.
struct Part {
    /// The model, and in a pipeline the stage, for messages.
    label: String,
    program: Program,
    description: Description,
    /// Which package has its weights.
    package: usize,
}

impl Executable {
    /// Opens a model and decodes its programs. A model is also a `pipeline.json`
    /// or a folder that holds one: its stages then run as those of a pipeline
    /// do, each from its own package.
    ///
    /// # Errors
    /// It cannot be read, or it is neither an ML Program nor a pipeline of such
    /// programs. Of a pipeline manifest also: the package of a stage is not the
    /// one that the manifest records (what runs is what was recorded, or
    /// nothing), or it takes or gives something else than the manifest says,
    /// [`Error::Wiring`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        if PipelineFolder::is_at(path) {
            let folder = PipelineFolder::open(path).map_err(milwright_ir::Error::from)?;
            return Self::from_stages(folder, &path.display().to_string());
        }
        let package = milwright_ir::open(path)?;
        Self::from_package(package, &path.display().to_string())
    }

    /// Decodes the programs of an open package, which messages call `name`.
    ///
    /// # Errors
    /// As [`Executable::open`].
    pub fn from_package(package: Package, name: &str) -> Result<Self, Error> {
        let spec = package.spec();
        let description = description_of(spec)?;
        let (form, parts) = if spec.kind().is_pipeline() {
            (Form::Pipeline(description), stages(spec, name)?)
        } else {
            let part = Part::new(spec, name.to_owned(), 0)?;
            (Form::Program(description), vec![part])
        };
        Ok(Executable {
            name: name.to_owned(),
            packages: vec![package],
            form,
            parts,
        })
    }

    /// Decodes the programs of all stages of a pipeline manifest, which messages
    /// call `name`.
    ///
    /// # Errors
    /// As [`Executable::open`].
    pub fn from_stages(folder: PipelineFolder, name: &str) -> Result<Self, Error> {
        let mut packages = Vec::new();
        for stage in &folder.manifest().stages {
            let opened = folder.open_stage(stage).and_then(|package| {
                folder.check_files(stage, &package)?;
                Ok(package)
            });
            packages.push(opened.map_err(milwright_ir::Error::from)?);
        }
        let stages = Self::from_packages(folder.manifest().clone(), packages, name)?;
        let Form::Stages(manifest) = &stages.form else {
            return Ok(stages);
        };
        for function in manifest.function_names() {
            let own = manifest.of_function(function);
            let records = own.iter().flat_map(|own| &own.stages);
            for (stage, part) in records.zip(&stages.parts) {
                let function = part.program.function(Some(part.of(manifest, function)?))?;
                wiring::check(stage, &part.program, function).map_err(|problem| Error::Wiring {
                    model: name.to_owned(),
                    problem,
                })?;
            }
        }
        Ok(stages)
    }

    /// Decodes the programs of packages that run one after the other, wired as
    /// the manifest says; messages call them `name`. Types and files are those of
    /// the packages, whatever the manifest says of them.
    ///
    /// # Errors
    /// A package is no ML Program.
    pub fn from_packages(
        manifest: PipelineManifest,
        packages: Vec<Package>,
        name: &str,
    ) -> Result<Self, Error> {
        let mut parts = Vec::new();
        for (number, (stage, package)) in manifest.stages.iter().zip(&packages).enumerate() {
            let called = format!("stage `{}`", stage.name);
            parts.push(part(package.spec(), name, &called, number)?);
        }
        Ok(Executable {
            name: name.to_owned(),
            packages,
            form: Form::Stages(manifest),
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
        !matches!(self.form, Form::Program(_))
    }

    /// Names of its functions; a pipeline package has one.
    pub fn functions(&self) -> Vec<&str> {
        match (&self.form, self.parts.as_slice()) {
            (Form::Program(_), [only]) => {
                let functions = only.program.functions.iter();
                functions.map(|f| f.name.as_str()).collect()
            }
            (Form::Stages(manifest), _) => manifest.function_names().collect(),
            _ => vec![self.default_function()],
        }
    }

    /// The function of that name; without one, the model's default.
    ///
    /// # Errors
    /// There is no such function.
    pub fn function(&self, wanted: Option<&str>) -> Result<&str, Error> {
        if let (Form::Program(_), [only]) = (&self.form, self.parts.as_slice()) {
            return only.function(wanted);
        }
        let Some(wanted) = wanted else {
            return Ok(self.default_function());
        };
        let functions = self.functions();
        let found = functions.iter().copied().find(|f| *f == wanted);
        found.ok_or_else(|| {
            let available = functions.iter().map(|f| (*f).to_owned()).collect();
            let wanted = wanted.to_owned();
            milwright_ir::Error::NoFunction { wanted, available }.into()
        })
    }

    fn default_function(&self) -> &str {
        match &self.form {
            Form::Program(description) | Form::Pipeline(description) => {
                &description.default_function
            }
            Form::Stages(manifest) => &manifest.function,
        }
    }

    /// The model made ready to run a function.
    ///
    /// # Errors
    /// There is no such function, it cannot be executed, or the stages of a
    /// pipeline do not go together.
    pub fn runner(&self, function: Option<&str>, options: Options) -> Result<Runner<'_>, Error> {
        let function = self.function(function)?;
        let wiring = match &self.form {
            Form::Program(_) => {
                let [only] = self.parts.as_slice() else {
                    return Err(self.wrong("it has no program"));
                };
                let stage = Stage::new(only.subject(&self.packages, function)?, options)?;
                return Ok(Runner::program(&self.name, stage));
            }
            Form::Pipeline(description) => {
                let signature = description
                    .signature(function)
                    .ok_or_else(|| self.wrong("it declares no features"))?;
                Wiring {
                    inputs: signature.inputs.iter().map(|f| f.name.as_str()).collect(),
                    outputs: signature.outputs.iter().map(|f| f.name.as_str()).collect(),
                }
            }
            Form::Stages(manifest) => {
                let other = manifest.functions.iter().find(|f| f.name == function);
                let (inputs, outputs) = match other {
                    Some(other) => (&other.inputs, &other.outputs),
                    None => (&manifest.inputs, &manifest.outputs),
                };
                Wiring {
                    inputs: inputs.iter().map(String::as_str).collect(),
                    outputs: outputs.iter().map(String::as_str).collect(),
                }
            }
        };
        let stages = self
            .parts
            .iter()
            .map(|part| {
                let own = match &self.form {
                    Form::Stages(manifest) => part.of(manifest, function)?,
                    _ => part.function(None)?,
                };
                Stage::new(part.subject(&self.packages, own)?, options)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Runner::pipeline(&self.name, function, wiring, stages)
    }

    fn wrong(&self, problem: &str) -> Error {
        Error::Wiring {
            model: self.name.clone(),
            problem: problem.to_owned(),
        }
    }
}

impl Part {
    fn new(spec: &Spec, label: String, package: usize) -> Result<Self, Error> {
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
            package,
        })
    }

    fn function(&self, wanted: Option<&str>) -> Result<&str, Error> {
        let default = Some(self.description.default_function.as_str())
            .filter(|name| self.program.functions.iter().any(|f| f.name == *name));
        Ok(&self.program.function(wanted.or(default))?.name)
    }

    /// What a function of a manifest is called in the stage: the same where
    /// there are several, and otherwise the stage has only one.
    fn of<'f>(&'f self, manifest: &PipelineManifest, function: &'f str) -> Result<&'f str, Error> {
        match manifest.functions.is_empty() {
            true => self.function(None),
            false => self.function(Some(function)),
        }
    }

    fn subject<'m>(
        &'m self,
        packages: &'m [Package],
        function: &'m str,
    ) -> Result<Subject<'m>, Error> {
        let package = packages.get(self.package);
        Ok(Subject {
            name: &self.label,
            program: &self.program,
            blobs: package.ok_or_else(|| Error::Wiring {
                model: self.label.clone(),
                problem: "its package is not open".to_owned(),
            })?,
            signature: self.description.signature(function),
            function: Some(function),
        })
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
            part(&spec, name, &stage, 0)
        })
        .collect()
}

/// The program of one stage, whose weights are in the package of that number.
fn part(spec: &Spec, model: &str, stage: &str, package: usize) -> Result<Part, Error> {
    if !spec.kind().is_ml_program() {
        return Err(Error::Stage {
            model: model.to_owned(),
            stage: stage.to_owned(),
            kind: spec.kind().name().to_owned(),
        });
    }
    Part::new(spec, format!("{model}, {stage}"), package)
}
