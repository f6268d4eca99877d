//! Outputs whose rows are not contiguous.

use milwright_ir::features::FeatureKind;
use milwright_ir::{DataType, Severity, ValueId};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "unaligned-output",
    ids: &["SHP19"],
    severity: Severity::Warning,
    effect: Effect::Numbers,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "The rows of an fp16 output are padded: a host that ignores strides reads garbage.",
    details: "\
An output declared as fp16 with more than one row, whose last axis is no multiple of 32. What the \
Neural Engine returns has padded rows (200 elements become 224), and `MLMultiArray.strides` says \
so; a host that reads the memory as contiguous gets garbage.

Read through the strides, or make the last axis a multiple of 32.",
    sources: &[
        "apple/coremltools#1893",
        "smpanaro/coreml-llm-cli README.md",
    ],
    disputed: None,
    check,
};

const MULTIPLE: u64 = 32;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let outputs = scope.program.blocks[scope.body].outputs.iter();
    let unaligned = outputs.filter_map(|&value| {
        let last = padded_row(scope, value)?;
        let message = format!(
            "the rows of output `{}` have {last} elements, no multiple of {MULTIPLE}: they are \
             padded in memory",
            scope.value(value).name
        );
        let found = Found::at(scope.at_value(value), message).number(last).limit(MULTIPLE);
        Some(found.help("the host must read it through `MLMultiArray.strides`"))
    });
    unaligned.collect()
}

/// The length of the rows, when they are padded.
fn padded_row(scope: &Scope<'_>, value: ValueId) -> Option<u64> {
    let name = &scope.value(value).name;
    let feature = scope.signature?.outputs.iter().find(|f| f.name == *name)?;
    let FeatureKind::Array(array) = &feature.kind else {
        return None;
    };
    let (last, rows) = scope.tensor(value)?.shape.split_last()?;
    let last = last.known()?;
    let several = rows.iter().any(|d| d.known() != Some(1));
    let half = array.dtype == Some(DataType::Float16);
    (half && several && last % MULTIPLE != 0).then_some(last)
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(shape: &[u64]) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, shape);
        let y = s.op("relu", &[("x", x)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(&[1, 4, 200])
    }

    pub(crate) fn near_miss() -> Sketch {
        program(&[1, 4, 224])
    }

    #[test]
    fn one_row_has_no_stride() {
        assert!(program(&[1, 1, 200]).findings(&super::RULE).is_empty());
    }
}
