//! Which operation runs in which stage, and what crosses between them.

use std::collections::{BTreeMap, BTreeSet};

use milwright_ir::{ValueId, ValueType};

use super::flow::{NEVER, Network, SINK, SOURCE};
use super::{Error, Graph};

/// A function cut into stages.
#[derive(Debug)]
pub struct Plan {
    /// The stages, in the order in which they run.
    pub stages: Vec<Stage>,
    /// What crosses after each stage but the last.
    pub seams: Vec<Seam>,
}

/// The operations of a stage.
#[derive(Debug)]
pub struct Stage {
    /// Nodes of the [`Graph`], in program order.
    pub nodes: Vec<usize>,
    /// What it takes: inputs and states of the function in their order, then
    /// what earlier stages give, in program order.
    pub inputs: Vec<ValueId>,
    /// What it gives: values that later stages read, in program order, then
    /// outputs of the function in their order.
    pub outputs: Vec<ValueId>,
}

/// What crosses between a stage and those after it.
#[derive(Debug)]
pub struct Seam {
    /// Values that this stage or an earlier one computes and a later one
    /// reads, in program order.
    pub values: Vec<ValueId>,
}

impl Plan {
    /// The plan that puts each node into the stage of that number. Numbers
    /// that no node has are left out.
    ///
    /// # Errors
    /// [`Error::Torn`]: a node would read what a later stage computes, or nodes
    /// that are tied would be separated.
    pub fn new(graph: &Graph<'_>, labels: &[usize]) -> Result<Self, Error> {
        let used: BTreeSet<usize> = labels.iter().copied().collect();
        let position: BTreeMap<usize, usize> =
            used.into_iter().enumerate().map(|(i, l)| (l, i)).collect();
        let stage_of: Vec<usize> = labels.iter().map(|l| position[l]).collect();
        check(graph, &stage_of)?;
        let count = position.len();
        let mut stages: Vec<Stage> = (0..count)
            .map(|stage| Stage {
                nodes: (0..graph.nodes.len())
                    .filter(|&n| stage_of[n] == stage)
                    .collect(),
                inputs: Vec::new(),
                outputs: Vec::new(),
            })
            .collect();
        let last = count - 1;
        let outputs = &graph.program.blocks[graph.body].outputs;
        for (number, stage) in stages.iter_mut().enumerate() {
            let mut reads: BTreeSet<ValueId> = stage
                .nodes
                .iter()
                .flat_map(|&n| graph.reads[n].iter().copied())
                .collect();
            let own = |value: ValueId| match graph.producer(value) {
                Some(node) => stage_of[node] == number,
                // Constant outputs, and inputs handed through.
                None => number == last,
            };
            reads.extend(outputs.iter().copied().filter(|&v| own(v)));
            let takes = |value: ValueId| {
                let unused = !graph.reads.iter().any(|r| r.contains(&value));
                reads.contains(&value) || (number == 0 && unused && !outputs.contains(&value))
            };
            let given = graph.function.inputs.iter().copied();
            stage.inputs = given.filter(|&v| takes(v)).collect();
            let edges = graph.edges.iter();
            let crossing =
                edges.filter(|e| e.to.iter().any(|&to| stage_of[to] != stage_of[e.from]));
            for edge in crossing {
                if stage_of[edge.from] == number {
                    stage.outputs.push(edge.value);
                } else if edge.to.iter().any(|&to| stage_of[to] == number) {
                    stage.inputs.push(edge.value);
                }
            }
            for &value in outputs {
                if own(value) && !stage.outputs.contains(&value) {
                    stage.outputs.push(value);
                }
            }
        }
        let seams = (0..last)
            .map(|after| {
                let crosses = |e: &&super::Edge| {
                    stage_of[e.from] <= after && e.to.iter().any(|&to| stage_of[to] > after)
                };
                Seam {
                    values: graph
                        .edges
                        .iter()
                        .filter(crosses)
                        .map(|e| e.value)
                        .collect(),
                }
            })
            .collect();
        Ok(Plan { stages, seams })
    }

