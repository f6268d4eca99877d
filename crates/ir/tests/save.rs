//! Saving: what did not change is what it was, what changed is read back the
//! same, and weights that nothing refers to are gone.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking and print what they checked"
)]

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use milwright_ir::{Arg, BlobSource, ConstData, Constant, DataType, Model, OpId, TensorType};
use milwright_package::WriteOptions;

#[path = "../../../fixtures/find.rs"]
mod find;

fn packages() -> Vec<PathBuf> {
    let mut found = find::packages(&find::fixtures());
    if let Some(models) = find::shared("models") {
        found.extend(find::packages(&models));
    }
    found
}

fn save(model: &Model, name: &str) -> (tempfile::TempDir, Model, milwright_ir::SaveReport) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join(format!("{name}.mlpackage"));
    let report = model.save(&out, WriteOptions::default()).unwrap();
    let again = Model::open(&out).unwrap();
    (folder, again, report)
}

/// Every weight of the program, as length and digest, by the operation that
/// holds it.
fn weights(model: &Model) -> BTreeMap<String, (u64, u64)> {
    let program = model.program();
    let mut found = BTreeMap::new();
    for function in &program.functions {
        for id in program.walk(function.body().unwrap()) {
            let mut index = 0;
            program.ops[id].visit_constants(&mut |c| {
                if let ConstData::Blob(_) | ConstData::New(_) = c.data {
                    let key = format!("{} {} {index}", function.name, program.describe_op(id));
                    found.insert(key, digest(&c.bytes(model).unwrap()));
                    index += 1;
                }
            });
        }
    }
    found
}

fn digest(bytes: &[u8]) -> (u64, u64) {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    (bytes.len() as u64, hasher.finish())
}

fn first_blob_const(model: &Model) -> Option<OpId> {
    let program = model.program();
    program.all_ops().into_iter().find(|&id| {
        let op = &program.ops[id];
        op.op_type == "const"
            && matches!(
                op.attribute("val").map(|c| &c.data),
                Some(ConstData::Blob(_))
            )
    })
}

#[test]
fn an_unchanged_model_keeps_its_bytes() {
    let packages = packages();
    for path in &packages {
        let model = Model::open(path).unwrap();
        let (_folder, again, report) = save(&model, "same");
        assert!(!report.changed, "{}", path.display());
        assert_eq!(model.spec().bytes(), again.spec().bytes());
        for file in model.package().files() {
            let other = again.package().files();
            let other = other.iter().find(|f| f.path() == file.path()).unwrap();
            assert_eq!(
                model.package().source(file).unwrap().digest().unwrap(),
                again.package().source(other).unwrap().digest().unwrap(),
                "{} {}",
                path.display(),
                file.path()
            );
        }
    }
    println!("{} packages saved unchanged", packages.len());
}

#[test]
fn every_operation_written_from_memory_reads_back_the_same() {
    let mut ops = 0;
    for path in packages() {
        let mut model = Model::open(&path).unwrap();
        for id in model.program().live_ops() {
            // Refuses when memory does not hold all of it.
            model.program_mut().op_mut(id).unwrap();
            ops += 1;
        }
        let program = model.program().to_proto();
        assert_eq!(
            milwright_package::Message::encode_to_vec(&program),
            model.spec().model_bytes(),
            "{}",
            path.display()
        );
    }
    println!("{ops} operations written from memory");
}

