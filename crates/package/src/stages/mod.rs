//! `pipeline.json`: the stages that a model was split into, where each should
//! run, and what goes from one to the next.

mod check;
mod wired;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::package::{MANIFEST, Package, PackageFile};
use crate::publish::write_file;
use crate::source::Source;

/// What the schema is called that this build reads and writes.
pub const PIPELINE_SCHEMA: &str = "milwright-pipeline/2";
/// The name of the file.
pub const PIPELINE_FILE: &str = "pipeline.json";
/// What a stage's input says when the caller gives it.
const CALLER: &str = "caller";
/// No manifest is larger: a line for each of a hundred thousand files is less.
const MAX_MANIFEST: u64 = 16 << 20;

/// Stages that run one after the other, as `pipeline.json` holds them.
///
/// A stage's input is the feature of that name which the nearest stage before
/// it gives, or else the caller: the rule of Core ML's own pipelines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineManifest {
    /// [`PIPELINE_SCHEMA`]. It changes when a field is removed or gets another
    /// meaning; unknown fields are new ones, and are ignored.
    pub schema: String,
    /// The name of the package that was split, without its folder.
    pub model: String,
    /// The function that was split.
    pub function: String,
    /// Names of what the caller gives, in order.
    pub inputs: Vec<String>,
    /// Names of what the caller gets, in order.
    pub outputs: Vec<String>,
    /// The stages, in the order in which they run.
    pub stages: Vec<StageRecord>,
    /// The other functions, when the stages have several. What stands above is
    /// of [`PipelineManifest::function`], which runs when the host names none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<FunctionRecord>,
}

/// How another function of the stages is wired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionRecord {
    /// What it is called in every stage.
    pub name: String,
    /// Names of what the caller gives, in order.
    pub inputs: Vec<String>,
    /// Names of what the caller gets, in order.
    pub outputs: Vec<String>,
    /// What each stage takes and gives, in the order of the stages.
    pub stages: Vec<StageEnds>,
}

/// What a stage takes and gives in one of its functions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageEnds {
    /// What it takes, in order.
    pub inputs: Vec<StageInput>,
    /// What it gives, in order.
    pub outputs: Vec<StageFeature>,
    /// What it keeps from one prediction to the next.
    pub states: Vec<StageFeature>,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageRecord {
    /// What it is called; every stage differently.
    pub name: String,
    /// Its package, relative to the manifest, with `/` between the parts.
    pub package: String,
    /// What it should be loaded for. A host app sets it when it loads the
    /// stage: no model file can.
    pub compute_units: ComputeUnits,
    /// Why these compute units, for people.
    pub why: Vec<String>,
    /// What it takes, in order.
    pub inputs: Vec<StageInput>,
    /// What it gives, in order.
    pub outputs: Vec<StageFeature>,
    /// What it keeps from one prediction to the next.
    pub states: Vec<StageFeature>,
    /// Every file of its package, ordered by path.
    pub files: Vec<StageFile>,
}

/// What a stage takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageInput {
    /// Name of the feature.
    pub name: String,
    /// Element type and shape in the program, such as `fp32[1,240000]`; a size
    /// that is not fixed is `?`.
    #[serde(rename = "type")]
    pub ty: String,
    /// Who gives it.
    pub from: Origin,
}

/// What a stage gives, or keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageFeature {
    /// Name of the feature.
    pub name: String,
    /// As in [`StageInput::ty`].
    #[serde(rename = "type")]
    pub ty: String,
}

/// Who gives an input: in the file `caller`, or the name of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Origin {
    /// Whoever runs the pipeline.
    Caller,
    /// The stage of this name.
    Stage(String),
}

/// One file of a stage's package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageFile {
    /// Where it is, relative to the package, with `/` between the parts.
    pub path: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// The BLAKE3 digest of its content, 64 hexadecimal digits in lower case.
    pub blake3: String,
}

/// What Core ML may run a stage on, as `MLComputeUnits` spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ComputeUnits {
    /// The CPU.
    #[serde(rename = "cpuOnly")]
    CpuOnly,
    /// CPU and GPU.
    #[serde(rename = "cpuAndGPU")]
    CpuAndGpu,
    /// CPU and Neural Engine.
    #[serde(rename = "cpuAndNeuralEngine")]
    CpuAndNeuralEngine,
    /// Whatever is there.
    #[serde(rename = "all")]
    All,
}

impl ComputeUnits {
    /// All of them.
    pub const ALL: [ComputeUnits; 4] = [
        ComputeUnits::CpuOnly,
        ComputeUnits::CpuAndGpu,
        ComputeUnits::CpuAndNeuralEngine,
        ComputeUnits::All,
    ];

    /// The spelling of the file, which is Swift's.
    pub fn name(self) -> &'static str {
        match self {
            ComputeUnits::CpuOnly => "cpuOnly",
            ComputeUnits::CpuAndGpu => "cpuAndGPU",
            ComputeUnits::CpuAndNeuralEngine => "cpuAndNeuralEngine",
            ComputeUnits::All => "all",
        }
    }
}

