//! The task that has the decided image follow the metadata log, and decides on the node that leads the quorum.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_protocol::records::{BatchBuilder, BatchOptions};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, timeout};
use uuid::Uuid;

use super::{Command, ControllerTiming, GrowTopic, blocking};
use crate::controller::acls;
use crate::controller::alter_configs::{self, AlterConfigs};
use crate::controller::assign::decide_assign;
use crate::controller::brokers::decide_unregister;
use crate::controller::bugs::PartitionRules;
use crate::controller::client_quotas::{self, AlterQuotas};
use crate::controller::elections::{ElectLeader, decide_elect, decide_follow_configs};
use crate::controller::error::ControllerError;
use crate::controller::features::{self, UpdateFeature};
use crate::controller::image::ClusterImage;
use crate::controller::partition_change::unclean_elections;
use crate::controller::producer_ids;
use crate::controller::reassignments::{Reassign, decide_reassign};
use crate::controller::records::MetadataRecord;
use crate::controller::replay::{Replay, replay};
use crate::controller::scram_credentials::{self, AlterScram};
use crate::controller::sessions::Sessions;
use crate::controller::snapshot::SnapshotId;
use crate::controller::snapshots::Snapshots;
use crate::controller::takeover::decide_takeover;
use crate::controller::topics::{self, CreateTopic, Refusal, TopicRef, TopicRules};
use crate::ids::{NodeId, Offset};
use crate::partition::{Assignment, Partitions, now_ms, off_the_runtime};
use crate::quorum::{Epoch, QuorumHandle, QuorumState};
use crate::security::acl::{Acl, AclFilter};

/// How often it is looked which brokers are silent.
const SESSION_CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// How long a decision waits until this node, which has become the leader, has read what its predecessors decided.
const OFFICE_TIME_MAX: Duration = Duration::from_secs(10);

/// What is decided.
#[derive(Debug, Clone)]
pub(super) struct Decided {
    pub image: Arc<ClusterImage>,
    /// The first offset of the metadata log that the image does not have.
    pub next: Offset,
}

/// See the module.
pub(super) struct Owner {
    pub quorum: QuorumHandle,
    pub state: watch::Receiver<QuorumState>,
    rules: Arc<TopicRules>,
    /// As decided: what the next decision goes by.
    pub image: Arc<ClusterImage>,
    decided: watch::Sender<Decided>,
    /// The image on its way through the log.
    replay: Replay,
    snapshots: Snapshots,
    pub sessions: Sessions,
    /// How often leaderships go back to preferred leaders (`auto.leader.rebalance.enable`).
    balance_interval: Option<Duration>,
}

impl Owner {
    /// Of a node that has replayed what is committed.
    pub fn new(
        quorum: QuorumHandle,
        mut replay: Replay,
        rules: TopicRules,
        timing: ControllerTiming,
    ) -> Owner {
        let image = Arc::new(replay.image.clone());
        let bytes = std::mem::take(&mut replay.bytes);
        Owner {
            snapshots: Snapshots::new(quorum.clone(), rules.snapshots, bytes),
            sessions: Sessions::new(timing.session_timeout),
            balance_interval: timing.balance_interval,
            state: quorum.watch(),
            decided: watch::Sender::new(Decided { image: image.clone(), next: replay.next }),
            image,
            replay,
            rules: Arc::new(rules),
            quorum,
        }
    }

    /// What is decided, and how that changes.
    pub fn watch_decided(&self) -> watch::Receiver<Decided> {
        self.decided.subscribe()
    }

