//! Findings: what is wrong with a model, as data.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

use crate::arena::OpId;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Probably wrong, or beyond what this build knows.
    Warning,
    /// Wrong: no runtime can be expected to take it.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// A place in a text that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TextSpan {
    /// Line, from 1.
    pub line: usize,
    /// Column of the first character, from 1.
    pub column: usize,
    /// First byte.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
}

impl TextSpan {
    /// The place of a range of bytes in a text; what lies outside of the text,
    /// or inside of a character, counts as the nearest place before it.
    pub fn of(text: &str, range: Range<usize>) -> Self {
        Lines::of(text).span(range)
    }
}

/// A text and where its lines begin, for many places in it.
#[derive(Debug)]
pub struct Lines<'t> {
    text: &'t str,
    /// After each line break.
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    /// Finds the lines of a text.
    pub fn of(text: &'t str) -> Self {
        let breaks = text.bytes().enumerate().filter(|&(_, b)| b == b'\n');
        Self {
            text,
            starts: breaks.map(|(at, _)| at + 1).collect(),
        }
    }

    /// The place of a range of bytes, as [`TextSpan::of`].
    pub fn span(&self, range: Range<usize>) -> TextSpan {
        let start = floor(self.text, range.start);
        let end = floor(self.text, range.end).max(start);
        let before = self.starts.partition_point(|&line| line <= start);
        let line_start = before.checked_sub(1).map_or(0, |last| self.starts[last]);
        TextSpan {
            line: before + 1,
            column: self.text[line_start..start].chars().count() + 1,
            start,
            end,
        }
    }
}

fn floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at)
        .rev()
        .find(|&i| text.is_char_boundary(i))
        .unwrap_or(0)
}

/// Where something was found; each part as far as it applies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Location {
    /// Name of the function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The operation, as `output = type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub op: Option<String>,
    /// Parameter of the operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
    /// Name of the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Where it stands, in a model that was read from text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<TextSpan>,
    /// The operation in its program, for callers that hold one.
    #[serde(skip)]
    pub op_id: Option<OpId>,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("function", &self.function),
            ("operation", &self.op),
            ("parameter", &self.param),
            ("value", &self.value),
        ];
        let named = parts
            .iter()
            .filter_map(|(kind, name)| Some((kind, name.as_ref()?)));
        let mut separator = "";
        if let Some(at) = &self.text {
            write!(f, "line {}, column {}", at.line, at.column)?;
            separator = ", ";
        }
        for (kind, name) in named {
            write!(f, "{separator}{kind} `{name}`")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// A finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Which rule; stable, in kebab case.
    pub code: &'static str,
    /// How bad.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// Where.
    pub location: Location,
    /// Further facts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub context: Vec<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Diagnostic {
    /// A finding of that severity.
    pub fn new(
        severity: Severity,
        code: &'static str,
        location: Location,
        message: impl Into<String>,
    ) -> Self {
        Self {
            code,
            severity,
            message: message.into(),
            location,
            context: Vec::new(),
            help: None,
        }
    }

    /// Adds what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]: {}", self.severity, self.code, self.message)?;
        let location = self.location.to_string();
        if !location.is_empty() {
            write!(f, " ({location})")?;
        }
        for fact in &self.context {
            write!(f, "; {fact}")?;
        }
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}
