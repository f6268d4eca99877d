use super::*;
use candle_core::Device;
use proptest::prelude::*;

fn tensor_of<T: Element>(data: Vec<T>, dims: &[usize]) -> Tensor {
    Tensor::from_vec(data, dims, &Device::Cpu).unwrap()
}

fn flat(t: &Tensor) -> Vec<f64> {
    let t = t.contiguous().unwrap().flatten_all().unwrap();
    t.to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

const ALL: [Reduction; 10] = [
    Reduction::Sum,
    Reduction::Mean,
    Reduction::Max,
    Reduction::Min,
    Reduction::Prod,
    Reduction::L1Norm,
    Reduction::L2Norm,
    Reduction::LogSum,
    Reduction::LogSumExp,
    Reduction::SumSquare,
];

fn naive(op: Reduction, group: &[f64]) -> f64 {
    let sum = |f: fn(f64) -> f64| group.iter().map(|&x| f(x)).sum::<f64>();
    match op {
        Reduction::Sum => sum(|x| x),
        Reduction::Mean => sum(|x| x) / group.len() as f64,
        Reduction::Max => group.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Reduction::Min => group.iter().copied().fold(f64::INFINITY, f64::min),
        Reduction::Prod => group.iter().product(),
        Reduction::L1Norm => sum(f64::abs),
        Reduction::L2Norm => sum(|x| x * x).sqrt(),
        Reduction::LogSum => sum(|x| x).ln(),
        Reduction::LogSumExp => sum(f64::exp).ln(),
        Reduction::SumSquare => sum(|x| x * x),
    }
}

/// The groups of elements that are reduced together, in output order.
fn groups(x: &[f64], dims: &[usize], axes: &[usize]) -> Vec<Vec<f64>> {
    let kept: Vec<usize> = (0..dims.len()).filter(|i| !axes.contains(i)).collect();
    let count = kept.iter().map(|&i| dims[i]).product();
    let mut out = vec![Vec::new(); count];
    for (linear, &x) in x.iter().enumerate() {
        let mut rest = linear;
        let mut index = vec![0; dims.len()];
        for i in (0..dims.len()).rev() {
            index[i] = rest % dims[i];
            rest /= dims[i];
        }
        let at = kept.iter().fold(0, |at, &i| at * dims[i] + index[i]);
        out[at].push(x);
    }
    out
}

proptest! {
    #[test]
    fn reduces_any_axes(
        shape in proptest::collection::vec((1usize..5, any::<bool>()), 0..5),
        keep_dims in any::<bool>(),
        negative in any::<bool>(),
        seed in 0u32..1000,
    ) {
        let dims: Vec<usize> = shape.iter().map(|s| s.0).collect();
        let axes: Vec<usize> = (0..dims.len()).filter(|&i| shape[i].1).collect();
        let named: Vec<i64> = axes.iter().rev()
            .map(|&a| a as i64 - if negative { dims.len() as i64 } else { 0 }).collect();
        let n: usize = dims.iter().product();
        let data: Vec<f32> = (0..n as u32)
            .map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 20) as f32 / 1024.0 - 1.0)
            .collect();
        let wide: Vec<f64> = data.iter().map(|&x| x.into()).collect();
        let x = tensor_of(data, &dims);
        let groups = groups(&wide, &dims, &axes);
        for op in ALL {
            let out = reduce(op, &x, Some(&named), keep_dims).unwrap();
            let expected_dims: Vec<usize> = (0..dims.len())
                .filter_map(|i| if axes.contains(&i) { keep_dims.then_some(1) } else { Some(dims[i]) })
                .collect();
            prop_assert_eq!(out.dims(), &expected_dims[..]);
            for (got, group) in flat(&out).iter().zip(&groups) {
                let expected = naive(op, group);
                let ok = got == &expected || (got.is_nan() && expected.is_nan())
                    || (got - expected).abs() <= 2e-6 * expected.abs().max(1.0);
                prop_assert!(ok, "{:?} of {:?}: {} not {}", op, group, got, expected);
            }
        }
        let whole = reduce(Reduction::Sum, &x, None, false).unwrap();
        prop_assert_eq!(whole.rank(), 0);
    }

    #[test]
    fn sums_along_any_axis(
        dims in proptest::collection::vec(1usize..5, 1..4),
        pick in 0usize..3,
        exclusive in any::<bool>(),
        reverse in any::<bool>(),
    ) {
        let axis = pick % dims.len();
        let n: usize = dims.iter().product();
        let x = tensor_of((0..n as i32).map(|i| i * i % 11 - 3).collect(), &dims);
        let out = cumulated(&x, axis as i64, exclusive, reverse).unwrap();
        let lines = |t: &Tensor| t.transpose(axis, dims.len() - 1).unwrap().contiguous().unwrap()
            .reshape(((), dims[axis])).unwrap().to_vec2::<i32>().unwrap();
        for (line, out) in lines(&x).into_iter().zip(lines(&out)) {
            let mut line = line;
            if reverse { line.reverse(); }
            let mut expected = Vec::new();
            let mut sum = 0;
            for v in line {
                if exclusive { expected.push(sum); }
                sum += v;
                if !exclusive { expected.push(sum); }
            }
            if reverse { expected.reverse(); }
            prop_assert_eq!(out, expected);
        }
    }

    #[test]
    fn finds_the_first_extreme(
        rows in 1usize..4,
        data in proptest::collection::vec(-3i32..3, 1..90),
        middle in any::<bool>(),
    ) {
        let n = data.len();
        let rows_data: Vec<f32> = (0..rows * n).map(|i| data[(i * 7 + i / n) % n] as f32).collect();
        let x = tensor_of(rows_data.clone(), &[rows, n]);
        let (x, axis) = if middle { (x.t().unwrap(), 0) } else { (x, 1) };
        let most = arg_reduce(true, &x, axis, false).unwrap().to_vec1::<i32>().unwrap();
        let least = arg_reduce(false, &x, axis - 2, true).unwrap();
        prop_assert_eq!(least.rank(), 2);
        let least = least.flatten_all().unwrap().to_vec1::<i32>().unwrap();
        for (r, row) in rows_data.chunks(n).enumerate() {
            let first = |f: fn(f32, f32) -> f32| {
                let best = row.iter().copied().reduce(f).unwrap();
                row.iter().position(|&x| x == best).unwrap() as i32
            };
            prop_assert_eq!(most[r], first(f32::max));
            prop_assert_eq!(least[r], first(f32::min));
        }
    }
}

