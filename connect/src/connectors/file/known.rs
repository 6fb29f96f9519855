//! By what a file is known again: device and inode, its first bytes, and the bytes before the place where it was read.
//!
//! ```text
//!   byte 0 ─► start, 4096 at most        tail, 256 at most ─► position
//!   |=========|          …               |=================|  …
//! ```
//! A file may get another name or, copied, another inode; a device may get another number, and an inode another file. Its
//! bytes before the position stay what they are as long as it is only written at its end.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use ottla_formats::Position;
use serde_json::{Map, Value};

use crate::connector::SourceOffset;
use crate::fingerprint::fingerprint;

/// How much of a file's start is fingerprinted, at most.
const START_BYTES_MAX: usize = 4096;
/// How much before the position is fingerprinted, at most.
const TAIL_BYTES_MAX: usize = 256;

/// What the file system calls a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// The bytes of a file that was read from its start to `end`, as far as it takes to know it again.
#[derive(Default)]
pub(super) struct Known {
    /// The first bytes.
    start: Vec<u8>,
    /// The last bytes before `end`.
    recent: Vec<u8>,
    end: u64,
}

impl Known {
    /// Of a file that was read to `end`.
    pub(super) fn read(file: &File, end: u64) -> io::Result<Self> {
        Ok(Self {
            start: bytes_at(file, 0, length_within(end, START_BYTES_MAX))?,
            recent: bytes_before(file, end, length_within(end, TAIL_BYTES_MAX))?,
            end,
        })
    }

    /// Up to where the file was read.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Hears of the bytes that were read next.
    pub(super) fn push(&mut self, chunk: &[u8]) {
        if self.start.len() as u64 == self.end {
            let room = START_BYTES_MAX - self.start.len();
            self.start.extend_from_slice(chunk.get(..room).unwrap_or(chunk));
        }
        self.recent.drain(..self.recent.len().saturating_sub(TAIL_BYTES_MAX));
        self.recent.extend_from_slice(chunk);
        self.end += chunk.len() as u64;
    }

    /// Whether a file has these bytes, so that reading it on from `end` gives what follows.
    pub(super) fn is_of(&self, file: &File) -> io::Result<bool> {
        let tail = self.tail(self.end);
        Ok(file.metadata()?.len() >= self.end
            && bytes_at(file, 0, self.start.len())? == self.start
            && bytes_before(file, self.end, tail.len())? == tail)
    }

    /// The last bytes before a place that is not beyond `end`; none when that is too long ago.
    fn tail(&self, place: u64) -> &[u8] {
        let after = usize::try_from(self.end - place.min(self.end)).unwrap_or(usize::MAX);
        let until = self.recent.len().saturating_sub(after);
        self.recent.get(until.saturating_sub(TAIL_BYTES_MAX)..until).unwrap_or(&[])
    }

    /// What to store of a place in the file.
    pub(super) fn mark(&self, identity: Identity, bytes_before: u64, position: Position) -> Mark {
        let covered = length_within(position.byte, self.start.len());
        Mark {
            position,
            bytes_before,
            identity: Some(identity),
            start: Print::of(self.start.get(..covered).unwrap_or(&self.start)),
            tail: Some(Print::of(self.tail(position.byte))),
        }
    }
}

/// Some bytes, without the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Print {
    bytes: u64,
    fingerprint: String,
}

impl Print {
    fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, fingerprint: fingerprint([bytes]) }
    }
}

/// A place in a file and how to know the file again, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) position: Position,
    /// Bytes of the files that were read before this one: positions of the source grow from file to file.
    pub(super) bytes_before: u64,
    /// Absent, as is the tail, where an earlier version stored it.
    identity: Option<Identity>,
    start: Print,
    tail: Option<Print>,
}

impl Mark {
    /// Reads what [`offset`](Mark::offset) gave; `None` when something is missing.
    pub(super) fn parse(offset: &SourceOffset) -> Option<Self> {
        let number = |field: &str| offset.state.get(field).and_then(Value::as_u64);
        let print = |field: &str, bytes: &str| {
            let fingerprint = offset.state.get(field).and_then(Value::as_str)?.to_owned();
            Some(Print { bytes: number(bytes)?, fingerprint })
        };
        let bytes_before = number("bytes_before").unwrap_or(0);
        let byte = offset.position.checked_sub(bytes_before)?;
        let identity = number("device").zip(number("inode"));
        Some(Self {
            position: Position { byte, line: number("line")? },
            bytes_before,
            identity: identity.map(|(device, inode)| Identity { device, inode }),
            start: print("fingerprint", "fingerprint_bytes")?,
            tail: print("tail_fingerprint", "tail_bytes"),
        })
    }

