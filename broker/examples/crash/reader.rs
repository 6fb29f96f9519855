//! The consumer: reads from somewhere before what was read last to the end, tells the ledger, and then follows.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use ottla_client::{Client, Consumer, ConsumerConfig, OffsetReset, TopicPartition};
use rand::Rng;
use rand::rngs::StdRng;

use super::ledger::Ledger;
use super::{PARTITIONS, TOPIC};

const GROUP: &str = "crash";
/// Records of a partition that are read again after every start.
const READ_AGAIN: i64 = 3000;

pub struct Reader {
    consumer: Consumer,
    ledger: Arc<Mutex<Ledger>>,
    ends: Vec<i64>,
    positions: Vec<i64>,
}

fn partitions() -> Vec<TopicPartition> {
    (0..PARTITIONS).map(|partition| TopicPartition::new(TOPIC, partition)).collect()
}

impl Reader {
    /// Asks where the partitions begin and end, and starts somewhere before what is known.
    pub async fn new(
        client: &Client,
        ledger: Arc<Mutex<Ledger>>,
        whole: bool,
        random: &mut StdRng,
    ) -> Result<Reader> {
        let config = ConsumerConfig {
            auto_offset_reset: OffsetReset::None,
            enable_auto_commit: false,
            fetch_max_wait: Duration::from_millis(50),
            ..ConsumerConfig::default()
        };
        let consumer = client.consumer(config).await?;
        // Asked first: the producers go on meanwhile.
        let acknowledged = {
            let ledger = ledger.lock().map_err(|_| anyhow!("the ledger is closed"))?;
            (0..PARTITIONS as usize).map(|partition| ledger.acknowledged_to(partition)).collect::<Vec<_>>()
        };
        let beginnings = consumer.beginning_offsets(&partitions()).await?;
        let ends_now = consumer.end_offsets(&partitions()).await?;
        let (mut ends, mut positions) = (Vec::new(), Vec::new());
        {
            let mut ledger = ledger.lock().map_err(|_| anyhow!("the ledger is closed"))?;
            for (partition, acknowledged) in partitions().into_iter().zip(acknowledged) {
                let of = |offsets: &std::collections::BTreeMap<TopicPartition, _>| {
                    offsets.get(&partition).copied().ok_or_else(|| anyhow!("no offsets of {partition}"))
                };
                let end = of(&ends_now)?;
                ledger.on_bounds(partition.partition, of(&beginnings)?, end, acknowledged)?;
                let known = ledger.read_to(partition.partition as usize);
                let from = match whole {
                    true => 0,
                    false => random.random_range((known - READ_AGAIN).max(0)..=known),
                };
                ends.push(end);
                positions.push(from);
            }
        }
        let places = partitions().into_iter().zip(positions.iter().copied()).collect();
        consumer.assign(places).await?;
        Ok(Reader { consumer, ledger, ends, positions })
    }

    /// Reads up to where the partitions ended when this reader was made.
    pub async fn read_to_end(&mut self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while self.positions.iter().zip(&self.ends).any(|(position, end)| position < end) {
            if Instant::now() > deadline {
                bail!("read up to {:?} of {:?} in {patience:?}", self.positions, self.ends);
            }
            self.poll(Duration::from_millis(100)).await?;
        }
        self.ledger.lock().map_err(|_| anyhow!("the ledger is closed"))?.check_acknowledged()
    }

    /// Reads what comes for so long.
    pub async fn follow(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            self.poll(left.min(Duration::from_millis(20))).await?;
        }
        Ok(())
    }

    async fn poll(&mut self, wait: Duration) -> Result<()> {
        for fetched in self.consumer.poll(wait).await? {
            let partition = fetched.topic_partition.partition;
            let mut ledger = self.ledger.lock().map_err(|_| anyhow!("the ledger is closed"))?;
            for record in fetched.records {
                let value = record.value.unwrap_or_default();
                ledger.on_read(partition, record.offset, &value)?;
                if let Some(position) = self.positions.get_mut(partition as usize) {
                    *position = record.offset + 1;
                }
            }
        }
        Ok(())
    }
}

async fn committer(client: &Client) -> Result<Consumer> {
    let config = ConsumerConfig {
        group_id: Some(GROUP.to_owned()),
        enable_auto_commit: false,
        ..ConsumerConfig::default()
    };
    Ok(client.consumer(config).await?)
}

/// Commits an offset for a group without members, as tools do.
pub async fn commit(client: &Client, offset: i64) -> Result<()> {
    let offsets = [(TopicPartition::new(TOPIC, 0), offset, String::new())];
    committer(client).await?.commit_offsets(&offsets).await?;
    Ok(())
}

/// The offset that is committed; 0 where none is.
pub async fn committed(client: &Client) -> Result<i64> {
    let partition = TopicPartition::new(TOPIC, 0);
    let committed = committer(client).await?.committed(std::slice::from_ref(&partition)).await?;
    Ok(committed.get(&partition).map_or(0, |committed| committed.offset))
}
