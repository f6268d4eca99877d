//! MIL text: read, printed, read again, verified, run.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    milwright_fuzz::parse_print_run(text);
});
