//! Tokens of MIL text, with where they stand.

use std::ops::Range;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name: of a type, an operation, a value, `true`, `inf`, ...
    Word,
    /// A number as it is written; what it is depends on the type around it.
    Number,
    /// A text between quotes, with the quotes.
    Quoted,
    /// One of `( ) [ ] { } < > , ; = ?`.
    Mark(u8),
    /// `->`
    Arrow,
    /// `...`
    Dots,
    /// A quote that is not closed on its line.
    OpenQuote,
    /// A character that nothing in MIL text starts with.
    Stray,
    /// The end of the text.
    End,
}

/// A token and its place in the text, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Token {
    pub(super) fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// Reads tokens one after the other. Every byte of the text is looked at a
/// fixed number of times.
pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        // A byte order mark is no part of the text.
        let at = text.len() - text.trim_start_matches('\u{feff}').len();
        Self { text, at }
    }

    pub(super) fn next(&mut self) -> Token {
        self.skip_space();
        let bytes = self.text.as_bytes();
        let start = self.at;
        let after = |n: usize| bytes.get(start + n).copied().unwrap_or(0);
        let Some(&first) = bytes.get(start) else {
            return self.token(Kind::End, 0);
        };
        match first {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let rest = &bytes[start..];
                let len = rest.iter().position(|&b| !in_word(b));
                self.token(Kind::Word, len.unwrap_or(rest.len()))
            }
            b'0'..=b'9' => self.number(0),
            b'-' | b'+' if after(1).is_ascii_alphanumeric() => self.number(1),
            b'-' if after(1) == b'>' => self.token(Kind::Arrow, 2),
            b'.' if after(1) == b'.' && after(2) == b'.' => self.token(Kind::Dots, 3),
            b'"' => self.quoted(),
            b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'<' | b'>' | b',' | b';' | b'=' | b'?' => {
                self.token(Kind::Mark(first), 1)
            }
            _ => {
                let len = self.text[start..].chars().next().map_or(1, char::len_utf8);
                self.token(Kind::Stray, len)
            }
        }
    }

    fn skip_space(&mut self) {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(b'/') if bytes.get(self.at + 1) == Some(&b'/') => {
                    let rest = &bytes[self.at..];
                    let line = rest.iter().position(|&b| b == b'\n');
                    self.at += line.unwrap_or(rest.len());
                }
                _ => return,
            }
        }
    }

    /// `12`, `-0x1.8p-3`, `1.5e+7`, `-inf`; `sign` is the length of the sign.
    fn number(&mut self, sign: usize) -> Token {
        let bytes = &self.text.as_bytes()[self.at..];
        let is_hex = bytes.len() > sign + 1 && matches!(bytes[sign + 1], b'x' | b'X');
        let exponent: &[u8] = if is_hex { b"pP" } else { b"eE" };
        let mut len = sign;
        while let Some(&byte) = bytes.get(len) {
            let signed = matches!(byte, b'+' | b'-') && exponent.contains(&bytes[len - 1]);
            if !(byte.is_ascii_alphanumeric()
                || byte == b'.'
                || byte == b'_'
                || len > sign && signed)
            {
                break;
            }
            len += 1;
        }
        self.token(Kind::Number, len)
    }

    fn quoted(&mut self) -> Token {
        let bytes = &self.text.as_bytes()[self.at..];
        let mut len = 1;
        loop {
            match bytes.get(len) {
                Some(b'"') => return self.token(Kind::Quoted, len + 1),
                Some(b'\n') | None => return self.token(Kind::OpenQuote, len),
                // Whatever is escaped, but not the end of a line.
                Some(b'\\') if bytes.get(len + 1).is_some_and(|&b| b == b'"' || b == b'\\') => {
                    len += 2;
                }
                Some(_) => len += 1,
            }
        }
    }

    fn token(&mut self, kind: Kind, len: usize) -> Token {
        let start = self.at;
        self.at = start + len;
        Token {
            kind,
            start,
            end: self.at,
        }
    }
}

fn in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'@' | b'$')
}

/// Whether a name can stand in the text as it is; others stand in quotes.
pub(super) fn is_word(name: &str) -> bool {
    let starts = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    starts && name.bytes().all(in_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<(Kind, &str)> {
        let mut lexer = Lexer::new(text);
        let mut found = Vec::new();
        loop {
            let token = lexer.next();
            if token.kind == Kind::End {
                return found;
            }
            found.push((token.kind, &text[token.range()]));
        }
    }

    #[test]
    fn numbers_names_and_marks() {
        use Kind::*;
        let text = "x.1 = -0x1.8p-3,+7 -inf 1e-5 2-> ... ? // rest\n\"a\\\"b\" \"open\n§";
        let expected = [
            (Word, "x.1"),
            (Mark(b'='), "="),
            (Number, "-0x1.8p-3"),
            (Mark(b','), ","),
            (Number, "+7"),
            (Number, "-inf"),
            (Number, "1e-5"),
            (Number, "2"),
            (Arrow, "->"),
            (Dots, "..."),
            (Mark(b'?'), "?"),
            (Quoted, "\"a\\\"b\""),
            (OpenQuote, "\"open"),
            (Stray, "§"),
        ];
        assert_eq!(kinds(text), expected);
        assert!(is_word("a_1") && is_word("_") && !is_word("1a") && !is_word("a b"));
        assert!(!is_word(""));
    }
}
