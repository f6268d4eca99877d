//! The models that are merged, with their weights in one file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use milwright_ir::{
    BlobData, BlobRef, BlobSource, ConstData, ConstError, Function, Model, Program,
};
use milwright_package::{
    Joined, Piece, SharedBlobs, StageFile, WeightFile, join_weights, rewrite_weights,
};

use super::{Error, LeftOut};

/// Where weights go when no model had any.
const DEFAULT_FILE: &str = "@model_path/weights/weight.bin";

/// Models, and their programs as they refer to the joined weight file.
#[derive(Debug)]
pub(super) struct Sources<'m> {
    pub(super) models: Vec<&'m Model>,
    /// With the functions that are wanted, and no others.
    pub(super) programs: Vec<Program>,
    /// Weight files of the merged model.
    pub(super) weights: Vec<(String, Vec<Piece>)>,
    pub(super) report: SharedBlobs,
    /// Where a weight of the merged model was.
    home: BTreeMap<BlobRef, (usize, BlobRef)>,
}

impl<'m> Sources<'m> {
    /// Joins the weights of some functions of each model. The first model is
    /// the one whose package the merged one is made from.
    pub(super) fn new(
        models: Vec<&'m Model>,
        wanted: impl Fn(usize, &Function) -> bool,
    ) -> Result<Self, Error> {
        let mut programs = Vec::with_capacity(models.len());
        for (number, model) in models.iter().enumerate() {
            if model.spec().is_updatable()? {
                return Err(Error::Source {
                    model: shown(model),
                    why: "it can be updated on the device, which a merged model could not"
                        .to_owned(),
                });
            }
            let mut program = model.program().clone();
            program.functions.retain(|f| wanted(number, f));
            programs.push(program);
        }
        let mut sources = Sources {
            models,
            programs,
            weights: Vec::new(),
            report: SharedBlobs::default(),
            home: BTreeMap::new(),
        };
        sources.join()?;
        Ok(sources)
    }

    fn join(&mut self) -> Result<(), Error> {
        let mut kept: Vec<(usize, Arc<str>, BTreeSet<u64>)> = Vec::new();
        for (number, program) in self.programs.iter().enumerate() {
            let mut own: BTreeMap<Arc<str>, BTreeSet<u64>> = BTreeMap::new();
            program.visit_constants(&mut |constant| {
                if let ConstData::Blob(blob) = &constant.data {
                    let offsets = own.entry(blob.file_name.clone()).or_default();
                    offsets.insert(blob.offset);
                }
            });
            kept.extend(
                own.into_iter()
                    .map(|(name, offsets)| (number, name, offsets)),
            );
        }
        let models = &self.models;
        let file = |number: usize, name: &str| -> Result<&WeightFile, Error> {
            Ok(models[number].package().weight_file(name)?)
        };
        let joined = kept.iter().map(|(number, name, offsets)| {
            let file = file(*number, name)?;
            Ok(Joined {
                file,
                kept: offsets,
            })
        });
        let joined = joined.collect::<Result<Vec<_>, Error>>()?;
        // In the order of the models, so the first model's if it has some.
        let target: Arc<str> = match kept.first() {
            Some((_, name, _)) => name.clone(),
            None => Arc::from(DEFAULT_FILE),
        };
        let mut moved: BTreeMap<(usize, BlobRef), u64> = BTreeMap::new();
        if !joined.is_empty() {
            let plan = join_weights(&joined)?;
            for ((number, name, _), places) in kept.iter().zip(plan.moved) {
                for (offset, to) in places {
                    let file_name = name.clone();
                    moved.insert((*number, BlobRef { file_name, offset }), to);
                }
            }
            self.weights.push((target.to_string(), plan.pieces));
            self.report = plan.report;
        }
        // Files of the first package that nothing refers to any more.
        if let Some(first) = self.models.first() {
            for name in first.spec().weight_file_names()? {
                if self.weights.iter().all(|(known, _)| *known != name)
                    && let Ok(file) = first.package().weight_file(&name)
                {
                    let empty = rewrite_weights(Some(file), &BTreeSet::new(), &[])?;
                    self.weights.push((name, empty.pieces));
                }
            }
        }
        for (number, program) in self.programs.iter_mut().enumerate() {
            program.replace_data(&mut |constant| {
                let ConstData::Blob(blob) = &constant.data else {
                    return None;
                };
                let offset = *moved.get(&(number, blob.clone()))?;
                let file_name = target.clone();
                let to = BlobRef { file_name, offset };
                (to != *blob).then_some(ConstData::Blob(to))
            })?;
        }
        for ((number, blob), offset) in moved {
            let file_name = target.clone();
            let to = BlobRef { file_name, offset };
            self.home.entry(to).or_insert((number, blob));
        }
        Ok(())
    }

    /// Files of the later packages that the first does not have: they are not
    /// part of the merged one.
    pub(super) fn left_out(&self) -> Result<Vec<LeftOut>, Error> {
        let mut left_out = Vec::new();
        let Some((first, others)) = self.models.split_first() else {
            return Ok(left_out);
        };
        // A part that needs no weights may have an empty file for them.
        let mut weights = BTreeSet::new();
        for model in &self.models {
            weights.extend(model.spec().weight_file_names()?);
        }
        let known = more_files(first, &weights)?;
        for other in others {
            for file in more_files(other, &weights)? {
                if !known.contains(&file) {
                    left_out.push(LeftOut {
                        model: shown(other),
                        what: file.path,
                    });
                }
            }
        }
        Ok(left_out)
    }
}

/// Files of a package that are neither manifest, spec nor weights.
fn more_files(model: &Model, weights: &BTreeSet<String>) -> Result<Vec<StageFile>, Error> {
    let package = model.package();
    let mut known: BTreeSet<&str> = BTreeSet::from(["Manifest.json", package.spec_path()]);
    for name in weights {
        if let Ok(file) = package.resolve_weight_file(name) {
            known.insert(file.path());
        }
    }
    let more = package.files().iter().filter(|f| !known.contains(f.path()));
    Ok(more
        .map(|file| StageFile::of(package, file))
        .collect::<Result<_, _>>()?)
}

/// What messages call a model.
pub(super) fn shown(model: &Model) -> String {
    model.package().path().display().to_string()
}

impl BlobSource for Sources<'_> {
    fn blob(&self, blob: &BlobRef) -> Result<BlobData<'_>, ConstError> {
        match self.home.get(blob) {
            Some((number, old)) => self.models[*number].blob(old),
            None => Err(ConstError::Blob {
                file_name: blob.file_name.to_string(),
                offset: blob.offset,
                cause: "no model that is merged has it".to_owned(),
            }),
        }
    }
}
