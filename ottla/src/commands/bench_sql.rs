//! `ottla bench sql`: Nexmark's queries through the whole stack, and what they took.
//!
//! The events lie as JSON in topics before the clock starts. A query then reads them to their end, exactly once, into a
//! result topic. CPU seconds are those of this whole process: with an embedded server the broker's are among them, with a
//! given one they are not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use ottla_broker::{Broker, BrokerConfig};
use ottla_client::{Client, ClientConfig, NewTopic, ProducerConfig, Record};
use ottla_streams::runtime::Stage;
use ottla_streams::{Catalog, Query, QueryConfig, QueryStatus, nexmark, plan};
use serde_json::{Value, json};

use super::connect;
use crate::cli::{ClusterArguments, Output};
use crate::failure::Failure;
use crate::output::{print_json, print_table};

/// Bytes of a batch of events.
const BATCH_BYTES: usize = 512 << 10;

/// `ottla bench sql`
#[derive(Args)]
pub struct SqlBenchArguments {
    /// Queries of Nexmark, as q0,q5; all there are when left out.
    #[arg(short, long, value_delimiter = ',')]
    query: Vec<String>,
    /// Events: of 50 one is a person, three are auctions and 46 are bids.
    #[arg(short = 'n', long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    events: u64,
    /// Events in a second of event time.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    events_per_second: u64,
    /// Partitions of each topic.
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=1024))]
    partitions: i32,
    /// How the figures are printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Without --bootstrap-server there is an embedded server with its data in a temporary directory.
    #[command(flatten)]
    cluster: ClusterArguments,
}

/// What a query took.
struct Report {
    query: String,
    events: u64,
    status: QueryStatus,
    elapsed: Duration,
    cpu: Duration,
}

pub async fn run(arguments: SqlBenchArguments) -> Result<(), Failure> {
    let known = nexmark::queries();
    let queries: Vec<(String, String)> = match arguments.query.is_empty() {
        true => known
            .into_iter()
            .filter(|(name, _)| !name.contains(' '))
            .map(|(n, sql)| (n.to_owned(), sql))
            .collect(),
        false => {
            let find = |wanted: &String| {
                let found = known.iter().find(|(name, _)| name == wanted);
                let there = || {
                    known.iter().map(|(name, _)| *name).filter(|name| !name.contains(' ')).collect::<Vec<_>>()
                };
                found.map(|(name, sql)| ((*name).to_owned(), sql.clone())).ok_or_else(|| {
                    Failure::wrong_words(format!("--query {wanted}: there are {}", there().join(", ")))
                })
            };
            arguments.query.iter().map(find).collect::<Result<_, Failure>>()?
        }
    };
    let is_embedded =
        arguments.cluster.bootstrap_server.is_empty() && arguments.cluster.command_config.is_none();
    let mut embedded = None;
    let client = if is_embedded {
        let dir = tempfile::Builder::new().prefix("ottla-bench-").tempdir()?;
        let broker = Broker::start(BrokerConfig::new(dir.path())).await?;
        let config = ClientConfig {
            bootstrap_servers: vec![broker.address().to_string()],
            client_id: "ottla-bench".to_owned(),
            ..ClientConfig::default()
        };
        let client = Client::connect_with(config, Arc::new(broker.in_process())).await?;
        embedded = Some((broker, dir));
        client
    } else {
        connect(&arguments.cluster).await?
    };
    let outcome = measure(&client, &arguments, &queries).await;
    drop(client);
    if let Some((broker, _dir)) = embedded {
        broker.shutdown().await?;
    }
    let reports = outcome?;
    match arguments.output {
        Output::Json => print_json(&Value::Array(reports.iter().map(Report::json).collect()))?,
        Output::Table | Output::Csv => {
            let mut headers =
                vec!["query", "events", "s", "cpu s", "events/s", "events/s/core", "out", "state MB"];
            let stages = Stage::ALL.map(|stage| format!("{} s", stage.name()));
            headers.extend(stages.iter().map(String::as_str));
            let rows: Vec<Vec<String>> = reports.iter().map(Report::row).collect();
            print_table(&headers, &rows)?;
        }
    }
    Ok(())
}

