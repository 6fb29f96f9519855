//! The leader's side: how far the partition is appended, durable and readable, and which produce answers wait.
//!
//! ```text
//!   log start     high watermark      durable end            log end
//!       |-- readable --|                   |                    |
//!                      ^ the first batch of an acks=all producer that the disk has not confirmed
//! ```
//! `acks=all` means on disk: such a batch is neither answered nor readable before. What was produced with a weaker
//! promise is readable as soon as it is appended, unless it stands behind one that waits: its producer chose speed
//! (`docs/decisions/0005-when-records-are-readable.md`). With followers the high watermark becomes the least durable
//! end of the in-sync replicas as well.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::Offset;

/// Names a produce answer that waits; the caller maps it to whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AckId(pub u64);

/// What happens to the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// An answer may be given once everything below `end` is durable. Comes before the [`Event::Appended`] of its
    /// batch, so that nobody reads the batch in between.
    Park {
        /// Whose.
        ack: AckId,
        /// The offset of its first record; `None` for a duplicate of what was appended before.
        base: Option<Offset>,
        /// The offset after its last record.
        end: Offset,
    },
    /// Batches were written, up to this log end.
    Appended {
        /// The new log end.
        log_end: Offset,
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
    /// Give this answer, its records are durable.
    Answer(AckId),
}

/// The leader of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    log_end: Offset,
    durable_end: Offset,
    high_watermark: Offset,
    /// Batches, by base and end, that may not be read before they are durable; in the order of the log.
    held: VecDeque<(Offset, Offset)>,
    /// By the offset they wait for; more than one may wait for the same.
    parked: BTreeMap<(Offset, AckId), ()>,
}

impl Leader {
    /// A leader whose log was recovered: all of it up to `log_end` is durable.
    pub fn new(log_end: Offset) -> Leader {
        Leader {
            log_end,
            durable_end: log_end,
            high_watermark: log_end,
            held: VecDeque::new(),
            parked: BTreeMap::new(),
        }
    }

    /// Records below this may be read.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Records below this are on disk.
    pub fn durable_end(&self) -> Offset {
        self.durable_end
    }

    /// How many answers wait.
    pub fn parked_len(&self) -> usize {
        self.parked.len()
    }

