//! What a model's description says of one function.

use milwright_ir::{Error, Model};
use milwright_package::proto;

/// The features of a function, and what else its description says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Described {
    pub(crate) input: Vec<proto::FeatureDescription>,
    pub(crate) output: Vec<proto::FeatureDescription>,
    pub(crate) state: Vec<proto::FeatureDescription>,
    /// The outputs that hold the class, and the probabilities of all classes.
    pub(crate) predicted: [String; 2],
    pub(crate) metadata: Option<proto::Metadata>,
}

impl Described {
    /// Reads the description. A model that does not list its functions describes
    /// the only one.
    pub(crate) fn of(model: &Model, function: &str) -> Result<Self, Error> {
        Ok(Self::in_description(model.spec().description()?, function))
    }

    /// Reads a description.
    pub(crate) fn in_description(d: proto::ModelDescription, function: &str) -> Self {
        let metadata = d.metadata;
        let own = d.functions.into_iter().find(|f| f.name == function);
        match own {
            Some(f) => Described {
                input: f.input,
                output: f.output,
                state: f.state,
                predicted: [f.predicted_feature_name, f.predicted_probabilities_name],
                metadata,
            },
            None => Described {
                input: d.input,
                output: d.output,
                state: d.state,
                predicted: [d.predicted_feature_name, d.predicted_probabilities_name],
                metadata,
            },
        }
    }

    /// As the description of the only function of a model.
    pub(crate) fn as_model(&self) -> proto::ModelDescription {
        let [feature, probabilities] = self.predicted.clone();
        proto::ModelDescription {
            input: self.input.clone(),
            output: self.output.clone(),
            state: self.state.clone(),
            predicted_feature_name: feature,
            predicted_probabilities_name: probabilities,
            metadata: self.metadata.clone(),
            ..proto::ModelDescription::default()
        }
    }

    /// As the description of one of several functions.
    pub(crate) fn as_function(&self, name: &str) -> proto::FunctionDescription {
        let [feature, probabilities] = self.predicted.clone();
        proto::FunctionDescription {
            name: name.to_owned(),
            input: self.input.clone(),
            output: self.output.clone(),
            state: self.state.clone(),
            predicted_feature_name: feature,
            predicted_probabilities_name: probabilities,
        }
    }
}
