//! Telling whole batches from damaged ones, and finding a way around the damage.
//!
//! A batch is whole when its header can be read, its CRC holds and its offsets follow those before it: base offset and
//! length stand outside of the CRC. What is damaged is refused and left where it is: neither served nor cut.

use std::os::unix::fs::FileExt;

use ottla_protocol::records::{BatchHeader, HEADER_LEN};

use super::LogError;
use super::segment::{Segment, unpoison};
use crate::ids::Offset;

/// Read at once.
const WINDOW_BYTES: usize = 256 << 10;
/// Where a batch header has its format version, and which.
const MAGIC_AT: usize = 16;
const MAGIC: u8 = 2;
/// Places of the index that are tried before a search begins at the beginning.
const STARTS_MAX: usize = 16;
/// From here on the CRC counts.
const CRC_FROM: usize = 21;

/// How the offsets of neighbouring batches relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gaps {
    /// Each batch begins where the one before it ends.
    None,
    /// Compaction may have taken batches out.
    Allowed,
}

impl Gaps {
    /// Whether a batch may begin there when this is the offset to come.
    fn allow(self, expected: i64, base_offset: i64) -> bool {
        match self {
            Gaps::None => base_offset == expected,
            Gaps::Allowed => base_offset >= expected,
        }
    }
}

/// Batches that were found whole, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole {
    /// Where they end; where they begin if there are none.
    pub end: u32,
    /// What is wrong with the batch that follows, where that is why they end.
    pub damage: Option<&'static str>,
}

/// Reads parts of a segment through a buffer.
struct Window<'a> {
    segment: &'a Segment,
    buffer: Vec<u8>,
    at: u32,
    end: u32,
}

impl<'a> Window<'a> {
    fn new(segment: &'a Segment, end: u32) -> Window<'a> {
        Window { segment, buffer: Vec::new(), at: 0, end }
    }

    /// Bytes from `position` on: at least so many, unless the end comes before.
    fn bytes(&mut self, position: u32, length_min: usize) -> Result<&[u8], LogError> {
        let left = self.end.saturating_sub(position) as usize;
        let length_min = length_min.min(left);
        let skipped = position.checked_sub(self.at).map(|skipped| skipped as usize);
        let skipped = match skipped.filter(|skipped| skipped + length_min <= self.buffer.len()) {
            Some(skipped) => skipped,
            None => {
                self.buffer.resize(length_min.max(WINDOW_BYTES.min(left)), 0);
                let read = self.segment.file()?.read_exact_at(&mut self.buffer, u64::from(position));
                read.map_err(LogError::io("read", self.segment.path()))?;
                self.at = position;
                0
            }
        };
        Ok(self.buffer.get(skipped..).unwrap_or_default())
    }

    /// The whole batch at a position, or what is wrong with it.
    fn batch(&mut self, position: u32) -> Result<Result<BatchHeader, &'static str>, LogError> {
        let Ok(header) = BatchHeader::parse(self.bytes(position, HEADER_LEN)?) else {
            return Ok(Err("the bytes are no batch header"));
        };
        let size = header.size();
        if size > self.end.saturating_sub(position) as usize {
            return Ok(Err("the batch is longer than what is there"));
        }
        let body = self.bytes(position, size)?.get(CRC_FROM..size).unwrap_or_default();
        Ok(if crc32c::crc32c(body) == header.crc { Ok(header) } else { Err("the CRC does not hold") })
    }
}

