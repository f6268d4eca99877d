//! A convolution that crashes on the CPU.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::patterns::groups;
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "cpu-grouped-dilated-conv",
    ids: &["CPU03"],
    severity: Severity::Error,
    effect: Effect::Crash,
    units: &[Unit::Cpu],
    confidence: Confidence::Reported,
    summary: "A 1-D convolution of kernel 6, stride 8, dilation 2 and 2 groups ends the process on the CPU.",
    details: "\
One report has the exact numbers. The same shape with others (a 1-D convolution with stride, \
dilation and groups above 1) is found as possible only.

Split the groups into convolutions of their own.",
    sources: &["pytorch/executorch#11688"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let found = scope.of_type(&["conv"]).filter_map(|id| {
        let [kernel] = scope.param(id, "weight")?.shape.get(2..)? else {
            return None;
        };
        let kernel = kernel.known()?;
        let one = |param| scope.ints(id, param).unwrap_or_default().first().copied().unwrap_or(1);
        let (stride, dilation) = (one("strides"), one("dilations"));
        let groups = groups(scope, id)?;
        if stride < 2 || dilation < 2 || groups < 2 {
            return None;
        }
        let message = format!(
            "a 1-D convolution of kernel {kernel}, stride {stride}, dilation {dilation}, {groups} groups"
        );
        let found = Found::at(scope.at(id), message).help("split the groups");
        let seen = (kernel, stride, dilation, groups) == (6, 8, 2, 2);
        Some(if seen { found } else { found.confidence(Confidence::Folklore) })
    });
    found.collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(stride: i32, dilation: i32) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 4, 64]);
        let weight = s.weight(Float16, &[4, 2, 6]);
        let y = s.conv_with(x, weight, &[stride], &[dilation], 2);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(8, 2)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(8, 1)
    }

    #[test]
    fn other_numbers_are_possible_only() {
        let found = program(4, 2).findings(&super::RULE);
        assert_eq!(
            found[0].diagnostic.severity,
            milwright_ir::Severity::Warning
        );
    }
}
