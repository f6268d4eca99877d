use super::*;
use candle_core::Device;
use proptest::prelude::*;

fn counting(dims: &[usize]) -> Tensor {
    let n: usize = dims.iter().product();
    Tensor::from_vec((0..n as i32).collect(), dims, &Device::Cpu).unwrap()
}

fn flat(t: &Tensor) -> Vec<i32> {
    t.contiguous().unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn index(values: &[i32], dims: &[usize]) -> Indices {
    let t = Tensor::from_vec(values.to_vec(), dims, &Device::Cpu).unwrap();
    Indices::new(&t, true).unwrap()
}

/// Positions of a shape, in row-major order.
fn positions(dims: &[usize]) -> Vec<Vec<usize>> {
    let mut out = vec![Vec::new()];
    for &d in dims {
        out = out
            .into_iter()
            .flat_map(|p| (0..d).map(move |i| [&p[..], &[i]].concat()))
            .collect();
    }
    out
}

fn at(dims: &[usize], position: &[usize]) -> usize {
    dims.iter().zip(position).fold(0, |at, (&d, &p)| at * d + p)
}

proptest! {
    #[test]
    fn gathers_like_the_definition(
        x_dims in proptest::collection::vec(1usize..4, 1..5),
        own in proptest::collection::vec(0usize..3, 0..3),
        axis in 0usize..4,
        batch in 0usize..3,
        salt in 0i32..100,
    ) {
        let axis = axis % x_dims.len();
        let batch = batch.min(axis);
        let i_dims = [&x_dims[..batch], &own[..]].concat();
        let count: usize = i_dims.iter().product();
        let limit = x_dims[axis] as i32;
        let values: Vec<i32> = (0..count as i32).map(|i| (i * 7 + salt) % (2 * limit) - limit).collect();
        let x = counting(&x_dims);
        let out = gathered(&x, &index(&values, &i_dims), axis as i64, batch as i64).unwrap();
        let out_dims = [&x_dims[..axis], &own[..], &x_dims[axis + 1..]].concat();
        prop_assert_eq!(out.dims(), &out_dims[..]);
        let (all, got) = (flat(&x), flat(&out));
        for (n, p) in positions(&out_dims).iter().enumerate() {
            let (lead, rest) = p.split_at(axis);
            let (mine, tail) = rest.split_at(own.len());
            let v = values[at(&i_dims, &[&lead[..batch], mine].concat())];
            let v = if v < 0 { v + limit } else { v } as usize;
            prop_assert_eq!(got[n], all[at(&x_dims, &[lead, &[v], tail].concat())]);
        }
    }

    #[test]
    fn gathers_and_scatters_along_an_axis(
        dims in proptest::collection::vec(1usize..4, 1..4),
        axis in 0usize..4,
        length in 0usize..5,
        salt in 0i32..100,
    ) {
        let axis = axis % dims.len();
        let mut i_dims = dims.clone();
        i_dims[axis] = length;
        let count: usize = i_dims.iter().product();
        let limit = dims[axis] as i32;
        let values: Vec<i32> = (0..count as i32).map(|i| (i * 5 + salt) % (2 * limit) - limit).collect();
        let x = counting(&dims);
        let indices = index(&values, &i_dims);
        let out = flat(&gathered_along(&x, &indices, axis as i64).unwrap());
        let new = counting(&i_dims);
        let added = flat(&scattered_along(&x, &indices, &new, axis as i64, Mode::Add).unwrap());
        let put = flat(&scattered_along(&x, &indices, &new, axis as i64, Mode::Update).unwrap());
        let (mut sum, mut last) = (flat(&x), flat(&x));
        for (n, p) in positions(&i_dims).iter().enumerate() {
            let mut p = p.clone();
            let v = values[n];
            p[axis] = if v < 0 { v + limit } else { v } as usize;
            let place = at(&dims, &p);
            prop_assert_eq!(out[n], place as i32);
            sum[place] += n as i32;
            last[place] = n as i32;
        }
        prop_assert_eq!(added, sum);
        prop_assert_eq!(put, last);
    }

    #[test]
    fn gathers_and_scatters_by_coordinates(
        dims in proptest::collection::vec(1usize..4, 1..5),
        depth in 0usize..4,
        batch in 0usize..2,
        own in proptest::collection::vec(1usize..3, 0..3),
        salt in 0i32..100,
    ) {
        let batch = batch.min(dims.len());
        let depth = depth.min(dims.len() - batch);
        let places = [&dims[..batch], &own[..]].concat();
        let i_dims = [&places[..], &[depth]].concat();
        let count: usize = i_dims.iter().product();
        let values: Vec<i32> = (0..count)
            .map(|i| (i as i32 * 5 + salt) % dims[batch + i % depth.max(1)] as i32)
            .collect();
        let x = counting(&dims);
        let indices = index(&values, &i_dims);
        let out = gathered_nd(&x, &indices, batch as i64).unwrap();
        let rest = &dims[batch + depth..];
        let out_dims = [&places[..], rest].concat();
        prop_assert_eq!(out.dims(), &out_dims[..]);
        let got = flat(&out);
        let mut sum = flat(&x);
        for (n, p) in positions(&out_dims).iter().enumerate() {
            let (place, tail) = p.split_at(places.len());
            let start = at(&places, place) * depth;
            let coordinates: Vec<usize> = values[start..start + depth].iter().map(|&v| v as usize).collect();
            let from = at(&dims, &[&place[..batch], &coordinates, tail].concat());
            prop_assert_eq!(got[n], from as i32);
            if batch == 0 {
                sum[from] += n as i32;
            }
        }
        if batch == 0 {
            let new = counting(&out_dims);
            let added = scattered_nd(&x, &indices, &new, Mode::Add).unwrap();
            prop_assert_eq!(flat(&added), sum);
        }
    }
}

#[test]
fn scatter_modes() {
    // The example of the documentation, and every mode.
    let data = Tensor::new(&[[1f32, 2.0, 3.0], [4.0, 5.0, 6.0]], &Device::Cpu).unwrap();
    let updates = Tensor::new(&[[5f32, 6.0, 7.0], [8.0, 9.0, 10.0]], &Device::Cpu).unwrap();
    let run = |mode| {
        scattered(&data, &index(&[1, 0], &[2]), &updates, 0, Mode::parse(mode).unwrap())
            .unwrap()
            .to_vec2::<f32>()
            .unwrap()
    };
    assert_eq!(run("add"), [[9.0, 11.0, 13.0], [9.0, 11.0, 13.0]]);
    assert_eq!(run("update"), [[8.0, 9.0, 10.0], [5.0, 6.0, 7.0]]);
    assert_eq!(run("sub"), [[-7.0, -7.0, -7.0], [-1.0, -1.0, -1.0]]);
    assert_eq!(run("mul")[1], [20.0, 30.0, 42.0]);
    assert_eq!(run("div")[0], [1.0 / 8.0, 2.0 / 9.0, 3.0 / 10.0]);
    assert_eq!(run("max")[1], [5.0, 6.0, 7.0]);
    assert_eq!(run("min")[0], [1.0, 2.0, 3.0]);
    assert!(Mode::parse("none").is_err());
    let column = scattered(&data, &index(&[-1], &[1]), &data.narrow(1, 0, 1).unwrap(), 1, Mode::Update);
    assert_eq!(column.unwrap().to_vec2::<f32>().unwrap(), [[1.0, 2.0, 1.0], [4.0, 5.0, 4.0]]);
}

#[test]
fn bad_indices_are_errors() {
    let x = counting(&[2, 3]);
    for bad in [3, -4, i32::MAX, i32::MIN] {
        let indices = index(&[bad], &[1]);
        assert!(gathered(&x, &indices, 1, 0).is_err());
        assert!(scattered(&x, &indices, &counting(&[2, 1]), 1, Mode::Add).is_err());
        assert!(gathered_nd(&x, &indices, 0).is_err());
        assert!(scattered_nd(&x, &indices, &counting(&[3]), Mode::Add).is_err());
        let indices = index(&[bad, 0], &[2, 1]);
        assert!(gathered_along(&x, &indices, 1).is_err());
    }
    let strict = Tensor::new(&[-1i32], &Device::Cpu).unwrap();
    let strict = Indices::new(&strict, false).unwrap();
    assert!(gathered(&x, &strict, 1, 0).is_err());
    let ok = index(&[0], &[1]);
    assert!(gathered(&x, &ok, 2, 0).is_err());
    assert!(gathered(&x, &ok, 1, 1).is_err());
    assert!(gathered(&x, &ok, 1, -1).is_err());
    assert!(gathered_along(&x, &ok, 0).is_err());
    assert!(gathered_nd(&x, &index(&[0], &[]), 0).is_err());
    assert!(gathered_nd(&x, &index(&[0, 0, 0], &[3]), 0).is_err());
    assert!(scattered_nd(&x, &index(&[0, 0, 0], &[3]), &counting(&[]), Mode::Add).is_err());
    assert!(scattered(&x, &ok, &counting(&[2, 2]), 1, Mode::Add).is_err());
    assert!(Indices::new(&Tensor::new(&[0f32], &Device::Cpu).unwrap(), true).is_err());
    let empty = gathered(&x, &index(&[], &[0]), 1, 0).unwrap();
    assert_eq!(empty.dims(), [2, 0]);
}

#[test]
fn large_gathers_are_filled_in_blocks() {
    let x = counting(&[5, 301]);
    let values: Vec<i32> = (0..4000).map(|i| i * 7 % 5).collect();
    let out = gathered(&x, &index(&values, &[4000]), 0, 0).unwrap();
    assert!(out.elem_count() > CHEAP);
    for (row, v) in flat(&out).chunks(301).zip(values) {
        assert_eq!(row[0], v * 301);
        assert_eq!(row[300], v * 301 + 300);
    }
    let values: Vec<i32> = (0..600_000).map(|i| i % 301).collect();
    let out = gathered(&x.narrow(0, 1, 1).unwrap(), &index(&values, &[600_000]), 1, 0).unwrap();
    assert!(flat(&out).iter().zip(values).all(|(&o, v)| o == 301 + v));
}
