//! Which operation of one program stands for which of another.

use std::collections::{BTreeMap, HashMap};

use milwright_ir::{Arg, BlockId, Error, OpId, Program, ValueId};

use super::digest::{Digests, Side, short};

/// Constants of at least so many elements tell operations apart.
const TELLING: u64 = 16;

/// How often pairs are looked for among neighbours of pairs.
const ROUNDS: usize = 16;

/// One of the two programs, and what was found out of it.
pub(super) struct Half<'p> {
    pub(super) program: &'p Program,
    side: Side,
    /// What a value is, whatever it is called.
    values: HashMap<ValueId, u64>,
    ops: HashMap<OpId, u64>,
    /// Type of the operation and its large constants; `None` without such.
    weights: HashMap<OpId, Option<u64>>,
    readers: HashMap<ValueId, Vec<(OpId, String, usize)>>,
}

impl<'p> Half<'p> {
    pub(super) fn new(program: &'p Program, side: Side) -> Self {
        Half {
            program,
            side,
            values: HashMap::new(),
            ops: HashMap::new(),
            weights: HashMap::new(),
            readers: HashMap::new(),
        }
    }

    /// Says what an input is.
    pub(super) fn know(&mut self, value: ValueId, what: u64) {
        self.values.insert(value, what);
    }

    /// Works out what the operations of a block compute.
    pub(super) fn read(&mut self, block: BlockId, digests: &mut Digests<'_>) -> Result<(), Error> {
        let program = self.program;
        for &id in &program.blocks[block].ops {
            let op = &program.ops[id];
            for (n, &inner) in op.blocks.iter().enumerate() {
                for (i, &input) in program.blocks[inner].inputs.iter().enumerate() {
                    self.values.insert(input, short(("block input", n, i)));
                }
                self.read(inner, digests)?;
            }
            let mut params: Vec<(&str, Vec<u64>)> = Vec::new();
            let mut large: Vec<(&str, [u8; 32])> = Vec::new();
            for (param, args) in &op.inputs {
                let mut all = Vec::new();
                for (n, arg) in args.iter().enumerate() {
                    if let Some(constant) = program.const_arg(arg) {
                        let sum = digests.of(self.side, constant)?;
                        all.push(short(("constant", sum)));
                        let elements = constant.tensor_type().and_then(|t| t.elements());
                        if elements.is_some_and(|n| n >= TELLING) {
                            large.push((param, sum));
                        }
                        continue;
                    }
                    if let Arg::Value(value) = arg {
                        all.push(self.values.get(value).copied().unwrap_or(0));
                        let readers = self.readers.entry(*value).or_default();
                        readers.push((id, param.clone(), n));
                    }
                }
                params.push((param, all));
            }
            params.sort();
            large.sort();
            let mut attributes = Vec::new();
            for (key, constant) in &op.attributes {
                if key != "name" {
                    attributes.push((key.as_str(), digests.of(self.side, constant)?));
                }
            }
            attributes.sort();
            let types = op.outputs.iter();
            let types: Vec<String> = types.map(|&v| program.values[v].ty.to_string()).collect();
            let blocks: Vec<Vec<u64>> = op.blocks.iter().map(|&b| self.inside(b)).collect();
            let what = short((&op.op_type, params, &attributes, types, blocks));
            self.ops.insert(id, what);
            let tells = !large.is_empty();
            self.weights
                .insert(id, tells.then(|| short((&op.op_type, large))));
            for (n, &output) in op.outputs.iter().enumerate() {
                self.values.insert(output, short((what, n)));
            }
        }
        Ok(())
    }

    /// What a block computes.
    fn inside(&self, block: BlockId) -> Vec<u64> {
        let block = &self.program.blocks[block];
        let ops = block.ops.iter().filter_map(|op| self.ops.get(op));
        let outputs = block.outputs.iter().filter_map(|v| self.values.get(v));
        ops.chain(outputs).copied().collect()
    }

    fn name(&self, op: OpId) -> &'p str {
        let first = self.program.ops[op].outputs.first();
        first.map_or("", |&v| self.program.values[v].name.as_str())
    }

    fn op_type(&self, op: OpId) -> &'p str {
        &self.program.ops[op].op_type
    }

    /// The operations of a block, but for constants.
    pub(super) fn running(&self, block: BlockId) -> Vec<OpId> {
        let ops = self.program.blocks[block].ops.iter().copied();
        ops.filter(|&op| self.op_type(op) != "const").collect()
    }
}

/// Pairs of operations and of values.
#[derive(Default)]
pub(super) struct Pairs {
    pub(super) ops: BTreeMap<OpId, OpId>,
    back: BTreeMap<OpId, OpId>,
    pub(super) values: HashMap<ValueId, ValueId>,
}

impl Pairs {
    pub(super) fn pair_values(&mut self, before: ValueId, after: ValueId) {
        self.values.insert(before, after);
    }

    fn pair(&mut self, before: &Half<'_>, after: &Half<'_>, a: OpId, b: OpId) {
        self.ops.insert(a, b);
        self.back.insert(b, a);
        let (x, y) = (&before.program.ops[a], &after.program.ops[b]);
        self.values
            .extend(x.outputs.iter().copied().zip(y.outputs.iter().copied()));
    }

    /// Whether two operations can be one.
    fn free(&self, before: &Half<'_>, after: &Half<'_>, a: OpId, b: OpId) -> bool {
        !self.ops.contains_key(&a)
            && !self.back.contains_key(&b)
            && before.op_type(a) == after.op_type(b)
            && before.program.ops[a].outputs.len() == after.program.ops[b].outputs.len()
    }

