//! One connection: frames in, replies out in the order of their requests. A connection that breaks the protocol ends,
//! and nothing else notices.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::context::Context;
use super::dispatch::{Peer, ReplyFuture, dispatch};

/// Requests of one connection that may be under way; clients send at most a handful, and a flood waits in its socket.
const REQUESTS_IN_FLIGHT_MAX: usize = 64;
/// What a frame's length alone may make us reserve; the rest grows with the bytes that really come.
const READ_BYTES: usize = 64 << 10;

/// Serves a byte stream until it ends, breaks the protocol or idles too long.
pub async fn serve<S>(stream: S, peer: Peer, context: Arc<Context>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    // Also for a client that takes no replies: they would hold their memory for as long as it likes.
    let idle = Duration::from_millis(context.config.connection_idle_ms_max);
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (replies, mut waiting) = mpsc::channel::<ReplyFuture>(REQUESTS_IN_FLIGHT_MAX);
    let writing = async {
        while let Some(reply) = waiting.recv().await {
            match reply.await {
                Ok(Some(segments)) => tokio::time::timeout(idle, write_all(&mut writer, segments)).await??,
                Ok(None) => {}
                Err(violation) => return Err(io::Error::other(violation)),
            }
        }
        Ok(())
    };
    let reading = async {
        let mut buffer = BytesMut::new();
        loop {
            let read = read_frame(&mut reader, &mut buffer, context.config.request_bytes_max);
            let Some(frame) = tokio::time::timeout(idle, read).await?? else { return Ok(()) };
            let reply = dispatch(&context, &peer, frame).map_err(io::Error::other)?;
            if replies.send(reply).await.is_err() {
                return Ok(());
            }
        }
    };
    // Whichever side ends first ends the other: replies to a client that is gone are not waited for.
    let ended: io::Result<()> = tokio::select! {
        result = reading => result,
        result = writing => result,
    };
    match ended {
        Ok(()) => tracing::trace!(peer = %peer.host, "connection ended"),
        Err(error) => tracing::debug!(peer = %peer.host, %error, "connection closed"),
    }
}

/// Serves frames that come and go in memory, in one process with the client.
pub async fn serve_frames(
    mut requests: mpsc::Receiver<Bytes>,
    responses: mpsc::Sender<Bytes>,
    peer: Peer,
    context: Arc<Context>,
) {
    let (replies, mut waiting) = mpsc::channel::<ReplyFuture>(REQUESTS_IN_FLIGHT_MAX);
    let writing = async {
        while let Some(reply) = waiting.recv().await {
            match reply.await {
                Ok(Some(segments)) => {
                    if responses.send(joined(segments)).await.is_err() {
                        return;
                    }
                }
                Ok(None) => {}
                Err(violation) => {
                    tracing::debug!(peer = %peer.host, %violation, "connection closed");
                    return;
                }
            }
        }
    };
    let reading = async {
        while let Some(frame) = requests.recv().await {
            match dispatch(&context, &peer, frame) {
                Ok(reply) => {
                    if replies.send(reply).await.is_err() {
                        return;
                    }
                }
                Err(violation) => {
                    tracing::debug!(peer = %peer.host, %violation, "connection closed");
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
}

/// A frame's segments in one piece, without the length in front.
fn joined(segments: Vec<Bytes>) -> Bytes {
    let mut frame = BytesMut::with_capacity(segments.iter().map(Bytes::len).sum());
    for segment in segments {
        frame.extend_from_slice(&segment);
    }
    frame.advance(frame.len().min(4));
    frame.freeze()
}

/// The next frame without its length; `None` at a clean end. Memory grows with what arrives, never with what a length
/// promises.
async fn read_frame<R: AsyncRead + Unpin>(
    reader: &mut R,
    buffer: &mut BytesMut,
    len_max: usize,
) -> io::Result<Option<Bytes>> {
    loop {
        let mut missing = READ_BYTES;
        if let Some(length) = buffer.first_chunk::<4>() {
            let length = i32::from_be_bytes(*length);
            let length =
                usize::try_from(length).ok().filter(|length| *length <= len_max).ok_or_else(|| {
                    io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("frame length {length} is out of bounds"),
                    )
                })?;
            if buffer.len() >= 4 + length {
                buffer.advance(4);
                return Ok(Some(buffer.split_to(length).freeze()));
            }
            missing = 4 + length - buffer.len();
        }
        buffer.reserve(missing.min(READ_BYTES.max(buffer.len())));
        if reader.read_buf(buffer).await? == 0 {
            return match buffer.is_empty() {
                true => Ok(None),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
    }
}

/// Writes all segments with as few calls as can be, without joining them.
async fn write_all<W: AsyncWrite + Unpin>(writer: &mut W, segments: Vec<Bytes>) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = segments.iter().map(|segment| IoSlice::new(segment)).collect();
    let mut rest = slices.as_mut_slice();
    while !rest.is_empty() {
        let written = writer.write_vectored(rest).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut rest, written);
    }
    writer.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn frames(chunks: &[&[u8]], len_max: usize) -> (Vec<Bytes>, io::Result<()>) {
        let mut mock = tokio_test_stream(chunks);
        let mut buffer = BytesMut::new();
        let mut frames = Vec::new();
        loop {
            match read_frame(&mut mock, &mut buffer, len_max).await {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return (frames, Ok(())),
                Err(error) => return (frames, Err(error)),
            }
        }
    }

    fn tokio_test_stream(chunks: &[&[u8]]) -> impl AsyncRead + Unpin {
        let chunks: Vec<u8> = chunks.concat();
        io::Cursor::new(chunks)
    }

    #[tokio::test]
    async fn frames_are_found_wherever_reads_cut() {
        let (read, end) = frames(&[&[0, 0, 0, 2, 7], &[8, 0, 0], &[0, 0, 0, 0, 0, 1, 9]], 10).await;
        assert!(end.is_ok());
        assert_eq!(read, [&[7u8, 8][..], &[], &[9]]);
    }

    #[tokio::test]
    async fn a_length_out_of_bounds_or_a_half_frame_is_an_error() {
        assert!(frames(&[&[0xff, 0xff, 0xff, 0xff]], 10).await.1.is_err());
        assert!(frames(&[&[0, 0, 0, 11, 1]], 10).await.1.is_err());
        assert!(frames(&[&[0, 0, 0, 3, 1]], 10).await.1.is_err());
        assert!(frames(&[&[0, 0]], 10).await.1.is_err());
    }

    #[tokio::test]
    async fn a_promised_length_takes_no_memory() {
        let mut buffer = BytesMut::new();
        let mut stream = io::Cursor::new([&[0x05u8, 0, 0, 0][..], &[1; 100]].concat());
        assert!(read_frame(&mut stream, &mut buffer, 100 << 20).await.is_err());
        assert!(buffer.capacity() < 1 << 20);
    }
}
