//! Weights back into a model that they were taken out of.

use std::collections::{BTreeMap, BTreeSet};

use milwright_ir::{BlobRef, Model};
use milwright_package::{Between, Bytes, Changes, Overlaid, Piece, overlay_weights};
use serde::Serialize;

use super::catalog::Stored;
use super::fill::Stand;
use super::replace::set_immediate;
use super::strip::{KEY, Record, RecordedWeight, digest, joined};
use super::{Catalog, Error};

/// What [`restore`] did.
#[derive(Debug)]
pub struct Restored {
    /// To be saved with [`Package::save`](milwright_package::Package::save).
    pub changes: Changes,
    /// Weights that are back, by their name in the stripped model.
    pub back: Vec<String>,
    /// Those that the stripped model calls otherwise than when it was
    /// stripped.
    pub renamed: Vec<Renamed>,
    /// Weights that were given other values meanwhile; they stay.
    pub changed: Vec<String>,
    /// Weights that are not in the model any more, or not as they were: an edit
    /// removed them, made another weight of them, or joined them with others.
    /// What stands there now are no weights.
    pub gone: Vec<String>,
}

/// A weight with another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Renamed {
    /// Its name in the stripped model.
    pub name: String,
    /// The name it had.
    pub was: String,
}

/// Puts the weights of `original` into a model that was made of it by
/// [`strip`](super::strip()), and maybe edited since. Each is found by its
/// name, and by the digest of what was taken out.
///
/// # Errors
/// `stripped` does not say what was taken out, or `original` is another model.
pub fn restore(stripped: &Model, original: &Model) -> Result<Restored, Error> {
    let record = read_record(stripped)?;
    let catalog = Catalog::of(stripped.program());
    let homes = Homes::of(stripped, &catalog, &record)?;
    let source = Catalog::of(original.program());
    let mut from = From {
        model: original,
        catalog: &source,
        digests: BTreeMap::new(),
    };
    let mut restored = Restored {
        changes: Changes::default(),
        back: Vec::new(),
        renamed: homes.renamed,
        changed: homes.changed,
        gone: homes.gone,
    };
    let mut overlays: BTreeMap<&str, BTreeMap<u64, Overlaid>> = BTreeMap::new();
    let mut digests: BTreeMap<&BlobRef, &str> = BTreeMap::new();
    let mut program = stripped.program().clone();
    let mut touched = false;
    for (stored, name, weight) in homes.of {
        let found = from.find(name, weight)?;
        let Some(blob) = stored.blob else {
            let bytes = found.constant.bytes(original);
            let bytes = Bytes::from(bytes?.into_owned());
            for &site in &stored.sites {
                set_immediate(&mut program, site, stored.ty, &bytes)?;
            }
            touched = true;
            restored.back.push(stored.name.clone());
            continue;
        };
        let first = *digests.entry(blob).or_insert(&weight.digest);
        if first != weight.digest {
            // Stored once for weights that are not the same.
            restored.gone.push(name.to_owned());
            continue;
        }
        let overlay = overlays.entry(&blob.file_name).or_default();
        overlay.insert(blob.offset, Overlaid::Data(data(original, found)?));
        restored.back.push(stored.name.clone());
    }
    for (name, blobs) in overlays {
        let file = stripped.package().weight_file(name)?;
        let pieces = overlay_weights(file, &blobs, Between::Kept)?;
        restored.changes.weights.push((name.to_owned(), pieces));
    }
    let mut spec = match touched {
        true => stripped.spec().with_program(&program.to_proto())?,
        false => stripped.spec().clone(),
    };
    let mut description = spec.description()?;
    if let Some(metadata) = &mut description.metadata {
        metadata.user_defined.retain(|entry| entry.key != KEY);
        if !record.metadata && *metadata == milwright_package::proto::Metadata::default() {
            description.metadata = None;
        }
    }
    spec = spec.with_description(&description)?;
    restored.changes.spec = Some(spec);
    Ok(restored)
}

fn read_record(model: &Model) -> Result<Record, Error> {
    let refuse = |problem: String| Error::NotStripped {
        path: model.package().path().display().to_string(),
        problem,
    };
    let metadata = model.spec().description()?.metadata.unwrap_or_default();
    let mut entries = metadata.user_defined.into_iter();
    let Some(entry) = entries.find(|entry| entry.key == KEY) else {
        return Err(refuse(format!("its metadata has no `{KEY}`")));
    };
    let record: Record = serde_json::from_str(&entry.value)
        .map_err(|e| refuse(format!("`{KEY}` of its metadata is damaged: {e}")))?;
    match record.version {
        1 => Ok(record),
        other => Err(refuse(format!(
            "`{KEY}` is of version {other}, and this version knows 1"
        ))),
    }
}

/// Where recorded weights are in the stripped model.
struct Homes<'m> {
    of: Vec<(&'m Stored<'m>, &'m str, &'m RecordedWeight)>,
    renamed: Vec<Renamed>,
    changed: Vec<String>,
    gone: Vec<String>,
}

