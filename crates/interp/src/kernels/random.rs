//! Random tensors. The numbers depend on the seed, or without one on the name
//! of the operation's output, and on how often the session has executed the
//! operation: every run of a program draws the same ones, each round of a loop
//! others.

use candle_core::{DType, Tensor};

use super::build::{Element, reserve, tensor};
use super::check::{Result, bad, elements, need, size};
use super::float::{Float, with_float};
use super::layout::elements as elements_of;
use crate::call::{Call, Outputs};

/// A stream of random numbers (SplitMix64).
struct Stream(u64);

impl Stream {
    fn of(call: &Call<'_>) -> Result<Self> {
        let seed = call.int("seed")?.unwrap_or(-1);
        // FNV-1a over what tells streams apart.
        let mut state = 0xcbf2_9ce4_8422_2325u64;
        let mut stir = |bytes: &[u8]| {
            for &byte in bytes {
                state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        };
        if seed >= 0 {
            stir(&seed.to_le_bytes());
        } else if let Some(&output) = call.view.op.outputs.first() {
            stir(call.view.program.values[output].name.as_bytes());
        }
        stir(&call.draw.to_le_bytes());
        Ok(Self(state))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// At least 0, less than 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Normally distributed, by the method of Box and Muller.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// A tensor of the wanted shape, each element drawn by `draw`.
fn fill(call: &Call<'_>, draw: impl Fn(&mut Stream) -> f64) -> Outputs {
    let shape = need("shape", call.ints("shape")?)?;
    let dims = shape.into_iter().map(|d| size("shape", d));
    let dims = dims.collect::<Result<Vec<usize>>>()?;
    let count = elements("shape", &dims)?;
    let mut stream = Stream::of(call)?;
    call.one(match call.precision.float() {
        DType::F64 => tensor(drawn::<f64>(count, &mut stream, draw)?, &dims)?,
        _ => tensor(drawn::<f32>(count, &mut stream, draw)?, &dims)?,
    })
}

fn drawn<T: Element>(
    count: usize,
    stream: &mut Stream,
    draw: impl Fn(&mut Stream) -> f64,
) -> Result<Vec<T>> {
    let mut out = reserve(count)?;
    out.extend((0..count).map(|_| T::from_f64(draw(stream))));
    Ok(out)
}

pub(crate) fn random_bernoulli(call: &Call<'_>) -> Outputs {
    let prob = call.float("prob")?.unwrap_or(0.5);
    if !(0.0..=1.0).contains(&prob) {
        return Err(bad("prob", format_args!("{prob} is no probability")));
    }
    fill(call, |stream| f64::from(u8::from(stream.unit() < prob)))
}

pub(crate) fn random_normal(call: &Call<'_>) -> Outputs {
    let mean = call.float("mean")?.unwrap_or(0.0);
    let stddev = call.float("stddev")?.unwrap_or(1.0);
    fill(call, |stream| mean + stddev * stream.normal())
}

pub(crate) fn random_uniform(call: &Call<'_>) -> Outputs {
    let low = call.float("low")?.unwrap_or(0.0);
    let high = call.float("high")?.unwrap_or(1.0);
    fill(call, |stream| low + (high - low) * stream.unit())
}

/// `size` draws from each row of `x`, as indices.
pub(crate) fn random_categorical(call: &Call<'_>) -> Outputs {
    let mode = call.string("mode")?.unwrap_or("logits".into());
    let logits = match &*mode {
        "logits" => true,
        "probs" => false,
        other => return Err(bad("mode", format_args!("{other:?}, expected logits or probs"))),
    };
    let draws = size("size", call.int("size")?.unwrap_or(1))?;
    let x = call.tensor("x")?.data;
    let mut stream = Stream::of(call)?;
    call.one(with_float!("x", x, T => categorical::<T>(&x, logits, draws, &mut stream))?)
}

fn categorical<T: Float>(
    x: &Tensor,
    logits: bool,
    draws: usize,
    stream: &mut Stream,
) -> Result<Tensor> {
    let Some((&classes, lead)) = x.dims().split_last() else {
        return Err(bad("x", "is a scalar"));
    };
    if classes == 0 {
        return Err(bad("x", "has no classes"));
    }
    let dims = [lead, &[draws]].concat();
    let data = elements_of::<T>(x)?;
    let mut out = reserve(elements("size", &dims)?)?;
    for row in data.chunks_exact(classes) {
        let largest = row.iter().fold(f64::NEG_INFINITY, |m, v| m.max(v.to_f64()));
        let mut total = 0.0;
        let sums: Vec<f64> = row
            .iter()
            .map(|v| {
                total += match logits {
                    true => (v.to_f64() - largest).exp(),
                    false => v.to_f64(),
                };
                total
            })
            .collect();
        if !(total > 0.0 && total.is_finite()) {
            return Err(bad("x", "has a row that is no distribution"));
        }
        out.extend((0..draws).map(|_| {
            let at = stream.unit() * total;
            let class = sums.partition_point(|&sum| sum <= at).min(classes - 1);
            T::from_f64(class as f64)
        }));
    }
    tensor(out, &dims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    const COUNT: usize = 200_000;

    fn moments(draw: impl Fn(&mut Stream) -> f64) -> [f64; 4] {
        let drawn = drawn::<f64>(COUNT, &mut Stream(42), draw).unwrap();
        let mean = drawn.iter().sum::<f64>() / COUNT as f64;
        let variance = drawn.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / COUNT as f64;
        let least = drawn.iter().copied().fold(f64::INFINITY, f64::min);
        let most = drawn.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        [mean, variance, least, most]
    }

    #[test]
    fn distributions_have_their_moments() {
        // Five standard errors of a mean of 200,000 numbers.
        let near = |a: f64, b: f64, deviation: f64| {
            let allowed = 5.0 * deviation / (COUNT as f64).sqrt();
            assert!((a - b).abs() < allowed, "{a} is not {b} +- {allowed}");
        };
        let [mean, variance, least, most] = moments(Stream::unit);
        near(mean, 0.5, 12f64.sqrt().recip());
        near(variance, 1.0 / 12.0, 180f64.sqrt().recip());
        assert!(least >= 0.0 && most < 1.0);
        let [mean, variance, least, most] = moments(Stream::normal);
        near(mean, 0.0, 1.0);
        near(variance, 1.0, 2f64.sqrt());
        assert!((-6.0..-3.5).contains(&least) && (3.5..6.0).contains(&most));
    }

    #[test]
    fn categories_come_by_their_share() {
        let shares = [0.1f32, 0.0, 0.6, 0.3];
        let logits: Vec<f32> = shares.iter().map(|v| v.ln() + 3.0).collect();
        for (row, is_logits) in [(shares.to_vec(), false), (logits, true)] {
            let x = Tensor::from_vec(row, (1, 4), &Device::Cpu).unwrap();
            let y = categorical::<f32>(&x, is_logits, COUNT, &mut Stream(7)).unwrap();
            assert_eq!(y.dims(), [1, COUNT]);
            let drawn: Vec<f32> = y.flatten_all().unwrap().to_vec1().unwrap();
            for (class, &share) in shares.iter().enumerate() {
                let found = drawn.iter().filter(|&&v| v == class as f32).count() as f64;
                let (share, count) = (f64::from(share), COUNT as f64);
                let deviation = (share * (1.0 - share) * count).sqrt();
                assert!((found - share * count).abs() <= 5.0 * deviation, "class {class}: {found}");
            }
        }
        let none = Tensor::new(&[[f32::NEG_INFINITY; 2]], &Device::Cpu).unwrap();
        assert!(categorical::<f32>(&none, true, 1, &mut Stream(7)).is_err());
    }
}
