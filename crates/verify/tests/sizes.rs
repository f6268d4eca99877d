//! The sizes that are inferred, against those that a run has.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking and print what they checked"
)]

mod cases;
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use milwright_interp::{Options, Value};
use milwright_ir::features::{Description, Flexibility, Signature};
use milwright_ir::sizes::{Corner, Shapes, corners};
use milwright_ir::{
    Arg, BlobSource, Function, Model, OpId, Program, Sizes, ValueDef, ValueId, ValueType,
};
use milwright_verify::inputs::{Ranges, random};
use milwright_verify::{Stage, Subject};
use rayon::prelude::*;

/// What was compared.
#[derive(Default)]
struct Tally {
    models: usize,
    runs: usize,
    /// Runs that neither the inference nor the interpreter takes.
    refused: usize,
    /// Runs that only the interpreter refuses.
    later: Vec<String>,
    values: BTreeSet<(String, ValueId)>,
    known: BTreeSet<(String, ValueId)>,
    /// Small values that were computed from sizes, element by element.
    computed: BTreeSet<(String, ValueId)>,
    /// Where unknown sizes begin: operations that give them, but have operands
    /// of known size.
    unknown: BTreeMap<String, usize>,
    /// Of those, the ones whose size does not depend on the values of inputs.
    missed: Vec<String>,
    /// What contradicts a run.
    wrong: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.models += other.models;
        self.runs += other.runs;
        self.refused += other.refused;
        self.later.extend(other.later);
        self.values.extend(other.values);
        self.known.extend(other.known);
        self.computed.extend(other.computed);
        self.wrong.extend(other.wrong);
        self.missed.extend(other.missed);
        for (op, count) in other.unknown {
            *self.unknown.entry(op).or_default() += count;
        }
    }

    fn print(&self, what: &str) {
        println!(
            "{what}: {} models, {} runs ({} refused by both, {} by the interpreter only), {} \
             values, {} of known size, {} computed from sizes",
            self.models,
            self.runs,
            self.refused,
            self.later.len(),
            self.values.len(),
            self.known.len(),
            self.computed.len(),
        );
        println!("  unknown sizes begin at: {:?}", self.unknown);
        for line in &self.later {
            println!("  interpreter only: {line}");
        }
    }
}

/// A run with the inferred sizes beside it.
struct Watch<'a> {
    run: &'a str,
    program: &'a Program,
    sizes: &'a Sizes,
    tally: Tally,
}

impl Watch<'_> {
    /// Whether the size of an operation's result depends on values that are
    /// known only when the program runs.
    fn is_of_data(&self, op: OpId) -> bool {
        let op = &self.program.ops[op];
        if op.op_type == "non_zero" {
            return true;
        }
        let deciding = op.inputs.iter().filter(|(name, _)| {
            !["x", "values", "indices"].contains(&name.as_str()) || op.op_type == "gather_nd"
        });
        let mut open: Vec<ValueId> = deciding
            .flat_map(|(_, args)| args)
            .filter_map(|arg| match arg {
                Arg::Value(id) => Some(*id),
                Arg::Const(_) => None,
            })
            .collect();
        while let Some(value) = open.pop() {
            match self.program.values[value].def {
                ValueDef::Op(id, _) => {
                    let op = &self.program.ops[id];
                    // A list is as long as its loop has rounds.
                    if op.op_type == "list_length" {
                        return true;
                    }
                    // Sizes that are known depend on nothing.
                    let of_shape =
                        op.op_type == "shape" && op.operands().all(|v| is_known(self.sizes.ty(v)));
                    if !of_shape {
                        open.extend(op.operands());
                    }
                }
                _ => return true,
            }
        }
        false
    }

    fn see(&mut self, op: OpId, values: &[Value]) {
        // What was freed already is not among the values.
        let outputs = &self.program.ops[op].outputs;
        if outputs.len() != values.len() {
            return;
        }
        for (&id, value) in outputs.iter().zip(values) {
            let Value::Tensor(tensor) = value else {
                continue;
            };
            let place = (self.run.to_owned(), id);
            let declared = &self.program.values[id];
            let mut wrong = |problem: String| {
                let op = &self.program.ops[op].op_type;
                let line = format!("{}: {} = {op}: {problem}", self.run, declared.name);
                self.tally.wrong.push(line);
            };
            let ValueType::Tensor(ty) = self.sizes.ty(id) else {
                wrong(format!("inferred as {}", self.sizes.ty(id)));
                continue;
            };
            let dims: Vec<u64> = tensor.dims().iter().map(|&d| d as u64).collect();
            let fits = match ty.rank() {
                None => true,
                Some(rank) => {
                    let mut pairs = ty.shape.iter().zip(&dims);
                    rank == dims.len() && pairs.all(|(d, &n)| d.known().is_none_or(|d| d == n))
                }
            };
            if !fits || ty.dtype != tensor.dtype {
                wrong(format!("inferred as {ty}, but has {dims:?}"));
            }
            if let Some(constant) = self.sizes.constant(id) {
                let wanted = constant.to_f64s(&milwright_ir::NoBlobs).unwrap();
                let flat = tensor.data.flatten_all().unwrap();
                let found: Vec<f64> = flat
                    .to_dtype(candle_core::DType::F64)
                    .unwrap()
                    .to_vec1()
                    .unwrap();
                if wanted != found {
                    wrong(format!("computed {wanted:?}, but is {found:?}"));
                }
                self.tally.computed.insert(place.clone());
            }
            if ty.known_shape().is_some() {
                self.tally.known.insert(place.clone());
            } else if (self.program.ops[op].operands()).all(|v| is_known(self.sizes.ty(v))) {
                let of_data = self.is_of_data(op);
                let op = self.program.ops[op].op_type.clone();
                let line = format!("{}: {} = {op}", self.run, declared.name);
                *self.tally.unknown.entry(op).or_default() += 1;
                if !of_data {
                    self.tally.missed.push(line);
                }
            }
            self.tally.values.insert(place);
        }
    }
}

