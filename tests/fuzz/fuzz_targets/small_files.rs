//! Fuzzes checkpoints and producer snapshots.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ottla_fuzz::stored::small_files(bytes));
