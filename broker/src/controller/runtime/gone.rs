//! Brokers whose process has ended are missed before their session ends. When the connection breaks on which a broker was heard of, or a
//! new controller takes office, it is looked whether anybody listens where the broker said it would be: a system that refuses the
//! connection says that nobody does. Whoever does not answer at all may only be slow, and has the time of its session.

use std::io::ErrorKind;
use std::time::Duration;

use futures::future::join_all;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::owner::Owner;
use super::{Command, Controller};
use crate::controller::brokers;
use crate::controller::bugs::PartitionRules;
use crate::ids::{NodeId, Offset};

/// How long a connection is waited for, and has to stand.
const ALIVE_AFTER: Duration = Duration::from_secs(1);
/// It is tried again after so long: what was just restarted may not listen yet.
const TRY_AGAIN: Duration = Duration::from_millis(100);
/// How often it is tried, and how often a connection has to stand.
const TRIES: u32 = 20;
const STANDS: u32 = 3;

impl Controller {
    /// Looks whether a broker, of which nothing can be heard any more in this registration, has ended; it is fenced then.
    pub(crate) async fn look_for(&self, id: NodeId, epoch: Offset) {
        let image = self.decided();
        let Some(broker) =
            image.brokers().get(&id).filter(|broker| broker.epoch == epoch && !broker.is_fenced)
        else {
            return;
        };
        let Some(endpoint) = broker.endpoints.first() else { return };
        if !has_ended(&endpoint.host, endpoint.port).await {
            return;
        }
        // A controller that has stopped has nobody to fence.
        let _ = self.commands.send(Command::Gone { id, epoch }).await;
    }
}

/// Whether nobody listens there, now and a moment later. A process that ends may have closed the connection on which it was heard and
/// not yet the socket on which it listens; it takes the connections of those who wait there with it.
async fn has_ended(host: &str, port: u16) -> bool {
    let (mut refused, mut stands) = (0, 0);
    for _ in 0..TRIES {
        let connecting = async {
            let stand = TcpStream::connect((host, port)).await?;
            // It says nothing, so neither does a broker.
            stand.readable().await
        };
        match timeout(ALIVE_AFTER, connecting).await {
            Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => refused += 1,
            // Closed at once, or some other way to fail: it is tried again.
            Ok(_) => refused = 0,
            Err(_) => (refused, stands) = (0, stands + 1),
        }
        if refused == 2 || stands == STANDS {
            return refused == 2;
        }
        sleep(TRY_AGAIN).await;
    }
    false
}

/// Looks for all brokers whenever this node becomes the one that decides, for as long as it is polled.
pub(crate) async fn look_for_the_gone(controller: Controller) {
    let mut state = controller.log().watch();
    let mut looked_in = None;
    loop {
        let (leads, epoch) = {
            let state = state.borrow_and_update();
            (state.leads_from.is_some(), state.epoch)
        };
        if leads && looked_in != Some(epoch) {
            looked_in = Some(epoch);
            let image = controller.decided();
            join_all(image.brokers().iter().map(|(id, broker)| controller.look_for(*id, broker.epoch))).await;
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

impl Owner {
    pub(super) async fn fence_gone(&mut self, id: NodeId, registered: Offset) {
        let Ok(epoch) = self.office().await else { return };
        let image = self.image.clone();
        self.sessions.begin(epoch, &image);
        if image.brokers().get(&id).is_none_or(|broker| broker.epoch != registered || broker.is_fenced) {
            return;
        }
        tracing::warn!(node_id = %id, "a broker is fenced: nobody listens where it was");
        let records = brokers::decide_fence(&image, PartitionRules::default(), id);
        if let Err(error) = self.commit(epoch, &records).await {
            tracing::warn!(%error, "a broker was not fenced");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_process_that_ends_slowly_has_ended_and_one_that_is_slow_has_not() {
        let ending = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = ending.local_addr().unwrap().port();
        // Nobody accepts there any more, but it still listens when it is first looked.
        let (looked, ()) = tokio::join!(has_ended("127.0.0.1", port), async {
            sleep(Duration::from_millis(300)).await;
            drop(ending);
        });
        assert!(looked);
        let slow = TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert!(!has_ended("127.0.0.1", slow.local_addr().unwrap().port()).await);
    }
}
