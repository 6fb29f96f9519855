//! The pages of an endpoint: what to ask for, which of the records are new, and where to go on. Pure.
//!
//! ```text
//!   page 1        page 2        page 3 (last)
//!   a b c d e  →  f g h i j  →  k l            asked for again later:  k l m n
//!                               taken: 2                              taken: 4, and m and n are new
//! ```
//! The last page is asked for again after a pause. What was in it is known by count, or with `id` by the ids that were seen
//! last.

use std::collections::{HashSet, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::config::{Pages, Paging};
use super::pointer;
use crate::fingerprint::{fingerprint, fingerprint_bits};

/// The place in the pages; it is the state of a source's offset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// What is asked for: a cursor, the URL of a page, or the last record's value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cursor: Option<String>,
    /// The number of the page, or of its first record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) number: Option<u64>,
    /// Records of this page that are taken.
    #[serde(default)]
    pub(super) taken: u64,
    /// What the server called this page when it was taken last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) etag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_modified: Option<String>,
    /// Of a document without pages: its fingerprint when it was taken last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) document: Option<String>,
    /// Fingerprints of the ids seen last, eight bytes each, as base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) seen: Option<String>,
}

/// A page as it came.
pub(super) struct Page<'a> {
    pub(super) body: &'a [u8],
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    /// The header `Link`.
    pub(super) link: Option<String>,
}

/// What a page brings.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Turned {
    /// Records that were not taken before.
    pub(super) records: Vec<Bytes>,
    /// Where to go on when these are taken.
    pub(super) place: Place,
    /// Whether there is another page now.
    pub(super) has_more: bool,
}

impl Pages {
    /// The URL to ask for.
    pub(super) fn url(&self, base: &Url, place: &Place) -> Result<Url, String> {
        let mut url = base.clone();
        let mut set = |name: &str, value: &str| {
            let kept: Vec<(String, String)> =
                url.query_pairs().filter(|(key, _)| key != name).map(|(k, v)| (k.into(), v.into())).collect();
            url.query_pairs_mut().clear().extend_pairs(kept).append_pair(name, value);
        };
        if let (Some(name), Some(size)) = (&self.limit_param, self.page_size) {
            set(name, &size.to_string());
        }
        match self.paging {
            Paging::None => {}
            Paging::Cursor | Paging::Since => {
                if let Some(cursor) = &place.cursor {
                    set(&self.cursor_param, cursor);
                }
            }
            Paging::Page => set(&self.page_param, &place.number.unwrap_or(self.first_page).to_string()),
            Paging::Offset => set(&self.offset_param, &place.number.unwrap_or(0).to_string()),
            Paging::Link => {
                if let Some(link) = &place.cursor {
                    return self.linked(base, link);
                }
            }
        }
        Ok(url)
    }

    /// Of each record the value by which what comes after it is asked for.
    fn since(&self, records: &[&RawValue]) -> Result<Vec<String>, String> {
        let value = |record: &&RawValue| {
            let value = pointer::find(record, &self.cursor).and_then(pointer::text);
            value.ok_or_else(|| {
                format!("a record has no text or number at {:?}, where `cursor` says", self.cursor)
            })
        };
        records.iter().map(value).collect()
    }

    /// How many records at the beginning are taken already: a server may begin with the record that was asked for.
    fn leading(&self, place: &Place, values: &[String]) -> usize {
        let asked = values.iter().take_while(|value| Some(*value) == place.cursor.as_ref());
        asked.count().min(usize::try_from(place.taken).unwrap_or(usize::MAX))
    }

    /// A link of the server: credentials go to no other one.
    fn linked(&self, base: &Url, link: &str) -> Result<Url, String> {
        let url = base.join(link).map_err(|error| format!("the link to the next page is no URL: {error}"))?;
        if url.origin() == base.origin() {
            return Ok(url);
        }
        Err(format!(
            "the link to the next page leads to another server, {}",
            url.origin().ascii_serialization()
        ))
    }

