//! Tests of whole programs, over our fixtures and, when they are there, the
//! shared models and conformance cases.

mod bad;
mod corpus;
mod inference;
mod table;
mod text;
mod verified;
