//! What a pass is.

use std::fmt;

use serde::Serialize;

use crate::error::Error;
use crate::report::PassReport;
use crate::rewriter::Rewriter;

/// What a pass may change in the numbers that a program computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exactness {
    /// Nothing: the same bits.
    Exact,
    /// The order of sums, and so their last bits.
    Rounding,
    /// More than that; the pass says what.
    Approximate,
}

impl fmt::Display for Exactness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "exact",
            Self::Rounding => "rounding",
            Self::Approximate => "approximate",
        })
    }
}

/// A rewrite of a program.
pub struct Pass {
    /// Name in a pipeline, in kebab-case.
    pub name: &'static str,
    /// One line: what it does.
    pub summary: &'static str,
    /// Documentation in Markdown: when to use it, what it changes and leaves.
    pub details: &'static str,
    /// Options, in the order of the documentation.
    pub options: &'static [OptionDef],
    /// What it may change in the numbers.
    pub exactness: Exactness,
    /// Does it.
    pub run: fn(&mut Rewriter<'_>, &Options) -> Result<PassReport, Error>,
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pass({})", self.name)
    }
}

/// An option of a pass: one of a few words.
#[derive(Debug)]
pub struct OptionDef {
    /// Name.
    pub name: &'static str,
    /// One line: what it decides.
    pub summary: &'static str,
    /// The words it takes and what each means; the first is the default.
    pub values: &'static [(&'static str, &'static str)],
}

impl OptionDef {
    /// The word that holds when the option is not given.
    pub fn default(&self) -> &'static str {
        self.values.first().map_or("", |(word, _)| word)
    }
}

/// The options of one run of a pass, defaults included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options(Vec<(&'static str, &'static str)>);

impl Options {
    /// The defaults of a pass.
    pub fn of(pass: &Pass) -> Self {
        Self(pass.options.iter().map(|o| (o.name, o.default())).collect())
    }

    /// The word of an option; empty if the pass has no such option.
    pub fn get(&self, name: &str) -> &'static str {
        self.iter()
            .find(|(option, _)| *option == name)
            .map_or("", |(_, word)| word)
    }

    /// Every option with its word.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'static str)> + '_ {
        self.0.iter().copied()
    }

    pub(crate) fn set(&mut self, name: &'static str, word: &'static str) {
        for option in &mut self.0 {
            if option.0 == name {
                option.1 = word;
            }
        }
    }
}
