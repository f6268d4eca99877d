//! Zeros instead of weights.

use std::collections::BTreeMap;

use milwright_ir::{ConstData, Model, Program};
use milwright_package::Bytes;

use super::candidate::Base;
use super::{Candidate, Work};
use crate::cut;
use crate::weights::{Catalog, Site, Storage};

/// Zeros are made in memory; a weight that is larger than this stays, in bytes.
const LARGEST: u64 = 1 << 28;

/// Makes weights zeros: all, halves of them, single ones.
pub(super) fn zeros<E: From<cut::Error>>(work: &mut Work<'_, '_, E>) -> Result<bool, E> {
    work.in_halves(|work, start, size| {
        let (model, function) = work.now();
        let count = open(model).len();
        *size = (*size).min(count).max(1);
        let candidate = match start < count {
            true => zeroed(model, function, start, *size),
            false => None,
        };
        Ok((candidate, count))
    })
}

/// A weight that is not zero yet.
struct Open {
    sites: Vec<Site>,
    bytes: u64,
}

/// Dense float weights that are not zero.
fn open(model: &Model) -> Vec<Open> {
    let catalog = Catalog::of(model.program());
    let open = catalog.stored.iter().filter(|stored| {
        let bytes = stored.constant.bytes(model);
        stored.ty.dtype.is_float()
            && stored.storage == Storage::Dense
            && stored.bytes <= LARGEST
            && bytes.is_ok_and(|bytes| bytes.iter().any(|&b| b != 0))
    });
    let found = open.map(|stored| Open {
        sites: stored.sites.clone(),
        bytes: stored.bytes,
    });
    found.collect()
}

fn zeroed(model: &Model, function: &str, start: usize, size: usize) -> Option<Candidate> {
    let open = open(model);
    let end = open.len().min(start.saturating_add(size));
    let chosen = open.get(start..end)?;
    let mut program = model.program().clone();
    let mut zeros: BTreeMap<u64, Bytes> = BTreeMap::new();
    for weight in chosen {
        let of_size = || Bytes::from(vec![0; weight.bytes as usize]);
        let bytes = zeros.entry(weight.bytes).or_insert_with(of_size).clone();
        for &site in &weight.sites {
            set(&mut program, site, &bytes)?;
        }
    }
    let base = Base::with(model, &program, function).ok()?;
    let needed = base.needed_for(&base.outputs());
    let (count, nodes) = (open.len(), base.graph.nodes.len());
    base.candidate(&needed, None, nodes, || {
        format!("zeros for weights {} to {end} of {count}", start + 1)
    })
}

fn set(program: &mut Program, site: Site, bytes: &Bytes) -> Option<()> {
    let mut nth = 0;
    program
        .op_mut(site.op)
        .ok()?
        .visit_constants_mut(&mut |constant| {
            if nth == site.nth {
                constant.data = ConstData::New(bytes.clone());
            }
            nth += 1;
        });
    Some(())
}
