use super::*;
use candle_core::Device;
use proptest::prelude::*;

fn counting(dims: &[usize], from: i32) -> Tensor {
    let n: usize = dims.iter().product();
    Tensor::from_vec((from..from + n as i32).collect(), dims, &Device::Cpu).unwrap()
}

fn flat(t: &Tensor) -> Vec<i32> {
    t.contiguous().unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

proptest! {
    #[test]
    fn concat_then_split_is_the_same(
        dims in proptest::collection::vec(1usize..4, 1..5),
        sizes in proptest::collection::vec(0usize..4, 1..5),
        pick in 0usize..4,
        swapped in any::<bool>(),
    ) {
        let axis = pick % dims.len();
        let parts: Vec<Tensor> = sizes.iter().enumerate().map(|(i, &size)| {
            let mut dims = dims.clone();
            dims[axis] = size;
            if swapped && dims.len() > 1 {
                // A strided operand.
                let last = dims.len() - 1;
                dims.swap(0, last);
                counting(&dims, i as i32 * 1000).transpose(0, last).unwrap()
            } else {
                counting(&dims, i as i32 * 1000)
            }
        }).collect();
        let refs: Vec<&Tensor> = parts.iter().collect();
        let whole = concatenated(&refs, axis as i64 - dims.len() as i64, false).unwrap();
        let expected = Tensor::cat(&parts, axis).unwrap();
        prop_assert_eq!(whole.dims(), expected.dims());
        prop_assert_eq!(flat(&whole), flat(&expected));
        let named: Vec<i64> = sizes.iter().map(|&s| s as i64).collect();
        let back = parts_of(&whole, axis as i64, Some(sizes.len() as i64), Some(&named)).unwrap();
        for (part, back) in parts.iter().zip(&back) {
            prop_assert_eq!(part.dims(), back.dims());
            prop_assert_eq!(flat(part), flat(back));
        }
    }

    #[test]
    fn tile_like_nested_loops(
        shape in proptest::collection::vec((1usize..4, 1usize..4), 1..5),
    ) {
        let (dims, reps): (Vec<usize>, Vec<usize>) = shape.into_iter().unzip();
        let x = counting(&dims, 0);
        let named: Vec<i64> = reps.iter().map(|&r| r as i64).collect();
        let out = tiled(&x, &named).unwrap();
        let mut expected = x;
        for (i, &r) in reps.iter().enumerate() {
            expected = Tensor::cat(&vec![expected; r], i).unwrap();
        }
        prop_assert_eq!(out.dims(), expected.dims());
        prop_assert_eq!(flat(&out), flat(&expected));
    }
}

#[test]
fn interleave_and_stack() {
    let (a, b) = (counting(&[3, 2], 1), counting(&[3, 2], 7));
    let out = concatenated(&[&a, &b], 0, true).unwrap();
    assert_eq!(out.dims(), [6, 2]);
    assert_eq!(flat(&out), [1, 2, 7, 8, 3, 4, 9, 10, 5, 6, 11, 12]);
    let out = stacked(&[&a, &b], -1).unwrap();
    assert_eq!(out.dims(), [3, 2, 2]);
    assert_eq!(flat(&out), [1, 7, 2, 8, 3, 9, 4, 10, 5, 11, 6, 12]);
    let (s, t) = (counting(&[], 4), counting(&[], 9));
    let out = concatenated(&[&s, &t], 0, false).unwrap();
    assert_eq!((out.dims(), flat(&out)), (&[2][..], vec![4, 9]));
}

#[test]
fn large_concats_are_filled_in_blocks() {
    let parts: Vec<Tensor> = (0..3).map(|i| counting(&[100, 1000 + i, 3], i as i32)).collect();
    let refs: Vec<&Tensor> = parts.iter().collect();
    let out = concatenated(&refs, 1, false).unwrap();
    assert!(out.elem_count() > CHEAP);
    assert_eq!(flat(&out), flat(&Tensor::cat(&parts, 1).unwrap()));
}

#[test]
fn operands_that_do_not_fit_are_errors() {
    let (a, b) = (counting(&[3, 2], 1), counting(&[3, 3], 7));
    assert!(concatenated(&[&a, &b], 0, false).is_err());
    assert!(concatenated(&[&a, &b], 2, false).is_err());
    assert!(concatenated(&[&a, &b], 1, true).is_err());
    assert!(concatenated(&[], 0, false).is_err());
    assert!(stacked(&[&a, &b], 0).is_err());
    assert!(stacked(&[&a, &a], 4).is_err());
    assert!(parts_of(&a, 0, Some(2), None).is_err());
    assert!(parts_of(&a, 0, Some(0), None).is_err());
    assert!(parts_of(&a, 0, None, None).is_err());
    assert!(parts_of(&a, 0, None, Some(&[1, 1])).is_err());
    assert!(parts_of(&a, 0, None, Some(&[-1, 4])).is_err());
    assert!(parts_of(&a, 0, Some(3), Some(&[1, 2])).is_err());
    assert!(tiled(&a, &[1]).is_err());
    assert!(tiled(&a, &[0, 1]).is_err());
    assert!(tiled(&a, &[i64::MAX, i64::MAX]).is_err());
    assert!(tiled(&a, &[1 << 20, 1 << 20]).is_err());
}
