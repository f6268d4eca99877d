//! Bytes of a spec: opened, verified, run.
#![no_main]

use libfuzzer_sys::fuzz_target;
use milwright_ir::NoBlobs;

fuzz_target!(|bytes: &[u8]| {
    milwright_fuzz::open_verify_run(bytes, &NoBlobs);
});
