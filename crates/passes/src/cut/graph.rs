//! What can be cut: the operations of a function and the values between them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use milwright_ir::{BlockId, DataType, Function, OpId, Program, ValueDef, ValueId, ValueType};

use super::Error;

/// The operations of a function's body that run when the model is used, and
/// the values that they hand to each other.
///
/// An operation with nested blocks is one node.
#[derive(Debug)]
pub struct Graph<'p> {
    /// The program.
    pub program: &'p Program,
    /// The function that is cut.
    pub function: &'p Function,
    /// Its body in force.
    pub body: BlockId,
    /// The operations, in program order. Nodes are indices into this list.
    pub nodes: Vec<OpId>,
    /// The values that nodes hand to others, in program order.
    pub edges: Vec<Edge>,
    /// Nodes that must be in one stage: those that use one state, or hand on
    /// what cannot be an input or output of a model; with the reason.
    pub tied: Vec<(Vec<usize>, String)>,
    /// What every node reads, constants included.
    pub(super) reads: Vec<Vec<ValueId>>,
    node_of: HashMap<OpId, usize>,
    fixed: HashSet<OpId>,
}

/// A value that a node hands to others.
#[derive(Debug, Clone)]
pub struct Edge {
    /// The value.
    pub value: ValueId,
    /// The node that computes it.
    pub from: usize,
    /// The nodes that read it, in program order.
    pub to: Vec<usize>,
}

impl<'p> Graph<'p> {
    /// The graph of a function.
    ///
    /// # Errors
    /// The function has no body in force or several bodies, or computes nothing.
    pub fn new(program: &'p Program, function: &'p Function) -> Result<Self, Error> {
        let nothing = || Error::Nothing {
            function: function.name.clone(),
        };
        let body = function.body().ok_or_else(nothing)?;
        if function.specializations.len() > 1 {
            let bodies = function.specializations.iter();
            return Err(Error::Bodies {
                function: function.name.clone(),
                opsets: bodies.map(|(opset, _)| opset.clone()).collect(),
            });
        }
        let mut graph = Graph {
            program,
            function,
            body,
            nodes: Vec::new(),
            edges: Vec::new(),
            tied: Vec::new(),
            reads: Vec::new(),
            node_of: HashMap::new(),
            fixed: HashSet::new(),
        };
        for &op in &program.blocks[body].ops {
            let reads = program.reads(op);
            if graph.is_fixed(op, &reads) {
                graph.fixed.insert(op);
            } else {
                graph.node_of.insert(op, graph.nodes.len());
                graph.nodes.push(op);
                graph.reads.push(reads);
            }
        }
        if graph.nodes.is_empty() {
            return Err(nothing());
        }
        graph.connect();
        Ok(graph)
    }

    /// Whether an operation gives the same result in every use of the model,
    /// wherever it stands.
    fn is_fixed(&self, op: OpId, reads: &[ValueId]) -> bool {
        let op = &self.program.ops[op];
        let pure = op.def.is_some()
            && op.blocks.is_empty()
            && !op.op_type.starts_with("random_")
            && !op.outputs.is_empty()
            && op
                .outputs
                .iter()
                .all(|&v| matches!(self.program.values[v].ty, ValueType::Tensor(_)));
        pure && reads.iter().all(|&v| match self.program.values[v].def {
            ValueDef::Op(from, _) => self.fixed.contains(&from),
            _ => false,
        })
    }

    fn connect(&mut self) {
        let mut readers: BTreeMap<ValueId, Vec<usize>> = BTreeMap::new();
        let mut states: BTreeMap<ValueId, Vec<usize>> = BTreeMap::new();
        for (node, reads) in self.reads.iter().enumerate() {
            for value in reads.iter().copied().collect::<BTreeSet<_>>() {
                readers.entry(value).or_default().push(node);
                if matches!(self.program.values[value].ty, ValueType::State(_)) {
                    states.entry(value).or_default().push(node);
                }
            }
        }
        for (node, &op) in self.nodes.iter().enumerate() {
            for &value in &self.program.ops[op].outputs {
                if let Some(to) = readers.remove(&value) {
                    self.edges.push(Edge {
                        value,
                        from: node,
                        to,
                    });
                }
            }
        }
        for (state, nodes) in states {
            let name = &self.program.values[state].name;
            self.tied.push((
                nodes,
                format!("they use the state `{name}`, which must stay in one stage"),
            ));
        }
        for edge in &self.edges {
            if let Some(why) = not_io(&self.program.values[edge.value].ty) {
                let name = &self.program.values[edge.value].name;
                let mut nodes = vec![edge.from];
                nodes.extend(&edge.to);
                self.tied.push((
                    nodes,
                    format!("`{name}` cannot be an input or output: {why}"),
                ));
            }
        }
    }

    /// The node of an operation, or of the one that it is nested in.
    pub fn node(&self, op: OpId) -> Option<usize> {
        self.node_of.get(&op).copied().or_else(|| {
            // Nested operations are few, and asked for rarely.
            self.nodes.iter().position(|&node| self.is_inside(op, node))
        })
    }

