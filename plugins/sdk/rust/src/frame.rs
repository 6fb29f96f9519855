//! The framed batch from the guest's side: records are read in place, and outputs are written once.

use alloc::string::String;
use alloc::vec::Vec;

use crate::Transform;

/// A record, borrowed from the batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'a> {
    pub timestamp_ms: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

/// A record's headers, in order: name and value.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    count: u32,
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + use<'a> {
        let mut rest = self.bytes;
        (0..self.count).map_while(move |_| take_header(&mut rest))
    }
}

/// Where a transform puts what a record becomes.
pub struct Outputs<'a> {
    source: u32,
    count: u32,
    frame: &'a mut Vec<u8>,
}

impl Outputs<'_> {
    pub fn emit(&mut self, record: &Record<'_>) {
        self.count += 1;
        self.frame.extend_from_slice(&self.source.to_le_bytes());
        self.frame.extend_from_slice(&record.timestamp_ms.to_le_bytes());
        put_blob(self.frame, record.key);
        put_blob(self.frame, record.value);
        self.frame.extend_from_slice(&record.headers.count.to_le_bytes());
        self.frame.extend_from_slice(record.headers.bytes);
    }
}

/// A batch through a transform: a frame in, a frame out.
pub fn transform_frame<T: Transform>(frame: &[u8]) -> Result<Vec<u8>, String> {
    const BROKEN: &str = "the batch is no frame of ottla:plugin@1";
    let mut rest = frame;
    let count = take_u32(&mut rest).ok_or(BROKEN)?;
    let mut out = Vec::with_capacity(frame.len());
    out.extend_from_slice(&[0; 4]);
    let mut outputs = 0;
    for _ in 0..count {
        let (source, record) = take_record(&mut rest).ok_or(BROKEN)?;
        let mut emitted = Outputs { source, count: 0, frame: &mut out };
        T::transform(record, &mut emitted)?;
        outputs += emitted.count;
    }
    if let Some(count) = out.first_chunk_mut::<4>() {
        *count = u32::to_le_bytes(outputs);
    }
    Ok(out)
}

fn take_record<'a>(rest: &mut &'a [u8]) -> Option<(u32, Record<'a>)> {
    let source = take_u32(rest)?;
    let timestamp_ms = i64::from_le_bytes(take(rest, 8)?.try_into().ok()?);
    let key = take_blob(rest)?;
    let value = take_blob(rest)?;
    let count = take_u32(rest)?;
    let start = *rest;
    for _ in 0..count {
        take_header(rest)?;
    }
    let headers = Headers { count, bytes: start.get(..start.len() - rest.len())? };
    Some((source, Record { timestamp_ms, key, value, headers }))
}

fn take_header<'a>(rest: &mut &'a [u8]) -> Option<(&'a str, Option<&'a [u8]>)> {
    let length = take_u32(rest)?;
    let name = core::str::from_utf8(take(rest, length as usize)?).ok()?;
    Some((name, take_blob(rest)?))
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(take(rest, 4)?.try_into().ok()?))
}

/// The outer `None`: not enough bytes; the inner one: null.
fn take_blob<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match take_u32(rest)?.cast_signed() {
        -1 => Some(None),
        length => take(rest, usize::try_from(length).ok()?).map(Some),
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn put_blob(frame: &mut Vec<u8>, blob: Option<&[u8]>) {
    let length = blob.map_or(-1, |bytes| bytes.len() as i32);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(blob.unwrap_or_default());
}
