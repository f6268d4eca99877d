//! Tests of whole programs, over our fixtures and, when they are there, the
//! shared models and conformance cases.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking and print what they checked"
)]

mod bad;
mod corpus;
mod damage;
mod images;
mod inference;
mod parse;
mod table;
mod text;
mod verified;
