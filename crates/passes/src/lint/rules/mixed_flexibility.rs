//! Both kinds of flexible shapes in one model.

use milwright_ir::Severity;
use milwright_ir::features::Flexibility;

use crate::lint::finding::{Confidence, Effect, Found, Rule};
use crate::lint::patterns::flexible;
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "mixed-flexibility",
    ids: &["FLX03"],
    severity: Severity::Error,
    effect: Effect::Load,
    units: &[],
    confidence: Confidence::Documented,
    summary: "One input has enumerated shapes and another a range.",
    details: "\
A model may use enumerated shapes or ranges, not both: coremltools refuses to convert such a \
model, and Core ML to load it.

Give every flexible input the same kind.",
    sources: &["apple/coremltools#2548"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let all = flexible(scope);
    let of = |wanted: bool| {
        let mut kind = all.iter();
        kind.find(|(_, f)| matches!(f, Flexibility::Enumerated(_)) == wanted)
    };
    let (Some(enumerated), Some(ranged)) = (of(true), of(false)) else {
        return Vec::new();
    };
    let name = |v| &scope.value(v).name;
    let message = format!(
        "`{}` has enumerated shapes and `{}` has a range; a model may have one kind only",
        name(enumerated.0),
        name(ranged.0)
    );
    let places = vec![scope.at_value(enumerated.0), scope.at_value(ranged.0)];
    let found = Found::each(places, |_| message);
    let help = "give every flexible input the same kind of shapes";
    found.map(|f| f.help(help)).into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(mixed: bool) -> Sketch {
        let mut s = Sketch::new();
        let x = match mixed {
            true => s.enumerated("x", Float16, &[&[1, 4], &[1, 8]]),
            false => s.ranged("x", Float16, &[(1, Some(1)), (4, Some(8))]),
        };
        let y = s.ranged("y", Float16, &[(1, Some(1)), (4, Some(8))]);
        let (x, y) = (s.op("relu", &[("x", x)]), s.op("relu", &[("x", y)]));
        s.output(x);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(true)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(false)
    }
}
