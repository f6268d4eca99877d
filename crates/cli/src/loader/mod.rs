//! Code that loads and runs the stages of a pipeline manifest, to be dropped
//! into an app: each stage with its compute units, which no model file can carry.

mod python;
mod swift;

use milwright_package::PipelineManifest;

pub(crate) use python::python;
pub(crate) use swift::swift;

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
