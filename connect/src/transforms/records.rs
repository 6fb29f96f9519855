//! What is done to whole records, by what is known without their values: `Filter`, `InsertHeader`, `DropHeaders`, and the
//! predicates that ask for a header or a tombstone.

use bytes::Bytes;
use ottla_client::Header;

/// When something is done to a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum When {
    /// Always or never: what the topic's name decides.
    Topic(bool),
    /// To records without a value; with `negate` to the others.
    Tombstone { negate: bool },
    /// To records with a header of this name; with `negate` to the others.
    HasHeader { name: String, negate: bool },
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// The record is left out.
    Drop,
    Insert(Header),
    Remove(Vec<String>),
}

/// One step, in its place among the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub when: When,
    pub action: Action,
}

impl When {
    /// Whether it holds for a record.
    pub fn holds(&self, has_value: bool, headers: &[Header]) -> bool {
        match self {
            When::Topic(holds) => *holds,
            When::Tombstone { negate } => has_value == *negate,
            When::HasHeader { name, negate } => headers.iter().any(|header| header.key == *name) != *negate,
        }
    }

    /// Whether it holds for all records with a value, if it is the same for them all.
    pub fn holds_for_values(&self) -> Option<bool> {
        match self {
            When::HasHeader { .. } => None,
            other => Some(other.holds(true, &[])),
        }
    }
}

/// Takes a record through the steps; false when it is left out.
pub(super) fn pass(steps: &[Step], has_value: bool, headers: &mut Vec<Header>) -> bool {
    for Step { when, action } in steps {
        if !when.holds(has_value, headers) {
            continue;
        }
        match action {
            Action::Drop => return false,
            Action::Insert(header) => headers.push(header.clone()),
            Action::Remove(names) => headers.retain(|header| names.iter().all(|name| header.key != *name)),
        }
    }
    true
}

/// A header of text.
pub(super) fn header(name: &str, value: &str) -> Header {
    Header { key: name.to_owned().into(), value: Some(Bytes::copy_from_slice(value.as_bytes())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_done_in_order_to_the_records_that_they_are_for() {
        let has = |name: &str, negate| When::HasHeader { name: name.to_owned(), negate };
        let steps = [
            Step { when: has("skip", false), action: Action::Drop },
            Step { when: When::Topic(true), action: Action::Insert(header("a", "1")) },
            Step { when: has("a", true), action: Action::Drop },
            Step { when: When::Tombstone { negate: false }, action: Action::Remove(vec!["a".to_owned()]) },
        ];
        let passed = |has_value: bool, names: &[&str]| {
            let mut headers: Vec<Header> = names.iter().map(|name| header(name, "")).collect();
            pass(&steps, has_value, &mut headers).then(|| {
                headers
                    .iter()
                    .map(|header| String::from_utf8_lossy(&header.key).into_owned())
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(passed(true, &["b", "skip"]), None);
        assert_eq!(passed(true, &["b"]).unwrap(), ["b", "a"]);
        assert_eq!(passed(false, &["a", "b"]).unwrap(), ["b"]);
        assert_eq!(When::Tombstone { negate: true }.holds_for_values(), Some(true));
        assert_eq!(has("a", false).holds_for_values(), None);
    }
}
