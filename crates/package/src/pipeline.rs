//! One Core ML pipeline package from the packages of several stages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::error::{Error, Result};
use crate::manifest::{DATA, Manifest};
use crate::package::{FRESH_SPEC, FRESH_WEIGHTS, MANIFEST, MAX_SPEC, Package};
use crate::proto::{self, feature_type};
use crate::publish::{check_output, check_overlap};
use crate::relative;
use crate::spec::Spec;
use crate::stages::{Origin, PipelineFolder, PipelineManifest, StageRecord};
use crate::wire::{Described as _, FieldKind, FieldValue, Fields, MessageSchema, put_varint};
use crate::write::{Form, Piece, WriteOptions, WritePlan};

/// Field numbers of `Model`, `ModelDescription`, `FeatureDescription` and
/// `Pipeline`.
const MODEL_VERSION: u32 = 1;
const MODEL_DESCRIPTION: u32 = 2;
const MODEL_PIPELINE: u32 = 202;
const DESCRIPTION_INPUT: u32 = 1;
const DESCRIPTION_OUTPUT: u32 = 10;
const DESCRIPTION_METADATA: u32 = 100;
const FEATURE_NAME: u32 = 1;
const PIPELINE_MODELS: u32 = 1;
const PIPELINE_NAMES: u32 = 2;

impl PipelineFolder {
    /// Writes the stages as one package that holds a Core ML pipeline, see
    /// [`save_pipeline`].
    ///
    /// # Errors
    /// [`Error::StageChanged`], and those of [`save_pipeline`].
    pub fn save_package(&self, out: &Path, options: WriteOptions<'_>) -> Result<()> {
        let mut packages = Vec::new();
        for record in &self.manifest().stages {
            let package = self.open_stage(record)?;
            self.check_files(record, &package)?;
            packages.push(package);
        }
        save_pipeline(self.manifest(), &packages, self.path(), out, options)
    }
}

/// Writes stages as one package that holds a Core ML pipeline, in the form that
/// the extension of `out` asks for (`.mlpackage` or `.zip`). `packages` are those
/// of the manifest's stages; `path` is what messages call the manifest.
///
/// Features are described as the stages describe them, the specification
/// version is the newest among the stages, and the metadata is that of the
/// first. Weight files are copied as they are and called after the number of
/// their stage (`0-weight.bin`), as coremltools calls them.
///
/// Core ML runs all stages of a pipeline with the compute units that the
/// whole is loaded with: the manifest's are not part of the package.
///
/// # Errors
/// [`Error::Stages`] when a stage cannot be part of a pipeline (it keeps states,
/// has several functions, can be updated) or when two stages describe a feature
/// differently; otherwise those of [`Package::save`].
pub fn save_pipeline(
    manifest: &PipelineManifest,
    packages: &[Package],
    path: &Path,
    out: &Path,
    mut options: WriteOptions<'_>,
) -> Result<()> {
    let form = Form::of(out)?;
    if form == Form::Model {
        return Err(Error::OutputForm {
            path: out.to_owned(),
            reason: "a pipeline of packages has weights of its own; choose an output that \
                     ends in `.mlpackage`"
                .to_owned(),
        });
    }
    check_output(out, form, options.force)?;
    for package in packages {
        check_overlap(package.path(), out)?;
    }
    plan(manifest, packages, path)?.execute(out, form, &mut options)
}

/// Whether stages can be written as one pipeline.
///
/// # Errors
/// [`Error::Stages`], as [`save_pipeline`].
pub fn check_pipeline(
    manifest: &PipelineManifest,
    packages: &[Package],
    path: &Path,
) -> Result<()> {
    plan(manifest, packages, path).map(drop)
}

fn plan(manifest: &PipelineManifest, packages: &[Package], path: &Path) -> Result<WritePlan> {
    let stages: Vec<(&StageRecord, &Package)> = manifest.stages.iter().zip(packages).collect();
    Pipeline { manifest, path }.plan(&stages)
}

/// Stages that become one package.
struct Pipeline<'a> {
    manifest: &'a PipelineManifest,
    path: &'a Path,
}

