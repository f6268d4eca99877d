//! Where a description keeps the features of a function.

use milwright_ir::features::{Description, Feature, Signature};
use milwright_ir::names::nearest;
use milwright_ir::{Function, Program};
use milwright_package::proto;

use super::Error;

/// The part of a description that belongs to one function.
pub(super) struct Features<'d> {
    pub(super) input: &'d mut Vec<proto::FeatureDescription>,
    pub(super) output: &'d mut Vec<proto::FeatureDescription>,
    pub(super) state: &'d mut Vec<proto::FeatureDescription>,
    /// Names of the outputs that hold a classifier's class and probabilities.
    pub(super) predicted: [&'d mut String; 2],
    /// Inputs of training; only a model without a list of functions has them.
    pub(super) training: Option<&'d mut Vec<proto::FeatureDescription>>,
}

impl<'d> Features<'d> {
    /// Those of the function of that name. A description that lists no
    /// functions is that of the only one.
    pub(super) fn of(d: &'d mut proto::ModelDescription, function: &str) -> Option<Self> {
        if d.functions.is_empty() {
            return Some(Features {
                input: &mut d.input,
                output: &mut d.output,
                state: &mut d.state,
                predicted: [
                    &mut d.predicted_feature_name,
                    &mut d.predicted_probabilities_name,
                ],
                training: Some(&mut d.training_input),
            });
        }
        let own = d.functions.iter_mut().find(|f| f.name == function)?;
        Some(Features {
            input: &mut own.input,
            output: &mut own.output,
            state: &mut own.state,
            predicted: [
                &mut own.predicted_feature_name,
                &mut own.predicted_probabilities_name,
            ],
            training: None,
        })
    }

    /// Every feature: inputs, outputs, states, inputs of training.
    pub(super) fn all(self) -> impl Iterator<Item = &'d mut proto::FeatureDescription> {
        let training = self.training.into_iter().flatten();
        let own = self.input.iter_mut().chain(self.output).chain(self.state);
        own.chain(training)
    }
}

/// The functions that an edit is about: the one that is named, or all.
pub(super) fn functions<'p>(
    program: &'p Program,
    wanted: Option<&str>,
) -> Result<Vec<(usize, &'p Function)>, Error> {
    if let Some(name) = wanted {
        program.function(Some(name))?;
    }
    let all = program.functions.iter().enumerate();
    Ok(all
        .filter(|(_, f)| wanted.is_none_or(|name| f.name == name))
        .collect())
}

/// The error for a name that no feature has.
pub(super) fn no_feature(
    program: &Program,
    description: &proto::ModelDescription,
    name: &str,
    function: Option<&str>,
) -> Error {
    let description = Description::from_proto(description);
    let wanted = |s: &&Signature| function.is_none_or(|f| s.function == f);
    let signatures = description.functions.iter().filter(wanted);
    let features = signatures.flat_map(|s| s.inputs.iter().chain(&s.outputs).chain(&s.states));
    let mut all: Vec<String> = features.map(|f: &Feature| f.name.clone()).collect();
    all.sort();
    all.dedup();
    let functions = program.functions.iter().map(|f| f.name.as_str());
    let candidates = all.iter().map(String::as_str).chain(functions);
    let near = nearest(name, candidates, 3).into_iter().map(str::to_owned);
    Error::NoName {
        name: name.to_owned(),
        function: function.map(str::to_owned),
        near: near.collect(),
        all,
    }
}
