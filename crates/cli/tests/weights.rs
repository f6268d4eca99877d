//! `milwright weights` and `milwright strip`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it checked"
)]

mod common;

use std::path::{Path, PathBuf};

use common::{expect, files, fixture, fixtures, json, milwright, packages, refused, shared, str};
use serde_json::Value;

/// Packages of our own, and of others where they are, which are no pipelines.
fn programs() -> Vec<PathBuf> {
    let mut all = packages(&fixtures());
    if let Some(shared) = shared() {
        all.extend(packages(&shared));
    }
    all.retain(|path| {
        let size: u64 = files(path)
            .iter()
            .map(|(_, bytes)| bytes.len() as u64)
            .sum();
        size < 64 << 20
    });
    all
}

/// The names of weights, in program order.
fn names(list: &Value) -> Vec<String> {
    let rows = list["weights"].as_array().unwrap().iter();
    rows.map(|row| row["name"].as_str().unwrap().to_owned())
        .collect()
}

fn list(model: &Path) -> Value {
    json(0, &["weights", "list", str(model), "--sort", "program"])
}

fn same_files(one: &Path, other: &Path) {
    let (one_files, other_files) = (files(one), files(other));
    let paths = |files: &[(PathBuf, Vec<u8>)]| -> Vec<PathBuf> {
        files.iter().map(|(path, _)| path.clone()).collect()
    };
    assert_eq!(paths(&one_files), paths(&other_files));
    for ((path, a), (_, b)) in one_files.iter().zip(&other_files) {
        assert!(a == b, "{} differs in {}", path.display(), other.display());
    }
}

fn same_results(one: &Path, other: &Path) {
    let args = ["verify", str(one), "--against", str(other), "--atol", "0"];
    let report = json(0, &args);
    for output in report["outputs"].as_array().unwrap() {
        assert_eq!(output["max_abs"], 0.0, "{output}");
    }
}

/// What is extracted and given back leaves every byte as it was, in both forms
/// of file, for every type.
#[test]
fn weights_go_out_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (mut checked, mut weights) = (0, 0);
    for model in programs() {
        let found = list(&model);
        if found["weights"].as_array().unwrap().is_empty() {
            let out = dir.path().join("none.npz");
            refused(
                &["weights", "extract", str(&model), "-o", str(&out)],
                &["no weights"],
            );
            continue;
        }
        for extension in ["npz", "safetensors"] {
            let file = dir.path().join(format!("{checked}.{extension}"));
            let out = dir.path().join(format!("{checked}.{extension}.mlpackage"));
            let report = json(0, &["weights", "extract", str(&model), "-o", str(&file)]);
            assert_eq!(
                report["tensors"].as_array().unwrap().len(),
                names(&found).len()
            );
            let from = ["--from", str(&file), "-o", str(&out)];
            let report = json(
                0,
                &[&["weights", "replace", str(&model)], &from[..]].concat(),
            );
            for one in report["replaced"].as_array().unwrap() {
                assert_eq!(one["unchanged"], true, "{one}");
                weights += 1;
            }
            assert_eq!(report["kept"], 0);
            same_files(&model, &out);
            std::fs::remove_dir_all(out).unwrap();
            std::fs::remove_file(file).unwrap();
            checked += 1;
        }
    }
    println!("{checked} round trips of {weights} weights");
    assert!(weights > 200);
}

