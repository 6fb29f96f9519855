//! A topic of one partition as a log of keys and values: read to its end.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ottla_client::{Client, ClientError, ConsumerConfig, IsolationLevel, OFFSET_EARLIEST, TopicPartition};

pub(crate) const POLL: Duration = Duration::from_millis(100);

/// Keys and values up to the partition's end now, in their order.
pub(crate) async fn read(
    client: &Client,
    topic: &str,
) -> Result<Vec<(Option<Bytes>, Option<Bytes>)>, ClientError> {
    let place = TopicPartition::new(topic, 0);
    let config =
        ConsumerConfig { isolation_level: IsolationLevel::ReadCommitted, ..ConsumerConfig::default() };
    let consumer = client.consumer(config).await?;
    let ends = consumer.end_offsets(std::slice::from_ref(&place)).await?;
    let end = ends.get(&place).copied().unwrap_or_default();
    consumer.assign(vec![(place.clone(), OFFSET_EARLIEST)]).await?;
    let mut records = Vec::new();
    while end > 0 && consumer.position(&place).await? < end {
        let fetched = consumer.poll(POLL).await?.into_iter().flat_map(|fetched| fetched.records);
        let wanted = fetched.filter(|record| record.offset < end);
        records.extend(wanted.map(|record| (record.key, record.value)));
    }
    consumer.close().await?;
    Ok(records)
}

/// The last value of each key; a key whose last record has none is left out.
pub(crate) fn last_of_each_key(records: Vec<(Option<Bytes>, Option<Bytes>)>) -> BTreeMap<Bytes, Bytes> {
    let mut last: BTreeMap<Bytes, Option<Bytes>> = BTreeMap::new();
    for (key, value) in records {
        last.insert(key.unwrap_or_default(), value);
    }
    last.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}