fn is_known(ty: &ValueType) -> bool {
    !matches!(ty, ValueType::Tensor(t) if t.known_shape().is_none())
}

fn function_of<'p>(program: &'p Program, name: &str) -> &'p Function {
    program.function(Some(name)).unwrap()
}

/// Runs a function at some shapes of its inputs and compares.
fn check(
    name: &str,
    program: &Program,
    blobs: &(impl BlobSource + Sync),
    signature: Option<&Signature>,
    function: &str,
    shapes: &Shapes,
) -> Tally {
    let run = format!("{name} {shapes:?}");
    let subject = Subject {
        name: &run,
        program,
        blobs,
        signature,
        function: Some(function),
    };
    let mut stage = Stage::new(subject, Options::default()).unwrap();
    let mut inputs = stage.inputs().to_vec();
    for input in &mut inputs {
        if let Some(shape) = shapes.get(&input.name) {
            input.default_shape = shape.iter().map(|&d| d as usize).collect();
        }
    }
    let bound = |input: &milwright_verify::features::Input| stage.index_bound(&input.name);
    let arrays = random(&inputs, &Ranges::default(), 0, 0, &bound).unwrap();
    let feed = stage.feed(&arrays, "the test").unwrap();
    let sizes = Sizes::of(program, function_of(program, function), blobs, shapes);
    let mut tally = Tally {
        runs: 1,
        ..Tally::default()
    };
    let sizes = match sizes {
        Ok(sizes) => sizes,
        Err(error) => {
            match stage.step(&feed) {
                Ok(_) => tally.wrong.push(format!("{run}: runs, but: {error}")),
                Err(_) => tally.refused = 1,
            }
            return tally;
        }
    };
    let mut watch = Watch {
        run: &run,
        program,
        sizes: &sizes,
        tally,
    };
    let result = stage.step_observed(&feed, &mut |op, values| watch.see(op, values));
    let mut tally = watch.tally;
    if let Err(error) = result {
        let cause = std::error::Error::source(&error).map_or(String::new(), ToString::to_string);
        tally.later.push(format!("{run}: {error}: {cause}"));
    }
    tally
}

/// Shapes to run a function at: its corners, and some inside of its ranges, as
/// far as they have few elements.
fn shapes_of(signature: &Signature) -> Vec<Shapes> {
    let small = |shapes: &Shapes| {
        let counts = shapes.values().map(|s| s.iter().product::<u64>());
        counts.sum::<u64>() <= 400_000
    };
    let mut found: Vec<Shapes> = Vec::new();
    for (corner, shapes) in corners(signature) {
        if corner == Corner::Lower {
            for more in [1, 6, 37] {
                found.push(stretched(signature, &shapes, more));
            }
        }
        if corner == Corner::Default || small(&shapes) {
            found.push(shapes);
        }
    }
    found.dedup();
    found
}

