//! Records as bodies of requests: which records go together, and how they are joined. Pure.

use std::ops::Range;

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::config::Body;

/// Records that go in one request at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) records_max: usize,
    /// A record that is larger goes alone.
    pub(super) bytes_max: usize,
}

/// The runs of values that go in one request each: every value is in one, in order.
pub(super) fn split(values: &[Bytes], limits: Limits) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (index, value) in values.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if run.len() < limits.records_max && bytes + value.len() <= limits.bytes_max => {
                run.end = index + 1;
                bytes += value.len();
            }
            _ => {
                runs.push(index..index + 1);
                bytes = value.len();
            }
        }
    }
    runs
}

/// Whether a value can be in such a body; JSON is not looked into further.
pub(super) fn fits(body: Body, value: &[u8]) -> Result<(), String> {
    match body {
        Body::Single => Ok(()),
        Body::JsonArray | Body::Ndjson => serde_json::from_slice::<IgnoredAny>(value)
            .map(drop)
            .map_err(|error| format!("is no JSON: {error}")),
    }
}

/// The body of one request. The values fit.
pub(super) fn join(body: Body, values: &[Bytes]) -> Bytes {
    let bytes = values.iter().map(|value| value.len() + 1).sum::<usize>() + 2;
    match (body, values) {
        (Body::Single, [value]) => value.clone(),
        (Body::JsonArray, values) => {
            let mut joined = Vec::with_capacity(bytes);
            joined.push(b'[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    joined.push(b',');
                }
                joined.extend_from_slice(value);
            }
            joined.push(b']');
            joined.into()
        }
        (Body::Single | Body::Ndjson, values) => {
            let mut joined = Vec::with_capacity(bytes);
            for value in values {
                // In JSON an end of line is never part of a text, so a space means the same.
                joined.extend(
                    value.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }),
                );
                joined.push(b'\n');
            }
            joined.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values(texts: &[&str]) -> Vec<Bytes> {
        texts.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect()
    }

    #[test]
    fn records_are_joined_as_the_endpoint_wants_them() {
        let two = values(&["{\"a\":\n1}", "2"]);
        assert_eq!(join(Body::JsonArray, &two), "[{\"a\":\n1},2]");
        assert_eq!(join(Body::Ndjson, &two), "{\"a\": 1}\n2\n");
        assert_eq!(join(Body::Single, &two[..1]), "{\"a\":\n1}");
        assert!(fits(Body::Ndjson, b"{\"a\":").is_err() && fits(Body::JsonArray, b"x").is_err());
        assert!(fits(Body::Single, b"x").is_ok() && fits(Body::Ndjson, b"1").is_ok());
    }

    proptest! {
        #[test]
        fn every_record_goes_once_and_no_request_is_larger_than_allowed(
            sizes in proptest::collection::vec(0_usize..40, 0..60),
            records_max in 1_usize..10,
            bytes_max in 1_usize..100,
        ) {
            let values: Vec<Bytes> = sizes.iter().map(|size| Bytes::from(vec![b'x'; *size])).collect();
            let runs = split(&values, Limits { records_max, bytes_max });
            let all: Vec<usize> = runs.iter().cloned().flatten().collect();
            prop_assert_eq!(all, (0..values.len()).collect::<Vec<_>>());
            for run in runs {
                let bytes: usize = sizes[run.clone()].iter().sum();
                prop_assert!(run.len() <= records_max && (run.len() == 1 || bytes <= bytes_max));
            }
        }

        #[test]
        fn joined_json_is_json_of_the_same_values(numbers in proptest::collection::vec(any::<i64>(), 1..20)) {
            let values: Vec<Bytes> = numbers.iter().map(|number| Bytes::from(number.to_string())).collect();
            prop_assert_eq!(&serde_json::from_slice::<Vec<i64>>(&join(Body::JsonArray, &values)).unwrap(), &numbers);
            let lines = join(Body::Ndjson, &values);
            let lines = std::str::from_utf8(&lines).unwrap().lines();
            prop_assert_eq!(lines.map(|line| line.parse().unwrap()).collect::<Vec<i64>>(), numbers);
        }
    }
}
