//! Long sums in matrix products.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;
use crate::lint::target::Family;

pub(super) static RULE: Rule = Rule {
    name: "matmul-contraction",
    ids: &["SHP16"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "A matrix product sums over more elements than the Neural Engine takes.",
    details: "\
`matmul` and `linear` whose contracted axis is longer than 32768 on M4 and later, where 32768 is \
taken and 40000 is not. Before M4 the limit is assumed to be 16384, the cap of any axis there.

Split the contracted axis into parts and add the partial products.",
    sources: &[
        "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md",
        "sbryngelson/ANEForge docs/cross-chip.md",
    ],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let limit: u64 = if scope.target.family() >= Family::H16 {
        32_768
    } else {
        16_384
    };
    let long = scope.of_type(&["matmul", "linear"]).filter_map(|id| {
        let length = contraction(scope, id).filter(|&k| k > limit)?;
        let message = format!("the product sums over {length} elements, at most {limit} are taken");
        let found = Found::at(scope.at(id), message).number(length).limit(limit);
        Some(found.help("split the contracted axis and add the partial products"))
    });
    long.collect()
}

/// How many products a `matmul` or `linear` adds for one element.
fn contraction(scope: &Scope<'_>, id: OpId) -> Option<u64> {
    let back = match scope.is_type(id, &["matmul"]) {
        true => usize::from(scope.truth(id, "transpose_x")?),
        false => 0,
    };
    scope.size_from_back(id, "x", back)
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(target: &str, k: u64) -> Sketch {
        let mut s = Sketch::for_target(target);
        let x = s.input("x", Float16, &[1, k]);
        let weight = s.weight(Float16, &[8, k]);
        let bias = s.full(Float16, &[8], 0.0);
        let y = s.op("linear", &[("x", x), ("weight", weight), ("bias", bias)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program("m4", 32_769)
    }

    pub(crate) fn near_miss() -> Sketch {
        program("m4", 32_768)
    }

    #[test]
    fn older_chips_take_half() {
        assert_eq!(program("m3", 16_385).findings(&super::RULE).len(), 1);
        assert_eq!(program("m3", 16_384).findings(&super::RULE).len(), 0);
    }
}
