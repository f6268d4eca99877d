//! Kernels: what each operation computes, on candle CPU tensors. Files mirror
//! the families of the op table.

mod build;
mod check;
mod parallel;
mod runs;

use crate::agreement::Agreement;
use crate::call::Kernel;

pub(crate) mod float;
pub(crate) mod gemm;
pub(crate) mod layout;
pub(crate) mod rows;
pub(crate) mod vmath;

/// A kernel family is a file with functions `fn(&Call) -> Outputs`; one line
/// here names the operations that it executes, and after the family how exactly
/// they agree with other implementations ([`Agreement`]). `function = "op"` is
/// for an operation whose name is a word of Rust, `op as agreement` for one that
/// agrees otherwise than its family.
macro_rules! kernels {
    ($($family:ident $agree:ident:
        $($op:ident $(= $name:literal)? $(as $own:ident)?),+ $(,)?;)*) => {
        $(pub(crate) mod $family;)*

        /// The kernel of an operation type.
        pub(crate) fn lookup(op_type: &str) -> Option<Kernel> {
            match op_type {
                $($(name!($op $($name)?) => Some($family::$op),)+)*
                _ => None,
            }
        }

        /// How exactly the kernel of an operation type agrees with others.
        pub(crate) fn agreement(op_type: &str) -> Option<Agreement> {
            match op_type {
                $($(name!($op $($name)?) => Some(agreement!($agree $($own)?)),)+)*
                _ => None,
            }
        }
    };
}

macro_rules! agreement {
    (exact) => {
        Agreement::Exact
    };
    (rounding) => {
        Agreement::Rounding
    };
    (random) => {
        Agreement::Random
    };
    ($family:ident $own:ident) => {
        agreement!($own)
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
    attention rounding: scaled_dot_product_attention;
    binary exact: add, sub, mul, real_div, floor_div, modulo = "mod", pow as rounding, maximum,
        minimum, equal, not_equal, less, less_equal, greater, greater_equal, logical_and,
        logical_or, logical_xor;
    cast exact: cast;
    classify exact: classify;
    constexpr exact: constexpr_affine_dequantize, constexpr_blockwise_shift_scale, constexpr_cast,
        constexpr_lut_to_dense, constexpr_lut_to_sparse, constexpr_sparse_blockwise_shift_scale,
        constexpr_sparse_to_dense;
    conv rounding: conv, conv_transpose;
    conv_quantized rounding: conv_quantized;
    crop_resize rounding: crop_resize;
    gather exact: gather, gather_along_axis, gather_nd, scatter as rounding,
        scatter_along_axis as rounding, scatter_nd as rounding;
    gelu rounding: gelu;
    identity exact: identity;
    join exact: concat, split, stack, tile;
    linear rounding: einsum, linear, matmul;
    list exact: list_gather, list_length, list_read, list_scatter, list_write, make_list;
    nms exact: non_maximum_suppression;
    nonzero exact: non_zero;
    norm rounding: batch_norm, instance_norm, l2_norm, layer_norm, local_response_norm;
    pad exact: pad;
    pool rounding: avg_pool, l2_pool, max_pool as exact;
    quantization exact: dequantize, quantize;
    random random: random_bernoulli, random_categorical, random_normal, random_uniform;
    recurrent rounding: gru, lstm, rnn;
    reduce rounding: cumsum, reduce_argmax as exact, reduce_argmin as exact, reduce_l1_norm,
        reduce_l2_norm, reduce_log_sum, reduce_log_sum_exp, reduce_max as exact, reduce_mean,
        reduce_min as exact, reduce_prod, reduce_sum, reduce_sum_square;
    resize rounding: resize, resize_bilinear, resize_nearest_neighbor as exact, upsample_bilinear,
        upsample_nearest_neighbor as exact;
    sample rounding: affine, resample;
    select exact: select;
    shape exact: band_part, expand_dims, fill, fill_like, flatten2d, one_hot, range_1d as rounding,
        reshape, reshape_like, reverse, reverse_sequence, shape, squeeze, transpose;
    slice exact: slice_by_index, slice_by_size, slice_update;
    softmax rounding: softmax;
    sort exact: argsort, topk;
    space exact: batch_to_space, crop, depth_to_space, pixel_shuffle, pixel_unshuffle,
        sliding_windows, space_to_batch, space_to_depth;
    unary rounding: abs as exact, acos, asin, atan, atanh, ceil as exact, clamped_relu as exact,
        clip as exact, cos, cosh, elu, erf, exp, exp2, floor as exact, inverse, leaky_relu as exact,
        linear_activation, log, logical_not as exact, prelu as exact, relu as exact,
        relu6 as exact, round as exact, rsqrt, scaled_tanh, sigmoid, sigmoid_hard, sign as exact,
        silu, sin, sinh, softplus, softplus_parametric, softsign, sqrt as exact, square as exact,
        tan, tanh, threshold as exact, thresholded_relu as exact;
}
