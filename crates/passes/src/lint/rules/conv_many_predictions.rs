//! Convolutions and very many predictions.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "conv-many-predictions",
    ids: &["RT01", "RT07"],
    severity: Severity::Note,
    effect: Effect::Memory,
    units: &[Unit::Ane],
    confidence: Confidence::Reported,
    summary: "With convolutions and very many single predictions, memory of the Neural Engine was seen to leak.",
    details: "\
Measured once, on an M2: a process that made predictions with a model of convolutions one by one \
lost a shared surface (IOSurface) with each, until none could be made; from Python, each \
prediction was seen to keep memory of the size of its output. A file cannot show how many \
predictions an app makes: this is for those who make more than about 500 before they load the \
model again.

In the app, make predictions in batches (`predictions(fromBatch:)`, `MLBatchProvider`) and load \
the model again after every 300 or so; loaders that `milwright split --loader` writes do both. \
Removing the convolutions is not the remedy: what replaces them may fail on the GPU.",
    sources: &[
        "field report: leaking surfaces of the Neural Engine",
        "cadamcat/llms-on-apple-neural-engine findings/iosurface-per-call-growth",
    ],
    disputed: Some(
        "The report adds that convolutions run on the Neural Engine even when the model is \
         loaded for CPU and GPU. Apple documents the opposite, and two measurements on other \
         devices agree with Apple: take that part for folklore.",
    ),
    check,
};

const LIMIT: usize = 500;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let places = scope.at_all(scope.of_type(&["conv", "conv_transpose"]));
    let found = Found::each(places, |n| {
        format!(
            "{n} x convolution: more than about {LIMIT} single predictions were seen to leak surfaces"
        )
    });
    let help = "predict in batches, and load the model again after every 300 predictions";
    found
        .map(|f| f.limit(LIMIT).help(help))
        .into_iter()
        .collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(conv: bool) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 4, 8]);
        let y = match conv {
            true => {
                let weight = s.weight(Float16, &[4, 4, 1]);
                s.conv(x, weight, &[1])
            }
            false => s.op("relu", &[("x", x)]),
        };
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
