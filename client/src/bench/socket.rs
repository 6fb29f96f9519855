//! A blocking connection that does no more than it must.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use bytes::{Bytes, BytesMut};

/// Where the correlation id is in a request frame with its length: after length, API key and version.
const CORRELATION_ID_AT: usize = 8;

pub(super) struct Socket {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Socket {
    pub fn connect(host: &str, port: u16) -> io::Result<Socket> {
        let stream = TcpStream::connect((host, port))?;
        stream.set_nodelay(true)?;
        Ok(Socket { stream, buffer: BytesMut::new() })
    }

    /// Sends a whole frame, under another correlation id than it was made with.
    pub fn send(&mut self, frame: &mut [u8], correlation_id: i32) -> io::Result<()> {
        frame[CORRELATION_ID_AT..CORRELATION_ID_AT + 4].copy_from_slice(&correlation_id.to_be_bytes());
        self.stream.write_all(frame)
    }

    /// The next frame, without its length. Memory is used again once the last frame is dropped.
    pub fn receive(&mut self) -> io::Result<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).map_err(io::Error::other)?;
        self.buffer.reserve(length);
        self.buffer.resize(length, 0);
        self.stream.read_exact(&mut self.buffer)?;
        Ok(self.buffer.split().freeze())
    }
}
