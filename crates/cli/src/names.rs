//! Things that a command line names.

use anyhow::bail;
use milwright_ir::names::nearest;

/// Those of `all` that `wanted` names, in its order; without names, all of
/// them. `kind` is what they are and `verb` the command that lists them, for
/// the error.
pub(crate) fn chosen<T: Copy>(
    wanted: &[String],
    all: &[T],
    name_of: impl Fn(T) -> &'static str,
    kind: &str,
    verb: &str,
) -> anyhow::Result<Vec<T>> {
    if wanted.is_empty() {
        return Ok(all.to_vec());
    }
    let find = |name: &String| match all.iter().find(|&&one| name_of(one) == name) {
        Some(&found) => Ok(found),
        None => match nearest(name, all.iter().map(|&one| name_of(one)), 1).first() {
            Some(near) => bail!("no {kind} is named `{name}`; did you mean `{near}`?"),
            None => bail!("no {kind} is named `{name}`; `milwright {verb}` lists all"),
        },
    };
    wanted.iter().map(find).collect()
}
