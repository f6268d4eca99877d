//! `milwright reduce`: a failing model made smaller.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use milwright_ir::Model;
use milwright_package::{Changes, WriteOptions};
use milwright_passes::cut;
use milwright_passes::reduce::{Candidate, Verdict, reduce};
use serde::Serialize;

use crate::Outcome;
use crate::check::{Check, Statuses};
use crate::cutting::pick_function;
use crate::output::Output;
use crate::terminal::Terminal;
use crate::weights::{self, bytes};

/// Make a failing model smaller while it keeps failing.
///
/// CMD is run by the shell for one candidate after the other, with the path of
/// the candidate, an .mlpackage, in the place of {} or at its end. Its exit
/// status says whether the failure is still there: by default when it is the
/// status that CMD ends with for MODEL, which must not be 0, as with `git
/// bisect run`. (A crash of CMD is such a status, too.) What else may happen to
/// a candidate, such as not loading at all, should have another status, or be
/// told apart by --check-exit:
///
/// milwright reduce model.mlpackage --check 'milwright verify {} --preflight' -o small.mlpackage
///
/// milwright reduce model.mlpackage --check 'milwright print {} | grep -q softmax' --check-exit 0
/// -o small.mlpackage
///
/// Operations and outputs go, what others read of them becomes an input, single
/// operations are bypassed, weights become zeros. Every candidate is a valid model with one function, main.
/// OUT is written each time a smaller model fails, so that an interruption
/// leaves the smallest so far. The same model and the same answers give the
/// same result.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The model that fails.
    model: PathBuf,

    /// The command that checks a candidate.
    #[arg(long, value_name = "CMD")]
    check: String,

    #[command(flatten)]
    output: Output,

    /// The exit statuses that say that the failure is there; `timeout` is one
    /// [default: that of MODEL].
    #[arg(long, value_name = "STATUS,...", value_delimiter = ',')]
    check_exit: Vec<String>,

    /// Stop a check after so many seconds; the failure is not there then.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,

    /// Run CMD at most so often.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..))]
    max_runs: Option<u64>,

    /// Show what CMD prints, on standard error.
    #[arg(long)]
    show_output: bool,

    /// Function to reduce [default: the only one].
    #[arg(long, value_name = "NAME")]
    function: Option<String>,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    model: String,
    output: String,
    check: String,
    /// The exit statuses that say that the failure is there.
    check_exit: Vec<String>,
    /// How often the command was run.
    runs: u64,
    seconds: f64,
    /// Whether nothing was left to be tried.
    complete: bool,
    before: Size,
    after: Size,
    /// What made it smaller.
    steps: Vec<Step>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Size {
    /// Operations that run when the model is used.
    operations: usize,
    inputs: usize,
    outputs: usize,
    /// Bytes.
    weights: u64,
}

#[derive(Debug, Serialize)]
struct Step {
    what: String,
    #[serde(flatten)]
    size: Size,
}

impl Size {
    fn of(model: &Model, function: Option<&str>) -> anyhow::Result<Self> {
        let function = model.program().function(function)?;
        let graph = cut::Graph::new(model.program(), function)?;
        Ok(Size {
            operations: graph.nodes.len(),
            inputs: function.inputs.len(),
            outputs: model.program().blocks[graph.body].outputs.len(),
            weights: weights::of(model.program(), 0).bytes,
        })
    }
}

