//! Records of a partition as batches for a sink, in their order, and the bad ones beside them. Pure, apart from what plugins do
//! inside their walls.

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use bytes::Bytes;
use ottla_client::{ConsumerRecord, Record};
use ottla_formats::{Format, FormatError, JsonFormat};
use serde_json::Value;

use crate::connector::{Operation, Rows, SinkBatch};
use crate::error::ConnectorError;
use crate::transforms::{Calls, Passed, Places, Transforms};

/// How a task's records are read.
pub(crate) struct RecordReader {
    pub(crate) format: Arc<dyn Format>,
    /// The columns of the values; without one they stay raw.
    pub(crate) schema: Option<SchemaRef>,
    /// What is done to the rows of values.
    transforms: Transforms,
    /// The plugins that records go through before.
    calls: Calls,
    /// The columns of a delete; `None` when the sink cannot delete.
    key_schema: Option<SchemaRef>,
}

/// A run of records with the same operation.
pub(crate) struct Run {
    pub(crate) batch: SinkBatch,
    /// For each row of the batch, the index of its record; of several rows, where a plugin has made several of it.
    pub(crate) records: Vec<usize>,
}

impl Run {
    /// Leaves out the rows of records that are not kept; `kept` begins with the record at `from`.
    fn keep(&mut self, kept: Option<&[bool]>, from: usize) -> Result<(), FormatError> {
        let Some(kept) = kept.filter(|kept| kept.contains(&false)) else { return Ok(()) };
        let is_kept = |record: &usize| kept.get(record - from) == Some(&true);
        let mask: Vec<bool> = self.records.iter().map(is_kept).collect();
        match &mut self.batch.rows {
            Rows::Arrow(rows) => *rows = filter_record_batch(rows, &BooleanArray::from(mask))?,
            Rows::Raw(values) => {
                let mut mask = mask.into_iter();
                values.retain(|_| mask.next() == Some(true));
            }
        }
        self.records.retain(is_kept);
        Ok(())
    }
}

/// What came of a slice of records. Every record is in a run, bad, or left out by a transform.
pub(crate) struct Read {
    /// To be written in this order.
    pub(crate) runs: Vec<Run>,
    /// What could not be read: index of the record, and the reason.
    pub(crate) bad: Vec<(usize, String)>,
    /// What a transform could not change, or refuses.
    pub(crate) refused: Vec<(usize, String)>,
}

