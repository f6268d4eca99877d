//! The values a model is run with: read from files, or made from a seed.

use std::collections::HashMap;

use milwright_ir::features::ColorSpace;
use milwright_ir::names::nearest;
use milwright_ir::{Arg, BlobSource, Function, OpId, OpView, Program, ValueId};

use crate::array::{Array, Data, Kind, NamedArrays, element_count};
use crate::error::Error;
use crate::features::Input;
use milwright_ir::random::Random;

/// Tensors by input name, as a session takes them.
pub type Feed = HashMap<String, candle_core::Tensor>;

/// Most elements of a random input.
const MAX_RANDOM: usize = 1 << 30;

/// Checks arrays against the inputs of a function and converts them.
///
/// An input that may be left out is filled with its default. All problems are
/// reported together, with what the function takes.
///
/// # Errors
/// [`Error::Inputs`].
pub fn feed(
    inputs: &[Input],
    arrays: &NamedArrays,
    function: &str,
    origin: &str,
) -> Result<Feed, Error> {
    let mut feed = Feed::new();
    let mut problems = Vec::new();
    problems.extend(arrays.names().filter_map(|name| unknown(inputs, name)));
    for input in inputs {
        let tensor = match (arrays.get(&input.name), input.optional) {
            (Some(array), _) => match input.shape_problem(array.shape()) {
                Some(problem) => Err(problem),
                None => input.tensor(array),
            },
            (None, Some(value)) => filled(input, value)
                .ok_or_else(|| "is too large to be filled with its default".to_owned())
                .and_then(|a| input.tensor(&a)),
            (None, None) => Err("is missing".to_owned()),
        };
        match tensor {
            Ok(tensor) => {
                feed.insert(input.name.clone(), tensor);
            }
            Err(problem) => problems.push(format!("input `{}` {problem}", input.name)),
        }
    }
    refuse(problems, inputs, function, origin).map(|()| feed)
}

/// What to say when no input has that name.
fn unknown(inputs: &[Input], name: &str) -> Option<String> {
    if inputs.iter().any(|i| i.name == name) {
        return None;
    }
    Some(
        match nearest(name, inputs.iter().map(|i| i.name.as_str()), 1).first() {
            Some(near) => format!("there is no input `{name}`; did you mean `{near}`?"),
            None => format!("there is no input `{name}`"),
        },
    )
}

fn refuse(
    problems: Vec<String>,
    inputs: &[Input],
    function: &str,
    origin: &str,
) -> Result<(), Error> {
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::Inputs {
        origin: origin.to_owned(),
        function: function.to_owned(),
        problems,
        expected: inputs.iter().map(|i| format!("{}: {i}", i.name)).collect(),
    })
}

/// Intervals that random values are drawn from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ranges {
    /// For every input.
    pub all: Option<(f64, f64)>,
    /// For single inputs, by name.
    pub named: Vec<(String, (f64, f64))>,
}

impl Ranges {
    /// Adds `LOW,HIGH` or `NAME=LOW,HIGH`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        // A name may hold `=`, the numbers cannot.
        let (name, numbers) = match text.rsplit_once('=') {
            Some((name, numbers)) => (Some(name), numbers),
            None => (None, text),
        };
        let pair = numbers
            .split_once(',')
            .and_then(|(low, high)| Some((low.trim().parse().ok()?, high.trim().parse().ok()?)));
        let range = match pair {
            Some((low, high)) if low <= high && f64::is_finite(low) && f64::is_finite(high) => {
                (low, high)
            }
            _ => {
                return Err(format!(
                    "`{text}` is no range; write LOW,HIGH or NAME=LOW,HIGH with LOW <= HIGH"
                ));
            }
        };
        match name {
            Some(name) => self.named.push((name.to_owned(), range)),
            None => self.all = Some(range),
        }
        Ok(())
    }

    fn of(&self, input: &str) -> Option<(f64, f64)> {
        let named = self.named.iter().rev().find(|(name, _)| name == input);
        named.map(|(_, range)| *range).or(self.all)
    }

    /// The names given that are no input.
    ///
    /// # Errors
    /// [`Error::Inputs`] when there is one.
    pub fn check(&self, inputs: &[Input], function: &str) -> Result<(), Error> {
        let problems = self
            .named
            .iter()
            .filter_map(|(name, _)| unknown(inputs, name));
        refuse(problems.collect(), inputs, function, "--range")
    }
}

