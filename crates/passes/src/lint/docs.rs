//! `docs/lints.md`, made from the rules themselves.

use std::fmt::Write;

use super::finding::Rule;
use super::rules::rules;
use super::target::Target;
use super::unchecked::UNCHECKED;

/// The documentation of every rule, in Markdown.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Lint rules\n\nGenerated from the rules themselves; do not edit.\n\n\
         `milwright lint MODEL` looks for what fails, gives wrong numbers or is slow on Apple \
         devices, as far as the file shows it. Nothing here was run on a device by us: each rule \
         says where it is known from and how sure it is.\n\n\
         - `measured`: the source names device and system and shows the experiment.\n\
         - `documented`: Apple documents it, or its own code has it.\n\
         - `reported`: people saw it and nobody reproduced it, or it was measured through a \
         private interface.\n\
         - `folklore`: stated without evidence, or read out of a compiler's messages. Worded as \
         possible, never an error.\n\n\
         The severity is the worst that a rule gives; many are milder on newer devices. \
         `error`: does not load, crashes, or wrong numbers; `warning`: leaves the Neural Engine \
         or is much slower; `note`: worth knowing. The exit status is 1 when there is an error.\n",
    );
    // Writing to a string cannot fail.
    let _ = targets(&mut out);
    let _ = table(&mut out);
    for rule in rules() {
        let _ = section(&mut out, rule);
    }
    let _ = unchecked(&mut out);
    out
}

fn targets(out: &mut String) -> std::fmt::Result {
    out.push_str(
        "\n`--target` names a device or chip. No source that we trust says which family A17 and later \
         are, so they have the limits of A16; `any` has those of the oldest.\n\n\
         | target | family | largest tensor |\n|---|---|---|\n",
    );
    for target in Target::all() {
        writeln!(
            out,
            "| `{target}` | {} | {} |",
            target.family(),
            target.caps()
        )?;
    }
    Ok(())
}

fn table(out: &mut String) -> std::fmt::Result {
    out.push_str("\n| rule | severity | on | what happens | how sure | what it finds |\n");
    out.push_str("|---|---|---|---|---|---|\n");
    for rule in rules() {
        writeln!(
            out,
            "| [`{0}`](#{0}) | {1} | {2} | {3} | {4}{5} | {6} |",
            rule.name,
            rule.severity,
            rule.units_in_words(),
            rule.effect.words(),
            rule.confidence,
            if rule.disputed.is_some() {
                ", disputed"
            } else {
                ""
            },
            rule.summary
        )?;
    }
    writeln!(out, "\n{} rules.", rules().len())
}

fn section(out: &mut String, rule: &Rule) -> std::fmt::Result {
    writeln!(out, "\n## {}\n\n{}\n", rule.name, rule.summary)?;
    writeln!(out, "{}", rule.facts())?;
    writeln!(out, "\n{}", rule.details.trim())?;
    if let Some(disputed) = rule.disputed {
        writeln!(out, "\nSources disagree: {disputed}")?;
    }
    let sources: Vec<String> = rule.sources.iter().map(|s| format!("`{s}`")).collect();
    writeln!(out, "\nSources: {}.", sources.join(", "))
}

fn unchecked(out: &mut String) -> std::fmt::Result {
    out.push_str(
        "\n## Not checked\n\nWhat the rule base knows and a file cannot show, or shows too \
         vaguely for a finding.\n\n| number | what | why not |\n|---|---|---|\n",
    );
    for one in UNCHECKED {
        writeln!(out, "| {} | {} | {} |", one.id, one.what, one.why)?;
    }
    Ok(())
}
