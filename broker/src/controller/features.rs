//! Levels of features (KIP-584): what the cluster has agreed to use of what this release can do. Pure.
//!
//! Nodes of two releases make one cluster as long as both have the levels that are in effect. So nodes are upgraded one by one, and a level is
//! raised once all have it (`docs/decisions/0016-nodes-of-two-releases.md`).

use std::collections::BTreeMap;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::metadata_records::FeatureLevelRecord;

use super::image::ClusterImage;
use super::records::MetadataRecord;
use super::topics::{Refusal, refuse};
use crate::ids::NodeId;

/// A feature and the levels of it that this release has, by Kafka's names and numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// Its name.
    pub name: &'static str,
    /// The lowest level.
    pub level_min: i16,
    /// The highest.
    pub level_max: i16,
    /// Where no level was set.
    pub level_default: i16,
}

/// The level of `metadata.version` that is `4.0-IV3`, whose records the metadata log has.
const METADATA_LEVEL: i16 = 25;
const METADATA: &str = "metadata.version";
const TRANSACTION_VERSION: &str = "transaction.version";

/// `group.version` 1 is the consumer protocol (KIP-848). `transaction.version` 2 is KIP-890: at a lower level producers are
/// told to speak version 1, which is served at every level.
pub const FEATURES: &[Feature] = &[
    Feature {
        name: METADATA,
        level_min: METADATA_LEVEL,
        level_max: METADATA_LEVEL,
        level_default: METADATA_LEVEL,
    },
    Feature { name: GROUP_VERSION, level_min: 0, level_max: 1, level_default: 1 },
    Feature { name: TRANSACTION_VERSION, level_min: 0, level_max: 2, level_default: 2 },
];
/// See [`FEATURES`].
pub const GROUP_VERSION: &str = "group.version";

/// The levels of a feature that some broker has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupportedFeature {
    /// Its name, which this release may not know.
    pub name: String,
    /// The lowest level.
    pub level_min: i16,
    /// The highest.
    pub level_max: i16,
}

/// What a broker of this release says of itself.
pub(crate) fn supported() -> Vec<SupportedFeature> {
    let of = |feature: &Feature| SupportedFeature {
        name: feature.name.to_owned(),
        level_min: feature.level_min,
        level_max: feature.level_max,
    };
    FEATURES.iter().map(of).collect()
}

/// The levels of a feature that a broker has; of one that it does not know, only 0.
fn range(supported: &[SupportedFeature], name: &str) -> (i16, i16) {
    // The first releases said nothing, and had these.
    const FIRST: &[(&str, (i16, i16))] =
        &[(METADATA, (25, 25)), (GROUP_VERSION, (0, 1)), (TRANSACTION_VERSION, (0, 2))];
    if supported.is_empty() {
        return FIRST.iter().find(|(known, _)| *known == name).map_or((0, 0), |(_, range)| *range);
    }
    let found = supported.iter().find(|feature| feature.name == name);
    found.map_or((0, 0), |feature| (feature.level_min, feature.level_max))
}

/// Refuses a broker that has not the levels that are in effect.
pub(super) fn check_supported(image: &ClusterImage, supported: &[SupportedFeature]) -> Result<(), Refusal> {
    for feature in FEATURES {
        let (name, level) = (feature.name, image.feature_level(feature));
        let (min, max) = range(supported, name);
        if level > 0 && !(min..=max).contains(&level) {
            return refuse(
                ErrorCode::UnsupportedVersion,
                format!(
                    "Unable to register because the broker does not support finalized version {level} of {name}. The broker wants a \
                     version between {min} and {max}, inclusive."
                ),
            );
        }
    }
    Ok(())
}

/// In which direction a level may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeType {
    /// Up only.
    Upgrade,
    /// Down; none of the features here loses anything by it.
    Downgrade,
    /// Nobody knows.
    Unknown,
}

/// A level that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateFeature {
    /// Which feature.
    pub name: String,
    /// 0 gives it up.
    pub level: i16,
    /// What whoever asks expects.
    pub upgrade_type: UpgradeType,
}