    fn is_inside(&self, op: OpId, outer: OpId) -> bool {
        let blocks = self.program.ops[outer].blocks.iter();
        blocks
            .flat_map(|&b| self.program.walk(b))
            .any(|inner| inner == op)
    }

    /// The node that computes a value.
    pub fn producer(&self, value: ValueId) -> Option<usize> {
        self.node_of.get(&self.program.def_op(value)?).copied()
    }

    /// Whether a value is the same in every use of the model.
    pub fn is_fixed_value(&self, value: ValueId) -> bool {
        let op = self.program.def_op(value);
        op.is_some_and(|op| self.fixed.contains(&op))
    }

    /// The operations outside of the nodes that the given nodes need, and
    /// those behind the given values; in no order.
    pub(super) fn fixed_for(
        &self,
        nodes: impl Iterator<Item = usize>,
        values: impl Iterator<Item = ValueId>,
    ) -> HashSet<OpId> {
        let mut wanted: Vec<ValueId> = nodes.flat_map(|n| self.reads[n].iter().copied()).collect();
        wanted.extend(values);
        let mut found = HashSet::new();
        while let Some(value) = wanted.pop() {
            if let Some(op) = self.program.def_op(value)
                && self.fixed.contains(&op)
                && found.insert(op)
            {
                wanted.extend(self.program.reads(op));
            }
        }
        found
    }

    /// Nodes from which a path leads to `targets`, those included.
    pub fn ancestors(&self, targets: impl IntoIterator<Item = usize>) -> Vec<bool> {
        let mut found = vec![false; self.nodes.len()];
        for node in targets {
            found[node] = true;
        }
        // Producers stand before their readers.
        let mut before: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        for edge in &self.edges {
            for &to in &edge.to {
                before[to].push(edge.from);
            }
        }
        for node in (0..self.nodes.len()).rev() {
            if found[node] {
                for &from in &before[node] {
                    found[from] = true;
                }
            }
        }
        found
    }

    /// What a node reads, constants included.
    pub fn reads(&self, node: usize) -> &[ValueId] {
        &self.reads[node]
    }

    /// Whether a value can be an input or output of a model.
    pub fn can_cross(&self, value: ValueId) -> bool {
        not_io(&self.program.values[value].ty).is_none()
    }

    /// Name of a value.
    pub fn name(&self, value: ValueId) -> &'p str {
        &self.program.values[value].name
    }
}

/// Why a value of that type cannot be an input or output of a model.
pub(super) fn not_io(ty: &ValueType) -> Option<String> {
    let ValueType::Tensor(t) = ty else {
        return Some(format!("it is a {ty}, not a tensor"));
    };
    if io_type(t.dtype, i32::MAX).is_none() {
        return Some(format!("its elements are {}", t.dtype));
    }
    match t.rank() {
        Some(1..=5) => None,
        Some(rank) => Some(format!("its rank is {rank}, and 1 to 5 are possible")),
        None => Some("its rank is not known".to_owned()),
    }
}

/// The element type that stands for `dtype` in the inputs and outputs of a
/// model of that specification version: itself, or one that holds every value
/// of it.
pub(crate) fn io_type(dtype: DataType, version: i32) -> Option<DataType> {
    use DataType::{Bool, Float16, Float32, Int8, Int16, Int32, UInt8, UInt16};
    /// iOS 16, the first with fp16 features.
    const HALF_SINCE: i32 = 7;
    match dtype {
        Float16 if version < HALF_SINCE => Some(Float32),
        Float16 | Float32 | Int32 => Some(dtype),
        Bool | Int8 | UInt8 | Int16 | UInt16 => Some(Int32),
        _ => None,
    }
}

#[cfg(test)]
impl Graph<'static> {
    /// A graph without a program behind it: nodes, edges (from, to), ties.
    pub(super) fn bare(nodes: usize, edges: &[(usize, Vec<usize>)], tied: &[Vec<usize>]) -> Self {
        let mut program = Program::default();
        let op = || milwright_ir::Op::new("identity");
        let nodes: Vec<OpId> = (0..nodes).map(|_| program.ops.push(op())).collect();
        let body = program.blocks.push(milwright_ir::Block::default());
        let edges = edges.iter().enumerate().map(|(i, (from, to))| Edge {
            value: program.values.push(milwright_ir::Value {
                name: format!("v{i}"),
                ty: ValueType::Missing,
                def: ValueDef::Undefined,
            }),
            from: *from,
            to: to.clone(),
        });
        let edges = edges.collect();
        let function = Function {
            name: "main".to_owned(),
            opset: String::new(),
            inputs: Vec::new(),
            specializations: Vec::new(),
            attributes: Vec::new(),
        };
        Graph {
            program: Box::leak(Box::new(program)),
            function: Box::leak(Box::new(function)),
            body,
            reads: vec![Vec::new(); nodes.len()],
            nodes,
            edges,
            tied: tied
                .iter()
                .map(|t| (t.clone(), "tied".to_owned()))
                .collect(),
            node_of: HashMap::new(),
            fixed: HashSet::new(),
        }
    }
}
