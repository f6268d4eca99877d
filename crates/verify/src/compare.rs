//! Runs a model beside its reference, step after step.

use std::collections::HashMap;

use milwright_interp::{Tensor, Value};
use milwright_ir::OpId;
use milwright_ir::names::nearest;

use crate::array::{Array, Kind, NamedArrays};
use crate::error::Error;
use crate::inputs::Feed;
use crate::metrics::{Accumulator, Tolerance};
use crate::output::{Output, to_array};
use crate::report::{Departure, OutputReport, PerOp};
use crate::stage::Stage;

/// One output in the making.
struct Column {
    name: String,
    accumulator: Accumulator,
    dtype: String,
    ref_dtype: String,
    shape: Vec<usize>,
    problem: Option<String>,
    compared: bool,
}

/// Collects the differences of every output over the steps.
pub struct Comparison {
    tolerance: Tolerance,
    columns: Vec<Column>,
    not_compared: Vec<String>,
}

impl Comparison {
    /// Nothing compared yet.
    pub fn new(tolerance: Tolerance) -> Self {
        Comparison {
            tolerance,
            columns: Vec::new(),
            not_compared: Vec::new(),
        }
    }

    /// Adds a step of two models. An output that one of them lacks, and a
    /// float on one side against an integer on the other, is a difference.
    pub fn add_models(&mut self, step: usize, out: &[Output], reference: &[Output]) {
        for o in out {
            match reference.iter().find(|r| r.name == o.name) {
                Some(r) => {
                    let problem = (kind(o) != kind(r))
                        .then(|| format!("the model gives {}, the reference {}", o.dtype, r.dtype));
                    self.add(step, o, &r.array, r.dtype.to_string(), problem);
                }
                None => self.missing(&o.name, "the reference has no such output"),
            }
        }
        for r in reference {
            if !out.iter().any(|o| o.name == r.name) {
                self.missing(&r.name, "the model has no such output");
            }
        }
    }

