//! Random valid programs: whatever the op table's inference accepts, over
//! small shapes. Arguments are drawn from the table's element types, with
//! shapes that give inference a chance.

use milwright_ir::ops::{self, Kind, OpDef, Opset, Param, Presence};
use milwright_ir::{
    Arg, Block, BlockId, ConstData, Constant, DataType, Dim, Function, NoBlobs, Op, OpView,
    Program, TensorData, TensorType, Value, ValueDef, ValueId, ValueType,
};

/// No tensor has more elements: programs must run in a moment.
const MAX_ELEMENTS: u64 = 20_000;

/// How often arguments are drawn before an operation is given up.
const DRAWS: usize = 300;

/// A small generator of numbers (splitmix64), the same on every machine.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to just below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1) as usize) as i64
    }

    /// True once in `n` times.
    fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// A number of that element type; most are small.
    pub(crate) fn number(&mut self, dtype: DataType) -> f64 {
        match dtype {
            DataType::Bool => self.below(2) as f64,
            d if d.is_float() => match self.below(40) {
                0 => 0.0,
                1 => 3e4,
                2 => -3e4,
                _ => self.between(-32, 32) as f64 / 16.0,
            },
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => self.between(0, 3) as f64,
            DataType::UInt1 => self.below(2) as f64,
            _ => self.between(-2, 4) as f64,
        }
    }
}

/// As many class labels.
fn classes(count: u64) -> Constant {
    let element = TensorType::scalar(DataType::String).into();
    let ty = ValueType::List {
        element: Box::new(element),
        length: Dim::Known(count),
    };
    let labels = (0..count).map(|i| Constant::string(format!("class {i}")));
    Constant::new(ty, ConstData::List(labels.collect()))
}

/// A constant of those numbers.
pub(crate) fn constant(dtype: DataType, dims: &[u64], numbers: &[f64]) -> Constant {
    let data = match dtype {
        DataType::Float32 => TensorData::Floats(numbers.iter().map(|&v| v as f32).collect()),
        DataType::Int32 => TensorData::Ints(numbers.iter().map(|&v| v as i32).collect()),
        DataType::Bool => TensorData::Bools(numbers.iter().map(|&v| v != 0.0).collect()),
        _ => TensorData::Bytes(packed(dtype, numbers).into()),
    };
    Constant::tensor(TensorType::fixed(dtype, dims), data)
}

fn packed(dtype: DataType, numbers: &[f64]) -> Vec<u8> {
    let bits = dtype.bits().unwrap_or(8) as usize;
    if dtype == DataType::Float16 {
        let halves = numbers.iter().map(|&v| half::f16::from_f64(v));
        return halves.flat_map(|h| h.to_le_bytes()).collect();
    }
    if bits >= 8 {
        let bytes = numbers.iter().map(|&v| (v as i64).to_le_bytes());
        return bytes.flat_map(|b| b[..bits / 8].to_vec()).collect();
    }
    let mut out = vec![0u8; (numbers.len() * bits).div_ceil(8)];
    for (i, &v) in numbers.iter().enumerate() {
        let word = (v as i64 as u16) & ((1 << bits) - 1);
        let at = i * bits;
        let wide = word << (at % 8);
        out[at / 8] |= wide as u8;
        if wide > 0xff {
            out[at / 8 + 1] |= (wide >> 8) as u8;
        }
    }
    out
}

