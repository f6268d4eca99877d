//! Small programs for the tests of rules, and what every rule is held to.

use std::collections::BTreeSet;

use milwright_ir::features::{
    ArrayFeature, Description, Feature, FeatureKind, Flexibility, Signature,
};
use milwright_ir::ops::Opset;
use milwright_ir::{
    Arg, Block, BlockId, ConstData, Constant, DataType, Dim, Function, NoBlobs, Op, OpView,
    Program, Severity, TensorData, TensorType, Value, ValueDef, ValueId, ValueType,
};

use super::finding::{Confidence, Finding, Rule};
use super::rules::{CASES, rules};
use super::target::Target;
use super::{Input, Settings, Units, lint};

/// What every rule is tested with.
pub(super) struct Case {
    pub(super) rule: &'static Rule,
    pub(super) triggers: fn() -> Sketch,
    pub(super) near_miss: fn() -> Sketch,
}

/// A program of one function `main`, built operation by operation, and what it
/// is linted for.
pub(crate) struct Sketch {
    pub(crate) program: Program,
    pub(crate) block: BlockId,
    pub(crate) signature: Signature,
    pub(crate) spec_version: i32,
    pub(crate) weight_files: Vec<(String, u64)>,
    pub(crate) settings: Settings,
}

/// An argument of [`Sketch::op`].
pub(crate) trait IntoArgs {
    fn into_args(self) -> Vec<Arg>;
}

impl IntoArgs for ValueId {
    fn into_args(self) -> Vec<Arg> {
        vec![Arg::Value(self)]
    }
}

impl IntoArgs for &[ValueId] {
    fn into_args(self) -> Vec<Arg> {
        self.iter().map(|&v| Arg::Value(v)).collect()
    }
}

impl Sketch {
    /// An empty function of the iOS 18 opset, linted for any device.
    pub(crate) fn new() -> Self {
        Self::for_target("any")
    }

    /// As [`Sketch::new`], linted for a device.
    pub(crate) fn for_target(target: &str) -> Self {
        let mut program = Program::default();
        let block = program.blocks.push(Block::default());
        program.functions.push(Function {
            name: "main".into(),
            opset: "CoreML8".into(),
            inputs: Vec::new(),
            specializations: vec![("CoreML8".into(), block)],
            attributes: Vec::new(),
        });
        Self {
            program,
            block,
            signature: Signature {
                function: "main".into(),
                ..Signature::default()
            },
            spec_version: 9,
            weight_files: Vec::new(),
            settings: Settings {
                target: Target::from_name(target).unwrap(),
                ..Settings::default()
            },
        }
    }

    /// Sets opset and specification version.
    pub(crate) fn opset(mut self, opset: Opset, spec_version: i32) -> Self {
        let function = &mut self.program.functions[0];
        function.opset = opset.name().into();
        function.specializations[0].0 = opset.name().into();
        self.spec_version = spec_version;
        self
    }

    /// Sets the system that it must run on.
    pub(crate) fn os(mut self, os: Opset) -> Self {
        self.settings.os = Some(os);
        self
    }

    /// Sets the compute units.
    pub(crate) fn units(mut self, name: &str) -> Self {
        self.settings.units = Units::from_name(name).unwrap();
        self
    }

    /// Adds a weight file.
    pub(crate) fn weight_file(mut self, name: &str, bytes: u64) -> Self {
        self.weight_files.push((name.into(), bytes));
        self
    }

    fn value(&mut self, name: &str, ty: ValueType, def: ValueDef) -> ValueId {
        self.program.values.push(Value {
            name: name.into(),
            ty,
            def,
        })
    }

    fn input_of(&mut self, name: &str, ty: ValueType) -> ValueId {
        let number = self.program.functions[0].inputs.len();
        let value = self.value(name, ty, ValueDef::FunctionInput(0, number));
        self.program.functions[0].inputs.push(value);
        value
    }