pub(crate) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    let model = Model::open(&options.model)?;
    let function = pick_function(&model, options.function.as_deref())?.name.clone();
    let before = Size::of(&model, Some(&function))?;
    // Before anything takes time.
    if options.output.path().symlink_metadata().is_ok() && !options.output.force() {
        bail!(
            "`{}` exists already; choose another output, or ask to replace it with --force",
            options.output.shown()
        );
    }
    if let (Ok(out), Ok(input)) = (options.output.path().canonicalize(), options.model.canonicalize())
        && (out.starts_with(&input) || input.starts_with(&out))
    {
        bail!("the output would replace the model that is reduced; choose another output");
    }
    let started = Instant::now();
    let mut check = Check {
        command: options.check.clone(),
        timeout: options.timeout.map(Duration::from_secs),
        show: options.show_output,
    };
    let folder = tempfile::tempdir().context("cannot make a folder for candidates")?;
    let wanted = Statuses::parse(&options.check_exit)?;
    let first = check.run(&options.model.canonicalize()?)?;
    let wanted = match wanted {
        Some(wanted) if wanted.contains(first) => wanted,
        Some(wanted) => bail!(
            "the failure is not there: for `{}` the check ends with {first}, and --check-exit says \
             {wanted}",
            options.model.display()
        ),
        None if first.is_success() => bail!(
            "the failure is not there: for `{}` the check ends with status 0; where that is the \
             failure, say so with --check-exit 0",
            options.model.display()
        ),
        None => Statuses::only(first),
    };
    let mut work = Work {
        options: &options,
        check: &mut check,
        wanted: &wanted,
        folder: folder.path(),
        runs: 1,
        stale: Vec::new(),
        steps: Vec::new(),
        written: false,
    };
    say(&format!(
        "{} operations, {} of weights; the check ends with {first}",
        before.operations,
        bytes(before.weights)
    ));
    let reduced = reduce(&model, &function, &mut |from, candidate| {
        work.check(from, candidate)
    });
    let Work {
        runs,
        steps,
        written,
        ..
    } = work;
    let reduced = match reduced {
        Ok(reduced) => reduced,
        Err(error) if written => {
            let output = options.output.shown();
            return Err(error.context(format!("the smallest model so far is {output}")));
        }
        Err(error) => return Err(error),
    };
    let after = match &reduced.model {
        Some(model) => Size::of(model, None)?,
        None => before,
    };
    if !written {
        save(&model, &options, options.output.force())?;
    }
    let report = Report {
        schema: "milwright-reduce/1",
        model: options.model.display().to_string(),
        output: options.output.shown(),
        check: options.check.clone(),
        check_exit: wanted.names(),
        runs,
        seconds: started.elapsed().as_secs_f64(),
        complete: reduced.complete,
        before,
        after,
        steps,
    };
    if options.json {
        out.json(&report)?;
        return Ok(Outcome::Clean);
    }
    let line = |size: &Size| {
        format!(
            "{} operations, {} inputs, {} outputs, {} of weights",
            size.operations,
            size.inputs,
            size.outputs,
            bytes(size.weights)
        )
    };
    out.line(format!("before: {}", line(&before)))?;
    out.line(format!("after:  {}", line(&after)))?;
    let end = match report.complete {
        true => "nothing more can be left out",
        false => "--max-runs ended it",
    };
    out.line(format!("{runs} checks in {:.0} s; {end}", report.seconds))?;
    out.line(format!("wrote {}", report.output))?;
    Ok(Outcome::Clean)
}

struct Work<'a> {
    options: &'a Options,
    check: &'a mut Check,
    wanted: &'a Statuses,
    folder: &'a Path,
    runs: u64,
    /// Candidates that nothing holds open any more, once the next one is made.
    stale: Vec<PathBuf>,
    steps: Vec<Step>,
    written: bool,
}

impl Work<'_> {
    fn check(&mut self, from: &Model, candidate: Candidate) -> anyhow::Result<Verdict> {
        if self.options.max_runs.is_some_and(|most| self.runs >= most) {
            return Ok(Verdict::Stop);
        }
        let now = from.package().path();
        for path in self.stale.extract_if(.., |path| path != now) {
            // What cannot be removed goes with the whole folder.
            let _ = std::fs::remove_dir_all(path);
        }
        self.runs += 1;
        let path = self.folder.join(format!("candidate-{}.mlpackage", self.runs));
        let Candidate {
            program,
            spec,
            what,
            ..
        } = candidate;
        let write = WriteOptions::default();
        from.save_as(&program, &spec, &path, write).context("cannot write a candidate")?;
        let status = self.check.run(&path)?;
        if !self.wanted.contains(status) {
            self.stale.push(path);
            return Ok(Verdict::Passes);
        }
        let model = Model::open(&path).context("cannot open a candidate")?;
        let size = Size::of(&model, None)?;
        say(&format!(
            "{} operations, {} of weights after {} checks: {what}",
            size.operations,
            bytes(size.weights),
            self.runs
        ));
        save(&model, self.options, self.options.output.force() || self.written)?;
        self.written = true;
        self.stale.push(path);
        self.steps.push(Step { what, size });
        Ok(Verdict::Fails(Box::new(model)))
    }
}

fn save(model: &Model, options: &Options, force: bool) -> anyhow::Result<()> {
    let write = WriteOptions {
        force,
        ..WriteOptions::default()
    };
    let changes = Changes {
        also_read: vec![options.model.clone()],
        ..Changes::default()
    };
    Ok(model.package().save(changes, options.output.path(), write)?)
}

/// Progress, on standard error.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", crate::terminal::printable(line));
}
