//! Gives floats of a program another width, with casts between what changes
//! and what stays.

use std::collections::{BTreeMap, HashMap, HashSet};

use milwright_ir::ops::{Kind, OpDef, Opset, Presence};
use milwright_ir::{Arg, BlockId, DataType, Op, OpId, OpView, Program, ValueId, ValueType};

use crate::error::Error;
use crate::report::PassReport;
use crate::rewriter::{Rewriter, Site, has_effect, is_constant};

mod operands;

/// The newest opset whose operations are in the table.
const NEWEST: Opset = Opset::IOS18;

/// What is to change.
pub(crate) struct Retype {
    /// The type that goes.
    pub(crate) from: DataType,
    /// The type that comes.
    pub(crate) to: DataType,
    /// The only operations that may change; none: all.
    pub(crate) only: Option<HashSet<OpId>>,
    /// Operations that stay because that is wished.
    pub(crate) keep: HashSet<OpId>,
    /// Operations that stay, and the reason.
    pub(crate) fragile: BTreeMap<OpId, String>,
    /// Values that are not to be of the new type.
    pub(crate) fixed: HashSet<ValueId>,
    /// Weights stay stored as they are, with a cast.
    pub(crate) cast_weights: bool,
}

/// Changes a program.
///
/// # Errors
/// The file's bytes of an operation hold something that would be lost, or a
/// constant cannot be read.
pub(crate) fn run(rewriter: &mut Rewriter<'_>, how: &Retype) -> Result<PassReport, Error> {
    let mut report = PassReport::default();
    let sites = rewriter.sites();
    let homes: HashMap<OpId, BlockId> = sites.iter().map(|s| (s.op, s.block)).collect();
    let functions = rewriter.program().functions.iter().enumerate();
    let bodies: Vec<(usize, Opset, BlockId)> = functions
        .flat_map(|(n, f)| {
            let each = f.specializations.iter();
            each.map(move |(name, body)| {
                (
                    n,
                    Opset::from_name(name).unwrap_or(NEWEST).min(NEWEST),
                    *body,
                )
            })
        })
        .collect();
    for (function, opset, body) in bodies {
        let ops = rewriter.program().walk(body);
        let mut walk = Walk {
            rewriter,
            how,
            opset,
            body,
            homes: &homes,
            new: HashMap::new(),
            old: HashMap::new(),
            changed: HashSet::new(),
            insert: BTreeMap::new(),
            dtype_words: HashMap::new(),
            created: Vec::new(),
            read: Vec::new(),
            passed: Vec::new(),
            report: &mut report,
        };
        for &op in &ops {
            let block = homes.get(&op).copied().unwrap_or(body);
            walk.op(Site {
                function,
                block,
                op,
            })?;
        }
        walk.blocks(&ops)?;
        walk.results()?;
        walk.finish()?;
    }
    Ok(report)
}

struct Walk<'w, 'p> {
    rewriter: &'w mut Rewriter<'p>,
    how: &'w Retype,
    opset: Opset,
    body: BlockId,
    homes: &'w HashMap<OpId, BlockId>,
    /// For a value of the old type, one of the new type; apart for `epsilon`,
    /// which must not vanish.
    new: HashMap<(ValueId, bool), ValueId>,
    /// For a value that is of the new type now, one of the old type.
    old: HashMap<ValueId, ValueId>,
    /// Values that are of the new type now.
    changed: HashSet<ValueId>,
    /// New operations, behind others or at the beginning of a block.
    insert: BTreeMap<(BlockId, Option<OpId>), Vec<OpId>>,
    /// Constants that name types, for casts.
    dtype_words: HashMap<DataType, ValueId>,
    created: Vec<ValueId>,
    read: Vec<ValueId>,
    /// Results of casts from the new type, which nothing needs to read any more.
    passed: Vec<ValueId>,
    report: &'w mut PassReport,
}

/// Why an operation stays.
enum Stays {
    /// Nothing of it has the old type.
    Untouched,
    /// It is wished.
    Wished,
    /// It cannot change, or had better not.
    Because(String),
}

impl Walk<'_, '_> {
    fn program(&self) -> &Program {
        self.rewriter.program()
    }

    /// Whether a value was of the old type when the pass began.
    fn was_old(&self, value: ValueId) -> bool {
        self.changed.contains(&value) || self.is_type(value, self.how.from)
    }

