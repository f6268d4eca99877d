//! The wire format: the walker agrees with the decoder, and changing one part
//! of a spec leaves the others as they were.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::exit,
    reason = "tests fail by panicking and print what they counted"
)]

mod common;

use std::path::Path;

use common::{program, spec_of};
use milwright_package::proto::{self, value_type};
use milwright_package::wire::{self, Described, Fidelity, Reach, WireFault};
use milwright_package::{Bytes, Error, Message as _, Spec};
use proptest::prelude::*;

fn parse(bytes: &[u8]) -> Spec {
    Spec::parse(Bytes::copy_from_slice(bytes), Path::new("a.mlmodel")).unwrap()
}

/// A field of `number` with text, as it stands on the wire.
fn text_field(number: u32, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::string::encode(number, &text.to_owned(), &mut out);
    out
}

#[test]
fn only_the_changed_part_changes() {
    let before = spec_of(&program(&[64, 192]));
    // A field of the future in the model, before and after what is known.
    let bytes = [
        text_field(7, "early"),
        before.clone(),
        text_field(9000, "late"),
    ]
    .concat();
    let spec = parse(&bytes);
    assert!(matches!(spec.model_fidelity().unwrap(), Fidelity::Lossy(fields) if fields.len() == 2));

    let changed = spec.with_program(&program(&[64])).unwrap();
    let expected = [
        text_field(7, "early"),
        spec_of(&program(&[64])),
        text_field(9000, "late"),
    ]
    .concat();
    assert_eq!(changed.bytes(), &expected);

    let mut description = spec.description().unwrap();
    description.metadata.as_mut().unwrap().author = "somebody".to_owned();
    let changed = spec.with_description(&description).unwrap();
    assert_eq!(changed.model_bytes(), spec.model_bytes());
    assert_eq!(changed.description().unwrap(), description);
    assert_eq!(changed.bytes().len(), bytes.len() + 2);

    let changed = spec.with_version(300).unwrap();
    assert_eq!(changed.version(), 300);
    assert_eq!(changed.bytes().len(), bytes.len() + 1);
    assert_eq!(
        changed.with_version(spec.version()).unwrap().bytes(),
        &bytes
    );

    // Nothing there yet.
    let bare = proto::Model {
        r#type: Some(proto::model::Type::MlProgram(Bytes::new())),
        ..Default::default()
    };
    let bare = parse(&bare.encode_to_vec());
    let full = bare
        .with_description(&description)
        .unwrap()
        .with_version(8)
        .unwrap();
    let full = full.with_program(&program(&[64])).unwrap();
    assert_eq!(full.description().unwrap(), description);
    assert_eq!(
        (full.version(), full.program().unwrap()),
        (8, program(&[64]))
    );
}

#[test]
fn what_would_be_lost_is_named() {
    let mut encoded = program(&[64]).encode_to_vec();
    encoded.extend(text_field(77, "new"));
    let function = proto::FunctionEntry {
        key: "more".to_owned(),
        value: None,
    };
    let mut function = function.encode_to_vec();
    let mut value = proto::Function::default().encode_to_vec();
    value.extend(text_field(88, "new"));
    prost::encoding::bytes::encode(2, &Bytes::from(value), &mut function);
    prost::encoding::bytes::encode(2, &Bytes::from(function), &mut encoded);
    let model = proto::Model {
        r#type: Some(proto::model::Type::MlProgram(encoded.into())),
        ..Default::default()
    };
    let spec = parse(&model.encode_to_vec());
    let error = spec.with_program(&program(&[64])).unwrap_err();
    println!("{error}");
    let Error::Lossy {
        message: "Program",
        fields,
        ..
    } = error
    else {
        panic!("{error}")
    };
    let named: Vec<_> = fields
        .iter()
        .map(|field| (field.message, field.number))
        .collect();
    assert_eq!(named, [("Program", 77), ("Function", 88)]);
    // What is not touched does not matter.
    assert!(
        spec.with_description(&proto::ModelDescription::default())
            .is_ok()
    );
    // Nor what is in an operation: it stays encoded.
    let mut deep = program(&[64]);
    let function = deep.functions[0].value.as_mut().unwrap();
    let operation = &mut function.block_specializations[0]
        .value
        .as_mut()
        .unwrap()
        .operations[0];
    let encoded = [operation.to_vec(), text_field(99, "new")].concat();
    *operation = encoded.into();
    let known = wire::unknown_fields::<proto::Operation>(operation).unwrap();
    assert_eq!((known[0].message, known[0].number), ("Operation", 99));
    assert!(!wire::lossless::<proto::Operation>(operation));
    let spec = parse(&spec_of(&deep));
    let same = spec.with_program(&spec.program().unwrap()).unwrap();
    assert_eq!(same.bytes(), spec.bytes());
}

