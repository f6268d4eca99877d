//! Lists of passes, their text form and how they run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use milwright_ir::names::nearest;
use milwright_ir::{BlobSource, OpId, Program, Severity, ValueId, verify};

use crate::error::{Error, ParseError};
use crate::evaluate::Evaluate;
use crate::pass::{Options, Pass, Takes};
use crate::passes::{PRESETS, lookup, passes};
use crate::report::{Report, StepReport};
use crate::rewriter::Rewriter;

/// A pass of a pipeline, with its options.
#[derive(Clone, Debug)]
pub struct Step {
    /// The pass.
    pub pass: &'static Pass,
    /// Its options, defaults included.
    pub options: Options,
}

/// Passes in the order in which they run.
#[derive(Clone, Debug, Default)]
pub struct Pipeline {
    /// The passes.
    pub steps: Vec<Step>,
}

/// How a pipeline runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions<'a> {
    /// Stop after that many changes, over all passes. Halving this number
    /// finds the change that spoils a result.
    pub fuel: Option<u64>,
    /// What executes operations, for passes that compute constants.
    pub evaluate: Option<&'a dyn Evaluate>,
    /// What `fp16` leaves in single precision.
    pub fragile: Option<&'a Fragile>,
}

/// What half precision breaks in a program, as somebody found by trying.
#[derive(Clone, Debug, Default)]
pub struct Fragile {
    /// Operations that are to stay as they are, each with the reason.
    pub ops: BTreeMap<OpId, String>,
    /// Values that are not to be rounded: what gives and what reads them stays.
    pub values: BTreeSet<ValueId>,
}

impl Pipeline {
    /// Reads the text form: `pass,pass{option=word,option=4,option=name,name},preset`.
    /// Blanks may stand between words; the empty text is the empty pipeline.
    ///
    /// # Errors
    /// The text names no pass, option or word of this build, or is no such list.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut parser = Parser { text, at: 0 };
        let mut pipeline = Self::default();
        parser.blanks();
        if parser.rest().is_empty() {
            return Ok(pipeline);
        }
        loop {
            parser.item(&mut pipeline)?;
            if parser.rest().is_empty() {
                return Ok(pipeline);
            }
            parser.expect(',', "between passes")?;
        }
    }

    /// Runs the passes over a program. Weights in files are read from `blobs`.
    /// After an error the program is in the middle of a change and must not be
    /// written.
    ///
    /// # Errors
    /// The program is wrong before the first pass, cannot be changed without
    /// loss, or a pass has a bug.
    pub fn run(
        &self,
        program: &mut Program,
        blobs: &dyn BlobSource,
        options: &RunOptions<'_>,
    ) -> Result<Report, Error> {
        let mut report = Report::default();
        let mut fuel = options.fuel;
        let found = errors(program, blobs);
        if !found.is_empty() {
            return Err(Error::Invalid { findings: found });
        }
        for step in &self.steps {
            let options = RunOptions { fuel, ..*options };
            let mut rewriter = Rewriter::new(program, blobs, step.pass.name, options);
            let result = (step.pass.run)(&mut rewriter, &step.options)?;
            fuel = rewriter.fuel();
            let changes = rewriter.into_changes();
            let found = errors(program, blobs);
            if !found.is_empty() {
                return Err(Error::Broken {
                    pass: step.pass.name,
                    findings: found,
                });
            }
            report.steps.push(StepReport {
                pass: step.pass.name,
                options: step
                    .options
                    .iter()
                    .map(|(name, given)| (name, given.to_owned()))
                    .collect(),
                exactness: step.pass.exactness,
                changes,
                result,
            });
        }
        report.out_of_fuel = fuel == Some(0);
        Ok(report)
    }
}

impl fmt::Display for Pipeline {
    /// The text form, with every option written out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.steps.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            f.write_str(step.pass.name)?;
            let options: Vec<String> = step
                .options
                .iter()
                .filter(|(_, given)| !given.is_empty())
                .map(|(name, word)| format!("{name}={word}"))
                .collect();
            if !options.is_empty() {
                write!(f, "{{{}}}", options.join(","))?;
            }
        }
        Ok(())
    }
}

