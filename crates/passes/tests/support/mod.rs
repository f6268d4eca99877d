//! What the tests of passes share: a plain evaluator in double precision,
//! programs of one operation, and the check of what a pass added.
#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod evaluate;

use milwright_ir::{
    Arg, Block, ConstData, Constant, DataType, Function, Op, Program, TensorData, TensorType,
    Value, ValueDef, ValueId, ValueType,
};

/// A tensor in double precision, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<f64>,
}

impl Tensor {
    pub(crate) fn new(shape: Vec<usize>, data: Vec<f64>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), data.len());
        Self { shape, data }
    }
}

/// The float32 arrays of an `.npz` file.
pub(crate) fn load_npz(path: &std::path::Path) -> std::collections::HashMap<String, Tensor> {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
    let mut arrays = std::collections::HashMap::new();
    for i in 0..archive.len() {
        let mut file = archive.by_index(i).unwrap();
        let name = file.name().unwrap().trim_end_matches(".npy").to_owned();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
        // Magic, version 1.0, length of the header, the header as a Python dict.
        assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
        let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        let header = std::str::from_utf8(&bytes[10..start]).unwrap();
        assert!(header.contains("'descr': '<f4'") && header.contains("'fortran_order': False"));
        let shape = header
            .split("'shape': (")
            .nth(1)
            .unwrap()
            .split(')')
            .next()
            .unwrap();
        let shape = shape.split(',').map(str::trim).filter(|s| !s.is_empty());
        let shape = shape.map(|s| s.parse().unwrap()).collect();
        let data = bytes[start..].as_chunks::<4>().0.iter();
        let data = data.map(|b| f64::from(f32::from_le_bytes(*b))).collect();
        arrays.insert(name, Tensor::new(shape, data));
    }
    arrays
}

/// A convolution as the tests write it.
#[derive(Clone, Debug)]
pub(crate) struct Conv {
    pub(crate) op: &'static str,
    pub(crate) x: Vec<usize>,
    pub(crate) dtype: DataType,
    pub(crate) weight: Tensor,
    pub(crate) bias: Option<Tensor>,
    pub(crate) strides: Option<Vec<i32>>,
    pub(crate) dilations: Option<Vec<i32>>,
    pub(crate) groups: Option<i32>,
    pub(crate) pad_type: Option<String>,
    pub(crate) pad: Option<Vec<i32>>,
    pub(crate) output_shape: Option<Vec<i32>>,
    /// Dimensions of `x` that the program does not know.
    pub(crate) unknown: Vec<usize>,
}

/// Adds a `const` operation.
pub(crate) fn constant(
    program: &mut Program,
    block: milwright_ir::BlockId,
    name: &str,
    c: Constant,
) -> ValueId {
    let mut op = Op::new("const");
    let ty = c.ty.clone();
    op.attributes.push(("name".into(), Constant::string(name)));
    op.attributes.push(("val".into(), c));
    add(program, block, op, name, ty)
}

/// Adds an operation with one result.
pub(crate) fn add(
    program: &mut Program,
    block: milwright_ir::BlockId,
    op: Op,
    name: &str,
    ty: ValueType,
) -> ValueId {
    let id = program.ops.push(op);
    let value = program.values.push(Value {
        name: name.into(),
        ty,
        def: ValueDef::Op(id, 0),
    });
    program.ops[id].outputs.push(value);
    program.block_mut(block).unwrap().ops.push(id);
    value
}

/// An empty function `main` with one input `x`.
pub(crate) fn program(x: TensorType) -> (Program, milwright_ir::BlockId, ValueId) {
    let mut program = Program::default();
    let input = program.values.push(Value {
        name: "x".into(),
        ty: x.into(),
        def: ValueDef::FunctionInput(0, 0),
    });
    let block = program.blocks.push(Block::default());
    program.functions.push(Function {
        name: "main".into(),
        opset: "CoreML7".into(),
        inputs: vec![input],
        specializations: vec![("CoreML7".into(), block)],
        attributes: Vec::new(),
    });
    (program, block, input)
}

