//! Large kernels.

use std::collections::BTreeMap;

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
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

/// What is wrong with a kernel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Wide,
    High,
    Square,
}

/// One finding for each fault, with the largest kernel.
fn check(scope: &Scope<'_>) -> Vec<Found> {
    let mut faults: BTreeMap<Fault, (u64, Vec<OpId>)> = BTreeMap::new();
    let (widest, highest, squarest) = limits(scope.target.family());
    for id in scope.of_type(&["conv"]) {
        let Some((width, height)) = kernel(scope, id) else {
            continue;
        };
        let (fault, size) = if width > widest {
            (Fault::Wide, width)
        } else if height > highest {
            (Fault::High, height)
        } else if width == height && width >= squarest {
            (Fault::Square, width)
        } else {
            continue;
        };
        let (largest, ops) = faults.entry(fault).or_default();
        *largest = size.max(*largest);
        ops.push(id);
    }
    let found = faults.into_iter().filter_map(|(fault, (size, ops))| {
        let found = Found::each(scope.at_all(ops), |n| {
            let ops = counted(n, "convolution");
            match fault {
                Fault::Wide => format!("{ops} with kernels up to {size} wide; at most {widest} is taken"),
                Fault::High => format!("{ops} with kernels up to {size} high; at most {highest} is taken"),
                Fault::Square => {
                    format!("{ops} with square kernels up to {size}; from {squarest} on compiling may take minutes")
                }
            }
        })?;
        let found = found.number(size);
        let help = "compose smaller kernels, or move part of the width into the channels";
        Some(match fault {
            Fault::Wide => found.limit(widest).help(help),
            Fault::High => found.limit(highest).help(help),
            Fault::Square => found.limit(squarest).confidence(Confidence::Folklore),
        })
    });
    found.collect()
}

/// The widest and the highest kernel that is taken, and the smallest square one
/// that may compile for minutes.
fn limits(family: Family) -> (u64, u64, u64) {
    match family {
        Family::H13 => (13, 31, 14),
        _ => (15, 31, 14),
    }
}

/// Width and height of a kernel.
fn kernel(scope: &Scope<'_>, id: OpId) -> Option<(u64, u64)> {
    let spatial = scope.param(id, "weight")?.shape.len().checked_sub(2)?;
    let width = scope.size_from_back(id, "weight", 0)?;
    let height = match spatial {
        1 => 1,
        _ => scope.size_from_back(id, "weight", 1)?,
    };
    Some((width, height))
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
