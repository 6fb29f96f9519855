//! Transactions as a producer's user sees them: the calls, in Kafka's words. What each may do and what an error means is
//! decided in `transaction`; what is asked of coordinators is in `coordinating`.

use std::sync::Arc;

use super::batch::ProducerIdentity;
use super::coordinating::{self, Init};
use super::transaction::{Transaction, TransactionVersion};
use super::{Producer, Shared};
use crate::TopicPartition;
use crate::coordinator::Coordinator;
use crate::error::ClientError;
use crate::group_offsets::{CommittedOffset, GroupMetadata};

/// What stands for the producer at a coordinator, and in which version it is spoken to.
type Speaker = (ProducerIdentity, TransactionVersion);

/// # Transactions
///
/// A producer with a [`transactional_id`](crate::ProducerConfig::transactional_id) writes records to any partitions, and a
/// group's offsets, all together or not at all, and readers with
/// [`IsolationLevel::ReadCommitted`](crate::IsolationLevel::ReadCommitted) see them when they are committed.
///
/// ```no_run
/// # use ottla_client::{Client, ClientError, CommittedOffset, GroupMetadata, ProducerConfig, Record, TopicPartition};
/// # async fn example(client: Client, offsets: Vec<(TopicPartition, CommittedOffset)>) -> Result<(), ClientError> {
/// let config = ProducerConfig { transactional_id: Some("copier-0".into()), ..Default::default() };
/// let producer = client.producer(config).await?;
/// producer.init_transactions().await?;
/// producer.begin_transaction()?;
/// let written = async {
///     drop(producer.send("copies", None, Record::new("k", "v")).await?);
///     producer.send_offsets_to_transaction(&offsets, &GroupMetadata::of_group("copier")).await?;
///     producer.commit_transaction().await
/// };
/// match written.await {
///     Ok(()) => {}
///     // Another one has taken over.
///     Err(error) if error.is_fatal() => return Err(error),
///     // Not committed: read again from the committed offsets.
///     Err(error) if error.must_abort() => producer.abort_transaction().await?,
///     Err(error) => return Err(error),
/// }
/// # Ok(())
/// # }
/// ```
///
/// A record that cannot be written makes its transaction fail: commit tells so with
/// [`ClientError::TransactionAbortable`], whether or not its [`Delivery`](crate::Delivery) was awaited.
impl Producer {
    /// Makes this the one producer of its transactional id. What an earlier one left open is aborted, or committed where
    /// that was decided already, before this returns; should it still be alive, it is fenced. Called once, before all
    /// else; after an error it may be called again.
    ///
    /// # Errors
    /// What the coordinator answers; [`ClientError::TransactionOrder`] when it was called before;
    /// [`ClientError::InvalidConfig`] without a transactional id.
    pub async fn init_transactions(&self) -> Result<(), ClientError> {
        let shared = self.shared();
        shared.check_open()?;
        let coordinator = shared.transaction_coordinator()?;
        shared.decide(|transaction| transaction.check_uninitialised())?;
        let identity = coordinating::init(shared.init(None)?).await?;
        let version = coordinating::version(coordinator).await?;
        shared.decide(|transaction| {
            transaction.check_uninitialised()?;
            transaction.on_initialised(identity, version);
            Ok(())
        })
    }

    /// Begins a transaction. What is sent from now on belongs to it. The cluster is not asked.
    ///
    /// # Errors
    /// [`ClientError::TransactionOrder`] while another one is open, or before [`init_transactions`]; what ended the producer.
    ///
    /// [`init_transactions`]: Producer::init_transactions
    pub fn begin_transaction(&self) -> Result<(), ClientError> {
        self.shared().check_open()?;
        self.shared().decide(|transaction| transaction.begin())
    }

