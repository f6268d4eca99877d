//! Writing a changed model.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use milwright_package::{Bytes, Changes, Message, NewBlob, Package, Spec, WriteOptions};
use milwright_package::{RewrittenWeights, rewrite_weights};

use crate::constant::{BlobRef, ConstData, Constant, TensorData};
use crate::error::Error;
use crate::model::{Model, to_storage};
use crate::program::Program;
use crate::types::DataType;

/// Where new weights go when the program had none.
const DEFAULT_FILE: &str = "@model_path/weights/weight.bin";

/// Tensors below this many elements are written in the spec, as coremltools
/// does.
const IMMEDIATE_BELOW: u64 = 10;

/// What saving did to the weights, in bytes of data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SaveReport {
    /// Whether the program differs from the one that was opened.
    pub changed: bool,
    /// Weights of the opened model that are in the new one.
    pub weights_kept: u64,
    /// Weights that are new.
    pub weights_added: u64,
}

impl Model {
    /// Writes the model to `out`. What did not change is byte for byte what it
    /// was; weights that nothing refers to any more are left out.
    ///
    /// # Errors
    /// The output exists or cannot be written, or a change would drop
    /// something that the file holds. Nothing is written then.
    pub fn save(
        &self,
        out: impl AsRef<Path>,
        options: WriteOptions<'_>,
    ) -> Result<SaveReport, Error> {
        self.save_as(self.program(), self.spec(), out, options)
    }

    /// As [`Model::save`], with another program, whose weights are still those
    /// of this model's package, and with what `spec` says around it: a part of
    /// a model, for example.
    ///
    /// # Errors
    /// As [`Model::save`].
    pub fn save_as(
        &self,
        program: &Program,
        spec: &Spec,
        out: impl AsRef<Path>,
        options: WriteOptions<'_>,
    ) -> Result<SaveReport, Error> {
        let (changes, report) = changes(self.package(), program, spec)?;
        self.package().save(changes, out, options)?;
        Ok(report)
    }
}

/// What is different from the package.
fn changes(
    package: &Package,
    program: &Program,
    spec: &Spec,
) -> Result<(Changes, SaveReport), Error> {
    let mut report = SaveReport::default();
    let mut changes = Changes::default();
    if spec.bytes() != package.spec().bytes() {
        report.changed = true;
        changes.spec = Some(spec.clone());
    }
    if !is_unchanged(program, spec)? {
        report.changed = true;
        let mut program = program.clone();
        changes.weights = move_weights(&mut program, package, &mut report)?;
        changes.spec = Some(spec.with_program(&program.to_proto())?);
    }
    Ok((changes, report))
}

fn is_unchanged(program: &Program, spec: &Spec) -> Result<bool, Error> {
    let now = program.to_proto().encode_to_vec();
    if now == spec.model_bytes() {
        return Ok(true);
    }
    // A spec that decoding cannot hold whole differs without any change.
    let opened = Program::from_proto(&spec.program()?)?;
    Ok(now == opened.to_proto().encode_to_vec())
}

type Pieces = Vec<(String, Vec<milwright_package::Piece>)>;

/// Gives every constant of the program its place in the new weight files.
fn move_weights(
    program: &mut Program,
    package: &Package,
    report: &mut SaveReport,
) -> Result<Pieces, Error> {
    make_immediates(program);
    let mut kept: BTreeMap<Arc<str>, BTreeSet<u64>> = BTreeMap::new();
    let mut added: Vec<(Bytes, DataType, u64)> = Vec::new();
    program.visit_constants(&mut |constant| match &constant.data {
        ConstData::Blob(blob) => {
            kept.entry(blob.file_name.clone())
                .or_default()
                .insert(blob.offset);
        }
        ConstData::New(bytes) => {
            let elements = constant.tensor_type().and_then(|t| t.elements());
            added.push((bytes.clone(), dtype_of(constant), elements.unwrap_or(0)));
        }
        _ => {}
    });
    let blobs = added
        .iter()
        .map(|(data, dtype, elements)| {
            let data_type = to_storage(*dtype).ok_or_else(|| Error::WeightType {
                dtype: dtype.to_string(),
            })?;
            let bits = elements.saturating_mul(dtype.bits().unwrap_or(8));
            Ok(NewBlob {
                data_type,
                data: data.clone(),
                padding_bits: (data.len() as u64 * 8).saturating_sub(bits),
            })
        })
        .collect::<Result<Vec<_>, Error>>()?;

    let target: Arc<str> = match kept.keys().next() {
        Some(first) => first.clone(),
        None => Arc::from(DEFAULT_FILE),
    };
    if !blobs.is_empty() {
        kept.entry(target.clone()).or_default();
    }
    // A file that nothing refers to any more is emptied.
    for name in package.spec().weight_file_names()? {
        kept.entry(Arc::from(name)).or_default();
    }
    let mut places: BTreeMap<Arc<str>, RewrittenWeights> = BTreeMap::new();
    for (name, offsets) in &kept {
        let file = match package.weight_file(name) {
            Ok(file) => Some(file),
            Err(milwright_package::Error::MissingFile { .. }) if offsets.is_empty() => None,
            Err(error) => return Err(error.into()),
        };
        for &offset in offsets {
            if let Some(file) = file {
                report.weights_kept += file.blob(offset)?.data.len() as u64;
            }
        }
        let new: &[NewBlob] = if *name == target { &blobs } else { &[] };
        places.insert(name.clone(), rewrite_weights(file, offsets, new)?);
    }
    report.weights_added = blobs.iter().map(|b| b.data.len() as u64).sum();

    let new_offsets = places.get(&target).map_or(&[][..], |p| &p.added);
    relocate(program, &places, &target, new_offsets)?;
    Ok(places
        .into_iter()
        .filter(|(_, place)| !place.unchanged)
        .map(|(name, place)| (name.to_string(), place.pieces))
        .collect())
}

