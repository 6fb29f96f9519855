//! The headers around a message, and whole frames: a length of four bytes, a header, a message. Owns which header
//! version goes with which API version; knows nothing of sockets.

use bytes::Bytes;

use crate::wire::{DecodeError, EncodeError, Message, Part, Reader, Request, Str, Writer};
use crate::{ApiKey, ApiVersions};

/// The bytes of the length that comes before every frame on a stream.
pub const LENGTH_BYTES: usize = 4;

/// What comes before every request. Its version (1, or 2 when the API version is flexible) follows from the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    pub api_key: ApiKey,
    pub api_version: i16,
    /// Chosen by the client; its response carries the same one.
    pub correlation_id: i32,
    pub client_id: Option<Str>,
}

impl RequestHeader {
    /// Reads a header. The version need not be a defined one, so that the caller can answer it with an error; of
    /// an API that is not defined at all only the common part is read, and what follows cannot be read either.
    pub fn decode(reader: &mut Reader) -> Result<RequestHeader, DecodeError> {
        let code = reader.i16()?;
        let api_key = ApiKey::from_code(code).ok_or(DecodeError::UnknownApiKey(code))?;
        let api_version = reader.i16()?;
        let correlation_id = reader.i32()?;
        // The client id keeps its two-byte length in every version, so that it can be read before the version is
        // understood.
        let client_id = reader.nullable_string(false)?;
        if ApiVersions::of(api_key).is_some_and(|api| api.is_flexible(api_version)) {
            reader.skip_tagged_fields()?;
        }
        Ok(RequestHeader { api_key, api_version, correlation_id, client_id })
    }

    pub fn encode(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        writer.i16(self.api_key.code());
        writer.i16(self.api_version);
        writer.i32(self.correlation_id);
        writer.nullable_string(self.client_id.as_ref(), false)?;
        if ApiVersions::of(self.api_key).is_some_and(|api| api.is_flexible(self.api_version)) {
            writer.no_tagged_fields();
        }
        Ok(())
    }
}

/// What comes before every response: version 1 (with tagged fields) when the API version is flexible, else 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseHeader {
    pub correlation_id: i32,
}

impl ResponseHeader {
    pub fn decode(
        reader: &mut Reader,
        api_key: ApiKey,
        api_version: i16,
    ) -> Result<ResponseHeader, DecodeError> {
        let correlation_id = reader.i32()?;
        if response_header_is_flexible(api_key, api_version) {
            reader.skip_tagged_fields()?;
        }
        Ok(ResponseHeader { correlation_id })
    }

    pub fn encode(&self, writer: &mut Writer, api_key: ApiKey, api_version: i16) {
        writer.i32(self.correlation_id);
        if response_header_is_flexible(api_key, api_version) {
            writer.no_tagged_fields();
        }
    }
}

/// A client that asks for its first ApiVersions cannot know how the broker will answer, so that header never
/// grows (KIP-511).
fn response_header_is_flexible(api_key: ApiKey, api_version: i16) -> bool {
    api_key != ApiKey::ApiVersions && ApiVersions::of(api_key).is_some_and(|api| api.is_flexible(api_version))
}

/// A whole request frame, its length first, in one piece.
pub fn encode_request<R: Request>(header: &RequestHeader, request: &R) -> Result<Bytes, EncodeError> {
    write_request(header, request).map(Writer::finish_contiguous)
}

/// A whole request frame, its length first, as segments: records are shared, not copied.
pub fn encode_request_segments<R: Request>(
    header: &RequestHeader,
    request: &R,
) -> Result<Vec<Bytes>, EncodeError> {
    write_request(header, request).map(Writer::finish)
}

/// A whole response frame, its length first, in one piece.
pub fn encode_response<M: Message>(
    api_key: ApiKey,
    api_version: i16,
    correlation_id: i32,
    response: &M,
) -> Result<Bytes, EncodeError> {
    write_response(api_key, api_version, correlation_id, response).map(Writer::finish_contiguous)
}

/// A whole response frame, its length first, in parts: records are shared, not copied, and those from elsewhere are
/// gaps for the sender to fill.
pub fn encode_response_parts<M: Message>(
    api_key: ApiKey,
    api_version: i16,
    correlation_id: i32,
    response: &M,
) -> Result<Vec<Part>, EncodeError> {
    write_response(api_key, api_version, correlation_id, response).map(Writer::finish_parts)
}

