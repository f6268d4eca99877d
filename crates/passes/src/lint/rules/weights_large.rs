//! Models that are large for a telephone.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Fix, Found, Rule, Unit};
use crate::lint::scope::Scope;
use crate::lint::target::Target;

pub(super) static RULE: Rule = Rule {
    name: "weights-large",
    ids: &["SZ02", "SZ04", "SZ05", "SZ06"],
    severity: Severity::Error,
    effect: Effect::Load,
    units: &[Unit::Ane],
    confidence: Confidence::Documented,
    summary: "The weights are more than what a telephone loads for the Neural Engine.",
    details: "\
coremltools documents that a model for a telephone cannot be larger than 1 GB; those who ship \
large models keep each part below 950 MB. The finding is an error when the target is a \
telephone, and a warning when it is not known. On Macs and newer telephones, models of more than \
1.0 to 1.4 GB were seen to run on the GPU without a word. One report has a model of 667 MB that \
the compiler refused; below 1 GB nothing is found here.

Split the model into parts of at most 950 MB, or compress the weights to 6 bits or fewer.",
    sources: &[
        "apple/coremltools docs-guides/source/mlmodel-utilities.md",
        "apple/ml-stable-diffusion README.md",
        "Anemll/Anemll docs/convert.md",
        "john-rocky/CoreML-LLM docs/DECODE_STATE_LAYOUTS.md",
        "apple/coremltools#2503",
        "apple/coremltools#2758",
    ],
    disputed: Some(
        "Where it begins differs: 1 GB was seen to work on an iPhone 15 and fail on an iPhone \
         16; other sources name 2 or 4 GB for Macs.",
    ),
    check,
};

const LIMIT: u64 = 1_000_000_000;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let sizes = scope.weight_files.iter().map(|(_, bytes)| *bytes);
    let bytes = sizes.fold(0, u64::saturating_add);
    if bytes <= LIMIT {
        return Vec::new();
    }
    let (what, severity) = if scope.target == Target::Any {
        ("a telephone is documented to take", Severity::Warning)
    } else if scope.target.may_be_phone() {
        ("a telephone is documented to take", Severity::Error)
    } else {
        (
            "models were seen to leave the Neural Engine from about",
            Severity::Warning,
        )
    };
    let message = format!("the weights are {bytes} bytes; {what} {LIMIT}");
    let found = Found::model(message)
        .number(bytes)
        .limit(LIMIT)
        .severity(severity);
    let help = "cut the model into parts of at most 950 MB, or compress its weights";
    vec![found.help(help).fix(Fix::Bisect("950MB"))]
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
        program("iphone15", 1_000_000_001)
    }

    pub(crate) fn near_miss() -> Sketch {
        program("iphone15", 1_000_000_000)
    }

    #[test]
    fn an_unknown_device_is_a_warning() {
        let severity = |target| {
            let found = program(target, 1_500_000_000).findings(&super::RULE);
            found[0].diagnostic.severity
        };
        assert_eq!(severity("a17"), milwright_ir::Severity::Error);
        assert_eq!(severity("any"), milwright_ir::Severity::Warning);
        assert_eq!(severity("m3"), milwright_ir::Severity::Warning);
    }
}
