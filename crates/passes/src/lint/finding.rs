//! What a rule is, and what it finds.

use std::fmt;
use std::path::Path;

use milwright_ir::{Diagnostic, Location, Severity};
use serde::Serialize;

use super::scope::Scope;
use super::target::Target;

/// Something that goes wrong, or slowly, on a device, and can be seen in the
/// file.
pub struct Rule {
    /// Name, in kebab-case; the code of its findings.
    pub name: &'static str,
    /// Numbers in the collected rule base that it covers, such as `SHP04`; none
    /// when it is not from there.
    pub ids: &'static [&'static str],
    /// The worst severity that its findings have.
    pub severity: Severity,
    /// What happens.
    pub effect: Effect,
    /// The compute units on which it does; empty: on every one.
    pub units: &'static [Unit],
    /// How sure it is.
    pub confidence: Confidence,
    /// One line: what it finds.
    pub summary: &'static str,
    /// Documentation in Markdown: the predicate in words, why, what to do.
    pub details: &'static str,
    /// Where it is known from, such as `apple/coremltools#1723`.
    pub sources: &'static [&'static str],
    /// What sources say against it, where they disagree.
    pub disputed: Option<&'static str>,
    /// Finds it in a function.
    pub check: fn(&Scope<'_>) -> Vec<Found>,
}

impl Rule {
    /// Severity, units, effect, confidence and numbers, in one line.
    pub fn facts(&self) -> String {
        let mut facts = vec![
            self.severity.to_string(),
            self.units_in_words(),
            self.effect.words().to_owned(),
            self.confidence.to_string(),
        ];
        if !self.ids.is_empty() {
            facts.push(self.ids.join(", "));
        }
        facts.join("; ")
    }

    /// The compute units that it is about.
    pub fn units_in_words(&self) -> String {
        match self.units {
            [] => "everywhere".to_owned(),
            units => {
                let names: Vec<&str> = units.iter().map(|u| u.words()).collect();
                names.join(", ")
            }
        }
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rule({})", self.name)
    }
}

/// What happens to a model that a rule finds something in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// It does not load.
    Load,
    /// The process ends.
    Crash,
    /// The numbers are wrong.
    Numbers,
    /// Operations, or all of it, do not run on the Neural Engine.
    LeavesNeuralEngine,
    /// It is slow, to load or to run.
    Slow,
    /// It takes more memory than it needs.
    Memory,
}

impl Effect {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Load => "does not load",
            Self::Crash => "crashes",
            Self::Numbers => "wrong numbers",
            Self::LeavesNeuralEngine => "leaves the Neural Engine",
            Self::Slow => "slow",
            Self::Memory => "takes memory",
        }
    }
}

/// How well a rule is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Stated without evidence, or read out of a compiler's messages; what it
    /// finds is worded as possible and is never an error.
    Folklore,
    /// People saw it, and nobody reproduced it independently; or it was
    /// measured through a private interface.
    Reported,
    /// Apple documents it, or its own code has it.
    Documented,
    /// The source names device and system and shows the experiment.
    Measured,
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Folklore => "folklore",
            Self::Reported => "reported",
            Self::Documented => "documented",
            Self::Measured => "measured",
        })
    }
}

/// What executes a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// The Neural Engine.
    Ane,
    /// The graphics processor.
    Gpu,
    /// The processor.
    Cpu,
}

impl Unit {
    /// Name for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Ane => "Neural Engine",
            Self::Gpu => "GPU",
            Self::Cpu => "CPU",
        }
    }
}

/// The compute units that a model is loaded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Units {
    /// The Neural Engine may be used.
    pub ane: bool,
    /// The graphics processor may be used.
    pub gpu: bool,
    /// The processor may be used; Core ML always allows it.
    pub cpu: bool,
}

impl Units {
    /// Every one.
    pub const ALL: Self = Self {
        ane: true,
        gpu: true,
        cpu: true,
    };

