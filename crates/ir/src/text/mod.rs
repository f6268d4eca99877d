//! Apple's MIL text.

mod print;

pub use print::{Dialect, print};
