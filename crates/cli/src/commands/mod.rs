//! One file per subcommand. A new one is a file with `Options` and `run`, and
//! a line in the list below.

use crate::Outcome;
use crate::terminal::Terminal;

macro_rules! commands {
    ($($module:ident $name:ident)*) => {
        $(mod $module;)*

        #[derive(Debug, clap::Subcommand)]
        pub(crate) enum Command {
            $($name($module::Options),)*
        }

        impl Command {
            /// Runs the subcommand.
            pub(crate) fn run(self, out: &mut Terminal) -> anyhow::Result<Outcome> {
                match self {
                    $(Command::$name(options) => $module::run(options, out),)*
                }
            }
        }
    };
}

commands! {
    bisect      Bisect
    completions Completions
    convert     Convert
    diff        Diff
    expose      Expose
    extract     Extract
    hint        Hint
    inspect     Inspect
    lint        Lint
    merge       Merge
    ops         Ops
    passes      Passes
    print       Print
    reduce      Reduce
    rename      Rename
    reshape     Reshape
    rules       Rules
    run         Run
    set         Set
    split       Split
    strip       Strip
    verify      Verify
    weights     Weights
}

/// Read, print, rewrite, execute and verify Core ML models (ML Programs) on
/// any OS.
///
/// A MODEL is an .mlpackage folder, a zip of one, an .mlmodel file, MIL text
/// (.mil) or a compiled model (.mlmodelc); for `run`, `verify`, `lint` and
/// `inspect` also a pipeline.json or its folder.
///
/// Exit status: 0 done, nothing found; 1 findings, such as a verify mismatch;
/// 2 wrong usage or failure.
#[derive(Debug, clap::Parser)]
#[command(name = "milwright", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}
