//! The types that the op table infers are those that real files declare.

use crate::corpus;

use milwright_ir::{Model, NoBlobs, OpView, ValueType};

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

/// Shapes of `cond`, `a` and `b`, and of the result where there is one. Those
/// without `?` and with a result are what coremltools 9.0 infers; where there
/// is none, it ignores `cond`.
#[test]
fn select_has_the_shape_of_its_values() {
    let cases = [
        ("[3]", "[3]", "[3]", Some("[3]")),
        ("[1]", "[2, 3]", "[3]", Some("[2, 3]")),
        ("[]", "[2, 3]", "[]", Some("[2, 3]")),
        ("[2, 1, 4]", "[3, 4]", "[2, 3, 1]", Some("[2, 3, 4]")),
        ("[2, 3]", "[2, 1]", "[1, 3]", Some("[2, 3]")),
        ("[?, 3]", "[2, 3]", "[2, 3]", Some("[2, 3]")),
        ("[?, 3]", "[1, 3]", "[3]", Some("[1, 3]")),
        ("[2, 3]", "[?, 3]", "[1, 3]", Some("[2, 3]")),
        ("[1, 3]", "[?, 3]", "[1, 3]", Some("[?, 3]")),
        ("[?]", "[?]", "[1]", Some("[?]")),
        ("[2, 3]", "[3]", "[3]", None),
        ("[2, 3]", "[1, 3]", "[1, 1]", None),
        ("[2, 3]", "[]", "[]", None),
        ("[?]", "[]", "[]", None),
        ("[1, 2, 3]", "[2, 3]", "[2, 3]", None),
        ("[5]", "[3]", "[3]", None),
        ("[2, 4]", "[3, 4]", "[3, 4]", None),
    ];
    for (cond, a, b, expected) in cases {
        let text = format!(
            "program(1.3)\n{{\n    func main<ios17>(tensor<fp32, {a}> a, tensor<fp32, {b}> b, \
             tensor<bool, {cond}> c) {{\n        tensor<fp32, [1]> y = select(a = a, b = b, \
             cond = c);\n    }} -> (y);\n}}\n"
        );
        let program = milwright_ir::text::parse(&text).unwrap().program;
        let op = program.all_ops()[0];
        let view = OpView::new(&program, op, &NoBlobs);
        let found = view.op.def.unwrap().infer(&view);
        let found = found.map(|types| types[0].to_string());
        match expected {
            Some(shape) => assert_eq!(found, Ok(format!("tensor<fp32, {shape}>")), "{text}"),
            None => assert!(found.is_err(), "{text}: {found:?}"),
        }
    }
}
