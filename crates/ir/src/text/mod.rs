//! Apple's MIL text: [`print()`] writes it, [`parse`] reads it.
//!
//! It is the form of a program in every compiled model (`model.mil` in a
//! `.mlmodelc`). `docs/text.md` describes it, and what is our own addition.

mod elements;
mod float;
mod images;
mod lex;
mod made;
mod metadata;
mod parse;
mod print;
mod signature;
mod value;

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use milwright_package::proto;

use crate::arena::{Id, OpId, ValueId};
use crate::diagnostic::{Diagnostic, Lines, TextSpan};
use crate::program::Program;

pub use print::{Dialect, print};
pub(crate) use signature::ATTRIBUTES;
pub use signature::with_signature;

/// How many bytes `splat` and `seeded` may make in one text.
const MADE_BYTES: u64 = 256 << 20;

/// A program that was read from text.
#[derive(Debug)]
pub struct Parsed {
    /// The program.
    pub program: Program,
    /// How the text spells types, by its first line.
    pub dialect: Dialect,
    /// Where each operation stands, by id.
    ops: Vec<Range<usize>>,
    /// Where each value is defined, by id.
    values: Vec<Range<usize>>,
    /// Where the attributes of each function stand, in the program's order.
    attributes: Vec<Vec<Range<usize>>>,
}

/// The description of a model that was read from text.
pub(crate) struct Described {
    pub(crate) description: proto::ModelDescription,
    /// Specification version.
    pub(crate) version: i32,
    /// What is not known of the model.
    pub(crate) notes: Vec<String>,
}

impl Parsed {
    /// Where an operation of the program stands in the text that it was read
    /// from: its results and its type.
    pub fn op_place(&self, op: OpId, text: &Lines<'_>) -> Option<TextSpan> {
        let place = self.ops.get(op.index())?;
        Some(text.span(place.clone()))
    }

    /// Where a value is defined in the text that it was read from.
    pub fn value_place(&self, value: ValueId, text: &Lines<'_>) -> Option<TextSpan> {
        let place = self.values.get(value.index())?;
        Some(text.span(place.clone()))
    }

    /// Where the value of an attribute of a function stands.
    fn attribute_place(&self, function: usize, attribute: usize) -> Range<usize> {
        let places = self.attributes.get(function);
        let place = places.and_then(|places| places.get(attribute));
        place.cloned().unwrap_or_default()
    }

    /// The description that a package of the program has beside it, from its
    /// functions and from the metadata of a compiled model.
    pub(crate) fn describe(
        &self,
        text: &str,
        metadata: Option<&[u8]>,
    ) -> Result<Described, Vec<Diagnostic>> {
        let mut notes = Vec::new();
        let metadata = metadata.and_then(|json| match metadata::Metadata::parse(json) {
            Ok(metadata) => Some(metadata),
            Err(problem) => {
                notes.push(format!("metadata.json cannot be read ({problem})"));
                None
            }
        });
        let mut describer = signature::Describer {
            parsed: self,
            text,
            metadata: metadata.as_ref(),
            errors: Vec::new(),
            notes,
        };
        let (description, version) = describer.describe();
        let mut errors = describer.errors;
        if !errors.is_empty() {
            errors.sort_by_key(|error| error.location.text.map(|at| at.start));
            return Err(errors);
        }
        Ok(Described {
            description,
            version,
            notes: describer.notes,
        })
    }
}

/// Reads MIL text of either dialect.
///
/// # Errors
/// What is wrong with it, in the order of the text: every finding is an error
/// with its place ([`Location::text`](crate::Location::text)).
pub fn parse(text: &str) -> Result<Parsed, Vec<Diagnostic>> {
    parse_within(text, MADE_BYTES)
}

/// As [`parse`]; `splat` and `seeded` make at most so many bytes.
///
/// # Errors
/// As [`parse`].
pub fn parse_within(text: &str, made_bytes: u64) -> Result<Parsed, Vec<Diagnostic>> {
    parse::Parser::new(text, made_bytes).run()
}

/// Why a text could not be read.
#[derive(Clone, Debug)]
pub struct TextErrors {
    /// The file.
    pub path: PathBuf,
    /// Its content.
    pub text: String,
    /// What is wrong, each with its place in the text.
    pub findings: Vec<Diagnostic>,
}

impl std::error::Error for TextErrors {}

impl fmt::Display for TextErrors {
    /// One line for each finding: path, line, column, what is wrong.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, finding) in self.findings.iter().enumerate() {
            let at = finding.location.text.unwrap_or(TextSpan::of("", 0..0));
            if i > 0 {
                f.write_str("\n")?;
            }
            let path = self.path.display();
            write!(f, "{path}:{}:{}: {}", at.line, at.column, finding.message)?;
        }
        Ok(())
    }
}
