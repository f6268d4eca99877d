//! Code that loads and runs the stages of a pipeline manifest, to be dropped
//! into an app: each stage with its compute units, which no model file can carry.

mod python;
mod swift;

use milwright_package::{PipelineManifest, StageRecord};

pub(crate) use python::python;
pub(crate) use swift::swift;

/// What differs between the languages.
struct Language {
    template: &'static str,
    /// What begins a line of the template that is a mark.
    mark: &'static str,
    /// What begins a comment before a stage.
    comment: &'static str,
    /// A character that must not stand in a string literal as it is.
    escape: fn(char) -> String,
    /// A stage: its name, package, inputs and outputs are literals.
    stage: fn(&StageRecord, [&str; 4]) -> String,
}

impl Language {
    /// The code for a manifest.
    fn code(&self, manifest: &PipelineManifest) -> String {
        let mut stages = String::new();
        for stage in &manifest.stages {
            for why in &stage.why {
                stages.push_str(&format!("{} {}\n", self.comment, comment(why)));
            }
            let literals = [
                &self.literal(&stage.name),
                &self.literal(&stage.package),
                &self.list(stage.inputs.iter().map(|f| f.name.as_str())),
                &self.list(stage.outputs.iter().map(|f| f.name.as_str())),
            ];
            stages.push_str(&(self.stage)(stage, literals.map(String::as_str)));
        }
        let places = [
            ("@MODEL_TEXT@", &*comment(&manifest.model)),
            ("@STAGES@", stages.trim_end_matches('\n')),
            (
                "@INPUTS@",
                &self.list(manifest.inputs.iter().map(String::as_str)),
            ),
            (
                "@OUTPUTS@",
                &self.list(manifest.outputs.iter().map(String::as_str)),
            ),
        ];
        fill(self.template, self.mark, manifest, &places)
    }

    /// A string literal. A backslash is escaped, so nothing is interpolated.
    fn literal(&self, text: &str) -> String {
        let mut out = String::from("\"");
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                c if line_break_or_control(c) => out.push_str(&(self.escape)(c)),
                c => out.push(c),
            }
        }
        out.push('"');
        out
    }

    /// String literals with commas between them.
    fn list<'n>(&self, names: impl Iterator<Item = &'n str>) -> String {
        let names: Vec<String> = names.map(|name| self.literal(name)).collect();
        names.join(", ")
    }
}

/// A template with its places filled. Lines between `<mark>stateful>` and
/// `<mark>/stateful>` are kept when some stage keeps states, those between the
/// marks of `stateless` otherwise.
///
/// What is filled in is not looked at again: it may hold anything.
fn fill(
    template: &str,
    mark: &str,
    manifest: &PipelineManifest,
    places: &[(&str, &str)],
) -> String {
    let stateful = manifest.stages.iter().any(|stage| !stage.states.is_empty());
    let mut out = String::with_capacity(template.len() * 2);
    let mut keep = true;
    for line in template.lines() {
        match line.strip_prefix(mark) {
            Some("stateful>") => keep = stateful,
            Some("stateless>") => keep = !stateful,
            Some("/stateful>" | "/stateless>") => keep = true,
            _ if keep => {
                fill_line(line, places, &mut out);
                out.push('\n');
            }
            _ => {}
        }
    }
    out
}

fn fill_line(line: &str, places: &[(&str, &str)], out: &mut String) {
    let mut rest = line;
    while let Some(at) = rest.find('@') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        match places.iter().find(|(place, _)| rest.starts_with(place)) {
            Some((place, value)) => {
                out.push_str(value);
                rest = &rest[place.len()..];
            }
            None => {
                out.push('@');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
}

/// Text for a comment: on one line, whatever it holds.
fn comment(text: &str) -> String {
    let plain = |c: char| if line_break_or_control(c) { ' ' } else { c };
    text.chars().map(plain).collect()
}

/// What must not stand in a line as it is. Beside control characters these are
/// the line separators of Unicode and the marks that change the direction of
/// text, which could make code read differently from what it is.
fn line_break_or_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests;
