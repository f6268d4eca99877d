//! The wire format below the generated messages: walking fields against the
//! schema, finding what this build does not know, and saying where a message
//! is damaged.

use bytes::Bytes;

/// How deep messages may nest before a walk gives up.
///
/// Real programs nest blocks a handful deep; each level of blocks takes five
/// levels of messages.
const MAX_DEPTH: usize = 512;

/// One message type of the schema.
#[derive(Debug)]
pub struct MessageSchema {
    /// The name, with the outer message's name before a dot.
    pub name: &'static str,
    /// Its fields, by ascending number.
    pub fields: &'static [FieldSchema],
}

impl MessageSchema {
    /// The field with this number.
    pub fn field(&self, number: u32) -> Option<&'static FieldSchema> {
        let at = self
            .fields
            .binary_search_by_key(&number, |field| field.number)
            .ok()?;
        self.fields.get(at)
    }
}

/// One field of a message.
#[derive(Debug)]
pub struct FieldSchema {
    /// The number on the wire.
    pub number: u32,
    /// The name in the schema.
    pub name: &'static str,
    /// Whether it may occur more than once.
    pub repeated: bool,
    /// What it holds.
    pub kind: FieldKind,
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub enum FieldKind {
    /// An integer, bool or enum.
    Varint,
    /// A 4-byte number.
    Fixed32,
    /// An 8-byte number.
    Fixed64,
    /// UTF-8 text.
    String,
    /// Bytes that nobody looks into.
    Bytes,
    /// A message, decoded with the one around it.
    Message(&'static MessageSchema),
    /// A message that is kept encoded in the one around it.
    Encoded(&'static MessageSchema),
}

/// A generated message with its entry in the schema.
pub trait Described: prost::Message + Default {
    /// The table of its fields.
    const SCHEMA: &'static MessageSchema;
}

#[allow(clippy::all, reason = "generated")]
mod tables {
    use super::{Described, FieldKind, FieldSchema, MessageSchema};
    include!(concat!(env!("OUT_DIR"), "/schema.rs"));
}

/// One field as it stands on the wire.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// Where its key starts.
    pub start: usize,
    /// Where its value starts (after the length, if it has one).
    pub value_start: usize,
    /// Where the next field starts.
    pub end: usize,
    /// Its number.
    pub number: u32,
    /// Its value.
    pub value: FieldValue<'a>,
}

/// A value as it stands on the wire.
#[derive(Debug, Clone, Copy)]
pub enum FieldValue<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire types 3 and 4: the deprecated groups, never part of this format.
    Group,
    /// Wire type 5.
    Fixed32(u32),
}

/// A place where a message is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {fault}")]
pub struct WireError {
    /// The byte, counted from the start of the outermost message walked.
    pub offset: usize,
    /// What is wrong there.
    pub fault: WireFault,
}

/// What is wrong with a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireFault {
    /// The bytes end in a number.
    #[error("the data ends in the middle of a number; the file is cut short")]
    TruncatedNumber,
    /// A number of more than ten bytes.
    #[error("a number is longer than 64 bits")]
    NumberTooLong,
    /// A length that goes past the end.
    #[error("{length} bytes are announced and {left} are left; the file is cut short or damaged")]
    PastEnd {
        /// The announced length.
        length: u64,
        /// What is left.
        left: usize,
    },
    /// A field number of 0, or over the format's limit.
    #[error("field number {number} is not possible")]
    FieldNumber {
        /// The number found.
        number: u64,
    },
    /// A wire type that does not exist.
    #[error("wire type {wire_type} does not exist")]
    WireType {
        /// The type found.
        wire_type: u8,
    },
    /// A group that is not closed, or closed without being open.
    #[error("the end of a group does not match its start")]
    Group,
    /// A known field with another wire type than its own.
    #[error("field {field} of {message} has the wrong wire type")]
    Mismatch {
        /// The message.
        message: &'static str,
        /// The field.
        field: &'static str,
    },
    /// Text that is not UTF-8.
    #[error("field {field} of {message} is not valid UTF-8")]
    Utf8 {
        /// The message.
        message: &'static str,
        /// The field.
        field: &'static str,
    },
    /// Nesting over the limit.
    #[error("messages nest more than {limit} deep")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// The decoder refused what the walk accepts.
    #[error("{reason}")]
    Decoder {
        /// The decoder's words.
        reason: String,
    },
}

/// A field that this build has no name for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownField {
    /// The message it is in.
    pub message: &'static str,
    /// Its number.
    pub number: u32,
    /// Where its key starts, from the start of the bytes walked.
    pub offset: usize,
}

/// `field 9 of Function at byte 12, ...`, at most five of them.
pub(crate) fn list_fields(fields: &[UnknownField]) -> String {
    let mut parts: Vec<String> = fields
        .iter()
        .take(5)
        .map(|field| {
            format!(
                "field {} of {} at byte {}",
                field.number, field.message, field.offset
            )
        })
        .collect();
    if fields.len() > parts.len() {
        parts.push(format!("and {} more", fields.len() - parts.len()));
    }
    parts.join(", ")
}

