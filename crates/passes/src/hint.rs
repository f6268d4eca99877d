//! Hints about compute units that a model file can carry.
//!
//! Core ML takes compute units when it loads a model
//! (`MLModelConfiguration.computeUnits`); no field of the format holds them. A
//! file can carry two things beside that:
//!
//! * the attribute [`ATTRIBUTE`] of an operation, a list of backend names, as
//!   coremltools (8.3 and later, `experimental.compute_plan_utils`) writes it.
//!   No public evidence shows that an ordinary load follows it;
//! * the key [`KEY`] in the model's metadata, which the app has to read and
//!   apply itself.

use milwright_ir::{ConstData, Constant, DataType, Dim, Model, OpId, Program};
use milwright_ir::{TensorType, ValueType};
use milwright_package::{ComputeUnits, Spec, proto};
use serde::Serialize;

use crate::error::Error;

/// The attribute of an operation that names its backends.
pub const ATTRIBUTE: &str = "IntendedBackend";

/// The key of the model's `userDefined` metadata that names its compute units.
pub const KEY: &str = "com.milwright.compute_units";

/// What a reader must know about every hint.
pub const NOTE: &str = "Core ML takes compute units when it loads a model: the app sets \
    MLModelConfiguration.computeUnits. It does not read them from the file, and no public \
    evidence shows an ordinary load following IntendedBackend.";

/// Marks metadata that is only there for [`KEY`]: clearing removes it whole.
const CREATED: &str = "com.milwright.metadata";

/// The backends that [`ATTRIBUTE`] lists for compute units. The names are those
/// of coremltools, which writes them for one device at a time; a list for
/// several devices is the union.
pub fn backends(units: ComputeUnits) -> Vec<&'static str> {
    let all = units == ComputeUnits::All;
    let mut names = Vec::new();
    if all || units == ComputeUnits::CpuAndNeuralEngine {
        names.push("ane");
    }
    if all || units == ComputeUnits::CpuAndGpu {
        names.push("mps_graph");
    }
    names.extend(["bnns", "classic_cpu", "e5_minimal_cpu"]);
    names
}

/// The backend list of an operation that is to run on the Neural Engine.
pub const NEURAL_ENGINE: &[&str] = &["ane"];

/// What a model carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Hints {
    /// The value of [`KEY`], as it is written.
    pub units: Option<String>,
    /// Operations with [`ATTRIBUTE`], in program order.
    pub operations: Vec<OpHint>,
    /// Operations that run, with the attribute or without.
    pub operations_that_run: usize,
}

/// An operation with [`ATTRIBUTE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpHint {
    /// Function that it is part of.
    pub function: String,
    /// Name of its first output; empty if it has none.
    pub output: String,
    /// Its type.
    pub op_type: String,
    /// The backends; empty when the attribute is no list of text.
    pub backends: Vec<String>,
}

/// A changed spec and what changed in it.
#[derive(Clone, Debug)]
pub struct Hinted {
    /// The spec to be saved.
    pub spec: Spec,
    /// Operations whose attribute was set or removed.
    pub operations: usize,
    /// Whether the metadata changed.
    pub metadata: bool,
}

/// Which operations a list of patterns means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patterns(Vec<String>);

impl Patterns {
    /// Patterns over types and output names of operations: `*` stands for any
    /// characters, `?` for one. An element may hold several, separated by
    /// commas.
    pub fn new<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Self {
        let split = |p: S| -> Vec<String> {
            let parts = p.as_ref().split(',').map(str::trim);
            parts.filter(|p| !p.is_empty()).map(str::to_owned).collect()
        };
        Self(patterns.into_iter().flat_map(split).collect())
    }

