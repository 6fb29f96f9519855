//! A streaming query over rows in memory, cut into epochs at will and restarted between them, and the batch answer over
//! the same rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use ottla_formats::{Format, JsonFormat};
use ottla_streams::runtime::{EpochInput, EpochRunner, InputRecord, Machine};
use ottla_streams::state::changelog::{Header, InputOffsets, InputPartition};
use ottla_streams::{Catalog, ChangelogMode, QueryPlan, history};

/// A record's key and value.
pub type KeyValue = (Option<Bytes>, Option<Bytes>);

/// The records of a stream's topic, by partition.
pub type Feed = Vec<Vec<KeyValue>>;

/// All topics, by the streams' names.
pub type Feeds = BTreeMap<String, Feed>;

/// A query as it runs.
pub struct Running<'a> {
    plan: Arc<QueryPlan>,
    feeds: &'a Feeds,
    runner: EpochRunner,
    machine: Machine,
    changelog: Vec<KeyValue>,
    positions: BTreeMap<InputPartition, usize>,
    /// What a reader of the output has: by key the last value or, of records without key, all.
    keyed: BTreeMap<Bytes, Bytes>,
    plain: Vec<Bytes>,
    /// Source, partition and offset of dead letters, with their reason.
    pub letters: Vec<(InputPartition, usize, String)>,
}

impl<'a> Running<'a> {
    pub fn new(plan: QueryPlan, feeds: &'a Feeds) -> Self {
        let plan = Arc::new(plan);
        let runner = EpochRunner::new("q", Arc::clone(&plan), "json").unwrap();
        let machine = Machine::new(header(&plan), plan.states());
        let mut positions = BTreeMap::new();
        for (source, node) in (0..).zip(&plan.sources) {
            for partition in 0..feeds[&node.stream].len() {
                positions.insert(InputPartition { source, partition: partition as i32 }, 0);
            }
        }
        Running {
            plan,
            feeds,
            runner,
            machine,
            changelog: Vec::new(),
            positions,
            keyed: BTreeMap::new(),
            plain: Vec::new(),
            letters: Vec::new(),
        }
    }

