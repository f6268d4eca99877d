//! Kernels: what each operation computes, on candle CPU tensors. Files mirror
//! the families of the op table.

mod build;
mod check;
mod parallel;
mod runs;

use crate::call::Kernel;

pub(crate) mod float;
pub(crate) mod gemm;
pub(crate) mod layout;
pub(crate) mod rows;
pub(crate) mod vmath;

/// A kernel family is a file with functions `fn(&Call) -> Outputs`; one line
/// here names the operations that it executes. `function = "op"` is for an
/// operation whose name is a word of Rust.
macro_rules! kernels {
    ($($family:ident: $($op:ident $(= $name:literal)?),+ $(,)?;)*) => {
        $(pub(crate) mod $family;)*

        /// The kernel of an operation type.
        pub(crate) fn lookup(op_type: &str) -> Option<Kernel> {
            match op_type {
                $($(name!($op $($name)?) => Some($family::$op),)+)*
                _ => None,
            }
        }
    };
}

macro_rules! name {
    ($op:ident) => {
        stringify!($op)
    };
    ($op:ident $name:literal) => {
        $name
    };
}

/// A tensor of more elements than this is refused: no model needs it, and a
/// damaged file must not exhaust the machine.
pub(crate) const MAX_ELEMENTS: usize = 1 << 36;

kernels! {
    attention: scaled_dot_product_attention;
    binary: add, sub, mul, real_div, floor_div, modulo = "mod", pow, maximum, minimum, equal,
        not_equal, less, less_equal, greater, greater_equal, logical_and, logical_or, logical_xor;
    cast: cast;
    classify: classify;
    constexpr: constexpr_affine_dequantize, constexpr_blockwise_shift_scale, constexpr_cast,
        constexpr_lut_to_dense, constexpr_lut_to_sparse, constexpr_sparse_blockwise_shift_scale,
        constexpr_sparse_to_dense;
    conv: conv, conv_transpose;
    conv_quantized: conv_quantized;
    crop_resize: crop_resize;
    gather: gather, gather_along_axis, gather_nd, scatter, scatter_along_axis, scatter_nd;
    gelu: gelu;
    identity: identity;
    join: concat, split, stack, tile;
    linear: einsum, linear, matmul;
    list: list_gather, list_length, list_read, list_scatter, list_write, make_list;
    nms: non_maximum_suppression;
    nonzero: non_zero;
    norm: batch_norm, instance_norm, l2_norm, layer_norm, local_response_norm;
    pad: pad;
    pool: avg_pool, l2_pool, max_pool;
    quantization: dequantize, quantize;
    random: random_bernoulli, random_categorical, random_normal, random_uniform;
    recurrent: gru, lstm, rnn;
    reduce: cumsum, reduce_argmax, reduce_argmin, reduce_l1_norm, reduce_l2_norm, reduce_log_sum,
        reduce_log_sum_exp, reduce_max, reduce_mean, reduce_min, reduce_prod, reduce_sum,
        reduce_sum_square;
    resize: resize, resize_bilinear, resize_nearest_neighbor, upsample_bilinear,
        upsample_nearest_neighbor;
    sample: affine, resample;
    select: select;
    shape: band_part, expand_dims, fill, fill_like, flatten2d, one_hot, range_1d, reshape,
        reshape_like, reverse, reverse_sequence, shape, squeeze, transpose;
    slice: slice_by_index, slice_by_size, slice_update;
    softmax: softmax;
    sort: argsort, topk;
    space: batch_to_space, crop, depth_to_space, pixel_shuffle, pixel_unshuffle, sliding_windows,
        space_to_batch, space_to_depth;
    unary: abs, acos, asin, atan, atanh, ceil, clamped_relu, clip, cos, cosh, elu, erf, exp, exp2,
        floor, inverse, leaky_relu, linear_activation, log, logical_not, prelu, relu, relu6, round,
        rsqrt, scaled_tanh, sigmoid, sigmoid_hard, sign, silu, sin, sinh, softplus,
        softplus_parametric, softsign, sqrt, square, tan, tanh, threshold, thresholded_relu;
}
