use super::*;
use candle_core::Device;
use proptest::prelude::*;

fn tensor_of<T: Element>(data: Vec<T>, dims: &[usize]) -> Tensor {
    Tensor::from_vec(data, dims, &Device::Cpu).unwrap()
}

fn flat(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

fn index(dims: &[usize], mut linear: usize) -> Vec<usize> {
    let mut out = vec![0; dims.len()];
    for i in (0..dims.len()).rev() {
        out[i] = linear % dims[i];
        linear /= dims[i];
    }
    out
}

fn at(dims: &[usize], position: &[usize]) -> usize {
    dims.iter().zip(position).fold(0, |at, (&d, &p)| at * d + p)
}

#[test]
fn packed_bits_start_with_the_least_significant() {
    let packed = tensor_of(vec![0b0110_1100u8, 0b0000_0011], &[2]);
    let out = unpacked("indices", &packed, 2, &[5]).unwrap();
    assert_eq!(out.to_vec1::<u8>().unwrap(), [0, 3, 2, 1, 3]);
    // Six bits, across bytes: 1, 2, 3, 63.
    let packed = tensor_of(vec![0b1000_0001u8, 0b0011_0000, 0b1111_1100], &[3]);
    let out = unpacked("indices", &packed, 6, &[2, 2]).unwrap();
    assert_eq!(out.to_vec2::<u8>().unwrap(), [[1, 2], [3, 63]]);
    assert!(unpacked("indices", &packed, 6, &[5]).is_err());
    assert!(unpacked("indices", &packed, 8, &[2]).is_err());
    assert!(unpacked("indices", &packed, 6, &[usize::MAX, 2]).is_err());
}

proptest! {
    #[test]
    fn unpacking_undoes_packing(bits in 1usize..9, values in proptest::collection::vec(any::<u8>(), 0..40)) {
        let values: Vec<u8> = values.into_iter().map(|v| (u16::from(v) & ((1 << bits) - 1)) as u8).collect();
        let mut bytes = vec![0u8; (values.len() * bits).div_ceil(8)];
        for (i, v) in values.iter().enumerate() {
            for b in 0..bits {
                let to = i * bits + b;
                bytes[to / 8] |= (v >> b & 1) << (to % 8);
            }
        }
        let n = bytes.len();
        let out = unpacked("x", &tensor_of(bytes, &[n]), bits, &[values.len()]).unwrap();
        prop_assert_eq!(out.to_vec1::<u8>().unwrap(), values);
    }

    #[test]
    fn blocks_have_their_own_scale_and_offset(
        shape in proptest::collection::vec((1usize..4, 1usize..4), 1..4),
        with_offset in any::<bool>(),
    ) {
        let (blocks, sizes): (Vec<usize>, Vec<usize>) = shape.into_iter().unzip();
        let dims: Vec<usize> = blocks.iter().zip(&sizes).map(|(b, s)| b * s).collect();
        let data: Vec<f32> = (0..dims.iter().product()).map(|i: usize| (i * 5 % 17) as f32).collect();
        let count: usize = blocks.iter().product();
        let scales: Vec<f32> = (0..count).map(|i| 0.5 + i as f32).collect();
        let offsets: Vec<f32> = (0..count).map(|i| (i % 3) as f32).collect();
        let offset = tensor_of(offsets.clone(), &blocks);
        let out = shifted_and_scaled(
            &tensor_of(data.clone(), &dims),
            &tensor_of(scales.clone(), &blocks),
            with_offset.then_some(&offset),
        ).unwrap();
        for (n, got) in flat(&out).into_iter().enumerate() {
            let block: Vec<usize> = index(&dims, n).iter().zip(&sizes).map(|(i, s)| i / s).collect();
            let b = at(&blocks, &block);
            let shift = if with_offset { offsets[b] } else { 0.0 };
            prop_assert_eq!(got, scales[b] * (data[n] - shift));
        }
    }

    #[test]
    fn tables_by_block_and_vector(
        shape in proptest::collection::vec((1usize..3, 1usize..4), 1..4),
        vector in 1usize..4,
        axis in 0usize..3,
    ) {
        let (blocks, sizes): (Vec<usize>, Vec<usize>) = shape.into_iter().unzip();
        let dims: Vec<usize> = blocks.iter().zip(&sizes).map(|(b, s)| b * s).collect();
        let axis = axis % dims.len();
        let entries = 4;
        let lut_dims = [&blocks[..], &[entries, vector]].concat();
        let table: Vec<i32> = (0..lut_dims.iter().product::<usize>() as i32).collect();
        let named: Vec<u8> = (0..dims.iter().product()).map(|i: usize| (i * 7 % entries) as u8).collect();
        let out = looked_up(
            &tensor_of(named.clone(), &dims),
            &tensor_of(table, &lut_dims),
            Some(axis as i64),
        ).unwrap();
        let mut out_dims = dims.clone();
        out_dims[axis] *= vector;
        prop_assert_eq!(out.dims(), &out_dims[..]);
        let got = out.flatten_all().unwrap().to_vec1::<i32>().unwrap();
        for (n, got) in got.into_iter().enumerate() {
            let mut position = index(&out_dims, n);
            let element = position[axis] % vector;
            position[axis] /= vector;
            let mut place: Vec<usize> = position.iter().zip(&sizes).map(|(p, s)| p / s).collect();
            place.extend([named[at(&dims, &position)] as usize, element]);
            prop_assert_eq!(got, at(&lut_dims, &place) as i32);
        }
    }
}

#[test]
fn examples_of_the_documentation() {
    // Per-group scalar palettization.
    let indices = tensor_of(vec![2u8, 3, 3, 0, 1, 0, 3, 0, 2, 1, 0, 3], &[6, 2]);
    let lut = tensor_of(vec![1f32, 5.0, 9.0, 13.0, 2.0, 10.0, 18.0, 26.0], &[2, 1, 4, 1]);
    let out = looked_up(&indices, &lut, None).unwrap();
    assert_eq!(flat(&out), [9.0, 13.0, 13.0, 1.0, 5.0, 1.0, 26.0, 2.0, 18.0, 10.0, 2.0, 26.0]);
    // Sparse vector palettization.
    let mask: Vec<u8> = [1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0, 1, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0].into();
    let bits: Vec<bool> = mask.iter().map(|&b| b != 0).collect();
    let nonzero = tensor_of(vec![0u8, 1, 1, 0, 1, 1, 0, 0, 1], &[9]);
    let dense = spread("nonzero_data", &nonzero, &bits, &[4, 6]).unwrap();
    let lut = tensor_of(vec![2f32, 2.0, 3.0, 3.0], &[1, 1, 2, 2]);
    let out = looked_up(&dense, &lut, Some(0)).unwrap();
    assert_eq!(out.dims(), [8, 6]);
    let rows = out.to_vec2::<f32>().unwrap();
    assert_eq!(rows[0], rows[1]);
    assert_eq!(rows[0][..2], [2.0, 3.0]);
    assert_eq!(rows[3][..2], [3.0, 2.0]);
    let scalar = looked_up(&dense, &tensor_of(vec![2f32, 3.0], &[1, 1, 2, 1]), None).unwrap();
    assert_eq!(flat(&kept(&scalar, &bits).unwrap()), [2.0, 3.0, 3.0, 2.0, 3.0, 3.0, 2.0, 2.0, 3.0]);
    // Channels with scale and zero point.
    let data = tensor_of(vec![10f32, 11.0, 3.0, 4.0], &[2, 2]);
    let scale = along_axis("scale", &tensor_of(vec![0.1f32, 0.2], &[2]), &[2, 2], 1).unwrap();
    let zero = along_axis("zero_point", &tensor_of(vec![1f32], &[]), &[2, 2], 1).unwrap();
    let out = shifted_and_scaled(&data, &scale, Some(&zero)).unwrap();
    assert_eq!(flat(&out), [0.1 * 9.0, 0.2 * 10.0, 0.1 * 2.0, 0.2 * 3.0]);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let data = tensor_of(vec![0f32; 6], &[2, 3]);
    let scale = |dims: &[usize]| tensor_of(vec![1f32; dims.iter().product()], dims);
    assert!(shifted_and_scaled(&data, &scale(&[2, 2]), None).is_err());
    assert!(shifted_and_scaled(&data, &scale(&[2]), None).is_err());
    assert!(shifted_and_scaled(&data, &scale(&[0, 1]), None).is_err());
    assert!(shifted_and_scaled(&data, &scale(&[1, 1]), Some(&scale(&[1]))).is_err());
    assert!(shifted_and_scaled(&data, &scale(&[1, 1]), Some(&scale(&[2, 2]))).is_err());
    assert!(along_axis("scale", &scale(&[2]), &[2, 3], 1).is_err());
    assert!(along_axis("scale", &scale(&[1, 3]), &[2, 3], 1).is_err());
    let indices = tensor_of(vec![0u8, 1, 2], &[3]);
    assert!(looked_up(&indices, &scale(&[1, 2, 1]), None).is_err());
    assert!(looked_up(&indices, &scale(&[1, 4, 2]), None).is_err());
    assert!(looked_up(&indices, &scale(&[1, 4, 2]), Some(1)).is_err());
    assert!(looked_up(&indices, &scale(&[2, 4, 1]), None).is_err());
    assert!(looked_up(&indices, &scale(&[4]), None).is_err());
    let bits = [true, false, true];
    assert!(spread("x", &indices, &bits, &[3]).is_err());
    assert!(spread("x", &indices.narrow(0, 0, 2).unwrap(), &bits, &[4]).is_err());
}