/// Words that parameters of type `string` take, over all operations.
fn words(op: &str, param: &str) -> &'static [&'static str] {
    match (op, param) {
        ("pad", _) => &["constant", "reflect", "replicate"],
        ("gelu", _) => &["EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"],
        ("random_categorical", _) => &["logits", "probs"],
        (_, "pad_type") => &["valid", "same", "same_lower", "custom"],
        (_, "mode") => &["add", "sub", "mul", "div", "max", "min", "update"],
        (_, "equation") => &["abc,cbd->abd", "abcd,adce->abce", "nchw,nwhu->nchu"],
        ("quantize", "output_dtype") => &["int8", "uint8"],
        ("reduce_argmax" | "reduce_argmin", "output_dtype") => &["int32", "uint16"],
        (_, "output_indices_dtype") => &["int32", "uint16"],
        (_, "dtype" | "output_dtype") => &["fp16", "fp32", "int32", "bool", "int8", "uint16"],
        (_, "direction") => &["forward", "reverse", "bidirectional"],
        (_, "activation" | "cell_activation" | "recurrent_activation") => {
            &["tanh", "relu", "sigmoid", "hard_sigmoid", "linear"]
        }
        (_, "interpolation_mode") => &["LINEAR", "NEAREST_NEIGHBOR"],
        ("resample" | "affine", "sampling_mode") => &["nearest", "bilinear"],
        (_, "sampling_mode") => &[
            "STRICT_ALIGN_CORNERS",
            "ALIGN_CORNERS",
            "UNALIGN_CORNERS",
            "DEFAULT",
            "OFFSET_CORNERS",
        ],
        (_, "padding_mode") => &["constant", "border", "reflection", "symmetric"],
        (_, "coordinates_mode") => &[
            "unnormalized",
            "normalized_minus_one_to_one",
            "normalized_zero_to_one",
        ],
        (_, "box_coordinate_mode") => &[
            "CORNERS_HEIGHT_FIRST",
            "CORNERS_WIDTH_FIRST",
            "CENTER_SIZE_HEIGHT_FIRST",
            "CENTER_SIZE_WIDTH_FIRST",
        ],
        _ => &["fp32"],
    }
}

