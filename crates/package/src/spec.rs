//! The model spec: one protobuf message, kept as the bytes it was read from.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::proto;
use crate::wire::{self, Described, Fidelity, FieldValue, Fields, Reach, put_varint};

const VERSION: u32 = 1;
const DESCRIPTION: u32 = 2;
const ML_PROGRAM: u32 = 502;
const PIPELINE_MODELS: u32 = 1;
const WRAPPED_PIPELINE: u32 = 1;

/// What kind of model a spec holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    number: u32,
    name: &'static str,
}

impl Kind {
    /// The name of the field in `Model` which holds the model, such as
    /// `ml_program`, `pipeline` or `neural_network`.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Whether it is an ML Program.
    pub fn is_ml_program(self) -> bool {
        self.number == ML_PROGRAM
    }

    /// Whether it is one of the three kinds of pipeline.
    pub fn is_pipeline(self) -> bool {
        matches!(self.number, 200..=202)
    }
}

/// Where one field of the model stands in the spec's bytes.
#[derive(Debug, Clone)]
struct Place {
    /// Key, length and value.
    whole: Range<usize>,
    /// The value alone.
    value: Range<usize>,
}

/// A model spec, wire-exact: what is not changed is written as it was read.
#[derive(Debug, Clone)]
pub struct Spec {
    path: PathBuf,
    bytes: Bytes,
    version: i32,
    version_at: Option<Range<usize>>,
    description: Option<Place>,
    model: Place,
    kind: Kind,
}

impl Spec {
    /// Reads the outermost message; description and model stay encoded until
    /// they are asked for.
    ///
    /// `path` is for error messages.
    ///
    /// # Errors
    /// [`Error::Spec`] at the first damaged byte of the outermost message, and
    /// [`Error::Incomplete`] when no model is in it or more than one.
    pub fn parse(bytes: Bytes, path: &Path) -> Result<Spec> {
        let schema = proto::Model::SCHEMA;
        let damaged = |source| Error::Spec {
            path: path.to_owned(),
            message: schema.name,
            source,
        };
        let incomplete = |reason| Error::Incomplete {
            path: path.to_owned(),
            reason,
        };
        // Checks wire types of the known fields.
        wire::walk(schema, &bytes, Reach::Decoded, &mut |_| {}).map_err(damaged)?;
        let mut version = 0;
        let mut version_at = None;
        let mut description = None;
        let mut model: Option<(Place, Kind)> = None;
        let mut unknown = Vec::new();
        for field in Fields::new(&bytes) {
            let field = field.map_err(damaged)?;
            let place = Place {
                whole: field.start..field.end,
                value: field.value_start..field.end,
            };
            match (field.number, field.value, schema.field(field.number)) {
                (VERSION, FieldValue::Varint(value), _) => {
                    version = value as i32;
                    version_at = Some(place.whole);
                }
                (DESCRIPTION, FieldValue::Bytes(_), _) => {
                    let twice = description.replace(place).is_some();
                    if twice {
                        return Err(incomplete("it holds two model descriptions".to_owned()));
                    }
                }
                (number, FieldValue::Bytes(_), Some(known)) => {
                    let kind = Kind {
                        number,
                        name: known.name,
                    };
                    if let Some((_, first)) = model.replace((place, kind)) {
                        return Err(incomplete(format!(
                            "it holds two models ({} and {})",
                            first.name, kind.name
                        )));
                    }
                }
                (number, _, None) => unknown.push(number),
                _ => {}
            }
        }
        let Some((model, kind)) = model else {
            let mut reason = "the spec holds no model".to_owned();
            if bytes.is_empty() {
                reason.push_str(": the file is empty");
            } else if unknown.is_empty() {
                reason.push_str("; the file is cut short, or is not a Core ML model");
            } else {
                reason.push_str(&format!(
                    " of a known kind, but unknown fields {unknown:?}; it is a newer format, or \
                     not a Core ML model"
                ));
            }
            return Err(incomplete(reason));
        };
        let path = path.to_owned();
        Ok(Spec {
            path,
            bytes,
            version,
            version_at,
            description,
            model,
            kind,
        })
    }

    /// The whole spec as it is written to a file.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The file it was read from, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The kind of model.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The specification version (6 to 9 are the iOS 15 to 18 of ML Programs).
    pub fn version(&self) -> i32 {
        self.version
    }

    /// The encoded model of [`Spec::kind`].
    pub fn model_bytes(&self) -> Bytes {
        self.bytes.slice(self.model.value.clone())
    }

    /// The encoded description; empty when the spec has none.
    pub fn description_bytes(&self) -> Bytes {
        let place = self.description.as_ref();
        place.map_or_else(Bytes::new, |place| self.bytes.slice(place.value.clone()))
    }

    /// The description: inputs, outputs, states, functions, metadata.
    ///
    /// # Errors
    /// [`Error::Spec`] at the first damaged byte.
    pub fn description(&self) -> Result<proto::ModelDescription> {
        let base = self
            .description
            .as_ref()
            .map_or(0, |place| place.value.start);
        self.decode(self.description_bytes(), base)
    }

