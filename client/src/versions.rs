//! Which versions a broker serves, and the choice of one for a request. Pure.

use std::collections::BTreeMap;

use ottla_protocol::Request;
use ottla_protocol::messages::ApiVersionsResponse;

use crate::error::ClientError;

/// The version ranges of one broker, by API key, and the features of its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BrokerVersions {
    ranges: BTreeMap<i16, (i16, i16)>,
    /// The level that is in effect, by name (KIP-584).
    features: BTreeMap<String, i16>,
}

impl BrokerVersions {
    /// Before the broker was asked.
    pub(crate) fn unknown() -> BrokerVersions {
        BrokerVersions { ranges: BTreeMap::new(), features: BTreeMap::new() }
    }

    pub(crate) fn from_response(response: &ApiVersionsResponse) -> BrokerVersions {
        let ranges =
            response.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect();
        let features = response.finalized_features.iter();
        let features =
            features.map(|feature| (feature.name.to_string(), feature.max_version_level)).collect();
        BrokerVersions { ranges, features }
    }

    /// The level of a feature; 0 where the broker tells of none.
    pub(crate) fn feature(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or(0)
    }

    /// The newest version of `R` that both sides speak, at most `cap`.
    pub(crate) fn choose<R: Request>(&self, cap: i16, address: &str) -> Result<i16, ClientError> {
        let (client_min, client_max) = R::VERSIONS;
        let client_max = client_max.min(cap);
        let Some(&(broker_min, broker_max)) = self.ranges.get(&R::API_KEY.code()) else {
            return Err(ClientError::UnsupportedApi { address: address.to_owned(), api: R::API_KEY });
        };
        let version = client_max.min(broker_max);
        if version >= client_min && version >= broker_min {
            return Ok(version);
        }
        Err(ClientError::UnsupportedVersion {
            address: address.to_owned(),
            api: R::API_KEY,
            broker_min,
            broker_max,
            client_min,
            client_max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ottla_protocol::ApiKey;
    use ottla_protocol::messages::{FetchRequest, MetadataRequest};

    fn fetch(min: i16, max: i16) -> BrokerVersions {
        BrokerVersions {
            ranges: BTreeMap::from([(ApiKey::Fetch.code(), (min, max))]),
            ..BrokerVersions::unknown()
        }
    }

    #[test]
    fn the_newest_common_version_is_chosen_below_the_cap() {
        assert_eq!(fetch(4, 12).choose::<FetchRequest>(i16::MAX, "b").unwrap(), 12);
        assert_eq!(fetch(4, 99).choose::<FetchRequest>(16, "b").unwrap(), 16);
        assert_eq!(fetch(0, 4).choose::<FetchRequest>(16, "b").unwrap(), 4);
    }

    #[test]
    fn ranges_that_do_not_meet_are_an_error_that_names_both() {
        let error = fetch(0, 3).choose::<FetchRequest>(16, "b:1").unwrap_err();
        assert_eq!(error.to_string(), "b:1 serves Fetch in versions 0 to 3, this client speaks 4 to 16");
        assert!(fetch(17, 18).choose::<FetchRequest>(16, "b").is_err());
        let error = fetch(4, 5).choose::<MetadataRequest>(i16::MAX, "b:1").unwrap_err();
        assert_eq!(error.to_string(), "b:1 does not serve Metadata");
    }
}