/// What the arguments of one draw have in common.
struct Draw {
    /// Dimensions of the first operand, as far as they are known.
    dims: Vec<u64>,
    /// Length of integer lists.
    length: usize,
    /// Sizes for operations whose operands must fit each other.
    n: u64,
    c: u64,
    h: u64,
    w: u64,
    k: u64,
    /// Bits of the indices into a table.
    bits: u64,
    /// Sub-byte indices are packed in bytes, as before iOS 18.
    packed: bool,
    /// Element type by group.
    groups: Vec<(&'static str, DataType)>,
}

/// Shapes of parameters that must fit each other; `None`: any.
fn fitting(op: &str, param: &str, d: &Draw) -> Option<Vec<u64>> {
    let &Draw { n, c, h, w, k, .. } = d;
    Some(match (op, param) {
        ("conv" | "conv_quantized", "weight") => vec![k, c, 1.min(h), 2.min(w)],
        ("conv_transpose", "weight") => vec![c, k, 2, 2],
        ("conv" | "conv_transpose", "bias") => vec![k],
        ("linear", "x") => vec![n, h, c],
        ("linear", "weight") => vec![k, c],
        ("linear", "bias") => vec![k],
        ("matmul", "x") => vec![n, h, c],
        ("matmul", "y") => vec![n, c, w],
        ("scaled_dot_product_attention", "query") => vec![n, k, h, c],
        ("scaled_dot_product_attention", "key" | "value") => vec![n, k, w, c],
        ("scaled_dot_product_attention", "attn_mask") => vec![n, k, h, w],
        ("lstm" | "gru" | "rnn", "x") => vec![h, n, c],
        ("lstm" | "gru" | "rnn", "initial_h" | "initial_c") => vec![n, k],
        ("lstm", "weight_ih") => vec![4 * k, c],
        ("lstm", "weight_hh") => vec![4 * k, k],
        ("lstm", "bias") => vec![4 * k],
        ("lstm", "peephole") => vec![3 * k],
        ("gru", "weight_ih") => vec![3 * k, c],
        ("gru", "weight_hh") => vec![3 * k, k],
        ("gru", "bias" | "input_bias") => vec![3 * k],
        ("rnn", "weight_ih") => vec![k, c],
        ("rnn", "weight_hh") => vec![k, k],
        ("rnn", "bias") => vec![k],
        ("batch_norm" | "instance_norm", "gamma" | "beta" | "mean" | "variance") => vec![c],
        ("prelu" | "softplus_parametric", "alpha" | "beta") => vec![c],
        ("einsum", "values") => vec![n; if h == 2 { 3 } else { 4 }],
        ("write_state", "data") | ("coreml_update_state", "value") => vec![2, 3],
        ("constexpr_lut_to_dense", "indices") if d.packed => vec![n * k],
        ("constexpr_lut_to_dense", "indices") => vec![n, k],
        ("constexpr_lut_to_dense", "lut") if d.packed => vec![256],
        ("constexpr_lut_to_dense", "lut") => vec![1, 1, 1 << d.bits, 1],
        (_, "shape") if op.starts_with("constexpr") => vec![2],
        ("scatter_nd", "data") | ("gather_nd", "x") => vec![n + 1, c, w],
        ("scatter_nd", "indices") | ("gather_nd", "indices") => vec![h, 2],
        ("scatter_nd", "updates") => vec![h, w],
        ("scatter", "data") => vec![c, w],
        ("scatter", "indices") => vec![h],
        ("scatter", "updates") => vec![h, w],
        ("scatter_along_axis", _) | ("gather_along_axis", _) => vec![n, c, w],
        ("crop_resize", "x") => vec![1, c, h + 2, w + 2],
        ("crop_resize", "roi") => vec![k, 1, 4, 1, 1],
        ("crop_resize", "boxes") => vec![k, 4],
        ("crop_resize", "box_indices") => vec![k],
        ("affine", "transform_matrix") => vec![n, 6],
        ("resample", "coordinates") => vec![n, 2, 3, 2],
        ("non_maximum_suppression", "boxes") => vec![n, h + 1, 4],
        ("non_maximum_suppression", "scores") => vec![n, h + 1, c],
        ("reverse_sequence", "lengths") => vec![n],
        ("classify", "probabilities") => vec![k],
        ("random_categorical", "x") => vec![n, k],
        ("pixel_shuffle" | "depth_to_space", "x") => vec![n, 4 * c, h, w],
        ("pixel_unshuffle" | "space_to_depth" | "space_to_batch", "x") => {
            vec![n, c, 2 * h, 2 * w]
        }
        ("batch_to_space", "x") => vec![4 * n, c, h, w],
        ("space_to_batch" | "batch_to_space", "block_shape") => vec![2],
        ("space_to_batch", "paddings") | ("batch_to_space", "crops") => vec![2, 2],
        ("slice_update", "update") => vec![],
        ("constexpr_lut_to_sparse", "indices_nonzero_data") => vec![k],
        ("constexpr_lut_to_sparse", "indices_mask") => vec![n, k],
        ("constexpr_lut_to_sparse", "lut") => vec![1, 1, 1 << d.bits, 1],
        ("constexpr_sparse_blockwise_shift_scale", "data_mask") => vec![n, k],
        ("constexpr_sparse_blockwise_shift_scale", "nonzero_data") => vec![n * k],
        ("constexpr_sparse_blockwise_shift_scale", "scale" | "offset") => vec![1, 1],
        ("constexpr_blockwise_shift_scale", "data") => vec![n, k],
        ("constexpr_blockwise_shift_scale", "scale" | "offset") => vec![n, 1],
        ("constexpr_affine_dequantize", "quantized_data") => vec![n, k],
        ("constexpr_affine_dequantize", "scale" | "zero_point") => vec![],
        ("constexpr_sparse_to_dense", "nonzero_data") => vec![n * k],
        ("constexpr_sparse_to_dense", "mask") => vec![n, k],
        (_, "x") if is_image_op(op) => vec![n, c, h + 1, w + 1],
        _ => return None,
    })
}

fn is_image_op(op: &str) -> bool {
    matches!(
        op,
        "conv"
            | "conv_transpose"
            | "conv_quantized"
            | "avg_pool"
            | "max_pool"
            | "l2_pool"
            | "batch_norm"
            | "instance_norm"
            | "prelu"
            | "softplus_parametric"
            | "upsample_bilinear"
            | "upsample_nearest_neighbor"
            | "resize_bilinear"
            | "resize_nearest_neighbor"
            | "resize"
            | "crop"
            | "local_response_norm"
            | "l2_norm"
            | "affine"
            | "resample"
    )
}

/// A program under construction.
pub(crate) struct Generator {
    pub random: Random,
    pub program: Program,
    opset: Opset,
    inputs: Vec<ValueId>,
    /// Values that an operation may read.
    values: Vec<ValueId>,
    body: Block,
    names: usize,
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let opsets = [Opset::IOS15, Opset::IOS16, Opset::IOS17, Opset::IOS18];
        let opset = *random.pick(&opsets);
        Self {
            random,
            program: Program::default(),
            opset,
            inputs: Vec::new(),
            values: Vec::new(),
            body: Block::default(),
            names: 0,
        }
    }

