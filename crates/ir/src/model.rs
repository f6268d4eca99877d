//! A model on disk with its program in memory.

use std::path::Path;

use milwright_package::{Package, Spec, StorageType, proto};

use crate::constant::{BlobData, BlobRef, BlobSource, ConstError};
use crate::error::Error;
use crate::program::Program;
use crate::types::DataType;

/// An opened package and, for an ML Program, its program.
///
/// Weights are not read; a constant refers to its place in a weight file.
#[derive(Debug)]
pub struct Model {
    package: Package,
    spec: Spec,
    program: Program,
}

impl Model {
    /// Opens a model in any form: a `.mlpackage` directory, a zip of one, a
    /// `.mlmodel`, MIL text, a compiled model.
    ///
    /// # Errors
    /// Those of [`open`](crate::open()), or the model is not an ML Program.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::from_package(crate::open(path)?)
    }

    /// Decodes the program of an opened package.
    ///
    /// # Errors
    /// The model is not an ML Program, or it is damaged.
    pub fn from_package(package: Package) -> Result<Self, Error> {
        let spec = package.spec().clone();
        if !spec.kind().is_ml_program() {
            return Err(Error::NotAProgram {
                kind: spec.kind().name().to_owned(),
            });
        }
        let program = Program::from_proto(&spec.program()?)?;
        Ok(Self {
            package,
            spec,
            program,
        })
    }

    /// The container.
    pub fn package(&self) -> &Package {
        &self.package
    }

    /// The spec: the description, and the program as it was opened.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Changes the description: features and metadata. The program is not
    /// touched.
    ///
    /// # Errors
    /// The description holds fields that this build does not know and that
    /// would be lost.
    pub fn set_description(&mut self, description: &proto::ModelDescription) -> Result<(), Error> {
        self.spec = self.spec.with_description(description)?;
        Ok(())
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The program, to be changed.
    pub fn program_mut(&mut self) -> &mut Program {
        &mut self.program
    }

    /// The program to be changed, and the weights it refers to.
    pub fn parts_mut(&mut self) -> (&mut Program, &Package) {
        (&mut self.program, &self.package)
    }
}

impl BlobSource for Model {
    fn blob(&self, blob: &BlobRef) -> Result<BlobData<'_>, ConstError> {
        BlobSource::blob(&self.package, blob)
    }
}

impl BlobSource for Package {
    fn blob(&self, blob: &BlobRef) -> Result<BlobData<'_>, ConstError> {
        let found =
            Package::blob(self, &blob.file_name, blob.offset).map_err(|e| ConstError::Blob {
                file_name: blob.file_name.to_string(),
                offset: blob.offset,
                cause: e.to_string(),
            })?;
        Ok(BlobData {
            dtype: from_storage(found.data_type),
            bytes: found.data,
        })
    }
}

fn from_storage(stored: StorageType) -> Option<DataType> {
    DataType::ALL
        .into_iter()
        .find(|&dtype| to_storage(dtype) == Some(stored))
}

/// How a weight file names an element type; `None` for types that it cannot
/// hold.
pub(crate) fn to_storage(dtype: DataType) -> Option<StorageType> {
    use DataType as D;
    use StorageType as S;
    Some(match dtype {
        D::Float16 => S::Float16,
        D::Float32 => S::Float32,
        D::BFloat16 => S::BFloat16,
        D::Float8E4M3FN => S::Float8E4M3FN,
        D::Float8E5M2 => S::Float8E5M2,
        D::Int4 => S::Int4,
        D::Int8 => S::Int8,
        D::Int16 => S::Int16,
        D::Int32 => S::Int32,
        D::UInt1 => S::UInt1,
        D::UInt2 => S::UInt2,
        D::UInt3 => S::UInt3,
        D::UInt4 => S::UInt4,
        D::UInt6 => S::UInt6,
        D::UInt8 => S::UInt8,
        D::UInt16 => S::UInt16,
        D::UInt32 => S::UInt32,
        D::Bool | D::String | D::Float64 | D::Int64 | D::UInt64 | D::Unknown(_) => return None,
    })
}
