//! The loaders say what the manifest says, and do it.

use std::path::Path;
use std::process::Command;

use milwright_package::{
    ComputeUnits, Origin, PIPELINE_SCHEMA, PipelineManifest, StageFeature, StageInput, StageRecord,
};

use super::{python, swift};

fn stage(name: &str, units: ComputeUnits, takes: &[(&str, &str)], gives: &[&str]) -> StageRecord {
    let ty = "fp32[1]".to_owned();
    StageRecord {
        name: name.to_owned(),
        package: format!("{name}.mlpackage"),
        compute_units: units,
        why: vec![format!("{name}, because\nimport os")],
        inputs: takes
            .iter()
            .map(|&(name, from)| StageInput {
                name: name.to_owned(),
                ty: ty.clone(),
                from: Origin::from(from.to_owned()),
            })
            .collect(),
        outputs: gives
            .iter()
            .map(|&name| StageFeature {
                name: name.to_owned(),
                ty: ty.clone(),
            })
            .collect(),
        states: Vec::new(),
        files: Vec::new(),
    }
}

/// x -> a -> h; h, s -> b -> y; y, x -> c -> y, which replaces the first.
fn manifest(stateful: bool) -> PipelineManifest {
    let mut stages = vec![
        stage("a", ComputeUnits::CpuAndGpu, &[("x", "caller")], &["h"]),
        stage(
            "b",
            ComputeUnits::CpuAndNeuralEngine,
            &[("h", "a"), ("s", "caller")],
            &["y"],
        ),
        stage(
            "c",
            ComputeUnits::All,
            &[("y", "b"), ("x", "caller")],
            &["y"],
        ),
    ];
    if stateful {
        stages[1].states.push(StageFeature {
            name: "cache".to_owned(),
            ty: "fp16[1]".to_owned(),
        });
    }
    let manifest = PipelineManifest {
        schema: PIPELINE_SCHEMA.to_owned(),
        model: "whole.mlpackage\nimport os".to_owned(),
        function: "main".to_owned(),
        inputs: vec!["x".to_owned(), "s".to_owned()],
        outputs: vec!["y".to_owned(), "h".to_owned()],
        stages,
        functions: Vec::new(),
    };
    manifest.check(Path::new("pipeline.json")).unwrap();
    manifest
}

/// Names that end a literal, a line or a comment where they are not escaped.
fn odd() -> PipelineManifest {
    let name = "q\"w\\(e)\n'''\u{2028}\u{202e}@STAGES@ %s {0} */ é\u{0}";
    let mut manifest = manifest(false);
    name.clone_into(&mut manifest.inputs[0]);
    for stage in [0, 2] {
        for input in &mut manifest.stages[stage].inputs {
            if input.name == "x" {
                name.clone_into(&mut input.name);
            }
        }
    }
    manifest.stages[1].name = "'b\"\\".to_owned();
    manifest.stages[2].inputs[0].from = Origin::Stage("'b\"\\".to_owned());
    manifest.check(Path::new("pipeline.json")).unwrap();
    manifest
}

/// A Python to test with, if there is one.
fn interpreter() -> Option<&'static str> {
    let found = Command::new("python3")
        .arg("--version")
        .output()
        .is_ok_and(|o| o.status.success());
    if !found {
        println!("skipped: there is no python3");
    }
    found.then_some("python3")
}

/// A module that stands in for coremltools: stage `a` adds 1 to `x`, `b` adds
/// `s` and what it counts in its state, `c` multiplies `y` by `x`. It writes
/// down what is called.
const STAND_IN: &str = r#"
import os, types

class ComputeUnit:
    CPU_ONLY, CPU_AND_GPU, CPU_AND_NE, ALL = "cpu", "gpu", "ne", "all"

LOG = []

