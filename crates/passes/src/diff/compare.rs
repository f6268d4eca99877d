//! Two functions, operation by operation.

use std::collections::BTreeSet;

use milwright_ir::{Arg, BlockId, Error, Model, OpId, Program, ValueId, ValueType};

use super::digest::{Digests, Side, place, short};
use super::matching::{Half, Pairs};
use super::{Change, ChangedOp, FunctionDifference, OpSummary};

/// Compares the bodies in force of two functions, given by their indices.
pub(super) fn functions(
    before: &Model,
    after: &Model,
    (a, b): (usize, usize),
    digests: &mut Digests<'_>,
) -> Result<FunctionDifference, Error> {
    let (old, new) = (before.program(), after.program());
    let (f, g) = (&old.functions[a], &new.functions[b]);
    let mut found = FunctionDifference {
        name: g.name.clone(),
        ..FunctionDifference::default()
    };
    let (Some(one), Some(other)) = (f.body(), g.body()) else {
        return Ok(found);
    };
    let mut halves = (Half::new(old, Side::Before), Half::new(new, Side::After));
    let mut pairs = Pairs::default();
    for (number, (x, y)) in inputs(old, &f.inputs, new, &g.inputs)
        .into_iter()
        .enumerate()
    {
        halves.0.know(x, short(("input", number)));
        halves.1.know(y, short(("input", number)));
        pairs.pair_values(x, y);
    }
    halves.0.read(one, digests)?;
    halves.1.read(other, digests)?;
    pairs.blocks(&halves.0, &halves.1, one, other);
    let mut walk = Walk {
        before,
        after,
        halves,
        pairs,
        digests,
        found: &mut found,
    };
    walk.block(one, other)?;
    walk.outputs(one, other)?;
    walk.states(one, other);
    Ok(found)
}

/// Inputs of the same name, and the others in order where types agree.
fn inputs(
    old: &Program,
    before: &[ValueId],
    new: &Program,
    after: &[ValueId],
) -> Vec<(ValueId, ValueId)> {
    let mut pairs = Vec::new();
    let mut left: Vec<ValueId> = after.to_vec();
    let mut unpaired = Vec::new();
    for &x in before {
        let same = |&y: &ValueId| new.values[y].name == old.values[x].name;
        match left.iter().position(same) {
            Some(at) => pairs.push((x, left.remove(at))),
            None => unpaired.push(x),
        }
    }
    for x in unpaired {
        let same = |&y: &ValueId| new.values[y].ty == old.values[x].ty;
        if let Some(at) = left.iter().position(same) {
            pairs.push((x, left.remove(at)));
        }
    }
    pairs
}

struct Walk<'a, 'p, 'd> {
    before: &'p Model,
    after: &'p Model,
    halves: (Half<'p>, Half<'p>),
    pairs: Pairs,
    digests: &'a mut Digests<'d>,
    found: &'a mut FunctionDifference,
}

