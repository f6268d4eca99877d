//! States before iOS 18.

use milwright_ir::Severity;
use milwright_ir::ops::Opset;

use crate::lint::finding::{Confidence, Effect, Found, Rule};
use crate::lint::patterns::{oldest_system, states};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "state-needs-ios18",
    ids: &["ST01"],
    severity: Severity::Error,
    effect: Effect::Load,
    units: &[],
    confidence: Confidence::Documented,
    summary: "The model has states, and has to load on a system that knows none.",
    details: "\
States came with iOS 18 (specification version 9). A model that declares one does not load on an \
older system, nor with an older specification version.

Ask for iOS 18, or give the state as an input and take it back as an output.",
    sources: &["apple/coremltools docs-guides/source/stateful-models.md"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let Some(os) = oldest_system(scope).filter(|&os| os < Opset::IOS18) else {
        return Vec::new();
    };
    let places = states(scope)
        .into_iter()
        .map(|v| scope.at_value(v))
        .collect();
    let found = Found::each(places, |n| {
        format!(
            "{n} states, and {os} has none; states need {}",
            Opset::IOS18
        )
    });
    let help = "ask for iOS 18, or pass the states as inputs and outputs";
    found.map(|f| f.help(help)).into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;
    use milwright_ir::ops::Opset;

    use crate::lint::testing::Sketch;

    fn program(opset: Opset, version: i32) -> Sketch {
        let mut s = Sketch::new().opset(opset, version);
        let state = s.state("cache", Float16, &[1, 64]);
        let x = s.op("read_state", &[("input", state)]);
        s.output(x);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(Opset::IOS17, 8)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(Opset::IOS18, 9)
    }

    #[test]
    fn the_system_counts() {
        let found = near_miss().os(Opset::IOS17).findings(&super::RULE);
        assert_eq!(found.len(), 1);
    }
}
