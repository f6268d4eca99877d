//! Constants instead of what cannot be an input.

use milwright_ir::elements::convert;
use milwright_ir::{
    ConstData, Constant, DataType, Model, Op, OpId, Program, TensorType, ValueDef, ValueId,
};
use milwright_package::Bytes;

use super::candidate::Base;
use super::{Candidate, Work};
use crate::cut;

/// What cannot be an input and has more elements stays computed.
const MOST: u64 = 4096;

/// Puts constants in the place of single results that cannot cross the border
/// of a model, such as the scalar that a `cond` reads: zeros, or else ones.
pub(super) fn constants<E: From<cut::Error>>(work: &mut Work<'_, '_, E>) -> Result<bool, E> {
    let mut smaller = false;
    let mut at = 0;
    loop {
        let (model, function) = work.now();
        let base = Base::new(model, function)?;
        let places = places(&base);
        let Some(&(op, value)) = places.get(at / 2) else {
            return Ok(smaller);
        };
        let candidate = constant(model, function, &base, op, value, at % 2 == 1);
        if work.try_one(candidate)? {
            smaller = true;
            at = 0;
        } else {
            at += 1;
        }
        if work.stopped {
            return Ok(smaller);
        }
    }
}

/// Operations with one such result.
fn places(base: &Base<'_>) -> Vec<(OpId, ValueId)> {
    let graph = &base.graph;
    let program = graph.program;
    let outputs = &program.blocks[graph.body].outputs;
    let mut places = Vec::new();
    for &op in &graph.nodes {
        if let &[value] = program.ops[op].outputs.as_slice()
            && !graph.can_cross(value)
            && !outputs.contains(&value)
            && let Some(ty) = program.values[value].ty.as_tensor()
            && ty.elements().is_some_and(|n| n <= MOST)
        {
            places.push((op, value));
        }
    }
    places
}

fn constant(
    model: &Model,
    function: &str,
    base: &Base<'_>,
    op: OpId,
    value: ValueId,
    ones: bool,
) -> Option<Candidate> {
    let (program, count) = (base.graph.program, base.graph.nodes.len());
    let ty = program.values[value].ty.as_tensor()?.clone();
    let mut changed: Program = program.clone();
    let block = changed.block_mut(base.graph.body).ok()?;
    let at = block.ops.iter().position(|&o| o == op)?;
    let name = program.values[value].name.clone();
    let mut new = Op::new("const");
    let data = ConstData::New(elements(&ty, ones)?);
    new.attributes = vec![
        ("name".to_owned(), Constant::string(name)),
        ("val".to_owned(), Constant::new(ty, data)),
    ];
    new.outputs = vec![value];
    let new = changed.ops.push(new);
    changed.values[value].def = ValueDef::Op(new, 0);
    changed.block_mut(base.graph.body).ok()?.ops[at] = new;
    let base = Base::with(model, &changed, function).ok()?;
    let needed = base.needed_for(&base.outputs());
    let what = if ones { "ones" } else { "zeros" };
    base.candidate(&needed, None, count.saturating_sub(1), || {
        format!("{what} instead of `{}`", program.values[value].name)
    })
}

fn elements(ty: &TensorType, ones: bool) -> Option<Bytes> {
    let count = usize::try_from(ty.elements()?).ok()?;
    let (from, bytes) = match ty.dtype.is_float() {
        true => (
            DataType::Float32,
            f32::from(u8::from(ones)).to_le_bytes().repeat(count),
        ),
        false => (DataType::UInt8, vec![u8::from(ones); count]),
    };
    let mut out = Vec::new();
    convert(from, ty.dtype, &bytes, count, &mut out)?;
    Some(out.into())
}
