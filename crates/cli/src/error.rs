//! Errors and notes for people, on standard error.

use std::io::Write;
use std::path::Path;

use milwright_ir::text::TextErrors;
use milwright_ir::{Diagnostic, TextSpan};

use crate::terminal::printable;

/// Longest part of a line of text that is shown around an error.
const SHOWN: usize = 100;

/// Shows an error and what it was caused by.
pub(crate) fn show(error: &anyhow::Error) {
    let mut text = format!("error: {}\n", printable(&error.to_string()));
    let mut shown = error.to_string();
    for cause in error.chain().skip(1) {
        if let Some(errors) = cause.downcast_ref::<TextErrors>() {
            for finding in &errors.findings {
                text.push_str(&located(errors, finding));
            }
            break;
        }
        let cause = cause.to_string();
        // Some libraries repeat the cause in their own message.
        if !shown.contains(&cause) {
            text.push_str(&format!("  caused by: {}\n", printable(&cause)));
        }
        shown = cause;
    }
    // Nobody is left to tell when standard error is gone as well.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Names what an interrupted run left beside an output, before it is written.
pub(crate) fn note_unfinished(output: &Path) {
    for path in milwright_package::unfinished(output) {
        let path = path.display();
        note(&format!(
            "`{path}` is what an interrupted run left, or another one is writing; remove it if \
             none is"
        ));
    }
}

/// Says something beside what a command writes.
pub(crate) fn note(text: &str) {
    let text = format!("note: {}\n", printable(text));
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// A finding in a text: path, line and column, the line, and what is meant in
/// it.
fn located(errors: &TextErrors, finding: &Diagnostic) -> String {
    let path = errors.path.display().to_string();
    let (severity, code) = (finding.severity, finding.code);
    let message = printable(&finding.message);
    let Some(at) = finding.location.text else {
        return format!("{}: {severity}[{code}]: {message}\n", printable(&path));
    };
    let TextSpan { line, column, .. } = at;
    let number = line.to_string();
    let margin = " ".repeat(number.len());
    let (source, caret) = excerpt(&errors.text, at);
    let place = format!("{}:{line}:{column}", printable(&path));
    let mut text = format!("{place}: {severity}[{code}]: {message}\n");
    text.push_str(&format!(
        "{margin} |\n{number} | {source}\n{margin} | {caret}\n"
    ));
    if let Some(help) = &finding.help {
        text.push_str(&format!("{margin} = {}\n", printable(help)));
    }
    text
}

/// The part of the line around a place, and carets below the place.
fn excerpt(text: &str, at: TextSpan) -> (String, String) {
    let before = text.get(..at.start).unwrap_or("");
    let line_start = before.rfind('\n').map_or(0, |n| n + 1);
    let line = text
        .get(line_start..)
        .unwrap_or("")
        .lines()
        .next()
        .unwrap_or("");
    let inside = at.column - 1;
    let width = text.get(at.start..at.end).unwrap_or("").lines().next();
    let width = width.unwrap_or("").chars().count().max(1);
    let indent = line.chars().take_while(|c| c.is_whitespace()).count();
    // Long lines are cut on both sides, with the place in sight.
    let skip = match inside.saturating_sub(indent) < SHOWN * 3 / 4 {
        true => indent.min(inside),
        false => inside - SHOWN / 2,
    };
    let shown: String = line.chars().skip(skip).take(SHOWN).collect();
    let cut = skip > indent;
    let more = line.chars().count() > skip + SHOWN;
    let (left, right) = (if cut { "..." } else { "" }, if more { "..." } else { "" });
    // One column for each character, whatever it is.
    let shown: String = shown
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let room = (SHOWN + skip).saturating_sub(inside).max(1);
    let caret = " ".repeat(left.len() + inside - skip) + &"^".repeat(width.min(room));
    (format!("{left}{}{right}", printable(&shown)), caret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_is_below_the_place() {
        let text = format!("a\n   bad thing;\n{}x{}", "y".repeat(300), "z".repeat(300));
        let at = |start, end| TextSpan::of(&text, start..end);
        let (line, caret) = excerpt(&text, at(5, 8));
        assert_eq!((line.as_str(), caret.as_str()), ("bad thing;", "^^^"));
        let x = text.find('x').unwrap();
        let (line, caret) = excerpt(&text, at(x, x + 1));
        assert!(line.starts_with("...y") && line.ends_with("z..."));
        assert_eq!(line.find('x'), caret.find('^'));
        let (line, caret) = excerpt(&text, at(text.len(), text.len()));
        assert!(line.ends_with('z') && caret.len() == line.len() + 1);
    }
}
