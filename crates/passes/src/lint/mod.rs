//! What will fail or be slow on a device, found in the file.

mod target;

pub use target::{Axis, Caps, Excess, Family, Ncdhw, Target};
