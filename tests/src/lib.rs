//! What holds across crates: harness, conformance, end-to-end.
