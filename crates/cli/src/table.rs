//! Aligned columns.

use std::io::Write;

use anyhow::Context;

use crate::terminal::{Terminal, printable};

/// Rows under headings. A column whose heading starts with `>` is aligned to
/// the right.
#[derive(Debug)]
pub(crate) struct Table {
    headings: Vec<String>,
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: &[&str]) -> Self {
        Table {
            right: headings.iter().map(|h| h.starts_with('>')).collect(),
            headings: headings
                .iter()
                .map(|h| h.trim_start_matches('>').to_owned())
                .collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; missing cells are empty, surplus ones are dropped.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        let mut row: Vec<String> = cells
            .into_iter()
            .map(|c| printable(&c.into()).replace(['\n', '\t'], " "))
            .collect();
        row.resize(self.headings.len(), String::new());
        self.rows.push(row);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes the table: bold headings and a rule on a terminal, headings and
    /// rows alone otherwise.
    pub(crate) fn write(&self, out: &mut Terminal) -> anyhow::Result<()> {
        let text = self.render(out.styled());
        out.write_all(text.as_bytes())
            .context("cannot write to standard output")
    }

    fn render(&self, styled: bool) -> String {
        let width = |column: usize| {
            self.rows
                .iter()
                .chain([&self.headings])
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.headings.len()).map(width).collect();
        let mut text = String::new();
        let mut line = |row: &[String], bold: bool| {
            let mut cells = String::new();
            for ((cell, &width), &right) in row.iter().zip(&widths).zip(&self.right) {
                let blank = " ".repeat(width.saturating_sub(cell.chars().count()));
                if right {
                    cells.push_str(&blank);
                    cells.push_str(cell);
                } else {
                    cells.push_str(cell);
                    cells.push_str(&blank);
                }
                cells.push_str("  ");
            }
            let cells = cells.trim_end();
            if bold {
                text.push_str(&format!("\x1b[1m{cells}\x1b[0m\n"));
            } else {
                text.push_str(&format!("{cells}\n"));
            }
        };
        line(&self.headings, styled);
        if styled {
            let rule: Vec<String> = widths.iter().map(|&w| "─".repeat(w)).collect();
            line(&rule, false);
        }
        for row in &self.rows {
            line(row, false);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut t = Table::new(&["op", ">count"]);
        t.row(["conv", "3"]);
        t.row(["layer_norm", "12"]);
        t.row(["x\x1b"]);
        assert_eq!(
            t.render(false),
            "op          count\nconv            3\nlayer_norm     12\nx\\u{1b}\n"
        );
        assert!(
            t.render(true)
                .starts_with("\x1b[1mop          count\x1b[0m\n──")
        );
    }
}
