//! The loader in Python, on coremltools.

use milwright_package::{ComputeUnits, PipelineManifest, StageRecord};

use super::Language;

/// A Python module with a class that loads and runs the stages.
pub(crate) fn python(manifest: &PipelineManifest) -> String {
    let python = Language {
        template: include_str!("template.py"),
        mark: "#<",
        comment: "    #",
        escape: |c| format!("\\u{:04x}", u32::from(c)),
        stage,
    };
    python.code(manifest)
}

fn stage(stage: &StageRecord, [name, package, inputs, outputs]: [&str; 4]) -> String {
    format!(
        "    {{\n        \"name\": {name},\n        \"package\": {package},\n        \
         \"compute_units\": ct.ComputeUnit.{},\n        \"inputs\": [{inputs}],\n        \
         \"outputs\": [{outputs}],\n        \"stateful\": {},\n    }},\n",
        units(stage.compute_units),
        if stage.states.is_empty() {
            "False"
        } else {
            "True"
        },
    )
}

/// What coremltools calls compute units.
fn units(units: ComputeUnits) -> &'static str {
    match units {
        ComputeUnits::CpuOnly => "CPU_ONLY",
        ComputeUnits::CpuAndGpu => "CPU_AND_GPU",
        ComputeUnits::CpuAndNeuralEngine => "CPU_AND_NE",
        ComputeUnits::All => "ALL",
    }
}
