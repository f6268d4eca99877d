use super::*;
use candle_core::Device;

fn counting(dims: &[usize]) -> Tensor {
    let n: usize = dims.iter().product();
    Tensor::from_vec((0..n as i32).collect(), dims, &Device::Cpu).unwrap()
}

fn flat(t: &Tensor) -> Vec<i32> {
    t.contiguous().unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn reshape_reads_zeros_and_holes() {
    let old = |shape: &[i64]| reshaped_dims(&[2, 3, 4], shape, Zeros::SamePlace);
    assert_eq!(old(&[6, 4]).unwrap(), [6, 4]);
    assert_eq!(old(&[-1]).unwrap(), [24]);
    assert_eq!(old(&[0, -1, 2]).unwrap(), [2, 6, 2]);
    assert_eq!(old(&[0, 0, 0]).unwrap(), [2, 3, 4]);
    assert!(old(&[0, -1]).is_err());
    assert!(old(&[-1, -1, 2]).is_err());
    assert!(old(&[-2, 12, 1]).is_err());
    assert!(old(&[5, -1]).is_err());
    assert!(old(&[i64::MAX, 2]).is_err());
    assert!(old(&[]).is_err());
    let new = |dims: &[usize], shape: &[i64]| reshaped_dims(dims, shape, Zeros::FromTheRight);
    // The example of the iOS 17 documentation.
    assert_eq!(new(&[2, 50], &[1, 0, -1, 0]).unwrap(), [1, 1, 2, 50]);
    assert_eq!(new(&[2, 3, 4], &[0, -1]).unwrap(), [3, 8]);
    assert_eq!(new(&[1], &[]).unwrap(), [0usize; 0]);
    assert!(new(&[0, 3], &[3, 0]).is_err());
    assert_eq!(new(&[0, 3], &[-1, 0]).unwrap(), [0, 3]);
    assert!(new(&[0, 3], &[-1, 0, 0]).is_err());
}

#[test]
fn views_keep_the_elements() {
    let x = counting(&[2, 3, 4]);
    let t = transposed(&x, &[2, 0, -2]).unwrap();
    assert_eq!(t.dims(), [4, 2, 3]);
    assert_eq!(flat(&t)[..4], [0, 4, 8, 12]);
    let back = with_dims(&t, &[24]).unwrap();
    assert_eq!(flat(&back), flat(&t));
    assert!(transposed(&x, &[0, 1]).is_err());
    assert!(transposed(&x, &[0, 1, 1]).is_err());
    assert!(transposed(&x, &[0, 1, 3]).is_err());
    let e = expanded(&x, &[0, -1, 2]).unwrap();
    assert_eq!(e.dims(), [1, 2, 1, 3, 4, 1]);
    assert!(expanded(&x, &[4]).is_err());
    assert!(expanded(&x, &[0, 0]).is_err());
    assert_eq!(squeezed(&e, &[0, -1]).unwrap().dims(), [2, 1, 3, 4]);
    assert_eq!(squeezed(&e, &[]).unwrap().dims(), e.dims());
    assert!(squeezed(&e, &[1]).is_err());
    assert!(squeezed(&e, &[6]).is_err());
    let scalar = counting(&[]);
    assert_eq!(transposed(&scalar, &[]).unwrap().rank(), 0);
    assert_eq!(expanded(&scalar, &[0]).unwrap().dims(), [1]);
    assert_eq!(flattened(&x, -1).unwrap().dims(), [6, 4]);
    assert_eq!(flattened(&x, 0).unwrap().dims(), [1, 24]);
    assert_eq!(flattened(&x, 3).unwrap().dims(), [24, 1]);
    assert!(flattened(&x, 4).is_err());
    assert_eq!(shape_of(&x).unwrap().to_vec1::<i32>().unwrap(), [2, 3, 4]);
    let parts = [(&[2usize, 9][..], 0, Some(1)), (&[7, 3, 4][..], 1, None)];
    assert_eq!(reshaped_like(&t, &parts).unwrap().dims(), [2, 3, 4]);
    assert!(reshaped_like(&t, &parts[..1]).is_err());
}

#[test]
fn reversals() {
    let x = counting(&[2, 3]);
    assert_eq!(flat(&reversed(&x, None).unwrap()), [5, 4, 3, 2, 1, 0]);
    assert_eq!(flat(&reversed(&x, Some(&[-1])).unwrap()), [2, 1, 0, 5, 4, 3]);
    assert_eq!(flat(&reversed(&x.t().unwrap(), Some(&[0])).unwrap()), [2, 5, 1, 4, 0, 3]);
    assert_eq!(flat(&sequence_reversed(&x, &[2, 3], 1, 0).unwrap()), [1, 0, 2, 5, 4, 3]);
    assert_eq!(flat(&sequence_reversed(&x, &[0, 1, 2], 0, 1).unwrap()), [0, 1, 5, 3, 4, 2]);
    assert!(sequence_reversed(&x, &[2], 1, 0).is_err());
    assert!(sequence_reversed(&x, &[2, 4], 1, 0).is_err());
    assert!(sequence_reversed(&x, &[-1, 1], 1, 0).is_err());
    let empty = counting(&[0, 3]);
    assert_eq!(reversed(&empty, None).unwrap().dims(), [0, 3]);
}

#[test]
fn ranges() {
    let f = |v: f32| Tensor::new(v, &Device::Cpu).unwrap();
    let i = |v: i32| Tensor::new(v, &Device::Cpu).unwrap();
    let ints = |a, b, c| range_of(&i(a), &i(b), &i(c)).map(|t| t.to_vec1::<i32>().unwrap());
    assert_eq!(ints(0, 5, 2).unwrap(), [0, 2, 4]);
    assert_eq!(ints(5, 0, -2).unwrap(), [5, 3, 1]);
    assert_eq!(ints(0, -1, 1).unwrap(), [0i32; 0]);
    assert_eq!(ints(3, 3, 1).unwrap(), [0i32; 0]);
    assert!(ints(0, 5, 0).is_err());
    let floats = range_of(&f(0.0), &f(1.0), &f(0.3)).unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(floats, [0.0, 0.3, 0.6, 0.900_000_04]);
    assert!(range_of(&f(0.0), &f(f32::INFINITY), &f(1.0)).is_err());
    assert!(range_of(&f(0.0), &f(f32::NAN), &f(1.0)).is_err());
    assert!(range_of(&f(0.0), &f(1e30), &f(1e-3)).is_err());
    assert!(range_of(&f(0.0), &i(1), &f(1.0)).is_err());
}

#[test]
fn fills_bands_and_one_hots() {
    let value = Tensor::new(7i32, &Device::Cpu).unwrap();
    assert_eq!(flat(&filled(&[2, 2], &value).unwrap()), [7; 4]);
    assert_eq!(filled(&[0, 2], &value).unwrap().dims(), [0, 2]);
    assert!(filled(&[1 << 20, 1 << 20], &value).is_err());
    let x = counting(&[3, 4]);
    assert_eq!(flat(&band_of(&x, 0, -1).unwrap()), [0, 1, 2, 3, 0, 5, 6, 7, 0, 0, 10, 11]);
    assert_eq!(flat(&band_of(&x, -1, 0).unwrap()), [0, 0, 0, 0, 4, 5, 0, 0, 8, 9, 10, 0]);
    assert_eq!(flat(&band_of(&x, 1, 1).unwrap()), [0, 1, 0, 0, 4, 5, 6, 0, 0, 9, 10, 11]);
    assert_eq!(flat(&band_of(&x, i64::MAX, i64::MAX).unwrap()), flat(&x));
    assert!(band_of(&counting(&[3]), 0, 0).is_err());
    let (on, off) = (value, Tensor::new(-1i32, &Device::Cpu).unwrap());
    let hot = one_hot_of(&[1, 0, 5, -1], &[4], 2, -1, &on, &off).unwrap();
    assert_eq!(hot.dims(), [4, 2]);
    assert_eq!(flat(&hot), [-1, 7, 7, -1, -1, -1, -1, -1]);
    let hot = one_hot_of(&[1, 0], &[2], 3, 0, &on, &off).unwrap();
    assert_eq!(hot.dims(), [3, 2]);
    assert_eq!(flat(&hot), [-1, 7, 7, -1, -1, -1]);
    assert!(one_hot_of(&[1], &[1], -1, 0, &on, &off).is_err());
    assert!(one_hot_of(&[1], &[1], 2, 2, &on, &off).is_err());
}
