//! Cutting where the user says.

use std::collections::BTreeSet;

use milwright_ir::names::nearest;
use milwright_ir::{OpId, ValueId};

use super::flow::NEVER;
use super::graph::not_io;
use super::plan::{Price, cheapest};
use super::{Error, Graph, Plan};

/// The stage of each node when the function is cut at the values of these
/// names. Values that cross together are one seam; a value that is used up
/// before another one of the list is computed is an earlier seam.
///
/// # Errors
/// A name is no value at which one can cut, or the values do not separate the
/// function.
pub fn cut_at(graph: &Graph<'_>, names: &[String]) -> Result<Vec<usize>, Error> {
    let mut values = Vec::new();
    for name in names {
        let value = find(graph, name)?;
        if !values.contains(&value) {
            values.push(value);
        }
    }
    let seams = seams(graph, &values)?;
    // The first seam before which a node must run, and the last after which.
    let count = graph.nodes.len();
    let (mut latest, mut earliest) = (vec![seams.len(); count], vec![0; count]);
    for (seam, values) in seams.iter().enumerate().rev() {
        let before = graph.ancestors(values.iter().filter_map(|&v| graph.producer(v)));
        for (node, _) in before.iter().enumerate().filter(|(_, b)| **b) {
            latest[node] = seam;
        }
    }
    for (seam, values) in seams.iter().enumerate() {
        let crossing = graph.edges.iter().filter(|e| values.contains(&e.value));
        for &to in crossing.flat_map(|e| &e.to) {
            if latest[to] > seam {
                earliest[to] = seam + 1;
            }
        }
    }
    let listed = |edge: usize, stage: usize| {
        let value = graph.edges[edge].value;
        seams[..stage].iter().any(|s| s.contains(&value))
    };
    let price = |tied| {
        cheapest(
            graph,
            &Price {
                stages: seams.len() + 1,
                node: &|node, stage| {
                    if (earliest[node]..=latest[node]).contains(&stage) {
                        0
                    } else {
                        NEVER
                    }
                },
                edge: &|edge, stage| i128::from(!listed(edge, stage)),
                tied,
            },
        )
    };
    let labels = match price(true) {
        Some((_, labels)) => labels,
        None => {
            // Without the ties there is a way; the plan names the one that it tears.
            let (_, labels) = price(false).ok_or_else(|| Error::Order {
                asked: names.to_vec(),
            })?;
            Plan::new(graph, &labels)?;
            labels
        }
    };
    let crosses = |edge: usize, stage: usize| {
        let edge = &graph.edges[edge];
        labels[edge.from] < stage && edge.to.iter().any(|&to| labels[to] >= stage)
    };
    let mut missing = BTreeSet::new();
    for edge in 0..graph.edges.len() {
        if (1..=seams.len()).any(|stage| crosses(edge, stage) && !listed(edge, stage)) {
            missing.insert(edge);
        }
    }
    if missing.is_empty() {
        return Ok(labels);
    }
    let name = |edge: usize| graph.name(graph.edges[edge].value).to_owned();
    let missing: Vec<String> = missing.into_iter().map(name).collect();
    Err(Error::NotACut {
        asked: names.to_vec(),
        all: [names, &missing].concat(),
        missing,
    })
}

/// The values of each seam, in the order of the seams.
fn seams(graph: &Graph<'_>, values: &[ValueId]) -> Result<Vec<Vec<ValueId>>, Error> {
    let mut left = values.to_vec();
    let mut seams = Vec::new();
    while !left.is_empty() {
        let before = graph.ancestors(left.iter().filter_map(|&v| graph.producer(v)));
        let crosses = |value: ValueId| {
            let edge = graph.edges.iter().find(|e| e.value == value);
            edge.is_some_and(|e| e.to.iter().any(|&to| !before[to]))
        };
        let (last, rest): (Vec<_>, Vec<_>) = left.iter().copied().partition(|&v| crosses(v));
        if last.is_empty() {
            // Cannot be: what stands last in the program is before nothing.
            let name = graph.name(left[0]).to_owned();
            let why = "nothing reads it, so nothing would come after the cut".to_owned();
            return Err(Error::NoPlace { name, why });
        }
        seams.push(last);
        left = rest;
    }
    seams.reverse();
    Ok(seams)
}

/// The value of that name, if one can cut there.
fn find(graph: &Graph<'_>, name: &str) -> Result<ValueId, Error> {
    let no_place = |why: &str| Error::NoPlace {
        name: name.to_owned(),
        why: why.to_owned(),
    };
    let inputs = &graph.function.inputs;
    if inputs.iter().any(|&v| graph.name(v) == name) {
        return Err(no_place(
            "it is an input of the function, so nothing would come before the cut",
        ));
    }
    let value = find_computed(graph, name)?;
    if !graph.edges.iter().any(|e| e.value == value) {
        return Err(no_place(
            "nothing reads it, so nothing would come after the cut",
        ));
    }
    Ok(value)
}

/// The value of that name that a node computes, if it can be an input or output
/// of a model.
pub(crate) fn find_computed(graph: &Graph<'_>, name: &str) -> Result<ValueId, Error> {
    let no_place = |why: String| Error::NoPlace {
        name: name.to_owned(),
        why,
    };
    let program = graph.program;
    let here = |&v: &ValueId| program.values[v].name == name;
    let top = &program.blocks[graph.body].ops;
    let results = |&op: &OpId| program.ops[op].outputs.iter().copied();
    if let Some(value) = top.iter().flat_map(results).find(here) {
        if graph.is_fixed_value(value) {
            return Err(no_place(
                "it is a constant, which every stage has for itself".to_owned(),
            ));
        }
        if let Some(why) = not_io(&program.values[value].ty) {
            return Err(no_place(why));
        }
        return Ok(value);
    }
    // Inside of a block?
    for &op in &program.walk(graph.body) {
        let inner_blocks = program.ops[op].blocks.iter();
        let inner = inner_blocks.flat_map(|&b| program.blocks[b].inputs.iter().copied());
        let found = results(&op).chain(inner).find(here);
        if found.is_none() {
            continue;
        }
        if let Some(node) = graph.node(op) {
            return Err(no_place(format!(
                "it is computed inside of `{}`, and a cut cannot go through a block; cut before \
                 or after that operation",
                program.describe_op(graph.nodes[node])
            )));
        }
    }
    let candidates = graph.edges.iter().map(|e| graph.name(e.value));
    Err(Error::NoValue {
        name: name.to_owned(),
        function: graph.function.name.clone(),
        near: nearest(name, candidates, 3)
            .into_iter()
            .map(str::to_owned)
            .collect(),
    })
}
