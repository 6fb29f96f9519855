//! Which topics a group reads: names and patterns against the cluster's topics, and a hash by which a change of them is
//! noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use uuid::Uuid;

use super::draft::ConsumerDraft;
use super::group::ConsumerGroup;
use super::member::MemberMetadata;
use super::record::{ConsumerRecord, ResolvedRegex};
use super::request::ConsumerRefused;
use crate::groups::error::GroupError;
use crate::groups::names::TopicName;
use crate::groups::topics::{TopicCatalog, Topics};

/// A compiled pattern may take this much memory; a longer one is refused as invalid.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// # Errors
/// When it is no regular expression in RE2's syntax, which the crate shares.
pub(super) fn compile(regex: &str) -> Result<Regex, ConsumerRefused> {
    // The whole name must match. The pattern is compiled alone too: it must not close a bracket that it did not open.
    let built = RegexBuilder::new(regex)
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .and_then(|_| RegexBuilder::new(&format!("^(?:{regex})$")).size_limit(REGEX_BYTES_MAX).build());
    built.map_err(|error| {
        let why = format!("SubscribedTopicRegex `{regex}` is not a valid regular expression: {error}");
        ConsumerRefused::with(GroupError::InvalidRegularExpression, why)
    })
}

/// Finds the topics behind every pattern that some member has, anew if the cluster's topics have changed.
pub(super) fn resolve_regexes(draft: &mut ConsumerDraft<'_>, topics: &Topics) {
    draft.forget_unused_regexes();
    let changed = draft.group.topics_version != Some(topics.0.version());
    let mut wanted = BTreeSet::new();
    for member in draft.group.members.values() {
        if let Some(regex) = &member.metadata.topic_regex
            && (changed || !draft.group.regexes.contains_key(regex))
        {
            wanted.insert(regex.clone());
        }
    }
    for regex in wanted {
        // It was checked when the member came with it, if by another version of this code.
        let Ok(pattern) = compile(&regex) else { continue };
        let found = topics.0.names().filter(|name| pattern.is_match(name)).map(TopicName::from).collect();
        if draft.group.regexes.get(&regex).is_some_and(|known| known.topics == found) {
            continue;
        }
        let version = i64::try_from(topics.0.version()).unwrap_or(i64::MAX);
        let resolved = ResolvedRegex { topics: found, version, at: draft.now.wall };
        draft.record(ConsumerRecord::Regex { regex, value: Some(Arc::new(resolved)) });
    }
}

impl ConsumerGroup {
    /// The topics that a member asks for, whether they exist or not.
    pub fn subscribed_names<'a>(
        &'a self,
        metadata: &'a MemberMetadata,
    ) -> impl Iterator<Item = &'a TopicName> + 'a {
        let regex = metadata.topic_regex.as_ref().and_then(|regex| self.regexes.get(regex));
        metadata.topic_names.iter().chain(regex.into_iter().flat_map(|resolved| &resolved.topics))
    }

    /// Whether any member asks for the topic.
    pub fn is_subscribed_to(&self, topic: &TopicName) -> bool {
        self.members
            .values()
            .any(|member| self.subscribed_names(&member.metadata).any(|subscribed| subscribed == topic))
    }
}

/// The group's topics that exist, by name.
pub(super) fn subscribed_topics(
    group: &ConsumerGroup,
    topics: &dyn TopicCatalog,
) -> BTreeMap<TopicName, (Uuid, i32)> {
    let mut subscribed = BTreeMap::new();
    let mut missing = BTreeSet::new();
    for member in group.members.values() {
        for name in group.subscribed_names(&member.metadata) {
            if subscribed.contains_key(name) || missing.contains(name) {
                continue;
            }
            match topics.topic(name.as_str()) {
                Some(info) => {
                    subscribed.insert(name.clone(), (info.id, info.partition_count));
                }
                None => {
                    missing.insert(name.clone());
                }
            }
        }
    }
    subscribed
}

/// Differs when a subscribed topic comes, goes, is made anew or grows. 0 for no topics. FNV-1a, which stays the same from
/// release to release, as it is compared with what a log has.
pub(super) fn metadata_hash(topics: &BTreeMap<TopicName, (Uuid, i32)>) -> i64 {
    if topics.is_empty() {
        return 0;
    }
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for (name, (id, partition_count)) in topics {
        add(&(name.as_str().len() as u64).to_be_bytes());
        add(name.as_str().as_bytes());
        add(id.as_bytes());
        add(&partition_count.to_be_bytes());
    }
    hash.cast_signed()
}