    /// Adds offsets of a group to the transaction: each is that of the next record to read, and counts when the transaction
    /// is committed. Given a member's [`group_metadata`], a member that the group has replaced is refused.
    ///
    /// # Errors
    /// [`ClientError::TransactionAbortable`], with [`ClientError::CommitFenced`] as its reason where the group moved on;
    /// a fatal error; [`ClientError::TransactionOrder`] outside of a transaction.
    ///
    /// [`group_metadata`]: crate::Consumer::group_metadata
    pub async fn send_offsets_to_transaction(
        &self,
        offsets: &[(TopicPartition, CommittedOffset)],
        group: &GroupMetadata,
    ) -> Result<(), ClientError> {
        let shared = self.shared();
        shared.check_open()?;
        let coordinator = shared.transaction_coordinator()?;
        let speaker = shared.decide(|transaction| {
            transaction.check_open()?;
            if !offsets.is_empty() {
                transaction.on_offsets_sent();
            }
            transaction.speaker()
        })?;
        if offsets.is_empty() {
            return Ok(());
        }
        let sent = async {
            if speaker.1 == TransactionVersion::One {
                coordinating::add_offsets(coordinator, speaker.0, &group.group_id).await?;
            }
            let group_coordinator = shared.coordinator_of(&group.group_id);
            let id = &coordinator.key;
            coordinating::commit_offsets(&group_coordinator, id, speaker, group, offsets).await
        };
        match sent.await {
            Ok(()) => Ok(()),
            Err(error) => Err(shared.failed(fenced_member(error, &group.group_id))),
        }
    }

    /// Waits until everything that was sent is acknowledged, and commits it. After a retriable error (the coordinator could
    /// not be reached) it may or may not be committed: call again to know.
    ///
    /// # Errors
    /// [`ClientError::TransactionAbortable`] when a record or an offset could not be written; a fatal error;
    /// [`ClientError::TransactionOrder`] without an open transaction.
    pub async fn commit_transaction(&self) -> Result<(), ClientError> {
        let shared = self.shared();
        let coordinator = shared.transaction_coordinator()?;
        let was_asked = shared.decide_with_appended(|transaction| transaction.begin_commit())?;
        if !was_asked {
            // What failed has made the transaction fail, which is what counts here.
            let _ = self.flush().await;
        }
        let (speaker, is_started) = shared.decide(|transaction| {
            transaction.on_flushed()?;
            Ok((transaction.speaker()?, transaction.is_started()))
        })?;
        let next = match is_started {
            false => Ok(None),
            true => coordinating::end(coordinator, speaker, true).await,
        };
        match next {
            Ok(next) => shared.decide(|transaction| {
                transaction.on_ended(next);
                Ok(())
            }),
            Err(error) if error.is_retriable() => Err(error),
            Err(error) => shared.decide(|transaction| {
                transaction.on_commit_refused(error.clone());
                Err(transaction.error().unwrap_or(error))
            }),
        }
    }

    /// Gives up what was sent since [`begin_transaction`](Producer::begin_transaction): records that were written are passed
    /// over by readers of committed ones, offsets never count, deliveries that are still open fail with
    /// [`ClientError::TransactionAborted`]. After a retriable error call again.
    ///
    /// # Errors
    /// A fatal error; [`ClientError::TransactionOrder`] without an open transaction, or when it may be committed already.
    pub async fn abort_transaction(&self) -> Result<(), ClientError> {
        let shared = self.shared();
        let coordinator = shared.transaction_coordinator()?;
        shared.decide_with_appended(|transaction| transaction.begin_abort())?;
        // The sender sees that nothing is sent any more; what is under way has to come back first.
        let _ = self.flush().await;
        shared.enlisted().await;
        let (speaker, is_started) =
            shared.decide(|transaction| Ok((transaction.speaker()?, transaction.is_started())))?;
        let ended = async {
            if !is_started {
                return Ok(None);
            }
            let next = coordinating::end(coordinator, speaker, false).await?;
            match speaker.1 {
                TransactionVersion::Two => Ok(next),
                // Sequences of records that were not written are missing in the epoch that was.
                TransactionVersion::One => coordinating::init(shared.init(Some(speaker.0))?).await.map(Some),
            }
        };
        match ended.await {
            Ok(next) => shared.decide(|transaction| {
                transaction.on_ended(next);
                Ok(())
            }),
            Err(error) if error.is_retriable() => Err(error),
            Err(error) => shared.decide(|transaction| {
                transaction.on_abort_refused(error.clone());
                Err(transaction.error().unwrap_or(error))
            }),
        }
    }
}