class CompiledMLModel:
    def __init__(self, path, compute_units):
        with open(path) as file:
            self.package = os.path.basename(file.read())
        LOG.append(("load", self.package, compute_units))

    def make_state(self):
        return {"of": self, "count": 0}

    def predict(self, data, state=None):
        if isinstance(data, list):
            LOG.append(("batch", self.package, len(data)))
            return [self.one(d, None) for d in data]
        LOG.append(("single", self.package, 1))
        assert state is not None and state["of"] is self
        return self.one(data, state)

    def one(self, data, state):
        if state is not None:
            state["count"] += 1
        if self.package == "a.mlpackage":
            assert list(data) == ["x"]
            return {"h": data["x"] + 1, "unused": 0}
        if self.package == "b.mlpackage":
            assert sorted(data) == ["h", "s"]
            return {"y": data["h"] + data["s"] + (state["count"] if state else 0)}
        assert sorted(data) == ["x", "y"]
        return {"y": data["y"] * data["x"]}

def compile_model(package, target):
    LOG.append(("compile", os.path.basename(package), None))
    with open(target, "w") as file:
        file.write(package)
    return target

models = types.SimpleNamespace(
    CompiledMLModel=CompiledMLModel, utils=types.SimpleNamespace(compile_model=compile_model))
"#;

const STATELESS: &str = r#"
import coremltools as ct, loader
m = loader.StagedModel(reload_interval=4)
assert ct.LOG[:6] == [("compile", n, None) for n in ("a.mlpackage", "b.mlpackage", "c.mlpackage")] \
    + [("load", "a.mlpackage", "gpu"), ("load", "b.mlpackage", "ne"), ("load", "c.mlpackage", "all")]
del ct.LOG[:]
chunks = [{"x": n, "s": 10} for n in range(9)]
got = m.predict(chunks)
assert got == [{"y": (n + 11) * n, "h": n + 1} for n in range(9)], got
a = [e for e in ct.LOG if e[1] == "a.mlpackage"]
assert a == [("batch", "a.mlpackage", 4), ("load", "a.mlpackage", "gpu"), ("batch", "a.mlpackage", 4),
    ("load", "a.mlpackage", "gpu"), ("batch", "a.mlpackage", 1)], a
assert m.predict({"x": 2, "s": 0}) == {"y": 6, "h": 3}
assert m.predict([]) == []
try:
    m.predict([{"x": 1}])
    raise SystemExit("a missing feature was accepted")
except KeyError as error:
    assert "s" in str(error)
print("ok")
"#;

const STATEFUL: &str = r#"
import coremltools as ct, loader
m = loader.StagedModel(reload_interval=2)
del ct.LOG[:]
chunks = [{"x": 1, "s": 0} for n in range(5)]
got = [r["y"] for r in m.predict(chunks)]
assert got == [3, 4, 5, 6, 7], got
assert [e[0] for e in ct.LOG if e[1] == "b.mlpackage"] == ["single"] * 5
assert m.predict(chunks[0])["y"] == 8
m.reset()
assert ct.LOG[-1] == ("load", "b.mlpackage", "ne"), ct.LOG[-1]
assert m.predict(chunks[0])["y"] == 3
print("ok")
"#;

