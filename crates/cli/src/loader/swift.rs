//! The loader in Swift.

use milwright_package::{PipelineManifest, StageRecord};

use super::Language;

/// A Swift file with a class that loads and runs the stages.
pub(crate) fn swift(manifest: &PipelineManifest) -> String {
    let swift = Language {
        template: include_str!("template.swift"),
        mark: "//<",
        comment: "        //",
        escape: |c| format!("\\u{{{:x}}}", u32::from(c)),
        stage,
    };
    swift.code(manifest)
}

fn stage(stage: &StageRecord, [name, package, inputs, outputs]: [&str; 4]) -> String {
    format!(
        "        Stage(\n            name: {name}, package: {package},\n            \
         computeUnits: .{},\n            inputs: [{inputs}],\n            \
         outputs: [{outputs}],\n            stateful: {}),\n",
        stage.compute_units,
        !stage.states.is_empty(),
    )
}