    pub(super) fn offset(&self) -> SourceOffset {
        let Print { bytes, fingerprint } = &self.start;
        let mut state = Map::from_iter([
            ("line".to_owned(), Value::from(self.position.line)),
            ("fingerprint".to_owned(), Value::from(fingerprint.as_str())),
            ("fingerprint_bytes".to_owned(), Value::from(*bytes)),
        ]);
        if let Some(Identity { device, inode }) = self.identity {
            state.insert("device".to_owned(), Value::from(device));
            state.insert("inode".to_owned(), Value::from(inode));
        }
        if let Some(Print { bytes, fingerprint }) = &self.tail {
            state.insert("tail_fingerprint".to_owned(), Value::from(fingerprint.as_str()));
            state.insert("tail_bytes".to_owned(), Value::from(*bytes));
        }
        if self.bytes_before > 0 {
            state.insert("bytes_before".to_owned(), Value::from(self.bytes_before));
        }
        SourceOffset { position: self.bytes_before + self.position.byte, state }
    }

    /// Whether the file system calls a file what it called this one; `None` when that is not known.
    pub(super) fn is_named(&self, file: &File) -> io::Result<Option<bool>> {
        let found = Identity::of(&file.metadata()?);
        Ok(self.identity.map(|identity| identity == found))
    }

    /// Whether a file has the bytes before the position that this one had.
    pub(super) fn fits(&self, file: &File) -> io::Result<bool> {
        let length = |print: &Print| usize::try_from(print.bytes).unwrap_or(usize::MAX).min(START_BYTES_MAX);
        if file.metadata()?.len() < self.position.byte {
            return Ok(false);
        }
        if Print::of(&bytes_at(file, 0, length(&self.start))?) != self.start {
            return Ok(false);
        }
        let Some(tail) = &self.tail else { return Ok(true) };
        Ok(Print::of(&bytes_before(file, self.position.byte, length(tail))?) == *tail)
    }
}

fn length_within(length: u64, most: usize) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX).min(most)
}

/// So many bytes before a place, or fewer where the file ends.
fn bytes_before(file: &File, place: u64, length: usize) -> io::Result<Vec<u8>> {
    bytes_at(file, place.saturating_sub(length as u64), length)
}

/// So many bytes from a place on, or fewer where the file ends.
fn bytes_at(file: &File, place: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, place + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn numbers(count: usize) -> Vec<u8> {
        (0..count).flat_map(|number| format!("{number}\n").into_bytes()).collect()
    }

    #[test]
    fn a_file_is_known_by_its_bytes_at_every_place_however_it_was_read() {
        let bytes = numbers(3_000);
        let whole = file(&bytes);
        let identity = Identity::of(&whole.metadata().unwrap());
        for chunk in [1, 100, 5_000, 20_000] {
            let mut known = Known::default();
            for piece in bytes.chunks(chunk) {
                known.push(piece);
                assert!(known.is_of(&whole).unwrap());
                let place = known.end();
                let mark = known.mark(identity, 7, Position { byte: place, line: 3 });
                assert_eq!(mark.offset().position, 7 + place);
                assert_eq!(Mark::parse(&mark.offset()).as_ref(), Some(&mark));
                assert!(mark.fits(&whole).unwrap() && mark.is_named(&whole).unwrap().unwrap());
                let again = Known::read(&whole, place).unwrap();
                assert_eq!(again.mark(identity, 7, Position { byte: place, line: 3 }), mark);
            }
        }
        let mut known = Known::default();
        known.push(&bytes[..6_000]);
        let mark = known.mark(identity, 0, Position { byte: 5_900, line: 1 });
        assert!(mark.fits(&file(&bytes[..5_900])).unwrap());
        assert!(!mark.fits(&file(&bytes[..5_899])).unwrap());
        assert!(!known.is_of(&file(&bytes[..5_999])).unwrap());
        for changed in [0, 4_095, 5_899] {
            let mut other = bytes.clone();
            other[changed] = b'x';
            assert!(!mark.fits(&file(&other)).unwrap(), "{changed}");
        }
        let mut other = bytes.clone();
        other[5_999] = b'x';
        assert!(mark.fits(&file(&other)).unwrap() && !known.is_of(&file(&other)).unwrap());
    }

    #[test]
    fn an_offset_of_an_earlier_version_is_read() {
        let state = serde_json::json!({"line": 3, "fingerprint": fingerprint([&b"a\n1\n"[..]]), "fingerprint_bytes": 4});
        let offset = SourceOffset { position: 4, state: state.as_object().unwrap().clone() };
        let mark = Mark::parse(&offset).unwrap();
        assert_eq!((mark.position, mark.bytes_before), (Position { byte: 4, line: 3 }, 0));
        assert_eq!(mark.offset(), offset);
        let found = file(b"a\n1\n2\n");
        assert!(mark.fits(&found).unwrap() && mark.is_named(&found).unwrap().is_none());
        assert!(!mark.fits(&file(b"a\n2\n2\n")).unwrap());
    }
}