    fn value(&mut self, ty: ValueType, def: ValueDef) -> ValueId {
        self.names += 1;
        let name = format!("v{}", self.names);
        self.program.values.push(Value { name, ty, def })
    }

    fn input(&mut self, ty: ValueType) -> ValueId {
        let def = ValueDef::FunctionInput(0, self.inputs.len());
        let id = self.value(ty, def);
        self.inputs.push(id);
        id
    }

    fn dims(&mut self) -> Vec<u64> {
        let rank = self.random.below(5);
        (0..rank).map(|_| 1 + self.random.below(4) as u64).collect()
    }

    /// The program, of about that many operations; `choose` names the first
    /// one, so that every operation gets its turn.
    pub(crate) fn finish(mut self, ops: usize, choose: &'static OpDef) -> Program {
        let kinds = [
            DataType::Float32,
            DataType::Float16,
            DataType::Int32,
            DataType::Bool,
        ];
        for i in 0..1 + self.random.below(3) {
            let dtype = if i == 0 {
                DataType::Float32
            } else {
                *self.random.pick(&kinds)
            };
            let dims = self.dims();
            let id = self.input(TensorType::fixed(dtype, &dims).into());
            self.values.push(id);
        }
        if self.opset >= Opset::IOS18 {
            let held = TensorType::fixed(DataType::Float16, &[2, 3]);
            let id = self.input(ValueType::State(Box::new(held.into())));
            self.values.push(id);
        }
        if choose.since > self.opset {
            self.opset = choose.since;
        }
        let all: Vec<&'static OpDef> = ops::all()
            .filter(|d| d.name != "const" && milwright_interp::is_executable(d.name))
            .collect();
        self.add(choose);
        for _ in 1..ops {
            let def = *self.random.pick(&all);
            if def.since <= self.opset {
                self.add(def);
            }
        }
        let mut outputs: Vec<ValueId> = Vec::new();
        for &id in self.values.iter().rev() {
            let fits = matches!(self.program.values[id].ty, ValueType::Tensor(_));
            if fits && matches!(self.program.values[id].def, ValueDef::Op(..)) {
                outputs.push(id);
            }
        }
        if outputs.is_empty() {
            outputs.extend(self.values.first());
        }
        self.body.outputs = outputs;
        let body = self.program.blocks.push(self.body);
        let opset = self.opset.name().to_owned();
        self.program.functions.push(Function {
            name: "main".to_owned(),
            opset: opset.clone(),
            inputs: self.inputs,
            specializations: vec![(opset, body)],
            attributes: Vec::new(),
        });
        self.program
    }

    /// Adds an operation of that type, if arguments for it are found.
    fn add(&mut self, def: &'static OpDef) {
        match def.name {
            "cond" => self.add_cond(),
            "while_loop" => self.add_loop(),
            _ => {
                for _ in 0..DRAWS {
                    if self.try_add(def) {
                        return;
                    }
                }
            }
        }
    }

