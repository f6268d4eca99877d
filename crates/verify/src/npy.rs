//! One `.npy` stream: NumPy's array file format, versions 1.0 to 3.0.
//!
//! The header is a Python dict literal with the keys `descr`, `fortran_order`
//! and `shape`; exactly that much of Python is parsed, with no recursion and
//! no allocation that the bytes present do not pay for.

use std::io::{Read, Write};

use half::f16;

use crate::array::{Array, DType, Data, MAX_RANK, element_count, with_data};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Longest header accepted. NumPy itself refuses more than 10,000 bytes.
const MAX_HEADER: usize = 10_000;
/// Most bytes that the arrays of one file may have together: a guard against
/// files that inflate.
pub const MAX_BYTES: usize = 8 << 30;

/// Why a stream is not an array that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NpyError {
    /// The operating system or the decompressor failed.
    #[error("cannot read it: {0}")]
    Read(#[from] std::io::Error),
    /// The first bytes are not NumPy's.
    #[error("it is not a NumPy array: it does not start with \\x93NUMPY")]
    Magic,
    /// A format version that does not exist yet.
    #[error("its format version {0}.{1} is not known; versions 1.0, 2.0 and 3.0 are")]
    Version(u8, u8),
    /// The stream ends inside the header or the data.
    #[error("it is cut short: {wanted} bytes of {what} announced, {found} found")]
    Truncated {
        /// The part that is incomplete.
        what: &'static str,
        /// Bytes announced.
        wanted: usize,
        /// Bytes present.
        found: usize,
    },
    /// Bytes after the last element.
    #[error("there are bytes after its last element")]
    Trailing,
    /// The header is not the dict that the format asks for.
    #[error("its header is malformed at byte {at}: {problem}")]
    Header {
        /// Byte within the dict literal.
        at: usize,
        /// What was expected there.
        problem: &'static str,
    },
    /// An element type that no feature of a model has.
    #[error(
        "its element type {0} is not supported; use bool, int8 to int64, uint8 to uint64, float16, float32 or float64"
    )]
    ElementType(String),
    /// Too many elements, axes or header bytes.
    #[error("it is too large: {0}")]
    TooLarge(String),
}

struct Header {
    dtype: DType,
    big_endian: bool,
    fortran: bool,
    shape: Vec<usize>,
}

/// Reads one array of at most `limit` bytes and requires that the stream ends
/// with it.
pub fn read(mut stream: impl Read, limit: usize) -> Result<Array, NpyError> {
    let header = read_header(&mut stream)?;
    let too_large = || {
        NpyError::TooLarge(format!(
            "shape {:?} of {} does not fit into {limit} bytes",
            header.shape, header.dtype
        ))
    };
    let count = element_count(&header.shape).ok_or_else(too_large)?;
    let wanted = count
        .checked_mul(header.dtype.size())
        .filter(|&n| n <= limit)
        .ok_or_else(too_large)?;
    let mut bytes = Vec::new();
    // One byte more than announced, to notice what follows the array.
    stream.take(wanted as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() < wanted {
        return Err(NpyError::Truncated {
            what: "data",
            wanted,
            found: bytes.len(),
        });
    }
    if bytes.len() > wanted {
        return Err(NpyError::Trailing);
    }
    let mut data = decode(&bytes, header.dtype, header.big_endian);
    if header.fortran && header.shape.len() > 1 {
        data = with_data!(data, v => to_row_major(&v, &header.shape).into());
    }
    Array::new(header.shape, data).ok_or(NpyError::Header {
        at: 0,
        problem: "the shape does not fit the data",
    })
}

/// Writes one array: format version 1.0, row-major, little-endian, the bytes
/// that `numpy.save` writes.
pub fn write(array: &Array, mut stream: impl Write) -> std::io::Result<()> {
    let dims: Vec<String> = array.shape().iter().map(usize::to_string).collect();
    let shape = match dims.as_slice() {
        [one] => format!("({one},)"),
        _ => format!("({})", dims.join(", ")),
    };
    let mut dict = format!(
        "{{'descr': '{}', 'fortran_order': False, 'shape': {shape}, }}",
        descr(array.dtype())
    );
    // Magic, version and length take 10 bytes; the data starts at a multiple
    // of 64, after a newline.
    let padded = (10 + dict.len() + 1).next_multiple_of(64) - 10;
    while dict.len() + 1 < padded {
        dict.push(' ');
    }
    dict.push('\n');
    let length = u16::try_from(dict.len())
        .map_err(|_| std::io::Error::other("an array of too many axes for the .npy format"))?;
    stream.write_all(MAGIC)?;
    stream.write_all(&[1, 0])?;
    stream.write_all(&length.to_le_bytes())?;
    stream.write_all(dict.as_bytes())?;
    stream.write_all(&encode(array.data()))
}

fn descr(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "|b1",
        DType::Int8 => "|i1",
        DType::Int16 => "<i2",
        DType::Int32 => "<i4",
        DType::Int64 => "<i8",
        DType::Uint8 => "|u1",
        DType::Uint16 => "<u2",
        DType::Uint32 => "<u4",
        DType::Uint64 => "<u8",
        DType::Float16 => "<f2",
        DType::Float32 => "<f4",
        DType::Float64 => "<f8",
    }
}

