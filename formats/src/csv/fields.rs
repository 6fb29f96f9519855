//! Where a CSV record ends and where its fields are (RFC 4180).
//!
//! A general CSV reader is lenient: it takes a quote that never closes for a field that reaches to the end of the file,
//! and does not say where in the file a record ended. Both matter here, so the scan is our own: strict about quotes,
//! exact about positions, and it copies nothing.
//!
//! A record ends at `\n` or `\r\n` outside quotes. A field that starts with `"` is quoted, and `""` in it is one quote;
//! a quote later in a field is an ordinary character, as most programs write and read it.

use std::borrow::Cow;

/// One field of a record, as offsets into the scanned bytes, quotes left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FieldSpan {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) quoted: bool,
    /// Holds `""` pairs that stand for one quote.
    pub(crate) escaped: bool,
}

/// What the front of a buffer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scan {
    /// A whole record.
    Record {
        /// Just after the record's line end.
        len: usize,
        /// Just before it.
        content_len: usize,
        /// Line ends within `len`.
        lines: u64,
        /// Where text follows a closing quote, if it does: the record is malformed.
        stray: Option<usize>,
    },
    /// The record's end is not in the buffer. `open_quote` says that a quoted field is still open.
    Incomplete { open_quote: bool },
}

/// Scans the record at the front of `bytes` and leaves its fields in `fields`. With `at_end` the end of `bytes` ends
/// a record too.
pub(crate) fn scan_record(bytes: &[u8], delimiter: u8, at_end: bool, fields: &mut Vec<FieldSpan>) -> Scan {
    fields.clear();
    let mut at = 0;
    let mut lines = 0;
    let mut stray = None;
    loop {
        let start = at;
        let mut escaped = false;
        let quoted = bytes.get(at) == Some(&b'"');
        let mut end = None;
        if quoted {
            match closing_quote(bytes, at + 1, &mut lines, &mut escaped) {
                Some(close) => {
                    end = Some(close);
                    at = close + 1;
                }
                None => return Scan::Incomplete { open_quote: true },
            }
        }
        let text_from = at;
        let stop = find(bytes, at, |byte| byte == delimiter || byte == b'\n');
        let stop_at = match stop {
            Some(stop_at) => stop_at,
            None if at_end => bytes.len(),
            None => return Scan::Incomplete { open_quote: false },
        };
        let at_delimiter = stop.is_some() && bytes.get(stop_at) == Some(&delimiter);
        let mut content_end = stop_at;
        if !at_delimiter && stop_at > text_from && bytes.get(stop_at - 1) == Some(&b'\r') {
            content_end -= 1;
        }
        match end {
            Some(end) => {
                if content_end > text_from && stray.is_none() {
                    stray = Some(text_from);
                }
                fields.push(FieldSpan { start: start + 1, end, quoted, escaped });
            }
            None => fields.push(FieldSpan { start, end: content_end, quoted, escaped }),
        }
        if at_delimiter {
            at = stop_at + 1;
            continue;
        }
        let newline = usize::from(stop.is_some());
        return Scan::Record {
            len: stop_at + newline,
            content_len: content_end,
            lines: lines + newline as u64,
            stray,
        };
    }
}

/// The text of a field; only one with `""` in it is copied.
pub(crate) fn unescape<'a>(text: &'a str, span: &FieldSpan) -> Cow<'a, str> {
    if span.escaped { Cow::Owned(text.replace("\"\"", "\"")) } else { Cow::Borrowed(text) }
}

/// The quote that closes a field whose text starts at `from`.
fn closing_quote(bytes: &[u8], from: usize, lines: &mut u64, escaped: &mut bool) -> Option<usize> {
    let mut at = from;
    loop {
        at = find(bytes, at, |byte| byte == b'"' || byte == b'\n')?;
        if bytes.get(at) == Some(&b'\n') {
            *lines += 1;
            at += 1;
        } else if bytes.get(at + 1) == Some(&b'"') {
            *escaped = true;
            at += 2;
        } else {
            return Some(at);
        }
    }
}

fn find(bytes: &[u8], from: usize, wanted: impl Fn(u8) -> bool) -> Option<usize> {
    bytes.get(from..)?.iter().position(|byte| wanted(*byte)).map(|found| from + found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields_of(record: &str) -> (Vec<String>, Scan) {
        let mut spans = Vec::new();
        let scan = scan_record(record.as_bytes(), b',', true, &mut spans);
        let texts = spans
            .iter()
            .map(|span| unescape(&record[span.start..span.end], span).into_owned())
            .collect::<Vec<_>>();
        (texts, scan)
    }

    #[test]
    fn cuts_plain_quoted_and_empty_fields() {
        let (fields, scan) = fields_of("a,\"b \"\"x\"\", c\",,\"\"\r\nnext");
        assert_eq!(fields, ["a", "b \"x\", c", "", ""]);
        assert_eq!(scan, Scan::Record { len: 20, content_len: 18, lines: 1, stray: None });
    }

    #[test]
    fn counts_the_lines_within_quotes() {
        let (fields, scan) = fields_of("1,\"two\r\nlines\"\n");
        assert_eq!(fields, ["1", "two\r\nlines"]);
        assert_eq!(scan, Scan::Record { len: 15, content_len: 14, lines: 2, stray: None });
    }

    #[test]
    fn takes_a_quote_inside_a_plain_field_for_a_character() {
        assert_eq!(fields_of("5\" pipe,x").0, ["5\" pipe", "x"]);
    }

    #[test]
    fn notices_text_after_a_closing_quote() {
        let (_, scan) = fields_of("\"a\"b,c\n");
        assert_eq!(scan, Scan::Record { len: 7, content_len: 6, lines: 1, stray: Some(3) });
    }

    #[test]
    fn an_open_quote_is_never_a_record() {
        let (_, scan) = fields_of("a,\"b\nc\n");
        assert_eq!(scan, Scan::Incomplete { open_quote: true });
    }

    #[test]
    fn waits_for_what_may_follow_when_the_file_goes_on() {
        let mut spans = Vec::new();
        // The quote may be the first of a pair, the \r the first half of a line end.
        for bytes in [&b"a,\"b\""[..], b"a,b\r", b"a,b", b""] {
            assert!(matches!(scan_record(bytes, b',', false, &mut spans), Scan::Incomplete { .. }));
        }
    }
}