    fn try_add(&mut self, def: &'static OpDef) -> bool {
        let mut op = Op::new(def.name);
        let mut draw = Draw {
            dims: Vec::new(),
            length: self.random.below(9),
            n: 1 + self.random.below(2) as u64,
            c: 1 + self.random.below(3) as u64,
            h: 1 + self.random.below(3) as u64,
            w: 1 + self.random.below(3) as u64,
            k: 1 + self.random.below(3) as u64,
            bits: 8,
            packed: self.opset < Opset::IOS18,
            groups: Vec::new(),
        };
        for param in def.params_in(self.opset) {
            let skip = match param.presence {
                Presence::Required => false,
                _ => !self.random.once_in(3),
            };
            if skip {
                continue;
            }
            let count = match param.variadic {
                true if def.name == "einsum" => 2,
                true => 1 + self.random.below(3),
                false => 1,
            };
            let mut args = Vec::new();
            for _ in 0..count {
                let Some(arg) = self.argument(def, param, &mut draw) else {
                    return false;
                };
                args.push(arg);
            }
            op.inputs.push((param.name.to_owned(), args));
        }
        let ops_before = self.program.ops.len();
        let id = self.program.ops.push(op);
        // Some rules look at how many outputs there are.
        let mut outputs = Vec::new();
        if def.name == "split" {
            for i in 0..1 + self.random.below(3) {
                outputs.push(self.value(ValueType::Missing, ValueDef::Op(id, i)));
            }
            self.program.ops[id].outputs = outputs.clone();
        }
        debug_assert_eq!(ops_before + 1, self.program.ops.len());
        let types = match def.infer(&OpView::new(&self.program, id, &NoBlobs)) {
            Ok(types) if types.iter().all(is_small) => types,
            _ => return false,
        };
        if !outputs.is_empty() && outputs.len() != types.len() {
            return false;
        }
        for (i, ty) in types.into_iter().enumerate() {
            match outputs.get(i) {
                Some(&v) => self.program.values[v].ty = ty,
                None => outputs.push(self.value(ty, ValueDef::Op(id, i))),
            }
        }
        self.program.ops[id].outputs = outputs.clone();
        self.hoist_constants(id);
        self.body.ops.push(id);
        self.values.extend(outputs);
        true
    }

    /// Makes operations of most constants that are written in place.
    fn hoist_constants(&mut self, id: milwright_ir::OpId) {
        let mut inputs = std::mem::take(&mut self.program.ops[id].inputs);
        for (_, args) in &mut inputs {
            for arg in args {
                let Arg::Const(constant) = arg else { continue };
                if self.random.once_in(5) {
                    continue;
                }
                let value = self.const_op(constant.clone());
                *arg = Arg::Value(value);
            }
        }
        self.program.ops[id].inputs = inputs;
    }

    fn const_op(&mut self, constant: Constant) -> ValueId {
        let ty = constant.ty.clone();
        let mut op = Op::new("const");
        op.attributes.push(("val".to_owned(), constant));
        let id = self.program.ops.push(op);
        let value = self.value(ty, ValueDef::Op(id, 0));
        self.program.ops[id].outputs = vec![value];
        self.body.ops.push(id);
        value
    }

