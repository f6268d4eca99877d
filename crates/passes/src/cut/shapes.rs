//! Shapes of what crosses a seam, fixed and flexible.

use milwright_ir::cost::multiply_adds;
use milwright_ir::features::{ArrayFeature, FeatureKind, Flexibility, Signature};
use milwright_ir::sizes::{Corner, Shapes, Sizes, default_shapes, shapes_at};
use milwright_ir::{BlobSource, Function, OpId, OpView, Program, TensorType, ValueId};
use milwright_package::proto;

use super::graph::io_type;
use super::{Error, Graph};

/// The types of a function's values at the shapes that its inputs may have.
#[derive(Debug)]
pub struct SeamTypes {
    default: Sizes,
    flexible: Flexible,
}

#[derive(Debug)]
enum Flexible {
    No,
    /// At the lower bounds, where every operation takes them, and at the upper
    /// ones, where there are such.
    Range(Option<Box<Sizes>>, Option<Box<Sizes>>),
    Enumerated(Vec<Sizes>),
}

impl SeamTypes {
    /// Works out the types of all values.
    ///
    /// # Errors
    /// Default, largest or enumerated shapes contradict an operation. (Lower
    /// bounds often do, since exporters write 1 whatever the program needs.)
    pub fn new(
        program: &Program,
        function: &Function,
        blobs: &dyn BlobSource,
        signature: Option<&Signature>,
    ) -> Result<Self, Error> {
        let sizes = |shapes: &Shapes| Sizes::of(program, function, blobs, shapes);
        let at = |corner| signature.and_then(|s| shapes_at(s, corner));
        let enumerated: Vec<Shapes> = (0..).map_while(|i| at(Corner::Enumerated(i))).collect();
        let flexible = if !enumerated.is_empty() {
            let all = enumerated.iter().map(sizes);
            Flexible::Enumerated(all.collect::<Result<_, _>>()?)
        } else if let Some(lower) = at(Corner::Lower) {
            let upper = at(Corner::Upper).as_ref().map(sizes).transpose()?;
            Flexible::Range(sizes(&lower).ok().map(Box::new), upper.map(Box::new))
        } else {
            Flexible::No
        };
        let default = signature.map(default_shapes).unwrap_or_default();
        Ok(SeamTypes {
            default: sizes(&default)?,
            flexible,
        })
    }

    /// The type of a value at the default shapes.
    pub fn default_type(&self, value: ValueId) -> Option<&TensorType> {
        self.default.tensor(value)
    }

    /// The type of a value at the largest shapes; at the default ones where
    /// there is no bound.
    pub fn largest_type(&self, value: ValueId) -> Option<&TensorType> {
        match &self.flexible {
            Flexible::Range(_, Some(upper)) => upper.tensor(value),
            Flexible::Enumerated(all) => {
                let types = all.iter().filter_map(|s| s.tensor(value));
                types.max_by_key(|t| t.elements())
            }
            _ => self.default_type(value),
        }
    }

    /// Multiply-adds of an operation and of all in its blocks, at the default
    /// shapes; what is not known counts as nothing.
    pub(super) fn multiply_adds(&self, program: &Program, op: OpId, blobs: &dyn BlobSource) -> u64 {
        let blocks = program.ops[op].blocks.iter();
        let all = std::iter::once(op).chain(blocks.flat_map(|&b| program.walk(b)));
        all.filter_map(|op| {
            multiply_adds(&OpView::new(program, op, blobs).with_sizes(&self.default))
        })
        .fold(0, u64::saturating_add)
    }

