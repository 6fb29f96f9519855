//! The one binary: words on the command line, wiring of roles, exit codes.
//!
//! Exit codes: 0 done, 1 it failed, 2 the words are wrong (of the command line, a config, a pipeline file or SQL), 3 from
//! `pipeline plan --exit-code` alone: there are changes.

mod cli;
mod commands;
mod config;
mod connectors;
mod failure;
mod http;
mod output;
mod pg;
mod pipelines_api;
mod plugins_api;
mod rest_client;
mod sql_api;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use cli::{Bench, Cli, Command};
use failure::Failure;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging(&cli);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::failed(format!("the runtime cannot start: {error}")).report(),
    };
    let result = runtime.block_on(run(cli));
    // Blocking work that is still under way (a read of standard input, say) must not hold the exit up.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Logs go to stderr. A command that works for a person stays silent below warnings, a server tells state changes;
/// `OTTLA_LOG` (or `RUST_LOG`) says otherwise, in the syntax of tracing's `EnvFilter`.
fn start_logging(cli: &Cli) {
    let default = if matches!(cli.command, Command::Server(_)) { "info" } else { "warn" };
    let filter = std::env::var("OTTLA_LOG").or_else(|_| std::env::var("RUST_LOG"));
    let filter = EnvFilter::new(filter.unwrap_or_else(|_| default.to_owned()));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi).init();
}

async fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Server(arguments) => commands::server::run(*arguments).await,
        Command::Run(arguments) => commands::run::run(arguments).await,
        Command::Pipeline(command) => commands::pipeline::run(command).await,
        Command::Topic(command) => commands::topic::run(command).await,
        Command::Produce(arguments) => commands::produce::run(arguments).await,
        Command::Consume(arguments) => commands::consume::run(arguments).await,
        Command::Group(command) => commands::group::run(command).await,
        Command::Cluster(command) => commands::cluster::run(command).await,
        Command::Config(command) => commands::config::run(command).await,
        Command::Acl(command) => commands::acl::run(command).await,
        Command::User(command) => commands::user::run(command).await,
        Command::Transaction(command) => commands::transaction::run(command).await,
        Command::Connector(command) => commands::connector::run(command).await,
        Command::Plugin(command) => commands::plugin::run(command).await,
        Command::Schema(command) => commands::schema::run(command).await,
        Command::Query(command) => commands::query::run(command).await,
        Command::Sql(arguments) => commands::sql::run(arguments).await,
        Command::Bench(Bench::Sql(arguments)) => commands::bench_sql::run(arguments).await,
        Command::Bench(Bench::Load(command)) => {
            let config = command.client_config().map_err(Failure::wrong_words)?;
            let client = commands::connect_with(config).await?;
            commands::bench::run(&client, command).await.map_err(Failure::failed)
        }
    }
}