    fn argument(&mut self, def: &OpDef, param: &Param, draw: &mut Draw) -> Option<Arg> {
        if (def.name, param.name) == ("classify", "classes") {
            return Some(Arg::Const(classes(draw.dims.iter().product())));
        }
        if matches!(param.kind, Kind::List | Kind::State) {
            let wanted = |ty: &ValueType| match param.kind {
                Kind::List => matches!(ty, ValueType::List { .. }),
                _ => matches!(ty, ValueType::State(_)),
            };
            let found: Vec<ValueId> = self.matching(wanted);
            if found.is_empty() && param.kind == Kind::List {
                let make = ops::lookup("make_list")?;
                self.try_add(make);
                return None;
            }
            return (!found.is_empty()).then(|| Arg::Value(*self.random.pick(&found)));
        }
        let dtype = self.dtype(param, draw);
        if dtype == DataType::String {
            let word = *self.random.pick(words(def.name, param.name));
            return Some(Arg::Const(Constant::string(word)));
        }
        let fitting = fitting(def.name, param.name, draw);
        let constant_only = param.must_be_constant(self.opset);
        // A value of the program, if there is one of that type.
        if !constant_only
            && (fitting.is_none() || self.random.once_in(4))
            && !self.random.once_in(5)
        {
            let found = self.matching(|ty| ty.as_tensor().is_some_and(|t| t.dtype == dtype));
            if !found.is_empty() {
                let id = *self.random.pick(&found);
                if draw.dims.is_empty() {
                    let shape = &self.program.values[id].ty.as_tensor()?.shape;
                    draw.dims = shape.iter().map(|d| d.known().unwrap_or(1)).collect();
                    draw.length = *self.random.pick(&lengths(draw.dims.len()));
                    draw.c = draw.dims.get(1).copied().unwrap_or(draw.c);
                    draw.n = draw.dims.first().copied().unwrap_or(draw.n);
                }
                return Some(Arg::Value(id));
            }
        }
        let dims = match fitting {
            Some(dims) => dims,
            None => self.shape_for(param, dtype, draw),
        };
        if draw.dims.is_empty() && !constant_only {
            draw.dims.clone_from(&dims);
            draw.length = *self.random.pick(&lengths(dims.len()));
        }
        let count: u64 = dims.iter().product();
        if count > MAX_ELEMENTS {
            return None;
        }
        let numbers: Vec<f64> = self.numbers(param, dtype, count as usize, draw);
        let constant = constant(dtype, &dims, &numbers);
        if !constant_only && self.random.once_in(2) && is_plain(dtype) {
            // Known only when the program runs.
            let value = self.const_op(constant);
            let identity = ops::lookup("identity")?;
            let mut op = Op::new(identity.name);
            op.inputs.push(("x".to_owned(), vec![Arg::Value(value)]));
            let ty = self.program.values[value].ty.clone();
            let id = self.program.ops.push(op);
            let out = self.value(ty, ValueDef::Op(id, 0));
            self.program.ops[id].outputs = vec![out];
            self.body.ops.push(id);
            return Some(Arg::Value(out));
        }
        Some(Arg::Const(constant))
    }

    fn matching(&self, wanted: impl Fn(&ValueType) -> bool) -> Vec<ValueId> {
        let values = self.values.iter().copied();
        values
            .filter(|&v| wanted(&self.program.values[v].ty))
            .collect()
    }

    fn dtype(&mut self, param: &Param, draw: &mut Draw) -> DataType {
        let Some(domain) = param.domain(self.opset) else {
            return match param.name {
                "elem_shape" => DataType::Int32,
                _ => DataType::Float32,
            };
        };
        let known = draw.groups.iter().find(|(group, _)| *group == domain.group);
        if let Some(&(_, dtype)) = known
            && !domain.group.is_empty()
            && domain.dtypes.contains(&dtype)
        {
            return dtype;
        }
        let dtype = *self.random.pick(domain.dtypes);
        draw.groups.push((domain.group, dtype));
        if param.name.starts_with("indices") {
            draw.bits = dtype.bits().unwrap_or(8).min(8);
        }
        dtype
    }

    fn shape_for(&mut self, param: &Param, dtype: DataType, draw: &Draw) -> Vec<u64> {
        if matches!(dtype, DataType::Int32 | DataType::Bool | DataType::UInt32) && param.constant {
            let scalar = param.name.ends_with("axis") || self.random.once_in(3);
            return if scalar {
                Vec::new()
            } else {
                vec![draw.length as u64]
            };
        }
        if param.constant && self.random.once_in(2) {
            return Vec::new();
        }
        let mut dims = draw.dims.clone();
        match self.random.below(6) {
            0 => Vec::new(),
            1 => self.dims(),
            2 => {
                if let Some(d) = dims.first_mut() {
                    *d = 1;
                }
                dims
            }
            3 => dims.into_iter().skip(1).collect(),
            _ => dims,
        }
    }

