use super::*;
use candle_core::Device;
use proptest::prelude::*;

fn vector<T: Element>(values: &[T]) -> Tensor {
    Tensor::from_vec(values.to_vec(), values.len(), &Device::Cpu).unwrap()
}

fn run(op: Unary, values: &[f32]) -> Vec<f32> {
    unary(op, &vector(values)).unwrap().to_vec1().unwrap()
}

/// Every op that is computed in f32, with the same in f64 and the relative
/// error allowed (of the value, or of 1e-30).
type Reference = (Unary, fn(f64) -> f64, f64);

fn references() -> Vec<Reference> {
    use Unary as U;
    vec![
        (U::Abs, f64::abs, 0.0),
        (U::Acos, f64::acos, 3e-7),
        (U::Asin, f64::asin, 3e-7),
        (U::Atan, f64::atan, 3e-7),
        (U::Atanh, f64::atanh, 3e-7),
        (U::Ceil, f64::ceil, 0.0),
        (U::Cosh, f64::cosh, 3e-7),
        (U::Exp, f64::exp, 3e-7),
        (U::Exp2, f64::exp2, 3e-7),
        (U::Floor, f64::floor, 0.0),
        (U::Round, f64::round_ties_even, 0.0),
        (U::Sinh, f64::sinh, 3e-7),
        (U::Sqrt, f64::sqrt, 1e-7),
        (U::Square, |x| x * x, 1e-7),
        (U::Tan, f64::tan, 1e-6),
        (U::Tanh, f64::tanh, 5e-7),
        (U::Sin, f64::sin, 3e-7),
        (U::Cos, f64::cos, 3e-7),
        (U::Relu, |x| x.max(0.0), 0.0),
        (U::Relu6, |x| x.clamp(0.0, 6.0), 0.0),
        (U::Sigmoid, |x| 1.0 / (1.0 + (-x).exp()), 5e-7),
        (U::Silu, |x| x / (1.0 + (-x).exp()), 5e-7),
        (U::Softplus, |x| x.max(0.0) + (-x.abs()).exp().ln_1p(), 5e-7),
        (U::Softsign, |x| x / (1.0 + x.abs()), 2e-7),
        (U::Elu { alpha: 0.5 }, |x| if x < 0.0 { 0.5 * x.exp_m1() } else { x }, 3e-7),
        (U::ScaledTanh { alpha: 2.0, beta: 0.5 }, |x| 2.0 * (0.5 * x).tanh(), 6e-7),
        (U::LeakyRelu { alpha: 0.25 }, |x| if x < 0.0 { 0.25 * x } else { x }, 1e-7),
        (U::ThresholdedRelu { alpha: 0.5 }, |x| if x < 0.5 { 0.0 } else { x }, 0.0),
        (U::Threshold { alpha: 0.5 }, |x| x.max(0.5), 0.0),
        (U::Clip { alpha: -1.0, beta: 2.0 }, |x| x.clamp(-1.0, 2.0), 0.0),
        (
            U::ClampedRelu { alpha: 0.5, beta: 2.0 },
            |x| if x < 0.0 { (0.5 * x).min(2.0) } else { x.min(2.0) },
            1e-7,
        ),
    ]
}

proptest! {
    #[test]
    fn functions_agree_with_f64(
        values in proptest::collection::vec(-30f32..30.0, 1..100),
        power in -8i32..4,
    ) {
        let values: Vec<f32> = values.into_iter().map(|v| v * 2f32.powi(power)).collect();
        for (op, reference, tolerance) in references() {
            for (x, y) in values.iter().zip(run(op, &values)) {
                let expected = reference(f64::from(*x));
                let ok = (expected.is_nan() && y.is_nan())
                    || expected as f32 == y
                    || (f64::from(y) - expected).abs() <= tolerance * expected.abs().max(1e-30)
                    // Below e^-87 the sigmoid is taken to be 0.
                    || matches!(op, Unary::Silu) && expected.abs() < 87.0 * 1.7e-38 && y == 0.0;
                prop_assert!(ok, "{:?}({}) = {}, expected {}", op, x, y, expected);
            }
        }
    }

    #[test]
    fn strided_views_give_the_same(rows in 1usize..6, columns in 1usize..6) {
        let data: Vec<f32> = (0..rows * columns).map(|i| i as f32 - 3.0).collect();
        let x = Tensor::from_vec(data, (rows, columns), &Device::Cpu).unwrap();
        for view in [x.t().unwrap(), x.narrow(1, columns - 1, 1).unwrap(),
                     x.narrow(0, 0, 1).unwrap().broadcast_as((4, columns)).unwrap()] {
            let direct = unary(Unary::Square, &view).unwrap();
            let copied = unary(Unary::Square, &view.contiguous().unwrap()).unwrap();
            prop_assert_eq!(direct.to_vec2::<f32>().unwrap(), copied.to_vec2::<f32>().unwrap());
        }
    }
}