    /// The ML Program; its operations stay encoded.
    ///
    /// # Errors
    /// [`Error::WrongKind`] when the model is of another kind, [`Error::Spec`]
    /// at the first damaged byte.
    pub fn program(&self) -> Result<proto::Program> {
        self.need(self.kind.is_ml_program(), "an ML Program")?;
        self.decode(self.model_bytes(), self.model.value.start)
    }

    /// The stages of a pipeline of any of its three kinds, with their names
    /// (empty where the file has none), each a whole spec.
    ///
    /// # Errors
    /// [`Error::WrongKind`] when the model is no pipeline, [`Error::Spec`] at
    /// the first damaged byte, [`Error::Incomplete`] for a stage without model.
    pub fn pipeline(&self) -> Result<Vec<(String, Spec)>> {
        self.need(self.kind.is_pipeline(), "a pipeline")?;
        let base = self.model.value.start;
        let pipeline = if self.kind.name == "pipeline" {
            self.decode::<proto::Pipeline>(self.model_bytes(), base)?
        } else {
            let wrapper = self.decode::<proto::PipelineWrapper>(self.model_bytes(), base)?;
            wrapper.pipeline.unwrap_or_default()
        };
        let mut names = pipeline.names.into_iter();
        let stages = pipeline.models.into_iter();
        stages
            .map(|stage| {
                Ok((
                    names.next().unwrap_or_default(),
                    Spec::parse(stage, &self.path)?,
                ))
            })
            .collect()
    }

