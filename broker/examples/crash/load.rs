//! The producers: each has a client of its own, sends numbered records in bursts to all partitions, and never minds what
//! happens to the server.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use ottla_client::{Client, Compression, Delivery, Producer, ProducerConfig, Record};
use rand::Rng;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::ledger::Ledger;
use super::stamp::Stamp;
use super::{PARTITIONS, TOPIC, client_config};

/// Records of one burst, about as many as a batch gets.
const BURST_RECORDS_MAX: usize = 60;
/// Bytes of a usual and of a rare record.
const FILLER_BYTES_MAX: usize = 400;
const LARGE_FILLER_BYTES_MAX: usize = 60_000;

pub struct Load {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<Result<()>>>,
}

impl Load {
    pub async fn start(address: &str, producers: u32, ledger: Arc<Mutex<Ledger>>) -> Result<Load> {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = Vec::new();
        for number in 0..producers {
            let client = Client::connect(client_config(address)).await?;
            let compression = match number % 3 {
                0 => Compression::None,
                1 => Compression::Lz4,
                _ => Compression::Zstd,
            };
            let config = ProducerConfig {
                compression,
                linger: Duration::from_millis(1),
                batch_size: 64 << 10,
                buffer_memory: 8 << 20,
                delivery_timeout: Duration::from_secs(300),
                ..ProducerConfig::default()
            };
            let producer = client.producer(config).await?;
            let (deliveries, answers) = mpsc::unbounded_channel();
            tasks.push(tokio::spawn(listen(answers, ledger.clone())));
            tasks.push(tokio::spawn(send(number, producer, stopped.clone(), deliveries, ledger.clone())));
        }
        Ok(Load { stop, tasks })
    }

    /// Fails when a producer has ended.
    pub fn check(&self) -> Result<()> {
        match self.tasks.iter().any(JoinHandle::is_finished) {
            true => bail!("a producer has ended, see above"),
            false => Ok(()),
        }
    }

    /// No new records; those that were sent are waited for.
    pub async fn stop(&mut self, patience: Duration) -> Result<()> {
        self.stop.send_replace(true);
        for task in self.tasks.drain(..) {
            timeout(patience, task).await.context("producers come to no rest")???;
        }
        Ok(())
    }
}

type Deliveries = mpsc::UnboundedSender<(Stamp, Delivery)>;

async fn send(
    number: u32,
    producer: Producer,
    stopped: watch::Receiver<bool>,
    deliveries: Deliveries,
    ledger: Arc<Mutex<Ledger>>,
) -> Result<()> {
    let mut sent = vec![0u64; PARTITIONS as usize];
    while !*stopped.borrow() {
        let partition = rand::random_range(0..PARTITIONS);
        for _ in 0..rand::random_range(1..=BURST_RECORDS_MAX) {
            let count = &mut sent[partition as usize];
            let stamp = Stamp { producer: number, partition, number: *count };
            *count += 1;
            let longest = match rand::rng().random_ratio(1, 200) {
                true => LARGE_FILLER_BYTES_MAX,
                false => FILLER_BYTES_MAX,
            };
            let value = stamp.value(rand::random_range(0..longest));
            ledger.lock().map_err(|_| anyhow!("the ledger is closed"))?.on_sent(stamp)?;
            let delivery = producer.send(TOPIC, Some(partition), Record::of_value(value)).await?;
            deliveries.send((stamp, delivery)).map_err(|_| anyhow!("nobody listens for answers"))?;
        }
        tokio::time::sleep(Duration::from_micros(rand::random_range(0..4000))).await;
    }
    producer.close().await?;
    Ok(())
}

async fn listen(
    mut answers: mpsc::UnboundedReceiver<(Stamp, Delivery)>,
    ledger: Arc<Mutex<Ledger>>,
) -> Result<()> {
    while let Some((stamp, delivery)) = answers.recv().await {
        let noted = match delivery.await {
            Ok(metadata) => ledger
                .lock()
                .map_err(|_| anyhow!("the ledger is closed"))?
                .on_acknowledged(stamp, metadata.offset),
            Err(error) => Err(anyhow!("{stamp:?} was not delivered: {error}")),
        };
        if let Err(error) = noted {
            eprintln!("{error}");
            return Err(error);
        }
    }
    Ok(())
}