/// What re-encoding a decoded message would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fidelity {
    /// `encode(decode(bytes)) == bytes`.
    Exact,
    /// Other bytes with the same meaning: no field is lost, but the writer
    /// ordered or packed them differently.
    Equivalent,
    /// These fields would be lost.
    Lossy(Vec<UnknownField>),
}

/// The top-level fields of a message, in file order.
pub struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    base: usize,
}

impl<'a> Fields<'a> {
    /// Walks `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            base: 0,
        }
    }

    fn fail<T>(&self, at: usize, fault: WireFault) -> Result<T, WireError> {
        Err(WireError {
            offset: self.base + at,
            fault,
        })
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let start = self.at;
        let mut value = 0_u64;
        for index in 0..10 {
            let Some(&byte) = self.bytes.get(self.at) else {
                return self.fail(start, WireFault::TruncatedNumber);
            };
            self.at += 1;
            if index == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        self.fail(start, WireFault::NumberTooLong)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], WireError> {
        let left = self.bytes.len() - self.at;
        match usize::try_from(length) {
            Ok(length) if length <= left => {
                let taken = &self.bytes[self.at..self.at + length];
                self.at += length;
                Ok(taken)
            }
            _ => self.fail(self.at, WireFault::PastEnd { length, left }),
        }
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let taken = self.take(N as u64)?;
        let mut out = [0; N];
        out.copy_from_slice(taken);
        Ok(out)
    }

    /// Number and wire type.
    fn key(&mut self) -> Result<(u32, u8), WireError> {
        let start = self.at;
        let key = self.varint()?;
        let number = key >> 3;
        match u32::try_from(number) {
            Ok(small) if small > 0 && small < 1 << 29 => Ok((small, (key & 7) as u8)),
            _ => self.fail(start, WireFault::FieldNumber { number }),
        }
    }

    /// Skips to the end of a group; nested groups are counted, not recursed.
    fn group(&mut self, number: u32) -> Result<(), WireError> {
        let mut open = vec![number];
        while let Some(&innermost) = open.last() {
            let start = self.at;
            let (number, wire_type) = self.key()?;
            match wire_type {
                3 if open.len() >= MAX_DEPTH => {
                    return self.fail(start, WireFault::TooDeep { limit: MAX_DEPTH });
                }
                3 => open.push(number),
                4 if number == innermost => {
                    open.pop();
                }
                4 => return self.fail(start, WireFault::Group),
                _ => {
                    self.value(start, number, wire_type)?;
                }
            }
        }
        Ok(())
    }

    fn value(
        &mut self,
        start: usize,
        number: u32,
        wire_type: u8,
    ) -> Result<FieldValue<'a>, WireError> {
        Ok(match wire_type {
            0 => FieldValue::Varint(self.varint()?),
            1 => FieldValue::Fixed64(u64::from_le_bytes(self.fixed()?)),
            2 => {
                let length = self.varint()?;
                FieldValue::Bytes(self.take(length)?)
            }
            3 => {
                self.group(number)?;
                FieldValue::Group
            }
            4 => return self.fail(start, WireFault::Group),
            5 => FieldValue::Fixed32(u32::from_le_bytes(self.fixed()?)),
            wire_type => return self.fail(start, WireFault::WireType { wire_type }),
        })
    }

    fn field(&mut self) -> Result<Field<'a>, WireError> {
        let start = self.at;
        let (number, wire_type) = self.key()?;
        let value_at = self.at;
        let value = self.value(start, number, wire_type)?;
        let value_start = match value {
            FieldValue::Bytes(bytes) => self.at - bytes.len(),
            _ => value_at,
        };
        Ok(Field {
            start,
            value_start,
            end: self.at,
            number,
            value,
        })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.at = self.bytes.len();
        }
        Some(field)
    }
}

/// One field met on a walk.
#[derive(Debug, Clone, Copy)]
pub struct Visit<'a> {
    /// The message the field is in.
    pub message: &'static MessageSchema,
    /// Its schema; `None` for a field this build does not know.
    pub schema: Option<&'static FieldSchema>,
    /// The field; its offsets are relative to its own message.
    pub field: Field<'a>,
    /// Where its key starts, from the start of the bytes walked.
    pub offset: usize,
}

/// How far a walk goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Only what decoding the message reads: messages kept encoded are bytes.
    Decoded,
    /// Into messages that are kept encoded too (operations, the program).
    Everything,
}

/// Walks a message field by field, depth first, and checks it as a decoder would.
///
/// # Errors
/// The first damaged place.
pub fn walk<'a>(
    schema: &'static MessageSchema,
    bytes: &'a [u8],
    reach: Reach,
    visit: &mut dyn FnMut(&Visit<'a>),
) -> Result<(), WireError> {
    walk_at(schema, bytes, 0, 0, reach, visit)
}

