//! Values that stand for weights which were taken out.

use milwright_ir::elements::convert;
use milwright_ir::{DataType, TensorType};
use milwright_package::{Bytes, Piece, repeated, zeros};
use serde::{Deserialize, Serialize};

use super::catalog::{Storage, Stored};

/// So many elements are made, and then they are repeated: so that a zip of them
/// is small. A prime number, so that the rows of a matrix differ.
const PERIOD: usize = 1021;

/// About how long a piece of repeated elements is, in bytes.
const PIECE: usize = 1 << 16;

/// What weights that are taken out become.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fill {
    /// Zeros.
    #[default]
    Zeros,
    /// Pseudo-random values, the same for the same name and type on every
    /// machine: floats within what keeps the results of a linear layer near 1,
    /// or between 0.5 and 1.5 where a weight scales; integers of all bits.
    Seeded,
}

/// What stands for a weight.
pub(super) struct Stand<'t> {
    pub(super) fill: Fill,
    pub(super) name: &'t str,
    pub(super) ty: &'t TensorType,
    /// It scales something.
    pub(super) scales: bool,
    /// It is a mask with so many ones.
    pub(super) ones: Option<u64>,
}

/// Whether a weight scales something, and its ones if it is a mask, whose
/// number says how long another part is.
pub(super) fn role(stored: &Stored<'_>, bytes: &[u8]) -> (bool, Option<u64>) {
    const SCALES: [&str; 4] = ["scale", "gamma", "variance", "alpha"];
    if let Storage::Part { param, .. } = &stored.storage {
        if param.ends_with("mask") {
            let ones = bytes.iter().map(|byte| u64::from(byte.count_ones())).sum();
            return (false, Some(ones));
        }
        return (param == "scale", None);
    }
    let scales = stored
        .used_by
        .iter()
        .any(|u| SCALES.contains(&u.param.as_str()));
    (scales, None)
}

impl Stand<'_> {
    /// The elements, so many bytes, in pieces that share their memory.
    pub(super) fn pieces(&self, bytes: u64) -> Vec<Piece> {
        if let Some(ones) = self.ones {
            return mask(ones, bytes);
        }
        match self.fill {
            Fill::Zeros => zeros(bytes),
            Fill::Seeded => {
                let block = self.block();
                let mut pieces = repeated(&block, bytes);
                self.clear_unused(&mut pieces, bytes);
                pieces
            }
        }
    }

    /// Elements to be repeated: whole periods.
    fn block(&self) -> Bytes {
        let mut random = SplitMix::of(self.name, self.ty);
        let mut period = Vec::new();
        let dtype = self.ty.dtype;
        if dtype.is_float() {
            let spread = self.spread();
            let mut wide = Vec::with_capacity(PERIOD * 4);
            for _ in 0..PERIOD {
                let unit = (random.next() >> 40) as f64 / f64::from(1u32 << 24);
                let value = match self.scales {
                    true => 0.5 + unit,
                    false => (unit * 2.0 - 1.0) * spread,
                };
                wide.extend((value as f32).to_le_bytes());
            }
            convert(DataType::Float32, dtype, &wide, PERIOD, &mut period);
        } else {
            let width = usize::try_from(dtype.bits().unwrap_or(8).div_ceil(8)).unwrap_or(1);
            period.extend((0..PERIOD * width).map(|_| (random.next() >> 56) as u8));
        }
        let times = (PIECE / period.len().max(1)).max(1);
        period.repeat(times).into()
    }

    /// How far from 0 floats are: the sum of as many products as a row of the
    /// weight has elements stays near 1.
    fn spread(&self) -> f64 {
        let sizes = self.ty.known_shape().unwrap_or_default();
        let row: f64 = match sizes.split_first() {
            Some((_, rest)) if !rest.is_empty() => rest.iter().map(|&d| d as f64).product(),
            _ => 300.0,
        };
        (3.0 / row.max(1.0)).sqrt().min(1.0)
    }

    /// Bits behind the last element are 0.
    fn clear_unused(&self, pieces: &mut [Piece], bytes: u64) {
        let bits = self.ty.elements().zip(self.ty.dtype.bits());
        let used = bits.and_then(|(n, bits)| n.checked_mul(bits));
        let unused = used.map_or(0, |used| (bytes * 8).saturating_sub(used));
        if (1..8).contains(&unused)
            && let Some(Piece::Bytes(last)) = pieces.last_mut()
        {
            let mut changed = last.to_vec();
            if let Some(byte) = changed.last_mut() {
                *byte &= 0xff >> unused;
            }
            *last = changed.into();
        }
    }
}

/// So many ones, then zeros, from the lowest bit of each byte on.
fn mask(ones: u64, bytes: u64) -> Vec<Piece> {
    let full = (ones / 8).min(bytes);
    let block = Bytes::from(vec![0xff; full.min(PIECE as u64) as usize]);
    let mut pieces = repeated(&block, full);
    if full < bytes {
        let rest = (1u16 << (ones % 8)) - 1;
        pieces.push(Piece::Bytes(vec![rest as u8].into()));
        pieces.extend(zeros(bytes - full - 1));
    }
    pieces
}

/// The generator of that name, by Steele, Lea and Flood.
struct SplitMix(u64);

impl SplitMix {
    fn of(name: &str, ty: &TensorType) -> Self {
        let text = format!("{name} {ty}");
        let start: u64 = 0xcbf2_9ce4_8422_2325;
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        Self(text.bytes().fold(start, step))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
