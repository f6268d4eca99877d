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

/// An option of a pass.
#[derive(Debug)]
pub struct OptionDef {
    /// Name.
    pub name: &'static str,
    /// One line: what it decides.
    pub summary: &'static str,
    /// What may be given.
    pub takes: Takes,
}

/// What an option takes.
#[derive(Debug)]
pub enum Takes {
    /// One of these words, each with what it means; the first is the default.
    Words(&'static [(&'static str, &'static str)]),
    /// A whole number.
    Number {
        /// What holds when it is not given.
        default: u64,
        /// The smallest that makes sense.
        least: u64,
    },
    /// Names, with `*` and `?` as wildcards, separated by commas; none is the
    /// default.
    Names,
}

impl OptionDef {
    /// What holds when the option is not given, as it would be written.
    pub fn default(&self) -> String {
        match self.takes {
            Takes::Words(words) => words.first().map_or("", |(word, _)| word).to_owned(),
            Takes::Number { default, .. } => default.to_string(),
            Takes::Names => String::new(),
        }
    }
}

/// The options of one run of a pass, defaults included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options(Vec<(&'static str, String)>);

impl Options {
    /// The defaults of a pass.
    pub fn of(pass: &Pass) -> Self {
        Self(pass.options.iter().map(|o| (o.name, o.default())).collect())
    }

    /// What an option is, as it is written; empty if the pass has no such
    /// option.
    pub fn get(&self, name: &str) -> &str {
        self.iter()
            .find(|(option, _)| *option == name)
            .map_or("", |(_, given)| given)
    }

    /// The number of an option that takes one.
    pub fn number(&self, name: &str) -> u64 {
        self.get(name).parse().unwrap_or(0)
    }

    /// The names of an option that takes them.
    pub fn names(&self, name: &str) -> Vec<&str> {
        let names = self.get(name).split(',');
        names.filter(|name| !name.is_empty()).collect()
    }

    /// Every option with what it is.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> + '_ {
        self.0.iter().map(|(name, given)| (*name, given.as_str()))
    }

    pub(crate) fn set(&mut self, name: &str, given: &str) {
        for option in &mut self.0 {
            if option.0 == name {
                option.1 = given.to_owned();
            }
        }
    }
}
