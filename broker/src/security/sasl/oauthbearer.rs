//! SASL OAUTHBEARER (RFC 7628): a signed token (JWT) in one message. Which keys sign is read from a JWKS.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::{Jwk, JwkSet, KeyAlgorithm};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};

/// Separates the parts of a message.
const SEPARATOR: char = '\u{1}';

/// What a token must be to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRules {
    /// `sasl.oauthbearer.expected.audience`: one of them, when there are any.
    pub audiences: Vec<String>,
    /// `sasl.oauthbearer.expected.issuer`.
    pub issuer: Option<String>,
    /// `sasl.oauthbearer.clock.skew.seconds`.
    pub skew_seconds: u64,
    /// `sasl.oauthbearer.sub.claim.name`: the claim with the principal's name.
    pub principal_claim: String,
}

/// Checks tokens.
#[derive(Debug)]
pub struct TokenValidator {
    rules: TokenRules,
    keys: ArcSwap<JwkSet>,
}

/// Whose token it is and how long it lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The principal's name.
    pub name: String,
    /// Milliseconds since 1970.
    pub expires_at_ms: i64,
    /// Whom the client said that it speaks for, which must be whose token it is.
    pub authorization: Option<String>,
}

impl TokenValidator {
    /// A validator that believes nobody until it has keys.
    pub fn new(rules: TokenRules) -> Arc<TokenValidator> {
        Arc::new(TokenValidator { rules, keys: ArcSwap::from_pointee(JwkSet { keys: Vec::new() }) })
    }

    /// Takes the keys of a JWKS in the place of those it had.
    ///
    /// # Errors
    /// When it is none.
    pub fn set_keys(&self, jwks: &[u8]) -> Result<usize, serde_json::Error> {
        let keys: JwkSet = serde_json::from_slice(jwks)?;
        let count = keys.keys.len();
        self.keys.store(Arc::new(keys));
        Ok(count)
    }

    /// The token of a client's first message, when there is one that can be believed.
    pub fn check(&self, message: &[u8], now_ms: i64) -> Option<Token> {
        let (authorization, token) = bearer(message)?;
        let header = jsonwebtoken::decode_header(token).ok()?;
        let keys = self.keys.load();
        let candidates = keys.keys.iter().filter(|key| match &header.kid {
            Some(id) => key.common.key_id.as_ref() == Some(id),
            None => keys.keys.len() == 1,
        });
        let claims = candidates.filter_map(|key| self.claims(token, header.alg, key)).next()?;
        let authorization = authorization.map(str::to_owned);
        Some(Token { authorization, ..self.token(&claims, now_ms)? })
    }

    fn claims(&self, token: &str, algorithm: Algorithm, key: &Jwk) -> Option<Map<String, Value>> {
        // A key that everybody has would verify what everybody can sign.
        if matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) {
            return None;
        }
        if key.common.key_algorithm.is_some_and(|of_key| !agrees(of_key, algorithm)) {
            return None;
        }
        let mut validation = Validation::new(algorithm);
        // Times are checked below, against the clock that was given.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.required_spec_claims.clear();
        validation.validate_aud = !self.rules.audiences.is_empty();
        if validation.validate_aud {
            validation.set_audience(&self.rules.audiences);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        if let Some(issuer) = &self.rules.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        let key = DecodingKey::from_jwk(key).ok()?;
        jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation).ok().map(|token| token.claims)
    }

    fn token(&self, claims: &Map<String, Value>, now_ms: i64) -> Option<Token> {
        let millis = |claim: &str| {
            claims.get(claim).map(|value| value.as_f64().map(|seconds| (seconds * 1000.0) as i64))
        };
        let skew_ms = i64::try_from(self.rules.skew_seconds.saturating_mul(1000)).unwrap_or(i64::MAX);
        let expires_at_ms = millis("exp")??;
        if expires_at_ms.saturating_add(skew_ms) <= now_ms {
            return None;
        }
        // A claim that is no number is worse than none.
        for claim in ["nbf", "iat"] {
            if let Some(from_ms) = millis(claim)
                && from_ms?.saturating_sub(skew_ms) > now_ms
            {
                return None;
            }
        }
        let name = claims.get(&self.rules.principal_claim)?.as_str()?.trim();
        (!name.is_empty()).then(|| Token { name: name.to_owned(), expires_at_ms, authorization: None })
    }
}

fn agrees(of_key: KeyAlgorithm, algorithm: Algorithm) -> bool {
    format!("{of_key:?}") == format!("{algorithm:?}")
}

