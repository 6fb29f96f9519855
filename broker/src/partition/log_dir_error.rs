//! Why a log dir cannot be used.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::ids::{NodeId, TopicPartition};
use crate::log::LogError;

/// Why a log dir cannot be used. Each says what to do.
#[derive(Debug, Error)]
pub enum LogDirError {
    /// It cannot be created or written.
    #[error(
        "data directory {path} cannot be used: {source}; choose a writable one with --data-dir or log.dirs"
    )]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process has it open.
    #[error(
        "data directory {path} is in use by another process; stop it or choose another with --data-dir or log.dirs"
    )]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// It belongs to another node.
    #[error(
        "data directory {path} belongs to node {found}, this is node {expected}; choose another with --data-dir or the right --node-id"
    )]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: NodeId,
        /// Who asked.
        expected: NodeId,
    },
    /// It belongs to another cluster than the one with the metadata log.
    #[error(
        "data directory {path} belongs to cluster {found}, this is cluster {expected}; take it out of log.dirs"
    )]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Of the metadata log.
        expected: String,
    },
    /// `log.dirs` names it under two names.
    #[error("log.dirs names the directory {path} twice, the other time as {other}; leave one out")]
    Twice {
        /// The second name.
        path: PathBuf,
        /// The first.
        other: PathBuf,
    },
    /// It is a copy of another.
    #[error(
        "data directories {path} and {other} have the same directory.id, so one is a copy of the other; take it out of log.dirs"
    )]
    SameId {
        /// One.
        path: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// The metadata log is not where it would be begun anew.
    #[error(
        "the metadata log is in {found}, not in {expected}; name {found} first in log.dirs, or set metadata.log.dir to it"
    )]
    MetadataElsewhere {
        /// Where it is.
        found: PathBuf,
        /// Where it was looked for.
        expected: PathBuf,
    },
    /// Two directories have records of one partition, and only one of them can be right.
    #[error(
        "partition {name} is in both {one} and {other}; move the folder that is not wanted out of the way"
    )]
    PartitionTwice {
        /// Which.
        name: TopicPartition,
        /// One folder.
        one: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// `meta.properties` cannot be understood.
    #[error("{path} is damaged: {reason}; restore it from a backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// It has partitions and no `meta.properties`, without which nobody knows of which node and cluster.
    #[error(
        "data directory {path} has {partition} and no meta.properties: it is not formatted, or the file was lost; restore the file \
         from a backup, or choose an empty directory with --data-dir or log.dirs"
    )]
    NotFormatted {
        /// The directory.
        path: PathBuf,
        /// One of the folders in it.
        partition: String,
    },
    /// A log in it failed.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl LogDirError {
    /// Whether the disk is at fault, so that a broker with other log dirs can go on without this one. Everything else
    /// is a mistake that somebody must look at.
    pub fn is_of_the_disk(&self) -> bool {
        matches!(self, LogDirError::Unusable { .. } | LogDirError::Log(LogError::Io { .. }))
    }
}
