//! Checks of one operation against the op table.

use std::collections::HashMap;

use super::Verifier;
use crate::arena::OpId;
use crate::diagnostic::{Diagnostic, Severity};
use crate::ops::{Kind, OpDef, Opset, Param, Presence};
use crate::program::{Arg, Op, ValueDef};
use crate::types::{DataType, TensorType, ValueType};
use crate::view::{OpView, ParamError};

/// The newest opset whose operations are in the table.
const NEWEST: Opset = Opset::IOS18;

impl<'p> Verifier<'p> {
    pub(super) fn op(&mut self, id: OpId) {
        let program = self.program;
        let op = &program.ops[id];
        let errors = self.errors;
        self.arguments(id, op);
        match op.def {
            Some(def) => self.known_op(id, op, def),
            None => {
                let message = format!(
                    "{:?} is not an operation that this version knows",
                    op.op_type
                );
                self.find(Severity::Warning, "unknown-op", id, message);
            }
        }
        for &block in &op.blocks {
            self.block(block, Some(id));
        }
        // Only a sound operation is worth comparing with what it declares.
        if errors == self.errors
            && let Some(def) = op.def
        {
            self.outputs(id, op, def);
        }
        for (n, &output) in op.outputs.iter().enumerate() {
            self.define(output, ValueDef::Op(id, n), self.at_op(id));
            if self.is_constant_op(op) {
                self.constant.insert(output);
            }
        }
    }

    fn find(&mut self, severity: Severity, code: &'static str, id: OpId, message: String) {
        let finding = Diagnostic::new(severity, code, self.at_op(id), message);
        self.push(finding);
    }

    /// Whether the results are known before the program runs.
    fn is_constant_op(&self, op: &Op) -> bool {
        match op.op_type.as_str() {
            "const" => true,
            name if name.starts_with("constexpr_") => true,
            name if name.starts_with("random_") => false,
            _ => {
                op.blocks.is_empty()
                    && !op.inputs.is_empty()
                    && op.operands().all(|v| self.constant.contains(&v))
            }
        }
    }

    /// Names resolve, constants have their size, states stay in place.
    fn arguments(&mut self, id: OpId, op: &'p Op) {
        for (n, (param, args)) in op.inputs.iter().enumerate() {
            if op.inputs[..n].iter().any(|(earlier, _)| earlier == param) {
                let message = format!("parameter `{param}` is given twice");
                self.error("duplicate-parameter", self.at_param(id, param), message);
            }
            let of_state = op
                .def
                .and_then(|def| def.params.iter().find(|p| p.name == param))
                .is_some_and(|p| p.kind == Kind::State);
            for arg in args {
                match arg {
                    Arg::Const(constant) => self.constant_size(constant, self.at_param(id, param)),
                    Arg::Value(value) => {
                        self.used(*value, self.at_param(id, param));
                        self.state_rule(id, param, *value, of_state);
                    }
                }
            }
        }
        for (name, constant) in &op.attributes {
            self.constant_size(constant, self.at_param(id, name));
        }
    }

    /// A state is read and written only, and only as an input of the function.
    fn state_rule(&mut self, id: OpId, param: &str, value: crate::ValueId, of_state: bool) {
        let value = &self.program.values[value];
        if !matches!(value.ty, ValueType::State(_)) {
            return;
        }
        let input = matches!(value.def, ValueDef::FunctionInput(..));
        if !of_state || !input {
            let message = format!(
                "state {:?} may only be an input of the function that `read_state` and \
                 `write_state` take",
                value.name
            );
            self.error("state-misused", self.at_param(id, param), message);
        }
    }