    fn partition(&self, partition: InputPartition) -> &'a [KeyValue] {
        &self.feeds[&self.plan.sources[usize::from(partition.source)].stream][partition.partition as usize]
    }

    /// Whether everything has been read.
    pub fn is_drained(&self) -> bool {
        self.positions.iter().all(|(partition, position)| *position == self.partition(*partition).len())
    }

    /// Runs an epoch of as many further records of each partition as `take` says of its stream. It is run twice, which must
    /// give the same, and its changes go into the state as the changelog's bytes.
    pub fn epoch(&mut self, mut take: impl FnMut(&str) -> usize, is_last: bool) {
        let mut input = EpochInput::new();
        for partition in self.positions.keys().copied().collect::<Vec<_>>() {
            let records = self.partition(partition);
            let from = self.positions[&partition];
            let to = from
                .saturating_add(take(&self.plan.sources[usize::from(partition.source)].stream))
                .min(records.len());
            let record = |offset: usize| InputRecord {
                offset: offset as i64,
                timestamp_ms: 0,
                key: records[offset].0.clone(),
                value: records[offset].1.clone(),
                headers: Vec::new(),
            };
            if to > from {
                input.insert(partition, (from..to).map(record).collect());
            }
            self.positions.insert(partition, to);
        }
        let ends: InputOffsets =
            self.positions.iter().map(|(partition, position)| (*partition, *position as i64)).collect();
        let unread = self
            .positions
            .iter()
            .filter(|(partition, position)| **position < self.partition(**partition).len())
            .map(|(partition, _)| *partition)
            .collect();
        let cut = Machine::cut_after(self.machine.committed(), ends, unread, 0, is_last);
        let run =
            |machine: &Machine| self.runner.run(machine.committed(), machine.states(), &cut, &input).unwrap();
        let outputs = run(&self.machine);
        assert_eq!(
            format!("{:?}", run(&self.machine)),
            format!("{outputs:?}"),
            "an epoch run again gives the same"
        );
        for record in self.machine.decide_commit(&cut, &outputs) {
            let (key, value) = record.encode();
            let offset = self.changelog.len() as i64;
            self.machine.apply_bytes(offset, Some(&key), value.as_ref()).unwrap();
            self.changelog.push((Some(key), value));
        }
        self.machine.invariants();
        for output in outputs.outputs {
            match (output.record.key, output.record.value) {
                (Some(key), Some(value)) if self.plan.mode == ChangelogMode::Upsert => {
                    self.keyed.insert(key, value);
                }
                (Some(key), None) => {
                    assert!(self.keyed.remove(&key).is_some(), "what is deleted was there: {key:?}");
                }
                (_, Some(value)) => self.plain.push(value),
                (None, None) => panic!("a record has a key or a value"),
            }
        }
        for letter in outputs.dead_letters {
            let header = |name: &str| {
                let name = format!("__connect.errors.{name}");
                let header =
                    letter.record.headers.iter().find(|header| header.key == name.as_bytes()).unwrap();
                String::from_utf8(header.value.clone().unwrap().to_vec()).unwrap()
            };
            let topic = header("topic");
            let source = self.plan.sources.iter().position(|source| source.topic == topic).unwrap() as u16;
            let partition = InputPartition { source, partition: header("partition").parse().unwrap() };
            self.letters.push((partition, header("offset").parse().unwrap(), header("exception.message")));
        }
    }

    /// The process ends and another one reads the changelog.
    pub fn restart(&mut self) {
        let mut machine = Machine::new(header(&self.plan), self.plan.states());
        for (offset, (key, value)) in (0..).zip(&self.changelog) {
            machine.apply_bytes(offset, key.as_ref(), value.as_ref()).unwrap();
        }
        assert_eq!(machine.states(), self.machine.states());
        assert_eq!(machine.committed(), self.machine.committed());
        self.machine = machine;
    }

    /// The watermark that rows of the next epoch are late against.
    pub fn watermark(&self) -> Option<i64> {
        self.machine.committed().watermark
    }

    pub fn state_rows(&self) -> usize {
        self.machine.states().len()
    }

    /// What a reader of the output has now.
    pub fn result(&self) -> Vec<String> {
        let payloads: Vec<&[u8]> =
            self.keyed.values().chain(&self.plain).map(|value| value.as_ref()).collect();
        let decoded = JsonFormat.decode(&payloads, &self.plan.output_schema).unwrap();
        assert!(decoded.bad.is_empty(), "{:?}", decoded.bad);
        shown(&[decoded.batch])
    }

    /// The rows that have been read so far, without those that are dead letters.
    pub fn rows_read(&self, catalog: &Catalog) -> BTreeMap<String, RecordBatch> {
        let mut rows = BTreeMap::new();
        for (source, node) in (0..).zip(&self.plan.sources) {
            let stream = catalog.get(&node.stream).unwrap();
            let mut plain: Vec<&[u8]> = Vec::new();
            let mut keyed: BTreeMap<&[u8], Option<&[u8]>> = BTreeMap::new();
            for (partition, position) in
                self.positions.iter().filter(|(partition, _)| partition.source == source)
            {
                for (offset, (key, value)) in self.partition(*partition)[..*position].iter().enumerate() {
                    if self.letters.iter().any(|(of, at, _)| of == partition && *at == offset) {
                        continue;
                    }
                    match stream.primary_key.is_none() {
                        true => plain.extend(value.as_deref()),
                        false => {
                            keyed.insert(key.as_deref().unwrap(), value.as_deref());
                        }
                    }
                }
            }
            plain.extend(keyed.into_values().flatten());
            let decoded = JsonFormat.decode(&plain, &stream.schema).unwrap();
            assert!(decoded.bad.is_empty(), "{:?}", decoded.bad);
            rows.insert(node.stream.clone(), decoded.batch);
        }
        rows
    }
}

fn header(plan: &QueryPlan) -> Header {
    Header { query: "q".to_owned(), fingerprint: plan.state_fingerprint() }
}

/// Rows as text, to compare floats bit by bit: the shortest text that reads back is different for different doubles.
pub fn shown(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("∅");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<ArrayFormatter<'_>> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
            rows.push(cells.join(" | "));
        }
    }
    rows.sort();
    rows
}

/// DataFusion's answer over these rows.
pub fn batch_answer(sql: &str, catalog: &Catalog, rows: &BTreeMap<String, RecordBatch>) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let batches = runtime.block_on(history::answer(sql, catalog, rows));
    shown(&batches.unwrap_or_else(|error| panic!("{error}\n{sql}")))
}

/// A catalog of what these statements declare.
pub fn catalog(statements: &str) -> Catalog {
    let mut catalog = Catalog::new();
    for statement in ottla_streams::sql::parse(statements).unwrap() {
        if let ottla_streams::sql::Statement::CreateStream(create) = statement {
            catalog.declare(create).unwrap();
        }
    }
    catalog
}

/// A small generator of numbers, so that a case is its seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }

    fn bits(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.bits() % end.max(1)
    }

    /// A number from `from` up to, not including, `to`.
    pub fn within(&mut self, from: i64, to: i64) -> i64 {
        from + self.below((to - from) as u64) as i64
    }

    /// True once in `many` times.
    pub fn once_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    pub fn pick<'i, T: ?Sized>(&mut self, items: &'i [&'i T]) -> &'i T {
        items[self.below(items.len() as u64) as usize]
    }
}
