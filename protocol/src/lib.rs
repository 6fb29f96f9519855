//! Kafka's wire protocol: messages and their codecs, frames, the API version table, error codes, and record batches.
//! Pure: bytes in, bytes out. It knows no socket, no file and no clock.
//!
//! Messages are defined in `protocol/messages/*.msg` in a notation of our own; `just generate` makes
//! [`messages`] from it, and a test fails when that was forgotten.
//!
//! ```
//! use ottla_protocol::messages::{MetadataRequest, MetadataResponse};
//! use ottla_protocol::{ApiKey, Message, RequestHeader, frame};
//!
//! let header = RequestHeader { api_key: ApiKey::Metadata, api_version: 12, correlation_id: 1, client_id: None };
//! let frame = frame::encode_request(&header, &MetadataRequest::default())?;
//!
//! let (header, request) = frame::decode_request::<MetadataRequest>(frame.slice(4..))?;
//! assert_eq!(request.topics, None, "null asks for every topic");
//!
//! let response = MetadataResponse { controller_id: 1, ..Default::default() };
//! let parts = frame::encode_response_parts(header.api_key, header.api_version, header.correlation_id, &response)?;
//! assert_eq!(parts.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod api_key;
mod error_code;
pub mod frame;
pub mod messages;
pub mod records;
pub mod wire;

pub use api_key::{ApiKey, ApiVersions};
pub use error_code::ErrorCode;
pub use frame::{RequestHeader, ResponseHeader};
pub use messages::APIS;
pub use wire::{DecodeError, EncodeError, Message, Reader, Request, Str, Uuid, Writer};
