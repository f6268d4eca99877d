//! How far one array is from another, over any number of steps.

use serde::Serialize;

use crate::array::{Array, Kind};

/// When a difference is small enough.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tolerance {
    /// Every element: `|out - ref| <= atol + rtol * |ref|`.
    Elementwise {
        /// Absolute part.
        atol: f64,
        /// Part relative to the element of the reference.
        rtol: f64,
    },
    /// Every element of a float output: `|out - ref| <= scale * max|ref|`, the
    /// maximum taken over all elements and steps of that output. Integers and
    /// truth values must be equal.
    Scaled {
        /// Allowed fraction of the output's largest magnitude.
        scale: f64,
    },
}

impl Default for Tolerance {
    /// 1e-4 of the output's largest magnitude. Reordering the sums of a deep
    /// network in fp32 costs 1e-7 to 1e-5 of it; a wrong tap, pad or axis
    /// costs 1e-2 or more.
    fn default() -> Self {
        Tolerance::Scaled { scale: 1e-4 }
    }
}

impl Tolerance {
    /// Elementwise from the two options of a command line, the default when
    /// neither is given; one that is missing is 0.
    pub fn from_options(atol: Option<f64>, rtol: Option<f64>) -> Self {
        match (atol, rtol) {
            (None, None) => Tolerance::default(),
            (atol, rtol) => Tolerance::Elementwise {
                atol: atol.unwrap_or(0.0),
                rtol: rtol.unwrap_or(0.0),
            },
        }
    }

    fn rtol(self) -> f64 {
        match self {
            Tolerance::Elementwise { rtol, .. } => rtol,
            Tolerance::Scaled { .. } => 0.0,
        }
    }
}

impl std::fmt::Display for Tolerance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Tolerance::Elementwise { atol, rtol } if *rtol == 0.0 => {
                write!(f, "|out - ref| <= {atol:?}")
            }
            Tolerance::Elementwise { atol, rtol } => {
                write!(f, "|out - ref| <= {atol:?} + {rtol:?} * |ref|")
            }
            Tolerance::Scaled { scale } => {
                write!(f, "|out - ref| <= {scale:?} * max|ref|, integers equal")
            }
        }
    }
}

/// One element, to look at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Element {
    /// Step, from 0.
    pub step: usize,
    /// Position along every axis.
    pub index: Vec<usize>,
    /// Value; `null` in JSON when it is NaN or infinite.
    pub out: f64,
    /// Value of the reference.
    #[serde(rename = "ref")]
    pub reference: f64,
}

/// The distance between two sequences of arrays.
///
/// Differences are taken in `f64` (exactly, for integers) over the elements
/// where both sides are finite. NaN equals NaN and an infinity equals itself;
/// any other element that is not finite on one side counts as a
/// [mismatch](Metrics::nonfinite_mismatches), which no tolerance forgives.
///
/// The names are those of the JSON form of an
/// [`OutputReport`](crate::report::OutputReport).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metrics {
    /// Largest `|out - ref|`.
    pub max_abs: f64,
    /// Largest `|out - ref| / |ref|` where `ref` is not 0.
    pub max_rel: f64,
    /// Mean `|out - ref|`.
    pub mean_abs: f64,
    /// Cosine of the angle between the two as vectors; 1 when both are zero, 0
    /// when one is.
    pub cosine: f64,
    /// `10 log10(sum ref^2 / sum (out - ref)^2)`; `None` when there is no
    /// difference (the ratio is infinite) or the reference is all zero.
    pub snr_db: Option<f64>,
    /// Largest `|ref|` that is finite.
    pub ref_max_abs: f64,
    /// NaN in the output.
    pub nan: u64,
    /// Infinities in the output.
    pub inf: u64,
    /// NaN in the reference.
    pub ref_nan: u64,
    /// Infinities in the reference.
    pub ref_inf: u64,
    /// Elements where one side is NaN or infinite and the other is not the
    /// same.
    pub nonfinite_mismatches: u64,
    /// Elements compared, over all steps.
    pub elements: u64,
    /// Whether the reference holds one value only, so that it may hide what
    /// happens before the output.
    pub constant: bool,
    /// The element furthest outside the tolerance, or nearest to it.
    pub worst: Option<Element>,
    /// Whether the tolerance holds for every element. Reports have it in `ok`.
    #[serde(skip)]
    pub within: bool,
}