/// The dense values of compressed weights are those that the dense model was
/// made of: the fixtures suit their scheme.
#[test]
fn decompressed_weights_are_dense() {
    let dir = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for model in packages(&fixtures().join("compressed")) {
        let out = dir.path().join(format!("{checked}.npz"));
        let args = [
            "weights",
            "extract",
            str(&model),
            "--decompress",
            "-o",
            str(&out),
        ];
        let report = json(0, &args);
        let dense: Vec<&Value> = report["tensors"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|t| t["decompressed"] == true)
            .collect();
        assert_eq!(dense.len(), 3, "{report}");
        let arrays = milwright_verify::npz::load(&out).unwrap();
        for tensor in dense {
            let array = arrays.get(tensor["name"].as_str().unwrap()).unwrap();
            let shape: Vec<Value> = array.shape().iter().map(|&d| d.into()).collect();
            assert_eq!(tensor["shape"], Value::Array(shape));
            let values = array.data().to_f64();
            assert!(values.iter().any(|&v| v != 0.0) && values.iter().all(|v| v.is_finite()));
            checked += values.len();
        }
        // One alone, by name, is the same.
        let name = report["tensors"][0]["name"].as_str().unwrap();
        let one = dir.path().join(format!("{checked}.one.npz"));
        json(
            0,
            &[
                "weights",
                "extract",
                str(&model),
                name,
                "--decompress",
                "-o",
                str(&one),
            ],
        );
        assert_eq!(
            milwright_verify::npz::load(&one).unwrap().get(name),
            arrays.get(name)
        );
    }
    println!("{checked} values");
}

/// Other values are in the output, and nothing else is.
#[test]
fn replaced_weights_have_the_new_values_and_nothing_else_changes() {
    use milwright_verify::{Array, Data, NamedArrays, npz};
    let dir = tempfile::tempdir().unwrap();
    let model = fixtures().join("asr-encoder/fp16.mlpackage");
    let list = list(&model);
    let rows = list["weights"].as_array().unwrap().iter();
    let row = rows.filter(|r| r["dtype"] == "fp16").nth(3).unwrap();
    let name = row["name"].as_str().unwrap();
    let shape: Vec<usize> = row["shape"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d.as_u64().unwrap() as usize)
        .collect();
    let count: usize = shape.iter().product();
    let file = dir.path().join("new.npz");
    let save = |file: &Path, name: &str, data: Data| {
        let mut arrays = NamedArrays::new();
        arrays.insert(name, Array::new(shape.clone(), data).unwrap());
        npz::save(file, &arrays, true).unwrap();
    };
    let wide: Vec<f32> = (0..count).map(|i| i as f32 * 0.125 - 3.0).collect();
    let half: Vec<half::f16> = wide.iter().map(|&v| half::f16::from_f32(v)).collect();
    save(&file, "other", Data::Float16(half.clone()));
    let out = dir.path().join("out.mlpackage");
    let map = format!("other={name}");
    let base = [
        "weights",
        "replace",
        str(&model),
        "--from",
        str(&file),
        "-o",
        str(&out),
    ];
    refused(&base, &["`other`"]);
    let report = json(0, &[&base[..], &["--map", &map]].concat());
    assert_eq!(report["replaced"][0]["name"], name);
    assert_eq!(report["replaced"][0]["unchanged"], false);
    // Only the bytes of that weight differ.
    let (before, after) = (files(&model), files(&out));
    let mut different = 0;
    for ((path, a), (_, b)) in before.iter().zip(&after) {
        assert_eq!(a.len(), b.len());
        let at: Vec<usize> = (0..a.len()).filter(|&i| a[i] != b[i]).collect();
        if let (Some(first), Some(last)) = (at.first(), at.last()) {
            assert!(path.ends_with("weight.bin"));
            let data = row["offset"].as_u64().unwrap() as usize + 64;
            assert!(*first >= data && *last < data + 2 * count);
            let bytes: Vec<u8> = half.iter().flat_map(|v| v.to_le_bytes()).collect();
            assert_eq!(b[data..data + 2 * count], bytes);
            different += 1;
        }
    }
    assert_eq!(different, 1);
    let read = dir.path().join("read.npz");
    json(
        0,
        &["weights", "extract", str(&out), name, "-o", str(&read)],
    );
    let arrays = npz::load(&read).unwrap();
    assert_eq!(arrays.get(name).unwrap().data(), &Data::Float16(half));

    // Another width only when asked; out of range never; integers never.
    let next = dir.path().join("next.mlpackage");
    let base = [
        "weights",
        "replace",
        str(&model),
        "--from",
        str(&file),
        "-o",
        str(&next),
    ];
    let cast = [&base[..], &["--cast"]].concat();
    save(
        &file,
        name,
        Data::Float32(wide.iter().map(|v| v + 1e-4).collect()),
    );
    refused(&base, &["--cast", "fp16", "fp32"]);
    let report = json(0, &cast);
    assert!(report["replaced"][0]["rounded"].as_u64().unwrap() > 0);
    std::fs::remove_dir_all(&next).unwrap();
    save(&file, name, Data::Float32(vec![1e6; count]));
    refused(&cast, &["out of its range"]);
    save(&file, name, Data::Int32(vec![1; count]));
    refused(&cast, &["int32"]);
    let flat = Array::new(vec![count], Data::Float32(wide)).unwrap();
    let mut arrays = NamedArrays::new();
    arrays.insert(name, flat);
    npz::save(&file, &arrays, true).unwrap();
    if shape.len() > 1 {
        refused(&cast, &["shapes must be the same"]);
    }
    assert!(!next.exists());
    refused(
        &[
            "weights",
            "extract",
            str(&model),
            "nothing_like_it",
            "-o",
            str(&next),
        ],
        &["npz"],
    );
    refused(
        &["weights", "extract", str(&model), &name[1..], "-o", "x.npz"],
        &["did you mean"],
    );
}

