//! Writing a package: a plan of ranges and new bytes, carried out beside the
//! target and then put in its place at once.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use bytes::Bytes;
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::copy::{Copier, Digest, Target};
use crate::error::{Error, Result};
use crate::publish::{
    check_output, folder_of, publish_folder, sync_folders, sync_parent, temporary, write_file,
};
use crate::source::{Source, Stamp};
use crate::stages::StageFile;

/// A part of a file to be written.
#[derive(Debug, Clone)]
pub enum Piece {
    /// These bytes.
    Bytes(Bytes),
    /// A range of an existing file, copied without passing through memory
    /// where the operating system can.
    Range(Source),
}

impl Piece {
    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        match self {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::Range(source) => source.len(),
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How to write.
#[derive(Default)]
pub struct WriteOptions<'a> {
    /// Replace a model that is already there.
    pub force: bool,
    /// Return only when the output is on disk, so that it outlasts a power cut
    /// from then on. Output that replaces something is always synced before it
    /// takes the place. New output otherwise is not, like that of any copying
    /// program: waiting for gigabytes to reach the disk takes longer than
    /// copying them, and the input is still there to start again from. A crash
    /// of this program alone never leaves half a model in either case.
    pub durable: bool,
    /// Deflate the files of a zip. Otherwise they are stored, so that weights
    /// can be mapped where they are.
    pub compress: bool,
    /// Is told the bytes written and the bytes to be written, now and then.
    pub progress: Option<&'a mut dyn FnMut(u64, u64)>,
    /// What messages call the output, when it is written to a folder that gets
    /// its name later; the last part is the same.
    pub shown: Option<&'a Path>,
    /// Gets size and digest of every file that is written, ordered by path. The
    /// digests are made while the bytes pass.
    pub files: Option<&'a mut Vec<StageFile>>,
    /// Looks at the finished output, which can be opened under the path given,
    /// before it is put in its place. When it returns `false`, the output is
    /// thrown away and what was there before stays: [`Error::Rejected`].
    pub review: Option<&'a mut dyn FnMut(&Path) -> bool>,
}

/// In which form a package is written; the output's extension says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `.mlpackage`
    Folder,
    /// `.zip`
    Zip,
    /// `.mlmodel`
    Model,
}

impl Form {
    pub(crate) fn of(path: &Path) -> Result<Form> {
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("mlpackage") => Ok(Form::Folder),
            Some("zip") => Ok(Form::Zip),
            Some("mlmodel") => Ok(Form::Model),
            _ => Err(Error::OutputForm {
                path: path.to_owned(),
                reason: "its name must end in `.mlpackage`, `.zip` or `.mlmodel`".to_owned(),
            }),
        }
    }
}

/// The files of a package to be written. Paths are relative, with `/`.
#[derive(Debug, Default)]
pub(crate) struct WritePlan {
    pub(crate) files: Vec<(String, Vec<Piece>)>,
    pub(crate) empty_folders: Vec<String>,
}

/// One writing under way.
struct Work<'a, 'b> {
    done: u64,
    total: u64,
    report: Option<&'b mut (dyn FnMut(u64, u64) + 'a)>,
    review: Option<&'b mut (dyn FnMut(&Path) -> bool + 'a)>,
    files: Option<&'b mut Vec<StageFile>>,
    durable: bool,
    copier: Copier,
    compress: bool,
}

impl Work<'_, '_> {
    /// Writes a file of the package: `path` within it, `shown` for messages.
    fn write(
        &mut self,
        path: &str,
        pieces: &[Piece],
        target: &mut Target,
        shown: &Path,
    ) -> Result<()> {
        self.copier.digest = self.files.as_ref().map(|_| Digest::default());
        let Work {
            done,
            total,
            report,
            copier,
            ..
        } = self;
        let before = *done;
        let mut add = |bytes: u64| {
            *done += bytes;
            if let Some(report) = report {
                report(*done, *total);
            }
        };
        for piece in pieces {
            match piece {
                Piece::Bytes(bytes) => {
                    copier.bytes(bytes, target, shown)?;
                    add(bytes.len() as u64);
                }
                Piece::Range(source) => copier.range(source, target, shown, &mut add)?,
            }
        }
        if let (Some(files), Some(digest)) = (&mut self.files, self.copier.digest.take()) {
            files.push(StageFile {
                path: path.to_owned(),
                bytes: self.done - before,
                blake3: digest.finish(),
            });
        }
        Ok(())
    }

    /// A file is complete; returns when it is on disk, if it must be.
    fn finish(&self, file: &File, shown: &Path) -> Result<()> {
        if self.durable {
            file.sync_all().map_err(Error::io("write", shown))?;
        }
        Ok(())
    }

    /// Everything is written at `finished`; whether it may go to `out`.
    fn accept(&mut self, plan: &WritePlan, finished: &Path, out: &Path) -> Result<()> {
        plan.check_sources()?;
        let accepted = self.review.as_mut().is_none_or(|r| r(finished));
        accepted.then_some(()).ok_or_else(|| Error::Rejected {
            path: out.to_owned(),
        })
    }
}

