//! What a registry answers when it does not do what it is asked: a fact each, with Confluent's code for it.

use super::compatibility::CompatibilityLevel;

/// Why a request was not met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    #[error("Subject '{0}' not found.")]
    SubjectNotFound(String),
    #[error("Version {0} not found.")]
    VersionNotFound(String),
    #[error("Schema not found")]
    SchemaNotFound,
    #[error("Schema {0} not found")]
    SchemaIdNotFound(i32),
    #[error("Subject '{0}' was soft deleted.Set permanent=true to delete permanently")]
    SubjectSoftDeleted(String),
    #[error("Subject '{0}' was not deleted first before being permanently deleted")]
    SubjectNotSoftDeleted(String),
    #[error("Subject '{0}' Version {1} was soft deleted.Set permanent=true to delete permanently")]
    VersionSoftDeleted(String, i32),
    #[error("Subject '{0}' Version {1} was not deleted first before being permanently deleted")]
    VersionNotSoftDeleted(String, i32),
    #[error("Subject '{0}' does not have subject-level compatibility configured")]
    NoSubjectConfig(String),
    #[error("Subject '{0}' does not have subject-level mode configured")]
    NoSubjectMode(String),
    #[error(
        "Schema being registered is incompatible with an earlier schema for subject \"{subject}\", details: [{}]",
        details.join(", ")
    )]
    Incompatible { subject: String, level: CompatibilityLevel, details: Vec<String> },
    #[error("Invalid schema: {0}")]
    InvalidSchema(String),
    #[error(
        "The specified version '{0}' is not a valid version id. Allowed values are between [1, 2^31-1] and the string \"latest\""
    )]
    InvalidVersion(String),
    #[error(
        "Invalid compatibility level '{0}'. Valid values are none, backward, forward, full, backward_transitive, forward_transitive, and full_transitive"
    )]
    InvalidLevel(String),
    #[error("Invalid mode '{0}'. Valid values are READWRITE, READONLY, READONLY_OVERRIDE, and IMPORT.")]
    InvalidMode(String),
    #[error("{0}")]
    NotPermitted(String),
    #[error(
        "One or more references exist to the schema {{magic=1,keytype=SCHEMA,subject={subject},version={version}}}."
    )]
    ReferenceExists { subject: String, version: i32 },
    #[error("Overwrite new schema with id {0} is not permitted.")]
    IdDoesNotMatch(i32),
    #[error("The specified subject '{0}' is not a valid subject: {1}")]
    InvalidSubject(String, String),
    #[error("{0}")]
    BadRequest(String),
    #[error("HTTP 404 Not Found")]
    NoSuchPath,
    #[error("HTTP 405 Method Not Allowed")]
    NoSuchMethod,
    #[error(
        "HTTP 415 Unsupported Media Type: expected application/vnd.schemaregistry.v1+json or application/json"
    )]
    UnsupportedMediaType,
    #[error("Error in the backend data store: {0}")]
    Store(String),
    #[error("The registry has not read its topic yet, or it cannot: {0}")]
    NotReady(String),
}

impl RegistryError {
    /// Confluent's code. The HTTP status is its first three digits.
    #[must_use]
    pub fn code(&self) -> u32 {
        match self {
            Self::SubjectNotFound(_) => 40401,
            Self::VersionNotFound(_) => 40402,
            Self::SchemaNotFound | Self::SchemaIdNotFound(_) => 40403,
            Self::SubjectSoftDeleted(_) => 40404,
            Self::SubjectNotSoftDeleted(_) => 40405,
            Self::VersionSoftDeleted(..) => 40406,
            Self::VersionNotSoftDeleted(..) => 40407,
            Self::NoSubjectConfig(_) => 40408,
            Self::NoSubjectMode(_) => 40409,
            Self::Incompatible { .. } => 409,
            Self::InvalidSchema(_) => 42201,
            Self::InvalidVersion(_) => 42202,
            Self::InvalidLevel(_) => 42203,
            Self::InvalidMode(_) => 42204,
            Self::NotPermitted(_) => 42205,
            Self::ReferenceExists { .. } => 42206,
            Self::IdDoesNotMatch(_) => 42207,
            Self::InvalidSubject(..) => 42208,
            Self::BadRequest(_) => 400,
            Self::NoSuchPath => 404,
            Self::NoSuchMethod => 405,
            Self::UnsupportedMediaType => 415,
            Self::Store(_) => 50001,
            Self::NotReady(_) => 50302,
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        let code = self.code();
        let status = if code >= 1000 { code / 100 } else { code };
        u16::try_from(status).unwrap_or(500)
    }
}
