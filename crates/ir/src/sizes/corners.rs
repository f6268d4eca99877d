//! The input shapes that a model's description names.

use std::collections::BTreeMap;
use std::fmt;

use crate::features::{Feature, FeatureKind, Flexibility, Signature};

/// Shapes of inputs by name.
pub type Shapes = BTreeMap<String, Vec<u64>>;

/// Which of the shapes that the inputs of a function may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Corner {
    /// The default shape of each input.
    Default,
    /// Each input with a range at its lower bounds; others at their default.
    Lower,
    /// Each input with a range at its upper bounds; others at their default.
    Upper,
    /// Each input with enumerated shapes at the one of this index; others at
    /// their default. Inputs with enumerated shapes change together.
    Enumerated(usize),
}

impl fmt::Display for Corner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default shapes"),
            Self::Lower => f.write_str("lower bounds"),
            Self::Upper => f.write_str("upper bounds"),
            Self::Enumerated(index) => write!(f, "enumerated shapes {index}"),
        }
    }
}

/// The default shapes of the inputs. An input whose description has no shape
/// is not among them: it has the one that the program declares.
pub fn default_shapes(signature: &Signature) -> Shapes {
    let inputs = signature.inputs.iter();
    inputs
        .filter_map(|feature| Some((feature.name.clone(), Choice::of(feature)?.default())))
        .collect()
}

/// The shapes of the inputs at a corner; `None` when the function has no such
/// corner: no input has a range, a range has no upper bound, or no input has
/// an enumerated shape of that index, or not every one of those that have such.
pub fn shapes_at(signature: &Signature, corner: Corner) -> Option<Shapes> {
    let mut moved = corner == Corner::Default;
    let mut shapes = Shapes::new();
    for feature in &signature.inputs {
        let Some(choice) = Choice::of(feature) else {
            continue;
        };
        let shape = match (corner, &choice.flexibility) {
            (Corner::Lower, Flexibility::Ranges(ranges)) => {
                moved = true;
                ranges.iter().map(|&(low, _)| low).collect()
            }
            (Corner::Upper, Flexibility::Ranges(ranges)) => {
                moved = true;
                let bounds = ranges.iter().map(|&(_, high)| high);
                bounds.collect::<Option<Vec<u64>>>()?
            }
            (Corner::Enumerated(index), Flexibility::Enumerated(list)) => {
                moved = true;
                list.get(index)?.clone()
            }
            _ => choice.default(),
        };
        shapes.insert(feature.name.clone(), shape);
    }
    moved.then_some(shapes)
}

/// Every corner that a function has, each set of shapes once: defaults, lower
/// bounds, upper bounds, enumerated shapes.
pub fn corners(signature: &Signature) -> Vec<(Corner, Shapes)> {
    let enumerated = signature.inputs.iter().filter_map(Choice::of);
    let count = enumerated
        .map(|choice| match choice.flexibility {
            Flexibility::Enumerated(list) => list.len(),
            _ => 0,
        })
        .max();
    let fixed = [Corner::Default, Corner::Lower, Corner::Upper];
    let all = (0..count.unwrap_or(0)).map(Corner::Enumerated);
    let mut found: Vec<(Corner, Shapes)> = Vec::new();
    for corner in fixed.into_iter().chain(all) {
        if let Some(shapes) = shapes_at(signature, corner)
            && !found.iter().any(|(_, known)| *known == shapes)
        {
            found.push((corner, shapes));
        }
    }
    found
}

/// The shapes of one input, as the program counts dimensions.
struct Choice {
    shape: Vec<u64>,
    flexibility: Flexibility,
}

impl Choice {
    fn of(feature: &Feature) -> Option<Self> {
        let choice = match &feature.kind {
            FeatureKind::Array(array) => Self {
                shape: array.shape.clone(),
                flexibility: array.flexibility.clone(),
            },
            FeatureKind::Image(image) => {
                let outer = [1, image.color.channels()];
                Self {
                    shape: vec![outer[0], outer[1], image.height, image.width],
                    flexibility: match &image.flexibility {
                        Flexibility::Fixed => Flexibility::Fixed,
                        Flexibility::Enumerated(list) => Flexibility::Enumerated(
                            list.iter()
                                .map(|s| [&outer, s.as_slice()].concat())
                                .collect(),
                        ),
                        Flexibility::Ranges(ranges) => Flexibility::Ranges(
                            outer
                                .iter()
                                .map(|&n| (n, Some(n)))
                                .chain(ranges.iter().copied())
                                .collect(),
                        ),
                    },
                }
            }
            _ => return None,
        };
        (!choice.default().is_empty()).then_some(choice)
    }

    /// The default shape; the first one allowed when none is given.
    fn default(&self) -> Vec<u64> {
        if !self.shape.is_empty() {
            return self.shape.clone();
        }
        match &self.flexibility {
            Flexibility::Fixed => Vec::new(),
            Flexibility::Enumerated(list) => list.first().cloned().unwrap_or_default(),
            Flexibility::Ranges(ranges) => ranges.iter().map(|&(low, _)| low).collect(),
        }
    }
}
