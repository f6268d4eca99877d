//! A recorded case: a model, its inputs step by step, and what must come out.
#![allow(dead_code, reason = "no test file uses all of it")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use milwright_interp::{Observer, Options, Precision};
use milwright_ir::sizes::Shapes;
use milwright_ir::{DataType, Model};
use milwright_verify::features::{Input, inputs_of};
use milwright_verify::inputs::Feed;
use milwright_verify::{Array, NamedArrays, Stage, Subject, npz};
use serde::Deserialize;
use tempfile::TempDir;

/// `case.json`.
#[derive(Clone, Deserialize)]
pub(crate) struct About {
    pub(crate) id: String,
    pub(crate) test: String,
    pub(crate) params: String,
    pub(crate) precision: String,
    pub(crate) opset: String,
    pub(crate) ops: Vec<String>,
    steps: usize,
    atol: f64,
    rtol: f64,
}

/// How a case passes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// Within the recorded tolerance.
    Plain,
    /// Labelled fp32, but the program holds fp16: within the tolerance and one
    /// unit in the last place of fp16. What coremltools' tests expect there was
    /// computed from numbers that the model has only rounded to fp16.
    LastPlace,
}

pub(crate) struct Case {
    pub(crate) about: About,
    pub(crate) model: Model,
    /// Inputs and expected outputs of each step.
    steps: Vec<(NamedArrays, NamedArrays)>,
    /// Weights are read when they are needed.
    folder: Arc<TempDir>,
}

/// The archives of all cases; `None`, and a word about it, when there are none.
pub(crate) fn archives() -> Option<Vec<PathBuf>> {
    let given = std::env::var_os("MILWRIGHT_CONFORMANCE");
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance");
    let folder = given.as_ref().map_or(beside, PathBuf::from);
    if given.is_none() && !folder.is_dir() {
        println!("skipped: {} is not there", folder.display());
        return None;
    }
    let entries = std::fs::read_dir(&folder).unwrap();
    let mut archives: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "zip"))
        .collect();
    archives.sort();
    assert!(!archives.is_empty(), "no case in {}", folder.display());
    Some(archives)
}

impl Case {
    pub(crate) fn open(archive: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut zip = zip::ZipArchive::new(std::fs::File::open(archive).unwrap()).unwrap();
        zip.extract(folder.path()).unwrap();
        let at = |name: String| folder.path().join(name);
        let about = std::fs::read(at("case.json".to_owned())).unwrap();
        let about: About = serde_json::from_slice(&about).unwrap();
        let steps = (0..about.steps)
            .map(|n| {
                let inputs = npz::load(&at(format!("inputs.{n}.npz"))).unwrap();
                let expected = npz::load(&at(format!("expected.{n}.npz"))).unwrap();
                assert!(!expected.is_empty(), "{}: nothing is expected", about.id);
                (inputs, expected)
            })
            .collect();
        let model = Model::open(at("model.mlpackage".to_owned())).unwrap();
        Self {
            about,
            model,
            steps,
            folder: Arc::new(folder),
        }
    }

    /// The shapes of the inputs of the first step, as the program takes them;
    /// those that every step has.
    pub(crate) fn input_shapes(&self) -> Shapes {
        let program = self.model.program();
        let inputs = inputs_of(program, program.function(None).unwrap(), None);
        let shapes = |arrays: &NamedArrays| -> Shapes {
            let taken = as_taken(arrays, &inputs);
            let known = taken
                .iter()
                .filter(|(name, _)| inputs.iter().any(|i| i.name == *name));
            known
                .map(|(name, a)| {
                    let shape = a.shape().iter().map(|&d| d as u64).collect();
                    (name.to_owned(), shape)
                })
                .collect()
        };
        let mut first = shapes(&self.steps[0].0);
        for (arrays, _) in &self.steps[1..] {
            let other = shapes(arrays);
            first.retain(|name, shape| other.get(name) == Some(shape));
        }
        first
    }

    /// The inputs of each step, as the program takes them.
    pub(crate) fn feeds(&self) -> Vec<Feed> {
        let stage = Stage::new(self.subject(), Options::default()).unwrap();
        let steps = self.steps.iter();
        steps
            .map(|(inputs, _)| {
                let inputs = as_taken(inputs, stage.inputs());
                stage.feed(&inputs, "the case").unwrap()
            })
            .collect()
    }