async fn measure(
    client: &Client,
    arguments: &SqlBenchArguments,
    queries: &[(String, String)],
) -> Result<Vec<Report>, Failure> {
    let run = uuid::Uuid::new_v4().simple().to_string();
    let topic = |stream: &str| format!("nexmark-{stream}-{run}");
    load(client, arguments, topic).await?;
    let mut reports = Vec::new();
    for (name, sql) in queries {
        let streams = nexmark::STREAMS;
        let declared = ["person", "auction", "bid"].iter().fold(String::new(), |text, stream| {
            let begin = streams.find(&format!("CREATE STREAM {stream} ")).unwrap_or_default();
            let end = streams[begin..].find(';').map_or(streams.len(), |end| begin + end);
            format!("{text}{} WITH (topic = '{}');\n", &streams[begin..end], topic(stream))
        });
        let planned = plan(&format!("{declared}{sql}"), &Catalog::new())?;
        let mut config = QueryConfig::new(format!("nexmark-{name}-{run}"), planned);
        config.output_partitions = arguments.partitions;
        let (started, cpu) = (Instant::now(), process_cpu());
        let status = Query::start(client, config).await?.finish().await?;
        reports.push(Report {
            query: name.clone(),
            events: arguments.events,
            status,
            elapsed: started.elapsed(),
            cpu: process_cpu().saturating_sub(cpu),
        });
        let last = reports.last().map(Report::line).unwrap_or_default();
        eprintln!("{last}");
    }
    Ok(reports)
}

/// Writes the events to their topics, each partition in the order of the events.
async fn load(
    client: &Client,
    arguments: &SqlBenchArguments,
    topic: impl Fn(&str) -> String,
) -> Result<(), Failure> {
    for stream in ["person", "auction", "bid"] {
        client.admin().create_topics(&[NewTopic::new(topic(stream), arguments.partitions)]).await?;
    }
    let producer = client.producer(ProducerConfig::default()).await?;
    let mut batches: BTreeMap<(&str, i32), (usize, Vec<Record>)> = BTreeMap::new();
    let mut deliveries = std::collections::VecDeque::new();
    let events = nexmark::events(arguments.events as usize, arguments.events_per_second as usize);
    for (number, (stream, event)) in (0_i64..).zip(events) {
        let partition = i32::try_from(number % i64::from(arguments.partitions)).unwrap_or_default();
        let (bytes, batch) = batches.entry((stream, partition)).or_default();
        *bytes += event.len();
        batch.push(Record::of_value(event));
        if *bytes >= BATCH_BYTES {
            *bytes = 0;
            let batch = std::mem::take(batch);
            deliveries.push_back(producer.send_batch(&topic(stream), partition, batch).await?);
            if deliveries.len() > 32
                && let Some(delivery) = deliveries.pop_front()
            {
                delivery.await?;
            }
        }
    }
    for ((stream, partition), (_, batch)) in batches {
        if !batch.is_empty() {
            deliveries.push_back(producer.send_batch(&topic(stream), partition, batch).await?);
        }
    }
    for delivery in deliveries {
        delivery.await?;
    }
    Ok(producer.close().await?)
}

impl Report {
    fn events_per_second(&self) -> f64 {
        self.events as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    fn events_per_core_second(&self) -> f64 {
        self.events as f64 / self.cpu.as_secs_f64().max(1e-9)
    }

    fn line(&self) -> String {
        format!(
            "{}: {:.2} s, {:.0} events/s/core",
            self.query,
            self.elapsed.as_secs_f64(),
            self.events_per_core_second()
        )
    }

    fn row(&self) -> Vec<String> {
        let mut row = vec![
            self.query.clone(),
            self.events.to_string(),
            format!("{:.2}", self.elapsed.as_secs_f64()),
            format!("{:.2}", self.cpu.as_secs_f64()),
            format!("{:.0}", self.events_per_second()),
            format!("{:.0}", self.events_per_core_second()),
            self.status.totals.rows_out.to_string(),
            format!("{:.1}", self.status.state_bytes as f64 / 1e6),
        ];
        row.extend(Stage::ALL.map(|stage| format!("{:.2}", self.status.stages.of(stage).as_secs_f64())));
        row
    }

    fn json(&self) -> Value {
        let stages: serde_json::Map<String, Value> = Stage::ALL
            .iter()
            .map(|stage| (stage.name().to_owned(), json!(self.status.stages.of(*stage).as_secs_f64())))
            .collect();
        json!({
            "query": self.query,
            "events": self.events,
            "seconds": self.elapsed.as_secs_f64(),
            "cpu_seconds": self.cpu.as_secs_f64(),
            "events_per_second": self.events_per_second(),
            "events_per_second_per_core": self.events_per_core_second(),
            "records_in": self.status.totals.rows_in,
            "records_out": self.status.totals.rows_out,
            "state_bytes": self.status.state_bytes,
            "stage_seconds": stages,
        })
    }
}

/// CPU time of this process, user and system; Linux counts it in hundredths of a second.
fn process_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is a name in parentheses, which may have spaces.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_grows_with_work() {
        let before = process_cpu();
        let mut number = 1_u64;
        while process_cpu() == before {
            number = std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
        assert!(process_cpu() > before);
    }
}
