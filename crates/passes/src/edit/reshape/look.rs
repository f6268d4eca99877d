//! What in an operation was written for the old sizes.

use milwright_ir::arena::Id as _;
use milwright_ir::{Arg, Dim, OpView, Program, Sizes, TensorType, ValueDef, ValueId};

use super::Follow;

/// Types of values at the old shapes and at new ones.
pub(super) struct Types<'s> {
    /// The program before any edit.
    pub(super) before: &'s Program,
    /// The program edited so far; it may have values that the other has not.
    pub(super) program: &'s Program,
    pub(super) old: &'s Sizes,
    pub(super) new: &'s Sizes,
}

/// What was found in one operation.
pub(super) struct Found {
    /// The parameter, and what it holds.
    pub(super) contains: String,
    /// Why that is of the old size.
    pub(super) why: String,
    /// What would do for every size.
    pub(super) follow: Option<Follow>,
    /// The shape that the result would have, as far as it can be told.
    pub(super) shape: Option<Vec<u64>>,
}

impl Types<'_> {
    fn known(sizes: &Sizes, value: ValueId) -> Option<Vec<u64>> {
        sizes.tensor(value)?.known_shape()
    }

    fn arg(view: &OpView<'_>, param: &str) -> Option<ValueId> {
        match view.arg(param)? {
            Arg::Value(value) => Some(*value),
            Arg::Const(_) => None,
        }
    }

    /// Old and new shape of an operand, when both are known, of one rank, and
    /// different.
    fn changed(&self, value: ValueId) -> Option<(Vec<u64>, Vec<u64>)> {
        let old = Self::known(self.old, value)?;
        let new = Self::known(self.new, value)?;
        (old.len() == new.len() && old != new).then_some((old, new))
    }

    /// Whether the file itself left that size open.
    fn was_open(&self, value: ValueId, axis: usize) -> bool {
        let known = value.index() < self.before.values.len();
        let ty = known.then(|| self.before.values[value].ty.as_tensor());
        ty.flatten().and_then(|t| t.shape.get(axis)) == Some(&Dim::Unknown)
    }

    /// What in an operation keeps the old sizes, although nothing contradicts
    /// it. `view` is one over the edited program.
    pub(super) fn look(&self, view: &OpView<'_>) -> Option<Found> {
        match view.op.op_type.as_str() {
            "reshape" => self.reshape(view),
            "slice_by_index" => self.slice(view),
            "slice_by_size" => self.slice_by_size(view),
            "resize_nearest_neighbor" | "resize_bilinear" => {
                self.fixed_result(view, &["target_size_height", "target_size_width"])
            }
            "resize" => self.fixed_result(view, &["shape"]),
            "conv_transpose" => self.fixed_result(view, &["output_shape"]),
            "gather" | "gather_along_axis" => self.gather(view),
            "avg_pool" | "max_pool" | "l2_pool" => self.pool(view),
            _ => None,
        }
    }

    fn ints(view: &OpView<'_>, param: &str) -> Option<Vec<i64>> {
        view.constant(param)?;
        view.ints(param).ok()?.known()
    }

    fn reshape(&self, view: &OpView<'_>) -> Option<Found> {
        let x = Self::arg(view, "x")?;
        let (old, new) = self.changed(x)?;
        // Computed from sizes, it is what they are now.
        let literal = view.with_sizes(self.new).ints("shape").ok()?.known()?;
        let written = view.constant("shape").is_some();
        let before = Self::known(self.old, *view.op.outputs.first()?)?;
        let show = format!("shape = {literal:?}");
        let fixed = |follow: Option<Vec<i64>>, shape, why: String| {
            Some(Found {
                contains: show.clone(),
                why,
                follow: follow.filter(|_| written).map(Follow::Shape),
                shape,
            })
        };
        let Some(groups) = groups(&old, &before) else {
            return fixed(None, None, format!("{old:?} became {new:?}"));
        };
        let mut after = before.clone();
        let mut stuck = Vec::new();
        for (from, to) in &groups {
            let was: u64 = old[from.clone()].iter().product();
            let now: u64 = new[from.clone()]
                .iter()
                .try_fold(1u64, |a, &b| a.checked_mul(b))?;
            if was == now {
                if old[from.clone()] == new[from.clone()] {
                    continue;
                }
                return fixed(None, None, format!("{old:?} became {new:?}"));
            }
            if to.clone().any(|k| literal.get(k) == Some(&-1)) {
                let rest: u64 = to
                    .clone()
                    .filter(|&k| literal[k] != -1)
                    .map(|k| before[k])
                    .product();
                let open = to.clone().find(|&k| literal[k] == -1)?;
                if rest == 0 || !now.is_multiple_of(rest) {
                    let why = format!("{now} elements cannot be divided into {rest}");
                    return fixed(None, None, why);
                }
                after[open] = now / rest;
                continue;
            }
            let Some((axis, size)) = carrier(&old, &new, &before, from.clone(), to.clone()) else {
                let why = format!(
                    "it divides {old:?} into {before:?}, and which of its sizes should grow cannot \
                     be told"
                );
                return fixed(None, None, why);
            };
            after[axis] = size;
            stuck.push(axis);
        }
        // What is written: a 0 keeps a size of the operand.
        let resolved = |k: usize| match literal.get(k) {
            Some(0) => (old.len() + k)
                .checked_sub(literal.len())
                .and_then(|i| new.get(i))
                .copied(),
            Some(&n) => u64::try_from(n).ok(),
            None => None,
        };
        stuck.retain(|&k| resolved(k) != Some(after[k]));
        if stuck.is_empty() {
            return None;
        }
        let why = format!("{old:?} became {new:?}, so it would have to be {after:?}");
        let follow: Option<Vec<i64>> = match stuck.as_slice() {
            [only] => Some(
                literal
                    .iter()
                    .enumerate()
                    .map(|(k, &n)| match n {
                        _ if k == *only => -1,
                        -1 => i64::try_from(before[k]).unwrap_or(-1),
                        n => n,
                    })
                    .collect(),
            ),
            // Two open sizes cannot be written.
            _ => after.iter().map(|&n| i64::try_from(n).ok()).collect(),
        };
        fixed(follow, Some(after), why)
    }

    fn slice(&self, view: &OpView<'_>) -> Option<Found> {
        let x = Self::arg(view, "x")?;
        let (old, new) = self.changed(x)?;
        let rank = old.len();
        let bools = |param: &str| match view.bools(param).ok()?.known_or(vec![false; rank]) {
            Some(list) if list.len() == rank => Some(list),
            _ => None,
        };
        let (begin, end) = (Self::ints(view, "begin")?, Self::ints(view, "end")?);
        let stride = view.ints("stride").ok()?.known_or(vec![1; rank])?;
        let (no_begin, no_end) = (bools("begin_mask")?, bools("end_mask")?);
        let squeeze = bools("squeeze_mask")?;
        if [begin.len(), end.len(), stride.len()] != [rank; 3] {
            return None;
        }
        let mut open = Vec::new();
        for axis in 0..rank {
            let (size, now) = (old[axis], new[axis]);
            if size == now || self.was_open(x, axis) {
                continue;
            }
            let whole = i64::try_from(size).ok()?;
            let found = |why: String| {
                Some(Found {
                    contains: format!("begin = {begin:?}, end = {end:?}"),
                    why,
                    follow: None,
                    shape: None,
                })
            };
            let from = if no_begin[axis] { 0 } else { begin[axis] };
            if squeeze[axis] {
                if from > 0 {
                    return found(format!(
                        "it takes index {from} of what were {size} and are {now}"
                    ));
                }
                continue;
            }
            if stride[axis] <= 0 {
                if !(no_begin[axis] && no_end[axis]) {
                    return found(format!(
                        "it goes backwards through {size}, which are {now} now"
                    ));
                }
                continue;
            }
            let to = end[axis];
            if !no_end[axis] && to >= whole && from == 0 {
                open.push(axis);
            } else if !no_end[axis] && to >= 0 && !(from == 0 && to == 1) {
                return found(format!(
                    "it takes {from} to {to} of what were {size} and are {now}"
                ));
            } else if from > 0 && from.saturating_mul(2) >= whole {
                return found(format!(
                    "it begins at {from} of what were {size} and are {now}"
                ));
            }
        }
        if open.is_empty() {
            return None;
        }
        let mut mask = no_end;
        for &axis in &open {
            mask[axis] = true;
        }
        let result = Self::known(self.old, *view.op.outputs.first()?)?;
        let squeezed = squeeze.iter().any(|&s| s);
        let shape = (!squeezed && result.len() == rank).then(|| {
            let mut shape = result.clone();
            for &axis in &open {
                let stride = stride[axis].unsigned_abs().max(1);
                shape[axis] = new[axis].div_ceil(stride);
            }
            shape
        });
        Some(Found {
            contains: format!("end = {end:?}"),
            why: format!("it goes to the end of {old:?}, which became {new:?}"),
            follow: Some(Follow::EndMask(mask)),
            shape,
        })
    }

    fn slice_by_size(&self, view: &OpView<'_>) -> Option<Found> {
        let x = Self::arg(view, "x")?;
        let (old, new) = self.changed(x)?;
        let size = Self::ints(view, "size")?;
        let begin = Self::ints(view, "begin");
        let mut follow = size.clone();
        let mut certain = true;
        let mut shape = Self::known(self.old, *view.op.outputs.first()?)?;
        for (axis, (&was, &now)) in old.iter().zip(&new).enumerate() {
            let taken = *size.get(axis)?;
            if was == now || taken == -1 || self.was_open(x, axis) {
                continue;
            }
            let from = begin.as_ref().and_then(|b| b.get(axis)).copied();
            if from == Some(0) && taken == 1 {
                continue;
            }
            let whole = from == Some(0) && u64::try_from(taken) == Ok(was);
            certain &= whole;
            follow[axis] = -1;
            if let Some(place) = shape.get_mut(axis) {
                *place = now;
            }
        }
        if follow == size {
            return None;
        }
        Some(Found {
            contains: format!("size = {size:?}"),
            why: format!("{old:?} became {new:?}"),
            follow: certain.then_some(Follow::Size(follow)),
            shape: certain.then_some(shape),
        })
    }

    /// An operation whose parameters say the size of the result.
    fn fixed_result(&self, view: &OpView<'_>, params: &[&str]) -> Option<Found> {
        let x = Self::arg(view, "x")?;
        let (old, new) = self.changed(x)?;
        let given: Vec<String> = params
            .iter()
            .filter_map(|p| Some(format!("{p} = {:?}", Self::ints(view, p)?)))
            .collect();
        let open = (0..old.len()).any(|axis| old[axis] != new[axis] && self.was_open(x, axis));
        // Batch and channels may change without the sizes of an image; the shape
        // of an output has them too.
        let outer = old.len().saturating_sub(2);
        let inner = old[outer..] != new[outer..] || params == ["output_shape"];
        (!given.is_empty() && !open && inner).then(|| Found {
            contains: given.join(", "),
            why: format!("its result has a fixed size, and {old:?} became {new:?}"),
            follow: None,
            shape: None,
        })
    }

    fn gather(&self, view: &OpView<'_>) -> Option<Found> {
        let x = Self::arg(view, "x")?;
        let (old, new) = self.changed(x)?;
        let indices = Self::ints(view, "indices")?;
        let axis = view.int("axis").ok()?.known_or(0)?;
        let rank = i64::try_from(old.len()).ok()?;
        let axis = usize::try_from(if axis < 0 {
            axis.checked_add(rank)?
        } else {
            axis
        })
        .ok()?;
        if old.get(axis) == new.get(axis) || self.was_open(x, axis) {
            return None;
        }
        let small = indices.iter().all(|&i| i <= 0);
        (!small).then(|| Found {
            contains: format!("indices = {}", few(&indices)),
            why: format!("it takes fixed elements of {old:?}, which became {new:?}"),
            follow: None,
            shape: None,
        })
    }

    /// A window as large as what it slid over took the whole.
    fn pool(&self, view: &OpView<'_>) -> Option<Found> {
        let x = Self::arg(view, "x")?;
        let (old, new) = self.changed(x)?;
        let kernel = Self::ints(view, "kernel_sizes")?;
        let first = old.len().checked_sub(kernel.len())?;
        let whole = kernel.iter().enumerate().any(|(n, &k)| {
            let axis = first + n;
            old[axis] != new[axis]
                && old[axis] > 1
                && u64::try_from(k) == Ok(old[axis])
                && !self.was_open(x, axis)
        });
        whole.then(|| Found {
            contains: format!("kernel_sizes = {kernel:?}"),
            why: format!("its window is all of {old:?}, which became {new:?}"),
            follow: None,
            shape: None,
        })
    }

    /// Why an operation does not take its operands: those that stayed what they
    /// were.
    pub(super) fn blame(&self, view: &OpView<'_>, problem: &str) -> Found {
        let mut fixed = Vec::new();
        for (param, args) in &view.op.inputs {
            for arg in args {
                let ty = match arg {
                    Arg::Const(constant) => constant.tensor_type(),
                    Arg::Value(value) => self.old.tensor(*value),
                };
                let Some(ty) = ty else { continue };
                let stayed = match arg {
                    Arg::Const(_) => true,
                    Arg::Value(value) => self.new.tensor(*value) == Some(ty),
                };
                if stayed && ty.shape.iter().any(|d| d.known().is_some_and(|n| n > 1)) {
                    fixed.push(format!("{param} = {}", self.origin(arg, ty)));
                }
            }
        }
        Found {
            contains: fixed.join(", "),
            why: problem.to_owned(),
            follow: None,
            shape: self.assumed(view),
        }
    }

    /// Words for an operand that stayed what it was, and where it comes from.
    fn origin(&self, arg: &Arg, ty: &TensorType) -> String {
        let Arg::Value(value) = arg else {
            return format!("a constant {}", ty.brief());
        };
        let name = &self.program.values[*value].name;
        match self.program.values[*value].def {
            ValueDef::FunctionInput(..) => format!(
                "`{name}`, an input {} that stays; give it a shape too",
                ty.brief()
            ),
            ValueDef::Op(op, _) => {
                let op_type = &self.program.ops[op].op_type;
                match op_type.as_str() {
                    "const" => format!("`{name}`, a constant {}", ty.brief()),
                    _ => format!("`{name}`, which `{op_type}` gives as {}", ty.brief()),
                }
            }
            _ => format!("`{name}` {}", ty.brief()),
        }
    }

    /// The shape that a result has if sizes go through as they did: where the
    /// old result had the size of an operand that changed, the new size.
    fn assumed(&self, view: &OpView<'_>) -> Option<Vec<u64>> {
        let mut shape = Self::known(self.old, *view.op.outputs.first()?)?;
        for value in view.op.operands() {
            let Some((old, new)) = self.changed(value) else {
                continue;
            };
            let (n, m) = (shape.len(), old.len());
            for back in 1..=n.min(m) {
                let (at, from) = (n - back, m - back);
                if old[from] != new[from] && shape[at] == old[from] {
                    shape[at] = new[from];
                }
            }
        }
        Some(shape)
    }
}

