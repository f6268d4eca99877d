//! decompose-conv against a plain evaluator in double precision.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::iter_over_hash_type,
    reason = "tests fail by panicking and print what they checked"
)]

mod support;

use std::path::Path;

use milwright_ir::{DataType, NoBlobs, Program};
use milwright_passes::{Pipeline, Report, RunOptions};
use proptest::prelude::*;
use support::evaluate::evaluate;
use support::{Conv, Tensor, check_added};

const CHOICES: [&str; 4] = [
    "decompose-conv{stride=space-to-depth,taps=concat}",
    "decompose-conv{stride=space-to-depth,taps=sum}",
    "decompose-conv{stride=strided-slice,taps=concat}",
    "decompose-conv{stride=strided-slice,taps=sum}",
];

fn run(program: &mut Program, text: &str) -> Report {
    let pipeline = Pipeline::parse(text).unwrap();
    pipeline
        .run(program, &NoBlobs, &RunOptions::default())
        .unwrap()
}

/// Takes the convolution apart in every way and compares; gives the forms.
fn compare(conv: &Conv, x: &Tensor, expected: Option<&Tensor>) -> Vec<&'static str> {
    let original = conv.program();
    let own = evaluate(&original, x).remove("y").unwrap();
    let expected = match expected {
        None => own,
        Some(given) => {
            assert_eq!(own.shape, given.shape, "{conv:?}");
            close(&own, given, conv, "the evaluator itself");
            given.clone()
        }
    };
    let mut forms = Vec::new();
    for text in CHOICES {
        let mut program = original.clone();
        let report = run(&mut program, text);
        let left: Vec<_> = report.left().collect();
        assert!(left.is_empty(), "{text}: {conv:?}: {left:?}");
        let rewritten = &report.steps[0].result.rewritten[0];
        forms.push(rewritten.form);
        let types: Vec<&str> = program
            .all_ops()
            .iter()
            .map(|&o| program.ops[o].op_type.as_str())
            .collect();
        assert!(
            !types.iter().any(|t| t.starts_with("conv")),
            "{text}: {types:?}"
        );
        check_added(&program, |_| true, text.contains("strided-slice"));
        unused(&mut program, text);
        let mut found = evaluate(&program, x);
        let y = found.remove("y").expect("the result keeps its name");
        close(&y, &expected, conv, text);
    }
    forms
}

/// The pass leaves nothing behind.
fn unused(program: &mut Program, text: &str) {
    let report = run(program, "dce");
    assert_eq!(
        report.changes(),
        0,
        "{text} left {:?}",
        report.steps[0].changes
    );
}

fn close(found: &Tensor, expected: &Tensor, conv: &Conv, text: &str) {
    assert_eq!(found.shape, expected.shape, "{text}: {conv:?}");
    let scale = expected.data.iter().fold(1e-6f64, |m, v| m.max(v.abs()));
    for (f, e) in found.data.iter().zip(&expected.data) {
        let difference = (f - e).abs() / scale;
        assert!(difference <= 1e-12, "{text}: {f} for {e}: {conv:?}");
    }
}

/// Values on the grid of fp16, so that both precisions hold them.
fn values(shape: &[usize], seed: u64) -> Tensor {
    let mut state = seed | 1;
    let count = shape.iter().product();
    let mut next = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((state >> 40) as f64 / (1u64 << 23) as f64 - 1.0) * 2.0
    };
    let data = (0..count)
        .map(|_| half::f16::from_f64(next()).to_f64())
        .collect();
    Tensor::new(shape.to_vec(), data)
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Dense,
    Grouped(usize),
    Depthwise(usize),
}

