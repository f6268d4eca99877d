//! Very many fp16 parameters.

use std::collections::BTreeSet;

use milwright_ir::{ConstData, DataType, Severity};

use crate::lint::finding::{Confidence, Effect, Fix, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "fp16-parameters",
    ids: &["SZ03"],
    severity: Severity::Error,
    effect: Effect::Crash,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "More than two billion fp16 parameters in one model.",
    details: "\
A language model with four billion parameters in fp16 ended the process with a segmentation \
fault after 9.3 seconds when it was loaded for CPU and Neural Engine on a Mac; one report. For \
CPU and GPU it loaded. Parameters count once, however many operations read them.

Split the model, compress the weights to 4 bits, or load it for CPU and GPU.",
    sources: &["field report: segmentation fault of a 4-billion-parameter model on a Mac"],
    disputed: Some("One report; what exactly overflows is not known."),
    check,
};

const LIMIT: u64 = 2_000_000_000;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let mut places = BTreeSet::new();
    let mut count = 0u64;
    scope.program.visit_constants(&mut |constant| {
        let (ConstData::Blob(blob), Some(ty)) = (&constant.data, constant.tensor_type()) else {
            return;
        };
        if ty.dtype == DataType::Float16 && places.insert(blob) {
            count = count.saturating_add(ty.elements().unwrap_or(0));
        }
    });
    let message =
        format!("{count} parameters in fp16; a model above {LIMIT} crashed when it was loaded");
    let found = Found::model(message)
        .number(count)
        .limit(LIMIT)
        .help("split the model, compress its weights, or load it for CPU and GPU")
        .fix(Fix::Hint("cpu-and-gpu"));
    (count > LIMIT).then_some(found).into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(rows: u64) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 20_000]);
        let weight = s.weight(Float16, &[rows, 20_000]);
        let y = s.op("linear", &[("x", x), ("weight", weight)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(100_001)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(100_000)
    }
}
