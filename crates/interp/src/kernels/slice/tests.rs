use super::*;
use candle_core::Device;
use proptest::prelude::*;

fn counting(dims: &[usize]) -> Tensor {
    let n: usize = dims.iter().product();
    Tensor::from_vec((0..n as i32).collect(), dims, &Device::Cpu).unwrap()
}

fn flat(t: &Tensor) -> Vec<i32> {
    // candle panics at views of nothing that begin behind their storage.
    if t.elem_count() == 0 {
        return Vec::new();
    }
    t.contiguous().unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Indices of Python's `range(size)[begin:end:step]`, written as the language
/// reference says it.
fn python(size: i64, begin: Option<i64>, end: Option<i64>, step: i64) -> Vec<i64> {
    let norm = |v: i64| if v < 0 { v + size } else { v };
    let mut out = Vec::new();
    if step > 0 {
        let mut i = begin.map_or(0, norm).max(0);
        let end = end.map_or(size, norm).min(size);
        while i < end {
            out.push(i);
            i += step;
        }
    } else {
        let mut i = begin.map_or(size - 1, norm).min(size - 1);
        let end = end.map_or(-1, |e| norm(e).max(-1));
        while i > end {
            out.push(i);
            i += step;
        }
    }
    out
}

proptest! {
    #[test]
    fn slices_like_python(
        entries in proptest::collection::vec(
            (0usize..6, -8i64..8, -8i64..8, prop_oneof![1i64..4, -3i64..0], any::<bool>(), any::<bool>(), any::<bool>()),
            0..5,
        ),
        swap in any::<bool>(),
    ) {
        let mut dims: Vec<usize> = entries.iter().map(|e| e.0).collect();
        let slice = Slice {
            begin: entries.iter().map(|e| e.1).collect(),
            end: entries.iter().map(|e| e.2).collect(),
            stride: Some(entries.iter().map(|e| e.3).collect()),
            begin_mask: Some(entries.iter().map(|e| e.4).collect()),
            end_mask: Some(entries.iter().map(|e| e.5).collect()),
            squeeze_mask: Some(entries.iter().map(|e| e.6 && e.5 && e.4).collect()),
        };
        let mut x = counting(&dims);
        if swap && dims.len() > 1 {
            dims.swap(0, 1);
            x = counting(&dims).transpose(0, 1).unwrap();
        }
        let dims = x.dims().to_vec();
        let mut picks = Vec::new();
        let mut kept = Vec::new();
        let mut fails = false;
        for (i, e) in entries.iter().enumerate() {
            if e.4 && e.5 && e.6 {
                fails |= dims[i] == 0;
                picks.push(vec![0]);
            } else {
                let p = python(dims[i] as i64, (!e.4).then_some(e.1), (!e.5).then_some(e.2), e.3);
                kept.push(p.len());
                picks.push(p);
            }
        }
        let got = sliced(&x, &slice);
        if fails {
            prop_assert!(got.is_err());
            return Ok(());
        }
        let got = got.unwrap();
        prop_assert_eq!(got.dims(), &kept[..]);
        let mut places = vec![0];
        for (&size, pick) in x.dims().iter().zip(&picks) {
            places = places
                .iter()
                .flat_map(|at| pick.iter().map(move |&k| at * size + k as usize))
                .collect();
        }
        let all = flat(&x);
        let expected: Vec<i32> = places.into_iter().map(|at| all[at]).collect();
        prop_assert_eq!(flat(&got), expected);

        // The same places written instead of read.
        if slice.squeeze_mask.as_ref().unwrap().iter().all(|s| !s) {
            let n = got.elem_count() as i32;
            let new = Tensor::from_vec((0..n).map(|i| -1 - i).collect::<Vec<_>>(), got.dims(), &Device::Cpu).unwrap();
            let after = updated(&x, &new, &slice).unwrap();
            prop_assert_eq!(flat(&sliced(&after, &slice).unwrap()), flat(&new));
            let changed = flat(&after).iter().filter(|&&v| v < 0).count();
            prop_assert_eq!(changed, n as usize);
            let untouched: Vec<i32> = flat(&after).into_iter().filter(|&v| v >= 0).collect();
            let read = flat(&got);
            let rest: Vec<i32> = flat(&x).into_iter().filter(|v| !read.contains(v)).collect();
            prop_assert_eq!(untouched, rest);
        }
    }
}

fn slice(begin: &[i64], end: &[i64]) -> Slice {
    Slice {
        begin: begin.to_vec(),
        end: end.to_vec(),
        ..Slice::default()
    }
}

#[test]
fn squeezed_dimensions_and_bad_indices() {
    let x = counting(&[3, 4]);
    let mut s = slice(&[-1, 1], &[0, 3]);
    s.squeeze_mask = Some(vec![true, false]);
    let out = sliced(&x, &s).unwrap();
    assert_eq!((out.dims(), flat(&out)), (&[2][..], vec![9, 10]));
    s.begin[0] = 3;
    assert!(sliced(&x, &s).is_err());
    s.begin[0] = i64::MIN;
    assert!(sliced(&x, &s).is_err());
    assert!(sliced(&x, &slice(&[0], &[1])).is_err());
    let mut s = slice(&[0, 0], &[i64::MAX, i64::from(i32::MAX)]);
    assert_eq!(sliced(&x, &s).unwrap().dims(), [3, 4]);
    s.stride = Some(vec![0, 1]);
    assert!(sliced(&x, &s).is_err());
    s.stride = Some(vec![i64::MAX, i64::MIN]);
    assert_eq!(sliced(&x, &s).unwrap().dims(), [1, 0]);
    s.begin = vec![i64::MIN, i64::MAX];
    s.end = vec![i64::MAX, i64::MIN];
    assert_eq!(flat(&sliced(&x, &s).unwrap()), [3]);
    let new = counting(&[1, 1]);
    assert_eq!(flat(&updated(&x, &new, &s).unwrap())[..5], [0, 1, 2, 0, 4]);
    assert!(updated(&x, &counting(&[2, 1]), &s).is_err());
}

#[test]
fn sizes() {
    let x = counting(&[3, 4]);
    assert_eq!(flat(&sliced_by_size(&x, &[1, 1], &[-1, 2]).unwrap()), [5, 6, 9, 10]);
    assert_eq!(flat(&sliced_by_size(&x, &[-1, 0], &[1, 1]).unwrap()), [8]);
    assert_eq!(sliced_by_size(&x, &[3, 0], &[-1, 1]).unwrap().dims(), [0, 1]);
    assert!(sliced_by_size(&x, &[4, 0], &[-1, 1]).is_err());
    assert!(sliced_by_size(&x, &[0, 0], &[4, 1]).is_err());
    assert!(sliced_by_size(&x, &[0, 0], &[-2, 1]).is_err());
    assert!(sliced_by_size(&x, &[i64::MIN, 0], &[1, 1]).is_err());
    assert!(sliced_by_size(&x, &[0], &[1]).is_err());
}
