//! The weights of a model: which there are, and how they are exchanged, taken
//! out and put back. (Storing identical ones once is
//! [`merge::dedup`](crate::merge::dedup).)
//!
//! Weights are moved as ranges of files. Nothing here holds more than one of
//! them in memory.

mod catalog;
mod error;
mod fill;
mod replace;
mod restore;
mod strip;

pub use catalog::{Catalog, MIN_IMMEDIATE, Site, Storage, Stored, Use};
pub use error::Error;
pub use fill::Fill;
pub use replace::{Offer, ReplaceOptions, Replaced, Replacement, replace};
pub use restore::{Renamed, Restored, restore};
pub use strip::{StripOptions, Stripped, Taken, strip};
