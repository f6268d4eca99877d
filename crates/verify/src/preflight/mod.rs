//! What a program loses in fp16: runs it in fp16 beside fp32, operation by
//! operation, and says where values overflow, where error comes in, and which
//! constants do not fit.
//!
//! Only what is live is held: the two evaluations go in lock step.

mod breaks;
mod constants;
mod measure;
mod report;

use std::collections::HashMap;

use milwright_interp::{Moment, Precision, Tensor, Value};
use milwright_ir::{DataType, Function, OpId, Program, ValueId, ValueType};

pub use breaks::{Break, breaks, fragile};
pub use report::{ConstantReport, Difference, OpReport, OutputLoss, Preflight, SCHEMA};

use crate::error::Error;
use crate::inputs::Feed;
use crate::stage::Stage;
use measure::{Distance, Elements, Span};

/// How many operations are named as adding most error.
const WORST: usize = 10;

/// What stands for the type of an operation in the rows of inputs.
const INPUT: &str = "input";

/// The evaluation in fp16 that says something about a function: as it declares
/// when it has fp16 results, else as if it were converted.
pub fn precision_for(program: &Program, function: &Function) -> Precision {
    let ops = function.body().map(|b| program.walk(b)).unwrap_or_default();
    let is_half = |id: &OpId| {
        let op = &program.ops[*id];
        op.op_type != "const"
            && !op.op_type.starts_with("constexpr_")
            && op.outputs.iter().any(|&v| {
                matches!(&program.values[v].ty, ValueType::Tensor(t) if t.dtype == DataType::Float16)
            })
    };
    if ops.iter().any(is_half) {
        Precision::Native
    } else {
        Precision::Half
    }
}

/// Runs `steps` with `stage`, which is the reference, and beside it in
/// `precision`, which is [`Precision::Half`] or [`Precision::Native`]; calls
/// `progress` after each step. `seed` is that of random inputs, for the report.
///
/// # Errors
/// The reference cannot run. What fails only in fp16 is a finding.
pub fn preflight(
    stage: &mut Stage<'_>,
    steps: &[Feed],
    precision: Precision,
    seed: Option<u64>,
    progress: &mut dyn FnMut(),
) -> Result<Preflight, Error> {
    let program = stage.subject().program;
    let (constants, constants_checked) = constants::check(stage, precision)?;
    let mut shadow = stage.shadow(precision)?;
    let mut ops = Ops {
        program,
        precision,
        rows: Vec::new(),
        places: HashMap::new(),
    };
    let mut outputs: Vec<Column> = Vec::new();
    ops.start_inputs(stage.function());
    for feed in steps {
        ops.add_inputs(feed);
        let (own, beside) =
            stage.step_shadowed(feed, &mut shadow, &mut |moment| ops.add(moment))?;
        for (at, (name, value)) in own.iter().enumerate() {
            if outputs.len() == at {
                outputs.push(Column::new(name));
            }
            outputs[at].add(value, beside.as_ref().and_then(|b| b.get(at)));
        }
        progress();
    }
    let worst = ops.worst();
    let ops: Vec<OpReport> = ops.rows.into_iter().map(Row::finish).collect();
    let outputs: Vec<OutputLoss> = outputs.into_iter().map(Column::finish).collect();
    let failure = shadow.failure().map(ToString::to_string);
    let broken = |o: &OpReport| o.breaks() || o.nan > 0 || o.nonfinite_in_run > 0;
    let ok = failure.is_none()
        && !ops.iter().any(broken)
        && constants.iter().all(|c| c.overflow == 0)
        && outputs.iter().all(|o| o.nonfinite == 0);
    Ok(Preflight {
        schema: SCHEMA,
        ok,
        model: stage.subject().name.to_owned(),
        function: stage.function().name.clone(),
        precision: precision.name(),
        reference: stage.precision().name(),
        steps: steps.len(),
        seed,
        failure,
        ops,
        worst,
        constants,
        constants_checked,
        outputs,
    })
}

/// The results of operations in the making.
struct Ops<'p> {
    program: &'p Program,
    precision: Precision,
    rows: Vec<Row>,
    /// Where the rows of an operation start.
    places: HashMap<OpId, usize>,
}

struct Row {
    report: OpReport,
    dtype: DataType,
    span: Span,
    added: Distance,
    total: Distance,
}

