//! Fuzzes the messages that internal topics and group members hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ottla_fuzz::parsers::data_message(bytes));
