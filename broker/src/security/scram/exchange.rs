//! The server's side of a SCRAM exchange: two messages of the client, each answered.
//!
//! ```text
//!   client   n,,n=user,r=nonce                 ──▶
//!            ◀── r=nonce+ours,s=salt,i=iterations    server
//!   client   c=biws,r=nonce+ours,p=proof       ──▶
//!            ◀── v=signature                         server
//! ```

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ottla_client::security::ScramMechanism;

use super::credential::{ITERATIONS_MIN, ScramCredential};

/// The header of a client that binds no channel: none of ours can be bound.
const NO_BINDING: &str = "n,,";
/// [`NO_BINDING`] as the last message repeats it.
const NO_BINDING_REPEATED: &str = "biws";
/// A nonce longer than this only costs memory.
const NONCE_BYTES_MAX: usize = 256;

/// An exchange, from the client's first message on.
pub struct ScramExchange {
    mechanism: ScramMechanism,
    user: String,
    credential: ScramCredential,
    /// Whether the user has that credential; if not, the exchange goes on and fails at its end, so that nobody learns who
    /// has one.
    known: bool,
    nonce: String,
    /// The client's first message without its header, and our answer, which the proof covers.
    transcript: String,
}

impl ScramExchange {
    /// Takes the client's first message. `find` gives a user's credential; `secret` makes up a lasting salt for users that
    /// have none. Gives the exchange and the answer; `None` when the message is not one.
    pub fn begin(
        mechanism: ScramMechanism,
        message: &[u8],
        server_nonce: &str,
        secret: &[u8],
        find: impl FnOnce(&str) -> Option<ScramCredential>,
    ) -> Option<(ScramExchange, Bytes)> {
        let message = std::str::from_utf8(message).ok()?;
        // Nobody speaks for somebody else here, so there is no authorization identity either.
        let bare = message.strip_prefix(NO_BINDING)?;
        let mut attributes = bare.split(',');
        let user = saslname(attributes.next()?.strip_prefix("n=")?)?;
        let client_nonce = attributes.next()?.strip_prefix("r=")?;
        if !is_nonce(client_nonce) || user.is_empty() {
            return None;
        }
        let found = find(&user);
        let known = found.is_some();
        let credential = found.unwrap_or_else(|| {
            let salt = mechanism.hmac(secret, user.as_bytes()).slice(..16);
            ScramCredential {
                salt,
                stored_key: Bytes::new(),
                server_key: Bytes::new(),
                iterations: ITERATIONS_MIN,
            }
        });
        let nonce = format!("{client_nonce}{server_nonce}");
        let answer = format!("r={nonce},s={},i={}", STANDARD.encode(&credential.salt), credential.iterations);
        let transcript = format!("{bare},{answer}");
        let exchange = ScramExchange { mechanism, user, credential, known, nonce, transcript };
        Some((exchange, answer.into()))
    }

    /// Takes the client's last message. Gives the user and the answer when it proves that the client knows the password.
    pub fn finish(self, message: &[u8]) -> Option<(String, Bytes)> {
        let message = std::str::from_utf8(message).ok()?;
        let (without_proof, proof) = message.rsplit_once(",p=")?;
        let mut attributes = without_proof.split(',');
        if attributes.next()?.strip_prefix("c=")? != NO_BINDING_REPEATED
            || attributes.next()?.strip_prefix("r=")? != self.nonce
        {
            return None;
        }
        let proof = STANDARD.decode(proof).ok()?;
        let transcript = format!("{},{without_proof}", self.transcript);
        let signature = self.mechanism.hmac(&self.credential.stored_key, transcript.as_bytes());
        if proof.len() != signature.len() {
            return None;
        }
        let client_key: Vec<u8> =
            proof.iter().zip(&signature).map(|(proof, signature)| proof ^ signature).collect();
        let is_right = same(&self.mechanism.hash(&client_key), &self.credential.stored_key);
        if !is_right || !self.known {
            return None;
        }
        let verifier = self.mechanism.hmac(&self.credential.server_key, transcript.as_bytes());
        Some((self.user, format!("v={}", STANDARD.encode(verifier)).into()))
    }
}

/// Whether both are the same, in a time that does not tell where they differ.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).fold(0, |differ, (left, right)| differ | (left ^ right)) == 0
}

fn is_nonce(nonce: &str) -> bool {
    !nonce.is_empty()
        && nonce.len() <= NONCE_BYTES_MAX
        && nonce.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && byte != b',')
}