#[test]
fn two_models_in_one_are_refused() {
    let one = spec_of(&program(&[64]));
    for two in [
        [one.clone(), one.clone()].concat(),
        [one.clone(), text_field(2, "")].concat(),
        [one.clone(), text_field(500, "")].concat(),
        [one.clone(), text_field(502, "")].concat(),
    ] {
        let error = Spec::parse(two.into(), Path::new("a.mlmodel")).unwrap_err();
        assert!(error.to_string().contains("two"), "{error}");
    }
    let future = text_field(702, "a kind of model yet to come");
    let error = Spec::parse(future.into(), Path::new("a.mlmodel")).unwrap_err();
    assert!(error.to_string().contains("702"), "{error}");
}

#[test]
fn faults_have_their_offset() {
    let fault = |bytes: &[u8]| {
        let walked = wire::walk(
            proto::Program::SCHEMA,
            bytes,
            Reach::Everything,
            &mut |_| {},
        );
        let decoded = wire::decode::<proto::Program>(Bytes::copy_from_slice(bytes));
        let error = decoded.unwrap_err();
        assert_eq!(walked.unwrap_err(), error);
        (error.offset, error.fault)
    };
    assert_eq!(fault(&[0x08]), (1, WireFault::TruncatedNumber));
    assert_eq!(fault(&[0x08, 1, 0x88]), (2, WireFault::TruncatedNumber));
    assert_eq!(
        fault(&[0x1a, 5, b'a']),
        (2, WireFault::PastEnd { length: 5, left: 1 })
    );
    assert_eq!(fault(&[0x00, 0]), (0, WireFault::FieldNumber { number: 0 }));
    assert_eq!(fault(&[0x0e]), (0, WireFault::WireType { wire_type: 6 }));
    assert_eq!(fault(&[0x4b, 0x54]), (1, WireFault::Group));
    assert_eq!(fault(&[0x4c]), (0, WireFault::Group));
    assert_eq!(fault(&[0x08, 1, 0x1a, 1, 0xff]).0, 2);
    assert_eq!(fault(&[0x0a, 0]).0, 0);
    let long = [[0x08].as_slice(), &[0xff; 11]].concat();
    assert_eq!(fault(&long), (1, WireFault::NumberTooLong));
    // In a message in a message: Program.functions[0].value.opset cut short.
    assert_eq!(fault(&[0x12, 4, 0x12, 2, 0x12, 9]).0, 6);
}

#[test]
fn groups_are_skipped_and_not_recursed() {
    let group = [0x4b, 0x08, 0x01, 0x53, 0x54, 0x4c];
    let unknown = wire::unknown_fields::<proto::Program>(&group).unwrap();
    assert_eq!(unknown.len(), 1);
    let deep = [0x4b; 100_000];
    assert!(wire::unknown_fields::<proto::Program>(&deep).is_err());
    assert!(wire::decode::<proto::Program>(Bytes::copy_from_slice(&deep)).is_err());
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z]{1,6}", Just("ü".to_owned())]
}

