//! Resizing and resampling images.

use super::Default::{Bool, Float, Int, Str};
use super::Opset::{IOS16, IOS17};
use super::domain::{BOOL, FLOAT, FLOAT32, INT32, NUMBER, STRING, UINT32};
use super::{Domain, OpDef, Param};
use crate::types::DataType::{Float16, Float32, Int8, Int16, Int32, UInt8, UInt16, UInt32};
use crate::types::ValueType;
use crate::view::{OpView, ParamError};

const FACTOR: &[Domain] = &[Domain::new("U", &[Int32, Float32])];
const COORDINATES: &[Domain] = &[
    Domain::new("U", &[Int32, Float32]),
    Domain::new("U", &[Int32, Float16, Float32]).since(IOS16),
    Domain::new("U", &[Int8, UInt8, Int16, UInt16, Int32, Float16, Float32]).since(IOS17),
];
const BOXES: &[Domain] = &[Domain::new("BOX_T", &[Float16, Float32, UInt16]).since(IOS17)];
const BOX_INDICES: &[Domain] = &[Domain::new("BOX_INDEX_T", &[UInt16, Int32]).since(IOS17)];
const SIZES: &[Domain] = &[Domain::new("U", &[Int32, Int16, UInt16, UInt32]).since(IOS17)];

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
            Param::constant("align_corners", BOOL).or(Bool(true)),
            Param::constant("half_pixel_centers", BOOL)
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
            Param::constant("target_size_height", INT32),
            Param::constant("target_size_width", INT32),
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
            Param::constant("target_size_height", INT32).or(Int(1)),
            Param::constant("target_size_width", INT32).or(Int(1)),
            Param::constant("sampling_mode", STRING).or(Str("DEFAULT")),
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
            Param::constant("sampling_mode", STRING).or(Str("DEFAULT")),
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
            Param::constant("sampling_mode", STRING).or(Str("DEFAULT")),
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
            Param::constant("sampling_mode", STRING),
            Param::constant("padding_mode", STRING),
            Param::constant("padding_value", FLOAT),
            Param::constant("coordinates_mode", STRING),
            Param::constant("align_corners", BOOL),
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
            Param::constant("output_height", INT32),
            Param::constant("output_width", INT32),
            Param::constant("sampling_mode", STRING),
            Param::constant("padding_mode", STRING),
            Param::constant("padding_value", FLOAT),
            Param::constant("coordinates_mode", STRING),
            Param::constant("align_corners", BOOL),
        ],
        affine,
    ),
];

fn upsample(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn resize_to(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn resize(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn crop_resize(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn resample(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn affine(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
