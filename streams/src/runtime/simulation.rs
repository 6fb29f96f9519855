//! Queries over topics in memory, in a process that dies before or after any commit.
//!
//! The property: whatever dies, and as often as it does, and whether or not the changelog is compacted meanwhile, the topics
//! at the end hold record for record what they hold when nothing dies.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ottla_client::{Record, partition_of_key};
use proptest::prelude::*;

use super::*;
use crate::planner::{Catalog, plan};
use crate::state::changelog::{Header, InputOffsets, InputPartition};

/// The topics of one query, which outlive the process.
#[derive(Debug, Default)]
struct Topics {
    input: BTreeMap<i32, Vec<InputRecord>>,
    changelog: Vec<(Bytes, Option<Bytes>)>,
    outputs: Sink,
    dead_letters: Sink,
    /// The instance that writes.
    instance: u32,
}

type Sink = BTreeMap<i32, Vec<Record>>;

impl Topics {
    fn write(sink: &mut Sink, records: Vec<OutputRecord>) {
        for output in records {
            let partition = match (output.target, &output.record.key) {
                (Target::Key, Some(key)) => partition_of_key(key, SINK_PARTITIONS),
                (Target::Key, None) => 0,
                (Target::Input(partition), _) => partition % SINK_PARTITIONS,
            };
            sink.entry(partition).or_default().push(output.record);
        }
    }

    /// Leaves the last record of each key, in their order.
    fn compact(&mut self) {
        let last: BTreeMap<Bytes, usize> =
            self.changelog.iter().enumerate().map(|(offset, (key, _))| (key.clone(), offset)).collect();
        let mut offset = 0..;
        self.changelog.retain(|(key, _)| offset.next() == last.get(key).copied());
    }
}

/// One process's view of the topics.
struct MemoryLog {
    topics: Arc<Mutex<Topics>>,
    instance: u32,
    /// How many sources of the query read the input topic.
    sources: u16,
    changelog_read: Mutex<usize>,
    positions: Mutex<InputOffsets>,
    /// Points that it may still pass before it dies; `None` is for ever.
    lives: Mutex<Option<usize>>,
}

const SINK_PARTITIONS: i32 = 3;

impl MemoryLog {
    fn new(topics: &Arc<Mutex<Topics>>, sources: u16, lives: Option<usize>) -> MemoryLog {
        let instance = {
            let mut topics = topics.lock().unwrap();
            topics.instance += 1;
            topics.instance
        };
        MemoryLog {
            topics: Arc::clone(topics),
            instance,
            sources,
            changelog_read: Mutex::default(),
            positions: Mutex::default(),
            lives: Mutex::new(lives),
        }
    }

    fn topics(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock().unwrap()
    }

