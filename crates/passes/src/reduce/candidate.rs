//! Some operations of a function as a model.

use std::collections::{BTreeMap, BTreeSet};

use milwright_ir::features::Description;
use milwright_ir::{Model, Program, ValueId, ValueType};

use super::Candidate;
use crate::cut::{Error, Graph, Part, Plan, Renames, SeamTypes, Stage};

/// What candidates are made of.
pub(super) struct Base<'m> {
    model: &'m Model,
    pub(super) graph: Graph<'m>,
    types: SeamTypes,
}

impl<'m> Base<'m> {
    /// A function of a model.
    pub(super) fn new(model: &'m Model, function: &str) -> Result<Self, Error> {
        Self::with(model, model.program(), function)
    }

    /// A function of a changed program of a model.
    pub(super) fn with(
        model: &'m Model,
        program: &'m Program,
        function: &str,
    ) -> Result<Self, Error> {
        let function = program.function(Some(function))?;
        let description = model
            .spec()
            .description()
            .map_err(milwright_ir::Error::from)?;
        let description = Description::from_proto(&description);
        let signature = description.signature(&function.name);
        Ok(Base {
            model,
            graph: Graph::new(program, function)?,
            types: SeamTypes::new(program, function, model, signature)?,
        })
    }

    /// Outputs of the function that its operations compute.
    pub(super) fn outputs(&self) -> Vec<ValueId> {
        let outputs = self.graph.program.blocks[self.graph.body].outputs.iter();
        let computed = outputs
            .copied()
            .filter(|&v| self.graph.producer(v).is_some());
        computed.collect()
    }

    /// The operations that compute these values, and those that they need.
    pub(super) fn needed_for(&self, outputs: &[ValueId]) -> BTreeSet<usize> {
        let ends = outputs.iter().filter_map(|&v| self.graph.producer(v));
        let ancestors = self.graph.ancestors(ends);
        let nodes = ancestors.into_iter().enumerate();
        nodes
            .filter_map(|(node, needed)| needed.then_some(node))
            .collect()
    }

    /// All operations but these, and those that must be with one of these.
    pub(super) fn without(&self, removed: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
        let mut removed: BTreeSet<usize> = removed.into_iter().collect();
        loop {
            let before = removed.len();
            for (group, _) in &self.graph.tied {
                if group.iter().any(|node| removed.contains(node)) {
                    removed.extend(group);
                }
            }
            if removed.len() == before {
                break;
            }
        }
        (0..self.graph.nodes.len())
            .filter(|node| !removed.contains(node))
            .collect()
    }

    /// The model of these operations. Without `outputs`, it gives those of the
    /// function that are computed, and whatever nothing reads any more.
    /// `None` where no model can be made of them, or only one of more than
    /// `most` operations: what crosses may have to be converted.
    pub(super) fn candidate(
        &self,
        nodes: &BTreeSet<usize>,
        outputs: Option<&[ValueId]>,
        most: usize,
        what: impl FnOnce() -> String,
    ) -> Option<Candidate> {
        let stage = self.stage(nodes, outputs)?;
        let own = stage.nodes.len();
        let plan = Plan {
            stages: vec![stage],
            seams: Vec::new(),
        };
        let part = Part::new(
            self.model,
            &self.graph,
            &plan,
            0,
            &Renames::default(),
            &self.types,
        );
        let part = part.ok()?;
        let operations = own + part.casts.len();
        if operations > most {
            return None;
        }
        Some(Candidate {
            program: part.program,
            spec: part.spec,
            what: what(),
            operations,
            inputs: part.inputs.len() + part.states.len(),
            outputs: part.outputs.len(),
        })
    }

    fn stage(&self, nodes: &BTreeSet<usize>, outputs: Option<&[ValueId]>) -> Option<Stage> {
        let graph = &self.graph;
        let program = graph.program;
        let mut readers: BTreeMap<ValueId, usize> = BTreeMap::new();
        for &node in nodes {
            for value in graph.reads(node) {
                *readers.entry(*value).or_default() += 1;
            }
        }
        let own = |value: ValueId| graph.producer(value).is_some_and(|n| nodes.contains(&n));
        let wanted = self.outputs();
        let gives: Vec<ValueId> = match outputs {
            Some(outputs) => outputs.to_vec(),
            None => {
                let results = nodes
                    .iter()
                    .flat_map(|&n| &program.ops[graph.nodes[n]].outputs);
                let mut gives: Vec<ValueId> = results
                    .copied()
                    .filter(|v| !readers.contains_key(v) && !wanted.contains(v))
                    .filter(|&v| graph.can_cross(v))
                    .collect();
                gives.extend(wanted.iter().copied().filter(|&v| own(v)));
                gives
            }
        };
        if gives.is_empty() || !gives.iter().all(|&v| own(v)) {
            return None;
        }
        let inputs = graph.function.inputs.iter().copied();
        let mut takes: Vec<ValueId> = inputs.filter(|v| readers.contains_key(v)).collect();
        for (node, &op) in graph.nodes.iter().enumerate() {
            if nodes.contains(&node) {
                continue;
            }
            for &value in &program.ops[op].outputs {
                if !readers.contains_key(&value) {
                    continue;
                }
                if !graph.can_cross(value) {
                    return None;
                }
                takes.push(value);
            }
        }
        // A prediction without inputs is none.
        let is_state = |v: &ValueId| matches!(program.values[*v].ty, ValueType::State(_));
        if takes.iter().all(is_state) {
            return None;
        }
        Some(Stage {
            nodes: nodes.iter().copied().collect(),
            inputs: takes,
            outputs: gives,
        })
    }
}
