//! Images in text: what a description says of them comes back.

use milwright_ir::features::{Description, Feature, FeatureKind};
use milwright_ir::random::Random;
use milwright_ir::text::{Dialect, parse, print, with_signature};
use milwright_ir::{Model, Program};
use milwright_package::{WriteOptions, proto};
use prost::Message;
use proto::feature_type::Type;
use proto::image_feature_type::{
    ColorSpace, EnumeratedImageSizes, ImageSize, ImageSizeRange, SizeFlexibility,
};

/// A random image, and the type of a tensor that holds it.
fn image(random: &mut Random) -> (proto::ImageFeatureType, String) {
    let mut pick = |low, high| random.integer(low, high);
    let layouts = [
        (ColorSpace::Rgb, 3),
        (ColorSpace::Bgr, 3),
        (ColorSpace::Grayscale, 1),
        (ColorSpace::GrayscaleFloat16, 1),
    ];
    let (layout, channels) = layouts[pick(0, 3) as usize];
    let (width, height) = (pick(1, 2000), pick(1, 2000));
    let mut image = proto::ImageFeatureType {
        width,
        height,
        color_space: layout.into(),
        size_flexibility: None,
    };
    let mut one_size = pick(0, 3) > 0;
    match pick(0, 2) {
        0 => {}
        1 => {
            let mut sizes: Vec<ImageSize> = (0..pick(0, 4))
                .map(|_| ImageSize {
                    width: pick(1, 2000) as u64,
                    height: pick(1, 2000) as u64,
                })
                .collect();
            let (width, height) = (width as u64, height as u64);
            let at = pick(0, sizes.len() as i64) as usize;
            sizes.insert(at, ImageSize { width, height });
            one_size &= sizes.len() == 1;
            image.size_flexibility = Some(SizeFlexibility::EnumeratedSizes(EnumeratedImageSizes {
                sizes,
            }));
        }
        _ => {
            let mut range = |size: i64| {
                let high = if pick(0, 1) == 0 {
                    -1
                } else {
                    size + pick(0, 100)
                };
                one_size = false;
                Some(proto::SizeRange {
                    lower_bound: pick(0, size) as u64,
                    upper_bound: high,
                })
            };
            image.size_flexibility = Some(SizeFlexibility::ImageSizeRange(ImageSizeRange {
                width_range: range(width),
                height_range: range(height),
            }));
        }
    }
    // The default may be left to the other sizes.
    if image.size_flexibility.is_some() && pick(0, 3) == 0 {
        (image.width, image.height) = (0, 0);
    }
    let dtype = ["fp16", "fp32"][pick(0, 1) as usize];
    let sides = match one_size {
        true => format!("{height}, {width}"),
        false => "?, ?".to_owned(),
    };
    (image, format!("tensor<{dtype}, [1, {channels}, {sides}]>"))
}

fn feature(name: &str, ty: Type) -> proto::FeatureDescription {
    proto::FeatureDescription {
        name: name.to_owned(),
        short_description: String::new(),
        r#type: Some(proto::FeatureType {
            r#type: Some(ty),
            is_optional: false,
        }),
    }
}

/// An array of any length.
fn array() -> Type {
    use proto::array_feature_type::{ArrayDataType, ShapeFlexibility, ShapeRange};
    Type::MultiArrayType(proto::ArrayFeatureType {
        shape: vec![4],
        data_type: ArrayDataType::Float32.into(),
        shape_flexibility: Some(ShapeFlexibility::ShapeRange(ShapeRange {
            size_ranges: vec![proto::SizeRange {
                lower_bound: 1,
                upper_bound: -1,
            }],
        })),
        default_optional_value: None,
    })
}

/// What opening a text says of the model, and the text of its package.
fn opened(text: &str) -> (proto::ModelDescription, Program, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.mil");
    std::fs::write(&path, text).unwrap();
    let model = Model::open(&path).unwrap_or_else(|e| panic!("{text}{e:?}"));
    let package = folder.path().join("model.mlpackage");
    model.save(&package, WriteOptions::default()).unwrap();
    let packed = Model::open(&package).unwrap();
    let description = packed.spec().description().unwrap();
    let said = Description::from_proto(&description);
    let (program, notes) = with_signature(packed.program(), &said);
    assert_eq!(notes, Vec::<String>::new());
    let again = print(&program, Dialect::V1_3, None);
    (description, packed.program().clone(), again)
}

