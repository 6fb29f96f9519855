//! A producer that goes from transaction to transaction until it is fenced. It asks again what is not answered in time,
//! and listens only to the answer of what it asked last.

use std::collections::BTreeMap;
use std::time::Duration;

use super::random::Random;
use super::world::{OFFSETS, PARTITIONS};
use crate::ids::{Producer as ProducerEpoch, TopicPartition};
use crate::transactions::{
    AddPartitions, EndTransaction, InitProducerId, Reply, Request, TransactionError, TransactionVersion,
    TransactionalId,
};

/// Names a transaction in the whole run.
pub(super) type TransactionNumber = u64;

/// What the checker knows of a transaction.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempt {
    /// Which producer's.
    pub by: usize,
    /// Where its record was acknowledged.
    pub written: Vec<usize>,
    /// When its commit was first asked for.
    pub commit_sent: Option<u64>,
    /// Whether that was granted.
    pub is_committed: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    Init,
    Add,
    /// The next of the partitions to write to.
    Write(usize),
    /// A group's offsets, as the last thing before the end.
    CommitOffsets,
    End,
    Dead,
}

/// What it does next.
pub(super) enum Wish {
    Ask(Request),
    Write { partition: usize, producer: ProducerEpoch, sequence: i32, transaction: TransactionNumber },
    CommitOffsets { producer: ProducerEpoch, transaction: TransactionNumber },
    Nothing,
}

pub(super) struct Producer {
    pub v2: bool,
    /// Of what it asked last.
    pub attempt: u64,
    phase: Phase,
    producer: Option<ProducerEpoch>,
    /// It goes on as who it is, and not as whoever comes (KIP-360).
    goes_on: bool,
    sequences: BTreeMap<usize, i32>,
    partitions: Vec<usize>,
    commits_offsets: bool,
    commit: bool,
    transaction: TransactionNumber,
}

pub(super) fn id() -> TransactionalId {
    TransactionalId::from("id")
}

pub(super) fn topic_partition(partition: usize) -> TopicPartition {
    TopicPartition::new("t", partition as i32)
}

impl Producer {
    pub(super) fn new(v2: bool) -> Producer {
        Producer {
            v2,
            attempt: 0,
            phase: Phase::Init,
            producer: None,
            goes_on: false,
            sequences: BTreeMap::new(),
            partitions: Vec::new(),
            commits_offsets: false,
            commit: false,
            transaction: 0,
        }
    }

    pub(super) fn is_dead(&self) -> bool {
        self.phase == Phase::Dead
    }

    fn version(&self) -> TransactionVersion {
        if self.v2 { TransactionVersion::V2 } else { TransactionVersion::V1 }
    }

    /// What it wants now; asked for anew when it was not answered.
    pub(super) fn wish(&mut self) -> Wish {
        self.attempt += 1;
        let producer = self.producer.unwrap_or(ProducerEpoch { id: -1, epoch: -1 });
        match self.phase {
            Phase::Dead => Wish::Nothing,
            Phase::Init => Wish::Ask(Request::InitProducerId(InitProducerId {
                transactional_id: id(),
                timeout: Duration::from_secs(5),
                expected: self.producer.filter(|_| self.goes_on),
                fresh_producer_id: None,
            })),
            Phase::Add => Wish::Ask(Request::AddPartitions(AddPartitions {
                transactional_id: id(),
                producer,
                partitions: self.to_add(),
                version: self.version(),
            })),
            Phase::Write(next) => match self.partitions.get(next) {
                Some(partition) => Wish::Write {
                    partition: *partition,
                    producer,
                    sequence: self.sequences.get(partition).copied().unwrap_or(0),
                    transaction: self.transaction,
                },
                None => Wish::Nothing,
            },
            Phase::CommitOffsets => Wish::CommitOffsets { producer, transaction: self.transaction },
            Phase::End => Wish::Ask(Request::EndTransaction(EndTransaction {
                transactional_id: id(),
                producer,
                commit: self.commit,
                version: self.version(),
                fresh_producer_id: None,
            })),
        }
    }