    /// Takes one event and adds what must be done to `effects`, answers in the order of their offsets.
    pub fn step(&mut self, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Park { ack, end, .. } if end <= self.durable_end => effects.push(Effect::Answer(ack)),
            Event::Park { ack, base, end } => {
                self.parked.insert((end, ack), ());
                self.held.extend(base.map(|base| (base, end)));
            }
            Event::Appended { log_end } => {
                self.log_end = self.log_end.max(log_end);
                self.advance(effects);
            }
            Event::Durable { end } => {
                // A sync confirms what was written before it began, so a late confirmation may be behind.
                self.durable_end = self.durable_end.max(end.min(self.log_end));
                while self.held.front().is_some_and(|(_, end)| *end <= self.durable_end) {
                    self.held.pop_front();
                }
                self.advance(effects);
                self.answer(effects);
            }
        }
        debug_assert!(self.invariants().is_ok(), "{:?}", self.invariants());
    }

    fn advance(&mut self, effects: &mut Vec<Effect>) {
        let readable = self.held.front().map_or(self.log_end, |(base, _)| *base);
        if readable > self.high_watermark {
            self.high_watermark = readable;
            effects.push(Effect::AdvanceHighWatermark(readable));
        }
    }

    fn answer(&mut self, effects: &mut Vec<Effect>) {
        while let Some(entry) = self.parked.first_entry() {
            let (end, ack) = *entry.key();
            if end > self.durable_end {
                break;
            }
            entry.remove();
            effects.push(Effect::Answer(ack));
        }
    }

    /// What must always hold.
    pub fn invariants(&self) -> Result<(), &'static str> {
        if self.high_watermark > self.log_end {
            return Err("the high watermark passed the log end");
        }
        if self.durable_end > self.log_end {
            return Err("the durable end passed the log end");
        }
        if self.held.front().is_some_and(|(base, _)| *base < self.high_watermark) {
            return Err("a batch is readable that must be durable first");
        }
        if self.parked.keys().next().is_some_and(|(end, _)| *end <= self.durable_end) {
            return Err("an answer waits for what is durable");
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

    fn park(ack: u64, base: i64, end: i64) -> Event {
        Event::Park { ack: AckId(ack), base: Some(Offset(base)), end: Offset(end) }
    }

    #[test]
    fn a_batch_of_acks_all_is_answered_and_readable_once_it_is_durable() {
        let mut leader = Leader::new(Offset(10));
        assert_eq!(step(&mut leader, park(1, 10, 13)), []);
        assert_eq!(step(&mut leader, Event::Appended { log_end: Offset(13) }), []);
        assert_eq!(
            step(&mut leader, Event::Durable { end: Offset(13) }),
            [Effect::AdvanceHighWatermark(Offset(13)), Effect::Answer(AckId(1))]
        );
    }

    #[test]
    fn a_batch_of_a_weaker_promise_is_readable_at_once_unless_one_before_it_waits() {
        let mut leader = Leader::new(Offset(10));
        let appended = |log_end| Event::Appended { log_end: Offset(log_end) };
        let readable = |offset| [Effect::AdvanceHighWatermark(Offset(offset))];
        assert_eq!(step(&mut leader, appended(12)), readable(12));
        step(&mut leader, park(1, 14, 15));
        assert_eq!(step(&mut leader, appended(15)), readable(14));
        assert_eq!(step(&mut leader, appended(20)), []);
        let durable = step(&mut leader, Event::Durable { end: Offset(15) });
        assert_eq!(durable, [Effect::AdvanceHighWatermark(Offset(20)), Effect::Answer(AckId(1))]);
    }

    #[test]
    fn a_duplicate_of_what_is_readable_but_not_durable_still_waits_for_the_disk() {
        let mut leader = Leader::new(Offset(10));
        step(&mut leader, Event::Appended { log_end: Offset(12) });
        let again = Event::Park { ack: AckId(4), base: None, end: Offset(12) };
        assert_eq!(step(&mut leader, again), []);
        let durable = step(&mut leader, Event::Durable { end: Offset(12) });
        assert_eq!(durable, [Effect::Answer(AckId(4))]);
    }

    #[test]
    fn an_answer_for_what_is_durable_is_given_at_once() {
        let mut leader = Leader::new(Offset(10));
        let again = Event::Park { ack: AckId(4), base: None, end: Offset(10) };
        assert_eq!(step(&mut leader, again), [Effect::Answer(AckId(4))]);
    }

    proptest! {
        #[test]
        fn every_answer_comes_once_in_offset_order_and_nothing_is_read_or_answered_early(
            seed in proptest::collection::vec((0u8..4, 1i64..5), 0..80)
        ) {
            let mut leader = Leader::new(Offset(0));
            let (mut end, mut durable, mut acks) = (0i64, 0i64, 0u64);
            let mut parked = BTreeMap::new();
            let mut answered = Vec::new();
            for (kind, amount) in seed {
                let mut effects = Vec::new();
                match kind {
                    0 | 1 => {
                        let base = end;
                        end += amount;
                        if kind == 1 {
                            acks += 1;
                            parked.insert(acks, (base, end));
                            effects = step(&mut leader, park(acks, base, end));
                        }
                        effects.extend(step(&mut leader, Event::Appended { log_end: Offset(end) }));
                    }
                    2 => {
                        acks += 1;
                        parked.insert(acks, (end, end));
                        let again = Event::Park { ack: AckId(acks), base: None, end: Offset(end) };
                        effects = step(&mut leader, again);
                    }
                    _ => {
                        durable = (durable + amount).min(end);
                        effects = step(&mut leader, Event::Durable { end: Offset(durable) });
                    }
                }
                for effect in effects {
                    match effect {
                        Effect::Answer(AckId(ack)) => {
                            prop_assert!(parked[&ack].1 <= durable);
                            prop_assert!(!answered.contains(&ack));
                            answered.push(ack);
                        }
                        Effect::AdvanceHighWatermark(readable) => {
                            let hidden = parked.values().filter(|(base, end)| base < end && *end > durable);
                            let hidden = hidden.map(|(base, _)| *base).min().unwrap_or(end);
                            prop_assert_eq!(readable.0, hidden);
                        }
                    }
                }
            }
            step(&mut leader, Event::Durable { end: Offset(end) });
            prop_assert_eq!(leader.parked_len(), 0);
            prop_assert_eq!(leader.high_watermark(), Offset(end));
        }
    }
}
