use super::header::MAGIC;
use super::*;
use crate::array::Data;
use half::f16;

fn file(dict: &str, data: &[u8]) -> Vec<u8> {
    let mut b = MAGIC.to_vec();
    b.extend([1, 0]);
    b.extend((dict.len() as u16).to_le_bytes());
    b.extend(dict.as_bytes());
    b.extend(data);
    b
}

fn error(dict: &str, data: &[u8]) -> String {
    read(&file(dict, data)[..], MAX_BYTES)
        .unwrap_err()
        .to_string()
}

#[test]
fn every_dtype_survives_a_round_trip() {
    let all = [
        Data::Bool(vec![true, false, true]),
        Data::Int8(vec![-128, 0, 127]),
        Data::Int16(vec![i16::MIN, 0, i16::MAX]),
        Data::Int32(vec![i32::MIN, 0, i32::MAX]),
        Data::Int64(vec![i64::MIN, 0, i64::MAX]),
        Data::Uint8(vec![0, 1, 255]),
        Data::Uint16(vec![0, 1, u16::MAX]),
        Data::Uint32(vec![0, 1, u32::MAX]),
        Data::Uint64(vec![0, 1, u64::MAX]),
        Data::Float16(vec![f16::MIN, f16::ZERO, f16::INFINITY]),
        Data::Float32(vec![f32::MIN, -0.0, f32::NEG_INFINITY]),
        Data::Float64(vec![f64::MIN, 1e-300, f64::INFINITY]),
    ];
    for data in all {
        for shape in [vec![3], vec![1, 3], vec![3, 1, 1]] {
            let a = Array::new(shape, data.clone()).unwrap();
            let mut bytes = Vec::new();
            write(&a, &mut bytes).unwrap();
            assert_eq!(bytes.len() % 64, (3 * a.dtype().size()) % 64);
            assert_eq!(read(&bytes[..], MAX_BYTES).unwrap(), a);
        }
    }
}

#[test]
fn scalars_and_empty_arrays() {
    for (shape, data) in [(vec![], vec![2.5f32]), (vec![2, 0, 3], vec![])] {
        let a = Array::new(shape, data.into()).unwrap();
        let mut bytes = Vec::new();
        write(&a, &mut bytes).unwrap();
        assert_eq!(read(&bytes[..], MAX_BYTES).unwrap(), a);
    }
}

#[test]
fn header_bytes_are_those_of_numpy_save() {
    let a = Array::new(vec![2], vec![1.0f32, 2.0].into()).unwrap();
    let mut bytes = Vec::new();
    write(&a, &mut bytes).unwrap();
    let head = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
    assert_eq!(&bytes[..head.len()], head);
    assert_eq!(bytes[127], b'\n');
    assert_eq!(bytes.len(), 128 + 8);
}

#[test]
fn big_endian_and_column_major_are_understood() {
    let big = file(
        "{'descr': '>i2', 'fortran_order': False, 'shape': (2,), }",
        &[1, 0, 0, 2],
    );
    assert_eq!(
        read(&big[..], MAX_BYTES).unwrap().data(),
        &Data::Int16(vec![0x100, 2])
    );
    // numpy.asfortranarray([[0,1,2],[3,4,5]]) stores 0,3,1,4,2,5.
    let column = file(
        "{'descr':'|u1','fortran_order':True,'shape':(2,3)}\n",
        &[0, 3, 1, 4, 2, 5],
    );
    let a = read(&column[..], MAX_BYTES).unwrap();
    assert_eq!(a.shape(), [2, 3]);
    assert_eq!(a.data(), &Data::Uint8(vec![0, 1, 2, 3, 4, 5]));
}

#[test]
fn versions_two_and_three_have_a_longer_length() {
    let dict = "{'shape': (1,), 'descr': \"|u1\", 'fortran_order': False}";
    for version in [2, 3] {
        let mut b = MAGIC.to_vec();
        b.extend([version, 0]);
        b.extend((dict.len() as u32).to_le_bytes());
        b.extend(dict.as_bytes());
        b.push(7);
        assert_eq!(
            read(&b[..], MAX_BYTES).unwrap().data(),
            &Data::Uint8(vec![7])
        );
    }
    let mut b = MAGIC.to_vec();
    b.extend([9, 1]);
    assert!(
        read(&b[..], MAX_BYTES)
            .unwrap_err()
            .to_string()
            .contains("9.1")
    );
}

#[test]
fn what_is_wrong_is_said() {
    let f4 = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
    assert!(error(f4, &[0; 7]).contains("8 bytes of data announced, 7 found"));
    assert!(error(f4, &[0; 9]).contains("after its last element"));
    let of = |d: &str| format!("{{'descr': {d}, 'fortran_order': False, 'shape': (1,)}}");
    assert!(error(&of("'|O'"), &[]).contains("pickled"));
    assert!(error(&of("'<U4'"), &[]).contains("text"));
    assert!(error(&of("'<c8'"), &[]).contains("complex"));
    assert!(error(&of("'|V2'"), &[]).contains("bfloat16"));
    assert!(error(&of("[('a', '<f4')]"), &[]).contains("named fields"));
    assert!(error("{'descr': '<f4', 'shape': (1,)}", &[]).contains("fortran_order is missing"));
    assert!(error("", &[]).contains("expected '{'"));
    assert!(error("{'descr': '<f4", &[]).contains("does not end"));
    assert!(error("{'shape': (-1,)}", &[]).contains("extent"));
    assert!(error("{'shape': (1,), 'shape': (1,)}", &[]).contains("twice"));
    assert!(error("{'x': 1}", &[]).contains("a key other than"));
    assert!(
        read(&b"PK\x03\x04"[..], MAX_BYTES)
            .unwrap_err()
            .to_string()
            .contains("NUMPY")
    );
    assert!(
        read(&b""[..], MAX_BYTES)
            .unwrap_err()
            .to_string()
            .contains("NUMPY")
    );
}

#[test]
fn sizes_that_overflow_allocate_nothing() {
    let of = |s: &str| format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {s}}}");
    assert!(error(&of("(18446744073709551615, 2)"), &[]).contains("too large"));
    assert!(error(&of("(1152921504606846976,)"), &[]).contains("too large"));
    assert!(error(&of("(99999999999999999999999,)"), &[]).contains("overflows"));
    assert!(error(&of(&format!("({})", "1,".repeat(33))), &[]).contains("32 axes"));
    // A gigabyte announced, nothing there: an error, not an allocation.
    assert!(error(&of("(134217728,)"), &[]).contains("0 found"));
    let mut b = MAGIC.to_vec();
    b.extend([2, 0]);
    b.extend(u32::MAX.to_le_bytes());
    assert!(
        read(&b[..], MAX_BYTES)
            .unwrap_err()
            .to_string()
            .contains("header of")
    );
}

#[test]
fn a_cut_at_any_byte_is_an_error() {
    let a = Array::new(vec![2, 2], vec![1i32, 2, 3, 4].into()).unwrap();
    let mut bytes = Vec::new();
    write(&a, &mut bytes).unwrap();
    for end in 0..bytes.len() {
        assert!(read(&bytes[..end], MAX_BYTES).is_err(), "cut at {end}");
    }
}
