//! How passes change a program.

use std::collections::{BTreeMap, HashMap, HashSet};

use milwright_ir::arena::Id;
use milwright_ir::{BlobSource, BlockId, OpId, Program, ValueId};
use serde::Serialize;

use crate::error::Error;
use crate::evaluate::Evaluate;
use crate::pipeline::{Fragile, RunOptions};
use crate::replacement::Replacement;
use crate::report::{Left, PassReport};

/// A change of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The pass that made it.
    pub pass: &'static str,
    /// Function and operation.
    pub location: String,
    /// What was done.
    pub what: String,
}

/// Operations that are there for their effect, whether or not their result is used.
const EFFECTS: [&str; 2] = ["coreml_update_state", "write_state"];

/// Whether an operation, or one in its blocks, is there for more than its result.
pub(crate) fn has_effect(program: &Program, op: OpId) -> bool {
    let mut ops = vec![op];
    while let Some(id) = ops.pop() {
        let op = &program.ops[id];
        if op.def.is_none() || EFFECTS.contains(&op.op_type.as_str()) {
            return true;
        }
        let blocks = op.blocks.iter();
        ops.extend(blocks.flat_map(|&b| &program.blocks[b].ops));
    }
    false
}

/// Whether an operation of that type is a weight or a parameter.
pub(crate) fn is_constant(op_type: &str) -> bool {
    op_type == "const" || op_type.starts_with("constexpr_")
}

/// What reports call an operation.
pub(crate) struct Named {
    /// The function that holds it.
    pub(crate) function: String,
    /// Its output.
    pub(crate) op: String,
    /// Its type.
    pub(crate) op_type: String,
}

/// An operation and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Index of the function.
    pub function: usize,
    /// The block that lists it.
    pub block: BlockId,
    /// The operation.
    pub op: OpId,
}

/// Changes a program for a pass: logs every change, and refuses more of them
/// when the allowed number is used up.
pub struct Rewriter<'p> {
    program: &'p mut Program,
    blobs: &'p dyn BlobSource,
    pass: &'static str,
    options: RunOptions<'p>,
    fuel: Option<u64>,
    changes: Vec<Change>,
    names: Names,
}

impl<'p> Rewriter<'p> {
    pub(crate) fn new(
        program: &'p mut Program,
        blobs: &'p dyn BlobSource,
        pass: &'static str,
        options: RunOptions<'p>,
    ) -> Self {
        let names = Names::of(program);
        Self {
            program,
            blobs,
            pass,
            fuel: options.fuel,
            options,
            changes: Vec::new(),
            names,
        }
    }

    /// The program as it is now.
    pub fn program(&self) -> &Program {
        self.program
    }

