//! Sending replies over TCP: bytes with vectored writes, records with `sendfile`, so that they never pass through our
//! memory.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::reply::{Reply, ReplyPart};
use crate::log::FileRange;

/// Bytes of one `sendfile` call: a connection with much to read must not keep a thread from the others.
const FILE_BYTES_PER_CALL: usize = 1 << 20;
/// Slices of one vectored write (`IOV_MAX` is 1024).
const SLICES_PER_CALL: usize = 512;

/// Sends a whole reply.
pub(super) async fn send(stream: &TcpStream, reply: Reply) -> io::Result<()> {
    let mut parts = VecDeque::from(reply.parts);
    while let Some(part) = parts.pop_front() {
        match part {
            ReplyPart::File(range) => send_file(stream, &range).await?,
            ReplyPart::Bytes(first) => {
                let mut pieces = vec![first];
                while let Some(ReplyPart::Bytes(_)) = parts.front()
                    && let Some(ReplyPart::Bytes(next)) = parts.pop_front()
                {
                    pieces.push(next);
                }
                send_bytes(stream, &pieces, !parts.is_empty()).await?;
            }
        }
    }
    Ok(())
}

/// `more`: the kernel may hold the last packet back for what follows.
async fn send_bytes(stream: &TcpStream, pieces: &[Bytes], more: bool) -> io::Result<()> {
    use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
    for chunk in pieces.chunks(SLICES_PER_CALL) {
        let mut slices: Vec<IoSlice<'_>> = chunk.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            let flags = if more { SendFlags::NOSIGNAL | more_flag() } else { SendFlags::NOSIGNAL };
            let sent = stream
                .async_io(Interest::WRITABLE, || {
                    Ok(sendmsg(stream, rest, &mut SendAncillaryBuffer::default(), flags)?)
                })
                .await?;
            IoSlice::advance_slices(&mut rest, sent);
        }
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn more_flag() -> rustix::net::SendFlags {
    rustix::net::SendFlags::MORE
}

#[cfg(not(target_os = "linux"))]
fn more_flag() -> rustix::net::SendFlags {
    rustix::net::SendFlags::empty()
}

#[cfg(target_os = "linux")]
async fn send_file(stream: &TcpStream, range: &FileRange) -> io::Result<()> {
    use rustix::io::Errno;
    let mut position = range.position();
    let end = position + range.len() as u64;
    while position < end {
        let length = FILE_BYTES_PER_CALL.min((end - position) as usize);
        let sent = stream
            .async_io(Interest::WRITABLE, || {
                let mut at = position;
                Ok(rustix::fs::sendfile(stream, range.file(), Some(&mut at), length)?)
            })
            .await;
        match sent {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(sent) => position += sent as u64,
            Err(error) => match Errno::from_io_error(&error) {
                // A file system without it, which the first call tells.
                Some(Errno::INVAL | Errno::NOSYS) if position == range.position() => {
                    return send_copied(stream, range).await;
                }
                _ => return Err(error),
            },
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
async fn send_file(stream: &TcpStream, range: &FileRange) -> io::Result<()> {
    send_copied(stream, range).await
}

async fn send_copied(stream: &TcpStream, range: &FileRange) -> io::Result<()> {
    let range = range.clone();
    let read = tokio::task::spawn_blocking(move || range.read()).await.map_err(io::Error::other)?;
    let mut bytes = read.map_err(io::Error::other)?;
    while bytes.has_remaining() {
        let sent = stream.async_io(Interest::WRITABLE, || stream.try_write(&bytes)).await?;
        bytes.advance(sent);
    }
    Ok(())
}