    /// A point where the process may die.
    fn effect(&self) -> Result<(), QueryError> {
        match self.lives.lock().unwrap().as_mut() {
            Some(0) => Err(QueryError::Killed),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

#[async_trait]
impl QueryLog for MemoryLog {
    async fn read_changelog(&self) -> Result<Vec<RawChangelogRecord>, QueryError> {
        let topics = self.topics();
        let mut read = self.changelog_read.lock().unwrap();
        let records = topics.changelog.iter().enumerate().skip(*read).take(3);
        let records: Vec<_> = records
            .map(|(offset, (key, value))| RawChangelogRecord {
                offset: offset as i64,
                key: Some(key.clone()),
                value: value.clone(),
            })
            .collect();
        *read += records.len();
        Ok(records)
    }

    async fn commit(&self, records: EpochRecords) -> Result<(), QueryError> {
        self.effect()?;
        {
            let mut topics = self.topics();
            if topics.instance != self.instance {
                return Err(QueryError::AnotherInstance { query: "q".to_owned() });
            }
            Topics::write(&mut topics.outputs, records.outputs);
            Topics::write(&mut topics.dead_letters, records.dead_letters);
            topics.changelog.extend(records.changelog);
        }
        self.effect()
    }

    async fn seek_input(&self, positions: &InputOffsets) -> Result<(), QueryError> {
        *self.positions.lock().unwrap() = positions.clone();
        Ok(())
    }

    async fn poll_input(&self, _timeout: Duration) -> Result<Vec<FetchedInput>, QueryError> {
        // Time does not pass here, but others must have their turn.
        tokio::task::yield_now().await;
        let topics = self.topics();
        let mut positions = self.positions.lock().unwrap();
        let mut inputs = Vec::new();
        for source in 0..self.sources {
            for (partition, records) in &topics.input {
                let partition = InputPartition { source, partition: *partition };
                let from = positions.insert(partition, records.len() as i64).unwrap_or_default();
                let records: Vec<InputRecord> = records.iter().skip(from as usize).cloned().collect();
                let log_end = from + records.len() as i64;
                inputs.push(FetchedInput { partition, records, position: log_end, log_end });
            }
        }
        Ok(inputs)
    }

    async fn input_ends(&self) -> Result<InputOffsets, QueryError> {
        let topics = self.topics();
        let ends = |source| {
            let end = move |(partition, records): (&i32, &Vec<InputRecord>)| {
                (InputPartition { source, partition: *partition }, records.len() as i64)
            };
            topics.input.iter().map(end)
        };
        Ok((0..self.sources).flat_map(ends).collect())
    }

    fn now_ms(&self) -> i64 {
        1_700_000_000_000
    }
}

const STREAM: &str = "CREATE STREAM s (k STRING, v INT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '2' SECOND) \
     WITH (topic = 'in'); CREATE TABLE t (k STRING PRIMARY KEY, v INT) WITH (topic = 'in'); ";
const QUERIES: [&str; 6] = [
    "SELECT k, v + 1 AS w FROM s WHERE v <> 3",
    "SELECT k, COUNT(*) AS c, SUM(v) AS t, AVG(v) AS a FROM s GROUP BY k HAVING SUM(v) > 2",
    "SELECT k, window_start, COUNT(*) AS c, COUNT(*) FILTER (WHERE v IS NULL) AS n, MAX(v) AS m, COUNT(DISTINCT v) AS d \
     FROM TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '5' SECOND) GROUP BY k, window_start, window_end EMIT FINAL",
    "SELECT k, window_end, MIN(v) AS m FROM TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '5' SECOND) GROUP BY k, window_end",
    "SELECT t.k, t.v, c.n FROM t LEFT JOIN (SELECT k, COUNT(*) AS n FROM s GROUP BY k) AS c ON t.k = c.k",
    "SELECT k, v, rn FROM (SELECT s.k, s.v, t.v AS w, ROW_NUMBER() OVER (PARTITION BY s.k ORDER BY s.v DESC, s.ts) AS rn \
     FROM s JOIN t ON s.k = t.k) WHERE rn <= 2",
];

/// One life of the query: until it has finished or died.
fn live(
    topics: &Arc<Mutex<Topics>>,
    query: &str,
    records_max: usize,
    lives: Option<usize>,
) -> Result<QueryStatus, QueryError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let plan = plan(&format!("{STREAM}{query}"), &Catalog::new()).unwrap();
        let log = MemoryLog::new(topics, plan.sources.len() as u16, lives);
        let mut config = QueryConfig::new("q", plan);
        config.pace.interval_min = Duration::ZERO;
        config.pace.limits = EpochLimits { records_max, bytes_max: usize::MAX };
        let handle = Query::start_on(Arc::new(log), config).unwrap();
        handle.finish().await
    })
}