#[test]
fn described_images_come_back() {
    let mut random = Random::new(1, 0, "images");
    let (mut images, mut flexible, mut rounds) = (0, 0, 0);
    for round in 0..300 {
        let functions: &[&str] = if round % 3 == 0 {
            &["a", "main"]
        } else {
            &["main"]
        };
        let mut text = "program(1.3)\n{\n".to_owned();
        let mut described = Vec::new();
        for function in functions {
            // `seen` is an input and an output, as different images.
            let (seen, ty) = image(&mut random);
            let (other, other_ty) = image(&mut random);
            let mut given = seen.clone();
            given.size_flexibility = None;
            (given.width, given.height) = (seen.width.max(1), seen.height.max(1));
            let given_ty = if ty.contains('?') { &given } else { &seen };
            text += &format!(
                "func {function}<ios17>({ty} seen, {other_ty} \"the \\\"other\\\"\", \
                 tensor<fp32, [?]> x) {{\n{other_ty} y = relu(x = \"the \\\"other\\\"\");\n\
                 tensor<fp32, [?]> z = relu(x = x);\n}} -> (seen, y, z);\n"
            );
            described.push(proto::FunctionDescription {
                name: (*function).to_owned(),
                input: vec![
                    feature("seen", Type::ImageType(seen.clone())),
                    feature("the \"other\"", Type::ImageType(other.clone())),
                    feature("x", array()),
                ],
                output: vec![
                    feature("seen", Type::ImageType(given_ty.clone())),
                    feature("y", Type::ImageType(other.clone())),
                ],
                ..proto::FunctionDescription::default()
            });
            images += 4;
            flexible += usize::from(seen.size_flexibility.is_some());
            flexible += 2 * usize::from(other.size_flexibility.is_some());
        }
        text += "}\n";
        let mut description = proto::ModelDescription::default();
        match functions {
            [_] => {
                let only = described.remove(0);
                (description.input, description.output) = (only.input, only.output);
            }
            _ => description.functions = described,
        }
        let program = parse(&text).unwrap().program;
        let said = Description::from_proto(&description);
        let (with, notes) = with_signature(&program, &said);
        assert_eq!(notes, Vec::<String>::new());
        for dialect in [Dialect::V1_0, Dialect::V1_3] {
            let printed = print(&with, dialect, None);
            let (back, packed, again) = opened(&printed);
            let same = packed.to_proto().encode_to_vec() == program.to_proto().encode_to_vec();
            assert!(same, "{printed}");
            let mut found = Description::from_proto(&back);
            for function in &mut found.functions {
                // Of arrays that are outputs, text says nothing more.
                function.outputs.retain(|f| f.name != "z");
            }
            assert_eq!(found.functions, said.functions, "{printed}");
            if dialect == Dialect::V1_3 {
                assert_eq!(again, printed);
            }
            rounds += 1;
        }
    }
    println!(
        "{rounds} texts with {images} images, {flexible} of several sizes: descriptions and \
         programs come back"
    );
    assert!(flexible > 100);
}

/// The message of an image is what it was, not only what we make of it.
#[test]
fn messages_of_images_come_back() {
    let mut random = Random::new(2, 0, "messages");
    for _ in 0..1000 {
        let (image, _) = image(&mut random);
        let FeatureKind::Image(read) =
            Feature::from_proto(&feature("x", Type::ImageType(image.clone()))).kind
        else {
            panic!("an image is an image");
        };
        assert_eq!(read.to_proto(), Some(image));
    }
}

/// One function that gives back what it takes.
const PLAIN: &str = "program(1.3)\n{\n    func main<ios17>(tensor<fp32, [1, 3, 48, 64]> x) \
                     ATTRIBUTES{\n            tensor<fp32, [1, 3, 48, 64]> y = relu(x = x);\n        \
                     } -> (y);\n}\n";