/// Builds [`Metrics`] step by step.
#[derive(Debug, Clone)]
pub struct Accumulator {
    tolerance: Tolerance,
    integers: bool,
    elements: u64,
    finite: u64,
    max_abs: f64,
    max_rel: f64,
    sum_abs: f64,
    sum_dd: f64,
    sum_oo: f64,
    sum_rr: f64,
    sum_or: f64,
    ref_max_abs: f64,
    nan: u64,
    inf: u64,
    ref_nan: u64,
    ref_inf: u64,
    nonfinite_mismatches: u64,
    first_reference: Option<f64>,
    constant: bool,
    /// Largest `|out - ref| - rtol * |ref|` and where it is.
    excess: f64,
    worst: Option<Element>,
}

impl Accumulator {
    /// Nothing compared yet.
    pub fn new(tolerance: Tolerance) -> Self {
        Accumulator {
            tolerance,
            integers: true,
            elements: 0,
            finite: 0,
            max_abs: 0.0,
            max_rel: 0.0,
            sum_abs: 0.0,
            sum_dd: 0.0,
            sum_oo: 0.0,
            sum_rr: 0.0,
            sum_or: 0.0,
            ref_max_abs: 0.0,
            nan: 0,
            inf: 0,
            ref_nan: 0,
            ref_inf: 0,
            nonfinite_mismatches: 0,
            first_reference: None,
            constant: true,
            excess: f64::NEG_INFINITY,
            worst: None,
        }
    }

    /// Adds one step and returns `true`, or changes nothing and returns
    /// `false` when the shapes differ.
    pub fn add(&mut self, step: usize, out: &Array, reference: &Array) -> bool {
        if out.shape() != reference.shape() {
            return false;
        }
        self.integers &=
            out.dtype().kind() != Kind::Float && reference.dtype().kind() != Kind::Float;
        let exact = out.data().to_i128().zip(reference.data().to_i128());
        let o = out.data().to_f64();
        let r = reference.data().to_f64();
        for (i, (&o, &r)) in o.iter().zip(&r).enumerate() {
            let difference = match &exact {
                Some((a, b)) => (a[i] - b[i]) as f64,
                None => o - r,
            };
            self.element(step, i, o, r, difference, out.shape());
        }
        true
    }

    fn element(&mut self, step: usize, i: usize, o: f64, r: f64, difference: f64, shape: &[usize]) {
        self.elements += 1;
        self.nan += u64::from(o.is_nan());
        self.inf += u64::from(o.is_infinite());
        self.ref_nan += u64::from(r.is_nan());
        self.ref_inf += u64::from(r.is_infinite());
        let first = *self.first_reference.get_or_insert(r);
        self.constant &= r == first || (r.is_nan() && first.is_nan());
        let at = || Element {
            step,
            index: position(i, shape),
            out: o,
            reference: r,
        };
        if !(o.is_finite() && r.is_finite()) {
            if !(o == r || (o.is_nan() && r.is_nan())) {
                self.nonfinite_mismatches += 1;
                if self.excess < f64::INFINITY {
                    self.excess = f64::INFINITY;
                    self.worst = Some(at());
                }
            }
            return;
        }
        let d = difference.abs();
        self.finite += 1;
        self.max_abs = self.max_abs.max(d);
        if r != 0.0 {
            self.max_rel = self.max_rel.max(d / r.abs());
        }
        self.sum_abs += d;
        self.sum_dd += d * d;
        self.sum_oo += o * o;
        self.sum_rr += r * r;
        self.sum_or += o * r;
        self.ref_max_abs = self.ref_max_abs.max(r.abs());
        let excess = d - self.tolerance.rtol() * r.abs();
        if excess > self.excess {
            self.excess = excess;
            if d > 0.0 {
                self.worst = Some(at());
            }
        }
    }

