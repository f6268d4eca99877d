//! Constants that a text says in brief: `splat`, `seeded` and `hex`. They are
//! no part of Apple's text; with them a text file alone is a whole test model.

use super::elements::Elements;
use super::lex::Kind;
use super::parse::{Parse, Parser, Stop};
use crate::constant::{ConstData, Constant, NoBlobs, TensorData};
use crate::random::Random;
use crate::types::{DataType, TensorType};

impl Parser<'_> {
    /// `splat(x)`: every element is x.
    pub(super) fn splat(&mut self, ty: &TensorType) -> Parse<ConstData> {
        let (mut elements, count) = self.open(ty)?;
        let token = self.token;
        if !matches!(token.kind, Kind::Number | Kind::Word) {
            return Err(self.unexpected(&format!("an element of {}", ty.dtype)));
        }
        self.take();
        for _ in 0..count {
            if let Err(problem) = elements.push(self.spelled(token)) {
                return Err(self.fail("mil-elements", token.range(), problem));
            }
        }
        self.close(ty, elements)
    }

    /// `seeded(n)` or `seeded(n, low, high)`: pseudo-random elements, the same
    /// for the same seed, type and interval on every machine.
    pub(super) fn seeded(&mut self, ty: &TensorType) -> Parse<ConstData> {
        let (mut elements, count) = self.open(ty)?;
        let token = self.token;
        let Ok(seed) = self.spelled(token).parse::<u64>() else {
            return Err(self.unexpected("a seed, a whole number from 0 on"));
        };
        self.take();
        let bounds = if self.is_mark(b',') {
            self.take();
            let low = self.bound()?;
            self.mark(b',', "between the bounds")?;
            Some((low, self.bound()?))
        } else {
            None
        };
        let mut random = Random::new(seed, 0, "");
        if ty.dtype.is_float() {
            let (low, high) = bounds.unwrap_or((-1.0, 1.0));
            if low > high {
                let message = format!("there is nothing from {low} to {high}");
                return Err(self.fail("mil-elements", token.range(), message));
            }
            for _ in 0..count {
                elements.push_float(random.float(low, high));
            }
        } else {
            let (least, most) = elements.int_range();
            let (low, high) = match bounds {
                None => (
                    least.max(-128),
                    if least < 0 {
                        most.min(127)
                    } else {
                        most.min(255)
                    },
                ),
                Some((low, high)) => (low.ceil() as i128, high.floor() as i128),
            };
            if low < least || high > most || low > high {
                let message = format!("{} has no integers from {low} to {high}", ty.dtype);
                return Err(self.fail("mil-elements", token.range(), message));
            }
            for _ in 0..count {
                // Bounds of uint64 beyond int64 are those of int64.
                let high = i64::try_from(high).unwrap_or(i64::MAX);
                let low = i64::try_from(low).unwrap_or(i64::MIN);
                elements.push_int(random.integer(low, high).into());
            }
        }
        self.close(ty, elements)
    }

    fn bound(&mut self) -> Parse<f64> {
        let token = self.token;
        let bound = super::float::read(self.spelled(token)).filter(|x| x.is_finite());
        let Some(bound) = bound else {
            return Err(self.unexpected("a finite number"));
        };
        self.take();
        Ok(bound)
    }

    /// `hex("3c00", "bc00")`: the bytes of the elements, packed as in a weight
    /// file.
    pub(super) fn hex(&mut self, ty: &TensorType) -> Parse<ConstData> {
        let start = self.take().start;
        self.mark(b'(', "before the bytes")?;
        let mut bytes = Vec::new();
        self.list(b')', |p| {
            let token = p.token;
            if token.kind != Kind::Quoted {
                return Err(p.unexpected("a text of hexadecimal digits"));
            }
            p.take();
            let digits = p.spelled(token).as_bytes();
            let digits = &digits[1..digits.len() - 1];
            let read = |pair: &[u8; 2]| {
                let digit = |b: u8| char::from(b).to_digit(16);
                Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8)
            };
            let (pairs, rest) = digits.as_chunks::<2>();
            let read: Option<Vec<u8>> = pairs.iter().map(read).collect();
            match read {
                Some(read) if rest.is_empty() => {
                    bytes.extend(read);
                    Ok(())
                }
                _ => {
                    let message = "bytes are written as two hexadecimal digits each";
                    Err(p.fail("mil-elements", token.range(), message))
                }
            }
        })?;
        self.mark(b')', "after the bytes")?;
        let place = start..self.last_end();
        let wanted = ty.elements().and_then(|n| ty.dtype.byte_len(n));
        // Nothing is known of a type that the schema does not have.
        let unknown = matches!(ty.dtype, DataType::Unknown(_));
        if !unknown && wanted != Some(bytes.len() as u64) {
            let message = match wanted {
                Some(n) => format!("{ty} has {n} bytes, and these are {}", bytes.len()),
                None => format!("{ty} has no fixed size"),
            };
            return Err(self.fail("mil-elements", place, message));
        }
        if unknown {
            return Ok(ConstData::Tensor(TensorData::Bytes(bytes.into())));
        }
        Ok(ConstData::New(bytes.into()))
    }

    /// The beginning of `splat` and `seeded`: what they are to make.
    fn open(&mut self, ty: &TensorType) -> Parse<(Elements, u64)> {
        let token = self.take();
        let call = self.spelled(token);
        self.mark(b'(', "before the argument")?;
        let elements = Elements::new(ty.dtype).filter(|_| ty.dtype != DataType::String);
        let size = ty.elements().and_then(|n| Some((n, ty.dtype.byte_len(n)?)));
        let (Some(elements), Some((count, bytes))) = (elements, size) else {
            let message = format!("{call} needs numbers in a fixed shape, and the type is {ty}");
            return Err(self.fail("mil-elements", token.range(), message));
        };
        // Narrow elements take up to a byte each while they are made, and an
        // empty shape something, too.
        let cost = bytes.max(count).saturating_add(1);
        let Some(rest) = self.budget.checked_sub(cost) else {
            let message = format!(
                "{ty} would take more memory than splat and seeded may fill in one text; put \
                 large weights into a weight file"
            );
            return Err(self.fail("mil-limit", token.range(), message));
        };
        self.budget = rest;
        Ok((elements, count))
    }

    fn close(&mut self, ty: &TensorType, elements: Elements) -> Parse<ConstData> {
        self.mark(b')', "after the argument")?;
        let made = Constant::tensor(ty.clone(), elements.finish());
        match made.bytes(&NoBlobs) {
            Ok(bytes) => Ok(ConstData::New(bytes.into_owned().into())),
            Err(problem) => {
                let place = self.token.range();
                Err::<_, Stop>(self.fail("mil-elements", place, problem.to_string()))
            }
        }
    }
}