    /// The units of that name: `all`, `ane`, `gpu`, `cpu`, or as Core ML calls
    /// a choice (`cpuAndGPU`, `cpuAndNeuralEngine`, `cpuOnly`). The processor is
    /// always among them.
    pub fn from_name(name: &str) -> Option<Self> {
        let (ane, gpu) = match name {
            "all" => (true, true),
            "ane" | "cpuAndNeuralEngine" => (true, false),
            "gpu" | "cpuAndGPU" => (false, true),
            "cpu" | "cpuOnly" => (false, false),
            _ => return None,
        };
        let cpu = true;
        Some(Self { ane, gpu, cpu })
    }

    /// Whether a unit is one of them.
    pub fn has(self, unit: Unit) -> bool {
        match unit {
            Unit::Ane => self.ane,
            Unit::Gpu => self.gpu,
            Unit::Cpu => self.cpu,
        }
    }

    /// Whether a rule concerns a model that is loaded with these.
    pub fn concern(self, rule: &Rule) -> bool {
        rule.units.is_empty() || rule.units.iter().any(|&u| self.has(u))
    }
}

/// A number of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Number {
    /// A size or count.
    Count(u64),
    /// Anything else.
    Real(f64),
}

impl From<u64> for Number {
    fn from(n: u64) -> Self {
        Self::Count(n)
    }
}

impl From<usize> for Number {
    fn from(n: usize) -> Self {
        Self::Count(n as u64)
    }
}

impl From<f64> for Number {
    fn from(x: f64) -> Self {
        Self::Real(x)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Count(n) => write!(f, "{n}"),
            Self::Real(x) if x == 0.0 || (1e-3..1e7).contains(&x.abs()) => write!(f, "{x}"),
            Self::Real(x) => write!(f, "{x:e}"),
        }
    }
}

/// A number with its noun: `1 cast`, `3 casts`.
pub fn counted(n: usize, one: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        n => format!("{n} {one}s"),
    }
}