impl fmt::Display for ComputeUnits {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl From<String> for Origin {
    fn from(text: String) -> Self {
        if text == CALLER {
            Origin::Caller
        } else {
            Origin::Stage(text)
        }
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Caller => CALLER.to_owned(),
            Origin::Stage(name) => name,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Caller => out.write_str("the caller"),
            Origin::Stage(name) => write!(out, "stage `{name}`"),
        }
    }
}

/// A manifest with the folder that it is in.
#[derive(Debug, Clone)]
pub struct PipelineFolder {
    path: PathBuf,
    folder: PathBuf,
    manifest: PipelineManifest,
}

impl PipelineFolder {
    /// Whether `path` is a manifest or a folder that holds one. A model package
    /// is none, whatever else lies in it.
    pub fn is_at(path: impl AsRef<Path>) -> bool {
        let path = path.as_ref();
        if path.is_dir() {
            return path.join(PIPELINE_FILE).is_file() && !path.join(MANIFEST).exists();
        }
        path.file_name().is_some_and(|name| name == PIPELINE_FILE)
    }

    /// Reads and checks a `pipeline.json`, named itself or by its folder. The
    /// packages are not opened; see [`PipelineFolder::open_stage`].
    ///
    /// # Errors
    /// [`Error::Stages`] when it is not JSON, of another schema, or holds what
    /// does not go together; [`Error::UnsafePath`] for a package that is, or
    /// could be, outside of the folder; [`Error::MissingFile`] for one that is
    /// not there; [`Error::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<PipelineFolder> {
        let named = path.as_ref();
        let path = if named.is_dir() {
            named.join(PIPELINE_FILE)
        } else {
            named.to_owned()
        };
        if path.file_name().is_none_or(|name| name != PIPELINE_FILE) {
            return Err(Error::NotAModel {
                path,
                reason: format!("a pipeline manifest is a file named `{PIPELINE_FILE}`"),
            });
        }
        let source = Source::open(&path)?;
        if source.len() > MAX_MANIFEST {
            return Err(Error::Stages {
                path,
                reason: format!(
                    "it has {} bytes, and no pipeline manifest has more than {MAX_MANIFEST}",
                    source.len()
                ),
            });
        }
        let manifest = PipelineManifest::parse(&source.read()?, &path)?;
        let folder = path.with_file_name("");
        let folder = match folder.as_os_str().is_empty() {
            true => PathBuf::from("."),
            false => folder,
        };
        let opened = PipelineFolder {
            path,
            folder,
            manifest,
        };
        opened.check_places()?;
        Ok(opened)
    }

    /// The manifest's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that package paths start in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the file says.
    pub fn manifest(&self) -> &PipelineManifest {
        &self.manifest
    }

    /// Where the package of a stage is.
    pub fn package_path(&self, stage: &StageRecord) -> PathBuf {
        self.folder.join(&stage.package)
    }

    /// Opens the package of a stage, whatever it has become since the manifest
    /// was written.
    ///
    /// # Errors
    /// Those of [`Package::open`].
    pub fn open_stage(&self, stage: &StageRecord) -> Result<Package> {
        Package::open(self.package_path(stage))
    }

    /// For who needs one package.
    pub(crate) fn is_no_package(&self) -> Error {
        let packages = self.manifest.stages.iter();
        let packages: Vec<String> = packages
            .map(|stage| self.package_path(stage).display().to_string())
            .collect();
        Error::NotAModel {
            path: self.path.clone(),
            reason: format!(
                "it is a pipeline manifest, and this needs one package; name a stage: {}",
                list(&packages)
            ),
        }
    }

    /// Compares an open package with what the manifest records of it. Reads
    /// every file once, in pieces.
    ///
    /// # Errors
    /// [`Error::StageChanged`], which names the first file that differs, is
    /// missing or is too many; [`Error::Io`].
    pub fn check_files(&self, stage: &StageRecord, package: &Package) -> Result<()> {
        let changed = |file: &str, fault: String| Error::StageChanged {
            path: self.path.clone(),
            stage: stage.name.clone(),
            file: file.to_owned(),
            fault,
        };
        let mut found: BTreeMap<&str, _> = package.files().iter().map(|f| (f.path(), f)).collect();
        // Sizes and names first: they cost nothing.
        let mut pairs = Vec::with_capacity(stage.files.len());
        for recorded in &stage.files {
            let name = recorded.path.as_str();
            let Some(file) = found.remove(name) else {
                return Err(changed(name, "is missing".to_owned()));
            };
            if file.len() != recorded.bytes {
                let fault = format!(
                    "has {} bytes, and {} are recorded",
                    file.len(),
                    recorded.bytes
                );
                return Err(changed(name, fault));
            }
            pairs.push((recorded, file));
        }
        if let Some((name, _)) = found.pop_first() {
            return Err(changed(name, "is not recorded".to_owned()));
        }
        for (recorded, file) in pairs {
            let blake3 = package.source(file)?.digest()?;
            if blake3 != recorded.blake3 {
                let fault = format!(
                    "has another content: its BLAKE3 digest is {blake3}, and {} is recorded",
                    recorded.blake3
                );
                return Err(changed(&recorded.path, fault));
            }
        }
        Ok(())
    }

    /// Checks that every package is there, and by way of links too in the
    /// folder.
    fn check_places(&self) -> Result<()> {
        let inside = &self.folder;
        let inside = inside
            .canonicalize()
            .map_err(Error::io("open", inside.clone()))?;
        for stage in &self.manifest.stages {
            let package = self.package_path(stage);
            if fs::symlink_metadata(&package).is_err() {
                return Err(Error::MissingFile {
                    path: package,
                    needed_by: format!("it is the package of stage `{}`", stage.name),
                });
            }
            let real = package
                .canonicalize()
                .map_err(Error::io("follow the link", &*package))?;
            if !real.starts_with(&inside) {
                return Err(Error::UnsafePath {
                    container: self.path.clone(),
                    role: "the package",
                    entry: stage.package.clone(),
                    reason: "it is a link that leads out of the manifest's folder; put the \
                             package itself there",
                });
            }
        }
        Ok(())
    }
}