    fn known_op(&mut self, id: OpId, op: &'p Op, def: &'static OpDef) {
        // Without a known opset, nothing is too new.
        let opset = self.opset.unwrap_or(NEWEST).min(NEWEST);
        let beyond = self.opset.is_none_or(|o| o > NEWEST);
        if def.since > opset {
            let message = format!(
                "`{}` is an operation from {} on, but the function is for {opset}",
                def.name, def.since
            );
            self.find(Severity::Error, "op-too-new", id, message);
            return;
        }
        for (name, args) in &op.inputs {
            self.parameter(id, name, args.len(), def, opset, beyond);
        }
        let view = OpView::new(self.program, id, self.blobs);
        let mut groups: HashMap<&str, (&str, DataType)> = HashMap::new();
        for param in def.params_in(opset) {
            if !view.is_given(param.name) {
                if let Presence::Required = param.presence {
                    let message = format!("parameter `{}` is missing", param.name);
                    self.error("missing-parameter", self.at_param(id, param.name), message);
                }
                continue;
            }
            for ty in view.types(param.name) {
                self.operand_type(id, param, ty, opset, beyond, &mut groups);
            }
            if param.must_be_constant(opset) && !self.is_constant_param(op, param.name) {
                let message = format!("parameter `{}` must be a constant", param.name);
                self.error("not-constant", self.at_param(id, param.name), message);
            }
        }
        self.nested(id, op, def);
    }

    fn parameter(
        &mut self,
        id: OpId,
        name: &str,
        args: usize,
        def: &'static OpDef,
        opset: Opset,
        beyond: bool,
    ) {
        let location = self.at_param(id, name);
        let Some(param) = def.params.iter().find(|p| p.name == name) else {
            let severity = if beyond {
                Severity::Warning
            } else {
                Severity::Error
            };
            let names: Vec<&str> = def.params_in(opset).map(|p| p.name).collect();
            let message = format!("`{}` has no parameter `{name}`", def.name);
            let finding = Diagnostic::new(severity, "unknown-parameter", location, message);
            let help = format!("its parameters are: {}", names.join(", "));
            self.push(finding.help(help));
            return;
        };
        if !param.is_in(opset, def.since) {
            let message = format!("`{}` has no parameter `{name}` in {opset}", def.name);
            self.error("unknown-parameter", location.clone(), message);
        }
        if args > 1 && !param.variadic {
            let message = format!("parameter `{name}` takes one argument, found {args}");
            self.error("too-many-arguments", location, message);
        }
    }

    fn is_constant_param(&self, op: &Op, param: &str) -> bool {
        let args = op.args(param);
        args.iter().all(|arg| match arg {
            Arg::Const(_) => true,
            Arg::Value(id) => self.constant.contains(id),
        })
    }

