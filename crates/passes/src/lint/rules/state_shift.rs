//! States that are shifted to make room.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::patterns::reads_state;
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "state-shift",
    ids: &["ST05"],
    severity: Severity::Error,
    effect: Effect::Load,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "A state is written back as a part of itself and something new, concatenated.",
    details: "\
`state = concat(state[1:], new)`: dropping the oldest row and adding one at the end. On iPhones \
the Neural Engine refuses it with error -14.

Write into a rotating buffer: keep the rows where they are and replace the oldest by a mask.",
    sources: &["john-rocky/CoreML-LLM docs/DECODE_STATE_LAYOUTS.md"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let writes = [("write_state", "data"), ("coreml_update_state", "value")];
    let shifted = scope.active().filter(|&id| {
        let mut writes = writes.iter();
        let write = writes.find(|(op_type, _)| scope.is_type(id, &[op_type]));
        write.is_some_and(|(_, data)| is_shifted(scope, id, data))
    });
    let found = shifted.map(|id| {
        let message = "a state is shifted by concatenation before it is written back";
        Found::at(scope.at(id), message)
            .help("replace the oldest row of a rotating buffer by a mask")
    });
    found.collect()
}

const SLICES: [&str; 2] = ["slice_by_index", "slice_by_size"];

/// Whether what is written is a concatenation with a part of a state, or a part
/// of a concatenation with a state.
fn is_shifted(scope: &Scope<'_>, id: OpId, data: &str) -> bool {
    let Some(mut made) = scope.source(id, data) else {
        return false;
    };
    let cut = scope.is_type(made, &SLICES);
    if cut {
        match scope.source(made, "x") {
            Some(before) => made = before,
            None => return false,
        }
    }
    if !scope.is_type(made, &["concat"]) {
        return false;
    }
    scope.op(made).operands().any(|v| {
        let part = scope.program.def_op(v);
        part.is_some_and(|part| match cut {
            true => scope.is_type(part, &["read_state"]),
            false => scope.is_type(part, &SLICES) && reads_state(scope, part, "x"),
        })
    })
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::Arg;
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(shifted: bool) -> Sketch {
        let mut s = Sketch::new();
        let state = s.state("cache", Float16, &[8, 64]);
        let new = s.input("new", Float16, &[1, 64]);
        let x = s.op("read_state", &[("input", state)]);
        let (begin, end) = (s.ints(&[1, 0]), s.ints(&[8, 64]));
        let rest = match shifted {
            true => x,
            false => s.op("relu", &[("x", x)]),
        };
        let rest = s.op(
            "slice_by_index",
            &[("x", rest), ("begin", begin), ("end", end)],
        );
        let (axis, interleave) = (s.int(0), s.bool(false));
        let values = vec![Arg::Value(rest), Arg::Value(new)];
        let one = |v| vec![Arg::Value(v)];
        let all = vec![
            ("values", values),
            ("axis", one(axis)),
            ("interleave", one(interleave)),
        ];
        let x = s.any_op("concat", all)[0];
        s.typed_op("write_state", &[("input", state), ("data", x)], &[]);
        s.output(x);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(true)
    }

    /// What is kept is not the state as it was.
    pub(crate) fn near_miss() -> Sketch {
        program(false)
    }
}
