//! What a pipeline manifest must hold to make sense, apart from its packages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{CALLER, Origin, PipelineManifest, list};
use crate::error::{Error, Result};
use crate::relative;

impl PipelineManifest {
    /// Checks that names are there and differ, that paths stay in the folder,
    /// and that every feature comes from where it says. `path` is for error
    /// messages.
    ///
    /// # Errors
    /// [`Error::Stages`], [`Error::UnsafePath`].
    pub fn check(&self, path: &Path) -> Result<()> {
        let fail = |reason: String| Error::Stages {
            path: path.to_owned(),
            reason,
        };
        self.check_names(path)?;
        self.check_wiring().map_err(fail)?;
        let mut names = BTreeSet::from([self.function.as_str()]);
        for function in &self.functions {
            let name = function.name.as_str();
            if name.is_empty() || !names.insert(name) {
                return Err(fail(format!(
                    "its functions need names that differ, and one is {name:?}"
                )));
            }
            if function.stages.len() != self.stages.len() {
                return Err(fail(format!(
                    "function `{name}` lists {} stages, and there are {}",
                    function.stages.len(),
                    self.stages.len()
                )));
            }
            let Some(own) = self.of_function(name) else {
                continue; // its name was just read
            };
            own.check_names(path)?;
            let wiring = own.check_wiring();
            wiring.map_err(|reason| fail(format!("function `{name}`: {reason}")))?;
        }
        Ok(())
    }

    fn check_names(&self, path: &Path) -> Result<()> {
        let fail = |reason: String| Error::Stages {
            path: path.to_owned(),
            reason,
        };
        if self.stages.is_empty() {
            return Err(fail("it has no stages".to_owned()));
        }
        let unsafe_path = |role, entry: &str, reason| Error::UnsafePath {
            container: path.to_owned(),
            role,
            entry: entry.to_owned(),
            reason,
        };
        let mut names = BTreeSet::new();
        let mut packages = BTreeSet::new();
        for (number, stage) in self.stages.iter().enumerate() {
            let name = stage.name.as_str();
            if name.is_empty() || name == CALLER {
                return Err(fail(format!(
                    "stage {number} is named {name:?}; a stage needs a name of its own, and \
                     `{CALLER}` stands for whoever runs the pipeline"
                )));
            }
            if !names.insert(name) {
                return Err(fail(format!("two stages are named `{name}`; rename one")));
            }
            relative::check(&stage.package)
                .map_err(|reason| unsafe_path("the package", &stage.package, reason))?;
            if !packages.insert(stage.package.as_str()) {
                return Err(fail(format!(
                    "two stages have the package `{}`; each needs its own",
                    stage.package
                )));
            }
            let inputs = stage.inputs.iter().map(|f| (&f.name, &f.ty));
            let outputs = || stage.outputs.iter().map(|f| (&f.name, &f.ty));
            let states = stage.states.iter().map(|f| (&f.name, &f.ty));
            // States share the name space of inputs.
            unique(inputs.chain(states), "takes")
                .and_then(|()| unique(outputs(), "gives"))
                .map_err(|reason| fail(format!("stage `{name}` {reason}")))?;
            let mut last: Option<&str> = None;
            for file in &stage.files {
                relative::check(&file.path)
                    .map_err(|reason| unsafe_path("the file", &file.path, reason))?;
                if last.is_some_and(|last| last >= file.path.as_str()) {
                    return Err(fail(format!(
                        "the files of stage `{name}` are not ordered by path, each once: `{}`",
                        file.path
                    )));
                }
                last = Some(&file.path);
                let digit = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
                if file.blake3.len() != 64 || !file.blake3.bytes().all(digit) {
                    return Err(fail(format!(
                        "the blake3 of `{}` in stage `{name}` is {:?}; it must be 64 hexadecimal \
                         digits in lower case",
                        file.path, file.blake3
                    )));
                }
            }
        }
        let named = |list: &[String], what: &str| {
            let mut seen = BTreeSet::new();
            match list.iter().find(|name| !seen.insert(name.as_str())) {
                Some(twice) => Err(fail(format!("its {what} name `{twice}` twice"))),
                None => Ok(()),
            }
        };
        named(&self.inputs, "inputs")?;
        named(&self.outputs, "outputs")
    }

