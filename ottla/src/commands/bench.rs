//! `ottla bench …`: load for any Kafka broker, and what it took.
//!
//! It needs nothing of the binary around it, so that `client/examples/bench.rs` is the same verb without the build of
//! the layers above: one set of words, whichever of the two a script runs.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use ottla_client::bench::{ConsumeLoad, EndToEndLoad, ProduceLoad, Report, consume, end_to_end, produce};
use ottla_client::{Acks, Client, ClientConfig, ClientError, Compression, ErrorCode, NewTopic};
use serde_json::{Value, json};

/// The words of the command line.
#[derive(Subcommand)]
pub enum BenchCommand {
    /// Produce batches that were made once, as fast as they are acknowledged or at a rate. Latencies are of requests.
    Produce(ProduceArguments),
    /// Fetch whole partitions and look at no more than the batches' headers. Latencies are of requests.
    Consume(ConsumeArguments),
    /// Produce at a rate and consume at once. Latencies are of records, from when each was due until it was consumed.
    EndToEnd(EndToEndArguments),
}

/// What every load has.
#[derive(Args)]
pub struct CommonArguments {
    /// The topic; it is made where it is missing.
    #[arg(long, default_value = "bench")]
    topic: String,
    /// Partitions of the topic when it has to be made.
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: i32,
    /// A config of the topic when it has to be made, as NAME=VALUE; may be given several times.
    #[arg(long = "topic-config", value_name = "NAME=VALUE", value_parser = parse_config)]
    topic_configs: Vec<(String, String)>,
    /// How the figures are printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Brokers to ask first, as HOST:PORT, separated by commas; without them those of the file, or localhost:9092.
    #[arg(long, env = "OTTLA_BOOTSTRAP_SERVER", value_name = "HOST:PORT", value_delimiter = ',')]
    bootstrap_server: Vec<String>,
    /// A file with properties of Kafka's clients, which say how to encrypt and who this is.
    #[arg(long, env = "OTTLA_COMMAND_CONFIG", value_name = "FILE")]
    command_config: Option<PathBuf>,
}

/// What is sent.
#[derive(Args)]
pub struct RecordArguments {
    /// Bytes of a record's value.
    #[arg(long, default_value_t = 1024, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    record_size: u32,
    /// How batches are compressed.
    #[arg(short = 'z', long, value_enum, default_value_t)]
    compression: Codec,
    /// What is waited for: nothing, the leader, or all in-sync replicas.
    #[arg(long, value_enum, default_value_t)]
    acks: AcksWord,
}

/// `ottla bench produce`
#[derive(Args)]
pub struct ProduceArguments {
    #[command(flatten)]
    common: CommonArguments,
    #[command(flatten)]
    record: RecordArguments,
    /// Stop after so many records; 1000000 when no time is given either.
    #[arg(short = 'n', long, value_name = "COUNT")]
    records: Option<u64>,
    /// Stop after this time.
    #[arg(short, long, value_parser = parse_seconds)]
    seconds: Option<Duration>,
    /// Bytes of values in a batch; a request has a batch for each partition of its connection.
    #[arg(long, default_value_t = 65536, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: u32,
    /// Connections for each broker, each with a thread.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Requests under way on each connection.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: u32,
    /// Records per second in all; as many as can be when left out.
    #[arg(long, value_parser = parse_rate)]
    rate: Option<f64>,
}

/// `ottla bench consume`
#[derive(Args)]
pub struct ConsumeArguments {
    #[command(flatten)]
    common: CommonArguments,
    /// Stop after so many records; when no time is given either, after those that are there at the start.
    #[arg(short = 'n', long, value_name = "COUNT")]
    records: Option<u64>,
    /// Stop after this time.
    #[arg(short, long, value_parser = parse_seconds)]
    seconds: Option<Duration>,
    /// Begin with what is written from now on, instead of with the first record.
    #[arg(long)]
    tail: bool,
    /// Bytes of one answer.
    #[arg(long, default_value_t = 50 << 20, value_name = "BYTES", value_parser = clap::value_parser!(i32).range(1..))]
    fetch_size: i32,
    /// Bytes of one partition in an answer.
    #[arg(long, default_value_t = 1 << 20, value_name = "BYTES", value_parser = clap::value_parser!(i32).range(1..))]
    partition_fetch_size: i32,
    /// Connections for each broker, each with a thread.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
}

