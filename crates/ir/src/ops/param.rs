//! Parameters of operations: names, element types per opset, defaults.

use super::Opset;
use crate::types::DataType;

/// A parameter of an operation.
#[derive(Debug)]
pub struct Param {
    /// Name, as MIL spells it.
    pub name: &'static str,
    /// What kind of value it takes.
    pub kind: Kind,
    /// Element types it may have, oldest opset first: the last row whose opset
    /// is not newer than the function's holds. Empty: any.
    pub domains: &'static [Domain],
    /// Whether it must be given, and what holds when it is not.
    pub presence: Presence,
    /// Must be known before the program runs.
    pub constant: bool,
    /// Must have one element.
    pub scalar: bool,
    /// First opset in which it need not be constant any more.
    pub variable_since: Option<Opset>,
    /// Takes any number of arguments.
    pub variadic: bool,
    /// First opset that has it, when later than the operation's own.
    pub since: Option<Opset>,
    /// First opset that no longer has it.
    pub until: Option<Opset>,
}

/// The kind of value that a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A tensor or scalar.
    Tensor,
    /// A list.
    List,
    /// A state.
    State,
    /// Anything.
    Any,
}

/// The element types that a parameter may have from one opset on.
#[derive(Debug)]
pub struct Domain {
    /// First opset in which this holds.
    pub since: Opset,
    /// Parameters of an operation in the same group have the same element
    /// type; empty: no group.
    pub group: &'static str,
    /// The element types.
    pub dtypes: &'static [DataType],
}

impl Domain {
    /// Element types that hold from iOS 15 on, in a group (empty: none).
    pub const fn new(group: &'static str, dtypes: &'static [DataType]) -> Self {
        Self {
            since: Opset::IOS15,
            group,
            dtypes,
        }
    }

    /// Sets the first opset in which it holds.
    pub const fn since(mut self, opset: Opset) -> Self {
        self.since = opset;
        self
    }
}

/// Whether a parameter must be given.
#[derive(Debug)]
pub enum Presence {
    /// It must.
    Required,
    /// It need not; these words say what holds then.
    Optional(&'static str),
    /// It need not; this value holds then.
    Default(Default),
}

/// The value of a parameter that is not given.
#[derive(Debug)]
pub enum Default {
    /// An integer.
    Int(i64),
    /// Integers.
    Ints(&'static [i64]),
    /// A number.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A string.
    Str(&'static str),
}

impl Param {
    /// A required tensor that may be known only when the program runs.
    pub const fn value(name: &'static str, domains: &'static [Domain]) -> Self {
        Self {
            name,
            kind: Kind::Tensor,
            domains,
            presence: Presence::Required,
            constant: false,
            scalar: false,
            variable_since: None,
            variadic: false,
            since: None,
            until: None,
        }
    }

    /// A required constant tensor.
    pub const fn constant(name: &'static str, domains: &'static [Domain]) -> Self {
        let mut param = Self::value(name, domains);
        param.constant = true;
        param
    }

    /// A required constant of one element.
    pub const fn scalar(name: &'static str, domains: &'static [Domain]) -> Self {
        Self::constant(name, domains).one()
    }

    /// Demands one element.
    pub const fn one(mut self) -> Self {
        self.scalar = true;
        self
    }

    /// A required value of that kind.
    pub const fn of_kind(name: &'static str, kind: Kind) -> Self {
        let mut param = Self::value(name, &[]);
        param.kind = kind;
        param
    }

    /// Makes it constant.
    pub const fn always_constant(mut self) -> Self {
        self.constant = true;
        self
    }

    /// Makes it optional; `words` say what holds when it is not given.
    pub const fn optional(mut self, words: &'static str) -> Self {
        self.presence = Presence::Optional(words);
        self
    }

    /// Makes it optional with a default. A default of one element means that
    /// what is given has one, too.
    pub const fn or(mut self, default: Default) -> Self {
        self.scalar = !matches!(default, Default::Ints(_));
        self.presence = Presence::Default(default);
        self
    }

    /// Lets it take several arguments.
    pub const fn variadic(mut self) -> Self {
        self.variadic = true;
        self
    }

    /// Sets the first opset in which it need not be constant any more.
    pub const fn variable_since(mut self, opset: Opset) -> Self {
        self.variable_since = Some(opset);
        self
    }

    /// Sets the first opset that has it.
    pub const fn since(mut self, opset: Opset) -> Self {
        self.since = Some(opset);
        self
    }

    /// Sets the first opset that no longer has it.
    pub const fn until(mut self, opset: Opset) -> Self {
        self.until = Some(opset);
        self
    }

    /// Whether an operation of that opset, which came with `op_since`, has it.
    pub fn is_in(&self, opset: Opset, op_since: Opset) -> bool {
        self.since.unwrap_or(op_since) <= opset && self.until.is_none_or(|until| opset < until)
    }

    /// Whether it must be constant in that opset.
    pub fn must_be_constant(&self, opset: Opset) -> bool {
        self.constant && self.variable_since.is_none_or(|since| opset < since)
    }

    /// The element types it may have in that opset; `None`: any.
    pub fn domain(&self, opset: Opset) -> Option<&'static Domain> {
        let held = self.domains.iter().rev().find(|d| d.since <= opset);
        held.or(self.domains.first())
    }
}
