//! Fuzzes what is read of a client before anybody knows who it is.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ottla_fuzz::strangers::strangers(bytes));
