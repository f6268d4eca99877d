//! Options that say what a model is run with, and the values they stand for.

use std::path::PathBuf;

use anyhow::{Context, bail};
use milwright_interp::Precision;
use milwright_ir::DataType;
use milwright_verify::features::Input;
use milwright_verify::inputs::{Feed, Ranges};
use milwright_verify::{Array, DType, Data, NamedArrays, Runner, npz};

/// Where the inputs come from.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Inputs")]
pub(crate) struct InputOptions {
    /// An .npz with the inputs of a step, by name. Several are consecutive
    /// steps on one state.
    #[arg(long, value_name = "FILE.npz")]
    pub(crate) inputs: Vec<PathBuf>,

    /// One input of every step, from an .npy file.
    #[arg(long, value_name = "NAME=FILE.npy")]
    input: Vec<String>,

    /// Seed of random inputs [default: 0]. They are used when neither --inputs
    /// nor --input is given; together with those, --seed makes only what is
    /// missing.
    #[arg(long)]
    seed: Option<u64>,

    /// Interval of random values, for all inputs or for one.
    #[arg(long, value_name = "[NAME=]LOW,HIGH", allow_hyphen_values = true)]
    range: Vec<String>,

    /// Number of steps with random inputs [default: 1].
    #[arg(long, value_name = "N", conflicts_with = "inputs")]
    steps: Option<usize>,
}

/// How numbers are held and rounded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PrecisionOption {
    /// All float arithmetic in single precision, over the stored weights.
    #[default]
    Fp32,
    /// Results rounded to the type that the program declares, after every
    /// operation.
    Native,
    /// As if the program were converted to fp16: weights, inputs and results
    /// rounded to fp16, whatever is declared.
    Half,
    /// All float arithmetic in double precision, over the stored weights; slow.
    Fp64,
}

impl PrecisionOption {
    pub(crate) fn name(self) -> &'static str {
        Precision::from(self).name()
    }
}

impl From<PrecisionOption> for Precision {
    fn from(option: PrecisionOption) -> Self {
        match option {
            PrecisionOption::Fp32 => Precision::Fp32,
            PrecisionOption::Native => Precision::Native,
            PrecisionOption::Half => Precision::Half,
            PrecisionOption::Fp64 => Precision::Fp64,
        }
    }
}

/// The inputs of one step.
struct Step {
    arrays: NamedArrays,
    /// Where they come from, for messages.
    origin: String,
}

/// The inputs of all steps.
pub(crate) struct Steps {
    steps: Vec<Step>,
    /// The seed, when some are random.
    pub(crate) seed: Option<u64>,
}

impl Step {
    /// The values as that model takes them.
    fn feed(&self, runner: &Runner<'_>) -> Result<Feed, milwright_verify::Error> {
        runner.feed(&self.arrays, &self.origin)
    }
}

impl Steps {
    /// The same under the names that `new` gives.
    pub(crate) fn renamed<'n>(&'n self, new: impl Fn(&'n str) -> &'n str) -> Steps {
        let steps = self.steps.iter().map(|step| {
            let mut arrays = NamedArrays::new();
            for (name, array) in step.arrays.iter() {
                arrays.insert(new(name), array.clone());
            }
            let origin = step.origin.clone();
            Step { arrays, origin }
        });
        Steps {
            steps: steps.collect(),
            seed: self.seed,
        }
    }

    /// The same numbers in the kinds that the inputs of a model have: whole
    /// ones as floats or as integers.
    pub(crate) fn taken_by(&self, runner: &Runner<'_>) -> Steps {
        let kind = |name: &str| {
            let input = runner.inputs().iter().find(|i| i.name == name)?;
            Some(input.ty.dtype.is_float())
        };
        let steps = self.steps.iter().map(|step| {
            let mut arrays = NamedArrays::new();
            for (name, array) in step.arrays.iter() {
                let other = kind(name).and_then(|is_float| in_kind(array, is_float));
                arrays.insert(name, other.unwrap_or_else(|| array.clone()));
            }
            let origin = step.origin.clone();
            Step { arrays, origin }
        });
        Steps {
            steps: steps.collect(),
            seed: self.seed,
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.steps.len()
    }

    /// The values of every step as that model takes them.
    pub(crate) fn feeds(&self, runner: &Runner<'_>) -> Result<Vec<Feed>, milwright_verify::Error> {
        self.steps.iter().map(|step| step.feed(runner)).collect()
    }
}

/// An array as floats or as integers; `None` when it is of that kind, or has
/// numbers that are not.
fn in_kind(array: &Array, is_float: bool) -> Option<Array> {
    let was_float = matches!(
        array.dtype(),
        DType::Float16 | DType::Float32 | DType::Float64
    );
    if was_float == is_float {
        return None;
    }
    let values = array.data().to_f64();
    let data = match is_float {
        true => Data::Float64(values),
        false if values.iter().all(|v| v.fract() == 0.0) => {
            Data::Int64(values.into_iter().map(|v| v as i64).collect())
        }
        false => return None,
    };
    Array::new(array.shape().to_vec(), data)
}

impl InputOptions {
    /// How many steps there are.
    pub(crate) fn count(&self) -> usize {
        self.inputs.len().max(self.steps.unwrap_or(1))
    }

