//! Names: which ones Core ML accepts, and what a person may have meant by one.

/// Words of MIL text, which coremltools gives to nothing.
const RESERVED: [&str; 24] = [
    "any", "bool", "program", "func", "tensor", "list", "dict", "tuple", "true", "false", "string",
    "bf16", "fp16", "fp32", "fp64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
    "uint64", "state",
];

/// Why a feature, function or value cannot have that name; `None` when it can.
pub fn problem(name: &str) -> Option<&'static str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts_well = !name.starts_with(|c: char| c.is_ascii_digit());
    if name.is_empty() || !name.chars().all(is_word) || !starts_well {
        return Some("a name consists of letters, digits and `_`, and does not begin with a digit");
    }
    RESERVED
        .contains(&name)
        .then_some("it is a word of the language that Core ML programs are written in")
}

/// The names most like `wanted`, at most `count` of them, the likeliest first:
/// those that differ in at most a third of their letters; where there are none,
/// those that hold it, whatever the case and the signs between.
pub fn nearest<'n>(
    wanted: &str,
    known: impl Iterator<Item = &'n str> + Clone,
    count: usize,
) -> Vec<&'n str> {
    let mut near: Vec<(usize, &str)> = known
        .clone()
        .map(|name| (distance(wanted, name), name))
        .filter(|(d, name)| *d <= name.chars().count().max(3) / 3)
        .collect();
    if near.is_empty() && !letters(wanted).is_empty() {
        near = known
            .filter(|name| letters(name).contains(&letters(wanted)))
            .map(|name| (name.len(), name))
            .collect();
    }
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(count).map(|(_, name)| name).collect()
}

/// The letters and digits of a name, in lower case.
fn letters(name: &str) -> String {
    let letters = name.chars().filter(|c| c.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

/// Letters to insert, delete or replace (Levenshtein), ignoring case.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let b: Vec<char> = b.chars().take(256).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(256).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_core_ml_takes() {
        for name in ["x", "_x", "X_1", "tensor_", "Bool"] {
            assert_eq!(problem(name), None, "{name}");
        }
        for name in ["", "1x", "a-b", "a b", "\u{e9}", "a.b", "tensor", "state"] {
            assert!(problem(name).is_some(), "{name}");
        }
    }

    #[test]
    fn finds_what_was_meant() {
        let names = ["audio", "audio_length", "mel", "mel_1"];
        let near = |wanted, count| nearest(wanted, names.into_iter(), count);
        assert_eq!(near("audi", 1), ["audio"]);
        assert_eq!(near("MEL", 3), ["mel"]);
        assert_eq!(near("mel_2", 3), ["mel_1"]);
        assert_eq!(near("audio_lenght", 1), ["audio_length"]);
        assert!(near("encoder", 3).is_empty());
        assert_eq!(near("length", 3), ["audio_length"]);
        let long = ["clip_3_cast_fp16", "clip_30_cast_fp16", "conv"];
        assert_eq!(nearest("clip3", long.into_iter(), 1), ["clip_3_cast_fp16"]);
    }
}