/// A model whose weights are stored twice gets as small as it was before.
#[test]
fn identical_weights_are_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let (mut models, mut saved) = (0, 0);
    for model in programs() {
        if list(&model)["tensors"] == 0 {
            continue;
        }
        let out = dir.path().join(format!("{models}.mlpackage"));
        let report = json(0, &["weights", "dedup", str(&model), "-o", str(&out)]);
        let found = list(&out);
        assert_eq!(found["duplicate_bytes"], 0, "{}", model.display());
        assert_eq!(names(&found), names(&list(&model)));
        if report["shared_blobs"] != 0 {
            saved += report["saved_bytes"].as_u64().unwrap();
            same_results(&model, &out);
        }
        models += 1;
    }
    println!("{models} models, {saved} bytes saved");
    assert!(saved > 0);
}

/// Nothing of the weights is in a stripped model; restored, it is the old one
/// byte for byte.
#[test]
fn stripped_models_hold_no_weights_and_get_them_back() {
    let dir = tempfile::tempdir().unwrap();
    let (mut models, mut runs, mut ratio) = (0, 0, 0.0f64);
    for (number, model) in programs().iter().enumerate() {
        let fill = ["zeros", "seeded"][number % 2];
        let zip = dir.path().join("stripped.zip");
        let args = [
            "strip",
            str(model),
            "-o",
            str(&zip),
            "--fill",
            fill,
            "--force",
        ];
        if list(model)["tensors"] == 0 {
            refused(&args, &["no weights to take out"]);
            continue;
        }
        let report = json(0, &args);
        let kept = report["kept"].as_array().unwrap();
        let taken = report["taken"].as_array().unwrap();
        let before = list(model);
        assert_eq!(taken.len() + kept.len(), names(&before).len());
        let after = list(&zip);
        assert_eq!(names(&after), names(&before));
        // Types, places and uses are what they were.
        for key in ["dtype", "shape", "offset", "storage", "used_by"] {
            let of = |list: &Value| -> Vec<Value> {
                let rows = list["weights"].as_array().unwrap().iter();
                rows.map(|row| row[key].clone()).collect()
            };
            assert_eq!(of(&after), of(&before), "{key} of {}", model.display());
        }
        let size = std::fs::metadata(&zip).unwrap().len();
        let weights = report["bytes"].as_u64().unwrap();
        if weights > 1 << 20 {
            ratio = ratio.max(size as f64 / weights as f64);
        }
        // It runs: what counts elements of others still does.
        let run = milwright(&["verify", str(&zip), "--against", str(&zip)]);
        let message = String::from_utf8_lossy(&run.stderr);
        assert!(
            run.status.success() || !message.contains("mask"),
            "{message}"
        );
        runs += usize::from(run.status.success());
        let back = dir.path().join("back.mlpackage");
        let args = [
            "strip",
            str(&zip),
            "--restore",
            str(model),
            "-o",
            str(&back),
            "--force",
        ];
        let report = json(0, &args);
        assert_eq!(report["restored"].as_array().unwrap().len(), taken.len());
        same_but_for_extra_files(model, &back);
        models += 1;
    }
    println!(
        "{models} models stripped and restored, {runs} run without weights; at most {:.1} % of \
         the weights' size",
        ratio * 100.0
    );
    assert!(models > 20 && runs > models / 2);
}

