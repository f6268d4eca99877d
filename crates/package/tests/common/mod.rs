//! What the tests of this crate share: models to read, small models to break.
#![allow(
    dead_code,
    unused_imports,
    reason = "every test file uses a part of it"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use milwright_package::proto::{self, model, value};
use milwright_package::{Bytes, Message as _};

pub(crate) const SPEC: &str = "Data/com.apple.CoreML/model.mlmodel";
pub(crate) const WEIGHTS: &str = "Data/com.apple.CoreML/weights/weight.bin";
pub(crate) const WEIGHT_NAME: &str = "@model_path/weights/weight.bin";

#[path = "../../../../fixtures/find.rs"]
mod find;

pub(crate) use find::{models, repository, shared};

/// Our own models, which are always there.
pub(crate) fn fixtures() -> Vec<PathBuf> {
    let found = models(&find::fixtures());
    assert!(!found.is_empty());
    found
}

/// Every file and every empty folder below `root`, by relative path.
pub(crate) fn tree(root: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let mut empty = true;
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            empty = false;
            let name = path
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .replace('\\', "/");
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(name, Some(fs::read(&path).unwrap()));
            }
        }
        if empty {
            let name = folder
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .replace('\\', "/");
            found.insert(format!("{name}/"), None);
        }
    }
    found
}

/// A record and its data for each blob: type number, padding, data, reserved
/// bytes. Independent of the code under test.
pub(crate) fn weight_file(blobs: &[(u32, u64, Vec<u8>, [u8; 32])]) -> (Vec<u8>, Vec<u64>) {
    let mut file = vec![0; 64];
    file[0..4].copy_from_slice(&(blobs.len() as u32).to_le_bytes());
    file[4] = 2;
    let mut offsets = Vec::new();
    for (data_type, padding, data, reserved) in blobs {
        file.resize(file.len().div_ceil(64) * 64, 0);
        let offset = file.len() as u64;
        offsets.push(offset);
        file.extend(0xdead_beef_u32.to_le_bytes());
        file.extend(data_type.to_le_bytes());
        file.extend((data.len() as u64).to_le_bytes());
        file.extend((offset + 64).to_le_bytes());
        file.extend(padding.to_le_bytes());
        file.extend(reserved);
        file.extend(data);
    }
    (file, offsets)
}

/// A program of one function whose constants are the blobs at `offsets`.
pub(crate) fn program(offsets: &[u64]) -> proto::Program {
    let operations = offsets.iter().enumerate().map(|(index, &offset)| {
        let file_name = WEIGHT_NAME.to_owned();
        let blob = value::BlobFileValue { file_name, offset };
        let value = proto::Value {
            value: Some(value::Value::BlobFileValue(blob)),
            ..proto::Value::default()
        };
        let operation = proto::Operation {
            r#type: "const".to_owned(),
            outputs: vec![proto::NamedValueType {
                name: format!("w{index}"),
                r#type: None,
            }],
            attributes: vec![proto::ValueEntry {
                key: "val".to_owned(),
                value: Some(value),
            }],
            ..proto::Operation::default()
        };
        Bytes::from(operation.encode_to_vec())
    });
    let block = proto::Block {
        outputs: vec!["w0".to_owned()],
        operations: operations.collect(),
        ..proto::Block::default()
    };
    let function = proto::Function {
        opset: "CoreML7".to_owned(),
        block_specializations: vec![proto::BlockEntry {
            key: "CoreML7".to_owned(),
            value: Some(block),
        }],
        ..proto::Function::default()
    };
    proto::Program {
        version: 1,
        functions: vec![proto::FunctionEntry {
            key: "main".to_owned(),
            value: Some(function),
        }],
        ..proto::Program::default()
    }
}

pub(crate) fn spec_of(program: &proto::Program) -> Vec<u8> {
    let description = proto::ModelDescription {
        metadata: Some(proto::Metadata {
            author: "nobody".to_owned(),
            ..proto::Metadata::default()
        }),
        ..proto::ModelDescription::default()
    };
    proto::Model {
        specification_version: 8,
        description: description.encode_to_vec().into(),
        is_updatable: false,
        r#type: Some(model::Type::MlProgram(program.encode_to_vec().into())),
    }
    .encode_to_vec()
}

/// Writes a package folder with a manifest as coremltools writes it.
pub(crate) fn write_package(root: &Path, spec: &[u8], weights: Option<&[u8]>) {
    put(&root.join("Manifest.json"), MANIFEST.as_bytes());
    put(&root.join(SPEC), spec);
    if let Some(weights) = weights {
        put(&root.join(WEIGHTS), weights);
    }
}

/// Writes a file and the folders around it.
pub(crate) fn put(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Deliberately with white space of its own, which must survive.
pub(crate) const MANIFEST: &str = r#"{
    "fileFormatVersion" : "1.0.0",
      "itemInfoEntries": {
        "8DFA864F-313F-42A0-9714-60939C6AF13B": {
            "author": "com.apple.CoreML",
            "description": "CoreML Model Specification",
            "name": "model.mlmodel",
            "path": "com.apple.CoreML/model.mlmodel"
        },
        "CC228AD0-4491-4159-9B63-4D7F05F639CD": {
            "author": "com.apple.CoreML",
            "description": "CoreML Model Weights",
            "name": "weights",
            "path": "com.apple.CoreML/weights"
        }
    },
    "rootModelIdentifier": "8DFA864F-313F-42A0-9714-60939C6AF13B"
}"#;

/// Two fp32 blobs, an int4 blob with padding, and a program that uses them.
pub(crate) fn small_package(root: &Path) -> Vec<u64> {
    let reserved = [0xa5; 32];
    let (weights, offsets) = weight_file(&[
        (2, 0, vec![1; 40], reserved),
        (2, 0, vec![2; 64], reserved),
        (8, 4, vec![3; 3], [0; 32]),
    ]);
    write_package(root, &spec_of(&program(&offsets)), Some(&weights));
    offsets
}
