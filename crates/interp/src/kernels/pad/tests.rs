use super::*;
use candle_core::Device;
use proptest::prelude::*;

fn counting(dims: &[usize]) -> Tensor {
    let n: usize = dims.iter().product();
    Tensor::from_vec((1..=n as i32).collect(), dims, &Device::Cpu).unwrap()
}

fn flat(t: &Tensor) -> Vec<i32> {
    t.contiguous().unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

proptest! {
    #[test]
    fn pads_like_the_definition(
        shape in proptest::collection::vec((1usize..5, 0i64..5, 0i64..5), 1..5),
        skip in 0usize..4,
        mode in 0usize..3,
    ) {
        let mode = [Mode::Constant(-7.0), Mode::Reflect, Mode::Replicate][mode];
        let dims: Vec<usize> = shape.iter().map(|s| s.0).collect();
        let skip = skip.min(dims.len());
        let most = |d: usize| if mode == Mode::Reflect { d as i64 - 1 } else { 4 };
        let amounts: Vec<i64> = shape[skip..].iter()
            .flat_map(|s| [s.1.min(most(s.0)), s.2.min(most(s.0))]).collect();
        let x = counting(&dims);
        let out = padded(&x, &amounts, mode).unwrap();
        let before = |i: usize| if i < skip { 0 } else { amounts[2 * (i - skip)] };
        let after = |i: usize| if i < skip { 0 } else { amounts[2 * (i - skip) + 1] };
        let out_dims: Vec<usize> = (0..dims.len())
            .map(|i| dims[i] + (before(i) + after(i)) as usize).collect();
        prop_assert_eq!(out.dims(), &out_dims[..]);
        let all = flat(&x);
        for (n, got) in flat(&out).into_iter().enumerate() {
            let mut rest = n;
            let mut index = vec![0i64; dims.len()];
            for i in (0..dims.len()).rev() {
                index[i] = (rest % out_dims[i]) as i64 - before(i);
                rest /= out_dims[i];
            }
            let mut from = 0i64;
            let mut inside = true;
            for i in 0..dims.len() {
                let d = dims[i] as i64;
                let mut j = index[i];
                match mode {
                    Mode::Constant(_) => inside &= (0..d).contains(&j),
                    Mode::Replicate => j = j.clamp(0, d - 1),
                    Mode::Reflect => {
                        if j < 0 { j = -j; }
                        if j >= d { j = 2 * (d - 1) - j; }
                    }
                }
                from = from * d + j;
            }
            prop_assert_eq!(got, if inside { all[from as usize] } else { -7 });
        }
    }
}

#[test]
fn bad_amounts_are_errors() {
    let x = counting(&[2, 3]);
    assert!(padded(&x, &[1], Mode::Constant(0.0)).is_err());
    assert!(padded(&x, &[1, 1, 1, 1, 1, 1], Mode::Constant(0.0)).is_err());
    assert!(padded(&x, &[-1, 1], Mode::Constant(0.0)).is_err());
    assert!(padded(&x, &[3, 0], Mode::Reflect).is_err());
    assert!(padded(&x, &[i64::MAX, 0], Mode::Constant(0.0)).is_err());
    assert!(padded(&x, &[1 << 35, 0, 1 << 35, 0], Mode::Constant(0.0)).is_err());
    assert!(Mode::parse("edge", 0.0).is_err());
    let empty = counting(&[2, 0]);
    assert_eq!(flat(&padded(&empty, &[1, 2], Mode::Constant(4.0)).unwrap()), [4; 6]);
    assert!(padded(&empty, &[1, 2], Mode::Replicate).is_err());
    assert!(padded(&empty, &[1, 2], Mode::Reflect).is_err());
    assert_eq!(padded(&empty, &[1, 2, 0, 0], Mode::Replicate).unwrap().dims(), [5, 0]);
    assert_eq!(padded(&counting(&[]), &[], Mode::Reflect).unwrap().rank(), 0);
}

#[test]
fn large_pads_are_filled_in_blocks() {
    let x = counting(&[3, 500, 501]);
    let out = padded(&x, &[1, 2, 3, 4], Mode::Reflect).unwrap();
    assert!(out.elem_count() > CHEAP);
    let (out, x) = (out.to_vec3::<i32>().unwrap(), x.to_vec3::<i32>().unwrap());
    for i in 0..3 {
        for r in 0..503usize {
            let row = &x[i][if r == 0 { 1 } else if r > 500 { 999 - r } else { r - 1 }];
            assert_eq!(&out[i][r][3..504], &row[..]);
            assert_eq!(out[i][r][..3], [row[3], row[2], row[1]]);
            assert_eq!(out[i][r][504..], [row[499], row[498], row[497], row[496]]);
        }
    }
}