    fn feature(name: &str, dtype: DataType, shape: &[u64], flexibility: Flexibility) -> Feature {
        Feature {
            name: name.into(),
            description: String::new(),
            kind: FeatureKind::Array(ArrayFeature {
                dtype: Some(dtype),
                shape: shape.to_vec(),
                flexibility,
                default: None,
            }),
            optional: false,
        }
    }

    /// Adds an input of fixed shape.
    pub(crate) fn input(&mut self, name: &str, dtype: DataType, shape: &[u64]) -> ValueId {
        let feature = Self::feature(name, dtype, shape, Flexibility::Fixed);
        self.signature.inputs.push(feature);
        self.input_of(name, TensorType::fixed(dtype, shape).into())
    }

    /// Adds an input with a range for each axis; the default is the lower bound.
    pub(crate) fn ranged(
        &mut self,
        name: &str,
        dtype: DataType,
        ranges: &[(u64, Option<u64>)],
    ) -> ValueId {
        let shape: Vec<u64> = ranges.iter().map(|&(low, _)| low).collect();
        let flexibility = Flexibility::Ranges(ranges.to_vec());
        let feature = Self::feature(name, dtype, &shape, flexibility);
        self.signature.inputs.push(feature);
        let dims = ranges.iter().map(|&(low, high)| match high {
            Some(high) if high == low => Dim::Known(low),
            _ => Dim::Unknown,
        });
        let dims: Vec<Dim> = dims.collect();
        self.input_of(name, TensorType::new(dtype, dims).into())
    }

    /// Adds an input that takes one of several shapes; the first is the default.
    pub(crate) fn enumerated(&mut self, name: &str, dtype: DataType, shapes: &[&[u64]]) -> ValueId {
        let all: Vec<Vec<u64>> = shapes.iter().map(|s| s.to_vec()).collect();
        let first = shapes[0];
        let dims = (0..first.len()).map(|axis| {
            let same = shapes.iter().all(|s| s[axis] == first[axis]);
            if same {
                Dim::Known(first[axis])
            } else {
                Dim::Unknown
            }
        });
        let dims: Vec<Dim> = dims.collect();
        let feature = Self::feature(name, dtype, first, Flexibility::Enumerated(all));
        self.signature.inputs.push(feature);
        self.input_of(name, TensorType::new(dtype, dims).into())
    }

    /// Adds a state.
    pub(crate) fn state(&mut self, name: &str, dtype: DataType, shape: &[u64]) -> ValueId {
        let mut feature = Self::feature(name, dtype, shape, Flexibility::Fixed);
        if let FeatureKind::Array(array) = feature.kind {
            feature.kind = FeatureKind::State(array);
        }
        self.signature.states.push(feature);
        let inner = ValueType::from(TensorType::fixed(dtype, shape));
        self.input_of(name, ValueType::State(Box::new(inner)))
    }

    /// Makes a value a result of the function.
    pub(crate) fn output(&mut self, value: ValueId) {
        self.program
            .block_mut(self.block)
            .unwrap()
            .outputs
            .push(value);
        let (name, ty) = {
            let v = &self.program.values[value];
            (v.name.clone(), v.ty.clone())
        };
        if let ValueType::Tensor(t) = ty {
            let shape: Vec<u64> = t.shape.iter().map(|d| d.known().unwrap_or(0)).collect();
            let feature = Self::feature(&name, t.dtype, &shape, Flexibility::Fixed);
            self.signature.outputs.push(feature);
        }
    }

    /// Adds a constant.
    pub(crate) fn constant(&mut self, name: &str, constant: Constant) -> ValueId {
        let mut op = Op::new("const");
        let ty = constant.ty.clone();
        op.attributes.push(("name".into(), Constant::string(name)));
        op.attributes.push(("val".into(), constant));
        self.push(op, vec![(name.to_owned(), ty)])[0]
    }

