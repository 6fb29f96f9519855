//! What calls give, and what hostile plugins get.

use std::time::Duration;

use bytes::Bytes;
use ottla_plugins::{Limits, PluginFault, Record, RecordHeader};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::componentize::load;

fn record(value: &'static str) -> Record {
    Record {
        timestamp_ms: 1,
        key: Some(Bytes::from_static(b"key")),
        value: Some(Bytes::from_static(value.as_bytes())),
        headers: vec![RecordHeader { name: "trace".to_owned(), value: Some(Bytes::from_static(b"lower")) }],
        ..Record::default()
    }
}

/// What a call of the fixture on two records fails with.
fn fault_of(fixture: &str, limits: &Limits) -> PluginFault {
    let transform = load(fixture, limits).unwrap().transform();
    let error = transform.call(&[record("one"), record("two")]).unwrap_err();
    assert_eq!(error.plugin, fixture);
    assert!(error.is_about_a_batch(), "{error}");
    let again = transform.call(&[record("one")]).unwrap_err();
    assert_eq!(
        std::mem::discriminant(&again.fault),
        std::mem::discriminant(&error.fault),
        "a spare takes over: {again}"
    );
    error.fault
}

#[test]
fn an_identity_gives_back_what_it_was_given() {
    let transform = load("identity", &Limits::default()).unwrap().transform();
    let answer = transform.call(&[record("one"), Record::default(), record("three")]).unwrap();
    let expected =
        [record("one"), Record { source: 1, ..Record::default() }, Record { source: 2, ..record("three") }];
    assert_eq!(answer, expected);
    assert_eq!(transform.call(&[]).unwrap(), []);
}

#[test]
fn an_answer_is_read_before_the_plugin_may_free_it() {
    let transform = load("scrub", &Limits::default()).unwrap().transform();
    for _ in 0..3 {
        assert_eq!(transform.call(&[record("one")]).unwrap(), [record("one")]);
    }
}

proptest! {
    #[test]
    fn any_batch_comes_back_from_an_identity_call_after_call(
        batches in vec(vec((option::of(vec(any::<u8>(), 0..300)), option::of(".{0,9}")), 0..30), 1..4),
    ) {
        let transform = load("identity", &Limits::default()).unwrap().transform();
        for batch in batches {
            let records: Vec<Record> = (0..).zip(batch).map(|(source, (value, header))| Record {
                source,
                value: value.map(Bytes::from),
                headers: header.into_iter().map(|name| RecordHeader { name, value: None }).collect(),
                ..Record::default()
            }).collect();
            prop_assert_eq!(transform.call(&records).unwrap(), records);
        }
    }
}

#[test]
fn values_change_and_keys_headers_and_timestamps_stay() {
    let transform = load("uppercase", &Limits::default()).unwrap().transform();
    let answer = transform.call(&[record("jfk 12"), Record::default(), record("lga")]).unwrap();
    let expected =
        [record("JFK 12"), Record { source: 1, ..Record::default() }, Record { source: 2, ..record("LGA") }];
    assert_eq!(answer, expected);
}

#[test]
fn a_filter_may_drop_everything() {
    let transform = load("drop-all", &Limits::default()).unwrap().transform();
    assert_eq!(transform.call(&[record("one"), record("two")]).unwrap(), []);
}

#[test]
fn several_threads_call_at_once() {
    let transform = load("uppercase", &Limits::default()).unwrap().transform();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(transform.call(&[record("a")]).unwrap(), [record("A")]);
                }
            });
        }
    });
}

#[test]
fn a_refusal_carries_the_plugins_own_words_and_keeps_the_instance() {
    let fault = fault_of("error", &Limits { warm_instances: 1, ..Limits::default() });
    assert!(matches!(&fault, PluginFault::Refused(reason) if reason == "no such field"), "{fault}");
}

#[test]
fn a_trap_fails_its_batch_only() {
    let fault = fault_of("trap", &Limits { warm_instances: 1, ..Limits::default() });
    assert!(matches!(&fault, PluginFault::Trap(reason) if reason.contains("unreachable")), "{fault}");
}

#[test]
fn an_endless_loop_is_interrupted() {
    let limits = Limits {
        call_deadline: Duration::from_millis(30),
        record_deadline: Duration::ZERO,
        ..Limits::default()
    };
    let fault = fault_of("spin", &limits);
    assert!(matches!(fault, PluginFault::Deadline { budget_ms: 30 }), "{fault}");
}

#[test]
fn memory_beyond_the_limit_is_refused_by_name() {
    let fault = fault_of("grow", &Limits { memory_bytes: 4 << 20, ..Limits::default() });
    assert!(matches!(fault, PluginFault::Memory { memory_bytes } if memory_bytes == 4 << 20), "{fault}");
}

#[test]
fn more_bytes_than_allowed_are_refused_before_they_are_copied() {
    let fault = fault_of("amplify-bytes", &Limits::default());
    assert!(matches!(fault, PluginFault::OutputBytes { bytes: 33_554_432, .. }), "{fault}");
}

#[test]
fn more_records_than_allowed_are_refused_before_they_are_read() {
    let fault = fault_of("amplify-records", &Limits::default());
    assert!(
        matches!(fault, PluginFault::OutputRecords { given: 2, records: 2000, records_max: 20 }),
        "{fault}"
    );
}

#[test]
fn bytes_that_are_no_frame_are_refused() {
    let fault = fault_of("garbage", &Limits::default());
    assert!(matches!(fault, PluginFault::OutputFrame(_)), "{fault}");
}

#[test]
fn a_list_outside_the_guests_memory_is_a_trap() {
    let fault = fault_of("beyond", &Limits::default());
    assert!(matches!(fault, PluginFault::Trap(_)), "{fault}");
}

#[test]
fn a_record_from_nowhere_is_refused() {
    let fault = fault_of("invented-source", &Limits::default());
    assert!(matches!(fault, PluginFault::OutputSource { source_index: 7, .. }), "{fault}");
}

#[test]
fn records_out_of_order_are_refused() {
    let transform = load("back-to-front", &Limits::default()).unwrap().transform();
    let error = transform.call(&[record("one"), record("two")]).unwrap_err();
    assert!(matches!(error.fault, PluginFault::OutputSource { source_index: 0, .. }), "{error}");
}
