//! The types that the op table infers are those that real files declare.

use crate::corpus;

use milwright_ir::{Model, OpView, ValueType};

/// What a corpus has shown so far.
#[derive(Default)]
struct Tally {
    ops: usize,
    outputs: usize,
    /// Outputs whose sizes are all inferred.
    exact: usize,
    unknown_types: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn model(&mut self, name: &str, model: &Model) {
        let program = model.program();
        for id in program.live_ops() {
            let op = &program.ops[id];
            let Some(def) = op.def else {
                self.unknown_types += 1;
                continue;
            };
            self.ops += 1;
            let place = || format!("{name}: {}", program.describe_op(id));
            let inferred = match def.infer(&OpView::new(program, id, model)) {
                Ok(types) => types,
                Err(error) => {
                    self.wrong.push(format!("{}: {error}", place()));
                    continue;
                }
            };
            if inferred.len() != op.outputs.len() {
                self.wrong.push(format!(
                    "{}: {} outputs inferred, {} declared",
                    place(),
                    inferred.len(),
                    op.outputs.len()
                ));
            }
            for (inferred, &value) in inferred.iter().zip(&op.outputs) {
                let declared = &program.values[value].ty;
                self.outputs += 1;
                self.exact += usize::from(inferred == declared);
                if !inferred.fits(declared) {
                    self.wrong.push(format!(
                        "{}: inferred {inferred}, declared {declared}",
                        place()
                    ));
                }
            }
        }
    }

    fn finish(self, what: &str, files: usize) {
        println!(
            "{what}: {files} files, {} operations, {} outputs, {} of them exactly, {} operations \
             of unknown type, {} mismatches",
            self.ops,
            self.outputs,
            self.exact,
            self.unknown_types,
            self.wrong.len()
        );
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
    }
}

#[test]
fn inferred_types_are_the_declared_ones_of_real_models() {
    let mut tally = Tally::default();
    let models = corpus::models();
    assert!(!models.is_empty());
    for (name, model) in &models {
        tally.model(name, model);
    }
    tally.finish("models", models.len());
}

#[test]
fn inferred_types_are_the_declared_ones_of_the_conformance_cases() {
    let mut tally = Tally::default();
    let files = corpus::conformance(|name, model| tally.model(name, model));
    tally.finish("conformance", files);
}

#[test]
fn types_fit_when_known_parts_agree() {
    use milwright_ir::{DataType, Dim, TensorType};
    let tensor = |shape: &[Dim]| ValueType::from(TensorType::new(DataType::Float32, shape));
    let fixed = tensor(&[Dim::Known(2), Dim::Known(3)]);
    assert!(fixed.fits(&tensor(&[Dim::Unknown, Dim::Known(3)])));
    assert!(fixed.fits(&tensor(&[Dim::Variadic])));
    assert!(!fixed.fits(&tensor(&[Dim::Known(2)])));
    assert!(!fixed.fits(&tensor(&[Dim::Known(2), Dim::Known(4)])));
    let other = TensorType::fixed(DataType::Float16, &[2, 3]);
    assert!(!fixed.fits(&other.into()));
}
