//! The words of `ottla acl` and `ottla user`.

use clap::{Args, Subcommand};

use super::{ClusterArguments, Output};

/// `ottla acl …`
#[derive(Subcommand)]
pub enum AclCommand {
    /// List access control entries.
    List {
        #[command(flatten)]
        entry: AclFilterArguments,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Allow somebody something.
    Allow {
        #[command(flatten)]
        entry: AclArguments,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Deny somebody something, whatever else allows it.
    Deny {
        #[command(flatten)]
        entry: AclArguments,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Remove the entries that agree with all that is said.
    Remove {
        #[command(flatten)]
        entry: AclFilterArguments,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
}

/// What an entry is about.
#[derive(Args)]
pub struct AclArguments {
    /// Who, as User:NAME; User:* is everybody.
    pub principal: String,
    /// What is done: read, write, create, delete, alter, describe, describe-configs, alter-configs, cluster-action,
    /// idempotent-write or all; several with commas.
    #[arg(value_delimiter = ',', required = true)]
    pub operations: Vec<String>,
    /// To what: topic:NAME, group:NAME, transactional-id:NAME or cluster. A name that ends with * is a beginning, * alone
    /// every name.
    pub resource: String,
    /// From where.
    #[arg(long, default_value = "*")]
    pub host: String,
}

/// Which entries are meant.
#[derive(Args)]
pub struct AclFilterArguments {
    /// Only those of this principal, as User:NAME.
    #[arg(long)]
    pub principal: Option<String>,
    /// Only those of this resource, as topic:NAME.
    #[arg(long)]
    pub resource: Option<String>,
}

/// `ottla user …`
#[derive(Subcommand)]
pub enum UserCommand {
    /// List the users that have passwords.
    List {
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Give a user a password, which is read from standard input.
    SetPassword {
        /// Whose.
        user: String,
        /// SCRAM-SHA-256 or SCRAM-SHA-512; both without it.
        #[arg(long)]
        mechanism: Option<String>,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Take a user's passwords away.
    Delete {
        /// Whose.
        user: String,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
}
