//! The op table: the one place that says what an operation type is.
//!
//! The printer, the verifier, the interpreter's coverage and `docs/ops.md`
//! derive from it. A file here is a family of operations (`conv`,
//! `elementwise`, ...); each lists its entries in a `DEFS` table. Adding a
//! family is one file and one word below.
//!
//! Source of the signatures: the operation definitions of coremltools 9.0 for
//! opsets iOS 15 to iOS 18 and the Core ML dialect.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use crate::types::{Dim, ValueType};
use crate::view::{OpView, ParamError};

pub use crate::view::Given;
pub use docs::{Column, render_docs};
pub use param::{Default, Domain, Kind, Param, Presence};

mod docs;
mod domain;
mod infer;
mod param;

/// A family is a file with `pub(super) static DEFS: &[OpDef]`.
macro_rules! families {
    ($($family:ident),* $(,)?) => {
        $(mod $family;)*
        static FAMILIES: &[(&str, &[OpDef])] = &[$((stringify!($family), $family::DEFS)),*];
    };
}

families!(
    activation,
    attention,
    blocks,
    constant,
    constexpr,
    control,
    conv,
    elementwise,
    gather,
    join,
    layout,
    linear,
    list,
    normalization,
    pool,
    quantization,
    random,
    recurrent,
    reduction,
    resize,
    slice,
    sort,
    state,
    tensor,
    unary,
);

/// A version of the operation set, as Core ML's deployment targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Opset {
    /// iOS 13, `CoreML3`.
    IOS13,
    /// iOS 14, `CoreML4`.
    IOS14,
    /// iOS 15, `CoreML5`, specification version 6.
    IOS15,
    /// iOS 16, `CoreML6`, specification version 7.
    IOS16,
    /// iOS 17, `CoreML7`, specification version 8.
    IOS17,
    /// iOS 18, `CoreML8`, specification version 9.
    IOS18,
    /// iOS 26, `CoreML9`, specification version 10.
    IOS26,
}

impl Opset {
    /// Every opset, oldest first.
    pub const ALL: [Opset; 7] = [
        Opset::IOS13,
        Opset::IOS14,
        Opset::IOS15,
        Opset::IOS16,
        Opset::IOS17,
        Opset::IOS18,
        Opset::IOS26,
    ];

    /// Name in a package (`CoreML7`).
    pub fn name(self) -> &'static str {
        match self {
            Self::IOS13 => "CoreML3",
            Self::IOS14 => "CoreML4",
            Self::IOS15 => "CoreML5",
            Self::IOS16 => "CoreML6",
            Self::IOS17 => "CoreML7",
            Self::IOS18 => "CoreML8",
            Self::IOS26 => "CoreML9",
        }
    }

    /// Name in MIL text (`ios17`).
    pub fn text_name(self) -> &'static str {
        match self {
            Self::IOS13 => "ios13",
            Self::IOS14 => "ios14",
            Self::IOS15 => "ios15",
            Self::IOS16 => "ios16",
            Self::IOS17 => "ios17",
            Self::IOS18 => "ios18",
            Self::IOS26 => "ios26",
        }
    }

    /// The opset of that name in a package.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|o| o.name() == name)
    }

    /// The opset of that name in MIL text.
    pub fn from_text_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|o| o.text_name() == name)
    }
}

impl fmt::Display for Opset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text_name())
    }
}

/// A rule of [`OpDef::infer`].
type InferFn = fn(&OpView<'_>) -> Result<Vec<ValueType>, ParamError>;

/// What the table says about an operation type.
pub struct OpDef {
    /// Name, as MIL spells it.
    pub name: &'static str,
    /// One line for people: what it computes.
    pub summary: &'static str,
    /// First opset that has it.
    pub since: Opset,
    /// Parameters, in the order of the documentation.
    pub params: &'static [Param],
    /// Infers output types of operands of known rank.
    rule: InferFn,
    /// How many blocks it has.
    pub blocks: usize,
    /// Later opsets that changed it, and what they changed.
    pub changes: &'static [(Opset, &'static str)],
}

impl OpDef {
    /// An operation of iOS 15.
    const fn new(
        name: &'static str,
        summary: &'static str,
        params: &'static [Param],
        rule: InferFn,
    ) -> Self {
        Self {
            name,
            summary,
            since: Opset::IOS15,
            params,
            rule,
            blocks: 0,
            changes: &[],
        }
    }

    /// Sets the first opset that has it.
    pub const fn since(mut self, opset: Opset) -> Self {
        self.since = opset;
        self
    }

    /// Sets how many blocks it has.
    pub const fn blocks(mut self, blocks: usize) -> Self {
        self.blocks = blocks;
        self
    }

    /// Sets what later opsets changed.
    pub const fn changes(mut self, changes: &'static [(Opset, &'static str)]) -> Self {
        self.changes = changes;
        self
    }

    /// The parameters that it has in that opset.
    pub fn params_in(&self, opset: Opset) -> impl Iterator<Item = &'static Param> + use<> {
        let since = self.since;
        self.params.iter().filter(move |p| p.is_in(opset, since))
    }

    /// Infers the types of the outputs from the parameters. Sizes that depend
    /// on run-time values are [`Dim::Unknown`]; when the rank of an operand is
    /// not known, the types are those that the file declares.
    ///
    /// # Errors
    /// A parameter, or what the operands are to each other, is wrong.
    pub fn infer(&self, op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
        let args = op.op.inputs.iter().flat_map(|(_, args)| args);
        if args.map(|arg| op.arg_type(arg)).any(is_open) {
            let declared = |&v| op.program.values[v].ty.clone();
            return Ok(op.op.outputs.iter().map(declared).collect());
        }
        for param in self.params.iter().filter(|p| p.scalar) {
            one_element(op, param.name)?;
        }
        (self.rule)(op)
    }

    /// The file of the table that has it.
    pub fn family(&self) -> &'static str {
        FAMILIES
            .iter()
            .find(|(_, defs)| defs.iter().any(|d| d.name == self.name))
            .map_or("", |(family, _)| family)
    }
}

impl fmt::Debug for OpDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpDef({})", self.name)
    }
}

/// Checks that a parameter, if it is given, has one element.
fn one_element(op: &OpView<'_>, param: &str) -> Result<(), ParamError> {
    let given = op.ty(param).and_then(ValueType::as_tensor);
    match given {
        Some(ty) if ty.elements().is_some_and(|n| n != 1) => Err(ParamError::Type {
            param: param.to_owned(),
            wanted: "one element".to_owned(),
            found: ty.to_string(),
        }),
        _ => Ok(()),
    }
}

/// Whether nothing can be inferred from a value of that type.
fn is_open(ty: &ValueType) -> bool {
    match ty {
        ValueType::Tensor(t) => t.shape.contains(&Dim::Variadic),
        ValueType::Missing => true,
        ValueType::State(inner) => is_open(inner),
        _ => false,
    }
}

/// The table's entry for an operation type.
pub fn lookup(op_type: &str) -> Option<&'static OpDef> {
    static INDEX: LazyLock<HashMap<&'static str, &'static OpDef>> =
        LazyLock::new(|| all().map(|def| (def.name, def)).collect());
    INDEX.get(op_type).copied()
}

/// Every entry of the table, family by family.
pub fn all() -> impl Iterator<Item = &'static OpDef> {
    FAMILIES.iter().flat_map(|(_, defs)| defs.iter())
}
