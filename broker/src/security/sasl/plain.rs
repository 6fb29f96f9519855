//! SASL PLAIN (RFC 4616): name and password in one message. Only as secret as the connection.

use std::collections::HashMap;
use std::fmt;

use ring::digest;

/// Who may log in with which password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PlainUsers {
    /// Names, with hashes of their passwords: what is compared has the same length for everybody.
    hashes: HashMap<String, Vec<u8>>,
}

impl PlainUsers {
    /// From names and passwords.
    pub fn new<'a>(users: impl IntoIterator<Item = (&'a str, &'a str)>) -> PlainUsers {
        let hashes = users.into_iter().map(|(name, password)| (name.to_owned(), hash(password)));
        PlainUsers { hashes: hashes.collect() }
    }

    /// The user whose name and password the message has.
    pub fn check(&self, message: &[u8]) -> Option<String> {
        let message = std::str::from_utf8(message).ok()?;
        let [authorization, name, password] = message.split('\0').collect::<Vec<_>>()[..] else {
            return None;
        };
        if name.is_empty() || password.is_empty() || !(authorization.is_empty() || authorization == name) {
            return None;
        }
        let sent = hash(password);
        let known = self.hashes.get(name)?;
        let differ = known.iter().zip(&sent).fold(0, |differ, (known, sent)| differ | (known ^ sent));
        (differ == 0).then(|| name.to_owned())
    }
}

fn hash(password: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, password.as_bytes()).as_ref().to_vec()
}

/// Hashes stay out of logs.
impl fmt::Debug for PlainUsers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlainUsers").field("users", &self.hashes.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_who_knows_the_password() {
        let users = PlainUsers::new([("alice", "secret"), ("bob", "other")]);
        for (message, expected) in [
            ("\0alice\0secret", Some("alice")),
            ("alice\0alice\0secret", Some("alice")),
            ("bob\0alice\0secret", None),
            ("\0alice\0other", None),
            ("\0eve\0secret", None),
            ("\0alice\0", None),
            ("\0alice\0secret\0", None),
            ("alice", None),
        ] {
            assert_eq!(users.check(message.as_bytes()).as_deref(), expected, "{message:?}");
        }
        assert_eq!(users.check(b"\0\xff\0secret"), None);
        assert!(!format!("{users:?}").contains("alice"));
    }
}
