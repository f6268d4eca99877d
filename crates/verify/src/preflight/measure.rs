//! Counts over the elements of a result.

use candle_core::DType;
use half::f16;
use milwright_interp::Tensor;

use super::report::Difference;

/// The smallest magnitude that rounds to infinity in fp16: half a unit in the
/// last place above the largest number, 65504.
pub(super) const TOO_LARGE: f64 = 65520.0;

/// Elements that are looked at together: a weight of gigabytes is never copied
/// as a whole.
const CHUNK: usize = 1 << 20;

/// The elements of a tensor in order, as `f64`, a chunk at a time.
pub(super) struct Elements(candle_core::Tensor);

impl Elements {
    /// `None` when the tensor library fails, which it does not for what it made
    /// itself.
    pub(super) fn of(tensor: &Tensor) -> Option<Self> {
        tensor.data.flatten_all().ok().map(Elements)
    }

    fn len(&self) -> usize {
        self.0.elem_count()
    }

    fn chunk(&self, start: usize) -> Option<Vec<f64>> {
        let part = self
            .0
            .narrow(0, start, CHUNK.min(self.len() - start))
            .ok()?;
        part.to_dtype(DType::F64).ok()?.to_vec1().ok()
    }

    fn chunks(&self) -> impl Iterator<Item = Vec<f64>> {
        (0..self.len())
            .step_by(CHUNK)
            .map_while(|start| self.chunk(start))
    }
}

/// What a sequence of values spans.
#[derive(Debug, Clone, Default)]
pub(super) struct Span {
    pub(super) elements: u64,
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
    pub(super) smallest: Option<f64>,
    pub(super) nan: u64,
    pub(super) inf: u64,
    pub(super) below_normal: u64,
    pub(super) to_zero: u64,
    pub(super) overflow: u64,
}

impl Span {
    /// Adds all elements; fp16 has to hold them if `half`.
    pub(super) fn add_all(&mut self, elements: &Elements, half: bool) {
        for chunk in elements.chunks() {
            chunk.into_iter().for_each(|v| self.add(v, half));
        }
    }

    /// Adds a value; one that fp16 has to hold if `half`.
    fn add(&mut self, value: f64, half: bool) {
        self.elements += 1;
        if value.is_nan() {
            self.nan += 1;
            return;
        }
        if value.is_infinite() {
            self.inf += 1;
            return;
        }
        self.min = Some(self.min.map_or(value, |m| m.min(value)));
        self.max = Some(self.max.map_or(value, |m| m.max(value)));
        let magnitude = value.abs();
        if magnitude > 0.0 {
            self.smallest = Some(self.smallest.map_or(magnitude, |m| m.min(magnitude)));
        }
        if half {
            self.overflow += u64::from(magnitude >= TOO_LARGE);
            let below = magnitude > 0.0 && magnitude < f16::MIN_POSITIVE.to_f64();
            self.below_normal += u64::from(below);
            // The tie goes to 0.
            self.to_zero +=
                u64::from(below && magnitude <= f16::MIN_POSITIVE_SUBNORMAL.to_f64() / 2.0);
        }
    }
}

/// How far one sequence of values is from another.
#[derive(Debug, Clone, Default)]
pub(super) struct Distance {
    squares: f64,
    reference_squares: f64,
    max_abs: f64,
    changed: u64,
    /// Elements finite in the reference only.
    pub(super) nonfinite: u64,
    /// Of these, those whose reference fits into fp16.
    pub(super) nonfinite_though_small: u64,
    /// Elements finite in both, or in neither.
    compared: u64,
}

impl Distance {
    /// Adds an execution; ignored when the shapes differ.
    pub(super) fn add(&mut self, reference: &Elements, other: &Elements) {
        if reference.len() != other.len() {
            return;
        }
        // Of nothing, everything was compared.
        self.compared += u64::from(reference.len() == 0);
        for (reference, other) in reference.chunks().zip(other.chunks()) {
            self.add_chunk(&reference, &other);
        }
    }

