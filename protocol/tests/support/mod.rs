//! What the tests of the message codecs share: the notation, random messages made from it, and a count of the
//! memory that a thread takes. The random messages come from the notation as bytes, by a writer that shares no code
//! with the codecs under test.
#![allow(dead_code, reason = "each test binary uses a part")]

pub mod memory;
#[path = "../../generator/notation.rs"]
pub mod notation;
pub mod wire_bytes;

use std::path::Path;
use std::sync::LazyLock;

use notation::{File, Struct};
use proptest::test_runner::Config as ProptestConfig;

/// Each case goes through every message and version, so few are many. A failing seed is printed, and becomes a test
/// of its own when it is fixed; no file of seeds is kept.
pub fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Every notation file of the package.
pub static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("messages");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let notations = paths.filter(|path| path.extension().is_some_and(|extension| extension == "msg"));
    notations.map(|path| notation::parse(&std::fs::read_to_string(path).unwrap()).unwrap()).collect()
});

/// The definition of a message, and the file that its structures are in.
pub fn definition(message: &str) -> (&'static File, &'static Struct) {
    let found = FILES.iter().find_map(|file| file.find(message).map(|of| (file, of)));
    found.unwrap_or_else(|| panic!("{message} is not defined in protocol/messages"))
}
