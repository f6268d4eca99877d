//! Runs the tests below `tests/files`: each is a `.mil` file with directives in
//! its comments, and is its own input. `tests/files/README.md` explains them.
//!
//! `BLESS=1` writes what is expected anew.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking and print what they checked"
)]

use std::path::{Path, PathBuf};

use milwright_interp::Options;
use milwright_verify::{Array, Data, Executable, NamedArrays};

mod common;

use common::{milwright, str};

/// A test file while it runs.
struct Test<'a> {
    path: &'a Path,
    /// Where `%t` is.
    temporary: PathBuf,
    /// The lines, with new expectations if there are such.
    blessed: Vec<String>,
    /// What the last command wrote.
    output: String,
    /// How far `CHECK` has read in it.
    checked: usize,
    bless: bool,
    commands: usize,
    checks: usize,
}

type Outcome = Result<(), String>;

impl Test<'_> {
    fn run(&mut self) -> Outcome {
        let text = std::fs::read_to_string(self.path).unwrap();
        let mut lines = text.lines().enumerate().peekable();
        while let Some((number, line)) = lines.next() {
            let at = |problem: String| format!("{}:{}: {problem}", self.path.display(), number + 1);
            let Some(directive) = line.trim_start().strip_prefix("// ") else {
                self.blessed.push(line.to_owned());
                continue;
            };
            let (word, rest) = directive.split_once(':').unwrap_or((directive, ""));
            let rest = rest.trim();
            let mut kept = line.to_owned();
            let done = match word {
                "RUN" => self.command(rest, 0),
                "FINDS" => self.command(rest, 1),
                "FAIL" => self.command(rest, 2),
                "CHECK" => self.check(rest),
                "CHECK-NOT" => self.check_not(rest),
                _ if word == "run" || word.starts_with("run(") => self
                    .execute(word, rest)
                    .map(|line| kept = line.unwrap_or(kept.clone())),
                _ => Ok(()),
            };
            self.blessed.push(kept);
            done.map_err(&at)?;
            let mut expected = Vec::new();
            while let Some((_, line)) = lines.next_if(|(_, l)| l.starts_with("//|")) {
                expected.push(line.to_owned());
            }
            if !expected.is_empty() {
                self.exactly(expected).map_err(at)?;
            }
        }
        if self.commands + self.checks == 0 {
            return Err(format!("{} holds no directive", self.path.display()));
        }
        Ok(())
    }

    /// `%s` is the file, `%t` a path that nothing else uses.
    fn expand(&self, word: &str) -> String {
        let temporary = self.temporary.join("t");
        word.replace("%s", str(self.path))
            .replace("%t", str(&temporary))
    }

    fn command(&mut self, line: &str, status: i32) -> Outcome {
        let words: Vec<String> = line.split_whitespace().map(|w| self.expand(w)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = milwright(&words);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let temporary = self.temporary.join("t");
        self.output = (text(&output.stdout) + &text(&output.stderr))
            .replace(str(&temporary), "%t")
            .replace(str(self.path), "%s");
        self.checked = 0;
        self.commands += 1;
        if output.status.code() != Some(status) {
            let found = output.status;
            return Err(format!(
                "{found}, expected {status}, of `{line}`\n{}",
                self.output
            ));
        }
        Ok(())
    }

    /// The text stands in the output, behind what was checked before.
    fn check(&mut self, wanted: &str) -> Outcome {
        self.checks += 1;
        match self.output[self.checked..].find(wanted) {
            Some(at) => {
                self.checked += at + wanted.len();
                Ok(())
            }
            None => Err(format!(
                "no `{wanted}` in\n{}",
                &self.output[self.checked..]
            )),
        }
    }

    fn check_not(&mut self, unwanted: &str) -> Outcome {
        self.checks += 1;
        match self.output.contains(unwanted) {
            true => Err(format!("`{unwanted}` is in\n{}", self.output)),
            false => Ok(()),
        }
    }

    /// The lines `//| ..` are the whole output.
    fn exactly(&mut self, expected: Vec<String>) -> Outcome {
        self.checks += 1;
        let lines = self.output.lines();
        let found: Vec<String> = lines
            .map(|l| format!("//| {l}").trim_end().to_owned())
            .collect();
        if self.bless {
            self.blessed.extend(if found.is_empty() {
                vec!["//|".to_owned()]
            } else {
                found
            });
            return Ok(());
        }
        let is_empty = found.is_empty() && expected == ["//|"];
        if found != expected && !is_empty {
            let (found, expected) = (found.join("\n"), expected.join("\n"));
            return Err(format!("expected\n{expected}\nfound\n{found}"));
        }
        self.blessed.extend(expected);
        Ok(())
    }

    /// `x = [1, 2], y = 3 -> z = [4, 5]`: executes the file, or the model that
    /// the directive names. Returns the line with the outputs that came.
    fn execute(&mut self, word: &str, line: &str) -> Result<Option<String>, String> {
        self.checks += 1;
        let model = word.strip_prefix("run(").and_then(|w| w.strip_suffix(')'));
        let model = self.expand(model.unwrap_or("%s"));
        let (inputs, expected) = line
            .split_once("->")
            .ok_or("`run` needs inputs -> outputs")?;
        let say = |error: milwright_verify::Error| error.to_string();
        let executable = Executable::open(Path::new(&model)).map_err(say)?;
        let mut runner = executable.runner(None, Options::default()).map_err(say)?;
        let mut arrays = NamedArrays::new();
        for (name, values) in assignments(inputs)? {
            let input = runner.inputs().iter().find(|i| i.name == name);
            let input = input.ok_or(format!("there is no input `{name}`"))?;
            let shape = input.default_shape.clone();
            let data = match input.ty.dtype.is_float() {
                true => Data::Float64(values),
                false => Data::Int64(values.iter().map(|&v| v as i64).collect()),
            };
            let array = Array::new(shape, data).ok_or(format!("`{name}` has another size"))?;
            arrays.insert(name, array);
        }
        let feed = runner.feed(&arrays, "the directive").map_err(say)?;
        let outputs = runner.step(&feed).map_err(say)?;
        let mut found = Vec::new();
        for output in &outputs {
            found.push((output.name.clone(), output.array.data().to_f64()));
        }
        if self.bless {
            let shown: Vec<String> = found
                .iter()
                .map(|(name, values)| {
                    let values: Vec<String> =
                        values.iter().map(|&v| (v as f32).to_string()).collect();
                    format!("{name} = [{}]", values.join(", "))
                })
                .collect();
            let line = format!("// {word}: {} -> {}", inputs.trim(), shown.join(", "));
            return Ok(Some(line));
        }
        for (name, wanted) in assignments(expected)? {
            let (_, values) = found
                .iter()
                .find(|(n, _)| *n == name)
                .ok_or(format!("there is no output `{name}`"))?;
            // Other processors sum in other orders.
            let close = |(a, b): (&f64, &f64)| {
                a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-5 * b.abs().max(1e-3)
            };
            if values.len() != wanted.len() || !values.iter().zip(&wanted).all(close) {
                return Err(format!("`{name}` is {values:?}, expected {wanted:?}"));
            }
        }
        Ok(None)
    }
}

