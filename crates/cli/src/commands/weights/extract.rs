//! `milwright weights extract`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context, bail};
use milwright_interp::{Options as RunOptions, Precision, Session, Value};
use milwright_ir::elements::convert;
use milwright_ir::names::nearest;
use milwright_ir::{DataType, Model, OpId, Program, TensorType};
use milwright_package::Source;
use milwright_passes::weights::{Catalog, Storage, Stored};
use milwright_verify::tensors::{self, Contents, Form, NewTensor};
use milwright_verify::{Array, Data, npy, to_array};
use serde::Serialize;

use crate::Outcome;
use crate::progress::Progress;
use crate::terminal::Terminal;
use crate::weights::bytes;

/// Copy weights to a file of tensors: .npz or .safetensors.
///
/// Of a compressed weight, its parts (indices, table, scale, mask) are copied
/// as they are stored, or with --decompress the dense weight, as the model
/// computes it. What the file has no type for gets the smallest that holds
/// every value: bf16 and fp8 are float32 in an .npz, integers of less than a
/// byte are bytes. The model may be larger than memory.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The model.
    model: PathBuf,

    /// The weights to copy, as `milwright weights list` names them
    /// [default: all].
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// The file to write; its extension chooses the form.
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,

    /// Compressed weights as the dense values that the model computes with.
    #[arg(long)]
    decompress: bool,

    /// Replace OUT if it exists.
    #[arg(long)]
    force: bool,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    model: String,
    output: String,
    /// Bytes of the tensors as they are in the file.
    bytes: u64,
    tensors: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    /// The type in the model.
    dtype: String,
    /// The type in the file.
    held_as: String,
    shape: Vec<u64>,
    decompressed: bool,
}

/// A tensor of the output.
struct Taken<'m> {
    name: String,
    ty: TensorType,
    from: From<'m>,
}

enum From<'m> {
    Stored(&'m Stored<'m>),
    /// The n-th result of an operation, which is computed when the model is
    /// loaded; and the function that it is in.
    Computed(&'m str, OpId, usize),
}

pub(super) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    let form = Form::of(&options.output)?;
    let model = Model::open(&options.model)?;
    let catalog = Catalog::of(model.program());
    let taken = choose(&options, model.program(), &catalog)?;
    let spool = Spool::fill(&model, &taken)?;
    let new = taken.iter().map(|one| NewTensor {
        name: one.name.clone(),
        dtype: one.ty.dtype,
        shape: one.ty.known_shape().unwrap_or_default(),
    });
    let new: Vec<NewTensor> = new.collect();
    let progress = Progress::new("writing", new.len());
    let written = tensors::write(&options.output, options.force, &new, |index| {
        progress.step();
        contents(&model, &taken[index], form, &spool).map_err(Failed)
    });
    drop(progress);
    written.map_err(|Failed(error)| error)?;
    let rows = new.iter().zip(&taken).map(|(tensor, one)| Row {
        name: tensor.name.clone(),
        dtype: tensor.dtype.to_string(),
        held_as: form.holds(tensor.dtype).unwrap_or(tensor.dtype).to_string(),
        shape: tensor.shape.clone(),
        decompressed: matches!(one.from, From::Computed(..)),
    });
    let size = |one: &Taken<'_>| form.holds(one.ty.dtype)?.byte_len(one.ty.elements()?);
    let report = Report {
        schema: "milwright-weights-extract/1",
        model: options.model.display().to_string(),
        output: options.output.display().to_string(),
        bytes: taken.iter().filter_map(size).fold(0, u64::saturating_add),
        tensors: rows.collect(),
    };
    if options.json {
        out.json(&report)?;
        return Ok(Outcome::Clean);
    }
    let mut others: BTreeMap<(String, String), usize> = BTreeMap::new();
    for row in report.tensors.iter().filter(|row| row.dtype != row.held_as) {
        *others.entry((row.dtype.clone(), row.held_as.clone())).or_default() += 1;
    }
    for ((dtype, held), count) in others {
        out.line(format!("{count} of type {dtype} are {held} in the file"))?;
    }
    let dense = report.tensors.iter().filter(|row| row.decompressed).count();
    let mut line = format!("{} tensors, {}", report.tensors.len(), bytes(report.bytes));
    if dense > 0 {
        line.push_str(&format!(", {dense} of them decompressed"));
    }
    out.line(line)?;
    out.line(format!("wrote {}", report.output))?;
    Ok(Outcome::Clean)
}