#[test]
fn extremes_go_through_every_function() {
    let x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e-45, 3.4e38, -3.4e38];
    for (op, reference, _) in references() {
        for (x, y) in x.iter().zip(run(op, &x)) {
            let expected = reference(f64::from(*x)) as f32;
            let same = (expected.is_nan() && y.is_nan())
                || expected == y
                // Halving the smallest number gives 0 or itself.
                || (expected - y).abs() <= (1e-6 * expected.abs()).max(1e-45);
            // numpy's silu of -inf is NaN too: -inf times 0.
            let allowed = x.is_infinite() && matches!(op, Unary::Silu | Unary::Softsign);
            assert!(same || allowed || x.is_nan() && y.is_nan(), "{op:?}({x}) = {y}, not {expected}");
        }
    }
    assert_eq!(run(Unary::Sigmoid, &x[1..3]), [1.0, 0.0]);
    assert_eq!(run(Unary::Tanh, &x[1..3]), [1.0, -1.0]);
    assert_eq!(run(Unary::Softplus, &[-100.0, 200.0])[1], 200.0);
    assert!(run(Unary::Softplus, &[-30.0])[0] > 9e-14);
}

#[test]
fn epsilons_count() {
    // The default of `log` is the smallest float: log(0) is -103, not -inf.
    let log = run(Unary::Log { epsilon: 1e-45 }, &[0.0, 1.0, 2.5]);
    assert!((log[0] + 103.278_93).abs() < 1e-3, "{}", log[0]);
    assert_eq!(log[1], 0.0);
    assert!((log[2] - 0.916_290_7).abs() < 1e-6);
    assert_eq!(run(Unary::Log { epsilon: 0.0 }, &[0.0]), [f32::NEG_INFINITY]);
    assert!(run(Unary::Log { epsilon: 0.0 }, &[-1.0])[0].is_nan());
    assert_eq!(run(Unary::Inverse { epsilon: 1e-4 }, &[0.0]), [1.0 / 1e-4f32]);
    assert_eq!(run(Unary::Rsqrt { epsilon: 0.0 }, &[0.25]), [2.0]);
    assert_eq!(run(Unary::Round, &[0.5, 1.5, 2.5, -0.5]), [0.0, 2.0, 2.0, 0.0]);
    assert_eq!(run(Unary::Sign, &[3.0, -2.0, 0.0]), [1.0, -1.0, 0.0]);
    assert_eq!(run(Unary::SigmoidHard { alpha: 0.5, beta: 0.25 }, &[-1.0, 0.5, 9.0]), [0.0, 0.5, 1.0]);
    assert_eq!(run(Unary::LinearActivation { alpha: 2.0, beta: 1.0 }, &[3.0]), [7.0]);
}

#[test]
fn doubles_are_computed_in_double() {
    let x = vector(&[0.1f64, -1.7]);
    for (op, reference, _) in references() {
        let y = unary(op, &x).unwrap().to_vec1::<f64>().unwrap();
        for (x, y) in [0.1f64, -1.7].iter().zip(y) {
            let expected = reference(*x);
            assert!(
                (expected.is_nan() && y.is_nan()) || (y - expected).abs() <= 1e-14,
                "{op:?}({x}) = {y}, expected {expected}"
            );
        }
    }
    let erf = unary(Unary::Erf, &x).unwrap().to_vec1::<f64>().unwrap();
    assert!((erf[0] - 0.112_462_916_018_284_9).abs() < 1e-14);
}

#[test]
fn integers() {
    let x = vector(&[3i32, -3, 0, i32::MIN]);
    let run = |op| unary(op, &x).unwrap().to_vec1::<i32>().unwrap();
    assert_eq!(run(Unary::Abs), [3, 3, 0, i32::MIN]);
    assert_eq!(run(Unary::Sign), [1, -1, 0, -1]);
    assert_eq!(run(Unary::Square)[..3], [9, 9, 0]);
    assert_eq!(run(Unary::Exp2), [8, 0, 1, 0]);
    assert_eq!(run(Unary::Threshold { alpha: 1.0 }), [3, 1, 1, 1]);
    assert!(unary(Unary::Tanh, &x).is_err());
    assert_eq!(negated(&vector(&[0u8, 1, 2])).unwrap().to_vec1::<u8>().unwrap(), [1, 0, 0]);
    assert!(negated(&x).is_err());
}

#[test]
fn channels_have_their_own_parameters() {
    let x = Tensor::from_vec(vec![-1f32, 2.0, -3.0, -4.0], (1, 2, 2), &Device::Cpu).unwrap();
    let alpha = vector(&[0.5f32, 0.25]);
    let y = leaky_by_channel(&x, &alpha).unwrap().flatten_all().unwrap();
    assert_eq!(y.to_vec1::<f32>().unwrap(), [-0.5, 2.0, -0.75, -1.0]);
    let beta = vector(&[1.0f32, 2.0]);
    let y = softplus_by_channel(&x, &alpha, &beta).unwrap().flatten_all().unwrap();
    for (i, y) in y.to_vec1::<f32>().unwrap().into_iter().enumerate() {
        let x = [-1f64, 2.0, -3.0, -4.0][i];
        let (a, b) = ([0.5, 0.25][i / 2], [1.0, 2.0][i / 2]);
        assert!((f64::from(y) - a * (b * x).exp().ln_1p()).abs() < 1e-6);
    }
    assert!(leaky_by_channel(&x, &vector(&[1f32])).is_err());
    assert!(leaky_by_channel(&alpha, &alpha).is_err());
}
