//! The checked-in codecs are the ones that the notation gives.

use std::path::Path;

#[path = "../generator/emit.rs"]
mod emit;
#[path = "../generator/notation.rs"]
mod notation;
#[path = "../generator/sources.rs"]
mod sources;

/// What remains when only the layout of code differs: rustfmt changes whitespace, trailing commas and needless
/// braces, and it need not be installed where the tests run.
fn without_layout(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && !",{}()".contains(*c)).collect()
}

#[test]
fn the_checked_in_codecs_are_what_the_notation_gives() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let generated = sources::generate(package).unwrap();
    for (name, expected) in &generated {
        let path = package.join("src/messages").join(name);
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            without_layout(&found) == without_layout(expected),
            "{} is not what protocol/messages says: run `just generate`",
            path.display()
        );
    }
    for entry in std::fs::read_dir(package.join("src/messages")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(generated.iter().any(|(known, _)| *known == name), "{name} has no notation any more");
    }
}

fn refused(text: &str, reason: &str) {
    let error = notation::parse(text).unwrap_err();
    assert!(error.contains(reason), "{error}");
}

#[test]
fn an_unsound_definition_is_refused_with_its_line() {
    refused("api 1 X 0..3 flexible 9+\nrequest\n  a: int7", "line 3: no type int7");
    refused("api 1 X 0..3 flexible 9+\nrequest\n  a: int8 4+", "line 3: versions 4+ are not within 0..=3");
    refused(
        "api 1 X 0..3 flexible 9+\nrequest\n  a: int8 tag 0",
        "XRequest.a is tagged in a version that is not flexible",
    );
    refused("api 1 X 0..3 flexible 0+\nrequest\n  a: int8 tag 1", "tags of XRequest are not 0, 1, 2");
    refused("data X 0..3 flexible none\n  a: int8\n  a: int8", "X.a is there twice");
    refused("data X 0..3 flexible none\n  a: int8 ignorable", "line 2: a is in every version");
    refused("data X 0..3 flexible none\n  a: Y", "Y has no fields");
    refused(
        "data X 0..3 flexible none\n  a: Y 2+\n    b: int8\n  c: Y",
        "line 4: Y is defined for versions 2..=3 only",
    );
    refused("request\n", "line 1: a request or response needs an `api` line");
    refused("  a: int8", "line 1: a field outside of a message");
}
