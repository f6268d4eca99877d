use candle_core::DType;
use milwright_ir::shape::Pad;
use proptest::prelude::*;

use super::*;
use crate::kernels::linear::tests::numbers;

/// Positions of a shape, in row-major order.
fn positions(dims: &[usize]) -> impl Iterator<Item = Vec<usize>> + '_ {
    (0..dims.iter().product::<usize>()).map(move |mut i| {
        let mut p = vec![0; dims.len()];
        for (p, &d) in p.iter_mut().zip(dims).rev() {
            *p = i % d;
            i /= d;
        }
        p
    })
}

fn at(dims: &[usize], position: &[usize]) -> usize {
    position.iter().zip(dims).fold(0, |i, (p, d)| i * d + p)
}

/// By definition; for a transposed convolution with the roles of input and
/// output exchanged.
fn naive(o: &Operands, windows: &[Windows], out: &[usize], transposed: bool) -> Vec<f32> {
    let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (x, weight) = (values(&o.x), values(&o.weight));
    let mut sums = vec![0f64; out.iter().product()];
    if let Some(bias) = &o.bias {
        let bias = values(bias);
        for p in positions(out) {
            sums[at(out, &p)] = f64::from(bias[p[1]]);
        }
    }
    let (xd, wd) = (o.x.dims(), o.weight.dims());
    let (small, large) = if transposed { (xd, out) } else { (out, xd) };
    for p in positions(small) {
        for k in positions(&wd[1..]) {
            // The weight's first index is the channel of the smaller side.
            let group = p[1] / (wd[0] / o.groups);
            let mut q = vec![p[0], group * wd[1] + k[0]];
            let mut inside = true;
            for (i, w) in windows.iter().enumerate() {
                let before = w.padding(large[i + 2] as u64).unwrap().0 as i64;
                let position = (p[i + 2] as i64) * (w.stride as i64)
                    + (k[i + 1] as i64) * (w.dilation as i64)
                    - before;
                inside &= (0..large[i + 2] as i64).contains(&position);
                q.push(position as usize);
            }
            if inside {
                let weight =
                    f64::from(weight[p[1] * wd[1..].iter().product::<usize>() + at(&wd[1..], &k)]);
                let (from, to) = if transposed {
                    (at(xd, &p), at(out, &q))
                } else {
                    (at(xd, &q), at(out, &p))
                };
                sums[to] += f64::from(x[from]) * weight;
            }
        }
    }
    sums.into_iter().map(|s| s as f32).collect()
}

fn check(
    o: &Operands,
    windows: &[Windows],
    transposed: bool,
) -> std::result::Result<bool, TestCaseError> {
    let compute = |o: &Operands| match transposed {
        false => o.convolve(windows),
        true => o.transposed(windows, None),
    };
    let Ok(y) = compute(o) else {
        // Only because no window fits, or nothing is left.
        return Ok(false);
    };
    let want = naive(o, windows, y.dims(), transposed);
    let got = y.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    prop_assert_eq!(&got, &want);
    let wide = Operands {
        x: o.x.to_dtype(DType::F64).unwrap(),
        weight: o.weight.to_dtype(DType::F64).unwrap(),
        bias: o.bias.as_ref().map(|b| b.to_dtype(DType::F64).unwrap()),
        groups: o.groups,
    };
    let wide = compute(&wide).unwrap().to_dtype(DType::F32).unwrap();
    prop_assert_eq!(
        &wide.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
        &want
    );
    Ok(true)
}

