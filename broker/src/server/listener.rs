//! Accepting connections.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::connection::serve;
use super::context::Context;
use super::endpoint::Endpoint;
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
        let mut parked: Option<(TcpStream, SocketAddr)> = None;
        loop {
            tokio::select! {
                accepted = self.socket.accept(), if parked.is_none() => match accepted {
                    Ok(accepted) => parked = Some(accepted),
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                permit = limits.all.clone().acquire_owned(), if parked.is_some() => {
                    if let (Ok(permit), Some((stream, address))) = (permit, parked.take()) {
                        self.serve(stream, address, permit, &endpoint, &limits, &context, &mut connections);
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
        permit: OwnedSemaphorePermit,
        endpoint: &Arc<Endpoint>,
        limits: &ConnectionLimits,
        context: &Arc<Context>,
        connections: &mut JoinSet<()>,
    ) {
        let per_ip = context.config.connections_per_ip_overrides.get(&address.ip()).copied();
        let per_ip = per_ip.unwrap_or(context.config.connections_per_ip_max);
        let Some(counted) = limits.by_address.count(address.ip(), per_ip) else {
            tracing::info!(%address, "closed: its host has max.connections.per.ip connections");
            return;
        };
        // Replies are whole frames, so waiting for more to send only delays them.
        let _ = stream.set_nodelay(true);
        let image = context.image();
        let host = address.ip().to_string();
        let wait = context.quotas.take_of_address(image.client_quotas(), &host, Instant::now());
        let serving = welcome(stream, address, endpoint.clone(), context.clone());
        connections.spawn(async move {
            // An address that opens connections faster than it may waits for each.
            tokio::time::sleep(wait).await;
            serving.await;
            drop((counted, permit));
        });
    }
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

/// How many connections there may be, of all listeners together.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionLimits {
    all: Arc<Semaphore>,
    by_address: ByAddress,
}

impl ConnectionLimits {
    /// `max.connections`.
    pub fn new(connections_max: usize) -> ConnectionLimits {
        let all = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
        ConnectionLimits { all, by_address: ByAddress::default() }
    }
}

/// Waits until `stop` becomes true or its sender is gone.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Open connections by the host that opened them.
#[derive(Debug, Clone, Default)]
struct ByAddress {
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection of a host, for as long as the value lives.
#[derive(Debug)]
struct Counted {
    host: IpAddr,
    by_address: ByAddress,
}

impl ByAddress {
    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more connection of a host, unless it has `max`.
    fn count(&self, host: IpAddr, max: usize) -> Option<Counted> {
        let mut counts = self.counts();
        let count = counts.entry(host).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Counted { host, by_address: self.clone() })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.by_address.counts();
        if let Some(count) = counts.get_mut(&self.host) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.host);
            }
        }
    }
}