    /// The default shape of a value and the others that it may have; `None`
    /// when they cannot be known before the model runs.
    fn of(&self, value: ValueId) -> Option<(Vec<u64>, Flexibility)> {
        let at = |sizes: &Sizes| sizes.tensor(value)?.known_shape();
        let default = at(&self.default)?;
        let flexibility = match &self.flexible {
            Flexible::No => Flexibility::Fixed,
            Flexible::Enumerated(all) => {
                let mut shapes: Vec<Vec<u64>> = Vec::new();
                for sizes in all {
                    let shape = at(sizes)?;
                    if !shapes.contains(&shape) {
                        shapes.push(shape);
                    }
                }
                if shapes.len() > 1 {
                    Flexibility::Enumerated(shapes)
                } else {
                    Flexibility::Fixed
                }
            }
            Flexible::Range(lower, upper) => {
                let low = lower.as_deref().map(at);
                let high = upper.as_deref().map(at);
                // A shape that is not known at a bound cannot be declared.
                let (low, high) = (
                    low.map_or(Some(None), |l| l.map(Some))?,
                    high.map_or(Some(None), |h| h.map(Some))?,
                );
                let ranges = range_of(&default, low.as_deref(), high.as_deref());
                if ranges.iter().all(|&(low, high)| high == Some(low)) {
                    Flexibility::Fixed
                } else {
                    Flexibility::Ranges(ranges)
                }
            }
        };
        Some((default, flexibility))
    }

    /// For each edge of a graph, whether its value cannot cross a seam: its
    /// shape cannot be known before the model runs, or the model gives it as an
    /// image. `version` is that of the specification.
    pub fn uncrossable(
        &self,
        graph: &Graph<'_>,
        signature: Option<&Signature>,
        version: i32,
    ) -> Vec<bool> {
        let outputs = signature.map_or(&[][..], |s| &s.outputs);
        let images = outputs
            .iter()
            .filter(|f| matches!(f.kind, FeatureKind::Image(_)));
        let images: Vec<&str> = images.map(|f| f.name.as_str()).collect();
        let cannot = |value: ValueId| {
            images.contains(&graph.name(value)) || self.feature(value, "", version).is_err()
        };
        graph.edges.iter().map(|e| cannot(e.value)).collect()
    }

    /// The feature for a value at a seam.
    ///
    /// # Errors
    /// Its shape cannot be known before the model runs, or it has a type that
    /// no feature can have.
    pub(crate) fn feature(
        &self,
        value: ValueId,
        name: &str,
        version: i32,
    ) -> Result<proto::FeatureDescription, Error> {
        let no_place = |why: &str| Error::NoPlace {
            name: name.to_owned(),
            why: why.to_owned(),
        };
        let no_type = || no_place("no feature can have its type");
        let dtype = self
            .default_type(value)
            .and_then(|t| io_type(t.dtype, version))
            .ok_or_else(no_type)?;
        let (shape, flexibility) = self.of(value).ok_or_else(|| {
            no_place("its shape depends on more than the shapes of the inputs; cut elsewhere")
        })?;
        let array = ArrayFeature {
            dtype: Some(dtype),
            shape,
            flexibility,
            default: None,
        };
        let array = array.to_proto().ok_or_else(no_type)?;
        Ok(proto::FeatureDescription {
            name: name.to_owned(),
            short_description: String::new(),
            r#type: Some(proto::FeatureType {
                r#type: Some(proto::feature_type::Type::MultiArrayType(array)),
                is_optional: false,
            }),
        })
    }
}

/// The sizes between two bounds, axis by axis. Without a lower bound it is 1
/// where the size changes at all, without an upper bound there is none there.
fn range_of(default: &[u64], low: Option<&[u64]>, high: Option<&[u64]>) -> Vec<(u64, Option<u64>)> {
    let one = |axis: usize, &size: &u64| {
        let low = low.map(|l| l[axis]);
        let high = high.map(|h| h[axis]);
        match (low, high) {
            // A size may fall as the input grows.
            (Some(l), Some(h)) => (l.min(h).min(size), Some(l.max(h).max(size))),
            (Some(l), None) if l == size => (size, Some(size)),
            (Some(l), None) => (l.min(size), None),
            (None, Some(h)) if h == size => (size, Some(size)),
            (None, Some(h)) => (1, Some(h.max(size))),
            (None, None) => (1, None),
        }
    };
    default.iter().enumerate().map(|(a, d)| one(a, d)).collect()
}