    fn numbers(&mut self, param: &Param, dtype: DataType, count: usize, draw: &Draw) -> Vec<f64> {
        let rank = draw.dims.len() as i64;
        let integers = !dtype.is_float() && dtype != DataType::Bool && param.constant;
        if param.name == "perm" {
            let mut perm: Vec<f64> = (0..count).map(|i| i as f64).collect();
            for i in (1..count).rev() {
                let j = self.random.below(i + 1);
                perm.swap(i, j);
            }
            return perm;
        }
        if param.name.contains("axes") || param.name.ends_with("axis") || param.name == "axis" {
            return (0..count)
                .map(|_| self.random.between(-rank, (rank - 1).max(0)) as f64)
                .collect();
        }
        if param.name.contains("indices") && dtype != DataType::UInt1 && !self.random.once_in(50) {
            return vec![0.0; count];
        }
        if param.name == "reps" || param.name == "lengths" || param.name.ends_with("vector_size") {
            return vec![1.0; count];
        }
        if param.name == "shape" && dtype == DataType::UInt32 {
            return vec![draw.n as f64, draw.k as f64];
        }
        if param.name == "shape" && integers {
            return self.factors(draw, count);
        }
        if integers {
            let (low, high) = *self.random.pick(&[(1, 3), (0, 2), (0, 1), (1, 1), (2, 2)]);
            return (0..count)
                .map(|_| self.random.between(low, high) as f64)
                .collect();
        }
        (0..count).map(|_| self.random.number(dtype)).collect()
    }

    /// `count` sizes whose product is that of the operand's.
    fn factors(&mut self, draw: &Draw, count: usize) -> Vec<f64> {
        let mut left: u64 = draw.dims.iter().product();
        let mut sizes = vec![1u64; count];
        for size in &mut sizes {
            let divisors: Vec<u64> = (1..=left).filter(|d| left.is_multiple_of(*d)).collect();
            if divisors.is_empty() {
                break;
            }
            *size = *self.random.pick(&divisors);
            left /= *size;
        }
        if let Some(last) = sizes.last_mut() {
            *last *= left;
        }
        let mut sizes: Vec<f64> = sizes.into_iter().map(|s| s as f64).collect();
        if self.random.once_in(3)
            && let Some(first) = sizes.first_mut()
        {
            *first = -1.0;
        }
        sizes
    }

    /// A block of one operation on a value from outside or of the block.
    fn block_of(&mut self, op_type: &str, inputs: Vec<(&str, Arg)>) -> Option<(Block, ValueId)> {
        let mut op = Op::new(op_type);
        let args = inputs.into_iter().map(|(n, a)| (n.to_owned(), vec![a]));
        op.inputs = args.collect();
        let def = op.def?;
        let id = self.program.ops.push(op);
        let ty = def.infer(&OpView::new(&self.program, id, &NoBlobs)).ok()?;
        let out = self.value(ty.into_iter().next()?, ValueDef::Op(id, 0));
        self.program.ops[id].outputs = vec![out];
        let block = Block {
            ops: vec![id],
            outputs: vec![out],
            ..Block::default()
        };
        Some((block, out))
    }

    fn attach(&mut self, op: Op, blocks: Vec<Block>) {
        let id = self.program.ops.push(op);
        for mut block in blocks {
            block.parent = Some(id);
            let inputs = block.inputs.clone();
            let b: BlockId = self.program.blocks.push(block);
            for (i, v) in inputs.into_iter().enumerate() {
                self.program.values[v].def = ValueDef::BlockInput(b, i);
            }
            self.program.ops[id].blocks.push(b);
        }
        let Some(def) = self.program.ops[id].def else {
            return;
        };
        let Ok(types) = def.infer(&OpView::new(&self.program, id, &NoBlobs)) else {
            return;
        };
        let outputs: Vec<ValueId> = types
            .into_iter()
            .enumerate()
            .map(|(i, ty)| self.value(ty, ValueDef::Op(id, i)))
            .collect();
        self.program.ops[id].outputs.clone_from(&outputs);
        self.body.ops.push(id);
        self.values.extend(outputs);
    }