    /// Adds a step against expected values, whose element types need not be
    /// the model's. Outputs without expected values are noted.
    ///
    /// # Errors
    /// [`Error::Expected`] when there is a value for something that is no
    /// output, or no value at all.
    pub fn add_arrays(
        &mut self,
        step: usize,
        out: &[Output],
        expected: &NamedArrays,
        function: &str,
        origin: &str,
    ) -> Result<(), Error> {
        check_expected(
            out.iter().map(|o| o.name.as_str()),
            expected,
            function,
            origin,
        )?;
        for o in out {
            match expected.get(&o.name) {
                Some(r) => self.add(step, o, r, r.dtype().name().to_owned(), None),
                None if self.not_compared.contains(&o.name) => {}
                None => self.not_compared.push(o.name.clone()),
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        step: usize,
        out: &Output,
        reference: &Array,
        ref_dtype: String,
        problem: Option<String>,
    ) {
        let tolerance = self.tolerance;
        let column = self.column(&out.name, || Column {
            name: out.name.clone(),
            accumulator: Accumulator::new(tolerance),
            dtype: out.dtype.to_string(),
            ref_dtype,
            shape: Vec::new(),
            problem: None,
            compared: false,
        });
        column.shape = out.array.shape().to_vec();
        let shapes = if column.accumulator.add(step, &out.array, reference) {
            column.compared = true;
            None
        } else {
            Some(format!(
                "step {step}: shape {:?}, the reference has {:?}",
                out.array.shape(),
                reference.shape()
            ))
        };
        column.problem = column.problem.take().or(shapes).or(problem);
    }

    fn missing(&mut self, name: &str, problem: &str) {
        let tolerance = self.tolerance;
        self.column(name, || Column {
            name: name.to_owned(),
            accumulator: Accumulator::new(tolerance),
            dtype: String::new(),
            ref_dtype: String::new(),
            shape: Vec::new(),
            problem: Some(problem.to_owned()),
            compared: false,
        });
    }

    fn column(&mut self, name: &str, new: impl FnOnce() -> Column) -> &mut Column {
        let at = match self.columns.iter().position(|c| c.name == name) {
            Some(at) => at,
            None => {
                self.columns.push(new());
                self.columns.len() - 1
            }
        };
        &mut self.columns[at]
    }

    /// The outputs compared, and those that were not.
    pub fn finish(self) -> (Vec<OutputReport>, Vec<String>) {
        let outputs = self.columns.into_iter().map(Column::finish).collect();
        (outputs, self.not_compared)
    }
}

impl Column {
    fn finish(self) -> OutputReport {
        let metrics = self.accumulator.finish();
        OutputReport {
            name: self.name,
            ok: self.problem.is_none() && self.compared && metrics.within,
            problem: self.problem,
            dtype: self.dtype,
            ref_dtype: self.ref_dtype,
            shape: self.shape,
            metrics: self.compared.then_some(metrics),
        }
    }
}

fn kind(output: &Output) -> Kind {
    output.array.dtype().kind()
}

/// Checks the names of expected values before anything runs.
///
/// # Errors
/// [`Error::Expected`] when there is a value for something that is no output,
/// or no value at all.
pub fn check_expected<'a>(
    outputs: impl Iterator<Item = &'a str>,
    expected: &NamedArrays,
    function: &str,
    origin: &str,
) -> Result<(), Error> {
    let outputs: Vec<&str> = outputs.collect();
    let unknown = expected.names().find(|name| !outputs.contains(name));
    let problem = match unknown {
        Some(name) => match nearest(name, outputs.iter().copied(), 1).first() {
            Some(near) => format!("there is no output `{name}`; did you mean `{near}`?"),
            None => format!("there is no output `{name}`"),
        },
        None if expected.is_empty() => "it holds no expected values".to_owned(),
        None => return Ok(()),
    };
    Err(Error::Expected {
        origin: origin.to_owned(),
        problem,
        function: function.to_owned(),
        outputs: outputs.iter().map(|&o| o.to_owned()).collect(),
    })
}

/// Bytes of intermediate values held at a time by [`per_op`].
const WINDOW: usize = 1 << 30;

/// Compares two models value by value, where their programs share names, and
/// finds the first operation of `model` with an output that departs from
/// `reference`.
///
/// Both run every step as many times as it takes to look at all values without
/// holding more than a gibibyte of them.
///
/// # Errors
/// A model cannot run.
pub fn per_op(
    model: &mut Stage<'_>,
    reference: &mut Stage<'_>,
    steps: &[(Feed, Feed)],
    tolerance: Tolerance,
) -> Result<PerOp, Error> {
    let names = value_names(reference);
    let own = value_names(model);
    let shared = names.keys().filter(|n| own.contains_key(*n)).count();
    let mut result = PerOp {
        compared: 0,
        only_in_one: names.len() + own.len() - 2 * shared,
        first: None,
    };
    for (step, (feed, reference_feed)) in steps.iter().enumerate() {
        let before = (model.states(), reference.states());
        let mut start = 0;
        let mut first: Option<(usize, Departure)> = None;
        let mut compared = 0;
        loop {
            model.set_states(&before.0)?;
            reference.set_states(&before.1)?;
            let window = record(reference, reference_feed, &own, start)?;
            let found = check(model, feed, &window.values, step, tolerance)?;
            compared += found.compared;
            // Windows go along the reference's order, the answer along the
            // model's: only all of them together say which is first.
            if let Some(departure) = found.first
                && first.as_ref().is_none_or(|(at, _)| departure.0 < *at)
            {
                first = Some(departure);
            }
            match window.next {
                Some(next) => start = next,
                None => break,
            }
        }
        result.compared = compared;
        if let Some((_, departure)) = first {
            result.first = Some(departure);
            break;
        }
    }
    Ok(result)
}

/// Every value that an operation of the function gives, by name.
fn value_names(runner: &Stage<'_>) -> HashMap<String, OpId> {
    let program = runner.subject().program;
    let body = runner.function().body();
    body.iter()
        .flat_map(|&b| program.walk(b))
        .filter(|&id| program.ops[id].op_type != "const")
        .flat_map(|id| program.ops[id].outputs.iter().map(move |&v| (id, v)))
        .map(|(id, v)| (program.values[v].name.clone(), id))
        .collect()
}

struct Window {
    values: HashMap<String, Tensor>,
    /// Where the next one starts, in values observed; `None` after the last.
    next: Option<usize>,
}

/// Runs a step and keeps the values from number `start` on, until they fill a
/// window. A value inside a loop is kept as it was in the first round.
fn record(
    runner: &mut Stage<'_>,
    feed: &Feed,
    wanted: &HashMap<String, OpId>,
    start: usize,
) -> Result<Window, Error> {
    let program = runner.subject().program;
    let mut values: HashMap<String, Tensor> = HashMap::new();
    let (mut bytes, mut seen, mut next) = (0usize, 0usize, None);
    runner.step_observed(feed, &mut |op, outputs| {
        for (&id, value) in program.ops[op].outputs.iter().zip(outputs) {
            let name = &program.values[id].name;
            let Value::Tensor(tensor) = value else {
                continue;
            };
            if !wanted.contains_key(name) {
                continue;
            }
            seen += 1;
            if seen <= start || next.is_some() {
                continue;
            }
            let size = tensor.data.elem_count() * tensor.data.dtype().size_in_bytes();
            if !values.is_empty() && bytes.saturating_add(size) > WINDOW {
                next = Some(seen - 1);
                continue;
            }
            if !values.contains_key(name) {
                bytes = bytes.saturating_add(size);
                values.insert(name.clone(), tensor.clone());
            }
        }
    })?;
    Ok(Window { values, next })
}

struct Checked {
    compared: usize,
    /// The first departure with its place in the order of execution.
    first: Option<(usize, Departure)>,
}

fn check(
    runner: &mut Stage<'_>,
    feed: &Feed,
    reference: &HashMap<String, Tensor>,
    step: usize,
    tolerance: Tolerance,
) -> Result<Checked, Error> {
    let program = runner.subject().program;
    let mut seen: std::collections::HashSet<String> = std::collections::HashSet::new();
    let mut checked = Checked {
        compared: 0,
        first: None,
    };
    let mut at = 0;
    runner.step_observed(feed, &mut |op, outputs| {
        at += 1;
        for (&id, value) in program.ops[op].outputs.iter().zip(outputs) {
            let name = &program.values[id].name;
            let (Value::Tensor(out), Some(expected)) = (value, reference.get(name)) else {
                continue;
            };
            if !seen.insert(name.clone()) {
                continue;
            }
            checked.compared += 1;
            if checked.first.is_some() {
                continue;
            }
            let report = one_value(step, name, out, expected, tolerance);
            if !report.ok {
                checked.first = Some((
                    at,
                    Departure {
                        step,
                        op: program.describe_op(op),
                        op_type: program.ops[op].op_type.clone(),
                        value: report,
                    },
                ));
            }
        }
    })?;
    Ok(checked)
}

fn one_value(
    step: usize,
    name: &str,
    out: &Tensor,
    reference: &Tensor,
    tolerance: Tolerance,
) -> OutputReport {
    let mut comparison = Comparison::new(tolerance);
    let output = |t: &Tensor| {
        to_array(t).map(|array| Output {
            name: name.to_owned(),
            dtype: t.dtype,
            array,
        })
    };
    if let (Some(out), Some(reference)) = (output(out), output(reference)) {
        comparison.add_models(step, &[out], &[reference]);
    } else {
        comparison.missing(name, "its type cannot be compared");
    }
    let mut reports = comparison.finish().0;
    // One name was added.
    reports.swap_remove(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Data;
    use milwright_ir::DataType;

    fn array(data: impl Into<Data>) -> Array {
        let data = data.into();
        Array::new(vec![data.len()], data).unwrap()
    }

    fn output(name: &str, dtype: DataType, data: impl Into<Data>) -> Output {
        Output {
            name: name.into(),
            dtype,
            array: array(data),
        }
    }

    #[test]
    fn outputs_of_two_models_are_matched_by_name() {
        let mut c = Comparison::new(Tolerance::default());
        let f = DataType::Float32;
        c.add_models(
            0,
            &[output("a", f, vec![1.0f32]), output("b", f, vec![2.0f32])],
            &[output("b", f, vec![2.0f32]), output("c", f, vec![3.0f32])],
        );
        let (outputs, not_compared) = c.finish();
        let seen: Vec<(&str, bool)> = outputs.iter().map(|o| (o.name.as_str(), o.ok)).collect();
        assert_eq!(seen, [("a", false), ("b", true), ("c", false)]);
        assert!(outputs[0].metrics.is_none() && outputs[0].problem.is_some());
        assert!(not_compared.is_empty());
    }

    #[test]
    fn an_integer_for_a_float_is_a_difference_between_models_only() {
        let mut models = Comparison::new(Tolerance::default());
        models.add_models(
            0,
            &[output("a", DataType::Float32, vec![1.0f32])],
            &[output("a", DataType::Int32, vec![1i32])],
        );
        assert!(!models.finish().0[0].ok);
        let mut files = Comparison::new(Tolerance::default());
        let mut expected = NamedArrays::new();
        expected.insert("a", array(vec![1i64]));
        let out = [output("a", DataType::Float32, vec![1.0f32])];
        files
            .add_arrays(0, &out, &expected, "main", "e.npz")
            .unwrap();
        assert!(files.finish().0[0].ok);
    }

    #[test]
    fn a_wrong_step_fails_the_output_although_others_agree() {
        let mut c = Comparison::new(Tolerance::default());
        let f = DataType::Float32;
        for (step, value) in [1.0f32, 2.0, 3.0].into_iter().enumerate() {
            let reference = if step == 1 { 2.5 } else { value };
            c.add_models(
                step,
                &[output("a", f, vec![value])],
                &[output("a", f, vec![reference])],
            );
        }
        let o = &c.finish().0[0];
        assert!(!o.ok);
        let figures = o.metrics.as_ref().unwrap();
        assert_eq!(figures.max_abs, 0.5);
        assert_eq!(figures.worst.as_ref().unwrap().step, 1);
    }

    #[test]
    fn a_wrong_shape_in_a_later_step_is_a_difference() {
        let mut c = Comparison::new(Tolerance::default());
        let f = DataType::Float32;
        let one = || [output("a", f, vec![1.0f32])];
        c.add_models(0, &one(), &one());
        c.add_models(1, &one(), &[output("a", f, vec![1.0f32, 1.0])]);
        let o = &c.finish().0[0];
        assert!(!o.ok);
        assert!(o.problem.as_ref().unwrap().contains("step 1"));
    }

    #[test]
    fn expected_names_must_exist_and_the_rest_is_noted() {
        let mut expected = NamedArrays::new();
        let check = |e: &NamedArrays| check_expected(["logits"].into_iter(), e, "main", "e.npz");
        assert!(
            check(&expected)
                .unwrap_err()
                .to_string()
                .contains("no expected values")
        );
        expected.insert("logit", array(vec![1.0f32]));
        let e = check(&expected).unwrap_err().to_string();
        assert!(e.contains("did you mean `logits`?"), "{e}");
        let mut c = Comparison::new(Tolerance::default());
        let mut expected = NamedArrays::new();
        expected.insert("a", array(vec![1.0f32]));
        let f = DataType::Float32;
        let out = [output("a", f, vec![1.0f32]), output("b", f, vec![2.0f32])];
        c.add_arrays(0, &out, &expected, "main", "e.npz").unwrap();
        assert_eq!(c.finish().1, ["b"]);
    }
}
