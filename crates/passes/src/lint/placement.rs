//! Where the findings put the operations of a function.

use std::collections::{BTreeMap, BTreeSet};

use milwright_ir::{OpId, Severity, ValueId};

use super::finding::{Confidence, Effect, Finding, Rule, Unit};
use super::rules::rules;
use super::scope::Scope;
use super::{Input, Settings};

/// Rules that are made of where the others put operations.
const DERIVED: [&str; 2] = ["neural-engine-islands", "small-segments"];

/// The rule that fp32 leaves the Neural Engine.
const PRECISION: &str = "fp32-compute";

/// Operations that leave the Neural Engine by what is found, each with the
/// rules that say so.
pub type Left = BTreeMap<OpId, Vec<&'static str>>;

/// The operations of all functions, or of the one that the settings name, that
/// leave the Neural Engine by any rule, whatever rules the settings choose.
pub fn left(input: &Input<'_>, settings: &Settings) -> Left {
    let mut all = Left::new();
    for function in &input.program.functions {
        let wanted = settings.function.as_ref();
        if wanted.is_some_and(|name| *name != function.name) {
            continue;
        }
        let signature = input.description.signature(&function.name);
        let device = (settings.target, settings.units, settings.os);
        let scope = Scope::new(input, function, signature, &input.weight_files, device);
        if let Some(scope) = scope {
            all.extend(scope.left().clone());
        }
    }
    all
}

/// As [`left`], of one function; [`Scope::left`] keeps it.
pub(super) fn of_scope(scope: &Scope<'_>) -> Left {
    let mut left = Left::new();
    let mut named: Option<BTreeMap<&str, ValueId>> = None;
    for &rule in rules().iter().filter(|rule| places(rule)) {
        let found = (rule.check)(scope).into_iter();
        for finding in found.map(|one| Finding::new(rule, one)) {
            if finding.diagnostic.severity < Severity::Warning
                || finding.confidence < Confidence::Reported
            {
                continue;
            }
            for place in &finding.places {
                let mut ops: Vec<OpId> = place.op_id.into_iter().collect();
                // Who reads a tensor that cannot be held cannot be there either.
                if let (Effect::Load, Some(name)) = (rule.effect, &place.value) {
                    let named = named.get_or_insert_with(|| {
                        let tensors = scope.tensors();
                        tensors
                            .map(|(v, _)| (scope.value(v).name.as_str(), v))
                            .collect()
                    });
                    let value = named.get(name.as_str()).copied();
                    ops.extend(value.into_iter().flat_map(|v| scope.readers(v)));
                }
                for op in ops {
                    let rules = left.entry(op).or_default();
                    if !rules.contains(&rule.name) {
                        rules.push(rule.name);
                    }
                }
            }
        }
    }
    left
}

/// Whether what a rule finds at an operation means that it does not run on the
/// Neural Engine.
fn places(rule: &Rule) -> bool {
    let leaves = match rule.effect {
        Effect::LeavesNeuralEngine => rule.units.contains(&Unit::Ane),
        Effect::Load => rule.units == [Unit::Ane],
        _ => false,
    };
    leaves && !DERIVED.contains(&rule.name)
}

/// Operations in a row, in the order of the file, that the Neural Engine takes
/// or does not.
#[derive(Debug)]
pub(super) struct Segment {
    /// Whether it takes them.
    pub(super) legal: bool,
    /// The operations; never none.
    pub(super) ops: Vec<OpId>,
}

/// The function as segments: the operations of its body that run, without those
/// nested in blocks. One that is mostly in fp32 is taken as if it were in fp16:
/// otherwise it would be one segment, and a rule of its own says so.
pub(super) fn segments(scope: &Scope<'_>, left: &Left) -> Vec<Segment> {
    let active: BTreeSet<OpId> = scope.active().collect();
    let body = scope.program.blocks[scope.body].ops.iter().copied();
    let precision = |id: &&OpId| left.get(id).is_some_and(|rules| rules.contains(&PRECISION));
    let as_half = active.iter().filter(precision).count() * 2 > active.len();
    let mut segments: Vec<Segment> = Vec::new();
    for id in body.filter(|id| active.contains(id) && !scope.is_type(*id, &["identity"])) {
        let because = left.get(&id).map_or(&[][..], Vec::as_slice);
        let legal = because.iter().all(|rule| as_half && *rule == PRECISION);
        match segments.last_mut() {
            Some(last) if last.legal == legal => last.ops.push(id),
            _ => segments.push(Segment {
                legal,
                ops: vec![id],
            }),
        }
    }
    segments
}

/// What operations are, in words: `2 lstm, cast`, most frequent first.
pub(super) fn types(scope: &Scope<'_>, ops: &[OpId]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for &id in ops {
        *counts.entry(scope.op(id).op_type.as_str()).or_default() += 1;
    }
    let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|&(name, n)| (std::cmp::Reverse(n), name));
    let words = counts.into_iter().map(|(name, n)| match n {
        1 => name.to_owned(),
        n => format!("{n} {name}"),
    });
    words.collect::<Vec<_>>().join(", ")
}