    /// The operations that run and match, in program order.
    ///
    /// # Errors
    /// [`Error::NoSuchOp`] for a pattern that matches none, and for no pattern
    /// at all.
    pub fn select(&self, program: &Program) -> Result<Vec<OpId>, Error> {
        let ops = running(program);
        let nothing = |pattern: &str| {
            let mut types: Vec<&str> = ops
                .iter()
                .map(|&op| program.ops[op].op_type.as_str())
                .collect();
            types.sort_unstable();
            types.dedup();
            Error::NoSuchOp {
                pattern: pattern.to_owned(),
                types: types.join(", "),
            }
        };
        if self.0.is_empty() {
            return Err(nothing(""));
        }
        let mut used = vec![false; self.0.len()];
        let mut found = Vec::new();
        for &op in &ops {
            let mut wanted = false;
            for (pattern, used) in self.0.iter().zip(&mut used) {
                let outputs = program.ops[op].outputs.iter();
                let mut names = outputs.map(|&v| program.values[v].name.as_str());
                if glob(pattern, &program.ops[op].op_type) || names.any(|n| glob(pattern, n)) {
                    wanted = true;
                    *used = true;
                }
            }
            if wanted {
                found.push(op);
            }
        }
        match used.iter().position(|used| !used) {
            Some(at) => Err(nothing(&self.0[at])),
            None => Ok(found),
        }
    }
}

/// Whether a text matches a pattern of `*`, `?` and letters.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // The last star, and where the text behind it was tried to go on.
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == '?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

/// The operations that a device runs: those of the bodies in force, without
/// constants and what the compiler folds into them.
pub fn running(program: &Program) -> Vec<OpId> {
    let mut ops = program.all_ops();
    ops.retain(|&op| {
        let op_type = &program.ops[op].op_type;
        op_type != "const" && !op_type.starts_with("constexpr_")
    });
    ops
}

/// What a model carries.
///
/// # Errors
/// The model's description is damaged.
pub fn read(model: &Model) -> Result<Hints, Error> {
    let description = description(model)?;
    let metadata = description.metadata.unwrap_or_default();
    let program = model.program();
    let mut hints = Hints {
        units: metadata
            .user_defined
            .into_iter()
            .find(|entry| entry.key == KEY)
            .map(|entry| entry.value),
        operations: Vec::new(),
        operations_that_run: running(program).len(),
    };
    for function in &program.functions {
        let Some(body) = function.body() else {
            continue;
        };
        for id in program.walk(body) {
            let op = &program.ops[id];
            let Some(attribute) = op.attribute(ATTRIBUTE) else {
                continue;
            };
            let output = op.outputs.first();
            hints.operations.push(OpHint {
                function: function.name.clone(),
                output: output.map_or_else(String::new, |&v| program.values[v].name.clone()),
                op_type: op.op_type.clone(),
                backends: texts(attribute),
            });
        }
    }
    Ok(hints)
}

/// Writes hints: the backends that `assign` names for each operation (`None`
/// leaves what it has), and `units` for the whole model, if given.
///
/// # Errors
/// Something in the spec would be lost by changing it, or it is damaged.
pub fn set(
    model: &Model,
    assign: &mut dyn FnMut(&Program, OpId) -> Option<Vec<&'static str>>,
    units: Option<ComputeUnits>,
) -> Result<Hinted, Error> {
    let mut program = model.program().clone();
    let mut operations = 0;
    for id in running(&program) {
        let Some(backends) = assign(&program, id) else {
            continue;
        };
        let value = list(&backends);
        operations += 1;
        if program.ops[id].attribute(ATTRIBUTE) == Some(&value) {
            continue;
        }
        let attributes = &mut program.op_mut(id)?.attributes;
        match attributes.iter_mut().find(|(key, _)| key == ATTRIBUTE) {
            Some((_, old)) => *old = value,
            None => attributes.push((ATTRIBUTE.to_owned(), value)),
        }
    }
    let mut spec = with_program(model, &program)?;
    let mut metadata = false;
    if let Some(units) = units {
        let mut description = description(model)?;
        let created = description.metadata.is_none();
        let entries = &mut description.metadata.get_or_insert_default().user_defined;
        put(entries, KEY, units.name());
        if created {
            put(entries, CREATED, "created by hint");
        }
        spec = with_description(&spec, &description)?;
        metadata = true;
    }
    Ok(Hinted {
        spec,
        operations,
        metadata,
    })
}

