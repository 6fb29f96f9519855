//! Random changes: what was promised of an id holds for ever, and the compacted topic says what the whole one says.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::registry::{
    Change, CompatibilityLevel, Mode, Reference, Reply, SchemaRecord, SchemaRequest, StoredSchema, Subjects,
    VersionName, Which,
};

/// Schemas of which some read others, some are the same, and one is wrong.
const TEXTS: [&str; 7] = [
    r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#,
    r#"{"type":"record","name":"R","fields":[{"name":"a","type":"long"}]}"#,
    r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":"int","default":1}]}"#,
    r#"{"name": "R", "type": "record", "fields": [{"type": {"type": "int"}, "name": "a"}]}"#,
    r#""string""#,
    r#"{"type":"record","name":"Q","fields":[{"name":"r","type":"R"}]}"#,
    r#"{"type":"recrd"}"#,
];

fn any_change() -> impl Strategy<Value = Change> {
    let subject = || prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned);
    let reference = (subject(), 1..4i32).prop_map(|(subject, version)| Reference {
        name: "R".to_owned(),
        subject,
        version,
    });
    let request =
        (prop::sample::select(TEXTS.to_vec()), prop::option::weighted(0.2, reference), any::<bool>())
            .prop_map(|(text, reference, normalize)| SchemaRequest {
                schema: StoredSchema::new(None, text.to_owned(), reference.into_iter().collect()),
                id: None,
                version: None,
                normalize,
            });
    let version = prop_oneof![Just(VersionName::Latest), (1..4i32).prop_map(VersionName::Number)];
    let level = prop::sample::select(vec!["NONE", "BACKWARD", "FORWARD_TRANSITIVE", "FULL"])
        .prop_map(|word| word.parse::<CompatibilityLevel>().unwrap());
    let mode = prop::sample::select(vec![Mode::ReadWrite, Mode::ReadWrite, Mode::ReadOnly]);
    prop_oneof![
        8 => (subject(), request).prop_map(|(subject, request)| Change::Register { subject, request }),
        2 => (subject(), any::<bool>())
            .prop_map(|(subject, is_permanent)| Change::DeleteSubject { subject, is_permanent }),
        3 => (subject(), version, any::<bool>())
            .prop_map(|(subject, version, is_permanent)| Change::DeleteVersion { subject, version, is_permanent }),
        2 => (prop::option::of(subject()), level).prop_map(|(subject, level)| Change::SetLevel { subject, level }),
        1 => prop::option::of(subject()).prop_map(|subject| Change::ClearLevel { subject }),
        1 => (prop::option::of(subject()), mode)
            .prop_map(|(subject, mode)| Change::SetMode { subject, mode, is_forced: false }),
        1 => subject().prop_map(|subject| Change::ClearMode { subject }),
    ]
}

/// What a registry knows that starts from these records.
fn replayed<'a>(records: impl IntoIterator<Item = &'a SchemaRecord>) -> Subjects {
    let mut subjects = Subjects::default();
    for record in records {
        let read = SchemaRecord::read(&record.key(), record.value().as_deref()).unwrap();
        // A tombstone of a key that says nothing without a value.
        if let Some(record) = read {
            subjects.apply(record);
        }
    }
    subjects
}

/// What compaction leaves: the last record of each key, and tombstones for a while or not.
fn compacted(log: &[SchemaRecord], keeps_tombstones: bool) -> Vec<SchemaRecord> {
    let mut last = BTreeMap::new();
    for (offset, record) in log.iter().enumerate() {
        last.insert(record.key(), offset);
    }
    let mut offsets: Vec<usize> = last.into_values().collect();
    offsets.sort_unstable();
    let kept = offsets.into_iter().map(|offset| log[offset].clone());
    kept.filter(|record| keeps_tombstones || record.value().is_some()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn an_id_means_one_schema_for_ever_and_compaction_loses_nothing(
        changes in prop::collection::vec(any_change(), 1..40),
        restart_every in 3..12usize,
    ) {
        let mut subjects = Subjects::default();
        let mut log = Vec::new();
        let mut promised: BTreeMap<i32, String> = BTreeMap::new();
        for (step, change) in changes.iter().enumerate() {
            let before = subjects.clone();
            let decided = subjects.decide(change);
            prop_assert_eq!(&subjects, &before, "decide changes nothing");
            let Ok((records, reply)) = decided else { continue };
            for record in &records {
                subjects.apply(record.clone());
            }
            log.extend(records);
            subjects.invariants();
            if let (Reply::Registered { id, version }, Change::Register { subject, request }) = (&reply, change) {
                let schema = subjects.prepare(request).unwrap();
                let found = subjects.version_of(subject, &schema, Which::Live);
                prop_assert_eq!(found.map(|(number, found)| (number, found.id)), Some((*version, *id)));
                let text = crate::registry::parsed::identity("AVRO", &schema.text);
                let text = format!("{text} {:?}", schema.references);
                prop_assert_eq!(promised.entry(*id).or_insert_with(|| text.clone()), &text);
                // Asked again, nothing changes.
                let again = subjects.decide(change);
                prop_assert_eq!(again, Ok((Vec::new(), reply)));
            }
            prop_assert_eq!(&replayed(&log), &subjects);
            prop_assert_eq!(&replayed(&compacted(&log, true)), &subjects);
            let restarted = replayed(&compacted(&log, false));
            prop_assert_eq!(&restarted, &subjects);
            if step % restart_every == 0 {
                log = compacted(&log, false);
                subjects = restarted;
            }
        }
    }

    #[test]
    fn versions_of_a_subject_keep_its_level(
        picks in prop::collection::vec(0..5usize, 1..12),
        level in prop::sample::select(vec!["BACKWARD_TRANSITIVE", "FORWARD_TRANSITIVE", "FULL_TRANSITIVE"]),
    ) {
        let mut subjects = Subjects::default();
        let level: CompatibilityLevel = level.parse().unwrap();
        subjects.apply(SchemaRecord::Config { subject: None, level: Some(level) });
        for pick in picks {
            let schema = StoredSchema::new(None, TEXTS[pick].to_owned(), Vec::new());
            let request = SchemaRequest { schema, id: None, version: None, normalize: false };
            let change = Change::Register { subject: "s".to_owned(), request };
            if let Ok((records, _)) = subjects.decide(&change) {
                records.into_iter().for_each(|record| subjects.apply(record));
            }
        }
        let versions = subjects.earlier("s", None);
        for (index, newer) in versions.iter().enumerate() {
            for older in &versions[..index] {
                let (newer, older) = (newer.parsed.as_ref().unwrap(), older.parsed.as_ref().unwrap());
                if level != CompatibilityLevel::ForwardTransitive {
                    prop_assert_eq!(newer.unread(older, "new", "old"), Vec::<String>::new());
                }
                if level != CompatibilityLevel::BackwardTransitive {
                    prop_assert_eq!(older.unread(newer, "old", "new"), Vec::<String>::new());
                }
            }
        }
    }
}
