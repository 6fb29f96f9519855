//! Setting and removing users' SCRAM credentials (KIP-554): pure decisions.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::metadata_records::{
    RemoveUserScramCredentialRecord, UserScramCredentialRecord,
};

use super::image::ClusterImage;
use super::records::MetadataRecord;
use super::topics::{Refusal, refuse};
use crate::security::scram::{
    ITERATIONS_MAX, ITERATIONS_MIN, SaltedPassword, ScramCredential, ScramMechanism,
};

/// The credentials of each user.
pub type ScramCredentials = BTreeMap<String, BTreeMap<ScramMechanism, ScramCredential>>;

/// A change of one user's credentials.
pub struct AlterScram {
    /// Whose.
    pub user: String,
    /// The protocol's number of the mechanism.
    pub mechanism: i8,
    /// What is done.
    pub edit: ScramEdit,
}

/// What is done with a credential.
pub enum ScramEdit {
    /// It is taken away.
    Delete,
    /// It is this from now on.
    Set {
        /// Random.
        salt: Bytes,
        /// What the client made of the password.
        salted_password: SaltedPassword,
        /// With so many iterations.
        iterations: i32,
    },
}

/// Decides about a change.
pub(super) fn decide_alter(
    image: &ClusterImage,
    wanted: &AlterScram,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let unacceptable = |why: &str| refuse(ErrorCode::UnacceptableCredential, why);
    if wanted.user.is_empty() {
        return unacceptable("Username must not be empty");
    }
    let Some(mechanism) = ScramMechanism::from_code(wanted.mechanism) else {
        return refuse(ErrorCode::UnsupportedSaslMechanism, "Unknown SCRAM mechanism");
    };
    let has = image.scram_credential(&wanted.user, mechanism).is_some();
    let name = wanted.user.as_str().into();
    Ok(vec![match &wanted.edit {
        ScramEdit::Delete if !has => {
            let why = "Attempt to delete a user credential that does not exist";
            return refuse(ErrorCode::ResourceNotFound, why);
        }
        ScramEdit::Delete => MetadataRecord::RemoveUserScramCredential(RemoveUserScramCredentialRecord {
            name,
            mechanism: mechanism.code(),
        }),
        ScramEdit::Set { iterations, .. } if *iterations < ITERATIONS_MIN => {
            return unacceptable("Too few iterations");
        }
        ScramEdit::Set { iterations, .. } if *iterations > ITERATIONS_MAX => {
            return unacceptable("Too many iterations");
        }
        ScramEdit::Set { salt, salted_password, iterations } => {
            let credential = ScramCredential::new(mechanism, salted_password, salt.clone(), *iterations);
            to_record(&wanted.user, mechanism, credential)
        }
    }])
}

/// The record that gives a user a credential.
pub(super) fn to_record(
    user: &str,
    mechanism: ScramMechanism,
    credential: ScramCredential,
) -> MetadataRecord {
    MetadataRecord::UserScramCredential(UserScramCredentialRecord {
        name: user.into(),
        mechanism: mechanism.code(),
        salt: credential.salt,
        stored_key: credential.stored_key,
        server_key: credential.server_key,
        iterations: credential.iterations,
    })
}

/// Takes over what a record says.
pub(super) fn apply(credentials: &mut ScramCredentials, record: &UserScramCredentialRecord) {
    let Some(mechanism) = ScramMechanism::from_code(record.mechanism) else { return };
    let credential = ScramCredential {
        salt: Bytes::copy_from_slice(&record.salt),
        stored_key: Bytes::copy_from_slice(&record.stored_key),
        server_key: Bytes::copy_from_slice(&record.server_key),
        iterations: record.iterations,
    };
    credentials.entry(record.name.to_string()).or_default().insert(mechanism, credential);
}

/// Takes away what a record says.
pub(super) fn apply_removal(credentials: &mut ScramCredentials, record: &RemoveUserScramCredentialRecord) {
    let Some(mechanism) = ScramMechanism::from_code(record.mechanism) else { return };
    if let Some(of_user) = credentials.get_mut(&*record.name) {
        of_user.remove(&mechanism);
        if of_user.is_empty() {
            credentials.remove(&*record.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(user: &str, mechanism: i8, iterations: i32) -> AlterScram {
        let salt = Bytes::from_static(b"salt");
        let salted_password = SaltedPassword::new(Bytes::from_static(&[7; 32]));
        AlterScram {
            user: user.into(),
            mechanism,
            edit: ScramEdit::Set { salt, salted_password, iterations },
        }
    }

    #[test]
    fn a_credential_is_set_and_removed_once() {
        let mut image = ClusterImage::default();
        let records = decide_alter(&image, &set("alice", 1, 4096)).unwrap();
        records.iter().for_each(|record| image.apply(record));
        assert!(image.scram_credential("alice", ScramMechanism::Sha256).is_some());
        assert!(image.scram_credential("alice", ScramMechanism::Sha512).is_none());
        let delete = AlterScram { edit: ScramEdit::Delete, ..set("alice", 1, 0) };
        let records = decide_alter(&image, &delete).unwrap();
        records.iter().for_each(|record| image.apply(record));
        assert!(image.scram_credentials().is_empty());
        assert_eq!(decide_alter(&image, &delete).unwrap_err().code, ErrorCode::ResourceNotFound);
    }

    #[test]
    fn what_is_too_weak_or_unknown_is_refused() {
        let image = ClusterImage::default();
        for (wrong, code) in [
            (set("", 1, 4096), ErrorCode::UnacceptableCredential),
            (set("a", 1, 4095), ErrorCode::UnacceptableCredential),
            (set("a", 1, 16385), ErrorCode::UnacceptableCredential),
            (set("a", 3, 4096), ErrorCode::UnsupportedSaslMechanism),
        ] {
            assert_eq!(decide_alter(&image, &wrong).unwrap_err().code, code);
        }
    }
}
