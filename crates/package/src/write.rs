//! Writing a package: a plan of ranges and new bytes, carried out beside the
//! target and then put in its place at once.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use bytes::Bytes;
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::error::{Error, Result};
use crate::publish::{
    check_output, folder_of, publish_folder, sync_folders, sync_parent, temporary, write_file,
};
use crate::source::Source;

/// How much is copied between two reports of progress.
const STEP: u64 = 64 << 20;

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
    /// Is told the bytes written and the bytes to be written, now and then.
    pub progress: Option<&'a mut dyn FnMut(u64, u64)>,
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
    durable: bool,
}

impl Work<'_, '_> {
    fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if let Some(report) = &mut self.report {
            report(self.done, self.total);
        }
    }

    /// A file is complete; returns when it is on disk, if it must be.
    fn finish(&self, file: &File, shown: &Path) -> Result<()> {
        if self.durable {
            file.sync_all().map_err(Error::io("write", shown))?;
        }
        Ok(())
    }

    /// Everything is written at `finished`; whether it may go to `out`.
    fn accept(&mut self, finished: &Path, out: &Path) -> Result<()> {
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
            durable: replace || options.durable,
        };
        if form == Form::Folder {
            self.write_folder(out, replace, &mut work)?;
        } else {
            write_file(out, replace, |file, finished| {
                if form == Form::Zip {
                    self.write_zip(out, file, &mut work)?;
                } else {
                    let pieces = self.files.iter().flat_map(|(_, pieces)| pieces);
                    write_pieces(pieces, file, out, &mut work)?;
                }
                work.finish(file, out)?;
                work.accept(finished, out)
            })?;
        }
        if work.durable {
            sync_parent(out);
        }
        Ok(())
    }

    fn write_folder(&self, out: &Path, replace: bool, work: &mut Work) -> Result<()> {
        let temporary = temporary(0o777)
            .tempdir_in(folder_of(out))
            .map_err(Error::io("create a folder beside", out))?;
        let root = temporary.path();
        for folder in &self.empty_folders {
            let fail = Error::io("create", out.join(folder));
            fs::create_dir_all(root.join(folder)).map_err(fail)?;
        }
        for (path, pieces) in &self.files {
            let (place, shown) = (root.join(path), out.join(path));
            if let Some(parent) = place.parent() {
                fs::create_dir_all(parent).map_err(Error::io("create the folder of", &*shown))?;
            }
            let mut file = File::create_new(&place).map_err(Error::io("create", &*shown))?;
            write_pieces(pieces, &mut file, &shown, work)?;
            work.finish(&file, &shown)?;
        }
        if work.durable {
            sync_folders(root).map_err(Error::io("write", out))?;
        }
        work.accept(root, out)?;
        publish_folder(temporary, out, replace)
    }

    fn write_zip(&self, out: &Path, file: &mut File, work: &mut Work) -> Result<()> {
        let stem = out.file_stem().unwrap_or_default().to_string_lossy();
        let top = match stem.strip_suffix(".mlpackage") {
            Some(_) => stem.into_owned(),
            None => format!("{stem}.mlpackage"),
        };
        let mut zip = ZipWriter::new(io::BufWriter::new(file));
        // Stored and aligned, so that weights can be mapped from the zip; no
        // time of day, so that the same model gives the same bytes.
        let stored = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(zip::DateTime::default())
            .unix_permissions(0o644)
            .with_alignment(64);
        let filled = self.fill_zip(&mut zip, &top, stored, out, work);
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
            write_pieces(pieces, zip, &out.join(path), work)?;
        }
        Ok(())
    }
}

/// What a `zip` operation on the output failed with.
fn zip_failed(out: &Path) -> impl Fn(zip::result::ZipError) -> Error {
    move |error| Error::io("write", out)(error.into())
}

fn write_pieces<'p, W: Write>(
    pieces: impl IntoIterator<Item = &'p Piece>,
    out: &mut W,
    shown: &Path,
    work: &mut Work,
) -> Result<()> {
    for piece in pieces {
        let source = match piece {
            Piece::Bytes(bytes) => {
                out.write_all(bytes).map_err(Error::io("write", shown))?;
                work.add(bytes.len() as u64);
                continue;
            }
            Piece::Range(source) => source,
        };
        let mut at = 0;
        while at < source.len() {
            let step = STEP.min(source.len() - at);
            let copied = source
                .copy(at, step, out)
                .map_err(Error::io("write", shown))?;
            if copied != step {
                let reason = "it became shorter while it was copied";
                return Err(Error::Io {
                    action: "copy all of",
                    path: source.path().to_owned(),
                    source: io::Error::new(io::ErrorKind::UnexpectedEof, reason),
                });
            }
            at += step;
            work.add(step);
        }
    }
    Ok(())
}
