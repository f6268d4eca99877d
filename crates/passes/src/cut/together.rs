//! One stage of several functions.

use milwright_ir::{Model, Program};
use milwright_package::{Spec, proto};

use super::{Error, Part};
use crate::described::Described;
use crate::graft::{add_function, around};

/// A stage of several functions as one model, ready to be saved with
/// [`Model::save_as`]: weights that the functions share are in it once.
#[derive(Debug)]
pub struct Together {
    /// The program, with a function for each part.
    pub program: Program,
    /// What stands around it.
    pub spec: Spec,
}

impl Together {
    /// Puts the parts of several functions of `model` together, under the names
    /// of the functions; the first one runs when the host names none.
    ///
    /// # Errors
    /// The description holds something that would be lost.
    pub fn new(model: &Model, parts: &[(&str, &Part)]) -> Result<Self, Error> {
        let mut program = Program::default();
        let mut description = proto::ModelDescription::default();
        for &(name, part) in parts {
            around(&mut program, &part.program);
            for function in &part.program.functions {
                add_function(&mut program, &part.program, function, name, None);
            }
            let own = part.spec.description().map_err(milwright_ir::Error::from)?;
            let own = Described::in_description(own, "main");
            description.functions.push(own.as_function(name));
            if description.default_function_name.is_empty() {
                description.default_function_name = name.to_owned();
                description.metadata = own.metadata;
            }
        }
        let spec = model.spec().with_description(&description);
        Ok(Together {
            program,
            spec: spec.map_err(milwright_ir::Error::from)?,
        })
    }
}
