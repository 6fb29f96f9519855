//! `Wasm`: records through installed plugins of the world `transform`, as the topic has them: those of a source when they have
//! been encoded, those of a sink before they are read.
//!
//! What a plugin refuses in its own words makes its record a bad one. Whatever else goes wrong with it (a trap, too much time,
//! memory or output) is not sure to happen again, so it is an error of the task and of no record.

use std::sync::Arc;

use ottla_client::{Header, Record};
use ottla_plugins::frame::record_bytes;
use ottla_plugins::{Host, Limits, Plugin, RecordHeader, Transform};

use super::records::{self, Step, When};
use crate::error::ConnectorError;
use crate::plugins::InstalledPlugins;

/// Records and bytes of one call of a plugin.
const CALL_RECORDS_MAX: usize = 1000;
const CALL_BYTES_MAX: usize = 1 << 20;
/// The time of a record that has none yet, as Kafka's record batches have it.
const NO_TIMESTAMP: i64 = -1;

/// One transform that calls a plugin.
#[derive(Debug)]
pub(super) struct Call {
    /// As `transforms` names it.
    pub transform: String,
    /// As it is installed.
    pub plugin: String,
    /// What is done to records before.
    pub steps: Vec<Step>,
    /// To which records it is done.
    pub when: When,
}

/// The plugins that a task's records go through, in order. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Calls(Arc<[OpenCall]>);

#[derive(Debug)]
struct OpenCall {
    /// The transform, as errors call it.
    name: String,
    steps: Vec<Step>,
    when: When,
    function: Transform,
}

/// What became of records: every one has led to some, is bad, or was left out.
#[derive(Debug)]
pub(crate) struct Passed {
    /// In order, each with the index of the record that it comes from; never falling.
    pub records: Vec<(usize, Record)>,
    /// The records that a plugin refuses, with the reason; growing.
    pub bad: Vec<(usize, String)>,
}

/// A record on its way through a call.
struct Underway {
    /// Its place among those that came to this call.
    place: usize,
    /// The record that it comes from.
    index: usize,
    record: Record,
}

