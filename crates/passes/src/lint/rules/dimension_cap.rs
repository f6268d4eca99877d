//! Tensors that are too large in one direction.

use std::collections::BTreeMap;

use milwright_ir::{DataType, Severity, ValueId};

use crate::lint::finding::{Confidence, Effect, Fix, Found, Rule, Unit};
use crate::lint::scope::Scope;
use crate::lint::target::{Family, Ncdhw};

pub(super) static RULE: Rule = Rule {
    name: "dimension-cap",
    ids: &["SHP04", "SHP05", "SHP06", "SHP07"],
    severity: Severity::Error,
    effect: Effect::Load,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "A tensor is larger in one direction than the Neural Engine takes.",
    details: "\
The Neural Engine sees every tensor as N, D, C, H, W, aligned to the right: the last axis is the \
width. Up to M3 and, as far as is known, on every telephone, width, height and depth may be \
16384 and the others 65536; on M4 and M5 all of them may be 65536. Every tensor that exists while \
the program runs counts, inputs of the function and upper bounds of flexible inputs too; \
constants, integers and truth values do not, unless the caller gives them.

A tensor beyond the cap is not merely left to another unit: when the compiler tries to begin the \
part for the Neural Engine at such a tensor, the whole model fails to load. One finding is made \
for each view, with all tensors that have it.

Cut the model so that the wide part is loaded for CPU and GPU, or fold the last axis into two. On \
M4 and M5 a size above 16384 is a note: the same file fails elsewhere.",
    sources: &[
        "FluidInference/FluidAudio#121",
        "sbryngelson/ANEForge docs/cross-chip.md",
        "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md",
        "field report: fused mel encoder on iPhone 13, iOS 26",
    ],
    disputed: Some(
        "Macs often keep wide tensors on CPU or GPU and load the model; the same file fails on a \
         telephone.",
    ),
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let caps = scope.caps();
    let narrow = Family::H13.caps();
    // Views in the order in which they first occur.
    let mut views: Vec<Ncdhw> = Vec::new();
    let mut tensors: BTreeMap<Ncdhw, Vec<ValueId>> = BTreeMap::new();
    for (value, ty) in scope.tensors() {
        let outside = matches!(
            ty.dtype,
            DataType::Int32 | DataType::Int64 | DataType::Bool | DataType::String
        );
        if outside && !scope.is_input(value) {
            continue;
        }
        let view = scope.largest(value).and_then(|s| Ncdhw::of_sizes(&s));
        let Some(view) = view.filter(|v| v.beyond(&narrow).is_some()) else {
            continue;
        };
        let same = tensors.entry(view).or_default();
        if same.is_empty() {
            views.push(view);
        }
        same.push(value);
    }
    let found = views.into_iter().filter_map(|view| {
        let tensors = tensors.get(&view)?;
        let first = &scope.value(*tensors.first()?).name;
        let (caps, severity) = match view.beyond(&caps) {
            Some(_) => (caps, Severity::Error),
            None => (narrow, Severity::Note),
        };
        let excess = view.beyond(&caps)?;
        let others = match tensors.len() - 1 {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let whose = match severity {
            Severity::Note => "up to M3 and on telephones: ",
            _ => "",
        };
        let message = format!(
            "{whose}`{first}`{others}: {}; {} is {}, at most {} is taken",
            view.refusal(&caps).trim_end_matches('.'),
            excess.axis,
            excess.size,
            excess.limit
        );
        let places = tensors.iter().map(|&v| scope.at_value(v)).collect();
        let found = Found::each(places, |_| message)?;
        Some(
            found
                .number(excess.size)
                .limit(excess.limit)
                .severity(severity)
                .help("load the part with the wide tensors for CPU and GPU only")
                .fix(Fix::Split),
        )
    });
    found.collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::{Float16, Float32, Int32};
    use milwright_ir::Severity;

    use crate::lint::testing::Sketch;

    fn program(target: &str, width: u64) -> Sketch {
        let mut s = Sketch::for_target(target);
        let x = s.input("audio", Float32, &[1, width]);
        let y = s.op("relu", &[("x", x)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program("any", 240_000)
    }

    pub(crate) fn near_miss() -> Sketch {
        program("any", 16_384)
    }

    #[test]
    fn the_message_is_the_device_s() {
        let found = triggers().findings(&super::RULE);
        assert_eq!(found.len(), 1);
        let f = &found[0];
        assert!(f.diagnostic.message.contains(
            "Tensor dimensions N1D1C1H1W240000 are not within supported range, N[1-65536] \
             D[1-16384] C[1-65536] H[1-16384] W[1-16384]"
        ));
        assert_eq!(f.places.len(), 2);
        assert_eq!(f.diagnostic.location.value.as_deref(), Some("audio"));
        assert!(f.places[1].op_id.is_some());
    }

    #[test]
    fn newer_chips_take_more() {
        let severity = |target, width| {
            let found = program(target, width).findings(&super::RULE);
            found.first().map(|f| f.diagnostic.severity)
        };
        assert_eq!(severity("m4", 16_384), None);
        assert_eq!(severity("m4", 65_536), Some(Severity::Note));
        assert_eq!(severity("m4", 65_537), Some(Severity::Error));
        assert_eq!(severity("m3", 16_385), Some(Severity::Error));
        assert_eq!(severity("a19", 16_385), Some(Severity::Error));
    }

    #[test]
    fn ranges_count_by_their_upper_bound() {
        let of = |high: Option<u64>, dtype| {
            let mut s = Sketch::new();
            let x = s.ranged("x", dtype, &[(1, Some(1)), (1, high)]);
            let y = s.op("identity", &[("x", x)]);
            s.output(y);
            s.findings(&super::RULE).len()
        };
        assert_eq!(of(Some(16_384), Float16), 0);
        assert_eq!(of(Some(16_385), Float16), 1);
        assert_eq!(of(Some(16_385), Int32), 1);
        assert_eq!(of(None, Float16), 0);
    }
}