fn record(offset: i64, key: u8, value: Option<i64>, second: Option<i64>, is_bad: bool) -> InputRecord {
    let number = value.map_or("null".to_owned(), |value| value.to_string());
    let time = second
        .map_or("null".to_owned(), |second| format!("\"2013-01-01T00:00:{:02}Z\"", second.rem_euclid(60)));
    let text = match is_bad {
        true => "{\"k\": 12, oops".to_owned(),
        false => format!("{{\"k\":\"k{key}\",\"v\":{number},\"ts\":{time}}}"),
    };
    InputRecord {
        offset,
        timestamp_ms: 1_000 + offset,
        key: (key != 0).then(|| Bytes::from(format!("k{key}"))),
        value: (key != 3).then(|| Bytes::from(text)),
        headers: Vec::new(),
    }
}

/// What a consumer sees at the end, and the state that a restart would find, a fact a line.
fn outcome(topics: &Arc<Mutex<Topics>>, query: &str) -> Vec<String> {
    let topics = topics.lock().unwrap();
    let text =
        |bytes: &Option<Bytes>| bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let mut lines = Vec::new();
    for (sink, partitions) in [("Output", &topics.outputs), ("DeadLetters", &topics.dead_letters)] {
        for (partition, record) in
            partitions.iter().flat_map(|(partition, log)| log.iter().map(move |record| (partition, record)))
        {
            let headers: Vec<String> = record
                .headers
                .iter()
                .map(|header| {
                    format!(
                        "{}={}",
                        String::from_utf8_lossy(&header.key),
                        text(&header.value).unwrap_or_default()
                    )
                })
                .collect();
            let (key, value) = (text(&record.key), text(&record.value));
            lines.push(format!(
                "{sink} {partition} {key:?} {value:?} {:?} {}",
                record.timestamp_ms,
                headers.join(" ")
            ));
        }
    }
    let plan = plan(&format!("{STREAM}{query}"), &Catalog::new()).unwrap();
    let runner = EpochRunner::new("q", Arc::new(plan), "json").unwrap();
    let header = Header { query: "q".to_owned(), fingerprint: runner.plan().state_fingerprint() };
    let mut machine = Machine::new(header, runner.plan().states());
    for (offset, (key, value)) in (0..).zip(&topics.changelog) {
        machine.apply_bytes(offset, Some(key), value.as_ref()).unwrap();
    }
    machine.invariants();
    lines.push(format!("{:?}", machine.committed()));
    lines.push(format!("{:?}", machine.states()));
    lines
}

/// Fails with the first fact that differs.
fn assert_same(found: &[String], expected: &[String], context: &str) {
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected, "{context}");
    }
    assert_eq!(found.len(), expected.len(), "{context}");
}

/// Partition, key, value, second, and whether the record is bad.
type Plain = (i32, u8, Option<i64>, Option<i64>, bool);

fn topics_of(records: &[Plain]) -> Arc<Mutex<Topics>> {
    let mut topics = Topics::default();
    for (partition, key, value, second, is_bad) in records {
        let log = topics.input.entry(*partition).or_default();
        log.push(record(log.len() as i64, *key, *value, *second, *is_bad));
    }
    Arc::new(Mutex::new(topics))
}

fn some_records() -> Vec<Plain> {
    (0..40)
        .map(|number: i64| {
            let value = (number % 7 != 0).then_some(number % 5 - 1);
            let second = (number % 11 != 3)
                .then_some(number + (number % 3) * 2 - if number % 13 == 12 { 20 } else { 0 });
            ((number % 2) as i32, (number % 4) as u8, value, second, number % 17 == 5)
        })
        .collect()
}

#[test]
fn a_process_that_dies_at_any_commit_leaves_what_one_that_lives_leaves() {
    for query in QUERIES {
        let undisturbed = topics_of(&some_records());
        let status = live(&undisturbed, query, 7, None).unwrap();
        assert_eq!(status.phase, QueryPhase::Finished);
        assert_eq!(status.totals.rows_in % 40, 0, "{query}");
        assert!(status.totals.rows_bad > 0 && status.totals.rows_out > 0, "{query} {status:?}");
        let expected = outcome(&undisturbed, query);
        for lives in 0.. {
            let topics = topics_of(&some_records());
            match live(&topics, query, 7, Some(lives)) {
                Ok(_) => break,
                Err(QueryError::Killed) => {}
                Err(other) => panic!("{query}: {other}"),
            }
            let revived = live(&topics, query, 7, None).unwrap();
            assert_same(&outcome(&topics, query), &expected, &format!("{query}, dead after {lives} points"));
            assert_eq!(revived.totals, status.totals);
        }
    }
}

