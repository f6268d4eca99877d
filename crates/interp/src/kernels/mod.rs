//! Kernels: what each operation computes, on candle CPU tensors. Files mirror
//! the families of the op table.

use crate::call::Kernel;

pub(crate) mod gemm;
pub(crate) mod layout;
pub(crate) mod simd;
pub(crate) mod vmath;

/// A kernel family is a file with functions `fn(&Call) -> Outputs`; one line
/// here names the operations that it executes.
macro_rules! kernels {
    ($($family:ident: $($op:ident),+ $(,)?;)*) => {
        $(pub(crate) mod $family;)*

        /// The kernel of an operation type.
        pub(crate) fn lookup(op_type: &str) -> Option<Kernel> {
            match op_type {
                $($(stringify!($op) => Some($family::$op),)+)*
                _ => None,
            }
        }
    };
}

/// A tensor of more elements than this is refused: no model needs it, and a
/// damaged file must not exhaust the machine.
pub(crate) const MAX_ELEMENTS: usize = 1 << 36;

kernels! {
    identity: identity;
    linear: einsum, linear, matmul;
}
