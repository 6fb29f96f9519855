//! JSON pointers (RFC 6901) into a document whose values stay as they are written: no number is rounded. Pure.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;

/// What is wrong with a pointer.
pub(super) fn check(pointer: &str) -> Result<(), String> {
    if pointer.is_empty() || pointer.starts_with('/') {
        return Ok(());
    }
    Err(format!("must be a JSON pointer: empty for the whole, or /{}", pointer.replace('.', "/")))
}

/// The value at a pointer.
pub(super) fn find<'a>(document: &'a RawValue, pointer: &str) -> Option<&'a RawValue> {
    let mut found = document;
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        found = match found.get().as_bytes().first()? {
            b'{' => {
                let fields: HashMap<Cow<'a, str>, &'a RawValue> = serde_json::from_str(found.get()).ok()?;
                fields.get(step.as_str()).copied()?
            }
            b'[' => {
                let items: Vec<&'a RawValue> = serde_json::from_str(found.get()).ok()?;
                items.get(step.parse::<usize>().ok()?).copied()?
            }
            _ => return None,
        };
    }
    Some(found)
}

/// A text or number as text; `None` for what is neither.
pub(super) fn text(value: &RawValue) -> Option<String> {
    match value.get().as_bytes().first()? {
        b'"' => serde_json::from_str(value.get()).ok(),
        b'-' | b'0'..=b'9' => Some(value.get().to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn it_finds_what_the_rfc_says_and_rounds_nothing() {
        let text_at = |pointer: &str| {
            let document =
                r#"{"a":{"b":[1,{"c/d":"x","m~n":12345678901234567890.5}]},"":null,"\u00e4":true}"#;
            let document: &RawValue = serde_json::from_str(document).unwrap();
            find(document, pointer).map(|found| found.get().to_owned())
        };
        assert_eq!(text_at("/a/b/0").as_deref(), Some("1"));
        assert_eq!(text_at("/a/b/1/c~1d").as_deref(), Some("\"x\""));
        assert_eq!(text_at("/a/b/1/m~0n").as_deref(), Some("12345678901234567890.5"));
        assert_eq!((text_at("/").as_deref(), text_at("/ä").as_deref()), (Some("null"), Some("true")));
        assert!(text_at("").is_some());
        for none in ["/b", "/a/b/2", "/a/b/x", "/a/b/0/1", "/a/b/-"] {
            assert_eq!(text_at(none), None, "{none}");
        }
        assert!(check("/a").is_ok() && check("").is_ok());
        assert_eq!(check("a.b").unwrap_err(), "must be a JSON pointer: empty for the whole, or /a/b");
    }

    proptest! {
        #[test]
        fn it_finds_what_serde_json_finds(
            keys in proptest::collection::vec("[a/~b]{0,2}", 1..4),
            pointer in "(/[a/~b0-2]{0,3}){0,3}",
            random in ".{0,40}",
        ) {
            let mut document = Value::from(7);
            for key in &keys {
                document = serde_json::json!({ key: [document] });
            }
            let text = document.to_string();
            let raw: &RawValue = serde_json::from_str(&text).unwrap();
            let found = find(raw, &pointer).map(|found| serde_json::from_str::<Value>(found.get()).unwrap());
            // A number with a leading zero is no index.
            prop_assume!(!pointer.split('/').any(|step| step.len() > 1 && step.starts_with('0')));
            prop_assert_eq!(found.as_ref(), document.pointer(&pointer));
            if let Ok(raw) = serde_json::from_str::<&RawValue>(&random) {
                let _ = find(raw, &pointer);
            }
        }
    }
}
