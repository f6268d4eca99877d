//! The structural verifier: collects everything that is wrong with a program.
//!
//! What it accepts (no finding of [`Severity::Error`]), passes, printer and
//! interpreter can take: names resolve, operations are known or left alone,
//! parameters are there and of the right type, constants have the size of
//! their type, and declared types do not contradict the operations.

use std::collections::{HashMap, HashSet};

use crate::arena::{BlockId, OpId, ValueId};
use crate::constant::{BlobSource, ConstData, Constant, TensorData};
use crate::diagnostic::{Diagnostic, Location, Severity};
use crate::ops::Opset;
use crate::program::{Function, Program, ValueDef};
use crate::types::ValueType;

mod op;

/// Blocks nested deeper than this are refused, as by the decoder.
const MAX_DEPTH: usize = 64;

/// Every finding in the program: all functions, all specializations. Constants
/// in weight files are looked up in `blobs`, but only their sizes and the
/// parameters of operations are read.
pub fn verify(program: &Program, blobs: &dyn BlobSource) -> Vec<Diagnostic> {
    let mut verifier = Verifier {
        program,
        blobs,
        function: None,
        opset: None,
        scopes: Vec::new(),
        defined: HashSet::new(),
        constant: HashSet::new(),
        seen: HashSet::new(),
        later: HashSet::new(),
        order: Vec::new(),
        findings: Vec::new(),
        errors: 0,
    };
    verifier.program();
    verifier.findings
}

struct Verifier<'p> {
    program: &'p Program,
    blobs: &'p dyn BlobSource,
    function: Option<&'p Function>,
    /// Opset of the body at hand, if this build knows it.
    opset: Option<Opset>,
    /// Names in scope, innermost last: what the decoder would resolve to.
    scopes: Vec<HashMap<&'p str, ValueId>>,
    /// Values that may be used here.
    defined: HashSet<ValueId>,
    /// The same, in order of definition.
    order: Vec<ValueId>,
    /// Values known before the program runs.
    constant: HashSet<ValueId>,
    /// Operations that were found in a block already.
    seen: HashSet<OpId>,
    /// Names defined anywhere in the function.
    later: HashSet<&'p str>,
    findings: Vec<Diagnostic>,
    /// How many of the findings are errors.
    errors: usize,
}

impl<'p> Verifier<'p> {
    fn program(&mut self) {
        let program = self.program;
        if program.functions.is_empty() {
            self.error(
                "no-function",
                Location::default(),
                "the program has no function",
            );
        }
        for (_, constant) in &program.attributes {
            self.constant_size(constant, Location::default());
        }
        let mut names = HashSet::new();
        for (index, function) in program.functions.iter().enumerate() {
            self.function = Some(function);
            if !names.insert(function.name.as_str()) {
                let message = "there is more than one function of that name";
                self.error("duplicate-function", self.here(), message);
            }
            self.in_function(index, function);
        }
    }

    fn in_function(&mut self, index: usize, function: &'p Function) {
        if function.body().is_none() {
            let bodies: Vec<&str> = function
                .specializations
                .iter()
                .map(|(o, _)| o.as_str())
                .collect();
            let message = format!(
                "there is no body for opset {:?}; there are bodies for: {}",
                function.opset,
                bodies.join(", ")
            );
            self.error("no-body", self.here(), message);
        }
        for (_, constant) in &function.attributes {
            self.constant_size(constant, self.here());
        }
        for (opset, block) in &function.specializations {
            self.opset = Opset::from_name(opset);
            if self.opset.is_none() {
                let message = format!("opset {opset:?} is not one that this version knows");
                let finding =
                    Diagnostic::new(Severity::Warning, "unknown-opset", self.here(), message);
                self.push(finding);
            }
            self.scopes = vec![HashMap::new()];
            self.defined.clear();
            self.order.clear();
            self.constant.clear();
            self.later = self.names_below(*block);
            for (n, &input) in function.inputs.iter().enumerate() {
                self.define(input, ValueDef::FunctionInput(index, n), self.here());
            }
            self.block(*block, None);
            let outputs = &self.program.blocks[*block].outputs;
            if outputs.is_empty() {
                let finding = Diagnostic::new(
                    Severity::Warning,
                    "no-outputs",
                    self.here(),
                    "the function gives no outputs",
                );
                self.push(finding);
            }
            for &output in outputs {
                if let ValueType::State(_) = self.program.values[output].ty {
                    let message = "a state cannot be an output; read it first";
                    self.error("state-misused", self.at_value(output), message);
                }
            }
        }
    }