    /// The states that a stage uses.
    pub fn states<'a>(&'a self, graph: &'a Graph<'_>, stage: usize) -> Vec<ValueId> {
        let inputs = self.stages[stage].inputs.iter().copied();
        let is_state = |&v: &ValueId| matches!(graph.program.values[v].ty, ValueType::State(_));
        inputs.filter(is_state).collect()
    }
}

/// Whether nothing runs before what it reads, and what is tied stays together.
fn check(graph: &Graph<'_>, stage_of: &[usize]) -> Result<(), Error> {
    let torn = |one: usize, other: usize, why: String| Error::Torn {
        one: format!("`{}`", graph.program.describe_op(graph.nodes[one])),
        other: format!("`{}`", graph.program.describe_op(graph.nodes[other])),
        why,
    };
    for edge in &graph.edges {
        if let Some(&to) = edge
            .to
            .iter()
            .find(|&&to| stage_of[to] < stage_of[edge.from])
        {
            let why = format!(
                "it reads `{}`, which would be computed later",
                graph.name(edge.value)
            );
            return Err(torn(to, edge.from, why));
        }
    }
    for (nodes, why) in &graph.tied {
        let Some((&first, others)) = nodes.split_first() else {
            continue;
        };
        if let Some(&other) = others.iter().find(|&&n| stage_of[n] != stage_of[first]) {
            return Err(torn(first, other, why.clone()));
        }
    }
    Ok(())
}

/// What a way of putting nodes into stages costs.
pub(super) struct Price<'f> {
    /// How many stages there may be.
    pub(super) stages: usize,
    /// Cost of a node in a stage; [`NEVER`] if it must not be there.
    pub(super) node: &'f dyn Fn(usize, usize) -> i128,
    /// Cost of an edge (by index) that crosses the seam before a stage.
    pub(super) edge: &'f dyn Fn(usize, usize) -> i128,
    /// Whether tied nodes stay together.
    pub(super) tied: bool,
}

/// The cheapest way: the stage of each node; `None` when there is none.
///
/// A cheapest cut of a network: for each node a chain of arcs from the source
/// to the sink, one for each stage; the arc that is cut is the node's stage.
pub(super) fn cheapest(graph: &Graph<'_>, price: &Price<'_>) -> Option<(i128, Vec<usize>)> {
    let count = graph.nodes.len();
    let mut network = Network::new();
    // `at(n, l)` is on the source's side when node n is in stage l or later.
    let first = |n: usize| 2 + n * (price.stages - 1);
    for _ in 0..count * (price.stages - 1) {
        network.node();
    }
    let at = |n: usize, stage: usize| match stage {
        0 => SOURCE,
        s if s == price.stages => SINK,
        s => first(n) + s - 1,
    };
    for n in 0..count {
        for stage in 0..price.stages {
            network.arc(at(n, stage), at(n, stage + 1), (price.node)(n, stage));
            if stage > 0 && stage + 1 < price.stages {
                network.arc(at(n, stage + 1), at(n, stage), NEVER);
            }
        }
    }
    for stage in 1..price.stages {
        for (index, edge) in graph.edges.iter().enumerate() {
            let crossing = network.node();
            network.arc(crossing, at(edge.from, stage), (price.edge)(index, stage));
            for &to in &edge.to {
                network.arc(at(to, stage), crossing, NEVER);
                network.arc(at(edge.from, stage), at(to, stage), NEVER);
            }
        }
        let tied = graph.tied.iter().filter(|_| price.tied);
        for pair in tied.flat_map(|(nodes, _)| nodes.windows(2)) {
            network.arc(at(pair[0], stage), at(pair[1], stage), NEVER);
            network.arc(at(pair[1], stage), at(pair[0], stage), NEVER);
        }
    }
    let (cost, side) = network.cut();
    if cost >= NEVER {
        return None;
    }
    let stage_of = |n: usize| (1..price.stages).take_while(|&s| side[at(n, s)]).count();
    Some((cost, (0..count).map(stage_of).collect()))
}
