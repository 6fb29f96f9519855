//! How many of something each broker has, of each topic and in all.

pub(super) struct Counts {
    brokers: usize,
    of_topics: Vec<usize>,
    in_all: Vec<usize>,
}

impl Counts {
    pub fn new(topics: usize, brokers: usize) -> Counts {
        Counts { brokers, of_topics: vec![0; topics * brokers], in_all: vec![0; brokers] }
    }

    pub fn add(&mut self, topic: usize, broker: usize) {
        self.of_topics[topic * self.brokers + broker] += 1;
        self.in_all[broker] += 1;
    }

    pub fn take(&mut self, topic: usize, broker: usize) {
        self.of_topics[topic * self.brokers + broker] -= 1;
        self.in_all[broker] -= 1;
    }

    pub fn of_topic(&self, topic: usize, broker: usize) -> usize {
        self.of_topics[topic * self.brokers + broker]
    }

    pub fn in_all(&self, broker: usize) -> usize {
        self.in_all[broker]
    }
}

/// The pairs of brokers of which the first has at least two more than the second by `count`, those that differ most first; of those that
/// differ as much, those that do so by `count_of_ties`.
pub(super) fn uneven(
    brokers: usize,
    count: impl Fn(usize) -> usize,
    count_of_ties: impl Fn(usize) -> usize,
) -> Vec<(usize, usize)> {
    let pairs = (0..brokers).flat_map(|from| (0..brokers).map(move |to| (from, to)));
    let mut uneven: Vec<(usize, usize)> = pairs.filter(|(from, to)| count(*from) >= count(*to) + 2).collect();
    uneven.sort_by_key(|(from, to)| {
        let tie = count_of_ties(*from) as i64 - count_of_ties(*to) as i64;
        (std::cmp::Reverse(count(*from) - count(*to)), std::cmp::Reverse(tie))
    });
    uneven
}
