//! Opening a model in any form: packages and bare specs, which are messages,
//! and MIL text and compiled models, which are text.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use milwright_package::{Bytes, Container, Error as PackageError, Message, Package, Spec, proto};

use crate::error::Error;
use crate::program::Program;
use crate::save;
use crate::text::{self, Parsed, TextErrors};

/// No package's spec is larger.
const MAX_TEXT: u64 = i32::MAX as u64;

/// The text of a compiled model.
const COMPILED_TEXT: &str = "model.mil";

/// Opens a model in any form that [`Package::open`] takes, a `.mil` file, or a
/// compiled model (`.mlmodelc`) that is an ML Program.
///
/// A model that is text gets the spec that a package of it would have. Its
/// weights are files in its folder.
///
/// # Errors
/// Those of [`Package::open`]; [`Error::Text`] with every finding when text
/// cannot be read or says too little.
pub fn open(path: impl AsRef<Path>) -> Result<Package, Error> {
    open_noting(path).map(|(package, _)| package)
}

/// As [`open`], with what the model's form does not say and that its package
/// therefore lacks or has by a guess.
///
/// # Errors
/// As [`open`].
pub fn open_noting(path: impl AsRef<Path>) -> Result<(Package, Vec<String>), Error> {
    let path = path.as_ref();
    match TextFile::find(path) {
        None => Ok((Package::open(path)?, Vec::new())),
        Some(file) => file.open(),
    }
}

/// A file of MIL text: one that ends in `.mil`, or that of a compiled model.
#[derive(Clone, Debug)]
pub struct TextFile {
    /// What names the model.
    model: PathBuf,
    /// The file.
    file: PathBuf,
    container: Container,
}

impl TextFile {
    /// The text behind a path, if there is one; the file may be missing.
    pub fn find(path: &Path) -> Option<Self> {
        let extension = path.extension().and_then(|e| e.to_str());
        let is_text = extension.is_some_and(|e| e.eq_ignore_ascii_case("mil")) && !path.is_dir();
        let inside = path.join(COMPILED_TEXT);
        let file = match is_text {
            true => path.to_owned(),
            false if inside.is_file() && !path.join("Manifest.json").exists() => inside,
            false => return None,
        };
        let container = match is_text {
            true => Container::Text,
            false => Container::Compiled,
        };
        Some(Self {
            model: path.to_owned(),
            file,
            container,
        })
    }

    /// The file that has the text: of a compiled model, one inside.
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// Reads the text.
    ///
    /// # Errors
    /// The file cannot be read, or the text is wrong: [`Error::Text`].
    pub fn parse(&self) -> Result<(Parsed, String), Error> {
        let failed = |action: &'static str| {
            let path = self.file.clone();
            move |source| PackageError::Io {
                action,
                path,
                source,
            }
        };
        let file = fs::File::open(&self.file).map_err(failed("open"))?;
        let mut bytes = Vec::new();
        let read = file.take(MAX_TEXT + 1).read_to_end(&mut bytes);
        read.map_err(failed("read"))?;
        let refuse = |reason: String| PackageError::NotAModel {
            path: self.file.clone(),
            reason,
        };
        if bytes.len() as u64 > MAX_TEXT {
            return Err(refuse("it has more than 2 GiB".to_owned()).into());
        }
        let text = String::from_utf8(bytes).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            refuse(format!("it is no text: byte {at} is not UTF-8"))
        })?;
        match text::parse(&text) {
            Ok(parsed) => Ok((parsed, text)),
            Err(findings) => Err(self.errors(text, findings)),
        }
    }

    fn errors(&self, text: String, findings: Vec<crate::Diagnostic>) -> Error {
        Error::Text {
            path: self.file.clone(),
            count: findings.len(),
            errors: TextErrors {
                path: self.file.clone(),
                text,
                findings,
            },
        }
    }

    fn open(&self) -> Result<(Package, Vec<String>), Error> {
        let (mut parsed, text) = self.parse()?;
        let metadata = match self.container {
            Container::Compiled => self.metadata()?,
            _ => None,
        };
        let described = parsed.describe(&text, metadata.as_deref());
        let described = described.map_err(|findings| self.errors(text, findings))?;
        let program = std::mem::take(&mut parsed.program);
        let folder = match self.container {
            Container::Compiled => self.model.as_path(),
            _ => self.model.parent().unwrap_or(Path::new("")),
        };
        let package = self.package(program, &described, folder)?;
        let mut notes = described.notes;
        if self.container == Container::Compiled && metadata.is_none() {
            notes.push(
                "metadata.json is not there: inputs are in alphabetical order; which of them are \
                 images, descriptions, author and licence are not known, and the specification \
                 version is the oldest possible"
                    .to_owned(),
            );
        }
        Ok((package, notes))
    }

    fn metadata(&self) -> Result<Option<Vec<u8>>, Error> {
        let path = self.model.join("metadata.json");
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(PackageError::Io {
                action: "read",
                path,
                source,
            }
            .into()),
        }
    }

    fn package(
        &self,
        mut program: Program,
        described: &text::Described,
        folder: &Path,
    ) -> Result<Package, Error> {
        // In a package, the description says this.
        for function in &mut program.functions {
            let told = |name: &str| text::ATTRIBUTES.contains(&name);
            function.attributes.retain(|(name, _)| !told(name));
        }
        let spec = |program: &Program| -> Result<Spec, Error> {
            let model = proto::Model {
                specification_version: described.version,
                description: described.description.encode_to_vec().into(),
                r#type: Some(proto::model::Type::MlProgram(
                    program.to_proto().encode_to_vec().into(),
                )),
                ..proto::Model::default()
            };
            Ok(Spec::parse(Bytes::from(model.encode_to_vec()), &self.file)?)
        };
        let package = Package::around(spec(&program)?, self.container, &self.model, folder)?;
        let Some((changes, program)) = save::moved_weights(program, &package)? else {
            return Ok(package);
        };
        let mut changes = changes;
        changes.spec = Some(spec(&program)?);
        Ok(package.changed(changes)?)
    }
}
