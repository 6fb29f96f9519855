//! A broker alone, for working on it without building the layers above: `cargo run -p ottla-broker --example serve
//! DIR [ADDRESS [NAME=VALUE…]]`. It prints the ready line's first part and stops on Ctrl-C.

use ottla_broker::{Broker, BrokerConfig};

// As in the real binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut config = BrokerConfig::new(arguments.next().ok_or("usage: serve DIR [ADDRESS [NAME=VALUE…]]")?);
    if let Some(address) = arguments.next() {
        config.listen = address.parse()?;
    }
    for setting in arguments {
        let (name, value) = setting.split_once('=').ok_or("a config should be NAME=VALUE")?;
        config.set(name, value).map_err(|error| format!("{name}: {error}"))?;
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
