//! What the fuzz targets do with bytes. `crates/verify/tests/damage.rs` does
//! the same with damaged fixtures, so that this file is part of every build.

use std::collections::HashMap;
use std::path::Path;

use milwright_interp::{Options, Precision, Session};
use milwright_ir::cost::total;
use milwright_ir::sizes::{Shapes, Sizes};
use milwright_ir::text::{parse_within, print};
use milwright_ir::{BlobSource, NoBlobs, Program, Severity, ValueType, verify};
use milwright_package::{Bytes, Message, Spec, proto};

/// Programs with larger tensors are not run: they only use up memory.
const MAX_ELEMENTS: u64 = 1 << 16;

/// How far some bytes got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reached {
    /// They are no spec of an ML Program.
    Refused,
    /// They are a program that the verifier has errors for.
    Decoded,
    /// The verifier accepts the program.
    Verified,
    /// A function ran to its end.
    Ran,
}

/// Reads MIL text. What can be read is printed, and must then be read as what
/// was printed; and its program is encoded, verified and run. It may fail at
/// any point but must never panic.
pub fn parse_print_run(text: &str) -> Reached {
    /// What `splat` and `seeded` may make.
    const MADE: u64 = 1 << 16;
    let Ok(parsed) = parse_within(text, MADE) else {
        return Reached::Refused;
    };
    let printed = print(&parsed.program, parsed.dialect, None);
    if let Ok(again) = parse_within(&printed, MADE) {
        assert_eq!(printed, print(&again.program, again.dialect, None));
    }
    let model = proto::Model {
        specification_version: 9,
        r#type: Some(proto::model::Type::MlProgram(
            parsed.program.to_proto().encode_to_vec().into(),
        )),
        ..proto::Model::default()
    };
    open_verify_run(&model.encode_to_vec(), &NoBlobs)
}

/// Opens a spec, verifies its program, and runs every function that the
/// verifier accepts on zeros. It may fail at any point but must never panic.
pub fn open_verify_run(bytes: &[u8], blobs: &(dyn BlobSource + Sync)) -> Reached {
    let bytes = Bytes::copy_from_slice(bytes);
    let Ok(spec) = Spec::parse(bytes, Path::new("spec")) else {
        return Reached::Refused;
    };
    if !spec.kind().is_ml_program() {
        return Reached::Refused;
    }
    let Ok(program) = spec.program() else {
        return Reached::Refused;
    };
    let Ok(program) = Program::from_proto(&program) else {
        return Reached::Refused;
    };
    let found = verify(&program, blobs);
    if found.iter().any(|d| d.severity == Severity::Error) {
        return Reached::Decoded;
    }
    for function in &program.functions {
        if let Ok(sizes) = Sizes::of(&program, function, blobs, &Shapes::new()) {
            total(&program, function, blobs, &sizes);
        }
    }
    let names: Vec<String> = program.functions.iter().map(|f| f.name.clone()).collect();
    let ran = names.iter().filter(|name| run(&program, name, blobs));
    match ran.count() {
        0 => Reached::Verified,
        _ => Reached::Ran,
    }
}

fn run(program: &Program, function: &str, blobs: &(dyn BlobSource + Sync)) -> bool {
    let large = program
        .values
        .ids()
        .any(|v| elements(&program.values[v].ty) > MAX_ELEMENTS);
    if large {
        return false;
    }
    let options = Options {
        precision: Precision::Native,
        step_limit: 20,
        ..Options::default()
    };
    let Ok(mut session) = Session::new(program, blobs, Some(function), options) else {
        return false;
    };
    let mut inputs = HashMap::new();
    for &id in &session.function().inputs {
        let value = &program.values[id];
        let ValueType::Tensor(ty) = &value.ty else {
            continue;
        };
        let Some(held) = Precision::Native.storage(ty.dtype) else {
            return false;
        };
        let sizes = ty.shape.iter().map(|d| d.known().unwrap_or(1) as usize);
        let dims: Vec<usize> = sizes.collect();
        let Ok(zeros) = candle_core::Tensor::zeros(dims, held, &candle_core::Device::Cpu) else {
            return false;
        };
        inputs.insert(value.name.clone(), zeros);
    }
    session.run(&inputs).is_ok()
}

fn elements(ty: &ValueType) -> u64 {
    match ty {
        ValueType::Tensor(t) => t.elements().unwrap_or(0),
        ValueType::State(inner) => elements(inner),
        ValueType::List { element, .. } => elements(element),
        _ => 0,
    }
}
