//! Repeated blocks of a sequence, such as the layers of a transformer.

use std::ops::Range;

/// The places between repeated blocks, their ends included: `n` is the place
/// before the `n`th element. Blocks of two and more elements count from two
/// repetitions, single elements from three.
pub(super) fn boundaries<T: PartialEq>(sequence: &[T]) -> Vec<usize> {
    let mut found = Vec::new();
    let whole: Range<usize> = 0..sequence.len();
    let mut open = Vec::from([whole]);
    while let Some(range) = open.pop() {
        let Some((start, period, times)) = longest(&sequence[range.clone()]) else {
            continue;
        };
        let start = range.start + start;
        let end = start + period * times;
        found.extend((0..=times).map(|n| start + n * period));
        open.push(range.start..start);
        open.push(end..range.end);
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// The repetition that takes up most of a sequence; of several, the one of the
/// smallest block, then the first: its start, the length of a block, and how
/// often it is there.
fn longest<T: PartialEq>(sequence: &[T]) -> Option<(usize, usize, usize)> {
    let mut best: Option<(usize, (usize, usize, usize))> = None;
    for period in 1..=sequence.len() / 2 {
        let mut same = 0;
        for end in period..=sequence.len() {
            if end < sequence.len() && sequence[end] == sequence[end - period] {
                same += 1;
                continue;
            }
            let times = (same + period) / period;
            let taken = times * period;
            let enough = times >= if period == 1 { 3 } else { 2 };
            if enough && best.is_none_or(|(b, _)| taken > b) {
                best = Some((taken, (end - same - period, period, times)));
            }
            same = 0;
        }
    }
    best.map(|(_, found)| found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_found_between_what_is_around_them() {
        let at = |text: &str| boundaries(text.as_bytes());
        assert_eq!(at("Eqkvoqkvoqkvoh"), [1, 5, 9, 13]);
        assert_eq!(at("EAMAMAMF"), [1, 3, 5, 7]);
        assert_eq!(at("llll"), [0, 1, 2, 3, 4]);
        assert_eq!(at("xabababyccc"), [1, 3, 5, 7, 8, 9, 10, 11]);
        assert!(at("abcd").is_empty() && at("").is_empty() && at("aabc").is_empty());
    }
}
