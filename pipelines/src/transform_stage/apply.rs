//! A batch of one input partition through the plugin. When the plugin fails, the batch is cut in halves until
//! the records at fault are alone: the others go on as if nothing had been. Pure, apart from what the plugin
//! does inside its walls.

use ottla_client::{ConsumerRecord, Header};
use ottla_plugins::{PluginError, PluginFault, Record, RecordHeader, Transform};

/// What a record became.
#[derive(Debug)]
pub enum Applied<'a> {
    /// One of the outputs of a record.
    Output(Record),
    /// The plugin cannot handle it, and why.
    Bad { input: &'a ConsumerRecord, reason: String },
}

/// What can be called with records; the plugin, or a stand-in.
pub trait BatchFunction {
    fn call(&self, records: &[Record]) -> Result<Vec<Record>, PluginError>;
}

impl BatchFunction for Transform {
    fn call(&self, records: &[Record]) -> Result<Vec<Record>, PluginError> {
        Transform::call(self, records)
    }
}

/// Calls of one batch that may run out of time: enough to find one record at fault, and few beside the hours that a plugin
/// which always loops would take over a batch cut to single records.
const DEADLINES_MAX: usize = 16;

/// All outputs of these records, in their order.
///
/// # Errors
/// When the plugin itself cannot run, or runs out of time again and again, so that no record is at fault.
pub fn apply<'a>(
    function: &dyn BatchFunction,
    inputs: &'a [ConsumerRecord],
) -> Result<Vec<Applied<'a>>, PluginError> {
    let records: Vec<Record> = inputs.iter().map(plugin_record).collect();
    let mut applied = Vec::with_capacity(inputs.len());
    apply_halves(function, inputs, &records, &mut applied, &mut 0)?;
    Ok(applied)
}

fn apply_halves<'a>(
    function: &dyn BatchFunction,
    inputs: &'a [ConsumerRecord],
    records: &[Record],
    applied: &mut Vec<Applied<'a>>,
    deadlines: &mut usize,
) -> Result<(), PluginError> {
    let called = function.call(records);
    *deadlines +=
        usize::from(called.as_ref().is_err_and(|error| matches!(error.fault, PluginFault::Deadline { .. })));
    match (called, inputs) {
        (Ok(outputs), _) => applied.extend(outputs.into_iter().map(Applied::Output)),
        (Err(error), _) if *deadlines > DEADLINES_MAX => return Err(error),
        (Err(error), _) if !error.is_about_a_batch() => return Err(error),
        (Err(_), []) => {}
        (Err(error), [input]) => applied.push(Applied::Bad { input, reason: error.to_string() }),
        (Err(_), _) => {
            let middle = inputs.len() / 2;
            let (first_inputs, second_inputs) = inputs.split_at(middle);
            let (first_records, second_records) = records.split_at(middle);
            apply_halves(function, first_inputs, first_records, applied, deadlines)?;
            apply_halves(function, second_inputs, second_records, applied, deadlines)?;
        }
    }
    Ok(())
}

fn plugin_record(input: &ConsumerRecord) -> Record {
    // Kafka's header keys are text; a client that wrote something else gets it back repaired.
    let name = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
    Record {
        source: 0,
        timestamp_ms: input.timestamp_ms,
        key: input.key.clone(),
        value: input.value.clone(),
        headers: input
            .headers
            .iter()
            .map(|header| RecordHeader { name: name(&header.key), value: header.value.clone() })
            .collect(),
    }
}

