//! Questions that several rules ask about operations.

use std::collections::BTreeSet;
use std::rc::Rc;

use half::f16;
use milwright_ir::arena::Id;
use milwright_ir::{Arg, Constant, DataType, OpId, ValueId};

use super::range::Range;
use super::scope::Scope;

/// What is known of the weights that make one output channel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Channel {
    /// Sum of the magnitudes.
    pub sum: f64,
    /// Largest magnitude.
    pub largest: f64,
}

/// A constant that a parameter takes, and the type in which it arrives.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// What is known of it.
    pub range: Range,
    /// The constant's operation; `None` when it is written in place.
    pub op: Option<OpId>,
}

impl<'a> Scope<'a> {
    /// Integers of a parameter, when they are known.
    pub fn ints(&self, id: OpId, param: &str) -> Option<Vec<i64>> {
        self.view(id).ints(param).ok()?.known()
    }

    /// An integer of a parameter, when it is known.
    pub fn int(&self, id: OpId, param: &str) -> Option<i64> {
        self.view(id).int(param).ok()?.known()
    }

    /// A number of a parameter, when it is known.
    pub fn float(&self, id: OpId, param: &str) -> Option<f64> {
        self.view(id).float(param).ok()?.known()
    }

    /// A truth value of a parameter, when it is known.
    pub fn truth(&self, id: OpId, param: &str) -> Option<bool> {
        self.view(id).bool(param).ok()?.known()
    }

    /// A string of a parameter, when it is known.
    pub fn text(&self, id: OpId, param: &str) -> Option<String> {
        self.view(id).string(param).ok()?.known()
    }

    /// An axis parameter, counted from the front of a tensor of that rank.
    pub fn axis(&self, id: OpId, param: &str, rank: usize) -> Option<usize> {
        normal(self.int(id, param)?, rank)
    }

    /// A size of a parameter's tensor, counted from the back: 0 is the last.
    pub fn size_from_back(&self, id: OpId, param: &str, back: usize) -> Option<u64> {
        let shape = &self.param(id, param)?.shape;
        let at = shape.len().checked_sub(back + 1)?;
        shape.get(at)?.known()
    }

    /// Whether an operation makes fp16.
    pub fn is_half(&self, id: OpId) -> bool {
        self.computes_in(id, DataType::Float16)
    }

    /// The operation behind a parameter, if it is of one of these types; casts
    /// and changes of layout in between do not count.
    pub fn source_of_type(&self, id: OpId, param: &str, types: &[&str]) -> Option<OpId> {
        self.deep_source(id, param)
            .filter(|&s| self.is_type(s, types))
    }

    /// The operation behind `x` or `y`, if it is of one of these types.
    pub fn either_source(&self, id: OpId, types: &[&str]) -> Option<OpId> {
        let x = self.source_of_type(id, "x", types);
        x.or_else(|| self.source_of_type(id, "y", types))
    }

    /// The first operation of the types `to` that a result of `from` reaches
    /// through operations of the types `through` only.
    pub fn reaches(&self, from: ValueId, through: &[&str], to: &[&str]) -> Option<OpId> {
        let mut seen = BTreeSet::new();
        let mut values = vec![from];
        while let Some(value) = values.pop() {
            for &reader in self.readers(value) {
                if self.is_type(reader, to) {
                    return Some(reader);
                }
                if self.is_type(reader, through) && seen.insert(reader) {
                    values.extend(&self.op(reader).outputs);
                }
            }
        }
        None
    }