    fn is_type(&self, value: ValueId, dtype: DataType) -> bool {
        let ty = self.program().values[value].ty.as_tensor();
        ty.is_some_and(|ty| ty.dtype == dtype)
    }

    fn op(&mut self, site: Site) -> Result<(), Error> {
        match self.change(site)? {
            None => {
                let op_type = self.program().ops[site.op].op_type.clone();
                *self.report.done.entry(op_type).or_default() += 1;
                return Ok(());
            }
            Some(Stays::Because(reason)) => {
                let left = self.rewriter.left(site, reason);
                self.report.left.push(left);
            }
            Some(Stays::Wished) => {
                *self
                    .report
                    .done
                    .entry("kept as they are".into())
                    .or_default() += 1;
            }
            Some(Stays::Untouched) => {}
        }
        // It reads what it read.
        let op = &self.program().ops[site.op];
        if !op.operands().any(|v| self.changed.contains(&v)) {
            return Ok(());
        }
        let mut inputs = op.inputs.clone();
        for arg in inputs.iter_mut().flat_map(|(_, args)| args) {
            if let Arg::Value(value) = arg {
                *value = self.old_of(*value)?;
            }
        }
        self.rewriter.program_mut().op_mut(site.op)?.inputs = inputs;
        Ok(())
    }

    /// Changes an operation, if it can be and is to be.
    fn change(&mut self, site: Site) -> Result<Option<Stays>, Error> {
        if self.is_between(site) {
            return Ok(Some(Stays::Untouched));
        }
        let (from, to) = (self.how.from, self.how.to);
        let op = &self.program().ops[site.op];
        if is_constant(&op.op_type) {
            // Its readers decide.
            return Ok(Some(Stays::Untouched));
        }
        let is_old = |arg: &Arg| match arg {
            Arg::Value(v) => self.was_old(*v),
            Arg::Const(c) => c.tensor_type().is_some_and(|t| t.dtype == from),
        };
        let args = || op.inputs.iter().flat_map(|(_, args)| args);
        let gives = op.outputs.iter().any(|&v| self.is_type(v, from));
        if !gives && !args().any(is_old) {
            return Ok(Some(Stays::Untouched));
        }
        let tensors = args().map(|arg| self.program().arg_type(arg));
        let results = op.outputs.iter().map(|&v| &self.program().values[v].ty);
        let all_tensors = tensors.chain(results).all(|ty| ty.as_tensor().is_some());
        let Some(def) = op.def else {
            let reason = "this version does not know the operation".to_owned();
            return Ok(Some(Stays::Because(reason)));
        };
        if !op.blocks.is_empty() {
            // What is in its blocks changes on its own.
            return Ok(Some(Stays::Untouched));
        }
        if !all_tensors || has_effect(self.program(), site.op) {
            let reason =
                "it works on something else than tensors, such as a state or a list".to_owned();
            return Ok(Some(Stays::Because(reason)));
        }
        if self
            .how
            .only
            .as_ref()
            .is_some_and(|only| !only.contains(&site.op))
        {
            return Ok(Some(Stays::Untouched));
        }
        if self.how.keep.contains(&site.op) {
            return Ok(Some(Stays::Wished));
        }
        if let Some(reason) = self.how.fragile.get(&site.op) {
            return Ok(Some(Stays::Because(reason.clone())));
        }
        let fixed = op.operands().chain(op.outputs.iter().copied());
        if let Some(value) = fixed.into_iter().find(|v| self.how.fixed.contains(v)) {
            let reason = format!("`{}` is not to be {to}", self.program().values[value].name);
            return Ok(Some(Stays::Because(reason)));
        }
        if self.rewriter.is_out_of_fuel() {
            return Ok(Some(Stays::Untouched));
        }

        let mut changed = op.clone();
        let mut read = Vec::new();
        let params = changed.inputs.clone();
        for (at, (name, args)) in params.iter().enumerate() {
            let param = def.params.iter().find(|p| p.name == name);
            let takes = param.is_none_or(|p| {
                matches!(p.kind, Kind::Tensor | Kind::Any)
                    && p.domain(self.opset).is_none_or(|d| d.dtypes.contains(&to))
            });
            for (nth, arg) in args.iter().enumerate() {
                let old = match arg {
                    Arg::Value(v) => self.was_old(*v),
                    Arg::Const(c) => c.tensor_type().is_some_and(|t| t.dtype == from),
                };
                let fixed = self.program().const_arg(arg).is_some();
                let new = match old {
                    // A scale, for instance, that is single precision in every case.
                    true if !takes && fixed => continue,
                    true if !takes => {
                        let reason = format!("its `{name}` cannot be {to} in {}", self.opset);
                        return Ok(Some(Stays::Because(reason)));
                    }
                    true => self.new_of(arg, name == "epsilon", site)?,
                    false => self.word(arg, name)?.unwrap_or_else(|| arg.clone()),
                };
                if new != *arg {
                    read.extend(value_of(arg));
                    changed.inputs[at].1[nth] = new;
                }
            }
        }
        let view = OpView::new(self.program(), site.op, self.rewriter.blobs());
        let view = with_op(view, &changed);
        let types = match self.types(&view, def) {
            Ok(types) => types,
            Err(reason) => return Ok(Some(Stays::Because(reason))),
        };
        if !self.rewriter.log(site, format!("{from} to {to}")) {
            return Ok(Some(Stays::Untouched));
        }
        let inputs = changed.inputs;
        let program = self.rewriter.program_mut();
        let op = program.op_mut(site.op)?;
        op.inputs = inputs;
        for (value, ty) in op.outputs.clone().into_iter().zip(types) {
            if program.values[value].ty != ty {
                program.values[value].ty = ty;
                self.changed.insert(value);
            }
        }
        self.read.extend(read);
        Ok(None)
    }