    /// Takes a page in.
    ///
    /// # Errors
    /// What is wrong with the page, in a sentence.
    pub(super) fn turn(&self, base: &Url, place: &Place, page: &Page<'_>) -> Result<Turned, String> {
        let body: &RawValue =
            serde_json::from_slice(page.body).map_err(|error| format!("the answer is no JSON: {error}"))?;
        let found = pointer::find(body, &self.records).ok_or_else(|| {
            format!("the answer has nothing at {:?}, where `records` says they are", self.records)
        })?;
        let records: Vec<&RawValue> = match found.get().as_bytes().first() {
            Some(b'[') => serde_json::from_str(found.get()).map_err(|error| error.to_string())?,
            // A null stands for no records, as servers have it.
            Some(b'n') => Vec::new(),
            _ => vec![found],
        };
        let mut next = Place { seen: place.seen.clone(), ..Place::default() };
        let count = records.len() as u64;
        let values = match self.paging {
            Paging::Since => self.since(&records)?,
            _ => Vec::new(),
        };
        let mut has_more = match self.paging {
            Paging::None => false,
            Paging::Cursor => {
                let cursor = pointer::find(body, &self.cursor).and_then(pointer::text);
                let cursor =
                    cursor.filter(|cursor| !cursor.is_empty() && Some(cursor) != place.cursor.as_ref());
                next.cursor.clone_from(&cursor);
                cursor.is_some()
            }
            // Told below, by what is new.
            Paging::Since => false,
            Paging::Link => {
                let link = page.link.as_deref().and_then(next_link);
                let link = link.map(|link| self.linked(base, &link)).transpose()?.map(String::from);
                next.cursor.clone_from(&link);
                link.is_some()
            }
            Paging::Page => {
                let is_full = count > 0 && self.page_size.is_none_or(|size| count >= u64::from(size));
                next.number = is_full.then(|| place.number.unwrap_or(self.first_page) + 1);
                is_full
            }
            Paging::Offset => {
                next.number = Some(place.number.unwrap_or(0) + count);
                count > 0
            }
        };
        let mut new: Vec<&RawValue> = match (&self.id, self.paging) {
            (None, Paging::Since) => records.into_iter().skip(self.leading(place, &values)).collect(),
            (Some(_), _) | (None, Paging::Offset) => records,
            (None, Paging::None) => {
                let document = fingerprint([page.body]);
                let is_same = place.document.as_ref() == Some(&document);
                next.document = Some(document);
                if is_same { Vec::new() } else { records }
            }
            // A page that has become shorter has nothing new.
            (None, Paging::Cursor | Paging::Link | Paging::Page) => {
                records.into_iter().skip(usize::try_from(place.taken).unwrap_or(usize::MAX)).collect()
            }
        };
        if let Some(id) = &self.id {
            let mut seen = Seen::read(place.seen.as_deref(), self.dedup_size);
            let mut fresh = Vec::new();
            for record in new {
                let value = pointer::find(record, id)
                    .ok_or_else(|| format!("a record has nothing at {id:?}, where `id` says its id is"))?;
                if seen.add(value.get()) {
                    fresh.push(record);
                }
            }
            next.seen = Some(seen.written());
            new = fresh;
        }
        if self.paging == Paging::Since {
            has_more = !new.is_empty();
            next.cursor = values.last().cloned().or_else(|| place.cursor.clone());
            let last = |value: &&String| Some(*value) == next.cursor.as_ref();
            next.taken = values.iter().rev().take_while(last).count() as u64;
            if next.cursor == place.cursor {
                next.taken = next.taken.max(place.taken);
            }
        } else if !has_more && self.paging != Paging::Offset {
            (next.cursor, next.number) = (place.cursor.clone(), place.number);
            next.taken = if self.id.is_none() { count.max(place.taken) } else { 0 };
            (next.etag, next.last_modified) = (page.etag.clone(), page.last_modified.clone());
        }
        if self.paging == Paging::None {
            next.taken = 0;
        }
        let records = new.into_iter().map(|record| Bytes::copy_from_slice(record.get().as_bytes())).collect();
        Ok(Turned { records, place: next, has_more })
    }
}