/// `ottla bench end-to-end`
#[derive(Args)]
pub struct EndToEndArguments {
    #[command(flatten)]
    common: CommonArguments,
    #[command(flatten)]
    record: RecordArguments,
    /// Records per second.
    #[arg(long, default_value = "1000", value_parser = parse_rate)]
    rate: f64,
    /// How long, after a second of warming up.
    #[arg(short, long, default_value = "10", value_parser = parse_seconds)]
    seconds: Duration,
}

/// For people or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
enum Format {
    #[default]
    Table,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
enum Codec {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
enum AcksWord {
    #[value(name = "0")]
    None,
    #[value(name = "1")]
    Leader,
    #[default]
    All,
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Compression {
        match codec {
            Codec::None => Compression::None,
            Codec::Gzip => Compression::Gzip,
            Codec::Snappy => Compression::Snappy,
            Codec::Lz4 => Compression::Lz4,
            Codec::Zstd => Compression::Zstd,
        }
    }
}

impl From<AcksWord> for Acks {
    fn from(word: AcksWord) -> Acks {
        match word {
            AcksWord::None => Acks::None,
            AcksWord::Leader => Acks::Leader,
            AcksWord::All => Acks::All,
        }
    }
}

fn parse_config(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("should be NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "should be a number of seconds")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "should be a number")?;
    if rate.is_finite() && rate > 0.0 { Ok(rate) } else { Err("should be more than 0".to_owned()) }
}

impl BenchCommand {
    fn common(&self) -> &CommonArguments {
        match self {
            BenchCommand::Produce(arguments) => &arguments.common,
            BenchCommand::Consume(arguments) => &arguments.common,
            BenchCommand::EndToEnd(arguments) => &arguments.common,
        }
    }

    /// How to connect.
    ///
    /// # Errors
    /// What is wrong with the file of `--command-config`.
    pub fn client_config(&self) -> Result<ClientConfig, ClientError> {
        let CommonArguments { bootstrap_server, command_config, .. } = self.common();
        let mut config = ClientConfig { client_id: "ottla-bench".to_owned(), ..ClientConfig::default() };
        if let Some(file) = command_config {
            config = config.with_properties_file(file)?;
        }
        if !bootstrap_server.is_empty() {
            config.bootstrap_servers.clone_from(bootstrap_server);
        }
        Ok(config)
    }

    fn name(&self) -> &'static str {
        match self {
            BenchCommand::Produce(_) => "produce",
            BenchCommand::Consume(_) => "consume",
            BenchCommand::EndToEnd(_) => "end-to-end",
        }
    }
}

/// Runs the load and prints what it took.
///
/// # Errors
/// What the brokers answer, what the connections meet, or standard output.
pub async fn run(client: &Client, command: BenchCommand) -> Result<(), Box<dyn Error + Send + Sync>> {
    make_topic(client, command.common()).await?;
    let report = match &command {
        BenchCommand::Produce(arguments) => produce(client, arguments.load()).await?,
        BenchCommand::Consume(arguments) => consume(client, arguments.load()).await?,
        BenchCommand::EndToEnd(arguments) => end_to_end(client, arguments.load()).await?,
    };
    let mut out = io::stdout().lock();
    match command.common().output {
        Format::Table => write!(out, "{}", as_text(&report))?,
        Format::Json => writeln!(out, "{:#}", as_json(command.name(), &report))?,
    }
    Ok(())
}

async fn make_topic(client: &Client, common: &CommonArguments) -> Result<(), ClientError> {
    if client.admin().topic_exists(&common.topic).await? {
        return Ok(());
    }
    let mut topic = NewTopic::new(common.topic.as_str(), common.partitions);
    topic.configs.extend(common.topic_configs.iter().cloned());
    match client.admin().create_topics(&[topic]).await {
        // Another load came first.
        Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) => Ok(()),
        made => made.map(drop),
    }
}

impl ProduceArguments {
    fn load(&self) -> ProduceLoad {
        ProduceLoad {
            topic: self.common.topic.clone(),
            records: self.records.unwrap_or(if self.seconds.is_some() { u64::MAX } else { 1_000_000 }),
            duration: self.seconds,
            record_bytes: self.record.record_size as usize,
            batch_bytes: self.batch_size as usize,
            compression: self.record.compression.into(),
            acks: self.record.acks.into(),
            connections: self.connections as usize,
            in_flight: self.in_flight as usize,
            rate: self.rate,
        }
    }
}

impl ConsumeArguments {
    fn load(&self) -> ConsumeLoad {
        let endless = self.seconds.is_some() || self.tail;
        ConsumeLoad {
            topic: self.common.topic.clone(),
            records: self.records.or(endless.then_some(u64::MAX)),
            duration: self.seconds,
            from_beginning: !self.tail,
            fetch_bytes: self.fetch_size,
            partition_bytes: self.partition_fetch_size,
            connections: self.connections as usize,
        }
    }
}

impl EndToEndArguments {
    fn load(&self) -> EndToEndLoad {
        EndToEndLoad {
            topic: self.common.topic.clone(),
            rate: self.rate,
            duration: self.seconds,
            record_bytes: self.record.record_size as usize,
            acks: self.record.acks.into(),
            compression: self.record.compression.into(),
        }
    }
}

const PERCENTILES: [f64; 4] = [50.0, 90.0, 99.0, 99.9];

fn as_text(report: &Report) -> String {
    let latencies = &report.latencies;
    let mut text = format!(
        "{} records, {:.1} MB in {:.2} s: {:.0} records/s, {:.1} MB/s\n",
        report.records,
        report.bytes as f64 / 1e6,
        report.elapsed.as_secs_f64(),
        report.records_per_second(),
        report.megabytes_per_second(),
    );
    if latencies.count() > 0 {
        text += &format!("latency in ms: mean {:.3}", latencies.mean_ms());
        for percentile in PERCENTILES {
            text += &format!("  p{percentile} {:.3}", latencies.percentile_ms(percentile));
        }
        text += &format!("  max {:.3}\n", latencies.max_ms());
    }
    text
}

fn as_json(load: &str, report: &Report) -> Value {
    let latencies = &report.latencies;
    let mut times = json!({ "mean": latencies.mean_ms(), "max": latencies.max_ms() });
    for percentile in PERCENTILES {
        times[format!("p{percentile}")] = json!(latencies.percentile_ms(percentile));
    }
    let histogram: Vec<Value> = latencies
        .buckets()
        .into_iter()
        .map(|(upto_ms, count)| json!({ "upto_ms": upto_ms, "count": count }))
        .collect();
    json!({
        "load": load,
        "records": report.records,
        "bytes": report.bytes,
        "seconds": report.elapsed.as_secs_f64(),
        "records_per_second": report.records_per_second(),
        "megabytes_per_second": report.megabytes_per_second(),
        "latency_ms": times,
        "latency_histogram": histogram,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Words {
        #[command(subcommand)]
        command: BenchCommand,
    }

    fn parse(words: &str) -> Result<BenchCommand, clap::Error> {
        Words::try_parse_from(words.split(' ')).map(|words| words.command)
    }

    #[test]
    fn a_run_ends_with_its_records_or_its_time() {
        let ends = |words: &str| match parse(words).unwrap() {
            BenchCommand::Produce(arguments) => {
                let load = arguments.load();
                (Some(load.records), load.duration)
            }
            BenchCommand::Consume(arguments) => {
                let load = arguments.load();
                (load.records, load.duration)
            }
            BenchCommand::EndToEnd(arguments) => (None, Some(arguments.load().duration)),
        };
        let two = Some(Duration::from_secs(2));
        assert_eq!(ends("bench produce"), (Some(1_000_000), None));
        assert_eq!(ends("bench produce -n 5"), (Some(5), None));
        assert_eq!(ends("bench produce --seconds 2"), (Some(u64::MAX), two));
        assert_eq!(ends("bench consume"), (None, None));
        assert_eq!(ends("bench consume --seconds 2 -n 7"), (Some(7), two));
        assert_eq!(ends("bench end-to-end --seconds 2"), (None, two));
    }

    #[test]
    fn wrong_words_are_refused() {
        for words in [
            "bench produce --acks 2",
            "bench produce --rate 0",
            "bench produce --record-size 0",
            "bench produce --seconds -1",
            "bench produce --topic-config nothing",
            "bench consume --compression lzma",
            "bench end-to-end --rate many",
        ] {
            assert!(parse(words).is_err(), "{words}");
        }
        assert!(parse("bench produce --acks all --acks 1 -z zstd --topic-config a=b -o json").is_err());
        assert!(parse("bench produce --acks 1 -z zstd --topic-config a=b -o json").is_ok());
    }

    #[test]
    fn what_it_took_is_told_in_both_forms() {
        let report =
            Report { records: 10, bytes: 2_000_000, elapsed: Duration::from_secs(2), ..Report::default() };
        assert_eq!(as_text(&report), "10 records, 2.0 MB in 2.00 s: 5 records/s, 1.0 MB/s\n");
        let json = as_json("produce", &report);
        assert_eq!(json["records_per_second"], 5.0);
        assert!(json["latency_ms"]["p99.9"].is_number());
    }
}
