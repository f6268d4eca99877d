//! `resample` and `affine`: images read at points between their pixels.
//!
//! Points are computed in double precision, whatever the images are held in.
//! Beyond the edges, `constant` puts its value at each single pixel outside, so
//! that a point near the edge is a mixture; the other modes move the point.

use candle_core::{DType, Tensor};

use super::build::{COSTLY, build, reserve, tensor};
use super::check::{Result, bad, elements, need, size};
use super::float::{Float, with_float};
use super::layout::elements as elements_of;
use crate::call::{Call, Outputs};
use crate::error::KernelError;

/// What lies beyond the edges of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Padding {
    Constant(f64),
    Border,
    /// Mirrored at the centres of the outermost pixels.
    Reflection,
    /// Mirrored at their outer edges.
    Symmetric,
}

/// Between which numbers coordinates inside of the image lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coordinates {
    Unnormalized,
    MinusOneToOne,
    ZeroToOne,
}

/// How points become values.
#[derive(Debug, Clone, Copy)]
struct Sampler {
    linear: bool,
    padding: Padding,
    coordinates: Coordinates,
    align_corners: bool,
}

impl Sampler {
    fn read(call: &Call<'_>) -> Result<Self> {
        let word = |param: &str| -> Result<String> {
            Ok(need(param, call.string(param)?)?.to_ascii_lowercase())
        };
        let unknown = |param: &str, found: &str, known: &str| {
            bad(param, format_args!("unknown mode {found:?}; expected {known}"))
        };
        let sampling = word("sampling_mode")?;
        let padding = word("padding_mode")?;
        let coordinates = word("coordinates_mode")?;
        Ok(Self {
            linear: match &*sampling {
                "bilinear" => true,
                "nearest" => false,
                _ => return Err(unknown("sampling_mode", &sampling, "bilinear or nearest")),
            },
            padding: match &*padding {
                "constant" => Padding::Constant(call.float("padding_value")?.unwrap_or(0.0)),
                "border" => Padding::Border,
                "reflection" => Padding::Reflection,
                "symmetric" => Padding::Symmetric,
                _ => {
                    let known = "constant, border, reflection or symmetric";
                    return Err(unknown("padding_mode", &padding, known));
                }
            },
            coordinates: match &*coordinates {
                "unnormalized" => Coordinates::Unnormalized,
                "normalized_minus_one_to_one" => Coordinates::MinusOneToOne,
                "normalized_zero_to_one" => Coordinates::ZeroToOne,
                _ => {
                    let known =
                        "unnormalized, normalized_minus_one_to_one or normalized_zero_to_one";
                    return Err(unknown("coordinates_mode", &coordinates, known));
                }
            },
            align_corners: need("align_corners", call.bool("align_corners")?)?,
        })
    }

    /// A coordinate in pixels: 0 is the centre of the first.
    fn pixel(&self, at: f64, size: usize) -> f64 {
        let share = match self.coordinates {
            Coordinates::Unnormalized => return at,
            Coordinates::MinusOneToOne => (at + 1.0) / 2.0,
            Coordinates::ZeroToOne => at,
        };
        if self.align_corners {
            share * (size as f64 - 1.0)
        } else {
            share * size as f64 - 0.5
        }
    }

    /// Moves a point that lies outside.
    fn inside(&self, at: f64, size: usize) -> f64 {
        let last = size as f64 - 1.0;
        match self.padding {
            Padding::Constant(_) => at,
            Padding::Border => at.clamp(0.0, last),
            Padding::Reflection => mirrored(at, 0.0, last),
            Padding::Symmetric => mirrored(at, -0.5, last + 0.5).clamp(0.0, last),
        }
    }

    /// The value of an image of `height` by `width` at a point that
    /// [`Sampler::inside`] has moved.
    fn value<T: Float>(&self, image: &[T], [height, width]: [usize; 2], [x, y]: [f64; 2]) -> f64 {
        let outside = match self.padding {
            Padding::Constant(value) => value,
            // What is left is the neighbour of the last pixel, of weight 0.
            _ => 0.0,
        };
        let pixel = |x: f64, y: f64| {
            if (0.0..width as f64).contains(&x) && (0.0..height as f64).contains(&y) {
                image[y as usize * width + x as usize].to_f64()
            } else {
                outside
            }
        };
        if x.is_nan() || y.is_nan() {
            return f64::NAN;
        }
        if !self.linear {
            return pixel(x.round_ties_even(), y.round_ties_even());
        }
        // An infinite point has no distance to its neighbours.
        if x.is_infinite() || y.is_infinite() {
            return outside;
        }
        let (left, top) = (x.floor(), y.floor());
        let (right, down) = (x - left, y - top);
        let row = |y: f64| match right {
            0.0 => pixel(left, y),
            _ => pixel(left, y) * (1.0 - right) + pixel(left + 1.0, y) * right,
        };
        match down {
            0.0 => row(top),
            _ => row(top) * (1.0 - down) + row(top + 1.0) * down,
        }
    }

