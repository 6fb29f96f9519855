//! SASL: how a client shows who it is. The exchange on one connection is a machine, [`Authentication`].

mod authentication;
mod oauthbearer;
mod plain;

pub use authentication::{Answer, Authentication, Mechanism, Refused, Verifier};
pub use oauthbearer::{Token, TokenRules, TokenValidator};
pub use plain::PlainUsers;
