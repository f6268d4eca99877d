//! Reading text: what is printed comes back, what is wrong is located.

use milwright_ir::random::Random;
use milwright_ir::text::{Dialect, parse, parse_within, print};
use milwright_ir::{Error, Model, Program};
use milwright_package::proto;
use prost::Message;

use crate::corpus;
use crate::text::{dialect, texts};

/// The program with everything that text sorts in order, as bytes.
fn sorted(program: &Program) -> Vec<u8> {
    let mut program = program.to_proto();
    program.functions.sort_by(|a, b| a.key.cmp(&b.key));
    sort_values(&mut program.attributes);
    for function in &mut program.functions {
        let function = function.value.as_mut().unwrap();
        function.inputs.sort_by(|a, b| a.name.cmp(&b.name));
        sort_values(&mut function.attributes);
        for body in &mut function.block_specializations {
            sort_block(body.value.as_mut().unwrap());
        }
    }
    program.encode_to_vec()
}

fn sort_block(block: &mut proto::Block) {
    sort_values(&mut block.attributes);
    for bytes in &mut block.operations {
        let mut op = proto::Operation::decode(bytes.clone()).unwrap();
        op.inputs.sort_by(|a, b| a.key.cmp(&b.key));
        sort_values(&mut op.attributes);
        op.blocks.iter_mut().for_each(sort_block);
        *bytes = op.encode_to_vec().into();
    }
}

fn sort_values(entries: &mut [proto::ValueEntry]) {
    entries.sort_by(|a, b| a.key.cmp(&b.key));
}

#[derive(Default)]
struct Counts {
    models: usize,
    operations: usize,
}

impl Counts {
    fn check(&mut self, name: &str, model: &Model) {
        let program = model.program();
        for dialect in [Dialect::V1_0, Dialect::V1_3] {
            let text = print(program, dialect, None);
            let parsed = parse(&text).unwrap_or_else(|errors| panic!("{name}: {}", errors[0]));
            assert_eq!(parsed.dialect, dialect, "{name}");
            let again = print(&parsed.program, dialect, None);
            assert!(text == again, "{name}: printed again, it is another text");
            let same = sorted(program) == sorted(&parsed.program);
            assert!(same, "{name}: read again, it is another program");
            self.operations += program.all_ops().len();
        }
        self.models += 1;
    }
}

#[test]
fn printed_programs_come_back() {
    let mut counts = Counts::default();
    for (name, model) in corpus::models() {
        counts.check(&name, &model);
    }
    let cases = corpus::conformance(|name, model| counts.check(name, model));
    println!(
        "{} models ({cases} conformance cases), {} operations in both dialects: every text is a \
         fixed point, every program comes back",
        counts.models, counts.operations
    );
    assert!(counts.models > 0);
}

#[test]
fn apples_texts_come_back() {
    let (mut count, mut lines) = (0, 0);
    let texts = texts();
    for path in &texts {
        let text = std::fs::read_to_string(path).unwrap();
        let parsed = parse(&text).unwrap_or_else(|e| panic!("{}: {}", path.display(), e[0]));
        assert_eq!(parsed.dialect, dialect(&text));
        let printed = print(&parsed.program, parsed.dialect, None);
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(words(&printed), words(&text), "{}", path.display());
        count += 1;
        lines += text.lines().count();
    }
    println!("{count} texts of Apple's compiler, {lines} lines, back word by word");
    assert_eq!(count, texts.len());
}

/// What is said of a text that is opened as a model.
fn findings(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrong.mil");
    std::fs::write(&path, text).unwrap();
    match milwright_ir::open(&path) {
        Ok(_) => "accepted\n".to_owned(),
        Err(Error::Text { errors, .. }) => {
            let lines = errors.findings.iter().map(|finding| {
                let at = finding.location.text.unwrap();
                assert!(at.start <= at.end && at.end <= text.len());
                format!(
                    "{}:{} {}: {}\n",
                    at.line, at.column, finding.code, finding.message
                )
            });
            lines.collect()
        }
        Err(other) => panic!("{other}"),
    }
}

/// A case of a corpus: title, text, and what is expected of it.
fn cases(corpus: &str) -> Vec<(&str, &str, &str)> {
    let cases = corpus.split("\n=== ").skip(1).map(|case| {
        let (title, rest) = case.split_once('\n').unwrap();
        let (text, expected) = rest.split_once("---\n").unwrap();
        (title, text, expected.trim_start().trim_end_matches('\n'))
    });
    cases.collect()
}

#[test]
fn malformed_texts_are_located() {
    let folder = corpus::repository().join("crates/ir/tests/program/malformed");
    let (mut count, mut located) = (0, 0);
    for (file, before, after) in [
        ("programs.txt", "", ""),
        (
            "bodies.txt",
            "program(1.3)\n{\n    func main<ios17>(tensor<fp32, [2]> x) {\n",
            "    } -> (x);\n}\n",
        ),
    ] {
        let path = folder.join(file);
        let corpus = std::fs::read_to_string(&path).unwrap();
        let (intro, _) = corpus.split_once("\n=== ").unwrap();
        let mut blessed = intro.to_owned();
        for (title, text, expected) in cases(&corpus) {
            let found = findings(&format!("{before}{text}{after}"));
            assert_ne!(found, "accepted\n", "{file}: {title}");
            if std::env::var_os("BLESS").is_none() {
                assert_eq!(found.trim_end(), expected, "{file}: {title}");
            }
            blessed += &format!("\n=== {title}\n{text}---\n{found}");
            count += 1;
            located += found.lines().count();
        }
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, blessed).unwrap();
        }
    }
    println!("{count} malformed texts, {located} located errors");
    assert!(count >= 100);
}

/// Damages a text at random places: cut short, bytes changed, pieces moved.
fn damaged(text: &str, random: &mut Random) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut at = |len: usize| random.integer(0, len.max(1) as i64 - 1) as usize;
    match at(4) {
        0 => bytes.truncate(at(text.len())),
        1 => {
            let marks = b"()[]{}<>,;=\"-.09xp? \n\\";
            for _ in 0..=at(4) {
                let i = at(bytes.len());
                bytes[i] = marks[at(marks.len())];
            }
        }
        2 => {
            let (from, len) = (at(bytes.len()), at(40));
            let end = (from + len).min(bytes.len());
            bytes.drain(from..end);
        }
        _ => {
            let (from, to) = (at(bytes.len()), at(bytes.len()));
            let end = (from + at(60)).min(bytes.len());
            let piece = bytes[from..end].to_vec();
            bytes.splice(to..to, piece);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn damaged_texts_never_panic() {
    let mut good: Vec<String> = texts()
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    for (_, model) in corpus::models() {
        let text = print(model.program(), Dialect::V1_3, None);
        good.extend((text.len() < 100_000).then_some(text));
    }
    let (mut wrong, mut right) = (0, 0);
    let mut random = Random::new(6, 0, "damage");
    for round in 0..2000 {
        let text = damaged(&good[round % good.len()], &mut random);
        match parse_within(&text, 1 << 16) {
            Ok(_) => right += 1,
            Err(findings) => {
                assert!(!findings.is_empty());
                for finding in &findings {
                    let at = finding.location.text.unwrap();
                    assert!(text.get(at.start..at.end).is_some(), "{finding}");
                }
                wrong += 1;
            }
        }
    }
    println!(
        "{wrong} damaged texts with located errors, {right} still right, of {}",
        good.len()
    );
    assert!(wrong > 1000);
}
