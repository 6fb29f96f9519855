//! `ottla server`: all roles in one process, or those that the node of a cluster has, until SIGTERM or Ctrl-C.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use ottla_broker::Broker;
use ottla_client::{Client, ClientConfig};
use ottla_connect::Herder;
use ottla_formats::registry::{KafkaLog, RegistryClient, SchemaRegistry};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{OptionalListen, ServerArguments};
use crate::connectors::{ClusterPlugins, Connectors};
use crate::failure::Failure;
use crate::http::Http;
use crate::pipelines_api::PipelinesApi;
use crate::sql_api::SqlApi;

pub async fn run(arguments: ServerArguments) -> Result<(), Failure> {
    let config = arguments.resolve()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let http = Http::bind(config.http_listen).await?;
    let is_access_controlled = config.broker.set.contains_key("authorizer.class.name");
    let connect = match config.connect {
        Some(listen) => bind_optional(listen, "--connect-listen", is_access_controlled).await?,
        None => None,
    };
    let registry = match config.registry {
        Some(listen) => bind_optional(listen, "--registry-listen", is_access_controlled).await?,
        None => None,
    };
    let pg = match config.pg {
        Some(listen) => bind_optional(listen, "--pg-listen", is_access_controlled).await?,
        None => None,
    };
    let (runs_queries, runs_pipelines) = (config.streams, config.runs_pipelines());
    let is_broker = config.broker.roles.broker;
    let broker = Broker::start(config.broker).await?;
    let http_address = http.address();
    let (bootstrap, transport) = (broker.address().to_string(), Arc::new(broker.in_process()));
    let sql = runs_queries
        .then(|| Arc::new(SqlApi::new(bootstrap.clone(), Arc::clone(&transport) as _, is_access_controlled)));
    let pipelines = runs_pipelines
        .then(|| Arc::new(PipelinesApi::new(bootstrap.clone(), transport, is_access_controlled)));
    let (herder_started, connectors) = Connectors::starting();
    let connectors = connect.is_some().then_some(connectors);
    tokio::spawn(http.run(broker.monitor(), sql.clone(), pipelines.clone(), connectors));
    if let Some(resumed) = sql.clone() {
        tokio::spawn(async move { resumed.resume().await });
    }
    let mut out = std::io::stdout();
    // The line that scripts wait for; only what is served is named, further listeners by their names.
    write!(out, "ready")?;
    if is_broker {
        write!(out, " kafka={bootstrap}")?;
    }
    write!(out, " http={http_address}")?;
    for (name, address) in broker.addresses().iter().skip(1) {
        write!(out, " {}={address}", name.to_lowercase())?;
    }
    if let Some(listener) = registry {
        let address = listener.local_addr()?;
        write!(out, " registry={address}")?;
        RegistryClient::set_url_of_process(format!("http://{address}"));
        serve_schemas(&broker, listener).await?;
    }
    let mut herder = None;
    if let Some(listener) = connect {
        let address = listener.local_addr()?;
        herder = Some(run_connectors(&broker, listener, address).await?);
        herder_started.send_replace(herder.clone());
        write!(out, " connect={address}")?;
    }
    if let (Some(listener), Some(sql)) = (pg, &sql) {
        write!(out, " pg={}", listener.local_addr()?)?;
        tokio::spawn(crate::pg::serve(listener, Arc::clone(sql)));
    }
    // Not before the registry's address is known, which formats may ask.
    if let Some(opened) = pipelines.clone() {
        tokio::spawn(async move { opened.open().await });
    }
    if let Some(address) = broker.controller_address() {
        write!(out, " controller={address}")?;
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
    if let Some(pipelines) = pipelines {
        pipelines.stop().await;
    }
    if let Some(sql) = sql {
        sql.stop().await;
    }
    broker.shutdown().await?;
    Ok(())
}

/// The listener of an API that works with the rights of the server itself and does not ask who somebody is. Where nobody has
/// chosen its address, this server does without when another process has it, and when access is controlled.
async fn bind_optional(
    listen: OptionalListen,
    flag: &str,
    is_access_controlled: bool,
) -> Result<Option<TcpListener>, Failure> {
    let address = listen.address;
    if is_access_controlled && !listen.is_chosen {
        tracing::info!(%address, "access is controlled, so this is served only with {flag}");
        return Ok(None);
    }
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if listen.is_chosen => Err(Failure::failed(format!(
            "cannot listen on {address}: {error}; stop what uses it, or choose another with {flag} (port 0 takes a free one)"
        ))),
        Err(error) => {
            tracing::warn!(%address, %error, "not served here; choose another address with {flag}");
            Ok(None)
        }
    }
}

/// A client of the broker in this process.
async fn own_client(broker: &Broker, client_id: &str) -> Result<Client, Failure> {
    let config = ClientConfig {
        bootstrap_servers: vec![broker.address().to_string()],
        client_id: client_id.to_owned(),
        ..ClientConfig::default()
    };
    Ok(Client::connect_with(config, Arc::new(broker.in_process())).await?)
}

/// Starts the schema registry over the cluster's topic.
async fn serve_schemas(broker: &Broker, listener: TcpListener) -> Result<(), Failure> {
    let client = own_client(broker, "ottla-schema-registry").await?;
    let registry = SchemaRegistry::start(KafkaLog::new(client));
    let router = registry.router(broker.context().cluster_id.to_string());
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the Schema Registry's REST API stopped");
        }
    });
    Ok(())
}

/// Starts the connectors that the cluster knows, and the API that they are asked for by.
async fn run_connectors(
    broker: &Broker,
    listener: TcpListener,
    address: SocketAddr,
) -> Result<Herder, Failure> {
    let client = own_client(broker, "ottla-connect").await?;
    let plugins = Arc::new(ClusterPlugins(client.clone()));
    let herder = Herder::start(client, address.to_string(), plugins);
    let router = herder.clone().router(broker.context().cluster_id.to_string());
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "Connect's REST API stopped");
        }
    });
    Ok(herder)
}
