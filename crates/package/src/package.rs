//! A model as it is found: a package folder, a zip of one, or a bare spec.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytes::Bytes;

use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::manifest::{DATA, Manifest};
use crate::relative;
use crate::save::Changes;
use crate::source::{Source, Stamp};
use crate::spec::Spec;
use crate::stages::PipelineFolder;
use crate::weights::{Blob, WeightFile};
use crate::write::{self, Piece};

pub(crate) const MANIFEST: &str = "Manifest.json";
/// Where a fresh package has its spec, relative to `Data`.
pub(crate) const FRESH_SPEC: &str = "com.apple.CoreML/model.mlmodel";
/// Where a fresh package has its weights, relative to `Data`.
pub(crate) const FRESH_WEIGHTS: &str = "com.apple.CoreML/weights";
/// What programs write for the folder that the spec is in.
const MODEL_PATH: &str = "@model_path/";
/// No protobuf message may be larger.
pub(crate) const MAX_SPEC: u64 = i32::MAX as u64;

/// In what form a model was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// A package folder (`.mlpackage`).
    Folder,
    /// A zip of a package folder.
    Zip,
    /// A bare spec (`.mlmodel`), with its weights beside it if it has some.
    Model,
    /// MIL text (`.mil`), with its weights beside it if it has some.
    Text,
    /// A compiled model (`.mlmodelc`).
    Compiled,
}

impl Container {
    /// What to call it.
    pub fn name(self) -> &'static str {
        match self {
            Container::Folder => "package folder",
            Container::Zip => "zipped package",
            Container::Model => "model file",
            Container::Text => "MIL text",
            Container::Compiled => "compiled model",
        }
    }
}

#[derive(Debug)]
enum Place {
    /// A file of its own, and what it was when it was found.
    Disk(PathBuf, Stamp),
    Zip(usize),
    /// Not in a file of its own.
    Made(Vec<Piece>),
}

/// One file of a package.
#[derive(Debug)]
pub struct PackageFile {
    path: String,
    len: u64,
    place: Place,
    source: OnceLock<Source>,
    weights: OnceLock<WeightFile>,
}

impl PackageFile {
    fn new(path: String, len: u64, place: Place) -> Self {
        Self {
            path,
            len,
            place,
            source: OnceLock::new(),
            weights: OnceLock::new(),
        }
    }

    /// Where it is, relative to the package, with `/` between the parts. For a
    /// bare spec: where it would be in a package.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// An open model. Only the manifest and the spec have been read; weight files
/// are mapped when they are first asked for.
#[derive(Debug)]
pub struct Package {
    path: PathBuf,
    container: Container,
    archive: Option<Archive>,
    manifest: Manifest,
    spec: Spec,
    spec_path: String,
    files: Vec<PackageFile>,
    empty_folders: Vec<String>,
}

impl Package {
    /// Opens a `.mlpackage` folder, a zip that holds one (at the top or in a
    /// folder of its own), or a `.mlmodel` file.
    ///
    /// # Errors
    /// Everything that [`Error`] lists for reading: the path is no model, the
    /// manifest is missing or damaged or names a path outside the package, a
    /// link leaves the package, the zip or the spec is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Package> {
        let path = path.as_ref();
        if PipelineFolder::is_at(path) {
            // Its stages if it is right, or what is wrong with it.
            let pipeline = PipelineFolder::open(path)?;
            return Err(pipeline.is_no_package());
        }
        let metadata = fs::metadata(path).map_err(Error::io("open", path))?;
        if metadata.is_dir() {
            return Self::open_folder(path);
        }
        if !metadata.is_file() {
            let reason = "it is neither a folder nor a regular file".to_owned();
            return Err(Error::NotAModel {
                path: path.to_owned(),
                reason,
            });
        }
        let mut magic = Vec::new();
        fs::File::open(path)
            .and_then(|file| file.take(4).read_to_end(&mut magic))
            .map_err(Error::io("read", path))?;
        let extension = path.extension().and_then(|extension| extension.to_str());
        if magic.starts_with(b"PK\x03\x04") || extension == Some("zip") {
            Self::open_zip(path)
        } else if extension.is_some_and(|extension| extension.eq_ignore_ascii_case("mlmodel")) {
            Self::open_model(path)
        } else {
            let reason =
                "it is a file, but neither a zip nor named `.mlmodel` or `.mil`".to_owned();
            Err(Error::NotAModel {
                path: path.to_owned(),
                reason,
            })
        }
    }

