//! `ottla server`: all roles in one process, until SIGTERM or Ctrl-C.

use std::io::Write;

use ottla_broker::Broker;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::ServerArguments;
use crate::failure::Failure;
use crate::http::Http;

pub async fn run(arguments: ServerArguments) -> Result<(), Failure> {
    let config = arguments.resolve()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let http = Http::bind(config.http_listen).await?;
    let broker = Broker::start(config.broker).await?;
    let http_address = http.address();
    tokio::spawn(http.run(broker.monitor()));
    let mut out = std::io::stdout();
    // The line that scripts wait for; only what is served is named, further listeners by their names.
    write!(out, "ready kafka={} http={http_address}", broker.address())?;
    for (name, address) in broker.addresses().iter().skip(1) {
        write!(out, " {}={address}", name.to_lowercase())?;
    }
    writeln!(out)?;
    out.flush()?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    broker.shutdown().await?;
    Ok(())
}