    fn unnamed(&mut self, constant: Constant) -> ValueId {
        let name = format!("const_{}", self.program.values.len());
        self.constant(&name, constant)
    }

    /// Adds an integer.
    pub(crate) fn int(&mut self, value: i32) -> ValueId {
        self.unnamed(Constant::int(value))
    }

    /// Adds integers.
    pub(crate) fn ints(&mut self, values: &[i32]) -> ValueId {
        self.unnamed(Constant::ints(values))
    }

    /// Adds a truth value.
    pub(crate) fn bool(&mut self, value: bool) -> ValueId {
        self.unnamed(Constant::bool(value))
    }

    /// Adds truth values.
    pub(crate) fn bools(&mut self, values: &[bool]) -> ValueId {
        self.unnamed(Constant::bools(values))
    }

    /// Adds a string.
    pub(crate) fn string(&mut self, value: &str) -> ValueId {
        self.unnamed(Constant::string(value))
    }

    /// Adds a float.
    pub(crate) fn float(&mut self, dtype: DataType, value: f64) -> ValueId {
        self.unnamed(Constant::float(dtype, value).unwrap())
    }

    /// Adds a float tensor, given element by element.
    pub(crate) fn floats(&mut self, dtype: DataType, shape: &[u64], values: &[f64]) -> ValueId {
        let ty = TensorType::fixed(dtype, shape);
        assert_eq!(ty.elements(), Some(values.len() as u64));
        let data = match dtype {
            DataType::Float16 => {
                let bits = values
                    .iter()
                    .flat_map(|&x| half::f16::from_f64(x).to_le_bytes());
                ConstData::New(bits.collect::<Vec<u8>>().into())
            }
            DataType::Float32 => {
                let values = values.iter().map(|&x| x as f32);
                ConstData::Tensor(TensorData::Floats(values.collect()))
            }
            other => panic!("no floats of type {other}"),
        };
        self.unnamed(Constant::new(ty, data))
    }

    /// Adds a tensor with one value throughout.
    pub(crate) fn full(&mut self, dtype: DataType, shape: &[u64], value: f64) -> ValueId {
        let count = shape.iter().product::<u64>();
        self.floats(dtype, shape, &vec![value; count as usize])
    }

    /// Adds a tensor in a weight file that cannot be read: its type only.
    pub(crate) fn weight(&mut self, dtype: DataType, shape: &[u64]) -> ValueId {
        let blob = milwright_ir::BlobRef {
            file_name: "@model_path/weights/weight.bin".into(),
            offset: 64,
        };
        let ty = TensorType::fixed(dtype, shape);
        self.unnamed(Constant::new(ty, ConstData::Blob(blob)))
    }

    /// Adds an operation with results that the op table infers; returns the
    /// first. Its name is that of the type and a number.
    pub(crate) fn op(&mut self, op_type: &str, inputs: &[(&str, ValueId)]) -> ValueId {
        let inputs = inputs.iter().map(|&(param, v)| (param, v.into_args()));
        self.any_op(op_type, inputs.collect())[0]
    }

    /// As [`Sketch::op`], with all results, and parameters that take several
    /// arguments.
    pub(crate) fn any_op(&mut self, op_type: &str, inputs: Vec<(&str, Vec<Arg>)>) -> Vec<ValueId> {
        let mut op = Op::new(op_type);
        let inputs = inputs.into_iter();
        op.inputs = inputs
            .map(|(param, args)| (param.to_owned(), args))
            .collect();
        let def = op
            .def
            .unwrap_or_else(|| panic!("no operation is named {op_type}"));
        let probe = self.program.ops.push(op.clone());
        let view = OpView::new(&self.program, probe, &NoBlobs);
        let types = def
            .infer(&view)
            .unwrap_or_else(|e| panic!("{op_type}: {e}"));
        let name = format!("{op_type}_{}", self.program.values.len());
        let results = types.into_iter().enumerate();
        let results = results.map(|(i, ty)| (format!("{name}_{i}"), ty));
        let results: Vec<_> = results.collect();
        self.push(op, results)
    }

