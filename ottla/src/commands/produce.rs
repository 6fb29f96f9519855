//! `ottla produce`: a record per line of standard input.

use std::io::BufRead;

use ottla_client::{Compression, ProducerConfig, Record};
use tokio::sync::mpsc;

use super::connect;
use crate::cli::ProduceArguments;
use crate::failure::Failure;

/// Lines that may wait between the reader and the producer.
const LINES_MAX: usize = 1024;

pub async fn run(arguments: ProduceArguments) -> Result<(), Failure> {
    let compression = match arguments.compression.as_str() {
        "none" => Compression::None,
        "gzip" => Compression::Gzip,
        "snappy" => Compression::Snappy,
        "lz4" => Compression::Lz4,
        "zstd" => Compression::Zstd,
        other => {
            return Err(Failure::wrong_words(format!(
                "--compression {other}: should be none, gzip, snappy, lz4 or zstd"
            )));
        }
    };
    let client = connect(&arguments.cluster).await?;
    let producer = client.producer(ProducerConfig { compression, ..ProducerConfig::default() }).await?;
    let mut lines = read_lines();
    let mut number = 0u64;
    let mut last = None;
    while let Some(line) = lines.recv().await {
        let line = line.map_err(|error| Failure::failed(format!("standard input: {error}")))?;
        number += 1;
        let record = record_of(line, arguments.key_separator.as_deref())
            .ok_or_else(|| Failure::failed(format!("line {number}: the key separator is not in it")))?;
        last = Some(producer.send(&arguments.topic, arguments.partition, record).await?);
    }
    producer.flush().await?;
    if let Some(delivery) = last {
        delivery.await?;
    }
    producer.close().await?;
    Ok(())
}

/// Reads on a thread of its own: standard input blocks.
fn read_lines() -> mpsc::Receiver<std::io::Result<Vec<u8>>> {
    let (sender, lines) = mpsc::channel(LINES_MAX);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().split(b'\n') {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn record_of(line: Vec<u8>, separator: Option<&str>) -> Option<Record> {
    let Some(separator) = separator else { return Some(Record::of_value(line)) };
    let at = line.windows(separator.len().max(1)).position(|window| window == separator.as_bytes())?;
    let value = line.get(at + separator.len()..)?.to_vec();
    Some(Record::new(line.get(..at)?.to_vec(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_at_the_first_separator() {
        let record = record_of(b"k::v::w".to_vec(), Some("::")).unwrap();
        assert_eq!(record.key.as_deref(), Some(&b"k"[..]));
        assert_eq!(record.value.as_deref(), Some(&b"v::w"[..]));
        assert_eq!(record_of(b"none".to_vec(), Some(":")), None);
        assert_eq!(record_of(b"a:b".to_vec(), None).unwrap().key, None);
    }
}