    /// The transaction whose commit it is about to ask for.
    pub(super) fn committing(&self) -> Option<TransactionNumber> {
        (self.phase == Phase::End && self.commit).then_some(self.transaction)
    }

    /// An answer of the coordinator. True when it may go on at once.
    pub(super) fn on_reply(&mut self, reply: &Reply, random: &mut Random, next: &mut u64) -> bool {
        let error = match (&self.phase, reply) {
            (Phase::Init, Reply::InitProducerId(Ok(producer))) => {
                self.goes_on = false;
                self.producer = Some(*producer);
                self.sequences.clear();
                self.begin(random, next);
                return true;
            }
            (Phase::Add, Reply::AddPartitions(Ok(()))) => {
                self.phase = Phase::Write(0);
                return true;
            }
            (Phase::End, Reply::EndTransaction(Ok(producer))) => {
                if self.v2 && self.producer != Some(*producer) {
                    self.producer = Some(*producer);
                    self.sequences.clear();
                }
                self.begin(random, next);
                return true;
            }
            (_, Reply::InitProducerId(Err(error)))
            | (_, Reply::AddPartitions(Err(error)))
            | (_, Reply::EndTransaction(Err(error))) => *error,
            _ => return false,
        };
        match error {
            TransactionError::ConcurrentTransactions
            | TransactionError::CoordinatorLoadInProgress
            | TransactionError::CoordinatorNotAvailable
            | TransactionError::NotCoordinator => false,
            _ => {
                self.give_up(random);
                false
            }
        }
    }

    /// What it began has failed. Some end with that, some try to go on.
    fn give_up(&mut self, random: &mut Random) {
        let may_go_on = self.phase != Phase::Init && self.producer.is_some();
        self.goes_on = may_go_on && random.percent(50);
        self.phase = if self.goes_on { Phase::Init } else { Phase::Dead };
    }

    /// Whether its record was appended. True when it may go on at once.
    pub(super) fn on_written(&mut self, appended: bool, random: &mut Random) -> bool {
        let Phase::Write(next) = self.phase else { return false };
        if !appended {
            // Most refusals are for good, and who asks again too often learns so by its coordinator.
            if random.percent(30) {
                self.give_up(random);
            }
            return false;
        }
        if let Some(partition) = self.partitions.get(next) {
            *self.sequences.entry(*partition).or_default() += 1;
        }
        self.phase = match next + 1 < self.partitions.len() {
            true => Phase::Write(next + 1),
            false if self.commits_offsets => Phase::CommitOffsets,
            false => Phase::End,
        };
        true
    }

    /// Whether the group has taken its offsets. True when it may go on at once.
    pub(super) fn on_offsets_committed(&mut self, committed: bool, random: &mut Random) -> bool {
        if self.phase != Phase::CommitOffsets {
            return false;
        }
        if committed {
            self.phase = Phase::End;
        } else if random.percent(30) {
            self.give_up(random);
        }
        committed
    }

    pub(super) fn transaction(&self) -> TransactionNumber {
        self.transaction
    }

    fn to_add(&self) -> Vec<TopicPartition> {
        let offsets = self.commits_offsets.then_some(OFFSETS);
        self.partitions.iter().copied().chain(offsets).map(topic_partition).collect()
    }

    fn begin(&mut self, random: &mut Random, next: &mut u64) {
        *next += 1;
        self.transaction = *next;
        self.commit = random.percent(70);
        let first = random.below(PARTITIONS as u64) as usize;
        self.partitions = vec![first];
        if random.percent(60) {
            self.partitions.push((first + 1) % PARTITIONS);
        }
        self.commits_offsets = random.percent(50);
        self.phase = if self.v2 { Phase::Write(0) } else { Phase::Add };
    }
}
