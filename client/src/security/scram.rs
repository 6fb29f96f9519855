//! SCRAM (RFC 5802, 7677): what a password becomes, and the client's side of an exchange.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ring::{digest, hmac, pbkdf2};

use super::secret::Secret;

/// More iterations than this no server has a reason to ask for; they would only keep the client busy.
const ITERATIONS_MAX: u32 = 1_000_000;

/// Which hash is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ScramMechanism {
    /// 1.
    Sha256,
    /// 2.
    Sha512,
}

impl ScramMechanism {
    /// All of them.
    pub const ALL: [ScramMechanism; 2] = [ScramMechanism::Sha256, ScramMechanism::Sha512];

    /// The one with this number.
    pub fn from_code(code: i8) -> Option<ScramMechanism> {
        ScramMechanism::ALL.into_iter().find(|mechanism| mechanism.code() == code)
    }

    /// The protocol's number.
    pub fn code(self) -> i8 {
        match self {
            ScramMechanism::Sha256 => 1,
            ScramMechanism::Sha512 => 2,
        }
    }

    /// The name under which SASL knows it.
    pub fn name(self) -> &'static str {
        match self {
            ScramMechanism::Sha256 => "SCRAM-SHA-256",
            ScramMechanism::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// RFC 5802's HMAC.
    pub fn hmac(self, key: &[u8], message: &[u8]) -> Bytes {
        let algorithm = match self {
            ScramMechanism::Sha256 => hmac::HMAC_SHA256,
            ScramMechanism::Sha512 => hmac::HMAC_SHA512,
        };
        Bytes::copy_from_slice(hmac::sign(&hmac::Key::new(algorithm, key), message).as_ref())
    }

    /// RFC 5802's H.
    pub fn hash(self, message: &[u8]) -> Bytes {
        let algorithm = match self {
            ScramMechanism::Sha256 => &digest::SHA256,
            ScramMechanism::Sha512 => &digest::SHA512,
        };
        Bytes::copy_from_slice(digest::digest(algorithm, message).as_ref())
    }
}

/// RFC 5802's SaltedPassword: what a client makes of its password.
#[derive(Clone)]
pub struct SaltedPassword(Bytes);

impl SaltedPassword {
    /// As it was sent or stored.
    pub fn new(bytes: Bytes) -> SaltedPassword {
        SaltedPassword(bytes)
    }

    /// Of a password. Takes milliseconds, which is its purpose.
    pub fn derive(mechanism: ScramMechanism, password: &str, salt: &[u8], iterations: u32) -> SaltedPassword {
        let (algorithm, length) = match mechanism {
            ScramMechanism::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, digest::SHA256_OUTPUT_LEN),
            ScramMechanism::Sha512 => (pbkdf2::PBKDF2_HMAC_SHA512, digest::SHA512_OUTPUT_LEN),
        };
        let iterations = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        let mut salted = vec![0; length];
        pbkdf2::derive(algorithm, iterations, salt, password.as_bytes(), &mut salted);
        SaltedPassword(salted.into())
    }

    /// To be sent when credentials are changed; whoever has it can log in.
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// RFC 5802's ClientKey.
    pub fn client_key(&self, mechanism: ScramMechanism) -> Bytes {
        mechanism.hmac(&self.0, b"Client Key")
    }

    /// RFC 5802's ServerKey.
    pub fn server_key(&self, mechanism: ScramMechanism) -> Bytes {
        mechanism.hmac(&self.0, b"Server Key")
    }
}

/// A client's exchange, before the server's first answer.
pub struct ScramClient {
    mechanism: ScramMechanism,
    password: Secret,
    nonce: String,
    first_bare: String,
}

impl ScramClient {
    /// Of a user. The nonce must be random, and have no comma.
    pub fn new(mechanism: ScramMechanism, user: &str, password: Secret, nonce: String) -> ScramClient {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={user},r={nonce}");
        ScramClient { mechanism, password, nonce, first_bare }
    }

    /// The first message.
    pub fn first(&self) -> Bytes {
        format!("n,,{}", self.first_bare).into()
    }

    /// The last message, and what the server must answer to show that it knows the user; `None` when its first answer is
    /// not one.
    pub fn last(self, answer: &[u8]) -> Option<(Bytes, Bytes)> {
        let answer = std::str::from_utf8(answer).ok()?;
        let mut attributes = answer.split(',');
        let nonce = attributes.next()?.strip_prefix("r=")?;
        let salt = STANDARD.decode(attributes.next()?.strip_prefix("s=")?).ok()?;
        let iterations: u32 = attributes.next()?.strip_prefix("i=")?.parse().ok()?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() || iterations > ITERATIONS_MAX {
            return None;
        }
        let mechanism = self.mechanism;
        let salted = SaltedPassword::derive(mechanism, self.password.expose(), &salt, iterations);
        let without_proof = format!("c=biws,r={nonce}");
        let transcript = format!("{},{answer},{without_proof}", self.first_bare);
        let key = salted.client_key(mechanism);
        let signature = mechanism.hmac(&mechanism.hash(&key), transcript.as_bytes());
        let proof: Vec<u8> = key.iter().zip(&signature).map(|(key, signature)| key ^ signature).collect();
        let last = format!("{without_proof},p={}", STANDARD.encode(proof));
        let expected = mechanism.hmac(&salted.server_key(mechanism), transcript.as_bytes());
        Some((last.into(), format!("v={}", STANDARD.encode(expected)).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677.
    #[test]
    fn the_exchange_of_the_rfc_is_the_one_we_have() {
        let client = ScramClient::new(
            ScramMechanism::Sha256,
            "user",
            Secret::new("pencil"),
            "rOprNGfwEbeRWgbNEkqO".to_owned(),
        );
        assert_eq!(client.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let answer =
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let (last, expected) = client.last(answer).unwrap();
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(expected, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn an_answer_that_is_none_or_asks_for_too_much_is_refused() {
        for answer in [
            "",
            "r=abc,s=AA==,i=4096",
            "r=other,s=AA==,i=4096",
            "r=abcd,s=?,i=4096",
            "r=abcd,s=AA==,i=9999999",
        ] {
            let client =
                ScramClient::new(ScramMechanism::Sha512, "user", Secret::new("pencil"), "abc".to_owned());
            assert!(client.last(answer.as_bytes()).is_none(), "{answer}");
        }
    }
}
