//! Resizing and resampling images.

use super::Default::{Bool, Float, Int, Str};
use super::Opset::{IOS16, IOS17};
use super::domain::{BOOL, FLOAT, FLOAT32, INT32, NUMBER, STRING, UINT32};
use super::{Domain, OpDef, Param};
use crate::types::DataType::{Float16, Float32, Int8, Int16, Int32, UInt8, UInt16, UInt32};
use super::infer::{Types, choice, fixed, int, positive, ranked, shaped, tensor};
use crate::shape::{self, mismatch};
use crate::types::Dim;
use crate::view::{Given, OpView, ParamError};

const FACTOR: &[Domain] = &[Domain::new("U", &[Int32, Float32])];
const COORDINATES: &[Domain] = &[
    Domain::new("U", &[Int32, Float32]),
    Domain::new("U", &[Int32, Float16, Float32]).since(IOS16),
    Domain::new("U", &[Int8, UInt8, Int16, UInt16, Int32, Float16, Float32]).since(IOS17),
];
const BOXES: &[Domain] = &[Domain::new("BOX_T", &[Float16, Float32, UInt16]).since(IOS17)];
const BOX_INDICES: &[Domain] = &[Domain::new("BOX_INDEX_T", &[UInt16, Int32]).since(IOS17)];
const SIZES: &[Domain] = &[Domain::new("U", &[Int32, Int16, UInt16, UInt32]).since(IOS17)];

const SAMPLING_MODES: &[&str] = &[
    "STRICT_ALIGN_CORNERS",
    "ALIGN_CORNERS",
    "UNALIGN_CORNERS",
    "DEFAULT",
    "OFFSET_CORNERS",
];
const BOX_MODES: &[&str] = &[
    "CORNERS_HEIGHT_FIRST",
    "CORNERS_WIDTH_FIRST",
    "CENTER_SIZE_HEIGHT_FIRST",
    "CENTER_SIZE_WIDTH_FIRST",
];

const X: Param = Param::value("x", FLOAT);
const FACTOR_HEIGHT: Param = Param::constant("scale_factor_height", FACTOR).or(Int(1));
const FACTOR_WIDTH: Param = Param::constant("scale_factor_width", FACTOR).or(Int(1));

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new(
        "upsample_nearest_neighbor",
        "Enlarges the last two dimensions by factors, taking the nearest element.",
        &[X, FACTOR_HEIGHT, FACTOR_WIDTH],
        upsample,
    ),
    OpDef::new(
        "upsample_bilinear",
        "Enlarges the last two dimensions by factors, interpolating linearly.",
        &[
            X,
            FACTOR_HEIGHT,
            FACTOR_WIDTH,
            Param::scalar("align_corners", BOOL).or(Bool(true)),
            Param::scalar("half_pixel_centers", BOOL)
                .since(IOS16)
                .optional("the opposite of `align_corners`"),
        ],
        upsample,
    )
    .changes(&[(IOS16, "`half_pixel_centers`")]),
    OpDef::new(
        "resize_nearest_neighbor",
        "Resizes the last two dimensions to target sizes, taking the nearest element.",
        &[
            X,
            Param::scalar("target_size_height", INT32),
            Param::scalar("target_size_width", INT32),
        ],
        resize_to,
    ),
    OpDef::new(
        "resize_bilinear",
        "Resizes the last two dimensions to target sizes, interpolating linearly. `sampling_mode` \
         is `STRICT_ALIGN_CORNERS`, `ALIGN_CORNERS`, `DEFAULT`, `OFFSET_CORNERS` or \
         `UNALIGN_CORNERS`.",
        &[
            X,
            Param::scalar("target_size_height", INT32).or(Int(1)),
            Param::scalar("target_size_width", INT32).or(Int(1)),
            Param::scalar("sampling_mode", STRING).or(Str("DEFAULT")),
        ],
        resize_to,
    ),
    OpDef::new(
        "resize",
        "Resizes the last `resized_dims` dimensions to the sizes in `shape` (0 keeps one), \
         `LINEAR` or `NEAREST_NEIGHBOR`.",
        &[
            Param::value("x", NUMBER),
            Param::value("shape", SIZES),
            Param::constant("resized_dims", UINT32),
            Param::constant("interpolation_mode", STRING).or(Str("LINEAR")),
            Param::scalar("sampling_mode", STRING).or(Str("DEFAULT")),
        ],
        resize,
    )
    .since(IOS17),
    OpDef::new(
        "crop_resize",
        "Cuts boxes out of images and resizes each to the target size.",
        &[
            X,
            Param::value("roi", FLOAT).until(IOS17),
            Param::value("boxes", BOXES).since(IOS17),
            Param::value("box_indices", BOX_INDICES)
                .since(IOS17)
                .optional("0, 1, ..., one for each box"),
            Param::constant("target_height", INT32).or(Int(1)),
            Param::constant("target_width", INT32).or(Int(1)),
            Param::constant("normalized_coordinates", BOOL).or(Bool(false)),
            Param::constant("spatial_scale", FLOAT32).or(Float(1.0)),
            Param::constant("box_coordinate_mode", STRING).or(Str("CORNERS_HEIGHT_FIRST")),
            Param::scalar("sampling_mode", STRING).or(Str("DEFAULT")),
            Param::constant("pad_value", FLOAT).since(IOS16).or(Float(0.0)),
        ],
        crop_resize,
    )
    .changes(&[
        (IOS16, "`pad_value`"),
        (IOS17, "`boxes` and `box_indices` instead of `roi`"),
    ]),
    OpDef::new(
        "resample",
        "Samples images [N, C, H, W] at `coordinates` [N, H', W', 2].",
        &[
            X,
            Param::value("coordinates", COORDINATES),
            Param::scalar("sampling_mode", STRING),
            Param::scalar("padding_mode", STRING),
            Param::scalar("padding_value", FLOAT),
            Param::scalar("coordinates_mode", STRING),
            Param::scalar("align_corners", BOOL),
        ],
        resample,
    )
    .changes(&[
        (IOS16, "fp16 coordinates"),
        (IOS17, "8 and 16 bit coordinates"),
    ]),
    OpDef::new(
        "affine",
        "Samples images [N, C, H, W] through an affine transform [N, 6].",
        &[
            X,
            Param::value("transform_matrix", FLOAT),
            Param::scalar("output_height", INT32),
            Param::scalar("output_width", INT32),
            Param::scalar("sampling_mode", STRING),
            Param::scalar("padding_mode", STRING),
            Param::scalar("padding_value", FLOAT),
            Param::scalar("coordinates_mode", STRING),
            Param::scalar("align_corners", BOOL),
        ],
        affine,
    ),
];