/// Writes the new places into the program, in the order in which
/// [`Program::visit_constants`] met the constants.
fn relocate(
    program: &mut Program,
    places: &BTreeMap<Arc<str>, RewrittenWeights>,
    target: &Arc<str>,
    new_offsets: &[u64],
) -> Result<(), Error> {
    let moved = |blob: &BlobRef| {
        let place = places.get(&blob.file_name)?;
        let to = *place.moved.get(&blob.offset)?;
        (to != blob.offset).then_some(to)
    };
    let mut new_offsets = new_offsets.iter();
    let mut update = |c: &mut Constant| match &mut c.data {
        ConstData::Blob(blob) => {
            if let Some(to) = moved(blob) {
                blob.offset = to;
            }
        }
        ConstData::New(_) => {
            if let Some(&offset) = new_offsets.next() {
                c.data = ConstData::Blob(BlobRef {
                    file_name: target.clone(),
                    offset,
                });
            }
        }
        _ => {}
    };
    program.visit_attributes_mut(&mut update)?;
    for id in program.live_ops() {
        let mut affected = false;
        program.ops[id].visit_constants(&mut |c| match &c.data {
            ConstData::Blob(blob) => affected |= moved(blob).is_some(),
            ConstData::New(_) => affected = true,
            _ => {}
        });
        if !affected {
            continue;
        }
        program.op_mut(id)?.visit_constants_mut(&mut update);
    }
    Ok(())
}

/// Writes small new tensors, and those that a weight file cannot hold, in the
/// spec.
fn make_immediates(program: &mut Program) {
    for id in program.live_ops() {
        // New constants only occur in operations that were changed already.
        if program.ops[id].is_untouched() {
            continue;
        }
        program.ops[id].visit_constants_mut(&mut |constant| {
            let ConstData::New(bytes) = &constant.data else {
                return;
            };
            let small = constant
                .tensor_type()
                .and_then(|t| t.elements())
                .is_some_and(|n| n < IMMEDIATE_BELOW);
            let dtype = dtype_of(constant);
            if small || to_storage(dtype).is_none() {
                constant.data = ConstData::Tensor(immediate(dtype, bytes));
            }
        });
    }
}

fn dtype_of(constant: &Constant) -> DataType {
    constant
        .tensor_type()
        .map_or(DataType::Unknown(0), |t| t.dtype)
}

/// Elements in the field that the format uses for their type.
fn immediate(dtype: DataType, bytes: &Bytes) -> TensorData {
    fn each<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks::<N>().0.iter().map(|b| read(*b)).collect()
    }
    match dtype {
        DataType::Float32 => TensorData::Floats(each(bytes, f32::from_le_bytes)),
        DataType::Float64 => TensorData::Doubles(each(bytes, f64::from_le_bytes)),
        DataType::Int32 => TensorData::Ints(each(bytes, i32::from_le_bytes)),
        DataType::Int64 => TensorData::LongInts(each(bytes, i64::from_le_bytes)),
        DataType::Bool => TensorData::Bools(bytes.iter().map(|&b| b != 0).collect()),
        _ => TensorData::Bytes(bytes.clone()),
    }
}
