//! A blocking connection that does no more than it must.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use bytes::{Bytes, BytesMut};
use ottla_protocol::{Request, RequestHeader, frame};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::BenchError;
use crate::error::ClientError;
use crate::security::{ClientSecurity, SaslChannel, SaslSettings, TlsClient, authenticate};

/// Where the correlation id is in a request frame with its length: after length, API key and version.
const CORRELATION_ID_AT: usize = 8;

/// What a connection needs before the first request. A session that ends is not renewed.
#[derive(Clone, Default)]
pub(super) struct Access {
    tls: Option<TlsClient>,
    sasl: Option<SaslSettings>,
}

impl Access {
    pub fn new(security: &ClientSecurity) -> Result<Access, ClientError> {
        let protocol = security.protocol;
        let tls = if protocol.has_tls() { Some(TlsClient::new(&security.tls)?) } else { None };
        Ok(Access { tls, sasl: security.sasl.clone().filter(|_| protocol.has_sasl()) })
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    fn read_exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.read_exact(bytes),
            Stream::Tls(stream) => stream.read_exact(bytes),
        }
    }
}

pub(super) struct Socket {
    stream: Stream,
    buffer: BytesMut,
}

impl Socket {
    /// Connects, and shows who the client is where that is asked for. Must be called on a thread that may block.
    pub fn connect(host: &str, port: u16, access: &Access) -> Result<Socket, BenchError> {
        let stream = TcpStream::connect((host, port))?;
        stream.set_nodelay(true)?;
        let stream = match &access.tls {
            None => Stream::Plain(stream),
            Some(tls) => {
                let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
                let connection = ClientConnection::new(tls.config(), name).map_err(io::Error::other)?;
                Stream::Tls(Box::new(StreamOwned::new(connection, stream)))
            }
        };
        let mut socket = Socket { stream, buffer: BytesMut::new() };
        if let Some(settings) = &access.sasl {
            let channel = Channel { socket: &mut socket, address: format!("{host}:{port}") };
            tokio::runtime::Handle::current().block_on(authenticate(channel, settings))?;
        }
        Ok(socket)
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

struct Channel<'a> {
    socket: &'a mut Socket,
    address: String,
}

impl SaslChannel for Channel<'_> {
    fn address(&self) -> &str {
        &self.address
    }

    async fn call<R: Request<Response: Send> + Send>(
        &mut self,
        version_max: i16,
        request: R,
    ) -> Result<(i16, R::Response), ClientError> {
        let version = R::VERSIONS.1.min(version_max);
        let header = RequestHeader {
            api_key: R::API_KEY,
            api_version: version,
            correlation_id: 0,
            client_id: Some("ottla-bench".into()),
        };
        let address = || self.address.clone();
        let encoded = frame::encode_request(&header, &request);
        let mut encoded = encoded
            .map_err(|reason| ClientError::BadRequest { address: address(), api: R::API_KEY, reason })?
            .to_vec();
        let answered = self.socket.send(&mut encoded, 0).and_then(|()| self.socket.receive());
        let answer = answered.map_err(|_| ClientError::Disconnected {
            address: address(),
            reason: "it was closed amid authentication",
        })?;
        match frame::decode_response::<R>(answer, version) {
            Ok((_, response)) => Ok((version, response)),
            Err(reason) => Err(ClientError::BadResponse { address: address(), api: R::API_KEY, reason }),
        }
    }
}