    /// `x` [N, C, H, W] at the points [x, y] of each image, `target` of them.
    fn sample(&self, x: &Tensor, points: &[Vec<[f64; 2]>], target: [usize; 2]) -> Result<Tensor> {
        with_float!("x", x, T => self.sample_of::<T>(x, points, target))
    }

    fn sample_of<T: Float>(
        &self,
        x: &Tensor,
        points: &[Vec<[f64; 2]>],
        target: [usize; 2],
    ) -> Result<Tensor> {
        let [_, channels, height, width] = images(x)?;
        let dims = [points.len(), channels, target[0], target[1]];
        let count = elements("x", &dims)?;
        let data = elements_of::<T>(x)?;
        let area = height * width;
        let each = target[0] * target[1];
        let made = build(count, COSTLY, |range, out| {
            out.extend(range.map(|at| {
                let (image, point) = (at / each, points[at / each / channels][at % each]);
                let image = &data[image * area..(image + 1) * area];
                T::from_f64(self.value(image, [height, width], point))
            }));
        })?;
        tensor(made, &dims)
    }

    /// Coordinates as the program has them to points in pixels.
    fn place(&self, at: [f64; 2], height: usize, width: usize) -> [f64; 2] {
        let [x, y] = at;
        [
            self.inside(self.pixel(x, width), width),
            self.inside(self.pixel(y, height), height),
        ]
    }
}

/// A coordinate mirrored at both ends of a range until it lies within.
fn mirrored(at: f64, low: f64, high: f64) -> f64 {
    let span = high - low;
    if span <= 0.0 {
        return low;
    }
    let beyond = (at - low).abs() % (2.0 * span);
    low + if beyond > span { 2.0 * span - beyond } else { beyond }
}

/// Samples, channels, height and width of images that have pixels.
fn images(x: &Tensor) -> Result<[usize; 4]> {
    match <[usize; 4]>::try_from(x.dims()) {
        Ok(dims) if dims[2] > 0 && dims[3] > 0 => Ok(dims),
        _ => Err(bad("x", format_args!("has shape {:?}, expected images", x.dims()))),
    }
}

pub(crate) fn resample(call: &Call<'_>) -> Outputs {
    let sampler = Sampler::read(call)?;
    let x = call.tensor("x")?.data;
    let coordinates = call.tensor("coordinates")?.data;
    call.one(resampled(&sampler, &x, &coordinates)?)
}

fn resampled(sampler: &Sampler, x: &Tensor, coordinates: &Tensor) -> Result<Tensor> {
    let [batch, _, height, width] = images(x)?;
    let &[own, rows, columns, 2] = coordinates.dims() else {
        return Err(bad(
            "coordinates",
            format_args!("has shape {:?}, expected [N, H, W, 2]", coordinates.dims()),
        ));
    };
    if own != batch {
        return Err(bad(
            "coordinates",
            format_args!("are for {own} images, but x has {batch}"),
        ));
    }
    let flat: Vec<f64> = coordinates.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    let mut all = flat.as_chunks::<2>().0.iter();
    let points: Vec<Vec<[f64; 2]>> = (0..batch)
        .map(|_| {
            all.by_ref()
                .take(rows * columns)
                .map(|&at| sampler.place(at, height, width))
                .collect()
        })
        .collect();
    sampler.sample(x, &points, [rows, columns])
}

pub(crate) fn affine(call: &Call<'_>) -> Outputs {
    let sampler = Sampler::read(call)?;
    if sampler.coordinates != Coordinates::MinusOneToOne {
        return Err(KernelError::Unsupported(
            "`affine` with other coordinates than normalized_minus_one_to_one".to_owned(),
        ));
    }
    let target = [
        size("output_height", need("output_height", call.int("output_height")?)?)?,
        size("output_width", need("output_width", call.int("output_width")?)?)?,
    ];
    let x = call.tensor("x")?.data;
    let matrix = call.tensor("transform_matrix")?.data;
    call.one(transformed(&sampler, &x, &matrix, target)?)
}