    /// The metrics of all steps so far.
    pub fn finish(self) -> Metrics {
        let allowed = match self.tolerance {
            Tolerance::Elementwise { atol, .. } => atol,
            Tolerance::Scaled { .. } if self.integers => 0.0,
            Tolerance::Scaled { scale } => scale * self.ref_max_abs,
        };
        let norms = (self.sum_oo.sqrt(), self.sum_rr.sqrt());
        Metrics {
            elements: self.elements,
            max_abs: self.max_abs,
            max_rel: self.max_rel,
            mean_abs: if self.finite == 0 {
                0.0
            } else {
                self.sum_abs / self.finite as f64
            },
            cosine: match norms {
                (0.0, 0.0) => 1.0,
                (0.0, _) | (_, 0.0) => 0.0,
                (a, b) => (self.sum_or / a / b).clamp(-1.0, 1.0),
            },
            snr_db: (self.sum_dd > 0.0 && self.sum_rr > 0.0)
                .then(|| 10.0 * (self.sum_rr / self.sum_dd).log10()),
            ref_max_abs: self.ref_max_abs,
            nan: self.nan,
            inf: self.inf,
            ref_nan: self.ref_nan,
            ref_inf: self.ref_inf,
            nonfinite_mismatches: self.nonfinite_mismatches,
            constant: self.constant && self.elements > 1,
            within: self.excess <= allowed || self.elements == 0,
            worst: self.worst,
        }
    }
}

