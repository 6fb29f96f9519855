//! Finding frames in a stream of bytes. Memory grows with what arrives, never with what a length promises.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::reply::LENGTH_BYTES;

/// Read at once while frames are small.
const READ_BYTES: usize = 64 << 10;
/// From here on a frame is read to a place of its own, and the next one is expected to be as large.
const LARGE_FRAME_BYTES: usize = 16 << 10;
/// What a length alone may make us reserve. It is address space, not memory, until bytes arrive.
const RESERVE_BYTES_MAX: usize = 1 << 20;

/// Reads frames off a stream.
#[derive(Debug)]
pub(crate) struct FrameReader {
    buffer: BytesMut,
    frame_bytes_max: usize,
    /// The last frame was large: what is read ahead of the next one's length would have to be copied.
    large_expected: bool,
}

impl FrameReader {
    pub fn new(frame_bytes_max: usize) -> FrameReader {
        FrameReader { buffer: BytesMut::new(), frame_bytes_max, large_expected: false }
    }

    /// From the next frame on none may be larger.
    pub fn set_bytes_max(&mut self, frame_bytes_max: usize) {
        self.frame_bytes_max = frame_bytes_max;
    }

    /// Whether nothing of a frame has arrived. Memory is given back then: most connections idle most of the time.
    pub fn is_between_frames(&mut self) -> bool {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        self.buffer.is_empty()
    }

    /// The next frame without its length; `None` at a clean end.
    pub async fn next<R: AsyncRead + Unpin>(&mut self, reader: &mut R) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(length) = self.length()? {
                self.large_expected = length > LARGE_FRAME_BYTES;
                if self.buffer.len() >= LENGTH_BYTES + length {
                    self.buffer.advance(LENGTH_BYTES);
                    return Ok(Some(self.buffer.split_to(length).freeze()));
                }
                if self.large_expected {
                    return self.large(reader, length).await.map(Some);
                }
            }
            let room = match self.large_expected {
                true => LENGTH_BYTES - self.buffer.len(),
                false => READ_BYTES,
            };
            self.buffer.reserve(room);
            if reader.read_buf(&mut (&mut self.buffer).limit(room)).await? == 0 {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    /// The length of the frame that the buffer begins with, once it is there.
    fn length(&self) -> io::Result<Option<usize>> {
        let Some(length) = self.buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = i32::from_be_bytes(*length);
        match usize::try_from(length) {
            Ok(length) if length <= self.frame_bytes_max => Ok(Some(length)),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("frame length {length} is out of bounds"),
            )),
        }
    }

    /// Reads the rest of a large frame straight to where it stays, so that it is copied once, by the kernel.
    async fn large<R: AsyncRead + Unpin>(&mut self, reader: &mut R, length: usize) -> io::Result<Bytes> {
        let mut frame = BytesMut::with_capacity(length.min(RESERVE_BYTES_MAX));
        frame.extend_from_slice(self.buffer.get(LENGTH_BYTES..).unwrap_or_default());
        self.buffer = BytesMut::new();
        while frame.len() < length {
            let missing = length - frame.len();
            if frame.len() == frame.capacity() {
                frame.reserve(missing.min(frame.len()));
            }
            if reader.read_buf(&mut (&mut frame).limit(missing)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(frame.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Gives its bytes in chunks of these sizes, over and over.
    async fn frames(bytes: Vec<u8>, chunk: usize, frame_bytes_max: usize) -> (Vec<Bytes>, io::Result<()>) {
        let (mut sender, mut receiver) = tokio::io::duplex(chunk.max(1));
        let sending = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt;
            let _ = sender.write_all(&bytes).await;
        });
        let mut reader = FrameReader::new(frame_bytes_max);
        let mut frames = Vec::new();
        let end = loop {
            match reader.next(&mut receiver).await {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        drop(receiver);
        let _ = sending.await;
        (frames, end)
    }

    fn framed(bodies: &[Vec<u8>]) -> Vec<u8> {
        let frame = |body: &Vec<u8>| [&(body.len() as i32).to_be_bytes()[..], body].concat();
        bodies.iter().flat_map(frame).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn frames_are_found_wherever_reads_cut(
            lengths in proptest::collection::vec(prop_oneof![0usize..300, 60_000usize..70_000, Just(3 << 20)], 0..5),
            chunk in prop_oneof![1000usize..3000, Just(1 << 20)],
        ) {
            let bodies: Vec<Vec<u8>> =
                lengths.iter().enumerate().map(|(i, length)| vec![i as u8; *length]).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (found, end) = runtime.block_on(frames(framed(&bodies), chunk, 4 << 20));
            prop_assert!(end.is_ok());
            prop_assert_eq!(found, bodies);
        }
    }

    #[tokio::test]
    async fn a_length_out_of_bounds_or_a_half_frame_is_an_error() {
        for bytes in [&[0xff, 0xff, 0xff, 0xff][..], &[0, 0, 0, 11, 1], &[0, 0, 0, 3, 1], &[0, 0]] {
            assert!(frames(bytes.to_vec(), 64, 10).await.1.is_err(), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn a_promised_length_takes_no_memory() {
        let mut reader = FrameReader::new(100 << 20);
        let mut stream = io::Cursor::new([&[0x05u8, 0, 0, 0][..], &[1; 100]].concat());
        assert!(reader.next(&mut stream).await.is_err());
        assert!(reader.buffer.capacity() <= RESERVE_BYTES_MAX);
    }

    #[tokio::test]
    async fn an_idle_connection_holds_no_buffer() {
        let mut reader = FrameReader::new(1 << 20);
        let mut stream = io::Cursor::new(framed(&[vec![7; 100]]));
        assert_eq!(reader.next(&mut stream).await.unwrap().unwrap().len(), 100);
        assert!(reader.is_between_frames());
        assert_eq!(reader.buffer.capacity(), 0);
    }
}
