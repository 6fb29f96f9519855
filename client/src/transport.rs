//! How frames reach a broker and come back: the trait, and TCP with or without TLS. Knows nothing of what is in a frame.

use std::io;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tracing::debug;

use crate::error::ClientError;
use crate::security::{ClientSecurity, SaslSettings, TlsClient};

/// Frames that may wait between a connection and its socket, each way.
const FRAMES_QUEUED: usize = 16;

/// Opens connections. TCP is the client's own; a broker in the same process gives its own.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Opens a connection to the broker at `host:port`.
    async fn connect(&self, host: &str, port: u16) -> io::Result<FrameConnection>;
}

/// One connection: frames without their four-byte length, out and in, each in order. Dropping either end of a
/// channel closes the connection.
pub struct FrameConnection {
    pub requests: mpsc::Sender<Bytes>,
    pub responses: mpsc::Receiver<Bytes>,
    /// Why the connection ended, where the transport knows; set before `responses` ends.
    pub failure: Arc<OnceLock<io::Error>>,
    /// How the client shows at the start who it is; none where that is known already.
    pub sasl: Option<Arc<SaslSettings>>,
}

/// Frames over TCP, each after its length.
#[derive(Clone)]
pub struct TcpTransport {
    /// The largest frame that is read, in bytes; a longer one closes the connection.
    frame_len_max: usize,
    tls: Option<TlsClient>,
    sasl: Option<Arc<SaslSettings>>,
}

impl TcpTransport {
    /// As safe as was asked for. Reads the files of keys and certificates now.
    ///
    /// # Errors
    /// [`ClientError::InvalidConfig`] when they cannot be used, or SASL is asked for and not said how.
    pub fn new(security: &ClientSecurity, frame_len_max: usize) -> Result<TcpTransport, ClientError> {
        let protocol = security.protocol;
        let tls = if protocol.has_tls() { Some(TlsClient::new(&security.tls)?) } else { None };
        let sasl = match &security.sasl {
            _ if !protocol.has_sasl() => None,
            Some(settings) => Some(Arc::new(settings.clone())),
            None => {
                let reason = format!("security.protocol {} needs sasl settings", protocol.name());
                return Err(ClientError::InvalidConfig(reason));
            }
        };
        Ok(TcpTransport { frame_len_max, tls, sasl })
    }
}

#[async_trait]
impl Transport for TcpTransport {
    async fn connect(&self, host: &str, port: u16) -> io::Result<FrameConnection> {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let frames = match &self.tls {
            None => {
                let (read_half, write_half) = stream.into_split();
                carry(read_half, write_half, self.frame_len_max)
            }
            Some(tls) => {
                let (read_half, write_half) = tokio::io::split(tls.connect(host, stream).await?);
                carry(read_half, write_half, self.frame_len_max)
            }
        };
        Ok(FrameConnection { sasl: self.sasl.clone(), ..frames })
    }
}

/// Starts the two tasks that move frames.
fn carry<R, W>(read_half: R, write_half: W, frame_len_max: usize) -> FrameConnection
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (requests, outgoing) = mpsc::channel(FRAMES_QUEUED);
    let (incoming, responses) = mpsc::channel(FRAMES_QUEUED);
    let failure = Arc::new(OnceLock::new());
    let failed = failure.clone();
    // The reader holds the sender of `responses`: when it ends, so does the connection. It also ends when the
    // other side is dropped, even if the broker never says another word.
    tokio::spawn(async move {
        tokio::select! {
            done = read_frames(read_half, &incoming, frame_len_max) => {
                if let Err(error) = done {
                    debug!(%error, "connection read failed");
                    let _ = failed.set(error);
                }
            }
            () = incoming.closed() => {}
        }
    });
    tokio::spawn(async move {
        if let Err(error) = write_frames(write_half, outgoing).await {
            debug!(%error, "connection write failed");
        }
    });
    FrameConnection { requests, responses, failure, sasl: None }
}

async fn read_frames(
    mut stream: impl AsyncRead + Unpin,
    frames: &mpsc::Sender<Bytes>,
    frame_len_max: usize,
) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(64 << 10);
    loop {
        while buffer.len() < 4 {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        let length = usize::try_from(buffer.get_i32()).unwrap_or(usize::MAX);
        if length > frame_len_max {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a frame of {length} bytes is longer than {frame_len_max}"),
            ));
        }
        // Memory grows with what arrives, at most doubling, not with what the length claims.
        while buffer.len() < length {
            let missing = length - buffer.len();
            buffer.reserve(missing.min(buffer.len().max(64 << 10)));
            if stream.read_buf(&mut buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if frames.send(buffer.split_to(length).freeze()).await.is_err() {
            return Ok(());
        }
        if buffer.capacity() < 4096 {
            buffer.reserve(64 << 10);
        }
    }
}

async fn write_frames(stream: impl AsyncWrite + Unpin, mut frames: mpsc::Receiver<Bytes>) -> io::Result<()> {
    let mut stream = BufWriter::with_capacity(64 << 10, stream);
    while let Some(mut frame) = frames.recv().await {
        // Small frames that are already waiting share one write.
        loop {
            let length = i32::try_from(frame.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
            stream.write_i32(length).await?;
            stream.write_all(&frame).await?;
            match frames.try_recv() {
                Ok(next) => frame = next,
                Err(_) => break,
            }
        }
        stream.flush().await?;
    }
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn pair(frame_len_max: usize) -> (FrameConnection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let transport = TcpTransport::new(&ClientSecurity::default(), frame_len_max).unwrap();
        let (connection, accepted) = tokio::join!(transport.connect("127.0.0.1", port), listener.accept());
        (connection.unwrap(), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn frames_travel_both_ways_behind_their_length() {
        let (mut connection, mut server) = pair(1 << 20).await;
        connection.requests.send(Bytes::from_static(b"ask")).await.unwrap();
        let mut request = [0; 7];
        server.read_exact(&mut request).await.unwrap();
        assert_eq!(&request, b"\0\0\0\x03ask");
        let long = vec![7u8; 300_000];
        server.write_all(b"\0\0\0\x02hi").await.unwrap();
        server.write_i32(long.len() as i32).await.unwrap();
        server.write_all(&long).await.unwrap();
        assert_eq!(&connection.responses.recv().await.unwrap()[..], b"hi");
        assert_eq!(&connection.responses.recv().await.unwrap()[..], &long[..]);
    }

    #[tokio::test]
    async fn an_over_long_frame_and_a_negative_length_close_the_connection() {
        for length in [65, -1] {
            let (mut connection, mut server) = pair(64).await;
            server.write_i32(length).await.unwrap();
            assert!(connection.responses.recv().await.is_none());
        }
    }

    #[tokio::test]
    async fn dropping_the_connection_closes_the_socket() {
        let (connection, mut server) = pair(64).await;
        drop(connection);
        assert_eq!(server.read(&mut [0; 1]).await.unwrap(), 0);
    }
}
