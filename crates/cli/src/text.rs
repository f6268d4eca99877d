//! Where in a text the places of findings are.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use milwright_ir::text::Parsed;
use milwright_ir::{Lines, Location, OpId, TextFile, TextSpan, ValueId};

/// A model that was read from text, once more as it stands there.
pub(crate) struct Text {
    pub(crate) path: PathBuf,
    parsed: Parsed,
    text: String,
}

impl Text {
    /// The text of a model, if it has one.
    pub(crate) fn of(model: &Path) -> anyhow::Result<Option<Self>> {
        let Some(file) = TextFile::find(model) else {
            return Ok(None);
        };
        let (parsed, text) = file.parse()?;
        let path = file.path().to_owned();
        Ok(Some(Self { path, parsed, text }))
    }

    /// What finds places.
    pub(crate) fn places(&self) -> Places<'_> {
        let program = &self.parsed.program;
        let mut ops = HashMap::new();
        let mut inputs = HashMap::new();
        for function in &program.functions {
            let name = function.name.as_str();
            for &(_, body) in &function.specializations {
                for op in program.walk(body) {
                    ops.entry((name, program.describe_op(op))).or_insert(op);
                }
            }
            for &input in &function.inputs {
                inputs.insert((name, program.values[input].name.as_str()), input);
            }
        }
        Places {
            parsed: &self.parsed,
            lines: Lines::of(&self.text),
            ops,
            inputs,
        }
    }
}

/// The operations and inputs of a text by their names.
pub(crate) struct Places<'t> {
    parsed: &'t Parsed,
    lines: Lines<'t>,
    ops: HashMap<(&'t str, String), OpId>,
    inputs: HashMap<(&'t str, &'t str), ValueId>,
}

impl Places<'_> {
    /// Says of a place where it is in the text.
    pub(crate) fn fill(&self, place: &mut Location) {
        place.text = self.find(place);
    }

    fn find(&self, place: &Location) -> Option<TextSpan> {
        let function = place.function.as_deref()?;
        match (&place.op, &place.value) {
            (Some(op), _) => {
                let op = self.ops.get(&(function, op.clone()))?;
                self.parsed.op_place(*op, &self.lines)
            }
            (None, Some(value)) => {
                let value = self.inputs.get(&(function, value.as_str()))?;
                self.parsed.value_place(*value, &self.lines)
            }
            (None, None) => None,
        }
    }
}
