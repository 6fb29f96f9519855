//! What a change of subjects comes to: the records to be written and the answer, or why not (pure).
//!
//! `decide` changes nothing. The records are written to the topic, come back from there and are applied; then the answer
//! is given.

use super::compatibility::{CompatibilityLevel, incompatibilities};
use super::error::RegistryError;
use super::parsed::{minified, normalized};
use super::records::{Mode, Reference, SchemaRecord, SchemaValue};
use super::subjects::{StoredSchema, Subjects, VersionName, Which};

/// Longest name of a subject, in bytes.
const SUBJECT_BYTES_MAX: usize = 1024;

/// A schema as somebody sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaRequest {
    pub schema: StoredSchema,
    /// In the mode IMPORT.
    pub id: Option<i32>,
    /// In the mode IMPORT.
    pub version: Option<i32>,
    /// Names and order are brought into one form before it is compared and kept.
    pub normalize: bool,
}

/// Something that is asked to be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Register { subject: String, request: SchemaRequest },
    DeleteSubject { subject: String, is_permanent: bool },
    DeleteVersion { subject: String, version: VersionName, is_permanent: bool },
    SetLevel { subject: Option<String>, level: CompatibilityLevel },
    ClearLevel { subject: Option<String> },
    SetMode { subject: Option<String>, mode: Mode, is_forced: bool },
    ClearMode { subject: String },
}

/// The answer to a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Registered { id: i32, version: i32 },
    Versions(Vec<i32>),
    Version(i32),
    Level(CompatibilityLevel),
    Mode(Mode),
}

type Decision = Result<(Vec<SchemaRecord>, Reply), RegistryError>;

impl Subjects {
    /// The records and the answer.
    ///
    /// # Errors
    /// Why the change is not made.
    pub fn decide(&self, change: &Change) -> Decision {
        match change {
            Change::Register { subject, request } => self.register(subject, request),
            Change::DeleteSubject { subject, is_permanent } => self.delete_subject(subject, *is_permanent),
            Change::DeleteVersion { subject, version, is_permanent } => {
                self.delete_version(subject, *version, *is_permanent)
            }
            Change::SetLevel { subject, level } => {
                self.check_writable(subject.as_deref())?;
                let record = SchemaRecord::Config { subject: subject.clone(), level: Some(*level) };
                Ok((vec![record], Reply::Level(*level)))
            }
            Change::ClearLevel { subject } => {
                self.check_writable(subject.as_deref())?;
                let before = match (self.own_level(subject.as_deref()), subject) {
                    (Some(level), _) => level,
                    (None, Some(subject)) => return Err(RegistryError::NoSubjectConfig(subject.clone())),
                    (None, None) => CompatibilityLevel::DEFAULT,
                };
                let record = SchemaRecord::Config { subject: subject.clone(), level: None };
                Ok((vec![record], Reply::Level(before)))
            }
            Change::SetMode { subject, mode, is_forced } => {
                self.set_mode(subject.as_deref(), *mode, *is_forced)
            }
            Change::ClearMode { subject } => {
                let before = self.own_mode(Some(subject));
                let before = before.ok_or_else(|| RegistryError::NoSubjectMode(subject.clone()))?;
                let record = SchemaRecord::Mode { subject: Some(subject.clone()), mode: None };
                Ok((vec![record], Reply::Mode(before)))
            }
        }
    }

    /// The schema as it is compared and kept; it can be read.
    ///
    /// # Errors
    /// [`RegistryError::InvalidSchema`].
    pub fn prepare(&self, request: &SchemaRequest) -> Result<StoredSchema, RegistryError> {
        let mut schema = request.schema.clone();
        // Whoever comes later would read another one under this name.
        for reference in &mut schema.references {
            if reference.version == -1 {
                let latest = self.version(&reference.subject, VersionName::Latest, Which::Live);
                reference.version = latest.map(|(number, _)| number).unwrap_or(-1);
            }
        }
        self.parse(&schema).map_err(RegistryError::InvalidSchema)?;
        schema.text = match request.normalize {
            true => normalized(&schema.schema_type, &schema.text),
            false => minified(&schema.text),
        };
        if request.normalize {
            schema.references.sort();
        }
        Ok(schema)
    }