prop_compose! {
    fn cases(transposed: bool)(
        rank in 1usize..=2,
        kernel in prop::collection::vec(prop_oneof![4 => 1usize..=5, 1 => 6usize..=9], 2),
        strides in prop::collection::vec(prop_oneof![1 => Just(1usize), 2 => 1usize..=4], 2),
        dilations in prop::collection::vec(prop_oneof![2 => Just(1usize), 1 => 1usize..=3], 2),
        extra in prop::collection::vec(0usize..9, 2),
        kind in prop_oneof![
            Just(Kind::Dense),
            (2usize..=3).prop_map(Kind::Grouped),
            (1usize..=3).prop_map(Kind::Depthwise),
        ],
        channels in (1usize..=4, 1usize..=4),
        pad_type in 0usize..5,
        pads in prop::collection::vec(0usize..4, 4),
        more in prop::collection::vec(0usize..4, 2),
        n in prop_oneof![2 => Just(1usize), 1 => Just(2usize)],
        fp16 in any::<bool>(),
        bias in any::<bool>(),
        unknown_batch in any::<bool>(),
        seed in any::<u64>(),
    ) -> (Conv, Tensor) {
        let (groups, cin, cout) = match kind {
            Kind::Dense => (1, channels.0, channels.1),
            Kind::Grouped(g) => (g, channels.0, channels.1),
            Kind::Depthwise(times) => (channels.0 + 1, 1, times),
        };
        let types = match transposed {
            false => ["valid", "custom", "same", "same_lower", ""],
            true => ["valid", "custom", "same", "valid", ""],
        };
        let pad_type = types[pad_type];
        let mut x = vec![n, cin * groups];
        let mut outs = vec![n as i32, (cout * groups) as i32];
        let mut pads = pads[..2 * rank].to_vec();
        for i in 0..rank {
            let reach = (kernel[i] - 1) * dilations[i] + 1;
            let least = match (transposed, pad_type) {
                (false, "same" | "same_lower") => 1,
                (false, "custom") => reach.saturating_sub(pads[2 * i] + pads[2 * i + 1]).max(1),
                (false, _) => reach,
                (true, _) => 1,
            };
            let size = least + extra[i];
            x.push(size);
            let full = (size - 1) * strides[i] + reach;
            if transposed && pad_type == "custom" {
                pads[2 * i] = pads[2 * i].min((full - 1) / 2);
                pads[2 * i + 1] = pads[2 * i + 1].min((full - 1) / 2);
            }
            outs.push(match pad_type {
                "same" => (size * strides[i] - more[i].min(strides[i] - 1)) as i32,
                _ => (full + more[i].min(strides[i] - 1)) as i32,
            });
        }
        let mut weight = match transposed {
            false => vec![cout * groups, cin],
            true => vec![cin * groups, cout],
        };
        weight.extend(&kernel[..rank]);
        let ints = |v: &[usize]| v[..rank].iter().map(|&i| i as i32).collect::<Vec<_>>();
        let with_output = transposed && pad_type != "custom" && more[0] > 1;
        let conv = Conv {
            op: if transposed { "conv_transpose" } else { "conv" },
            dtype: if fp16 { DataType::Float16 } else { DataType::Float32 },
            weight: values(&weight, seed),
            bias: bias.then(|| values(&[cout * groups], seed ^ 77)),
            strides: Some(ints(&strides)),
            dilations: Some(ints(&dilations)),
            groups: Some(groups as i32),
            pad_type: Some(pad_type.to_owned()).filter(|t| !t.is_empty()),
            pad: (pad_type == "custom").then(|| pads.iter().map(|&p| p as i32).collect()),
            output_shape: with_output.then_some(outs),
            unknown: if unknown_batch && !with_output { vec![0] } else { vec![] },
            x: x.clone(),
        };
        let x = values(&x, seed ^ 991);
        (conv, x)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_convolutions((conv, x) in cases(false)) {
        compare(&conv, &x, None);
    }

    #[test]
    fn random_transposed_convolutions((conv, x) in cases(true)) {
        compare(&conv, &x, None);
    }
}

/// The golden set that torch computed.
#[test]
fn goldens() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/goldens");
    let arrays = support::load_npz(&folder.join("conv.npz"));
    let text = std::fs::read_to_string(folder.join("conv.json")).unwrap();
    let cases: serde_json::Value = serde_json::from_str(&text).unwrap();
    let cases = cases["cases"].as_array().unwrap();
    let mut forms = std::collections::BTreeMap::new();
    for case in cases {
        let array = |key: &serde_json::Value| arrays[key.as_str().unwrap()].clone();
        let params = &case["params"];
        let ints = |name: &str| -> Option<Vec<i32>> {
            let given = params[name].as_array()?;
            Some(given.iter().map(|v| v.as_i64().unwrap() as i32).collect())
        };
        let inputs = &case["inputs"];
        let x = array(&inputs["x"]);
        let conv = Conv {
            op: if case["op"] == "conv" {
                "conv"
            } else {
                "conv_transpose"
            },
            x: x.shape.clone(),
            dtype: DataType::Float32,
            weight: array(&inputs["weight"]),
            bias: inputs.get("bias").map(array),
            strides: ints("strides"),
            dilations: ints("dilations"),
            groups: params["groups"].as_i64().map(|g| g as i32),
            pad_type: params["pad_type"].as_str().map(str::to_owned),
            pad: ints("pad"),
            output_shape: ints("output_shape"),
            unknown: vec![],
        };
        let expected = array(&case["outputs"][0]);
        for form in compare(&conv, &x, Some(&expected)) {
            *forms.entry(form).or_insert(0) += 1;
        }
    }
    println!(
        "{} golden cases in {} ways; forms: {forms:?}",
        cases.len(),
        CHOICES.len()
    );
    assert!(cases.len() > 300 && forms.len() >= 6);
}

