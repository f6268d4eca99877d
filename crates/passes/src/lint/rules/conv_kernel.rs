//! Large kernels.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;
use crate::lint::target::Family;

pub(super) static RULE: Rule = Rule {
    name: "conv-kernel",
    ids: &["OP15", "OP16"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "The kernel of a convolution is larger than the Neural Engine takes.",
    details: "\
`conv` with a kernel wider than 15 or higher than 31, measured on M4; on A14 and M1 wider than 13. \
One of width 16 put a whole model on the CPU, four to seven times slower. A one-dimensional \
convolution has a width only. Square kernels of 14 and more compile for minutes (16 x 16: more \
than 200 s and 11.7 GB, 13 x 13: 2 to 23 s; 14 and 15 were not tested, so those are possible).

Compose two smaller kernels (`k1 + k2 - 1` wide), move part of the width into the channels, or \
split a transform that is written as a wide convolution off into a stage for CPU and GPU. \
`decompose-conv` replaces every convolution of the program, not this one.",
    sources: &[
        "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md",
        "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/defects.md",
        "sbryngelson/ANEForge docs/developer/op-quirks.md",
        "apple/coreai-models neural_engine_rules.md",
    ],
    disputed: Some(
        "messages of the compiler ask for powers of two, older notes for at most 7 or 13; what is \
         measured on M4 is taken here.",
    ),
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let found = scope.of_type(&["conv"]).filter_map(|id| large(scope, id));
    found.collect()
}

fn large(scope: &Scope<'_>, id: OpId) -> Option<Found> {
    let spatial = scope.param(id, "weight")?.shape.len().checked_sub(2)?;
    let width = scope.size_from_back(id, "weight", 0)?;
    let height = match spatial {
        1 => 1,
        _ => scope.size_from_back(id, "weight", 1)?,
    };
    let widest: u64 = match scope.target.family() {
        Family::H13 => 13,
        _ => 15,
    };
    let place = scope.at(id);
    let help = "compose smaller kernels, or move part of the width into the channels";
    let found = |message: String, number: u64, limit: u64| {
        Found::at(place, message).number(number).limit(limit).help(help)
    };
    if width > widest {
        let message = format!("the kernel is {width} wide, at most {widest} is taken");
        Some(found(message, width, widest))
    } else if height > 31 {
        let message = format!("the kernel is {height} high, at most 31 is taken");
        Some(found(message, height, 31))
    } else if width == height && width >= 14 {
        let message = format!("a kernel of {width} x {height} may compile for minutes, from 14 on");
        Some(found(message, width, 14).confidence(Confidence::Folklore))
    } else {
        None
    }
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(target: &str, kernel: &[u64]) -> Sketch {
        let mut s = Sketch::for_target(target);
        let x = s.input("x", Float16, &[1, 4, 64, 64]);
        let weight = s.weight(Float16, &[4, 4, kernel[0], kernel[1]]);
        let y = s.conv(x, weight, &[1, 1]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program("m4", &[1, 16])
    }

    pub(crate) fn near_miss() -> Sketch {
        program("m4", &[1, 15])
    }

    #[test]
    fn each_direction_has_its_limit() {
        let found = |target, kernel: &[u64]| program(target, kernel).findings(&super::RULE);
        assert_eq!(found("m4", &[31, 1]).len(), 0);
        assert_eq!(found("m4", &[32, 1]).len(), 1);
        assert_eq!(found("m1", &[1, 14]).len(), 1);
        let square = found("m4", &[14, 14]);
        assert!(square[0].diagnostic.message.starts_with("possible: "));
        assert_eq!(found("m4", &[13, 13]).len(), 0);
    }
}
