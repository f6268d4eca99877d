//! What several rules look for.

use milwright_ir::features::{FeatureKind, Flexibility};
use milwright_ir::ops::Opset;
use milwright_ir::{OpId, ValueId, ValueType};

use super::scope::Scope;

/// Inputs of the function that take more than one shape, in order, and which.
pub(super) fn flexible<'a>(scope: &Scope<'a>) -> Vec<(ValueId, &'a Flexibility)> {
    let inputs = scope.function.inputs.iter();
    inputs
        .filter_map(|&v| Some((v, flexibility(&scope.input_feature(v)?.kind)?)))
        .filter(|(_, flexibility)| match flexibility {
            Flexibility::Fixed => false,
            Flexibility::Enumerated(shapes) => shapes.len() > 1,
            Flexibility::Ranges(ranges) => ranges
                .iter()
                .any(|&(low, high)| high.is_none_or(|h| h != low)),
        })
        .collect()
}

/// Which shapes a feature takes, if it has a shape.
pub(super) fn flexibility(kind: &FeatureKind) -> Option<&Flexibility> {
    match kind {
        FeatureKind::Array(a) | FeatureKind::State(a) => Some(&a.flexibility),
        FeatureKind::Image(i) => Some(&i.flexibility),
        _ => None,
    }
}

/// The opset of a specification version.
pub(super) fn opset_of(spec_version: i32) -> Option<Opset> {
    Some(match spec_version {
        6 => Opset::IOS15,
        7 => Opset::IOS16,
        8 => Opset::IOS17,
        9 => Opset::IOS18,
        10 => Opset::IOS26,
        _ => return None,
    })
}

/// The oldest system on which the model has to load: the one that the user
/// names, else the oldest that takes its specification version.
pub(super) fn oldest_system(scope: &Scope<'_>) -> Option<Opset> {
    scope.os.or_else(|| opset_of(scope.spec_version))
}

/// The states that the function takes, in order.
pub(super) fn states(scope: &Scope<'_>) -> Vec<ValueId> {
    let inputs = scope.function.inputs.iter().copied();
    inputs
        .filter(|&v| matches!(scope.value(v).ty, ValueType::State(_)))
        .collect()
}

/// Whether a parameter takes what was read from a state, as it is or updated in
/// place since.
pub(super) fn reads_state(scope: &Scope<'_>, id: OpId, param: &str) -> bool {
    let mut at = scope.source(id, param);
    // Programs are acyclic; the bound is for those that no verifier saw.
    for _ in 0..scope.ops().len() {
        match at {
            Some(op) if scope.is_type(op, &["read_state", "coreml_update_state"]) => return true,
            Some(op) if scope.is_type(op, &["slice_update"]) => at = scope.source(op, "x"),
            _ => return false,
        }
    }
    false
}

/// In-place updates of what was read from a state, in program order.
pub(super) fn state_updates<'s>(scope: &'s Scope<'_>) -> impl Iterator<Item = OpId> + 's {
    scope
        .of_type(&["slice_update"])
        .filter(|&id| reads_state(scope, id, "x"))
}

/// How long an update is: its largest size among the axes in which it differs
/// from what it updates.
pub(super) fn update_length(scope: &Scope<'_>, id: OpId) -> Option<u64> {
    let (x, update) = (scope.param(id, "x")?, scope.param(id, "update")?);
    let axes = x.shape.iter().zip(&update.shape);
    let differ = axes.filter(|(x, update)| x != update);
    differ.filter_map(|(_, update)| update.known()).max()
}

/// The weight of a convolution or product: its parameter, and the axis of it
/// that counts what the operation gives.
pub(super) fn weight(scope: &Scope<'_>, id: OpId) -> Option<(&'static str, usize)> {
    let found = match scope.op(id).op_type.as_str() {
        "conv" | "linear" => ("weight", 0),
        "conv_transpose" => ("weight", 1),
        "matmul" => {
            let rank = scope.param(id, "y")?.rank()?;
            let turned = scope.view(id).bool("transpose_y").ok()?.known_or(false)?;
            ("y", rank.checked_sub(if turned { 2 } else { 1 })?)
        }
        _ => return None,
    };
    scope.has_static(id, found.0).then_some(found)
}

/// The operations with a weight that one of the named `constexpr_` operations
/// makes: the operation, that one, and the axis of [`weight`].
pub(super) fn compressed<'s>(
    scope: &'s Scope<'_>,
    types: &'s [&str],
) -> impl Iterator<Item = (OpId, OpId, usize)> + 's {
    scope.active().filter_map(move |id| {
        let (param, axis) = weight(scope, id)?;
        let made = scope.source(id, param)?;
        scope.is_type(made, types).then_some((id, made, axis))
    })
}

/// How many entries the palette of a `constexpr_lut_to_dense` has, and how long
/// each is.
pub(super) fn palette(scope: &Scope<'_>, id: OpId) -> Option<(u64, u64)> {
    let lut = scope.param(id, "lut")?.known_shape()?;
    match lut.as_slice() {
        // Up to iOS 17.
        [entries] => Some((*entries, 1)),
        [.., entries, length] => Some((*entries, *length)),
        [] => None,
    }
}

/// The number of groups of a convolution.
pub(super) fn groups(scope: &Scope<'_>, id: OpId) -> Option<u64> {
    let groups = scope.view(id).int("groups").ok()?.known_or(1)?;
    u64::try_from(groups).ok()
}

/// Whether every channel of a convolution is filtered by itself.
pub(super) fn is_depthwise(scope: &Scope<'_>, id: OpId) -> bool {
    let groups = groups(scope, id).unwrap_or(1);
    let channels = |x: &milwright_ir::TensorType| x.shape.get(1).and_then(|d| d.known());
    groups > 1 && scope.param(id, "x").and_then(channels) == Some(groups)
}
