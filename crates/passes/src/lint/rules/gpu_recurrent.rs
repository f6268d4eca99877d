//! Recurrent layers on the GPU.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Fix, Found, Rule, Unit};
use crate::lint::scope::Scope;
use crate::lint::target::Family;

pub(super) static RULE: Rule = Rule {
    name: "gpu-recurrent",
    ids: &["MPS09"],
    severity: Severity::Error,
    effect: Effect::Crash,
    units: &[Unit::Gpu],
    confidence: Confidence::Reported,
    summary: "Recurrent layers ended the process or gave noise on the GPU of an M5.",
    details: "\
`lstm`, `gru` and `rnn` loaded for the GPU aborted in `GPURNNOps`, or gave noise at the end of \
the output, on an M5 with OS 27. It is an error for that target with `--unit gpu`, and otherwise \
a warning: nothing of the kind is known of other devices, and a model that is loaded for all \
units may run them elsewhere.

Load the model for CPU only or for CPU and Neural Engine (these layers run on the CPU then), or \
unroll short sequences.",
    sources: &[
        "FluidInference/FluidAudio#667",
        "FluidInference/FluidAudio#843",
        "FluidInference/FluidAudio#889",
    ],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let on_gpu = !scope.units.ane && scope.target.family() == Family::H17;
    let severity = match on_gpu {
        true => Severity::Error,
        false => Severity::Warning,
    };
    let found = scope.of_type(&["gru", "lstm", "rnn"]).map(|id| {
        let message = format!(
            "`{}` ended the process or gave noise on the GPU of an M5",
            scope.op(id).op_type
        );
        Found::at(scope.at(id), message)
            .severity(severity)
            .help("load the model without the GPU")
            .fix(Fix::Hint("cpu-and-ne"))
    });
    found.collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(recurrent: bool) -> Sketch {
        let mut s = Sketch::for_target("m5").units("gpu");
        let x = s.input("x", Float16, &[4, 1, 8]);
        let x = match recurrent {
            false => s.op("tanh", &[("x", x)]),
            true => {
                let h = s.weight(Float16, &[1, 8]);
                let (input, hidden) = (s.weight(Float16, &[8, 8]), s.weight(Float16, &[8, 8]));
                let args = [
                    ("x", x),
                    ("initial_h", h),
                    ("weight_ih", input),
                    ("weight_hh", hidden),
                ];
                s.op("rnn", &args)
            }
        };
        s.output(x);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(true)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(false)
    }
}
