//! Where the other controllers are. Of one there may be several things known: what is recorded with its vote, what `--controllers` says,
//! what a leader has said of itself. Each may be out of date, so whoever fails with one has everybody take the next.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::peers::PeerAddress;
use super::types::Voters;
use crate::ids::NodeId;

/// What is known of one controller.
#[derive(Debug, Default)]
struct Known {
    recorded: Option<PeerAddress>,
    named: Option<PeerAddress>,
    heard: Option<PeerAddress>,
    failures: usize,
}

impl Known {
    fn in_use(&self) -> Option<&PeerAddress> {
        let mut all: Vec<&PeerAddress> =
            [&self.recorded, &self.named, &self.heard].into_iter().flatten().collect();
        all.dedup();
        all.get(self.failures.checked_rem(all.len())?).copied()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct AddressBook(Mutex<BTreeMap<NodeId, Known>>);

impl AddressBook {
    /// With what `--controllers` says.
    pub fn new(named: &[PeerAddress]) -> AddressBook {
        let known = |address: &PeerAddress| Known { named: Some(address.clone()), ..Known::default() };
        AddressBook(Mutex::new(named.iter().map(|address| (address.id, known(address))).collect()))
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<NodeId, Known>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where one is looked for at the moment.
    pub fn of(&self, id: NodeId) -> Option<PeerAddress> {
        self.with(|book| book.get(&id).and_then(Known::in_use).cloned())
    }

    /// Nobody, or somebody else, is there.
    pub fn failed(&self, address: &PeerAddress) {
        self.with(|book| {
            if let Some(known) = book.get_mut(&address.id).filter(|known| known.in_use() == Some(address)) {
                known.failures += 1;
            }
        });
    }

    /// The voters are recorded so from now on.
    pub fn record(&self, voters: &Voters) {
        self.with(|book| {
            book.values_mut().for_each(|known| known.recorded = None);
            for voter in voters.recorded() {
                let id = voter.key.id;
                let address = voter.endpoints.first();
                let address = address.map(|at| PeerAddress { id, host: at.host.clone(), port: at.port });
                book.entry(id).or_default().recorded = address;
            }
        });
    }

    /// A leader says of itself where it is.
    pub fn hear(&self, address: PeerAddress) {
        let id = address.id;
        self.with(|book| book.entry(id).or_default().heard = Some(address));
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::types::{ReplicaKey, Voter, VoterEndpoint};
    use super::*;

    fn address(port: u16) -> PeerAddress {
        PeerAddress { id: NodeId(1), host: "h".to_owned(), port }
    }

    #[test]
    fn who_is_not_found_in_one_place_is_looked_for_in_the_next() {
        let book = AddressBook::new(&[address(1)]);
        book.failed(&address(1));
        assert_eq!(book.of(NodeId(1)), Some(address(1)));
        assert_eq!(book.of(NodeId(2)), None);
        let endpoint = VoterEndpoint { listener: "C".to_owned(), host: "h".to_owned(), port: 2 };
        let key = ReplicaKey { id: NodeId(1), directory: Uuid::nil() };
        book.record(&[Voter { key, endpoints: vec![endpoint] }].into_iter().collect());
        book.hear(address(3));
        let mut seen = Vec::new();
        for _ in 0..3 {
            let now = book.of(NodeId(1)).unwrap();
            // Two that fail with the same address count once.
            book.failed(&now);
            book.failed(&now);
            seen.push(now.port);
        }
        seen.sort_unstable();
        assert_eq!(seen, [1, 2, 3]);
        book.record(&Voters::default());
        book.hear(address(1));
        assert_eq!(book.of(NodeId(1)), Some(address(1)));
    }
}
