//! Fewer operations and outputs.

use std::collections::BTreeSet;

use super::candidate::Base;
use super::{Candidate, Work};
use crate::cut;

/// The function alone, with what its outputs need.
pub(super) fn whole<E: From<cut::Error>>(work: &mut Work<'_, '_, E>) -> Result<bool, E> {
    if work.model.is_some() {
        return Ok(false);
    }
    let (model, function) = work.now();
    let base = Base::new(model, function)?;
    let needed = base.needed_for(&base.outputs());
    let functions = model.program().functions.len();
    if functions == 1 && needed.len() == base.graph.nodes.len() {
        return Ok(false);
    }
    let candidate = base.candidate(&needed, None, usize::MAX, || {
        "what its outputs need".to_owned()
    });
    work.try_one(candidate)
}

/// Leaves out halves of the operations, quarters, single ones.
pub(super) fn nodes<E: From<cut::Error>>(work: &mut Work<'_, '_, E>) -> Result<bool, E> {
    work.in_halves(without)
}

/// The model without `size` operations from `start` on, and how many there are.
fn without<E: From<cut::Error>>(
    work: &Work<'_, '_, E>,
    start: usize,
    size: &mut usize,
) -> Result<(Option<Candidate>, usize), E> {
    let (model, function) = work.now();
    let base = Base::new(model, function)?;
    let count = base.graph.nodes.len();
    *size = (*size).min(count.div_ceil(2)).max(1);
    let end = count.min(start.saturating_add(*size));
    let kept: BTreeSet<usize> = base.without(start..end);
    let candidate = match start < end && !kept.is_empty() {
        true => base.candidate(&kept, None, count - 1, || {
            format!("without operations {} to {end} of {count}", start + 1)
        }),
        false => None,
    };
    Ok((candidate, count))
}

/// Leaves out one output after the other, the last first, and what only it
/// needs.
pub(super) fn outputs<E: From<cut::Error>>(work: &mut Work<'_, '_, E>) -> Result<bool, E> {
    let mut smaller = false;
    let mut from_end = 0;
    loop {
        let (model, function) = work.now();
        let base = Base::new(model, function)?;
        let outputs = base.outputs();
        if outputs.len() < 2 || from_end >= outputs.len() {
            return Ok(smaller);
        }
        let mut kept = outputs.clone();
        let count = base.graph.nodes.len();
        let gone = kept.remove(outputs.len() - 1 - from_end);
        let candidate = base.candidate(&base.needed_for(&kept), Some(&kept), count, || {
            format!("without output `{}`", base.graph.name(gone))
        });
        if work.try_one(candidate)? {
            smaller = true;
        } else {
            from_end += 1;
        }
        if work.stopped {
            return Ok(smaller);
        }
    }
}
