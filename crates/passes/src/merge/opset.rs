//! Functions written for one opset, as functions of a newer one.

use milwright_ir::ops::Opset;
use milwright_ir::{Function, Program};

use super::Error;

/// Operations that treat indices outside of a tensor otherwise from iOS 17 on.
const INDEXING: [&str; 6] = [
    "gather",
    "gather_along_axis",
    "gather_nd",
    "scatter",
    "scatter_along_axis",
    "scatter_nd",
];

/// Checks that a function means the same in a newer opset. What that opset does
/// not allow (types, parameters) is for the verifier.
///
/// # Errors
/// [`Error::Opset`] with the first operation that would mean something else.
pub(super) fn check_raise(
    model: &str,
    program: &Program,
    function: &Function,
    to: &str,
) -> Result<(), Error> {
    let from = function.opset.as_str();
    if from == to {
        return Ok(());
    }
    let refuse = |op: String, why: &str| {
        Err(Error::Opset {
            model: model.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            op,
            why: why.to_owned(),
        })
    };
    let (Some(old), Some(new)) = (Opset::from_name(from), Opset::from_name(to)) else {
        return refuse("what differs".to_owned(), "is not known to this version");
    };
    let body = function.body();
    for id in body.into_iter().flat_map(|body| program.walk(body)) {
        let op = &program.ops[id];
        let describe = || format!("`{}`", program.describe_op(id));
        let Some(def) = op.def else {
            return refuse(
                describe(),
                "is an operation that this version does not know",
            );
        };
        if old < Opset::IOS17 && new >= Opset::IOS17 && INDEXING.contains(&def.name) {
            return refuse(describe(), "treats indices out of bounds otherwise");
        }
        // Their parameters became inputs.
        if op.inputs.is_empty() && def.name.starts_with("constexpr_") && new >= Opset::IOS18 {
            return refuse(describe(), "has another form");
        }
        let lost = op.inputs.iter().find(|(name, _)| {
            let mut params = def.params.iter();
            let held = params.any(|p| p.name == name && p.is_in(new, def.since));
            !held && !name.is_empty()
        });
        if let Some((name, _)) = lost {
            return refuse(describe(), &format!("has no parameter `{name}`"));
        }
    }
    Ok(())
}

/// The newest of some opsets, by the order in which Apple released them; the
/// first of those that this version does not know.
pub(super) fn newest<'a>(opsets: impl Iterator<Item = &'a str> + Clone) -> &'a str {
    let unknown = opsets.clone().find(|o| Opset::from_name(o).is_none());
    let known = opsets.max_by_key(|o| Opset::from_name(o));
    unknown.or(known).unwrap_or_default()
}