    /// Whether an operation of the second program has a counterpart.
    pub(super) fn has_before(&self, b: OpId) -> bool {
        self.back.contains_key(&b)
    }

    /// Pairs the operations of two blocks, and of the blocks in them.
    pub(super) fn blocks(&mut self, before: &Half<'_>, after: &Half<'_>, a: BlockId, b: BlockId) {
        let (old, new) = (before.running(a), after.running(b));
        let named =
            |half: &Half<'_>, op: OpId| (half.ops.get(&op).copied(), half.name(op).to_owned());
        self.by_key(before, after, &old, &new, false, |half, op| {
            Some(named(half, op))
        });
        self.by_key(before, after, &old, &new, false, |half, op| {
            half.ops.get(&op).copied()
        });
        self.by_key(before, after, &old, &new, true, |half, op| {
            half.weights.get(&op).copied().flatten()
        });
        self.by_key(before, after, &old, &new, false, |half, op| {
            let name = half.name(op);
            (!name.is_empty()).then(|| name.to_owned())
        });
        let outputs = before.program.blocks[a].outputs.iter();
        let outputs: Vec<(ValueId, ValueId)> = outputs
            .copied()
            .zip(after.program.blocks[b].outputs.iter().copied())
            .collect();
        for _ in 0..ROUNDS {
            let known = self.ops.len();
            self.forward(before, after, &new);
            self.backward(before, after, &new, &outputs);
            if self.ops.len() == known {
                break;
            }
        }
        for op in old {
            let Some(&other) = self.ops.get(&op) else {
                continue;
            };
            let inner = before.program.ops[op].blocks.iter();
            let other = after.program.ops[other].blocks.iter();
            for (&x, &y) in inner.zip(other) {
                let inputs = before.program.blocks[x].inputs.iter();
                let others = after.program.blocks[y].inputs.iter();
                self.values.extend(inputs.copied().zip(others.copied()));
                self.blocks(before, after, x, y);
            }
        }
    }

    /// Pairs operations with the same key, in order; only where one operation
    /// of each side has it, if it has to be `unique`.
    fn by_key<K: Ord>(
        &mut self,
        before: &Half<'_>,
        after: &Half<'_>,
        old: &[OpId],
        new: &[OpId],
        unique: bool,
        key: impl Fn(&Half<'_>, OpId) -> Option<K>,
    ) {
        let mut waiting: BTreeMap<K, (Vec<OpId>, Vec<OpId>)> = BTreeMap::new();
        for &op in old.iter().filter(|op| !self.ops.contains_key(op)) {
            if let Some(key) = key(before, op) {
                waiting.entry(key).or_default().0.push(op);
            }
        }
        for &op in new.iter().filter(|op| !self.back.contains_key(op)) {
            if let Some(key) = key(after, op) {
                waiting.entry(key).or_default().1.push(op);
            }
        }
        for (a, b) in waiting.into_values() {
            if unique && (a.len(), b.len()) != (1, 1) {
                continue;
            }
            for (a, b) in a.into_iter().zip(b) {
                if self.free(before, after, a, b) {
                    self.pair(before, after, a, b);
                }
            }
        }
    }

    /// Pairs operations that read the same value.
    fn forward(&mut self, before: &Half<'_>, after: &Half<'_>, new: &[OpId]) {
        let back: HashMap<ValueId, ValueId> = self.values.iter().map(|(&a, &b)| (b, a)).collect();
        for &b in new {
            if self.back.contains_key(&b) {
                continue;
            }
            let op = &after.program.ops[b];
            let operands = op.inputs.iter().flat_map(|(param, args)| {
                let each = args.iter().enumerate();
                each.map(move |(n, arg)| (param, n, arg))
            });
            let found = operands
                .filter_map(|(param, n, arg)| match arg {
                    Arg::Value(v) => Some((param, n, back.get(v)?)),
                    Arg::Const(_) => None,
                })
                .flat_map(|(param, n, value)| {
                    let readers = before.readers.get(value).into_iter().flatten();
                    readers.filter(move |(_, p, i)| p == param && *i == n)
                })
                .map(|&(op, ..)| op)
                .find(|&a| self.free(before, after, a, b));
            if let Some(a) = found {
                self.pair(before, after, a, b);
            }
        }
    }

    /// Pairs operations whose results are read by a pair, or are outputs.
    fn backward(
        &mut self,
        before: &Half<'_>,
        after: &Half<'_>,
        new: &[OpId],
        outputs: &[(ValueId, ValueId)],
    ) {
        for &b in new.iter().rev() {
            if self.back.contains_key(&b) {
                continue;
            }
            let results = &after.program.ops[b].outputs;
            let read = results.iter().flat_map(|v| after.readers.get(v)).flatten();
            let of_readers = read.filter_map(|(reader, param, n)| {
                let reader = &before.program.ops[*self.back.get(reader)?];
                match reader.args(param).get(*n)? {
                    Arg::Value(v) => before.program.def_op(*v),
                    Arg::Const(_) => None,
                }
            });
            let given = outputs.iter().filter(|(_, v)| results.contains(v));
            let of_outputs = given.filter_map(|&(v, _)| before.program.def_op(v));
            let found = of_readers
                .chain(of_outputs)
                .find(|&a| self.free(before, after, a, b));
            if let Some(a) = found {
                self.pair(before, after, a, b);
            }
        }
    }
}
