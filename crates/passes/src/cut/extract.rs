//! The part of a function between named values.

use std::collections::BTreeSet;

use milwright_ir::{ValueId, ValueType};

use super::at::find_computed;
use super::plan::Stage;
use super::{Error, Graph, Plan};

/// A plan of one stage: what is needed to compute the outputs from the inputs.
/// Without inputs, those of the function are taken. States that it uses come
/// with it.
///
/// # Errors
/// A name is no value that can be an input or output, more inputs are needed,
/// or an operation that uses the same state would be left out.
pub fn extract(
    graph: &Graph<'_>,
    inputs: Option<&[String]>,
    outputs: &[String],
) -> Result<Plan, Error> {
    let program = graph.program;
    let mut given: Vec<ValueId> = Vec::new();
    for name in inputs.unwrap_or_default() {
        let own = graph.function.inputs.iter().copied();
        let value = match own.into_iter().find(|&v| graph.name(v) == name) {
            Some(value) => value,
            None => find_computed(graph, name)?,
        };
        if !given.contains(&value) {
            given.push(value);
        }
    }
    let mut wanted: Vec<ValueId> = Vec::new();
    for name in outputs {
        let value = match graph
            .function
            .inputs
            .iter()
            .find(|&&v| graph.name(v) == name)
        {
            Some(_) => return Err(no_place(name, "it is an input of the function")),
            None => find_computed(graph, name)?,
        };
        if given.contains(&value) {
            return Err(no_place(name, "it is an input of the sub-model too"));
        }
        if !wanted.contains(&value) {
            wanted.push(value);
        }
    }

    let mut nodes: BTreeSet<usize> = BTreeSet::new();
    let mut used: BTreeSet<ValueId> = BTreeSet::new();
    let mut open = wanted.clone();
    while let Some(value) = open.pop() {
        if given.contains(&value) || !used.insert(value) {
            used.insert(value);
            continue;
        }
        if let Some(node) = graph.producer(value)
            && nodes.insert(node)
        {
            open.extend(&graph.reads[node]);
        }
    }
    let is_state = |v: ValueId| matches!(program.values[v].ty, ValueType::State(_));
    let own = graph.function.inputs.iter().copied();
    let needed: Vec<ValueId> = own.filter(|v| used.contains(v)).collect();
    if inputs.is_some() {
        let missing = needed
            .iter()
            .filter(|&&v| !given.contains(&v) && !is_state(v));
        let missing: Vec<String> = missing.map(|&v| graph.name(v).to_owned()).collect();
        if !missing.is_empty() {
            return Err(Error::Needs { missing });
        }
    }
    for &value in &given {
        let name = graph.name(value);
        if !used.contains(&value) {
            return Err(no_place(name, "no output depends on it"));
        }
        if graph.producer(value).is_some_and(|n| nodes.contains(&n)) {
            return Err(no_place(
                name,
                "the operation that computes it is needed for something else too",
            ));
        }
    }
    whole_states(graph, &nodes, &needed)?;

    let mut taken = needed;
    taken.extend(given.iter().filter(|v| graph.producer(**v).is_some()));
    Ok(Plan {
        stages: vec![Stage {
            nodes: nodes.into_iter().collect(),
            inputs: taken,
            outputs: wanted,
        }],
        seams: Vec::new(),
    })
}

/// All that uses a state must be there, or what the state holds would be
/// another.
fn whole_states(
    graph: &Graph<'_>,
    nodes: &BTreeSet<usize>,
    needed: &[ValueId],
) -> Result<(), Error> {
    for &state in needed {
        if !matches!(graph.program.values[state].ty, ValueType::State(_)) {
            continue;
        }
        let uses = |n: &usize| graph.reads[*n].contains(&state);
        let left_out = (0..graph.nodes.len()).find(|n| uses(n) && !nodes.contains(n));
        let inside = nodes.iter().copied().find(uses);
        if let (Some(one), Some(other)) = (left_out, inside) {
            let describe = |n: usize| format!("`{}`", graph.program.describe_op(graph.nodes[n]));
            return Err(Error::Torn {
                one: describe(one),
                other: describe(other),
                why: format!(
                    "they use the state `{}`, and without the first the state would hold something \
                     else; take an output behind both",
                    graph.name(state)
                ),
            });
        }
    }
    Ok(())
}

fn no_place(name: &str, why: &str) -> Error {
    Error::NoPlace {
        name: name.to_owned(),
        why: why.to_owned(),
    }
}
