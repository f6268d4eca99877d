//! What a pipeline manifest says, for `inspect`.

use std::path::Path;

use milwright_package::{PipelineFolder, PipelineManifest, StageRecord};
use serde::Serialize;

use crate::table::Table;
use crate::terminal::Terminal;
use crate::weights::bytes;

#[derive(Debug, Serialize)]
struct Report<'m> {
    schema: &'static str,
    /// The path that was given.
    path: String,
    manifest: &'m PipelineManifest,
    /// One for each stage.
    packages: Vec<PackageReport>,
}

/// What is in the folder, whatever the manifest says.
#[derive(Debug, Serialize)]
struct PackageReport {
    stage: String,
    spec_version: i32,
    /// Of all files together.
    bytes: u64,
}

/// Shows a manifest with its stages. Their specs are read, their weights are
/// not: digests are checked when something is run.
pub(crate) fn inspect(path: &Path, json: bool, out: &mut Terminal) -> anyhow::Result<()> {
    let folder = PipelineFolder::open(path)?;
    let manifest = folder.manifest();
    let packages = manifest.stages.iter().map(|stage| {
        let package = folder.open_stage(stage)?;
        Ok(PackageReport {
            stage: stage.name.clone(),
            spec_version: package.spec().version(),
            bytes: package.files().iter().map(|file| file.len()).sum(),
        })
    });
    let report = Report {
        schema: "milwright-inspect-stages/1",
        path: path.display().to_string(),
        manifest,
        packages: packages.collect::<anyhow::Result<_>>()?,
    };
    if json {
        return out.json(&report);
    }
    out.line(format!("{} (pipeline manifest)", report.path))?;
    let functions: Vec<&str> = manifest.function_names().collect();
    out.line(format!(
        "{} stages of {}, {} {}",
        manifest.stages.len(),
        manifest.model,
        if functions.len() == 1 {
            "function"
        } else {
            "functions"
        },
        functions.join(", ")
    ))?;
    let of = |name: &str| {
        if functions.len() == 1 {
            String::new()
        } else {
            format!("{name} ")
        }
    };
    for own in functions.iter().filter_map(|f| manifest.of_function(f)) {
        let name = of(&own.function);
        out.line(format!("{name}takes {}", own.inputs.join(", ")))?;
        out.line(format!("{name}gives {}", own.outputs.join(", ")))?;
    }

    out.heading("stages")?;
    let mut table = Table::new(&[
        "stage",
        "compute units",
        "package",
        ">spec version",
        ">size",
    ]);
    for (stage, package) in manifest.stages.iter().zip(&report.packages) {
        table.row([
            stage.name.clone(),
            stage.compute_units.to_string(),
            stage.package.clone(),
            package.spec_version.to_string(),
            bytes(package.bytes),
        ]);
    }
    table.write(out)?;

    out.heading("why")?;
    for stage in &manifest.stages {
        for why in &stage.why {
            out.line(format!("{}: {why}", stage.name))?;
        }
    }
    for own in functions.iter().filter_map(|f| manifest.of_function(f)) {
        out.heading(&format!("{}features", of(&own.function)))?;
        let mut table = Table::new(&["stage", "", "name", "type", "from"]);
        for row in own.stages.iter().flat_map(features) {
            table.row(row);
        }
        table.write(out)?;
    }
    Ok(())
}

fn features(stage: &StageRecord) -> Vec<[String; 5]> {
    let row = |what: &str, name: &str, ty: &str, from: String| {
        [&stage.name, what, name, ty, &from].map(str::to_owned)
    };
    let inputs = stage.inputs.iter();
    let outputs = stage.outputs.iter();
    let states = stage.states.iter();
    inputs
        .map(|f| row("input", &f.name, &f.ty, f.from.to_string()))
        .chain(outputs.map(|f| row("output", &f.name, &f.ty, String::new())))
        .chain(states.map(|f| row("state", &f.name, &f.ty, String::new())))
        .collect()
}
