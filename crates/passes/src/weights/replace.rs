//! Other values for stored constants.

use std::collections::BTreeMap;

use milwright_ir::elements::{Loss, convert, convert_range, converts};
use milwright_ir::names::nearest;
use milwright_ir::{BlobRef, ConstData, Constant, DataType, Model, TensorData, TensorType};
use milwright_package::{Between, Bytes, Changes, Overlaid, Piece, Source, overlay_weights};
use serde::Serialize;

use super::catalog::Stored;
use super::{Catalog, Error, Site};

/// How much is compared at once, in bytes.
const CHUNK: u64 = 1 << 20;

/// A tensor that is to be a constant of a model.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Its name.
    pub name: String,
    /// Type of its elements.
    pub dtype: DataType,
    /// Its dimensions.
    pub shape: Vec<u64>,
    /// Its elements, row-major and little-endian.
    pub data: Source,
}

/// How to replace.
#[derive(Debug, Clone, Default)]
pub struct ReplaceOptions {
    /// Names of tensors, and the names of the constants that they are for;
    /// others are for the constant of their own name.
    pub map: Vec<(String, String)>,
    /// Convert floats of another width.
    pub cast: bool,
    /// Change constants that are stored with a replaced one, too.
    pub tied: bool,
}

/// What [`replace`] did.
#[derive(Debug)]
pub struct Replaced {
    /// To be saved with [`Package::save`](milwright_package::Package::save).
    pub changes: Changes,
    /// The constants that have new values, in the order of the model.
    pub constants: Vec<Replacement>,
    /// How many stay.
    pub kept: usize,
}

/// A constant with new values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replacement {
    /// The constant.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: String,
    /// The tensor that it got.
    pub from: String,
    /// The type of its elements, where it is another.
    pub converted_from: Option<String>,
    /// Values that conversion rounded.
    pub rounded: u64,
    /// Whether the values are those that were there.
    pub unchanged: bool,
    /// Constants that are stored with it and changed with it.
    pub tied: Vec<String>,
}

