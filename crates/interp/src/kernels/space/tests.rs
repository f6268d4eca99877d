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
fn blocks_and_channels() {
    let x = counting(&[1, 2, 2, 4]);
    let y = blocks_to_channels(&x, 2).unwrap();
    assert_eq!(y.dims(), [1, 8, 1, 2]);
    // Place in the block first, then the channel: as in TensorFlow.
    assert_eq!(flat(&y), [0, 2, 8, 10, 1, 3, 9, 11, 4, 6, 12, 14, 5, 7, 13, 15]);
    assert_eq!(flat(&channels_to_blocks(&y, 2).unwrap()), flat(&x));
    let y = unshuffled(&x, 2).unwrap();
    // The channel first, then the place in the block: as in torch.
    assert_eq!(flat(&y), [0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15]);
    assert_eq!(flat(&shuffled(&y, 2).unwrap()), flat(&x));
    assert!(blocks_to_channels(&x, 3).is_err());
    assert!(blocks_to_channels(&x, 0).is_err());
    assert!(channels_to_blocks(&x, 2).is_err());
    assert!(shuffled(&x, i64::MAX).is_err());
    assert!(unshuffled(&counting(&[2, 2]), 1).is_err());
}

#[test]
fn blocks_and_batches() {
    let x = counting(&[2, 1, 2, 3]);
    let y = blocks_to_batch(&x, &[2, 2], &[0, 0, 1, 0]).unwrap();
    assert_eq!(y.dims(), [8, 1, 1, 2]);
    // TensorFlow: batch b of block place (i, j) is (i * 2 + j) * 2 + b.
    assert_eq!(flat(&y), [0, 1, 0, 7, 0, 2, 6, 8, 0, 4, 0, 10, 3, 5, 9, 11]);
    assert_eq!(flat(&batch_to_blocks(&y, &[2, 2], &[0, 0, 1, 0]).unwrap()), flat(&x));
    assert!(blocks_to_batch(&x, &[2, 2], &[0, 0, 0, 0]).is_err());
    assert!(blocks_to_batch(&x, &[2, 0], &[0, 0, 0, 0]).is_err());
    assert!(blocks_to_batch(&x, &[2], &[0, 0, 0, 0]).is_err());
    assert!(batch_to_blocks(&x, &[2, 2], &[0, 0, 0, 0]).is_err());
    assert!(batch_to_blocks(&y, &[2, 2], &[0, 3, 0, 0]).is_err());
}

#[test]
fn windows_and_crops() {
    let x = counting(&[2, 5]);
    let y = windows_of(&x, -1, 3, 2).unwrap();
    assert_eq!(y.dims(), [2, 2, 3]);
    assert_eq!(flat(&y), [0, 1, 2, 2, 3, 4, 5, 6, 7, 7, 8, 9]);
    let y = windows_of(&x, 0, 2, 1).unwrap();
    assert_eq!(y.dims(), [1, 2, 5]);
    assert_eq!(flat(&y), flat(&x));
    assert!(windows_of(&x, 1, 6, 1).is_err());
    assert!(windows_of(&x, 1, 0, 1).is_err());
    assert!(windows_of(&x, 1, 2, 0).is_err());
    assert_eq!(windows_of(&x, 1, 5, i64::from(i32::MAX)).unwrap().dims(), [2, 1, 5]);
    let c = cropped(&x, [("h", &[1, 0]), ("w", &[1, 2])]).unwrap();
    assert_eq!((c.dims(), flat(&c)), (&[1, 2][..], vec![6, 7]));
    assert!(cropped(&x, [("h", &[2, 1]), ("w", &[0, 0])]).is_err());
    assert!(cropped(&x, [("h", &[0]), ("w", &[0, 0])]).is_err());
}