    pub async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut checks = tokio::time::interval(SESSION_CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let is_alone = self.quorum.is_alone();
        let every = self.balance_interval.unwrap_or(Duration::from_secs(300));
        let mut balancing = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
        balancing.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.write_snapshot_if_due();
        let mut looked = Instant::now();
        loop {
            tokio::select! {
                _ = checks.tick(), if !is_alone => {
                    // Nobody was heard while this task could not listen.
                    self.sessions.was_deaf_for(looked.elapsed().saturating_sub(SESSION_CHECK_INTERVAL));
                    looked = Instant::now();
                    self.fence_the_silent().await;
                }
                _ = balancing.tick(), if !is_alone && self.balance_interval.is_some() => self.balance().await,
                command = inbox.recv() => match command {
                    Some(command) => self.on_command(command).await,
                    None => return,
                },
                changed = self.state.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let up_to = self.state.borrow_and_update().high_watermark;
                    if let Err(error) = self.catch_up(up_to).await {
                        tracing::error!(%error, "the metadata cannot be brought up to what is committed");
                    }
                }
            }
        }
        // Nothing can be decided any more, but who asks hears so.
        while let Some(command) = inbox.recv().await {
            self.on_command(command).await;
        }
    }

    async fn on_command(&mut self, command: Command) {
        let rules = self.rules.clone();
        match command {
            Command::Create { topics, validate_only, reply } => {
                let decide = |image: &ClusterImage, wanted: &CreateTopic| {
                    topics::decide_create(image, &rules, wanted, Uuid::new_v4())
                };
                let _ = reply.send(self.change(&topics, validate_only, decide).await);
            }
            Command::Grow { topics, validate_only, reply } => {
                let decide = |image: &ClusterImage, wanted: &GrowTopic| {
                    let assignments = wanted.assignments.as_deref();
                    topics::decide_grow(image, &rules, &wanted.name, wanted.count, assignments)
                        .map(|records| (records, ()))
                };
                let _ = reply.send(self.change(&topics, validate_only, decide).await);
            }
            Command::Delete { topics, reply } => {
                let decide = |image: &ClusterImage, topic: &TopicRef| {
                    topics::decide_delete(image, topic).map(|(records, name, id)| (records, (name, id)))
                };
                let _ = reply.send(self.change(&topics, false, decide).await);
            }
            Command::Configs { changes, validate_only, reply } => {
                let decide = |image: &ClusterImage, wanted: &AlterConfigs| {
                    alter_configs::decide_alter(image, &rules, wanted)
                        .map(|records| (with_what_follows(image, &rules, records), ()))
                };
                let _ = reply.send(self.change(&changes, validate_only, decide).await);
            }
            Command::Assign { node_id, assignment, reply } => {
                let Assignment { topic_id, partition, directory_id } = assignment;
                let decide = |image: &ClusterImage| {
                    let record = decide_assign(image, node_id, topic_id, partition, directory_id);
                    (record.into_iter().collect(), ())
                };
                let _ = reply.send(self.decide(decide).await);
            }
            Command::CreateAcls { acls, reply } => {
                let decide = |image: &ClusterImage, acl: &Acl| {
                    acls::decide_create(image, acl, Uuid::new_v4()).map(|records| (records, ()))
                };
                let _ = reply.send(self.change(&acls, false, decide).await);
            }
            Command::DeleteAcls { filters, reply } => {
                let decide =
                    |image: &ClusterImage, filter: &AclFilter| Ok(acls::decide_delete(image, filter));
                let _ = reply.send(self.change(&filters, false, decide).await);
            }
            Command::Scram { changes, reply } => {
                let decide = |image: &ClusterImage, wanted: &AlterScram| {
                    scram_credentials::decide_alter(image, wanted).map(|records| (records, ()))
                };
                let _ = reply.send(self.change(&changes, false, decide).await);
            }
            Command::Quotas { changes, validate_only, reply } => {
                let decide = |image: &ClusterImage, wanted: &AlterQuotas| {
                    client_quotas::decide_alter(image, wanted).map(|records| (records, ()))
                };
                let _ = reply.send(self.change(&changes, validate_only, decide).await);
            }
            Command::Features { updates, validate_only, reply } => {
                let node_id = self.rules.node_id;
                let decide = move |image: &ClusterImage, wanted: &UpdateFeature| {
                    features::decide_update(image, node_id, wanted).map(|records| (records, ()))
                };
                let _ = reply.send(self.change(&updates, validate_only, decide).await);
            }
            Command::Register { wanted, reply } => {
                let _ = reply.send(self.register(&wanted).await);
            }
            Command::Heartbeat { heartbeat, reply } => {
                let _ = reply.send(self.on_heartbeat(heartbeat).await);
            }
            Command::Elect { elections, reply } => {
                let decide = |image: &ClusterImage, wanted: &ElectLeader| {
                    decide_elect(image, PartitionRules::default(), wanted).map(|records| (records, ()))
                };
                let _ = reply.send(self.change(&elections, false, decide).await);
            }
            Command::Reassign { wanted, reply } => {
                let decide = |image: &ClusterImage, wanted: &Reassign| {
                    decide_reassign(image, &rules, PartitionRules::default(), wanted)
                        .map(|records| (records, ()))
                };
                let _ = reply.send(self.change(&wanted, false, decide).await);
            }
            Command::Gone { id, epoch } => self.fence_gone(id, epoch).await,
            Command::Unregister { id, reply } => {
                let decide = |image: &ClusterImage, id: &NodeId| {
                    decide_unregister(image, PartitionRules::default(), *id).map(|records| (records, ()))
                };
                let _ = reply.send(self.change(&[id], false, decide).await);
            }
            Command::AlterPartitions { wanted, reply } => {
                let _ = reply.send(self.alter_partitions(&wanted).await);
            }
            Command::ProducerIds { node_id, reply } => {
                let decide = |image: &ClusterImage| producer_ids::decide_block(image, node_id);
                let _ = reply.send(self.decide(decide).await);
            }
        }
    }

    /// Decides about every item against an image that has the earlier ones, then stores all records at once. When
    /// that fails nothing has happened, as far as is known here, and every item that was granted is refused.
    async fn change<W, T>(
        &mut self,
        wanted: &[W],
        validate_only: bool,
        decide: impl Fn(&ClusterImage, &W) -> Result<(Vec<MetadataRecord>, T), Refusal>,
    ) -> Vec<Result<T, Refusal>> {
        let epoch = match self.office().await {
            Ok(epoch) => epoch,
            Err(error) => {
                let refusal = Refusal::from(error);
                return wanted.iter().map(|_| Err(refusal.clone())).collect();
            }
        };
        let mut image = ClusterImage::clone(&self.image);
        let mut records = Vec::new();
        let mut answers = Vec::with_capacity(wanted.len());
        for item in wanted {
            answers.push(decide(&image, item).map(|(more, answer)| {
                more.iter().for_each(|record| image.apply(record));
                records.extend(more);
                answer
            }));
        }
        if validate_only || records.is_empty() {
            return answers;
        }
        if let Err(error) = self.commit(epoch, &records).await {
            match error {
                ControllerError::NotController => tracing::warn!(%error, "a metadata change may be lost"),
                _ => tracing::error!(%error, "a metadata change failed"),
            }
            let refusal = Refusal::from(error);
            return answers.into_iter().map(|answer| answer.and(Err(refusal.clone()))).collect();
        }
        answers
    }

    /// As [`change`](Owner::change), of one thing that cannot be refused.
    async fn decide<T>(
        &mut self,
        decide: impl FnOnce(&ClusterImage) -> (Vec<MetadataRecord>, T),
    ) -> Result<T, ControllerError> {
        let epoch = self.office().await?;
        let (records, answer) = decide(&self.image);
        if !records.is_empty() {
            self.commit(epoch, &records).await?;
        }
        Ok(answer)
    }

    /// The epoch in which this node decides, once the image has everything from before it.
    pub async fn office(&mut self) -> Result<Epoch, ControllerError> {
        let is_alone = self.quorum.is_alone();
        let taking_office = async {
            loop {
                let state = *self.state.borrow_and_update();
                match state.leads_from {
                    Some(begin) if state.high_watermark > begin => {
                        self.catch_up(state.high_watermark).await?;
                        return Ok(state.epoch);
                    }
                    // What is decided in its own epoch comes after the record with which that begins.
                    Some(_) => {}
                    None if is_alone => {}
                    None => return Err(ControllerError::NotController),
                }
                self.state.changed().await.map_err(|_| ControllerError::Stopped)?;
            }
        };
        timeout(OFFICE_TIME_MAX, taking_office).await.unwrap_or(Err(ControllerError::NotController))
    }

    /// Appends records and waits until they are committed and the image has them.
    pub async fn commit(&mut self, epoch: Epoch, records: &[MetadataRecord]) -> Result<(), ControllerError> {
        let unclean = unclean_elections(&self.image, records);
        if let Some(first) = unclean.first() {
            tracing::warn!(
                partitions = unclean.len(), %first,
                "partitions get leaders that may lack records which were acknowledged: nobody else is left"
            );
        }
        let end = self.quorum.append(epoch, batch_of(records)?).await?;
        tracing::debug!(%end, records = records.len(), "metadata changed");
        loop {
            let state = *self.state.borrow_and_update();
            if state.leads_from.is_none() || state.epoch != epoch {
                return Err(ControllerError::NotController);
            }
            if state.high_watermark >= end {
                return self.catch_up(state.high_watermark).await;
            }
            self.state.changed().await.map_err(|_| ControllerError::Stopped)?;
        }
    }

    /// Brings the image up to what is committed, and tells of it.
    async fn catch_up(&mut self, committed: Offset) -> Result<(), ControllerError> {
        let quorum = &self.quorum;
        let begin = quorum.log().log_start();
        let has_changed = if begin > self.replay.next {
            // The leader's snapshot has taken the place of what was not read yet.
            let nothing = ClusterImage::starting_with(self.rules.topic_defaults.clone());
            let mut newer =
                off_the_runtime(|| replay(quorum.log(), quorum.dir(), nothing, committed.max(begin)))?;
            newer.image.supersede(&self.replay.image);
            newer.bytes = 0;
            self.replay = newer;
            true
        } else if committed > self.replay.next {
            off_the_runtime(|| self.replay.read_log(quorum.log(), committed))?
        } else {
            false
        };
        if has_changed {
            self.image = Arc::new(self.replay.image.clone());
            self.snapshots.appended(std::mem::take(&mut self.replay.bytes));
            self.write_snapshot_if_due();
        }
        self.decided.send_replace(Decided { image: self.image.clone(), next: self.replay.next });
        Ok(())
    }

    fn write_snapshot_if_due(&mut self) {
        if self.replay.is_whole() {
            self.snapshots.write_if_due(&self.image, self.snapshot_id());
        }
    }

    /// Of a snapshot of the image as it is now.
    fn snapshot_id(&self) -> SnapshotId {
        SnapshotId { end: self.replay.next, epoch: self.replay.epoch }
    }

    /// Of a node that is the whole cluster: has it lead what nobody led, and notes where partitions really are.
    pub async fn take_over(&mut self, partitions: &Arc<Partitions>) -> Result<(), ControllerError> {
        let node_id = self.rules.node_id;
        let mut records = decide_takeover(&self.replay.image, node_id)?;
        if !records.is_empty() {
            tracing::info!(partitions = records.len(), "leads what nobody led");
        }
        let (looking, described) = (partitions.clone(), self.image.clone());
        for assignment in blocking(move || looking.misplaced(&described)).await? {
            let Assignment { topic_id, partition, directory_id } = assignment;
            records.extend(decide_assign(&self.replay.image, node_id, topic_id, partition, directory_id));
        }
        if records.is_empty() {
            return Ok(());
        }
        let epoch = self.office().await?;
        self.commit(epoch, &records).await
    }
}

/// With what the partitions become by configs that change.
fn with_what_follows(
    image: &ClusterImage,
    rules: &TopicRules,
    mut records: Vec<MetadataRecord>,
) -> Vec<MetadataRecord> {
    if !rules.is_alone {
        let mut after = image.clone();
        records.iter().for_each(|record| after.apply(record));
        records.extend(decide_follow_configs(&after, PartitionRules::default(), &records));
    }
    records
}

fn batch_of(records: &[MetadataRecord]) -> Result<Bytes, ControllerError> {
    let mut builder = BatchBuilder::default();
    let now = now_ms();
    for record in records {
        builder.push(now, None, Some(&record.encode()?), &[]);
    }
    Ok(builder.build(BatchOptions::default()))
}