/// The first of many numbers.
fn few(values: &[i64]) -> String {
    match values {
        [a, b, c, .., last] if values.len() > 6 => {
            format!("[{a}, {b}, {c}, ..., {last}] ({} numbers)", values.len())
        }
        all => format!("{all:?}"),
    }
}

type Group = (std::ops::Range<usize>, std::ops::Range<usize>);

/// The smallest runs of dimensions of both shapes that hold the same number of
/// elements. `None` when a size is 0 or the numbers of elements differ.
fn groups(from: &[u64], to: &[u64]) -> Option<Vec<Group>> {
    let product = |s: &[u64]| s.iter().try_fold(1u64, |a, &b| a.checked_mul(b));
    if product(from)? != product(to)? || product(from)? == 0 {
        return None;
    }
    let mut found: Vec<Group> = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < from.len() && j < to.len() {
        let (a, b) = (i, j);
        let (mut x, mut y) = (from[i], to[j]);
        (i, j) = (i + 1, j + 1);
        while x != y {
            if x < y {
                x *= from.get(i)?;
                i += 1;
            } else {
                y *= to.get(j)?;
                j += 1;
            }
        }
        found.push((a..i, b..j));
    }
    // What is left has one element.
    match found.last_mut() {
        Some(last) => {
            last.0.end = from.len();
            last.1.end = to.len();
        }
        None => found.push((0..from.len(), 0..to.len())),
    }
    Some(found)
}

