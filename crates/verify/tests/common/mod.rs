//! What the tests of whole models share.
#![allow(dead_code, unused_imports, reason = "no test file uses all of it")]

use std::path::{Path, PathBuf};

use milwright_interp::{Options, Precision};
use milwright_verify::inputs::{Feed, Ranges};
use milwright_verify::{Executable, Runner, npz};

#[path = "../../../../fixtures/find.rs"]
mod find;

pub(crate) use find::{fixtures, packages, repository};

/// A model with one of its functions and the steps to run.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) model: Executable,
    pub(crate) function: String,
    /// Files of the steps; none when inputs are random.
    pub(crate) steps: Vec<PathBuf>,
}

impl Case {
    /// The functions of a package, with the inputs that lie beside it, if they
    /// are its own.
    pub(crate) fn of(package: &Path) -> Vec<Case> {
        let functions: Vec<String> = Executable::open(package)
            .unwrap()
            .functions()
            .into_iter()
            .map(str::to_owned)
            .collect();
        let folder = package.parent().unwrap();
        let several = functions.len() > 1;
        functions
            .into_iter()
            .map(|function| {
                let steps = if several {
                    vec![folder.join(format!("inputs.{function}.npz"))]
                } else {
                    let numbered = (0..).map(|n| folder.join(format!("inputs.{n}.npz")));
                    numbered.take_while(|p| p.exists()).collect()
                };
                let mut case = Case {
                    name: format!("{} {function}", package.display()),
                    model: Executable::open(package).unwrap(),
                    function,
                    steps,
                };
                if !case.takes_its_steps() {
                    case.steps.clear();
                }
                case
            })
            .collect()
    }

    fn takes_its_steps(&self) -> bool {
        let runner = self.runner(Precision::Fp32);
        self.steps
            .iter()
            .all(|path| path.exists() && runner.feed(&npz::load(path).unwrap(), "a step").is_ok())
    }

    pub(crate) fn runner(&self, precision: Precision) -> Runner<'_> {
        let options = Options {
            precision,
            ..Options::default()
        };
        self.model.runner(Some(&self.function), options).unwrap()
    }

    /// The steps from their files, or one of random inputs.
    pub(crate) fn feeds(&self, runner: &Runner<'_>) -> Vec<Feed> {
        let mut arrays: Vec<_> = self.steps.iter().map(|p| npz::load(p).unwrap()).collect();
        if arrays.is_empty() {
            arrays.push(runner.random(&Ranges::default(), 0, 0).unwrap());
        }
        let feeds = arrays.iter().map(|a| runner.feed(a, "a step").unwrap());
        feeds.collect()
    }
}

/// The folder of shared models, when it is there. Says so when it is not.
pub(crate) fn shared() -> Option<PathBuf> {
    find::shared("models")
}

/// Every function of every ML Program below a folder, in a fixed order.
pub(crate) fn cases(below: &Path) -> Vec<Case> {
    find::packages(below)
        .iter()
        .filter(|p| {
            let package = milwright_package::Package::open(p).unwrap();
            package.spec().kind().is_ml_program()
        })
        .flat_map(|p| Case::of(p))
        .collect()
}