impl Producer {
    pub(super) fn has_open_transaction(&self) -> bool {
        self.shared().transaction().is_some_and(|transaction| transaction.may_abort())
    }
}

impl Transaction {
    fn speaker(&self) -> Result<Speaker, ClientError> {
        let identity = self.identity().ok_or_else(|| ClientError::TransactionOrder {
            transactional_id: self.transactional_id().to_owned(),
            what: "init_transactions comes first",
        })?;
        Ok((identity, self.version()))
    }
}

impl Shared {
    fn transaction_coordinator(&self) -> Result<&Coordinator, ClientError> {
        let missing = || ClientError::InvalidConfig("transactions need a transactional_id".to_owned());
        self.coordinator.as_ref().ok_or_else(missing)
    }

    fn init(&self, identity: Option<ProducerIdentity>) -> Result<Init<'_>, ClientError> {
        let timeout = self.config.transaction_timeout.as_millis();
        Ok(Init {
            transaction_timeout_ms: i32::try_from(timeout).unwrap_or(i32::MAX),
            identity,
            coordinator: self.transaction_coordinator()?,
        })
    }

    fn decide<T>(
        &self,
        decision: impl FnOnce(&mut Transaction) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.transaction_coordinator()?;
        match self.transaction() {
            Some(mut transaction) => decision(&mut transaction),
            None => Err(ClientError::Closed("producer")),
        }
    }

    /// As [`decide`](Shared::decide), between appends and not amid one.
    fn decide_with_appended<T>(
        &self,
        decision: impl FnOnce(&mut Transaction) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let _no_append = self.accumulator();
        self.decide(decision)
    }

    /// Waits while the coordinator is told of partitions: it must not hear of them after the end.
    async fn enlisted(&self) {
        loop {
            let mut enlisted = std::pin::pin!(self.enlisting_done.notified());
            enlisted.as_mut().enable();
            if !self.transaction().is_some_and(|transaction| transaction.is_enlisting()) {
                return;
            }
            enlisted.await;
        }
    }

    /// What an error of a request makes of the transaction.
    fn failed(&self, error: ClientError) -> ClientError {
        match self.transaction() {
            Some(mut transaction) => {
                transaction.on_coordinator_error(error.clone());
                transaction.error().unwrap_or(error)
            }
            None => error,
        }
    }

    fn coordinator_of(&self, group_id: &str) -> Arc<Coordinator> {
        let mut known = self.group_coordinator.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let known = &mut *known;
        match known.as_ref().filter(|coordinator| coordinator.key == *group_id) {
            Some(coordinator) => coordinator.clone(),
            None => {
                let coordinator = Arc::new(Coordinator::of_group(self.cluster.clone(), group_id));
                *known = Some(coordinator.clone());
                coordinator
            }
        }
    }
}

/// What the group has decided without this member is told as such.
fn fenced_member(error: ClientError, group_id: &str) -> ClientError {
    use ottla_protocol::ErrorCode::{
        FencedInstanceId, FencedMemberEpoch, GroupIdNotFound, IllegalGeneration, StaleMemberEpoch,
        UnknownMemberId,
    };
    match error.code() {
        Some(
            code @ (GroupIdNotFound | IllegalGeneration | UnknownMemberId | FencedInstanceId
            | FencedMemberEpoch | StaleMemberEpoch),
        ) => ClientError::CommitFenced { group: group_id.to_owned(), code },
        _ => error,
    }
}