/// Runs a script beside a loader and the stand-in.
fn run(python3: &str, loader: &str, script: &str) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("loader.py", loader),
        ("coremltools.py", STAND_IN),
        ("check.py", script),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let output = Command::new(python3)
        .arg("check.py")
        .current_dir(dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.trim() == "ok",
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_python_loader_wires_batches_reloads_and_keeps_states() {
    let Some(python3) = interpreter() else { return };
    run(python3, &python(&manifest(false)), STATELESS);
    run(python3, &python(&manifest(true)), STATEFUL);
    // Odd names come back as they are.
    let names = odd();
    let expected = serde_json::to_string(&(&names.inputs, &names.stages[1].name)).unwrap();
    let script = format!(
        "import json, loader\nwith open('names.json', encoding='utf-8') as f: names = json.load(f)\n\
         assert loader.INPUTS == names[0] == loader.STAGES[0]['inputs'] + ['s'], loader.INPUTS\n\
         assert loader.STAGES[1]['name'] == names[1]\nassert len(loader.STAGES) == {}\nprint('ok')\n",
        names.stages.len()
    );
    let script = format!(
        "with open('names.json', 'w', encoding='utf-8') as f: f.write({})\n{script}",
        serde_json::to_string(&expected).unwrap()
    );
    run(python3, &python(&names), &script);
    println!("3 loaders ran");
}

/// Checks what can be checked of Swift without its compiler: brackets match
/// outside of literals and comments, and every literal ends on its line.
/// Returns the code without comments, literals emptied, and the literals.
fn scan(text: &str) -> (String, Vec<String>) {
    let mut code = String::new();
    let mut literals = Vec::new();
    let mut open = Vec::new();
    for line in text.lines() {
        let mut chars = line.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '/' if chars.peek() == Some(&'/') => break,
                '"' => {
                    let mut literal = String::new();
                    loop {
                        match chars.next() {
                            Some('\\') => {
                                literal.push('\\');
                                let escaped = chars.next().unwrap();
                                assert!("\"\\u".contains(escaped), "{line}");
                                literal.push(escaped);
                            }
                            Some('"') => break,
                            Some(c) => literal.push(c),
                            None => panic!("a literal does not end: {line}"),
                        }
                    }
                    literals.push(literal);
                    code.push_str("\"\"");
                }
                '(' | '[' | '{' => {
                    open.push(c);
                    code.push(c);
                }
                ')' | ']' | '}' => {
                    let opened = open.pop().unwrap();
                    assert!(
                        matches!((opened, c), ('(', ')') | ('[', ']') | ('{', '}')),
                        "{line}"
                    );
                    code.push(c);
                }
                c => code.push(c),
            }
        }
        code.push('\n');
    }
    assert!(open.is_empty(), "{open:?}");
    (code, literals)
}

#[test]
fn the_swift_loader_has_every_stage_unit_and_feature() {
    let mut checked = 0;
    for manifest in [manifest(false), manifest(true), odd()] {
        let text = swift(&manifest);
        let (code, literals) = scan(&text);
        let stateful = manifest.stages.iter().any(|stage| !stage.states.is_empty());
        assert!(
            !text.contains('@') || !text.contains("@STAGES@\n"),
            "{text}"
        );
        for (word, wanted) in [
            ("predictions(fromBatch:", true),
            ("MLModel.compileModel(at:", true),
            ("reloadInterval: Int = 300", true),
            ("configuration.computeUnits = ", true),
            ("makeState()", stateful),
            ("using: state", stateful),
            ("iOS 18.0", stateful),
            ("iOS 16.0", !stateful),
            ("//<", false),
            ("import os", false),
        ] {
            assert_eq!(code.contains(word), wanted, "{word} in\n{text}");
        }
        let units: Vec<&str> = code.matches("computeUnits: .").collect();
        assert_eq!(units.len(), manifest.stages.len());
        for stage in &manifest.stages {
            assert!(code.contains(&format!("computeUnits: .{},", stage.compute_units)));
            let features = stage.inputs.iter().map(|f| &f.name);
            let features = features.chain(stage.outputs.iter().map(|f| &f.name));
            for name in features.chain([&stage.name, &stage.package]) {
                let escaped: String = name
                    .chars()
                    .map(|c| match c {
                        '"' | '\\' => format!("\\{c}"),
                        '\n' => "\\u{a}".to_owned(),
                        '\u{0}' => "\\u{0}".to_owned(),
                        '\u{2028}' => "\\u{2028}".to_owned(),
                        '\u{202e}' => "\\u{202e}".to_owned(),
                        c => c.to_string(),
                    })
                    .collect();
                assert!(literals.contains(&escaped), "{escaped} in {literals:?}");
                checked += 1;
            }
        }
        parse_with_swiftc(&text);
    }
    println!("{checked} names found");
}

/// Lets Swift's own compiler parse it, where there is one.
fn parse_with_swiftc(text: &str) {
    if Command::new("swiftc").arg("--version").output().is_err() {
        println!("skipped: there is no swiftc");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("loader.swift");
    std::fs::write(&file, text).unwrap();
    let output = Command::new("swiftc")
        .arg("-parse")
        .arg(&file)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
