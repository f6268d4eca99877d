//! Files of named tensors that are larger than memory: `.npz` and
//! `.safetensors`, read as ranges and written in a stream.
//!
//! [`npz`](crate::npz) reads the inputs of a model into memory; here a tensor
//! stays in its file.

use std::fs::File;
use std::io::{self, Seek as _, Write};
use std::path::Path;

use milwright_ir::DataType;
use milwright_ir::elements::convert_range;
use milwright_package::{Source, create_file};

use crate::error::Error;

mod npz;
mod safetensors;

/// A form of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// NumPy's archive.
    Npz,
    /// The format of the crate and Python package of that name: a JSON header,
    /// and the data.
    Safetensors,
}

impl Form {
    /// What the extension of a path says.
    ///
    /// # Errors
    /// [`Error::TensorFile`] for any other.
    pub fn of(path: &Path) -> Result<Form, Error> {
        let extension = path.extension().and_then(|e| e.to_str());
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("npz") => Ok(Form::Npz),
            Some("safetensors") => Ok(Form::Safetensors),
            _ => Err(Error::TensorFile(path.to_owned())),
        }
    }

    /// The type in which such a file holds elements of `dtype`: the same where
    /// there is one, or else the smallest that holds every value. bf16 and fp8
    /// are fp32 in an `.npz`; integers of less than a byte are bytes in both.
    /// `None` for text and unknown types.
    pub fn holds(self, dtype: DataType) -> Option<DataType> {
        use DataType as D;
        match dtype {
            D::Int4 => Some(D::Int8),
            D::UInt1 | D::UInt2 | D::UInt3 | D::UInt4 | D::UInt6 => Some(D::UInt8),
            D::BFloat16 | D::Float8E4M3FN | D::Float8E5M2 if self == Form::Npz => Some(D::Float32),
            D::String | D::Unknown(_) => None,
            other => Some(other),
        }
    }
}

/// A tensor in a file.
#[derive(Debug, Clone)]
pub struct FileTensor {
    /// Its name.
    pub name: String,
    /// Type of its elements.
    pub dtype: DataType,
    /// Its dimensions.
    pub shape: Vec<u64>,
    /// Its elements, row-major and little-endian.
    pub data: Source,
}

/// The tensors of a file, in its order. What is compressed, big-endian or in
/// columns is unpacked into temporary files without a name.
///
/// # Errors
/// The file is damaged, or holds something that is no tensor of numbers.
pub fn read(path: &Path) -> Result<Vec<FileTensor>, Error> {
    match Form::of(path)? {
        Form::Npz => npz::read(path),
        Form::Safetensors => safetensors::read(path),
    }
}

/// A tensor to be written.
#[derive(Debug, Clone)]
pub struct NewTensor {
    /// Its name.
    pub name: String,
    /// Type of its elements in the model.
    pub dtype: DataType,
    /// Its dimensions.
    pub shape: Vec<u64>,
}

/// The elements of a tensor to be written.
#[derive(Debug)]
pub enum Contents {
    /// A range of a file; little-endian and packed as in a weight file.
    Range(Source),
    /// These bytes, in the type in which the file [holds](Form::holds) them.
    Bytes(Vec<u8>),
}

/// Writes tensors to `path`, in their order. `contents` gives the elements of
/// each when it is its turn. The bytes of the file depend on the tensors alone.
///
/// # Errors
/// `path` exists and `force` is not set, it cannot be written, a tensor is of a
/// type that no file holds, its contents have another size, or `contents` fails.
pub fn write<E: From<Error> + From<milwright_package::Error>>(
    path: &Path,
    force: bool,
    tensors: &[NewTensor],
    mut contents: impl FnMut(usize) -> Result<Contents, E>,
) -> Result<(), E> {
    let form = Form::of(path)?;
    let wrong = |tensor: &NewTensor, problem: &str| Error::Tensor {
        path: path.to_owned(),
        tensor: tensor.name.clone(),
        problem: problem.to_owned(),
    };
    let failed = |source: io::Error| Error::Write {
        path: path.to_owned(),
        source,
    };
    let mut plans = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let unfit = || {
            wrong(
                tensor,
                &format!("elements of type {} have no place in it", tensor.dtype),
            )
        };
        let held = form.holds(tensor.dtype).ok_or_else(unfit)?;
        let count = tensor.shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
        let count =
            count.ok_or_else(|| wrong(tensor, "it has more elements than can be counted"))?;
        let size = held.byte_len(count).ok_or_else(unfit)?;
        plans.push(Planned {
            tensor,
            held,
            count,
            size,
        });
    }
    create_file(path, force, |file| {
        let mut one = |index: usize, out: Sink<'_>| -> Result<(), E> {
            let plan: &Planned<'_> = &plans[index];
            match contents(index)? {
                Contents::Bytes(bytes) if bytes.len() as u64 == plan.size => {
                    out.write(&bytes).map_err(failed)?;
                }
                Contents::Range(source)
                    if plan.tensor.dtype.byte_len(plan.count) == Some(source.len()) =>
                {
                    out.copy(&source, plan, path)?;
                }
                _ => Err(wrong(
                    plan.tensor,
                    "its elements are more or fewer than its shape says",
                ))?,
            }
            Ok(())
        };
        match form {
            Form::Npz => npz::write(path, file, &plans, &mut one),
            Form::Safetensors => safetensors::write(path, file, &plans, &mut one),
        }
    })
}

/// A tensor, and how it is written.
struct Planned<'t> {
    tensor: &'t NewTensor,
    /// The type in the file.
    held: DataType,
    /// Elements.
    count: u64,
    /// Bytes in the file.
    size: u64,
}

/// Where the elements of a tensor go.
enum Sink<'w> {
    /// A plain file, to which the operating system copies by itself.
    File(&'w mut File),
    /// Something else.
    Stream(&'w mut dyn Write),
}

impl Sink<'_> {
    fn write(self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Sink::File(file) => file.write_all(bytes),
            Sink::Stream(stream) => stream.write_all(bytes),
        }
    }

    fn copy(self, source: &Source, plan: &Planned<'_>, shown: &Path) -> Result<(), Error> {
        let failed = |source: io::Error| Error::Write {
            path: shown.to_owned(),
            source,
        };
        let same = plan.held == plan.tensor.dtype;
        let out: &mut dyn Write = match self {
            Sink::File(file) if same => {
                let len = file.stream_position().map_err(failed)?;
                return Ok(source.append_to(file, len, shown)?);
            }
            Sink::File(file) => file,
            Sink::Stream(stream) => stream,
        };
        if !same {
            let (from, to) = (plan.tensor.dtype, plan.held);
            let converted = convert_range(source, from, to, plan.count, out);
            return converted.map(drop).map_err(failed);
        }
        match source.copy(0, source.len(), out).map_err(failed)? == source.len() {
            true => Ok(()),
            false => Err(failed(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

#[cfg(test)]
mod tests;
