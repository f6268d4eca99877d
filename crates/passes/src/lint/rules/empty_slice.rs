//! Slices that are empty for some of the shapes that an input takes.

use std::collections::BTreeSet;

use milwright_ir::sizes::{Sizes, corners};
use milwright_ir::{Dim, Severity, TensorType, verify};

use crate::lint::finding::{Confidence, Effect, Found, Rule};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "empty-slice",
    ids: &["FLX08"],
    severity: Severity::Error,
    effect: Effect::Crash,
    units: &[],
    confidence: Confidence::Reported,
    summary: "A slice takes nothing at the smallest sizes that an input allows.",
    details: "\
Looks at the shapes that the description allows, one after the other: the default, the lower and \
the upper bounds, each enumerated shape. All sizes of the program are computed for each; a \
`slice_by_index` or `slice_by_size` that takes no element at one of them is found. Typical is a lower bound of 0 or 1 together with `x[1:]`. A model with \
a bound of 0 was seen to fail when it runs.

Sizes between the bounds are not looked at. Only inputs of flexible shape are meant; a slice \
that is always empty is `empty-tensor`.

Raise the lower bound to the smallest size for which every slice takes something.",
    sources: &[
        "apple/coremltools#2516",
    ],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let Some(signature) = scope.signature else {
        return Vec::new();
    };
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (corner, shapes) in corners(signature) {
        let given: Vec<String> = shapes
            .iter()
            .map(|(name, s)| format!("`{name}` {s:?}"))
            .collect();
        let given = given.join(", ");
        let of = Sizes::of(scope.program, scope.function, scope.blobs, &shapes);
        let sizes = match of {
            Ok(sizes) => sizes,
            // `invalid-program` says so.
            Err(_) if is_invalid(scope) => continue,
            Err(error) => {
                let message = format!("the program does not take the {corner} ({given}): {error}");
                found.push(Found::at(scope.here(), message).severity(Severity::Warning));
                continue;
            }
        };
        for id in scope.of_type(&["slice_by_index", "slice_by_size"]) {
            let op = scope.op(id);
            let Some(&output) = op.outputs.first() else {
                continue;
            };
            // Empty whatever is given: another rule's.
            let always = scope.tensor(output).is_some_and(is_empty);
            if always || !sizes.tensor(output).is_some_and(is_empty) || !seen.insert(id) {
                continue;
            }
            let message = format!(
                "`{}` is empty at the {corner} of the inputs ({given})",
                scope.value(output).name
            );
            let help = "raise the lower bound so that the slice takes an element";
            found.push(Found::at(scope.at(id), message).help(help));
        }
    }
    found
}

fn is_invalid(scope: &Scope<'_>) -> bool {
    let found = verify(scope.program, scope.blobs);
    found.iter().any(|d| d.severity == Severity::Error)
}

fn is_empty(ty: &TensorType) -> bool {
    ty.shape.contains(&Dim::Known(0))
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(low: u64) -> Sketch {
        let mut s = Sketch::new();
        let x = s.ranged("x", Float16, &[(1, Some(1)), (low, Some(64))]);
        let (begin, end) = (s.ints(&[0, 1]), s.ints(&[0, 0]));
        let mask = s.bools(&[true, true]);
        let args = [("x", x), ("begin", begin), ("end", end), ("end_mask", mask)];
        let y = s.op("slice_by_index", &args);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(1)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(2)
    }

    #[test]
    fn the_corner_is_named() {
        let found = triggers().findings(&super::RULE);
        assert_eq!(found.len(), 1);
        let message = &found[0].diagnostic.message;
        assert!(message.contains("(`x` [1, 1])"), "{message}");
    }

    #[test]
    fn enumerated_shapes_are_looked_at() {
        let mut s = Sketch::new();
        let x = s.enumerated("x", Float16, &[&[1, 8], &[1, 3]]);
        let (begin, size) = (s.ints(&[0, 3]), s.ints(&[-1, -1]));
        let y = s.op(
            "slice_by_size",
            &[("x", x), ("begin", begin), ("size", size)],
        );
        s.output(y);
        let found = s.findings(&super::RULE);
        let messages: Vec<&str> = found
            .iter()
            .map(|f| f.diagnostic.message.as_str())
            .collect();
        assert_eq!(found.len(), 1, "{messages:?}");
        assert!(messages[0].contains("enumerated shapes 1"), "{messages:?}");
    }
}