fn transformed(
    sampler: &Sampler,
    x: &Tensor,
    matrix: &Tensor,
    target: [usize; 2],
) -> Result<Tensor> {
    let [batch, channels, height, width] = images(x)?;
    let &[matrices, 6] = matrix.dims() else {
        return Err(bad(
            "transform_matrix",
            format_args!("has shape {:?}, expected [N, 6]", matrix.dims()),
        ));
    };
    if matrices != 1 && matrices != batch {
        return Err(bad(
            "transform_matrix",
            format_args!("has {matrices} rows for {batch} images"),
        ));
    }
    elements("output_height", &[batch, channels, target[0], target[1]])?;
    let each = elements("output_height", &target)?;
    let flat: Vec<f64> = matrix.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    let matrices = flat.as_chunks::<6>().0;
    let centre = |i: usize, count: usize| {
        let count = count as f64;
        match sampler.align_corners {
            true if count == 1.0 => 0.0,
            true => 2.0 * i as f64 / (count - 1.0) - 1.0,
            false => (2.0 * i as f64 + 1.0) / count - 1.0,
        }
    };
    let points: Vec<Vec<[f64; 2]>> = (0..batch)
        .map(|n| {
            let [a0, a1, a2, b0, b1, b2] = matrices[if matrices.len() == 1 { 0 } else { n }];
            let mut points = reserve(each)?;
            for i in 0..target[0] {
                let y = centre(i, target[0]);
                for j in 0..target[1] {
                    let x = centre(j, target[1]);
                    let at = [a0 * x + a1 * y + a2, b0 * x + b1 * y + b2];
                    points.push(sampler.place(at, height, width));
                }
            }
            Ok(points)
        })
        .collect::<Result<_>>()?;
    sampler.sample(x, &points, target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn sampler(linear: bool, padding: Padding) -> Sampler {
        Sampler {
            linear,
            padding,
            coordinates: Coordinates::Unnormalized,
            align_corners: true,
        }
    }

    fn row(sampler: &Sampler, at: &[f64]) -> Vec<f32> {
        let x = Tensor::new(&[[[[1f32, 2.0, 3.0]]]], &Device::Cpu).unwrap();
        let points: Vec<f64> = at.iter().flat_map(|&x| [x, 0.0]).collect();
        let points = Tensor::from_vec(points, (1, 1, at.len(), 2), &Device::Cpu).unwrap();
        let y = resampled(sampler, &x, &points).unwrap();
        y.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn the_edges_continue_as_documented() {
        let at: Vec<f64> = (-3..6).map(f64::from).collect();
        let expected: [(Padding, [f32; 9]); 4] = [
            (Padding::Constant(0.0), [0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 0.0, 0.0, 0.0]),
            (Padding::Border, [1.0, 1.0, 1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 3.0]),
            (Padding::Reflection, [2.0, 3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0, 2.0]),
            (Padding::Symmetric, [3.0, 2.0, 1.0, 1.0, 2.0, 3.0, 3.0, 2.0, 1.0]),
        ];
        for (padding, expected) in expected {
            for linear in [true, false] {
                assert_eq!(row(&sampler(linear, padding), &at), expected, "{padding:?}");
            }
        }
    }

    #[test]
    fn no_coordinate_is_too_far() {
        let wild = [1e300, -1e300, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
        for padding in [
            Padding::Constant(7.0),
            Padding::Border,
            Padding::Reflection,
            Padding::Symmetric,
        ] {
            for linear in [true, false] {
                let values = row(&sampler(linear, padding), &wild);
                assert!(values[4].is_nan());
                match padding {
                    Padding::Constant(_) => assert_eq!(values[..4], [7.0; 4]),
                    Padding::Border => assert_eq!(values[..4], [3.0, 1.0, 3.0, 1.0]),
                    _ => assert!(values[..2].iter().all(|v| (1.0..=3.0).contains(v))),
                }
            }
        }
    }

    #[test]
    fn operands_that_do_not_go_together_are_errors() {
        let plain = sampler(true, Padding::Border);
        let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
        assert!(resampled(&plain, &zeros(&[2, 1, 3, 3]), &zeros(&[1, 4, 4, 2])).is_err());
        assert!(resampled(&plain, &zeros(&[1, 1, 3, 3]), &zeros(&[1, 4, 4, 3])).is_err());
        assert!(resampled(&plain, &zeros(&[1, 1, 0, 3]), &zeros(&[1, 4, 4, 2])).is_err());
        assert!(transformed(&plain, &zeros(&[2, 1, 3, 3]), &zeros(&[3, 6]), [2, 2]).is_err());
        let huge = [1 << 30, 1 << 30];
        assert!(transformed(&plain, &zeros(&[1, 1, 3, 3]), &zeros(&[1, 6]), huge).is_err());
    }
}