    fn open_folder(path: &Path) -> Result<Package> {
        let manifest_path = path.join(MANIFEST);
        if fs::symlink_metadata(&manifest_path).is_err() {
            return Err(explain_missing_manifest(path)?);
        }
        let mut listing = Listing {
            files: Vec::new(),
            empty_folders: Vec::new(),
        };
        listing.read(path)?;
        let manifest = read_whole(&Source::open(&manifest_path)?)?;
        let manifest = Manifest::parse(manifest, &manifest_path)?;
        let spec_path = manifest.spec_path();
        let on_disk = path.join(&spec_path);
        let mut files = listing.files.iter();
        let spec = match files.find(|file| file.path == spec_path).map(|f| &f.place) {
            Some(Place::Disk(found, stamp)) => read_whole(&Source::open_same(found, *stamp)?)?,
            _ => return Err(missing_spec(on_disk)),
        };
        let spec = Spec::parse(spec, &on_disk)?;
        Ok(Package {
            path: path.to_owned(),
            container: Container::Folder,
            archive: None,
            manifest,
            spec,
            spec_path,
            files: listing.files,
            empty_folders: listing.empty_folders,
        })
    }

    fn open_zip(path: &Path) -> Result<Package> {
        let contents = Archive::open(path)?;
        let archive = contents.archive;
        let mut files = contents.files;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let find = |wanted: &str| files.iter().find(|file| file.path == wanted);
        let display = |entry: &str| archive.display_path(entry);
        let read = |entry: &str| {
            let file = find(entry).ok_or_else(|| missing_spec(display(entry)))?;
            if file.len > MAX_SPEC {
                return Err(too_large(display(entry), file.len));
            }
            archive.read(file.index, entry)
        };
        let manifest = Manifest::parse(read(MANIFEST)?, &display(MANIFEST))?;
        let spec_path = manifest.spec_path();
        let spec = Spec::parse(read(&spec_path)?, &display(&spec_path))?;
        let mut empty_folders = contents.folders;
        empty_folders.retain(|folder| {
            let inside = |path: &str| {
                path.strip_prefix(folder.as_str())
                    .is_some_and(|rest| rest.starts_with('/'))
            };
            !folder.is_empty() && !files.iter().any(|file| inside(&file.path))
        });
        let files = files
            .into_iter()
            .map(|file| PackageFile::new(file.path, file.len, Place::Zip(file.index)))
            .collect();
        Ok(Package {
            path: path.to_owned(),
            container: Container::Zip,
            archive: Some(archive),
            manifest,
            spec,
            spec_path,
            files,
            empty_folders,
        })
    }

    fn open_model(path: &Path) -> Result<Package> {
        let source = Source::open(path)?;
        let spec = Spec::parse(read_whole(&source)?, path)?;
        let place = Place::Disk(path.into(), source.stamp());
        let beside = path.parent().unwrap_or(Path::new(""));
        Self::with_spec(spec, place, Container::Model, path, beside)
    }

    /// A package that has a spec, and the weight files which the spec names, in
    /// the usual places. The weight files are looked for in `folder`, which
    /// stands for the `@model_path/` of their names; `path` is what was opened.
    ///
    /// # Errors
    /// [`Error::Spec`] when the spec is damaged, [`Error::UnsafePath`] when a
    /// weight file is, by way of a link, outside of the folder.
    pub fn around(spec: Spec, container: Container, path: &Path, folder: &Path) -> Result<Package> {
        let place = Place::Made(vec![Piece::Bytes(spec.bytes().clone())]);
        Self::with_spec(spec, place, container, path, folder)
    }

    fn with_spec(
        spec: Spec,
        place: Place,
        container: Container,
        path: &Path,
        folder: &Path,
    ) -> Result<Package> {
        let spec_path = format!("{DATA}{FRESH_SPEC}");
        let len = spec.bytes().len() as u64;
        let mut files = vec![PackageFile::new(spec_path.clone(), len, place)];
        let inside = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        let inside = inside.canonicalize().map_err(Error::io("open", inside))?;
        for name in spec.weight_file_names()? {
            let Some(rest) = name.strip_prefix(MODEL_PATH) else {
                continue;
            };
            if relative::check(rest).is_err() {
                continue; // refused by name when a value asks for it
            }
            let file = folder.join(rest);
            let Ok(metadata) = fs::metadata(&file) else {
                continue;
            };
            check_link(&inside, &file, path, rest)?;
            let place = Place::Disk(file, Stamp::of(&metadata));
            let path = format!("{}{rest}", relative::folder(&spec_path));
            files.push(PackageFile::new(path, metadata.len(), place));
        }
        let weights = (files.len() > 1).then_some(FRESH_WEIGHTS);
        let manifest = Manifest::new(FRESH_SPEC, weights);
        Ok(Package {
            path: path.to_owned(),
            container,
            archive: None,
            manifest,
            spec,
            spec_path,
            files,
            empty_folders: Vec::new(),
        })
    }