    /// What resolves weights in files.
    pub fn blobs(&self) -> &'p dyn BlobSource {
        self.blobs
    }

    /// What executes operations.
    ///
    /// # Errors
    /// [`Error::NeedsEvaluator`].
    pub(crate) fn evaluator(&self) -> Result<&'p dyn Evaluate, Error> {
        let evaluator = self.options.evaluate;
        evaluator.ok_or(Error::NeedsEvaluator { pass: self.pass })
    }

    /// What fp16 breaks, as far as it was tried.
    pub(crate) fn fragile(&self) -> Option<&'p Fragile> {
        self.options.fragile
    }

    /// Whether no more changes are allowed. A pass ends then.
    pub fn is_out_of_fuel(&self) -> bool {
        self.fuel == Some(0)
    }

    pub(crate) fn fuel(&self) -> Option<u64> {
        self.fuel
    }

    pub(crate) fn into_changes(self) -> Vec<Change> {
        self.changes
    }

    pub(crate) fn program_mut(&mut self) -> &mut Program {
        self.program
    }

    pub(crate) fn fresh_name(&mut self, wish: &str) -> String {
        self.names.fresh(wish)
    }

    /// Every operation of every function, specialization and nested block, in
    /// program order.
    pub fn sites(&self) -> Vec<Site> {
        let mut found = Vec::new();
        for (function, f) in self.program.functions.iter().enumerate() {
            for &(_, body) in &f.specializations {
                // Positions on a stack, so that nesting cannot exhaust the call stack.
                let mut stack = vec![(body, 0)];
                while let Some((block, at)) = stack.pop() {
                    let Some(&op) = self.program.blocks[block].ops.get(at) else {
                        continue;
                    };
                    stack.push((block, at + 1));
                    let inner = self.program.ops[op].blocks.iter().rev();
                    stack.extend(inner.map(|&b| (b, 0)));
                    found.push(Site {
                        function,
                        block,
                        op,
                    });
                }
            }
        }
        found
    }

    /// Function and operation, for people.
    pub fn location(&self, site: Site) -> String {
        let function = self.program.functions.get(site.function);
        format!(
            "function `{}`, `{}`",
            function.map_or("", |f| f.name.as_str()),
            self.program.describe_op(site.op)
        )
    }

    /// Function, output and type of an operation, for reports.
    pub(crate) fn named(&self, site: Site) -> Named {
        let op = &self.program.ops[site.op];
        let function = self.program.functions.get(site.function);
        let out = op.outputs.first();
        Named {
            function: function.map_or_else(String::new, |f| f.name.clone()),
            op: out.map_or_else(String::new, |&v| self.program.values[v].name.clone()),
            op_type: op.op_type.clone(),
        }
    }

    /// The entry of a report for an operation that stays as it is.
    pub(crate) fn left(&self, site: Site, reason: String) -> Left {
        let name = self.named(site);
        Left {
            function: name.function,
            op: name.op,
            op_type: name.op_type,
            reason,
        }
    }

    /// Replaces every operation for which `plan` gives something, `None` being
    /// for others and an error the reason to leave one, by what `build` makes
    /// of the plan. `done` says in the log what happened.
    pub(crate) fn replace_each<P>(
        &mut self,
        done: &str,
        mut plan: impl FnMut(&Rewriter<'_>, Site) -> Option<Result<P, String>>,
        build: impl Fn(&mut Replacement<'_, '_>, P) -> Result<ValueId, Error>,
    ) -> Result<PassReport, Error> {
        let mut report = PassReport::default();
        let mut read = Vec::new();
        for site in self.sites() {
            if self.is_out_of_fuel() {
                break;
            }
            let plan = match plan(self, site) {
                None => continue,
                Some(Ok(plan)) => plan,
                Some(Err(reason)) => {
                    report.left.push(self.left(site, reason));
                    continue;
                }
            };
            let op = &self.program.ops[site.op];
            let op_type = op.op_type.clone();
            read.extend(op.operands());
            let mut replacement = self.replace(site);
            let last = build(&mut replacement, plan)?;
            if replacement.finish(last, done.to_owned())?.is_none() {
                break;
            }
            *report.done.entry(op_type).or_default() += 1;
        }
        report.removed = self.remove_orphaned_constants(&read)?;
        Ok(report)
    }

    /// Begins to replace an operation by others. Nothing changes before
    /// [`Replacement::finish`].
    pub fn replace(&mut self, site: Site) -> Replacement<'_, 'p> {
        Replacement::new(self, site)
    }

    /// How often each value is read, by arguments and as a result of a block.
    pub fn uses(&self) -> Vec<u32> {
        let program = &*self.program;
        let mut uses = vec![0u32; program.values.len()];
        for block in program.live_blocks() {
            let block = &program.blocks[block];
            let read = block.ops.iter().flat_map(|&op| program.ops[op].operands());
            for value in read.chain(block.outputs.iter().copied()) {
                uses[value.index()] = uses[value.index()].saturating_add(1);
            }
        }
        uses
    }

    /// Removes the constants among what was read, and what only they were made
    /// from, where nothing reads them any more: the end of changes that were
    /// logged already.
    pub(crate) fn remove_orphaned_constants(
        &mut self,
        read: &[ValueId],
    ) -> Result<BTreeMap<String, usize>, Error> {
        self.remove_orphans(read, |program, op| is_constant(&program.ops[op].op_type))
    }

    /// As [`Rewriter::remove_orphaned_constants`], of what `may_go`.
    pub(crate) fn remove_orphans(
        &mut self,
        read: &[ValueId],
        may_go: impl Fn(&Program, OpId) -> bool,
    ) -> Result<BTreeMap<String, usize>, Error> {
        let program = &*self.program;
        let mut orphans: Vec<OpId> = read.iter().filter_map(|&v| program.def_op(v)).collect();
        orphans.sort_unstable();
        orphans.dedup();
        let mut seen: HashSet<OpId> = orphans.iter().copied().collect();
        let mut at = 0;
        while let Some(&op) = orphans.get(at) {
            if may_go(program, op) {
                let made_from = program.ops[op].operands();
                let made_from = made_from.filter_map(|v| program.def_op(v));
                orphans.extend(made_from.filter(|&op| seen.insert(op)));
            }
            at += 1;
        }
        let fuel = self.fuel.take();
        let logged = self.changes.len();
        let removed = self.remove_unused(|program, op| seen.contains(&op) && may_go(program, op));
        self.changes.truncate(logged);
        self.fuel = fuel;
        removed
    }

    /// Removes operations whose results nothing reads, last ones first, and
    /// then what only they read. `may_go` says which ones may go at all.
    /// Returns how many went, by type.
    ///
    /// # Errors
    /// The file's bytes of an enclosing operation hold something that would be
    /// lost.
    pub fn remove_unused(
        &mut self,
        mut may_go: impl FnMut(&Program, OpId) -> bool,
    ) -> Result<BTreeMap<String, usize>, Error> {
        let mut removed = BTreeMap::new();
        let mut uses = self.uses();
        // In reverse program order every reader comes before what it reads.
        for site in self.sites().into_iter().rev() {
            let op = &self.program.ops[site.op];
            let used = op.outputs.iter().any(|v| uses[v.index()] > 0);
            // Without results an operation is there for its effect.
            if used || op.outputs.is_empty() || !may_go(self.program, site.op) {
                continue;
            }
            let what = format!("removed: nothing uses `{}`", self.describe_outputs(site.op));
            if !self.log(site, what) {
                break;
            }
            let op = &self.program.ops[site.op];
            *removed.entry(op.op_type.clone()).or_default() += 1;
            for value in self.program.reads(site.op) {
                uses[value.index()] = uses[value.index()].saturating_sub(1);
            }
            let ops = &mut self.program.block_mut(site.block)?.ops;
            if let Some(at) = ops.iter().rposition(|&op| op == site.op) {
                ops.remove(at);
            }
        }
        Ok(removed)
    }

    fn describe_outputs(&self, op: OpId) -> String {
        let outputs = self.program.ops[op].outputs.iter();
        let names: Vec<&str> = outputs
            .map(|&v| self.program.values[v].name.as_str())
            .collect();
        names.join("`, `")
    }

    /// Logs a change; `false` if it may not be made.
    pub(crate) fn log(&mut self, site: Site, what: String) -> bool {
        match &mut self.fuel {
            Some(0) => return false,
            Some(left) => *left -= 1,
            None => {}
        }
        let location = self.location(site);
        self.changes.push(Change {
            pass: self.pass,
            location,
            what,
        });
        true
    }
}

/// The names of a program's values and operations, and the next number to try
/// behind each.
#[derive(Default)]
struct Names {
    taken: HashMap<String, usize>,
}

impl Names {
    fn of(program: &Program) -> Self {
        let mut names = Self::default();
        for id in program.values.ids() {
            names.taken.insert(program.values[id].name.clone(), 0);
        }
        for id in program.ops.ids() {
            if let Some(name) = program.ops[id].name() {
                names.taken.insert(name.to_owned(), 0);
            }
        }
        names
    }

    fn fresh(&mut self, wish: &str) -> String {
        let mut name = wish.to_owned();
        while let Some(&last) = self.taken.get(&name) {
            let counter = self.taken.entry(wish.to_owned()).or_default();
            *counter = last.max(*counter) + 1;
            name = format!("{wish}_{counter}");
        }
        self.taken.insert(name.clone(), 0);
        name
    }
}