/// An output as the producer takes it.
pub fn client_record(record: Record) -> ottla_client::Record {
    let headers = record.headers.into_iter();
    ottla_client::Record {
        key: record.key,
        value: record.value,
        headers: headers.map(|header| Header { key: header.name.into(), value: header.value }).collect(),
        timestamp_ms: Some(record.timestamp_ms),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use bytes::Bytes;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Repeats each record as often as its value says; refuses batches that hold a record without a value.
    struct Repeat {
        calls: Cell<usize>,
    }

    impl BatchFunction for Repeat {
        fn call(&self, records: &[Record]) -> Result<Vec<Record>, PluginError> {
            self.calls.set(self.calls.get() + 1);
            if records.iter().any(|record| record.value.is_none()) {
                return Err(PluginError {
                    plugin: "repeat".to_owned(),
                    fault: PluginFault::Refused("no value".to_owned()),
                });
            }
            let times = |record: &Record| usize::from(record.value.as_deref().unwrap_or_default()[0]);
            Ok((0..)
                .zip(records)
                .flat_map(|(source, record)| vec![Record { source, ..record.clone() }; times(record)])
                .collect())
        }
    }

    struct Broken;

    impl BatchFunction for Broken {
        fn call(&self, _: &[Record]) -> Result<Vec<Record>, PluginError> {
            Err(PluginError {
                plugin: "broken".to_owned(),
                fault: PluginFault::Start("no memory".to_owned()),
            })
        }
    }

    fn offset_of(record: &Record) -> i64 {
        i64::from_be_bytes(record.key.as_deref().unwrap().try_into().unwrap())
    }

    fn input(offset: i64, value: Option<u8>) -> ConsumerRecord {
        let headers = vec![Header { key: "trace".into(), value: None }];
        let value = value.map(|byte| Bytes::from(vec![byte]));
        let key = Some(Bytes::copy_from_slice(&offset.to_be_bytes()));
        ConsumerRecord { offset, timestamp_ms: 0, key, value, headers, leader_epoch: -1 }
    }

    /// The offset of each record that something came of, and whether it passed.
    fn told(applied: &[Applied<'_>]) -> Vec<(i64, bool)> {
        let tell = |applied: &Applied<'_>| match applied {
            Applied::Output(record) => (offset_of(record), true),
            Applied::Bad { input, .. } => (input.offset, false),
        };
        applied.iter().map(tell).collect()
    }

    proptest! {
        #[test]
        fn every_good_record_passes_and_every_bad_one_is_named_in_order(values in vec(prop::option::of(0u8..3), 0..40)) {
            let inputs: Vec<_> = (0..).zip(&values).map(|(offset, value)| input(offset, *value)).collect();
            let repeat = Repeat { calls: Cell::new(0) };
            let applied = apply(&repeat, &inputs).unwrap();
            let expected: Vec<(i64, bool)> = (0..).zip(&values).flat_map(|(offset, value)| match value {
                None => vec![(offset, false)],
                Some(times) => vec![(offset, true); usize::from(*times)],
            }).collect();
            prop_assert_eq!(told(&applied), expected);
            let bad = values.iter().filter(|value| value.is_none()).count();
            prop_assert!(repeat.calls.get() <= 1 + bad * 2 * 7, "{} calls for {} bad of {}", repeat.calls.get(), bad, values.len());
        }
    }

    /// Runs out of time for every batch that holds a record of this value.
    struct Loops {
        value: u8,
        calls: Cell<usize>,
    }

    impl BatchFunction for Loops {
        fn call(&self, records: &[Record]) -> Result<Vec<Record>, PluginError> {
            self.calls.set(self.calls.get() + 1);
            if !records.iter().any(|record| record.value.as_deref() == Some(&[self.value])) {
                return Ok(Vec::new());
            }
            let fault = PluginFault::Deadline { budget_ms: 100 };
            Err(PluginError { plugin: "loops".to_owned(), fault })
        }
    }

    #[test]
    fn one_record_that_a_plugin_loops_over_is_found_and_a_plugin_that_always_loops_is_given_up() {
        let inputs: Vec<_> = (0..500).map(|offset| input(offset, Some(u8::from(offset == 321)))).collect();
        let loops = |value| Loops { value, calls: Cell::new(0) };
        let applied = apply(&loops(1), &inputs).unwrap();
        assert_eq!(told(&applied), [(321, false)]);
        let always = loops(0);
        let error = apply(&always, &inputs).unwrap_err();
        assert!(matches!(error.fault, PluginFault::Deadline { .. }));
        assert!(always.calls.get() <= 2 * (DEADLINES_MAX + 1), "{} calls", always.calls.get());
    }

    #[test]
    fn a_plugin_that_cannot_run_blames_no_record() {
        assert!(apply(&Broken, &[input(0, Some(1)), input(1, Some(1))]).is_err());
    }
}
