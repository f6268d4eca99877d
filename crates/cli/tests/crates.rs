//! The crates depend on each other in one direction:
//! `package <- ir <- {passes, interp} <- verify <- cli`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it checked"
)]

use std::path::Path;
use std::process::Command;

/// What each crate may depend on. Development dependencies may add those after
/// the bar: a pass is tested by executing its result.
const ALLOWED: [(&str, &[&str], &[&str]); 6] = [
    ("milwright-package", &[], &[]),
    ("milwright-ir", &["milwright-package"], &[]),
    (
        "milwright-passes",
        &["milwright-ir", "milwright-package"],
        &["milwright-interp"],
    ),
    (
        "milwright-interp",
        &["milwright-ir", "milwright-package"],
        &[],
    ),
    (
        "milwright-verify",
        &[
            "milwright-interp",
            "milwright-ir",
            "milwright-package",
            "milwright-passes",
        ],
        &[],
    ),
    (
        "milwright",
        &[
            "milwright-interp",
            "milwright-ir",
            "milwright-package",
            "milwright-passes",
            "milwright-verify",
        ],
        &[],
    ),
];

#[test]
fn dependencies_point_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let mut checked = 0;
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let Some((_, normal, development)) = ALLOWED.iter().find(|(n, ..)| *n == name) else {
            panic!("the crate {name} is new: give it a place in the one direction");
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let on = dependency["name"].as_str().unwrap();
            if !on.starts_with("milwright") {
                continue;
            }
            let is_development = dependency["kind"] == "dev";
            assert!(
                normal.contains(&on) || (is_development && development.contains(&on)),
                "{name} depends on {on}, against the direction"
            );
            checked += 1;
        }
    }
    assert_eq!(packages.len(), ALLOWED.len());
    println!("{checked} dependencies between {} crates", packages.len());
    assert!(checked >= 10);
}