/// Removes what [`set`] writes, from every function and specialization.
///
/// # Errors
/// Something in the spec would be lost by changing it, or it is damaged.
pub fn clear(model: &Model) -> Result<Hinted, Error> {
    let mut program = model.program().clone();
    let mut operations = 0;
    for id in program.live_ops() {
        if program.ops[id].attribute(ATTRIBUTE).is_none() {
            continue;
        }
        operations += 1;
        let attributes = &mut program.op_mut(id)?.attributes;
        attributes.retain(|(key, _)| key != ATTRIBUTE);
    }
    let mut spec = with_program(model, &program)?;
    let mut description = description(model)?;
    let mut metadata = false;
    if let Some(all) = &mut description.metadata {
        let before = all.user_defined.len();
        let created = all.user_defined.iter().any(|entry| entry.key == CREATED);
        all.user_defined
            .retain(|entry| entry.key != KEY && entry.key != CREATED);
        metadata = all.user_defined.len() != before;
        if created && *all == proto::Metadata::default() {
            description.metadata = None;
        }
    }
    if metadata {
        spec = with_description(&spec, &description)?;
    }
    Ok(Hinted {
        spec,
        operations,
        metadata,
    })
}

fn description(model: &Model) -> Result<proto::ModelDescription, Error> {
    Ok(model
        .spec()
        .description()
        .map_err(milwright_ir::Error::from)?)
}

fn with_program(model: &Model, program: &Program) -> Result<Spec, Error> {
    // Every change marks its operation, and nothing else can change.
    let ops = program.live_ops();
    if ops.iter().all(|&op| program.ops[op].is_untouched()) {
        return Ok(model.spec().clone());
    }
    Ok(model
        .spec()
        .with_program(&program.to_proto())
        .map_err(milwright_ir::Error::from)?)
}

fn with_description(spec: &Spec, description: &proto::ModelDescription) -> Result<Spec, Error> {
    Ok(spec
        .with_description(description)
        .map_err(milwright_ir::Error::from)?)
}

fn put(entries: &mut Vec<proto::StringEntry>, key: &str, value: &str) {
    let (key, value) = (key.to_owned(), value.to_owned());
    match entries.iter_mut().find(|entry| entry.key == key) {
        Some(entry) => entry.value = value,
        None => entries.push(proto::StringEntry { key, value }),
    }
}

/// A list of text.
fn list(names: &[&str]) -> Constant {
    let element = ValueType::Tensor(TensorType::scalar(DataType::String));
    Constant::new(
        ValueType::List {
            element: Box::new(element),
            length: Dim::Known(names.len() as u64),
        },
        ConstData::List(names.iter().map(|&name| Constant::string(name)).collect()),
    )
}

/// The elements of a list of text, or of a tensor of text.
fn texts(constant: &Constant) -> Vec<String> {
    match &constant.data {
        ConstData::List(items) => items
            .iter()
            .filter_map(Constant::as_str)
            .map(str::to_owned)
            .collect(),
        _ => constant.strings().unwrap_or_default().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, text) in [
            ("conv*", "conv"),
            ("conv*", "conv_transpose"),
            ("*", ""),
            ("*_1", "a_1_1"),
            ("a?c*e", "abcde"),
            ("*a*b", "xaxab"),
        ] {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("conv", "conv_transpose"),
            ("*_1", "a_12"),
            ("?", ""),
            ("a?c", "ac"),
            ("", "x"),
        ] {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn units_name_their_backends() {
        assert_eq!(
            backends(ComputeUnits::CpuOnly),
            ["bnns", "classic_cpu", "e5_minimal_cpu"]
        );
        assert_eq!(backends(ComputeUnits::CpuAndGpu)[0], "mps_graph");
        assert_eq!(backends(ComputeUnits::CpuAndNeuralEngine)[0], "ane");
        assert_eq!(backends(ComputeUnits::All)[..2], ["ane", "mps_graph"]);
    }
}