#[test]
fn a_new_weight_takes_its_place_and_an_orphan_leaves() {
    let mut checked = 0;
    for path in packages() {
        let mut model = Model::open(&path).unwrap();
        let Some(id) = first_blob_const(&model) else {
            continue;
        };
        let mut expected = weights(&model);
        let before: u64 = expected.values().map(|(len, _)| len).sum();
        let new: Vec<u8> = (0..64u8).flat_map(|i| f32::from(i).to_le_bytes()).collect();
        let constant = Constant::new(
            TensorType::fixed(DataType::Float32, &[8, 8]),
            ConstData::New(new.clone().into()),
        );
        let program = model.program();
        let function = program
            .functions
            .iter()
            .find(|f| program.walk(f.body().unwrap()).contains(&id))
            .unwrap();
        let key = format!("{} {} 0", function.name, program.describe_op(id));
        assert!(expected.insert(key, digest(&new)).is_some());
        let op = model.program_mut().op_mut(id).unwrap();
        for (name, value) in &mut op.attributes {
            if name == "val" {
                *value = constant.clone();
            }
        }
        let (_folder, again, report) = save(&model, "changed");
        assert_eq!(weights(&again), expected, "{}", path.display());
        assert_eq!(report.weights_added, 256);
        assert!(report.weights_kept <= before);
        // Saving again changes nothing more.
        let (_folder, third, report) = save(&again, "again");
        assert!(!report.changed);
        assert_eq!(weights(&third), expected);
        checked += 1;
    }
    println!("{checked} packages with a weight replaced");
}

#[test]
fn a_small_new_tensor_stays_in_the_spec() {
    let path = find::fixtures().join("asr-encoder/fp32.mlpackage");
    let mut model = Model::open(path).unwrap();
    let program = model.program();
    let id = first_blob_const(&model).unwrap();
    let user = program
        .all_ops()
        .into_iter()
        .find(|&o| {
            program.ops[o]
                .operands()
                .any(|v| program.def_op(v) == Some(id))
        })
        .unwrap();
    let op = model.program_mut().op_mut(user).unwrap();
    let small = Constant::new(
        TensorType::fixed(DataType::Float16, &[2]),
        ConstData::New(vec![0, 0x3c, 0, 0x40].into()),
    );
    op.inputs.push(("extra".into(), vec![Arg::Const(small)]));
    let (_folder, again, _) = save(&model, "small");
    let program = again.program();
    let found = program
        .all_ops()
        .into_iter()
        .find_map(|o| match program.ops[o].args("extra") {
            [Arg::Const(c)] => Some(c.clone()),
            _ => None,
        });
    let found = found.unwrap();
    assert!(matches!(found.data, ConstData::Tensor(_)));
    assert_eq!(found.to_f64s(&again).unwrap(), [1.0, 2.0]);
}

#[test]
fn a_weight_file_that_nothing_refers_to_is_emptied() {
    let path = find::fixtures().join("asr-encoder/fp32.mlpackage");
    let mut model = Model::open(path).unwrap();
    let file = "@model_path/weights/weight.bin";
    let before = model.package().weight_file(file).unwrap();
    let (blobs, bytes) = (before.count(), before.len());
    let mut replaced = 0;
    while let Some(id) = first_blob_const(&model) {
        let op = model.program_mut().op_mut(id).unwrap();
        for (name, value) in &mut op.attributes {
            if name == "val" {
                *value = Constant::ints(&[0]);
                replaced += 1;
            }
        }
    }
    let (_folder, again, report) = save(&model, "empty");
    assert_eq!((report.weights_kept, report.weights_added), (0, 0));
    let after = again.package().weight_file(file).unwrap();
    assert_eq!((after.count(), after.len()), (0, 64));
    println!("{replaced} constants replaced, {blobs} blobs of {bytes} bytes gone");
}

#[test]
fn a_blob_of_another_type_is_refused() {
    let path = find::fixtures().join("asr-encoder/fp32.mlpackage");
    let model = Model::open(path).unwrap();
    let id = first_blob_const(&model).unwrap();
    let mut constant = model.program().ops[id].attribute("val").unwrap().clone();
    let ty = constant.tensor_type().unwrap().clone();
    constant.ty = TensorType::new(DataType::Int32, ty.shape).into();
    let message = constant
        .bytes(&model as &dyn BlobSource)
        .unwrap_err()
        .to_string();
    assert!(message.contains("holds fp32"), "{message}");
}