/// Gives constants of a model the values of tensors of the same name and shape.
/// Nothing else changes: weight files keep their layout, and operations their
/// bytes, but for constants that are in the spec.
///
/// # Errors
/// A tensor is for no constant of the model, or does not fit it; see [`Error`].
pub fn replace(
    model: &Model,
    offers: Vec<Offer>,
    options: &ReplaceOptions,
) -> Result<Replaced, Error> {
    let catalog = Catalog::of(model.program());
    let wanted = assign(&catalog, offers, &options.map)?;
    let mut files: BTreeMap<&BlobRef, (&str, Source)> = BTreeMap::new();
    let mut immediates: Vec<(&Stored<'_>, Source)> = Vec::new();
    let mut constants = Vec::new();
    for stored in &catalog.stored {
        let Some(offer) = wanted.get(stored.name.as_str()) else {
            continue;
        };
        let (data, loss) = fit(stored, offer, options.cast)?;
        let mut others = Vec::new();
        let unchanged = match stored.blob {
            Some(blob) => {
                others = tied(&catalog, stored, &wanted, options.tied)?;
                if let Some((other, first)) = files.get(blob)
                    && !same(first, &data)?
                {
                    return Err(Error::Tied {
                        name: stored.name.clone(),
                        others: vec![(*other).to_owned()],
                    });
                }
                let unchanged = match stored.source(model.package())? {
                    Some(old) => same(&old, &data)?,
                    None => false,
                };
                files.entry(blob).or_insert((&stored.name, data));
                unchanged
            }
            None => {
                let bytes = whole(&data)?;
                let now = stored.constant.bytes(model);
                let unchanged = now.is_ok_and(|old| old.as_ref() == bytes);
                immediates.push((stored, data));
                unchanged
            }
        };
        constants.push(Replacement {
            name: stored.name.clone(),
            ty: stored.ty.to_string(),
            from: offer.name.clone(),
            converted_from: (offer.dtype != stored.ty.dtype).then(|| offer.dtype.to_string()),
            rounded: loss.rounded,
            unchanged,
            tied: others,
        });
    }
    let mut changes = Changes::default();
    let mut overlays: BTreeMap<&str, BTreeMap<u64, Overlaid>> = BTreeMap::new();
    for (blob, (_, data)) in files {
        let overlay = overlays.entry(&blob.file_name).or_default();
        overlay.insert(blob.offset, Overlaid::Data(vec![Piece::Range(data)]));
    }
    for (name, blobs) in overlays {
        let file = model.package().weight_file(name)?;
        let pieces = overlay_weights(file, &blobs, Between::Kept)?;
        changes.weights.push((name.to_owned(), pieces));
    }
    if !immediates.is_empty() {
        let mut program = model.program().clone();
        for (stored, data) in immediates {
            let bytes = Bytes::from(whole(&data)?);
            for &site in &stored.sites {
                set_immediate(&mut program, site, stored.ty, &bytes)?;
            }
        }
        let spec = model.spec().with_program(&program.to_proto());
        changes.spec = Some(spec?);
    }
    Ok(Replaced {
        changes,
        kept: catalog.stored.len() - constants.len(),
        constants,
    })
}

/// The tensor of each constant, by the name of the constant.
fn assign(
    catalog: &Catalog<'_>,
    offers: Vec<Offer>,
    map: &[(String, String)],
) -> Result<BTreeMap<String, Offer>, Error> {
    for (from, _) in map {
        if !offers.iter().any(|offer| offer.name == *from) {
            let names = offers.iter().map(|offer| offer.name.as_str());
            let near = nearest(from, names, 3).into_iter().map(str::to_owned);
            return Err(Error::NoTensor {
                name: from.clone(),
                near: near.collect(),
            });
        }
    }
    let mut wanted: BTreeMap<String, Offer> = BTreeMap::new();
    for offer in offers {
        let mapped = map.iter().find(|(from, _)| *from == offer.name);
        let name = mapped.map_or(&offer.name, |(_, to)| to).clone();
        let stored = catalog.find(&name)?;
        if let Some(other) = wanted.get(&stored.name) {
            return Err(Error::Twice {
                name,
                one: other.name.clone(),
                other: offer.name,
            });
        }
        wanted.insert(name, offer);
    }
    Ok(wanted)
}

/// The elements of a tensor in the type of a constant.
fn fit(stored: &Stored<'_>, offer: &Offer, cast: bool) -> Result<(Source, Loss), Error> {
    let shown = || TensorType::fixed(offer.dtype, &offer.shape).to_string();
    if stored.ty.known_shape().as_deref() != Some(&offer.shape) {
        return Err(Error::Shape {
            name: stored.name.clone(),
            wanted: stored.ty.to_string(),
            from: offer.name.clone(),
            found: shown(),
        });
    }
    let (from, to) = (offer.dtype, stored.ty.dtype);
    if from == to {
        return Ok((offer.data.clone(), Loss::default()));
    }
    let floats = from.is_float() && to.is_float();
    let stands = stands_for(from, to);
    if !converts(from, to) || !(stands || (floats && cast)) {
        return Err(Error::Type {
            name: stored.name.clone(),
            wanted: stored.ty.to_string(),
            from: offer.name.clone(),
            found: shown(),
            help: match floats {
                true => "ask to convert with --cast",
                false => "save it in the type of the model",
            },
        });
    }
    let count = offer.shape.iter().product();
    let failed = |source| Error::Io {
        action: "convert it into a temporary file",
        source,
    };
    let mut spool = tempfile::tempfile().map_err(failed)?;
    let mut buffered = std::io::BufWriter::new(&mut spool);
    let loss = convert_range(&offer.data, from, to, count, &mut buffered).map_err(failed)?;
    std::io::Write::flush(&mut buffered).map_err(failed)?;
    drop(buffered);
    let values = |count, why| Error::Values {
        name: stored.name.clone(),
        from: offer.name.clone(),
        dtype: to.to_string(),
        count,
        why,
    };
    if loss.out_of_range > 0 {
        return Err(values(loss.out_of_range, "they are out of its range"));
    }
    if loss.rounded > 0 && !cast {
        let why = "they would be rounded; ask for that with --cast";
        return Err(values(loss.rounded, why));
    }
    let path = offer.data.path();
    Ok((Source::temporary(spool, path)?, loss))
}

/// Whether files hold elements of type `to` as `from` because they have no
/// better type.
fn stands_for(from: DataType, to: DataType) -> bool {
    use DataType as D;
    match to {
        D::BFloat16 | D::Float8E4M3FN | D::Float8E5M2 => from == D::Float32,
        D::Int4 => from == D::Int8,
        D::UInt1 | D::UInt2 | D::UInt3 | D::UInt4 | D::UInt6 => from == D::UInt8,
        _ => false,
    }
}

/// Other names of the blob of a constant that are not given.
fn tied(
    catalog: &Catalog<'_>,
    stored: &Stored<'_>,
    wanted: &BTreeMap<String, Offer>,
    allowed: bool,
) -> Result<Vec<String>, Error> {
    let others = catalog.stored.iter().filter(|other| {
        other.blob == stored.blob && other.name != stored.name && !wanted.contains_key(&other.name)
    });
    let others: Vec<String> = others.map(|other| other.name.clone()).collect();
    if others.is_empty() || allowed {
        return Ok(others);
    }
    Err(Error::Tied {
        name: stored.name.clone(),
        others,
    })
}

/// Whether two ranges hold the same bytes.
fn same(one: &Source, other: &Source) -> Result<bool, Error> {
    if one.len() != other.len() {
        return Ok(false);
    }
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < one.len() {
        a.clear();
        b.clear();
        read(one, at, CHUNK, &mut a)?;
        read(other, at, CHUNK, &mut b)?;
        if a != b {
            return Ok(false);
        }
        at += CHUNK;
    }
    Ok(true)
}

fn read(source: &Source, at: u64, len: u64, into: &mut Vec<u8>) -> Result<(), Error> {
    let failed = |source| Error::Io {
        action: "read the values",
        source,
    };
    let wanted = len.min(source.len().saturating_sub(at));
    match source.copy(at, wanted, into).map_err(failed)? == wanted {
        true => Ok(()),
        false => Err(failed(std::io::ErrorKind::UnexpectedEof.into())),
    }
}

/// All of a small range.
fn whole(source: &Source) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    read(source, 0, source.len(), &mut bytes)?;
    Ok(bytes)
}

/// Writes other elements into a constant of the spec, in the field that it has.
pub(super) fn set_immediate(
    program: &mut milwright_ir::Program,
    site: Site,
    ty: &TensorType,
    bytes: &Bytes,
) -> Result<(), Error> {
    let mut nth = 0;
    program
        .op_mut(site.op)?
        .visit_constants_mut(&mut |constant: &mut Constant| {
            if nth == site.nth
                && let ConstData::Tensor(old) = &constant.data
            {
                let new = match old {
                    // Some writers keep narrow integers in the field for int32.
                    TensorData::Ints(_) => {
                        let mut wide = Vec::new();
                        let count = ty.elements().unwrap_or(0) as usize;
                        convert(ty.dtype, DataType::Int32, bytes, count, &mut wide);
                        TensorData::from_bytes(DataType::Int32, &wide.into())
                    }
                    _ => TensorData::from_bytes(ty.dtype, bytes),
                };
                constant.data = ConstData::Tensor(new);
            }
            nth += 1;
        });
    Ok(())
}
