//! What the Neural Engine cannot take, whatever the numbers.

use milwright_ir::{DataType, ValueId};

use super::{Graph, SeamTypes};
use crate::lint::{Caps, Ncdhw};

/// For each node, why it is beyond the caps of the Neural Engine: a tensor
/// that it reads or gives, at the largest shapes.
pub fn beyond_caps(graph: &Graph<'_>, types: &SeamTypes, caps: &Caps) -> Vec<Option<String>> {
    let why = |value: ValueId| {
        let ty = types.largest_type(value)?;
        // Text and shapes are no tensors of the Neural Engine.
        if ty.dtype == DataType::String || ty.rank().is_none_or(|r| r == 0) {
            return None;
        }
        let view = Ncdhw::of(ty)?;
        let excess = view.beyond(caps)?;
        Some(format!(
            "`{}` {ty} is {} in {}, and the Neural Engine takes {}",
            graph.name(value),
            excess.size,
            excess.axis,
            excess.limit
        ))
    };
    graph
        .nodes
        .iter()
        .zip(&graph.reads)
        .map(|(&op, reads)| {
            let given = graph.program.ops[op].outputs.iter().copied();
            given.chain(reads.iter().copied()).find_map(why)
        })
        .collect()
}