    /// The same without what belongs to one function.
    pub(crate) fn random_only(&self) -> InputOptions {
        InputOptions {
            inputs: Vec::new(),
            input: Vec::new(),
            seed: self.seed,
            range: Vec::new(),
            steps: self.steps,
        }
    }

    /// Reads or makes the inputs for a model.
    pub(crate) fn load(&self, runner: &Runner<'_>) -> anyhow::Result<Steps> {
        self.load_by(runner, |ranges, seed, step| {
            runner.random(ranges, seed, step)
        })
    }

    /// The same for two models whose inputs differ in their types alone: what
    /// fp16 or an integer holds, the wider types hold too.
    pub(crate) fn load_for_both(
        &self,
        one: &Runner<'_>,
        other: &Runner<'_>,
    ) -> anyhow::Result<Steps> {
        self.load_by(one, |ranges, seed, step| {
            let holds_less = |input: &&Input| {
                let dtype = input.ty.dtype;
                dtype == DataType::Float16 || !dtype.is_float()
            };
            let inputs = other.inputs().iter().filter(holds_less);
            let narrow = other.random(ranges, seed, step)?;
            let mut random = NamedArrays::new();
            for (name, array) in inputs.filter_map(|i| Some((&i.name, narrow.get(&i.name)?))) {
                random.insert(name, array.clone());
            }
            for (name, array) in one.random(ranges, seed, step)?.iter() {
                random.insert(name, array.clone());
            }
            Ok(random)
        })
    }

    fn load_by(
        &self,
        runner: &Runner<'_>,
        random: impl Fn(&Ranges, u64, usize) -> Result<NamedArrays, milwright_verify::Error>,
    ) -> anyhow::Result<Steps> {
        let mut ranges = Ranges::default();
        for text in &self.range {
            ranges
                .add(text)
                .map_err(|problem| anyhow::anyhow!("--range: {problem}"))?;
        }
        ranges.check(runner.inputs(), runner.function())?;
        let single = self.single()?;
        let given = !self.inputs.is_empty() || !single.is_empty();
        let seed = match self.seed {
            Some(seed) => Some(seed),
            None if given => None,
            None => Some(0),
        };
        if seed.is_none() && !self.range.is_empty() {
            bail!(
                "--range is for random inputs, and all inputs are given; add --seed to make those that are missing"
            );
        }
        let count = self.count();
        if count == 0 {
            bail!("--steps must be at least 1");
        }
        let mut steps = Steps {
            steps: Vec::with_capacity(count),
            seed: None,
        };
        for number in 0..count {
            let mut arrays = single.clone();
            let mut origins = Vec::new();
            if !single.is_empty() {
                origins.push("--input".to_owned());
            }
            if let Some(path) = self.inputs.get(number) {
                for (name, array) in npz::load(path)?.iter() {
                    // What --input gives comes before what a file gives.
                    arrays.insert(name, array.clone());
                }
                origins.insert(0, path.display().to_string());
            }
            if let Some(seed) = seed {
                let random = random(&ranges, seed, number)?;
                let mut used = false;
                for (name, array) in random.iter() {
                    used |= arrays.insert(name, array.clone());
                }
                if used {
                    steps.seed = Some(seed);
                    origins.push(format!("--seed {seed}"));
                }
            }
            steps.steps.push(Step {
                arrays,
                origin: origins.join(" with "),
            });
        }
        Ok(steps)
    }

    fn single(&self) -> anyhow::Result<NamedArrays> {
        let mut arrays = NamedArrays::new();
        for text in &self.input {
            // A path may hold `=`, a feature name cannot.
            let (name, path) = text
                .split_once('=')
                .with_context(|| format!("--input {text}: write it as NAME=FILE.npy"))?;
            if !arrays.insert(name, npz::load_npy(path.as_ref())?) {
                bail!("--input gives `{name}` twice");
            }
        }
        Ok(arrays)
    }
}
