//! `crop_resize`: boxes cut out of images, each resized to the target size.
//!
//! Between the corners of a box, points lie as the sampling modes documented
//! with `resize_bilinear` place them on an input that reaches from the first
//! corner to the second; a box may be turned round. A point outside of the
//! image has the value `pad_value`.

use candle_core::{DType, Tensor};

use super::build::{COSTLY, build, tensor};
use super::check::{Result, bad, elements, need, size};
use super::float::{Float, with_float};
use super::layout::elements as elements_of;
use super::resize::Sampling;
use crate::call::{Call, Outputs};

/// A point outside of the image by less than this many pixels is at its edge:
/// rounding puts corners there that are meant to be on it.
const NEAR: f64 = 1e-5;

/// What the four numbers of a box are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Corners {
    centred: bool,
    width_first: bool,
}

impl Corners {
    fn parse(name: &str) -> Result<Self> {
        let (centred, width_first) = match name {
            "CORNERS_HEIGHT_FIRST" => (false, false),
            "CORNERS_WIDTH_FIRST" => (false, true),
            "CENTER_SIZE_HEIGHT_FIRST" => (true, false),
            "CENTER_SIZE_WIDTH_FIRST" => (true, true),
            _ => {
                return Err(bad(
                    "box_coordinate_mode",
                    format_args!("unknown mode {name:?}"),
                ));
            }
        };
        Ok(Self {
            centred,
            width_first,
        })
    }

    /// First and last row, first and last column.
    fn read(self, numbers: [f64; 4]) -> [[f64; 2]; 2] {
        let [a, b, c, d] = numbers;
        let [rows, columns] = match self.width_first {
            false => [[a, c], [b, d]],
            true => [[b, d], [a, c]],
        };
        let range = |[a, b]: [f64; 2]| match self.centred {
            false => [a, b],
            true => [a - b / 2.0, a + b / 2.0],
        };
        [range(rows), range(columns)]
    }
}

/// How every box is read.
#[derive(Debug, Clone, Copy)]
struct Crop {
    target: [usize; 2],
    corners: Corners,
    normalized: bool,
    scale: f64,
    sampling: Sampling,
    pad: f64,
}

/// A box of an image.
#[derive(Debug, Clone, Copy)]
struct Region {
    image: usize,
    numbers: [f64; 4],
}

pub(crate) fn crop_resize(call: &Call<'_>) -> Outputs {
    let target = |param: &str| size(param, call.int(param)?.unwrap_or(1));
    let crop = Crop {
        target: [target("target_height")?, target("target_width")?],
        corners: Corners::parse(&need(
            "box_coordinate_mode",
            call.string("box_coordinate_mode")?,
        )?)?,
        normalized: call.bool("normalized_coordinates")?.unwrap_or(false),
        scale: call.float("spatial_scale")?.unwrap_or(1.0),
        sampling: Sampling::parse(&need("sampling_mode", call.string("sampling_mode")?)?)?,
        // From iOS 16 on.
        pad: call.float("pad_value")?.unwrap_or(0.0),
    };
    let x = call.tensor("x")?.data;
    let &[batch, channels, ..] = x.dims() else {
        return Err(bad("x", format_args!("has shape {:?}, expected rank 4", x.dims())));
    };
    let [height, width] = crop.target;
    // Up to iOS 16 the boxes are `roi`, with or without an image's index.
    if call.is_given("roi") {
        let roi = call.tensor("roi")?.data;
        let (regions, images) = from_roi(&roi, batch)?;
        let dims = [roi.dims()[0], images, channels, height, width];
        return call.one(crop.all(&x, &regions, &dims)?);
    }
    let boxes = call.tensor("boxes")?.data;
    let indices = call.ints("box_indices")?;
    let regions = from_boxes(&boxes, indices, batch)?;
    call.one(crop.all(&x, &regions, &[regions.len(), channels, height, width])?)
}

