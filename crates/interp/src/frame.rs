//! What stays the same while a session runs.

use std::collections::BTreeMap;

use milwright_ir::ops::Opset;
use milwright_ir::{BlobSource, BlockId, Function, OpId, Program, ValueId};

use crate::error::{Error, KernelError};
use crate::plan::Plan;
use crate::{control, kernels};

/// See the module.
pub(crate) struct Frame<'m> {
    pub(crate) program: &'m Program,
    pub(crate) function: &'m Function,
    pub(crate) blobs: &'m (dyn BlobSource + Sync),
    pub(crate) body: BlockId,
    pub(crate) opset: Opset,
    pub(crate) plan: Plan,
    /// See [`Options`](crate::Options).
    pub(crate) keep_weights: bool,
    pub(crate) step_limit: usize,
}

impl<'m> Frame<'m> {
    /// Looks `function` up and checks that every operation has a kernel.
    pub(crate) fn new(
        program: &'m Program,
        blobs: &'m (dyn BlobSource + Sync),
        function: Option<&str>,
        options: crate::Options,
    ) -> Result<Self, Error> {
        let function = program.function(function)?;
        let (Some(body), Some(opset)) = (function.body(), function.known_opset()) else {
            return Err(Error::NoBody {
                function: function.name.clone(),
                opset: function.opset.clone(),
            });
        };
        let frame = Self {
            program,
            function,
            blobs,
            body,
            opset,
            plan: Plan::new(program, body),
            keep_weights: options.keep_weights,
            step_limit: options.step_limit,
        };
        frame.check_kernels()?;
        Ok(frame)
    }

    fn check_kernels(&self) -> Result<(), Error> {
        let mut missing: BTreeMap<&str, usize> = BTreeMap::new();
        let mut first = None;
        for id in self.program.walk(self.body) {
            let op_type = self.program.ops[id].op_type.as_str();
            if !is_executable(op_type) {
                *missing.entry(op_type).or_default() += 1;
                first = first.or(Some(id));
            }
        }
        match first {
            None => Ok(()),
            Some(id) => Err(Error::NoKernel {
                location: self.location(id),
                op_type: self.program.ops[id].op_type.clone(),
                types: missing
                    .into_iter()
                    .map(|(name, count)| (name.to_owned(), count))
                    .collect(),
            }),
        }
    }

    pub(crate) fn is_constant_value(&self, value: ValueId) -> bool {
        let def = self.program.def_op(value);
        def.is_some_and(|op| self.plan.is_constant(op))
    }

    pub(crate) fn op_error(&self, id: OpId, cause: KernelError) -> Error {
        Error::Op {
            location: self.location(id),
            cause,
        }
    }

    pub(crate) fn location(&self, id: OpId) -> String {
        let found = self.program.walk(self.body).iter().position(|&o| o == id);
        format!(
            "function `{}`, operation {}: `{}`",
            self.function.name,
            found.unwrap_or(0),
            self.program.describe_op(id)
        )
    }
}

/// Whether this build can execute operations of that type.
pub fn is_executable(op_type: &str) -> bool {
    op_type == "const" || control::handles(op_type) || kernels::lookup(op_type).is_some()
}