/// Reads a request frame without its length; all of it must be used up.
pub fn decode_request<R: Request>(frame: Bytes) -> Result<(RequestHeader, R), DecodeError> {
    let mut reader = Reader::new(frame);
    let header = RequestHeader::decode(&mut reader)?;
    let request = R::decode(&mut reader, header.api_version)?;
    reader.finish()?;
    Ok((header, request))
}

/// Reads the response to an `R` of that version from a frame without its length; all of it must be used up.
pub fn decode_response<R: Request>(
    frame: Bytes,
    api_version: i16,
) -> Result<(ResponseHeader, R::Response), DecodeError> {
    let mut reader = Reader::new(frame);
    let header = ResponseHeader::decode(&mut reader, R::API_KEY, api_version)?;
    let response = R::Response::decode(&mut reader, api_version)?;
    reader.finish()?;
    Ok((header, response))
}

fn write_request<R: Request>(header: &RequestHeader, request: &R) -> Result<Writer, EncodeError> {
    let mut writer = open_frame();
    header.encode(&mut writer)?;
    request.encode(&mut writer, header.api_version)?;
    close_frame(writer)
}

fn write_response<M: Message>(
    api_key: ApiKey,
    api_version: i16,
    correlation_id: i32,
    response: &M,
) -> Result<Writer, EncodeError> {
    let mut writer = open_frame();
    ResponseHeader { correlation_id }.encode(&mut writer, api_key, api_version);
    response.encode(&mut writer, api_version)?;
    close_frame(writer)
}

fn open_frame() -> Writer {
    let mut writer = Writer::with_capacity(256);
    writer.i32(0);
    writer
}

fn close_frame(mut writer: Writer) -> Result<Writer, EncodeError> {
    let length = writer.len() - LENGTH_BYTES;
    let max = i32::MAX as usize;
    let prefix = i32::try_from(length).map_err(|_| EncodeError::TooLong { length, max })?;
    writer.patch_i32(0, prefix);
    Ok(writer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{ApiVersionsRequest, ApiVersionsResponse, FetchRequest, FetchResponse};

    fn header(api_key: ApiKey, api_version: i16) -> RequestHeader {
        RequestHeader { api_key, api_version, correlation_id: 7, client_id: Some("me".into()) }
    }

    #[test]
    fn a_request_frame_begins_with_its_length_and_round_trips() {
        for version in [11, 12] {
            let header = header(ApiKey::Fetch, version);
            let request = FetchRequest { max_wait_ms: 500, ..FetchRequest::default() };
            let frame = encode_request(&header, &request).unwrap();
            assert_eq!(frame[..4], (frame.len() as i32 - 4).to_be_bytes());
            assert_eq!(decode_request::<FetchRequest>(frame.slice(4..)), Ok((header, request)));
        }
    }

    #[test]
    fn the_response_header_of_api_versions_never_has_tagged_fields() {
        let response = ApiVersionsResponse::default();
        let frame = encode_response(ApiKey::ApiVersions, 3, 7, &response).unwrap();
        // Length, correlation id, and at once the error code.
        assert_eq!(frame[4..10], [0, 0, 0, 7, 0, 0]);
        assert_eq!(frame[10], 1, "the empty compact array");
        let decoded = decode_response::<ApiVersionsRequest>(frame.slice(4..), 3).unwrap();
        assert_eq!(decoded, (ResponseHeader { correlation_id: 7 }, response));
    }

    #[test]
    fn a_flexible_response_header_has_tagged_fields() {
        let frame = encode_response(ApiKey::Fetch, 12, 7, &FetchResponse::default()).unwrap();
        assert_eq!(frame[4..9], [0, 0, 0, 7, 0]);
        assert!(decode_response::<FetchRequest>(frame.slice(4..), 12).is_ok());
    }

    #[test]
    fn the_header_of_an_unknown_version_is_still_read() {
        let unknown = header(ApiKey::ApiVersions, 99);
        let mut writer = Writer::new();
        unknown.encode(&mut writer).unwrap();
        assert_eq!(RequestHeader::decode(&mut Reader::new(writer.finish_contiguous())), Ok(unknown));
    }

    #[test]
    fn an_unknown_api_key_is_named() {
        let frame = Bytes::from_static(b"\x03\xe7\0\0\0\0\0\x01\xff\xff");
        assert_eq!(RequestHeader::decode(&mut Reader::new(frame)), Err(DecodeError::UnknownApiKey(999)));
    }
}
