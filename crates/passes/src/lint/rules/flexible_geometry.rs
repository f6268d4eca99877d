//! Windows over axes of variable size.

use milwright_ir::Severity;
use milwright_ir::ops::Given;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "flexible-geometry",
    ids: &["FLX12"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Folklore,
    summary: "A convolution or pool that the Neural Engine is said not to take with variable sizes.",
    details: "\
The compiler for the Neural Engine has messages that refuse these when a size is not fixed: a \
convolution of stride above 2, `same` padding with a stride above 1, and pools that round up. \
That the messages exist is known; when they come is not.

Fix the sizes.",
    sources: &["pkhairkh/MILLer ane-constraints-docs/03-placement-and-compiler"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let windows = scope.of_type(&["conv", "conv_transpose", "avg_pool", "max_pool", "l2_pool"]);
    let found = windows.filter_map(|id| {
        let open = scope
            .param(id, "x")?
            .shape
            .iter()
            .any(|d| d.known().is_none());
        let stride = scope
            .ints(id, "strides")
            .unwrap_or_default()
            .into_iter()
            .max()
            .unwrap_or(1);
        let view = scope.view(id);
        let same = |p: &String| p.starts_with("same");
        let same = view
            .string("pad_type")
            .ok()
            .and_then(Given::known)
            .is_some_and(|p| same(&p));
        let up = view.bool("ceil_mode").ok().and_then(Given::known) == Some(true);
        let what = if scope.is_type(id, &["conv"]) && stride > 2 {
            format!("a stride of {stride}")
        } else if same && stride > 1 {
            format!("`same` padding with a stride of {stride}")
        } else if up {
            "a size that is rounded up".to_owned()
        } else {
            return None;
        };
        let message = format!("{what} over an axis of variable size");
        open.then(|| Found::at(scope.at(id), message).help("fix the sizes"))
    });
    found.collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(high: u64) -> Sketch {
        let mut s = Sketch::new();
        let x = s.ranged(
            "x",
            Float16,
            &[(1, Some(1)), (4, Some(4)), (64, Some(high))],
        );
        let weight = s.weight(Float16, &[4, 4, 3]);
        let y = s.conv(x, weight, &[4]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(128)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(64)
    }
}