fn window() -> impl Strategy<Value = Windows> {
    let pad = prop_oneof![
        Just(Pad::Valid),
        Just(Pad::Same),
        Just(Pad::SameLower),
        (0u64..4, 0u64..4).prop_map(|(a, b)| Pad::Custom(a, b)),
    ];
    (1u64..5, 1u64..5, 1u64..4, pad).prop_map(|(size, stride, dilation, pad)| Windows {
        size,
        stride,
        dilation,
        pad,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn any_parameters_match_the_definition(
        spatial in prop::collection::vec((window(), 1usize..9), 1..4),
        long in 0usize..60,
        groups in 1usize..4,
        (inputs, outputs) in (1usize..4, 1usize..10),
        batch in 1usize..3,
        biased in any::<bool>(),
        permuted in any::<bool>(),
        transposed in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let windows: Vec<Windows> = spatial.iter().map(|(w, _)| *w).collect();
        let mut sizes: Vec<usize> = spatial.iter().map(|(_, s)| *s).collect();
        if sizes.len() < 2 {
            *sizes.last_mut().unwrap() += long;
        }
        let mut x = vec![batch, inputs * groups];
        x.extend(&sizes);
        let mut weight = match transposed {
            false => vec![outputs * groups, inputs],
            true => vec![inputs * groups, outputs],
        };
        weight.extend(windows.iter().map(|w| w.size as usize));
        let x = if permuted {
            // Channels last in memory.
            let rank = x.len();
            let mut dims = vec![x[0]];
            dims.extend(&x[2..]);
            dims.push(x[1]);
            let mut order = vec![0, rank - 1];
            order.extend(1..rank - 1);
            numbers(&dims, seed).permute(order).unwrap()
        } else {
            numbers(&x, seed)
        };
        let o = Operands {
            x,
            weight: numbers(&weight, seed.rotate_left(13)),
            bias: biased.then(|| numbers(&[outputs * groups], seed.rotate_left(29))),
            groups,
        };
        check(&o, &windows, transposed)?;
    }
}

fn plain(size: u64, stride: u64, pad: Pad) -> Windows {
    Windows {
        size,
        stride,
        dilation: 1,
        pad,
    }
}

#[test]
fn large_cases_use_all_paths() {
    let pad = Pad::Custom(1, 1);
    // Channels in, out, groups, sizes, windows.
    type Case = (usize, usize, usize, Vec<usize>, Vec<Windows>);
    let cases: [Case; 7] = [
        (
            20,
            17,
            1,
            vec![12, 45],
            vec![plain(3, 1, pad), plain(3, 1, pad)],
        ),
        (
            20,
            17,
            1,
            vec![13, 45],
            vec![plain(3, 2, pad), plain(3, 2, pad)],
        ),
        (30, 40, 1, vec![12, 13], vec![plain(1, 1, Pad::Valid); 2]),
        (
            10,
            10,
            10,
            vec![20, 70],
            vec![plain(3, 2, pad), plain(3, 2, pad)],
        ),
        (10, 20, 10, vec![200], vec![plain(9, 1, Pad::Custom(4, 4))]),
        (1, 34, 1, vec![3000], vec![plain(512, 160, Pad::Valid)]),
        (12, 24, 4, vec![5, 6, 7], vec![plain(2, 1, Pad::Same); 3]),
    ];
    for (inputs, outputs, groups, sizes, windows) in cases {
        let mut x = vec![1, inputs];
        x.extend(&sizes);
        let mut weight = vec![outputs, inputs / groups];
        weight.extend(windows.iter().map(|w| w.size as usize));
        let o = Operands {
            x: numbers(&x, 3),
            weight: numbers(&weight, 5),
            bias: Some(numbers(&[outputs], 7)),
            groups,
        };
        assert!(check(&o, &windows, false).unwrap());
        let mut x = vec![1, outputs];
        x.extend(sizes.iter().map(|s| s.min(&60)));
        let o = Operands {
            x: numbers(&x, 3),
            bias: Some(numbers(&[inputs], 7)),
            ..o
        };
        assert!(check(&o, &windows, true).unwrap());
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let x = numbers(&[1, 4, 8], 1);
    let weight = numbers(&[6, 2, 3], 2);
    let new = |groups, bias: Option<usize>| {
        Operands::new(
            x.clone(),
            weight.clone(),
            bias.map(|n| numbers(&[n], 1)),
            groups,
        )
    };
    let windows = [plain(3, 1, Pad::Valid)];
    assert!(new(2, Some(6)).unwrap().convolve(&windows).is_ok());
    assert!(new(1, None).unwrap().convolve(&windows).is_err());
    assert!(new(4, None).unwrap().convolve(&windows).is_err());
    assert!(new(u64::MAX, None).unwrap().convolve(&windows).is_err());
    assert!(new(2, Some(5)).unwrap().convolve(&windows).is_err());
    let o = new(2, None).unwrap();
    for pad in [u64::MAX, 1 << 62, 1 << 40] {
        for stride in [1, 1 << 40, u64::MAX] {
            let w = [plain(3, stride, Pad::Custom(pad, 0))];
            assert!(o.convolve(&w).is_err(), "{pad} {stride}");
        }
    }
    let far = Windows {
        dilation: u64::MAX,
        ..plain(3, 1, Pad::Valid)
    };
    assert!(o.convolve(&[far]).is_err());
    let o = Operands::new(numbers(&[1, 6, 8], 1), weight.clone(), None, 1).unwrap();
    assert!(o.transposed(&[far], None).is_err());
    assert!(
        o.transposed(&[plain(3, u64::MAX, Pad::Valid)], None)
            .is_err()
    );
    assert!(
        o.transposed(&[plain(3, 1, Pad::Custom(9, 9))], None)
            .is_err()
    );
    for wanted in [&[1, 2][..], &[1, 3, 9], &[1, 2, -1]] {
        assert!(o.transposed(&windows, Some(wanted)).is_err());
    }
    assert!(Operands::new(x.clone(), numbers(&[1, 4], 1), None, 1).is_err());
    assert!(Operands::new(x, numbers(&[6, 2, 0], 1), None, 2).is_err());
}