fn value_type() -> impl Strategy<Value = proto::ValueType> {
    let tensor = (
        0_i32..50,
        -1_i64..4,
        prop::collection::vec(0_u64..300, 0..3),
    )
        .prop_map(|(data_type, rank, sizes)| {
            let dimensions = sizes
                .into_iter()
                .map(|size| {
                    use proto::dimension::{ConstantDimension, Dimension, UnknownDimension};
                    let dimension = match size {
                        0 => Dimension::Unknown(UnknownDimension { variadic: true }),
                        size => Dimension::Constant(ConstantDimension { size }),
                    };
                    proto::Dimension {
                        dimension: Some(dimension),
                    }
                })
                .collect();
            let attributes = Vec::new();
            let tensor = proto::TensorType {
                data_type,
                rank,
                dimensions,
                attributes,
            };
            proto::ValueType {
                r#type: Some(value_type::Type::TensorType(tensor)),
            }
        });
    tensor.prop_recursive(4, 8, 2, |inner| {
        inner.prop_map(|inner| {
            let list = proto::ListType {
                r#type: Some(Box::new(inner)),
                length: None,
            };
            proto::ValueType {
                r#type: Some(value_type::Type::ListType(Box::new(list))),
            }
        })
    })
}

fn values() -> impl Strategy<Value = Vec<proto::ValueEntry>> {
    prop::collection::vec(
        (text(), prop::collection::vec(any::<f32>(), 0..3)).prop_map(|(key, values)| {
            use proto::tensor_value::{RepeatedFloats, Value};
            let tensor = proto::TensorValue {
                value: Some(Value::Floats(RepeatedFloats { values })),
            };
            let immediate = proto::value::ImmediateValue {
                value: Some(proto::value::immediate_value::Value::Tensor(tensor)),
            };
            let value = proto::Value {
                value: Some(proto::value::Value::ImmediateValue(immediate)),
                ..Default::default()
            };
            proto::ValueEntry {
                key,
                value: Some(value),
            }
        }),
        0..3,
    )
}

fn any_program() -> impl Strategy<Value = proto::Program> {
    let input = (text(), prop::option::of(value_type()))
        .prop_map(|(name, r#type)| proto::NamedValueType { name, r#type });
    let function = (prop::collection::vec(input, 0..3), text(), values()).prop_map(
        |(inputs, opset, attributes)| proto::Function {
            inputs,
            opset,
            attributes,
            block_specializations: Vec::new(),
        },
    );
    let functions = prop::collection::vec((text(), prop::option::of(function)), 0..3);
    (any::<i64>(), functions, text(), values()).prop_map(
        |(version, functions, doc_string, attributes)| proto::Program {
            version,
            functions: functions
                .into_iter()
                .map(|(key, value)| proto::FunctionEntry { key, value })
                .collect(),
            doc_string,
            attributes,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn encoded_programs_are_exact(program in any_program()) {
        let bytes = Bytes::from(program.encode_to_vec());
        prop_assert_eq!(wire::fidelity::<proto::Program>(&bytes).unwrap(), Fidelity::Exact);
        let again = wire::decode::<proto::Program>(bytes.clone()).unwrap();
        prop_assert_eq!(again.encode_to_vec(), bytes);
    }

    /// Damaged at random, the walk and the decoder agree on what is a message,
    /// and what is not reported as lost is not lost.
    #[test]
    fn the_walk_agrees_with_the_decoder(
        program in any_program(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = program.encode_to_vec();
        prop_assume!(!bytes.is_empty());
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let walked = wire::walk(proto::Program::SCHEMA, &bytes, Reach::Decoded, &mut |_| {});
        let decoded = proto::Program::decode(&bytes[..]);
        prop_assert_eq!(walked.is_ok(), decoded.is_ok(), "{:?} {:?}", walked, decoded);
        if let Ok(decoded) = decoded {
            let encoded = decoded.encode_to_vec();
            match wire::fidelity::<proto::Program>(&bytes.clone().into()).unwrap() {
                Fidelity::Exact => prop_assert_eq!(&encoded, &bytes),
                Fidelity::Equivalent => prop_assert_ne!(&encoded, &bytes),
                Fidelity::Lossy(fields) => prop_assert!(!fields.is_empty()),
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = wire::walk(proto::Model::SCHEMA, &bytes, Reach::Everything, &mut |_| {});
        let _ = Spec::parse(bytes.into(), Path::new("a.mlmodel"));
    }
}
