use super::*;
use crate::npz as whole;

fn source(bytes: &[u8]) -> Source {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Source::temporary(file, Path::new("test")).unwrap()
}

fn bytes_of(tensor: &FileTensor) -> Vec<u8> {
    let mut out = Vec::new();
    tensor.data.copy(0, tensor.data.len(), &mut out).unwrap();
    out
}

/// Every type, a scalar, an empty tensor; packed ones as in a weight file.
fn samples() -> Vec<(NewTensor, Vec<u8>)> {
    let of = |name: &str, dtype, shape: &[u64]| NewTensor {
        name: name.to_owned(),
        dtype,
        shape: shape.to_vec(),
    };
    let mut all = Vec::new();
    for dtype in DataType::ALL {
        if dtype == DataType::String {
            continue;
        }
        let name = format!("of/{}", dtype.name());
        let size = dtype.byte_len(15).unwrap() as usize;
        // Truth values are 0 and 1; bits behind the last element are 0.
        let limit = if dtype == DataType::Bool { 2 } else { 120 };
        let mut bytes: Vec<u8> = (0..size).map(|i| (i * 37 % limit) as u8).collect();
        let unused = size as u64 * 8 - 15 * dtype.bits().unwrap();
        if let Some(last) = bytes.last_mut() {
            *last &= 0xff >> unused;
        }
        all.push((of(&name, dtype, &[3, 5]), bytes));
    }
    all.push((of("scalar", DataType::Float32, &[]), vec![0, 0, 128, 63]));
    all.push((of("empty", DataType::Float16, &[0, 4]), Vec::new()));
    all
}

fn save(path: &Path, samples: &[(NewTensor, Vec<u8>)]) {
    let tensors: Vec<NewTensor> = samples.iter().map(|(t, _)| t.clone()).collect();
    write::<Error>(path, false, &tensors, |i| {
        Ok(Contents::Range(source(&samples[i].1)))
    })
    .unwrap();
}

#[test]
fn what_is_written_is_read_and_bytes_repeat() {
    let dir = tempfile::tempdir().unwrap();
    let samples = samples();
    let mut checked = 0;
    for extension in ["npz", "safetensors"] {
        let path = dir.path().join(format!("a.{extension}"));
        save(&path, &samples);
        let again = dir.path().join(format!("b.{extension}"));
        save(&again, &samples);
        assert_eq!(
            std::fs::read(&path).unwrap(),
            std::fs::read(&again).unwrap()
        );
        let form = Form::of(&path).unwrap();
        let read = read(&path).unwrap();
        assert_eq!(read.len(), samples.len());
        for (wanted, bytes) in &samples {
            let found = read.iter().find(|t| t.name == wanted.name).unwrap();
            assert_eq!(Some(found.dtype), form.holds(wanted.dtype));
            assert_eq!(found.shape, wanted.shape);
            let count = wanted.shape.iter().product();
            let mut back = Vec::new();
            convert_range(&found.data, found.dtype, wanted.dtype, count, &mut back).unwrap();
            assert_eq!(&back, bytes, "{} in {extension}", wanted.name);
            checked += 1;
        }
    }
    println!("{checked} tensors");
}

#[test]
fn numpy_files_of_any_layout_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.npz");
    let npy = |head: &str, data: &[u8]| {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((head.len() as u16).to_le_bytes());
        bytes.extend(head.as_bytes());
        bytes.extend(data);
        bytes
    };
    let big = npy(
        "{'descr': '>i2', 'fortran_order': False, 'shape': (2,)}",
        &[0, 1, 0, 2],
    );
    let columns = npy(
        "{'descr': '<u1', 'fortran_order': True, 'shape': (2, 3), }",
        &[1, 4, 2, 5, 3, 6],
    );
    let plain = npy(
        "{'descr': '<u1', 'fortran_order': False, 'shape': (3,)}",
        &[7, 8, 9],
    );
    for method in [
        zip::CompressionMethod::Stored,
        zip::CompressionMethod::Deflated,
    ] {
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        for (name, bytes) in [("big", &big), ("columns", &columns), ("plain", &plain)] {
            let options = zip::write::SimpleFileOptions::default().compression_method(method);
            zip.start_file(format!("{name}.npy"), options).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
        let tensors = read(&path).unwrap();
        let all: Vec<Vec<u8>> = tensors.iter().map(bytes_of).collect();
        assert_eq!(
            all,
            [vec![1, 0, 2, 0], vec![1, 2, 3, 4, 5, 6], vec![7, 8, 9]]
        );
        assert_eq!(whole::load(&path).unwrap().len(), 3);
    }
}

