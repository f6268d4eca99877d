//! What a device did with a model, beside what the rules predict.
//!
//! Two kinds of files say it: the `analytics.mil` that Core ML's compiler leaves
//! in its cache ([`analytics`]), and dumps of `MLComputePlan`
//! ([`compute_plan`]). Both become a [`Record`] of operations; [`compare`]
//! finds each in the program and holds it against the findings.

mod analytics;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use milwright_ir::{OpId, Program};
use serde::Serialize;

use super::finding::Unit;
use super::placement::Left;

pub use analytics::analytics;
pub use plan::compute_plan;

/// Why a file is not what a device wrote.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no `analytics.mil`.
    #[error("this is no analytics.mil: {reason}")]
    Analytics {
        /// Why.
        reason: String,
    },
    /// It is no dump of a compute plan.
    #[error("this is no dump of a compute plan: {reason}")]
    Plan {
        /// Why.
        reason: String,
    },
}

/// What a device did, operation by operation, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// The operations.
    pub operations: Vec<Placed>,
    /// What changing units costs, in ms, by the names in the file (only
    /// `analytics.mil` has them).
    pub costs: BTreeMap<String, f64>,
}

/// An operation and where it ran.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placed {
    /// The function, when the file says it.
    pub function: Option<String>,
    /// Names of the results; none when the file does not say them.
    pub outputs: Vec<String>,
    /// The type, without the opset.
    pub op_type: String,
    /// Where it ran; `None` when the file does not say it.
    pub unit: Option<Unit>,
    /// The backend as the file names it.
    pub backend: String,
    /// What could have run it, as the file names them.
    pub supported: Vec<String>,
    /// Estimated time in ms by backend, as the file names them.
    pub estimates: BTreeMap<String, f64>,
    /// The share of the whole cost, when the file says it.
    pub cost: Option<f64>,
    /// What the compiler says about units that do not take it.
    pub messages: BTreeMap<String, String>,
}

impl Placed {
    /// Whether the Neural Engine could have run it; `None` when the file does
    /// not say what could.
    pub fn takes_neural_engine(&self) -> Option<bool> {
        let known = self.supported.iter().filter_map(|name| unit(name));
        let units: Vec<Unit> = known.collect();
        (!units.is_empty()).then(|| units.contains(&Unit::Ane))
    }
}

/// The unit that a backend or device is, in any of the spellings that tools
/// write.
pub fn unit(name: &str) -> Option<Unit> {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    let key: String = letters.map(|c| c.to_ascii_lowercase()).collect();
    Some(match key.as_str() {
        "ane"
        | "ne"
        | "neuralengine"
        | "neuralenginecomputedevice"
        | "mlneuralenginecomputedevice" => Unit::Ane,
        "gpu" | "mpsgraph" | "mps" | "gpucomputedevice" | "mlgpucomputedevice" => Unit::Gpu,
        "cpu" | "bnns" | "classiccpu" | "e5minimalcpu" | "jitcall" | "cpucomputedevice"
        | "mlcpucomputedevice" => Unit::Cpu,
        _ => return None,
    })
}

/// A record beside the findings.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Comparison {
    /// Operations of the program that the record has, in its order.
    pub rows: Vec<Row>,
    /// Operations of the record that the program does not have.
    pub not_in_program: Vec<String>,
    /// Operations of the program that run and that the record does not have.
    pub not_in_record: Vec<String>,
    /// How often prediction and device agree.
    pub agreement: Agreement,
}

/// An operation: what was predicted and what happened.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// As `output = type`.
    pub op: String,
    /// The operation in the program.
    #[serde(skip)]
    pub op_id: Option<OpId>,
    /// Where it ran.
    pub unit: Option<Unit>,
    /// The backend as the file names it.
    pub backend: String,
    /// What could have run it.
    pub supported: Vec<String>,
    /// Whether no rule says that it leaves the Neural Engine.
    pub predicted_neural_engine: bool,
    /// The rules that say it does.
    pub rules: Vec<&'static str>,
    /// Whether the Neural Engine could have run it.
    pub takes_neural_engine: Option<bool>,
    /// Prediction and device agree: on what the Neural Engine takes, or, where
    /// the file does not say that, on where it ran.
    pub agrees: Option<bool>,
    /// Found by type and position, as the names differ.
    pub matched_by_order: bool,
    /// Estimated time in ms by backend.
    pub estimates: BTreeMap<String, f64>,
    /// Share of the whole cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// What the compiler says.
    pub messages: BTreeMap<String, String>,
}