    /// Names that operations in and below a block define.
    fn names_below(&self, block: BlockId) -> HashSet<&'p str> {
        let program = self.program;
        let mut names = HashSet::new();
        let mut visited = HashSet::new();
        let mut stack = vec![block];
        while let Some(block) = stack.pop() {
            if !visited.insert(block) {
                continue;
            }
            for &op in &program.blocks[block].ops {
                let op = &program.ops[op];
                names.extend(op.outputs.iter().map(|&v| program.values[v].name.as_str()));
                stack.extend(&op.blocks);
            }
        }
        names
    }

    /// Checks a block and what is nested in it. `parent` is what it hangs on.
    fn block(&mut self, id: BlockId, parent: Option<OpId>) {
        let block = &self.program.blocks[id];
        if self.scopes.len() > MAX_DEPTH {
            let message = format!("blocks are nested more than {MAX_DEPTH} deep");
            self.error("too-deep", self.here(), message);
            return;
        }
        if block.parent != parent {
            let message = "a block does not refer back to the operation that it hangs on";
            self.error("inconsistent", self.here(), message);
        }
        for (_, constant) in &block.attributes {
            self.constant_size(constant, self.here());
        }
        self.scopes.push(HashMap::new());
        // What is defined here is not defined outside.
        let outside = self.order.len();
        for (n, &input) in block.inputs.iter().enumerate() {
            self.define(input, ValueDef::BlockInput(id, n), self.here());
        }
        for &op in &block.ops {
            if self.seen.insert(op) {
                self.op(op);
            } else {
                let message = "the operation is listed more than once";
                self.error("inconsistent", self.at_op(op), message);
            }
        }
        for &output in &block.outputs {
            self.used(output, self.at_value(output));
        }
        for value in self.order.drain(outside..) {
            self.defined.remove(&value);
        }
        self.scopes.pop();
    }

    /// A value comes to be.
    fn define(&mut self, id: ValueId, def: ValueDef, mut location: Location) {
        let value = &self.program.values[id];
        location.value = Some(value.name.clone());
        if value.def != def {
            let message = "the value does not refer back to what defines it";
            self.error("inconsistent", location.clone(), message);
        }
        let scope = self.scopes.last_mut();
        let taken = scope.and_then(|scope| scope.insert(&value.name, id));
        if taken.is_some() {
            let message = format!("the name {:?} is given twice in one scope", value.name);
            self.error("duplicate-name", location.clone(), message);
        }
        if let ValueType::Tensor(ty) = &value.ty
            && let Some(sizes) = ty.known_shape()
            && ty.elements().and_then(|n| n.checked_mul(64)).is_none()
            && !sizes.contains(&0)
        {
            let message = format!("type {ty} has more elements than any machine can hold");
            self.error("type-too-large", location, message);
        }
        if self.defined.insert(id) {
            self.order.push(id);
        }
    }

    /// A value is used.
    fn used(&mut self, id: ValueId, mut location: Location) {
        let value = &self.program.values[id];
        let name = value.name.as_str();
        location.value = Some(name.to_owned());
        if value.def == ValueDef::Undefined || !self.defined.contains(&id) {
            if self.later.contains(name) {
                let message = format!("{name:?} is used where it is not defined yet");
                self.error("use-before-definition", location, message);
            } else {
                let message = format!("there is no value named {name:?} here");
                self.error("undefined-value", location, message);
            }
            return;
        }
        let resolved = self.scopes.iter().rev().find_map(|s| s.get(name));
        if resolved != Some(&id) {
            let message = format!("the name {name:?} means another value here");
            let finding = Diagnostic::new(Severity::Error, "shadowed-name", location, message);
            self.findings
                .push(finding.help("give one of the values another name"));
        }
    }

    /// Compares the elements of a constant with its type.
    fn constant_size(&mut self, constant: &Constant, location: Location) {
        let mut problems = Vec::new();
        constant.visit(&mut |c| {
            if let Some(problem) = size_problem(c, self.blobs) {
                problems.push(problem);
            }
        });
        for problem in problems {
            self.error("bad-constant", location.clone(), problem);
        }
    }

    fn error(&mut self, code: &'static str, location: Location, message: impl Into<String>) {
        self.push(Diagnostic::new(Severity::Error, code, location, message));
    }

    fn push(&mut self, finding: Diagnostic) {
        self.errors += usize::from(finding.is_error());
        self.findings.push(finding);
    }

    fn here(&self) -> Location {
        Location {
            function: self.function.map(|f| f.name.clone()),
            ..Location::default()
        }
    }

    fn at_value(&self, id: ValueId) -> Location {
        Location {
            value: Some(self.program.values[id].name.clone()),
            ..self.here()
        }
    }

    fn at_op(&self, id: OpId) -> Location {
        Location {
            op: Some(self.program.describe_op(id)),
            op_id: Some(id),
            ..self.here()
        }
    }

    fn at_param(&self, id: OpId, param: &str) -> Location {
        Location {
            param: Some(param.to_owned()),
            ..self.at_op(id)
        }
    }
}

/// What is wrong with the size of a constant's elements.
fn size_problem(constant: &Constant, blobs: &dyn BlobSource) -> Option<String> {
    let ty = match &constant.ty {
        ValueType::Tensor(ty) => ty,
        _ => {
            return match (&constant.ty, &constant.data) {
                (
                    _,
                    ConstData::Tensor(_)
                    | ConstData::Blob(_)
                    | ConstData::Range(_)
                    | ConstData::New(_),
                ) => Some(format!(
                    "tensor elements for a constant of type {}",
                    constant.ty
                )),
                _ => None,
            };
        }
    };
    let Some(elements) = ty.elements() else {
        return Some(format!("a constant must have a fixed shape, found {ty}"));
    };
    match &constant.data {
        ConstData::Tensor(TensorData::Strings(strings)) => {
            (strings.len() as u64 != elements).then(|| {
                format!(
                    "constant of type {ty} needs {elements} strings, found {}",
                    strings.len()
                )
            })
        }
        _ => constant.bytes(blobs).err().map(|e| e.to_string()),
    }
}