    fn subject(&self) -> Subject<'_> {
        Subject {
            name: &self.about.id,
            program: self.model.program(),
            blobs: &self.model,
            signature: None,
            function: None,
        }
    }

    /// Runs all steps on one state, in the mode of the case's precision; `Err`
    /// says what is wrong.
    pub(crate) fn run(&self, observer: &mut Observer<'_>) -> Result<Fit, String> {
        let precision = match self.about.precision.as_str() {
            "fp16" => Precision::Native,
            "fp32" => Precision::Fp32,
            other => return Err(format!("unknown precision {other}")),
        };
        self.run_in(precision, observer)
    }

    /// As [`Case::run`], in a precision of choice.
    pub(crate) fn run_in(
        &self,
        precision: Precision,
        observer: &mut Observer<'_>,
    ) -> Result<Fit, String> {
        let About { atol, rtol, .. } = self.about;
        let plain = |e: f64| atol + rtol * e.abs();
        let mut fit = Fit::Plain;
        self.run_and(precision, observer, |out, expected| {
            compare(out, expected, plain).or_else(|misfit| {
                let widened = |e: f64| plain(e) + last_place(e);
                if self.about.precision == "fp32"
                    && self.holds_fp16()
                    && compare(out, expected, widened).is_ok()
                {
                    fit = Fit::LastPlace;
                    return Ok(());
                }
                Err(misfit)
            })
        })?;
        Ok(fit)
    }

    /// Runs all steps; no output may be off by more than `off`.
    pub(crate) fn run_within(&self, off: f64) -> Result<(), String> {
        self.run_and(Precision::Fp32, &mut |_, _| {}, |out, expected| {
            compare(out, expected, |_| off)
        })
    }

    /// The case with the model as it is in the file.
    pub(crate) fn again(&self) -> Self {
        Self {
            about: self.about.clone(),
            model: Model::open(self.folder.path().join("model.mlpackage")).unwrap(),
            steps: self.steps.clone(),
            folder: Arc::clone(&self.folder),
        }
    }

    fn run_and(
        &self,
        precision: Precision,
        observer: &mut Observer<'_>,
        mut check: impl FnMut(&Array, &Array) -> Result<(), String>,
    ) -> Result<(), String> {
        let options = Options {
            precision,
            // More than any case needs, should a broken one never end.
            step_limit: 1000,
            ..Options::default()
        };
        let mut stage = Stage::new(self.subject(), options).map_err(|e| chain(&e))?;
        for (step, (inputs, expected)) in self.steps.iter().enumerate() {
            let inputs = as_taken(inputs, stage.inputs());
            let feed = stage.feed(&inputs, "the case").map_err(|e| chain(&e))?;
            let outputs = stage
                .step_observed(&feed, observer)
                .map_err(|e| chain(&e))?;
            for (name, expected) in expected.iter() {
                let output = outputs
                    .iter()
                    .find(|o| o.name == name)
                    .ok_or_else(|| format!("step {step}: there is no output `{name}`"))?;
                check(&output.array, expected)
                    .map_err(|e| format!("step {step}, `{name}`: {e}"))?;
            }
        }
        Ok(())
    }

    /// Whether a value of the program is declared as fp16.
    fn holds_fp16(&self) -> bool {
        let values = &self.model.program().values;
        values.ids().any(|id| {
            let ty = values[id].ty.as_tensor();
            ty.is_some_and(|ty| ty.dtype == DataType::Float16)
        })
    }
}

/// One unit in the last place of an fp16 of that size.
fn last_place(value: f64) -> f64 {
    let exponent = value.abs().max(2f64.powi(-14)).log2().floor();
    2f64.powf(exponent - 10.0)
}

/// The arrays as Core ML converts them for its caller: whole numbers to the
/// integers that an input takes, and a scalar to one element.
pub(crate) fn as_taken(arrays: &NamedArrays, inputs: &[Input]) -> NamedArrays {
    let mut taken = NamedArrays::new();
    for (name, array) in arrays.iter() {
        let mut array = array.clone();
        if let Some(input) = inputs.iter().find(|i| i.name == name) {
            let wide = array.data().to_f64();
            if !input.ty.dtype.is_float() && wide.iter().all(|v| v.fract() == 0.0) {
                let whole: Vec<i64> = wide.into_iter().map(|v| v as i64).collect();
                array = Array::new(array.shape().to_vec(), whole.into()).unwrap();
            }
            if array.shape().is_empty() && input.ty.rank() == Some(1) {
                array = Array::new(vec![1], array.data().clone()).unwrap();
            }
        }
        taken.insert(name, array);
    }
    taken
}

/// An error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// `|out - expected| <= bound(expected)`, NaN equal to NaN. As in coremltools'
/// own comparison, a scalar may stand for one element: an output of Core ML has
/// at least one dimension.
pub(crate) fn compare(
    out: &Array,
    expected: &Array,
    bound: impl Fn(f64) -> f64,
) -> Result<(), String> {
    let scalar = |shape: &[usize]| shape.is_empty() || shape == [1];
    if out.shape() != expected.shape() && !(scalar(out.shape()) && scalar(expected.shape())) {
        return Err(format!(
            "shape {:?}, expected {:?}",
            out.shape(),
            expected.shape()
        ));
    }
    let (out, expected) = (out.data().to_f64(), expected.data().to_f64());
    // An infinite expectation makes the bound infinite too.
    let near = |o: f64, e: f64| {
        o == e || (o.is_nan() && e.is_nan()) || (o - e).abs() <= bound(e) && e.is_finite()
    };
    let wrong: Vec<usize> = (0..out.len())
        .filter(|&i| !near(out[i], expected[i]))
        .collect();
    match wrong.first() {
        None => Ok(()),
        Some(&i) => Err(format!(
            "{} of {} elements differ; element {i} is {}, expected {}",
            wrong.len(),
            out.len(),
            out[i],
            expected[i]
        )),
    }
}