fn plain(attributes: &str) -> String {
    PLAIN.replace("ATTRIBUTES", attributes)
}

/// Attributes that a package's program has under our names mean nothing: its
/// description holds, and the text says that.
#[test]
fn the_description_holds_in_a_package() {
    let image = "[MilwrightImageInputs = dict<string, string>({{\"x\", \"RGB width=64 \
                 height=48\"}})] ";
    let other = image.replace("RGB", "BGR");
    let (as_image, ..) = opened(&plain(image));
    let (as_array, ..) = opened(&plain(""));
    let number = "[MilwrightImageInputs = int32(3)] ".to_owned();
    let shapes = "[FlexibleShapeInformation = tuple<tuple<string, dict<string, tensor<int32, \
                  [?]>>>>(((\"DefaultShapes\", {{\"x\", [1, 3, 2, 2]}})))] ";
    let mut checked = 0;
    for (own, description, text, noted) in [
        (image, &as_image, image, 0),
        (&other, &as_image, image, 1),
        (&number, &as_image, image, 1),
        (image, &as_array, "", 1),
        (&number, &as_array, "", 1),
        (shapes, &as_array, "", 1),
        (shapes, &as_image, image, 1),
    ] {
        let program = parse(&plain(own)).unwrap().program;
        let said = Description::from_proto(description);
        let (with, notes) = with_signature(&program, &said);
        assert_eq!(notes.len(), noted, "{own}: {notes:?}");
        let printed = print(&with, Dialect::V1_3, None);
        assert_eq!(printed, plain(text));
        let (back, ..) = opened(&printed);
        assert_eq!(&back, description);
        checked += 1;
    }
    println!("{checked} programs with attributes of these names");
}

/// A compiled model has its images in `metadata.json`.
#[test]
fn compiled_models_have_images_in_their_metadata() {
    let entry = |more: &str| {
        format!(
            r#"{{"name": "x", "type": "Image", "isOptional": "0", "shortDescription": "",
                "width": "64", "height": "48", "isColor": "1", {more}}}"#
        )
    };
    let flexible = r#""colorspace": "BGR", "hasSizeFlexibility": "1""#;
    let fixed = "[1, 3, 48, 64]";
    let open = "[1, 3, ?, ?]";
    let cases = [
        (
            fixed,
            r#""colorspace": "RGB", "hasSizeFlexibility": "0""#.to_owned(),
            "image RGB 64x48",
            0,
        ),
        (
            open,
            format!(r#"{flexible}, "sizeRange": "[[32, 128], [16, -1]]""#),
            "image BGR 64x48 (height, width, range [16.., 32..128])",
            0,
        ),
        (
            open,
            format!(r#"{flexible}, "enumeratedSizes": "[[64, 48], [128, 96]]""#),
            "image BGR 64x48 (height, width, one of [48, 64] [96, 128])",
            0,
        ),
        (
            open,
            format!(r#"{flexible}, "sizeRange": "64 to 128""#),
            "image BGR 64x48",
            1,
        ),
        (
            fixed,
            r#""colorspace": "CMYK", "hasSizeFlexibility": "0""#.to_owned(),
            "fp32 [1, 3, 48, 64]",
            1,
        ),
    ];
    for (shape, more, expected, noted) in cases {
        let folder = tempfile::tempdir().unwrap();
        let compiled = folder.path().join("model.mlmodelc");
        std::fs::create_dir(&compiled).unwrap();
        let text = plain("").replace("[1, 3, 48, 64]", shape);
        std::fs::write(compiled.join("model.mil"), text).unwrap();
        let metadata = format!(r#"[{{"inputSchema": [{}]}}]"#, entry(&more));
        std::fs::write(compiled.join("metadata.json"), metadata).unwrap();
        let (package, notes) = milwright_ir::open_noting(&compiled).unwrap();
        let description = Description::from_proto(&package.spec().description().unwrap());
        let input = &description.functions[0].inputs[0];
        assert_eq!(input.kind.to_string(), expected);
        assert_eq!(notes.len(), noted, "{notes:?}");
    }
}