fn upsample(op: &OpView<'_>) -> Types {
    let x = ranked(op, "x", 3..=usize::MAX)?;
    let mut result = x.shape.clone();
    let rank = result.len();
    for (param, i) in [("scale_factor_height", rank - 2), ("scale_factor_width", rank - 1)] {
        let factor = fixed(param, op.float(param)?)?;
        if let Dim::Known(n) = result[i] {
            // In double precision, as torch sizes the result.
            let size = (factor * n as f64).floor();
            if !(1.0..9e15).contains(&size) {
                return Err(ParamError::value(param, format!("{factor} times {n} is no size")));
            }
            result[i] = Dim::Known(size as u64);
        }
    }
    tensor(x.dtype, result)
}

fn resize_to(op: &OpView<'_>) -> Types {
    let x = ranked(op, "x", 3..=usize::MAX)?;
    if op.param("sampling_mode").is_some() {
        choice(op, "sampling_mode", SAMPLING_MODES)?;
    }
    let mut result = x.shape.clone();
    let rank = result.len();
    result[rank - 2] = Dim::Known(positive(op, "target_size_height")?);
    result[rank - 1] = Dim::Known(positive(op, "target_size_width")?);
    tensor(x.dtype, result)
}

fn resize(op: &OpView<'_>) -> Types {
    let x = op.tensor("x")?;
    choice(op, "interpolation_mode", &["LINEAR", "NEAREST_NEIGHBOR"])?;
    choice(op, "sampling_mode", SAMPLING_MODES)?;
    let sizes = ranked(op, "shape", 1..=1)?;
    let resized = usize::try_from(int(op, "resized_dims")?).unwrap_or(usize::MAX);
    let Some(first) = x.shape.len().checked_sub(resized) else {
        return Err(ParamError::value(
            "resized_dims",
            format!("must not be more than the {} dimensions of `x`", x.shape.len()),
        ));
    };
    let mut result = x.shape.clone();
    let known = match op.ints("shape")? {
        Given::Known(values) => values,
        _ if sizes.shape[0].known().is_some_and(|n| n < resized as u64) => Vec::new(),
        _ => {
            result[first..].fill(Dim::Unknown);
            return tensor(x.dtype, result);
        }
    };
    let Some(skipped) = known.len().checked_sub(resized) else {
        return Err(ParamError::value(
            "shape",
            format!("must have an element for each of the {resized} resized dimensions"),
        ));
    };
    for (dim, &size) in result[first..].iter_mut().zip(&known[skipped..]) {
        if size != 0 {
            *dim = Dim::Known(shape::size("shape", size)?);
        }
    }
    tensor(x.dtype, result)
}

fn crop_resize(op: &OpView<'_>) -> Types {
    let x = ranked(op, "x", 4..=4)?;
    choice(op, "sampling_mode", SAMPLING_MODES)?;
    choice(op, "box_coordinate_mode", BOX_MODES)?;
    let height = Dim::Known(positive(op, "target_height")?);
    let width = Dim::Known(positive(op, "target_width")?);
    let channels = x.shape[1];
    if op.is_given("boxes") {
        let boxes = ranked(op, "boxes", 2..=2)?;
        shaped(op, "boxes", &[boxes.shape[0], Dim::Known(4)])?;
        shaped(op, "box_indices", &boxes.shape[..1])?;
        return tensor(x.dtype, [boxes.shape[0], channels, height, width]);
    }
    let roi = ranked(op, "roi", 5..=5)?;
    tensor(
        x.dtype,
        [roi.shape[0], x.shape[0], channels, height, width],
    )
}

fn resample(op: &OpView<'_>) -> Types {
    let x = ranked(op, "x", 4..=4)?;
    let coordinates = ranked(op, "coordinates", 4..=4)?;
    let [_, height, width, _] = coordinates.shape[..] else {
        return Err(mismatch("`coordinates` must be of rank 4"));
    };
    shaped(op, "coordinates", &[x.shape[0], height, width, Dim::Known(2)])?;
    tensor(x.dtype, [x.shape[0], x.shape[1], height, width])
}

fn affine(op: &OpView<'_>) -> Types {
    let x = ranked(op, "x", 4..=4)?;
    let matrix = ranked(op, "transform_matrix", 2..=2)?;
    shaped(op, "transform_matrix", &[matrix.shape[0], Dim::Known(6)])?;
    let height = Dim::Known(positive(op, "output_height")?);
    let width = Dim::Known(positive(op, "output_width")?);
    tensor(x.dtype, [x.shape[0], x.shape[1], height, width])
}