    fn add_cond(&mut self) {
        let is_pred = |ty: &ValueType| {
            ty.as_tensor()
                .is_some_and(|t| t.dtype == DataType::Bool && t.rank() == Some(0))
        };
        let preds = self.matching(is_pred);
        let pred = match preds.first() {
            Some(&pred) => Arg::Value(pred),
            None => Arg::Const(Constant::bool(self.random.once_in(2))),
        };
        let floats = self.matching(|ty| ty.as_tensor().is_some_and(|t| t.dtype.is_float()));
        if floats.is_empty() {
            return;
        }
        let x = *self.random.pick(&floats);
        let mut blocks = Vec::new();
        for _ in 0..2 {
            let op_type = *self.random.pick(&["relu", "tanh", "square", "identity"]);
            let Some((block, _)) = self.block_of(op_type, vec![("x", Arg::Value(x))]) else {
                return;
            };
            blocks.push(block);
        }
        let mut op = Op::new("cond");
        op.inputs.push(("pred".to_owned(), vec![pred]));
        self.attach(op, blocks);
    }

    /// Counts up to a limit and applies an operation as often. Once in a while
    /// the limit is out of reach.
    fn add_loop(&mut self) {
        let floats = self.matching(|ty| ty.as_tensor().is_some_and(|t| t.dtype.is_float()));
        let start = self.const_op(Constant::int(0));
        let limit = if self.random.once_in(8) {
            i32::MAX
        } else {
            self.random.below(4) as i32
        };
        let Some(&x) = floats.last() else { return };
        let scalar = ValueType::Tensor(TensorType::scalar(DataType::Int32));
        let carried = self.program.values[x].ty.clone();
        let variables = |g: &mut Self| {
            let i = g.value(scalar.clone(), ValueDef::Undefined);
            let v = g.value(carried.clone(), ValueDef::Undefined);
            (i, v)
        };
        let (i, v) = variables(self);
        let until = vec![
            ("x", Arg::Value(i)),
            ("y", Arg::Const(Constant::int(limit))),
        ];
        let Some((mut condition, _)) = self.block_of("less", until) else {
            return;
        };
        condition.inputs = vec![i, v];
        let (i, v) = variables(self);
        let more = vec![("x", Arg::Value(i)), ("y", Arg::Const(Constant::int(1)))];
        let Some((count, next)) = self.block_of("add", more) else {
            return;
        };
        let Some((step, changed)) = self.block_of("tanh", vec![("x", Arg::Value(v))]) else {
            return;
        };
        let body = Block {
            inputs: vec![i, v],
            outputs: vec![next, changed],
            ops: [count.ops, step.ops].concat(),
            ..Block::default()
        };
        let mut op = Op::new("while_loop");
        let loop_vars = vec![Arg::Value(start), Arg::Value(x)];
        op.inputs.push(("loop_vars".to_owned(), loop_vars));
        self.attach(op, vec![condition, body]);
    }
}

/// Lengths that integer lists have for an operand of that rank.
fn lengths(rank: usize) -> [usize; 5] {
    let spatial = rank.saturating_sub(2);
    [rank, rank, spatial, 2 * rank, 2 * spatial]
}

/// Types that values have while a program runs.
fn is_plain(dtype: DataType) -> bool {
    matches!(
        dtype,
        DataType::Float32 | DataType::Float16 | DataType::Int32 | DataType::Bool
    )
}

fn is_small(ty: &ValueType) -> bool {
    match ty {
        ValueType::Tensor(t) => {
            t.rank().is_some() && t.elements().is_none_or(|n| n > 0 && n <= MAX_ELEMENTS)
        }
        _ => true,
    }
}