/// Spatial dimensions of unknown size, alone and with an unknown batch.
#[test]
fn unknown_sizes() {
    let mut forms = std::collections::BTreeSet::new();
    let (mut taken, mut left) = (0, 0);
    for (index, (x, weight, groups, strides)) in [
        (vec![1, 4, 11], vec![3, 4, 3], 1, vec![1]),
        (vec![2, 4, 11], vec![6, 2, 4], 2, vec![3]),
        (vec![1, 3, 11], vec![3, 1, 4], 3, vec![2]),
        (vec![1, 4, 11], vec![2, 4, 1], 1, vec![1]),
        (vec![2, 3, 9, 8], vec![4, 3, 3, 2], 1, vec![1, 1]),
        (vec![1, 4, 9, 8], vec![6, 2, 3, 3], 2, vec![2, 3]),
        (vec![1, 4, 9, 8], vec![4, 1, 3, 3], 4, vec![1, 1]),
    ]
    .into_iter()
    .enumerate()
    {
        for unknown in [
            vec![2],
            (2..x.len()).collect(),
            (0..x.len()).filter(|&d| d != 1).collect(),
        ] {
            for pad_type in ["custom", "valid", "same"] {
                let strided = strides.iter().any(|&s| s > 1);
                if strided && pad_type == "same" {
                    continue;
                }
                let rank = x.len() - 2;
                let conv = Conv {
                    op: "conv",
                    x: x.clone(),
                    dtype: DataType::Float16,
                    weight: values(&weight, 7 + index as u64),
                    bias: (index % 2 == 0).then(|| values(&weight[..1], 5)),
                    strides: Some(strides.clone()),
                    dilations: None,
                    groups: Some(groups),
                    pad_type: Some(pad_type.into()),
                    pad: (pad_type == "custom").then(|| vec![2, 1, 0, 3][..2 * rank].to_vec()),
                    output_shape: None,
                    unknown: unknown.clone(),
                };
                let original = conv.program();
                let x = values(&x, 3);
                let expected = evaluate(&original, &x).remove("y").unwrap();
                for text in CHOICES {
                    let mut program = original.clone();
                    let report = run(&mut program, text);
                    if report.left().count() > 0 {
                        assert!(
                            strided && text.contains("space-to-depth"),
                            "{text}: {conv:?}"
                        );
                        left += 1;
                        continue;
                    }
                    taken += 1;
                    forms.insert(report.steps[0].result.rewritten[0].form);
                    check_added(&program, |_| true, text.contains("strided-slice"));
                    unused(&mut program, text);
                    let y = evaluate(&program, &x).remove("y").unwrap();
                    close(&y, &expected, &conv, text);
                }
            }
        }
    }
    println!("{taken} taken, {left} left; forms: {forms:?}");
    assert!(taken > 150 && left > 0 && forms.len() == 2);
}

