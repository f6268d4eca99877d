//! Cutting a function where another one of the same model is cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use milwright_ir::{ConstData, OpId};

use super::flow::NEVER;
use super::plan::{Price, cheapest};
use super::{Costs, Graph, Plan};

/// What makes an operation of one function the same as one of another: the
/// weight that it reads (file, offset, place in it), and its type.
type Key<'p> = (Arc<str>, u64, u64, &'p str);

/// The stage of each node when a function is cut where `leader` is: what reads
/// the same weights is in the same stage, and the rest where the fewest bytes
/// cross. `None` when that is not possible, or would leave a stage empty.
///
/// `whole` are the edges that cannot cross a seam.
pub fn correspond(
    leader: &Graph<'_>,
    labels: &[usize],
    graph: &Graph<'_>,
    costs: &Costs,
    whole: &[bool],
) -> Option<Vec<usize>> {
    let stages = labels.iter().max()? + 1;
    let mut places: BTreeMap<Key<'_>, BTreeSet<usize>> = BTreeMap::new();
    for (node, &label) in labels.iter().enumerate() {
        for key in weights(leader, node) {
            places.entry(key).or_default().insert(label);
        }
    }
    // A weight that several stages of the leader read says nothing.
    let wanted: Vec<BTreeSet<usize>> = (0..graph.nodes.len())
        .map(|node| {
            let keys = weights(graph, node).into_iter();
            let labels = keys.filter_map(|key| {
                match places.get(&key)?.iter().copied().collect::<Vec<_>>()[..] {
                    [only] => Some(only),
                    _ => None,
                }
            });
            labels.collect()
        })
        .collect();
    // Of equal ways, the one in which what has one name is in one stage.
    let names: BTreeMap<(&str, &str), usize> = (labels.iter().enumerate())
        .filter_map(|(node, &label)| Some((called(leader, node)?, label)))
        .collect();
    let named: Vec<Option<usize>> = (0..graph.nodes.len())
        .map(|node| names.get(&called(graph, node)?).copied())
        .collect();
    let most = graph.nodes.len() as i128 + 1;
    let price = Price {
        stages,
        node: &|node, stage| match wanted[node].is_empty() || wanted[node].contains(&stage) {
            true => i128::from(named[node].is_some_and(|label| label != stage)),
            false => NEVER,
        },
        edge: &|edge, _| match whole.get(edge) {
            Some(true) => NEVER,
            _ => ((i128::from(costs.bytes[edge]) + 1) * most).min(NEVER >> 24),
        },
        tied: true,
    };
    let (_, found) = cheapest(graph, &price)?;
    let used: BTreeSet<usize> = found.iter().copied().collect();
    (used.len() == stages && Plan::new(graph, &found).is_ok()).then_some(found)
}

/// The name of a node's first result, and its type.
fn called<'p>(graph: &Graph<'p>, node: usize) -> Option<(&'p str, &'p str)> {
    let op = &graph.program.ops[graph.nodes[node]];
    Some((graph.name(*op.outputs.first()?), op.op_type.as_str()))
}

/// The weights that a node reads.
fn weights<'p>(graph: &Graph<'p>, node: usize) -> BTreeSet<Key<'p>> {
    let program = graph.program;
    let op = graph.nodes[node];
    let blocks = program.ops[op].blocks.iter();
    let inner = blocks.flat_map(|&b| program.walk(b));
    let fixed = graph.fixed_for(std::iter::once(node), std::iter::empty());
    let all: BTreeSet<OpId> = inner.chain(fixed).chain([op]).collect();
    let kind = program.ops[op].op_type.as_str();
    let mut found = BTreeSet::new();
    for op in all {
        program.ops[op].visit_constants(&mut |constant| {
            let blob = match &constant.data {
                ConstData::Blob(blob) => (blob.file_name.clone(), blob.offset, 0, kind),
                ConstData::Range(range) => {
                    let blob = &range.blob;
                    (blob.file_name.clone(), blob.offset, range.start, kind)
                }
                _ => return,
            };
            found.insert(blob);
        });
    }
    found
}
