//! Seeded numbers, for inputs and for constants of test models: the same on
//! every machine and in every release.
//!
//! The generator is xoshiro256++ (Blackman and Vigna, public domain), seeded by
//! splitmix64. Every input has its own stream, made from the seed, the step
//! and the input's name, so that adding an input or changing their order does
//! not change the values of the others.

/// A stream of pseudo-random numbers.
#[derive(Debug, Clone)]
pub struct Random([u64; 4]);

impl Random {
    /// The stream of one input in one step.
    pub fn new(seed: u64, step: usize, input: &str) -> Self {
        // FNV-1a, so that the name decides the stream.
        let name = input.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let mut state = splitmix(seed)
            .wrapping_add(splitmix(name))
            .wrapping_add(step as u64);
        Random(std::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mix(state)
        }))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Uniform in `low..high`, from 53 random bits.
    pub fn float(&mut self, low: f64, high: f64) -> f64 {
        let unit = (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64);
        low + unit * (high - low)
    }

    /// Uniform in `low..=high`; `low` when the range is empty.
    pub fn integer(&mut self, low: i64, high: i64) -> i64 {
        let width = (i128::from(high) - i128::from(low) + 1).max(1) as u128;
        let offset = (u128::from(self.bits()) * width) >> 64;
        (i128::from(low) + offset as i128) as i64
    }
}

fn splitmix(x: u64) -> u64 {
    mix(x.wrapping_add(0x9e37_79b9_7f4a_7c15))
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xoshiro_gives_the_published_sequence() {
        // First outputs of xoshiro256++ from the state 1, 2, 3, 4.
        let mut r = Random([1, 2, 3, 4]);
        let first: Vec<u64> = (0..3).map(|_| r.bits()).collect();
        assert_eq!(first, [41_943_041, 58_720_359, 3_588_806_011_781_223]);
        assert_eq!(splitmix(0), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn streams_depend_on_seed_step_and_name() {
        let first = |seed, step, name| Random::new(seed, step, name).bits();
        assert_eq!(first(0, 0, "x"), first(0, 0, "x"));
        let all = [
            first(0, 0, "x"),
            first(1, 0, "x"),
            first(0, 1, "x"),
            first(0, 0, "y"),
        ];
        for i in 0..all.len() {
            for j in 0..i {
                assert_ne!(all[i], all[j], "{i} {j}");
            }
        }
    }

    #[test]
    fn ranges_are_kept_and_filled() {
        let mut r = Random::new(7, 0, "x");
        let floats: Vec<f64> = (0..10_000).map(|_| r.float(-2.0, 3.0)).collect();
        assert!(floats.iter().all(|v| (-2.0..3.0).contains(v)));
        let mean = floats.iter().sum::<f64>() / floats.len() as f64;
        assert!((mean - 0.5).abs() < 0.05, "{mean}");
        let mut seen = [0usize; 4];
        for _ in 0..4000 {
            seen[(r.integer(-1, 2) + 1) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| n > 800), "{seen:?}");
        assert_eq!(r.integer(5, 5), 5);
        assert_eq!(r.integer(5, 4), 5);
        r.integer(i64::MIN, i64::MAX);
    }
}
