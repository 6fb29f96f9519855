//! What a sink task has given to its sink and has not committed: fetches, in the order in which they came.
//!
//! A fetch is settled when it and all before it are answered, so what is committed has no gap. It knows neither the sink
//! nor the cluster.

use std::collections::VecDeque;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{FuturesOrdered, StreamExt as _};
use ottla_client::ConsumerRecord;

use super::dead_letter::Stage;
use super::sink_letters::Bad;
use crate::connector::Answers;
use crate::error::ConnectorError;

/// A sink that takes ahead is given no more while it has so many bytes to answer for: with the fetch that goes beyond, memory
/// stays at three fetches.
const BYTES_AHEAD_MAX: usize = 16 << 20;
/// What a record takes besides its key and its value, about.
const RECORD_BYTES: usize = 128;

/// The part of a fetch that is of one partition.
pub(super) struct Taken {
    pub(super) partition: i32,
    pub(super) records: Vec<ConsumerRecord>,
    /// Where reading goes on after it.
    pub(super) next_offset: i64,
    /// What could not be read, and, once it is answered, what the target refuses.
    pub(super) bad: Vec<Bad>,
    pub(super) asked: VecDeque<Asked>,
}

/// Rows that the sink has been given.
pub(super) struct Asked {
    /// For each row the index of its record.
    pub(super) records: Vec<usize>,
    pub(super) answers: Answers,
}

/// Fetches that are not settled.
#[derive(Default)]
pub(super) struct UnderWay {
    fetches: FuturesOrdered<BoxFuture<'static, Result<Settled, ConnectorError>>>,
    bytes: usize,
}

struct Settled {
    parts: Vec<Taken>,
    bytes: usize,
}

impl Taken {
    fn bytes(&self) -> usize {
        let size = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, bytes::Bytes::len);
        let sizes = self.records.iter().map(|record| size(&record.key) + size(&record.value) + RECORD_BYTES);
        sizes.sum()
    }

    async fn settle(&mut self) -> Result<(), ConnectorError> {
        while let Some(Asked { records, answers }) = self.asked.pop_front() {
            let refused = answers.await?.into_iter().filter_map(|rejected| {
                let index = *records.get(rejected.row)?;
                Some(Bad { index, stage: Stage::TaskPut, reason: rejected.reason })
            });
            self.bad.extend(refused);
        }
        // Where a plugin has made several rows of a record, one letter tells of it.
        self.bad.sort_by_key(|bad| bad.index);
        self.bad.dedup_by_key(|bad| bad.index);
        Ok(())
    }
}

impl UnderWay {
    pub(super) fn is_empty(&self) -> bool {
        self.fetches.is_empty()
    }

    /// Whether one more fetch may be taken.
    pub(super) fn has_room(&self, takes_ahead: bool) -> bool {
        self.is_empty() || (takes_ahead && self.bytes < BYTES_AHEAD_MAX)
    }

    pub(super) fn push(&mut self, mut parts: Vec<Taken>) {
        let bytes = parts.iter().map(Taken::bytes).sum();
        self.bytes += bytes;
        let settled = async move {
            for part in &mut parts {
                part.settle().await?;
            }
            Ok(Settled { parts, bytes })
        };
        self.fetches.push_back(settled.boxed());
    }

    /// What is settled next: one fetch, and those after it that are answered too; nothing when there is none. Cancel safe.
    pub(super) async fn settled(&mut self) -> Result<Vec<Taken>, ConnectorError> {
        let mut parts = Vec::new();
        let mut next = self.fetches.next().await;
        while let Some(settled) = next {
            let settled = settled?;
            self.bytes -= settled.bytes;
            parts.extend(settled.parts);
            next = self.fetches.next().now_or_never().flatten();
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::connector::Rejected;

    type Teller = oneshot::Sender<Vec<Rejected>>;

    fn part(offset: i64, bytes: usize) -> (Taken, Teller) {
        let record = ConsumerRecord {
            offset,
            timestamp_ms: 0,
            key: None,
            value: Some(vec![b'x'; bytes].into()),
            headers: Vec::new(),
            leader_epoch: -1,
        };
        let (teller, told) = oneshot::channel();
        let answers = async { told.await.map_err(|lost| ConnectorError::retriable("sending", lost)) }.boxed();
        let asked = [Asked { records: vec![0], answers }].into();
        let part =
            Taken { partition: 0, records: vec![record], next_offset: offset + 1, bad: Vec::new(), asked };
        (part, teller)
    }

    #[tokio::test]
    async fn a_fetch_is_settled_when_it_and_all_before_it_are_answered() {
        let mut under_way = UnderWay::default();
        let mut tellers = Vec::new();
        for offset in 0..4 {
            let (part, teller) = part(offset, 1);
            under_way.push(vec![part]);
            tellers.push(Some(teller));
        }
        let mut tell = |index: usize, rejected| tellers[index].take().unwrap().send(rejected).unwrap();
        tell(1, Vec::new());
        tell(2, vec![Rejected { row: 0, reason: "no".to_owned() }]);
        assert!(under_way.settled().now_or_never().is_none());
        tell(0, Vec::new());
        let settled = under_way.settled().await.unwrap();
        let told: Vec<_> = settled.iter().map(|part| (part.next_offset, part.bad.len())).collect();
        assert_eq!(told, [(1, 0), (2, 0), (3, 1)]);
        assert!(!under_way.is_empty());
        drop(tellers);
        assert!(under_way.settled().await.is_err());
    }

    #[tokio::test]
    async fn memory_is_bounded_by_bytes_and_only_who_takes_ahead_gets_a_second_fetch() {
        let mut under_way = UnderWay::default();
        let mut tellers = Vec::new();
        let mut fetches = 0;
        while under_way.has_room(true) {
            let (part, teller) = part(fetches, 8 << 20);
            tellers.push(teller);
            under_way.push(vec![part]);
            assert!(!under_way.has_room(false));
            fetches += 1;
        }
        assert_eq!(fetches, 2);
        tellers.into_iter().for_each(|teller: Teller| teller.send(Vec::new()).unwrap());
        assert_eq!(under_way.settled().await.unwrap().len(), 2);
        assert!(under_way.has_room(false) && under_way.bytes == 0);
    }

    #[tokio::test]
    async fn a_record_of_which_several_rows_are_refused_is_bad_once() {
        let (mut part, teller) = part(7, 1);
        part.asked[0].records = vec![0, 0, 0];
        let mut under_way = UnderWay::default();
        under_way.push(vec![part]);
        let rejected = |row: usize| Rejected { row, reason: format!("row {row}") };
        teller.send(vec![rejected(1), rejected(2)]).unwrap();
        let settled = under_way.settled().await.unwrap();
        let bad: Vec<_> = settled[0].bad.iter().map(|bad| (bad.index, bad.reason.as_str())).collect();
        assert_eq!(bad, [(0, "row 1")]);
    }
}
