//! Transactions: which producer has which transactional id, and how far its transaction is. Pure: requests and time go
//! in, records, replies and effects come out.
//!
//! [`Transactions`] is the machine of one partition of `__transaction_state`, for transactions of version 1 (KIP-98) and
//! 2 (KIP-890) side by side: the version is the request's. It follows the contract of recorded machines, as `groups/`
//! does; `coordinator/` runs it.
//!
//! ```text
//!            AddPartitions          EndTxn, timeout,             markers are in
//!                                   a newer producer             all partitions
//!   Empty ───────────────▶ Ongoing ─────────────▶ PrepareCommit ───────────────▶ CompleteCommit ─┐
//!     ▲                       ▲     ─────────────▶ PrepareAbort  ───────────────▶ CompleteAbort  ─┤
//!     └── InitProducerId ─────┴────────────────────────────────────────────────────────────────── ┘
//! ```
//! Once a transaction is prepared nothing changes its outcome: the markers are written until every partition has them.

mod config;
mod decide;
mod end;
mod error;
mod init;
mod machine;
mod metadata;
mod partitions;
pub mod records;
mod request;
#[cfg(test)]
mod simulation;
mod verifications;

pub use config::TransactionConfig;
pub use decide::{Change, Decision, Effect, Markers};
pub use error::TransactionError;
pub use machine::Transactions;
pub use metadata::{TransactionMetadata, TransactionState, TransactionVersion, TransactionalId};
pub use request::{
    AddPartitions, DescribedTransaction, EndTransaction, InitProducerId, ListTransactions, ListedTransaction,
    Reply, Request,
};
pub use verifications::{Question, Verifications};
