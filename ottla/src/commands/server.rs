//! `ottla server`: all roles in one process, until SIGTERM or Ctrl-C.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use ottla_broker::Broker;
use ottla_client::{Client, ClientConfig};
use ottla_connect::Herder;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{ConnectListen, ServerArguments};
use crate::failure::Failure;
use crate::http::Http;
use crate::sql_api::SqlApi;

pub async fn run(arguments: ServerArguments) -> Result<(), Failure> {
    let config = arguments.resolve()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let http = Http::bind(config.http_listen).await?;
    let is_access_controlled = config.broker.set.contains_key("authorizer.class.name");
    let connect = match config.connect {
        // Connectors work with the rights of the server itself, and the API does not ask who somebody is.
        Some(listen) if is_access_controlled && !listen.is_chosen => {
            tracing::info!("access is controlled, so connectors run here only with --connect-listen");
            None
        }
        Some(listen) => bind_connect(listen).await?,
        None => None,
    };
    let broker = Broker::start(config.broker).await?;
    let http_address = http.address();
    let transport = Arc::new(broker.in_process());
    let sql = Arc::new(SqlApi::new(broker.address().to_string(), transport, is_access_controlled));
    tokio::spawn(http.run(broker.monitor(), Arc::clone(&sql)));
    let resumed = Arc::clone(&sql);
    tokio::spawn(async move { resumed.resume().await });
    let mut out = std::io::stdout();
    // The line that scripts wait for; only what is served is named, further listeners by their names.
    write!(out, "ready kafka={} http={http_address}", broker.address())?;
    for (name, address) in broker.addresses().iter().skip(1) {
        write!(out, " {}={address}", name.to_lowercase())?;
    }
    let mut herder = None;
    if let Some(listener) = connect {
        let address = listener.local_addr()?;
        herder = Some(run_connectors(&broker, listener, address).await?);
        write!(out, " connect={address}")?;
    }
    writeln!(out)?;
    out.flush()?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    if let Some(herder) = herder {
        herder.stop().await;
    }
    sql.stop().await;
    broker.shutdown().await?;
    Ok(())
}

/// The listener of Connect's REST API. Where nobody has chosen its address and another process has it, this server does
/// without.
async fn bind_connect(listen: ConnectListen) -> Result<Option<TcpListener>, Failure> {
    match TcpListener::bind(listen.address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if listen.is_chosen => Err(Failure::failed(format!(
            "cannot listen on {}: {error}; stop what uses it, or choose another with --connect-listen (port 0 takes a free one)",
            listen.address
        ))),
        Err(error) => {
            let address = listen.address;
            tracing::warn!(%address, %error, "connectors do not run here; choose another address with --connect-listen");
            Ok(None)
        }
    }
}

/// Starts the connectors that the cluster knows, and the API that they are asked for by.
async fn run_connectors(
    broker: &Broker,
    listener: TcpListener,
    address: SocketAddr,
) -> Result<Herder, Failure> {
    let config = ClientConfig {
        bootstrap_servers: vec![broker.address().to_string()],
        client_id: "ottla-connect".to_owned(),
        ..ClientConfig::default()
    };
    let client = Client::connect_with(config, Arc::new(broker.in_process())).await?;
    let herder = Herder::start(client, address.to_string());
    let router = herder.clone().router(broker.context().cluster_id.to_string());
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "Connect's REST API stopped");
        }
    });
    Ok(herder)
}
