//! Writing a changed model.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use milwright_package::{
    Changes, Container, Message, NewBlob, NewData, Package, Spec, WriteOptions, proto,
};
use milwright_package::{RewrittenWeights, rewrite_weights};

use crate::constant::{BlobRange, BlobRef, ConstData, Constant, TensorData};
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
    // Text often travels without its weights; a package never should.
    if matches!(package.container(), Container::Text | Container::Compiled) {
        for name in package.spec().weight_file_names()? {
            package.resolve_weight_file(&name)?;
        }
    }
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

/// A program with its new weights in the weight files, and those files; `None`
/// when it has no new weights.
pub(crate) fn moved_weights(
    mut program: Program,
    package: &Package,
) -> Result<Option<(Changes, Program)>, Error> {
    let mut any = false;
    program.visit_constants(&mut |c| any |= matches!(c.data, ConstData::New(_)));
    if !any {
        return Ok(None);
    }
    let weights = move_weights(&mut program, package, &mut SaveReport::default())?;
    let changes = Changes {
        weights,
        ..Changes::default()
    };
    Ok(Some((changes, program)))
}

fn is_unchanged(program: &Program, spec: &Spec) -> Result<bool, Error> {
    let now = program.to_proto();
    let bytes = now.encode_to_vec();
    if bytes == spec.model_bytes() {
        return Ok(true);
    }
    // A spec that decoding cannot hold whole differs without any change. But
    // decoding is slow, and a part of a model is not as long as the whole.
    let opened = spec.program()?;
    if operations(&opened) != operations(&now) {
        return Ok(false);
    }
    let opened = Program::from_proto(&opened)?;
    Ok(bytes == opened.to_proto().encode_to_vec())
}

/// How many operations the bodies of all functions list.
fn operations(program: &proto::Program) -> usize {
    let functions = program.functions.iter().filter_map(|f| f.value.as_ref());
    let bodies = functions.flat_map(|f| &f.block_specializations);
    bodies
        .filter_map(|b| b.value.as_ref())
        .map(|b| b.operations.len())
        .sum()
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
    let mut made: Vec<NewBlob> = Vec::new();
    let mut parts: BTreeMap<Arc<str>, Vec<NewBlob>> = BTreeMap::new();
    let mut unstorable = None;
    program.visit_constants(&mut |constant| {
        let (list, data) = match &constant.data {
            ConstData::Blob(blob) => {
                let file = kept.entry(blob.file_name.clone()).or_default();
                file.insert(blob.offset);
                return;
            }
            ConstData::Range(range) => {
                let file = range.blob.file_name.clone();
                (parts.entry(file).or_default(), part_of(constant, range))
            }
            ConstData::New(bytes) => (&mut made, bytes.clone().into()),
            _ => return,
        };
        let dtype = dtype_of(constant);
        let Some(data_type) = to_storage(dtype) else {
            unstorable.get_or_insert(dtype);
            return;
        };
        let elements = constant.tensor_type().and_then(|t| t.elements());
        let bits = elements
            .unwrap_or(0)
            .saturating_mul(dtype.bits().unwrap_or(8));
        list.push(NewBlob {
            data_type,
            padding_bits: (data.len() * 8).saturating_sub(bits),
            data,
        });
    });
    if let Some(dtype) = unstorable {
        return Err(Error::WeightType {
            dtype: dtype.to_string(),
        });
    }

    let first = kept.keys().chain(parts.keys()).min();
    let target: Arc<str> = match first {
        Some(first) => first.clone(),
        None => Arc::from(DEFAULT_FILE),
    };
    report.weights_added = made.iter().map(|b| b.data.len()).sum();
    let divided = parts.values().flatten().map(|b| b.data.len());
    report.weights_kept += divided.sum::<u64>();
    if !made.is_empty() {
        kept.entry(target.clone()).or_default();
    }
    for file in parts.keys() {
        kept.entry(file.clone()).or_default();
    }
    // A file that nothing refers to any more is emptied.
    for name in package.spec().weight_file_names()? {
        kept.entry(Arc::from(name)).or_default();
    }
    let mut places: BTreeMap<Arc<str>, RewrittenWeights> = BTreeMap::new();
    let mut divided_in: BTreeMap<Arc<str>, usize> = BTreeMap::new();
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
        // Parts first, and then what a pass made, as the places are given back.
        let mut new = parts.remove(name).unwrap_or_default();
        divided_in.insert(name.clone(), new.len());
        if *name == target {
            new.append(&mut made);
        }
        places.insert(name.clone(), rewrite_weights(file, offsets, &new)?);
    }
    relocate(program, &places, &target, &divided_in)?;
    Ok(places
        .into_iter()
        .filter(|(_, place)| !place.unchanged)
        .map(|(name, place)| (name.to_string(), place.pieces))
        .collect())
}

/// A part of a blob, as the constant's type measures it.
fn part_of(constant: &Constant, range: &BlobRange) -> NewData {
    let ty = constant.tensor_type();
    let len = ty.and_then(|t| t.dtype.byte_len(t.elements()?));
    NewData::Range {
        offset: range.blob.offset,
        start: range.start,
        // More than any blob has, so that it is refused.
        len: len.unwrap_or(u64::MAX),
    }
}

/// Writes the new places into the program, in the order in which
/// [`Program::visit_constants`] met the constants.
fn relocate(
    program: &mut Program,
    places: &BTreeMap<Arc<str>, RewrittenWeights>,
    target: &Arc<str>,
    divided_in: &BTreeMap<Arc<str>, usize>,
) -> Result<(), Error> {
    let moved = |blob: &BlobRef| {
        let place = places.get(&blob.file_name)?;
        let to = *place.moved.get(&blob.offset)?;
        (to != blob.offset).then_some(to)
    };
    let added = |file: &Arc<str>| places.get(file).map_or(&[][..], |p| &p.added);
    let mut made = added(target).iter();
    if let Some(&divided) = divided_in.get(target) {
        made = made.as_slice().get(divided..).unwrap_or_default().iter();
    }
    let mut parts: BTreeMap<&Arc<str>, _> = divided_in
        .keys()
        .map(|file| (file, added(file).iter()))
        .collect();
    program.replace_data(&mut |constant| {
        let (file, offset) = match &constant.data {
            ConstData::Blob(blob) => (&blob.file_name, moved(blob)?),
            ConstData::Range(range) => {
                let file = &range.blob.file_name;
                (file, *parts.get_mut(file)?.next()?)
            }
            ConstData::New(_) => (target, *made.next()?),
            _ => return None,
        };
        Some(ConstData::Blob(BlobRef {
            file_name: file.clone(),
            offset,
        }))
    })
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
                constant.data = ConstData::Tensor(TensorData::from_bytes(dtype, bytes));
            }
        });
    }
}

fn dtype_of(constant: &Constant) -> DataType {
    constant
        .tensor_type()
        .map_or(DataType::Unknown(0), |t| t.dtype)
}
