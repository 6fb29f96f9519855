//! Quotas of users, client ids and addresses (KIP-546): pure decisions.

use std::collections::BTreeMap;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::metadata_records::ClientQuotaRecord;
use ottla_protocol::messages::metadata_records::EntityData;

use super::image::ClusterImage;
use super::records::MetadataRecord;
use super::topics::{Refusal, refuse};

/// What a quota limits, by Kafka's names, with whether only whole numbers will do.
const OF_CLIENTS: &[(&str, bool)] = &[
    ("producer_byte_rate", true),
    ("consumer_byte_rate", true),
    ("request_percentage", false),
    ("controller_mutation_rate", false),
];
const OF_ADDRESSES: &[(&str, bool)] = &[("connection_creation_rate", true)];

/// A name, or the default for all that have none of their own.
pub type EntityName = Option<String>;

/// For whom a quota is.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct QuotaEntity {
    /// `user`, when it is part of it.
    pub user: Option<EntityName>,
    /// `client-id`, when it is part of it.
    pub client_id: Option<EntityName>,
    /// `ip`, when it is it.
    pub ip: Option<EntityName>,
}

impl QuotaEntity {
    /// From the types and names of a request or record.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new<'a>(parts: impl Iterator<Item = (&'a str, Option<&'a str>)>) -> Result<QuotaEntity, String> {
        let mut entity = QuotaEntity::default();
        for (entity_type, name) in parts {
            let part = match entity_type {
                "user" => &mut entity.user,
                "client-id" => &mut entity.client_id,
                "ip" => &mut entity.ip,
                other => return Err(format!("Unhandled client quota entity type: {other}")),
            };
            if name == Some("") {
                return Err(format!("Empty {entity_type} not supported"));
            }
            if part.replace(name.map(str::to_owned)).is_some() {
                return Err(format!("Entity type {entity_type} is named twice"));
            }
        }
        match (&entity.user, &entity.client_id, &entity.ip) {
            (None, None, None) => Err("Invalid empty client quota entity".to_owned()),
            (None, None, Some(_)) | (_, _, None) => Ok(entity),
            _ => Err("Invalid quota entity combination: an ip stands alone".to_owned()),
        }
    }

    /// Types and names.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, &EntityName)> {
        let parts = [("user", &self.user), ("client-id", &self.client_id), ("ip", &self.ip)];
        parts.into_iter().filter_map(|(entity_type, name)| Some((entity_type, name.as_ref()?)))
    }
}

/// The quotas that were set, by Kafka's names.
pub type ClientQuotas = BTreeMap<QuotaEntity, BTreeMap<String, f64>>;

/// A change of one entity's quotas.
#[derive(Debug, Clone, PartialEq)]
pub struct AlterQuotas {
    /// For whom.
    pub entity: QuotaEntity,
    /// Name by name; no value takes it away.
    pub edits: Vec<(String, Option<f64>)>,
}

/// Decides about a change.
pub(super) fn decide_alter(
    image: &ClusterImage,
    wanted: &AlterQuotas,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let invalid = |why: String| refuse(ErrorCode::InvalidRequest, why);
    let known = if wanted.entity.ip.is_some() { OF_ADDRESSES } else { OF_CLIENTS };
    let before = image.client_quotas().get(&wanted.entity);
    let mut records = Vec::new();
    for (place, (key, value)) in wanted.edits.iter().enumerate() {
        let Some((_, whole)) = known.iter().find(|(name, _)| name == key) else {
            return invalid(format!("Invalid configuration key {key}"));
        };
        if wanted.edits[..place].iter().any(|(earlier, _)| earlier == key) {
            return invalid(format!("Quota {key} is changed twice"));
        }
        match value {
            Some(value) if !value.is_finite() || *value <= 0.0 => {
                return invalid(format!("Quota {key} must be greater than 0"));
            }
            Some(value) if *whole && (value.fract() != 0.0 || *value > i64::MAX as f64) => {
                return invalid(format!("{key} must be a whole number"));
            }
            _ => {}
        }
        if before.and_then(|quotas| quotas.get(key)) == value.as_ref() {
            continue;
        }
        records.push(to_record(&wanted.entity, key, *value));
    }
    Ok(records)
}

/// The record that sets a quota, or without a value takes it away.
pub(super) fn to_record(entity: &QuotaEntity, key: &str, value: Option<f64>) -> MetadataRecord {
    let part = |(entity_type, name): (&str, &EntityName)| EntityData {
        entity_type: entity_type.into(),
        entity_name: name.as_deref().map(Into::into),
    };
    MetadataRecord::ClientQuota(ClientQuotaRecord {
        entity: entity.parts().map(part).collect(),
        key: key.into(),
        value: value.unwrap_or_default(),
        remove: value.is_none(),
    })
}

/// Takes over what a record says.
pub(super) fn apply(quotas: &mut ClientQuotas, record: &ClientQuotaRecord) {
    let parts = record.entity.iter().map(|part| (&*part.entity_type, part.entity_name.as_deref()));
    // Entities of other kinds mean nothing here.
    let Ok(entity) = QuotaEntity::new(parts) else { return };
    if !record.remove {
        quotas.entry(entity).or_default().insert(record.key.to_string(), record.value);
    } else if let Some(of_entity) = quotas.get_mut(&entity) {
        of_entity.remove(&*record.key);
        if of_entity.is_empty() {
            quotas.remove(&entity);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(parts: &[(&str, Option<&str>)]) -> Result<QuotaEntity, String> {
        QuotaEntity::new(parts.iter().copied())
    }

    #[test]
    fn quotas_are_set_changed_and_taken_away() {
        let mut image = ClusterImage::default();
        let alice = entity(&[("user", Some("alice")), ("client-id", None)]).unwrap();
        let key = "producer_byte_rate".to_owned();
        for (value, expected) in [(Some(10.0), 1), (Some(10.0), 0), (Some(20.0), 1), (None, 1), (None, 0)] {
            let wanted = AlterQuotas { entity: alice.clone(), edits: vec![(key.clone(), value)] };
            let records = decide_alter(&image, &wanted).unwrap();
            assert_eq!(records.len(), expected, "{value:?}");
            records.iter().for_each(|record| image.apply(record));
            assert_eq!(image.client_quotas().get(&alice).and_then(|quotas| quotas.get(&key)).copied(), value);
        }
        assert!(image.client_quotas().is_empty());
    }

    #[test]
    fn entities_and_values_that_mean_nothing_are_refused() {
        assert!(entity(&[]).is_err());
        assert!(entity(&[("team", Some("a"))]).is_err());
        assert!(entity(&[("user", Some(""))]).is_err());
        assert!(entity(&[("user", None), ("user", None)]).is_err());
        assert!(entity(&[("user", None), ("ip", None)]).is_err());
        let (user, ip) = (entity(&[("user", None)]).unwrap(), entity(&[("ip", None)]).unwrap());
        for (entity, key, value) in [
            (&user, "consumer_byte_rate", 0.0),
            (&user, "consumer_byte_rate", 1.5),
            (&user, "request_percentage", f64::NAN),
            (&user, "connection_creation_rate", 1.0),
            (&ip, "consumer_byte_rate", 1.0),
        ] {
            let wanted = AlterQuotas { entity: entity.clone(), edits: vec![(key.to_owned(), Some(value))] };
            assert!(decide_alter(&ClusterImage::default(), &wanted).is_err(), "{key} {value}");
        }
    }
}