/// The boxes of a `roi`, and for how many images each is.
fn from_roi(roi: &Tensor, batch: usize) -> Result<(Vec<Region>, usize)> {
    let numbers: Vec<f64> = roi.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    match *roi.dims() {
        [_, 1, 4, 1, 1] => {
            let boxes = numbers.as_chunks::<4>().0.iter();
            let regions = boxes.flat_map(|&numbers| {
                (0..batch).map(move |image| Region { image, numbers })
            });
            Ok((regions.collect(), batch))
        }
        [_, 1, 5, 1, 1] => {
            let boxes = numbers.as_chunks::<5>().0.iter();
            let regions = boxes.map(|&[index, a, b, c, d]| {
                if index.fract() != 0.0 {
                    return Err(bad("roi", format_args!("{index} is no index of an image")));
                }
                Ok(Region {
                    image: image("roi", index as i64, batch)?,
                    numbers: [a, b, c, d],
                })
            });
            Ok((regions.collect::<Result<_>>()?, 1))
        }
        _ => Err(bad(
            "roi",
            format_args!(
                "has shape {:?}, expected [N, 1, 4, 1, 1] or [N, 1, 5, 1, 1]",
                roi.dims()
            ),
        )),
    }
}

fn from_boxes(boxes: &Tensor, indices: Option<Vec<i64>>, batch: usize) -> Result<Vec<Region>> {
    let &[count, 4] = boxes.dims() else {
        return Err(bad(
            "boxes",
            format_args!("has shape {:?}, expected [N, 4]", boxes.dims()),
        ));
    };
    let indices = indices.unwrap_or_else(|| (0..count as i64).collect());
    super::check::length("box_indices", &indices, count)?;
    let numbers: Vec<f64> = boxes.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    let boxes = numbers.as_chunks::<4>().0.iter();
    boxes
        .zip(indices)
        .map(|(&numbers, index)| {
            Ok(Region {
                image: image("box_indices", index, batch)?,
                numbers,
            })
        })
        .collect()
}

fn image(param: &str, index: i64, batch: usize) -> Result<usize> {
    usize::try_from(index)
        .ok()
        .filter(|&index| index < batch)
        .ok_or_else(|| bad(param, format_args!("{index} is no image of {batch}")))
}

impl Crop {
    fn all(&self, x: &Tensor, regions: &[Region], dims: &[usize]) -> Result<Tensor> {
        with_float!("x", x, T => self.all_of::<T>(x, regions, dims))
    }

    fn all_of<T: Float>(
        &self,
        x: &Tensor,
        regions: &[Region],
        dims: &[usize],
    ) -> Result<Tensor> {
        let &[_, channels, height, width] = x.dims() else {
            return Err(bad("x", format_args!("has shape {:?}, expected rank 4", x.dims())));
        };
        let count = elements("x", dims)?;
        if count == 0 {
            return tensor(Vec::<T>::new(), dims);
        }
        let data = elements_of::<T>(x)?;
        let area = height * width;
        let [rows, columns] = self.target;
        let points: Vec<[Vec<Option<f64>>; 2]> = regions
            .iter()
            .map(|region| self.points(region.numbers, [height, width]))
            .collect();
        let made = build(count, COSTLY, |range, out| {
            out.extend(range.map(|at| {
                let (row, column) = (at / columns % rows, at % columns);
                let channel = at / columns / rows;
                let (region, channel) = (channel / channels, channel % channels);
                let image = regions[region].image * channels + channel;
                let [ys, xs] = &points[region];
                match (ys[row], xs[column]) {
                    (Some(y), Some(x)) => {
                        T::from_f64(between(&data[image * area..][..area], width, y, x))
                    }
                    _ => T::from_f64(self.pad),
                }
            }));
        })?;
        tensor(made, dims)
    }

    /// The rows and columns of a box's points in pixels; `None` is outside.
    fn points(&self, numbers: [f64; 4], sizes: [usize; 2]) -> [Vec<Option<f64>>; 2] {
        let ranges = self.corners.read(numbers);
        std::array::from_fn(|axis| {
            let last = sizes[axis] as f64 - 1.0;
            let factor = if self.normalized { last } else { 1.0 };
            let [start, end] = ranges[axis].map(|v| v * factor * self.scale);
            let reach = end - start;
            (0..self.target[axis])
                .map(|i| {
                    let offset = self.sampling.offset(i, reach.abs(), self.target[axis]);
                    let point = start + if reach < 0.0 { -offset } else { offset };
                    ((-NEAR..=last + NEAR).contains(&point)).then(|| point.clamp(0.0, last))
                })
                .collect()
        })
    }
}