/// The dimension of a reshaped run that takes what changed, and its new size;
/// `None` when more than one could.
fn carrier(
    old: &[u64],
    new: &[u64],
    before: &[u64],
    from: std::ops::Range<usize>,
    to: std::ops::Range<usize>,
) -> Option<(usize, u64)> {
    let now: u64 = new[from.clone()].iter().product();
    let large: Vec<usize> = to.clone().filter(|&k| before[k] != 1).collect();
    match (large.as_slice(), to.clone().count()) {
        ([only], _) => return Some((*only, now)),
        ([], 1) => return Some((to.start, now)),
        _ => {}
    }
    let mut moved = from.filter(|&i| old[i] != new[i]);
    let (axis, None) = (moved.next()?, moved.next()) else {
        return None;
    };
    let mut same = to.filter(|&k| before[k] == old[axis]);
    match (same.next(), same.next()) {
        (Some(only), None) => Some((only, new[axis])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_the_same_number_of_elements() {
        let runs = |a: &[u64], b: &[u64]| groups(a, b).unwrap();
        assert_eq!(
            runs(&[1, 13, 32, 16], &[1, 13, 512]),
            [(0..1, 0..1), (1..2, 1..2), (2..4, 2..3)]
        );
        assert_eq!(
            runs(&[13, 64], &[1, 13, 4, 16]),
            [(0..1, 0..2), (1..2, 2..4)]
        );
        assert_eq!(runs(&[6, 4, 1], &[8, 3]), [(0..3, 0..2)]);
        assert_eq!(groups(&[2, 3], &[7]), None);
        assert_eq!(groups(&[0, 3], &[0]), None);
    }

    #[test]
    fn what_takes_a_size_is_told_only_when_one_can() {
        // Frames and features go apart.
        assert_eq!(
            carrier(&[1, 13], &[1, 25], &[13], 0..2, 0..1),
            Some((0, 25))
        );
        // A transposition by reshape: the size itself is there, once.
        assert_eq!(
            carrier(&[8, 100], &[8, 200], &[100, 8], 0..2, 0..2),
            Some((0, 200))
        );
        // A hundred in ten times ten: either could grow.
        assert_eq!(carrier(&[100], &[200], &[10, 10], 0..1, 0..2), None);
        assert_eq!(carrier(&[100, 8], &[200, 8], &[50, 16], 0..2, 0..2), None);
    }
}