/// Lower bounds, and so many elements more in each dimension with a range.
fn stretched(signature: &Signature, lower: &Shapes, more: u64) -> Shapes {
    use milwright_ir::features::FeatureKind;
    let mut shapes = lower.clone();
    for feature in &signature.inputs {
        let (ranges, skip) = match &feature.kind {
            FeatureKind::Array(array) => (&array.flexibility, 0),
            FeatureKind::Image(image) => (&image.flexibility, 2),
            _ => continue,
        };
        let (Flexibility::Ranges(ranges), Some(shape)) = (ranges, shapes.get_mut(&feature.name))
        else {
            continue;
        };
        for (size, (low, high)) in shape[skip..].iter_mut().zip(ranges) {
            *size = (low + more).min(high.unwrap_or(u64::MAX));
        }
    }
    shapes
}

/// Every function of a package, at all of its shapes.
fn check_package(path: &Path) -> Tally {
    let package = milwright_package::Package::open(path).unwrap();
    if !package.spec().kind().is_ml_program() {
        return Tally::default();
    }
    let model = Model::from_package(package).unwrap();
    let description = model.spec().description().unwrap();
    let description = Description::from_proto(&description);
    let mut tally = Tally {
        models: 1,
        ..Tally::default()
    };
    let program = model.program();
    for function in &program.functions {
        let name = format!("{} {}", path.display(), function.name);
        let signature = description.signature(&function.name);
        let shapes = signature.map_or_else(|| vec![Shapes::new()], shapes_of);
        for shapes in shapes {
            let one = check(&name, program, &model, signature, &function.name, &shapes);
            tally.add(one);
        }
    }
    tally
}

fn check_all(what: &str, paths: &[std::path::PathBuf]) -> Tally {
    let mut all = Tally::default();
    let each: Vec<Tally> = paths.par_iter().map(|p| check_package(p)).collect();
    each.into_iter().for_each(|tally| all.add(tally));
    all.print(what);
    assert!(all.wrong.is_empty(), "{}", all.wrong.join("\n"));
    all
}

#[test]
fn our_models_have_the_sizes_that_are_inferred() {
    let all = check_all("fixtures", &common::packages(&common::fixtures()));
    assert!(all.runs > all.models);
    assert_eq!(all.known.len(), all.values.len());
}

#[test]
fn the_shared_models_have_the_sizes_that_are_inferred() {
    let Some(folder) = common::shared() else {
        return;
    };
    let all = check_all("shared models", &common::packages(&folder));
    assert!(all.runs > all.models);
    assert_eq!(all.known.len(), all.values.len());
}

#[test]
fn the_recorded_cases_have_the_sizes_that_are_inferred() {
    let Some(archives) = cases::archives() else {
        return;
    };
    let each: Vec<Tally> = archives
        .par_iter()
        .map(|path| {
            let case = cases::Case::open(path);
            let program = case.model.program();
            let function = program.function(None).unwrap();
            let shapes = case.input_shapes();
            let mut tally = Tally {
                models: 1,
                runs: 1,
                ..Tally::default()
            };
            let sizes = match Sizes::of(program, function, &case.model, &shapes) {
                Ok(sizes) => sizes,
                Err(error) => {
                    match case.run(&mut |_, _| {}) {
                        Ok(_) => tally.wrong.push(format!("{}: {error}", case.about.id)),
                        Err(_) => tally.refused = 1,
                    }
                    return tally;
                }
            };
            let mut watch = Watch {
                run: &case.about.id,
                program,
                sizes: &sizes,
                tally,
            };
            // Whether it passes is for another test.
            let _ = case.run(&mut |op, values| watch.see(op, values));
            watch.tally
        })
        .collect();
    let mut all = Tally::default();
    each.into_iter().for_each(|tally| all.add(tally));
    all.print("recorded cases");
    assert!(all.wrong.is_empty(), "{}", all.wrong.join("\n"));
    assert!(all.missed.is_empty(), "{}", all.missed.join("\n"));
    assert!(!all.computed.is_empty());
}
