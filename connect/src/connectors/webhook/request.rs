//! Who may send, and what a body holds. Pure.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use bytes::Bytes;
use ottla_formats::{Format as _, JsonFormat};
use ring::hmac;
use serde_json::value::RawValue;

use super::config::{BodyFormat, WebhookSourceConfig};
use crate::connector::Rows;

/// How many of a body's bad records are told.
const REASONS_MAX: usize = 5;

/// Who may send: whoever has the token, and signs bodies with the secret.
pub(super) struct Guard {
    bearer_token: Option<(hmac::Key, String)>,
    signature: Option<(hmac::Key, String)>,
}

impl Guard {
    pub(super) fn new(config: &WebhookSourceConfig) -> Guard {
        let key = |secret: &str| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let expose =
            |secret: &Option<crate::secret::Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
        Guard {
            bearer_token: expose(&config.bearer_token).map(|token| (key(&token), token)),
            signature: expose(&config.hmac_secret).map(|secret| (key(&secret), config.hmac_header.clone())),
        }
    }

    /// Whether the sender has the token; asked before the body is read.
    pub(super) fn knows(&self, headers: &HeaderMap) -> bool {
        let Some((key, token)) = &self.bearer_token else { return true };
        let given = headers.get(AUTHORIZATION).map_or(&[][..], |value| value.as_bytes());
        let given = match given.split_at_checked(b"Bearer ".len()) {
            Some((scheme, given)) if scheme.eq_ignore_ascii_case(b"Bearer ") => given,
            _ => return false,
        };
        // Compared by their signatures, which takes the same time whatever is equal in them.
        hmac::verify(key, given, hmac::sign(key, token.as_bytes()).as_ref()).is_ok()
    }

    /// Whether the body is signed.
    pub(super) fn has_signed(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let Some((key, header)) = &self.signature else { return true };
        let text = headers.get(header).and_then(|value| value.to_str().ok()).unwrap_or_default().trim();
        let signature = from_hex(text.strip_prefix("sha256=").unwrap_or(text));
        signature.is_some_and(|signature| hmac::verify(key, body, &signature).is_ok())
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    if rest.is_empty() { bytes } else { None }
}

/// The records of a body.
///
/// # Errors
/// Why the body is not taken, for its sender; it is taken whole or not at all.
pub(super) fn records(format: BodyFormat, schema: Option<&SchemaRef>, body: &Bytes) -> Result<Rows, String> {
    let values = match format {
        BodyFormat::Raw => vec![body.clone()],
        BodyFormat::Json => {
            let whole: &RawValue =
                serde_json::from_slice(body).map_err(|error| format!("the body is no JSON: {error}"))?;
            let items: Vec<&RawValue> = match whole.get().starts_with('[') {
                true => serde_json::from_str(whole.get())
                    .map_err(|error| format!("the body is no JSON: {error}"))?,
                false => vec![whole],
            };
            items.into_iter().map(|item| body.slice_ref(item.get().as_bytes())).collect()
        }
        BodyFormat::Ndjson => {
            let mut values = Vec::new();
            for (number, line) in (1..).zip(body.split(|byte| *byte == b'\n')) {
                let line = line.trim_ascii();
                if line.is_empty() {
                    continue;
                }
                serde_json::from_slice::<&RawValue>(line)
                    .map_err(|error| format!("line {number} is no JSON: {error}"))?;
                values.push(body.slice_ref(line));
            }
            values
        }
    };
    let Some(schema) = schema.filter(|_| format != BodyFormat::Raw) else { return Ok(Rows::Raw(values)) };
    let payloads: Vec<&[u8]> = values.iter().map(Bytes::as_ref).collect();
    let decoded = JsonFormat.decode(&payloads, &Arc::clone(schema)).map_err(|error| error.to_string())?;
    if decoded.bad.is_empty() {
        return Ok(Rows::Arrow(decoded.batch));
    }
    let reason = |bad: &ottla_formats::BadRecord| format!("record {}: {}", bad.index + 1, bad.reason);
    let reasons: Vec<String> = decoded.bad.iter().take(REASONS_MAX).map(reason).collect();
    Err(format!("{} of {} records are bad: {}", decoded.bad.len(), payloads.len(), reasons.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ottla_formats::schema_of;
    use proptest::prelude::*;

    fn texts(format: BodyFormat, body: &str) -> Result<Vec<String>, String> {
        let Rows::Raw(values) = records(format, None, &Bytes::copy_from_slice(body.as_bytes()))? else {
            panic!("no schema was given")
        };
        Ok(values.iter().map(|value| String::from_utf8(value.to_vec()).unwrap()).collect())
    }

    #[test]
    fn a_body_holds_records_as_they_are_written() {
        assert_eq!(texts(BodyFormat::Json, " {\"a\": 1.10} ").unwrap(), ["{\"a\": 1.10}"]);
        assert_eq!(texts(BodyFormat::Json, "[{\"a\": 1}, 2.0]").unwrap(), ["{\"a\": 1}", "2.0"]);
        assert_eq!(texts(BodyFormat::Json, "[]").unwrap().len(), 0);
        assert_eq!(texts(BodyFormat::Ndjson, "1\r\n\n{} \n").unwrap(), ["1", "{}"]);
        assert_eq!(texts(BodyFormat::Raw, "[1]\n").unwrap(), ["[1]\n"]);
        assert!(texts(BodyFormat::Json, "[1").unwrap_err().starts_with("the body is no JSON"));
        assert!(texts(BodyFormat::Ndjson, "1\n2 3\n").unwrap_err().starts_with("line 2 is no JSON"));
    }

    #[test]
    fn one_bad_record_keeps_the_whole_body_out() {
        let schema = schema_of([("n", "int")]).unwrap();
        let body = Bytes::from_static(b"[{\"n\": 1}, {\"n\": \"x\"}]");
        let error = records(BodyFormat::Json, Some(&schema), &body).unwrap_err();
        assert!(error.starts_with("1 of 2 records are bad: record 2: column 'n'"), "{error}");
        let rows = records(BodyFormat::Json, Some(&schema), &body.slice(..9)).err();
        assert!(rows.is_some());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(body in any::<Vec<u8>>(), signature in "[0-9a-fA-Fä=sh]{0,66}") {
            let _ = from_hex(&signature);
            for format in [BodyFormat::Json, BodyFormat::Ndjson, BodyFormat::Raw] {
                let _ = records(format, Some(&schema_of([("n", "int")]).unwrap()), &Bytes::from(body.clone()));
            }
        }
    }
}
