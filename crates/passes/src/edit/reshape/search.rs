//! Finding what was written for the old sizes.

use std::collections::{BTreeMap, BTreeSet};

use milwright_ir::features::Signature;
use milwright_ir::sizes::{Corner, Shapes, default_shapes, shapes_at};
use milwright_ir::{
    Dim, Error as IrError, Model, OpId, OpView, Program, Sizes, TensorType, ValueId, ValueType,
};

use super::super::Error;
use super::look::{Found, Types};
use super::{Fixed, Follow};

/// The shapes at which a function is looked at: those that its description
/// names, and for ranges one between.
pub(super) fn points(signature: &Signature) -> Vec<Shapes> {
    let default = default_shapes(signature);
    let mut found = vec![default.clone()];
    let mut add = |shapes: Option<Shapes>| {
        if let Some(shapes) = shapes
            && !found.contains(&shapes)
        {
            found.push(shapes);
        }
    };
    let lower = shapes_at(signature, Corner::Lower);
    let upper = shapes_at(signature, Corner::Upper);
    if let Some(lower) = &lower {
        // The same sizes for inputs that have the same range.
        let between = lower.iter().map(|(name, low)| {
            let high = upper.as_ref().and_then(|u| u.get(name));
            let default = default.get(name);
            let shape = low.iter().enumerate().map(|(axis, &low)| {
                let usual = default.and_then(|d| d.get(axis)).copied().unwrap_or(low);
                let high = high.and_then(|h| h.get(axis)).copied();
                let high = high.unwrap_or(usual.saturating_mul(2).saturating_add(7));
                low + high.saturating_sub(low).div_ceil(2)
            });
            (name.clone(), shape.collect())
        });
        let mut between: Shapes = between.collect();
        // Where there is no upper bound, only what has a range may move.
        if upper.is_none() {
            for (name, shape) in &mut between {
                let (Some(low), Some(usual)) = (lower.get(name), default.get(name)) else {
                    continue;
                };
                for (axis, size) in shape.iter_mut().enumerate() {
                    let fixed = is_fixed(signature, name, axis);
                    if fixed {
                        *size = low.get(axis).or(usual.get(axis)).copied().unwrap_or(*size);
                    }
                }
            }
        }
        add(Some(between));
    }
    add(lower);
    add(upper);
    for index in 0.. {
        let shapes = shapes_at(signature, Corner::Enumerated(index));
        if shapes.is_none() {
            break;
        }
        add(shapes);
    }
    found
}

/// Whether an input has one size along an axis.
fn is_fixed(signature: &Signature, name: &str, axis: usize) -> bool {
    use milwright_ir::features::{FeatureKind, Flexibility};
    let feature = signature.inputs.iter().find(|f| f.name == name);
    match feature.map(|f| &f.kind) {
        Some(FeatureKind::Array(a)) => match &a.flexibility {
            Flexibility::Ranges(sizes) => sizes
                .get(axis)
                .is_some_and(|&(low, high)| high == Some(low)),
            _ => true,
        },
        // Height and width of an image are the last two of four.
        Some(FeatureKind::Image(i)) => match &i.flexibility {
            Flexibility::Ranges(sizes) => {
                let own = axis.checked_sub(2).and_then(|axis| sizes.get(axis));
                own.is_none_or(|&(low, high)| high == Some(low))
            }
            _ => true,
        },
        _ => true,
    }
}

/// A look at one function with new shapes.
pub(super) struct Search<'m> {
    model: &'m Model,
    /// The program, edited so far.
    program: &'m Program,
    /// The same with nothing declared of what is behind the inputs.
    scratch: Program,
    function: usize,
    old: &'m Sizes,
    /// The inputs and the values behind them.
    pub(super) behind: BTreeSet<ValueId>,
    found: BTreeMap<OpId, (Fixed, Option<Follow>)>,
}

impl<'m> Search<'m> {
    pub(super) fn new(
        model: &'m Model,
        program: &'m Program,
        function: usize,
        inputs: &[ValueId],
        old: &'m Sizes,
    ) -> Self {
        let behind = behind(program, function, inputs);
        let mut scratch = program.clone();
        for &value in behind.iter().filter(|v| !inputs.contains(v)) {
            if let ValueType::Tensor(ty) = &mut scratch.values[value].ty {
                for dim in &mut ty.shape {
                    if matches!(dim, Dim::Known(_)) {
                        *dim = Dim::Unknown;
                    }
                }
            }
        }
        Search {
            model,
            program,
            scratch,
            function,
            old,
            behind,
            found: BTreeMap::new(),
        }
    }

    /// The types at input shapes.
    pub(super) fn sizes(&self, shapes: &Shapes) -> Result<Sizes, IrError> {
        let function = &self.scratch.functions[self.function];
        Sizes::of(&self.scratch, function, self.model, shapes)
    }

    /// Finds what is in the way at these shapes.
    pub(super) fn run(
        &mut self,
        shapes: &Shapes,
    ) -> Result<BTreeMap<OpId, (Fixed, Option<Follow>)>, Error> {
        loop {
            match self.sizes(shapes) {
                Err(IrError::Shapes {
                    op: Some(op),
                    problem,
                    ..
                }) => {
                    // A second complaint about it cannot be worked around.
                    if self.found.contains_key(&op) && self.scratch.ops[op].def.is_none() {
                        break;
                    }
                    let sizes = self.sizes_before(op, shapes)?;
                    self.refuse(op, &problem, &sizes);
                }
                Err(error) => return Err(error.into()),
                Ok(sizes) => {
                    if !self.look_at_all(&sizes) {
                        break;
                    }
                }
            }
        }
        Ok(std::mem::take(&mut self.found))
    }