/// Walks batches from `position` to `end`, none that begins at or past the offset `up_to`. The first holds the offset
/// `expected`, or follows it where there may be gaps.
pub(super) fn whole_batches(
    segment: &Segment,
    (position, end): (u32, u32),
    (expected, up_to): (Offset, Offset),
    gaps: Gaps,
) -> Result<Whole, LogError> {
    let mut window = Window::new(segment, end);
    let mut whole = Whole { end: position, damage: None };
    let mut next = expected.0;
    while whole.end < end {
        let first = whole.end == position;
        match window.batch(whole.end)? {
            Ok(header) if header.base_offset >= up_to.0 && !first => break,
            Ok(header) if gaps.allow(next, header.base_offset) || (first && holds(&header, expected)) => {
                whole.end += header.size() as u32;
                next = header.next_offset();
            }
            Ok(_) => whole.damage = Some("its offsets do not follow"),
            Err(damage) => whole.damage = Some(damage),
        }
        if whole.damage.is_some() {
            break;
        }
    }
    Ok(whole)
}

fn holds(header: &BatchHeader, offset: Offset) -> bool {
    (header.base_offset..=header.last_offset()).contains(&offset.0)
}

/// The whole batch at `position`, whatever its base offset.
pub(super) fn whole_batch(segment: &Segment, position: u32) -> Result<Option<BatchHeader>, LogError> {
    Ok(Window::new(segment, segment.size()).batch(position)?.ok())
}

/// The next whole batch at or after `position` whose offsets are at least `offset_min`, however what is before it looks.
pub(super) fn next_whole_batch(
    segment: &Segment,
    (position, end): (u32, u32),
    offset_min: i64,
) -> Result<Option<(u32, BatchHeader)>, LogError> {
    let mut window = Window::new(segment, end);
    let offset_max = segment.base_offset.0.saturating_add(i64::from(u32::MAX));
    // Bytes that only look like a header must not make this take for ever.
    let mut budget = 4 * u64::from(end) + WINDOW_BYTES as u64;
    let mut at = position;
    while at < end && (end - at) as usize >= HEADER_LEN {
        let bytes = window.bytes(at, HEADER_LEN)?;
        let candidates = bytes.get(MAGIC_AT..).unwrap_or_default();
        let Some(skipped) = candidates.iter().position(|byte| *byte == MAGIC) else {
            at += candidates.len().max(1) as u32;
            continue;
        };
        at += skipped as u32;
        let header = BatchHeader::parse(window.bytes(at, HEADER_LEN)?).ok();
        let may_be_one = |header: &BatchHeader| {
            (offset_min..=offset_max).contains(&header.base_offset) && header.size() <= (end - at) as usize
        };
        if let Some(header) = header.filter(may_be_one) {
            if let Ok(header) = window.batch(at)? {
                return Ok(Some((at, header)));
            }
            budget = budget.saturating_sub(header.size() as u64);
            if budget == 0 {
                return Ok(None);
            }
        }
        at += 1;
    }
    Ok(None)
}

/// Where the batch that holds `offset` begins (or, where there may be gaps, the first one after it), found without trust
/// in the index or in any header. `None` where the segment ends before the offset, which only gaps allow.
///
/// # Errors
/// [`LogError::Corrupt`] where the record is in no whole batch.
pub(super) fn find_around(segment: &Segment, offset: Offset, gaps: Gaps) -> Result<Option<u32>, LogError> {
    let end = segment.size();
    let (mut position, mut expected) = trusted_start(segment, offset, end)?;
    let mut damaged = false;
    while let Some((at, header)) = next_whole_batch(segment, (position, end), expected)? {
        damaged = at != position;
        position = at + header.size() as u32;
        // The CRC vouches for everything but where the batch stands: that follows from those before it.
        let moved = !damaged && gaps == Gaps::None && header.base_offset != expected;
        let last = if moved { expected } else { header.base_offset } + i64::from(header.last_offset_delta);
        if last < offset.0 {
            expected = last + 1;
            continue;
        }
        let found = !moved && (holds(&header, offset) || (gaps == Gaps::Allowed && !damaged));
        return if found { Ok(Some(at)) } else { Err(corrupt(segment, offset, "its batch is damaged")) };
    }
    match gaps {
        Gaps::Allowed if position == end && !damaged => Ok(None),
        _ => Err(corrupt(segment, offset, "its batch is damaged or missing")),
    }
}