    /// The package with `changes`, in memory: what [`Package::save`] would
    /// write, open.
    ///
    /// # Errors
    /// [`Error::WeightName`] for a name that is refused.
    pub fn changed(mut self, changes: Changes) -> Result<Package> {
        for (name, pieces) in changes.weights {
            let path = self.place_weights(&name)?;
            self.manifest = self.manifest.covering(&path, &self.spec_path)?;
            self.make_file(path, pieces);
        }
        if let Some(spec) = changes.spec {
            let pieces = vec![Piece::Bytes(spec.bytes().clone())];
            self.make_file(self.spec_path.clone(), pieces);
            self.spec = spec;
        }
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(self)
    }

    fn make_file(&mut self, path: String, pieces: Vec<Piece>) {
        self.files.retain(|file| file.path != path);
        let len = pieces.iter().map(Piece::len).sum();
        self.files
            .push(PackageFile::new(path, len, Place::Made(pieces)));
    }

    /// What was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// In what form it was found.
    pub fn container(&self) -> Container {
        self.container
    }

    /// The manifest; for a bare spec, the one that a package of it gets.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The spec.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Where the spec is, relative to the package.
    pub fn spec_path(&self) -> &str {
        &self.spec_path
    }

    /// Every file of the package, ordered by path; for a bare spec, the spec
    /// and the weight files that it names and that exist.
    pub fn files(&self) -> &[PackageFile] {
        &self.files
    }

    /// Folders without any file in them, relative to the package.
    pub fn empty_folders(&self) -> &[String] {
        &self.empty_folders
    }

    /// A file of the package as a range to copy or to hash. An entry of a zip
    /// is read through once to check it, and unpacked to a temporary file when
    /// it is compressed; what is no file yet is written to one.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Zip`]; [`Error::InputChanged`] when it is another
    /// file than it was when the package was opened.
    pub fn source(&self, file: &PackageFile) -> Result<Source> {
        if let Some(source) = file.source.get() {
            return Ok(source.clone());
        }
        let source = match (&file.place, &self.archive) {
            (Place::Zip(index), Some(archive)) => archive.source(*index, &file.path)?,
            (Place::Zip(_), None) => return Err(missing_spec(self.path.join(&file.path))),
            (Place::Disk(path, stamp), _) => Source::open_same(path, *stamp)?,
            (Place::Made(pieces), _) => write::source_of(pieces, &self.path.join(&file.path))?,
        };
        Ok(file.source.get_or_init(|| source).clone())
    }

    /// The file that a program means by a name such as
    /// `@model_path/weights/weight.bin`.
    ///
    /// It is looked for beside the spec, and then where the manifest has an
    /// item whose last part is the first part of the name (packages that keep
    /// items in folders of their own).
    ///
    /// # Errors
    /// [`Error::WeightName`] when the name has another form or could leave the
    /// package, [`Error::MissingFile`] when no such file is there.
    pub fn resolve_weight_file(&self, name: &str) -> Result<&PackageFile> {
        let beside = self.beside_spec(name)?;
        let rest = name.strip_prefix(MODEL_PATH).unwrap_or(name);
        let items = self.manifest.items().iter();
        let in_items = items.map(|item| format!("{DATA}{}{rest}", relative::folder(&item.path)));
        std::iter::once(beside.clone())
            .chain(in_items)
            .find_map(|wanted| self.files.iter().find(|file| file.path == wanted))
            .ok_or_else(|| Error::MissingFile {
                path: match self.container {
                    Container::Model | Container::Text => self.path.with_file_name("").join(rest),
                    Container::Compiled => self.path.join(rest),
                    Container::Folder | Container::Zip => self.path.join(beside),
                },
                needed_by: format!("the program keeps weights in `{name}`"),
            })
    }

    /// Where a weight file of this name is, or would be, beside the spec.
    pub(crate) fn beside_spec(&self, name: &str) -> Result<String> {
        let refuse = |reason| Error::WeightName {
            path: self.path.clone(),
            name: name.to_owned(),
            reason,
        };
        let rest = name
            .strip_prefix(MODEL_PATH)
            .ok_or_else(|| refuse("it does not start with `@model_path/`"))?;
        relative::check(rest).map_err(refuse)?;
        Ok(format!("{}{rest}", relative::folder(&self.spec_path)))
    }

    /// The weight file that a program means by `name`, mapped.
    ///
    /// # Errors
    /// Those of [`Package::resolve_weight_file`], [`Package::source`] and
    /// [`WeightFile::open`].
    pub fn weight_file(&self, name: &str) -> Result<&WeightFile> {
        let file = self.resolve_weight_file(name)?;
        if let Some(weights) = file.weights.get() {
            return Ok(weights);
        }
        let weights = WeightFile::open(&self.source(file)?)?;
        Ok(file.weights.get_or_init(|| weights))
    }

