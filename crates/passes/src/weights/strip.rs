//! Weights out of a model, for sharing it in a bug report.

use std::collections::{BTreeMap, BTreeSet};

use milwright_ir::{ConstData, DataType, Model};
use milwright_package::{Between, Bytes, Changes, Overlaid, Piece, overlay_weights, proto};
use serde::{Deserialize, Serialize};

use super::catalog::{Storage, Stored};
use super::fill::{Fill, Stand, role};
use super::replace::set_immediate;
use super::{Catalog, Error};

/// The key of the model's `userDefined` metadata that says what was taken out.
pub(super) const KEY: &str = "com.milwright.stripped";

/// How to strip.
#[derive(Debug, Clone, Default)]
pub struct StripOptions {
    /// What weights become.
    pub fill: Fill,
    /// Take out what the model says of its author, too: author, license,
    /// version, descriptions of the model and its features, user-defined
    /// entries.
    pub metadata: bool,
}

/// What [`strip`] did.
#[derive(Debug)]
pub struct Stripped {
    /// To be saved with [`Package::save`](milwright_package::Package::save).
    pub changes: Changes,
    /// What was taken out, in program order.
    pub taken: Vec<Taken>,
    /// Stored constants that stay, because they steer the program: integers
    /// and truth values that are no part of a compressed weight.
    pub kept: Vec<Taken>,
    /// Files that are left out: they are no part of the program.
    pub left_out: Vec<String>,
}

/// A stored constant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: String,
    /// Its size.
    pub bytes: u64,
}

/// What a stripped model says about itself.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) version: u32,
    pub(super) fill: Fill,
    /// Whether there was metadata beside this.
    pub(super) metadata: bool,
    pub(super) weights: BTreeMap<String, RecordedWeight>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RecordedWeight {
    #[serde(rename = "type")]
    pub(super) ty: String,
    /// The first half of the BLAKE3 digest of what was there.
    pub(super) digest: String,
    /// It scales something.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) scales: bool,
    /// Of a mask, how many ones it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ones: Option<u64>,
}

/// Takes the weights out of a model. Types, shapes, names, the layout of the
/// weight files and everything that steers the program stay; operations stay
/// byte for byte, but for weights that are written in the spec. The metadata
/// records a digest of what was taken out, by which [`restore`](super::restore())
/// puts it back.
///
/// # Errors
/// A weight cannot be read, or lies where this version does not know it.
pub fn strip(model: &Model, options: &StripOptions) -> Result<Stripped, Error> {
    let package = model.package();
    let catalog = Catalog::of(model.program());
    all_known(model, &catalog)?;
    let mut record = Record {
        version: 1,
        fill: options.fill,
        metadata: false,
        weights: BTreeMap::new(),
    };
    let mut overlays: BTreeMap<String, BTreeMap<u64, Overlaid>> = BTreeMap::new();
    for name in model.spec().weight_file_names()? {
        overlays.insert(name, BTreeMap::new());
    }
    let mut program = model.program().clone();
    let mut touched = false;
    let (mut taken, mut kept) = (Vec::new(), Vec::new());
    for stored in &catalog.stored {
        let shown = Taken {
            name: stored.name.clone(),
            ty: stored.ty.to_string(),
            bytes: stored.bytes,
        };
        if !is_weight(stored) {
            kept.push(shown);
            if let Some(blob) = stored.blob {
                let overlay = overlays.entry(blob.file_name.to_string()).or_default();
                overlay.entry(blob.offset).or_insert(Overlaid::Kept);
            }
            continue;
        }
        taken.push(shown);
        let bytes = stored.constant.bytes(model)?;
        let (scales, ones) = role(stored, &bytes);
        let digest = digest(model, stored)?;
        let stand = Stand {
            fill: options.fill,
            name: &stored.name,
            ty: stored.ty,
            scales,
            ones,
        };
        let pieces = stand.pieces(stored.bytes);
        match stored.blob {
            Some(blob) => {
                let overlay = overlays.entry(blob.file_name.to_string()).or_default();
                // Of several names of one blob, the first decides its values.
                if !matches!(overlay.get(&blob.offset), Some(Overlaid::Data(_))) {
                    overlay.insert(blob.offset, Overlaid::Data(pieces));
                }
            }
            None => {
                for &site in &stored.sites {
                    set_immediate(&mut program, site, stored.ty, &joined(&pieces))?;
                }
                touched = true;
            }
        }
        record.weights.insert(
            stored.name.clone(),
            RecordedWeight {
                ty: stored.ty.to_string(),
                digest,
                scales,
                ones,
            },
        );
    }
    let mut changes = Changes {
        nothing_else: true,
        ..Changes::default()
    };
    let mut files = BTreeSet::new();
    for (name, blobs) in &overlays {
        files.insert(package.resolve_weight_file(name)?.path());
        let pieces = overlay_weights(package.weight_file(name)?, blobs, Between::Cleared)?;
        changes.weights.push((name.clone(), pieces));
    }
    let known =
        |path: &str| path == "Manifest.json" || path == package.spec_path() || files.contains(path);
    let others = package.files().iter().map(|file| file.path());
    let left_out = others.filter(|path| !known(path)).map(str::to_owned);
    let mut spec = match touched {
        true => model.spec().with_program(&program.to_proto())?,
        false => model.spec().clone(),
    };
    let mut description = spec.description()?;
    if options.metadata {
        anonymise(&mut description);
    }
    record.metadata = description.metadata.is_some();
    let text = serde_json::to_string(&record).map_err(|e| Error::Io {
        action: "write down what was taken out",
        source: std::io::Error::other(e),
    })?;
    let entries = &mut description.metadata.get_or_insert_default().user_defined;
    entries.retain(|entry| entry.key != KEY);
    entries.push(proto::StringEntry {
        key: KEY.to_owned(),
        value: text,
    });
    spec = spec.with_description(&description)?;
    changes.spec = Some(spec);
    Ok(Stripped {
        changes,
        taken,
        kept,
        left_out: left_out.collect(),
    })
}

