//! What linting a model found: as JSON and for people.

use std::path::{Path, PathBuf};

use milwright_ir::{Location, Severity};
use milwright_passes::lint::{Effect, Finding, Rule, Target};
use serde::Serialize;

use crate::device::DeviceReport;
use crate::terminal::Terminal;

/// Places of a finding that are shown; the rest is in the JSON.
const PLACES: usize = 4;

/// The findings of a model.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) schema: &'static str,
    /// Whether there is no error.
    pub(crate) ok: bool,
    pub(crate) model: String,
    pub(crate) target: &'static str,
    /// Compute units that the model is loaded with, or each stage, when the
    /// manifest says so.
    pub(crate) units: &'static str,
    pub(crate) os: Option<&'static str>,
    /// How many rules were applied.
    pub(crate) rules: usize,
    /// Functions that were looked at, over all stages.
    pub(crate) functions: usize,
    pub(crate) errors: usize,
    pub(crate) warnings: usize,
    pub(crate) notes: usize,
    /// The worst first; equally bad ones in program order.
    pub(crate) findings: Vec<Entry>,
    /// The file in which places have lines, when the model is text.
    #[serde(skip)]
    pub(crate) text: Option<PathBuf>,
    /// What a device did, when a file of it is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<DeviceReport>,
}

/// A finding, with what only the command knows.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    /// Of a pipeline: the stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stage: Option<String>,
    #[serde(flatten)]
    pub(crate) finding: Finding,
    pub(crate) effect: Effect,
    /// Numbers of the rule in the collected rule base.
    pub(crate) ids: &'static [&'static str],
    /// The command that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) command: Option<String>,
}

impl Entry {
    /// A finding in a model at that path, or in a stage of it.
    pub(crate) fn new(
        finding: Finding,
        stage: Option<String>,
        model: &Path,
        target: Target,
    ) -> Self {
        Entry {
            stage,
            effect: finding.rule.effect,
            ids: finding.rule.ids,
            command: finding.fix.map(|fix| fix.command(model, target)),
            finding,
        }
    }

    fn rule(&self) -> &'static Rule {
        self.finding.rule
    }
}

impl Report {
    /// Sorts the findings and counts them.
    pub(crate) fn finish(&mut self) {
        // Stable: stage by stage, and in each as they were found.
        let severity = |e: &Entry| std::cmp::Reverse(e.finding.diagnostic.severity);
        self.findings.sort_by_key(severity);
        let count = |severity| {
            let all = self.findings.iter();
            all.filter(|e| e.finding.diagnostic.severity == severity)
                .count()
        };
        self.errors = count(Severity::Error);
        self.warnings = count(Severity::Warning);
        self.notes = count(Severity::Note);
        self.ok = self.errors == 0;
    }

    /// Shows the findings, rule by rule, and the verdict.
    pub(crate) fn show(&self, out: &mut Terminal) -> anyhow::Result<()> {
        let mut shown: Vec<(&str, Severity)> = Vec::new();
        for entry in &self.findings {
            let key = (entry.rule().name, entry.finding.diagnostic.severity);
            if shown.contains(&key) {
                continue;
            }
            shown.push(key);
            let same = |e: &&Entry| (e.rule().name, e.finding.diagnostic.severity) == key;
            let all: Vec<&Entry> = self.findings.iter().filter(same).collect();
            self.show_rule(&all, out)?;
        }
        if let Some(device) = &self.device {
            device.show(out)?;
        }
        if !self.findings.is_empty() {
            out.line("")?;
        }
        out.line(self.verdict())
    }

    /// The findings of one rule and severity.
    fn show_rule(&self, all: &[&Entry], out: &mut Terminal) -> anyhow::Result<()> {
        let Some(first) = all.first() else {
            return Ok(());
        };
        let rule = first.rule();
        let units: Vec<&str> = match rule.effect {
            Effect::LeavesNeuralEngine => Vec::new(),
            _ => rule.units.iter().map(|u| u.words()).collect(),
        };
        let confidence = first.finding.confidence.to_string();
        let known: Vec<&str> = units.into_iter().chain([confidence.as_str()]).collect();
        out.heading(&format!(
            "{}[{}]: {} ({})",
            first.finding.diagnostic.severity,
            rule.name,
            rule.effect.words(),
            known.join(", ")
        ))?;
        for entry in all {
            self.show_one(entry, out)?;
        }
        let mut said: Vec<&String> = Vec::new();
        for help in all
            .iter()
            .filter_map(|e| e.finding.diagnostic.help.as_ref())
        {
            if !said.contains(&help) {
                out.line(format!("  help: {help}"))?;
                said.push(help);
            }
        }
        for command in all.iter().filter_map(|e| e.command.as_ref()) {
            if !said.contains(&command) {
                out.line(format!("  fix: {command}"))?;
                said.push(command);
            }
        }
        if let Some(disputed) = rule.disputed {
            out.line(format!("  sources disagree: {disputed}"))?;
        }
        Ok(())
    }

    fn show_one(&self, entry: &Entry, out: &mut Terminal) -> anyhow::Result<()> {
        let stage = entry.stage.as_ref().map(|s| format!("stage {s}: "));
        let stage = stage.unwrap_or_default();
        let finding = &entry.finding;
        out.line(format!("  {stage}{}", finding.diagnostic.message))?;
        for fact in &finding.diagnostic.context {
            out.line(format!("    {fact}"))?;
        }
        let places = finding.places.iter().take(PLACES).map(|p| self.place(p));
        let places: Vec<String> = places.filter(|p| !p.is_empty()).collect();
        if places.is_empty() {
            return Ok(());
        }
        let more = match finding.places.len().saturating_sub(PLACES) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        out.line(format!("    in {}{more}", places.join("; ")))
    }

    /// A place in words: the operation, or the input; the function only when
    /// there are several.
    fn place(&self, place: &Location) -> String {
        let mut text = match (&place.op, &place.value) {
            (Some(op), _) => op.clone(),
            (None, Some(value)) => format!("input {value}"),
            (None, None) => match &place.function {
                Some(function) => return format!("function {function}"),
                None => return String::new(),
            },
        };
        if let Some(param) = &place.param {
            text = format!("{text} ({param})");
        }
        if let Some(at) = place.text {
            text = format!("{text} (line {})", at.line);
        }
        match &place.function {
            Some(function) if self.functions > 1 => format!("{function}: {text}"),
            _ => text,
        }
    }

    fn verdict(&self) -> String {
        let count = |n: usize, what: &str| match n {
            1 => format!("1 {what}"),
            n => format!("{n} {what}s"),
        };
        let result = if self.ok { "ok" } else { "ERRORS" };
        let os = self
            .os
            .map(|os| format!(", from {os} on"))
            .unwrap_or_default();
        format!(
            "{result}: {}, {}, {} ({}, target {}, units {}{os}); \
             `milwright lint --explain RULE` says more",
            count(self.errors, "error"),
            count(self.warnings, "warning"),
            count(self.notes, "note"),
            count(self.rules, "rule"),
            self.target,
            self.units
        )
    }
}
