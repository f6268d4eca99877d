//! `Manifest.json`: which file of the package is what.

use std::path::Path;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::relative;

/// The folder of a package in which item paths start.
pub(crate) const DATA: &str = "Data/";

/// One item of a package: a file or a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The key under which the manifest lists it, usually a UUID.
    pub identifier: String,
    /// Where it is, relative to the package's `Data` folder.
    pub path: String,
    /// Its name, such as `model.mlmodel` or `weights`.
    pub name: String,
    /// Who owns it, usually `com.apple.CoreML`.
    pub author: String,
    /// What it is, for people.
    pub description: String,
}

/// A package's manifest; the text is kept byte for byte until it is changed.
#[derive(Debug, Clone)]
pub struct Manifest {
    text: Bytes,
    items: Vec<Item>,
    root: String,
}

impl Manifest {
    /// Reads a manifest. `path` is for error messages.
    ///
    /// # Errors
    /// [`Error::Manifest`] when it is not JSON or lacks a part, and
    /// [`Error::UnsafePath`] when an item's path could leave the package.
    pub fn parse(text: Bytes, path: &Path) -> Result<Manifest> {
        let fail = |reason: String| Error::Manifest {
            path: path.to_owned(),
            reason,
        };
        let json: Value = serde_json::from_slice(&text)
            .map_err(|error| fail(format!("it is not valid JSON: {error}")))?;
        let entries = json
            .get("itemInfoEntries")
            .and_then(Value::as_object)
            .ok_or_else(|| fail("it has no object `itemInfoEntries`".to_owned()))?;
        let root = json
            .get("rootModelIdentifier")
            .and_then(Value::as_str)
            .ok_or_else(|| fail("it has no text `rootModelIdentifier`".to_owned()))?;
        let mut items = Vec::with_capacity(entries.len());
        for (identifier, entry) in entries {
            let text = |key: &str| {
                entry
                    .get(key)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            if entry.get("path").and_then(Value::as_str).is_none() {
                return Err(fail(format!("item {identifier} has no text `path`")));
            }
            let item = Item {
                identifier: identifier.clone(),
                path: text("path").trim_end_matches('/').to_owned(),
                name: text("name"),
                author: text("author"),
                description: text("description"),
            };
            relative::check(&item.path).map_err(|reason| Error::UnsafePath {
                container: path.to_owned(),
                role: "the item path",
                entry: text("path"),
                reason,
            })?;
            items.push(item);
        }
        if !items.iter().any(|item| item.identifier == root) {
            return Err(fail(format!(
                "`rootModelIdentifier` is {root}, which is none of the {} items",
                items.len()
            )));
        }
        let root = root.to_owned();
        Ok(Manifest { text, items, root })
    }

    /// The manifest of a fresh package: `model` is the spec's path and
    /// `weights` the weight folder's, both relative to `Data`.
    ///
    /// Identifiers are derived from the paths, so the same package always gets
    /// the same text.
    pub fn new(model: &str, weights: Option<&str>) -> Manifest {
        let mut entries = Map::new();
        let root = entry(&mut entries, model, "Core ML model specification");
        if let Some(weights) = weights {
            entry(&mut entries, weights, "Core ML model weights");
        }
        Self::from_json(json!({
            "fileFormatVersion": "1.0.0",
            "itemInfoEntries": entries,
            "rootModelIdentifier": root,
        }))
    }

    /// The manifest with one more item, a folder of weights, at a path relative
    /// to `Data`. The rest keeps its order and meaning, not its white space.
    ///
    /// # Errors
    /// None in practice: the text was valid JSON when it was read.
    pub fn with_weights(&self, path: &str) -> Result<Manifest> {
        let origin = Path::new("Manifest.json");
        let mut json: Value =
            serde_json::from_slice(&self.text).map_err(|error| Error::Manifest {
                path: origin.to_owned(),
                reason: error.to_string(),
            })?;
        if let Some(entries) = json
            .get_mut("itemInfoEntries")
            .and_then(Value::as_object_mut)
        {
            entry(entries, path, "Core ML model weights");
        }
        Ok(Self::from_json(json))
    }

    /// The text as it is written to the file.
    pub fn text(&self) -> &Bytes {
        &self.text
    }

    /// All items, in the file's order.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The identifier of the item that is the spec.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Where the spec is, relative to the package.
    pub fn spec_path(&self) -> String {
        let root = self.items.iter().find(|item| item.identifier == self.root);
        format!("{DATA}{}", root.map_or("", |item| &item.path))
    }

    /// Whether some item is this path (relative to the package) or a folder
    /// around it.
    pub(crate) fn covers(&self, path: &str) -> bool {
        let Some(path) = path.strip_prefix(DATA) else {
            return false;
        };
        self.items.iter().any(|item| {
            path.strip_prefix(item.path.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// The manifest with an item for a weight file (relative to the package),
    /// or for the folder around it, if it has none yet.
    ///
    /// # Errors
    /// As [`Manifest::with_weights`].
    pub(crate) fn covering(&self, path: &str, spec_path: &str) -> Result<Manifest> {
        if self.covers(path) {
            return Ok(self.clone());
        }
        let folder = relative::folder(path).trim_end_matches('/');
        let item = if folder == relative::folder(spec_path).trim_end_matches('/') {
            path
        } else {
            folder
        };
        self.with_weights(item.strip_prefix(DATA).unwrap_or(item))
    }

    fn from_json(json: Value) -> Manifest {
        let items = json
            .get("itemInfoEntries")
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        let items = items
            .map(|(identifier, entry)| {
                let text = |key: &str| {
                    entry
                        .get(key)
                        .and_then(Value::as_str)
                        .unwrap_or_default()
                        .to_owned()
                };
                Item {
                    identifier: identifier.clone(),
                    path: text("path").trim_end_matches('/').to_owned(),
                    name: text("name"),
                    author: text("author"),
                    description: text("description"),
                }
            })
            .collect();
        let root = json
            .get("rootModelIdentifier")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let text = format!("{json:#}\n");
        Manifest {
            root: root.to_owned(),
            items,
            text: text.into(),
        }
    }
}

/// Adds an entry and returns its identifier.
fn entry(entries: &mut Map<String, Value>, path: &str, description: &str) -> String {
    let mut identifier = identifier(path);
    while entries.contains_key(&identifier) {
        identifier = self::identifier(&identifier);
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    entries.insert(
        identifier.clone(),
        json!({
            "author": "com.apple.CoreML",
            "description": description,
            "name": name,
            "path": path,
        }),
    );
    identifier
}

/// A UUID of version 8 (RFC 9562: free form) from the FNV-1a hash of a text.
fn identifier(text: &str) -> String {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for byte in text.bytes() {
        hash ^= u128::from(byte);
        hash = hash.wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    let version = 8_u128 << 76;
    let variant = 2_u128 << 62;
    let hash = hash & !(0xf << 76) & !(3 << 62) | version | variant;
    let hex = format!("{hash:032X}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}
