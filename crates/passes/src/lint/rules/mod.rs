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
    blockwise_scale,
    boolean_logic,
    causal_mask,
    channels_last_linear,
    conv_dilation,
    conv_kernel,
    conv_many_predictions,
    conv_stride,
    cpu_attention,
    cpu_grouped_dilated_conv,
    deep_convolutions,
    dimension_cap,
    dynamic_conv_weight,
    dynamic_gather,
    dynamic_reshape,
    dynamic_slice,
    embedding_table,
    empty_slice,
    empty_tensor,
    enumerated_layer_norm,
    enumerated_memory,
    enumerated_shapes_count,
    exact_gelu,
    exp_overflow,
    first_generation_op,
    flexible_geometry,
    flexible_range,
    flexible_state,
    fp16_counting,
    fp16_overflow,
    fp16_parameters,
    fp32_compute,
    fp32_constant,
    gpu_attention_batch,
    gpu_instance_norm,
    gpu_recurrent,
    gpu_slice_phone,
    gpu_slicing,
    gpu_transposed_attention,
    huge_image,
    index_output,
    infinite_mask,
    int_arithmetic,
    int_cast,
    int4_layout,
    invalid_program,
    last_axis_padding,
    last_axis_slice,
    log_of_softmax,
    logsumexp_overflow,
    lut_scale_order,
    many_elementwise,
    many_functions,
    many_products,
    masked_mean_flexible,
    matmul_contraction,
    mixed_flexibility,
    mlp_row,
    multifunction_states,
    nan_test,
    neural_engine_islands,
    non_maximum_suppression,
    opset_too_new,
    pad_form,
    pad_mode,
    palette_depthwise,
    palette_size,
    palette_with_state,
    palettized_stride,
    pool_kernel,
    pool_stride,
    quantised_activations,
    quantised_weights,
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
    several_enumerated_inputs,
    several_states,
    short_query,
    sine_cosine,
    singleton_last_axis,
    sliced_concat,
    small_graph,
    small_segments,
    softmax_axis,
    softplus_overflow,
    square_nonlinearity,
    square_overflow,
    state_dynamic_update,
    state_needs_ios18,
    state_placement,
    state_shift,
    state_update_length,
    state_width,
    transpose_extent,
    transpose_traffic,
    transposed_conv_form,
    unaligned_output,
    unbounded_range,
    unfused_attention,
    unsupported_op,
    vanishing_epsilon,
    vector_palette,
    weight_file_limit,
    weights_large,
    wide_depthwise,
    wide_layer_norm,
    wide_projection,
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