fn read_header(stream: &mut impl Read) -> Result<Header, NpyError> {
    let mut start = [0u8; 8];
    let found = read_up_to(stream, &mut start)?;
    if found < MAGIC.len() || &start[..6] != MAGIC {
        return Err(NpyError::Magic);
    }
    if found < 8 {
        return Err(cut("format version", 8, found));
    }
    let length = match (start[6], start[7]) {
        (1, 0) => {
            let mut b = [0u8; 2];
            exact(stream, &mut b, "header length")?;
            usize::from(u16::from_le_bytes(b))
        }
        (2 | 3, 0) => {
            let mut b = [0u8; 4];
            exact(stream, &mut b, "header length")?;
            u32::from_le_bytes(b) as usize
        }
        (major, minor) => return Err(NpyError::Version(major, minor)),
    };
    if length > MAX_HEADER {
        return Err(NpyError::TooLarge(format!(
            "a header of {length} bytes, the limit is {MAX_HEADER}"
        )));
    }
    let mut dict = vec![0u8; length];
    exact(stream, &mut dict, "header")?;
    Literal { text: &dict, at: 0 }.header()
}

fn cut(what: &'static str, wanted: usize, found: usize) -> NpyError {
    NpyError::Truncated {
        what,
        wanted,
        found,
    }
}

fn exact(stream: &mut impl Read, into: &mut [u8], what: &'static str) -> Result<(), NpyError> {
    let wanted = into.len();
    let found = read_up_to(stream, into)?;
    if found == wanted {
        Ok(())
    } else {
        Err(cut(what, wanted, found))
    }
}