    /// Every input comes from the nearest stage before that gives it, or else
    /// from the caller; and says so.
    fn check_wiring(&self) -> Result<(), String> {
        // The nearest stage before that gives a feature, and as what.
        let mut given: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
        let mut taken: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
        let mut earlier: BTreeSet<&str> = BTreeSet::new();
        let inputs: BTreeSet<&str> = self.inputs.iter().map(String::as_str).collect();
        for (number, stage) in self.stages.iter().enumerate() {
            for input in &stage.inputs {
                let (name, feature) = (stage.name.as_str(), input.name.as_str());
                match (&input.from, given.get(feature)) {
                    (Origin::Stage(from), _) if !earlier.contains(from.as_str()) => {
                        return Err(self.no_origin(number, feature, from));
                    }
                    (Origin::Stage(from), Some(&(nearest, ty))) if from == nearest => {
                        if !fits(ty, &input.ty) {
                            return Err(format!(
                                "stage `{name}` takes `{feature}` as {}, and stage `{nearest}` \
                                 gives it as {ty}",
                                input.ty
                            ));
                        }
                    }
                    (from, Some((nearest, _))) => {
                        return Err(format!(
                            "stage `{name}` says that `{feature}` comes from {from}, and the \
                             nearest stage before it that gives it is `{nearest}`; features are \
                             wired by name, so rename one of them"
                        ));
                    }
                    (Origin::Caller, None) => {
                        if !inputs.contains(feature) {
                            return Err(format!(
                                "stage `{name}` takes `{feature}` from the caller, and the \
                                 pipeline's inputs are {}",
                                list(&self.inputs)
                            ));
                        }
                        let &mut (other, ty) = taken.entry(feature).or_insert((name, &input.ty));
                        if !fits(ty, &input.ty) {
                            return Err(format!(
                                "stage `{name}` takes `{feature}` as {}, and stage `{other}` \
                                 takes it as {ty}",
                                input.ty
                            ));
                        }
                    }
                    (Origin::Stage(from), None) => {
                        return Err(self.no_origin(number, feature, from));
                    }
                }
            }
            earlier.insert(&stage.name);
            let outputs = stage.outputs.iter();
            given.extend(outputs.map(|f| (f.name.as_str(), (stage.name.as_str(), f.ty.as_str()))));
        }
        if let Some(unused) = self.inputs.iter().find(|n| !taken.contains_key(n.as_str())) {
            return Err(format!(
                "no stage takes `{unused}`, which is among the pipeline's inputs"
            ));
        }
        if self.outputs.is_empty() {
            return Err("it has no outputs".to_owned());
        }
        match self
            .outputs
            .iter()
            .find(|n| !given.contains_key(n.as_str()))
        {
            Some(missing) => Err(format!(
                "no stage gives `{missing}`, which is among the pipeline's outputs"
            )),
            None => Ok(()),
        }
    }

    /// Why stage `number` cannot have a feature from `from`.
    fn no_origin(&self, number: usize, feature: &str, from: &str) -> String {
        let stage = &self.stages[number].name;
        let says = format!("stage `{stage}` takes `{feature}` from stage `{from}`");
        match self.stages.iter().position(|s| s.name == from) {
            None => {
                let names: Vec<String> = self.stages.iter().map(|s| s.name.clone()).collect();
                format!(
                    "{says}, which is not there; the stages are {}",
                    list(&names)
                )
            }
            Some(at) if at == number => {
                format!("{says}, itself; a stage takes only what earlier stages give")
            }
            Some(at) if at > number => format!(
                "{says}, which runs later; a stage takes only what earlier stages give, so there \
                 can be no cycle"
            ),
            Some(at) => {
                let given = self.stages[at].outputs.iter().map(|f| f.name.clone());
                let given: Vec<String> = given.collect();
                format!("{says}, which gives {}", list(&given))
            }
        }
    }
}

fn unique<'a>(
    features: impl Iterator<Item = (&'a String, &'a String)>,
    verb: &str,
) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for (name, ty) in features {
        if name.is_empty() || ty.is_empty() {
            return Err(format!("{verb} a feature without a name or type"));
        }
        if !seen.insert(name) {
            return Err(format!("{verb} `{name}` twice"));
        }
    }
    Ok(())
}

/// Whether two types can be one value's: they are the same, but for sizes that
/// one of them leaves open.
fn fits(a: &str, b: &str) -> bool {
    let parts = |ty: &str| -> Option<(String, Vec<String>)> {
        let (element, shape) = ty.strip_suffix(']')?.split_once('[')?;
        let sizes = shape.split(',').map(str::to_owned).collect();
        Some((element.to_owned(), sizes))
    };
    if a == b {
        return true;
    }
    let (Some((a, a_sizes)), Some((b, b_sizes))) = (parts(a), parts(b)) else {
        return false;
    };
    let open = |size: &str| size == "?";
    let sizes = || a_sizes.iter().zip(&b_sizes);
    a == b && a_sizes.len() == b_sizes.len() && sizes().all(|(a, b)| a == b || open(a) || open(b))
}
