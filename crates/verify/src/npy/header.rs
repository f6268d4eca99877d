//! The header: what precedes the elements.

use std::io::Read;

use super::NpyError;
use crate::array::{DType, MAX_RANK};

pub(super) const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Longest header accepted. NumPy itself refuses more than 10,000 bytes.
const MAX_HEADER: usize = 10_000;

/// What a header says.
pub(crate) struct Header {
    pub(crate) dtype: DType,
    pub(crate) big_endian: bool,
    /// Whether the first axis varies fastest.
    pub(crate) fortran: bool,
    pub(crate) shape: Vec<usize>,
}

/// The header of an array, padded so that the elements start at a multiple of
/// 64 bytes.
pub(crate) fn bytes(dtype: DType, shape: &[usize]) -> std::io::Result<Vec<u8>> {
    let dims: Vec<String> = shape.iter().map(usize::to_string).collect();
    let shape = match dims.as_slice() {
        [one] => format!("({one},)"),
        _ => format!("({})", dims.join(", ")),
    };
    let mut dict = format!(
        "{{'descr': '{}', 'fortran_order': False, 'shape': {shape}, }}",
        descr(dtype)
    );
    // Magic, version and length take 10 bytes, the newline one.
    let padded = (10 + dict.len() + 1).next_multiple_of(64) - 10;
    while dict.len() + 1 < padded {
        dict.push(' ');
    }
    dict.push('\n');
    let length = u16::try_from(dict.len())
        .map_err(|_| std::io::Error::other("an array of too many axes for the .npy format"))?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    bytes.extend(length.to_le_bytes());
    bytes.extend(dict.as_bytes());
    Ok(bytes)
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

impl Header {
    /// Reads magic, version and dict.
    pub(crate) fn read(stream: &mut impl Read) -> Result<Header, NpyError> {
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
