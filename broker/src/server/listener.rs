//! Accepting connections.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connection::serve;
use super::context::Context;
use super::dispatch::Peer;

/// How long accepting rests after the system refused, e.g. for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long open requests may take once the broker stops.
const DRAIN: Duration = Duration::from_millis(500);

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

    /// Accepts until `stop` becomes true, then closes what is open.
    pub async fn run(self, context: Arc<Context>, mut stop: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        let by_address = ByAddress::default();
        loop {
            tokio::select! {
                accepted = self.socket.accept(), if connections.len() < context.config.connections_max => match accepted {
                    Ok((stream, address)) => {
                        let Some(counted) = by_address.count(address.ip(), context.config.connections_per_ip_max) else {
                            tracing::info!(%address, "closed: its host has max.connections.per.ip connections");
                            continue;
                        };
                        // Replies are whole frames, so waiting for more to send only delays them.
                        let _ = stream.set_nodelay(true);
                        let peer = Peer::new(&address.ip().to_string(), address.port());
                        let serving = serve(stream, peer, context.clone());
                        connections.spawn(async move {
                            serving.await;
                            drop(counted);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                () = stopped(&mut stop) => break,
            }
        }
        drop(self.socket);
        let drained = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(DRAIN, drained).await;
        connections.shutdown().await;
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