    /// Kind, element type and group of an operand.
    fn operand_type(
        &mut self,
        id: OpId,
        param: &'static Param,
        ty: &'p ValueType,
        opset: Opset,
        beyond: bool,
        groups: &mut HashMap<&'static str, (&'static str, DataType)>,
    ) {
        let wanted = match (param.kind, ty) {
            // Reported where it is used.
            (_, ValueType::Missing) | (Kind::Any, _) => return,
            (Kind::Tensor, ValueType::Tensor(tensor)) => {
                self.operand_dtype(id, param, tensor, opset, beyond, groups);
                return;
            }
            (Kind::List, ValueType::List { .. }) | (Kind::State, ValueType::State(_)) => return,
            (Kind::Tensor, _) => "a tensor",
            (Kind::List, _) => "a list",
            (Kind::State, _) => "a state",
        };
        let message = format!("parameter `{}` must be {wanted}, found {ty}", param.name);
        self.error("wrong-type", self.at_param(id, param.name), message);
    }

    fn operand_dtype(
        &mut self,
        id: OpId,
        param: &'static Param,
        tensor: &TensorType,
        opset: Opset,
        beyond: bool,
        groups: &mut HashMap<&'static str, (&'static str, DataType)>,
    ) {
        let Some(domain) = param.domain(opset) else {
            return;
        };
        let location = self.at_param(id, param.name);
        if !domain.dtypes.contains(&tensor.dtype) {
            let severity = if beyond {
                Severity::Warning
            } else {
                Severity::Error
            };
            let names: Vec<&str> = domain.dtypes.iter().map(|d| d.name()).collect();
            let message = format!(
                "parameter `{}` of type {tensor}: the element type must be {} in {opset}",
                param.name,
                names.join(" or ")
            );
            self.push(Diagnostic::new(severity, "wrong-dtype", location, message));
            return;
        }
        // Writers fill in defaults such as `epsilon` in a type of their own.
        let filled_in = param.constant && matches!(param.presence, Presence::Default(_));
        if domain.group.is_empty() || filled_in {
            return;
        }
        let &mut (first, dtype) = groups
            .entry(domain.group)
            .or_insert((param.name, tensor.dtype));
        if dtype != tensor.dtype {
            let message = format!(
                "parameters `{first}` ({dtype}) and `{}` ({}) must have the same element type",
                param.name, tensor.dtype
            );
            self.error("wrong-dtype", location, message);
        }
    }

    /// Blocks of `cond` and `while_loop`.
    fn nested(&mut self, id: OpId, op: &'p Op, def: &'static OpDef) {
        if op.blocks.len() != def.blocks {
            let message = format!(
                "`{}` must have {} blocks, found {}",
                def.name,
                def.blocks,
                op.blocks.len()
            );
            self.find(Severity::Error, "wrong-block-count", id, message);
            return;
        }
        let variables = match def.name {
            "while_loop" => op.args("loop_vars"),
            _ => &[],
        };
        let program = self.program;
        for (n, &block) in op.blocks.iter().enumerate() {
            let inputs = &program.blocks[block].inputs;
            if inputs.len() != variables.len() {
                let message = format!(
                    "block {n} must have {} inputs, found {}",
                    variables.len(),
                    inputs.len()
                );
                self.find(Severity::Error, "bad-block", id, message);
            }
            for (&input, variable) in inputs.iter().zip(variables) {
                let (input, given) = (&program.values[input], program.arg_type(variable));
                if !input.ty.fits(given) && !matches!(given, ValueType::List { .. }) {
                    let message = format!(
                        "input {:?} of block {n} is {}, but the loop variable is {given}",
                        input.name, input.ty
                    );
                    self.find(Severity::Error, "bad-block", id, message);
                }
            }
        }
        if def.name == "while_loop" {
            let condition = &program.blocks[op.blocks[0]].outputs;
            let is_bool = |&v: &crate::ValueId| match &program.values[v].ty {
                ValueType::Tensor(t) => t.dtype == DataType::Bool,
                ty => *ty == ValueType::Missing,
            };
            if condition.len() != 1 || !condition.iter().all(is_bool) {
                let message = "the condition block must give one bool".to_owned();
                self.find(Severity::Error, "bad-block", id, message);
            }
        }
    }

    /// Number and types of the outputs.
    fn outputs(&mut self, id: OpId, op: &'p Op, def: &'static OpDef) {
        let program = self.program;
        let types = match def.infer(&OpView::new(program, id, self.blobs)) {
            Ok(types) => types,
            Err(error) => {
                let (code, param) = match &error {
                    ParamError::Missing { param } => ("missing-parameter", Some(param)),
                    ParamError::Type { param, .. } => ("wrong-type", Some(param)),
                    ParamError::Value { param, .. } => ("bad-value", Some(param)),
                    ParamError::Const { param, .. } => ("bad-constant", Some(param)),
                    ParamError::Mismatch(_) => ("operand-mismatch", None),
                };
                let mut location = self.at_op(id);
                location.param = param.cloned();
                self.error(code, location, error.to_string());
                return;
            }
        };
        if types.len() != op.outputs.len() {
            let message = format!(
                "`{}` gives {} outputs, but {} are declared",
                def.name,
                types.len(),
                op.outputs.len()
            );
            self.find(Severity::Error, "wrong-output-count", id, message);
        }
        for (inferred, &output) in types.iter().zip(&op.outputs) {
            let declared = &program.values[output];
            if !inferred.fits(&declared.ty) {
                let mut location = self.at_op(id);
                location.value = Some(declared.name.clone());
                let message = format!(
                    "output {:?} is declared as {}, but `{}` gives {inferred}",
                    declared.name, declared.ty, def.name
                );
                self.error("wrong-output-type", location, message);
            }
        }
    }
}