#[test]
fn damaged_files_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for extension in ["npz", "safetensors"] {
        let path = dir.path().join(format!("a.{extension}"));
        save(&path, &samples()[..3]);
        let good = std::fs::read(&path).unwrap();
        for end in 0..good.len() {
            std::fs::write(&path, &good[..end]).unwrap();
            assert!(read(&path).is_err(), "{extension} cut at {end}");
            checked += 1;
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            std::fs::write(&path, &bad).unwrap();
            let _ = read(&path);
            checked += 1;
        }
    }
    let path = dir.path().join("b.safetensors");
    let said = |header: &str, data: &[u8]| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        std::fs::write(&path, bytes).unwrap();
        read(&path).unwrap_err().to_string()
    };
    let one = |name: &str, dtype: &str, shape: &str, from: u64, to: u64| {
        format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let cases = [
        (
            format!("{{{}}}", one("a", "F32", "[2]", 0, 4)),
            "not F32 of shape [2]",
        ),
        (format!("{{{}}}", one("a", "F99", "[1]", 0, 4)), "F99"),
        (
            format!("{{{}}}", one("a", "U8", "[3]", 1, 4)),
            "begins at byte 1",
        ),
        (
            format!("{{{}}}", one("a", "U8", "[3]", 0, 3)),
            "end at byte 3",
        ),
        (format!("{{{}}}", one("a", "U8", "[9]", 0, 9)), "outside"),
        (
            format!("{{{}}}", one("a", "U8", "[18446744073709551615,2]", 0, 4)),
            "shape",
        ),
        (
            format!(
                "{{{},{}}}",
                one("a", "U8", "[4]", 0, 4),
                one("a", "U8", "[4]", 0, 4)
            ),
            "two tensors",
        ),
        (
            format!(
                "{{{},{}}}",
                one("a", "U8", "[4]", 0, 4),
                one("b", "U8", "[2]", 2, 4)
            ),
            "begins at byte 2",
        ),
        ("[]".to_owned(), "header"),
    ];
    for (header, words) in &cases {
        let text = said(header, &[0; 4]);
        assert!(text.contains(words), "{text}");
        checked += 1;
    }
    let good = format!(
        r#"{{"__metadata__":{{"format":"pt"}},{}}}"#,
        one("a", "U8", "[4]", 0, 4)
    );
    let mut bytes = (good.len() as u64).to_le_bytes().to_vec();
    bytes.extend(good.as_bytes());
    bytes.extend([1, 2, 3, 4]);
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(bytes_of(&read(&path).unwrap()[0]), [1, 2, 3, 4]);
    println!("{checked} damaged files");
}

#[test]
fn what_has_no_place_is_refused_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.npz");
    let tensor = |dtype, shape: &[u64]| NewTensor {
        name: "t".to_owned(),
        dtype,
        shape: shape.to_vec(),
    };
    let text = tensor(DataType::String, &[1]);
    let e = write::<Error>(&path, false, &[text], |_| Ok(Contents::Bytes(Vec::new())));
    assert!(e.unwrap_err().to_string().contains("string"));
    let two = tensor(DataType::Float32, &[2]);
    let e = write::<Error>(&path, false, &[two], |_| Ok(Contents::Bytes(vec![0; 4])));
    assert!(e.unwrap_err().to_string().contains("more or fewer"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    std::fs::write(&path, "mine").unwrap();
    let e = write::<Error>(&path, false, &[], |_| Ok(Contents::Bytes(Vec::new())));
    assert!(e.unwrap_err().to_string().contains("--force"));
    assert!(Form::of(Path::new("a.bin")).is_err());
}