/// A name in which `=2C` stands for a comma and `=3D` for an equals sign.
fn saslname(text: &str) -> Option<String> {
    let mut parts = text.split('=');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (escape, rest) = part.split_at_checked(2)?;
        name.push(match escape {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        name.push_str(rest);
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use ottla_client::security::{ScramClient, Secret};

    use super::super::SaltedPassword;
    use super::*;

    fn credential(mechanism: ScramMechanism, password: &str) -> ScramCredential {
        let salt = Bytes::from_static(b"0123456789abcdef");
        let salted = SaltedPassword::derive(mechanism, password, &salt, 4096);
        ScramCredential::new(mechanism, &salted, salt, ITERATIONS_MIN)
    }

    fn begin(message: &str, password: Option<&str>) -> Option<(ScramExchange, Bytes)> {
        let mechanism = ScramMechanism::Sha256;
        ScramExchange::begin(mechanism, message.as_bytes(), "server", b"secret", |_| {
            password.map(|password| credential(mechanism, password))
        })
    }

    /// The last message of a client that has this password.
    fn client_final(mechanism: ScramMechanism, first_bare: &str, answer: &str, password: &str) -> Bytes {
        let (user, nonce) = first_bare.strip_prefix("n=").unwrap().split_once(",r=").unwrap();
        ScramClient::new(mechanism, user, Secret::new(password), nonce.to_owned())
            .last(answer.as_bytes())
            .unwrap()
            .0
    }

    /// The example of RFC 7677.
    #[test]
    fn the_exchange_of_the_rfc_is_the_one_we_have() {
        let mechanism = ScramMechanism::Sha256;
        let salt = Bytes::from(STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap());
        let salted = SaltedPassword::derive(mechanism, "pencil", &salt, 4096);
        let credential = ScramCredential::new(mechanism, &salted, salt, 4096);
        let first = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
        let nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let (exchange, answer) =
            ScramExchange::begin(mechanism, first, nonce, b"", |_| Some(credential)).unwrap();
        assert_eq!(
            answer,
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let last = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let (user, verifier) = exchange.finish(last).unwrap();
        assert_eq!(
            (user.as_str(), &verifier[..]),
            ("user", &b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="[..])
        );
    }

    #[test]
    fn a_wrong_password_an_unknown_user_and_a_replayed_message_fail_alike() {
        let first = "n=alice,r=abc";
        for (has, sent) in [(Some("right"), "wrong"), (None, "right")] {
            let (exchange, answer) = begin(&format!("n,,{first}"), has).unwrap();
            let answer = std::str::from_utf8(&answer).unwrap();
            let last = client_final(ScramMechanism::Sha256, first, answer, sent);
            assert_eq!(exchange.finish(&last), None);
        }
        let (exchange, answer) = begin(&format!("n,,{first}"), Some("right")).unwrap();
        let last =
            client_final(ScramMechanism::Sha256, first, std::str::from_utf8(&answer).unwrap(), "right");
        assert!(exchange.finish(&last).is_some());
        // The server's nonce of another exchange is another.
        let credential = credential(ScramMechanism::Sha256, "right");
        let first = format!("n,,{first}");
        let again = ScramExchange::begin(ScramMechanism::Sha256, first.as_bytes(), "other", b"", |_| {
            Some(credential)
        });
        assert_eq!(again.unwrap().0.finish(&last), None);
    }

    #[test]
    fn an_unknown_user_is_told_the_same_salt_every_time() {
        let answer = |user: &str| begin(&format!("n,,n={user},r=abc"), None).unwrap().1;
        assert_eq!(answer("nobody"), answer("nobody"));
        assert_ne!(answer("nobody"), answer("noone"));
    }

    #[test]
    fn names_have_their_commas_and_equals_signs_back() {
        assert_eq!(saslname("a=2Cb=3Dc").as_deref(), Some("a,b=c"));
        for wrong in ["a=", "a=2", "a=2D", "=ü"] {
            assert_eq!(saslname(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn first_messages_that_are_none_are_refused() {
        for wrong in [
            "",
            "n,,",
            "y,,n=a,r=b",
            "p=tls,,n=a,r=b",
            "n,,n=,r=b",
            "n,,n=a,r=",
            "n,,r=b,n=a",
            "n,a=x,n=a,r=b",
        ] {
            assert!(begin(wrong, Some("p")).is_none(), "{wrong}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn whoever_knows_the_password_gets_in(password in "\\PC{1,20}", sha512: bool) {
            let mechanism = if sha512 { ScramMechanism::Sha512 } else { ScramMechanism::Sha256 };
            let first = "n=alice,r=abc";
            let find = |_: &str| Some(credential(mechanism, &password));
            let message = format!("n,,{first}");
            let (exchange, answer) =
                ScramExchange::begin(mechanism, message.as_bytes(), "server", b"", find).unwrap();
            let last = client_final(mechanism, first, std::str::from_utf8(&answer).unwrap(), &password);
            prop_assert!(exchange.finish(&last).is_some());
        }

        #[test]
        fn random_messages_never_panic(first: Vec<u8>, last: Vec<u8>) {
            let find = |_: &str| None;
            let _ = ScramExchange::begin(ScramMechanism::Sha512, &first, "server", b"", find);
            prop_assert!(begin("n,,n=a,r=b", None).unwrap().0.finish(&last).is_none());
        }
    }
}
