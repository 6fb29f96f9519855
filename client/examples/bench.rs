//! `ottla bench` without building the layers above, with the same words:
//! `cargo run --release -p ottla-client --example bench -- produce --bootstrap-server HOST:PORT`.

use std::error::Error;

use clap::Parser;
use ottla_client::Client;

// The verb's one implementation lies with the other verbs.
#[path = "../../ottla/src/commands/bench.rs"]
mod bench;

#[derive(Parser)]
struct Words {
    #[command(subcommand)]
    command: bench::BenchCommand,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let command = Words::parse().command;
    let client = Client::connect(command.client_config()?).await?;
    bench::run(&client, command).await
}