/// `a = [1, 2], b = 3`
fn assignments(text: &str) -> Result<Vec<(String, Vec<f64>)>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or(format!("`{rest}` has no `=`"))?;
        let after = after.trim_start();
        let (values, after) = match after.strip_prefix('[') {
            Some(inside) => inside.split_once(']').ok_or("`]` is missing")?,
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        let values = values.split(',').map(str::trim).filter(|v| !v.is_empty());
        let values: Result<Vec<f64>, _> = values.map(str::parse).collect();
        let values = values.map_err(|e| format!("{e} in `{text}`"))?;
        found.push((name.trim().to_owned(), values));
        rest = after.trim_start().trim_start_matches(',').trim_start();
    }
    Ok(found)
}

fn tests() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files");
    let mut found = Vec::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|e| e == "mil") => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

#[test]
fn files() {
    let bless = std::env::var_os("BLESS").is_some();
    let only = std::env::var("ONLY").unwrap_or_default();
    let (mut commands, mut checks) = (0, 0);
    let mut wrong = Vec::new();
    let mut paths = tests();
    paths.retain(|p| str(p).contains(&only));
    for path in &paths {
        let temporary = tempfile::tempdir().unwrap();
        let mut test = Test {
            path,
            temporary: temporary.path().to_owned(),
            blessed: Vec::new(),
            output: String::new(),
            checked: 0,
            bless,
            commands: 0,
            checks: 0,
        };
        match test.run() {
            Ok(()) if bless => {
                std::fs::write(path, test.blessed.join("\n") + "\n").unwrap();
            }
            Ok(()) => {}
            Err(problem) => wrong.push(problem),
        }
        commands += test.commands;
        checks += test.checks;
    }
    println!(
        "{} files, {commands} commands, {checks} checks",
        paths.len()
    );
    assert!(
        wrong.is_empty(),
        "{} fail:\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
    assert!(!paths.is_empty());
}
