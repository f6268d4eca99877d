//! Packages wired by the names of their features, without a manifest.

use std::collections::BTreeMap;

use super::{
    ComputeUnits, Origin, PIPELINE_SCHEMA, PipelineManifest, StageFeature, StageInput, StageRecord,
};
use crate::error::{Error, Result};
use crate::package::Package;
use crate::proto;

/// What stands for a type where only the packages say it.
const ANY: &str = "?";

impl PipelineManifest {
    /// What a manifest of these packages would say if they run in this order: a
    /// stage's input is the feature of that name which the nearest stage before
    /// it gives, or else the caller, and the outputs are what no later stage
    /// takes.
    ///
    /// Stages are called after their packages. Types and files are left to the
    /// packages, so this is not to be saved.
    ///
    /// # Errors
    /// [`Error::Stages`] when a package has several functions, or gives what an
    /// earlier one gave for nothing; [`Error::Spec`].
    pub fn wired(packages: &[Package]) -> Result<PipelineManifest> {
        let mut stages: Vec<StageRecord> = Vec::new();
        let mut inputs: Vec<String> = Vec::new();
        // Who gives a feature, and whether somebody took it.
        let mut given: BTreeMap<String, (usize, bool)> = BTreeMap::new();
        let mut outputs: Vec<(usize, String)> = Vec::new();
        for (number, package) in packages.iter().enumerate() {
            let description = package.spec().description()?;
            if !description.functions.is_empty() {
                return Err(Error::Stages {
                    path: package.path().to_owned(),
                    reason: "it has several functions, and a stage has one".to_owned(),
                });
            }
            let mut takes = Vec::new();
            for feature in &description.input {
                let from = match given.get_mut(&feature.name) {
                    Some((stage, taken)) => {
                        *taken = true;
                        Origin::Stage(stages[*stage].name.clone())
                    }
                    None => {
                        if !inputs.contains(&feature.name) {
                            inputs.push(feature.name.clone());
                        }
                        Origin::Caller
                    }
                };
                takes.push(StageInput {
                    name: feature.name.clone(),
                    ty: ANY.to_owned(),
                    from,
                });
            }
            let stage = StageRecord {
                name: name_of(package, &stages),
                package: package.path().display().to_string(),
                compute_units: ComputeUnits::All,
                why: Vec::new(),
                inputs: takes,
                outputs: described(&description.output),
                states: described(&description.state),
                files: Vec::new(),
            };
            for feature in &description.output {
                let before = given.insert(feature.name.clone(), (number, false));
                if let Some((earlier, false)) = before {
                    return Err(Error::Stages {
                        path: package.path().to_owned(),
                        reason: format!(
                            "it gives `{}`, which `{}` gives too, and nothing between them takes \
                             it; rename one of them",
                            feature.name, stages[earlier].package
                        ),
                    });
                }
                outputs.retain(|(_, name)| *name != feature.name);
                outputs.push((number, feature.name.clone()));
            }
            stages.push(stage);
        }
        let is_output = |(stage, name): &(usize, String)| given.get(name) == Some(&(*stage, false));
        let outputs: Vec<String> = outputs
            .iter()
            .filter(|output| is_output(output))
            .map(|(_, name)| name.clone())
            .collect();
        Ok(PipelineManifest {
            schema: PIPELINE_SCHEMA.to_owned(),
            model: String::new(),
            function: "main".to_owned(),
            inputs,
            outputs,
            stages,
            functions: Vec::new(),
        })
    }
}

fn described(features: &[proto::FeatureDescription]) -> Vec<StageFeature> {
    let feature = |f: &proto::FeatureDescription| StageFeature {
        name: f.name.clone(),
        ty: ANY.to_owned(),
    };
    features.iter().map(feature).collect()
}

/// The name of the file, with a number if another stage has it.
fn name_of(package: &Package, earlier: &[StageRecord]) -> String {
    let stem = package.path().file_stem().unwrap_or_default();
    let stem = stem.to_string_lossy();
    let taken = |name: &str| name.is_empty() || earlier.iter().any(|stage| stage.name == name);
    let mut name = stem.to_string();
    let mut number = 1;
    while taken(&name) {
        number += 1;
        name = format!("{stem}{number}");
    }
    name
}