impl Calls {
    /// Opens what is installed under the names: it is called from then on, whatever is installed later.
    ///
    /// # Errors
    /// When a plugin is not installed or is no transform, and, retriable, when the installed ones cannot be read.
    pub(super) async fn open(
        calls: &Arc<[Call]>,
        plugins: &dyn InstalledPlugins,
    ) -> Result<Calls, ConnectorError> {
        let mut open = Vec::new();
        for Call { transform, plugin, steps, when } in &**calls {
            let name = format!("transforms.{transform}");
            let component = plugins.component(plugin).await?.ok_or_else(|| {
                ConnectorError::fatal(&name, format!("no plugin `{plugin}` is installed"))
                    .remedy("install it with `ottla plugin install`")
            })?;
            let (plugin, of) = (plugin.clone(), name.clone());
            // Compiling takes long.
            let opening = tokio::task::spawn_blocking(move || {
                let host = Host::shared().map_err(|reason| ConnectorError::fatal(&of, reason))?;
                let opened = Plugin::open(&host, &plugin, &component, &Limits::default());
                opened.map_err(|error| ConnectorError::fatal(&of, error))
            });
            let opened = opening.await.map_err(|lost| ConnectorError::fatal(&name, lost))??;
            let (steps, when) = (steps.clone(), when.clone());
            open.push(OpenCall { name, steps, when, function: opened.transform() });
        }
        Ok(Calls(open.into()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes records through all of them. Blocking: not for an async thread.
    ///
    /// # Errors
    /// When a plugin fails otherwise than by refusing records.
    pub(crate) fn pass(&self, given: Vec<Record>) -> Result<Passed, ConnectorError> {
        let mut passed = Passed { records: given.into_iter().enumerate().collect(), bad: Vec::new() };
        for call in &*self.0 {
            call.pass(&mut passed)?;
        }
        // Of one record several outputs of an earlier plugin may be refused.
        passed.bad.sort();
        passed.bad.dedup_by_key(|(index, _)| *index);
        Ok(passed)
    }
}

impl OpenCall {
    fn pass(&self, through: &mut Passed) -> Result<(), ConnectorError> {
        let mut records = std::mem::take(&mut through.records);
        records.retain_mut(|(_, record)| {
            records::pass(&self.steps, record.value.is_some(), &mut record.headers)
        });
        let underway = (0..).zip(records).map(|(place, (index, record))| Underway { place, index, record });
        let (given, mut done): (Vec<Underway>, Vec<Underway>) =
            underway.partition(|one| self.when.holds(one.record.value.is_some(), &one.record.headers));
        let records: Vec<_> = given.iter().map(|one| plugin_record(&one.record)).collect();
        let mut from = 0;
        while from < given.len() {
            let to = from + length_of_call(&records[from..]);
            self.call(&given[from..to], &records[from..to], &mut done, &mut through.bad)?;
            from = to;
        }
        done.sort_by_key(|one| one.place);
        through.records = done.into_iter().map(|one| (one.index, one.record)).collect();
        Ok(())
    }

    /// Calls the plugin. What it refuses is cut in halves until the records that it refuses are alone.
    fn call(
        &self,
        given: &[Underway],
        records: &[ottla_plugins::Record],
        done: &mut Vec<Underway>,
        bad: &mut Vec<(usize, String)>,
    ) -> Result<(), ConnectorError> {
        match (self.function.call(records), given) {
            (Ok(outputs), _) => {
                let of_source = |output: ottla_plugins::Record| {
                    let one = given.get(usize::try_from(output.source).ok()?)?;
                    Some(Underway { place: one.place, index: one.index, record: client_record(output) })
                };
                done.extend(outputs.into_iter().filter_map(of_source));
                Ok(())
            }
            (Err(error), _) if !error.is_refusal() => Err(ConnectorError::fatal(&self.name, error)),
            (Err(error), [] | [_]) => {
                bad.extend(given.iter().map(|one| (one.index, format!("{}: {error}", self.name))));
                Ok(())
            }
            (Err(_), _) => {
                let (first, second) = given.split_at(given.len() / 2);
                let (first_records, second_records) = records.split_at(first.len());
                self.call(first, first_records, done, bad)?;
                self.call(second, second_records, done, bad)
            }
        }
    }
}

/// How many of these records, at least one, are given to one call.
fn length_of_call(records: &[ottla_plugins::Record]) -> usize {
    let mut bytes = 0;
    let fits = |record: &&ottla_plugins::Record| {
        bytes += record_bytes(record);
        bytes <= CALL_BYTES_MAX
    };
    records.iter().take(CALL_RECORDS_MAX).take_while(fits).count().max(1)
}

fn plugin_record(record: &Record) -> ottla_plugins::Record {
    // Kafka's header keys are text; a client that wrote something else gets it back repaired.
    let header = |header: &Header| RecordHeader {
        name: String::from_utf8_lossy(&header.key).into_owned(),
        value: header.value.clone(),
    };
    ottla_plugins::Record {
        source: 0,
        timestamp_ms: record.timestamp_ms.unwrap_or(NO_TIMESTAMP),
        key: record.key.clone(),
        value: record.value.clone(),
        headers: record.headers.iter().map(header).collect(),
    }
}

fn client_record(record: ottla_plugins::Record) -> Record {
    let header = |header: RecordHeader| Header { key: header.name.into(), value: header.value };
    Record {
        key: record.key,
        value: record.value,
        headers: record.headers.into_iter().map(header).collect(),
        timestamp_ms: Some(record.timestamp_ms).filter(|time| *time != NO_TIMESTAMP),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::tests::MemoryPlugins;
    use crate::transforms::Transforms;

    fn transforms(pairs: &[(&str, &str)]) -> Transforms {
        let properties = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let (routes, errors) = crate::transforms::read(&properties.collect(), "t");
        assert_eq!(errors, []);
        routes.transforms
    }

    /// Transforms that call these plugins one after the other, named a, b, ….
    async fn calls<const COUNT: usize>(fixtures: [&str; COUNT], more: &[(&str, &str)]) -> Calls {
        let names = ["a", "b", "c"];
        let plugins = MemoryPlugins::default();
        let mut pairs = vec![("transforms".to_owned(), names[..COUNT].join(","))];
        for (name, fixture) in names.iter().zip(fixtures) {
            plugins.install(fixture, fixture);
            pairs.push((format!("transforms.{name}.type"), "Wasm".to_owned()));
            pairs.push((format!("transforms.{name}.plugin"), fixture.to_owned()));
        }
        let mut pairs: Vec<(&str, &str)> =
            pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        pairs.extend(more);
        transforms(&pairs).open_calls(&plugins).await.unwrap()
    }

    fn record(value: &str) -> Record {
        Record::new("k", value.to_owned())
    }

    fn values(passed: &Passed) -> Vec<(usize, String)> {
        let text = |record: &Record| String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap();
        passed.records.iter().map(|(index, record)| (*index, text(record))).collect()
    }

    #[tokio::test]
    async fn records_keep_their_order_through_many_calls_and_those_refused_are_found() {
        let predicate = [
            ("transforms.a.predicate", "marked"),
            ("transforms.a.negate", "true"),
            ("predicates", "marked"),
            ("predicates.marked.type", "predicates.HasHeaderKey"),
            ("predicates.marked.name", "plain"),
        ];
        let calls = calls(["refuse"], &predicate).await;
        let mut given: Vec<Record> = (0..2_500).map(|number| record(&format!("row {number}"))).collect();
        for bad in [0, 7, 999, 1_000, 2_499] {
            given[bad] = record("oh!");
        }
        // What a predicate keeps from the plugin stays as it is, byte for byte.
        let odd = Header { key: bytes::Bytes::from_static(b"\xff"), value: None };
        let plain = Header { key: "plain".into(), value: None };
        given[8] = Record { headers: vec![odd, plain], ..record("stays!") };
        let passed = calls.pass(given.clone()).unwrap();
        let bad: Vec<usize> = passed.bad.iter().map(|(index, _)| *index).collect();
        assert_eq!(bad, [0, 7, 999, 1_000, 2_499]);
        let reason = "transforms.a: plugin `refuse`: it refused the batch: a value has a !";
        assert!(passed.bad.iter().all(|(_, found)| found == reason), "{:?}", passed.bad[0]);
        let expected = (0..2_500).filter(|index| !bad.contains(index)).map(|index| match index {
            8 => (8, "stays!".to_owned()),
            _ => (index, format!("ROW {index}")),
        });
        assert_eq!(values(&passed), expected.collect::<Vec<_>>());
        let stayed = passed.records.iter().find(|(index, _)| *index == 8).unwrap();
        assert_eq!(stayed.1, given[8]);
        assert_eq!(passed.records[0].1.timestamp_ms, None, "it gets its time when it is written");
    }

    #[tokio::test]
    async fn one_record_becomes_several_or_none_and_is_bad_once() {
        let calls = calls(["split-lines", "refuse"], &[]).await;
        let tombstone = Record { value: None, timestamp_ms: Some(5), ..record("") };
        let given = vec![
            record("a\nb"),
            record("# only a comment"),
            record("c\nd!\ne!"),
            tombstone.clone(),
            record("f"),
        ];
        let passed = calls.pass(given).unwrap();
        let (none, some): (Vec<_>, Vec<_>) =
            passed.records.iter().cloned().partition(|(_, record)| record.value.is_none());
        assert_eq!(none, [(3, tombstone)]);
        let some = Passed { records: some, bad: Vec::new() };
        let expected = [(0, "A"), (0, "B"), (2, "C"), (4, "F")].map(|(index, text)| (index, text.to_owned()));
        assert_eq!(values(&some), expected);
        let bad: Vec<usize> = passed.bad.iter().map(|(index, _)| *index).collect();
        assert_eq!(bad, [2]);
        assert!(passed.records.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    }

    #[tokio::test]
    async fn steps_before_a_plugin_are_done_before_it() {
        let properties = [
            ("transforms", "mark, drop, a, after"),
            ("transforms.mark.type", "InsertHeader"),
            ("transforms.mark.header", "seen"),
            ("transforms.mark.value.literal", "yes"),
            ("transforms.drop.type", "Filter"),
            ("transforms.drop.predicate", "gone"),
            ("transforms.a.type", "Wasm"),
            ("transforms.a.plugin", "split"),
            ("transforms.after.type", "Filter"),
            ("transforms.after.predicate", "marked"),
            ("predicates", "gone, marked"),
            ("predicates.gone.type", "predicates.RecordIsTombstone"),
            ("predicates.marked.type", "predicates.HasHeaderKey"),
            ("predicates.marked.name", "seen"),
        ];
        let transforms = transforms(&properties);
        let calls = transforms.open_calls(&*MemoryPlugins::new([("split", "split-lines")])).await.unwrap();
        let tombstone = Record { value: None, ..record("") };
        let mut passed = calls.pass(vec![record("a"), tombstone]).unwrap();
        assert_eq!(values(&passed), [(0, "a".to_owned())]);
        let headers = &mut passed.records[0].1.headers;
        assert_eq!(*headers, [records::header("seen", "yes")]);
        // What stands after it is still to be done.
        assert!(!transforms.pass(true, headers));
    }

    #[tokio::test]
    async fn whatever_else_goes_wrong_is_no_records_fault() {
        for (fixture, expected) in [
            ("refuse", "it trapped"),
            ("spin", "of CPU time"),
            ("grow", "bytes of memory"),
            ("amplify-records", "it returned 3000 records for 3"),
        ] {
            let calls = calls([fixture], &[]).await;
            let error = calls.pass(vec![record("a"), record("b!"), record("#")]).unwrap_err();
            let told = format!("transforms.a: plugin `{fixture}`: ");
            assert!(error.to_string().starts_with(&told), "{error}");
            assert!(error.to_string().contains(expected) && !error.retriable, "{error}");
        }
    }

    #[tokio::test]
    async fn a_plugin_that_is_not_there_or_is_no_transform_cannot_be_opened() {
        let named = [("transforms", "a"), ("transforms.a.type", "Wasm"), ("transforms.a.plugin", "p")];
        let transforms = transforms(&named);
        let error = transforms.open_calls(&crate::NoPlugins).await.unwrap_err().to_string();
        assert!(error.starts_with("transforms.a: no plugin `p` is installed; install it"), "{error}");
        let error = transforms.open_calls(&*MemoryPlugins::new([("p", "scalar")])).await.unwrap_err();
        assert!(error.to_string().contains("it does not export `transform`"), "{error}");
    }
}