    /// The spec of a pipeline with other stages, as many as it has; every other
    /// byte stays.
    ///
    /// # Errors
    /// [`Error::WrongKind`] when the model is no pipeline, [`Error::Spec`] at
    /// the first damaged byte, [`Error::Incomplete`] when the number of stages
    /// differs.
    pub fn with_stages(&self, stages: &[Spec]) -> Result<Spec> {
        self.need(self.kind.is_pipeline(), "a pipeline")?;
        let mut stages_left = stages.iter();
        let pipeline = |bytes: &[u8], left: &mut std::slice::Iter<'_, Spec>| {
            self.replace_fields(
                bytes,
                proto::Pipeline::SCHEMA.name,
                PIPELINE_MODELS,
                &mut |_| left.next().map(|stage| stage.bytes.to_vec()),
            )
        };
        let model = self.model_bytes();
        let new = if self.kind.name == "pipeline" {
            pipeline(&model, &mut stages_left)?
        } else {
            let name = proto::PipelineWrapper::SCHEMA.name;
            let mut inner = Ok(());
            let new =
                self.replace_fields(&model, name, WRAPPED_PIPELINE, &mut |bytes| match pipeline(
                    bytes,
                    &mut stages_left,
                ) {
                    Ok(new) => Some(new),
                    Err(error) => {
                        inner = Err(error);
                        None
                    }
                });
            inner?;
            new?
        };
        if stages_left.next().is_some() {
            return Err(Error::Incomplete {
                path: self.path.clone(),
                reason: "it has fewer stages than it should get".to_owned(),
            });
        }
        self.splice(&self.model, self.kind.number, &new)
    }

    /// A message with other bytes in its fields of that number; `replace` has
    /// none for one field too many.
    fn replace_fields(
        &self,
        bytes: &[u8],
        message: &'static str,
        number: u32,
        replace: &mut dyn FnMut(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(bytes.len());
        for field in Fields::new(bytes) {
            let field = field.map_err(|source| self.damaged(message, source))?;
            match field.value {
                FieldValue::Bytes(value) if field.number == number => {
                    let Some(new) = replace(value) else {
                        return Err(Error::Incomplete {
                            path: self.path.clone(),
                            reason: "it has more stages than it should get".to_owned(),
                        });
                    };
                    put_varint(u64::from(number) << 3 | 2, &mut out);
                    put_varint(new.len() as u64, &mut out);
                    out.extend_from_slice(&new);
                }
                _ => out.extend_from_slice(&bytes[field.start..field.end]),
            }
        }
        Ok(out)
    }

    /// Whether the model can be trained further on a device.
    ///
    /// # Errors
    /// [`Error::Spec`] when the outermost message is damaged.
    pub fn is_updatable(&self) -> Result<bool> {
        Ok(self
            .decode::<proto::Model>(self.bytes.clone(), 0)?
            .is_updatable)
    }

    /// What re-encoding the description would change.
    ///
    /// # Errors
    /// [`Error::Spec`] at the first damaged byte.
    pub fn description_fidelity(&self) -> Result<Fidelity> {
        self.fidelity::<proto::ModelDescription>(&self.description_bytes())
    }

    /// What re-encoding the program around its operations would change.
    ///
    /// # Errors
    /// [`Error::WrongKind`] when the model is of another kind, [`Error::Spec`]
    /// at the first damaged byte.
    pub fn program_fidelity(&self) -> Result<Fidelity> {
        self.need(self.kind.is_ml_program(), "an ML Program")?;
        self.fidelity::<proto::Program>(&self.model_bytes())
    }

    /// What re-encoding the outermost message would change. For information:
    /// the `with_` functions never re-encode it.
    ///
    /// # Errors
    /// [`Error::Spec`] at the first damaged byte.
    pub fn model_fidelity(&self) -> Result<Fidelity> {
        self.fidelity::<proto::Model>(&self.bytes)
    }

    /// The spec with another program; every other byte stays.
    ///
    /// # Errors
    /// [`Error::Lossy`] when the program of this spec holds fields outside of
    /// its operations that this build does not know, and otherwise the errors
    /// of [`Spec::program`].
    pub fn with_program(&self, program: &proto::Program) -> Result<Spec> {
        self.refuse_loss::<proto::Program>(self.program_fidelity()?)?;
        self.splice(
            &self.model,
            ML_PROGRAM,
            &prost::Message::encode_to_vec(program),
        )
    }

    /// The spec with another description; every other byte stays.
    ///
    /// # Errors
    /// [`Error::Lossy`] when the description of this spec holds fields that
    /// this build does not know, [`Error::Spec`] when it is damaged.
    pub fn with_description(&self, description: &proto::ModelDescription) -> Result<Spec> {
        self.refuse_loss::<proto::ModelDescription>(self.description_fidelity()?)?;
        let after = self.version_at.as_ref().map_or(0, |at| at.end);
        let absent = Place {
            whole: after..after,
            value: after..after,
        };
        let place = self.description.as_ref().unwrap_or(&absent);
        self.splice(
            place,
            DESCRIPTION,
            &prost::Message::encode_to_vec(description),
        )
    }

    /// The spec with another specification version; every other byte stays.
    ///
    /// # Errors
    /// None in practice: the result is parsed again.
    pub fn with_version(&self, version: i32) -> Result<Spec> {
        let mut field = vec![(VERSION << 3) as u8];
        put_varint(i64::from(version) as u64, &mut field);
        let at = self.version_at.clone().unwrap_or(0..0);
        self.replace(at, &field)
    }

    /// The names of all weight files that the programs in this spec refer to,
    /// as written (`@model_path/weights/weight.bin`).
    ///
    /// # Errors
    /// [`Error::Spec`] at the first damaged byte, in operations too.
    pub fn weight_file_names(&self) -> Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        let schema = proto::Model::SCHEMA;
        let file_name = proto::value::BlobFileValue::SCHEMA;
        wire::walk(schema, &self.bytes, Reach::Everything, &mut |visit| {
            if std::ptr::eq(visit.message, file_name)
                && visit.field.number == 1
                && let FieldValue::Bytes(name) = visit.field.value
            {
                names.insert(String::from_utf8_lossy(name).into_owned());
            }
        })
        .map_err(|source| self.damaged(schema.name, source))?;
        Ok(names)
    }

    fn splice(&self, place: &Place, number: u32, value: &[u8]) -> Result<Spec> {
        let mut field = Vec::with_capacity(value.len() + 12);
        put_varint(u64::from(number) << 3 | 2, &mut field);
        put_varint(value.len() as u64, &mut field);
        field.extend_from_slice(value);
        self.replace(place.whole.clone(), &field)
    }

    fn replace(&self, at: Range<usize>, field: &[u8]) -> Result<Spec> {
        let mut bytes = Vec::with_capacity(self.bytes.len() - at.len() + field.len());
        bytes.extend_from_slice(&self.bytes[..at.start]);
        bytes.extend_from_slice(field);
        bytes.extend_from_slice(&self.bytes[at.end..]);
        Spec::parse(bytes.into(), &self.path)
    }

    fn need(&self, fits: bool, wanted: &'static str) -> Result<()> {
        if fits {
            return Ok(());
        }
        Err(Error::WrongKind {
            path: self.path.clone(),
            kind: self.kind.name,
            wanted,
        })
    }

    fn damaged(&self, message: &'static str, source: wire::WireError) -> Error {
        Error::Spec {
            path: self.path.clone(),
            message,
            source,
        }
    }

    /// `base` is where `bytes` starts in the spec, so that offsets are the file's.
    fn decode<M: Described>(&self, bytes: Bytes, base: usize) -> Result<M> {
        wire::decode(bytes).map_err(|mut source| {
            source.offset += base;
            self.damaged(M::SCHEMA.name, source)
        })
    }

    fn fidelity<M: Described>(&self, bytes: &Bytes) -> Result<Fidelity> {
        wire::fidelity::<M>(bytes).map_err(|source| self.damaged(M::SCHEMA.name, source))
    }

    fn refuse_loss<M: Described>(&self, fidelity: Fidelity) -> Result<()> {
        match fidelity {
            Fidelity::Exact | Fidelity::Equivalent => Ok(()),
            Fidelity::Lossy(fields) => Err(Error::Lossy {
                path: self.path.clone(),
                message: M::SCHEMA.name,
                fields,
            }),
        }
    }
}