/// How often prediction and device agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Agreement {
    /// Operations whose prediction can be held against the device.
    pub compared: usize,
    /// Those where both agree.
    pub agree: usize,
    /// A rule says that it leaves the Neural Engine, and the device takes it.
    pub wrongly_predicted_to_leave: usize,
    /// No rule says so, and the device does not take it.
    pub wrongly_predicted_to_stay: usize,
    /// Operations that the Neural Engine could run and the device ran
    /// elsewhere: too small a part, by its costs.
    pub taken_but_elsewhere: usize,
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = 100.0 * self.agree as f64 / self.compared.max(1) as f64;
        write!(
            f,
            "prediction and device agree on {} of {} operations ({share:.1} %); {} predicted to \
             leave the Neural Engine that it takes, {} predicted to stay that it does not take",
            self.agree,
            self.compared,
            self.wrongly_predicted_to_leave,
            self.wrongly_predicted_to_stay
        )
    }
}

/// Where the compiler keeps tensors in other memory it adds this to names.
const RENAMED: &str = "_4D454D5F4F5054";

/// Operations that the compiler adds at the edges, and that are no part of any
/// file.
const ADDED: [&str; 2] = ["tensor_buffer_to_tensor", "tensor_to_tensor_buffer"];

/// Holds a record against the program and the operations that leave the Neural
/// Engine by the findings.
pub fn compare(record: &Record, program: &Program, left: &Left) -> Comparison {
    let running = crate::hint::running(program);
    let mut by_output: BTreeMap<&str, Vec<OpId>> = BTreeMap::new();
    for &id in &running {
        let op = &program.ops[id];
        let outputs = op.outputs.iter().map(|&v| program.values[v].name.as_str());
        for name in outputs.chain(op.name()) {
            by_output.entry(name).or_default().push(id);
        }
    }
    let functions = functions(program);
    let ours = |placed: &Placed, id: OpId| match (&placed.function, functions.get(&id)) {
        (Some(name), Some(function)) => name == function,
        _ => true,
    };
    let mut found: Vec<Option<OpId>> = vec![None; record.operations.len()];
    let mut taken: BTreeSet<OpId> = BTreeSet::new();
    for (placed, found) in record.operations.iter().zip(&mut found) {
        if ADDED.contains(&placed.op_type.as_str()) {
            continue;
        }
        let names = placed.outputs.iter().flat_map(|name| {
            let plain = name.strip_suffix(RENAMED).unwrap_or(name);
            [name.as_str(), plain]
        });
        let ids = names
            .filter_map(|name| by_output.get(name))
            .flatten()
            .copied();
        // Some records have no types.
        let is = |op_type: &str| placed.op_type.is_empty() || placed.op_type == op_type;
        let same = ids.filter(|&id| is(&program.ops[id].op_type) && ours(placed, id));
        *found = same.min_by_key(|id| taken.contains(id));
        taken.extend(*found);
    }
    let by_name = !taken.is_empty();
    // What has no name in common: the next one of the same type, in order.
    let mut by_order = BTreeSet::new();
    let mut rest: BTreeMap<&str, Vec<OpId>> = BTreeMap::new();
    for &id in running.iter().rev().filter(|id| !taken.contains(id)) {
        rest.entry(program.ops[id].op_type.as_str())
            .or_default()
            .push(id);
    }
    for (at, placed) in record.operations.iter().enumerate() {
        if found[at].is_some() || ADDED.contains(&placed.op_type.as_str()) {
            continue;
        }
        // Where names mean something, an unknown one is another operation.
        let fits = placed.outputs.is_empty() || !by_name;
        if let Some(ids) = rest.get_mut(placed.op_type.as_str()).filter(|_| fits)
            && let Some(place) = ids.iter().rposition(|&id| ours(placed, id))
        {
            let id = ids.remove(place);
            taken.insert(id);
            by_order.insert(at);
            found[at] = Some(id);
        }
    }
    let mut comparison = Comparison::default();
    let mut shown = BTreeSet::new();
    for (at, placed) in record.operations.iter().enumerate() {
        match found[at] {
            // One of several results of the same operation.
            Some(id) if !shown.insert(id) => {}
            Some(id) => {
                let row = row(placed, program, left, id, by_order.contains(&at));
                comparison.agreement.count(&row);
                comparison.rows.push(row);
            }
            None if ADDED.contains(&placed.op_type.as_str()) || placed.op_type == "const" => {}
            None => {
                let name = placed.outputs.first().map_or("?", String::as_str);
                comparison
                    .not_in_program
                    .push(format!("{name} = {}", placed.op_type));
            }
        }
    }
    let missing = running.iter().filter(|id| !taken.contains(id));
    comparison.not_in_record = missing.map(|&id| program.describe_op(id)).collect();
    comparison
}

fn functions(program: &Program) -> BTreeMap<OpId, &str> {
    let mut functions = BTreeMap::new();
    for function in &program.functions {
        let ops = function.body().map(|body| program.walk(body));
        for id in ops.unwrap_or_default() {
            functions.insert(id, function.name.as_str());
        }
    }
    functions
}