    /// The types of what comes before an operation.
    fn sizes_before(&mut self, op: OpId, shapes: &Shapes) -> Result<Sizes, IrError> {
        let body = self.scratch.functions[self.function].body();
        let Some(body) = body else {
            return self.sizes(shapes);
        };
        let ops = self.scratch.blocks[body].ops.clone();
        let holds = |&top: &OpId| {
            let blocks = self.scratch.ops[top].blocks.iter();
            top == op
                || blocks
                    .flat_map(|&b| self.scratch.walk(b))
                    .any(|inner| inner == op)
        };
        let at = ops.iter().position(holds).unwrap_or(ops.len());
        self.scratch.blocks[body].ops.truncate(at);
        let sizes = self.sizes(shapes);
        self.scratch.blocks[body].ops = ops;
        sizes
    }

    fn types<'t>(&'t self, new: &'t Sizes) -> Types<'t> {
        Types {
            before: self.model.program(),
            program: self.program,
            old: self.old,
            new,
        }
    }

    /// Notes an operation that does not take what comes to it, and goes on as
    /// if it did.
    fn refuse(&mut self, op: OpId, problem: &str, new: &Sizes) {
        let types = self.types(new);
        let view = OpView::new(self.program, op, self.model);
        let found = types
            .look(&view)
            .unwrap_or_else(|| types.blame(&view, problem));
        self.note(op, found, true);
    }

    fn note(&mut self, op: OpId, mut found: Found, contradicts: bool) {
        // From now on it is an operation of which only the result is known; what
        // nothing contradicts goes on as it does.
        if contradicts || found.shape.is_some() {
            self.scratch.ops[op].def = None;
        }
        if let (Some(shape), Some(&output)) =
            (found.shape.take(), self.scratch.ops[op].outputs.first())
            && let ValueType::Tensor(ty) = &self.scratch.values[output].ty
            && ty.shape.len() == shape.len()
        {
            self.scratch.values[output].ty = TensorType::fixed(ty.dtype, &shape).into();
        }
        let follow = found.follow.filter(Follow::fits);
        let own = &self.program.ops[op];
        let output = own.outputs.first().map(|&v| &self.program.values[v]);
        let fixed = Fixed {
            function: self.program.functions[self.function].name.clone(),
            output: output.map_or_else(String::new, |v| v.name.clone()),
            op_type: own.op_type.clone(),
            contains: found.contains,
            why: found.why,
            follow: follow.as_ref().map(Follow::words),
            contradicts,
        };
        self.found.insert(op, (fixed, follow));
    }

    /// Looks for operations that keep the old sizes without a contradiction;
    /// says whether one was found whose result has another shape then.
    fn look_at_all(&mut self, new: &Sizes) -> bool {
        let Some(body) = self.program.functions[self.function].body() else {
            return false;
        };
        for op in self.program.walk(body) {
            if self.found.contains_key(&op) {
                continue;
            }
            let reads_changed = self.program.ops[op]
                .operands()
                .any(|v| self.behind.contains(&v));
            if !reads_changed {
                continue;
            }
            // In a branch of which it is not known that it runs, the walk does
            // not complain.
            let view = OpView::new(&self.scratch, op, self.model).with_sizes(new);
            if let Some(Err(problem)) = view.op.def.map(|def| def.infer(&view)) {
                self.refuse(op, &problem.to_string(), new);
                return true;
            }
            let types = self.types(new);
            let view = OpView::new(self.program, op, self.model);
            if let Some(found) = types.look(&view) {
                self.note(op, found, false);
                return true;
            }
            // What this build does not know may do anything with a new shape.
            let unknown = self.program.ops[op].def.is_none();
            if unknown {
                let view = OpView::new(self.program, op, self.model);
                let found = Found {
                    contains: String::new(),
                    why: "this version does not know the operation".to_owned(),
                    follow: None,
                    shape: types.blame(&view, "").shape,
                };
                self.note(op, found, true);
                return true;
            }
        }
        false
    }
}

/// The given values and every value that depends on them, in nested blocks too.
fn behind(program: &Program, function: usize, inputs: &[ValueId]) -> BTreeSet<ValueId> {
    let mut behind: BTreeSet<ValueId> = inputs.iter().copied().collect();
    let function = &program.functions[function];
    for &(_, body) in &function.specializations {
        for &op in &program.blocks[body].ops {
            if !program.reads(op).iter().any(|v| behind.contains(v)) {
                continue;
            }
            behind.extend(&program.ops[op].outputs);
            for &block in &program.ops[op].blocks {
                behind.extend(&program.blocks[block].inputs);
                for inner in program.walk(block) {
                    // What is constant in a block stays so.
                    let reads = program.reads(inner);
                    let constant = reads.is_empty() && program.ops[inner].blocks.is_empty();
                    if constant {
                        continue;
                    }
                    behind.extend(&program.ops[inner].outputs);
                    for &deeper in &program.ops[inner].blocks {
                        behind.extend(&program.blocks[deeper].inputs);
                    }
                }
            }
        }
    }
    behind
}
