//! One function of a model, as rules see it.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use milwright_ir::arena::Id;
use milwright_ir::features::{Feature, FeatureKind, Flexibility, Signature};
use milwright_ir::ops::Opset;
use milwright_ir::{
    Arg, BlobSource, BlockId, Constant, DataType, Function, Location, Op, OpId, OpView, Program,
    TensorType, Value, ValueDef, ValueId, ValueType,
};

use super::Input;
use super::finding::Units;
use super::placement::{self, Left};
use super::query::Channel;
use super::range::Range;
use super::target::{Caps, Target};

/// See the module.
///
/// An operation is *static* when everything that it computes is known before
/// the program runs: constants, `constexpr_*`, and whatever reads only such.
/// Static operations are folded and run on no compute unit; all others are
/// called *active* here.
pub struct Scope<'a> {
    /// The program.
    pub program: &'a Program,
    /// The function.
    pub function: &'a Function,
    /// Its body.
    pub body: BlockId,
    /// The weights.
    pub blobs: &'a dyn BlobSource,
    /// What the description declares for the function.
    pub signature: Option<&'a Signature>,
    /// Specification version of the model.
    pub spec_version: i32,
    /// Weight files that the program refers to, and their bytes.
    pub weight_files: &'a [(String, u64)],
    /// How many functions the model has.
    pub functions: usize,
    /// The device.
    pub target: Target,
    /// The compute units that it is loaded with.
    pub units: Units,
    /// The oldest system that it must run on, when the user says so.
    pub os: Option<Opset>,
    ops: Vec<OpId>,
    active: Vec<OpId>,
    is_static: Vec<bool>,
    readers: Vec<Vec<OpId>>,
    is_output: Vec<bool>,
    ranges: RefCell<BTreeMap<OpId, Option<Range>>>,
    pub(super) channels: RefCell<BTreeMap<OpId, Option<Rc<[Channel]>>>>,
    left: OnceCell<Left>,
}

impl<'a> Scope<'a> {
    /// The scope of a function; `None` when it has no body.
    pub(super) fn new(
        input: &Input<'a>,
        function: &'a Function,
        signature: Option<&'a Signature>,
        weight_files: &'a [(String, u64)],
        (target, units, os): (Target, Units, Option<Opset>),
    ) -> Option<Self> {
        let program = input.program;
        let body = function.body()?;
        let ops = program.walk(body);
        let mut is_static = vec![false; program.values.len()];
        let mut readers = vec![Vec::new(); program.values.len()];
        let mut is_output = vec![false; program.values.len()];
        let mut active = Vec::new();
        for &value in &program.blocks[body].outputs {
            is_output[value.index()] = true;
        }
        for &id in &ops {
            let op = &program.ops[id];
            let mut known = op.blocks.is_empty() && !computes_anew(op);
            for value in op.operands() {
                known &= is_static[value.index()];
                let readers: &mut Vec<OpId> = &mut readers[value.index()];
                if readers.last() != Some(&id) {
                    readers.push(id);
                }
            }
            if known {
                op.outputs.iter().for_each(|v| is_static[v.index()] = true);
            } else {
                active.push(id);
            }
        }
        Some(Self {
            program,
            function,
            body,
            blobs: input.blobs,
            signature,
            spec_version: input.spec_version,
            weight_files,
            functions: program.functions.len(),
            target,
            units,
            os,
            ops,
            active,
            is_static,
            readers,
            is_output,
            ranges: RefCell::default(),
            channels: RefCell::default(),
            left: OnceCell::new(),
        })
    }

    /// The operations that leave the Neural Engine by what the rules find here.
    pub(super) fn left(&self) -> &Left {
        self.left.get_or_init(|| placement::of_scope(self))
    }

    /// Every operation, nested blocks included, in program order.
    pub fn ops(&self) -> &[OpId] {
        &self.ops
    }

