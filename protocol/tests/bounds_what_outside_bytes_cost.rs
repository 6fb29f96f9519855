//! Bytes from outside never panic a codec, and never make it take more memory than a small multiple of the frame.

mod support;

use bytes::Bytes;
use ottla_protocol::{Message, Reader, RequestHeader, messages as ours};
use proptest::prelude::*;
use support::memory::{Counting, peak_bytes};
use support::wire_bytes::{LengthKind, Maker, Random};

#[path = "../../tests/fuzz/parsers.rs"]
mod parsers;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// An array's element may be larger in memory than on the wire: an empty string is one byte there and 32 here, and
/// a growing vector holds its old and its new memory for a moment.
const MEMORY_PER_FRAME_BYTE_MAX: usize = 100;
/// What an error or a first small vector costs beside that.
const MEMORY_BASE: usize = 1024;

/// Decodes, and fails when that took too much memory.
fn decode_within_bounds<M: Message>(frame: &Bytes, version: i16) -> bool {
    let (result, peak) = peak_bytes(|| M::decode(&mut Reader::new(frame.clone()), version).is_ok());
    let allowed = MEMORY_BASE + MEMORY_PER_FRAME_BYTE_MAX * frame.len();
    assert!(
        peak <= allowed,
        "{} v{version} took {peak} bytes for a frame of {}: {frame:?}",
        M::NAME,
        frame.len()
    );
    result
}

fn hostile_length(bytes: &[u8], at: usize, kind: LengthKind) -> Vec<u8> {
    let (length, replaced): (&[u8], usize) = match kind {
        LengthKind::Int16 => (&[0x7f, 0xff], 2),
        LengthKind::Int32 => (&[0x7f, 0xff, 0xff, 0xff], 4),
        LengthKind::Compact => {
            let more = bytes[at..].iter().take_while(|byte| *byte & 0x80 != 0).count();
            (&[0xff, 0xff, 0xff, 0xff, 0x0f], more + 1)
        }
    };
    [&bytes[..at], length, &bytes[at + replaced..]].concat()
}

fn refuses_hostile_lengths<M: Message>(seed: u64) {
    let (file, of) = support::definition(M::NAME);
    for version in M::VERSIONS.0..=M::VERSIONS.1 {
        let sample = Maker::new(file, version, seed).make(of);
        for (at, kind) in sample.lengths {
            let frame: Bytes = hostile_length(&sample.bytes, at, kind).into();
            let taken = decode_within_bounds::<M>(&frame, version);
            assert!(
                !taken,
                "{} v{version} took a hostile {kind:?} length at byte {at} of {frame:?}",
                M::NAME
            );
        }
    }
}

fn refuses_cut_frames<M: Message>(seed: u64) {
    let (file, of) = support::definition(M::NAME);
    for version in M::VERSIONS.0..=M::VERSIONS.1 {
        let whole: Bytes = Maker::new(file, version, seed).make(of).bytes.into();
        // Every cut of a short frame, some cuts of a long one.
        let step = 1 + whole.len() / 200;
        for end in (0..whole.len()).step_by(step) {
            let taken = decode_within_bounds::<M>(&whole.slice(..end), version);
            assert!(!taken, "{} v{version} took {end} bytes of {whole:?}", M::NAME);
        }
    }
}

fn survives_damage<M: Message>(seed: u64) {
    let (file, of) = support::definition(M::NAME);
    let mut random = Random::new(seed);
    for version in M::VERSIONS.0..=M::VERSIONS.1 {
        let mut bytes = Maker::new(file, version, seed).make(of).bytes;
        for _ in 0..8 {
            let at = random.below(bytes.len().max(1) as u64) as usize;
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.next() as u8;
            }
            decode_within_bounds::<M>(&Bytes::from(bytes.clone()), version);
        }
    }
}

fn survives_random_bytes<M: Message>(bytes: &Bytes) {
    for version in M::VERSIONS.0 - 1..=M::VERSIONS.1 + 1 {
        decode_within_bounds::<M>(bytes, version);
    }
}

macro_rules! every_api {
    ($($name:ident $request:ident $response:ident;)*) => {
        fn every_api(mut visit: impl Visit) {
            $(visit.visit::<ours::$request>(); visit.visit::<ours::$response>();)*
        }
    };
}
ottla_protocol::for_each_api!(every_api);

macro_rules! every_data_message {
    ($($name:ident;)*) => {
        fn every_data_message(mut visit: impl Visit) {
            $(visit.visit::<ours::$name>();)*
        }
    };
}
ottla_protocol::for_each_data!(every_data_message);

/// One generic function, to be called for every message type.
trait Visit {
    fn visit<M: Message>(&mut self);
}

struct Seeded(u64);
impl Visit for Seeded {
    fn visit<M: Message>(&mut self) {
        refuses_hostile_lengths::<M>(self.0);
        refuses_cut_frames::<M>(self.0);
        survives_damage::<M>(self.0);
    }
}

struct RandomBytes(Bytes);
impl Visit for RandomBytes {
    fn visit<M: Message>(&mut self) {
        survives_random_bytes::<M>(&self.0);
    }
}

#[test]
fn an_array_length_of_two_billion_in_twenty_bytes_costs_nothing() {
    let mut frame = vec![0x7f, 0xff, 0xff, 0xff];
    frame.resize(20, 0);
    let frame = Bytes::from(frame);
    let (result, peak) = peak_bytes(|| ours::MetadataRequest::decode(&mut Reader::new(frame), 1));
    assert!(result.is_err());
    assert_eq!(peak, 0);
}

proptest! {
    #![proptest_config(support::cases(16))]

    #[test]
    fn hostile_cut_and_damaged_frames_are_refused_cheaply(seed: u64) {
        every_api(Seeded(seed));
        every_data_message(Seeded(seed));
    }
}

proptest! {
    #![proptest_config(support::cases(128))]

    #[test]
    fn random_bytes_never_panic_a_codec(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from(bytes);
        every_api(RandomBytes(bytes.clone()));
        every_data_message(RandomBytes(bytes.clone()));
        let _ = RequestHeader::decode(&mut Reader::new(bytes));
    }

    /// Small numbers are likelier to be counts and lengths that fit, so these get deeper than random bytes do.
    #[test]
    fn small_random_bytes_never_panic_a_codec(bytes in prop::collection::vec(0u8..12, 0..300)) {
        let bytes = Bytes::from(bytes);
        every_api(RandomBytes(bytes.clone()));
        every_data_message(RandomBytes(bytes));
    }

    #[test]
    fn the_fuzzed_parsers_hold_on_random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        for (_, parse) in parsers::ALL {
            parse(&bytes);
        }
    }

    #[test]
    fn the_fuzzed_parsers_hold_on_small_random_bytes(bytes in prop::collection::vec(0u8..24, 0..400)) {
        for (_, parse) in parsers::ALL {
            parse(&bytes);
        }
    }
}