#[test]
fn large_sums_are_exact_and_the_same_with_any_threads() {
    // In f32 alone a running sum of these would be off by thousands.
    let n = 3_000_001usize;
    let data: Vec<f32> = (0..n).map(|i| 1.0 + (i % 7) as f32 * 1e-3).collect();
    let exact: f64 = data.iter().map(|&x| f64::from(x)).sum();
    let x = tensor_of(data.clone(), &[n]);
    let one = |x: &Tensor| reduce(Reduction::Sum, x, None, false).unwrap().to_scalar::<f32>().unwrap();
    assert!((f64::from(one(&x)) - exact).abs() <= exact * 1e-7, "{} {exact}", one(&x));
    let pools = [1, 2, 5].map(|threads| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| one(&x)).to_bits()
    });
    assert_eq!(pools[0], pools[1]);
    assert_eq!(pools[0], pools[2]);
    // Down the rows of a matrix.
    let x = tensor_of(data[..3_000_000].to_vec(), &[10_000, 300]);
    let columns = reduce(Reduction::Mean, &x, Some(&[0]), true).unwrap();
    assert_eq!(columns.dims(), [1, 300]);
    for (c, got) in flat(&columns).into_iter().enumerate() {
        let exact: f64 = (0..10_000).map(|r| f64::from(data[r * 300 + c])).sum::<f64>() / 1e4;
        assert!((got - exact).abs() <= exact * 1e-7);
    }
    // Wider than a tile.
    let x = tensor_of(data[..TILE * 3 * 50].to_vec(), &[50, TILE * 3]);
    let most = flat(&reduce(Reduction::Max, &x, Some(&[0]), false).unwrap());
    for (c, got) in most.into_iter().enumerate() {
        let exact = (0..50).map(|r| data[r * TILE * 3 + c]).fold(0f32, f32::max);
        assert_eq!(got, f64::from(exact));
    }
}