/// Long kernels become few slices.
#[test]
fn long_kernels_take_few_operations() {
    let mut conv = Conv {
        op: "conv",
        x: vec![1, 1, 2000],
        dtype: DataType::Float32,
        weight: values(&[5, 1, 512], 3),
        bias: None,
        strides: Some(vec![160]),
        dilations: None,
        groups: None,
        pad_type: None,
        pad: None,
        output_shape: None,
        unknown: vec![],
    };
    let added = |conv: &Conv, text: &str| {
        let mut program = conv.program();
        let report = run(&mut program, text);
        let rewritten = report.steps[0].result.rewritten[0].clone();
        assert_eq!(rewritten.macs_before, rewritten.macs_after, "{rewritten:?}");
        (rewritten.form, rewritten.weights, rewritten.added)
    };
    let (form, weights, ops) = added(&conv, CHOICES[0]);
    assert_eq!((form, weights.as_str()), ("frames", "same bytes"));
    // One slice cuts the signal to whole rows, four take rows.
    assert!(
        ops["slice_by_index"] <= 5 && ops["matmul"] == 1 && !ops.contains_key("transpose"),
        "{ops:?}"
    );
    let (_, _, ops) = added(&conv, CHOICES[1]);
    assert_eq!(ops["matmul"], 4, "{ops:?}");
    let x = values(&conv.x.clone(), 9);
    compare(&conv, &x, None);
    // Stride 1: windows by doubling.
    conv.strides = None;
    let (form, weights, ops) = added(&conv, CHOICES[0]);
    assert_eq!((form, weights.as_str()), ("unfold", "same bytes"));
    assert!(ops["slice_by_index"] <= 40 && ops["matmul"] == 1, "{ops:?}");
    conv.x = vec![1, 1, 600];
    for kernel in [17, 37, 100, 101] {
        for stride in [1, 2, 3] {
            conv.weight = values(&[2, 1, kernel], 5);
            conv.strides = Some(vec![stride]);
            compare(&conv, &values(&conv.x.clone(), 2), None);
            let two = Conv {
                x: vec![1, 2, 150],
                weight: values(&[2, 2, kernel], 5),
                ..conv.clone()
            };
            compare(&two, &values(&two.x.clone(), 2), None);
        }
    }
}

/// A bad result is found by halving the number of changes.
#[test]
fn changes_can_be_limited() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models");
    let model = milwright_ir::Model::open(folder.join("conv-zoo/fp32.mlpackage")).unwrap();
    let pipeline = Pipeline::parse("no-conv").unwrap();
    let count = |program: &Program| {
        let ops = program.all_ops();
        ops.iter()
            .filter(|&&o| program.ops[o].op_type.starts_with("conv"))
            .count()
    };
    let all = count(model.program());
    for fuel in [0, 1, 5, 1000] {
        let mut program = model.program().clone();
        let options = RunOptions {
            fuel: Some(fuel),
            ..RunOptions::default()
        };
        let report = pipeline
            .run(&mut program, model.package(), &options)
            .unwrap();
        let taken = all - count(&program);
        assert_eq!(taken, all.min(fuel as usize));
        assert_eq!(report.changes(), taken);
        assert_eq!(report.out_of_fuel, fuel <= 5);
    }
}
