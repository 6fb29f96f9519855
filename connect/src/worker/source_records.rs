//! Rows of a source as records: value, key, partition and headers, and the dead letters between them. Pure, apart from what
//! plugins do inside their walls.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use ottla_client::{Header, Record, partition_of_key};
use ottla_formats::{Format, FormatError, JsonFormat};

use super::dead_letter::{Letter, Stage};
use crate::connector::{BadInput, Rows, SourceBatch};
use crate::error::ConnectorError;
use crate::texts::texts;
use crate::transforms::{Calls, Passed, Transforms};

/// What is the same for every record of a task.
pub(crate) struct RecordMaker {
    pub(crate) connector: String,
    /// The connector's type.
    pub(crate) class: &'static str,
    pub(crate) topic: String,
    pub(crate) partitions: i32,
    /// The dead-letter topic and its partitions; without one a bad record stops the task.
    pub(crate) dead_letters: Option<(String, i32)>,
    pub(crate) key: Option<String>,
    pub(crate) format: Arc<dyn Format>,
    pub(crate) transforms: Transforms,
    /// The plugins of the transforms.
    pub(crate) calls: Calls,
}

/// A record for the dead-letter topic.
struct Unfit {
    /// The place just after it.
    position: u64,
    line: Option<u64>,
    /// What there was of it.
    original: Record,
    stage: Stage,
    reason: String,
}

impl From<BadInput> for Unfit {
    fn from(BadInput { position, line, raw, reason }: BadInput) -> Unfit {
        let (original, stage) = (Record::of_value(raw), Stage::KeyOrValueConverter);
        Unfit { position, line, original, stage, reason }
    }
}

/// A batch after the transforms of columns.
struct Changed {
    batch: SourceBatch,
    /// Of its rows, if they have any.
    headers: Vec<Vec<Header>>,
    unfit: Vec<Unfit>,
}

/// The records of one batch, by where they go.
pub(crate) struct Prepared {
    /// By topic and partition, in the order of their positions; none is empty.
    pub(crate) writes: BTreeMap<(String, i32), Vec<Record>>,
    pub(crate) good: u64,
    pub(crate) bad: u64,
}

/// Why a batch cannot be written at all.
#[derive(Debug)]
pub(crate) enum NotPrepared {
    /// The rows cannot be written now, or not at all.
    Format(FormatError),
    /// The format cannot hold the schema, or the key column is not there.
    Schema(String),
    /// A plugin failed.
    Plugin(ConnectorError),
    /// A bad record, and no dead-letter topic: its place and the reason.
    Bad { place: String, reason: String },
}

