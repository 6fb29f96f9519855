//! A broker alone, for working on it without building the layers above: `cargo run -p ottla-broker --example serve
//! DIR [ADDRESS [NAME=VALUE…]]`. It prints the ready line's first part and stops on Ctrl-C. With `node.id=1` and
//! `controllers=1@HOST:PORT,2@…` among the settings it is a node of a cluster.

use ottla_broker::ids::NodeId;
use ottla_broker::quorum::PeerAddress;
use ottla_broker::{Broker, BrokerConfig};

// As in the real binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let mut config = BrokerConfig::new(arguments.next().ok_or("usage: serve DIR [ADDRESS [NAME=VALUE…]]")?);
    if let Some(address) = arguments.next() {
        config.listen = address.parse()?;
    }
    for setting in arguments {
        let (name, value) = setting.split_once('=').ok_or("a config should be NAME=VALUE")?;
        match name {
            "node.id" => config.node_id = NodeId(value.parse()?),
            "controllers" => {
                config.controllers =
                    value.split(',').map(controller).collect::<Option<_>>().ok_or("not ID@HOST:PORT,…")?;
            }
            _ => config.set(name, value).map_err(|error| format!("{name}: {error}"))?,
        }
    }
    let broker = Broker::start(config).await?;
    print!("ready kafka={}", broker.address());
    for (name, address) in broker.addresses().iter().skip(1) {
        print!(" {}={address}", name.to_lowercase());
    }
    println!();
    tokio::signal::ctrl_c().await?;
    broker.shutdown().await?;
    Ok(())
}

fn controller(text: &str) -> Option<PeerAddress> {
    let (id, address) = text.split_once('@')?;
    let (host, port) = address.rsplit_once(':')?;
    Some(PeerAddress { id: NodeId(id.parse().ok()?), host: host.to_owned(), port: port.parse().ok()? })
}