/// What is to be written, in the order of the program.
fn choose<'m>(
    options: &Options,
    program: &'m Program,
    catalog: &'m Catalog<'m>,
) -> anyhow::Result<Vec<Taken<'m>>> {
    let of = |stored: &'m Stored<'m>| Taken {
        name: stored.name.clone(),
        ty: stored.ty.clone(),
        from: From::Stored(stored),
    };
    let computed = match options.decompress {
        true => computed(program, catalog),
        false => Vec::new(),
    };
    let mut taken: Vec<Taken<'m>> = Vec::new();
    if options.names.is_empty() {
        let dense = |s: &&Stored<'_>| !options.decompress || s.storage == Storage::Dense;
        taken.extend(catalog.stored.iter().filter(dense).map(of));
        taken.extend(computed);
        if taken.is_empty() {
            bail!("{} has no weights", options.model.display());
        }
        return Ok(taken);
    }
    let mut computed = computed;
    for name in &options.names {
        if taken.iter().any(|one| one.name == *name) {
            bail!("`{name}` is named twice");
        }
        if let Some(at) = computed.iter().position(|one| one.name == *name) {
            taken.push(computed.remove(at));
            continue;
        }
        if let Some(stored) = catalog.stored.iter().find(|s| s.name == *name) {
            taken.push(of(stored));
            continue;
        }
        let dense: Vec<&str> = catalog
            .stored
            .iter()
            .filter_map(|stored| match &stored.storage {
                Storage::Part { of, .. } => Some(of.as_str()),
                Storage::Dense => None,
            })
            .collect();
        if !options.decompress && dense.contains(&name.as_str()) {
            bail!("`{name}` is stored compressed: take its values with --decompress, or its parts");
        }
        let names = catalog.stored.iter().map(|s| s.name.as_str());
        let names = names.chain(dense.into_iter().filter(|_| options.decompress));
        match nearest(name, names, 3).as_slice() {
            [] => bail!("no weight is named `{name}`; `milwright weights list` shows all"),
            near => bail!("no weight is named `{name}`; did you mean `{}`?", near.join("`, `")),
        }
    }
    Ok(taken)
}

/// The dense results of compressed weights. One that several functions share is
/// one.
fn computed<'m>(program: &'m Program, catalog: &'m Catalog<'m>) -> Vec<Taken<'m>> {
    let mut parts: BTreeMap<OpId, Vec<usize>> = BTreeMap::new();
    for (index, stored) in catalog.stored.iter().enumerate() {
        for site in &stored.sites {
            parts.entry(site.op).or_default().push(index);
        }
    }
    // What an operation is made of, as indices of stored constants.
    let made_of = |op: OpId| {
        let mut open = vec![op];
        let mut found = Vec::new();
        while let Some(op) = open.pop() {
            found.extend(parts.get(&op).into_iter().flatten().copied());
            open.extend(program.ops[op].operands().filter_map(|v| program.def_op(v)));
        }
        found.sort_unstable();
        found
    };
    let mut seen = Vec::new();
    let mut found: Vec<(String, Taken<'m>)> = Vec::new();
    for function in &program.functions {
        let ops = function.body().map(|body| program.walk(body)).unwrap_or_default();
        let compressed = |op: &OpId| program.ops[*op].op_type.starts_with("constexpr_");
        let inner: Vec<_> = ops
            .iter()
            .filter(|op| compressed(op))
            .flat_map(|&op| program.ops[op].operands())
            .collect();
        for &op in ops.iter().filter(|op| compressed(op)) {
            for (nth, &value) in program.ops[op].outputs.iter().enumerate() {
                let value_of = &program.values[value];
                // The mask of a sparse weight is a result beside it.
                let beside = nth + 1 < program.ops[op].outputs.len();
                let skip = inner.contains(&value) || beside;
                let Some(ty) = value_of.ty.as_tensor().filter(|_| !skip) else {
                    continue;
                };
                let key = (value_of.name.as_str(), nth, made_of(op));
                if seen.contains(&key) {
                    continue;
                }
                seen.push(key);
                let taken = Taken {
                    name: value_of.name.clone(),
                    ty: ty.clone(),
                    from: From::Computed(&function.name, op, nth),
                };
                found.push((function.name.clone(), taken));
            }
        }
    }
    let names: Vec<String> = found.iter().map(|(_, one)| one.name.clone()).collect();
    let unique = |name: &String| names.iter().filter(|n| *n == name).count() == 1;
    let named = found.into_iter().map(|(function, mut one)| {
        if !unique(&one.name) {
            one.name = format!("{function}/{}", one.name);
        }
        one
    });
    named.collect()
}

/// Computed tensors in a temporary file.
struct Spool {
    file: Option<Source>,
    places: BTreeMap<(OpId, usize), (u64, u64)>,
}