/// Whom it is for, if that is said, and the token, in `n,a=NAME,\x01auth=Bearer TOKEN\x01\x01`.
fn bearer(message: &[u8]) -> Option<(Option<&str>, &str)> {
    let message = std::str::from_utf8(message).ok()?;
    let mut parts = message.strip_suffix("\u{1}\u{1}")?.split(SEPARATOR);
    let header = parts.next()?;
    let authorization = match header.strip_prefix("n,")?.strip_suffix(',')? {
        "" => None,
        name => Some(name.strip_prefix("a=")?).filter(|name| !name.is_empty()),
    };
    let value = parts.find_map(|part| part.strip_prefix("auth="))?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| (authorization, token.trim()))
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header};
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    use serde_json::json;

    use super::*;

    const NOW_MS: i64 = 1_700_000_000_000;

    struct Issuer {
        key: EncodingKey,
        jwks: String,
    }

    impl Issuer {
        fn new(id: &str) -> Issuer {
            let random = SystemRandom::new();
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
            let pair =
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
            let point = pair.public_key().as_ref();
            let text =
                |bytes| base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, bytes);
            let (x, y) = (text(&point[1..33]), text(&point[33..65]));
            let jwk =
                json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": id, "alg": "ES256", "use": "sig"});
            Issuer {
                key: EncodingKey::from_ec_der(pkcs8.as_ref()),
                jwks: json!({ "keys": [jwk] }).to_string(),
            }
        }

        fn message(&self, id: Option<&str>, claims: Value) -> Vec<u8> {
            let header = Header { kid: id.map(str::to_owned), ..Header::new(Algorithm::ES256) };
            let token = jsonwebtoken::encode(&header, &claims, &self.key).unwrap();
            format!("n,,\u{1}auth=Bearer {token}\u{1}\u{1}").into_bytes()
        }
    }

    fn validator(issuer: &Issuer) -> Arc<TokenValidator> {
        let validator = TokenValidator::new(TokenRules {
            audiences: vec!["ottla".into()],
            issuer: Some("https://issuer".into()),
            skew_seconds: 30,
            principal_claim: "sub".into(),
        });
        validator.set_keys(issuer.jwks.as_bytes()).unwrap();
        validator
    }

    fn claims() -> Value {
        json!({"sub": "alice", "iss": "https://issuer", "aud": "ottla", "exp": NOW_MS / 1000 + 60, "iat": NOW_MS / 1000})
    }

    #[test]
    fn a_token_tells_who_somebody_is_and_for_how_long() {
        let issuer = Issuer::new("k1");
        let expected = Token { name: "alice".into(), expires_at_ms: NOW_MS + 60_000, authorization: None };
        for id in [Some("k1"), None] {
            let message = issuer.message(id, claims());
            assert_eq!(validator(&issuer).check(&message, NOW_MS), Some(expected.clone()), "{id:?}");
        }
    }

    #[test]
    fn a_token_of_somebody_else_for_somebody_else_or_of_another_time_is_not_believed() {
        let (issuer, other) = (Issuer::new("k1"), Issuer::new("k1"));
        let validator = validator(&issuer);
        assert_eq!(validator.check(&other.message(Some("k1"), claims()), NOW_MS), None, "another key");
        assert_eq!(validator.check(&issuer.message(Some("k2"), claims()), NOW_MS), None, "an unknown key");
        for (claim, value) in [
            ("iss", json!("https://other")),
            ("aud", json!("other")),
            ("exp", json!(NOW_MS / 1000 - 31)),
            ("exp", Value::Null),
            ("exp", json!("tomorrow")),
            ("nbf", json!(NOW_MS / 1000 + 31)),
            ("iat", json!(NOW_MS / 1000 + 31)),
            ("iat", json!("now")),
            ("sub", json!(" ")),
            ("sub", json!(7)),
            ("sub", Value::Null),
            ("iss", Value::Null),
            ("aud", Value::Null),
        ] {
            let mut claims = claims();
            match value.is_null() {
                true => claims.as_object_mut().unwrap().remove(claim),
                false => claims.as_object_mut().unwrap().insert(claim.to_owned(), value.clone()),
            };
            let message = issuer.message(Some("k1"), claims);
            assert_eq!(validator.check(&message, NOW_MS), None, "{claim} {value}");
        }
    }

    #[test]
    fn a_token_that_nobody_or_everybody_could_sign_is_not_believed() {
        let issuer = Issuer::new("k1");
        let text = |value: Value| {
            base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, value.to_string())
        };
        let unsigned = format!("{}.{}.", text(json!({"alg": "none"})), text(claims()));
        let header = Header { kid: Some("k1".into()), ..Header::new(Algorithm::HS256) };
        let shared = EncodingKey::from_secret(issuer.jwks.as_bytes());
        let symmetric = jsonwebtoken::encode(&header, &claims(), &shared).unwrap();
        for token in [unsigned, symmetric, String::new(), "a.b.c".into()] {
            let message = format!("n,,\u{1}auth=Bearer {token}\u{1}\u{1}");
            assert_eq!(validator(&issuer).check(message.as_bytes(), NOW_MS), None, "{token}");
        }
        assert_eq!(validator(&issuer).check(b"n,,", NOW_MS), None);
        assert_eq!(
            TokenValidator::new(validator(&issuer).rules.clone())
                .check(&issuer.message(None, claims()), NOW_MS),
            None
        );
    }
}
