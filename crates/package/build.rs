//! Compiles the schema in `proto/` without a system `protoc`, and writes the
//! same schema as static tables, so that the wire walker knows every field.

use std::fmt::Write as _;
use std::path::Path;

/// Fields declared `bytes` that hold an encoded message (see `proto/`).
const ENCODED: &[(&str, &str)] = &[
    ("Model.description", "ModelDescription"),
    ("Model.pipeline_classifier", "PipelineWrapper"),
    ("Model.pipeline_regressor", "PipelineWrapper"),
    ("Model.pipeline", "Pipeline"),
    ("Model.ml_program", "Program"),
    ("Pipeline.models", "Model"),
    ("Block.operations", "Operation"),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../../proto/coreml.proto");
    let schema = protox::compile(["coreml.proto"], ["../../proto"])?;
    let mut tables = String::new();
    for file in &schema.file {
        for message in &file.message_type {
            describe(message, "", "", &mut tables)?;
        }
    }
    let out = std::env::var("OUT_DIR")?;
    std::fs::write(Path::new(&out).join("schema.rs"), tables)?;
    prost_build::Config::new()
        .bytes(["."])
        .compile_fds(schema)?;
    Ok(())
}

/// One static table per message, and the link from the generated type to it.
fn describe(
    message: &prost_types::DescriptorProto,
    scope: &str,
    module: &str,
    out: &mut String,
) -> Result<(), Box<dyn std::error::Error>> {
    use prost_types::field_descriptor_proto::{Label, Type};
    let name = format!("{scope}{}", message.name());
    let mut fields: Vec<_> = message.field.iter().collect();
    fields.sort_by_key(|field| field.number());
    writeln!(
        out,
        "static {}: MessageSchema = MessageSchema {{ name: {name:?}, fields: &[",
        table(&name)
    )?;
    for field in fields {
        let path = format!("{name}.{}", field.name());
        let encoded = ENCODED.iter().find(|(of, _)| *of == path);
        let kind = match (field.r#type(), encoded) {
            (Type::Bytes, Some((_, inner))) => format!("Encoded(&{})", table(inner)),
            (Type::Bytes, None) => "Bytes".to_owned(),
            (Type::String, _) => "String".to_owned(),
            (Type::Message, _) => {
                let inner = field.type_name().trim_start_matches(".coreml.");
                format!("Message(&{})", table(inner))
            }
            (Type::Float, _) => "Fixed32".to_owned(),
            (Type::Double, _) => "Fixed64".to_owned(),
            (
                Type::Bool | Type::Enum | Type::Int32 | Type::Int64 | Type::Uint32 | Type::Uint64,
                _,
            ) => "Varint".to_owned(),
            (other, _) => return Err(format!("{path}: no wire kind for {other:?}").into()),
        };
        writeln!(
            out,
            "    FieldSchema {{ number: {}, name: {:?}, repeated: {}, kind: FieldKind::{kind} }},",
            field.number(),
            field.name(),
            field.label() == Label::Repeated,
        )?;
    }
    writeln!(out, "] }};")?;
    writeln!(
        out,
        "impl Described for crate::proto::{module}{} {{ const SCHEMA: &'static MessageSchema = &{}; }}",
        message.name(),
        table(&name)
    )?;
    let inner = format!("{module}{}::", snake(message.name()));
    for nested in &message.nested_type {
        describe(nested, &format!("{name}."), &inner, out)?;
    }
    Ok(())
}

fn table(name: &str) -> String {
    format!("SCHEMA_{}", name.replace('.', "_").to_uppercase())
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}
