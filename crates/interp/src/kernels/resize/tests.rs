use super::*;
use candle_core::Device;

fn row(values: &[f32]) -> Tensor {
    Tensor::from_vec(values.to_vec(), (1, 1, values.len()), &Device::Cpu).unwrap()
}

fn flat(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn grid_points_are_those_of_the_documentation() {
    let points = |sampling, count| -> Vec<f64> {
        let point = |i| Sampling::point(sampling, i, 2, count);
        (0..count).map(|i| (point(i) * 100.0).round() / 100.0).collect()
    };
    assert_eq!(points(Sampling::UnalignCorners, 5), [0.0, 0.1, 0.5, 0.9, 1.0]);
    assert_eq!(points(Sampling::StrictAlignCorners, 5), [0.0, 0.25, 0.5, 0.75, 1.0]);
    assert_eq!(points(Sampling::AlignCorners, 5), [0.0, 0.25, 0.5, 0.75, 1.0]);
    assert_eq!(points(Sampling::Default, 5), [0.0, 0.4, 0.8, 1.0, 1.0]);
    assert_eq!(points(Sampling::OffsetCorners, 5), [0.1, 0.3, 0.5, 0.7, 0.9]);
    assert_eq!(points(Sampling::UnalignCorners, 6), [0.0, 0.0, 0.33, 0.67, 1.0, 1.0]);
    assert_eq!(points(Sampling::Default, 6), [0.0, 0.33, 0.67, 1.0, 1.0, 1.0]);
    assert_eq!(points(Sampling::OffsetCorners, 6), [0.08, 0.25, 0.42, 0.58, 0.75, 0.92]);
    assert_eq!(points(Sampling::StrictAlignCorners, 1), [0.0]);
    assert_eq!(points(Sampling::AlignCorners, 1), [0.5]);
}

#[test]
fn interpolates_and_repeats() {
    let x = row(&[0.0, 1.0]);
    let out = bilinear(&x, [1, 5], Sampling::UnalignCorners).unwrap();
    for (got, expected) in flat(&out).iter().zip([0.0, 0.1, 0.5, 0.9, 1.0]) {
        assert!((got - expected).abs() < 1e-6);
    }
    assert_eq!(flat(&nearest(&x, [2, 3], Edge::Left).unwrap()), [0.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
    assert_eq!(flat(&nearest(&x, [1, 3], Edge::Centre).unwrap()), [0.0, 1.0, 1.0]);
    assert_eq!(flat(&nearest(&row(&[0.0, 1.0, 2.0]), [1, 2], Edge::Left).unwrap()), [0.0, 1.0]);
    // A plane z = 2 y + x is kept by interpolation, at any size and in threads.
    let (h, w) = (37, 53);
    let plane: Vec<f64> = (0..3 * h * w).map(|i| (2 * (i / w % h) + i % w) as f64).collect();
    let x = Tensor::from_vec(plane, (3, h, w), &Device::Cpu).unwrap();
    let (rows, columns) = (181, 99);
    let out = bilinear(&x, [rows, columns], Sampling::StrictAlignCorners).unwrap();
    assert!(out.elem_count() > COSTLY);
    for (i, z) in out.flatten_all().unwrap().to_vec1::<f64>().unwrap().into_iter().enumerate() {
        let (r, c) = (i / columns % rows, i % columns);
        let expected = 2.0 * r as f64 * 36.0 / 180.0 + c as f64 * 52.0 / 98.0;
        assert!((z - expected).abs() < 1e-9, "{r} {c}: {z} {expected}");
    }
    let same = bilinear(&x, [h, w], Sampling::UnalignCorners).unwrap();
    assert_eq!(same.to_vec3::<f64>().unwrap(), x.to_vec3::<f64>().unwrap());
}

#[test]
fn edges() {
    let x = row(&[3.0]);
    assert_eq!(flat(&bilinear(&x, [2, 2], Sampling::StrictAlignCorners).unwrap()), [3.0; 4]);
    assert_eq!(bilinear(&x, [0, 2], Sampling::Default).unwrap().dims(), [1, 0, 2]);
    let empty = Tensor::from_vec(Vec::<f32>::new(), (1, 0, 3), &Device::Cpu).unwrap();
    assert!(bilinear(&empty, [2, 2], Sampling::Default).is_err());
    assert!(nearest(&empty, [2, 2], Edge::Left).is_err());
    assert!(nearest(&x, [1 << 20, 1 << 20], Edge::Left).is_err());
    assert!(bilinear(&Tensor::new(1f32, &Device::Cpu).unwrap(), [1, 1], Sampling::Default).is_err());
    assert!(Sampling::parse("DEFAULTS").is_err());
}