fn same_but_for_extra_files(one: &Path, other: &Path) {
    let old = files(one);
    for (path, bytes) in files(other) {
        let (_, was) = old.iter().find(|(p, _)| *p == path).unwrap();
        assert!(*was == bytes, "{} of {}", path.display(), one.display());
    }
    let weights =
        |f: &[(PathBuf, Vec<u8>)]| f.iter().filter(|(p, _)| p.ends_with("weight.bin")).count();
    assert_eq!(weights(&old), weights(&files(other)));
}

/// An edited program gets its weights; values that someone chose stay.
#[test]
fn edited_stripped_models_get_their_weights_back() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("asr-encoder/fp32.mlpackage");
    let path = |name: &str| dir.path().join(name);
    let stripped = path("stripped.mlpackage");
    expect(
        0,
        &[
            "strip",
            &model,
            "-o",
            str(&stripped),
            "--fill",
            "seeded",
            "--metadata",
        ],
    );
    // Cut: half of the weights are gone, and that is said.
    let seam = json(0, &["bisect", &model, "--dry-run", "--parts", "2"]);
    let seam = seam["seams"][0]["values"][0]["value"]
        .as_str()
        .unwrap()
        .to_owned();
    let (part, full) = (path("part.mlpackage"), path("full.mlpackage"));
    expect(
        0,
        &[
            "extract",
            str(&stripped),
            "--outputs",
            &seam,
            "-o",
            str(&part),
        ],
    );
    let back = path("back.mlpackage");
    let restore = ["strip", str(&part), "--restore", &model, "-o", str(&back)];
    let report = json(1, &restore);
    assert!(!report["gone"].as_array().unwrap().is_empty());
    assert!(!back.exists());
    expect(1, &[&restore[..], &["--partial"]].concat());
    expect(
        0,
        &["extract", &model, "--outputs", &seam, "-o", str(&full)],
    );
    same_results(&full, &back);
    // Of another model there is nothing to take.
    let other = fixture("conv-zoo/fp32.mlpackage");
    let out = path("out.mlpackage");
    refused(
        &[
            "strip",
            str(&stripped),
            "--restore",
            &other,
            "-o",
            str(&out),
        ],
        &["not the model"],
    );
    refused(
        &["strip", &other, "--restore", &model, "-o", str(&out)],
        &["no model that"],
    );
    // Zeros that were stored once cannot be told apart.
    let (zeros, once) = (path("zeros.mlpackage"), path("once.mlpackage"));
    expect(0, &["strip", &model, "-o", str(&zeros)]);
    expect(0, &["weights", "dedup", str(&zeros), "-o", str(&once)]);
    let report = json(
        1,
        &["strip", str(&once), "--restore", &model, "-o", str(&out)],
    );
    assert!(!report["gone"].as_array().unwrap().is_empty());
    // A weight that was given other values keeps them.
    let first = names(&list(&stripped)).remove(0);
    let npz = path("one.npz");
    expect(0, &["weights", "extract", &model, &first, "-o", str(&npz)]);
    let edited = path("edited.mlpackage");
    let from = ["--from", str(&npz), "-o", str(&edited)];
    expect(
        0,
        &[&["weights", "replace", str(&stripped)], &from[..]].concat(),
    );
    let report = json(
        0,
        &["strip", str(&edited), "--restore", &model, "-o", str(&out)],
    );
    assert_eq!(report["changed"], serde_json::json!([first]));
    same_results(Path::new(&model), &out);
}