/// The levels that were set; other features are at their defaults.
pub type FeatureLevels = BTreeMap<&'static str, i16>;

/// Decides about one level.
pub(super) fn decide_update(
    image: &ClusterImage,
    node_id: NodeId,
    wanted: &UpdateFeature,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let UpdateFeature { name, level, upgrade_type } = wanted;
    let invalid = |why: String| {
        let message = format!("Invalid update version {level} for feature {name}. {why}");
        refuse(ErrorCode::InvalidUpdateVersion, message)
    };
    if *upgrade_type == UpgradeType::Unknown {
        return invalid("The controller does not support the given upgrade type.".to_owned());
    }
    if *level < 0 {
        return invalid("A feature version cannot be less than 0.".to_owned());
    }
    let Some(feature) = FEATURES.iter().find(|feature| feature.name == name) else {
        return match *level {
            0 => Ok(Vec::new()),
            _ => invalid(format!("Local controller {node_id} does not support this feature.")),
        };
    };
    let lacks = |(min, max): (i16, i16)| {
        let range = if min == max { format!("{min}") } else { format!("{min}-{max}") };
        (!(min..=max).contains(level)).then_some(range)
    };
    if let Some(range) = lacks((feature.level_min, feature.level_max)) {
        return invalid(format!("Local controller {node_id} only supports versions {range}"));
    }
    for (id, broker) in image.brokers() {
        if let Some(range) = lacks(range(&broker.features, name)) {
            return invalid(format!("Broker {id} only supports versions {range}"));
        }
    }
    match (level.cmp(&image.feature_level(feature)), upgrade_type) {
        (std::cmp::Ordering::Equal, _) => Ok(Vec::new()),
        (std::cmp::Ordering::Less, UpgradeType::Upgrade) => invalid(
            "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade."
                .to_owned(),
        ),
        (std::cmp::Ordering::Greater, UpgradeType::Downgrade) => {
            invalid("Can't downgrade to a newer version.".to_owned())
        }
        _ => Ok(vec![to_record(feature.name, *level)]),
    }
}

/// The record that sets a level.
pub(super) fn to_record(name: &str, level: i16) -> MetadataRecord {
    MetadataRecord::FeatureLevel(FeatureLevelRecord { name: name.into(), feature_level: level })
}

/// Takes over what a record says. What another release has written of features or levels that are unknown here, or of the
/// form of its records, means nothing.
pub(super) fn apply(levels: &mut FeatureLevels, record: &FeatureLevelRecord) {
    let feature = FEATURES.iter().find(|feature| feature.name == &*record.name && feature.name != METADATA);
    if let Some(feature) = feature {
        levels.insert(feature.name, record.feature_level.clamp(feature.level_min, feature.level_max));
    }
}

#[cfg(test)]
mod tests {
    use ottla_protocol::messages::metadata_records::{BrokerFeature, RegisterBrokerRecord};

    use super::*;

    /// Has a broker registered that has these levels of `transaction.version`.
    fn register(image: &mut ClusterImage, id: i32, levels: (i16, i16)) {
        let mut features = supported();
        features.retain(|feature| feature.name != TRANSACTION_VERSION);
        let (level_min, level_max) = levels;
        features.push(SupportedFeature { name: TRANSACTION_VERSION.to_owned(), level_min, level_max });
        let recorded = features.iter().map(|feature| BrokerFeature {
            name: feature.name.as_str().into(),
            min_supported_version: feature.level_min,
            max_supported_version: feature.level_max,
        });
        image.apply(&MetadataRecord::RegisterBroker(RegisterBrokerRecord {
            broker_id: id,
            features: recorded.collect(),
            ..RegisterBrokerRecord::default()
        }));
    }