impl Spool {
    /// Computes what has to be, one weight after the other, and writes it down
    /// as elements of its declared type.
    fn fill(model: &Model, taken: &[Taken<'_>]) -> anyhow::Result<Self> {
        let mut wanted: BTreeMap<&str, BTreeMap<(OpId, usize), DataType>> = BTreeMap::new();
        for one in taken {
            if let From::Computed(function, op, nth) = one.from {
                wanted.entry(function).or_default().insert((op, nth), one.ty.dtype);
            }
        }
        let mut spool = Spool {
            file: None,
            places: BTreeMap::new(),
        };
        if wanted.is_empty() {
            return Ok(spool);
        }
        let failed = "cannot write a temporary file";
        let mut file = tempfile::tempfile().context(failed)?;
        let mut at = 0;
        let run = RunOptions {
            precision: Precision::Native,
            keep_weights: false,
            ..RunOptions::default()
        };
        for (function, wanted) in wanted {
            let session = Session::new(model.program(), model, Some(function), run);
            let mut session = session.context("cannot compute the dense weights")?;
            let mut problem = None;
            let mut write = |op: OpId, nth: usize, value: &Value| -> anyhow::Result<()> {
                let Some(&dtype) = wanted.get(&(op, nth)) else {
                    return Ok(());
                };
                let shown = || model.program().describe_op(op);
                let Value::Tensor(tensor) = value else {
                    bail!("{}: its result is no tensor", shown());
                };
                let array = to_array(tensor).with_context(shown)?;
                let elements = elements(&array, dtype).with_context(shown)?;
                file.write_all(&elements).context(failed)?;
                let len = elements.len() as u64;
                spool.places.insert((op, nth), (at, len));
                at += len;
                Ok(())
            };
            session.visit_constants(&mut |op, values| {
                for (nth, value) in values.iter().enumerate() {
                    if problem.is_none() {
                        problem = write(op, nth, value).err();
                    }
                }
            })?;
            if let Some(problem) = problem {
                return Err(problem);
            }
        }
        spool.file = Some(Source::temporary(file, &model.package().path().join("(dense)"))?);
        Ok(spool)
    }
}

/// The elements of an array in the type that the model declares, which holds
/// each of them.
fn elements(array: &Array, dtype: DataType) -> anyhow::Result<Vec<u8>> {
    let held = match array.data() {
        Data::Float32(_) => DataType::Float32,
        Data::Float64(_) => DataType::Float64,
        Data::Bool(_) => DataType::Bool,
        Data::Int8(_) => DataType::Int8,
        Data::Int16(_) => DataType::Int16,
        Data::Int32(_) => DataType::Int32,
        Data::Uint8(_) => DataType::UInt8,
        Data::Uint16(_) => DataType::UInt16,
        Data::Uint32(_) => DataType::UInt32,
        _ => bail!("elements of type {} are no weights", array.dtype()),
    };
    let mut out = Vec::new();
    let bytes = npy::elements(array.data());
    let loss = convert(held, dtype, &bytes, array.data().len(), &mut out)
        .with_context(|| format!("{held} does not convert to {dtype}"))?;
    if !loss.is_none() {
        bail!("{} of its values do not fit {dtype}", loss.rounded + loss.out_of_range);
    }
    Ok(out)
}

fn contents(
    model: &Model,
    one: &Taken<'_>,
    form: Form,
    spool: &Spool,
) -> anyhow::Result<Contents> {
    let stored = match one.from {
        From::Stored(stored) => stored,
        From::Computed(_, op, nth) => {
            let place = spool.places.get(&(op, nth));
            let range = place.and_then(|&(at, len)| spool.file.as_ref()?.slice(at, len));
            let missing = || format!("`{}` was not computed: it is never reached", one.name);
            return Ok(Contents::Range(range.with_context(missing)?));
        }
    };
    if stored.blob.is_none() {
        let bytes = stored.constant.bytes(model)?;
        let dtype = one.ty.dtype;
        let held = form.holds(dtype).unwrap_or(dtype);
        let count = usize::try_from(one.ty.elements().unwrap_or(0))?;
        let mut out = Vec::new();
        convert(dtype, held, &bytes, count, &mut out)
            .with_context(|| format!("`{}` is {dtype}, which no file holds", one.name))?;
        return Ok(Contents::Bytes(out));
    }
    // Checks that the record says what the program declares.
    stored.constant.bytes(model)?;
    let range = stored.source(model.package())?;
    Ok(Contents::Range(range.context("the weight lies outside of its file")?))
}

/// An error on its way through the library.
struct Failed(anyhow::Error);

impl std::convert::From<milwright_verify::Error> for Failed {
    fn from(error: milwright_verify::Error) -> Self {
        Failed(error.into())
    }
}

impl std::convert::From<milwright_package::Error> for Failed {
    fn from(error: milwright_package::Error) -> Self {
        Failed(error.into())
    }
}
