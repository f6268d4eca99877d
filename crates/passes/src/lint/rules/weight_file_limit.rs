//! Weight files that the Neural Engine refuses.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Fix, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "weight-file-limit",
    ids: &["SZ01"],
    severity: Severity::Error,
    effect: Effect::Load,
    units: &[Unit::Ane],
    confidence: Confidence::Reported,
    summary: "A weight file has more than 2 GiB.",
    details: "\
The compiler for the Neural Engine names its limit when it refuses: 2147483648 bytes for one \
weight file. Larger files were seen to fail on telephones and Macs.

Split the model into several, or compress the weights.",
    sources: &["apple/coremltools#2593", "apple/coremltools#1807"],
    disputed: None,
    check,
};

const LIMIT: u64 = 1 << 31;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let large = scope
        .weight_files
        .iter()
        .filter(|(_, bytes)| *bytes > LIMIT);
    let found = large.map(|(name, bytes)| {
        let message = format!("{name} has {bytes} bytes, the Neural Engine takes {LIMIT}");
        Found::model(message)
            .number(*bytes)
            .limit(LIMIT)
            .help("cut the model into parts, or compress its weights")
            .fix(Fix::Bisect("950MB"))
    });
    found.collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(target: &str, bytes: u64) -> Sketch {
        let mut s = Sketch::for_target(target).weight_file("@model_path/weights/weight.bin", bytes);
        let x = s.input("x", Float16, &[1, 64]);
        let x = s.op("relu", &[("x", x)]);
        s.output(x);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program("any", (1 << 31) + 1)
    }

    pub(crate) fn near_miss() -> Sketch {
        program("any", 1 << 31)
    }
}
