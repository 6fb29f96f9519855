//! Accepting connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::connection::serve;
use super::context::Context;
use super::endpoint::Endpoint;
use super::limits::{ConnectionLimits, Room};
use super::peer::Peer;
use super::transport;
use crate::security::Principal;
use crate::security::tls::TlsServer;

/// How long accepting rests after the system refused, e.g. for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long open requests may take once the broker stops.
const DRAIN: Duration = Duration::from_millis(500);
/// How long a TLS handshake may take.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// A bound socket that does not accept yet.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds the address.
    pub async fn bind(address: SocketAddr) -> io::Result<Listener> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        Ok(Listener { socket, address })
    }

    /// With the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts clients of the endpoint until `stop` becomes true, then closes what is open.
    pub async fn run(
        self,
        endpoint: Arc<Endpoint>,
        limits: ConnectionLimits,
        context: Arc<Context>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut connections = JoinSet::new();
        // The next connection while there is no room for it; others wait in the socket. Room is taken only for a client
        // that is there: a listener that waited with it in hand would keep it from the others.
        let mut parked: Option<(TcpStream, SocketAddr, Duration)> = None;
        let mut parked_at = tokio::time::Instant::now();
        loop {
            tokio::select! {
                accepted = self.socket.accept(), if parked.is_none() => match accepted {
                    Ok((stream, address)) => {
                        let wait = limits.opened(Instant::now());
                        if !wait.is_zero() {
                            context.metrics.connections_delayed.inc();
                        }
                        parked = Some((stream, address, wait));
                        parked_at = tokio::time::Instant::now();
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                room = room_after(&limits, parked.as_ref().map(|(.., wait)| parked_at + *wait)), if parked.is_some() => {
                    if let (Some(room), Some((stream, address, _))) = (room, parked.take()) {
                        self.serve(stream, address, room, &endpoint, &limits, &context, &mut connections);
                    }
                }
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                () = stopped(&mut stop) => break,
            }
        }
        drop(self.socket);
        let drained = async { while connections.join_next().await.is_some() {} };
        let _ = timeout(DRAIN, drained).await;
        connections.shutdown().await;
    }

    /// Serves a client that there is room for, unless its host has its share.
    #[expect(clippy::too_many_arguments, reason = "what a connection is made of")]
    fn serve(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        room: Room,
        endpoint: &Arc<Endpoint>,
        limits: &ConnectionLimits,
        context: &Arc<Context>,
        connections: &mut JoinSet<()>,
    ) {
        let per_ip = context.config.connections_per_ip_overrides.get(&address.ip()).copied();
        let per_ip = per_ip.unwrap_or(context.config.connections_per_ip_max);
        let Some(counted) = limits.count(address.ip(), per_ip) else {
            context.metrics.connections_refused.inc();
            tracing::info!(%address, "closed: its host has max.connections.per.ip connections");
            return;
        };
        // Replies are whole frames, so waiting for more to send only delays them.
        let _ = stream.set_nodelay(true);
        let image = context.image();
        let host = address.ip().to_string();
        let wait = context.quotas.take_of_address(image.client_quotas(), &host, Instant::now());
        if !wait.is_zero() {
            context.metrics.connections_delayed.inc();
        }
        let serving = welcome(stream, address, endpoint.clone(), context.clone());
        connections.spawn(async move {
            // An address that opens connections faster than it may waits for each.
            tokio::time::sleep(wait).await;
            serving.await;
            drop((counted, room));
        });
    }
}

/// Waits until then, and until there is room.
async fn room_after(limits: &ConnectionLimits, then: Option<tokio::time::Instant>) -> Option<Room> {
    if let Some(then) = then {
        tokio::time::sleep_until(then).await;
    }
    limits.room().await
}

/// Serves a new connection, after a TLS handshake where the endpoint has TLS.
async fn welcome(stream: TcpStream, address: SocketAddr, endpoint: Arc<Endpoint>, context: Arc<Context>) {
    let host = address.ip().to_string();
    let Some(tls) = &endpoint.tls else {
        let peer = Peer::new(&host, address.port(), endpoint, Principal::anonymous());
        let (reader, writer) = transport::plain(stream);
        return serve(reader, writer, peer, context).await;
    };
    let accepting = TlsAcceptor::from(tls.server()).accept(stream);
    let refused = match timeout(HANDSHAKE_TIME_MAX, accepting).await {
        Ok(Ok(stream)) => {
            let certificates = stream.get_ref().1.peer_certificates();
            let principal = tls.principal(certificates.and_then(<[_]>::first));
            let peer = Peer::new(&host, address.port(), endpoint, principal);
            let (reader, writer) = transport::tls(stream);
            return serve(reader, writer, peer, context).await;
        }
        Ok(Err(error)) => error,
        Err(late) => late.into(),
    };
    context.metrics.authentications_failed.inc();
    tracing::info!(target: "audit", host, listener = &*endpoint.name, error = %refused, "TLS handshake failed");
}

/// Reads an endpoint's certificates again whenever their files were written.
pub(crate) async fn keep_certificates(endpoint: Arc<Endpoint>, interval: Duration) {
    let Some(tls) = &endpoint.tls else { return };
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        reload(&endpoint.name, tls);
    }
}

fn reload(listener: &str, tls: &TlsServer) {
    match tls.reload() {
        Ok(true) => tracing::info!(listener, "certificates were read again"),
        Ok(false) => {}
        Err(error) => tracing::warn!(listener, %error, "new certificates cannot be used, the old ones stay"),
    }
}

/// Waits until `stop` becomes true or its sender is gone.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