fn row(placed: &Placed, program: &Program, left: &Left, id: OpId, by_order: bool) -> Row {
    let rules = left.get(&id).cloned().unwrap_or_default();
    let predicted = rules.is_empty();
    let takes = placed.takes_neural_engine();
    let ran_there = placed.unit.map(|unit| unit == Unit::Ane);
    let agrees = takes.or(ran_there).map(|takes| takes == predicted);
    Row {
        op: program.describe_op(id),
        op_id: Some(id),
        unit: placed.unit,
        backend: placed.backend.clone(),
        supported: placed.supported.clone(),
        predicted_neural_engine: predicted,
        rules,
        takes_neural_engine: takes,
        agrees,
        matched_by_order: by_order,
        estimates: placed.estimates.clone(),
        cost: placed.cost,
        messages: placed.messages.clone(),
    }
}

impl Agreement {
    fn count(&mut self, row: &Row) {
        if row.takes_neural_engine == Some(true) && row.unit.is_some_and(|u| u != Unit::Ane) {
            self.taken_but_elsewhere += 1;
        }
        let Some(agrees) = row.agrees else {
            return;
        };
        self.compared += 1;
        match (agrees, row.predicted_neural_engine) {
            (true, _) => self.agree += 1,
            (false, false) => self.wrongly_predicted_to_leave += 1,
            (false, true) => self.wrongly_predicted_to_stay += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use milwright_ir::DataType::{Float16, Float32};

    use super::*;
    use crate::lint::testing::Sketch;

    /// `relu`, in single precision `tanh`, and a constant sum.
    fn program() -> (Sketch, Left) {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 8]);
        let x = s.op("relu", &[("x", x)]);
        let x = s.cast(x, Float32);
        let y = s.op("tanh", &[("x", x)]);
        s.output(y);
        let tanh = s.program.all_ops().into_iter();
        let tanh = tanh.filter(|&id| s.program.ops[id].op_type == "tanh");
        let left = tanh.map(|id| (id, vec!["fp32-compute"])).collect();
        (s, left)
    }

    fn name(s: &Sketch, op_type: &str) -> String {
        let ops = s.program.all_ops();
        let id = ops.iter().find(|&&id| s.program.ops[id].op_type == op_type);
        s.program.values[s.program.ops[*id.unwrap()].outputs[0]]
            .name
            .clone()
    }

    #[test]
    fn names_are_matched_and_counted() {
        let (s, left) = program();
        let rows: Vec<String> = [
            ("relu", "ane"),
            ("cast", "bnns"),
            ("tanh", "bnns"),
            ("log", "ane"),
        ]
        .iter()
        .map(|(op, backend)| {
            let name = match *op {
                "log" => "other".to_owned(),
                // As the compiler renames it.
                "tanh" => format!("{}{RENAMED}", name(&s, op)),
                op => name(&s, op),
            };
            let takes = if *op == "cast" { "ane" } else { backend };
            format!(
                "tensor<fp16, [1]> {name} = {op}(x = x)[BackendSupport = \
                     list<string, 1>([\"{takes}\"]), SelectedBackend = string(\"{backend}\")];"
            )
        })
        .collect();
        let text = format!(
            "program(1.3) {{ func main<ios18>(fp16 x) {{ {} }} }}",
            rows.join("\n")
        );
        let found = compare(&analytics(&text).unwrap(), &s.program, &left);
        assert_eq!(found.not_in_program, ["other = log"]);
        assert!(found.not_in_record.is_empty(), "{:?}", found.not_in_record);
        let agreement = Agreement {
            compared: 3,
            agree: 3,
            taken_but_elsewhere: 1,
            ..Agreement::default()
        };
        assert_eq!(found.agreement, agreement);
        assert_eq!(found.rows[2].rules, ["fp32-compute"]);
        println!("{}", found.agreement);
    }

    #[test]
    fn without_names_types_and_order_decide() {
        let (s, left) = program();
        let plan = r#"[{"op": "relu", "preferred": "cpu", "supported": ["cpu"]},
            {"op": "tanh", "preferred": "neuralEngine"},
            {"op": "tanh", "preferred": "cpu"}]"#;
        let found = compare(&compute_plan(plan).unwrap(), &s.program, &left);
        assert_eq!(found.rows.len(), 2);
        assert!(found.rows.iter().all(|row| row.matched_by_order));
        assert_eq!(found.agreement.wrongly_predicted_to_leave, 1);
        assert_eq!(found.agreement.wrongly_predicted_to_stay, 1);
        assert_eq!(found.not_in_program, ["? = tanh"]);
        assert_eq!(found.not_in_record.len(), 1);
    }

    #[test]
    fn functions_are_kept_apart() {
        let (s, left) = program();
        let relu = name(&s, "relu");
        let plan = format!(
            r#"[{{"op": "relu", "preferred": "cpu", "name": "{relu}", "function": "other"}}]"#
        );
        let found = compare(&compute_plan(&plan).unwrap(), &s.program, &left);
        assert_eq!((found.rows.len(), found.not_in_program.len()), (0, 1));
    }
}