/// Why records are not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRead {
    #[error("{0}")]
    Format(#[from] FormatError),
    #[error("{0}")]
    Plugin(#[from] ConnectorError),
}

impl Read {
    fn push(&mut self, run: Run) {
        if !run.records.is_empty() {
            self.runs.push(run);
        }
    }
}

impl RecordReader {
    /// `key_columns` are the sink's; they must be in the schema that the transforms lead to, or a delete is a bad record.
    ///
    /// # Errors
    /// When the transforms need other columns, or there are none.
    pub(crate) fn new(
        format: Arc<dyn Format>,
        schema: Option<SchemaRef>,
        transforms: Transforms,
        key_columns: &[String],
    ) -> Result<Self, String> {
        let written = written_schema(schema.as_ref(), &transforms)?;
        let key_schema = written.as_ref().filter(|_| !key_columns.is_empty()).and_then(|schema| {
            let fields: Option<Vec<Field>> =
                key_columns.iter().map(|name| schema.field_with_name(name).ok().cloned()).collect();
            fields.map(|fields| Arc::new(Schema::new(fields)))
        });
        Ok(Self { format, schema, transforms, calls: Calls::default(), key_schema })
    }

    /// The same with the plugins of its transforms.
    pub(crate) fn calling(mut self, calls: Calls) -> Self {
        self.calls = calls;
        self
    }

    /// Takes records through the plugins, if there are any, and reads what comes of them.
    pub(crate) fn read(&self, partition: i32, records: &[ConsumerRecord]) -> Result<Read, NotRead> {
        if self.calls.is_empty() {
            return Ok(self.read_runs(partition, records)?);
        }
        let given = records.iter().map(|record| Record {
            key: record.key.clone(),
            value: record.value.clone(),
            headers: record.headers.clone(),
            timestamp_ms: Some(record.timestamp_ms),
        });
        let Passed { records: passed, bad: refused } = self.calls.pass(given.collect())?;
        let passed = passed.into_iter().filter_map(|(index, record)| {
            let before = records.get(index)?;
            let Record { key, value, headers, timestamp_ms } = record;
            let timestamp_ms = timestamp_ms.unwrap_or(before.timestamp_ms);
            let (offset, leader_epoch) = (before.offset, before.leader_epoch);
            Some((index, ConsumerRecord { offset, timestamp_ms, key, value, headers, leader_epoch }))
        });
        let (indexes, passed): (Vec<usize>, Vec<ConsumerRecord>) = passed.unzip();
        let mut read = self.read_runs(partition, &passed)?;
        let of_runs = read.runs.iter_mut().flat_map(|run| &mut run.records);
        let of_bad = read.bad.iter_mut().chain(&mut read.refused).map(|(index, _)| index);
        for index in of_runs.chain(of_bad) {
            *index = indexes.get(*index).copied().unwrap_or(usize::MAX);
        }
        read.refused.extend(refused);
        Ok(read)
    }

    /// Reads records into runs: values as the schema's columns, records without a value as the key's.
    fn read_runs(&self, partition: i32, records: &[ConsumerRecord]) -> Result<Read, FormatError> {
        let mut read = Read { runs: Vec::new(), bad: Vec::new(), refused: Vec::new() };
        let kept = self.kept(records);
        let mut from = 0;
        while from < records.len() {
            let rest = records.get(from..).unwrap_or(&[]);
            let has_value = rest.first().is_some_and(|record| record.value.is_some());
            let length = rest.iter().take_while(|record| record.value.is_some() == has_value).count();
            let run = rest.get(..length).unwrap_or(rest);
            let kept = kept.as_ref().and_then(|kept| kept.get(from..from + length));
            if has_value {
                self.read_values(partition, run, kept, from, &mut read)?;
            } else {
                self.read_deletes(run, kept, from, &mut read)?;
            }
            from += length;
        }
        for run in &mut read.runs {
            let key = |record: &usize| records.get(*record).and_then(|record| record.key.clone());
            run.batch.keys = run.records.iter().map(key).collect();
        }
        Ok(read)
    }

    /// Which records are not left out; `None` when all are kept.
    fn kept(&self, records: &[ConsumerRecord]) -> Option<Vec<bool>> {
        let pass = |record: &ConsumerRecord| {
            self.transforms.pass(record.value.is_some(), &mut record.headers.clone())
        };
        self.transforms.has_steps().then(|| records.iter().map(pass).collect())
    }

    fn read_values(
        &self,
        partition: i32,
        records: &[ConsumerRecord],
        kept: Option<&[bool]>,
        from: usize,
        read: &mut Read,
    ) -> Result<(), FormatError> {
        let values = records.iter().filter_map(|record| record.value.as_ref());
        let Some(schema) = &self.schema else {
            let rows = Rows::Raw(values.cloned().collect());
            let indexes = (from..from + records.len()).collect();
            let mut run = Run { batch: SinkBatch::new(Operation::Write, rows), records: indexes };
            run.keep(kept, from)?;
            read.push(run);
            return Ok(());
        };
        let payloads: Vec<&[u8]> = values.map(Bytes::as_ref).collect();
        let runs_before = read.runs.len();
        decode(&*self.format, &payloads, schema, Operation::Write, from, read)?;
        if read.runs.len() > runs_before
            && let Some(mut run) = read.runs.pop()
        {
            run.keep(kept, from)?;
            if !self.transforms.is_empty() {
                self.transform(partition, records, from, &mut run, &mut read.refused);
            }
            read.push(run);
        }
        Ok(())
    }

    /// Changes the rows of a run; those that cannot be are bad records.
    fn transform(
        &self,
        partition: i32,
        records: &[ConsumerRecord],
        from: usize,
        run: &mut Run,
        refused: &mut Vec<(usize, String)>,
    ) {
        let Rows::Arrow(rows) = &run.batch.rows else { return };
        let mut places = Places { partition: Some(partition), ..Places::default() };
        if self.transforms.needs_places() {
            let of_run = run.records.iter().filter_map(|record| records.get(record - from));
            (places.offsets, places.timestamps_ms) =
                of_run.map(|record| (record.offset, record.timestamp_ms)).unzip();
        }
        match self.transforms.apply_at(rows.clone(), &places) {
            Ok(done) => {
                let record = |row: &usize| run.records.get(*row).copied();
                refused
                    .extend(done.bad.into_iter().filter_map(|(row, reason)| Some((record(&row)?, reason))));
                run.records = done.rows.iter().filter_map(record).collect();
                run.batch.rows = Rows::Arrow(done.batch);
            }
            Err(reason) => refused.extend(run.records.drain(..).map(|record| (record, reason.clone()))),
        }
    }

    fn read_deletes(
        &self,
        records: &[ConsumerRecord],
        kept: Option<&[bool]>,
        from: usize,
        read: &mut Read,
    ) -> Result<(), FormatError> {
        let Some(schema) = &self.key_schema else {
            let reason = "the record has no value, and this sink has no primary key to delete by";
            let is_kept = |index: &usize| kept.is_none_or(|kept| kept.get(index - from) == Some(&true));
            let indexes = (from..from + records.len()).filter(is_kept);
            read.bad.extend(indexes.map(|index| (index, reason.to_owned())));
            return Ok(());
        };
        let payloads: Vec<Vec<u8>> =
            records.iter().map(|record| key_object(record.key.as_deref(), schema)).collect();
        let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        let runs_before = read.runs.len();
        decode(&JsonFormat, &payloads, schema, Operation::Delete, from, read)?;
        if read.runs.len() > runs_before
            && let Some(mut run) = read.runs.pop()
        {
            run.keep(kept, from)?;
            read.push(run);
        }
        Ok(())
    }
}

/// The columns that a sink gets.
///
/// # Errors
/// When the transforms need other columns, or there are none.
pub(crate) fn written_schema(
    schema: Option<&SchemaRef>,
    transforms: &Transforms,
) -> Result<Option<SchemaRef>, String> {
    match schema {
        Some(schema) => transforms.schema(schema).map(Some),
        None if transforms.is_empty() => Ok(None),
        None => Err("transforms need records with columns; give the sink a schema (value.schema)".to_owned()),
    }
}

fn decode(
    format: &dyn Format,
    payloads: &[&[u8]],
    schema: &SchemaRef,
    operation: Operation,
    from: usize,
    read: &mut Read,
) -> Result<(), FormatError> {
    let decoded = format.decode(payloads, schema)?;
    let index_of = |index: u32| from + usize::try_from(index).unwrap_or(usize::MAX);
    read.bad.extend(decoded.bad.into_iter().map(|bad| (index_of(bad.index), bad.reason)));
    if !decoded.rows.is_empty() {
        let records = decoded.rows.into_iter().map(index_of).collect();
        read.runs.push(Run { batch: SinkBatch::new(operation, Rows::Arrow(decoded.batch)), records });
    }
    Ok(())
}

/// A record's key as a JSON object of the key columns: it is one already, or it is the text of the only column.
fn key_object(key: Option<&[u8]>, schema: &SchemaRef) -> Vec<u8> {
    let key = key.unwrap_or_default();
    let is_object = serde_json::from_slice::<Value>(key).is_ok_and(|value| value.is_object());
    let [field] = schema.fields().as_ref() else { return key.to_vec() };
    if is_object {
        return key.to_vec();
    }
    let object_with = |value: Value| serde_json::json!({ field.name(): value }).to_string().into_bytes();
    let text = object_with(Value::String(String::from_utf8_lossy(key).into_owned()));
    let fits =
        |payload: &[u8]| JsonFormat.decode(&[payload], schema).is_ok_and(|decoded| decoded.bad.is_empty());
    match serde_json::from_slice::<Value>(key) {
        Ok(value) if !fits(&text) => object_with(value),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ottla_formats::schema_of;

    fn record(key: Option<&str>, value: Option<&str>) -> ConsumerRecord {
        ConsumerRecord {
            offset: 0,
            timestamp_ms: 0,
            key: key.map(|key| Bytes::copy_from_slice(key.as_bytes())),
            value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
            headers: Vec::new(),
            leader_epoch: -1,
        }
    }

    fn reader(key_columns: &[&str]) -> RecordReader {
        let schema = schema_of([("k", "string"), ("n", "int?")]).unwrap();
        let key_columns: Vec<String> = key_columns.iter().map(|name| (*name).to_owned()).collect();
        RecordReader::new(Arc::new(JsonFormat), Some(schema), Transforms::default(), &key_columns).unwrap()
    }

    #[test]
    fn keeps_the_order_of_writes_and_deletes_and_the_bad_beside_them() {
        let records = [
            record(None, Some(r#"{"k":"a","n":1}"#)),
            record(None, Some("oops")),
            record(Some("a"), None),
            record(Some(r#"{"k":"b"}"#), None),
            record(Some(r#"{"x":1}"#), None),
            record(None, Some(r#"{"k":"a"}"#)),
        ];
        let read = reader(&["k"]).read(3, &records).unwrap();
        let runs: Vec<_> = read.runs.iter().map(|run| (run.batch.operation, run.records.clone())).collect();
        assert_eq!(
            runs,
            [(Operation::Write, vec![0]), (Operation::Delete, vec![2, 3]), (Operation::Write, vec![5])]
        );
        assert_eq!(read.runs[1].batch.keys, [Some("a".into()), Some(r#"{"k":"b"}"#.into())]);
        let bad: Vec<usize> = read.bad.iter().map(|(index, _)| *index).collect();
        assert_eq!(bad, [1, 4]);
    }

    #[test]
    fn a_delete_is_bad_where_nothing_can_be_deleted() {
        let read = reader(&[]).read(3, &[record(Some("a"), None)]).unwrap();
        assert!(read.runs.is_empty());
        assert!(read.bad[0].1.contains("no primary key"));
    }

    #[test]
    fn a_key_is_the_text_of_its_column_whatever_its_type() {
        for (word, key, object) in [
            ("string", "12", r#"{"c":"12"}"#),
            ("string", "JFK", r#"{"c":"JFK"}"#),
            ("int", "12", r#"{"c":12}"#),
            ("timestamp", "2013-01-01T10:00:00Z", r#"{"c":"2013-01-01T10:00:00Z"}"#),
            ("int", r#"{"c":7}"#, r#"{"c":7}"#),
        ] {
            let schema = schema_of([("c", word)]).unwrap();
            assert_eq!(String::from_utf8(key_object(Some(key.as_bytes()), &schema)).unwrap(), object);
        }
    }

    #[test]
    fn records_that_a_transform_leaves_out_are_in_no_run_and_not_bad() {
        let class = "org.apache.kafka.connect.transforms.";
        let properties = [
            ("transforms", "filter".to_owned()),
            ("transforms.filter.type", format!("{class}Filter")),
            ("transforms.filter.predicate", "skipped".to_owned()),
            ("predicates", "skipped".to_owned()),
            ("predicates.skipped.type", format!("{class}predicates.HasHeaderKey")),
            ("predicates.skipped.name", "skip".to_owned()),
        ];
        let properties = properties.map(|(name, value)| (name.to_owned(), value)).into();
        let (routes, errors) = crate::transforms::read(&properties, "t");
        assert_eq!(errors, []);
        let schema = schema_of([("k", "string"), ("n", "int?")]).unwrap();
        let keys = ["k".to_owned()];
        let mut records = [
            record(None, Some(r#"{"k":"a"}"#)),
            record(None, Some(r#"{"k":"b"}"#)),
            record(Some("c"), None),
            record(Some("d"), None),
            record(None, Some(r#"{"k":"e"}"#)),
        ];
        for skipped in [0, 3, 4] {
            records[skipped].headers.push(ottla_client::Header { key: "skip".into(), value: None });
        }
        for (schema, expected) in [
            (Some(schema), vec![(Operation::Write, vec![1]), (Operation::Delete, vec![2])]),
            (None, vec![(Operation::Write, vec![1])]),
        ] {
            let keys = if schema.is_some() { &keys[..] } else { &[] };
            let transforms = routes.transforms.clone();
            let reader = RecordReader::new(Arc::new(JsonFormat), schema, transforms, keys).unwrap();
            let read = reader.read(3, &records).unwrap();
            let runs: Vec<_> =
                read.runs.iter().map(|run| (run.batch.operation, run.records.clone())).collect();
            assert_eq!(runs, expected);
            assert!(read.runs.iter().all(|run| run.batch.rows.len() == 1));
            let bad: Vec<usize> = read.bad.iter().map(|(index, _)| *index).collect();
            // Without a key nothing can be deleted, and what is left out needs not be.
            assert_eq!(bad, if keys.is_empty() { vec![2] } else { Vec::new() });
        }
    }

    #[test]
    fn rows_can_tell_where_they_were_read() {
        let class = "org.apache.kafka.connect.transforms.";
        let properties = [
            ("transforms", "cast, at".to_owned()),
            ("transforms.cast.type", format!("{class}Cast$Value")),
            ("transforms.cast.spec", "k:int64".to_owned()),
            ("transforms.at.type", format!("{class}InsertField$Value")),
            ("transforms.at.offset.field", "o".to_owned()),
            ("transforms.at.partition.field", "p".to_owned()),
            ("transforms.at.timestamp.field", "t".to_owned()),
        ];
        let properties = properties.map(|(name, value)| (name.to_owned(), value)).into();
        let (routes, errors) = crate::transforms::read(&properties, "t");
        assert_eq!(errors, []);
        let schema = schema_of([("k", "string")]).unwrap();
        let mut records = ["1", "x", "2", "{"]
            .map(|k| record(None, Some(&*format!("{{\"k\":\"{k}\"}}").replace("\"{\"", ""))));
        for (record, offset) in records.iter_mut().zip(40..) {
            (record.offset, record.timestamp_ms) = (offset, offset * 1_000);
        }
        let reader = RecordReader::new(Arc::new(JsonFormat), Some(schema), routes.transforms, &[]).unwrap();
        let read = reader.read(3, &records).unwrap();
        let Rows::Arrow(rows) = &read.runs[0].batch.rows else { panic!("rows without columns") };
        let lines: Vec<_> = JsonFormat.encode(rows).unwrap();
        assert_eq!(
            lines,
            [
                r#"{"k":1,"o":40,"p":3,"t":"1970-01-01T00:00:40Z"}"#,
                r#"{"k":2,"o":42,"p":3,"t":"1970-01-01T00:00:42Z"}"#,
            ]
        );
        let bad: Vec<usize> = read.bad.iter().map(|(index, _)| *index).collect();
        let refused: Vec<usize> = read.refused.iter().map(|(index, _)| *index).collect();
        assert_eq!((bad, refused), (vec![3], vec![1]));
    }

    #[test]
    fn values_without_a_schema_stay_as_they_are() {
        let reader = RecordReader::new(Arc::new(JsonFormat), None, Transforms::default(), &[]).unwrap();
        let read = reader.read(3, &[record(None, Some("anything"))]).unwrap();
        assert!(matches!(&read.runs[0].batch.rows, Rows::Raw(values) if values[0] == "anything"));
    }

    #[tokio::test]
    async fn records_go_through_plugins_before_they_are_read_and_keep_whose_they_are() {
        let records = [
            record(Some("a"), Some("{\"k\":\"a\",\"n\":1}\n{\"k\":\"a\",\"n\":2}")),
            record(Some("b"), Some("# nothing")),
            record(Some("c"), None),
            ConsumerRecord { value: Some(Bytes::from_static(b"\xff")), ..record(Some("d"), None) },
            record(Some("e"), Some("{\"k\":\"e\"}\noops")),
        ];
        let reader = reader(&["k"]).calling(crate::transforms::call_of("split", "split-lines").await);
        let read = reader.read(3, &records).unwrap();
        let runs: Vec<_> = read.runs.iter().map(|run| (run.batch.operation, run.records.clone())).collect();
        assert_eq!(
            runs,
            [(Operation::Write, vec![0, 0]), (Operation::Delete, vec![2]), (Operation::Write, vec![4])]
        );
        assert_eq!(read.runs[0].batch.keys, [Some("a".into()), Some("a".into())]);
        assert_eq!(read.bad.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [4]);
        assert_eq!(read.refused.len(), 1);
        let (index, reason) = &read.refused[0];
        assert!(*index == 3 && reason.contains("the value is not UTF-8"), "{index}: {reason}");

        let trapping = reader_without_columns().calling(crate::transforms::call_of("a", "trap").await);
        let error = trapping.read(3, &records).err().unwrap();
        assert!(matches!(&error, NotRead::Plugin(_)), "{error}");
    }

    fn reader_without_columns() -> RecordReader {
        RecordReader::new(Arc::new(JsonFormat), None, Transforms::default(), &[]).unwrap()
    }
}
