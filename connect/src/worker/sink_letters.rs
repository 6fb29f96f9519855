//! The dead letters of a sink task: which are written already, and writing those that are not.

use std::collections::{BTreeMap, BTreeSet};

use ottla_client::{ConsumerRecord, Record, partition_of_key};

use super::cluster::{Bounds, Cluster, Topic, Writer, read_spans};
use super::dead_letter::{Letter, Stage};
use super::origin::Origin;
use crate::connector::ConsumedOffset;
use crate::error::ConnectError;

/// The dead letters of one attempt.
pub(super) struct Letters {
    pub(super) topic: Topic,
    pub(super) writer: Box<dyn Writer>,
    /// By partition of the dead-letter topic, the offset after the last letter of ours.
    pub(super) ends: BTreeMap<i32, i64>,
    /// Partition and offset of records whose letters are written though their offsets were not committed.
    written: BTreeSet<(i32, u64)>,
}

/// A record that is to become a dead letter: its index in the fetch, the stage and the reason.
pub(super) struct Bad {
    pub(super) index: usize,
    pub(super) stage: Stage,
    pub(super) reason: String,
}

/// Where records come from whose letters are written.
pub(super) struct From<'a> {
    pub(super) connector: &'a str,
    /// The connector's type.
    pub(super) class: &'a str,
    pub(super) topic: &'a str,
    pub(super) partition: i32,
}

impl From<'_> {
    fn origin(&self) -> Origin {
        Origin::new(self.connector, &format!("{}-{}", self.topic, self.partition))
    }
}

/// What the sink has stored for this very topic, by partition.
pub(super) fn stored_offsets(committed: &[ConsumedOffset], topic: &Topic) -> BTreeMap<i32, i64> {
    let of_topic = committed.iter().filter(|offset| offset.topic_id == topic.id);
    of_topic.map(|offset| (offset.partition, offset.next_offset)).collect()
}

impl Letters {
    /// Finds the letters of `topic`'s records behind the stored ends of the dead-letter topic, or, `from_end`, none.
    pub(super) async fn open(
        cluster: &dyn Cluster,
        connector: &str,
        letter_topic: Topic,
        topic: &Topic,
        committed: &[ConsumedOffset],
        from_end: bool,
    ) -> Result<Letters, ConnectError> {
        let failed = ConnectError::client(connector, "reading its dead letters");
        let bounds = cluster.bounds(&letter_topic).await.map_err(&failed)?;
        let stored = stored_offsets(committed, &letter_topic);
        let mut ends = BTreeMap::new();
        let mut spans = BTreeMap::new();
        for (partition, found) in &bounds {
            let start =
                if from_end { found.end } else { stored.get(partition).copied().unwrap_or(found.start) };
            ends.insert(*partition, start);
            spans.insert(*partition, Bounds { start: start.max(found.start), end: found.end });
        }
        let origins: Vec<(i32, Origin)> = (0..topic.partitions)
            .map(|partition| {
                let from = From { connector, class: "", topic: &topic.name, partition };
                (partition, from.origin())
            })
            .collect();
        let mut written = BTreeSet::new();
        read_spans(cluster, &letter_topic, &spans, |_, record| {
            let place = origins.iter().find_map(|(partition, origin)| {
                origin.position(&record.headers).map(|offset| (*partition, offset))
            });
            written.extend(place);
        })
        .await
        .map_err(&failed)?;
        let writer = cluster.writer().await.map_err(&failed)?;
        Ok(Letters { topic: letter_topic, writer, ends, written })
    }

    /// Writes the letters of records that are bad and waits until they are safe.
    pub(super) async fn write(
        &mut self,
        from: From<'_>,
        records: &[ConsumerRecord],
        bad: Vec<Bad>,
    ) -> Result<(), ConnectError> {
        let origin = from.origin();
        let mut letters: BTreeMap<i32, Vec<Record>> = BTreeMap::new();
        for Bad { index, stage, reason } in bad {
            let Some(record) = records.get(index) else { continue };
            let position = u64::try_from(record.offset).unwrap_or(0);
            if self.written.remove(&(from.partition, position)) {
                continue;
            }
            let letter = Letter {
                connector: from.connector,
                class: from.class,
                stage,
                topic: from.topic,
                place: Some((from.partition, record.offset)),
                line: None,
                reason: &reason,
            };
            let original = Record {
                key: record.key.clone(),
                value: record.value.clone(),
                headers: record.headers.clone(),
                timestamp_ms: Some(record.timestamp_ms),
            };
            let target = partition_of_key(&position.to_be_bytes(), self.topic.partitions);
            letters.entry(target).or_default().push(letter.record(original, Some(origin.header(position))));
        }
        let failed = ConnectError::client(from.connector, "writing dead letters");
        for (target, letters) in letters {
            let count = i64::try_from(letters.len()).unwrap_or(0);
            let sent = self.writer.send(&self.topic.name, target, letters).await.map_err(&failed)?;
            if let Some(first) = sent.await.map_err(&failed)? {
                self.ends.insert(target, first + count);
            }
        }
        Ok(())
    }
}
