//! Models as the commands open them.

use std::path::Path;

use milwright_ir::features::Description;
use milwright_ir::{Function, Model};
use milwright_package::Package;
use milwright_verify::Subject;

/// An ML Program with what it declares.
pub(crate) struct Opened {
    name: String,
    pub(crate) model: Model,
    pub(crate) description: Description,
}

impl Opened {
    /// Opens a model and decodes its program.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        Self::from_package(Package::open(path)?, path)
    }

    /// Decodes the program of an open package, to be called `name` in messages.
    pub(crate) fn from_package(package: Package, name: &Path) -> anyhow::Result<Self> {
        let model = Model::from_package(package)?;
        let description = Description::from_proto(&model.spec().description()?);
        Ok(Opened {
            name: name.display().to_string(),
            model,
            description,
        })
    }

    /// How the user named it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The function of that name; without one, the model's default.
    pub(crate) fn function(&self, wanted: Option<&str>) -> anyhow::Result<&Function> {
        let program = self.model.program();
        let default = Some(self.description.default_function.as_str())
            .filter(|name| program.functions.iter().any(|f| f.name == *name));
        Ok(program.function(wanted.or(default))?)
    }

    /// The model made ready to run one function.
    pub(crate) fn subject(&self, function: &str) -> anyhow::Result<Subject<'_>> {
        let function = self.function(Some(function))?;
        Ok(Subject {
            name: &self.name,
            program: self.model.program(),
            blobs: &self.model,
            signature: self.description.signature(&function.name),
            function: Some(&function.name),
        })
    }
}