impl<'m> Homes<'m> {
    fn of(model: &Model, catalog: &'m Catalog<'m>, record: &'m Record) -> Result<Self, Error> {
        let mut homes = Homes {
            of: Vec::new(),
            renamed: Vec::new(),
            changed: Vec::new(),
            gone: Vec::new(),
        };
        let stands = |stored: &Stored<'_>, name: &str, weight: &RecordedWeight| {
            let stand = Stand {
                fill: record.fill,
                name,
                ty: stored.ty,
                scales: weight.scales,
                ones: weight.ones,
            };
            is_stand(model, stored, &stand)
        };
        let mut lost = Vec::new();
        let mut placed: BTreeSet<&str> = BTreeSet::new();
        for (name, weight) in &record.weights {
            let found = catalog.stored.iter().find(|stored| stored.name == *name);
            match found.filter(|stored| stored.ty.to_string() == weight.ty) {
                Some(stored) => {
                    placed.insert(&stored.name);
                    // A blob with several names has the values of the first.
                    if stands(stored, name, weight)? || shares(model, catalog, record, stored)? {
                        homes.of.push((stored, name, weight));
                    } else {
                        homes.changed.push(name.clone());
                    }
                }
                None => lost.push((name, weight)),
            }
        }
        // A weight with another name still has the values that stand for it.
        let mut candidates: BTreeMap<usize, Vec<(&'m String, &'m RecordedWeight)>> =
            BTreeMap::new();
        let mut wanted: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (name, weight) in lost {
            wanted.entry(name).or_default();
            for (index, stored) in catalog.stored.iter().enumerate() {
                let free = !placed.contains(stored.name.as_str());
                if free && stored.ty.to_string() == weight.ty && stands(stored, name, weight)? {
                    candidates.entry(index).or_default().push((name, weight));
                    wanted.entry(name).or_default().push(index);
                }
            }
        }
        for (name, indices) in &wanted {
            let sure = match indices.as_slice() {
                [index] => candidates.get(index).filter(|names| names.len() == 1),
                _ => None,
            };
            match (sure.and_then(|names| names.first()), indices.first()) {
                (Some(&(was, weight)), Some(&index)) => {
                    let stored = &catalog.stored[index];
                    homes.renamed.push(Renamed {
                        name: stored.name.clone(),
                        was: was.clone(),
                    });
                    homes.of.push((stored, was, weight));
                }
                _ => homes.gone.push((*name).to_owned()),
            }
        }
        Ok(homes)
    }
}

/// Whether a weight has the values that stand for it. Reads it in pieces.
fn is_stand(model: &Model, stored: &Stored<'_>, stand: &Stand<'_>) -> Result<bool, Error> {
    let pieces = stand.pieces(stored.bytes);
    let Some(source) = stored.source(model.package())? else {
        return Ok(stored.constant.bytes(model)?.as_ref() == joined(&pieces));
    };
    let mut found = Vec::new();
    let mut at = 0;
    for piece in pieces {
        let Piece::Bytes(wanted) = piece else {
            return Ok(false);
        };
        found.clear();
        let len = wanted.len() as u64;
        let failed = |source| Error::Io {
            action: "read the weights",
            source,
        };
        source.copy(at, len, &mut found).map_err(failed)?;
        if found != wanted {
            return Ok(false);
        }
        at += len;
    }
    Ok(at == source.len())
}

/// Whether a weight has the values that stand for another one of its blob.
fn shares(
    model: &Model,
    catalog: &Catalog<'_>,
    record: &Record,
    stored: &Stored<'_>,
) -> Result<bool, Error> {
    for other in &catalog.stored {
        if other.blob.is_none() || other.blob != stored.blob || other.name == stored.name {
            continue;
        }
        if let Some(weight) = record.weights.get(&other.name) {
            let stand = Stand {
                fill: record.fill,
                name: &other.name,
                ty: other.ty,
                scales: weight.scales,
                ones: weight.ones,
            };
            if is_stand(model, other, &stand)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The model that weights come from.
struct From<'m> {
    model: &'m Model,
    catalog: &'m Catalog<'m>,
    digests: BTreeMap<usize, String>,
}

impl<'m> From<'m> {
    /// The weight with that digest: the one of that name, or else any.
    fn find(&mut self, name: &str, weight: &RecordedWeight) -> Result<&'m Stored<'m>, Error> {
        let all = &self.catalog.stored;
        let named = all.iter().position(|stored| stored.name == name);
        for index in named.into_iter().chain(0..all.len()) {
            let stored = &all[index];
            if stored.ty.to_string() == weight.ty && self.digest(index)? == weight.digest {
                return Ok(stored);
            }
        }
        Err(Error::NotOriginal {
            original: self.model.package().path().display().to_string(),
            name: name.to_owned(),
            ty: weight.ty.clone(),
        })
    }

    fn digest(&mut self, index: usize) -> Result<&str, Error> {
        if !self.digests.contains_key(&index) {
            let found = digest(self.model, &self.catalog.stored[index])?;
            self.digests.insert(index, found);
        }
        Ok(self.digests.get(&index).map_or("", String::as_str))
    }
}

/// The elements of a weight, as they lie in its file.
fn data(model: &Model, stored: &Stored<'_>) -> Result<Vec<Piece>, Error> {
    let bytes = stored.constant.bytes(model)?;
    if let Some(range) = stored.source(model.package())? {
        return Ok(vec![Piece::Range(range)]);
    }
    Ok(vec![Piece::Bytes(Bytes::from(bytes.into_owned()))])
}