/// Random values for the inputs of a function: one step.
///
/// Without a range given, floats lie in `-1..1`, pixels are whole numbers from
/// 0 to 255 (`GRAYSCALE_FLOAT16`: `0..1`), truth values are either. An integer
/// input that indexes a table (`gather` and its relatives) stays within it;
/// any other is taken for a length or a position, from 1 to the largest extent
/// among the inputs (at least 8). `bound` says what the extent of the table is,
/// see [`index_bound`].
///
/// # Errors
/// [`Error::RandomTooLarge`], or a range that an element type cannot hold.
pub fn random(
    inputs: &[Input],
    ranges: &Ranges,
    seed: u64,
    step: usize,
    bound: &dyn Fn(&Input) -> Option<i64>,
) -> Result<NamedArrays, Error> {
    let longest = inputs
        .iter()
        .flat_map(|i| i.default_shape.iter().copied())
        .max()
        .unwrap_or(0)
        .max(8);
    let mut arrays = NamedArrays::new();
    for input in inputs {
        let count = element_count(&input.default_shape)
            .filter(|&n| n <= MAX_RANDOM)
            .ok_or_else(|| Error::RandomTooLarge {
                input: input.name.clone(),
                shape: input.default_shape.clone(),
            })?;
        let mut random = Random::new(seed, step, &input.name);
        let given = ranges.of(&input.name);
        let data = match element_kind(input) {
            Kind::Float => {
                let (low, high, whole) = match (given, input.image) {
                    (Some((low, high)), image) => (low, high, is_bytes(image)),
                    (None, None) => (-1.0, 1.0, false),
                    (None, image) if is_bytes(image) => (0.0, 255.0, true),
                    (None, _) => (0.0, 1.0, false),
                };
                let narrow = input.ty.dtype == milwright_ir::DataType::Float16;
                Data::Float32(
                    (0..count)
                        .map(|_| {
                            let v = if whole {
                                random.integer(low as i64, high as i64) as f64
                            } else {
                                random.float(low, high)
                            };
                            // What the declared type holds, so that every
                            // runtime sees the same value.
                            if narrow {
                                half::f16::from_f64(v).to_f32()
                            } else {
                                v as f32
                            }
                        })
                        .collect(),
                )
            }
            Kind::Bool => Data::Bool((0..count).map(|_| random.integer(0, 1) == 1).collect()),
            Kind::Integer => {
                let (low, high) = match given {
                    Some((low, high)) => (low.ceil() as i64, high.floor() as i64),
                    None => match bound(input) {
                        Some(bound) => (0, bound - 1),
                        None => (1, longest as i64),
                    },
                };
                let (low, high) = within_type(input, low, high, given.is_some());
                Data::Int64((0..count).map(|_| random.integer(low, high)).collect())
            }
        };
        if let Some(array) = Array::new(input.default_shape.clone(), data) {
            arrays.insert(input.name.as_str(), array);
        }
    }
    Ok(arrays)
}

fn element_kind(input: &Input) -> Kind {
    match input.ty.dtype {
        milwright_ir::DataType::Bool => Kind::Bool,
        dtype if dtype.is_int() => Kind::Integer,
        _ => Kind::Float,
    }
}

/// Whether pixels are bytes.
fn is_bytes(image: Option<ColorSpace>) -> bool {
    image.is_some_and(|c| c != ColorSpace::GrayscaleFloat16)
}

/// A default range shrunk to what an 8-bit or 16-bit type holds. A range that
/// the user gave stays: a value outside is then refused with its reason.
fn within_type(input: &Input, low: i64, high: i64, given: bool) -> (i64, i64) {
    let largest = match input.ty.dtype.bits() {
        Some(bits @ ..=16) => (1i64 << (bits - 1)) - 1,
        _ => i64::MAX,
    };
    if given {
        (low, high)
    } else {
        (low.min(largest), high.min(largest))
    }
}

fn filled(input: &Input, value: f64) -> Option<Array> {
    let count = element_count(&input.default_shape).filter(|&n| n <= MAX_RANDOM)?;
    let data = match element_kind(input) {
        Kind::Float => Data::Float32(vec![value as f32; count]),
        Kind::Bool => Data::Bool(vec![value != 0.0; count]),
        Kind::Integer => Data::Int64(vec![value as i64; count]),
    };
    Array::new(input.default_shape.clone(), data)
}

/// The extent of the smallest table that an input indexes, directly or through
/// operations that keep its values.
pub fn index_bound(
    program: &Program,
    blobs: &dyn BlobSource,
    function: &Function,
    input: &str,
) -> Option<i64> {
    let ops = program.walk(function.body()?);
    let mut reached: Vec<ValueId> = function
        .inputs
        .iter()
        .copied()
        .filter(|&id| program.values[id].name == input)
        .collect();
    let mut bound: Option<i64> = None;
    // Program order: a value is defined before it is used.
    for id in ops {
        let op = &program.ops[id];
        let reads = |param: &str| {
            let mut args = op.args(param).iter();
            args.any(|a| matches!(a, Arg::Value(v) if reached.contains(v)))
        };
        match op.op_type.as_str() {
            "cast" | "reshape" | "expand_dims" | "squeeze" | "transpose" | "identity"
            | "slice_by_index" | "slice_by_size" | "split" | "tile"
                if reads("x") =>
            {
                reached.extend(&op.outputs);
            }
            "select" if reads("a") || reads("b") => reached.extend(&op.outputs),
            "gather" | "gather_along_axis" if reads("indices") => {
                bound = smaller(bound, table_extent(program, blobs, id));
            }
            "one_hot" if reads("indices") => {
                let view = OpView::new(program, id, blobs);
                let size = view.int("one_hot_vector_size").ok().and_then(|g| g.known());
                bound = smaller(bound, size);
            }
            _ => {}
        }
    }
    bound.filter(|&b| b > 0)
}

fn smaller(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn table_extent(program: &Program, blobs: &dyn BlobSource, op: OpId) -> Option<i64> {
    let view = OpView::new(program, op, blobs);
    let table = view.tensor("x").ok()?;
    let axis = view.int("axis").ok()?.known_or(0)?;
    let axis = if axis < 0 {
        axis + i64::try_from(table.shape.len()).ok()?
    } else {
        axis
    };
    let extent = table.shape.get(usize::try_from(axis).ok()?)?.known()?;
    i64::try_from(extent).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        let mut ranges = Ranges::default();
        ranges.add("-1,2.5").unwrap();
        ranges.add("a=b=3,4").unwrap();
        assert_eq!(ranges.of("x"), Some((-1.0, 2.5)));
        assert_eq!(ranges.of("a=b"), Some((3.0, 4.0)));
        for bad in ["", "1", "2,1", "a,b", "x=1", "0,inf", "nan,1", "1,2,3"] {
            assert!(ranges.add(bad).is_err(), "{bad}");
        }
    }
}
