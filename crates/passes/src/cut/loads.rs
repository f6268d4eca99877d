//! What the parts of a cut function weigh.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use milwright_ir::{BlobRef, ConstData, Constant, OpId};

use super::{Costs, Graph};
use crate::weights::MIN_IMMEDIATE;

/// A blob in a weight file starts at a multiple of this.
const ALIGNMENT: u64 = 64;

/// What is written before each blob: where it is and what its elements are.
const RECORD: u64 = 64;

/// So many shared weights are followed; smaller ones beyond count in every
/// operation that reads them.
const MOST_SHARED: usize = 64;

/// What each node of a [`Graph`] weighs, and what several of them share.
#[derive(Debug, Clone, Default)]
pub struct Loads {
    /// What only that node has.
    pub own: Vec<u64>,
    /// What several nodes have; in a part it counts once.
    pub shared: Vec<Shared>,
}

/// A weight that several nodes read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// The name of its first constant.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// The nodes that read it, in program order.
    pub nodes: Vec<usize>,
}

impl Loads {
    /// Bytes of weights as they are stored, compressed ones compressed, with
    /// what a weight file needs beside them.
    pub fn weights(graph: &Graph<'_>) -> Self {
        let program = graph.program;
        let mut found: BTreeMap<Key, (String, u64, BTreeSet<usize>)> = BTreeMap::new();
        for (node, &op) in graph.nodes.iter().enumerate() {
            let blocks = program.ops[op].blocks.iter();
            let inner = blocks.flat_map(|&b| program.walk(b));
            let fixed = graph.fixed_for(std::iter::once(node), std::iter::empty());
            // Sorted, for they come in no order.
            let fixed: BTreeSet<OpId> = fixed.into_iter().collect();
            for op in inner.chain(std::iter::once(op)).chain(fixed) {
                let mut nth = 0;
                program.ops[op].visit_constants(&mut |constant| {
                    nth += 1;
                    let Some((key, bytes)) = weight(op, nth, constant) else {
                        return;
                    };
                    let name = || match program.ops[op].outputs.first() {
                        Some(&v) => graph.name(v).to_owned(),
                        None => program.describe_op(op),
                    };
                    let entry = found
                        .entry(key)
                        .or_insert_with(|| (name(), bytes, BTreeSet::new()));
                    entry.1 = entry.1.max(bytes);
                    entry.2.insert(node);
                });
            }
        }
        let all = found.into_values().map(|(name, bytes, nodes)| Shared {
            name,
            bytes,
            nodes: nodes.into_iter().collect(),
        });
        Loads::of(graph.nodes.len(), all)
    }

    /// Multiply-adds.
    pub fn multiply_adds(costs: &Costs) -> Self {
        Loads {
            own: costs.macs.clone(),
            shared: Vec::new(),
        }
    }

    fn of(nodes: usize, weights: impl Iterator<Item = Shared>) -> Self {
        let mut loads = Loads {
            own: vec![0; nodes],
            shared: Vec::new(),
        };
        for weight in weights {
            match weight.nodes[..] {
                [node] => loads.own[node] = loads.own[node].saturating_add(weight.bytes),
                _ => loads.shared.push(weight),
            }
        }
        let place = |s: &Shared| (std::cmp::Reverse(s.bytes), s.nodes.clone());
        loads.shared.sort_by_key(place);
        for small in loads.shared.iter().skip(MOST_SHARED) {
            for &node in &small.nodes {
                loads.own[node] = loads.own[node].saturating_add(small.bytes);
            }
        }
        loads.shared.truncate(MOST_SHARED);
        loads
    }

    /// What some nodes weigh together.
    pub fn together(&self, among: impl Fn(usize) -> bool) -> u64 {
        let own = self.own.iter().enumerate().filter(|(n, _)| among(*n));
        let shared = self.shared.iter();
        let shared = shared.filter(|s| s.nodes.iter().any(|&n| among(n)));
        own.map(|(_, &bytes)| bytes)
            .chain(shared.map(|s| s.bytes))
            .fold(0, u64::saturating_add)
    }

    /// What all nodes weigh.
    pub fn total(&self) -> u64 {
        self.together(|_| true)
    }

    /// What a node weighs on its own.
    pub(super) fn of_node(&self, node: usize) -> u64 {
        self.together(|n| n == node)
    }
}

/// What makes two weights one: the place in a weight file; in the spec, where
/// it is written.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Blob(Arc<str>, u64),
    /// The place of the whole, the first byte of the part, and its size.
    Range(Arc<str>, u64, u64, u64),
    Spec(OpId, usize),
}

fn weight(op: OpId, nth: usize, constant: &Constant) -> Option<(Key, u64)> {
    let ty = constant.tensor_type()?;
    let elements = ty.elements()?;
    let bytes = ty.dtype.byte_len(elements)?;
    match &constant.data {
        ConstData::Blob(blob) => {
            let stored = bytes.checked_next_multiple_of(ALIGNMENT)?;
            let key = Key::Blob(blob.file_name.clone(), blob.offset);
            Some((key, stored.saturating_add(RECORD)))
        }
        ConstData::Range(range) => {
            let stored = bytes.checked_next_multiple_of(ALIGNMENT)?;
            let BlobRef { file_name, offset } = range.blob.clone();
            let key = Key::Range(file_name, offset, range.start, bytes);
            Some((key, stored.saturating_add(RECORD)))
        }
        // What a pass made goes to the weight file.
        ConstData::New(_) if elements >= MIN_IMMEDIATE => {
            let stored = bytes.checked_next_multiple_of(ALIGNMENT)?;
            Some((Key::Spec(op, nth), stored.saturating_add(RECORD)))
        }
        ConstData::Tensor(_) if elements >= MIN_IMMEDIATE => Some((Key::Spec(op, nth), bytes)),
        _ => None,
    }
}
