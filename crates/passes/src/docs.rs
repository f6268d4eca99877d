//! `docs/passes.md`, made from the passes themselves.

use std::fmt::Write;

use crate::pass::Takes;
use crate::passes::{PRESETS, passes};

/// The documentation of every pass and preset, in Markdown.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Passes\n\nGenerated from the passes themselves; do not edit.\n\n\
         A pipeline is a list: `pass,pass{option=word,option=word},preset`. \
         The program is verified before the first pass and after each.\n\n\
         | pass | what it does | numbers |\n|---|---|---|\n",
    );
    for pass in passes() {
        line(
            &mut out,
            format_args!(
                "| [`{0}`](#{0}) | {1} | {2} |",
                pass.name, pass.summary, pass.exactness
            ),
        );
    }
    out.push_str("\n| preset | what for | stands for |\n|---|---|---|\n");
    for preset in PRESETS {
        line(
            &mut out,
            format_args!(
                "| `{}` | {} | `{}` |",
                preset.name, preset.summary, preset.pipeline
            ),
        );
    }
    out.push_str(
        "\nNumbers: `exact` gives the same bits, `rounding` changes the order of sums, \
         `approximate` changes more and says what.\n",
    );
    for pass in passes() {
        line(
            &mut out,
            format_args!("\n## {}\n\n{}\n", pass.name, pass.summary),
        );
        out.push_str(pass.details.trim());
        out.push('\n');
        if pass.options.is_empty() {
            continue;
        }
        out.push_str("\n| option | value | |\n|---|---|---|\n");
        for option in pass.options {
            line(
                &mut out,
                format_args!("| `{}` | | {} |", option.name, option.summary),
            );
            let words = match option.takes {
                Takes::Words(words) => words,
                Takes::Number { default, .. } => {
                    line(&mut out, format_args!("| | a number | default {default} |"));
                    continue;
                }
                Takes::Names => {
                    let names =
                        "types or names of operations; `*` and `?` stand for any characters";
                    line(&mut out, format_args!("| | `name,name` | {names} |"));
                    continue;
                }
            };
            for (i, (word, meaning)) in words.iter().enumerate() {
                let default = if i == 0 { " (default)" } else { "" };
                line(
                    &mut out,
                    format_args!("| | `{word}`{default} | {meaning} |"),
                );
            }
        }
    }
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
    out.push('\n');
}
