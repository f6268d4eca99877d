//! What will fail or be slow on a device, found in the file.
//!
//! A [`Rule`] is a predicate over one function ([`Scope`]) with its
//! documentation, its sources and how far these can be trusted; [`lint`] applies
//! rules to a model and sorts what they find. Adding a rule is a file in
//! `rules` with `pub(super) static RULE: Rule`, two programs for the tests, and
//! one word in the list in `rules/mod.rs`.

pub mod device;
mod docs;
mod finding;
mod patterns;
pub mod placement;
mod query;
mod range;
mod rules;
mod scope;
mod target;
#[cfg(test)]
mod testing;
mod unchecked;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use milwright_ir::features::Description;
use milwright_ir::ops::Opset;
use milwright_ir::{BlobSource, Model, OpId, Program};
use milwright_package::{Package, Spec};

pub use docs::markdown;
pub use finding::{Confidence, Effect, Finding, Fix, Found, Number, Rule, Unit, Units, counted};
pub use query::{Channel, Origin};
pub use range::Range;
pub use rules::{lookup, rules};
pub use scope::Scope;
pub use target::{Axis, Caps, Chip, Excess, Family, Ncdhw, Target};
pub use unchecked::{UNCHECKED, Unchecked};

/// A model, or a stage of one, to be linted.
pub struct Input<'a> {
    /// The program.
    pub program: &'a Program,
    /// Its weights.
    pub blobs: &'a dyn BlobSource,
    /// What it declares to its caller.
    pub description: Description,
    /// Specification version of the model.
    pub spec_version: i32,
    /// Weight files that the program refers to, as it names them, and their
    /// bytes.
    pub weight_files: Vec<(String, u64)>,
}

impl<'a> Input<'a> {
    /// An open model.
    ///
    /// # Errors
    /// As [`Input::of_stage`].
    pub fn of(model: &'a Model) -> Result<Self, milwright_ir::Error> {
        Self::of_stage(model.program(), model.spec(), model.package())
    }

    /// The program of a spec, which may be a stage of a pipeline, and the package
    /// that has its weights.
    ///
    /// # Errors
    /// Its description cannot be read, or a weight file is not there.
    pub fn of_stage(
        program: &'a Program,
        spec: &Spec,
        package: &'a Package,
    ) -> Result<Self, milwright_ir::Error> {
        let mut weight_files = Vec::new();
        for name in spec.weight_file_names()? {
            let bytes = package.resolve_weight_file(&name)?.len();
            weight_files.push((name, bytes));
        }
        Ok(Self {
            program,
            blobs: package,
            description: Description::from_proto(&spec.description()?),
            spec_version: spec.version(),
            weight_files,
        })
    }
}

/// What to look for, and for whom.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The device.
    pub target: Target,
    /// The compute units that the model is loaded with.
    pub units: Units,
    /// The oldest system that it must run on.
    pub os: Option<Opset>,
    /// The function; without a name, all of them.
    pub function: Option<String>,
    /// The rules.
    pub rules: Vec<&'static Rule>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            target: Target::Any,
            units: Units::ALL,
            os: None,
            function: None,
            rules: rules().to_vec(),
        }
    }
}

/// Applies the rules to a model. The worst findings come first; equally bad
/// ones are in program order.
pub fn lint(input: &Input<'_>, settings: &Settings) -> Vec<Finding> {
    let mut found: Vec<((usize, usize), Finding)> = Vec::new();
    let functions = input.program.functions.iter().enumerate();
    for (number, function) in functions {
        if settings
            .function
            .as_ref()
            .is_some_and(|f| *f != function.name)
        {
            continue;
        }
        let signature = input.description.signature(&function.name);
        let device = (settings.target, settings.units, settings.os);
        let Some(scope) = Scope::new(input, function, signature, &input.weight_files, device)
        else {
            continue;
        };
        let ops = scope.ops().iter().enumerate();
        let positions: BTreeMap<OpId, usize> = ops.map(|(at, &id)| (id, at + 1)).collect();
        for &rule in &settings.rules {
            if !settings.units.concern(rule) {
                continue;
            }
            for one in (rule.check)(&scope) {
                let finding = Finding::new(rule, one);
                let place = finding.diagnostic.location.op_id;
                let position = place.and_then(|id| positions.get(&id).copied());
                // What concerns the model is found in each of its functions.
                let of_model = finding.places.is_empty();
                let known =
                    |(_, other): &((usize, usize), Finding)| other.diagnostic == finding.diagnostic;
                if of_model && found.iter().any(known) {
                    continue;
                }
                let number = if of_model { 0 } else { number };
                found.push(((number, position.unwrap_or(0)), finding));
            }
        }
    }
    // Stable: findings of one operation are in the order of the rules.
    found.sort_by_key(|(place, f)| (Reverse(f.diagnostic.severity), *place));
    found.into_iter().map(|(_, finding)| finding).collect()
}