/// The errors that the verifier finds in the program.
fn errors(program: &Program, blobs: &dyn BlobSource) -> Vec<String> {
    let found = verify(program, blobs);
    let errors = found.iter().filter(|d| d.severity == Severity::Error);
    errors
        .map(|d| format!("{}: {} ({})", d.location, d.message, d.code))
        .collect()
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    /// A word and where it begins; then blanks.
    fn word(&mut self, what: &str) -> Result<(usize, &'t str), ParseError> {
        self.text_of(what, |c| c.is_alphanumeric() || "-_.".contains(c))
    }

    /// Characters of a kind, and where they begin; then blanks.
    fn text_of(
        &mut self,
        what: &str,
        kind: impl Fn(char) -> bool,
    ) -> Result<(usize, &'t str), ParseError> {
        self.blanks();
        let start = self.at;
        let rest = self.rest();
        let end = rest.find(|c| !kind(c)).unwrap_or(rest.len());
        if end == 0 {
            let found = match rest.chars().next() {
                Some(c) => format!("found {c:?}"),
                None => "the text ends".to_owned(),
            };
            return Err(self.error(start, format!("expected {what}, {found}"), None));
        }
        self.at += end;
        self.blanks();
        Ok((start, &rest[..end]))
    }

    fn expect(&mut self, wanted: char, place: &str) -> Result<(), ParseError> {
        if self.rest().starts_with(wanted) {
            self.at += wanted.len_utf8();
            self.blanks();
            return Ok(());
        }
        let found = match self.rest().chars().next() {
            Some(c) => format!("found {c:?}"),
            None => "the text ends".to_owned(),
        };
        Err(self.error(
            self.at,
            format!("expected {wanted:?} {place}, {found}"),
            None,
        ))
    }

    fn item(&mut self, pipeline: &mut Pipeline) -> Result<(), ParseError> {
        let (start, name) = self.word("the name of a pass")?;
        let Some(pass) = lookup(name) else {
            let Some(preset) = PRESETS.iter().find(|p| p.name == name) else {
                let names = passes().iter().map(|p| p.name);
                let help = suggestion(name, names.chain(PRESETS.iter().map(|p| p.name)));
                return Err(self.error(
                    start,
                    format!("there is no pass or preset {name:?}"),
                    Some(help),
                ));
            };
            if self.rest().starts_with('{') {
                return Err(self.error(
                    self.at,
                    format!("the preset {name:?} takes no options"),
                    Some(format!("it stands for {:?}", preset.pipeline)),
                ));
            }
            pipeline
                .steps
                .extend(Pipeline::parse(preset.pipeline)?.steps);
            return Ok(());
        };
        let mut options = Options::of(pass);
        if self.rest().starts_with('{') {
            self.expect('{', "before options")?;
            let mut seen: Vec<&str> = Vec::new();
            while !self.rest().starts_with('}') {
                if !seen.is_empty() {
                    self.expect(',', "or '}' after an option")?;
                }
                seen.push(self.option(pass, &mut options, &seen)?);
            }
            self.expect('}', "after options")?;
        }
        pipeline.steps.push(Step { pass, options });
        Ok(())
    }

    fn option(
        &mut self,
        pass: &'static Pass,
        options: &mut Options,
        seen: &[&str],
    ) -> Result<&'static str, ParseError> {
        let (start, name) = self.word("the name of an option")?;
        let Some(option) = pass.options.iter().find(|o| o.name == name) else {
            let help = match pass.options {
                [] => "it takes none".to_owned(),
                all => suggestion(name, all.iter().map(|o| o.name)),
            };
            return Err(self.error(
                start,
                format!("`{}` has no option {name:?}", pass.name),
                Some(help),
            ));
        };
        if seen.contains(&option.name) {
            return Err(self.error(start, format!("option {name:?} is given twice"), None));
        }
        self.expect('=', "after the name of an option")?;
        let wrong = |parser: &Self, start, word: &str, help| {
            let problem = format!("option `{name}` of `{}` cannot be {word:?}", pass.name);
            Err(parser.error(start, problem, Some(help)))
        };
        match &option.takes {
            Takes::Words(values) => {
                let (start, word) = self.word("the value of the option")?;
                let mut words = values.iter().map(|(word, _)| *word);
                if !words.clone().any(|w| w == word) {
                    return wrong(self, start, word, suggestion(word, &mut words));
                }
                options.set(option.name, word);
            }
            Takes::Number { least, .. } => {
                let (start, word) = self.word("a number")?;
                match word.parse::<u64>() {
                    Ok(number) if number >= *least => options.set(option.name, &number.to_string()),
                    _ => {
                        let help = format!("it takes a whole number of at least {least}");
                        return wrong(self, start, word, help);
                    }
                }
            }
            Takes::Names => {
                let mut names = vec![self.pattern()?];
                // What has no `=` behind it is one more name.
                while self.rest().starts_with(',') {
                    let here = self.at;
                    self.expect(',', "between names")?;
                    let name = self.pattern()?;
                    if self.rest().starts_with('=') {
                        self.at = here;
                        break;
                    }
                    names.push(name);
                }
                options.set(option.name, &names.join(","));
            }
        }
        Ok(option.name)
    }

    /// The name of an operation, with wildcards; then blanks.
    fn pattern(&mut self) -> Result<&'t str, ParseError> {
        self.text_of("a name", |c| !c.is_whitespace() && !",{}=".contains(c))
            .map(|(_, text)| text)
    }

    fn error(&self, offset: usize, problem: String, help: Option<String>) -> ParseError {
        ParseError {
            text: self.text.to_owned(),
            offset,
            column: self.text[..offset].chars().count() + 1,
            problem,
            help,
        }
    }
}

