//! Several inputs with enumerated shapes.

use milwright_ir::features::Flexibility;
use milwright_ir::ops::Opset;
use milwright_ir::{Severity, ValueId};

use crate::lint::finding::{Confidence, Effect, Found, Rule};
use crate::lint::patterns::{flexible, oldest_system};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "several-enumerated-inputs",
    ids: &["FLX04"],
    severity: Severity::Error,
    effect: Effect::Load,
    units: &[],
    confidence: Confidence::Documented,
    summary: "Several inputs have enumerated shapes, before iOS 18 or in different numbers.",
    details: "\
Before iOS 18, one input of a model may have enumerated shapes. From iOS 18 on several may, if \
all have the same number of shapes: the first shape of each belongs together, the second of \
each, and so on. The converter refuses both, so such a file was changed afterwards.

Ranges are not meant; several inputs may have them on every system.

Derive all inputs from one flexible input, ask for iOS 18, or write one function for each size.",
    sources: &[
        "apple/coremltools#2271",
        "pytorch/executorch#9632",
        "apple/coremltools converters/_converters_entry.py",
    ],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let inputs = flexible(scope).into_iter();
    let enumerated: Vec<(ValueId, usize)> = inputs
        .filter_map(|(v, flexibility)| match flexibility {
            Flexibility::Enumerated(shapes) => Some((v, shapes.len())),
            _ => None,
        })
        .collect();
    let (Some(&(_, first)), true) = (enumerated.first(), enumerated.len() > 1) else {
        return Vec::new();
    };
    let count = enumerated.len();
    let old = oldest_system(scope).filter(|&os| os < Opset::IOS18);
    let message = match (old, enumerated.iter().find(|(_, n)| *n != first)) {
        (Some(os), _) => {
            format!("{count} inputs have enumerated shapes; {os} takes 1 such input")
        }
        (None, Some((other, n))) => format!(
            "{count} inputs have enumerated shapes, and not as many: {first} and, of `{}`, {n}",
            scope.value(*other).name
        ),
        (None, None) => return Vec::new(),
    };
    let places = enumerated.iter().map(|&(v, _)| scope.at_value(v)).collect();
    let found = Found::each(places, |_| message);
    let help = "ask for iOS 18 and give every such input as many shapes, or fix the others";
    let found = found.map(|f| f.number(count).help(help));
    found.into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;
    use milwright_ir::ops::Opset;

    use crate::lint::testing::Sketch;

    fn program(opset: Opset, version: i32) -> Sketch {
        let mut s = Sketch::new().opset(opset, version);
        for name in ["x", "y"] {
            let x = s.enumerated(name, Float16, &[&[1, 4], &[1, 8]]);
            let x = s.op("relu", &[("x", x)]);
            s.output(x);
        }
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(Opset::IOS17, 8)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(Opset::IOS18, 9)
    }

    #[test]
    fn the_numbers_must_agree() {
        let mut s = program(Opset::IOS18, 9);
        let x = s.enumerated("z", Float16, &[&[1, 4], &[1, 8], &[1, 9]]);
        let x = s.op("relu", &[("x", x)]);
        s.output(x);
        let found = s.findings(&super::RULE);
        assert!(found[0].diagnostic.message.contains("of `z`, 3"));
        assert_eq!(near_miss().os(Opset::IOS17).findings(&super::RULE).len(), 1);
    }
}
