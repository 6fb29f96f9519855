//! The smallest client: one connection, requests of any version, and raw bytes for what no client would send.

pub mod requests;

use std::net::SocketAddr;

use bytes::Bytes;
use ottla_protocol::frame::{RequestHeader, decode_response, encode_request};
use ottla_protocol::wire::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

pub struct Wire {
    stream: TcpStream,
    correlation_id: i32,
    client_id: &'static str,
}

impl Wire {
    pub async fn connect(address: SocketAddr) -> Wire {
        Wire::connect_as(address, "wire").await
    }

    /// A client at another address of this machine.
    #[allow(dead_code, reason = "each test binary uses its own part")]
    pub async fn connect_from(source: &str, address: SocketAddr) -> Wire {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).expect("an address of this machine");
        let stream = socket.connect(address).await.expect("the broker listens");
        Wire { stream, correlation_id: 0, client_id: "wire" }
    }

    /// A client of another id.
    #[allow(dead_code, reason = "each test binary uses its own part")]
    pub async fn connect_as(address: SocketAddr, client_id: &'static str) -> Wire {
        let stream = TcpStream::connect(address).await.expect("the broker listens");
        Wire { stream, correlation_id: 0, client_id }
    }

    pub async fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.correlation_id += 1;
        let sent = self.correlation_id;
        self.send(version, sent, request).await;
        let (received, response) = self.receive::<R>(version).await;
        assert_eq!(received, sent);
        response
    }

    pub async fn send<R: Request>(&mut self, version: i16, correlation_id: i32, request: &R) {
        let header = RequestHeader {
            api_key: R::API_KEY,
            api_version: version,
            correlation_id,
            client_id: Some(self.client_id.into()),
        };
        let frame = encode_request(&header, request).expect("the request fits its version");
        self.send_raw(&frame).await;
    }

    pub async fn receive<R: Request>(&mut self, version: i16) -> (i32, R::Response) {
        let frame = self.receive_raw().await.expect("an answer");
        let (header, response) = decode_response::<R>(frame, version).expect("the answer can be read");
        (header.correlation_id, response)
    }

    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the connection is open");
    }

    /// Fails when something came, or the connection was closed, before so many milliseconds had passed.
    #[allow(dead_code, reason = "each test binary uses its own part")]
    pub async fn receive_nothing_within_ms(&mut self, ms: u64) -> Result<(), ()> {
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(ms), self.stream.readable());
        if waiting.await.is_err() { Ok(()) } else { Err(()) }
    }

    /// A frame without its length; `None` when the connection was closed.
    pub async fn receive_raw(&mut self) -> Option<Bytes> {
        let length = self.stream.read_i32().await.ok()?;
        let mut frame = vec![0; length as usize];
        self.stream.read_exact(&mut frame).await.ok()?;
        Some(Bytes::from(frame))
    }
}

/// A request frame with header version 1 and any body.
#[allow(dead_code)] // Not every test sends bytes of its own.
pub fn frame(api_key: i16, version: i16, correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&api_key.to_be_bytes());
    frame.extend_from_slice(&version.to_be_bytes());
    frame.extend_from_slice(&correlation_id.to_be_bytes());
    frame.extend_from_slice(&(-1i16).to_be_bytes());
    frame.extend_from_slice(body);
    let mut whole = (frame.len() as i32).to_be_bytes().to_vec();
    whole.extend(frame);
    whole
}
