//! All access control entries, found by their ids and by the resources they apply to.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::model::{Acl, PatternType, ResourceType, WILDCARD};

type ByName = BTreeMap<String, BTreeMap<Uuid, Acl>>;

/// The entries of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AclEntries {
    by_resource: BTreeMap<(ResourceType, PatternType), ByName>,
    /// Where each entry is above.
    places: BTreeMap<Uuid, (ResourceType, PatternType, String)>,
}

impl AclEntries {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Every entry with its id, in the order of resources.
    pub fn iter(&self) -> impl Iterator<Item = (Uuid, &Acl)> {
        let names = self.by_resource.values().flat_map(BTreeMap::values);
        names.flat_map(|entries| entries.iter().map(|(id, acl)| (*id, acl)))
    }

    /// Whether the entry is there.
    pub fn contains(&self, wanted: &Acl) -> bool {
        let names = self.by_resource.get(&(wanted.resource_type, wanted.pattern_type));
        let entries = names.and_then(|names| names.get(&wanted.resource_name));
        entries.is_some_and(|entries| entries.values().any(|acl| acl == wanted))
    }

    /// The entries that apply to a resource: of its name, of everything, and of what its name begins with.
    pub fn of<'a>(&'a self, resource_type: ResourceType, name: &'a str) -> impl Iterator<Item = &'a Acl> {
        let literal = self.by_resource.get(&(resource_type, PatternType::Literal));
        // A resource that is called like the wildcard has the wildcard's entries once.
        let names = [(name != WILDCARD).then_some(name), Some(WILDCARD)].into_iter().flatten();
        let named = names.filter_map(move |name| literal?.get(name));
        let prefixed = self.by_resource.get(&(resource_type, PatternType::Prefixed));
        let beginnings = prefixed.into_iter().flat_map(move |prefixes| {
            let ends = name.char_indices().map(|(at, letter)| at + letter.len_utf8());
            ends.filter_map(|end| prefixes.get(name.get(..end)?))
        });
        named.chain(beginnings).flat_map(BTreeMap::values)
    }

    /// The entries of one type, whatever names they have.
    pub fn of_type(&self, resource_type: ResourceType) -> impl Iterator<Item = &Acl> {
        let names = PatternType::ALL
            .iter()
            .filter_map(move |pattern| self.by_resource.get(&(resource_type, *pattern)));
        names.flat_map(BTreeMap::values).flat_map(BTreeMap::values)
    }

    /// Adds an entry.
    pub fn insert(&mut self, id: Uuid, acl: Acl) {
        self.remove(id);
        let place = (acl.resource_type, acl.pattern_type);
        self.places.insert(id, (place.0, place.1, acl.resource_name.clone()));
        let names = self.by_resource.entry(place).or_default();
        names.entry(acl.resource_name.clone()).or_default().insert(id, acl);
    }

    /// Takes an entry away.
    pub fn remove(&mut self, id: Uuid) {
        let Some((resource_type, pattern_type, name)) = self.places.remove(&id) else { return };
        let Some(names) = self.by_resource.get_mut(&(resource_type, pattern_type)) else { return };
        if let Some(entries) = names.get_mut(&name) {
            entries.remove(&id);
            if entries.is_empty() {
                names.remove(&name);
            }
        }
    }
}
