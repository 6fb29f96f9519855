//! What brokers ask the active controller for on its listener: to be known and to be known as living, who is in sync, and ids for
//! producers. `None` of a controller is a node that is still starting.

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::{
    AllocateProducerIdsRequest, AllocateProducerIdsResponse, AlterPartitionRequest, AlterPartitionResponse,
    BrokerHeartbeatRequest, BrokerHeartbeatResponse, BrokerRegistrationRequest, BrokerRegistrationResponse,
};

use crate::controller::alter_partition_wire as alter_partition;
use crate::controller::{BrokerEndpoint, Controller, Heartbeat, Refusal, Registration, SupportedFeature};
use crate::ids::{NodeId, Offset};

pub async fn register(
    controller: Option<&Controller>,
    request: BrokerRegistrationRequest,
    is_of_cluster: bool,
) -> BrokerRegistrationResponse {
    let registered = match (controller, is_of_cluster) {
        (_, false) => Err(ErrorCode::InconsistentClusterId),
        (None, true) => Err(ErrorCode::NotController),
        (Some(controller), true) => {
            controller.register_broker(registration(request)).await.map_err(|refusal| refusal.code)
        }
    };
    BrokerRegistrationResponse {
        error_code: registered.err().unwrap_or(ErrorCode::None).code(),
        broker_epoch: registered.map_or(-1, |epoch| epoch.0),
        ..BrokerRegistrationResponse::default()
    }
}

pub async fn heartbeat(
    controller: Option<&Controller>,
    request: &BrokerHeartbeatRequest,
) -> BrokerHeartbeatResponse {
    let heartbeat = Heartbeat {
        id: NodeId(request.broker_id),
        epoch: Offset(request.broker_epoch),
        applied: Offset(request.current_metadata_offset),
        wants_fence: request.want_fence,
        wants_shut_down: request.want_shut_down,
    };
    let answered = match controller {
        None => Err(ErrorCode::NotController),
        Some(controller) => controller.heartbeat(heartbeat).await.map_err(|refusal| refusal.code),
    };
    BrokerHeartbeatResponse {
        error_code: answered.err().unwrap_or(ErrorCode::None).code(),
        is_caught_up: answered.is_ok_and(|_| heartbeat.applied > heartbeat.epoch),
        is_fenced: answered.is_ok_and(|answer| answer.is_fenced) || answered.is_err(),
        should_shut_down: answered.is_ok_and(|answer| answer.should_shut_down),
        ..BrokerHeartbeatResponse::default()
    }
}

pub async fn alter_partitions(
    controller: Option<&Controller>,
    request: &AlterPartitionRequest,
) -> AlterPartitionResponse {
    let wanted = alter_partition::read(request);
    let answered = match controller {
        None => Err(ErrorCode::NotController),
        Some(controller) => controller.alter_partitions_here(wanted).await,
    };
    let image = controller.map(Controller::image);
    alter_partition::response(request, answered, image.as_deref())
}

/// Whether a broker speaks whose registration is in force, to whom decides.
fn of_broker(
    controller: Option<&Controller>,
    id: i32,
    epoch: i64,
) -> Result<(&Controller, NodeId), ErrorCode> {
    let controller = controller.filter(|controller| controller.log().state().leads_from.is_some());
    let controller = controller.ok_or(ErrorCode::NotController)?;
    let image = controller.decided();
    let known = image.brokers().get(&NodeId(id)).ok_or(ErrorCode::BrokerIdNotRegistered)?;
    match known.epoch == Offset(epoch) {
        true => Ok((controller, NodeId(id))),
        false => Err(ErrorCode::StaleBrokerEpoch),
    }
}

pub async fn allocate_producer_ids(
    controller: Option<&Controller>,
    request: &AllocateProducerIdsRequest,
) -> AllocateProducerIdsResponse {
    let given = match of_broker(controller, request.broker_id, request.broker_epoch) {
        Ok((controller, id)) => controller.producer_ids(id).await.map_err(|error| Refusal::from(error).code),
        Err(code) => Err(code),
    };
    match given {
        Ok(block) => AllocateProducerIdsResponse {
            producer_id_start: block.next,
            producer_id_len: i32::try_from(block.end - block.next).unwrap_or(0),
            ..AllocateProducerIdsResponse::default()
        },
        Err(code) => AllocateProducerIdsResponse { error_code: code.code(), ..Default::default() },
    }
}

fn registration(request: BrokerRegistrationRequest) -> Registration {
    let endpoints = request.listeners.into_iter().map(|listener| BrokerEndpoint {
        listener: listener.name.to_string(),
        host: listener.host.to_string(),
        port: listener.port,
        security_protocol: listener.security_protocol,
    });
    let features = request.features.iter().map(|feature| SupportedFeature {
        name: feature.name.to_string(),
        level_min: feature.min_supported_version,
        level_max: feature.max_supported_version,
    });
    Registration {
        features: features.collect(),
        id: NodeId(request.broker_id),
        incarnation_id: request.incarnation_id,
        endpoints: endpoints.collect(),
        log_dirs: request.log_dirs,
        rack: request.rack.as_deref().map(str::to_owned),
        previous_epoch: (request.previous_broker_epoch >= 0).then_some(Offset(request.previous_broker_epoch)),
    }
}
