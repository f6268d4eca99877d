//! (in progress)

/// The messages of the format, generated from `proto/coreml.proto`.
#[allow(missing_docs, reason = "generated; the schema is the documentation")]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/coreml.rs"));
}