/// The nearest place before an offset that the index names and where there is a whole batch indeed, with that batch's
/// offset; else the beginning.
fn trusted_start(segment: &Segment, offset: Offset, end: u32) -> Result<(u32, i64), LogError> {
    let mut relative = segment.relative(offset);
    for _ in 0..STARTS_MAX {
        let start = unpoison(segment.index.read()).start_before(relative);
        let found = Window::new(segment, end).batch(start.position)?;
        if let Ok(header) = found
            && segment.is_noted(&header, start)
            && start.last.is_none_or(|last| last == segment.relative(Offset(header.last_offset())))
        {
            return Ok((start.position, header.base_offset));
        }
        match start.first.or(start.last).and_then(|noted| noted.checked_sub(1)) {
            Some(before) => relative = before,
            None => break,
        }
    }
    Ok((0, segment.base_offset.0))
}

/// An error that names the record which cannot be read.
pub(super) fn corrupt(segment: &Segment, offset: Offset, reason: &str) -> LogError {
    LogError::Corrupt { path: segment.path().to_owned(), offset, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs::{self, OpenOptions};
    use std::path::{Path, PathBuf};

    use bytes::Bytes;
    use ottla_protocol::records::Batches;
    use proptest::prelude::*;

    use super::super::tests::{append, filled, open, sequenced};
    use super::super::{LogReader, ReadError};
    use super::*;

    const RECORDS: i64 = 200;

    /// What a consumer finds that asks for one offset after the other, and is moved past what is refused.
    fn readable(reader: &LogReader) -> BTreeMap<i64, Bytes> {
        let mut found = BTreeMap::new();
        let mut next = reader.log_start();
        while next < reader.log_end() {
            match reader.read(next, reader.log_end(), 1000, true) {
                Ok(bytes) => {
                    assert!(!bytes.is_empty(), "a read below the end gives something");
                    for batch in Batches::new(bytes) {
                        let batch = batch.expect("only whole batches are given");
                        batch.check_crc().expect("no damaged batch is given");
                        for record in batch.records(1 << 20).unwrap().map(Result::unwrap) {
                            assert!(record.offset >= next.0 || batch.header.base_offset < next.0);
                            found.insert(record.offset, record.value.unwrap());
                        }
                        next = Offset(batch.header.next_offset());
                    }
                }
                Err(ReadError::Log(LogError::Corrupt { offset, .. })) => {
                    assert_eq!(offset, next);
                    next = next.plus(1);
                }
                Err(error) => panic!("{error}"),
            }
        }
        found
    }

    /// A folder in memory where there is one: thousands of syncs would take minutes.
    fn memory_dir() -> tempfile::TempDir {
        tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
    }

    fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> =
            entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
        files.sort();
        files
    }

    fn flip(path: &Path, at: u64, bit: u8) {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
    }

    /// First and last offset of the batch that holds a byte of a segment, and where it begins.
    fn batch_at(path: &Path, at: u64) -> (i64, i64, u64) {
        let mut begin = 0;
        for batch in Batches::new(Bytes::from(fs::read(path).unwrap())) {
            let batch = batch.unwrap();
            let end = begin + batch.bytes.len() as u64;
            if at < end {
                return (batch.header.base_offset, batch.header.last_offset(), begin);
            }
            begin = end;
        }
        panic!("no batch has byte {at}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// In a closed segment and in the one that is written, in headers and in records, with and without an index that
        /// leads there, after a clean stop and below the recovery point of an unclean one.
        #[test]
        fn a_flipped_bit_costs_its_batch_and_nothing_else(
            segment in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0u8..8,
            was_clean: bool, has_index: bool, in_header: bool,
        ) {
            let dir = memory_dir();
            let mut log = filled(dir.path(), RECORDS as usize / 2);
            log.close().unwrap();
            let before = readable(&log.reader());
            prop_assert_eq!(before.len() as i64, RECORDS);
            drop(log);
            let logs = files(dir.path(), "log");
            let path = &logs[segment.index(logs.len())];
            let mut byte = at.index(fs::metadata(path).unwrap().len() as usize) as u64;
            let (first, last, begin) = batch_at(path, byte);
            if in_header {
                byte = begin + byte % HEADER_LEN as u64;
            }
            flip(path, byte, bit);
            if !has_index {
                files(dir.path(), "index").iter().for_each(|path| fs::remove_file(path).unwrap());
            }
            // The very last batch may be where the log ends: that the log is shorter than it was is not for a read to say.
            let trusted_to = (!was_clean).then_some(RECORDS);
            let known = trusted_to.map(Offset);
            let opened = super::super::PartitionLog::open(dir.path(), super::super::tests::small_segments(), known);
            let log = match opened {
                Ok(log) => log,
                Err(error) => {
                    prop_assert!(last == RECORDS - 1 && error.to_string().contains(".log is corrupt"), "{}", error);
                    return Ok(());
                }
            };
            prop_assert_eq!(log.log_end(), Offset(RECORDS));
            // Twice: the first read checks, the second goes by what the first has found.
            for _ in 0..2 {
                let found = readable(&log.reader());
                for (offset, value) in &before {
                    match found.get(offset) {
                        Some(found) => prop_assert_eq!(found, value, "at {}", offset),
                        None => prop_assert!((first..=last).contains(offset), "{} is lost too", offset),
                    }
                }
                prop_assert!(found.len() <= before.len());
            }
        }

        #[test]
        fn an_index_that_leads_astray_is_not_followed(
            segment in any::<prop::sample::Index>(), noise in proptest::collection::vec(any::<u8>(), 8..64), keep in 0usize..9,
        ) {
            let dir = memory_dir();
            let mut log = filled(dir.path(), RECORDS as usize / 2);
            // Large enough for entries in the segment that is written.
            for i in 0..4 {
                append(&mut log, sequenced(5000, &[&[i; 1500]], 8, i32::from(i)));
            }
            log.close().unwrap();
            let before = readable(&log.reader());
            drop(log);
            let indexes = files(dir.path(), "index");
            let path = &indexes[segment.index(indexes.len())];
            let mut bytes = fs::read(path).unwrap();
            bytes.truncate(keep * 8);
            // Entries that grow, as those of a true index do.
            for (i, byte) in noise.iter().enumerate() {
                let grown = (i as u32 + 1) * 20 + u32::from(*byte) % 20;
                bytes.extend_from_slice(&(grown / 10).to_be_bytes());
                bytes.extend_from_slice(&grown.to_be_bytes());
            }
            fs::write(path, bytes).unwrap();
            let log = open(dir.path(), None);
            prop_assert_eq!(readable(&log.reader()), before);
        }
    }

    #[test]
    fn a_closed_segment_that_was_emptied_or_cut_is_refused_and_the_others_are_read() {
        for kept in [0, 1000] {
            let dir = memory_dir();
            let mut log = filled(dir.path(), RECORDS as usize / 2);
            log.close().unwrap();
            let before = readable(&log.reader());
            drop(log);
            let logs = files(dir.path(), "log");
            let next_base: i64 = logs[2].file_stem().unwrap().to_str().unwrap().parse().unwrap();
            let (base, ..) = batch_at(&logs[1], 0);
            OpenOptions::new().write(true).open(&logs[1]).unwrap().set_len(kept).unwrap();
            let log = open(dir.path(), None);
            let found = readable(&log.reader());
            for (offset, value) in &before {
                match found.get(offset) {
                    Some(found) => assert_eq!(found, value),
                    None => assert!((base..next_base).contains(offset), "{offset} is lost too"),
                }
            }
            assert_eq!(found.contains_key(&base), kept > 0);
        }
    }
}
