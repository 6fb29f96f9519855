//! The two kinds of connections: plain TCP, where records go from file to socket without passing through our memory, and
//! TLS, where they cannot.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::server::TlsStream;

use super::reply::{Reply, ReplyPart};
use super::send::send;

/// Records that are in memory at the same time for one connection with TLS.
const TLS_PIECE_BYTES: u32 = 256 << 10;

/// Where requests come from.
pub(super) trait Source: AsyncRead + Unpin + Send {
    /// Waits until there is something to read, the end included, without a buffer for it.
    fn readable(&mut self) -> impl Future<Output = io::Result<()>> + Send;
}

/// Where replies go.
pub(super) trait Sink: Send {
    /// Sends a whole reply.
    fn send(&mut self, reply: Reply) -> impl Future<Output = io::Result<()>> + Send;
}

/// Both directions of a TCP connection.
pub(super) fn plain(stream: TcpStream) -> (OwnedReadHalf, OwnedWriteHalf) {
    stream.into_split()
}

/// Both directions of a TLS connection.
pub(super) fn tls(
    stream: TlsStream<TcpStream>,
) -> (BufReader<ReadHalf<TlsStream<TcpStream>>>, WriteHalf<TlsStream<TcpStream>>) {
    let (reader, writer) = tokio::io::split(stream);
    (BufReader::new(reader), writer)
}

impl Source for OwnedReadHalf {
    async fn readable(&mut self) -> io::Result<()> {
        OwnedReadHalf::readable(self).await
    }
}

impl Source for BufReader<ReadHalf<TlsStream<TcpStream>>> {
    async fn readable(&mut self) -> io::Result<()> {
        self.fill_buf().await.map(|_| ())
    }
}

impl Sink for OwnedWriteHalf {
    async fn send(&mut self, reply: Reply) -> io::Result<()> {
        send(self.as_ref(), reply).await
    }
}

impl Sink for WriteHalf<TlsStream<TcpStream>> {
    async fn send(&mut self, reply: Reply) -> io::Result<()> {
        for part in reply.parts {
            match part {
                ReplyPart::Bytes(bytes) => self.write_all(&bytes).await?,
                ReplyPart::File(range) => {
                    for piece in range.pieces(TLS_PIECE_BYTES) {
                        let read = tokio::task::spawn_blocking(move || piece.read()).await;
                        let bytes = read.map_err(io::Error::other)?.map_err(io::Error::other)?;
                        self.write_all(&bytes).await?;
                    }
                }
            }
        }
        self.flush().await
    }
}
