//! `docs/protocol.md` says which APIs are served and which tests call them. `UPDATE_DOCS=1 cargo test -p ottla-broker
//! --test documented` writes it anew.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use ottla_broker::server::SERVED;
use ottla_protocol::ApiKey;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Test files of the broker and of the client that name an API's request.
fn tests_of(key: ApiKey) -> Vec<String> {
    let word = format!("{}Request", key.name());
    let mut found = Vec::new();
    for dir in ["broker/tests", "broker/src/groups/tests", "broker/src/coordinator/tests"] {
        for entry in fs::read_dir(root().join(dir)).unwrap() {
            let path = entry.unwrap().path();
            let is_test = path.extension().is_some_and(|extension| extension == "rs");
            let text = if is_test { fs::read_to_string(&path).unwrap() } else { String::new() };
            let names = text.split(|c: char| !c.is_ascii_alphanumeric());
            if names.into_iter().any(|name| name == word) {
                found.push(format!("{dir}/{}", path.file_name().unwrap().to_str().unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn table() -> String {
    let mut text = String::from(
        "# The protocol: APIs that are served\n\n\
         Produce 0 to 2 are advertised and refused: old librdkafka turns compression off where version 0 is missing. What\n\
         clients of other languages and Kafka's own tools call is under `tests/conformance/`. This table is made from the\n\
         code by `UPDATE_DOCS=1 cargo test -p ottla-broker --test documented`.\n\n\
         | key | API | versions | tests |\n|---|---|---|---|\n",
    );
    for served in SERVED {
        let tests: Vec<String> = tests_of(served.key).iter().map(|test| format!("`{test}`")).collect();
        let (first, last) = served.versions;
        let (key, name) = (served.key.code(), served.key.name());
        writeln!(text, "| {key} | {name} | {first} to {last} | {} |", tests.join(", ")).unwrap();
    }
    text
}

#[test]
fn every_api_has_a_test_and_the_document_says_so() {
    for served in SERVED {
        assert!(!tests_of(served.key).is_empty(), "no test calls {}", served.key.name());
    }
    let path = root().join("docs/protocol.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, table()).unwrap();
    }
    assert_eq!(fs::read_to_string(path).unwrap(), table(), "run it once with UPDATE_DOCS=1");
}
