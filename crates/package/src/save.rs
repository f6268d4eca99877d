//! Saving a package with some of its parts changed.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::package::{MANIFEST, Package};
use crate::publish::{check_output, check_overlap};
use crate::spec::Spec;
use crate::write::{Form, Piece, WriteOptions, WritePlan};

/// What is to be different in a saved package. Everything else is copied byte
/// for byte.
#[derive(Debug, Default)]
pub struct Changes {
    /// The new spec.
    pub spec: Option<Spec>,
    /// New weight files: the name that the program uses
    /// (`@model_path/weights/weight.bin`), and the content, usually from
    /// [`rewrite_weights`](crate::rewrite_weights).
    pub weights: Vec<(String, Vec<Piece>)>,
    /// Other models that are read meanwhile, which the output must not overlap.
    pub also_read: Vec<PathBuf>,
    /// Leave out files that are neither manifest, spec nor one of `weights`.
    pub nothing_else: bool,
}

impl Package {
    /// Writes the package to `out` with `changes`.
    ///
    /// The extension of `out` chooses the form: `.mlpackage` a folder, `.zip` a
    /// zip of one, `.mlmodel` the bare spec (only for a model without weight
    /// files). The output is written beside `out` and then renamed, so a crash
    /// leaves what was there before or all of the new (see
    /// [`WriteOptions::durable`] for power cuts); after an error nothing is left.
    ///
    /// # Errors
    /// [`Error::OutputExists`] without [`WriteOptions::force`],
    /// [`Error::OutputOverlapsInput`], [`Error::OutputNotReplaceable`],
    /// [`Error::OutputForm`], [`Error::WeightName`] for a name that is refused,
    /// [`Error::Io`] (a full disk, too).
    pub fn save(
        &self,
        changes: Changes,
        out: impl AsRef<Path>,
        mut options: WriteOptions<'_>,
    ) -> Result<()> {
        let out = out.as_ref();
        let form = Form::of(out)?;
        check_overlap(self.path(), out)?;
        for other in &changes.also_read {
            check_overlap(other, out)?;
        }
        check_output(out, form, options.force)?;
        let spec = changes.spec.as_ref().unwrap_or(self.spec()).bytes().clone();
        if form == Form::Model {
            return self
                .plan_model(spec, &changes, out)?
                .execute(out, form, &mut options);
        }
        self.plan(spec, changes)?.execute(out, form, &mut options)
    }

    fn plan(&self, spec: Bytes, changes: Changes) -> Result<WritePlan> {
        let mut manifest = self.manifest().clone();
        let mut new_weights = Vec::with_capacity(changes.weights.len());
        for (name, pieces) in changes.weights {
            let path = self.place_weights(&name)?;
            manifest = manifest.covering(&path, self.spec_path())?;
            new_weights.push((path, pieces));
        }
        let mut plan = WritePlan::default();
        plan.files.push((
            MANIFEST.to_owned(),
            vec![Piece::Bytes(manifest.text().clone())],
        ));
        plan.files
            .push((self.spec_path().to_owned(), vec![Piece::Bytes(spec)]));
        let known = |path: &str| path == MANIFEST || path == self.spec_path();
        for file in self.files() {
            let replaced = new_weights.iter().any(|(path, _)| path == file.path());
            if !replaced && !known(file.path()) && !changes.nothing_else {
                let pieces = vec![Piece::Range(self.source(file)?)];
                plan.files.push((file.path().to_owned(), pieces));
            }
        }
        plan.files.extend(new_weights);
        plan.files.sort_by(|(a, _), (b, _)| a.cmp(b));
        plan.empty_folders = self.empty_folders().to_vec();
        Ok(plan)
    }

    /// A bare spec, if that is all there is.
    fn plan_model(&self, spec: Bytes, changes: &Changes, out: &Path) -> Result<WritePlan> {
        let known = |path: &str| path == MANIFEST || path == self.spec_path();
        let more = self
            .files()
            .iter()
            .map(|file| file.path())
            .find(|path| !known(path));
        let more = more.or(changes.weights.first().map(|(name, _)| name.as_str()));
        if let Some(more) = more {
            return Err(Error::OutputForm {
                path: out.to_owned(),
                reason: format!(
                    "a `.mlmodel` holds the spec alone, and this model has `{more}` as well; \
                     choose an output that ends in `.mlpackage`"
                ),
            });
        }
        let files = vec![(self.spec_path().to_owned(), vec![Piece::Bytes(spec)])];
        Ok(WritePlan {
            files,
            empty_folders: Vec::new(),
        })
    }

    /// Where a weight file is, or would be if it is new.
    pub(crate) fn place_weights(&self, name: &str) -> Result<String> {
        match self.resolve_weight_file(name) {
            Ok(file) => Ok(file.path().to_owned()),
            Err(Error::MissingFile { .. }) => self.beside_spec(name),
            Err(error) => Err(error),
        }
    }
}
