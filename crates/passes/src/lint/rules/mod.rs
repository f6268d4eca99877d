//! The rules. Adding one is a file here with `pub(super) static RULE: Rule` and
//! `cases::{triggers, near_miss}` for the tests, and one word in the sorted list
//! below.

use super::finding::Rule;

macro_rules! rules {
    ($($name:ident),* $(,)?) => {
        $(mod $name;)*
        static RULES: &[&Rule] = &[$(&$name::RULE),*];
        /// For each rule, a program that has what it finds and the same program
        /// one step inside of the limit.
        #[cfg(test)]
        pub(super) static CASES: &[super::testing::Case] = &[$(super::testing::Case {
            rule: &$name::RULE,
            triggers: $name::cases::triggers,
            near_miss: $name::cases::near_miss,
        }),*];
    };
}

rules!(dimension_cap, fp32_compute, rank_above_five);

/// Every rule, sorted by name.
pub fn rules() -> &'static [&'static Rule] {
    RULES
}

/// The rules of that name or number: `dimension-cap` is one rule, `SHP04` may
/// be part of several.
pub fn lookup(name: &str) -> Vec<&'static Rule> {
    let is = |rule: &&&Rule| {
        rule.name == name || rule.ids.iter().any(|id| id.eq_ignore_ascii_case(name))
    };
    RULES.iter().filter(is).copied().collect()
}
