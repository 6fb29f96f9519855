//! The client at a real cluster that asks who it is (`kafka.sh` beside this file starts an Apache Kafka that does). The folder
//! that `OTTLA_TEST_SECURED` names has files of properties as Kafka's own clients take them: with those called `works-…` the
//! client must work, through `OTTLA_TEST_SECURED_SECONDS` if that is set, with those called `refused-…` it must be told at
//! once that it may not come in. Without the variable the suite says that it is skipped.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ottla_client::{
    Client, ClientConfig, ClientError, ConsumerConfig, OFFSET_EARLIEST, ProducerConfig, Record,
    TopicPartition,
};

fn files(beginning: &str) -> Vec<PathBuf> {
    let Ok(folder) = std::env::var("OTTLA_TEST_SECURED") else {
        eprintln!("skipped: OTTLA_TEST_SECURED names no folder");
        return Vec::new();
    };
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_meant = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(beginning);
    let mut files: Vec<PathBuf> = entries.filter(is_meant).collect();
    files.sort();
    assert!(!files.is_empty(), "there is no file called {beginning}…");
    files
}

async fn connect(file: &Path) -> Result<Client, ClientError> {
    Client::connect(ClientConfig::default().with_properties_file(file)?).await
}

#[tokio::test]
async fn a_client_comes_in_and_stays_by_every_mechanism() {
    let seconds = std::env::var("OTTLA_TEST_SECURED_SECONDS").map_or(0, |text| text.parse().unwrap());
    for file in files("works-") {
        let client = connect(&file).await.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let topic = format!("secured-{:08x}", rand::random::<u32>());
        let producer = client.producer(ProducerConfig::default()).await.unwrap();
        let until = Instant::now() + Duration::from_secs(seconds);
        let mut sent = 0;
        while sent == 0 || Instant::now() < until {
            producer.send(&topic, Some(0), Record::of_value("v")).await.unwrap().await.unwrap();
            sent += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        producer.close().await.unwrap();
        let consumer = client.consumer(ConsumerConfig::default()).await.unwrap();
        consumer.assign(vec![(TopicPartition::new(&*topic, 0), OFFSET_EARLIEST)]).await.unwrap();
        let mut read = 0;
        while read < sent {
            let fetched = consumer.poll(Duration::from_secs(5)).await.unwrap();
            read += fetched.iter().map(|each| each.records.len()).sum::<usize>();
        }
        assert_eq!(read, sent, "{}", file.display());
    }
}

#[tokio::test]
async fn a_client_that_may_not_come_in_learns_it_at_once() {
    for file in files("refused-") {
        let started_at = Instant::now();
        let Err(error) = connect(&file).await else { panic!("{} came in", file.display()) };
        let is_refused = matches!(error, ClientError::Tls { .. } | ClientError::Authentication { .. });
        assert!(is_refused, "{}: {error}", file.display());
        assert!(!format!("{error} {error:?}").contains("wrong-secret"), "{error:?}");
        assert!(started_at.elapsed() < Duration::from_secs(20), "{}: {error}", file.display());
        eprintln!("{}: {error}", file.display());
    }
}