    /// Adds an operation with results of given types, whatever the op table says.
    pub(crate) fn typed_op(
        &mut self,
        op_type: &str,
        inputs: &[(&str, ValueId)],
        results: &[(DataType, &[u64])],
    ) -> Vec<ValueId> {
        let mut op = Op::new(op_type);
        let inputs = inputs.iter();
        op.inputs = inputs
            .map(|&(param, v)| (param.to_owned(), v.into_args()))
            .collect();
        let name = format!("{op_type}_{}", self.program.values.len());
        let results = results.iter().enumerate();
        let results = results.map(|(i, &(dtype, shape))| {
            (
                format!("{name}_{i}"),
                TensorType::fixed(dtype, shape).into(),
            )
        });
        let results: Vec<_> = results.collect();
        self.push(op, results)
    }

    fn push(&mut self, op: Op, results: Vec<(String, ValueType)>) -> Vec<ValueId> {
        let id = self.program.ops.push(op);
        let results = results.into_iter().enumerate();
        let values: Vec<ValueId> = results
            .map(|(i, (name, ty))| self.value(&name, ty, ValueDef::Op(id, i)))
            .collect();
        self.program.ops[id].outputs = values.clone();
        self.program.block_mut(self.block).unwrap().ops.push(id);
        values
    }

    /// Adds a cast.
    pub(crate) fn cast(&mut self, x: ValueId, dtype: DataType) -> ValueId {
        let dtype = self.string(dtype.name());
        self.op("cast", &[("x", x), ("dtype", dtype)])
    }

    /// Adds an addition.
    pub(crate) fn add(&mut self, x: ValueId, y: ValueId) -> ValueId {
        self.op("add", &[("x", x), ("y", y)])
    }

    /// A program of linear layers in half precision with so many islands of
    /// single precision between them.
    pub(crate) fn islands(islands: usize, width: u64) -> Self {
        let mut s = Self::new();
        let mut x = s.input("x", DataType::Float16, &[width, 1, 8]);
        for n in 0..=islands {
            if n > 0 {
                x = s.cast(x, DataType::Float32);
                x = s.op("tanh", &[("x", x)]);
                x = s.cast(x, DataType::Float16);
            }
            let weight = s.weight(DataType::Float16, &[8, 8]);
            x = s.op("linear", &[("x", x), ("weight", weight)]);
        }
        s.output(x);
        s
    }

    /// Adds a convolution without bias.
    pub(crate) fn conv(&mut self, x: ValueId, weight: ValueId, strides: &[i32]) -> ValueId {
        self.conv_with(x, weight, strides, &vec![1; strides.len()], 1)
    }

    /// Adds a convolution without bias or padding.
    pub(crate) fn conv_with(
        &mut self,
        x: ValueId,
        weight: ValueId,
        strides: &[i32],
        dilations: &[i32],
        groups: i32,
    ) -> ValueId {
        let pad = self.ints(&vec![0; strides.len() * 2]);
        let (dilations, groups) = (self.ints(dilations), self.int(groups));
        let pad_type = self.string("valid");
        let strides = self.ints(strides);
        self.op(
            "conv",
            &[
                ("x", x),
                ("weight", weight),
                ("strides", strides),
                ("pad_type", pad_type),
                ("pad", pad),
                ("dilations", dilations),
                ("groups", groups),
            ],
        )
    }

    /// What every rule finds in it.
    pub(crate) fn lint(&self) -> Vec<Finding> {
        let input = Input {
            program: &self.program,
            blobs: &NoBlobs,
            description: Description {
                functions: vec![self.signature.clone()],
                default_function: "main".into(),
                ..Description::default()
            },
            spec_version: self.spec_version,
            weight_files: self.weight_files.clone(),
        };
        lint(&input, &self.settings)
    }

