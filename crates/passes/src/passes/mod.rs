//! The passes. Adding one is a file here with `pub(super) static PASS: Pass`
//! and one word in the sorted list below.

use crate::pass::Pass;

macro_rules! passes {
    ($($name:ident),* $(,)?) => {
        $(mod $name;)*
        static PASSES: &[&Pass] = &[$(&$name::PASS),*];
    };
}

passes!(
    const_fold,
    conv1x1_to_linear,
    cse,
    dce,
    decompose_conv,
    decompose_sdpa,
    decompress,
    fp16,
    fp32,
    fuse_conv_bn,
    linear_to_conv1x1,
    remove_noop,
    remove_redundant_casts,
    split_wide,
);

/// Every pass, sorted by name.
pub fn passes() -> &'static [&'static Pass] {
    PASSES
}

/// The pass of that name.
pub fn lookup(name: &str) -> Option<&'static Pass> {
    PASSES.iter().copied().find(|p| p.name == name)
}

/// A pipeline with a name, for what people want to achieve.
#[derive(Debug)]
pub struct Preset {
    /// Name in a pipeline.
    pub name: &'static str,
    /// One line: what it achieves.
    pub summary: &'static str,
    /// The pipeline that it stands for.
    pub pipeline: &'static str,
}

/// Every preset, sorted by name.
pub static PRESETS: &[Preset] = &[Preset {
    name: "no-conv",
    summary: "A program without convolutions, for devices and runtimes on which they fail.",
    pipeline: "decompose-conv,dce",
}];
