//! The rules. Adding one is a file here with `pub(super) static RULE: Rule` and
//! `cases::{triggers, near_miss}` for the tests, and one word in the sorted list
//! below.

use super::finding::Rule;

macro_rules! rules {
    ($($name:ident),* $(,)?) => {
        $(mod $name;)*
        static RULES: &[&Rule] = &[$(&$name::RULE),*];
        /// For each rule, a program that has what it finds and the same program
        /// one step inside of the limit.
        #[cfg(test)]
        pub(super) static CASES: &[super::testing::Case] = &[$(super::testing::Case {
            rule: &$name::RULE,
            triggers: $name::cases::triggers,
            near_miss: $name::cases::near_miss,
        }),*];
    };
}

rules!(
    accumulator_overflow,
    batched_heads,
    boolean_logic,
    causal_mask,
    channels_last_linear,
    conv_dilation,
    conv_kernel,
    conv_stride,
    dimension_cap,
    dynamic_conv_weight,
    dynamic_gather,
    dynamic_reshape,
    dynamic_slice,
    embedding_table,
    empty_tensor,
    enumerated_layer_norm,
    exact_gelu,
    exp_overflow,
    first_generation_op,
    fp16_counting,
    fp16_overflow,
    fp32_compute,
    fp32_constant,
    huge_image,
    index_output,
    infinite_mask,
    int_arithmetic,
    int_cast,
    last_axis_padding,
    last_axis_slice,
    log_of_softmax,
    logsumexp_overflow,
    matmul_contraction,
    mlp_row,
    nan_test,
    non_maximum_suppression,
    pad_form,
    pad_mode,
    palettized_stride,
    pool_kernel,
    pool_stride,
    rank_above_five,
    rank_five,
    rank_five_product,
    recurrent_op,
    repeated_sdpa,
    resample_op,
    reversed_slice,
    rotary_gather,
    scalar_interface,
    scatter_op,
    sdpa_form,
    sdpa_size,
    sine_cosine,
    singleton_last_axis,
    sliced_concat,
    softmax_axis,
    softplus_overflow,
    square_nonlinearity,
    square_overflow,
    transpose_extent,
    transpose_traffic,
    transposed_conv_form,
    unaligned_output,
    unfused_attention,
    unsupported_op,
    vanishing_epsilon,
    wide_depthwise,
    wide_layer_norm,
    zero_channel,
);

/// Every rule, sorted by name.
pub fn rules() -> &'static [&'static Rule] {
    RULES
}

/// The rules of that name or number: `dimension-cap` is one rule, `SHP04` may
/// be part of several.
pub fn lookup(name: &str) -> Vec<&'static Rule> {
    let is = |rule: &&&Rule| {
        rule.name == name || rule.ids.iter().any(|id| id.eq_ignore_ascii_case(name))
    };
    RULES.iter().filter(is).copied().collect()
}