    /// Whether an operation is a cast that the program has already between the
    /// two types. What it reads or gives is then of the new type as it is.
    fn is_between(&mut self, site: Site) -> bool {
        let op = &self.program().ops[site.op];
        let ([Arg::Value(x)], [y]) = (op.args("x"), op.outputs.as_slice()) else {
            return false;
        };
        let (x, y, is_cast) = (*x, *y, op.op_type == "cast");
        if !is_cast || self.changed.contains(&x) {
            return false;
        }
        if self.is_type(x, self.how.to) && self.is_type(y, self.how.from) {
            self.new.insert((y, false), x);
            self.passed.push(y);
            return true;
        }
        let computed = match self.program().def_op(x) {
            Some(op) => !is_constant(&self.program().ops[op].op_type),
            None => true,
        };
        let is = self.is_type(x, self.how.from) && self.is_type(y, self.how.to);
        // Where `x` is visible, its cast is only if it stands beside it.
        if is && computed && self.behind(x).0 == site.block {
            self.new.entry((x, false)).or_insert(y);
        }
        is && computed
    }

    /// The types that the results of a changed operation have.
    fn types(&self, view: &OpView<'_>, def: &'static OpDef) -> Result<Vec<ValueType>, String> {
        let (from, to) = (self.how.from, self.how.to);
        if !agrees(view, def, self.opset) {
            return Err(format!("not all of its operands can be {to}"));
        }
        let inferred = def.infer(view).map_err(|e| format!("not with {to}: {e}"))?;
        let outputs = &view.op.outputs;
        if inferred.len() != outputs.len() {
            return Err("its results are not known".into());
        }
        let mut types = Vec::new();
        for (inferred, &output) in inferred.iter().zip(outputs) {
            let mut declared = self.program().values[output].ty.clone();
            if let ValueType::Tensor(t) = &mut declared
                && t.dtype == from
            {
                t.dtype = to;
            }
            if !inferred.fits(&declared) {
                return Err(format!("its result would be {inferred}"));
            }
            types.push(declared);
        }
        Ok(types)
    }

    /// What nested blocks give keeps its type.
    fn blocks(&mut self, ops: &[OpId]) -> Result<(), Error> {
        for &op in ops {
            for block in self.program().ops[op].blocks.clone() {
                let outputs = self.program().blocks[block].outputs.clone();
                if !outputs.iter().any(|v| self.changed.contains(v)) {
                    continue;
                }
                let outputs = outputs.into_iter().map(|v| self.old_of(v));
                let outputs = outputs.collect::<Result<Vec<_>, _>>()?;
                self.rewriter.program_mut().block_mut(block)?.outputs = outputs;
            }
        }
        Ok(())
    }