/// The name that was most likely meant, or all of them.
fn suggestion<'n>(word: &str, names: impl Iterator<Item = &'n str>) -> String {
    let mut names: Vec<&str> = names.collect();
    match nearest(word, names.iter().copied(), 1).first() {
        Some(name) => format!("did you mean {name:?}?"),
        None => {
            names.sort_unstable();
            format!("there is: {}", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Pipeline::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn text_round_trips() {
        let text = "decompose-conv{stride=strided-slice,taps=sum},dce";
        assert_eq!(Pipeline::parse(text).unwrap().to_string(), text);
        let spaced = " decompose-conv { taps = sum , stride=strided-slice } , dce ";
        assert_eq!(Pipeline::parse(spaced).unwrap().to_string(), text);
        let defaults = Pipeline::parse("decompose-conv{}").unwrap().to_string();
        assert_eq!(
            defaults,
            "decompose-conv{stride=space-to-depth,taps=concat}"
        );
        assert!(Pipeline::parse(" ").unwrap().steps.is_empty());
    }

    #[test]
    fn presets_expand() {
        for preset in PRESETS {
            let expanded = Pipeline::parse(preset.name).unwrap().to_string();
            let written = Pipeline::parse(preset.pipeline).unwrap().to_string();
            assert_eq!(expanded, written);
        }
    }

    #[test]
    fn errors_say_where_and_what_is_right() {
        assert_eq!(
            error("dce,decompse-conv"),
            "passes, character 5: there is no pass or preset \"decompse-conv\"; did you mean \
             \"decompose-conv\"?"
        );
        assert_eq!(
            error("decompose-conv{tap=sum}"),
            "passes, character 16: `decompose-conv` has no option \"tap\"; did you mean \"taps\"?"
        );
        assert!(error("decompose-conv{taps=gather}").contains("character 21"));
        assert!(error("decompose-conv{taps=gather}").contains("concat, sum"));
        assert!(error("decompose-conv{taps=sum,taps=sum}").contains("given twice"));
        assert!(error("dce{x=y}").contains("it takes none"));
        assert!(error("no-conv{taps=sum}").contains("stands for"));
        assert!(error("dce,").contains("the text ends"));
        assert!(error("dce dce").contains("expected ',' between passes, found 'd'"));
        assert!(error("decompose-conv{taps").contains("expected '='"));
        assert!(error("decompose-conv{taps=sum").contains("or '}'"));
        assert!(error("split-wide{limit=many}").contains("at least 1"));
        assert!(error("split-wide{limit=0}").contains("cannot be \"0\""));
        assert!(error("é{").contains("character 1"));
    }
}