    /// What keeps a schema from becoming a version of a subject, or from standing beside one version alone.
    ///
    /// # Errors
    /// [`RegistryError::InvalidSchema`]; what [`Subjects::version`] has where a version is named.
    pub fn incompatibilities(
        &self,
        subject: &str,
        beside: Option<VersionName>,
        request: &SchemaRequest,
    ) -> Result<Vec<String>, RegistryError> {
        let only = match beside {
            Some(name) => Some(self.version(subject, name, Which::Live)?.0),
            None => None,
        };
        let schema = self.prepare(request)?;
        let parsed = self.parse(&schema).map_err(RegistryError::InvalidSchema)?;
        Ok(incompatibilities(self.level(Some(subject)), &parsed, &self.earlier(subject, only)))
    }

    fn register(&self, subject: &str, request: &SchemaRequest) -> Decision {
        check_subject(subject)?;
        self.check_writable(Some(subject))?;
        let is_import = self.mode(Some(subject)) == Mode::Import;
        let schema = self.prepare(request)?;
        if !is_import && (request.id.is_some() || request.version.is_some()) {
            return Err(RegistryError::NotPermitted(format!("Subject {subject} is not in import mode")));
        }
        if let Some((version, found)) = self.version_of(subject, &schema, Which::Live)
            && request.id.is_none_or(|id| id == found.id)
            && request.version.is_none_or(|wanted| wanted == version)
        {
            return Ok((Vec::new(), Reply::Registered { id: found.id, version }));
        }
        if !is_import {
            let details = self.incompatibilities(subject, None, request)?;
            if !details.is_empty() {
                let level = self.level(Some(subject));
                return Err(RegistryError::Incompatible { subject: subject.to_owned(), level, details });
            }
        }
        let known = self.id_of(&schema);
        let id = match request.id {
            Some(id) => {
                // An id is a promise: what was written with it must be read with the same schema for ever.
                if id <= 0 || self.schema(id).is_ok_and(|_| known != Some(id)) {
                    return Err(RegistryError::IdDoesNotMatch(id));
                }
                id
            }
            None => match known {
                Some(id) => id,
                None => self
                    .last_id()
                    .checked_add(1)
                    .ok_or_else(|| RegistryError::NotPermitted("all ids have been given".to_owned()))?,
            },
        };
        let taken = self.versions(subject, Which::WithDeleted).unwrap_or_default();
        let next = taken.last().map_or(1, |(number, _)| number.saturating_add(1));
        let version = request.version.unwrap_or(next);
        if version <= 0 || taken.iter().any(|(number, found)| *number == version && found.id != id) {
            return Err(RegistryError::InvalidVersion(version.to_string()));
        }
        // The text of an id stays as it was first written, however it is laid out this time.
        let StoredSchema { schema_type, references, text } = self.schema(id).cloned().unwrap_or(schema);
        let value = SchemaValue { id, schema_type, references, text, is_deleted: false };
        let record = SchemaRecord::Schema { subject: subject.to_owned(), version, value: Some(value) };
        Ok((vec![record], Reply::Registered { id, version }))
    }

    fn delete_subject(&self, subject: &str, is_permanent: bool) -> Decision {
        self.check_writable(Some(subject))?;
        let all = self.versions(subject, Which::WithDeleted)?;
        let live: Vec<i32> =
            all.iter().filter(|(_, version)| !version.is_deleted).map(|(number, _)| *number).collect();
        if !is_permanent {
            let Some(through) = live.last().copied() else {
                return Err(RegistryError::SubjectSoftDeleted(subject.to_owned()));
            };
            live.iter().try_for_each(|version| self.check_unreferenced(subject, *version))?;
            let mut records = vec![SchemaRecord::DeleteSubject { subject: subject.to_owned(), through }];
            records.extend(self.forget(subject));
            return Ok((records, Reply::Versions(live)));
        }
        if !live.is_empty() {
            return Err(RegistryError::SubjectNotSoftDeleted(subject.to_owned()));
        }
        let numbers: Vec<i32> = all.iter().map(|(number, _)| *number).collect();
        numbers.iter().try_for_each(|version| self.check_unreferenced(subject, *version))?;
        let mut records = vec![SchemaRecord::LastId { id: self.last_id() }];
        let gone = |version: &i32| SchemaRecord::Schema {
            subject: subject.to_owned(),
            version: *version,
            value: None,
        };
        records.extend(numbers.iter().map(gone));
        Ok((records, Reply::Versions(numbers)))
    }

