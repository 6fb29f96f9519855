//! Random messages of every API and version: our codecs and those of the `kafka-protocol` crate read the same
//! values from the same bytes and give the same bytes back.

mod support;

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol as their_traits;
use ottla_protocol::{Message, Reader, Writer, messages as ours};
use proptest::prelude::*;
use support::wire_bytes::Maker;

fn our_decode<M: Message>(bytes: &Bytes, version: i16) -> M {
    let mut reader = Reader::new(bytes.clone());
    let message = M::decode(&mut reader, version)
        .unwrap_or_else(|error| panic!("{} v{version}: {error} in {bytes:?}", M::NAME));
    assert_eq!(reader.remaining(), 0, "{} v{version} leaves bytes unread of {bytes:?}", M::NAME);
    message
}

fn our_encode<M: Message>(message: &M, version: i16) -> Bytes {
    let mut writer = Writer::new();
    message.encode(&mut writer, version).unwrap_or_else(|error| panic!("{} v{version}: {error}", M::NAME));
    writer.finish_contiguous()
}

fn sample<M: Message>(version: i16, seed: u64) -> Bytes {
    let (file, of) = support::definition(M::NAME);
    Maker::new(file, version, seed).make(of).bytes.into()
}

/// Our codec alone, at every version that we define.
fn round_trips<M: Message + PartialEq + Debug>(seed: u64) {
    let (file, of) = support::definition(M::NAME);
    for version in M::VERSIONS.0..=M::VERSIONS.1 {
        let bytes = sample::<M>(version, seed);
        let message: M = our_decode(&bytes, version);
        assert_eq!(our_encode(&message, version), bytes, "{} v{version}: {message:?}", M::NAME);

        let strewn = Maker::new(file, version, seed).with_unknown_tagged_fields().make(of).bytes.into();
        assert_eq!(our_decode::<M>(&strewn, version), message, "{} v{version} with unknown tags", M::NAME);
    }
}

/// What only theirs print: unknown tagged fields, and the fields of InitProducerId v6, which is not stable yet.
const ONLY_THEIRS: [&str; 3] = [
    ", unknown_tagged_fields: {}",
    ", enable_2_pc: false, keep_prepared_txn: false",
    ", ongoing_txn_producer_id: -1, ongoing_txn_producer_epoch: -1",
];

/// Structures that there have the names of others, and a field whose name is a keyword.
const RENAMED: [(&str, &str); 18] = [
    ("AssignedDirectory {", "DirectoryData {"),
    ("AlteredTopic {", "TopicData {"),
    ("AssignedTopic {", "TopicData {"),
    ("AssignedPartition {", "PartitionData {"),
    ("AlteredPartition {", "PartitionData {"),
    ("VotedTopic {", "TopicData {"),
    ("VotedPartition {", "PartitionData {"),
    ("ToldTopic {", "TopicData {"),
    ("ToldPartition {", "PartitionData {"),
    ("TopicSnapshotResponse {", "TopicSnapshot {"),
    ("PartitionSnapshotResponse {", "PartitionSnapshot {"),
    ("DescribedQuorumTopic {", "TopicData {"),
    ("DescribedQuorum {", "PartitionData {"),
    ("match_name:", "_match:"),
    ("EntryResult {", "EntryData {"),
    ("AddPartitionsToTxnTopicV3 {", "AddPartitionsToTxnTopic {"),
    ("AddPartitionsToTxnTopicResultV3 {", "AddPartitionsToTxnTopicResult {"),
    ("AddPartitionsToTxnPartitionResultV3 {", "AddPartitionsToTxnPartitionResult {"),
];

/// Both print a field as `name: value`, so that two fields in the wrong places show. A nullable field that the
/// version lacks is null here and empty there; that nulls on the wire agree is proved by the bytes.
fn comparable(message: &impl Debug) -> String {
    let text = ONLY_THEIRS.iter().fold(format!("{message:?}"), |text, only| text.replace(only, ""));
    let text = RENAMED.iter().fold(text, |text, (ours, theirs)| text.replace(ours, theirs));
    ["Some(\"\")", "Some([])", "Some(b\"\")"].iter().fold(text, |text, empty| text.replace(empty, "None"))
}