impl Pipeline<'_> {
    fn plan(&self, stages: &[(&StageRecord, &Package)]) -> Result<WritePlan> {
        let specs = self.fitting_specs(stages)?;
        let mut plan = WritePlan::default();
        let mut pipeline = Vec::new();
        let folder = relative::folder(FRESH_SPEC);
        let mut taken = BTreeSet::new();
        for (number, ((_, package), spec)) in stages.iter().zip(&specs).enumerate() {
            let mut names = BTreeMap::new();
            for name in spec.weight_file_names()? {
                let file = package.resolve_weight_file(&name)?;
                let last = name.rsplit('/').next().unwrap_or(&name);
                let mut new = format!("{number}-{last}");
                while !taken.insert(new.clone()) {
                    new.insert(0, '_');
                }
                let pieces = vec![Piece::Range(package.source(file)?)];
                plan.files
                    .push((format!("{DATA}{FRESH_WEIGHTS}/{new}"), pieces));
                let within = FRESH_WEIGHTS.strip_prefix(folder).unwrap_or(FRESH_WEIGHTS);
                names.insert(name, format!("@model_path/{within}/{new}"));
            }
            let renamed = rename_weights(proto::Model::SCHEMA, spec.bytes(), &names);
            let model = renamed.as_deref().unwrap_or(spec.bytes());
            put_bytes(PIPELINE_MODELS, model, &mut pipeline);
        }
        for (record, _) in stages {
            put_bytes(PIPELINE_NAMES, record.name.as_bytes(), &mut pipeline);
        }
        let mut model = Vec::with_capacity(pipeline.len() + 1024);
        let version = specs.iter().map(Spec::version).max().unwrap_or(1);
        put_varint(u64::from(MODEL_VERSION) << 3, &mut model);
        put_varint(i64::from(version) as u64, &mut model);
        put_bytes(MODEL_DESCRIPTION, &self.describe(&specs)?, &mut model);
        put_bytes(MODEL_PIPELINE, &pipeline, &mut model);
        if model.len() as u64 > MAX_SPEC {
            return Err(self.wrong(format!(
                "the specs of its stages have {} bytes together, and no spec may have more than \
                 2 GiB",
                model.len()
            )));
        }
        let weights = (!plan.files.is_empty()).then_some(FRESH_WEIGHTS);
        let manifest = Manifest::new(FRESH_SPEC, weights).text().clone();
        plan.files
            .push((MANIFEST.to_owned(), vec![Piece::Bytes(manifest)]));
        plan.files.push((
            format!("{DATA}{FRESH_SPEC}"),
            vec![Piece::Bytes(model.into())],
        ));
        plan.files.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(plan)
    }

    /// The specs of the stages, with features described so that they fit
    /// together.
    ///
    /// Core ML wants a feature described alike by who gives it and who takes it.
    /// Converters often leave out the shape of an output, which the stage that
    /// takes it knows.
    fn fitting_specs(&self, stages: &[(&StageRecord, &Package)]) -> Result<Vec<Spec>> {
        let mut specs: Vec<Spec> = Vec::new();
        let mut descriptions: Vec<proto::ModelDescription> = Vec::new();
        for (record, package) in stages {
            let description = package.spec().description()?;
            let refuse = |why: &str| {
                Err(self.wrong(format!(
                    "stage `{}` {why}; load the stages one by one, which `--loader` writes the \
                     code for",
                    record.name
                )))
            };
            if !description.state.is_empty() || !record.states.is_empty() {
                return refuse("keeps states, and a Core ML pipeline has no way to declare them");
            }
            if !description.functions.is_empty() {
                return refuse("has several functions, and a stage of a pipeline has one");
            }
            if package.spec().is_updatable()? {
                return refuse("can be updated on the device, which its pipeline could not");
            }
            specs.push(package.spec().clone());
            descriptions.push(description);
        }
        for (number, (record, _)) in stages.iter().enumerate() {
            for input in &record.inputs {
                let name = input.name.as_str();
                let wanted = self
                    .feature(&descriptions[number].input, name, number)?
                    .r#type
                    .clone();
                let earlier = match &input.from {
                    // The first stage that takes it speaks for the caller.
                    Origin::Caller => stages[..number].iter().position(|(stage, _)| {
                        let takes =
                            |i: &crate::StageInput| i.name == name && i.from == Origin::Caller;
                        stage.inputs.iter().any(takes)
                    }),
                    Origin::Stage(from) => stages.iter().position(|(stage, _)| stage.name == *from),
                };
                let Some(earlier) = earlier else { continue };
                let described = match &input.from {
                    Origin::Caller => &descriptions[earlier].input,
                    Origin::Stage(_) => &descriptions[earlier].output,
                };
                let described = self.feature(described, name, earlier)?.r#type.clone();
                if described == wanted {
                    continue;
                }
                if input.from == Origin::Caller || !shape_is_open(described.as_ref()) {
                    return Err(self.wrong(format!(
                        "stages `{}` and `{}` describe `{name}` differently, and Core ML accepts \
                         no pipeline in which the types of a feature differ",
                        stages[earlier].0.name, record.name
                    )));
                }
                let outputs = descriptions[earlier].output.iter_mut();
                for feature in outputs.filter(|f| f.name == name) {
                    feature.r#type.clone_from(&wanted);
                }
                specs[earlier] = specs[earlier].with_description(&descriptions[earlier])?;
            }
        }
        Ok(specs)
    }

    fn feature<'d>(
        &self,
        features: &'d [proto::FeatureDescription],
        name: &str,
        stage: usize,
    ) -> Result<&'d proto::FeatureDescription> {
        let found = features.iter().find(|feature| feature.name == name);
        found.ok_or_else(|| self.undescribed(name, stage))
    }

    fn undescribed(&self, name: &str, stage: usize) -> Error {
        let stages = &self.manifest.stages;
        let stage = stages.get(stage).map_or("", |stage| stage.name.as_str());
        self.wrong(format!(
            "the description of stage `{stage}` does not have its feature `{name}`"
        ))
    }

    /// The description of the whole, each feature as its stage has it, byte for
    /// byte.
    fn describe(&self, specs: &[Spec]) -> Result<Vec<u8>> {
        let manifest = self.manifest;
        let mut description = Vec::new();
        for name in &manifest.inputs {
            let takes = |stage: &StageRecord| {
                let caller = |i: &crate::StageInput| i.name == *name && i.from == Origin::Caller;
                stage.inputs.iter().any(caller)
            };
            let stage = manifest.stages.iter().position(takes).unwrap_or(0);
            let feature = field_named(&specs[stage], DESCRIPTION_INPUT, Some(name));
            let feature = feature.ok_or_else(|| self.undescribed(name, stage))?;
            put_bytes(DESCRIPTION_INPUT, &feature, &mut description);
        }
        for name in &manifest.outputs {
            let gives = |stage: &StageRecord| stage.outputs.iter().any(|f| f.name == *name);
            let stage = manifest.stages.iter().rposition(gives).unwrap_or(0);
            let feature = field_named(&specs[stage], DESCRIPTION_OUTPUT, Some(name));
            let feature = feature.ok_or_else(|| self.undescribed(name, stage))?;
            put_bytes(DESCRIPTION_OUTPUT, &feature, &mut description);
        }
        let first = specs.first();
        if let Some(metadata) = first.and_then(|s| field_named(s, DESCRIPTION_METADATA, None)) {
            put_bytes(DESCRIPTION_METADATA, &metadata, &mut description);
        }
        Ok(description)
    }

    fn wrong(&self, reason: String) -> Error {
        Error::Stages {
            path: self.path.to_owned(),
            reason,
        }
    }
}