fn read_up_to(stream: &mut impl Read, mut into: &mut [u8]) -> std::io::Result<usize> {
    let mut found = 0;
    while !into.is_empty() {
        match stream.read(into) {
            Ok(0) => break,
            Ok(n) => {
                found += n;
                into = &mut into[n..];
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(found)
}

/// A cursor over the dict literal of a header.
struct Literal<'a> {
    text: &'a [u8],
    at: usize,
}

impl Literal<'_> {
    fn header(mut self) -> Result<Header, NpyError> {
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        self.expect(b'{', "expected '{'")?;
        while !self.take(b'}') {
            let at = self.at;
            let key = self.string("expected a quoted key or '}'")?;
            self.expect(b':', "expected ':'")?;
            let new = match key.as_str() {
                "descr" => descr.replace(self.descr()?).is_none(),
                "fortran_order" => fortran.replace(self.boolean()?).is_none(),
                "shape" => shape.replace(self.shape()?).is_none(),
                _ => return Err(fail(at, "a key other than descr, fortran_order, shape")),
            };
            if !new {
                return Err(fail(at, "a key is there twice"));
            }
            if !self.take(b',') {
                self.expect(b'}', "expected ',' or '}'")?;
                break;
            }
        }
        self.blank();
        if self.at != self.text.len() {
            return Err(fail(self.at, "something follows the dict"));
        }
        match (descr, fortran, shape) {
            (Some((dtype, big_endian)), Some(fortran), Some(shape)) => Ok(Header {
                dtype,
                big_endian,
                fortran,
                shape,
            }),
            (None, ..) => Err(fail(self.at, "the key descr is missing")),
            (_, None, _) => Err(fail(self.at, "the key fortran_order is missing")),
            (.., None) => Err(fail(self.at, "the key shape is missing")),
        }
    }

    fn blank(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        self.blank();
        let found = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8, problem: &'static str) -> Result<(), NpyError> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(fail(self.at, problem))
        }
    }

    fn string(&mut self, problem: &'static str) -> Result<String, NpyError> {
        self.blank();
        let quote = match self.text.get(self.at) {
            Some(&q @ (b'\'' | b'"')) => q,
            _ => return Err(fail(self.at, problem)),
        };
        let rest = &self.text[self.at + 1..];
        let end = rest
            .iter()
            .position(|&b| b == quote)
            .ok_or_else(|| fail(self.at, "a string does not end"))?;
        self.at += end + 2;
        Ok(String::from_utf8_lossy(&rest[..end]).into_owned())
    }

    fn boolean(&mut self) -> Result<bool, NpyError> {
        self.blank();
        let rest = &self.text[self.at..];
        for (word, value) in [(&b"True"[..], true), (&b"False"[..], false)] {
            if rest.starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(fail(self.at, "expected True or False"))
    }

    fn shape(&mut self) -> Result<Vec<usize>, NpyError> {
        self.expect(b'(', "expected '('")?;
        let mut shape = Vec::new();
        while !self.take(b')') {
            if shape.len() == MAX_RANK {
                return Err(NpyError::TooLarge(format!("more than {MAX_RANK} axes")));
            }
            shape.push(self.extent()?);
            if !self.take(b',') {
                self.expect(b')', "expected ',' or ')'")?;
                break;
            }
        }
        Ok(shape)
    }

    fn extent(&mut self) -> Result<usize, NpyError> {
        self.blank();
        let digits = self.text[self.at..]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count();
        let value = std::str::from_utf8(&self.text[self.at..self.at + digits])
            .ok()
            .filter(|t| !t.is_empty())
            .ok_or_else(|| fail(self.at, "expected the extent of an axis"))?
            .parse()
            .map_err(|_| fail(self.at, "the extent of an axis overflows"))?;
        self.at += digits;
        // NumPy on Python 2 wrote `3L`.
        if self.text.get(self.at) == Some(&b'L') {
            self.at += 1;
        }
        Ok(value)
    }

    /// Element type and whether it is big-endian.
    fn descr(&mut self) -> Result<(DType, bool), NpyError> {
        self.blank();
        if matches!(self.text.get(self.at), Some(b'[' | b'(')) {
            return Err(NpyError::ElementType("with named fields".to_owned()));
        }
        let text = self.string("expected a quoted element type")?;
        let (order, code) = match text.as_bytes() {
            [order @ (b'<' | b'>' | b'=' | b'|'), ..] => (*order, &text[1..]),
            _ => (b'=', text.as_str()),
        };
        let dtype = match code {
            "b1" | "?" => DType::Bool,
            "i1" => DType::Int8,
            "i2" => DType::Int16,
            "i4" => DType::Int32,
            "i8" => DType::Int64,
            "u1" => DType::Uint8,
            "u2" => DType::Uint16,
            "u4" => DType::Uint32,
            "u8" => DType::Uint64,
            "f2" => DType::Float16,
            "f4" => DType::Float32,
            "f8" => DType::Float64,
            _ => return Err(NpyError::ElementType(describe(&text))),
        };
        // `=` is the byte order of the machine that wrote the file; nobody
        // writes it, and every machine in use is little-endian.
        Ok((dtype, order == b'>'))
    }
}

fn fail(at: usize, problem: &'static str) -> NpyError {
    NpyError::Header { at, problem }
}

/// A descr with what its letter stands for.
fn describe(descr: &str) -> String {
    let kind = descr
        .trim_start_matches(['<', '>', '=', '|'])
        .chars()
        .next();
    let what = match kind {
        Some('O') => " (pickled Python objects)",
        Some('U' | 'S' | 'a') => " (text)",
        Some('c') => " (complex)",
        Some('V') => " (raw bytes; ml_dtypes writes bfloat16 so: convert it to float32)",
        Some('M' | 'm') => " (dates)",
        _ => "",
    };
    format!("{descr:?}{what}")
}

fn decode(bytes: &[u8], dtype: DType, big_endian: bool) -> Data {
    macro_rules! each {
        ($t:ty) => {
            bytes
                .as_chunks::<{ size_of::<$t>() }>()
                .0
                .iter()
                .map(|&b| {
                    if big_endian {
                        <$t>::from_be_bytes(b)
                    } else {
                        <$t>::from_le_bytes(b)
                    }
                })
                .collect()
        };
    }
    match dtype {
        DType::Bool => Data::Bool(bytes.iter().map(|&b| b != 0).collect()),
        DType::Int8 => Data::Int8(each!(i8)),
        DType::Int16 => Data::Int16(each!(i16)),
        DType::Int32 => Data::Int32(each!(i32)),
        DType::Int64 => Data::Int64(each!(i64)),
        DType::Uint8 => Data::Uint8(each!(u8)),
        DType::Uint16 => Data::Uint16(each!(u16)),
        DType::Uint32 => Data::Uint32(each!(u32)),
        DType::Uint64 => Data::Uint64(each!(u64)),
        DType::Float16 => Data::Float16(each!(f16)),
        DType::Float32 => Data::Float32(each!(f32)),
        DType::Float64 => Data::Float64(each!(f64)),
    }
}

fn encode(data: &Data) -> Vec<u8> {
    macro_rules! each {
        ($v:expr) => {
            $v.iter().flat_map(|x| x.to_le_bytes()).collect()
        };
    }
    match data {
        Data::Bool(v) => v.iter().map(|&b| u8::from(b)).collect(),
        Data::Int8(v) => each!(v),
        Data::Int16(v) => each!(v),
        Data::Int32(v) => each!(v),
        Data::Int64(v) => each!(v),
        Data::Uint8(v) => v.clone(),
        Data::Uint16(v) => each!(v),
        Data::Uint32(v) => each!(v),
        Data::Uint64(v) => each!(v),
        Data::Float16(v) => each!(v),
        Data::Float32(v) => each!(v),
        Data::Float64(v) => each!(v),
    }
}

/// Column-major elements put in row-major order. `v.len()` is the product of
/// `shape`.
fn to_row_major<T: Copy>(v: &[T], shape: &[usize]) -> Vec<T> {
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = 1;
    for &d in shape {
        strides.push(stride);
        stride *= d;
    }
    let mut index = vec![0usize; shape.len()];
    let mut from = 0;
    let mut out = Vec::with_capacity(v.len());
    for _ in 0..v.len() {
        out.push(v[from]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            from += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            from -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    out
}

macro_rules! from_vec {
    ($($t:ty => $variant:ident),*) => {$(
        impl From<Vec<$t>> for Data {
            fn from(v: Vec<$t>) -> Self { Data::$variant(v) }
        }
    )*};
}
from_vec!(
    bool => Bool, i8 => Int8, i16 => Int16, i32 => Int32, i64 => Int64,
    u8 => Uint8, u16 => Uint16, u32 => Uint32, u64 => Uint64,
    f16 => Float16, f32 => Float32, f64 => Float64
);

#[cfg(test)]
mod tests {
    use super::*;

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
        let head =
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
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
}
