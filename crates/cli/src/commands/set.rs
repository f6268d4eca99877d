//! `milwright set`: metadata, descriptions, element types, defaults.

use anyhow::{Context, bail};
use milwright_ir::DataType;
use milwright_ir::features::ColorSpace;
use milwright_passes::edit::{Changed, Field, Setting, set};
use serde::Serialize;

use crate::Outcome;
use crate::comparison::{Counterpart, Renames};
use crate::editing::{EditOptions, VerifyOptions, Written, show_changed};
use crate::terminal::Terminal;

/// Set metadata, descriptions, the default function, and the types and defaults
/// of inputs and outputs.
///
/// What is not named stays what it is. Names stay too when a type changes: the
/// program gets a cast behind the input or before the output, or loses the one
/// that was there. fp16 inputs and outputs need specification version 7 (iOS
/// 16), and the model is raised to it.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    edit: EditOptions,

    /// The author.
    #[arg(long, value_name = "TEXT")]
    author: Option<String>,

    /// The licence.
    #[arg(long, value_name = "TEXT")]
    license: Option<String>,

    /// The model's own version.
    #[arg(long, value_name = "TEXT")]
    model_version: Option<String>,

    /// What the model does.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// An entry of the metadata that you name.
    #[arg(long, value_name = "KEY=TEXT")]
    meta: Vec<String>,

    /// Remove `author`, `license`, `version`, `description` or the entry of
    /// that key.
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,

    /// What an input, output or state is.
    #[arg(long, value_name = "NAME=TEXT")]
    feature_description: Vec<String>,

    /// The function that runs when the host names none.
    #[arg(long, value_name = "NAME")]
    default_function: Option<String>,

    /// The element type of inputs and outputs: fp16, fp32 or int32. `*=fp16`
    /// changes all floats.
    #[arg(long, value_name = "NAME=TYPE")]
    dtype: Vec<String>,

    /// The value of every element of an input that the caller leaves out;
    /// `none` makes the input necessary.
    #[arg(long, value_name = "NAME=VALUE")]
    default: Vec<String>,

    /// The layout of an image: rgb, bgr, grayscale or grayscale-float16. The
    /// program gets its channels in that order.
    #[arg(long, value_name = "NAME=LAYOUT")]
    color: Vec<String>,

    /// Only features of this function.
    #[arg(long, value_name = "NAME")]
    function: Option<String>,

    #[command(flatten)]
    verify: VerifyOptions,
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    #[serde(flatten)]
    written: Written,
    set: Vec<Changed>,
}

pub(crate) fn run(options: Options, out: &mut Terminal) -> anyhow::Result<Outcome> {
    let settings = settings(&options)?;
    let model = options.edit.open()?;
    let (edited, changed) = set(&model, &settings, options.function.as_deref())?;
    let retyped = settings.iter().any(|s| matches!(s, Setting::Dtype(..)));
    let written = options
        .edit
        .write_verified(&model, &edited, &options.verify, |name| Counterpart {
            before: name.to_owned(),
            after: name.to_owned(),
            renames: Renames {
                retyped,
                ..Renames::default()
            },
        })?;
    let report = Report {
        schema: "milwright-set/1",
        written,
        set: changed,
    };
    if options.edit.json {
        out.json(&report)?;
        return Ok(report.written.outcome());
    }
    if report.set.is_empty() {
        out.line("everything was set so already")?;
    } else {
        let several = model.program().functions.len() > 1;
        show_changed(&report.set, several, out)?;
    }
    report.written.show(out)?;
    Ok(report.written.outcome())
}

fn settings(options: &Options) -> anyhow::Result<Vec<Setting>> {
    let mut settings = Vec::new();
    let texts = [
        (Field::Author, &options.author),
        (Field::License, &options.license),
        (Field::Version, &options.model_version),
        (Field::Description, &options.description),
    ];
    for (field, text) in texts {
        if let Some(text) = text {
            settings.push(Setting::Metadata(field, Some(text.clone())));
        }
    }
    for (key, text) in pairs("--meta", &options.meta)? {
        settings.push(Setting::Metadata(Field::UserDefined(key), Some(text)));
    }
    for key in &options.unset {
        let field = match key.as_str() {
            "author" => Field::Author,
            "license" => Field::License,
            "version" => Field::Version,
            "description" => Field::Description,
            key => Field::UserDefined(key.to_owned()),
        };
        settings.push(Setting::Metadata(field, None));
    }
    for (name, text) in pairs("--feature-description", &options.feature_description)? {
        settings.push(Setting::FeatureDescription(name, text));
    }
    if let Some(name) = &options.default_function {
        settings.push(Setting::DefaultFunction(name.clone()));
    }
    for (name, text) in pairs("--dtype", &options.dtype)? {
        let dtype = DataType::from_name(&text);
        let dtype =
            dtype.with_context(|| format!("--dtype {name}={text}: a type is fp16, fp32 or int32"))?;
        settings.push(Setting::Dtype(name, dtype));
    }
    for (name, text) in pairs("--default", &options.default)? {
        let value = match text.as_str() {
            "none" => None,
            number => Some(number.parse::<f64>().ok().filter(|v| !v.is_nan()).with_context(
                || format!("--default {name}={number}: write a number or `none`"),
            )?),
        };
        settings.push(Setting::Default(name, value));
    }
    for (name, text) in pairs("--color", &options.color)? {
        let color = match text.as_str() {
            "rgb" => ColorSpace::Rgb,
            "bgr" => ColorSpace::Bgr,
            "grayscale" => ColorSpace::Grayscale,
            "grayscale-float16" => ColorSpace::GrayscaleFloat16,
            _ => bail!(
                "--color {name}={text}: a layout is rgb, bgr, grayscale or grayscale-float16"
            ),
        };
        settings.push(Setting::Color(name, color));
    }
    if settings.is_empty() {
        bail!("there is nothing to set; see `milwright set --help`");
    }
    Ok(settings)
}

/// Reads `NAME=TEXT`.
fn pairs(option: &str, texts: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    let pair = |text: &String| {
        let (name, value) = text
            .split_once('=')
            .with_context(|| format!("{option} {text}: write it as NAME=..."))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    texts.iter().map(pair).collect()
}
