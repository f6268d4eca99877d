use super::*;
use candle_core::Device;
use proptest::prelude::*;

fn tensor_of<T: Element>(data: Vec<T>, dims: &[usize]) -> Tensor {
    Tensor::from_vec(data, dims, &Device::Cpu).unwrap()
}

fn floats(values: &[f32]) -> Tensor {
    tensor_of(values.to_vec(), &[values.len()])
}

fn ints(values: &[i32]) -> Tensor {
    tensor_of(values.to_vec(), &[values.len()])
}

#[test]
fn floor_div_and_mod_are_those_of_numpy() {
    // numpy 1.26: np.floor_divide and np.mod on float32.
    let x = floats(&[7.0, -7.0, 7.0, -7.0, 1.0, -0.5, 5.0, 0.0]);
    let y = floats(&[2.0, 2.0, -2.0, -2.0, 0.1, 1.0, 0.0, 0.0]);
    let q = arithmetic(Arithmetic::FloorDiv, &x, &y).unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(q[..7], [3.0, -4.0, -4.0, 3.0, 9.0, -1.0, f32::INFINITY]);
    assert!(q[7].is_nan());
    let m = arithmetic(Arithmetic::Mod, &x, &y).unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(m[..4], [1.0, 1.0, -1.0, -1.0]);
    assert!((m[4] - 0.099_999_98).abs() < 1e-7, "{}", m[4]);
    assert_eq!(m[5], 0.5);
    assert!(m[6].is_nan() && m[7].is_nan());
    let x = ints(&[7, -7, 7, -7, 5, i32::MIN, i32::MIN]);
    let y = ints(&[2, 2, -2, -2, 0, -1, 3]);
    let q = arithmetic(Arithmetic::FloorDiv, &x, &y).unwrap().to_vec1::<i32>().unwrap();
    assert_eq!(q, [3, -4, -4, 3, 0, i32::MIN, -715_827_883]);
    let m = arithmetic(Arithmetic::Mod, &x, &y).unwrap().to_vec1::<i32>().unwrap();
    assert_eq!(m, [1, 1, -1, -1, 0, 0, 1]);
    let d = arithmetic(Arithmetic::RealDiv, &x, &y).unwrap().to_vec1::<i32>().unwrap();
    assert_eq!(d, [3, -3, -3, 3, 0, i32::MIN, -715_827_882]);
}

#[test]
fn integers_wrap_and_powers_are_exact() {
    let x = ints(&[i32::MAX, 3, -2, 0, 7]);
    let y = ints(&[1, 4, 3, 0, 11]);
    let sum = arithmetic(Arithmetic::Add, &x, &y).unwrap().to_vec1::<i32>().unwrap();
    assert_eq!(sum, [i32::MIN, 7, 1, 0, 18]);
    let pow = arithmetic(Arithmetic::Pow, &x, &y).unwrap().to_vec1::<i32>().unwrap();
    assert_eq!(pow, [i32::MAX, 81, -8, 1, 1_977_326_743]);
    assert!(arithmetic(Arithmetic::Pow, &x, &ints(&[-1])).is_err());
}

#[test]
fn maximum_and_minimum_propagate_nan() {
    let x = floats(&[f32::NAN, 1.0, 2.0]);
    let y = floats(&[0.0, f32::NAN, 1.0]);
    for (op, last) in [(Arithmetic::Maximum, 2.0), (Arithmetic::Minimum, 1.0)] {
        let out = arithmetic(op, &x, &y).unwrap().to_vec1::<f32>().unwrap();
        assert!(out[0].is_nan() && out[1].is_nan());
        assert_eq!(out[2], last);
    }
}

#[test]
fn constant_exponents_agree_with_powf() {
    let x: Vec<f32> = (1..200).map(|i| i as f32 * 0.137).collect();
    for exponent in [1.0f32, 2.0, 3.0, -1.0, 0.5, -0.5, 2.5, 0.0] {
        let out = arithmetic(Arithmetic::Pow, &floats(&x), &floats(&[exponent]))
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        for (x, out) in x.iter().zip(out) {
            let expected = f64::from(*x).powf(f64::from(exponent));
            assert!((f64::from(out) - expected).abs() <= 2e-7 * expected.abs(), "{x}^{exponent}");
        }
    }
}

#[test]
fn operands_that_do_not_fit_are_errors() {
    let x = floats(&[1.0, 2.0]);
    assert!(arithmetic(Arithmetic::Add, &x, &floats(&[1.0, 2.0, 3.0])).is_err());
    assert!(arithmetic(Arithmetic::Add, &x, &ints(&[1, 2])).is_err());
    assert!(compare(Comparison::Less, &x, &ints(&[1, 2])).is_err());
    assert!(logic(Logic::And, &x, &x).is_err());
}

