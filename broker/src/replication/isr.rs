//! Tells the controller who leaders want in sync (AlterPartition, KIP-497), until it has decided. What it has decided comes back
//! with the metadata.

use std::collections::BTreeMap;
use std::time::Duration;

use ottla_protocol::ErrorCode;
use tokio::sync::mpsc;

use super::Surroundings;
use crate::controller::{AlterPartitions, IsrChange};
use crate::ids::{Offset, TopicPartition};
use crate::partition::IsrWanted;

/// How long after a failure it asks again.
const RETRY: Duration = Duration::from_millis(100);

/// Takes what leaders want, for as long as it is polled.
pub(super) async fn propose(around: Surroundings, mut inbox: mpsc::UnboundedReceiver<IsrWanted>) {
    let mut waiting: BTreeMap<TopicPartition, IsrWanted> = BTreeMap::new();
    loop {
        if waiting.is_empty() {
            let Some(wanted) = inbox.recv().await else { return };
            waiting.insert(wanted.name.clone(), wanted);
        }
        // A leader's next wish takes the place of its last.
        while let Ok(wanted) = inbox.try_recv() {
            waiting.insert(wanted.name.clone(), wanted);
        }
        let asked: Vec<IsrWanted> = waiting.values().cloned().collect();
        match ask(&around, &asked).await {
            Ok(answers) => {
                for (wanted, answer) in asked.into_iter().zip(answers) {
                    waiting.remove(&wanted.name);
                    if let Err(code) = answer {
                        refuse(&around, &wanted, code);
                    }
                }
            }
            Err(code) => {
                tracing::debug!(?code, "the controller was not told who is in sync");
                tokio::time::sleep(RETRY).await;
                waiting.retain(|_, wanted| still_leads(&around, wanted));
            }
        }
    }
}

async fn ask(around: &Surroundings, wanted: &[IsrWanted]) -> Result<Vec<Result<(), ErrorCode>>, ErrorCode> {
    let image = around.controller.image();
    let own = image.brokers().get(&around.node_id).ok_or(ErrorCode::BrokerIdNotRegistered)?;
    let broker_epoch = own.epoch;
    let changes = wanted.iter().map(|wanted| IsrChange {
        topic_id: wanted.topic_id,
        partition: wanted.name.partition,
        leader_epoch: wanted.proposal.leader_epoch,
        partition_epoch: wanted.proposal.partition_epoch,
        isr: wanted
            .proposal
            .isr
            .iter()
            .map(|(id, epoch)| (*id, if *id == around.node_id { broker_epoch } else { *epoch }))
            .collect::<Vec<(_, Offset)>>(),
    });
    let wanted = AlterPartitions { broker: around.node_id, broker_epoch, changes: changes.collect() };
    around.controller.alter_partitions(wanted).await
}

fn refuse(around: &Surroundings, wanted: &IsrWanted, code: ErrorCode) {
    let TopicPartition { topic, partition } = &wanted.name;
    tracing::debug!(partition = %wanted.name, ?code, "the controller will not change who is in sync");
    if let Some(open) = around.partitions.get(topic, *partition) {
        open.partition.isr_refused(wanted.proposal.partition_epoch);
    }
}

fn still_leads(around: &Surroundings, wanted: &IsrWanted) -> bool {
    let image = around.controller.image();
    let topic = image.topic(&wanted.name.topic).filter(|topic| topic.id == wanted.topic_id);
    let number = usize::try_from(wanted.name.partition).ok();
    let partition = topic.and_then(|topic| topic.partitions.get(number?));
    partition.is_some_and(|partition| {
        partition.leader == Some(around.node_id) && partition.leader_epoch == wanted.proposal.leader_epoch
    })
}