    fn delete_version(&self, subject: &str, name: VersionName, is_permanent: bool) -> Decision {
        self.check_writable(Some(subject))?;
        let which = match name {
            VersionName::Latest if !is_permanent => Which::Live,
            _ => Which::WithDeleted,
        };
        let (version, found) = self.version(subject, name, which)?;
        self.check_unreferenced(subject, version)?;
        let subject = subject.to_owned();
        match (is_permanent, found.is_deleted) {
            (false, true) => Err(RegistryError::VersionSoftDeleted(subject, version)),
            (true, false) => Err(RegistryError::VersionNotSoftDeleted(subject, version)),
            (false, false) => {
                let is_last = self.versions(&subject, Which::Live)?.len() == 1;
                let StoredSchema { schema_type, references, text } = self.schema(found.id)?.clone();
                let value = SchemaValue { id: found.id, schema_type, references, text, is_deleted: true };
                let mut records =
                    vec![SchemaRecord::Schema { subject: subject.clone(), version, value: Some(value) }];
                if is_last {
                    records.extend(self.forget(&subject));
                }
                Ok((records, Reply::Version(version)))
            }
            (true, true) => {
                let last_id = SchemaRecord::LastId { id: self.last_id() };
                let gone = SchemaRecord::Schema { subject, version, value: None };
                Ok((vec![last_id, gone], Reply::Version(version)))
            }
        }
    }

    /// What was set for a subject goes with its last version.
    fn forget(&self, subject: &str) -> Vec<SchemaRecord> {
        let name = || Some(subject.to_owned());
        let level =
            self.own_level(Some(subject)).map(|_| SchemaRecord::Config { subject: name(), level: None });
        let mode = self.own_mode(Some(subject)).map(|_| SchemaRecord::Mode { subject: name(), mode: None });
        level.into_iter().chain(mode).collect()
    }

    fn set_mode(&self, subject: Option<&str>, mode: Mode, is_forced: bool) -> Decision {
        if let Some(subject) = subject {
            check_subject(subject)?;
            if mode == Mode::ReadOnlyOverride {
                return Err(RegistryError::InvalidMode(format!("{} of one subject", mode.word())));
            }
        }
        if mode == Mode::Import && !is_forced && self.mode(subject) != Mode::Import {
            let has_any = match subject {
                Some(subject) => self.versions(subject, Which::Live).is_ok(),
                None => self.names(Which::Live).next().is_some(),
            };
            if has_any {
                return Err(RegistryError::NotPermitted(
                    "Cannot import since found existing subjects; add force=true to do so all the same"
                        .to_owned(),
                ));
            }
        }
        let record = SchemaRecord::Mode { subject: subject.map(str::to_owned), mode: Some(mode) };
        Ok((vec![record], Reply::Mode(mode)))
    }

    fn check_writable(&self, subject: Option<&str>) -> Result<(), RegistryError> {
        match self.mode(subject) {
            Mode::ReadOnly | Mode::ReadOnlyOverride => Err(RegistryError::NotPermitted(match subject {
                Some(subject) => format!("Subject {subject} is in read-only mode"),
                None => "The registry is in read-only mode".to_owned(),
            })),
            Mode::ReadWrite | Mode::Import => Ok(()),
        }
    }

    fn check_unreferenced(&self, subject: &str, version: i32) -> Result<(), RegistryError> {
        match self.referenced_by(subject, version).is_empty() {
            true => Ok(()),
            false => Err(RegistryError::ReferenceExists { subject: subject.to_owned(), version }),
        }
    }
}

/// Whether a subject may be called so.
fn check_subject(subject: &str) -> Result<(), RegistryError> {
    let wrong = |why: &str| Err(RegistryError::InvalidSubject(subject.to_owned(), why.to_owned()));
    if subject.is_empty() || subject.chars().any(char::is_control) {
        return wrong("it is empty or has control characters");
    }
    if subject.len() > SUBJECT_BYTES_MAX {
        return wrong("it is too long");
    }
    if matches!(subject, "__GLOBAL" | "__EMPTY") || subject.starts_with(":.") {
        return wrong("such names stand for contexts, which are not served here");
    }
    Ok(())
}

impl StoredSchema {
    /// A schema of a type, which is Avro where none is named.
    #[must_use]
    pub fn new(schema_type: Option<String>, text: String, references: Vec<Reference>) -> StoredSchema {
        let schema_type = schema_type.filter(|word| !word.is_empty());
        let schema_type = schema_type.unwrap_or_else(|| super::parsed::AVRO.to_owned());
        StoredSchema { schema_type, references, text }
    }
}