/// Ours and theirs, at every version that both define.
fn agrees<M, T>(seed: u64)
where
    M: Message + Debug,
    T: their_traits::Message + their_traits::Encodable + their_traits::Decodable + Debug,
{
    let first = M::VERSIONS.0.max(<T as their_traits::Message>::VERSIONS.min);
    let last = M::VERSIONS.1.min(<T as their_traits::Message>::VERSIONS.max);
    assert!(first <= last, "{} has no version in common", M::NAME);
    for version in first..=last {
        let bytes = sample::<M>(version, seed);
        let mut rest = bytes.clone();
        let their_message = T::decode(&mut rest, version)
            .unwrap_or_else(|error| panic!("theirs, {} v{version}: {error} in {bytes:?}", M::NAME));
        assert!(rest.is_empty(), "theirs leave bytes of {} v{version}", M::NAME);
        let mut their_bytes = BytesMut::new();
        their_message.encode(&mut their_bytes, version).unwrap();
        assert_eq!(their_bytes.freeze(), bytes, "theirs, {} v{version}: {their_message:?}", M::NAME);

        let message: M = our_decode(&bytes, version);
        assert_eq!(comparable(&message), comparable(&their_message), "{} v{version}", M::NAME);
        assert_eq!(our_encode(&message, version), bytes, "{} v{version}", M::NAME);
    }
}

macro_rules! every_api_round_trips {
    ($($name:ident $request:ident $response:ident;)*) => {
        fn every_api_round_trips(seed: u64) {
            $(round_trips::<ours::$request>(seed); round_trips::<ours::$response>(seed);)*
        }
    };
}
ottla_protocol::for_each_api!(every_api_round_trips);

macro_rules! every_data_message_round_trips {
    ($($name:ident;)*) => {
        fn every_data_message_round_trips(seed: u64) {
            $(round_trips::<ours::$name>(seed);)*
        }
    };
}
ottla_protocol::for_each_data!(every_data_message_round_trips);

macro_rules! every_api_agrees {
    ($($name:ident $request:ident $response:ident;)*) => {
        fn every_api_agrees(seed: u64) {
            $(agrees::<ours::$request, theirs::$request>(seed);)*
            $(agrees::<ours::$response, theirs::$response>(seed);)*
        }
    };
}
ottla_protocol::for_each_api!(every_api_agrees);

proptest! {
    #![proptest_config(support::cases(48))]

    #[test]
    fn messages_of_every_api_and_version_come_back_as_they_were(seed: u64) {
        every_api_round_trips(seed);
        every_data_message_round_trips(seed);
    }

    #[test]
    fn both_codecs_agree_on_messages_of_every_api_and_version(seed: u64) {
        every_api_agrees(seed);
        agrees::<ours::ConsumerProtocolSubscription, theirs::ConsumerProtocolSubscription>(seed);
        agrees::<ours::ConsumerProtocolAssignment, theirs::ConsumerProtocolAssignment>(seed);
    }
}

/// What `kafka-protocol` lacks of ours; a newer release of it should shorten this list.
#[test]
fn the_versions_that_only_we_define_are_known() {
    let mut ahead = Vec::new();
    macro_rules! compare {
        ($($name:ident $request:ident $response:ident;)*) => {$(
            let request = <theirs::$request as their_traits::Message>::VERSIONS.max;
            let response = <theirs::$response as their_traits::Message>::VERSIONS.max;
            for version in request.min(response) + 1..=<ours::$request as Message>::VERSIONS.1 {
                ahead.push(format!("{} {version}", stringify!($name)));
            }
        )*};
    }
    ottla_protocol::for_each_api!(compare);
    assert_eq!(ahead, ["ListOffsets 11", "OffsetCommit 10", "OffsetFetch 10"]);
}
