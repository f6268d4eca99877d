//! The loader in Python, on coremltools.

use milwright_package::{ComputeUnits, PipelineManifest};

use super::{comment, fill, line_break_or_control};

/// A Python module with a class that loads and runs the stages.
pub(crate) fn python(manifest: &PipelineManifest) -> String {
    let list = |names: Vec<&str>| {
        let names: Vec<String> = names.into_iter().map(literal).collect();
        names.join(", ")
    };
    let mut stages = String::new();
    for stage in &manifest.stages {
        for why in &stage.why {
            stages.push_str(&format!("    # {}\n", comment(why)));
        }
        stages.push_str(&format!(
            "    {{\n        \"name\": {},\n        \"package\": {},\n        \
             \"compute_units\": ct.ComputeUnit.{},\n        \"inputs\": [{}],\n        \
             \"outputs\": [{}],\n        \"stateful\": {},\n    }},\n",
            literal(&stage.name),
            literal(&stage.package),
            units(stage.compute_units),
            list(stage.inputs.iter().map(|f| f.name.as_str()).collect()),
            list(stage.outputs.iter().map(|f| f.name.as_str()).collect()),
            if stage.states.is_empty() {
                "False"
            } else {
                "True"
            },
        ));
    }
    let names = |names: &[String]| list(names.iter().map(String::as_str).collect());
    fill(
        include_str!("template.py"),
        "#<",
        manifest,
        &[
            ("@MODEL_TEXT@", &comment(&manifest.model)),
            ("@STAGES@", stages.trim_end_matches('\n')),
            ("@INPUTS@", &names(&manifest.inputs)),
            ("@OUTPUTS@", &names(&manifest.outputs)),
        ],
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

/// A string literal.
fn literal(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if line_break_or_control(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