/// What of this program mends a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "with")]
pub enum Fix {
    /// `convert --passes` with these.
    Convert(&'static str),
    /// `split`.
    Split,
    /// `bisect --max-size` with this size.
    Bisect(&'static str),
    /// `hint --units` with these.
    Hint(&'static str),
}

impl Fix {
    /// The command for a model at that path and a target. What it writes is named
    /// after the model and goes to the current folder.
    pub fn command(self, model: &Path, target: Target) -> String {
        let stem = model.file_stem().unwrap_or_default().to_string_lossy();
        let output = |suffix: &str| quoted(&format!("{stem}{suffix}"));
        let model = quoted(&model.to_string_lossy());
        match self {
            Self::Convert(passes) => {
                let passes = quoted(passes);
                let output = output("-fixed.mlpackage");
                format!("milwright convert {model} --passes {passes} -o {output}")
            }
            Self::Split => {
                let target = match target {
                    Target::Any => String::new(),
                    target => format!(" --target {target}"),
                };
                format!("milwright split {model}{target} -o {}", output("-stages"))
            }
            Self::Bisect(size) => {
                format!(
                    "milwright bisect {model} -o {} --max-size {size}",
                    output("-parts")
                )
            }
            Self::Hint(units) => {
                let output = output("-hinted.mlpackage");
                format!("milwright hint {model} --units {units} -o {output}")
            }
        }
    }
}

/// A word as a shell takes it: as it is, or in single quotes.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,+:@%".contains(c);
    if !word.is_empty() && !word.starts_with('-') && word.chars().all(plain) {
        word.to_owned()
    } else if word.starts_with('-') {
        // A path that looks like an option.
        quoted(&format!("./{word}"))
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// What a rule found; [`lint`](super::lint) makes a [`Finding`] of it.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub(super) places: Vec<Location>,
    pub(super) message: String,
    pub(super) severity: Option<Severity>,
    pub(super) confidence: Option<Confidence>,
    pub(super) number: Option<Number>,
    pub(super) limit: Option<Number>,
    pub(super) context: Vec<String>,
    pub(super) help: Option<String>,
    pub(super) fix: Option<Fix>,
}

impl Found {
    /// At one place.
    pub fn at(place: Location, message: impl Into<String>) -> Self {
        Self::in_all(vec![place], message)
    }

    /// At several places, in program order; the message says how many. Nothing
    /// when there is none.
    pub fn each(places: Vec<Location>, message: impl FnOnce(usize) -> String) -> Option<Self> {
        let count = places.len();
        (count > 0).then(|| Self::in_all(places, message(count)))
    }

    /// In the model as a whole.
    pub fn model(message: impl Into<String>) -> Self {
        Self::in_all(Vec::new(), message)
    }

    fn in_all(places: Vec<Location>, message: impl Into<String>) -> Self {
        Self {
            places,
            message: message.into(),
            ..Self::default()
        }
    }

    /// The number that is wrong; the message has it too.
    #[must_use]
    pub fn number(mut self, number: impl Into<Number>) -> Self {
        self.number = Some(number.into());
        self
    }

    /// What the number may be; the message has it too.
    #[must_use]
    pub fn limit(mut self, limit: impl Into<Number>) -> Self {
        self.limit = Some(limit.into());
        self
    }

    /// Less severe than the rule's worst.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = Some(severity);
        self
    }

    /// Less sure than the rule.
    #[must_use]
    pub fn confidence(mut self, confidence: Confidence) -> Self {
        self.confidence = Some(confidence);
        self
    }

    /// A further fact.
    #[must_use]
    pub fn note(mut self, fact: impl Into<String>) -> Self {
        self.context.push(fact.into());
        self
    }

    /// What to do, in words.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What of this program mends it.
    #[must_use]
    pub fn fix(mut self, fix: Fix) -> Self {
        self.fix = Some(fix);
        self
    }
}

/// A finding: a [`Diagnostic`] and how well it is known.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What, where and how bad; `code` is the name of the rule and `location`
    /// the first place.
    #[serde(flatten)]
    pub diagnostic: Diagnostic,
    /// The rule.
    #[serde(skip)]
    pub rule: &'static Rule,
    /// Every place, in program order; empty when it concerns the whole model.
    pub places: Vec<Location>,
    /// How sure it is.
    pub confidence: Confidence,
    /// The number that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<Number>,
    /// What it may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Number>,
    /// What sources say against the rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disputed: Option<&'static str>,
    /// What of this program mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<Fix>,
}

impl Finding {
    /// The finding of a rule, as severe and as sure as its evidence allows: what
    /// is folklore is possible and no error.
    pub(super) fn new(rule: &'static Rule, found: Found) -> Self {
        let confidence = found.confidence.unwrap_or(rule.confidence);
        let confidence = confidence.min(rule.confidence);
        let mut severity = found.severity.unwrap_or(rule.severity).min(rule.severity);
        let mut message = found.message;
        if confidence == Confidence::Folklore {
            severity = severity.min(Severity::Warning);
            message.insert_str(0, "possible: ");
        }
        let location = found.places.first().cloned().unwrap_or_default();
        let mut diagnostic = Diagnostic::new(severity, rule.name, location, message);
        diagnostic.context = found.context;
        diagnostic.help = found.help;
        Self {
            diagnostic,
            rule,
            places: found.places,
            confidence,
            number: found.number,
            limit: found.limit,
            disputed: rule.disputed,
            fix: found.fix,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_quote_what_a_shell_would_read() {
        let command = |model: &str| Fix::Split.command(Path::new(model), Target::Any);
        assert_eq!(
            command("models/mel.mlpackage"),
            "milwright split models/mel.mlpackage -o mel-stages"
        );
        assert_eq!(
            command("it's here.mlpackage"),
            r"milwright split 'it'\''s here.mlpackage' -o 'it'\''s here-stages'"
        );
        assert_eq!(
            command("-x.mlpackage"),
            "milwright split ./-x.mlpackage -o ./-x-stages"
        );
        let passes = Fix::Convert("decompose-conv{taps=sum},dce");
        let command = passes.command(Path::new("m.mlpackage"), Target::Any);
        assert_eq!(
            command,
            "milwright convert m.mlpackage --passes 'decompose-conv{taps=sum},dce' -o m-fixed.mlpackage"
        );
    }
}