    /// The float constants that arrive at an argument unchanged but for type
    /// and layout.
    pub fn origins(&self, arg: &Arg) -> Vec<Origin> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        let mut args = vec![arg];
        while let Some(arg) = args.pop() {
            let op = match arg {
                Arg::Const(_) => None,
                Arg::Value(v) if !self.is_static(*v) => continue,
                Arg::Value(v) => self.program.def_op(*v),
            };
            match op {
                Some(id) if !seen.insert(id) => {}
                Some(id) if self.op(id).op_type != "const" => {
                    let params: &[&str] = match self.op(id).op_type.as_str() {
                        "cast" | "expand_dims" | "identity" | "reshape" | "squeeze" | "tile"
                        | "transpose" | "slice_by_index" => &["x"],
                        "fill" => &["value"],
                        "select" => &["a", "b"],
                        "concat" | "stack" => &["values"],
                        _ => &[],
                    };
                    let op = self.op(id);
                    args.extend(params.iter().flat_map(|p| op.args(p)));
                }
                op => found.extend(self.arg_range(arg).map(|range| Origin { range, op })),
            }
        }
        found
    }

    /// The largest magnitude that a parameter can have, when the operation
    /// behind it bounds it.
    pub fn magnitude(&self, id: OpId, param: &str) -> Option<f64> {
        let source = self.deep_source(id, param)?;
        match self.op(source).op_type.as_str() {
            "sigmoid" | "sigmoid_hard" | "softmax" | "softsign" | "tanh" | "erf" | "sin"
            | "cos" => Some(1.0),
            "relu6" => Some(6.0),
            "clip" => {
                let low = self.float(source, "alpha")?;
                let bound = low.abs().max(self.float(source, "beta")?.abs());
                bound.is_finite().then_some(bound)
            }
            _ => None,
        }
    }

    /// The weights of each output channel of a `conv`, `linear` or `matmul`;
    /// `None` when they are no constant fp16 or fp32 tensor, or cannot be read.
    /// Read once.
    pub fn channels(&self, id: OpId) -> Option<Rc<[Channel]>> {
        if let Some(known) = self.channels.borrow().get(&id) {
            return known.clone();
        }
        let weights = self.weights(id);
        let found = weights.and_then(|(w, columns)| self.read_channels(w, columns));
        let found: Option<Rc<[Channel]>> = found.map(Into::into);
        self.channels.borrow_mut().insert(id, found.clone());
        found
    }

    /// Output channels are rows (`[out, ..]`) or columns (`[in, out]`).
    fn read_channels(&self, constant: &Constant, columns: bool) -> Option<Vec<Channel>> {
        let ty = constant.tensor_type()?;
        let shape = ty.known_shape()?;
        if columns && shape.len() != 2 {
            return None;
        }
        let count = if columns {
            shape.get(1)?
        } else {
            shape.first()?
        };
        let count = usize::try_from(*count).ok()?;
        let bytes = constant.bytes(self.blobs).ok()?;
        let width = usize::try_from(ty.dtype.bits()? / 8).ok()?;
        let elements = bytes.len() / width.max(1);
        if count == 0 || elements == 0 {
            return None;
        }
        let row = elements / count;
        let mut channels = vec![Channel::default(); count];
        let mut take = |i: usize, x: f64| {
            let at = if columns { i % count } else { i / row.max(1) };
            if let Some(channel) = channels.get_mut(at) {
                channel.sum += x.abs();
                channel.largest = channel.largest.max(x.abs());
            }
        };
        match ty.dtype {
            DataType::Float16 => {
                let all = bytes.as_chunks::<2>().0.iter().enumerate();
                all.for_each(|(i, b)| take(i, f16::from_le_bytes(*b).to_f64()));
            }
            DataType::Float32 => {
                let all = bytes.as_chunks::<4>().0.iter().enumerate();
                all.for_each(|(i, b)| take(i, f64::from(f32::from_le_bytes(*b))));
            }
            _ => return None,
        }
        Some(channels)
    }

    /// The constant weights of a `conv`, `linear` or `matmul`, and whether its
    /// output channels are columns.
    fn weights(&self, id: OpId) -> Option<(&'a Constant, bool)> {
        let (param, columns) = match self.op(id).op_type.as_str() {
            "conv" | "linear" => ("weight", false),
            "matmul" => ("y", !self.truth(id, "transpose_y").unwrap_or(false)),
            _ => return None,
        };
        Some((self.constant(id, param)?, columns))
    }

    /// The length of the longest path to each value, counting the operations
    /// that `counts` names; and the operation that ends the longest of all.
    pub fn longest_path(&self, counts: impl Fn(OpId) -> bool) -> (usize, Option<OpId>) {
        let mut depth = vec![0usize; self.program.values.len()];
        let mut longest = (0, None);
        for id in self.active() {
            let op = self.op(id);
            let before = op.operands().map(|v| depth[v.index()]).max().unwrap_or(0);
            let here = before + usize::from(counts(id));
            if here > longest.0 {
                longest = (here, Some(id));
            }
            op.outputs.iter().for_each(|v| depth[v.index()] = here);
        }
        longest
    }
}

/// An axis counted from the front.
fn normal(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let axis = if axis < 0 { axis + rank } else { axis };
    usize::try_from(axis).ok().filter(|_| axis < rank)
}
