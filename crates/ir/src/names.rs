//! What a person may have meant by a name.

/// The names most like `wanted`, at most `count` of them, the likeliest first;
/// none that differs in more than a third of its letters.
pub fn nearest<'n>(
    wanted: &str,
    known: impl Iterator<Item = &'n str>,
    count: usize,
) -> Vec<&'n str> {
    let mut near: Vec<(usize, &str)> = known
        .map(|name| (distance(wanted, name), name))
        .filter(|(d, name)| *d <= name.chars().count().max(3) / 3)
        .collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(count).map(|(_, name)| name).collect()
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
    fn finds_what_was_meant() {
        let names = ["audio", "audio_length", "mel", "mel_1"];
        let near = |wanted, count| nearest(wanted, names.into_iter(), count);
        assert_eq!(near("audi", 1), ["audio"]);
        assert_eq!(near("MEL", 3), ["mel", "mel_1"]);
        assert_eq!(near("audio_lenght", 1), ["audio_length"]);
        assert!(near("encoder", 3).is_empty());
    }
}