/// The target of `rel="next"` (RFC 8288).
fn next_link(header: &str) -> Option<String> {
    let mut rest = header;
    loop {
        let start = rest.find('<')?;
        let (target, parameters) = rest.get(start + 1..)?.split_once('>')?;
        let (mut own, others) = split_unquoted(parameters, ',');
        while !own.is_empty() {
            let (parameter, after) = split_unquoted(own, ';');
            own = after;
            let Some((name, value)) = parameter.split_once('=') else { continue };
            let mut words = value.trim().trim_matches('"').split_ascii_whitespace();
            if name.trim().eq_ignore_ascii_case("rel") && words.any(|word| word.eq_ignore_ascii_case("next"))
            {
                return Some(target.trim().to_owned());
            }
        }
        rest = others;
    }
}

/// What is before and after the first of a letter that is in no quoted text.
fn split_unquoted(text: &str, at: char) -> (&str, &str) {
    let mut is_quoted = false;
    for (place, letter) in text.char_indices() {
        match letter {
            '"' => is_quoted = !is_quoted,
            letter if letter == at && !is_quoted => {
                return (text.get(..place).unwrap_or(text), text.get(place + 1..).unwrap_or(""));
            }
            _ => {}
        }
    }
    (text, "")
}

/// The ids seen last, oldest first, no more than a number of them.
struct Seen {
    order: VecDeque<u64>,
    all: HashSet<u64>,
    size: usize,
}

impl Seen {
    fn read(text: Option<&str>, size: usize) -> Seen {
        // What cannot be read was not written here: nothing is known then.
        let bytes = text.and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
        let order: VecDeque<u64> =
            bytes.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        Seen { all: order.iter().copied().collect(), order, size }
    }

    /// Whether it is new.
    fn add(&mut self, id: &str) -> bool {
        let id = fingerprint_bits([id.as_bytes()]);
        if !self.all.insert(id) {
            return false;
        }
        self.order.push_back(id);
        while self.order.len() > self.size {
            if let Some(oldest) = self.order.pop_front() {
                self.all.remove(&oldest);
            }
        }
        true
    }

    fn written(&self) -> String {
        let bytes: Vec<u8> = self.order.iter().flat_map(|id| id.to_le_bytes()).collect();
        STANDARD.encode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_next_page_is_found_among_links() {
        for (header, next) in [
            ("<https://a/2>; rel=\"next\"", Some("https://a/2")),
            ("<a,b>; rel=prev; title=\"x, <y>; rel=next\", < /3 >; REL = \"last next\"", Some("/3")),
            ("<x>; rel=nextish, <y", None),
            ("rel=next", None),
        ] {
            assert_eq!(next_link(header).as_deref(), next, "{header}");
        }
    }

    #[test]
    fn only_the_ids_seen_last_are_remembered() {
        let mut seen = Seen::read(None, 2);
        assert!(seen.add("1") && seen.add("2") && !seen.add("1") && seen.add("3"));
        let mut again = Seen::read(Some(&seen.written()), 2);
        assert!(!again.add("2") && !again.add("3") && again.add("1"));
        assert!(Seen::read(Some("no base64"), 2).add("1"));
    }

    proptest! {
        #[test]
        fn random_headers_never_panic(header in ".{0,60}", links in "[<>;,=\" relnxt]{0,60}") {
            let _ = (next_link(&header), next_link(&links));
        }

        #[test]
        fn a_place_round_trips(
            cursor in proptest::option::of(".{0,8}"),
            number in proptest::option::of(any::<u64>()),
            taken: u64,
            etag in proptest::option::of(".{0,8}"),
            ids in proptest::collection::vec("[a-z]{1,4}", 0..20),
        ) {
            let mut seen = Seen::read(None, 10);
            for id in &ids {
                seen.add(id);
            }
            let place = Place { cursor, number, taken, etag, seen: Some(seen.written()), ..Place::default() };
            let stored = serde_json::to_string(&place).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Place>(&stored).unwrap(), &place);
            let read = Seen::read(place.seen.as_deref(), 10);
            prop_assert_eq!(read.order, seen.order);
        }
    }
}
