//! What the system does not know yet.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule};
use crate::lint::patterns::opset_of;
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "opset-too-new",
    ids: &["Q01"],
    severity: Severity::Error,
    effect: Effect::Load,
    units: &[],
    confidence: Confidence::Documented,
    summary: "The model, or an operation of it, is newer than the system that it must run on.",
    details: "\
A model of specification version 6, 7, 8, 9 needs iOS 15, 16, 17, 18 (macOS 12, 13, 14, 15). \
With `--os`, a newer version is an error: the older system refuses the file whatever is in it. \
Without, operations are held against the version that the file declares: per-grouped-channel \
palettes, blocks of weights, int4 and 3-bit palettes came with iOS 18, compressed activations \
with iOS 17, `constexpr_` operations with iOS 16.

Convert for the older system; compress with what it knows.",
    sources: &[
        "apple/coremltools docs-guides/source/opt-whats-new.md",
        "apple/coremltools converters/mil/mil/ops/defs",
    ],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    let declared = opset_of(scope.spec_version);
    if let (Some(os), Some(declared)) = (scope.os, declared)
        && declared > os
    {
        let message = format!(
            "specification version {} needs {declared}; {os} does not load it",
            scope.spec_version
        );
        found.push(Found::model(message).help("convert the model for the older system"));
        return found;
    }
    let Some(declared) = declared else {
        return found;
    };
    if let Some(opset) = scope.function.known_opset().filter(|&o| o > declared) {
        let message = format!(
            "the function is for {opset}, but specification version {} is {declared}",
            scope.spec_version
        );
        found.push(Found::at(scope.here(), message));
        return found;
    }
    for &id in scope.ops() {
        let Some(def) = scope.op(id).def.filter(|def| def.since > declared) else {
            continue;
        };
        let message = format!(
            "`{}` came with {}, but specification version {} is {declared}",
            def.name, def.since, scope.spec_version
        );
        found.push(Found::at(scope.at(id), message));
    }
    found
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;
    use milwright_ir::ops::Opset;

    use crate::lint::testing::Sketch;

    fn program(version: i32) -> Sketch {
        let mut s = Sketch::new().opset(Opset::IOS17, version);
        let x = s.input("x", Float16, &[1, 64]);
        let x = s.op("relu", &[("x", x)]);
        s.output(x);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(7)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(8)
    }

    #[test]
    fn operations_and_systems_count() {
        let mut s = Sketch::new().opset(Opset::IOS17, 8);
        let x = s.input("x", Float16, &[1, 8, 16, 64]);
        let x = s.op(
            "scaled_dot_product_attention",
            &[("query", x), ("key", x), ("value", x)],
        );
        s.output(x);
        let found = s.findings(&super::RULE);
        assert!(found[0].diagnostic.message.contains("ios18"));
        assert_eq!(near_miss().os(Opset::IOS16).findings(&super::RULE).len(), 1);
        assert_eq!(near_miss().os(Opset::IOS18).findings(&super::RULE).len(), 0);
    }
}