#[test]
fn edges() {
    let nan = tensor_of(vec![1.0, f32::NAN, 3.0], &[3]);
    for op in [Reduction::Max, Reduction::Min] {
        assert!(reduce(op, &nan, None, false).unwrap().to_scalar::<f32>().unwrap().is_nan());
    }
    assert_eq!(arg_reduce(true, &nan, 0, false).unwrap().to_scalar::<i32>().unwrap(), 1);
    let infinite = tensor_of(vec![f32::NEG_INFINITY; 2], &[2]);
    let out = reduce(Reduction::LogSumExp, &infinite, None, false).unwrap();
    assert_eq!(out.to_scalar::<f32>().unwrap(), f32::NEG_INFINITY);
    let large = tensor_of(vec![1000f32, 1000.0], &[2]);
    let out = reduce(Reduction::LogSumExp, &large, None, false).unwrap();
    assert!((out.to_scalar::<f32>().unwrap() - 1_000.693_1).abs() < 1e-3);
    let empty = tensor_of(Vec::<f32>::new(), &[2, 0]);
    assert_eq!(flat(&reduce(Reduction::Sum, &empty, Some(&[1]), false).unwrap()), [0.0, 0.0]);
    assert_eq!(flat(&reduce(Reduction::Prod, &empty, Some(&[1]), false).unwrap()), [1.0, 1.0]);
    assert!(reduce(Reduction::Max, &empty, Some(&[1]), false).is_err());
    assert!(arg_reduce(true, &empty, 1, false).is_err());
    assert_eq!(reduce(Reduction::Max, &empty, Some(&[0]), false).unwrap().dims(), [0]);
    assert!(reduce(Reduction::Sum, &empty, Some(&[2]), false).is_err());
    assert!(reduce(Reduction::Sum, &empty, Some(&[0, -2]), false).is_err());
    assert!(cumulated(&empty, 5, false, false).is_err());
    assert_eq!(cumulated(&empty, 1, false, false).unwrap().dims(), [2, 0]);
    let scalar = tensor_of(vec![-2f32], &[]);
    assert_eq!(reduce(Reduction::L1Norm, &scalar, None, false).unwrap().to_scalar::<f32>().unwrap(), 2.0);
}

#[test]
fn integers_truncate_and_wrap() {
    let x = tensor_of(vec![i32::MAX, 1, -4], &[3]);
    let one = |op| reduce(op, &x, None, false).unwrap().to_scalar::<i32>().unwrap();
    assert_eq!(one(Reduction::Sum), i32::MAX - 3);
    let y = tensor_of(vec![1, 2, 4], &[3]);
    let one = |op| reduce(op, &y, None, false).unwrap().to_scalar::<i32>().unwrap();
    assert_eq!(one(Reduction::Mean), 2);
    assert_eq!(one(Reduction::L2Norm), 4);
    assert_eq!(one(Reduction::Prod), 8);
    assert_eq!(one(Reduction::Max), 4);
}

/// Made with torch 2.7: `torch.from_numpy(x).sum(-1)` of
/// `((i * 2654435761 mod 2^32) >> 8) / 2^24 - 0.25`, as bits.
#[test]
fn rows_are_summed_in_the_order_of_torch() {
    let sums = [
        (5, 0x3f6e_2abf),
        (37, 0x4105_c528),
        (128, 0x41fb_0abc),
        (1000, 0x4379_f9f5),
        (1501, 0x43bb_415a),
        (5000, 0x449c_37fd),
        (20000, 0x459c_381d),
    ];
    for (n, bits) in sums {
        let x: Vec<f32> = (0..n as u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 16_777_216.0 - 0.25)
            .collect();
        let sum = reduce(Reduction::Sum, &tensor_of(x, &[n]), None, false).unwrap();
        let sum = sum.to_scalar::<f32>().unwrap();
        assert_eq!(sum.to_bits(), bits, "{n} elements: {sum}");
    }
    println!("{} sums", sums.len());
}
