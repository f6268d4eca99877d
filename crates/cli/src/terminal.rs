//! Standard output: for a person on a terminal, for a program otherwise.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use anyhow::Context;

/// Standard output, buffered. When its reader has gone (`| head`), the rest is
/// dropped without a word, and the command ends as it would have.
pub(crate) struct Terminal {
    out: BufWriter<StdoutLock<'static>>,
    closed: bool,
    styled: bool,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        let stdout = io::stdout();
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        Terminal {
            styled: stdout.is_terminal() && !no_color && !dumb,
            out: BufWriter::new(stdout.lock()),
            closed: false,
        }
    }

    /// Whether a person looks at a terminal that knows bold text.
    pub(crate) fn styled(&self) -> bool {
        self.styled
    }

    /// Writes a line of text, with control characters made visible.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> anyhow::Result<()> {
        writeln!(self, "{}", printable(text.as_ref())).context(WRITE)
    }

    /// Writes a heading: bold on a terminal, with an empty line before it.
    pub(crate) fn heading(&mut self, text: &str) -> anyhow::Result<()> {
        let text = printable(text);
        if self.styled {
            writeln!(self, "\n\x1b[1m{text}\x1b[0m").context(WRITE)
        } else {
            writeln!(self, "\n{text}").context(WRITE)
        }
    }

    /// Writes a value as indented JSON.
    pub(crate) fn json(&mut self, value: &impl serde::Serialize) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(value).context("cannot express this as JSON")?;
        writeln!(self, "{text}").context(WRITE)
    }

    /// Writes out what is buffered.
    pub(crate) fn finish(&mut self) -> anyhow::Result<()> {
        self.flush().context(WRITE)
    }

    fn unless_closed<T>(&mut self, result: io::Result<T>, dropped: T) -> io::Result<T> {
        match result {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(dropped)
            }
            other => other,
        }
    }
}

const WRITE: &str = "cannot write to standard output";

impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.closed {
            return Ok(bytes.len());
        }
        let result = self.out.write(bytes);
        self.unless_closed(result, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        let result = self.out.flush();
        self.unless_closed(result, ())
    }
}

/// Text from a model with its control characters escaped, so that no name in a
/// stranger's file can steer the terminal.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if steers(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_become_visible() {
        assert_eq!(printable("a\nb\tc"), "a\nb\tc");
        assert_eq!(printable("\x1b[2Jgone\r"), "\\u{1b}[2Jgone\\r");
    }
}