/// Row-major position of element `i`.
fn position(mut i: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (at, &extent) in index.iter_mut().zip(shape).rev() {
        *at = i % extent.max(1);
        i /= extent.max(1);
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Data;
    use approx::assert_relative_eq;

    fn array(shape: &[usize], data: impl Into<Data>) -> Array {
        Array::new(shape.to_vec(), data.into()).unwrap()
    }

    fn compare(out: Vec<f32>, reference: Vec<f32>, tolerance: Tolerance) -> Metrics {
        let mut a = Accumulator::new(tolerance);
        let n = out.len();
        assert!(a.add(0, &array(&[n], out), &array(&[n], reference)));
        a.finish()
    }

    const NAN: f32 = f32::NAN;
    const INF: f32 = f32::INFINITY;

    #[test]
    fn figures_worked_by_hand() {
        let m = compare(
            vec![1.0, 2.5, 0.5],
            vec![1.0, 2.0, 0.0],
            Tolerance::default(),
        );
        assert_eq!(m.elements, 3);
        assert_eq!(m.max_abs, 0.5);
        assert_eq!(m.max_rel, 0.25);
        assert_relative_eq!(m.mean_abs, 1.0 / 3.0);
        assert_relative_eq!(m.cosine, 6.0 / (7.5f64.sqrt() * 5.0f64.sqrt()));
        assert_relative_eq!(m.snr_db.unwrap(), 10.0);
        assert_eq!(m.ref_max_abs, 2.0);
        assert!(!m.within);
        assert_eq!(m.worst.unwrap().index, [1]);
    }

    #[test]
    fn equal_sides_have_no_snr_and_are_within_zero() {
        let zero = Tolerance::Elementwise {
            atol: 0.0,
            rtol: 0.0,
        };
        let m = compare(vec![1.0, -2.0], vec![1.0, -2.0], zero);
        assert_eq!((m.max_abs, m.snr_db, m.within), (0.0, None, true));
        assert_relative_eq!(m.cosine, 1.0);
        assert_eq!(m.worst, None);
        assert!(compare(vec![], vec![], zero).within);
    }

    #[test]
    fn nan_equals_nan_and_infinities_equal_themselves() {
        let m = compare(
            vec![NAN, INF, -INF, 1.0],
            vec![NAN, INF, -INF, 1.0],
            Tolerance::default(),
        );
        assert!(m.within);
        assert_eq!((m.nan, m.inf, m.ref_nan, m.ref_inf), (1, 2, 1, 2));
        assert_eq!(m.nonfinite_mismatches, 0);
    }

    #[test]
    fn no_tolerance_forgives_a_lone_nan_or_infinity() {
        let wide = Tolerance::Elementwise {
            atol: 1e300,
            rtol: 1e300,
        };
        for (o, r) in [
            (NAN, 0.0),
            (0.0, NAN),
            (INF, -INF),
            (INF, 1.0),
            (1.0, INF),
            (NAN, INF),
        ] {
            let m = compare(vec![0.0, o], vec![0.0, r], wide);
            assert!(!m.within, "{o} {r}");
            assert_eq!(m.nonfinite_mismatches, 1);
            assert_eq!(m.worst.unwrap().index, [1]);
        }
    }

    #[test]
    fn elementwise_tolerance_is_relative_to_its_own_element() {
        let t = Tolerance::Elementwise {
            atol: 0.0,
            rtol: 0.1,
        };
        // 10 of 1000 is allowed, 0.5 of 1 is not, although it is smaller.
        let m = compare(vec![1010.0, 1.5], vec![1000.0, 1.0], t);
        assert!(!m.within);
        assert_eq!(m.worst.unwrap().index, [1]);
        assert!(compare(vec![1010.0, 1.05], vec![1000.0, 1.0], t).within);
        // The border belongs to it.
        let t = Tolerance::Elementwise {
            atol: 0.5,
            rtol: 0.0,
        };
        assert!(compare(vec![1.5], vec![1.0], t).within);
    }

    #[test]
    fn the_default_scales_with_the_output_and_is_exact_for_integers() {
        assert!(!compare(vec![1e-6, 0.00999], vec![0.0, 0.01], Tolerance::default()).within);
        assert!(compare(vec![1e-7, 0.01], vec![0.0, 0.01], Tolerance::default()).within);
        let mut a = Accumulator::new(Tolerance::default());
        a.add(
            0,
            &array(&[2], vec![30_000i32, 1]),
            &array(&[2], vec![30_000i64, 2]),
        );
        assert!(!a.finish().within);
    }

    #[test]
    fn large_integers_are_compared_exactly() {
        let (x, y) = (i64::MAX, i64::MAX - 1);
        let mut a = Accumulator::new(Tolerance::default());
        a.add(0, &array(&[1], vec![x]), &array(&[1], vec![y]));
        let m = a.finish();
        assert_eq!((m.max_abs, m.within), (1.0, false));
    }

    #[test]
    fn steps_add_up_and_shapes_must_agree() {
        let mut a = Accumulator::new(Tolerance::default());
        assert!(a.add(
            0,
            &array(&[1, 2], vec![1.0f32, 2.0]),
            &array(&[1, 2], vec![1.0f64, 2.0])
        ));
        assert!(!a.add(
            1,
            &array(&[2], vec![1.0f32, 2.0]),
            &array(&[1, 2], vec![1.0f32, 2.0])
        ));
        assert!(a.add(
            1,
            &array(&[2, 2], vec![1.0f32; 4]),
            &array(&[2, 2], vec![1.0f32, 1.0, 1.0, 4.0])
        ));
        let m = a.finish();
        assert_eq!(m.elements, 6);
        let worst = m.worst.unwrap();
        assert_eq!((worst.step, worst.index), (1, vec![1, 1]));
        assert_eq!(m.ref_max_abs, 4.0);
    }

    #[test]
    fn a_reference_of_one_value_is_noticed() {
        assert!(compare(vec![NAN, NAN], vec![NAN, NAN], Tolerance::default()).constant);
        assert!(compare(vec![0.0, 0.0], vec![0.0, 0.0], Tolerance::default()).constant);
        assert!(!compare(vec![0.0, 1.0], vec![0.0, 1.0], Tolerance::default()).constant);
    }
}