    /// The blob that a program means by a file name and an offset.
    ///
    /// # Errors
    /// Those of [`Package::weight_file`] and [`WeightFile::blob`].
    pub fn blob(&self, name: &str, offset: u64) -> Result<Blob<'_>> {
        self.weight_file(name)?.blob(offset)
    }
}

/// The files below a folder.
struct Listing {
    files: Vec<PackageFile>,
    empty_folders: Vec<String>,
}

impl Listing {
    fn read(&mut self, root: &Path) -> Result<()> {
        let real_root = root.canonicalize().map_err(Error::io("open", root))?;
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            let on_disk = root.join(&folder);
            let mut empty = true;
            for entry in fs::read_dir(&on_disk).map_err(Error::io("list", &*on_disk))? {
                let entry = entry.map_err(Error::io("list", &*on_disk))?;
                empty = false;
                let refuse = |reason| Error::UnsafePath {
                    container: root.to_owned(),
                    role: "the file",
                    entry: format!("{folder}{}", entry.file_name().to_string_lossy()),
                    reason,
                };
                let name = entry.file_name();
                let name = name
                    .to_str()
                    .ok_or_else(|| refuse("its name is not UTF-8"))?;
                let path = format!("{folder}{name}");
                let on_disk = entry.path();
                let kind = entry.file_type().map_err(Error::io("inspect", &*on_disk))?;
                if kind.is_dir() {
                    folders.push(format!("{path}/"));
                    continue;
                }
                if kind.is_symlink() {
                    check_link(&real_root, &on_disk, root, &path)?;
                }
                let metadata = fs::metadata(&on_disk).map_err(Error::io("inspect", &*on_disk))?;
                if !metadata.is_file() {
                    return Err(refuse("it is not a regular file (nor a link to one)"));
                }
                let place = Place::Disk(on_disk, Stamp::of(&metadata));
                self.files
                    .push(PackageFile::new(path, metadata.len(), place));
            }
            if empty && !folder.is_empty() {
                self.empty_folders
                    .push(folder.trim_end_matches('/').to_owned());
            }
        }
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        self.empty_folders.sort();
        Ok(())
    }
}

/// Refuses a file that is, by way of links, outside of `inside`.
fn check_link(inside: &Path, file: &Path, container: &Path, entry: &str) -> Result<()> {
    let real = file
        .canonicalize()
        .map_err(Error::io("follow the link", file))?;
    if real.starts_with(inside) {
        return Ok(());
    }
    Err(Error::UnsafePath {
        container: container.to_owned(),
        role: "the link",
        entry: entry.to_owned(),
        reason: "it leads out of the package; copy the package with its links resolved \
                 (`cp -rL`) and open the copy",
    })
}

fn read_whole(source: &Source) -> Result<Bytes> {
    if source.len() > MAX_SPEC {
        return Err(too_large(source.path().to_owned(), source.len()));
    }
    source.read()
}

fn too_large(path: PathBuf, len: u64) -> Error {
    let reason = format!("it has {len} bytes, and no spec or manifest may have more than 2 GiB");
    Error::Incomplete { path, reason }
}

fn missing_spec(path: PathBuf) -> Error {
    let needed_by = format!("{MANIFEST} names it as the model spec");
    Error::MissingFile { path, needed_by }
}

fn explain_missing_manifest(path: &Path) -> Result<Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(Error::io("list", path))? {
        let entry = entry.map_err(Error::io("list", path))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let refuse = |reason: String| {
        Ok(Error::NotAModel {
            path: path.to_owned(),
            reason,
        })
    };
    if names.iter().any(|name| name == "model0") {
        return refuse(format!(
            "it is a compiled pipeline; name one of its stages, such as {}",
            path.join("model0").display()
        ));
    }
    if names.iter().any(|name| name == "coremldata.bin") {
        return refuse(
            "it is a compiled model without MIL text (`model.mil`), such as a neural network or a \
             tree ensemble; open the `.mlpackage` or `.mlmodel` that it was compiled from"
                .to_owned(),
        );
    }
    let found = match &names[..] {
        [] => "the folder is empty".to_owned(),
        [first, .., last] if names.len() > 5 => {
            format!(
                "the folder holds {} names from {first} to {last}",
                names.len()
            )
        }
        few => format!("the folder holds {}", few.join(", ")),
    };
    Ok(Error::MissingManifest {
        path: path.to_owned(),
        found,
    })
}