    /// What one rule finds in it.
    pub(crate) fn findings(&self, rule: &Rule) -> Vec<Finding> {
        let all = self.lint().into_iter();
        all.filter(|f| f.rule.name == rule.name).collect()
    }
}

/// Every rule finds something in the program made for it, says the number and
/// the limit, and finds nothing one step away.
#[test]
fn rules_trigger_and_miss() {
    let mut findings = 0;
    for case in CASES {
        let name = case.rule.name;
        let found = (case.triggers)().findings(case.rule);
        assert!(
            !found.is_empty(),
            "{name} finds nothing in what should trigger it"
        );
        for f in &found {
            println!("{}", f.diagnostic);
            for number in [f.number, f.limit].into_iter().flatten() {
                let number = number.to_string();
                let message = &f.diagnostic.message;
                assert!(
                    message.contains(&number),
                    "{name}: no {number} in {message:?}"
                );
            }
            let possible = f.diagnostic.message.starts_with("possible: ");
            assert_eq!(possible, f.confidence == Confidence::Folklore, "{name}");
            assert!(
                !possible || f.diagnostic.severity < Severity::Error,
                "{name}"
            );
        }
        findings += found.len();
        let missed = (case.near_miss)().findings(case.rule);
        let shown: Vec<String> = missed.iter().map(|f| f.diagnostic.to_string()).collect();
        assert!(missed.is_empty(), "{name} finds {shown:?} in a near miss");
    }
    println!(
        "{} rules, {findings} findings, {} near misses",
        CASES.len(),
        CASES.len()
    );
}

/// Every finding on the programs of all rules is as sure and as severe as its
/// rule at most, and no rule panics on what another one is made for.
#[test]
fn findings_keep_to_their_rules() {
    let mut checked = 0;
    for case in CASES {
        for sketch in [(case.triggers)(), (case.near_miss)()] {
            for f in sketch.lint() {
                assert!(f.diagnostic.severity <= f.rule.severity, "{}", f.rule.name);
                assert!(f.confidence <= f.rule.confidence, "{}", f.rule.name);
                assert_eq!(f.diagnostic.code, f.rule.name);
                assert_eq!(
                    f.places.first().cloned().unwrap_or_default(),
                    f.diagnostic.location
                );
                checked += 1;
            }
        }
    }
    println!("{checked} findings of {} programs", 2 * CASES.len());
    assert!(checked > CASES.len());
}

/// A rule is applied only for compute units that it concerns, and the processor
/// is always among them.
#[test]
fn rules_are_for_their_units() {
    let mut silent = 0;
    for case in CASES {
        for name in ["ane", "gpu", "cpu"] {
            let sketch = (case.triggers)().units(name);
            let concerned = Units::from_name(name).unwrap().concern(case.rule);
            let found = !sketch.findings(case.rule).is_empty();
            assert!(concerned || !found, "{} for {name}", case.rule.name);
            silent += usize::from(!concerned);
        }
    }
    println!("{silent} of {} not applied", 3 * CASES.len());
    assert!(silent > 0);
}

#[test]
fn rules_are_documented() {
    let mut names = BTreeSet::new();
    for rule in rules() {
        let name = rule.name;
        assert!(names.insert(name), "{name} is there twice");
        let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(name.chars().all(kebab), "{name}");
        assert!(!rule.sources.is_empty(), "{name}");
        // The one that no device had to show.
        assert_eq!(rule.ids.is_empty(), name == "invalid-program", "{name}");
        assert!(rule.details.len() > 80, "{name} says too little");
        assert!(
            rule.summary.ends_with('.') && !rule.summary.contains('\n'),
            "{name}"
        );
        let error = rule.severity == Severity::Error;
        assert!(!error || rule.confidence != Confidence::Folklore, "{name}");
    }
    let sorted: Vec<&str> = rules().iter().map(|r| r.name).collect();
    assert!(sorted.is_sorted(), "rules/mod.rs is not sorted");
    println!("{} rules", names.len());
}