impl WritePlan {
    /// Carries the plan out. Nothing of it is seen at `out` before all of it is
    /// there; after an error nothing is left.
    pub(crate) fn execute(
        &self,
        out: &Path,
        form: Form,
        options: &mut WriteOptions<'_>,
    ) -> Result<()> {
        let replace = check_output(out, form, options.force)?;
        let shown = options.shown.unwrap_or(out);
        let total = self
            .files
            .iter()
            .flat_map(|(_, pieces)| pieces)
            .map(Piece::len)
            .sum();
        let mut work = Work {
            done: 0,
            total,
            report: options.progress.as_deref_mut(),
            review: options.review.as_deref_mut(),
            files: options.files.as_deref_mut(),
            durable: replace || options.durable,
            copier: Copier::new(true),
            compress: options.compress,
        };
        if form == Form::Folder {
            self.write_folder(out, shown, replace, &mut work)?;
        } else {
            write_file(out, replace, |file, finished| {
                if form == Form::Zip {
                    self.write_zip(shown, file, &mut work)?;
                } else {
                    let mut target = Target::File { file, len: 0 };
                    for (path, pieces) in &self.files {
                        work.write(path, pieces, &mut target, shown)?;
                    }
                }
                work.finish(file, shown)?;
                work.accept(self, finished, shown)
            })?;
        }
        if work.durable {
            sync_parent(out);
        }
        Ok(())
    }

    /// Nobody may have written to what was copied.
    fn check_sources(&self) -> Result<()> {
        let mut checked: Vec<&Source> = Vec::new();
        for piece in self.files.iter().flat_map(|(_, pieces)| pieces) {
            let Piece::Range(source) = piece else {
                continue;
            };
            // Pieces of one file follow each other, and files are few.
            if !checked.iter().rev().any(|c| c.is_of_same_file(source)) {
                source.check_unchanged()?;
                checked.push(source);
            }
        }
        Ok(())
    }

    fn write_folder(&self, out: &Path, shown: &Path, replace: bool, work: &mut Work) -> Result<()> {
        let temporary = temporary(0o777)
            .tempdir_in(folder_of(out))
            .map_err(Error::io("create a folder beside", shown))?;
        let root = temporary.path();
        for folder in &self.empty_folders {
            let fail = Error::io("create", shown.join(folder));
            fs::create_dir_all(root.join(folder)).map_err(fail)?;
        }
        for (path, pieces) in &self.files {
            let (place, shown) = (root.join(path), shown.join(path));
            if let Some(parent) = place.parent() {
                fs::create_dir_all(parent).map_err(Error::io("create the folder of", &*shown))?;
            }
            let mut file = File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&place)
                .map_err(Error::io("create", &*shown))?;
            let mut target = Target::File {
                file: &mut file,
                len: 0,
            };
            work.write(path, pieces, &mut target, &shown)?;
            work.finish(&file, &shown)?;
        }
        if work.durable {
            sync_folders(root).map_err(Error::io("write", shown))?;
        }
        work.accept(self, root, shown)?;
        publish_folder(temporary, out, replace)
    }

    fn write_zip(&self, out: &Path, file: &mut File, work: &mut Work) -> Result<()> {
        let stem = out.file_stem().unwrap_or_default().to_string_lossy();
        let top = match stem.strip_suffix(".mlpackage") {
            Some(_) => stem.into_owned(),
            None => format!("{stem}.mlpackage"),
        };
        let mut zip = ZipWriter::new(io::BufWriter::new(file));
        // No time of day, so that the same model gives the same bytes.
        let plain = SimpleFileOptions::default()
            .last_modified_time(zip::DateTime::default())
            .unix_permissions(0o644);
        let options = match work.compress {
            true => plain.compression_method(CompressionMethod::Deflated),
            // Aligned, so that weights can be mapped from the zip.
            false => plain
                .compression_method(CompressionMethod::Stored)
                .with_alignment(64),
        };
        let filled = self.fill_zip(&mut zip, &top, options, out, work);
        if let Err(error) = filled {
            // Dropped unfinished, it would write on and complain on its own.
            std::mem::forget(zip);
            return Err(error);
        }
        let mut buffer = zip.finish().map_err(zip_failed(out))?;
        buffer.flush().map_err(Error::io("write", out))
    }

    fn fill_zip<W: Write + io::Seek>(
        &self,
        zip: &mut ZipWriter<W>,
        top: &str,
        options: SimpleFileOptions,
        out: &Path,
        work: &mut Work,
    ) -> Result<()> {
        for folder in &self.empty_folders {
            let options = options.unix_permissions(0o755);
            zip.add_directory(format!("{top}/{folder}"), options)
                .map_err(zip_failed(out))?;
        }
        for (path, pieces) in &self.files {
            let len: u64 = pieces.iter().map(Piece::len).sum();
            let options = options.large_file(len >= u64::from(u32::MAX));
            zip.start_file(format!("{top}/{path}"), options)
                .map_err(zip_failed(out))?;
            work.write(path, pieces, &mut Target::Stream(zip), &out.join(path))?;
        }
        Ok(())
    }
}

/// What a `zip` operation on the output failed with.
fn zip_failed(out: &Path) -> impl Fn(zip::result::ZipError) -> Error {
    move |error| Error::io("write", out)(error.into())
}

/// Pieces as one file: a temporary one that has no name any more. `shown` is
/// for messages.
pub(crate) fn source_of(pieces: &[Piece], shown: &Path) -> Result<Source> {
    if let [Piece::Range(source)] = pieces {
        return Ok(source.clone());
    }
    let folder = std::env::temp_dir();
    let mut file =
        tempfile::tempfile_in(&folder).map_err(Error::io("create a temporary file in", folder))?;
    let mut work = Work {
        done: 0,
        total: 0,
        report: None,
        review: None,
        files: None,
        compress: false,
        durable: false,
        copier: Copier::new(true),
    };
    let target = &mut Target::File {
        file: &mut file,
        len: 0,
    };
    work.write("", pieces, target, shown)?;
    let metadata = file.metadata();
    let metadata = metadata.map_err(Error::io("read the size of", shown))?;
    Ok(Source::new(file, shown, Stamp::of(&metadata), 0, work.done))
}
