//! The embedding and the head of a language model, which can be parts of their
//! own.

use super::{Graph, Loads};

/// Operations that multiply by a weight.
const PRODUCTS: [&str; 4] = ["linear", "matmul", "conv", "einsum"];

/// The operation that takes rows from the largest table, with all that read
/// from that table in the same way; none when no table is a weight.
pub fn embedding(graph: &Graph<'_>, weights: &Loads) -> Vec<usize> {
    let program = graph.program;
    let from_table = |&node: &usize| {
        let op = &program.ops[graph.nodes[node]];
        let mut table = op.inputs.iter().filter(|(name, _)| name == "x");
        let fixed = table.any(|(_, args)| {
            args.iter().all(|arg| match arg {
                milwright_ir::Arg::Value(v) => graph.is_fixed_value(*v),
                milwright_ir::Arg::Const(_) => true,
            })
        });
        op.op_type.starts_with("gather") && fixed
    };
    largest(0..graph.nodes.len(), from_table, weights, 1)
}

/// The products with weights that no other product with weights comes after,
/// as far as they are not much smaller than the largest of them.
pub fn head(graph: &Graph<'_>, weights: &Loads) -> Vec<usize> {
    let product = |&node: &usize| {
        let op = &graph.program.ops[graph.nodes[node]];
        PRODUCTS.contains(&op.op_type.as_str()) && weights.of_node(node) > 0
    };
    let products: Vec<usize> = (0..graph.nodes.len()).filter(product).collect();
    // Producers stand before their readers.
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); graph.nodes.len()];
    for edge in &graph.edges {
        after[edge.from].extend(&edge.to);
    }
    let mut before_product = vec![false; graph.nodes.len()];
    for node in (0..graph.nodes.len()).rev() {
        before_product[node] = after[node]
            .iter()
            .any(|&to| before_product[to] || products.binary_search(&to).is_ok());
    }
    let is_last = |&node: &usize| !before_product[node];
    largest(products.into_iter(), is_last, weights, 4)
}

/// Those that weigh at least one part in `share` of the heaviest.
fn largest(
    nodes: impl Iterator<Item = usize>,
    wanted: impl Fn(&usize) -> bool,
    weights: &Loads,
    share: u64,
) -> Vec<usize> {
    let found = nodes.filter(wanted).map(|n| (n, weights.of_node(n)));
    let found: Vec<(usize, u64)> = found.filter(|&(_, load)| load > 0).collect();
    let most = found.iter().map(|&(_, load)| load).max().unwrap_or(0);
    let near = found.into_iter().filter(|&(_, load)| load >= most / share);
    near.map(|(node, _)| node).collect()
}
