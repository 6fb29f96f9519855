//! The `ottla.source` header of a stage's outputs: `<stage>/<input partition>@<position>`, e.g.
//! `p.split/raw-3@4711`.

use bytes::Bytes;
use ottla_client::{Header, TopicPartition};

/// The header's key, as Connect's sources write it too.
pub const HEADER: &str = "ottla.source";

/// Where an output comes from: which output of which input record.
///
/// ```text
///   63            16 15          0
///   | input offset  | which output |      so it grows from record to record, and among the outputs of one
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(pub u64);

/// Outputs that one record may have.
pub const OUTPUTS_MAX: u32 = 1 << 16;

impl Position {
    pub fn new(offset: i64, output: u32) -> Position {
        Position((offset.cast_unsigned() << 16) | u64::from(output.min(OUTPUTS_MAX - 1)))
    }
}

/// Writes and reads the header of one stage.
#[derive(Clone, Debug)]
pub struct Origin {
    stage: String,
}

impl Origin {
    pub fn new(stage: &str) -> Origin {
        Origin { stage: stage.to_owned() }
    }

    pub fn header(&self, input: &TopicPartition, position: Position) -> Header {
        let text = format!("{}/{}-{}@{}", self.stage, input.topic, input.partition, position.0);
        Header { key: HEADER.into(), value: Some(Bytes::from(text)) }
    }

    /// Input partition and position of a record, if this stage wrote it.
    pub fn read(&self, headers: &[Header]) -> Option<(TopicPartition, Position)> {
        let header = headers.iter().find(|header| header.key == HEADER.as_bytes())?;
        let text = std::str::from_utf8(header.value.as_deref()?).ok()?;
        let (partition, position) = text.strip_prefix(&*self.stage)?.strip_prefix('/')?.rsplit_once('@')?;
        let (topic, partition) = partition.rsplit_once('-')?;
        Some((TopicPartition::new(topic, partition.parse().ok()?), Position(position.parse().ok()?)))
    }
}

/// Whether a header belongs to the record itself, and not to how it came about: a record made of another does not inherit that.
pub fn is_own(name: &[u8]) -> bool {
    name != HEADER.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_gives_back_its_place_and_nobody_elses() {
        let origin = Origin::new("p.split");
        let input = TopicPartition::new("raw-lines", 3);
        let header = origin.header(&input, Position::new(41, 2));
        assert_eq!(header.value.as_deref(), Some(&b"p.split/raw-lines-3@2686978"[..]));
        assert_eq!(origin.read(std::slice::from_ref(&header)), Some((input, Position::new(41, 2))));
        assert_eq!(Origin::new("p.spli").read(&[header]), None);
        let odd = Header { key: HEADER.into(), value: Some(Bytes::from_static(b"p.split/raw@x")) };
        assert_eq!(origin.read(&[odd]), None);
        assert_eq!(origin.read(&[]), None);
    }

    #[test]
    fn positions_grow_with_offsets_and_among_a_records_outputs() {
        let positions = [
            Position::new(0, 0),
            Position::new(0, 1),
            Position::new(0, 70_000),
            Position::new(1, 0),
            Position::new(1 << 40, 3),
        ];
        assert!(positions.is_sorted());
    }
}