impl PipelineManifest {
    /// Reads a manifest and checks everything that can be checked without the
    /// packages. `path` is for error messages.
    ///
    /// # Errors
    /// [`Error::Stages`], [`Error::UnsafePath`].
    pub fn parse(text: &[u8], path: &Path) -> Result<PipelineManifest> {
        let fail = |reason: String| Error::Stages {
            path: path.to_owned(),
            reason,
        };
        // The schema first: under another one the rest may look different.
        let json: serde_json::Value = serde_json::from_slice(text)
            .map_err(|error| fail(format!("it is not valid JSON: {error}")))?;
        match json.get("schema").and_then(serde_json::Value::as_str) {
            Some(PIPELINE_SCHEMA) => {}
            Some(other) => {
                return Err(fail(format!(
                    "its schema is {other:?}, and this version reads {PIPELINE_SCHEMA:?}; use the \
                     version that wrote it, or split the model again"
                )));
            }
            None => {
                return Err(fail(format!(
                    "it has no text `schema`, so it is no pipeline manifest; one starts with \
                     \"schema\": {PIPELINE_SCHEMA:?}"
                )));
            }
        }
        // From the text again, so that the message has line and column.
        let manifest: PipelineManifest =
            serde_json::from_slice(text).map_err(|error| fail(error.to_string()))?;
        manifest.check(path)?;
        Ok(manifest)
    }

    /// Names of the functions, the one that runs by itself first.
    pub fn function_names(&self) -> impl Iterator<Item = &str> {
        let others = self.functions.iter().map(|f| f.name.as_str());
        std::iter::once(self.function.as_str()).chain(others)
    }

    /// The manifest as it would be if that function were the only one; `None`
    /// when there is none of that name.
    pub fn of_function(&self, name: &str) -> Option<PipelineManifest> {
        let mut own = PipelineManifest {
            functions: Vec::new(),
            ..self.clone()
        };
        if name == self.function {
            return Some(own);
        }
        let other = self.functions.iter().find(|f| f.name == name)?;
        own.function.clone_from(&other.name);
        own.inputs.clone_from(&other.inputs);
        own.outputs.clone_from(&other.outputs);
        for (stage, ends) in own.stages.iter_mut().zip(&other.stages) {
            stage.inputs.clone_from(&ends.inputs);
            stage.outputs.clone_from(&ends.outputs);
            stage.states.clone_from(&ends.states);
        }
        Some(own)
    }

    /// The text of the file: the same for the same manifest, always.
    pub fn to_json(&self) -> String {
        // Nothing in it can fail to become JSON: every key is text.
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        text + "\n"
    }

    /// Checks the manifest and writes it, whole or not at all.
    ///
    /// # Errors
    /// [`Error::OutputExists`] without `force`, [`Error::Io`], and those of
    /// [`PipelineManifest::check`].
    pub fn save(&self, path: &Path, force: bool) -> Result<()> {
        self.check(path)?;
        if !force && fs::symlink_metadata(path).is_ok() {
            return Err(Error::OutputExists {
                path: path.to_owned(),
            });
        }
        write_file(path, force, |file, _| {
            file.write_all(self.to_json().as_bytes())
                .map_err(Error::io("write", path))
        })
    }
}

impl StageFile {
    /// Every file of a package with its size and digest, ordered by path. Reads
    /// every byte, in pieces.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Zip`].
    pub fn of_package(package: &Package) -> Result<Vec<StageFile>> {
        let files = package.files().iter();
        files.map(|file| Self::of(package, file)).collect()
    }

    /// One file of a package with its size and digest.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Zip`].
    pub fn of(package: &Package, file: &PackageFile) -> Result<StageFile> {
        Ok(StageFile {
            path: file.path().to_owned(),
            bytes: file.len(),
            blake3: package.source(file)?.digest()?,
        })
    }
}

/// `a`, `b` and so on, for a message.
fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