/// The value of an image between four pixels.
fn between<T: Float>(image: &[T], width: usize, y: f64, x: f64) -> f64 {
    let (top, left) = (y as usize, x as usize);
    let (down, right) = (y - top as f64, x - left as f64);
    let row = |y: usize| {
        let at = |x: usize| image[y * width + x].to_f64();
        match right {
            0.0 => at(left),
            _ => at(left) * (1.0 - right) + at(left + 1) * right,
        }
    };
    match down {
        0.0 => row(top),
        _ => row(top) * (1.0 - down) + row(top + 1) * down,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    const CROP: Crop = Crop {
        target: [2, 2],
        corners: Corners {
            centred: false,
            width_first: false,
        },
        normalized: false,
        scale: 1.0,
        sampling: Sampling::AlignCorners,
        pad: -1.0,
    };

    /// 4 by 4 pixels, counted from 0.
    fn crop(crop: Crop, numbers: [f64; 4]) -> Vec<f32> {
        let x = Tensor::arange(0f32, 16.0, &Device::Cpu).unwrap();
        let x = x.reshape((1, 1, 4, 4)).unwrap();
        let region = Region { image: 0, numbers };
        let y = crop.all(&x, &[region], &[1, 1, crop.target[0], crop.target[1]]);
        y.unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn boxes_in_every_notation() {
        let rows = [0.0, 1.0, 3.0, 2.0];
        assert_eq!(crop(CROP, rows), [1.0, 2.0, 13.0, 14.0]);
        let notation = |name, numbers| {
            let corners = Corners::parse(name).unwrap();
            crop(Crop { corners, ..CROP }, numbers)
        };
        let expected = crop(CROP, rows);
        assert_eq!(notation("CORNERS_WIDTH_FIRST", [1.0, 0.0, 2.0, 3.0]), expected);
        assert_eq!(notation("CENTER_SIZE_HEIGHT_FIRST", [1.5, 1.5, 3.0, 1.0]), expected);
        assert_eq!(notation("CENTER_SIZE_WIDTH_FIRST", [1.5, 1.5, 1.0, 3.0]), expected);
        assert!(Corners::parse("corners").is_err());
        let normalized = Crop {
            normalized: true,
            ..CROP
        };
        assert_eq!(crop(normalized, [0.0, 1.0 / 3.0, 1.0, 2.0 / 3.0]), expected);
        let scaled = Crop { scale: 0.5, ..CROP };
        assert_eq!(crop(scaled, [0.0, 2.0, 6.0, 4.0]), expected);
        assert_eq!(crop(CROP, [3.0, 2.0, 0.0, 1.0]), [14.0, 13.0, 2.0, 1.0]);
    }

    #[test]
    fn outside_is_padding_and_the_edge_is_not() {
        assert_eq!(crop(CROP, [0.0, 0.0, 4.0, 3.0]), [0.0, 3.0, -1.0, -1.0]);
        assert_eq!(crop(CROP, [-1e-9, 0.0, 3.0 + 1e-9, 3.0]), [0.0, 3.0, 12.0, 15.0]);
        assert_eq!(crop(CROP, [f64::NAN, 0.0, 3.0, f64::INFINITY])[0], -1.0);
    }

    #[test]
    fn images_are_checked() {
        let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
        assert!(from_boxes(&zeros(&[3, 4]), None, 2).is_err());
        assert!(from_boxes(&zeros(&[1, 4]), Some(vec![2]), 2).is_err());
        assert!(from_boxes(&zeros(&[1, 4]), Some(vec![-1]), 2).is_err());
        assert!(from_boxes(&zeros(&[2, 4]), Some(vec![1]), 2).is_err());
        assert!(from_boxes(&zeros(&[2, 5]), None, 2).is_err());
        assert_eq!(from_boxes(&zeros(&[2, 4]), None, 2).unwrap()[1].image, 1);
        let roi = Tensor::new(&[0.5f32, 0.0, 0.0, 1.0, 1.0], &Device::Cpu).unwrap();
        assert!(from_roi(&roi.reshape((1, 1, 5, 1, 1)).unwrap(), 2).is_err());
        assert!(from_roi(&zeros(&[1, 1, 6, 1, 1]), 2).is_err());
        assert_eq!(from_roi(&zeros(&[3, 1, 4, 1, 1]), 2).unwrap().0.len(), 6);
    }
}
