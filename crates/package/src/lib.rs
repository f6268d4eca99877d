//! Core ML model packages on disk.
//!
//! [`Package::open`] reads a `.mlpackage` folder, a zip of one, or a bare
//! `.mlmodel`: the manifest, and the [`Spec`], which keeps the bytes it was read
//! from. Weights stay in their file until a [`Blob`] is asked for.
//!
//! [`PipelineFolder`] is a folder of such packages that run one after the other,
//! with the manifest (`pipeline.json`) that says how.
//!
//! Nothing is lost: what is not changed is written as it was read, byte for
//! byte, and a change that would drop fields which this build does not know is
//! an error that names them.

#![warn(missing_docs)]

mod archive;
mod copy;
mod error;
mod join;
mod manifest;
mod overlay;
mod package;
mod pipeline;
mod publish;
mod relative;
mod rewrite;
mod save;
mod source;
mod spec;
mod stages;
mod weights;
pub mod wire;
mod write;

/// The messages of the format, generated from `proto/coreml.proto`.
#[allow(missing_docs, reason = "generated; the schema is the documentation")]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/coreml.rs"));
}

pub use bytes::Bytes;
pub use copy::digest;
pub use error::{Error, Result, WeightFault};
pub use join::{Joined, JoinedWeights, SharedBlobs, identical, join_weights};
pub use manifest::{Item, Manifest};
pub use overlay::{Between, Overlaid, overlay_weights, repeated, zeros};
pub use package::{Container, Package, PackageFile};
pub use pipeline::{check_pipeline, save_pipeline};
pub use prost::Message;
pub use publish::{create_file, create_folder, unfinished};
pub use rewrite::{NewBlob, NewData, RewrittenWeights, rewrite_weights};
pub use save::Changes;
pub use source::Source;
pub use spec::{Kind, Spec};
pub use stages::{
    ComputeUnits, FunctionRecord, Origin, PIPELINE_FILE, PIPELINE_SCHEMA, PipelineFolder,
    PipelineManifest, StageEnds, StageFeature, StageFile, StageInput, StageRecord,
};
pub use weights::{ALIGNMENT, Blob, StorageType, WeightFile};
pub use write::{Piece, WriteOptions};
