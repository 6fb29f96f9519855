//! A reply on its way to the client: bytes in memory, and records that are sent straight out of their files.

use bytes::{BufMut, Bytes, BytesMut};
use ottla_protocol::frame::encode_response_parts;
use ottla_protocol::wire::{EncodeError, Part, Request};

use crate::log::{FileRange, LogError};

/// A piece of a reply.
#[derive(Debug, Clone)]
pub enum ReplyPart {
    /// These bytes.
    Bytes(Bytes),
    /// The bytes of this range.
    File(FileRange),
}

/// A whole frame, its length first.
#[derive(Debug, Clone)]
pub struct Reply {
    /// In the order in which they are sent.
    pub parts: Vec<ReplyPart>,
}

impl Reply {
    /// Encodes a response; `files` are the records that it only announces, in order.
    pub fn encode<R: Request>(
        version: i16,
        correlation_id: i32,
        response: &R::Response,
        files: Vec<FileRange>,
    ) -> Result<Reply, EncodeError> {
        let mut files = files.into_iter();
        let parts = encode_response_parts(R::API_KEY, version, correlation_id, response)?;
        let fill = |part| match part {
            Part::Bytes(bytes) => Some(ReplyPart::Bytes(bytes)),
            Part::Gap(_) => files.next().map(ReplyPart::File),
        };
        Ok(Reply { parts: parts.into_iter().filter_map(fill).collect() })
    }

    /// These bytes as a frame.
    pub fn of_frame(bytes: &[u8]) -> Reply {
        let mut frame = BytesMut::with_capacity(LENGTH_BYTES + bytes.len());
        frame.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        frame.extend_from_slice(bytes);
        Reply { parts: vec![ReplyPart::Bytes(frame.freeze())] }
    }

    /// The frame in one piece, without the length in front. Blocks when records must come from the disk.
    pub fn into_frame(self) -> Result<Bytes, LogError> {
        let mut pieces = Vec::with_capacity(self.parts.len());
        for part in self.parts {
            pieces.push(match part {
                ReplyPart::Bytes(bytes) => bytes,
                ReplyPart::File(range) => range.read()?,
            });
        }
        let mut frame = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
        pieces.iter().for_each(|piece| frame.extend_from_slice(piece));
        Ok(frame.freeze().split_off(LENGTH_BYTES))
    }

    /// Bytes of the whole frame.
    pub fn len(&self) -> usize {
        let part = |part: &ReplyPart| match part {
            ReplyPart::Bytes(bytes) => bytes.len(),
            ReplyPart::File(range) => range.len(),
        };
        self.parts.iter().map(part).sum()
    }

    /// Whether any of it must be read from a file.
    pub fn has_files(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, ReplyPart::File(_)))
    }
}

/// Of the length in front of a frame.
pub(super) const LENGTH_BYTES: usize = 4;
