//! Errors for people, on standard error.

use std::io::Write;

use crate::terminal::printable;

/// Shows an error and what it was caused by.
pub(crate) fn show(error: &anyhow::Error) {
    let mut text = format!("error: {}\n", printable(&error.to_string()));
    let mut shown = error.to_string();
    for cause in error.chain().skip(1) {
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
