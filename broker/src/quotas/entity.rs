//! Which quota counts for a client, and together with whom.

use crate::controller::{ClientQuotas, QuotaEntity};

/// Who is counted together: a user and client id, all clients of a user, all users of a client id, or an address. What is
/// not part of it is empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Counted {
    user: String,
    client_id: String,
    ip: String,
}

/// The quota of that name for a user and client id, the most particular one that was set: for both, for the user, for the
/// client id, with names before defaults, in Kafka's order.
pub fn limit_of(
    quotas: &ClientQuotas,
    name: &str,
    (user, client_id): (&str, &str),
) -> Option<(Counted, f64)> {
    if quotas.is_empty() {
        return None;
    }
    let named = |text: &str| Some(Some(text.to_owned()));
    let default = || Some(None);
    let candidates = [
        (named(user), named(client_id)),
        (named(user), default()),
        (named(user), None),
        (default(), named(client_id)),
        (default(), default()),
        (default(), None),
        (None, named(client_id)),
        (None, default()),
    ];
    candidates.into_iter().find_map(|(of_user, of_client)| {
        let counted = Counted {
            user: of_user.as_ref().map_or(String::new(), |_| user.to_owned()),
            client_id: of_client.as_ref().map_or(String::new(), |_| client_id.to_owned()),
            ip: String::new(),
        };
        let entity = QuotaEntity { user: of_user, client_id: of_client, ip: None };
        Some((counted, limit(quotas, &entity, name)?))
    })
}

/// The quota of that name for an address, or for all that have none of their own.
pub(super) fn limit_of_address(quotas: &ClientQuotas, name: &str, address: &str) -> Option<(Counted, f64)> {
    let counted = Counted { user: String::new(), client_id: String::new(), ip: address.to_owned() };
    let entities = [Some(Some(address.to_owned())), Some(None)];
    let limits = entities.into_iter().map(|ip| QuotaEntity { ip, ..QuotaEntity::default() });
    limits.filter_map(|entity| limit(quotas, &entity, name)).next().map(|limit| (counted, limit))
}

fn limit(quotas: &ClientQuotas, entity: &QuotaEntity, name: &str) -> Option<f64> {
    // A damaged record must not stop a client for ever.
    quotas.get(entity)?.get(name).copied().filter(|limit| *limit > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_particular_quota_counts() {
        let name = "producer_byte_rate";
        let mut quotas = ClientQuotas::new();
        let mut set = |user: Option<Option<&str>>, client_id: Option<Option<&str>>, limit: f64| {
            let owned = |part: Option<Option<&str>>| part.map(|name| name.map(str::to_owned));
            let entity = QuotaEntity { user: owned(user), client_id: owned(client_id), ip: None };
            quotas.insert(entity, [(name.to_owned(), limit)].into());
            limit_of(&quotas, name, ("u", "c"))
                .map(|(counted, limit)| (counted.user, counted.client_id, limit))
        };
        let (named_user, named_client, default) = (Some(Some("u")), Some(Some("c")), Some(None));
        let found = |user: &str, client: &str, limit| Some((user.to_owned(), client.to_owned(), limit));
        assert_eq!(set(Some(Some("other")), None, 1.0), None);
        assert_eq!(set(None, default, 2.0), found("", "c", 2.0));
        assert_eq!(set(None, named_client, 3.0), found("", "c", 3.0));
        assert_eq!(set(default, None, 4.0), found("u", "", 4.0));
        assert_eq!(set(default, default, 5.0), found("u", "c", 5.0));
        assert_eq!(set(default, named_client, 6.0), found("u", "c", 6.0));
        assert_eq!(set(named_user, None, 7.0), found("u", "", 7.0));
        assert_eq!(set(named_user, default, 8.0), found("u", "c", 8.0));
        assert_eq!(set(named_user, named_client, 9.0), found("u", "c", 9.0));
        assert_eq!(set(named_user, named_client, f64::NAN), found("u", "c", 8.0));
    }
}