    /// Every operation that is not static, in program order.
    pub fn active(&self) -> impl Iterator<Item = OpId> + '_ {
        self.active.iter().copied()
    }

    /// Every active operation of one of these types, in program order.
    pub fn of_type<'s>(&'s self, types: &'s [&str]) -> impl Iterator<Item = OpId> + 's {
        let is = |&id: &OpId| types.contains(&self.op(id).op_type.as_str());
        self.active().filter(is)
    }

    /// An operation.
    pub fn op(&self, id: OpId) -> &'a Op {
        &self.program.ops[id]
    }

    /// Whether an operation is of one of these types.
    pub fn is_type(&self, id: OpId, types: &[&str]) -> bool {
        types.contains(&self.op(id).op_type.as_str())
    }

    /// An operation with its parameters.
    pub fn view(&self, id: OpId) -> OpView<'a> {
        OpView::new(self.program, id, self.blobs)
    }

    /// A value.
    pub fn value(&self, id: ValueId) -> &'a Value {
        &self.program.values[id]
    }

    /// The tensor type of a value.
    pub fn tensor(&self, id: ValueId) -> Option<&'a TensorType> {
        self.value(id).ty.as_tensor()
    }

    /// The tensor type of an operation's parameter.
    pub fn param(&self, id: OpId, param: &str) -> Option<&'a TensorType> {
        self.view(id).opt_tensor(param).ok().flatten()
    }

    /// The tensor type of an operation's first result.
    pub fn result(&self, id: OpId) -> Option<&'a TensorType> {
        self.tensor(*self.op(id).outputs.first()?)
    }

    /// Whether a value is known before the program runs.
    pub fn is_static(&self, value: ValueId) -> bool {
        self.is_static[value.index()]
    }

    /// Whether every argument of a parameter is known before the program runs;
    /// also when it is not given.
    pub fn has_static(&self, id: OpId, param: &str) -> bool {
        self.op(id).args(param).iter().all(|arg| match arg {
            Arg::Const(_) => true,
            Arg::Value(v) => self.is_static(*v),
        })
    }

    /// The operations that read a value, in program order.
    pub fn readers(&self, value: ValueId) -> &[OpId] {
        &self.readers[value.index()]
    }

    /// The operations that read a result of an operation, in program order.
    pub fn readers_of(&self, id: OpId) -> impl Iterator<Item = OpId> + '_ {
        self.op(id)
            .outputs
            .iter()
            .flat_map(|&v| self.readers(v).iter().copied())
    }

    /// Whether the function returns a value.
    pub fn is_output(&self, value: ValueId) -> bool {
        self.is_output[value.index()]
    }

    /// Whether the function takes a value from its caller.
    pub fn is_input(&self, value: ValueId) -> bool {
        matches!(self.value(value).def, ValueDef::FunctionInput(..))
    }

    /// The value that a parameter takes, when it takes one.
    pub fn operand(&self, id: OpId, param: &str) -> Option<ValueId> {
        match self.op(id).args(param) {
            [Arg::Value(v)] => Some(*v),
            _ => None,
        }
    }

    /// The operation that makes what a parameter takes.
    pub fn source(&self, id: OpId, param: &str) -> Option<OpId> {
        self.program.def_op(self.operand(id, param)?)
    }

    /// As [`Scope::source`], looking through operations that only change type or
    /// layout.
    pub fn deep_source(&self, id: OpId, param: &str) -> Option<OpId> {
        let mut found = self.source(id, param)?;
        // Programs are acyclic; the bound is for those that no verifier saw.
        for _ in 0..self.ops.len() {
            if !self.is_type(found, &MOVES) {
                break;
            }
            match self.source(found, "x") {
                Some(before) => found = before,
                None => break,
            }
        }
        Some(found)
    }

    /// The constant behind a parameter.
    pub fn constant(&self, id: OpId, param: &str) -> Option<&'a Constant> {
        self.view(id).constant(param)
    }

    /// Every tensor that exists while the program runs, once, in program order:
    /// inputs of the function, then results of active operations.
    pub fn tensors(&self) -> impl Iterator<Item = (ValueId, &'a TensorType)> + '_ {
        let results = self.active().flat_map(|id| self.op(id).outputs.iter());
        let all = self.function.inputs.iter().chain(results).copied();
        all.filter_map(|v| Some((v, self.tensor(v)?)))
    }

    /// The sizes of a tensor at its largest: of an input, the upper bounds of
    /// what the description lets the caller give.
    pub fn largest(&self, value: ValueId) -> Option<Vec<Option<u64>>> {
        let ty = match &self.value(value).ty {
            ValueType::Tensor(t) => t,
            ValueType::State(inner) => inner.as_tensor()?,
            _ => return None,
        };
        ty.rank()?;
        let mut sizes: Vec<Option<u64>> = ty.shape.iter().map(|d| d.known()).collect();
        if let Some(feature) = self.input_feature(value) {
            let (flexibility, first) = match &feature.kind {
                FeatureKind::Array(a) | FeatureKind::State(a) => (&a.flexibility, 0),
                // Sizes of images are `[height, width]`.
                FeatureKind::Image(i) => (&i.flexibility, sizes.len().saturating_sub(2)),
                _ => return Some(sizes),
            };
            for (axis, size) in sizes.iter_mut().enumerate().skip(first) {
                let axis = axis - first;
                match flexibility {
                    Flexibility::Fixed => {}
                    Flexibility::Enumerated(shapes) => {
                        *size = shapes.iter().filter_map(|s| s.get(axis).copied()).max();
                    }
                    Flexibility::Ranges(ranges) => {
                        *size = ranges.get(axis).and_then(|&(_, high)| high);
                    }
                }
            }
        }
        Some(sizes)
    }

    /// What the description says of an input of the function.
    pub fn input_feature(&self, value: ValueId) -> Option<&'a Feature> {
        if !self.is_input(value) {
            return None;
        }
        let name = &self.value(value).name;
        let signature = self.signature?;
        let mut features = signature.inputs.iter().chain(&signature.states);
        features.find(|f| f.name == *name)
    }

    /// The largest sizes that the target takes.
    pub fn caps(&self) -> Caps {
        self.target.caps()
    }

    /// Smallest and largest element of a float constant operation; `None` when
    /// it is no such or cannot be read. Read once.
    pub fn range(&self, id: OpId) -> Option<Range> {
        *self.ranges.borrow_mut().entry(id).or_insert_with(|| {
            let op = self.op(id);
            if op.op_type != "const" {
                return None;
            }
            Range::of(op.attribute("val")?, self.blobs)
        })
    }

    /// As [`Scope::range`], of an argument.
    pub fn arg_range(&self, arg: &Arg) -> Option<Range> {
        match arg {
            Arg::Const(c) => Range::of(c, self.blobs),
            Arg::Value(v) => self.range(self.program.def_op(*v)?),
        }
    }

    /// Whether an operation computes in a float type, by its first float
    /// operand or result.
    pub fn computes_in(&self, id: OpId, dtype: DataType) -> bool {
        self.result(id).is_some_and(|t| t.dtype == dtype)
    }

    /// The function as a place.
    pub fn here(&self) -> Location {
        Location {
            function: Some(self.function.name.clone()),
            ..Location::default()
        }
    }

    /// An operation as a place.
    pub fn at(&self, id: OpId) -> Location {
        Location {
            op: Some(self.program.describe_op(id)),
            op_id: Some(id),
            ..self.here()
        }
    }

    /// A parameter of an operation as a place.
    pub fn at_param(&self, id: OpId, param: &str) -> Location {
        Location {
            param: Some(param.to_owned()),
            ..self.at(id)
        }
    }

    /// A value, and the operation that makes it, as a place.
    pub fn at_value(&self, value: ValueId) -> Location {
        let place = match self.program.def_op(value) {
            Some(id) => self.at(id),
            None => self.here(),
        };
        Location {
            value: Some(self.value(value).name.clone()),
            ..place
        }
    }

    /// Operations as places.
    pub fn at_all(&self, ids: impl IntoIterator<Item = OpId>) -> Vec<Location> {
        ids.into_iter().map(|id| self.at(id)).collect()
    }
}

/// Operations that change type or layout only.
const MOVES: [&str; 7] = [
    "cast",
    "expand_dims",
    "identity",
    "reshape",
    "squeeze",
    "tile",
    "transpose",
];

/// Whether an operation gives something new each time, whatever it reads.
fn computes_anew(op: &Op) -> bool {
    op.op_type.starts_with("random_")
        || matches!(
            op.op_type.as_str(),
            "make_list" | "read_state" | "write_state" | "coreml_update_state"
        )
        || op.def.is_none()
}