#[test]
fn bools() {
    let x = tensor_of(vec![0u8, 0, 1, 1], &[4]);
    let y = tensor_of(vec![0u8, 1, 0, 2], &[4]);
    let run = |op| logic(op, &x, &y).unwrap().to_vec1::<u8>().unwrap();
    assert_eq!(run(Logic::And), [0, 0, 0, 1]);
    assert_eq!(run(Logic::Or), [0, 1, 1, 1]);
    assert_eq!(run(Logic::Xor), [0, 1, 1, 0]);
    let x = floats(&[1.0, 2.0, f32::NAN]);
    let y = floats(&[1.0, 3.0, f32::NAN]);
    let run = |op| compare(op, &x, &y).unwrap().to_vec1::<u8>().unwrap();
    assert_eq!(run(Comparison::Equal), [1, 0, 0]);
    assert_eq!(run(Comparison::NotEqual), [0, 1, 1]);
    assert_eq!(run(Comparison::Less), [0, 1, 0]);
    assert_eq!(run(Comparison::LessEqual), [1, 1, 0]);
    assert_eq!(run(Comparison::Greater), [0, 0, 0]);
    assert_eq!(run(Comparison::GreaterEqual), [1, 0, 0]);
}

/// A shape that broadcasts with others made from the same dims.
fn operand(dims: &[usize], drop: usize, ones: &[bool]) -> Vec<usize> {
    dims.iter()
        .zip(ones)
        .map(|(&d, &one)| if one { 1 } else { d })
        .skip(drop)
        .collect()
}

proptest! {
    #[test]
    fn broadcasts_like_nested_loops(
        dims in proptest::collection::vec(0usize..5, 0..6),
        drops in (0usize..3, 0usize..3),
        ones in proptest::collection::vec((any::<bool>(), any::<bool>()), 6),
        transposed in any::<bool>(),
        seed in 0i32..1000,
    ) {
        let (ox, oy): (Vec<bool>, Vec<bool>) = ones.into_iter().unzip();
        let make = |shape: &[usize], salt: i32| {
            let n: usize = shape.iter().product();
            let data: Vec<i32> = (0..n as i32).map(|i| (i * 7 + seed) * salt % 101).collect();
            tensor_of(data, shape)
        };
        let mut x = make(&operand(&dims, drops.0.min(dims.len()), &ox), 3);
        let y = make(&operand(&dims, drops.1.min(dims.len()), &oy), 5);
        if transposed && x.rank() >= 2 && x.dims()[0] == x.dims()[1] {
            x = x.transpose(0, 1).unwrap();
        }
        let out = arithmetic(Arithmetic::Sub, &x, &y).unwrap();
        let expected = x
            .broadcast_sub(&y)
            .map(|t| t.flatten_all().unwrap().to_vec1::<i32>().unwrap());
        // candle refuses some empty shapes; the count is checked in any case.
        if let Ok(expected) = expected {
            prop_assert_eq!(out.flatten_all().unwrap().to_vec1::<i32>().unwrap(), expected);
        }
        let shape = broadcast("y", x.dims(), y.dims()).unwrap();
        prop_assert_eq!(out.dims(), &shape[..]);
    }
}

#[test]
fn large_operands_give_the_same_bits_in_blocks() {
    let n = CHEAP + 12_345;
    let x: Vec<f32> = (0..n).map(|i| (i as f32).sin()).collect();
    let y: Vec<f32> = (0..n).map(|i| (i as f32).cos()).collect();
    let out = arithmetic(Arithmetic::RealDiv, &floats(&x), &floats(&y)).unwrap();
    let out = out.to_vec1::<f32>().unwrap();
    for i in 0..n {
        assert_eq!(out[i].to_bits(), (x[i] / y[i]).to_bits());
    }
    let bias: Vec<f32> = (0..12).map(|i| i as f32).collect();
    let x = tensor_of(x[..n / 12 * 12].to_vec(), &[n / 12, 12]);
    let out = arithmetic(Arithmetic::Add, &x, &floats(&bias)).unwrap();
    let (out, x) = (out.to_vec2::<f32>().unwrap(), x.to_vec2::<f32>().unwrap());
    for (out, x) in out.iter().zip(&x) {
        for i in 0..12 {
            assert_eq!(out[i], x[i] + bias[i]);
        }
    }
}
