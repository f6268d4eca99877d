//! Whether the package of a stage takes and gives what the pipeline manifest
//! says.

use milwright_ir::{Function, Program, ValueId, ValueType};
use milwright_package::StageRecord;

/// Compares names and types, in any order.
///
/// # Errors
/// The first difference, for a message about the pipeline.
pub(crate) fn check(
    stage: &StageRecord,
    program: &Program,
    function: &Function,
) -> Result<(), String> {
    let is_state = |id: &ValueId| matches!(program.values[*id].ty, ValueType::State(_));
    let typed = |id: ValueId| {
        let value = &program.values[id];
        (value.name.as_str(), value.ty.brief())
    };
    let (states, inputs): (Vec<ValueId>, Vec<ValueId>) =
        function.inputs.iter().copied().partition(is_state);
    let outputs = function.body().into_iter();
    let outputs = outputs.flat_map(|block| program.blocks[block].outputs.iter().copied());

    let takes = stage.inputs.iter().map(|f| (f.name.as_str(), f.ty.clone()));
    let gives = stage
        .outputs
        .iter()
        .map(|f| (f.name.as_str(), f.ty.clone()));
    let keeps = stage.states.iter().map(|f| (f.name.as_str(), f.ty.clone()));
    compare(
        "takes",
        takes.collect(),
        inputs.into_iter().map(typed).collect(),
    )
    .and_then(|()| compare("gives", gives.collect(), outputs.map(typed).collect()))
    .and_then(|()| {
        let states = states.into_iter().map(typed).collect();
        compare("keeps", keeps.collect(), states)
    })
    .map_err(|problem| format!("stage `{}`: {problem}", stage.name))
}

type Typed<'a> = Vec<(&'a str, String)>;

fn compare(verb: &str, mut says: Typed<'_>, mut has: Typed<'_>) -> Result<(), String> {
    says.sort();
    has.sort();
    if says == has {
        return Ok(());
    }
    let show = |typed: Typed<'_>| {
        let shown = typed.into_iter().map(|(name, ty)| format!("`{name}` {ty}"));
        let shown: Vec<String> = shown.collect();
        match shown.is_empty() {
            true => "nothing".to_owned(),
            false => shown.join(", "),
        }
    };
    Err(format!(
        "the manifest says that it {verb} {}, and its package {verb} {}; split the model again, or \
         correct the manifest",
        show(says),
        show(has)
    ))
}
