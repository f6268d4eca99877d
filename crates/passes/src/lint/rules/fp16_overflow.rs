//! Constants that fp16 cannot hold.

use milwright_ir::{DataType, Location, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Number, Rule, counted};
use crate::lint::query::Origin;
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "fp16-overflow",
    ids: &["DT07"],
    severity: Severity::Error,
    effect: Effect::Numbers,
    units: &[],
    confidence: Confidence::Documented,
    summary: "A constant is beyond what fp16 can hold, and becomes infinite.",
    details: "\
The largest number of fp16 is 65504. An fp32 constant beyond it that is cast to fp16 is an error: \
masks of -1e9 or of the smallest fp32 number become -inf, and 0 * inf or a softmax over nothing \
but -inf is NaN. A constant that is infinite in fp16 already is a warning: it may be meant. One \
that is read in fp32 is a note: it would overflow if the model were converted to fp16. Bounds (of `clip`, \
`minimum`, `maximum` and comparisons) do not count: an infinite one does nothing.

Use -1e4 in masks (or -4e4), which no softmax tells from -inf.",
    sources: &[
        "apple/ml-ane-transformers ane_transformers/huggingface/distilbert.py",
        "apple/ml-stable-diffusion python_coreml_stable_diffusion/torch2coreml.py",
        "apple/coremltools#2669",
        "cactus-compute/cactus#734",
    ],
    disputed: None,
    check,
};

const LIMIT: u64 = 65_504;

/// Operations in which an infinite constant is a bound that does nothing.
const BOUNDS: [&str; 9] = [
    "clip",
    "equal",
    "greater",
    "greater_equal",
    "less",
    "less_equal",
    "maximum",
    "minimum",
    "not_equal",
];

/// What becomes of a constant where it is read.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Infinite(f64),
    AlreadyInfinite,
    WouldBe(f64),
}

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let mut would_be: Vec<(Location, f64)> = Vec::new();
    let mut already: Vec<Location> = Vec::new();
    let mut found = Vec::new();
    for id in scope.active().filter(|&id| !scope.is_type(id, &BOUNDS)) {
        for (param, args) in &scope.op(id).inputs {
            for arg in args {
                let Some(ty) = scope.program.arg_type(arg).as_tensor() else {
                    continue;
                };
                let place = scope.at_param(id, param);
                let fates = scope.origins(arg);
                match fates.iter().find_map(|o| fate(o, ty.dtype)) {
                    Some(Fate::Infinite(x)) => {
                        let number = Number::from(x);
                        let message = format!(
                            "the constant `{param}` holds {number}, and fp16 ends at {LIMIT}: it \
                             becomes infinite"
                        );
                        let one = Found::at(place, message).number(x).limit(LIMIT);
                        found.push(one.help("use -1e4 in masks; scale other constants down"));
                    }
                    Some(Fate::AlreadyInfinite) => already.push(place),
                    Some(Fate::WouldBe(x)) => would_be.push((place, x)),
                    None => {}
                }
            }
        }
    }
    let inf = Found::each(already, |n| {
        format!("{} with infinity; times 0 it is NaN", counted(n, "fp16 constant"))
    });
    found.extend(inf.map(|f| f.severity(Severity::Warning)));
    let first = would_be.first().map(|(_, x)| *x);
    let places = would_be.into_iter().map(|(place, _)| place).collect();
    if let (Some(x), Some(f)) = (
        first,
        Found::each(places, |n| {
            let number = first.map(Number::from).unwrap_or(Number::Count(0));
            format!("{} infinite if the model were fp16, such as {number}; it ends at {LIMIT}", counted(n, "fp32 constant"))
        }),
    ) {
        found.push(f.number(x).limit(LIMIT).severity(Severity::Note));
    }
    found
}

fn fate(origin: &Origin, dtype: DataType) -> Option<Fate> {
    let range = origin.range;
    let infinite = range.negative_infinities + range.positive_infinities > 0;
    let beyond = range.extreme().filter(|x| x.abs() > LIMIT as f64);
    match dtype {
        // Between 65504 and 65520 rounds to 65504.
        DataType::Float16 if infinite => Some(Fate::AlreadyInfinite),
        DataType::Float16 => beyond.filter(|x| x.abs() >= 65_520.0).map(Fate::Infinite),
        DataType::Float32 => beyond.map(Fate::WouldBe),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::{Float16, Float32};
    use milwright_ir::Severity;

    use crate::lint::testing::Sketch;

    fn program(value: f64) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64]);
        let c = s.float(Float32, value);
        let c = s.cast(c, Float16);
        let y = s.add(x, c);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(-1e9)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(-65_504.0)
    }

    #[test]
    fn in_single_precision_it_is_a_note() {
        let mut s = Sketch::new();
        let x = s.input("x", Float32, &[1, 64]);
        let c = s.float(Float32, 1e9);
        let y = s.add(x, c);
        s.output(y);
        let found = s.findings(&super::RULE);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].diagnostic.severity, Severity::Note);
    }

    #[test]
    fn a_bound_may_be_infinite() {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64]);
        let (low, high) = (s.float(Float16, 0.0), s.float(Float16, f64::INFINITY));
        let y = s.op("clip", &[("x", x), ("alpha", low), ("beta", high)]);
        s.output(y);
        assert!(s.findings(&super::RULE).is_empty());
    }

    #[test]
    fn infinity_may_be_meant() {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64]);
        let c = s.float(Float16, f64::NEG_INFINITY);
        let y = s.add(x, c);
        s.output(y);
        let found = s.findings(&super::RULE);
        assert_eq!(found[0].diagnostic.severity, Severity::Warning);
        assert_eq!(found[0].diagnostic.location.param.as_deref(), Some("y"));
    }
}