/// Reads files of tensors with NumPy (and the package `safetensors` where it
/// is), and the packages with coremltools; compares every weight.
const ORACLE: &str = r#"
import json, sys, warnings
warnings.filterwarnings("ignore")
import numpy as np
import coremltools as ct
try:
    from safetensors.numpy import load_file
except ImportError:
    load_file = None
values = 0
compared = 0
tensors = 0
opened = 0
for line in sys.stdin:
    job = json.loads(line)
    model = ct.models.MLModel(job["model"], skip_model_load=True)
    opened += 1
    if "npz" not in job:
        continue
    arrays = dict(np.load(job["npz"]))
    if load_file:
        # bf16 and fp8 have no type in NumPy; no model here has them.
        other = load_file(job["safetensors"])
        assert set(other) == set(arrays), job
        for name, array in arrays.items():
            assert other[name].dtype == array.dtype and other[name].shape == array.shape, name
            assert other[name].tobytes() == array.tobytes(), name
            tensors += 1
    if len(model.get_spec().description.functions) > 1:
        continue  # coremltools reads weights of one function only
    found = ct.optimize.coreml.get_weights_metadata(model, weight_threshold=10)
    for name, weight in found.items():
        if name not in arrays or weight.val is None:
            continue
        theirs, ours = np.asarray(weight.val), arrays[name]
        assert theirs.shape == ours.shape, (job, name, theirs.shape, ours.shape)
        limit = 0 if job["exact"] else 2e-3 * np.abs(theirs.astype(np.float64)).max()
        worst = np.abs(theirs.astype(np.float64) - ours.astype(np.float64)).max()
        assert worst <= limit, (job, name, worst)
        compared += 1
        values += theirs.size
print(json.dumps({"opened": opened, "compared": compared, "values": values, "tensors": tensors}))
"#;

#[test]
fn numpy_and_coremltools_read_the_same_values() {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let Some(python) = common::python() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let mut jobs = String::new();
    let (mut files, mut written) = (0, 0);
    for (number, model) in programs().iter().enumerate() {
        let at = |end: &str| dir.path().join(format!("{number}.{end}"));
        let (npz, safe) = (at("npz"), at("safetensors"));
        let take = |out: &Path| {
            let args = [
                "weights",
                "extract",
                str(model),
                "--decompress",
                "-o",
                str(out),
            ];
            milwright(&args).status.code()
        };
        if take(&npz) != Some(0) {
            continue;
        }
        assert_eq!(take(&safe), Some(0));
        let compressed = expect(0, &["print", str(model)]).contains("constexpr_");
        let job = serde_json::json!({
            "model": model, "npz": npz, "safetensors": safe, "exact": !compressed,
        });
        jobs.push_str(&format!("{job}\n"));
        files += 1;
        let (stripped, once) = (at("stripped.mlpackage"), at("once.mlpackage"));
        expect(
            0,
            &["strip", str(model), "-o", str(&stripped), "--metadata"],
        );
        expect(0, &["weights", "dedup", str(&stripped), "-o", str(&once)]);
        for package in [stripped, once] {
            jobs.push_str(&format!("{}\n", serde_json::json!({ "model": package })));
            written += 1;
        }
    }
    let mut child = Command::new(python)
        .args(["-c", ORACLE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(jobs.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let report: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    println!("{files} models read, {written} of ours opened: {report}");
    assert_eq!(report["opened"], files + written);
    assert!(report["compared"].as_u64().unwrap() > 200);
}
