//! Transactions of Ottla's own client against the broker, in both versions: as the broker tells its features, and as if it
//! knew nothing of KIP-890.

#[path = "../../client/tests/transactional_producer/scenarios.rs"]
mod scenarios;

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use ottla_broker::{Broker, BrokerConfig};
use ottla_client::{Client, ClientConfig, FrameConnection, Transport};
use ottla_protocol::messages::ApiVersionsRequest;
use ottla_protocol::{ApiKey, Message, frame};
use tokio::sync::mpsc;

/// A transport that hides the features of the cluster.
struct WithoutFeatures<T> {
    transport: T,
}

#[async_trait]
impl<T: Transport> Transport for WithoutFeatures<T> {
    async fn connect(&self, host: &str, port: u16) -> io::Result<FrameConnection> {
        let mut inner = self.transport.connect(host, port).await?;
        let (outbox, responses) = mpsc::channel(16);
        let mut inbox = std::mem::replace(&mut inner.responses, mpsc::channel(1).1);
        tokio::spawn(async move {
            let mut is_first = true;
            while let Some(answer) = inbox.recv().await {
                let answer = if std::mem::take(&mut is_first) { without_features(answer) } else { answer };
                if outbox.send(answer).await.is_err() {
                    return;
                }
            }
        });
        Ok(FrameConnection { responses, ..inner })
    }
}

/// A client asks for the versions first, in the newest form that it knows.
fn without_features(answer: Bytes) -> Bytes {
    let version = ApiVersionsRequest::VERSIONS.1;
    let (header, mut response) = frame::decode_response::<ApiVersionsRequest>(answer, version).unwrap();
    assert!(response.finalized_features.iter().any(|feature| &*feature.name == "transaction.version"));
    response.finalized_features.clear();
    let frame = frame::encode_response(ApiKey::ApiVersions, version, header.correlation_id, &response);
    Bytes::from(frame.unwrap().to_vec()).slice(4..)
}

/// Runs a scenario in version 2 and in version 1, each on a broker of its own.
macro_rules! in_both_versions {
    ($($scenario:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $scenario() {
            for has_features in [true, false] {
                let dir = tempfile::tempdir().unwrap();
                let mut config = BrokerConfig::new(dir.path());
                config.set("transaction.abort.timed.out.transaction.cleanup.interval.ms", "200").unwrap();
                let broker = Broker::start(config).await.unwrap();
                let transport: Arc<dyn Transport> = match has_features {
                    true => Arc::new(broker.in_process()),
                    false => Arc::new(WithoutFeatures { transport: broker.in_process() }),
                };
                let bootstrap_servers = vec![broker.address().to_string()];
                let config = ClientConfig { bootstrap_servers, ..ClientConfig::default() };
                let client = Client::connect_with(config, transport).await.unwrap();
                scenarios::$scenario(&client).await;
                drop(client);
                broker.shutdown().await.unwrap();
            }
        }
    )*};
}

in_both_versions! {
    what_is_committed_is_read_and_what_is_aborted_is_not
    records_and_the_offsets_they_came_from_are_written_together
    a_later_producer_of_the_same_id_fences_the_one_before
    a_record_that_cannot_be_written_fails_its_transaction_and_no_other
    a_member_that_the_group_does_not_know_commits_nothing
    calls_in_a_wrong_order_are_refused_and_change_nothing
    a_transaction_that_takes_too_long_is_aborted
}
