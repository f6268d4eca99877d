//! Programs that break the rules of MIL.

use milwright_ir::{Severity, verify};

use crate::lint::finding::{Confidence, Effect, Found, Rule};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "invalid-program",
    ids: &[],
    severity: Severity::Error,
    effect: Effect::Load,
    units: &[],
    confidence: Confidence::Documented,
    summary: "A type, a name or a parameter that MIL does not allow.",
    details: "\
What the verifier says, which every rewrite is checked by, too: values that are read before they are there, names that \
are given twice, parameters that an operation does not have or lacks, constants whose bytes are not as many as their type \
needs, and results whose declared type is not what the operation gives for its operands. Core ML's compiler or its loader \
refuses such a program; a program that a person or a script edited has them.

A warning is what this version does not know: an operation of another name, an opset that is newer.",
    sources: &["the definitions of the operations in apple/coremltools 9.0"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let found = verify(scope.program, scope.blobs).into_iter();
    let is_here = |function: &Option<String>| match function {
        Some(name) => *name == scope.function.name,
        None => true,
    };
    let here = found.filter(|d| is_here(&d.location.function));
    let found = here.map(|d| {
        // A place of nothing is the model as a whole.
        let found = match d.location.function {
            Some(_) => Found::at(d.location, d.message),
            None => Found::model(d.message),
        };
        let found = d.context.into_iter().fold(found, Found::note);
        match d.help {
            Some(help) => found.help(help),
            None => found,
        }
        .severity(d.severity)
    });
    found.collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;
    use milwright_ir::{Severity, TensorType};

    use crate::lint::testing::Sketch;

    fn program(declared: u64) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64]);
        let y = s.op("relu", &[("x", x)]);
        s.program.values[y].ty = TensorType::fixed(Float16, &[1, declared]).into();
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(65)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(64)
    }

    #[test]
    fn what_is_not_known_is_a_warning() {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64]);
        let y = s.op("relu", &[("x", x)]);
        let op = s.program.def_op(y).unwrap();
        s.program.ops[op].op_type = "another".into();
        s.program.ops[op].def = None;
        s.output(y);
        let found = s.findings(&super::RULE);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].diagnostic.severity, Severity::Warning);
    }
}