    #[test]
    fn a_level_is_raised_once_all_brokers_have_it() {
        let mut image = ClusterImage::default();
        update(&mut image, TRANSACTION_VERSION, 1, UpgradeType::Downgrade).unwrap();
        register(&mut image, 1, (0, 2));
        register(&mut image, 2, (0, 1));
        let refused = update(&mut image, TRANSACTION_VERSION, 2, UpgradeType::Upgrade).unwrap_err();
        assert!(refused.ends_with("Broker 2 only supports versions 0-1"), "{refused}");
        register(&mut image, 2, (0, 3));
        update(&mut image, TRANSACTION_VERSION, 2, UpgradeType::Upgrade).unwrap();
    }

    #[test]
    fn a_broker_that_has_not_the_levels_in_effect_is_refused() {
        let mut image = ClusterImage::default();
        assert_eq!(check_supported(&image, &supported()), Ok(()));
        assert_eq!(check_supported(&image, &[]), Ok(()), "a broker of the first releases");
        let mut older = supported();
        older.last_mut().unwrap().level_max = 1;
        let refused = check_supported(&image, &older).unwrap_err();
        assert_eq!(refused.code, ErrorCode::UnsupportedVersion);
        assert!(
            refused.message.contains("finalized version 2 of transaction.version"),
            "{}",
            refused.message
        );
        update(&mut image, TRANSACTION_VERSION, 1, UpgradeType::Downgrade).unwrap();
        assert_eq!(check_supported(&image, &older), Ok(()));
        let newer: Vec<_> = supported()
            .into_iter()
            .map(|feature| SupportedFeature { level_min: feature.level_min + 1, level_max: 99, ..feature })
            .collect();
        assert!(check_supported(&image, &newer).is_err(), "it has given up what is in effect");
    }

    fn update(
        image: &mut ClusterImage,
        name: &str,
        level: i16,
        upgrade_type: UpgradeType,
    ) -> Result<(), String> {
        let wanted = UpdateFeature { name: name.to_owned(), level, upgrade_type };
        let records = decide_update(image, NodeId(1), &wanted).map_err(|refusal| refusal.message)?;
        records.iter().for_each(|record| image.apply(record));
        Ok(())
    }

    fn level(image: &ClusterImage, name: &str) -> i16 {
        image.feature_level(FEATURES.iter().find(|feature| feature.name == name).unwrap())
    }

    #[test]
    fn levels_go_down_and_up_again_as_asked_and_within_what_there_is() {
        let image = &mut ClusterImage::default();
        let name = "transaction.version";
        assert_eq!(level(image, name), 2);
        assert!(
            update(image, name, 1, UpgradeType::Upgrade)
                .unwrap_err()
                .contains("without setting the upgrade type")
        );
        update(image, name, 1, UpgradeType::Downgrade).unwrap();
        assert_eq!(level(image, name), 1);
        assert!(update(image, name, 2, UpgradeType::Downgrade).unwrap_err().contains("to a newer version"));
        let too_high = update(image, name, 3, UpgradeType::Upgrade).unwrap_err();
        assert_eq!(
            too_high,
            "Invalid update version 3 for feature transaction.version. Local controller 1 only supports versions 0-2"
        );
        update(image, name, 2, UpgradeType::Upgrade).unwrap();
        assert_eq!(level(image, name), 2);
        update(image, GROUP_VERSION, 0, UpgradeType::Downgrade).unwrap();
        assert_eq!(level(image, GROUP_VERSION), 0);
        assert!(update(image, METADATA, 24, UpgradeType::Downgrade).is_err());
        assert!(update(image, "no.such", 1, UpgradeType::Upgrade).is_err());
        assert!(update(image, GROUP_VERSION, -1, UpgradeType::Downgrade).is_err());
    }

    #[test]
    fn what_a_newer_release_has_set_is_taken_as_far_as_it_is_known() {
        let mut image = ClusterImage::default();
        for (name, level) in [("transaction.version", 9), (METADATA, 27), ("share.version", 1)] {
            image.apply(&to_record(name, level));
        }
        assert_eq!((level(&image, "transaction.version"), level(&image, METADATA)), (2, METADATA_LEVEL));
    }
}