fn floats(t: &Tensor, dtype: DataType) -> Constant {
    let shape: Vec<u64> = t.shape.iter().map(|&d| d as u64).collect();
    let ty = TensorType::fixed(dtype, &shape);
    match dtype {
        DataType::Float16 => {
            let bytes = t
                .data
                .iter()
                .flat_map(|&v| half::f16::from_f64(v).to_le_bytes());
            Constant::new(ty, ConstData::New(bytes.collect::<Vec<u8>>().into()))
        }
        _ => Constant::tensor(
            ty,
            TensorData::Floats(t.data.iter().map(|&v| v as f32).collect()),
        ),
    }
}

impl Conv {
    /// A program that is just this convolution; its result is `y`.
    pub(crate) fn program(&self) -> Program {
        let dims: Vec<milwright_ir::Dim> = (0..self.x.len())
            .map(|i| match self.unknown.contains(&i) {
                true => milwright_ir::Dim::Unknown,
                false => milwright_ir::Dim::Known(self.x[i] as u64),
            })
            .collect();
        let (mut p, block, x) = program(TensorType::new(self.dtype, dims));
        let mut op = Op::new(self.op);
        let mut inputs = vec![("x".to_owned(), vec![Arg::Value(x)])];
        let mut given: Vec<(&str, Constant)> = vec![("weight", floats(&self.weight, self.dtype))];
        given.extend(self.bias.as_ref().map(|b| ("bias", floats(b, self.dtype))));
        let ints = [
            ("strides", &self.strides),
            ("dilations", &self.dilations),
            ("pad", &self.pad),
            ("output_shape", &self.output_shape),
        ];
        for (name, value) in ints {
            given.extend(value.as_ref().map(|v| (name, Constant::ints(v))));
        }
        given.extend(self.groups.map(|g| ("groups", Constant::int(g))));
        given.extend(
            self.pad_type
                .as_ref()
                .map(|t| ("pad_type", Constant::string(t.clone()))),
        );
        for (name, value) in given {
            let id = constant(&mut p, block, &format!("y_{name}_0"), value);
            inputs.push((name.to_owned(), vec![Arg::Value(id)]));
        }
        op.inputs = inputs;
        op.attributes.push(("name".into(), Constant::string("y")));
        let def = op.def.unwrap();
        let y = add(&mut p, block, op, "y", ValueType::Missing);
        let id = p.def_op(y).unwrap();
        let types = def.infer(&milwright_ir::OpView::new(&p, id, &milwright_ir::NoBlobs));
        p.values[y].ty = types.unwrap_or_else(|e| panic!("{self:?}: {e}")).remove(0);
        p.block_mut(block).unwrap().outputs.push(y);
        p
    }
}

/// What decompose-conv may add.
const ALLOWED: [&str; 10] = [
    "add",
    "concat",
    "const",
    "linear",
    "matmul",
    "mul",
    "pad",
    "reshape",
    "slice_by_index",
    "transpose",
];

/// Checks every operation of a program that held nothing but convolutions
/// (`constexpr_*` apart): only allowed types, contiguous slices unless
/// `strided`, at most four dimensions. Returns how many were checked.
pub(crate) fn check_added(program: &Program, added: impl Fn(&str) -> bool, strided: bool) -> usize {
    let mut checked = 0;
    for id in program.all_ops() {
        let op = &program.ops[id];
        let Some(&out) = op.outputs.first() else {
            continue;
        };
        let name = &program.values[out].name;
        if !added(name) {
            continue;
        }
        checked += 1;
        let op_type = op.op_type.as_str();
        assert!(ALLOWED.contains(&op_type), "`{name}` is a {op_type}");
        let ty = program.values[out].ty.as_tensor().expect("a tensor");
        assert!(ty.rank().is_some_and(|r| r <= 4), "`{name}` is {ty}");
        if op_type == "slice_by_index" && !strided {
            assert!(op.args("stride").is_empty(), "`{name}` has a stride");
        }
    }
    checked
}