impl Ops<'_> {
    fn add(&mut self, moment: &Moment<'_>) {
        let op = moment.op();
        let outputs = moment.outputs();
        let first = match self.places.get(&op) {
            Some(&first) => first,
            None => self.start(op),
        };
        let beside = moment.shadow();
        let alone = moment.alone(self.precision);
        for (at, value) in outputs.iter().enumerate() {
            let Some(row) = self.rows.get_mut(first + at) else {
                return;
            };
            row.report.runs += 1;
            row.report.strays |= moment.strays();
            if let Some(Err(e)) = &alone {
                row.report.failure.get_or_insert_with(|| e.to_string());
            }
            let Value::Tensor(t) = value else { continue };
            let Some(reference) = row.add_reference(t, self.precision) else {
                continue;
            };
            if let Some(Ok(values)) = &alone
                && let Some(values) = nth(values, at)
            {
                row.added.add(&reference, &values);
            }
            if let Some(values) = beside.as_deref().and_then(|b| nth(b, at)) {
                row.total.add(&reference, &values);
            }
        }
    }

    /// Adds empty rows for the inputs, which come first.
    fn start_inputs(&mut self, function: &Function) {
        for &id in &function.inputs {
            if matches!(self.program.values[id].ty, ValueType::Tensor(_)) {
                let name = &self.program.values[id].name;
                self.push(id, format!("{name} = input"), INPUT);
            }
        }
    }

    /// Adds what a step is run with.
    fn add_inputs(&mut self, feed: &Feed) {
        let precision = self.precision;
        let inputs = self.rows.iter_mut().filter(|r| r.report.op_type == INPUT);
        for row in inputs {
            let Some(data) = feed.get(&row.report.output) else {
                continue;
            };
            row.report.runs += 1;
            let tensor = Tensor {
                dtype: row.dtype,
                data: data.clone(),
            };
            let Some(reference) = row.add_reference(&tensor, precision) else {
                continue;
            };
            if let Ok(held) = precision.hold(tensor)
                && let Some(held) = Elements::of(&held)
            {
                row.added.add(&reference, &held);
                row.total.add(&reference, &held);
            }
        }
    }

    /// Adds empty rows for the outputs of an operation.
    fn start(&mut self, id: OpId) -> usize {
        let first = self.rows.len();
        let op = &self.program.ops[id];
        for &output in &op.outputs {
            self.push(output, self.program.describe_op(id), &op.op_type);
        }
        self.places.insert(id, first);
        first
    }

    fn push(&mut self, id: ValueId, op: String, op_type: &str) {
        let value = &self.program.values[id];
        let dtype = value.ty.as_tensor().map(|t| t.dtype);
        self.rows.push(Row {
            report: OpReport {
                op,
                op_type: op_type.to_owned(),
                output: value.name.clone(),
                dtype: dtype.map_or_else(|| value.ty.to_string(), |d| d.to_string()),
                runs: 0,
                elements: 0,
                min: None,
                max: None,
                smallest: None,
                nan: 0,
                inf: 0,
                overflow: 0,
                nonfinite: 0,
                nonfinite_in_run: 0,
                below_normal: 0,
                to_zero: 0,
                added: None,
                total: None,
                failure: None,
                value: Some(id),
                strays: false,
            },
            dtype: dtype.unwrap_or(DataType::Unknown(0)),
            span: Span::default(),
            added: Distance::default(),
            total: Distance::default(),
        });
    }

    /// Outputs of the operations that add most error, one each.
    fn worst(&self) -> Vec<String> {
        let mut all: Vec<(f64, &str)> = Vec::new();
        let mut starts: Vec<usize> = self.places.values().copied().collect();
        starts.sort_unstable();
        for (i, &start) in starts.iter().enumerate() {
            let end = starts.get(i + 1).copied().unwrap_or(self.rows.len());
            let rows = self.rows[start..end]
                .iter()
                .filter(|row| row.dtype.is_float());
            let weighed = rows.filter_map(|row| {
                let added = row.added.finish(true)?;
                Some((added.weight(), row.report.output.as_str()))
            });
            all.extend(weighed.max_by(|a, b| a.0.total_cmp(&b.0)));
        }
        all.retain(|(weight, _)| *weight > 0.0);
        // Stable: among equals, the order of execution.
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        all.truncate(WORST);
        all.into_iter().map(|(_, name)| name.to_owned()).collect()
    }
}

impl Row {
    /// Adds an execution of the reference; returns its elements.
    fn add_reference(&mut self, tensor: &Tensor, precision: Precision) -> Option<Elements> {
        let reference = Elements::of(tensor)?;
        let half = precision.rounding(tensor.dtype) == Some(candle_core::DType::F16);
        self.span.add_all(&reference, half);
        Some(reference)
    }

    fn finish(self) -> OpReport {
        let span = self.span;
        let float = self.dtype.is_float();
        // Too large for fp16 is what the operation's own result shows, so that
        // a value that stays in fp32 does not count.
        let too_large = self.added.nonfinite - self.added.nonfinite_though_small;
        OpReport {
            elements: span.elements,
            min: span.min,
            max: span.max,
            smallest: span.smallest,
            nan: span.nan,
            inf: span.inf,
            overflow: too_large.max(span.overflow),
            nonfinite: self.added.nonfinite_though_small,
            nonfinite_in_run: self.total.nonfinite,
            below_normal: span.below_normal,
            to_zero: span.to_zero,
            added: self.added.finish(float),
            total: self.total.finish(float),
            ..self.report
        }
    }
}

/// An output of the function in the making.
struct Column {
    name: String,
    float: bool,
    total: Distance,
}

impl Column {
    fn new(name: &str) -> Self {
        Column {
            name: name.to_owned(),
            float: true,
            total: Distance::default(),
        }
    }

    fn add(&mut self, own: &Value, beside: Option<&(String, Value)>) {
        if let (Value::Tensor(own), Some((_, Value::Tensor(beside)))) = (own, beside)
            && let (Some(reference), Some(other)) = (Elements::of(own), Elements::of(beside))
        {
            self.float = own.dtype.is_float();
            self.total.add(&reference, &other);
        }
    }

    fn finish(self) -> OutputLoss {
        OutputLoss {
            name: self.name,
            total: self.total.finish(self.float),
            nonfinite: self.total.nonfinite,
        }
    }
}

fn nth(values: &[Value], at: usize) -> Option<Elements> {
    match values.get(at) {
        Some(Value::Tensor(t)) => Elements::of(t),
        _ => None,
    }
}