    fn add_chunk(&mut self, reference: &[f64], other: &[f64]) {
        for (&r, &o) in reference.iter().zip(other) {
            self.changed += u64::from(r != o && !(r.is_nan() && o.is_nan()));
            if r.is_finite() && !o.is_finite() {
                self.nonfinite += 1;
                self.nonfinite_though_small += u64::from(r.abs() < TOO_LARGE);
                continue;
            }
            self.compared += 1;
            if !r.is_finite() {
                continue;
            }
            let d = o - r;
            self.squares += d * d;
            self.reference_squares += r * r;
            self.max_abs = self.max_abs.max(d.abs());
        }
    }

    /// The difference, counting what changed if the elements are no floats;
    /// `None` when there was nothing to compare.
    pub(super) fn finish(&self, float: bool) -> Option<Difference> {
        (self.compared > 0).then(|| Difference {
            relative: match (self.squares, self.reference_squares) {
                (0.0, _) => Some(0.0),
                (_, 0.0) => None,
                (d, r) => Some((d / r).sqrt()),
            },
            max_abs: self.max_abs,
            changed: (!float).then_some(self.changed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_borders_of_fp16_are_where_rounding_puts_them() {
        // What the library rounds decides, not what is written here.
        let mut checked = 0;
        for value in [
            65504.0, 65519.99, 65520.0, -65520.0, 2.98e-8, 3e-8, 6.1e-5, 6.11e-5, 0.0,
        ] {
            let mut span = Span::default();
            span.add(value, true);
            let half = f16::from_f64(value);
            assert_eq!(span.overflow == 1, half.is_infinite(), "{value}");
            assert_eq!(
                span.to_zero == 1,
                value != 0.0 && half == f16::ZERO,
                "{value}"
            );
            let subnormal = value != 0.0 && value.abs() < 2f64.powi(-14);
            assert_eq!(span.below_normal == 1, subnormal, "{value}");
            checked += 1;
        }
        println!("{checked} values");
        let mut span = Span::default();
        for v in [f64::NAN, f64::INFINITY, 1e9, -2.0] {
            span.add(v, false);
        }
        assert_eq!((span.nan, span.inf, span.overflow), (1, 1, 0));
        assert_eq!(
            (span.min, span.max, span.smallest),
            (Some(-2.0), Some(1e9), Some(2.0))
        );
    }

    fn of(values: &[f64]) -> Elements {
        let data = candle_core::Tensor::new(values, &candle_core::Device::Cpu).unwrap();
        let dtype = milwright_ir::DataType::Float64;
        Elements::of(&Tensor { dtype, data }).unwrap()
    }

    #[test]
    fn chunks_cover_every_element() {
        let values: Vec<f64> = (0..2 * CHUNK + 3).map(|i| i as f64).collect();
        let all: Vec<f64> = of(&values).chunks().flatten().collect();
        assert_eq!(all, values);
        let mut span = Span::default();
        span.add_all(&of(&values), false);
        assert_eq!(span.elements, values.len() as u64);
    }

    #[test]
    fn distances_leave_out_what_is_not_finite_and_count_it() {
        let mut d = Distance::default();
        d.add(
            &of(&[3.0, 4.0, 1e6, 1.0, f64::NEG_INFINITY]),
            &of(&[3.0, 4.5, f64::INFINITY, f64::NAN, f64::NEG_INFINITY]),
        );
        assert_eq!(
            (d.nonfinite, d.nonfinite_though_small, d.changed),
            (2, 1, 3)
        );
        let found = d.finish(true).unwrap();
        assert_eq!(found.relative, Some(0.1));
        assert_eq!((found.max_abs, found.changed), (0.5, None));
        assert_eq!(Distance::default().finish(true), None);
        let mut d = Distance::default();
        d.add(&of(&[1.0]), &of(&[f64::NAN]));
        assert_eq!((d.nonfinite, d.finish(true)), (1, None));
        let mut d = Distance::default();
        d.add(&of(&[0.0]), &of(&[1.0]));
        assert_eq!(d.finish(false).unwrap().relative, None);
    }
}