/// Whether a description leaves the shape of an array to whoever reads it.
fn shape_is_open(ty: Option<&proto::FeatureType>) -> bool {
    match ty.and_then(|ty| ty.r#type.as_ref()) {
        Some(feature_type::Type::MultiArrayType(array)) => array.shape.is_empty(),
        _ => false,
    }
}

/// A field of a spec's description, encoded: the feature of that name, or the
/// first of that number.
fn field_named(spec: &Spec, number: u32, name: Option<&str>) -> Option<Vec<u8>> {
    let description = spec.description_bytes();
    Fields::new(&description).flatten().find_map(|field| {
        let FieldValue::Bytes(bytes) = field.value else {
            return None;
        };
        let named = |wanted: &str| {
            Fields::new(bytes).flatten().any(|field| {
                field.number == FEATURE_NAME
                    && matches!(field.value, FieldValue::Bytes(b) if b == wanted.as_bytes())
            })
        };
        (field.number == number && name.is_none_or(named)).then(|| bytes.to_vec())
    })
}

/// Appends a field of bytes.
fn put_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    put_varint(u64::from(number) << 3 | 2, out);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// A message with other names of weight files, wherever in it they stand; every
/// other byte stays. `None` when nothing in it is renamed.
///
/// The message has been walked before, which bounds its depth.
fn rename_weights(
    message: &MessageSchema,
    bytes: &[u8],
    names: &BTreeMap<String, String>,
) -> Option<Vec<u8>> {
    let file_name = std::ptr::eq(message, proto::value::BlobFileValue::SCHEMA);
    let mut out: Option<Vec<u8>> = None;
    let mut copied = 0;
    for field in Fields::new(bytes).flatten() {
        let FieldValue::Bytes(value) = field.value else {
            continue;
        };
        let new = match message.field(field.number).map(|schema| schema.kind) {
            Some(FieldKind::Message(inner) | FieldKind::Encoded(inner)) => {
                rename_weights(inner, value, names)
            }
            Some(FieldKind::String) if file_name && field.number == 1 => {
                let old = std::str::from_utf8(value).ok();
                old.and_then(|old| names.get(old))
                    .map(|new| new.clone().into_bytes())
            }
            _ => None,
        };
        if let Some(new) = new {
            let out = out.get_or_insert_with(|| Vec::with_capacity(bytes.len() + 64));
            out.extend_from_slice(&bytes[copied..field.start]);
            put_bytes(field.number, &new, out);
            copied = field.end;
        }
    }
    let mut out = out?;
    out.extend_from_slice(&bytes[copied..]);
    Some(out)
}
