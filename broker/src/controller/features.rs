//! Levels of features (KIP-584): what the cluster has agreed to use of what this release can do. Pure.

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
    Feature { name: "transaction.version", level_min: 0, level_max: 2, level_default: 2 },
];
/// See [`FEATURES`].
pub const GROUP_VERSION: &str = "group.version";

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
    let (min, max) = (feature.level_min, feature.level_max);
    if !(min..=max).contains(level) {
        let range = if min == max { format!("{min}") } else { format!("{min}-{max}") };
        return invalid(format!("Local controller {node_id} only supports versions {range}"));
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
    use super::*;

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