impl Walk<'_, '_, '_> {
    fn block(&mut self, a: BlockId, b: BlockId) -> Result<(), Error> {
        let (old, new) = (self.halves.0.running(a), self.halves.1.running(b));
        self.found.operations_before += old.len();
        self.found.operations_after += new.len();
        for op in old {
            match self.pairs.ops.get(&op).copied() {
                Some(other) => self.pair(op, other)?,
                None => {
                    let summary = summary(self.before.program(), op);
                    self.found.operations_before += summary.inside;
                    self.found.removed.push(summary);
                }
            }
        }
        for op in new {
            if !self.pairs.has_before(op) {
                let summary = summary(self.after.program(), op);
                self.found.operations_after += summary.inside;
                self.found.added.push(summary);
            }
        }
        Ok(())
    }

    fn pair(&mut self, a: OpId, b: OpId) -> Result<(), Error> {
        let (old, new) = (self.before.program(), self.after.program());
        let (one, other) = (&old.ops[a], &new.ops[b]);
        let mut changes = Vec::new();
        let params = one.inputs.iter().chain(&other.inputs).map(|(name, _)| name);
        let params: BTreeSet<&String> = params.collect();
        for param in params {
            let (x, y) = (one.args(param), other.args(param));
            for n in 0..x.len().max(y.len()) {
                let what = match x.len().max(y.len()) {
                    1 => param.clone(),
                    _ => format!("{param}[{n}]"),
                };
                changes.extend(self.argument(what, x.get(n), y.get(n))?);
            }
        }
        let keys = one.attributes.iter().chain(&other.attributes);
        let keys: BTreeSet<&String> = keys.map(|(key, _)| key).collect();
        for key in keys.into_iter().filter(|key| *key != "name") {
            let mut words = [None, None];
            let sides = [(Side::Before, one), (Side::After, other)];
            let mut sums = [None, None];
            for (n, (side, op)) in sides.into_iter().enumerate() {
                if let Some(constant) = op.attribute(key) {
                    sums[n] = Some(self.digests.of(side, constant)?);
                    words[n] = Some(self.digests.describe(side, constant)?);
                }
            }
            if sums[0] != sums[1] {
                let [before, after] = words;
                changes.push(Change {
                    what: key.clone(),
                    before,
                    after,
                });
            }
        }
        for (n, (&x, &y)) in one.outputs.iter().zip(&other.outputs).enumerate() {
            let (x, y) = (&old.values[x], &new.values[y]);
            let what = match one.outputs.len() {
                1 => "type".to_owned(),
                _ => format!("type of result {n}"),
            };
            changes.extend(Change::of(what, Some(x.ty.brief()), Some(y.ty.brief())));
            if x.name != y.name {
                self.found.renamed.push((x.name.clone(), y.name.clone()));
            }
        }
        if one.blocks.len() != other.blocks.len() {
            changes.extend(Change::of(
                "blocks",
                Some(one.blocks.len().to_string()),
                Some(other.blocks.len().to_string()),
            ));
        }
        let blocks: Vec<(BlockId, BlockId)> = one
            .blocks
            .iter()
            .copied()
            .zip(other.blocks.iter().copied())
            .collect();
        for &(x, y) in &blocks {
            changes.extend(self.yields(x, y)?);
        }
        if !changes.is_empty() {
            let name = |program: &Program, outputs: &[ValueId]| {
                let first = outputs.first();
                first.map_or_else(String::new, |&v| program.values[v].name.clone())
            };
            self.found.changed.push(ChangedOp {
                before: name(old, &one.outputs),
                after: name(new, &other.outputs),
                op_type: one.op_type.clone(),
                changes,
            });
        }
        for (x, y) in blocks {
            self.block(x, y)?;
        }
        Ok(())
    }

    /// What nested blocks give.
    fn yields(&mut self, a: BlockId, b: BlockId) -> Result<Vec<Change>, Error> {
        let x = self.before.program().blocks[a].outputs.clone();
        let y = self.after.program().blocks[b].outputs.clone();
        let mut changes = Vec::new();
        for n in 0..x.len().max(y.len()) {
            let (x, y) = (x.get(n).copied(), y.get(n).copied());
            let (x, y) = (x.map(Arg::Value), y.map(Arg::Value));
            changes.extend(self.argument(
                format!("result {n} of a block"),
                x.as_ref(),
                y.as_ref(),
            )?);
        }
        Ok(changes)
    }

    /// Compares two arguments.
    fn argument(
        &mut self,
        what: String,
        a: Option<&Arg>,
        b: Option<&Arg>,
    ) -> Result<Option<Change>, Error> {
        let (old, new) = (self.before.program(), self.after.program());
        if let (Some(a), Some(b)) = (a, b) {
            match (old.const_arg(a), new.const_arg(b)) {
                (Some(x), Some(y)) => {
                    if self.digests.of(Side::Before, x)? == self.digests.of(Side::After, y)? {
                        let moved = place(x, self.before) != place(y, self.after);
                        self.found.moved_constants += usize::from(moved);
                        return Ok(None);
                    }
                    let mut after = self.digests.describe(Side::After, y)?;
                    if after.contains("blake3:")
                        && let Some(distance) = self.digests.distance(x, y)
                    {
                        after = format!("{after}: {distance}");
                    }
                    return Ok(Some(Change {
                        what,
                        before: Some(self.digests.describe(Side::Before, x)?),
                        after: Some(after),
                    }));
                }
                (None, None) => {
                    if let (Arg::Value(x), Arg::Value(y)) = (a, b)
                        && self.pairs.values.get(x) == Some(y)
                    {
                        return Ok(None);
                    }
                }
                _ => {}
            }
        }
        let before = a.map(|a| self.words(Side::Before, a)).transpose()?;
        let after = b.map(|b| self.words(Side::After, b)).transpose()?;
        Ok(Some(Change {
            what,
            before,
            after,
        }))
    }

    fn words(&mut self, side: Side, arg: &Arg) -> Result<String, Error> {
        let program = match side {
            Side::Before => self.before.program(),
            Side::After => self.after.program(),
        };
        match (program.const_arg(arg), arg) {
            (Some(constant), _) => self.digests.describe(side, constant),
            (None, Arg::Value(value)) => Ok(program.values[*value].name.clone()),
            (None, Arg::Const(_)) => Ok(String::new()),
        }
    }

    /// Whether the outputs of the same names are given by the same.
    fn outputs(&mut self, a: BlockId, b: BlockId) -> Result<(), Error> {
        let (old, new) = (self.before.program(), self.after.program());
        let outputs = (&old.blocks[a].outputs, &new.blocks[b].outputs);
        for &x in outputs.0 {
            let name = &old.values[x].name;
            let same = |&&y: &&ValueId| new.values[y].name == *name;
            let Some(&y) = outputs.1.iter().find(same) else {
                continue;
            };
            if self.pairs.values.get(&x) == Some(&y) {
                continue;
            }
            let (x, y) = (Arg::Value(x), Arg::Value(y));
            if let Some(mut change) = self.argument(format!("output {name}"), Some(&x), Some(&y))? {
                let by = |program: &Program, arg: &Arg| match arg {
                    Arg::Value(v) => program.def_op(*v).map(|op| program.ops[op].op_type.clone()),
                    Arg::Const(_) => None,
                };
                change.before = by(old, &x).map(|op| format!("given by `{op}`"));
                change.after = by(new, &y).map(|op| format!("given by another `{op}`"));
                self.found.interface.push(change);
            }
        }
        Ok(())
    }

    /// Whether what uses a state does so in the same order.
    fn states(&mut self, a: BlockId, b: BlockId) {
        let (old, new) = (self.before.program(), self.after.program());
        let users = |program: &Program, block: BlockId| -> Vec<OpId> {
            let mut ops = program.walk(block);
            ops.retain(|&op| {
                let mut operands = program.ops[op].operands();
                operands.any(|v| matches!(program.values[v].ty, ValueType::State(_)))
            });
            ops
        };
        let mapped: Option<Vec<OpId>> = users(old, a)
            .into_iter()
            .map(|op| self.pairs.ops.get(&op).copied())
            .collect();
        if mapped.is_some_and(|mapped| mapped != users(new, b)) {
            self.found.interface.push(Change {
                what: "order of what reads and writes states".to_owned(),
                before: Some("one".to_owned()),
                after: Some("another".to_owned()),
            });
        }
    }
}

fn summary(program: &Program, id: OpId) -> OpSummary {
    let op = &program.ops[id];
    let first = op.outputs.first().map(|&v| &program.values[v]);
    let inside = op.blocks.iter().flat_map(|&b| program.walk(b));
    OpSummary {
        output: first.map_or_else(String::new, |v| v.name.clone()),
        op_type: op.op_type.clone(),
        ty: first.map_or_else(String::new, |v| v.ty.brief()),
        inside: inside
            .filter(|&op| program.ops[op].op_type != "const")
            .count(),
    }
}
