//! Every parser of `ottla-protocol` that reads bytes from outside, as a function over bytes that must not panic,
//! with what must hold when the bytes are taken. The fuzz targets and a quick test of the protocol crate share them.

use bytes::Bytes;
use ottla_protocol::records::{Batches, HEADER_LEN};
use ottla_protocol::{ApiKey, Message, Reader, RequestHeader, ResponseHeader, Str, Writer, messages};

/// A parser under test: its name, and the function.
pub type Parser = (&'static str, fn(&[u8]));

pub const ALL: &[Parser] = &[
    ("request_frame", request_frame),
    ("response_frame", response_frame),
    ("data_message", data_message),
    ("record_batches", record_batches),
];

/// More than this many bytes out of a batch are refused, however small the batch.
const DECOMPRESSED_BYTES_MAX: usize = 1 << 20;

/// What was taken is written and read again as the same message.
fn taken_messages_come_back<M: Message + PartialEq + std::fmt::Debug>(reader: &mut Reader, version: i16) {
    let Ok(message) = M::decode(reader, version) else { return };
    let mut writer = Writer::new();
    message.encode(&mut writer, version).expect("what was read can be written");
    let again = M::decode(&mut Reader::new(writer.finish_contiguous()), version);
    assert_eq!(again.as_ref(), Ok(&message), "{} v{version}", M::NAME);
}

/// What a broker reads: a header, then the request that it names.
pub fn request_frame(bytes: &[u8]) {
    let mut reader = Reader::new(Bytes::copy_from_slice(bytes));
    let Ok(header) = RequestHeader::decode(&mut reader) else { return };
    macro_rules! dispatch {
        ($($name:ident $request:ident $response:ident;)*) => {
            match header.api_key {
                $(ApiKey::$name => {
                    taken_messages_come_back::<messages::$request>(&mut reader, header.api_version);
                })*
                _ => {}
            }
        };
    }
    ottla_protocol::for_each_api!(dispatch);
}

/// What a client reads: the first two bytes choose the API and its version, as the client's own request did.
pub fn response_frame(bytes: &[u8]) {
    let [api, version, frame @ ..] = bytes else { return };
    let Some(api) = messages::APIS.get(usize::from(*api) % messages::APIS.len()) else { return };
    let version = api.first + i16::from(*version) % (api.last - api.first + 1);
    let mut reader = Reader::new(Bytes::copy_from_slice(frame));
    if ResponseHeader::decode(&mut reader, api.key, version).is_err() {
        return;
    }
    macro_rules! dispatch {
        ($($name:ident $request:ident $response:ident;)*) => {
            match api.key {
                $(ApiKey::$name => taken_messages_come_back::<messages::$response>(&mut reader, version),)*
                _ => {}
            }
        };
    }
    ottla_protocol::for_each_api!(dispatch);
}

/// What comes out of internal topics and out of other clients' group metadata: an int16 version, then the message.
pub fn data_message(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let Ok(version) = Reader::new(bytes.clone()).i16() else { return };
    macro_rules! each {
        ($($name:ident;)*) => {$(
            let _ = messages::$name::decode_versioned_or_newer(bytes.clone());
            taken_messages_come_back::<messages::$name>(&mut Reader::new(bytes.slice(2..)), version);
        )*};
    }
    ottla_protocol::for_each_data!(each);
    let _ = Str::from_utf8(bytes);
}

/// What producers send and what lies on disk.
pub fn record_batches(bytes: &[u8]) {
    for batch in Batches::new(Bytes::copy_from_slice(bytes)) {
        let Ok(batch) = batch else { return };
        assert!(batch.header.size() >= HEADER_LEN && batch.header.size() <= bytes.len());
        let _ = batch.check_crc();
        let Ok(records) = batch.records(DECOMPRESSED_BYTES_MAX) else { continue };
        let mut taken = 0;
        for record in records {
            let Ok(record) = record else { break };
            taken += record.value.as_ref().map_or(0, Bytes::len);
            assert!(taken <= DECOMPRESSED_BYTES_MAX);
        }
    }
}
