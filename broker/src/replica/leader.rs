//! The leader's side: how far the partition is appended, durable and committed, and which produce answers wait.
//!
//! ```text
//!   log start        high watermark = durable end      log end
//!       |-- consumers read --|------ being synced ---------|
//!                            ^ acks=all answers wait for this to reach the end of their batch
//! ```
//! `acks=all` means on disk: with one replica the high watermark is what the disk has confirmed. With followers it
//! becomes the least durable end of the in-sync replicas, which is why parked answers already wait for the high
//! watermark and not for the local sync.

use std::collections::BTreeMap;

use crate::ids::Offset;

/// Names a produce answer that waits; the caller maps it to whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AckId(pub u64);

/// What happens to the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Batches were written, up to this log end.
    Appended {
        /// The new log end.
        log_end: Offset,
    },
    /// An answer may be given once everything below `end` is committed.
    Park {
        /// Whose.
        ack: AckId,
        /// The offset after its last record.
        end: Offset,
    },
    /// The disk has confirmed everything below this.
    Durable {
        /// The new durable end.
        end: Offset,
    },
}

/// What the caller must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Tell readers: they may see records below this now.
    AdvanceHighWatermark(Offset),
    /// Give this answer, its records are committed.
    Answer(AckId),
}

/// The leader of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    log_end: Offset,
    durable_end: Offset,
    high_watermark: Offset,
    // By the offset they wait for; more than one may wait for the same.
    parked: BTreeMap<(Offset, AckId), ()>,
}

impl Leader {
    /// A leader whose log was recovered: all of it up to `log_end` is durable.
    pub fn new(log_end: Offset) -> Leader {
        Leader { log_end, durable_end: log_end, high_watermark: log_end, parked: BTreeMap::new() }
    }

    /// Records below this are committed.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// How many answers wait.
    pub fn parked_len(&self) -> usize {
        self.parked.len()
    }

    /// Takes one event and adds what must be done to `effects`, answers in the order of their offsets.
    pub fn step(&mut self, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Appended { log_end } => self.log_end = self.log_end.max(log_end),
            Event::Park { ack, end } if end <= self.high_watermark => effects.push(Effect::Answer(ack)),
            Event::Park { ack, end } => {
                self.parked.insert((end, ack), ());
            }
            Event::Durable { end } => {
                // A sync confirms what was written before it began, so a late confirmation may be behind.
                self.durable_end = self.durable_end.max(end.min(self.log_end));
                self.advance(effects);
            }
        }
        debug_assert!(self.invariants().is_ok(), "{:?}", self.invariants());
    }

    fn advance(&mut self, effects: &mut Vec<Effect>) {
        if self.durable_end <= self.high_watermark {
            return;
        }
        self.high_watermark = self.durable_end;
        effects.push(Effect::AdvanceHighWatermark(self.high_watermark));
        while let Some(entry) = self.parked.first_entry() {
            let (end, ack) = *entry.key();
            if end > self.high_watermark {
                break;
            }
            entry.remove();
            effects.push(Effect::Answer(ack));
        }
    }

    /// What must always hold.
    pub fn invariants(&self) -> Result<(), &'static str> {
        if self.high_watermark > self.durable_end {
            return Err("the high watermark passed what is durable");
        }
        if self.durable_end > self.log_end {
            return Err("the durable end passed the log end");
        }
        if self.parked.keys().next().is_some_and(|(end, _)| *end <= self.high_watermark) {
            return Err("an answer waits for what is committed");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn step(leader: &mut Leader, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        leader.step(event, &mut effects);
        leader.invariants().unwrap();
        effects
    }

    #[test]
    fn an_answer_waits_until_its_batch_is_durable() {
        let mut leader = Leader::new(Offset(10));
        assert_eq!(step(&mut leader, Event::Appended { log_end: Offset(13) }), []);
        assert_eq!(step(&mut leader, Event::Park { ack: AckId(1), end: Offset(13) }), []);
        assert_eq!(
            step(&mut leader, Event::Durable { end: Offset(13) }),
            [Effect::AdvanceHighWatermark(Offset(13)), Effect::Answer(AckId(1))]
        );
    }

    #[test]
    fn an_answer_for_what_is_durable_is_given_at_once() {
        let mut leader = Leader::new(Offset(10));
        assert_eq!(
            step(&mut leader, Event::Park { ack: AckId(4), end: Offset(10) }),
            [Effect::Answer(AckId(4))]
        );
    }

    proptest! {
        #[test]
        fn every_answer_comes_once_in_offset_order_and_never_early(
            seed in proptest::collection::vec((0u8..3, 1i64..5), 0..80)
        ) {
            let mut leader = Leader::new(Offset(0));
            let (mut end, mut durable, mut acks) = (0i64, 0i64, 0u64);
            let mut parked = BTreeMap::new();
            let mut answered = Vec::new();
            for (kind, amount) in seed {
                let event = match kind {
                    0 => { end += amount; Event::Appended { log_end: Offset(end) } }
                    1 => { acks += 1; parked.insert(acks, end); Event::Park { ack: AckId(acks), end: Offset(end) } }
                    _ => { durable = (durable + amount).min(end); Event::Durable { end: Offset(durable) } }
                };
                for effect in step(&mut leader, event) {
                    if let Effect::Answer(AckId(ack)) = effect {
                        prop_assert!(parked[&ack] <= durable);
                        prop_assert!(!answered.contains(&ack));
                        answered.push(ack);
                    }
                }
            }
            step(&mut leader, Event::Durable { end: Offset(end) });
            prop_assert_eq!(leader.parked_len(), 0);
        }
    }
}