/// Every place that the program refers to must be one that is known.
fn all_known(model: &Model, catalog: &Catalog<'_>) -> Result<(), Error> {
    let known: BTreeSet<_> = catalog.stored.iter().filter_map(|s| s.blob).collect();
    let mut unknown = None;
    model.program().visit_constants(&mut |constant| {
        if let ConstData::Blob(blob) = &constant.data
            && !known.contains(blob)
        {
            unknown.get_or_insert(blob);
        }
    });
    match unknown {
        None => Ok(()),
        Some(blob) => Err(Error::Elsewhere {
            file: blob.file_name.to_string(),
            offset: blob.offset,
        }),
    }
}

/// Floats, and integers of up to a byte: parts of compressed weights, or
/// quantised ones. Wider integers and truth values choose and count.
fn is_weight(stored: &Stored<'_>) -> bool {
    let dtype = stored.ty.dtype;
    let narrow = dtype.bits().is_some_and(|bits| bits <= 8);
    let part = matches!(&stored.storage, Storage::Part { param, .. } if param != "shape");
    dtype.is_float() || (narrow && (part || dtype != DataType::Bool))
}

/// The first half of the BLAKE3 digest of a weight. Reads it in pieces.
pub(super) fn digest(model: &Model, stored: &Stored<'_>) -> Result<String, Error> {
    let mut text = match stored.source(model.package())? {
        Some(source) => source.digest()?,
        None => milwright_package::digest(&stored.constant.bytes(model)?),
    };
    text.truncate(32);
    Ok(text)
}

/// Pieces of bytes as one.
pub(super) fn joined(pieces: &[Piece]) -> Bytes {
    let mut all = Vec::new();
    for piece in pieces {
        if let Piece::Bytes(bytes) = piece {
            all.extend_from_slice(bytes);
        }
    }
    all.into()
}

/// Removes what tells who made a model and what for.
fn anonymise(description: &mut proto::ModelDescription) {
    description.metadata = None;
    let lists = [
        &mut description.input,
        &mut description.output,
        &mut description.state,
        &mut description.training_input,
    ];
    for feature in lists.into_iter().flatten() {
        feature.short_description.clear();
    }
    for function in &mut description.functions {
        let lists = [
            &mut function.input,
            &mut function.output,
            &mut function.state,
        ];
        for feature in lists.into_iter().flatten() {
            feature.short_description.clear();
        }
    }
}
