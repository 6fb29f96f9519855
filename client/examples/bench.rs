//! The load of `ottla bench` without building the layers above:
//! `cargo run --release -p ottla-client --example bench -- HOST:PORT produce|consume|latency TOPIC PARTITIONS RECORDS
//! RECORD_BYTES ACKS`. Makes the topic where it is missing.

use std::time::Duration;

use ottla_client::bench::{ConsumeLoad, EndToEndLoad, ProduceLoad, consume, end_to_end, produce};
use ottla_client::{Acks, Client, ClientConfig, Compression, NewTopic};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [address, verb, topic, partitions, records, record_bytes, acks] = words.as_slice() else {
        return Err(
            "usage: bench HOST:PORT produce|consume|latency TOPIC PARTITIONS RECORDS RECORD_BYTES ACKS"
                .into(),
        );
    };
    let config = ClientConfig { bootstrap_servers: vec![address.clone()], ..ClientConfig::default() };
    let client = Client::connect(config).await?;
    if !client.admin().topic_exists(topic).await? {
        client.admin().create_topics(&[NewTopic::new(topic.as_str(), partitions.parse()?)]).await?;
    }
    let acks = match acks.as_str() {
        "0" => Acks::None,
        "1" => Acks::Leader,
        _ => Acks::All,
    };
    let (records, record_bytes): (u64, usize) = (records.parse()?, record_bytes.parse()?);
    let report = match verb.as_str() {
        "produce" => {
            let load = ProduceLoad {
                topic: topic.clone(),
                records,
                record_bytes,
                batch_bytes: 64 << 10,
                compression: Compression::None,
                acks,
                connections: 1,
                in_flight: 5,
                rate: None,
            };
            produce(&client, load).await?
        }
        "consume" => {
            let load = ConsumeLoad {
                topic: topic.clone(),
                records,
                from_beginning: true,
                fetch_bytes: 50 << 20,
                partition_bytes: 1 << 20,
                connections: 1,
            };
            consume(&client, load).await?
        }
        _ => {
            let load = EndToEndLoad {
                topic: topic.clone(),
                rate: records as f64,
                duration: Duration::from_secs(10),
                record_bytes,
                acks,
                compression: Compression::None,
            };
            end_to_end(&client, load).await?
        }
    };
    let latencies = &report.latencies;
    println!(
        "{} records, {:.0} MB, {:.2} s, {:.0} records/s, {:.1} MB/s, ms: p50 {:.3} p99 {:.3} p99.9 {:.3} max {:.3}",
        report.records,
        report.bytes as f64 / 1e6,
        report.elapsed.as_secs_f64(),
        report.records_per_second(),
        report.megabytes_per_second(),
        latencies.percentile_ms(50.0),
        latencies.percentile_ms(99.0),
        latencies.percentile_ms(99.9),
        latencies.max_ms(),
    );
    Ok(())
}
