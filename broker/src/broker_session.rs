//! This node as one of the cluster's brokers: it registers with the controller, tells it over and over that it is there, and
//! leaves in good order (KIP-631). Where the controller says that it does not know the node any more, it registers again.

use std::sync::Arc;
use std::time::Duration;

use ottla_protocol::messages::k62_broker_registration::{Feature, Listener};
use ottla_protocol::messages::{BrokerHeartbeatRequest, BrokerRegistrationRequest};
use ottla_protocol::{ErrorCode, Message};
use tokio::time::{Instant, timeout_at};

use crate::controller::{BrokerImage, Controller, Heartbeat, HeartbeatAnswer, Registration, leads_something};
use crate::ids::Offset;

/// How long after a failure, or while it may not serve yet, it speaks again.
const RETRY: Duration = Duration::from_millis(100);
/// How long it is tried to tell somebody that the node stops.
const FAREWELL: Duration = Duration::from_millis(500);
/// How long it may take, once the controller has heard so, until others lead what the node led.
const HANDOVER: Duration = Duration::from_secs(3);
/// How long it says to clients who leads now, before nobody is told of it any more. They come again 100 ms after a refusal; and
/// librdkafka, when one answer tells it of another leader and no more of the one so far, can lose sight of the partition for two
/// seconds.
const REDIRECTION: Duration = Duration::from_millis(400);
/// How often it is asked whether it may stop.
const HANDOVER_PAUSE: Duration = Duration::from_millis(10);

/// See the module.
#[derive(Clone)]
pub(crate) struct BrokerSession {
    pub controller: Controller,
    pub registration: Registration,
    pub heartbeat_interval: Duration,
}

impl BrokerSession {
    /// Keeps the node registered for as long as it is polled.
    pub async fn run(self) {
        let (mut epoch, mut has_warned) = (None, false);
        loop {
            let Some(known) = epoch else {
                match self.register().await {
                    Ok(registered) => {
                        tracing::info!(epoch = %registered, "registered with the controller");
                        (epoch, has_warned) = (Some(registered), false);
                    }
                    Err(code) => {
                        if code == ErrorCode::DuplicateBrokerRegistration && !has_warned {
                            has_warned = true;
                            tracing::error!(
                                node_id = %self.registration.id,
                                "another broker with this node's id is alive: stop it, or start this node with another --node-id"
                            );
                        }
                        if code == ErrorCode::UnsupportedVersion && !has_warned {
                            has_warned = true;
                            tracing::error!(
                                node_id = %self.registration.id,
                                "the cluster uses levels of features that this release has not: start a release on this node that has them"
                            );
                        }
                        tokio::time::sleep(RETRY).await;
                    }
                }
                continue;
            };
            let pause = match self.heartbeat(known, false).await {
                Ok(answer) => {
                    if answer.is_fenced {
                        RETRY
                    } else {
                        self.heartbeat_interval
                    }
                }
                Err(ErrorCode::StaleBrokerEpoch | ErrorCode::BrokerIdNotRegistered) => {
                    epoch = None;
                    RETRY
                }
                Err(_) => RETRY,
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Tells the controller that the node stops, and waits until others lead what it led and nobody is sent to it any more; not for
    /// long, as whoever does not hear it notices the silence.
    pub async fn leave(&self) {
        let image = self.controller.image();
        let own = image.brokers().get(&self.registration.id);
        let is_own = |own: &&Arc<BrokerImage>| own.incarnation_id == self.registration.incarnation_id;
        let Some(own) = own.filter(is_own) else { return };
        let led_something = leads_something(&image, self.registration.id);
        let mut until = Instant::now() + FAREWELL;
        let mut is_heard = false;
        while let Ok(answer) = timeout_at(until, self.heartbeat(own.epoch, true)).await {
            match answer {
                Ok(answer) if answer.should_shut_down => return,
                Ok(_) if !is_heard => {
                    (is_heard, until) = (true, Instant::now() + HANDOVER);
                    if led_something {
                        tokio::time::sleep(REDIRECTION).await;
                    }
                }
                Err(ErrorCode::StaleBrokerEpoch | ErrorCode::BrokerIdNotRegistered) => return,
                Ok(_) | Err(_) => {}
            }
            tokio::time::sleep(HANDOVER_PAUSE).await;
        }
        tracing::warn!("stops without having given away what it leads: the controller does not answer");
    }

    async fn register(&self) -> Result<Offset, ErrorCode> {
        let quorum = self.controller.log();
        if quorum.state().leads_from.is_some() {
            let registered = self.controller.register_broker(self.registration.clone()).await;
            return registered.map_err(|refusal| refusal.code);
        }
        let listeners = self.registration.endpoints.iter().map(|endpoint| Listener {
            name: endpoint.listener.as_str().into(),
            host: endpoint.host.as_str().into(),
            port: endpoint.port,
            security_protocol: endpoint.security_protocol,
        });
        let features = self.registration.features.iter().map(|feature| Feature {
            name: feature.name.as_str().into(),
            min_supported_version: feature.level_min,
            max_supported_version: feature.level_max,
        });
        let request = BrokerRegistrationRequest {
            features: features.collect(),
            broker_id: self.registration.id.0,
            cluster_id: quorum.membership().cluster_id.as_str().into(),
            incarnation_id: self.registration.incarnation_id,
            listeners: listeners.collect(),
            log_dirs: self.registration.log_dirs.clone(),
            rack: self.registration.rack.as_deref().map(Into::into),
            previous_broker_epoch: self.registration.previous_epoch.map_or(-1, |epoch| epoch.0),
            ..BrokerRegistrationRequest::default()
        };
        let version = <BrokerRegistrationRequest as Message>::VERSIONS.1;
        let answer = quorum.ask_leader(&request, version).await.ok_or(ErrorCode::NotController)?;
        ErrorCode::check(answer.error_code)?;
        Ok(Offset(answer.broker_epoch))
    }

    async fn heartbeat(&self, epoch: Offset, wants_shut_down: bool) -> Result<HeartbeatAnswer, ErrorCode> {
        let heartbeat = Heartbeat {
            id: self.registration.id,
            epoch,
            applied: self.controller.applied(),
            wants_fence: false,
            wants_shut_down,
        };
        let quorum = self.controller.log();
        if quorum.state().leads_from.is_some() {
            return self.controller.heartbeat(heartbeat).await.map_err(|refusal| refusal.code);
        }
        let request = BrokerHeartbeatRequest {
            broker_id: heartbeat.id.0,
            broker_epoch: epoch.0,
            current_metadata_offset: heartbeat.applied.0,
            want_shut_down: wants_shut_down,
            ..BrokerHeartbeatRequest::default()
        };
        let version = <BrokerHeartbeatRequest as Message>::VERSIONS.1;
        let answer = quorum.ask_leader(&request, version).await.ok_or(ErrorCode::NotController)?;
        ErrorCode::check(answer.error_code)?;
        Ok(HeartbeatAnswer { is_fenced: answer.is_fenced, should_shut_down: answer.should_shut_down })
    }
}