impl RecordMaker {
    /// Whether making records takes so long that it is not for an async thread.
    pub(crate) fn blocks(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Makes the records of a batch.
    pub(crate) fn prepare(&self, batch: SourceBatch) -> Result<Prepared, NotPrepared> {
        let Changed { batch, mut headers, mut unfit } = self.changed(batch)?;
        let values = self.values(&batch.rows)?;
        let keys = self.keys(&batch.rows)?;
        let made = values.into_iter().enumerate().map(|(row, value)| {
            let key = keys.as_ref().and_then(|keys| keys.get(row).cloned().flatten());
            Record { key, value: Some(value), headers: Vec::new(), timestamp_ms: None }
        });
        let records = self.called(made.collect(), &mut headers, &batch.positions, &mut unfit)?;
        let mut prepared = Prepared { writes: BTreeMap::new(), good: 0, bad: 0 };
        for (row, mut record) in records {
            if !self.transforms.pass(record.value.is_some(), &mut record.headers) {
                continue;
            }
            record.headers.extend(headers.get_mut(row).map(std::mem::take).unwrap_or_default());
            let position = batch.positions.get(row).copied().unwrap_or_default();
            let partition = partition_of(record.key.as_deref(), position, self.partitions);
            prepared.writes.entry((self.topic.clone(), partition)).or_default().push(record);
            prepared.good += 1;
        }
        unfit.extend(batch.bad.into_iter().map(Unfit::from));
        unfit.sort_by_key(|one| one.position);
        for Unfit { position, line, original, stage, reason } in unfit {
            let Some((topic, partitions)) = &self.dead_letters else {
                let place =
                    line.map_or_else(|| format!("position {position}"), |line| format!("line {line}"));
                return Err(NotPrepared::Bad { place, reason });
            };
            let letter = Letter {
                connector: &self.connector,
                class: self.class,
                stage,
                topic: &self.topic,
                place: None,
                line,
                reason: &reason,
            };
            let record = letter.record(original, None);
            let partition = partition_of(None, position, *partitions);
            prepared.writes.entry((topic.clone(), partition)).or_default().push(record);
            prepared.bad += 1;
        }
        Ok(prepared)
    }

    /// The batch after the transforms of columns; rows that one cannot change are as they came from the source.
    fn changed(&self, mut batch: SourceBatch) -> Result<Changed, NotPrepared> {
        if self.transforms.is_empty() {
            return Ok(Changed { batch, headers: Vec::new(), unfit: Vec::new() });
        }
        let Rows::Arrow(before) = &batch.rows else {
            let why = "transforms need records with columns; give the source a schema";
            return Err(NotPrepared::Schema(why.to_owned()));
        };
        let done = self.transforms.apply(before.clone()).map_err(NotPrepared::Schema)?;
        let mut unfit = Vec::new();
        for (row, reason) in done.bad {
            let raw = JsonFormat.encode(&before.slice(row, 1));
            let raw = raw.map_err(|error| NotPrepared::Schema(error.to_string()))?.pop().unwrap_or_default();
            let position = batch.positions.get(row).copied().unwrap_or_default();
            let (original, stage) = (Record::of_value(raw), Stage::Transformation);
            unfit.push(Unfit { position, line: None, original, stage, reason });
        }
        batch.positions = done.rows.iter().filter_map(|row| batch.positions.get(*row).copied()).collect();
        batch.rows = Rows::Arrow(done.batch);
        Ok(Changed { batch, headers: done.headers, unfit })
    }

    /// The records, each with its row, after the plugins, which see the headers too.
    fn called(
        &self,
        mut made: Vec<Record>,
        headers: &mut [Vec<Header>],
        positions: &[u64],
        unfit: &mut Vec<Unfit>,
    ) -> Result<Vec<(usize, Record)>, NotPrepared> {
        if self.calls.is_empty() {
            return Ok(made.into_iter().enumerate().collect());
        }
        for (record, headers) in made.iter_mut().zip(headers) {
            record.headers = std::mem::take(headers);
        }
        let Passed { records, bad } = self.calls.pass(made.clone()).map_err(NotPrepared::Plugin)?;
        for (row, reason) in bad {
            let position = positions.get(row).copied().unwrap_or_default();
            let original = made.get(row).cloned().unwrap_or_default();
            unfit.push(Unfit { position, line: None, original, stage: Stage::Transformation, reason });
        }
        Ok(records)
    }

    fn values(&self, rows: &Rows) -> Result<Vec<Bytes>, NotPrepared> {
        match rows {
            Rows::Arrow(batch) => {
                let encoded = self.format.encode_for(&self.topic, batch);
                encoded.map_err(NotPrepared::Format)
            }
            Rows::Raw(values) => Ok(values.clone()),
        }
    }

    /// The key column as text; a null has no key.
    fn keys(&self, rows: &Rows) -> Result<Option<Vec<Option<Bytes>>>, NotPrepared> {
        let Some(column) = &self.key else { return Ok(None) };
        let Rows::Arrow(batch) = rows else {
            return Err(NotPrepared::Schema(format!(
                "key: '{column}' cannot be found in records without a schema"
            )));
        };
        key_texts(batch, column).map(Some)
    }
}

fn key_texts(batch: &RecordBatch, column: &str) -> Result<Vec<Option<Bytes>>, NotPrepared> {
    let array = batch.column_by_name(column).ok_or_else(|| {
        let schema = batch.schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        NotPrepared::Schema(format!("key: there is no column '{column}'; there are: {}", names.join(", ")))
    })?;
    texts(array).map_err(|why| NotPrepared::Schema(format!("key: {why}")))
}

/// Kafka's partition of a key. Without a key the position decides, not chance, so that every run gives the same.
fn partition_of(key: Option<&[u8]>, position: u64, partitions: i32) -> i32 {
    match key {
        Some(key) => partition_of_key(key, partitions),
        None => partition_of_key(&position.to_be_bytes(), partitions),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::SourceOffset;
    use ottla_formats::schema_of;
    use serde_json::Map;

    fn maker(dead_letters: bool) -> RecordMaker {
        RecordMaker {
            connector: "csv".to_owned(),
            class: "file",
            topic: "t".to_owned(),
            partitions: 3,
            dead_letters: dead_letters.then(|| ("dlq".to_owned(), 1)),
            key: Some("k".to_owned()),
            format: Arc::new(JsonFormat),
            transforms: Transforms::default(),
            calls: Calls::default(),
        }
    }

    fn batch() -> SourceBatch {
        let schema = schema_of([("k", "timestamp?"), ("n", "int")]).unwrap();
        let payloads: [&[u8]; 2] = [br#"{"k":"2013-01-01T10:00:00Z","n":1}"#, br#"{"k":null,"n":2}"#];
        SourceBatch {
            rows: Rows::Arrow(JsonFormat.decode(&payloads, &schema).unwrap().batch),
            positions: vec![10, 30],
            bad: vec![BadInput {
                position: 20,
                line: Some(2),
                raw: Bytes::from_static(b"\xff"),
                reason: "no".to_owned(),
            }],
            resume: SourceOffset { position: 30, state: Map::new() },
        }
    }

    #[test]
    fn makes_records_with_key_and_partition_and_letters_with_their_line() {
        let prepared = maker(true).prepare(batch()).unwrap();
        assert_eq!((prepared.good, prepared.bad), (2, 1));
        let records: Vec<_> = prepared
            .writes
            .iter()
            .flat_map(|(place, records)| records.iter().map(move |r| (place, r)))
            .collect();
        let keyed = records.iter().find(|(_, record)| record.key.is_some()).unwrap();
        assert_eq!(keyed.1.key.as_deref(), Some(&b"2013-01-01T10:00:00Z"[..]));
        assert_eq!(keyed.0.1, partition_of_key(b"2013-01-01T10:00:00Z", 3));
        assert!(keyed.1.headers.is_empty());
        let letter = &prepared.writes[&("dlq".to_owned(), 0)][0];
        assert_eq!(letter.value.as_deref(), Some(&b"\xff"[..]));
        let line = letter.headers.iter().find(|header| header.key == "ottla.errors.line").unwrap();
        assert_eq!(line.value.as_deref(), Some(&b"2"[..]));
    }

    #[test]
    fn a_bad_record_without_a_dead_letter_topic_names_its_line() {
        let error = maker(false).prepare(batch()).err().unwrap();
        assert!(matches!(error, NotPrepared::Bad { place, .. } if place == "line 2"));
    }

    #[test]
    fn a_key_that_is_no_column_names_those_there_are() {
        let mut maker = maker(true);
        maker.key = Some("kk".to_owned());
        let error = maker.prepare(batch()).err().unwrap();
        assert!(
            matches!(error, NotPrepared::Schema(reason) if reason == "key: there is no column 'kk'; there are: k, n")
        );
    }

    #[tokio::test]
    async fn a_plugin_gets_records_as_they_go_to_the_topic_and_what_it_refuses_is_a_letter() {
        let schema = schema_of([("k", "string?"), ("n", "string")]).unwrap();
        let payloads: [&[u8]; 3] =
            [br#"{"k":"a","n":"x"}"#, br#"{"k":"b","n":"y!"}"#, br#"{"k":null,"n":"z"}"#];
        let rows = Rows::Arrow(JsonFormat.decode(&payloads, &schema).unwrap().batch);
        let given = SourceBatch { rows, positions: vec![10, 20, 30], ..batch() };
        let bad_input = BadInput { position: 15, ..given.bad[0].clone() };
        let given = SourceBatch { bad: vec![bad_input], ..given };
        let mut maker =
            RecordMaker { calls: crate::transforms::call_of("up", "refuse").await, ..maker(true) };
        assert!(maker.blocks());
        let prepared = maker.prepare(given.clone()).unwrap();
        assert_eq!((prepared.good, prepared.bad), (2, 2));
        let of_topic = prepared.writes.iter().filter(|((topic, _), _)| topic == "t");
        let mut values: Vec<&[u8]> = of_topic
            .flat_map(|(_, records)| records.iter().map(|record| record.value.as_deref().unwrap()))
            .collect();
        values.sort_unstable();
        assert_eq!(values, [&br#"{"K":"A","N":"X"}"#[..], br#"{"K":NULL,"N":"Z"}"#]);
        // In the order of their places, and as the plugin was given it.
        let letters = &prepared.writes[&("dlq".to_owned(), 0)];
        assert_eq!(letters[0].value.as_deref(), Some(&b"\xff"[..]));
        assert_eq!(letters[1].value.as_deref(), Some(payloads[1]));
        assert_eq!(letters[1].key.as_deref(), Some(&b"b"[..]));
        let header = |name: &str| {
            let found = letters[1].headers.iter().find(|header| header.key == name).unwrap();
            String::from_utf8(found.value.clone().unwrap().to_vec()).unwrap()
        };
        assert_eq!(header("__connect.errors.stage"), "TRANSFORMATION");
        let reason = "transforms.up: plugin `refuse`: it refused the batch: a value has a !";
        assert_eq!(header("__connect.errors.exception.message"), reason);

        maker.dead_letters = None;
        let without_bad_input = SourceBatch { bad: Vec::new(), ..given };
        let error = maker.prepare(without_bad_input).err().unwrap();
        assert!(matches!(error, NotPrepared::Bad { place, .. } if place == "position 20"));
    }
}
