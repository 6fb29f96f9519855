//! What is read of a client before anybody knows who it is: messages of SASL exchanges and certificates, and the settings
//! that decide about them.

use bytes::Bytes;
use ottla_broker::security::sasl::{PlainUsers, TokenRules, TokenValidator};
use ottla_broker::security::scram::{SaltedPassword, ScramCredential, ScramExchange, ScramMechanism};
use ottla_broker::security::tls::{PrincipalMapping, subject};
use ottla_client::security::{Jaas, ScramClient, Secret};
use rustls::pki_types::CertificateDer;

/// The first byte says what the others are; a zero byte parts the messages of an exchange.
pub fn strangers(bytes: &[u8]) {
    let [kind, message @ ..] = bytes else { return };
    let (first, last) = message.split_at(message.iter().position(|byte| *byte == 0).unwrap_or(message.len()));
    match kind % 6 {
        0 => {
            let mechanism = ScramMechanism::Sha256;
            let find = |user: &str| {
                let salted = SaltedPassword::new(Bytes::copy_from_slice(user.as_bytes()));
                Some(ScramCredential::new(mechanism, &salted, Bytes::from_static(b"salt"), 4096))
            };
            if let Some((exchange, _)) = ScramExchange::begin(mechanism, first, "server", b"secret", find) {
                assert!(exchange.finish(last).is_none(), "nobody guesses a proof");
            }
        }
        1 => {
            let client = ScramClient::new(ScramMechanism::Sha512, "user", Secret::new("password"), "n".to_owned());
            // Many iterations take their time, which is bounded but not short.
            if !message.windows(3).any(|digits| digits.iter().all(u8::is_ascii_digit)) {
                let _ = client.last(message);
            }
        }
        2 => {
            let users = PlainUsers::new([("a", "b")]);
            assert_eq!(users.check(message).is_some(), [&b"\0a\0b"[..], b"a\0a\0b"].contains(&message));
        }
        3 => {
            let rules = TokenRules {
                audiences: Vec::new(),
                issuer: None,
                skew_seconds: 0,
                principal_claim: "sub".to_owned(),
            };
            let validator = TokenValidator::new(rules);
            let _ = validator.set_keys(last);
            let _ = validator.check(first, 0);
        }
        4 => {
            let _ = subject(&CertificateDer::from(message));
        }
        _ => {
            let Ok(text) = std::str::from_utf8(message) else { return };
            let _ = Jaas::parse(text);
            if let Ok(mapping) = PrincipalMapping::parse(text) {
                let _ = mapping.name("CN=a,O=b");
            }
        }
    }
}
