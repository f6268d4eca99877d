//! The loader in Swift.

use milwright_package::PipelineManifest;

use super::{comment, fill, line_break_or_control};

/// A Swift file with a class that loads and runs the stages.
pub(crate) fn swift(manifest: &PipelineManifest) -> String {
    let list = |names: Vec<&str>| {
        let names: Vec<String> = names.into_iter().map(literal).collect();
        names.join(", ")
    };
    let mut stages = String::new();
    for stage in &manifest.stages {
        for why in &stage.why {
            stages.push_str(&format!("        // {}\n", comment(why)));
        }
        stages.push_str(&format!(
            "        Stage(\n            name: {}, package: {},\n            \
             computeUnits: .{},\n            inputs: [{}],\n            outputs: [{}],\n            \
             stateful: {}),\n",
            literal(&stage.name),
            literal(&stage.package),
            stage.compute_units,
            list(stage.inputs.iter().map(|f| f.name.as_str()).collect()),
            list(stage.outputs.iter().map(|f| f.name.as_str()).collect()),
            !stage.states.is_empty(),
        ));
    }
    let names = |names: &[String]| list(names.iter().map(String::as_str).collect());
    fill(
        include_str!("template.swift"),
        "//<",
        manifest,
        &[
            ("@MODEL_TEXT@", &comment(&manifest.model)),
            ("@STAGES@", stages.trim_end_matches('\n')),
            ("@INPUTS@", &names(&manifest.inputs)),
            ("@OUTPUTS@", &names(&manifest.outputs)),
        ],
    )
}

/// A string literal. A backslash is escaped, so nothing is interpolated.
fn literal(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if line_break_or_control(c) => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