    /// What the function gives keeps its type and its name.
    fn results(&mut self) -> Result<(), Error> {
        let outputs = self.program().blocks[self.body].outputs.clone();
        let mut renamed: HashSet<ValueId> = HashSet::new();
        for (at, value) in outputs.into_iter().enumerate() {
            if !self.changed.contains(&value) {
                continue;
            }
            let old = self.old_of(value)?;
            if renamed.insert(value) {
                let name = self.program().values[value].name.clone();
                let inner = self.rewriter.fresh_name(&format!("{name}_{}", self.how.to));
                let program = self.rewriter.program_mut();
                program.rename_value(value, &inner)?;
                program.values[old].name = name;
            }
            self.rewriter.program_mut().block_mut(self.body)?.outputs[at] = old;
        }
        Ok(())
    }

    /// Puts the new operations where they belong, and takes out what nothing
    /// reads any more.
    fn finish(self) -> Result<(), Error> {
        let mut blocks: Vec<BlockId> = self.insert.keys().map(|&(block, _)| block).collect();
        blocks.dedup();
        for block in blocks {
            let mut ops = Vec::new();
            let take = |after| {
                self.insert
                    .get(&(block, after))
                    .into_iter()
                    .flatten()
                    .copied()
            };
            ops.extend(take(None));
            for &op in &self.rewriter.program().blocks[block].ops {
                ops.push(op);
                ops.extend(take(Some(op)));
            }
            self.rewriter.program_mut().block_mut(block)?.ops = ops;
        }
        let made: HashSet<OpId> = {
            let program = self.rewriter.program();
            self.created
                .iter()
                .filter_map(|&v| program.def_op(v))
                .collect()
        };
        let made_values: HashSet<ValueId> = self.created.iter().copied().collect();
        let read = self.read.iter().chain(&self.created).chain(&self.passed);
        let read: Vec<ValueId> = read.copied().collect();
        let program = self.rewriter.program();
        let passed = self.passed.iter().filter_map(|&v| program.def_op(v));
        let passed: HashSet<OpId> = passed.collect();
        let removed = self.rewriter.remove_orphans(&read, |program, op| {
            is_constant(&program.ops[op].op_type) || made.contains(&op) || passed.contains(&op)
        })?;
        for (op_type, count) in removed {
            // What was added and not needed was never there.
            if op_type != "cast" {
                *self.report.removed.entry(op_type).or_default() += count;
            }
        }
        let program = self.rewriter.program();
        let there: HashSet<OpId> = program.walk(self.body).into_iter().collect();
        let gone = passed.iter().filter(|op| !there.contains(op)).count();
        if gone > 0 {
            *self.report.removed.entry("cast".into()).or_default() += gone;
        }
        for op in program.walk(self.body) {
            let op = &program.ops[op];
            let casts = op
                .outputs
                .first()
                .filter(|v| op.op_type == "cast" && made_values.contains(v));
            if let Some(ty) = casts.and_then(|&v| program.values[v].ty.as_tensor()) {
                let what = format!("casts to {} added", ty.dtype);
                *self.report.done.entry(what).or_default() += 1;
            }
        }
        Ok(())
    }
}

fn value_of(arg: &Arg) -> Option<ValueId> {
    match arg {
        Arg::Value(v) => Some(*v),
        Arg::Const(_) => None,
    }
}

/// The same operation without the bytes of the file.
fn fresh(op: Op) -> Op {
    let mut new = Op::new(op.op_type);
    new.inputs = op.inputs;
    new.attributes = op.attributes;
    new
}

/// The view of another operation in the place of the one that it is of.
fn with_op<'p>(mut view: OpView<'p>, op: &'p Op) -> OpView<'p> {
    view.op = op;
    view
}

/// Whether the operands have types that the table allows, together.
fn agrees(view: &OpView<'_>, def: &OpDef, opset: Opset) -> bool {
    let mut groups: HashMap<&str, DataType> = HashMap::new();
    for param in def.params_in(opset) {
        let Some(domain) = param.domain(opset) else {
            continue;
        };
        let filled_in = param.constant && matches!(param.presence, Presence::Default(_));
        for ty in view.types(param.name) {
            let Some(ty) = ty.as_tensor() else {
                continue;
            };
            if !domain.dtypes.contains(&ty.dtype) {
                return false;
            }
            if domain.group.is_empty() || filled_in {
                continue;
            }
            if *groups.entry(domain.group).or_insert(ty.dtype) != ty.dtype {
                return false;
            }
        }
    }
    true
}