fn walk_at<'a>(
    message: &'static MessageSchema,
    bytes: &'a [u8],
    base: usize,
    depth: usize,
    reach: Reach,
    visit: &mut dyn FnMut(&Visit<'a>),
) -> Result<(), WireError> {
    if depth >= MAX_DEPTH {
        return Err(WireError {
            offset: base,
            fault: WireFault::TooDeep { limit: MAX_DEPTH },
        });
    }
    for field in (Fields { bytes, at: 0, base }) {
        let field = field?;
        let offset = base + field.start;
        let schema = message.field(field.number);
        visit(&Visit {
            message,
            schema,
            field,
            offset,
        });
        let Some(schema) = schema else { continue };
        match (schema.kind, field.value) {
            (FieldKind::Varint, FieldValue::Varint(_))
            | (FieldKind::Fixed32, FieldValue::Fixed32(_))
            | (FieldKind::Fixed64, FieldValue::Fixed64(_))
            | (FieldKind::Bytes, FieldValue::Bytes(_)) => {}
            (FieldKind::String, FieldValue::Bytes(text)) => {
                if std::str::from_utf8(text).is_err() {
                    let fault = WireFault::Utf8 {
                        message: message.name,
                        field: schema.name,
                    };
                    return Err(WireError { offset, fault });
                }
            }
            (FieldKind::Message(inner), FieldValue::Bytes(bytes)) => {
                walk_at(
                    inner,
                    bytes,
                    base + field.value_start,
                    depth + 1,
                    reach,
                    visit,
                )?;
            }
            (FieldKind::Encoded(inner), FieldValue::Bytes(bytes)) => {
                if reach == Reach::Everything {
                    walk_at(
                        inner,
                        bytes,
                        base + field.value_start,
                        depth + 1,
                        reach,
                        visit,
                    )?;
                }
            }
            (kind, FieldValue::Bytes(packed)) if schema.repeated => {
                check_packed(kind, packed, base + field.value_start, message, schema)?;
            }
            _ => {
                let fault = WireFault::Mismatch {
                    message: message.name,
                    field: schema.name,
                };
                return Err(WireError { offset, fault });
            }
        }
    }
    Ok(())
}

fn check_packed(
    kind: FieldKind,
    packed: &[u8],
    base: usize,
    message: &'static MessageSchema,
    schema: &'static FieldSchema,
) -> Result<(), WireError> {
    let whole = match kind {
        FieldKind::Fixed32 => packed.len().is_multiple_of(4),
        FieldKind::Fixed64 => packed.len().is_multiple_of(8),
        _ => {
            let mut numbers = Fields {
                bytes: packed,
                at: 0,
                base,
            };
            while numbers.at < packed.len() {
                numbers.varint()?;
            }
            true
        }
    };
    if whole {
        return Ok(());
    }
    let fault = WireFault::Mismatch {
        message: message.name,
        field: schema.name,
    };
    Err(WireError {
        offset: base,
        fault,
    })
}

/// Decodes a message; when that fails, says at which byte.
///
/// # Errors
/// The first damaged place.
pub fn decode<M: Described>(bytes: Bytes) -> Result<M, WireError> {
    M::decode(bytes.clone()).map_err(|error| {
        match walk(M::SCHEMA, &bytes, Reach::Decoded, &mut |_| {}) {
            Err(located) => located,
            Ok(()) => WireError {
                offset: 0,
                fault: WireFault::Decoder {
                    reason: error.to_string(),
                },
            },
        }
    })
}

/// Every field in `bytes` that decoding as `M` and encoding again would drop.
///
/// Messages that `M` keeps encoded are not looked into: they survive.
///
/// # Errors
/// The first damaged place.
pub fn unknown_fields<M: Described>(bytes: &[u8]) -> Result<Vec<UnknownField>, WireError> {
    let mut unknown = Vec::new();
    walk(M::SCHEMA, bytes, Reach::Decoded, &mut |visit| {
        if visit.schema.is_none() {
            unknown.push(UnknownField {
                message: visit.message.name,
                number: visit.field.number,
                offset: visit.offset,
            });
        }
    })?;
    Ok(unknown)
}

/// What decoding `bytes` as `M` and encoding the result would change.
///
/// # Errors
/// The first damaged place.
pub fn fidelity<M: Described>(bytes: &Bytes) -> Result<Fidelity, WireError> {
    let message = decode::<M>(bytes.clone())?;
    if message.encoded_len() == bytes.len() && message.encode_to_vec() == bytes[..] {
        return Ok(Fidelity::Exact);
    }
    let unknown = unknown_fields::<M>(bytes)?;
    Ok(if unknown.is_empty() {
        Fidelity::Equivalent
    } else {
        Fidelity::Lossy(unknown)
    })
}

/// Whether `bytes` is a whole message from which decoding loses nothing.
pub fn lossless<M: Described>(bytes: &Bytes) -> bool {
    !matches!(fidelity::<M>(bytes), Err(_) | Ok(Fidelity::Lossy(_)))
}

/// Appends `value` as a varint.
pub(crate) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
