//! A broker alone, for working on it without building the layers above: `cargo run -p ottla-broker --example serve
//! DIR [ADDRESS]`. It prints the ready line's first part and stops on Ctrl-C.

use ottla_broker::{Broker, BrokerConfig};

// As in the real binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut config = BrokerConfig::new(arguments.next().ok_or("usage: serve DIR [ADDRESS]")?);
    if let Some(address) = arguments.next() {
        config.listen = address.parse()?;
    }
    let broker = Broker::start(config).await?;
    println!("ready kafka={}", broker.address());
    tokio::signal::ctrl_c().await?;
    broker.shutdown().await?;
    Ok(())
}