#[test]
fn late_rows_and_rows_without_time_become_dead_letters_with_their_reason() {
    let query = QUERIES[2];
    let topics = topics_of(&[
        (0, 1, Some(1), Some(1), false),
        (0, 1, Some(2), Some(30), false),
        (0, 1, Some(3), Some(2), false),
        (0, 1, Some(4), None, false),
        (0, 1, Some(5), Some(31), true),
    ]);
    let status = live(&topics, query, 2, None).unwrap();
    assert_eq!((status.totals.rows_late, status.totals.rows_bad, status.totals.rows_out), (1, 2, 2));
    let lines = outcome(&topics, query);
    let letters: Vec<&str> =
        lines.iter().map(String::as_str).filter(|line| line.starts_with("DeadLetters")).collect();
    let letters = letters.join("\n");
    for reason in ["came late", "ts is null", "__connect.errors.offset", "VALUE_CONVERTER", "LateRow"] {
        assert!(letters.contains(reason), "{reason} in {letters}");
    }
    assert_eq!(status.watermark, Some(i64::MAX));
}

#[test]
fn a_restart_after_the_end_has_nothing_to_do_and_does_nothing() {
    for query in QUERIES {
        let topics = topics_of(&some_records());
        live(&topics, query, 100, None).unwrap();
        let before = outcome(&topics, query);
        let status = live(&topics, query, 100, None).unwrap();
        assert_eq!(status.phase, QueryPhase::Finished);
        assert_same(&outcome(&topics, query), &before, query);
    }
}

#[test]
fn an_instance_that_another_has_replaced_writes_nothing_more() {
    let topics = topics_of(&some_records());
    live(&topics, QUERIES[1], 100, None).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let plan = plan(&format!("{STREAM}{}", QUERIES[1]), &Catalog::new()).unwrap();
        let log = Arc::new(MemoryLog::new(&topics, 1, None));
        let handle = Query::start_on(log, QueryConfig::new("q", plan)).unwrap();
        let mut status = handle.watch();
        status.wait_for(|status| status.phase == QueryPhase::Running).await.unwrap();
        let before = topics.lock().unwrap().changelog.len();
        let _other = MemoryLog::new(&topics, 1, None);
        {
            let mut topics = topics.lock().unwrap();
            let next = topics.input[&0].len() as i64;
            topics.input.entry(0).or_default().push(record(next, 1, Some(9), Some(9), false));
        }
        let error = handle.wait().await.unwrap_err();
        assert!(matches!(error, QueryError::AnotherInstance { .. }), "{error}");
        assert_eq!(topics.lock().unwrap().changelog.len(), before);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn many_deaths_in_a_row_change_nothing(
        records in proptest::collection::vec((0..3i32, 0..5u8, proptest::option::of(-3..6i64), proptest::option::weighted(0.9, 0..60i64), proptest::bool::weighted(0.1)), 0..60),
        query in 0..QUERIES.len(),
        records_max in 1..20usize,
        deaths in proptest::collection::vec((0..25usize, any::<bool>()), 0..8),
    ) {
        let query = QUERIES[query];
        let undisturbed = topics_of(&records);
        live(&undisturbed, query, records_max, None).unwrap();
        let topics = topics_of(&records);
        for (lives, is_compacted) in deaths {
            let _ = live(&topics, query, records_max, Some(lives));
            if is_compacted {
                topics.lock().unwrap().compact();
            }
        }
        live(&topics, query, records_max, None).unwrap();
        assert_same(&outcome(&topics, query), &outcome(&undisturbed, query), query);
    }
}
